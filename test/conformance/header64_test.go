package conformance

import (
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

// becomes4 fails t unless in is translated into this header and what follows it, octet by octet. The header goes from the peer to the
// client with 63 hops left, unless it says otherwise. Its identification may be any where it is 0: a test of its own looks at that.
func becomes4(t *testing.T, tr *translator, in []byte, header *layers.IPv4, rest ...gopacket.SerializableLayer) {
	t.Helper()
	fill(&header.SrcIP, peer4)
	fill(&header.DstIP, client4)
	if header.TTL == 0 {
		header.TTL = 63
	}
	got := forward(t, tr, in)
	if header.Id == 0 {
		header.Id = got.v4.Id
	}
	same(t, "IPv4 packet", got.octets, build(t, slices.Concat(stack{header}, rest)...))
}

// The fields of the IPv4 header that have no test of their own below (RFC 7915, 5.1).
func TestHeaderFields64(t *testing.T) {
	tr := newTranslator(t)
	t.Run("all", func(t *testing.T) {
		becomes4(t, tr, build(t, &layers.IPv6{TrafficClass: 0xb9, FlowLabel: 0xfffff, HopLimit: 200}, &layers.UDP{}, data(33)),
			&layers.IPv4{TOS: 0xb9, TTL: 199}, &layers.UDP{}, data(33))
		becomes4(t, tr, build(t, &layers.IPv6{TrafficClass: 0x46, FlowLabel: 0xfffff, HopLimit: 200}, &layers.UDP{}, data(1433)),
			&layers.IPv4{TOS: 0x46, Flags: layers.IPv4DontFragment, TTL: 199}, &layers.UDP{}, data(1433))
	})
	t.Run("TOS", func(t *testing.T) {
		for tc := range 256 {
			in := build(t, &layers.IPv6{TrafficClass: uint8(tc), FlowLabel: 0xf0f0f}, &layers.UDP{}, data(4))
			becomes4(t, tr, in, &layers.IPv4{TOS: uint8(tc)}, &layers.UDP{}, data(4))
		}
	})
	t.Run("TOS that was set", func(t *testing.T) {
		for _, set := range []uint8{0, 0xb8, 0xff} {
			tr := newTranslator(t, withTOS(set), sizes4(1000))
			for tc := range 256 {
				in := build(t, &layers.IPv6{TrafficClass: uint8(tc), FlowLabel: 0xf0f0f}, &layers.UDP{}, data(4))
				becomes4(t, tr, in, &layers.IPv4{TOS: set}, &layers.UDP{}, data(4))
			}
			for _, f := range fragments(t, tr, sized6(t, 1280, layers.IPv6{TrafficClass: 0x28}, layers.IPProtocolUDP)) {
				if f.v4.TOS != set {
					t.Errorf("TOS %#x of a fragment, want %#x", f.v4.TOS, set)
				}
			}
		}
	})
	t.Run("Total Length", func(t *testing.T) {
		for n := 1; n <= 1440; n++ {
			header := &layers.IPv4{Protocol: 47}
			if n > 1240 {
				header.Flags = layers.IPv4DontFragment
			}
			becomes4(t, tr, build(t, &layers.IPv6{NextHeader: 47}, data(n)), header, data(n))
		}
		// Octets beyond Payload Length are padding of the link below.
		for _, proto := range transports {
			p := sized6(t, 65, layers.IPv6{}, in6(proto))
			padded := append(slices.Clone(p), slices.Repeat([]byte{0xff}, 6)...)
			same(t, "payload", forward(t, tr, padded).payload, forward(t, tr, p).payload)
		}
	})
}

// unanswered6 wants silence for that reason about ICMPv6 errors and Redirects (RFC 4443, 2.4 (e)) with these headers, which earn
// an answer to anything else, echo messages among it.
func unanswered6(t *testing.T, tr *translator, reason clat.DropReason, header layers.IPv6, others ...gopacket.SerializableLayer) {
	t.Helper()
	quote := build(t, &layers.IPv6{SrcIP: client6, DstIP: peer6}, &layers.UDP{}, data(33))
	message := func(typ uint8) []byte {
		return build(t, slices.Concat(stack{&header}, others, stack{icmp6(typ, 0, 1400), payload(quote)})...)
	}
	const redirect = 137
	for typ := range uint8(128) {
		dropped(t, tr, message(typ), reason)
	}
	dropped(t, tr, message(redirect), reason)
	for _, typ := range []uint8{128, 129, redirect - 1, redirect + 1, 255} {
		answered(t, tr, message(typ), reason)
	}
}

// longOptions is a Hop-by-Hop Options header of any length that there is, up to 2048 octets. One option alone holds 255.
func longOptions(octets int) *layers.IPv6HopByHop {
	padding := &layers.IPv6HopByHopOption{OptionType: 1, OptionData: make([]byte, 6)}
	return &layers.IPv6HopByHop{Options: append(hopByHop(8).Options, slices.Repeat([]*layers.IPv6HopByHopOption{padding}, octets/8-1)...)}
}

func TestHeader64(t *testing.T) {
	tr := newTranslator(t)

	t.Run("XLAT-7915-5.1-1", func(t *testing.T) {
		skipped := []func() gopacket.SerializableLayer{
			func() gopacket.SerializableLayer { return hopByHop(8) },
			func() gopacket.SerializableLayer { return destinationOptions(16) },
			func() gopacket.SerializableLayer { return routing(0) },
			func() gopacket.SerializableLayer { return hopByHop(256) },
			func() gopacket.SerializableLayer { return longOptions(264) },
			func() gopacket.SerializableLayer { return longOptions(2048) },
		}
		t.Run("chains", func(t *testing.T) {
			for _, a := range skipped {
				for _, proto := range []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolICMPv4} {
					in := build(t, append(stack{&layers.IPv6{}, a()}, transport(in6(proto), 100)...)...)
					becomes4(t, tr, in, &layers.IPv4{}, transport(proto, 100)...)
				}
				for _, b := range skipped {
					becomes4(t, tr, build(t, &layers.IPv6{}, a(), b(), &layers.UDP{}, data(9)), &layers.IPv4{}, &layers.UDP{}, data(9))
					for _, c := range skipped {
						becomes4(t, tr, build(t, &layers.IPv6{}, a(), b(), c(), &layers.UDP{}, data(9)), &layers.IPv4{}, &layers.UDP{}, data(9))
					}
				}
				fragment := &layers.IPv6Fragment{NextHeader: 17, FragmentOffset: 3, MoreFragments: true, Identification: 0xabcdfedc}
				becomes4(t, tr, build(t, &layers.IPv6{}, a(), fragment, data(16)),
					&layers.IPv4{Id: 0xfedc, Flags: layers.IPv4MoreFragments, FragOffset: 3, Protocol: 17}, data(16))
			}
		})
		t.Run("all others", func(t *testing.T) {
			for n := range 256 {
				next := layers.IPProtocol(n)
				switch next {
				case 0, 43, 44, 60: // the headers that are walked over
					continue
				case 6, 17, 33, 58, 136: // TCP, UDP, DCCP, ICMPv6, UDP-Lite: these are known
					continue
				case 1: // ICMPv4, which IPv6 does not carry
					dropped(t, tr, build(t, &layers.IPv6{NextHeader: next}, data(64)), clat.DropProtocol)
					continue
				case 2: // IGMP
					dropped(t, tr, build(t, &layers.IPv6{NextHeader: next}, data(64)), clat.DropIGMP)
					continue
				}
				// Such as AH (51), No Next Header (59), Mobility (135), HIP (139) and Shim6 (140), with an extension header's look.
				look := append([]byte{17, 0}, data(62)...)
				becomes4(t, tr, build(t, &layers.IPv6{NextHeader: next}, payload(look)), &layers.IPv4{Protocol: next}, payload(look))
				ext := hopByHop(8)
				ext.NextHeader = next
				becomes4(t, tr, build(t, &layers.IPv6{}, ext, payload(look)), &layers.IPv4{Protocol: next}, payload(look))
			}
		})
	})

	t.Run("XLAT-7915-5.1-2", func(t *testing.T) {
		for _, c := range []struct {
			name    string
			headers stack
			pointer uint32 // 0: translated
		}{
			{"no segments left", stack{routing(0)}, 0},
			{"one segment left", stack{routing(1)}, 43},
			{"255 segments left", stack{routing(255)}, 43},
			{"of type 4", stack{&layers.IPv6Routing{RoutingType: 4, SegmentsLeft: 1, SourceRoutingIPs: []net.IP{router6}}}, 43},
			{"behind 8 octets", stack{hopByHop(8), routing(1)}, 51},
			{"behind 16 octets", stack{hopByHop(16), routing(1)}, 59},
			{"behind 24 octets", stack{hopByHop(8), destinationOptions(16), routing(1)}, 67},
			{"behind 256 octets", stack{hopByHop(256), routing(1)}, 299},
			{"before others", stack{routing(1), destinationOptions(8)}, 43},
			{"before another", stack{routing(1), routing(1)}, 43},
			{"behind one with no segments left", stack{routing(0), routing(1)}, 67},
			{"before one with no segments left", stack{routing(1), routing(0)}, 43},
		} {
			t.Run(c.name, func(t *testing.T) {
				p := build(t, slices.Concat(stack{&layers.IPv6{}}, c.headers, stack{&layers.UDP{}, data(8)})...)
				if c.pointer == 0 {
					becomes4(t, tr, p, &layers.IPv4{}, &layers.UDP{}, data(8))
					return
				}
				if p[c.pointer] == 0 {
					t.Fatalf("octet %d of the test's packet is not Segments Left", c.pointer)
				}
				answered(t, tr, p, clat.DropSourceRoute).icmp(t).is(t, 4, 0, c.pointer)
			})
		}
		unanswered6(t, tr, clat.DropSourceRoute, layers.IPv6{}, routing(1))
		// Nor is the error of a router without an IPv4 address translated.
		for _, o := range []func(*siit.Options, *eam.Spec){standard, prohibited} {
			tr := newTranslator(t, o)
			quote := build(t, &layers.IPv6{SrcIP: client6, DstIP: peer6}, &layers.UDP{}, data(33))
			for _, r := range reports {
				routed := func(left uint8) []byte {
					return build(t, &layers.IPv6{SrcIP: router6}, routing(left), icmp6(r.typ, r.code, r.word), payload(quote))
				}
				forward(t, tr, routed(0)).icmp(t).is(t, r.to, r.code4, r.word4)
				dropped(t, tr, routed(1), clat.DropNoMapping)
			}
		}
	})

	t.Run("XLAT-7915-5.1-4", func(t *testing.T) {
		transparent := newTranslator(t, func(o *siit.Options, _ *eam.Spec) { o.TTLTransparent = true })
		const hopLimit = 7 // its offset
		for _, proto := range transports {
			p := sized6(t, 100, layers.IPv6{}, in6(proto))
			for hops := range 256 {
				p := edited(p, hopLimit, byte(hops))
				if hops <= 1 {
					answered(t, tr, p, clat.DropTTL).icmp(t).is(t, 3, 0, 0)
				} else if got := forward(t, tr, p).v4.TTL; int(got) != hops-1 {
					t.Errorf("protocol %d: hop limit %d became TTL %d", proto, hops, got)
				}
				if hops >= 1 {
					if got := forward(t, transparent, p).v4.TTL; int(got) != hops {
						t.Errorf("protocol %d: hop limit %d became TTL %d, although ttl-transparent", proto, hops, got)
					}
				}
			}
		}
		for _, f := range fragments(t, newTranslator(t, sizes4(1000)), sized6(t, 1280, layers.IPv6{HopLimit: 2}, layers.IPProtocolUDP)) {
			if f.v4.TTL != 1 {
				t.Errorf("TTL %d of a fragment, want 1", f.v4.TTL)
			}
		}
		unanswered6(t, tr, clat.DropTTL, layers.IPv6{HopLimit: 1})
		unanswered6(t, tr, clat.DropTTL, layers.IPv6{HopLimit: 1}, destinationOptions(16))
		// The same holds for errors of routers without an IPv4 address, which are never answered.
		quote := build(t, &layers.IPv6{SrcIP: client6, DstIP: peer6}, &layers.UDP{}, data(33))
		for _, r := range reports {
			p := report(t, router6, r.typ, r.code, r.word, quote)
			for hops := range 256 {
				p := edited(p, hopLimit, byte(hops))
				if hops <= 1 {
					dropped(t, tr, p, clat.DropTTL)
				} else if got := forward(t, tr, p).v4.TTL; int(got) != hops-1 {
					t.Errorf("ICMPv6 %d of an unmapped router: hop limit %d became TTL %d", r.typ, hops, got)
				}
			}
		}
	})

	t.Run("XLAT-7915-5.1-5", func(t *testing.T) {
		for _, c := range []struct {
			six, options, four int // octets of IPv6, those of options among them, octets of IPv4
			df                 bool
		}{
			{68, 0, 48, false},
			{1279, 0, 1259, false},
			{1280, 0, 1260, false},
			{1281, 0, 1261, true},
			{1500, 0, 1480, true},
			{1280, 8, 1252, false},
			{1281, 8, 1253, false},
			{1287, 8, 1259, false},
			{1288, 8, 1260, false},
			{1289, 8, 1261, true},
			{1500, 200, 1280, true},
			{1500, 216, 1264, true},
			{1500, 224, 1256, false},
		} {
			for _, proto := range transports {
				headers := stack{&layers.IPv6{NextHeader: in6(proto)}}
				if c.options > 0 {
					options := destinationOptions(c.options)
					options.NextHeader = in6(proto)
					headers = stack{&layers.IPv6{}, options}
				}
				in := build(t, append(headers, transport(in6(proto), c.six-40-c.options)...)...)
				p := forward(t, tr, in)
				if df := p.v4.Flags&layers.IPv4DontFragment != 0; len(in) != c.six || len(p.octets) != c.four || df != c.df {
					t.Errorf("%d octets of IPv6 became %d of IPv4, DF %v; want %d, DF %v", len(in), len(p.octets), df, c.four, c.df)
				}
			}
		}
	})

	t.Run("XLAT-7915-5.1-6", func(t *testing.T) {
		small := build(t, &layers.IPv6{}, &layers.UDP{})
		ids := func(seed uint64, n int) (ids []uint16) {
			worker := &translator{tr.Translator, siit.NewScratch(seed)}
			for range n {
				ids = append(ids, forward(t, worker, small).v4.Id)
			}
			return ids
		}
		first := ids(0x0123_4567_89ab, 65536)
		seen := map[uint16]bool{}
		steps := map[uint16]int{} // from one to the next
		for i, id := range first {
			if seen[id] {
				t.Fatalf("identification %#x again after at most %d packets", id, i)
			}
			seen[id] = true
			if i > 0 {
				steps[id-first[i-1]]++
			}
		}
		// Of a counter, one step is all there is.
		for step, n := range steps {
			if n > 100 {
				t.Errorf("identifications differ by %#x from their predecessors %d times", step, n)
			}
		}
		for _, seed := range []uint64{0, 1, 0x0123_4567_89aa, 0x0123_4567_88ab, 0x0123_4577_89ab, 0x0223_4567_89ab} {
			equal := 0
			for i, id := range ids(seed, 1000) {
				if id == first[i] {
					equal++
				}
			}
			if equal > 10 {
				t.Errorf("seed %#x: %d of 1000 identifications are those of another seed", seed, equal)
			}
		}
	})
}

