package conformance

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/config"
	"uclat/clat/eam"
	"uclat/clat/siit"
)

// reply4 is an ICMPv4 error of our own, and how a packet earns it: one with that header, of 1500 octets, without the right to be
// fragmented.
type reply4 struct {
	typ, code uint8
	word      uint32
	reason    clat.DropReason
	header    func(*layers.IPv4)
	edit      func(*siit.Options, *eam.Spec)
}

var replies4 = []reply4{
	{11, 0, 0, clat.DropTTL, func(h *layers.IPv4) { h.TTL = 1 }, standard},
	{3, 4, 1480, clat.DropTooBig, unchanged[*layers.IPv4], standard},
	{3, 5, 0, clat.DropSourceRoute, func(h *layers.IPv4) {
		h.Options = []layers.IPv4Option{{OptionType: 131, OptionLength: 7, OptionData: []byte{4, 203, 0, 113, 1}}, {OptionType: 1}}
	}, standard},
	{3, 13, 0, clat.DropNoMapping, unchanged[*layers.IPv4], func(_ *siit.Options, s *eam.Spec) { s.PREF64 = nil }},
	{3, 13, 0, clat.DropNoMapping, func(h *layers.IPv4) { h.DstIP = ip("169.254.1.1") }, standard},
	{3, 13, 0, clat.DropNonGlobal, func(h *layers.IPv4) { h.DstIP = ip("10.0.0.1") }, strict},
}

func standard(*siit.Options, *eam.Spec) {}

// packet is a packet that earns the reply, with that content, and with the changes to its header.
func (r reply4) packet(t testing.TB, changes func(*layers.IPv4), content ...gopacket.SerializableLayer) []byte {
	t.Helper()
	h := &layers.IPv4{Flags: layers.IPv4DontFragment}
	r.header(h)
	changes(h)
	return build(t, append([]gopacket.SerializableLayer{h}, content...)...)
}

func (r reply4) translator(t testing.TB, edits ...func(*siit.Options, *eam.Spec)) *translator {
	t.Helper()
	return newTranslator(t, append(edits, r.edit)...)
}

func (r reply4) String() string { return fmt.Sprintf("%d/%d for %v", r.typ, r.code, r.reason) }

// reply6 is the same for ICMPv6. headers stand between the IPv6 header and the content.
type reply6 struct {
	typ, code uint8
	word      uint32
	reason    clat.DropReason
	header    func(*layers.IPv6)
	headers   func() []gopacket.SerializableLayer
	edit      func(*siit.Options, *eam.Spec)
}

var replies6 = []reply6{
	{3, 0, 0, clat.DropTTL, func(h *layers.IPv6) { h.HopLimit = 1 }, noHeaders, standard},
	{2, 0, 1420, clat.DropTooBig, unchanged[*layers.IPv6], noHeaders, func(o *siit.Options, _ *eam.Spec) { o.MTU4 = 1400 }},
	{4, 0, 43, clat.DropSourceRoute, unchanged[*layers.IPv6], sourceRoute, standard},
	{1, 1, 0, clat.DropNoMapping, func(h *layers.IPv6) { h.SrcIP = native6 }, noHeaders, prohibited},
	{1, 1, 0, clat.DropNoMapping, func(h *layers.IPv6) { h.DstIP = ip("2001:db8:1:2::1") }, noHeaders, prohibited},
}

func noHeaders() []gopacket.SerializableLayer { return nil }

func sourceRoute() []gopacket.SerializableLayer { return []gopacket.SerializableLayer{routing(1)} }

func prohibited(o *siit.Options, _ *eam.Spec) { o.Prohibited6 = true }

func (r reply6) packet(t testing.TB, changes func(*layers.IPv6), content ...gopacket.SerializableLayer) []byte {
	t.Helper()
	h := &layers.IPv6{}
	r.header(h)
	changes(h)
	return build(t, slices.Concat([]gopacket.SerializableLayer{h}, r.headers(), content)...)
}

func (r reply6) translator(t testing.TB, edits ...func(*siit.Options, *eam.Spec)) *translator {
	t.Helper()
	return newTranslator(t, append(edits, r.edit)...)
}

func (r reply6) String() string { return fmt.Sprintf("%d/%d for %v", r.typ, r.code, r.reason) }

// unchanged changes nothing.
func unchanged[T any](T) {}

// silent fails t if a packet is answered, whatever else becomes of it.
func silent(t testing.TB, tr *translator, what any, in []byte) {
	t.Helper()
	if r := tr.translate(in); r.verdict == siit.Reply {
		t.Errorf("%v: answered: %x", what, in)
	}
}

