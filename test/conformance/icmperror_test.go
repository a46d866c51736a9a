package conformance

import (
	"encoding/binary"
	"encoding/hex"
	"net"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/pref64"
	"uclat/clat/siit"
)

// The packet that an ICMP error quotes (RFC 7915, 4.3 and 5.3).
func TestQuotedPackets(t *testing.T) {
	t.Run("XLAT-7915-4.3-1", quotedFields)
	t.Run("XLAT-7915-4.3-2", errorsAboutErrors)
	t.Run("XLAT-7915-4.3-3", func(t *testing.T) {
		tr := newTranslator(t)
		for _, w := range errorWays {
			// Each of both headers grows or shrinks by 20 octets.
			for n := range 600 {
				before, after := w.quoted(t, quotedUDP, n)
				in := w.timeExceeded(t, before)
				p := forward(t, tr, in)
				if grown := len(p.octets) - len(in); quotedLength(p) != len(p.octets) || grown != 2*(w.toward-w.header) {
					t.Errorf("%s: %d octets more, and the header says %d of %d", w.name, grown, quotedLength(p), len(p.octets))
				}
				p.quotes(t, after)
			}
			before, _ := w.quoted(t, quotedUDP, 400)
			for _, fragment := range cut(t, before, 1, 136) { // and by the 8 of a Fragment Header
				in := w.timeExceeded(t, fragment)
				grown := len(forward(t, tr, in).octets) - len(in)
				if want := map[errorWay]int{errors46: 48, errors64: -48}[w]; grown != want {
					t.Errorf("%s: about a fragment %d octets more, want %d", w.name, grown, want)
				}
			}
		}
		// From a router on the way: a Packet Too Big about a segment of 1480 octets, of which it quotes 68.
		in := unhex(t, "60000000004c3a3f20010db8ffff0000000000000000000120010db800010002000000000000c1a7020074ad000005786000000005a0063c"+
			"20010db800010002000000000000c1a70064ff9b0000000000000000c6336405c000005000000001000000005010ffffd05a00000000000000000000")
		want := unhex(t, "4500004c000000003e01fca7c0000008c00000010304e778000005644500"+
			"05b4000040003c064f0ac0000001c6336405c000005000000001000000005010ffffffbc00000000000000000000")
		out := forward(t, tr, in).octets
		same(t, "Fragmentation Needed", out, withIdentification(t, want, out))
	})
	t.Run("XLAT-7915-4.3-4", func(t *testing.T) {
		tr := newTranslator(t)
		for _, w := range errorWays {
			for _, c := range contents {
				for _, total := range []int{128, 576, 1280, 1480, 1500, 9000} {
					_, head := w.quoted(t, c, 0)
					before, after := w.quoted(t, c, total-len(head))
					for _, keep := range []int{8, 28, 64} { // octets behind the quoted IP header
						p := forward(t, tr, w.timeExceeded(t, before[:w.header+keep]))
						p.quotes(t, after[:w.toward+keep])
						if got := quotedLength(p.icmp(t).quoted(t)); got != total {
							t.Errorf("%s: %d octets of %s, want %d", w.name, got, c.name, total)
						}
					}
				}
			}
		}
		// Payload Length 1440, of which 28 octets are there.
		before, _ := errors64.quoted(t, quotedUDP, 1432)
		if got := forward(t, tr, errors64.timeExceeded(t, before[:68])).icmp(t).quoted(t).v4.Length; got != 1460 {
			t.Errorf("Total Length %d, want 1460", got)
		}
		// Extension headers do not count in IPv4, and Fragment Headers come and go.
		sent := build(t, &layers.IPv6{SrcIP: client6, DstIP: peer6}, hopByHop(16), destinationOptions(8), &layers.UDP{}, data(1400))
		if got := forward(t, tr, errors64.timeExceeded(t, sent[:100])).icmp(t).quoted(t).v4.Length; got != 1428 {
			t.Errorf("Total Length %d without the extension headers, want 1428", got)
		}
		for _, w := range errorWays {
			before, after := w.quoted(t, quotedUDP, 4000)
			becomes := cut(t, after, 1, 1400)
			for i, fragment := range cut(t, before, 1, 1400) {
				p := forward(t, tr, w.timeExceeded(t, fragment[:100]))
				if got := quotedLength(p.icmp(t).quoted(t)); got != len(becomes[i]) {
					t.Errorf("%s: fragment of %d octets, want %d", w.name, got, len(becomes[i]))
				}
			}
		}
		// As long as a packet can be. IPv6 can be longer than IPv4.
		received, _ := errors46.quoted(t, quotedUDP, 20)
		p := forward(t, tr, errors46.timeExceeded(t, withLength(received, 65535)))
		if got := p.icmp(t).quoted(t).v6.Length; got != 65515 {
			t.Errorf("Payload Length %d, want 65515", got)
		}
		before, _ = errors64.quoted(t, quotedUDP, 20)
		p = forward(t, tr, errors64.timeExceeded(t, withLength(before, 40+65515)))
		if got := p.icmp(t).quoted(t).v4.Length; got != 65535 {
			t.Errorf("Total Length %d, want 65535", got)
		}
		dropped(t, tr, errors64.timeExceeded(t, withLength(before, 40+65516)), clat.DropICMPInner)
	})
	t.Run("XLAT-7915-4.3-5", quotedChecksums)
	t.Run("XLAT-7915-4.3-6", quotesOfOthers)
	t.Run("XLAT-7915-4.3-7", func(t *testing.T) {
		tr := newTranslator(t)
		for words := 5; words <= 15; words++ {
			header := &layers.IPv4{SrcIP: peer4, DstIP: client4}
			for range words - 5 {
				const routerAlert = 148
				header.Options = append(header.Options, layers.IPv4Option{OptionType: routerAlert, OptionLength: 4, OptionData: []byte{0, 0}})
			}
			whole := build(t, header, &layers.UDP{}, data(200))
			after := build(t, &layers.IPv6{}, &layers.UDP{}, data(200))
			for n := range len(whole) + 1 {
				in := errors46.timeExceeded(t, whole[:n])
				if n < words*4+8 {
					dropped(t, tr, in, clat.DropICMPInner)
				} else {
					forward(t, tr, in).quotes(t, after[:40+n-words*4])
				}
			}
		}
		// Nor is this the header of a packet, whatever there is behind it.
		quote, _ := errors46.quoted(t, quotedUDP, 40)
		for _, bad := range [][]byte{
			edited(quote, 0, 0x44), edited(quote, 0, 0x40), // shorter than it can be
			edited(quote, 0, 0x65), edited(quote, 0, 0x05), // another version
			edited(quote, 2, 0, 19), edited(quote, 2, 0, 0), // shorter than its header
		} {
			dropped(t, tr, errors46.timeExceeded(t, bad), clat.DropICMPInner)
		}
	})
}