// Whose packets are translated at all (RFC 7915, 5.1 and 5.6).
func TestAddressees64(t *testing.T) {
	tr := newTranslator(t)
	quote := func() gopacket.Payload {
		return payload(build(t, &layers.IPv6{SrcIP: client6, DstIP: peer6}, &layers.UDP{}, data(8)))
	}

	t.Run("XLAT-7915-5.1-3", func(t *testing.T) {
		for _, src := range []string{"::", "::1", "ff02::1", "ff0e::1", "ffff::1", "fe80::1", "febf::1"} {
			header := layers.IPv6{SrcIP: ip(src)}
			for _, proto := range transports {
				p := sized6(t, 100, header, in6(proto))
				dropped(t, tr, p, clat.DropSource)
				dropped(t, tr, edited(p, 7, 1), clat.DropSource)
			}
			dropped(t, tr, sized6(t, 4000, header, layers.IPProtocolUDP), clat.DropSource)
			dropped(t, tr, build(t, &layers.IPv6{SrcIP: ip(src)}, routing(1), &layers.UDP{}), clat.DropSource)
		}
		// A router on our own link may have a link-local address only, and its errors count.
		for src, legal := range map[string]bool{"::": false, "::1": false, "ff02::1": false, "fe80::1": true, "febf::1": true} {
			p := build(t, &layers.IPv6{SrcIP: ip(src)}, icmp6(1, 0, 0), quote())
			if legal {
				forward(t, tr, p).fromTo(t, dummy4, client4)
			} else {
				dropped(t, tr, p, clat.DropSource)
			}
		}
	})

	t.Run("XLAT-7915-5.6-1", func(t *testing.T) {
		second := ip("2001:db8:64::198.51.100.5")
		two := newTranslator(t, func(_ *siit.Options, s *eam.Spec) {
			s.PREF64 = append(s.PREF64, pref64.MustParse("2001:db8:64::/96"))
			s.Map = []eam.Mapping{mapping("203.0.113.7/32", "2001:db8:dead::7/128")}
		})
		for _, c := range []struct {
			name     string
			tr       *translator
			src, dst net.IP
			from     net.IP // nil: dropped
			reason   clat.DropReason
		}{
			{"behind the prefix", tr, peer6, client6, peer4, 0},
			{"native", tr, native6, client6, nil, clat.DropNoMapping},
			{"native neighbour of the client", tr, ip("2001:db8:1:2::9"), client6, nil, clat.DropNoMapping},
			{"beside the prefix", tr, ip("64:ff9b::1:198.51.100.5"), client6, nil, clat.DropNoMapping},
			{"behind the prefix for local use", tr, ip("64:ff9b:1::198.51.100.5"), client6, nil, clat.DropNoMapping},
			{"behind a prefix of others", tr, second, client6, nil, clat.DropNoMapping},
			{"behind the second prefix", two, second, client6, peer4, 0},
			{"behind the first of two", two, peer6, client6, peer4, 0},
			{"mapped", two, ip("2001:db8:dead::7"), client6, ip("203.0.113.7"), 0},
			{"beside the mapped", two, ip("2001:db8:dead::8"), client6, nil, clat.DropNoMapping},
			{"to a neighbour of the client", tr, peer6, ip("2001:db8:1:2::c1a8"), nil, clat.DropNoMapping},
			{"to a native host", tr, peer6, native6, nil, clat.DropNoMapping},
			{"from prefix to prefix", tr, peer6, ip("64:ff9b::203.0.113.9"), nil, clat.DropNoMapping},
			{"from the client", tr, client6, client6, nil, clat.DropSpoofed},
			{"from the client's IPv4", tr, wellKnown(client4), client6, nil, clat.DropSpoofed},
			{"from client to peer", tr, client6, peer6, nil, clat.DropSpoofed},
		} {
			t.Run(c.name, func(t *testing.T) {
				for _, proto := range transports {
					p := sized6(t, 100, layers.IPv6{SrcIP: c.src, DstIP: c.dst}, in6(proto))
					if c.from == nil {
						dropped(t, c.tr, p, c.reason)
						dropped(t, c.tr, edited(p, 7, 1), c.reason) // nor is there another answer
						continue
					}
					forward(t, c.tr, p).fromTo(t, c.from, client4)
				}
			})
		}
		t.Run("errors of unmapped routers", func(t *testing.T) {
			forward(t, tr, build(t, &layers.IPv6{SrcIP: router6}, icmp6(3, 0, 0), quote())).fromTo(t, dummy4, client4)
			for _, in := range [][]byte{
				build(t, &layers.IPv6{SrcIP: router6}, icmp6(128, 0, 1), data(8)),
				build(t, &layers.IPv6{SrcIP: router6}, icmp6(129, 0, 1), data(8)),
				build(t, &layers.IPv6{SrcIP: router6, DstIP: native6}, icmp6(3, 0, 0), quote()),
			} {
				dropped(t, tr, in, clat.DropNoMapping)
			}
			native := payload(build(t, &layers.IPv6{SrcIP: client6, DstIP: native6}, &layers.UDP{}, data(8)))
			dropped(t, tr, build(t, &layers.IPv6{SrcIP: router6}, icmp6(3, 0, 0), native), clat.DropICMPInner)
		})
	})
}
