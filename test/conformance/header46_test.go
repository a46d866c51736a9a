package conformance

import (
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/siit"
)

// becomes6 fails t unless in is translated into this header and what follows it, octet by octet. The header goes from the client to its
// peer with 63 hops left, unless it says otherwise.
func becomes6(t *testing.T, tr *translator, in []byte, header *layers.IPv6, rest ...gopacket.SerializableLayer) {
	t.Helper()
	fill(&header.SrcIP, client6)
	fill(&header.DstIP, peer6)
	if header.HopLimit == 0 {
		header.HopLimit = 63
	}
	same(t, "IPv6 packet", forward(t, tr, in).octets, build(t, slices.Concat(stack{header}, rest)...))
}

// transports are protocols of which each is translated in another way: as TCP, as UDP, as ICMP, and not at all.
var transports = []layers.IPProtocol{
	layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolICMPv4, layers.IPProtocolGRE,
}

// stack is what build takes: layers from the outside in.
type stack []gopacket.SerializableLayer

// transport is n octets of a protocol, of the ICMPs an echo request.
func transport(proto layers.IPProtocol, n int) stack {
	switch proto {
	case layers.IPProtocolTCP:
		return stack{&layers.TCP{}, data(n - 20)}
	case layers.IPProtocolUDP:
		return stack{&layers.UDP{}, data(n - 8)}
	case layers.IPProtocolICMPv4:
		return stack{icmp4(8, 0, 0x42420001), data(n - 8)}
	case layers.IPProtocolICMPv6:
		return stack{icmp6(128, 0, 0x42420001), data(n - 8)}
	}
	return stack{data(n)}
}

// in6 is the number that a protocol of IPv4 has in IPv6.
func in6(proto layers.IPProtocol) layers.IPProtocol {
	if proto == layers.IPProtocolICMPv4 {
		return layers.IPProtocolICMPv6
	}
	return proto
}

// sized4 is a packet of so many octets, the header's included.
func sized4(t *testing.T, length int, header layers.IPv4, proto layers.IPProtocol) []byte {
	t.Helper()
	header.Protocol = proto
	return build(t, append(stack{&header}, transport(proto, length-20-len(header.Padding))...)...)
}

// sized6 is the same in IPv6.
func sized6(t *testing.T, length int, header layers.IPv6, proto layers.IPProtocol) []byte {
	t.Helper()
	header.NextHeader = proto
	return build(t, append(stack{&header}, transport(proto, length-40)...)...)
}

// withTTL is the packet with another TTL, which may be 0.
func withTTL(p []byte, ttl uint8) []byte { return resealed(edited(p, 8, ttl)) }

// withTOS has every translated packet carry tos.
func withTOS(tos uint8) func(*siit.Options, *eam.Spec) {
	return func(o *siit.Options, _ *eam.Spec) { o.SetTOS, o.TOS = true, tos }
}

// The fields of the IPv6 header that have no test of their own below (RFC 7915, 4.1).
func TestHeaderFields46(t *testing.T) {
	tr := newTranslator(t)
	t.Run("all", func(t *testing.T) {
		becomes6(t, tr,
			build(t, &layers.IPv4{TOS: 0xb9, Id: 0xfedc, Flags: layers.IPv4DontFragment, TTL: 200}, &layers.UDP{}, data(33)),
			&layers.IPv6{TrafficClass: 0xb9, FlowLabel: 0, HopLimit: 199}, &layers.UDP{}, data(33))
	})
	t.Run("Traffic Class", func(t *testing.T) {
		for tos := range 256 {
			in := build(t, &layers.IPv4{TOS: uint8(tos)}, &layers.UDP{}, data(4))
			becomes6(t, tr, in, &layers.IPv6{TrafficClass: uint8(tos)}, &layers.UDP{}, data(4))
		}
	})
	t.Run("Traffic Class that was set", func(t *testing.T) {
		for _, set := range []uint8{0, 0xb8, 0xff} {
			tr := newTranslator(t, withTOS(set))
			for tos := range 256 {
				in := build(t, &layers.IPv4{TOS: uint8(tos)}, &layers.UDP{}, data(4))
				becomes6(t, tr, in, &layers.IPv6{TrafficClass: set}, &layers.UDP{}, data(4))
			}
			for _, f := range fragments(t, tr, sized4(t, 1500, layers.IPv4{TOS: 0x28}, layers.IPProtocolUDP)) {
				if f.v6.TrafficClass != set {
					t.Errorf("traffic class %#x of a fragment, want %#x", f.v6.TrafficClass, set)
				}
			}
		}
	})
	t.Run("Payload Length", func(t *testing.T) {
		for n := 1; n <= 1240; n++ {
			becomes6(t, tr, build(t, &layers.IPv4{Protocol: 47}, data(n)), &layers.IPv6{NextHeader: 47}, data(n))
		}
	})
}

