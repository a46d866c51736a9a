package conformance

import (
	"net"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/siit"
)

// Two IPv6 hosts behind one translator, and the IPv4 addresses that stand for them.
var (
	alice4, alice6 = ip("192.0.2.1"), ip("2001:db8:a::a")
	bob4, bob6     = ip("192.0.2.2"), ip("2001:db8:b::b")
)

// bothMapped gives them their addresses.
func bothMapped(_ *siit.Options, s *eam.Spec) {
	s.Map = append(s.Map, mapping(alice4.String()+"/32", alice6.String()+"/128"), mapping(bob4.String()+"/32", bob6.String()+"/128"))
}

// hairpinning is hairpin = true, the default.
func hairpinning(o *siit.Options, _ *eam.Spec) { o.Hairpin = true }

// sameFamily wants one IPv6 packet for an IPv6 packet.
func (w *worker) sameFamily(t testing.TB, in []byte) packet {
	t.Helper()
	p := w.passes(t, in)
	if p.v6 == nil {
		t.Fatalf("IPv6 became %x", p.octets)
	}
	return p
}

// hairpins is the part of XLAT-7757-4-1 that a plain translator has: RFC 7757, 4.2.2.
func hairpins(t *testing.T) {
	w := newWorker(t, plainly, bothMapped, hairpinning, auto, reassembling)
	messages := []upper{tcp, udp, {"request", layers.IPProtocolICMPv6, 2, func() gopacket.SerializableLayer { return icmp6(128, 0, 7) }},
		{"reply", layers.IPProtocolICMPv6, 2, func() gopacket.SerializableLayer { return icmp6(129, 0, 7) }}}
	for _, c := range []struct{ src4, src6, dst4, dst6 net.IP }{
		{alice4, alice6, bob4, bob6}, {bob4, bob6, alice4, alice6},
		{alice4, alice6, alice4, alice6}, // to itself, as to anybody
	} {
		sent := func(l upper, n int) []byte {
			return build(t, &layers.IPv6{SrcIP: c.src6, DstIP: wellKnown(c.dst4), TrafficClass: 0xb9}, l.head(), data(n))
		}
		want := func(l upper, n int) []byte {
			h := &layers.IPv6{SrcIP: wellKnown(c.src4), DstIP: c.dst6, TrafficClass: 0xb9, HopLimit: 62}
			return build(t, h, l.head(), data(n))
		}
		for _, l := range messages {
			for _, n := range []int{0, 1, 33, 1300, 1408} {
				same(t, l.name, w.sameFamily(t, sent(l, n)).octets, want(l, n))
			}
			// Fragments, with the lower half of their identification.
			var got []packet
			for _, f := range cut(t, sent(l, 4000), 0xabcd_1234, 1440) {
				got = append(got, w.pass(t, f)...)
			}
			whole := joined(t, got)
			same(t, l.name+" in fragments", whole.octets, want(l, 4000))
			if got[0].id() != 0x1234 {
				t.Errorf("identification %#x, want 0x1234", got[0].id())
			}
		}
	}
	// What the IPv4 side takes has nothing to do with it.
	narrow := newWorker(t, plainly, bothMapped, hairpinning, auto, reassembling, sizes4(600))
	for _, length := range []int{700, 1280, 1281, 1500} {
		for _, proto := range transports {
			in := sized6(t, length, layers.IPv6{SrcIP: alice6, DstIP: wellKnown(bob4)}, in6(proto))
			if p := narrow.sameFamily(t, in); len(p.octets) != length || p.fragment != nil {
				t.Errorf("%d octets became %d with fragment header %v", length, len(p.octets), p.fragment)
			}
		}
	}
	echo := cut(t, sized6(t, 4000, layers.IPv6{SrcIP: alice6, DstIP: wellKnown(bob4)}, layers.IPProtocolICMPv6), 7, 1440)
	if whole := joined(t, narrow.pass(t, echo...)); len(whole.octets) != 4000 {
		t.Errorf("an echo of 4000 octets became %d", len(whole.octets))
	}
	hairpinnedErrors(t)
	refusedHairpins(t)
	notHairpinned(t)
}

