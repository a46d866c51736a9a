package conformance

import (
	"bytes"
	"net"
	"net/netip"
	"slices"
	"testing"

	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/frame"
	"uclat/clat/pref64"
	"uclat/clat/siit"
)

// translator is a Translator, and what its worker keeps from packet to packet.
type translator struct {
	*siit.Translator
	scratch *siit.Scratch
}

// newTranslator is the CLAT of one host: client4 is client6, everybody else is behind 64:ff9b::/96, and both sides take 1500 octets.
// The edits change that.
func newTranslator(t testing.TB, edits ...func(o *siit.Options, s *eam.Spec)) *translator {
	t.Helper()
	o := siit.Options{
		MTU6: 1500, MTU4: 1500, LowestMTU6: clat.MinMTU6, Self4: addr(self4), Self6: addr(self6), UnmappedSource: addr(dummy4),
	}
	s := eam.Spec{
		Ours:   []eam.Mapping{mapping(client4.String()+"/32", client6.String()+"/128")},
		PREF64: []pref64.Prefix{pref64.WellKnown},
		Self4:  addr(self4),
	}
	for _, edit := range edits {
		edit(&o, &s)
	}
	table, err := eam.New(s)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := siit.New(table, o)
	if err != nil {
		t.Fatal(err)
	}
	return &translator{tr, siit.NewScratch(0x1234_5678_9abc)}
}

// plainly makes a plain translator of a CLAT: each address is mapped if it has a mapping, else by a NAT64 prefix.
func plainly(_ *siit.Options, s *eam.Spec) {
	s.Role = eam.Router
	s.Map, s.Ours = append(s.Map, s.Ours...), nil
}

// roles are what a translator can be.
var roles = []func(*siit.Options, *eam.Spec){standard, plainly}

func addr(a net.IP) netip.Addr {
	b, _ := netip.AddrFromSlice(a)
	return b
}

// mapping is an explicit address mapping.
func mapping(v4, v6 string) eam.Mapping {
	return eam.Mapping{IPv4: netip.MustParsePrefix(v4), IPv6: netip.MustParsePrefix(v6)}
}

// result is what became of one packet; out are the packets that leave, in order.
type result struct {
	verdict siit.Verdict
	reason  clat.DropReason
	out     [][]byte
}

// newFrame is in as a device hands it over: with room around it.
func newFrame(in []byte) *frame.Frame {
	f := new(frame.Frame)
	f.Wrap(slices.Concat(make([]byte, frame.Headroom), in, make([]byte, frame.Tailroom)), frame.Headroom, len(in))
	return f
}

// translate hands one packet to the translator, which has a budget for any number of errors.
func (tr *translator) translate(in []byte) (r result) {
	tr.scratch.Reset()
	tr.scratch.Errors = 1000
	got := tr.Translate(newFrame(in), tr.scratch)
	r.verdict, r.reason = got.Verdict, got.Reason
	for _, f := range got.Out {
		r.out = append(r.out, slices.Clone(f.Bytes()))
	}
	return r
}

// forward wants one packet of the other family, in which everything is right.
func forward(t testing.TB, tr *translator, in []byte) packet {
	t.Helper()
	r := tr.translate(in)
	if r.verdict != siit.Forward || r.reason != clat.DropNone || len(r.out) != 1 {
		t.Fatalf("verdict %d, reason %v, %d packets, want one forwarded: %x", r.verdict, r.reason, len(r.out), in)
	}
	return other(t, in, r.out[0])
}

// fragments wants at least two packets of the other family, each a fragment in which everything is right. See joined.
func fragments(t testing.TB, tr *translator, in []byte) (all []packet) {
	t.Helper()
	r := tr.translate(in)
	if r.verdict != siit.Forward || r.reason != clat.DropNone || len(r.out) < 2 {
		t.Fatalf("verdict %d, reason %v, %d packets, want fragments: %x", r.verdict, r.reason, len(r.out), in)
	}
	for _, out := range r.out {
		p := other(t, in, out)
		if !p.isFragment() {
			t.Fatalf("one of %d packets is no fragment: %x", len(r.out), out)
		}
		all = append(all, p)
	}
	return all
}

func other(t testing.TB, in, out []byte) packet {
	t.Helper()
	p := decode(t, out)
	if in[0]>>4 == out[0]>>4 {
		t.Fatalf("IPv%d became IPv%d", in[0]>>4, out[0]>>4)
	}
	return p
}

// dropped wants silence, for that reason.
func dropped(t testing.TB, tr *translator, in []byte, reason clat.DropReason) {
	t.Helper()
	if r := tr.translate(in); r.verdict != siit.Drop || r.reason != reason || len(r.out) != 0 {
		t.Errorf("verdict %d, reason %v, %d packets, want silence for %v: %x", r.verdict, r.reason, len(r.out), reason, in)
	}
}

// answered wants the packet dropped for that reason, and an ICMP error of our own to its sender in which everything is right: it comes
// from us, quotes as much of the packet as fits into 576 octets of IPv4 or 1280 of IPv6, and is no longer than that.
func answered(t testing.TB, tr *translator, in []byte, reason clat.DropReason) packet {
	t.Helper()
	r := tr.translate(in)
	if r.verdict != siit.Reply || r.reason != reason || len(r.out) != 1 {
		t.Fatalf("verdict %d, reason %v, %d packets, want an answer for %v: %x", r.verdict, r.reason, len(r.out), reason, in)
	}
	p := decode(t, r.out[0])
	self, limit := self4, 576
	sender := net.IP(in[12:16])
	if in[0]>>4 == 6 {
		self, limit, sender = self6, clat.MinMTU6, in[8:24]
	}
	p.fromTo(t, self, sender)
	quote := p.icmp(t).body
	if room := limit - (len(p.octets) - len(quote)); len(quote) != min(len(in), room) || !bytes.HasPrefix(in, quote) {
		t.Errorf("quotes %d octets, want the first %d of the packet: %x", len(quote), min(len(in), room), quote)
	}
	return p
}