// quotedFields: what is quoted becomes what the packet itself would have become, but for its time to live.
func quotedFields(t *testing.T) {
	tr := newTranslator(t)
	for _, w := range errorWays {
		for _, c := range contents {
			for _, hops := range []uint8{0, 1, 2, 64, 255} {
				for _, tos := range []uint8{0, 0x03, 0xb8, 0xff} {
					before, after := w.quotedWith(t, c, 57, tos, hops)
					forward(t, tr, w.timeExceeded(t, before)).quotes(t, after)
				}
			}
		}
		for _, c := range []content{quotedUDP, quotedTCP, quotedSCTP} {
			before, after := w.quoted(t, c, 400)
			const id = 0xfedc
			becomes := cut(t, after, id, 136)
			for i, fragment := range cut(t, before, id, 136) {
				forward(t, tr, w.timeExceeded(t, fragment)).quotes(t, becomes[i])
			}
		}
		// ICMP in fragments is not translated, and so not quoted.
		for _, c := range []content{quotedRequest, quotedReply} {
			before, _ := w.quoted(t, c, 400)
			for _, fragment := range cut(t, before, 1, 136) {
				dropped(t, tr, w.timeExceeded(t, fragment), clat.DropICMPInner)
			}
		}
		// A fixed TOS is that of what we send, not of what is quoted; and what is left of the hops is the message's own as well.
		fixed := newTranslator(t, func(o *siit.Options, _ *eam.Spec) { o.SetTOS, o.TOS = true, 0x28 })
		before, after := w.quotedWith(t, quotedUDP, 57, 0xb8, 17)
		p := forward(t, fixed, w.timeExceeded(t, before))
		p.quotes(t, after)
		if p.v4 != nil && (p.v4.TOS != 0x28 || p.v4.TTL != 63) || p.v6 != nil && (p.v6.TrafficClass != 0x28 || p.v6.HopLimit != 63) {
			t.Errorf("%s: header %x", w.name, p.octets[:w.toward])
		}
	}

	// Protocol numbers that mean something else in the other family.
	received, _ := errors46.quoted(t, quotedESP, 64)
	for _, protocol := range []byte{0, 43, 44, 58, 60} {
		dropped(t, tr, errors46.timeExceeded(t, resealed(edited(received, 9, protocol))), clat.DropICMPInner)
	}
	sent, becomes := errors64.quoted(t, quotedUDP, 400)
	dropped(t, tr, errors64.timeExceeded(t, edited(sent, 6, 1)), clat.DropICMPInner)

	// IPv4 has room for the lower half of an Identification.
	p := forward(t, tr, errors64.timeExceeded(t, cut(t, sent, 0x12345678, 136)[1]))
	p.quotes(t, cut(t, becomes, 0x5678, 136)[1])

	// DF follows from the length of the whole in IPv4 (RFC 7915, 5.1).
	for total := 1259; total <= 1262; total++ {
		before, after := errors64.quoted(t, quotedUDP, total-28)
		forward(t, tr, errors64.timeExceeded(t, before[:100])).quotes(t, after[:80])
	}

	// Extension headers are skipped, also beside the Fragment header of what is no fragment.
	for _, chain := range [][]gopacket.SerializableLayer{
		{hopByHop(8)},
		{hopByHop(16), destinationOptions(8), routing(0)},
		{&layers.IPv6Fragment{Identification: 0x12345678}},
		{destinationOptions(24), &layers.IPv6Fragment{Identification: 0x12345678}},
	} {
		_, atomic := chain[len(chain)-1].(*layers.IPv6Fragment)
		ends := []gopacket.SerializableLayer{&layers.UDP{}, data(33)}
		quote := build(t, slices.Concat([]gopacket.SerializableLayer{&layers.IPv6{SrcIP: client6, DstIP: peer6}}, chain, ends)...)
		p := forward(t, tr, errors64.timeExceeded(t, quote))
		p.quotes(t, build(t, &layers.IPv4{}, &layers.UDP{}, data(33)))
		if id := p.icmp(t).quoted(t).v4.Id; atomic && id != 0x5678 {
			t.Errorf("Identification %#x of an atomic fragment, want 0x5678", id)
		}
	}
}