// hairpinnedErrors: what is said of a packet that was sent on, be it by the other host or on the way there, comes to its sender, as of the
// packet that this one sent.
func hairpinnedErrors(t *testing.T) {
	mappedRouter := ip("2001:db8:c::c")
	w := newWorker(t, plainly, bothMapped, hairpinning, auto, func(_ *siit.Options, s *eam.Spec) {
		s.Map = append(s.Map, mapping("192.0.2.3/32", mappedRouter.String()+"/128"))
	})
	sent := build(t, &layers.IPv6{SrcIP: alice6, DstIP: wellKnown(bob4)}, &layers.UDP{}, data(1400))
	got := w.sameFamily(t, sent).octets
	for _, c := range []struct {
		from, becomes net.IP
	}{
		{bob6, wellKnown(bob4)},      // who answers as what he was called
		{router6, wellKnown(dummy4)}, // without an IPv4 address
		{wellKnown(ip("198.51.100.77")), wellKnown(ip("198.51.100.77"))},
		{mappedRouter, mappedRouter},
	} {
		for _, m := range []struct {
			typ, code uint8
			word      uint32
		}{{1, 4, 0}, {3, 0, 0}, {2, 0, 1400}, {2, 0, 1280}, {4, 0, 6}} {
			p := w.sameFamily(t, build(t, &layers.IPv6{SrcIP: c.from, DstIP: wellKnown(alice4)}, icmp6(m.typ, m.code, m.word), payload(got[:1100])))
			p.fromTo(t, c.becomes, alice6)
			about := p.icmp(t)
			about.is(t, m.typ, m.code, m.word)
			quoted := about.quoted(t)
			quoted.fromTo(t, alice6, wellKnown(bob4))
			same(t, "quote", quoted.payload, sent[40:][:len(quoted.payload)])
			if len(quoted.payload) < 1000 || int(quoted.v6.Length) != len(sent)-40 {
				t.Errorf("quotes %d octets of %d", len(quoted.payload), quoted.v6.Length)
			}
		}
	}
	// And so the errors of the translator itself, between its two translations: they leave as IPv6, and say the same.
	own := func(w *worker, in []byte, typ uint8, word uint32) {
		t.Helper()
		p := w.sameFamily(t, in)
		p.fromTo(t, wellKnown(self4), alice6)
		about := p.icmp(t)
		about.is(t, typ, 0, word)
		about.quoted(t).fromTo(t, alice6, wellKnown(bob4))
	}
	w = newWorker(t, plainly, bothMapped, hairpinning, auto)
	last := slices.Clone(sent)
	last[7] = 2
	own(w, last, 3, 0)
	w.passes(t, build(t, &layers.IPv6{SrcIP: router6, DstIP: wellKnown(alice4)}, icmp6(2, 0, 1380), payload(got[:1100])))
	own(w, sent, 2, 1380)
	// An error that says of itself that it is about something else is nobody's.
	for _, forged := range []struct{ src, dst net.IP }{
		{wellKnown(bob4), bob6}, {bob6, wellKnown(alice4)}, {wellKnown(alice4), native6}, {native6, bob6},
	} {
		quote := build(t, &layers.IPv6{SrcIP: forged.src, DstIP: forged.dst}, &layers.UDP{}, data(1400))
		w.swallows(t, build(t, &layers.IPv6{SrcIP: router6, DstIP: wellKnown(alice4)}, icmp6(2, 0, 1300), payload(quote[:1100])))
	}
}

// refusedHairpins: what the way out refuses is answered in the same way.
func refusedHairpins(t *testing.T) {
	w := newWorker(t, plainly, bothMapped, hairpinning, auto)
	sent := build(t, &layers.IPv6{SrcIP: alice6, DstIP: wellKnown(bob4)}, &layers.UDP{}, data(1400))
	_, v6, _ := w.Process(frames(sent), nil, nil)
	var said []packet
	for _, f := range w.TooBig(v6[0], 1380) {
		said = append(said, decode(t, slices.Clone(f.Bytes())))
	}
	w.Done()
	said = append(said, w.passes(t, sent)) // the next one, at once
	if len(said) != 2 {
		t.Fatalf("%d answers to two packets", len(said))
	}
	for _, p := range said {
		if !p.dst().Equal(alice6) {
			t.Fatalf("to %v: %x", p.dst(), p.octets)
		}
		about := p.icmp(t)
		about.is(t, 2, 0, 1380)
		about.quoted(t).fromTo(t, alice6, wellKnown(bob4))
	}
}