// answersWithin is how many of these packets are answered with a budget of so many errors for all of them.
func answersWithin(tr *translator, budget int, all ...[]byte) (n int) {
	tr.scratch.Errors = budget
	for _, in := range all {
		tr.scratch.Reset()
		if r := tr.Translate(newFrame(in), tr.scratch); r.Verdict == siit.Reply {
			n++
		}
	}
	return n
}

// The ICMP errors that we send ourselves (RFC 7915, 4.4 and 5.4).
func TestOwnErrors(t *testing.T) {
	t.Run("XLAT-7915-4.4-1", func(t *testing.T) {
		for _, r := range replies4 {
			tr := r.translator(t)
			p := answered(t, tr, r.packet(t, unchanged, &layers.UDP{}, data(1464)), r.reason)
			p.icmp(t).is(t, r.typ, r.code, r.word)
			// It begins a way of its own, and goes before other traffic (RFC 1812, 4.3.2.5).
			if p.v4.TTL < 64 || p.v4.TOS>>5 < 6 || p.isFragment() {
				t.Errorf("%v: header %x", r, p.octets[:20])
			}
			for _, content := range [][]gopacket.SerializableLayer{
				{&layers.TCP{}, data(1452)}, {icmp4(8, 0, 7), data(1464)}, {icmp4(0, 0, 7), data(1464)}, // echo messages are no errors
			} {
				answered(t, tr, r.packet(t, unchanged, content...), r.reason).icmp(t).is(t, r.typ, r.code, r.word)
			}
			if r.typ != 3 || r.code != 4 {
				for n := range 700 { // of which 576 are in the answer
					answered(t, tr, r.packet(t, unchanged, &layers.UDP{}, data(n)), r.reason).icmp(t).is(t, r.typ, r.code, r.word)
				}
			}
			neverAnswered4(t, r)
		}
	})

	t.Run("XLAT-7915-5.4-1", func(t *testing.T) {
		for _, r := range replies6 {
			tr := r.translator(t)
			p := answered(t, tr, r.packet(t, unchanged, &layers.UDP{}, data(1424)), r.reason)
			p.icmp(t).is(t, r.typ, r.code, r.word)
			if p.v6.HopLimit < 64 || p.isFragment() {
				t.Errorf("%v: header %x", r, p.octets[:40])
			}
			answered(t, tr, r.packet(t, unchanged, &layers.TCP{}, data(1424)), r.reason).icmp(t).is(t, r.typ, r.code, r.word)
			if r.typ != 2 {
				for n := 1100; n < 1300; n++ { // of which 1280 are in the answer
					answered(t, tr, r.packet(t, unchanged, &layers.UDP{}, data(n)), r.reason).icmp(t).is(t, r.typ, r.code, r.word)
				}
				answered(t, tr, r.packet(t, unchanged, &layers.UDP{}), r.reason).icmp(t).is(t, r.typ, r.code, r.word)
			}
			neverAnswered6(t, r)
		}
		// By default there is no 1/1: who scans our addresses is told nothing.
		tr := newTranslator(t)
		for _, r := range replies6 {
			if r.reason == clat.DropNoMapping {
				dropped(t, tr, r.packet(t, unchanged, &layers.UDP{}, data(33)), r.reason)
			}
		}
		// Nor is there one for what is dropped for another reason.
		tr = newTranslator(t, prohibited)
		dropped(t, tr, build(t, &layers.IPv6{SrcIP: ip("64:ff9b::127.0.0.1")}, &layers.UDP{}), clat.DropSpoofed)
		dropped(t, tr, build(t, &layers.IPv6{SrcIP: client6}, &layers.UDP{}), clat.DropSpoofed)
		dropped(t, tr, build(t, &layers.IPv6{SrcIP: native6, NextHeader: 2}, data(8)), clat.DropIGMP)
		// Where there is no mapping, a source route does not matter.
		routed := build(t, &layers.IPv6{SrcIP: native6}, routing(1), &layers.UDP{}, data(33))
		answered(t, tr, routed, clat.DropNoMapping).icmp(t).is(t, 1, 1, 0)
		dropped(t, newTranslator(t), routed, clat.DropNoMapping)
		for _, typ := range []uint8{1, 3, 128, 129, 135, 137} {
			silent(t, tr, typ, build(t, &layers.IPv6{SrcIP: native6}, routing(1), icmp6(typ, 0, 0), data(48)))
		}
		for setting, want := range map[string]bool{"": false, "translate.icmpv6-prohibited = true": true} {
			c, err := config.Parse("test.toml", []byte(setting))
			if err != nil || c.Translate.ICMPv6Prohibited != want {
				t.Errorf("%q: %+v, %v", setting, c, err)
			}
		}
	})

	t.Run("XLAT-ICMP-SRC", func(t *testing.T) {
		for _, r := range replies4 {
			whole := r.packet(t, unchanged, &layers.UDP{}, data(1464))
			answered(t, r.translator(t), whole, r.reason).fromTo(t, self4, client4)
			// Without an address of its own the translator says nothing: not from the host's, nor from any other.
			without := r.translator(t, func(o *siit.Options, s *eam.Spec) { o.Self4, s.Self4 = netip.Addr{}, netip.Addr{} })
			dropped(t, without, whole, r.reason)
		}
		// Its address may lie among those of the clients. Then no client has it.
		own := ip("100.64.0.1")
		tr := newTranslator(t, func(o *siit.Options, s *eam.Spec) {
			s.Ours = []eam.Mapping{mapping("100.64.0.0/24", "2001:db8:1:2::/120")}
			o.Self4, s.Self4 = addr(own), addr(own)
		})
		for _, client := range []net.IP{ip("100.64.0.2"), ip("100.64.0.255")} {
			in := build(t, &layers.IPv4{SrcIP: client, TTL: 1}, &layers.UDP{})
			if r := tr.translate(in); r.verdict != siit.Reply {
				t.Errorf("%v: %v", client, r.reason)
			} else {
				decode(t, r.out[0]).fromTo(t, own, client)
			}
		}
		dropped(t, tr, build(t, &layers.IPv4{SrcIP: own}, &layers.UDP{}), clat.DropSource)
		dropped(t, tr, build(t, &layers.IPv4{SrcIP: own, TTL: 1}, &layers.UDP{}), clat.DropSource)

		for _, r := range replies6 {
			whole := r.packet(t, unchanged, &layers.UDP{}, data(1424))
			p := answered(t, r.translator(t), whole, r.reason)
			p.fromTo(t, self6, ip(netip.AddrFrom16([16]byte(whole[8:24])).String()))
			// The client's own will do where there is no other.
			one := r.translator(t, func(o *siit.Options, _ *eam.Spec) { o.Self6 = addr(client6) })
			if got := one.translate(whole); got.verdict != siit.Reply {
				t.Errorf("%v: %v", r, got.reason)
			} else {
				decode(t, got.out[0]).fromTo(t, client6, p.dst())
			}
			without := r.translator(t, func(o *siit.Options, _ *eam.Spec) { o.Self6 = netip.Addr{} })
			dropped(t, without, whole, r.reason)
		}
		for setting, want := range map[string]string{
			"address.ipv6 = '2001:db8:1:2::c1a7'":                                           "2001:db8:1:2::c1a7",
			"address.ipv6 = '2001:db8:1:2::c1a7'\naddress.self-ipv6 = '2001:db8:1:2::5e1f'": "2001:db8:1:2::5e1f",
		} {
			if c, err := config.Parse("test.toml", []byte(setting)); err != nil || c.SelfIPv6().String() != want {
				t.Errorf("%q: %v, want %v", setting, err, want)
			}
		}

		c := config.Default()
		if host, _ := c.Interface.Host(); !c.Interface.SelfIPv4.Is4() || c.Interface.SelfIPv4 == host {
			t.Errorf("by default it is %v, and the host %v", c.Interface.SelfIPv4, host)
		}
		if _, err := config.Parse("test.toml", []byte("interface.ipv4 = '100.64.7.7/32'\ninterface.self-ipv4 = '100.64.7.7'")); err == nil {
			t.Error("the host's address was accepted")
		}
	})
}