// errorsAboutErrors: of all ICMP, only echo messages may be quoted.
func errorsAboutErrors(t *testing.T) {
	tr := newTranslator(t)
	for _, w := range errorWays {
		about := []struct{ typ, code uint8 }{{3, 0}, {3, 3}, {3, 4}, {11, 0}, {12, 0}}
		if w == errors64 {
			about = []struct{ typ, code uint8 }{{1, 0}, {1, 4}, {2, 0}, {3, 0}, {4, 1}}
		}
		innermost, _ := w.quoted(t, quotedUDP, 60)
		for typ := range 256 {
			quote, _ := w.quoted(t, content{
				four: func(int) []gopacket.SerializableLayer {
					return []gopacket.SerializableLayer{icmp4(uint8(typ), 0, 0), payload(innermost)}
				},
				six: func(int) []gopacket.SerializableLayer {
					return []gopacket.SerializableLayer{icmp6(uint8(typ), 0, 0), payload(innermost)}
				},
			}, 0)
			for _, e := range about {
				const mtu = 1400 // unused, or a pointer that is lost, in the others
				if in := w.message(t, e.typ, e.code, mtu, quote); typ == int(w.request) || typ == int(w.reply) {
					forward(t, tr, in)
				} else {
					dropped(t, tr, in, clat.DropICMPInner)
				}
			}
		}
	}
}