// notHairpinned is what looks like it.
func notHairpinned(t *testing.T) {
	in := build(t, &layers.IPv6{SrcIP: alice6, DstIP: wellKnown(bob4)}, &layers.UDP{}, data(33))
	// Without hairpin, it leaves as any packet to IPv4.
	forward(t, newTranslator(t, plainly, bothMapped), in).fromTo(t, alice4, bob4)

	w := newWorker(t, plainly, bothMapped, hairpinning)
	// From and to hosts of IPv4 as well.
	w.passes(t, build(t, &layers.IPv6{SrcIP: alice6, DstIP: peer6}, &layers.UDP{})).fromTo(t, alice4, peer4)
	w.passes(t, build(t, &layers.IPv4{SrcIP: peer4, DstIP: alice4}, &layers.UDP{})).fromTo(t, peer6, alice6)
	w.passes(t, build(t, &layers.IPv6{SrcIP: peer6, DstIP: wellKnown(ip("198.51.100.6"))}, &layers.UDP{})).fromTo(t, peer4, ip("198.51.100.6"))
	// Somebody who calls himself by the address of another.
	w.swallows(t, build(t, &layers.IPv6{SrcIP: wellKnown(alice4), DstIP: wellKnown(bob4)}, &layers.UDP{}))
	if n := w.drops(clat.DropSpoofed); n != 1 {
		t.Errorf("%d packets were dropped for %v, want 1", n, clat.DropSpoofed)
	}
	// What the translator is asked itself does not go on.
	w.swallows(t, build(t, &layers.IPv6{SrcIP: alice6, DstIP: wellKnown(self4)}, &layers.UDP{}))
	// A hop less for each of the two translations.
	expired := slices.Clone(in)
	expired[7] = 1
	if p := w.passes(t, expired); !p.src().Equal(self6) || !p.dst().Equal(alice6) {
		t.Errorf("a Hop Limit of 1: from %v to %v", p.src(), p.dst())
	}
}

// echoesOfOurOwn: an echo is what the translator answers itself, as every router does (RFC 1812, 4.3.3.6; RFC 4443, 4.1).
func echoesOfOurOwn(t *testing.T) {
	tr := newTranslator(t)
	for _, n := range []int{0, 1, 56, 1400} {
		for _, c := range []struct{ in, want []byte }{
			{
				build(t, &layers.IPv4{DstIP: self4, TTL: 1}, icmp4(8, 0, 0x42420007), data(n)),
				build(t, &layers.IPv4{SrcIP: self4, DstIP: client4}, icmp4(0, 0, 0x42420007), data(n)),
			},
			{
				build(t, &layers.IPv6{DstIP: self6, HopLimit: 1}, icmp6(128, 0, 0x42420007), data(n)),
				build(t, &layers.IPv6{SrcIP: self6, DstIP: peer6}, icmp6(129, 0, 0x42420007), data(n)),
			},
			{
				build(t, &layers.IPv6{SrcIP: native6, DstIP: self6}, icmp6(128, 0, 0x42420007), data(n)),
				build(t, &layers.IPv6{SrcIP: self6, DstIP: native6}, icmp6(129, 0, 0x42420007), data(n)),
			},
		} {
			r := tr.translate(c.in)
			if r.verdict != siit.Reply || r.reason != clat.DropNone || len(r.out) != 1 {
				t.Fatalf("verdict %d, reason %v, %d packets, want an answer to %x", r.verdict, r.reason, len(r.out), c.in)
			}
			got := decode(t, r.out[0])
			if got.v4 != nil { // whose identification is any
				got.octets = resealed(edited(got.octets, 4, 0, 0))
			}
			same(t, "echo reply", got.octets, c.want)

			// It is dropped if it is damaged, in fragments, or something else.
			last, reason := len(c.in)-n-1, clat.DropNoMapping // of the header
			if got.v4 != nil {
				reason = clat.DropHairpin
			}
			dropped(t, tr, edited(c.in, last, c.in[last]^1), reason)
		}
	}
	for _, f := range cut(t, build(t, &layers.IPv4{DstIP: self4}, icmp4(8, 0, 7), data(2000)), 7, 1400) {
		dropped(t, tr, f, clat.DropHairpin)
	}
	for _, typ := range []uint8{0, 13, 17} {
		dropped(t, tr, build(t, &layers.IPv4{DstIP: self4}, icmp4(typ, 0, 7), data(12)), clat.DropHairpin)
	}
	dropped(t, tr, build(t, &layers.IPv6{DstIP: self6}, icmp6(129, 0, 7), data(12)), clat.DropNoMapping)
	dropped(t, tr, build(t, &layers.IPv6{SrcIP: ip("::1"), DstIP: self6}, icmp6(128, 0, 7), data(12)), clat.DropSource)
	dropped(t, tr, build(t, &layers.IPv4{SrcIP: ip("198.51.100.9"), DstIP: self4}, icmp4(8, 0, 7), data(12)), clat.DropSource)
	answered(t, tr, build(t, &layers.IPv6{DstIP: self6}, &layers.UDP{}), clat.DropNoMapping).icmp(t).is(t, 4, 1, 6)
	// With a single IPv6 address, it is the client who is asked.
	one := newTranslator(t, func(o *siit.Options, _ *eam.Spec) { o.Self6 = addr(client6) })
	forward(t, one, build(t, &layers.IPv6{}, icmp6(128, 0, 7), data(12))).fromTo(t, peer4, client4)
	dropped(t, one, build(t, &layers.IPv6{SrcIP: native6}, icmp6(128, 0, 7), data(12)), clat.DropNoMapping)
}