// neverAnswered4 fails t where there must be no answer, though the packet earned it.
func neverAnswered4(t *testing.T, r reply4) {
	t.Helper()
	tr := r.translator(t)
	udp := func(changes func(*layers.IPv4)) []byte { return r.packet(t, changes, &layers.UDP{}, data(1464)) }
	received, _ := errors46.quoted(t, quotedUDP, 1400)
	for _, typ := range []uint8{3, 4, 5, 11, 12} {
		for _, code := range []uint8{0, 1, 3, 4, 13} {
			silent(t, tr, r, r.packet(t, unchanged, icmp4(typ, code, 0), payload(received)))
		}
		silent(t, tr, r, r.packet(t, func(h *layers.IPv4) { h.Flags |= layers.IPv4MoreFragments }, icmp4(typ, 0, 0), payload(received), data(4)))
	}
	silent(t, tr, r, r.packet(t, func(h *layers.IPv4) { h.Protocol = layers.IPProtocolICMPv4 })) // of which nobody can say that it is no error

	first := func(h *layers.IPv4) { h.Flags |= layers.IPv4MoreFragments }
	if got := tr.translate(udp(first)); got.verdict != siit.Reply || got.reason != r.reason {
		t.Errorf("%v: first fragment: %v", r, got.reason)
	}
	for _, offset := range []uint16{1, 185, 0x1f00} {
		silent(t, tr, r, udp(func(h *layers.IPv4) { h.FragOffset = offset }))
		silent(t, tr, r, udp(func(h *layers.IPv4) { h.FragOffset = offset; h.Flags |= layers.IPv4MoreFragments }))
	}
	for _, dst := range []string{"224.0.0.1", "224.0.0.251", "239.255.255.250", "255.255.255.255"} {
		silent(t, tr, r, udp(func(h *layers.IPv4) { h.DstIP = ip(dst) }))
	}
	for _, src := range []string{
		"0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.0.2", "198.51.100.5", self4.String(),
	} {
		silent(t, tr, r, udp(func(h *layers.IPv4) { h.SrcIP = ip(src) }))
	}

	in := udp(unchanged)
	for budget := range 4 {
		if n := answersWithin(tr, budget, in, in, in); n != budget {
			t.Errorf("%v: %d answers where %d were allowed", r, n, budget)
		}
	}
	dropped(t, r.translator(t, func(o *siit.Options, _ *eam.Spec) { o.NoErrors = true }), in, r.reason)
}