// quotedChecksums: the checksum of a quoted transport header is that of the whole packet, of which the rest is not there.
func quotedChecksums(t *testing.T) {
	tr := newTranslator(t)
	for _, w := range errorWays {
		for _, c := range contents {
			before, after := w.quoted(t, c, 1000)
			for keep := 8; keep <= 40; keep++ { // octets behind the quoted IP header
				want := after[:w.toward+keep]
				if c.name == "TCP" && keep == 17 { // of half a checksum nothing can be said
					want = edited(want, w.toward+16, before[w.header+16])
				}
				forward(t, tr, w.timeExceeded(t, before[:w.header+keep])).quotes(t, want)
			}
		}
		// It is not verified: a wrong one stays wrong by as much.
		for _, c := range []content{quotedUDP, quotedTCP} {
			before, after := w.quoted(t, c, 100)
			field := map[string]int{"UDP": 6, "TCP": 16}[c.name]
			for _, wrong := range []uint16{1, 0x100, 0x1234} {
				forward(t, tr, w.timeExceeded(t, summed(before, w.header+field, wrong))).quotes(t, summed(after, w.toward+field, wrong))
			}
		}
		before, after := w.quoted(t, quotedUDP, 100)
		none := edited(before, w.header+6, 0, 0) // UDP without a checksum gets none: it cannot be made of a part
		forward(t, tr, w.timeExceeded(t, none)).quotes(t, edited(after, w.toward+6, 0, 0))
		lying := edited(before, w.header+4, 0xff, 0xff) // a length that covers more than there is
		forward(t, tr, w.timeExceeded(t, lying)).quotes(t, edited(after, w.toward+4, 0xff, 0xff))
		// DCCP and UDP-Lite have it where UDP has, and over the same addresses.
		for _, protocol := range []uint8{33, 136} {
			before, after := before, after
			if w == errors46 {
				before, after = resealed(edited(before, 9, protocol)), edited(after, 6, protocol)
			} else {
				before, after = edited(before, 6, protocol), resealed(edited(after, 9, protocol))
			}
			forward(t, tr, w.timeExceeded(t, before[:w.header+12])).quotes(t, after[:w.toward+12])
		}
	}
	// The addresses are those of the quoted packet, not those of the error: a router may be neither of its ends.
	tr = newTranslator(t, func(_ *siit.Options, s *eam.Spec) {
		s.Ours = append(s.Ours, mapping("192.0.0.3/32", "2001:db8:9::7/128"))
	})
	for _, c := range []content{quotedUDP, quotedTCP} {
		before, after := errors46.quoted(t, c, 100)
		forward(t, tr, build(t, &layers.IPv4{SrcIP: ip("192.0.0.3")}, icmp4(11, 0, 0), payload(before))).quotes(t, after)
		before, after = errors64.quoted(t, c, 100)
		for _, from := range []net.IP{mappedRouter6, router6, ip("fe80::1")} {
			forward(t, tr, build(t, &layers.IPv6{SrcIP: from}, icmp6(3, 0, 0), payload(before))).quotes(t, after)
		}
	}
	// IPv6 errors have no least quote.
	for _, c := range []content{quotedUDP, quotedTCP, quotedSCTP} {
		before, after := errors64.quoted(t, c, 100)
		for keep := range 8 {
			want := slices.Clone(after[:20+keep])
			copy(want[20:], before[40:40+keep])
			forward(t, tr, errors64.timeExceeded(t, before[:40+keep])).quotes(t, want)
		}
	}
}