func TestHeader46(t *testing.T) {
	tr := newTranslator(t)

	// gopacket writes what is in Padding as it is behind the IPv4 header, which makes options of all kinds, right or wrong.
	t.Run("XLAT-7915-4.1-1", func(t *testing.T) {
		for name, options := range map[string][]byte{
			"No Operation":          {1, 1, 1, 1},
			"End of Options":        {0, 0, 0, 0},
			"Record Route":          {7, 7, 4, 0, 0, 0, 0, 0},
			"Timestamp":             {68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0},
			"Security":              {130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
			"Router Alert":          {148, 4, 0, 0},
			"unknown":               {222, 4, 0xff, 0xff},
			"of no length":          {222, 0, 0xff, 0xff},
			"longer than there is":  {222, 40, 0xff, 0xff},
			"as many as there fit":  slices.Repeat([]byte{1}, 40),
			"of 36 octets":          slices.Repeat([]byte{148, 4, 0, 0}, 9),
			"Record Route, 9 slots": append([]byte{7, 39, 4, 39: 0}[:39], 0),
		} {
			t.Run(name, func(t *testing.T) {
				header := func() *layers.IPv4 { return &layers.IPv4{Padding: options} }
				becomes6(t, tr, build(t, header(), &layers.UDP{}, data(9)), &layers.IPv6{}, &layers.UDP{}, data(9))
				becomes6(t, tr, build(t, header(), &layers.TCP{SYN: true}), &layers.IPv6{}, &layers.TCP{SYN: true})
				becomes6(t, tr, build(t, header(), icmp4(8, 0, 0x10002), data(9)), &layers.IPv6{}, icmp6(128, 0, 0x10002), data(9))
				fragment := &layers.IPv4{Padding: options, Flags: layers.IPv4MoreFragments, FragOffset: 3, Id: 7, Protocol: 17}
				becomes6(t, tr, build(t, fragment, data(16)), &layers.IPv6{},
					&layers.IPv6Fragment{NextHeader: 17, FragmentOffset: 3, MoreFragments: true, Identification: 7}, data(16))
			})
		}
	})

	t.Run("XLAT-7915-4.1-2", func(t *testing.T) {
		const loose, strict = 131, 137
		for _, c := range []struct {
			name    string
			options []byte
			usedUp  bool // so that it is no matter any more
		}{
			{"loose, pointer 4 of 7", []byte{loose, 7, 4, 10, 0, 0, 1, 0}, false},
			{"loose, pointer 7 of 7", []byte{loose, 7, 7, 10, 0, 0, 1, 0}, false},
			{"loose, pointer 8 of 7", []byte{loose, 7, 8, 10, 0, 0, 1, 0}, true},
			{"loose, pointer 255 of 7", []byte{loose, 7, 255, 10, 0, 0, 1, 0}, true},
			{"strict, pointer 4 of 7", []byte{strict, 7, 4, 10, 0, 0, 1, 0}, false},
			{"strict, pointer 7 of 7", []byte{strict, 7, 7, 10, 0, 0, 1, 0}, false},
			{"strict, pointer 8 of 7", []byte{strict, 7, 8, 10, 0, 0, 1, 0}, true},
			{"one of two addresses left", []byte{loose, 11, 8, 10, 0, 0, 1, 10, 0, 0, 2, 0}, false},
			{"none of two addresses left", []byte{loose, 11, 12, 10, 0, 0, 1, 10, 0, 0, 2, 0}, true},
			{"no address at all", []byte{loose, 3, 4, 0}, true},
			{"behind No Operation", []byte{1, loose, 7, 4, 10, 0, 0, 1}, false},
			{"behind No Operation three times", []byte{1, 1, 1, strict, 7, 4, 10, 0, 0, 1, 0, 0}, false},
			{"behind Router Alert", []byte{148, 4, 0, 0, loose, 7, 4, 10, 0, 0, 1, 0}, false},
			{"behind Record Route", []byte{7, 7, 8, 10, 0, 0, 1, strict, 7, 4, 10, 0, 0, 1, 0, 0}, false},
			{"behind one that is used up", []byte{loose, 7, 8, 10, 0, 0, 1, strict, 7, 4, 10, 0, 0, 1, 0, 0}, false},
			{"in the last octets that there are", append(slices.Repeat([]byte{1}, 33), loose, 7, 4, 10, 0, 0, 1), false},
			{"behind the end of options", []byte{0, loose, 7, 4, 10, 0, 0, 1}, true},
			{"within another option", []byte{222, 8, loose, 7, 4, 10, 0, 0}, true},
			{"Record Route, pointer 4 of 7", []byte{7, 7, 4, 10, 0, 0, 1, 0}, true},
		} {
			t.Run(c.name, func(t *testing.T) {
				p := build(t, &layers.IPv4{Padding: c.options}, &layers.UDP{}, data(8))
				if c.usedUp {
					becomes6(t, tr, p, &layers.IPv6{}, &layers.UDP{}, data(8))
					return
				}
				answered(t, tr, p, clat.DropSourceRoute).icmp(t).is(t, 3, 5, 0)
				// Source routes are copied into all fragments, and later ones are never answered.
				later := &layers.IPv4{Padding: c.options, FragOffset: 100, Protocol: 17}
				dropped(t, tr, build(t, later, data(8)), clat.DropSourceRoute)
			})
		}
	})

	t.Run("XLAT-7915-4.1-4", func(t *testing.T) {
		transparent := newTranslator(t, func(o *siit.Options, _ *eam.Spec) { o.TTLTransparent = true })
		for _, proto := range transports {
			p := sized4(t, 100, layers.IPv4{}, proto)
			for ttl := range 256 {
				p := withTTL(p, uint8(ttl))
				if ttl <= 1 {
					answered(t, tr, p, clat.DropTTL).icmp(t).is(t, 11, 0, 0)
				} else if got := forward(t, tr, p).v6.HopLimit; int(got) != ttl-1 {
					t.Errorf("protocol %d: TTL %d became hop limit %d", proto, ttl, got)
				}
				if ttl >= 1 {
					if got := forward(t, transparent, p).v6.HopLimit; int(got) != ttl {
						t.Errorf("protocol %d: TTL %d became hop limit %d, although ttl-transparent", proto, ttl, got)
					}
				}
			}
		}
		for _, f := range fragments(t, tr, sized4(t, 4000, layers.IPv4{TTL: 2}, layers.IPProtocolUDP)) {
			if f.v6.HopLimit != 1 {
				t.Errorf("hop limit %d of a fragment, want 1", f.v6.HopLimit)
			}
		}
	})

	t.Run("XLAT-7915-4.5-ip", func(t *testing.T) {
		for n := range 256 {
			proto := layers.IPProtocol(n)
			switch proto {
			case 1, 6, 17, 33, 136: // ICMP, TCP, UDP, DCCP, UDP-Lite: these are known
				continue
			case 2: // IGMP
				continue
			case 0, 43, 44, 58, 60:
				// In IPv6 these would be Hop-by-Hop Options, Routing, Fragment, ICMPv6 and Destination Options.
				dropped(t, tr, build(t, &layers.IPv4{Protocol: proto}, data(64)), clat.DropProtocol)
				continue
			}
			for _, n := range []int{1, 7, 64, 1240} {
				becomes6(t, tr, build(t, &layers.IPv4{Protocol: proto}, data(n)), &layers.IPv6{NextHeader: proto}, data(n))
			}
			first := &layers.IPv4{Protocol: proto, Flags: layers.IPv4MoreFragments, Id: 9}
			becomes6(t, tr, build(t, first, data(64)), &layers.IPv6{},
				&layers.IPv6Fragment{NextHeader: proto, MoreFragments: true, Identification: 9}, data(64))
		}
	})

	t.Run("XLAT-1812-5.2.2", func(t *testing.T) {
		p := build(t, &layers.IPv4{Padding: []byte{1, 1, 1, 1}}, &layers.UDP{}, data(8))
		const header, whole = 24, 40
		becomes6(t, tr, p, &layers.IPv6{}, &layers.UDP{}, data(8))

		t.Run("length", func(t *testing.T) {
			dropped(t, tr, nil, clat.DropVersion)
			for n := 1; n < whole; n++ {
				dropped(t, tr, p[:n], clat.DropHeader)
			}
		})
		t.Run("version", func(t *testing.T) {
			for version := range byte(16) {
				switch version {
				case 4:
				case 6: // it is read as IPv6, of which Next Header is 0
					dropped(t, tr, edited(p, 0, 0x66), clat.DropExtension)
				default:
					dropped(t, tr, resealed(edited(p, 0, version<<4|6)), clat.DropVersion)
				}
			}
		})
		t.Run("header length", func(t *testing.T) {
			for words := range byte(5) {
				dropped(t, tr, resealed(edited(p, 0, 0x40|words)), clat.DropHeader)
			}
			dropped(t, tr, resealed(edited(p, 0, 0x40|whole/4+1)), clat.DropHeader)
		})
		t.Run("Total Length", func(t *testing.T) {
			for _, n := range []int{0, 1, 19, 20, header - 1, whole + 1, 2 * whole, 65535} {
				dropped(t, tr, resealed(edited(p, 2, byte(n>>8), byte(n))), clat.DropHeader)
			}
			// Nothing behind the header is a packet too. gopacket takes a length of 0 in IPv6 for a jumbogram (RFC 2675), and reads no such.
			nothing := tr.translate(build(t, &layers.IPv4{Padding: []byte{1, 1, 1, 1}, Protocol: 47}))
			want := build(t, &layers.IPv6{SrcIP: client6, DstIP: peer6, NextHeader: 47, HopLimit: 63}, data(1))[:40]
			if nothing.verdict != siit.Forward || len(nothing.out) != 1 {
				t.Fatalf("verdict %d, %d packets without payload, want one forwarded", nothing.verdict, len(nothing.out))
			}
			same(t, "packet without payload", nothing.out[0], edited(want, 4, 0, 0))
		})
		t.Run("checksum", func(t *testing.T) {
			for bit := range header * 8 {
				if r := tr.translate(edited(p, bit/8, p[bit/8]^0x80>>(bit%8))); r.verdict != siit.Drop {
					t.Errorf("verdict %d with bit %d of the header inverted", r.verdict, bit)
				}
			}
			for _, at := range []int{1, 4, 6, 8, 9, 10, 11, 12, 16, 20} {
				dropped(t, tr, edited(p, at, p[at]^1), clat.DropChecksum)
			}
			dropped(t, tr, edited(p, 10, 0, 0), clat.DropChecksum) // there is no "no checksum"
		})
		t.Run("padding", func(t *testing.T) {
			for _, n := range []int{1, 2, 6, 7, 46, 1500} {
				padding := slices.Repeat([]byte{0xff}, n)
				becomes6(t, tr, append(slices.Clone(p), padding...), &layers.IPv6{}, &layers.UDP{}, data(8))
				for _, proto := range transports {
					p := sized4(t, 45, layers.IPv4{}, proto)
					same(t, "with padding", forward(t, tr, append(slices.Clone(p), padding...)).octets, forward(t, tr, p).octets)
				}
				for _, f := range cut(t, sized4(t, 100, layers.IPv4{}, layers.IPProtocolUDP), 1, 48) {
					same(t, "fragment with padding", forward(t, tr, append(slices.Clone(f), padding...)).octets, forward(t, tr, f).octets)
				}
			}
			// What is too big with padding only is not too big.
			forward(t, tr, append(sized4(t, 1480, layers.IPv4{Flags: layers.IPv4DontFragment}, layers.IPProtocolUDP), make([]byte, 40)...))
		})
	})
}

// What is dropped without an answer, whatever else is wrong with it (RFC 7915, 4.1 and 4.2).
func TestSilence46(t *testing.T) {
	tr := newTranslator(t)
	// troubles are packets that would be answered if their addresses were others.
	troubles := func(t *testing.T, header layers.IPv4) [][]byte {
		plain, tooBig, sourceRoute, first := header, header, header, header
		tooBig.Flags = layers.IPv4DontFragment
		sourceRoute.Padding = []byte{131, 7, 4, 10, 0, 0, 1, 0}
		first.Flags = layers.IPv4MoreFragments
		return [][]byte{
			sized4(t, 100, plain, layers.IPProtocolUDP),
			sized4(t, 100, plain, layers.IPProtocolTCP),
			sized4(t, 100, plain, layers.IPProtocolICMPv4),
			sized4(t, 100, plain, layers.IPProtocolSCTP),
			withTTL(sized4(t, 100, plain, layers.IPProtocolUDP), 1),
			sized4(t, 4000, plain, layers.IPProtocolUDP),
			sized4(t, 1500, tooBig, layers.IPProtocolUDP),
			sized4(t, 100, sourceRoute, layers.IPProtocolUDP),
			sized4(t, 100, first, layers.IPProtocolUDP),
		}
	}

	t.Run("XLAT-7915-4.1-3", func(t *testing.T) {
		illegal := []string{
			"0.0.0.0", "0.255.255.255", "127.0.0.1", "127.255.255.255", "224.0.0.1", "239.255.255.255",
			"240.0.0.1", "255.255.255.254", "255.255.255.255",
		}
		for _, src := range slices.Concat(illegal, []string{"192.0.0.2", "10.0.0.1", peer4.String(), self4.String()}) {
			for _, p := range troubles(t, layers.IPv4{SrcIP: ip(src)}) {
				dropped(t, tr, p, clat.DropSource)
			}
		}
		clients := newTranslator(t, func(_ *siit.Options, s *eam.Spec) {
			s.Ours = []eam.Mapping{mapping("192.0.2.16/28", "2001:db8:c::/124")}
		})
		for src, ours := range map[string]bool{"192.0.2.15": false, "192.0.2.16": true, "192.0.2.31": true, "192.0.2.32": false} {
			p := build(t, &layers.IPv4{SrcIP: ip(src)}, &layers.UDP{})
			if ours {
				forward(t, clients, p)
			} else {
				dropped(t, clients, p, clat.DropSource)
			}
		}
		// Within an ICMP error, where the client tells what it got, illegal sources are translated.
		for _, src := range illegal {
			quote := build(t, &layers.IPv4{SrcIP: ip(src), DstIP: client4}, &layers.UDP{}, data(8))
			p := forward(t, tr, build(t, &layers.IPv4{}, icmp4(3, 3, 0), payload(quote)))
			p.icmp(t).quoted(t).fromTo(t, wellKnown(ip(src)), client6)
		}
	})

	t.Run("XLAT-7915-4.2-igmp", func(t *testing.T) {
		membership := payload([]byte{0x22, 0, 0xf9, 0xfd, 0, 0, 0, 1, 4, 0, 0, 0, 224, 0, 0, 251}) // RFC 3376, 4.2
		for _, dst := range []string{"224.0.0.22", "224.0.0.1", "224.0.0.251", peer4.String()} {
			for _, ttl := range []uint8{1, 64} {
				routerAlert := &layers.IPv4{DstIP: ip(dst), TTL: ttl, Protocol: layers.IPProtocolIGMP, Padding: []byte{148, 4, 0, 0}}
				dropped(t, tr, build(t, routerAlert, membership), clat.DropIGMP)
				dropped(t, tr, build(t, &layers.IPv4{DstIP: ip(dst), TTL: ttl, Protocol: layers.IPProtocolIGMP}, membership), clat.DropIGMP)
			}
		}
		dns := &layers.UDP{SrcPort: 5353, DstPort: 5353}
		dropped(t, tr, build(t, &layers.IPv4{DstIP: ip("224.0.0.251"), TTL: 255}, dns, data(40)), clat.DropMulticast)
		groups := []string{"224.0.0.0", "224.0.0.1", "224.0.0.251", "232.1.2.3", "239.255.255.250", "239.255.255.255"}
		for _, dst := range append(groups, "255.255.255.255") {
			for _, p := range troubles(t, layers.IPv4{DstIP: ip(dst)}) {
				dropped(t, tr, p, clat.DropMulticast)
			}
		}
		forward(t, tr, build(t, &layers.IPv4{DstIP: ip("223.255.255.255")}, &layers.UDP{}))
	})
}
