package siit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/frame"
)

// Round trips: what a CLAT made of a packet, a PLAT makes into what it was, as far as the standards keep it. They need no table of what
// becomes of what: the packet that went in is the expectation.

// trip is a CLAT and a PLAT of the same network, with MTUs and the rest of their settings by dice.
type trip struct {
	*dice      // whose network is the CLAT's
	s          *Scratch
	clat, plat *Translator
}

// newTrip is for packets that begin as version. What the first lets through is never too big for the second.
func newTrip(t testing.TB, n, version int, s *Scratch) trip {
	d := roll(n)
	d.o.SetTOS, d.o.ClampMSS, d.o.DropZeroUDP4, d.o.PassZeroUDP6 = false, false, false, true
	d.network.plat, d.o.MTU6 = false, 65535
	if version == 4 {
		d.o.MTU4 = 65535
	}
	r := trip{dice: d, s: s}
	r.clat, r.plat = r.translator(t, false), r.translator(t, true)
	return r
}

func (r trip) translator(t testing.TB, plat bool) *Translator {
	n := r.network
	n.plat = plat
	tr, err := New(n.table(t), r.o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// send takes p through both. It is nil where the first does not let p through; the second must let through what comes from the first.
// content is what p carries or quotes: in fragments, some is not for both ways.
func (r trip) send(t testing.TB, p []byte, content content) (out []seen) {
	r.s.Reset()
	first := r.clat.Translate(newFrame(p), r.s)
	if first.Verdict != Forward {
		return nil
	}
	for _, f := range bytesOf(first.Out) {
		r.s.Reset()
		second := r.plat.Translate(newFrame(f), r.s)
		switch {
		case second.Verdict == Forward:
		case content.proto[0] == protoICMP && (second.Reason == clat.DropFragmentedICMP || second.Reason == clat.DropICMPInner),
			(content.proto[0] == 51 || content.proto[0] == 139) && (second.Reason == clat.DropExtension || second.Reason == clat.DropICMPInner):
			return nil // RFC 7915, 1.2 and 5.1.1
		default:
			t.Fatalf("the PLAT drops what the CLAT has sent: %v: %x", second.Reason, f)
		}
		for _, f := range second.Out {
			out = append(out, decode(t, bytes.Clone(f.Bytes())))
		}
	}
	return out
}

func bytesOf(frames []*frame.Frame) (all [][]byte) {
	for _, f := range frames {
		all = append(all, bytes.Clone(f.Bytes()))
	}
	return all
}

// rejoin puts the fragments of one datagram together again, the way a host does.
func rejoin(t testing.TB, all []seen) seen {
	whole := all[0]
	whole.payload = bytes.Clone(whole.payload)
	for _, q := range all[1:] {
		f := whole.fields
		f.offset, f.mf = q.offset, q.mf
		if q.fields != f || q.offset != whole.offset+len(whole.payload) {
			t.Fatalf("a fragment of another datagram: %v\n%v", q, whole)
		}
		whole.payload = append(whole.payload, q.payload...)
	}
	whole.mf = all[len(all)-1].mf
	return whole
}

// TestRoundTrip: addresses, TOS or traffic class, protocol, fragment fields and payload are kept, the TTL is two less, and DF follows
// the rule of 1260 octets where no fragment header tells that it was off.
func TestRoundTrip(t *testing.T) {
	s := newScratch()
	passed := map[string]int{}
	for n := range 5000 {
		version := 4 + n%2*2
		t := named{t, n}
		r := newTrip(t, n, version, s)
		p := r.datagram(t, version)
		p.ttl, p.content.zero = max(p.ttl, 3), p.content.zero && version == 4 // where it is computed
		got := r.send(t, p.packet(t, r.network, version), p.content)
		if got == nil {
			continue
		}
		want := p
		want.options, want.chain, want.atomic = nil, nil, false
		want.content.zero = false
		plain, _ := read(want.packet(t, r.network, version))
		out := rejoin(t, got)
		f := fields{
			version: version, src: plain.src, dst: plain.dst, tos: p.tos, ttl: p.ttl - 2*r.hop(), proto: plain.proto, mf: p.mf, offset: p.offset,
			fragmentHeader: version == 6 && (p.isFragment() || len(got) > 1),
		}
		switch {
		case p.isFragment() || version == 4 && !p.df && plain.total+20 > r.o.LowestMTU6: // it had a fragment header in IPv6, or an ID in IPv4
			f.id = p.id & 0xffff
		case version == 4:
			f.id, f.df = out.id, plain.total > 1260
		case len(got) > 1:
			f.id = out.id
		}
		if expected := (seen{f, plain.payload}); !out.equal(expected) {
			t.Fatalf("%d frames\ngot  %v\nwant %v", len(got), out, expected)
		}
		passed[fmt.Sprint(version, " ", min(len(got), 2))]++
	}
	for _, kind := range []string{"4 1", "4 2", "6 1", "6 2"} {
		if passed[kind] < 200 {
			t.Errorf("only %d of kind %s were let through: %v", passed[kind], kind, passed)
		}
	}
}

// invertible are the ICMP errors for which the tables of both directions are inverse: type, code, and what the second word may be.
var invertible = map[int][]struct {
	typ, code uint8
	words     []uint32
}{
	4: {
		{3, 1, nil}, {3, 2, nil}, {3, 3, nil}, {3, 10, nil}, {11, 0, nil}, {11, 1, nil},
		{3, 4, []uint32{1260, 1261, 1380, 1480}}, {12, 0, []uint32{0, 1 << 24, 8 << 24, 9 << 24, 12 << 24, 16 << 24}},
	},
	6: {
		{1, 1, nil}, {1, 4, nil}, {3, 0, nil}, {3, 1, nil},
		{2, 0, []uint32{1280, 1281, 1400, 1500}}, {4, 0, []uint32{0, 1, 4, 6, 7, 8, 24}}, {4, 1, []uint32{6}},
	},
}

// TestRoundTripErrors: type, code and word of an ICMP error are kept, and so is what it quotes, as far as it fits, and its extension
// structure, where both families have a place for one.
func TestRoundTripErrors(t *testing.T) {
	s := newScratch()
	passed := 0
	for n := range 5000 {
		version := 4 + n%2*2
		t := named{t, n}
		r := newTrip(t, n, version, s)
		r.o.MTU4 = 65535
		r.clat, r.plat = r.translator(t, false), r.translator(t, true)
		e := r.icmpError(t, version)
		e.ttl, e.src6, e.ext = max(e.ttl, 3), netip.Addr{}, nil
		row := invertible[version][r.IntN(len(invertible[version]))]
		e.typ, e.code, e.word = row.typ, row.code, 0
		if row.words != nil {
			e.word = row.words[r.IntN(len(row.words))]
		}
		extensible := version == 4 && (e.typ == 11 || e.typ == 3 && e.code != 2 && e.code != 4) || version == 6 && (e.typ == 1 || e.typ == 3)
		if extensible && r.one(2) {
			e.ext = structure(4 * r.among(0, 1, 25, 200))
		}
		if (version == 4 && e.typ == 3 && e.code == 4 || version == 6 && e.typ == 2) && (e.about.isFragment() || e.about.atomic) {
			continue // a fragment header takes 8 octets off the MTU on the way into IPv4, and nothing on the way back
		}
		in, region := e.packet(t, r.network, version)
		all := r.send(t, in, e.about.content)
		if all == nil {
			continue
		}
		passed++
		got := all[0]
		message, _ := read(in)
		if len(all) != 1 || got.src != message.src || got.dst != message.dst || got.tos != e.tos || got.ttl != e.ttl-2*r.hop() ||
			got.proto != message.proto {
			t.Fatalf("%v\nof    %v", got, message)
		}
		was, is := quotationOf(version, message.payload), quotationOf(version, got.payload)
		word := binary.BigEndian.Uint32(got.payload[4:])
		if got.payload[0] != e.typ || got.payload[1] != e.code || was.length == 0 && is.length == 0 && word != e.word {
			t.Fatalf("%x of %x", got.payload[:8], message.payload[:8])
		}
		if limit := 1280 - 48 - 128; !bytes.Equal(is.ext, was.ext) && len(was.ext) <= limit {
			t.Fatalf("structure %x of %x", is.ext, was.ext)
		}
		inner, _ := read(region)
		back, ok := read(is.quote)
		n := min(len(inner.payload), len(back.payload))
		if !ok || inner.src != back.src || inner.dst != back.dst || inner.tos != back.tos || inner.ttl != back.ttl || inner.proto != back.proto ||
			inner.offset != back.offset || inner.mf != back.mf || inner.promised() != back.promised() ||
			inner.isFragment() && uint16(inner.id) != uint16(back.id) || !bytes.Equal(inner.payload[:n], back.payload[:n]) {
			t.Fatalf("quote %v\nof    %v", back, inner)
		}
		// As IPv6 an error has 1280 octets at most, of which 96 are headers; as IPv4 a length attribute can say 1020 at most.
		if room := min(1280-96-len(was.ext)-7, 1020-20); n < min(len(inner.payload), room) {
			t.Fatalf("%d of %d octets quoted in an error of %d", n, len(inner.payload), len(got.payload))
		}
	}
	if passed < 2500 {
		t.Errorf("only %d were let through", passed)
	}
}