// summed is p with so much more in the checksum at that octet, in ones' complement.
func summed(p []byte, at int, more uint16) []byte {
	sum := uint32(binary.BigEndian.Uint16(p[at:])) + uint32(more)
	return edited(p, at, binary.BigEndian.AppendUint16(nil, uint16(sum+sum>>16))...)
}

// quotesOfOthers: an error about what we did not send through the translator is none of ours, wherever it comes from.
func quotesOfOthers(t *testing.T) {
	other4, other6 := ip("192.0.0.2"), ip("2001:db8:1:2::c1a8") // a second client
	mapped6 := ip("2001:db8:77::1")                             // a host with an explicit mapping
	tr := newTranslator(t, func(_ *siit.Options, s *eam.Spec) {
		s.Ours = append(s.Ours, mapping(other4.String()+"/32", other6.String()+"/128"))
		s.Map = []eam.Mapping{mapping("203.0.113.7/32", mapped6.String()+"/128")}
		s.PREF64 = append(s.PREF64, pref64.MustParse("2001:db8:64::/96")) // the one before, of which flows may be left
	})
	about := func(src, dst net.IP) []byte {
		return build(t, &layers.IPv6{SrcIP: src, DstIP: dst}, &layers.UDP{}, data(33))
	}
	for _, from := range []net.IP{peer6, mappedRouter6, router6, ip("fe80::1"), mapped6} {
		for _, m := range []struct {
			typ, code uint8
			word      uint32
		}{{1, 0, 0}, {1, 4, 0}, {2, 0, 1400}, {3, 0, 0}, {4, 0, 6}, {4, 1, 6}} {
			report := func(quote []byte) []byte {
				return build(t, &layers.IPv6{SrcIP: from}, icmp6(m.typ, m.code, m.word), payload(quote))
			}
			for _, c := range []struct{ dst6, dst4 net.IP }{
				{peer6, peer4}, {mapped6, ip("203.0.113.7")}, {ip("2001:db8:64::198.51.100.5"), peer4},
			} {
				p := forward(t, tr, report(about(client6, c.dst6)))
				p.icmp(t).quoted(t).fromTo(t, client4, c.dst4)
				if !p.dst().Equal(client4) {
					t.Errorf("to %v", p.dst())
				}
			}
			for _, c := range []struct{ src, dst net.IP }{
				{native6, peer6}, {peer6, peer6}, {mapped6, peer6}, // another's packet
				{other6, peer6},                                                // another client's, who is not told of it
				{client6, native6}, {client6, ip("2001:db8:65::198.51.100.5")}, // one that was not translated
				{client6, client6}, {client6, other6}, // or is among us
				{peer6, client6}, {native6, client6}, // what we received
			} {
				dropped(t, tr, report(about(c.src, c.dst)), clat.DropICMPInner)
			}
		}
	}
}