// neverAnswered6 is the same for IPv6, where 1/1 is no answer to any ICMPv6 message.
func neverAnswered6(t *testing.T, r reply6) {
	t.Helper()
	tr := r.translator(t)
	udp := func(changes func(*layers.IPv6)) []byte { return r.packet(t, changes, &layers.UDP{}, data(1424)) }
	quote := build(t, &layers.IPv6{SrcIP: client6, DstIP: peer6}, &layers.UDP{}, data(1376))
	for typ := range 256 {
		if typ < 128 || typ == 137 || r.typ == 1 { // 137: Redirect (RFC 4443, 2.4 (e.2))
			silent(t, tr, r, r.packet(t, unchanged, icmp6(uint8(typ), 0, 1400), payload(quote)))
		}
	}
	silent(t, tr, r, r.packet(t, unchanged, icmp6(100, 0, 0), payload(quote)))
	echo := r.packet(t, unchanged, icmp6(128, 0, 7), data(1424))
	if r.typ == 1 {
		silent(t, tr, r, echo)
	} else {
		answered(t, tr, echo, r.reason).icmp(t).is(t, r.typ, r.code, r.word)
	}

	fragment := func(next layers.IPProtocol, offset uint16, more bool) []byte {
		header := &layers.IPv6Fragment{NextHeader: next, FragmentOffset: offset, MoreFragments: more, Identification: 7}
		return r.packet(t, unchanged, header, payload(bytes.Repeat([]byte{128}, 1432))) // which looks like an echo request
	}
	for _, offset := range []uint16{0, 1, 179, 0x1f00} { // that it is not the first is no reason (RFC 4443, 2.4 (e)),
		if got := tr.translate(fragment(layers.IPProtocolUDP, offset, true)); got.verdict != siit.Reply || got.reason != r.reason {
			t.Errorf("%v: fragment at %d: %v", r, offset, got.reason)
		}
	}
	for _, offset := range []uint16{1, 179} { // but that nobody can say that it is no error is one
		silent(t, tr, r, fragment(layers.IPProtocolICMPv6, offset, true))
		silent(t, tr, r, fragment(layers.IPProtocolICMPv6, offset, false))
	}
	for _, dst := range []string{"ff02::1", "ff02::fb", "ff0e::101"} {
		silent(t, tr, r, udp(func(h *layers.IPv6) { h.DstIP = ip(dst) }))
	}
	for _, src := range []string{"::", "::1", "ff02::1", "fe80::1", client6.String(), "64:ff9b::127.0.0.1"} {
		silent(t, tr, r, udp(func(h *layers.IPv6) { h.SrcIP = ip(src); h.DstIP = client6 }))
	}

	in := udp(unchanged)
	for budget := range 4 {
		if n := answersWithin(tr, budget, in, in, in); n != budget {
			t.Errorf("%v: %d answers where %d were allowed", r, n, budget)
		}
	}
	dropped(t, r.translator(t, func(o *siit.Options, _ *eam.Spec) { o.NoErrors = true }), in, r.reason)
	dropped(t, r.translator(t, func(o *siit.Options, _ *eam.Spec) { o.Self6 = netip.Addr{} }), in, r.reason)
}