// The checksum of the message itself, and its size.
func TestICMPErrorMessages(t *testing.T) {
	t.Run("XLAT-5508-3", func(t *testing.T) {
		tr := newTranslator(t)
		for _, w := range errorWays {
			quote, _ := w.quoted(t, quotedUDP, 33)
			all := [][]byte{w.message(t, w.request, 0, 7, data(33)), w.message(t, w.reply, 0, 7, data(33)), w.timeExceeded(t, quote)}
			if w == errors46 {
				all = append(all, w.message(t, 3, 3, 0, quote), w.message(t, 3, 4, 1400, quote), w.message(t, 12, 0, 0, quote))
			} else {
				all = append(all, w.message(t, 1, 4, 0, quote), w.message(t, 2, 0, 1400, quote), w.message(t, 4, 0, 0, quote))
			}
			for _, in := range all {
				forward(t, tr, in)
				for bit := range (len(in) - w.header) * 8 {
					at := w.header + bit/8
					dropped(t, tr, edited(in, at, in[at]^1<<(bit%8)), clat.DropTransport)
				}
			}
		}
		// Of a router without an IPv4 address.
		quote, _ := errors64.quoted(t, quotedUDP, 33)
		in := build(t, &layers.IPv6{SrcIP: router6}, icmp6(2, 0, 1400), payload(quote))
		for at := 41; at < len(in); at++ {
			dropped(t, tr, edited(in, at, in[at]^0x10), clat.DropTransport)
		}
		// Nor is the checksum of the other family right: ICMPv6 counts the addresses, ICMPv4 does not.
		for _, w := range errorWays {
			in := w.message(t, w.request, 0, 7, data(33))
			sum := gopacket.ComputeChecksum(edited(in, w.header+2, 0, 0)[w.header:], 0)
			if w == errors46 {
				pseudo := slices.Concat(client6, peer6, []byte{0, 0, 0, byte(len(in) - w.header), 0, 0, 0, 58})
				sum = gopacket.ComputeChecksum(pseudo, sum)
			}
			other := binary.BigEndian.AppendUint16(nil, gopacket.FoldChecksum(sum))
			dropped(t, tr, edited(in, w.header+2, other...), clat.DropTransport)
		}
	})

	t.Run("XLAT-4443-2.4c", func(t *testing.T) {
		tr := newTranslator(t)
		// IPv6 errors are no longer than what passes everywhere; they lose the end of what they quote.
		for _, c := range contents {
			before, after := errors46.quoted(t, c, 1400)
			for n := 1100; n <= len(before); n++ {
				in := errors46.timeExceeded(t, before[:n])
				p := forward(t, tr, in)
				if want := min(len(in)+40, 1280); len(p.octets) != want {
					t.Errorf("%d octets of ICMPv4 became %d, want %d", len(in), len(p.octets), want)
				}
				p.quotes(t, after[:len(p.octets)-48])
			}
			for _, m := range []struct{ typ, code uint8 }{{3, 3}, {3, 4}, {12, 0}} {
				if p := forward(t, tr, errors46.message(t, m.typ, m.code, 0, before)); len(p.octets) != 1280 {
					t.Errorf("%d/%d became %d octets", m.typ, m.code, len(p.octets))
				}
			}
		}
		before, after := errors46.quoted(t, quotedUDP, 3000)
		becomes := cut(t, after, 1, 1400)
		for i, fragment := range cut(t, before, 1, 1400)[:2] { // whose Fragment header takes room, too
			p := forward(t, tr, errors46.timeExceeded(t, fragment))
			p.quotes(t, becomes[i][:1280-48])
		}
		// It is so whatever IPv6 takes here, and also where IPv4 forbids to fragment it.
		large := newTranslator(t, mtus(9000, 9000), func(o *siit.Options, _ *eam.Spec) { o.LowestMTU6 = 9000 })
		before, _ = errors46.quoted(t, quotedUDP, 8000)
		in := resealed(edited(errors46.timeExceeded(t, before), 6, 0x40))
		if p := forward(t, large, in); len(p.octets) != 1280 {
			t.Errorf("%d octets became %d", len(in), len(p.octets))
		}
		small := newTranslator(t, mtus(1280, 1260))
		if p := forward(t, small, in); len(p.octets) != 1280 {
			t.Errorf("%d octets became %d", len(in), len(p.octets))
		}

		// Toward IPv4 it shrinks, and what fits is kept.
		before, after = errors64.quoted(t, quotedUDP, 1400)
		for n := 1200; n <= len(before); n++ {
			forward(t, tr, errors64.timeExceeded(t, before[:n])).quotes(t, after[:n-20])
		}
		for _, mtu := range []int{68, 576, 1000, 1239, 1240, 1241} {
			p := forward(t, newTranslator(t, mtus(1500, mtu)), errors64.timeExceeded(t, before[:1280-48]))
			if want := min(1240, mtu); len(p.octets) != want {
				t.Errorf("1280 octets of ICMPv6 became %d, want %d", len(p.octets), want)
			}
			p.quotes(t, after[:len(p.octets)-28])
		}
	})
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
