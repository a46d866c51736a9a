package conformance

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/datapath"
	"uclat/clat/eam"
	"uclat/clat/frame"
	"uclat/clat/siit"
)

// sizes4 sets the MTU of the IPv4 side.
func sizes4(mtu int) func(*siit.Options, *eam.Spec) {
	return func(o *siit.Options, _ *eam.Spec) { o.MTU4 = mtu }
}

// What is too big for the IPv4 side (RFC 7915, 1.4 and 5.1.1).
func TestFragmentation64(t *testing.T) {
	t.Run("XLAT-7915-1.4-1", func(t *testing.T) {
		for _, mtu := range []int{1260, 1261, 1400, 1480, 9000} {
			tr := newTranslator(t, sizes4(mtu))
			limit := uint32(mtu + 20)
			for _, proto := range transports {
				fits := forward(t, tr, sized6(t, mtu+20, layers.IPv6{}, in6(proto)))
				if len(fits.octets) != mtu {
					t.Errorf("%d octets of IPv4, want %d", len(fits.octets), mtu)
				}
				for _, length := range []int{mtu + 21, mtu + 28, 2 * mtu, 65535} {
					answered(t, tr, sized6(t, length, layers.IPv6{}, in6(proto)), clat.DropTooBig).icmp(t).is(t, 2, 0, limit)
				}
			}
			// What counts is the packet without its extension headers.
			options := func(n int) []byte { return build(t, &layers.IPv6{}, hopByHop(16), &layers.UDP{}, data(n-40-16-8)) }
			forward(t, tr, options(mtu+20+16))
			answered(t, tr, options(mtu+20+17), clat.DropTooBig).icmp(t).is(t, 2, 0, limit)
			fragment := func(n int) []byte {
				return build(t, &layers.IPv6{}, &layers.IPv6Fragment{NextHeader: 47, MoreFragments: true}, data((n-48)&^7))
			}
			forward(t, tr, fragment(mtu+20+8))
			answered(t, tr, fragment(mtu+20+16), clat.DropTooBig).icmp(t).is(t, 2, 0, limit)
		}
		tr := newTranslator(t, sizes4(1400))
		answered(t, tr, sized6(t, 1500, layers.IPv6{}, layers.IPProtocolTCP), clat.DropTooBig).icmp(t).is(t, 2, 0, 1420)
		// Neither errors, which are cut until they fit, nor Redirects are answered.
		for _, typ := range []uint8{1, 2, 3, 4, 100, 127, 137} {
			quote := sized6(t, 1400, layers.IPv6{SrcIP: client6, DstIP: peer6}, layers.IPProtocolUDP)
			silent(t, tr, typ, build(t, &layers.IPv6{}, icmp6(typ, 0, 1400), payload(quote)))
		}
		// An MTU below 1280 is never told.
		for _, mtu := range []int{68, 576, 1000, 1259} {
			tr := newTranslator(t, sizes4(mtu))
			for _, length := range []int{1281, 1500} {
				answered(t, tr, sized6(t, length, layers.IPv6{}, layers.IPProtocolUDP), clat.DropTooBig).icmp(t).is(t, 2, 0, 1280)
			}
		}
	})

	t.Run("XLAT-7915-5.1.1-2", func(t *testing.T) {
		for _, c := range []struct {
			mtu, length int // the MTU of the IPv4 side, the length of the IPv6 packet
			want        []piece
		}{
			{1000, 1280, []piece{{0, 976, true}, {976, 264, false}}},
			{1000, 1021, []piece{{0, 976, true}, {976, 5, false}}},
			{1003, 1280, []piece{{0, 976, true}, {976, 264, false}}},
			{1004, 1280, []piece{{0, 984, true}, {984, 256, false}}},
			{576, 1280, []piece{{0, 552, true}, {552, 552, true}, {1104, 136, false}}},
			{1259, 1280, []piece{{0, 1232, true}, {1232, 8, false}}},
		} {
			for _, proto := range transports {
				tr := newTranslator(t, sizes4(c.mtu))
				got := fragments(t, tr, sized6(t, c.length, layers.IPv6{TrafficClass: 0xb9}, in6(proto)))
				arePieces(t, got, got[0].id(), c.want...)
				for i, f := range got {
					f.fromTo(t, peer4, client4)
					if len(f.octets) > c.mtu || f.v4.Flags&layers.IPv4DontFragment != 0 || f.v4.TOS != 0xb9 || f.v4.TTL != 63 {
						t.Errorf("fragment %d has %d octets, %q, TOS %#x, TTL %d; want at most %d, no DF, 0xb9, 63",
							i, len(f.octets), f.v4.Flags, f.v4.TOS, f.v4.TTL, c.mtu)
					}
				}
				whole4 := sized4(t, c.length-20, layers.IPv4{Id: got[0].v4.Id, TOS: 0xb9, TTL: 63, SrcIP: peer4, DstIP: client4}, proto)
				same(t, "packet put together", joined(t, got).octets, whole4)
			}
		}
		tr := newTranslator(t, sizes4(1000))
		for _, proto := range transports {
			if p := forward(t, tr, sized6(t, 1020, layers.IPv6{}, in6(proto))); len(p.octets) != 1000 || p.v4.Flags != 0 {
				t.Errorf("%d octets with %q, want 1000 without DF", len(p.octets), p.v4.Flags)
			}
			answered(t, tr, sized6(t, 1281, layers.IPv6{}, in6(proto)), clat.DropTooBig).icmp(t).is(t, 2, 0, 1280)
		}
		one := fragments(t, tr, sized6(t, 1280, layers.IPv6{}, layers.IPProtocolUDP))
		two := fragments(t, tr, sized6(t, 1280, layers.IPv6{}, layers.IPProtocolUDP))
		if one[0].id() == two[0].id() {
			t.Errorf("two packets have the identification %#x", one[0].id())
		}
		if n := len(fragments(t, newTranslator(t, sizes4(68)), sized6(t, 1280, layers.IPv6{}, layers.IPProtocolUDP))); n != 26 {
			t.Errorf("%d fragments of 1240 octets in pieces of 48, want 26", n)
		}

		// What is a fragment already is cut once more.
		for _, c := range []struct {
			offset uint16
			more   bool
			length int // octets of payload
			want   []piece
		}{
			{154, true, 1232, []piece{{1232, 976, true}, {2208, 256, true}}},
			{154, false, 1232, []piece{{1232, 976, true}, {2208, 256, false}}},
			{0, true, 1232, []piece{{0, 976, true}, {976, 256, true}}},
			{154, true, 976, []piece{{1232, 976, true}}},
			{154, false, 981, []piece{{1232, 976, true}, {2208, 5, false}}},
			{0, false, 1232, []piece{{0, 976, true}, {976, 256, false}}}, // an atomic one
		} {
			header := &layers.IPv6Fragment{NextHeader: 47, FragmentOffset: c.offset, MoreFragments: c.more, Identification: 0xabcdfedc}
			in := build(t, &layers.IPv6{}, header, data(c.length))
			got := pieces(t, tr, in)
			arePieces(t, got, 0xfedc, c.want...)
			same(t, "payload", payloadOf(got), in[48:])
			for _, f := range got {
				if f.v4.Flags&layers.IPv4DontFragment != 0 {
					t.Error("a fragment has DF")
				}
			}
		}
		// Of a UDP super-packet there may be more than can be sent at once.
		many := super(t, &layers.IPv6{}, udp, 10000)
		if r := tr.offloaded(many, segmented(udp, 40, 1232)); r.Verdict != siit.Drop || r.Reason != clat.DropTooBig {
			t.Errorf("super-packet of 1280 octets each: verdict %d, reason %v", r.Verdict, r.Reason)
		}
		forwardOffloaded(t, tr, many, segmented(udp, 40, 1000-28))
		tooBig := build(t, &layers.IPv6{}, &layers.IPv6Fragment{NextHeader: 47, MoreFragments: true}, data(1240))
		answered(t, tr, tooBig, clat.DropTooBig).icmp(t).is(t, 2, 0, 1280)
	})
}

// What is a fragment already (RFC 7915, 5.1.1; RFC 8200, 4.5).
func TestFragments64(t *testing.T) {
	tr := newTranslator(t)

	t.Run("fields", func(t *testing.T) {
		for _, more := range []bool{false, true} {
			for offset := range uint16(8192) {
				if offset == 0 && !more || int(offset)*8+64 > 65515 {
					continue // no fragment, and none that can be put together
				}
				fragment := &layers.IPv6Fragment{
					NextHeader: layers.IPProtocolGRE, Reserved1: 0xff, FragmentOffset: offset, Reserved2: 3, MoreFragments: more,
					Identification: 0xabcd<<16 | uint32(^offset),
				}
				want := &layers.IPv4{Id: ^offset, FragOffset: offset, Protocol: layers.IPProtocolGRE}
				if more {
					want.Flags = layers.IPv4MoreFragments
				}
				becomes4(t, tr, build(t, &layers.IPv6{}, fragment, data(64)), want, data(64))
			}
		}
	})

	t.Run("whole again", func(t *testing.T) {
		for _, proto := range []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolGRE} {
			for _, size := range []int{64, 1232, 1448} {
				var all []packet
				for _, f := range cut(t, sized6(t, 4021, layers.IPv6{}, proto), 0xabcdfedc, size) {
					p := forward(t, tr, f)
					if p.v4.Flags&layers.IPv4DontFragment != 0 {
						t.Error("a fragment has DF")
					}
					all = append(all, p)
				}
				whole4 := sized4(t, 4001, layers.IPv4{Id: 0xfedc, TTL: 63, SrcIP: peer4, DstIP: client4}, proto)
				same(t, "packet put together", joined(t, all).octets, whole4)
			}
		}
	})

	t.Run("XLAT-7915-5.1.1-1", func(t *testing.T) {
		for n := range 256 {
			next := layers.IPProtocol(n)
			for _, c := range []struct {
				offset uint16
				more   bool
			}{{0, true}, {10, true}, {10, false}, {0, false}} {
				in := build(t, &layers.IPv6{}, &layers.IPv6Fragment{FragmentOffset: c.offset, MoreFragments: c.more}, data(64))
				in[40] = byte(next)
				switch next {
				case 0, 43, 44, 51, 60, 135, 139, 140:
					dropped(t, tr, in, clat.DropExtension)
					reported(t, tr, in, datapath.Event{
						Reason: clat.DropExtension, Direction: clat.To4, Proto: byte(next), Fragment: c.more || c.offset != 0,
						Src: netip.AddrPortFrom(addr(peer6), 0), Dst: netip.AddrPortFrom(addr(client6), 0),
					})
				case 1, 2, 6, 17, 58: // ICMPv4, IGMP, TCP, UDP, ICMPv6: these are known
				default: // among them ESP (50)
					if p := forward(t, tr, in); p.protocol != next {
						t.Errorf("next header %d became protocol %d", next, p.protocol)
					}
				}
			}
		}
	})

	t.Run("XLAT-8200-4.5-1", func(t *testing.T) {
		atomic := func() *layers.IPv6Fragment { // what is reserved means nothing
			return &layers.IPv6Fragment{Reserved1: 0xff, Reserved2: 3, Identification: 0xabcdfedc}
		}
		becomes4(t, tr, build(t, &layers.IPv6{}, atomic(), &layers.TCP{SYN: true}), &layers.IPv4{Id: 0xfedc}, &layers.TCP{SYN: true})
		for _, proto := range transports {
			for _, n := range []int{100, 1240, 1241, 1433} { // in no case with DF
				header := atomic()
				header.NextHeader = in6(proto)
				in := build(t, append(stack{&layers.IPv6{}, header}, transport(in6(proto), n)...)...)
				becomes4(t, tr, in, &layers.IPv4{Id: 0xfedc, Protocol: proto}, transport(proto, n)...)
			}
		}
		behind := build(t, &layers.IPv6{}, hopByHop(8), atomic(), &layers.UDP{}, data(5))
		becomes4(t, tr, behind, &layers.IPv4{Id: 0xfedc}, &layers.UDP{}, data(5))
	})

	t.Run("XLAT-8200-4.5-2", func(t *testing.T) {
		for _, c := range []struct {
			name   string
			offset uint16 // in units of 8 octets
			more   bool
			length int
			bad    bool
		}{
			{"first, 8 octets", 0, true, 8, false},
			{"first, 9 octets", 0, true, 9, true},
			{"first, 12 octets", 0, true, 12, true},
			{"first, 1239 octets", 0, true, 1239, true},
			{"middle, 1232 octets", 100, true, 1232, false},
			{"middle, 1 octet", 100, true, 1, true},
			{"middle, 1228 octets", 100, true, 1228, true},
			{"last, 1 octet", 100, false, 1, false},
			{"last, 1231 octets", 100, false, 1231, false},
			{"to 65515", 8188, false, 11, false},
			{"to 65516", 8188, false, 12, true},
			{"to 65515, from 64315", 8039, false, 65515 - 8039*8, false},
			{"to 65516, from 64312", 8039, false, 65516 - 8039*8, true},
			{"to 65512, more to follow", 8188, true, 8, false},
			{"to 65520, more to follow", 8188, true, 16, true},
			{"from 65528", 8191, false, 1, true},
		} {
			t.Run(c.name, func(t *testing.T) {
				for _, next := range []layers.IPProtocol{layers.IPProtocolUDP, layers.IPProtocolGRE} {
					header := &layers.IPv6Fragment{NextHeader: next, FragmentOffset: c.offset, MoreFragments: c.more}
					in := build(t, &layers.IPv6{}, header, data(c.length))
					if c.bad {
						dropped(t, tr, in, clat.DropFragment)
					} else {
						forward(t, tr, in)
					}
				}
			})
		}
	})
}

// reported wants whoever runs the translator to hear of the packet, by this event and no other.
func reported(t *testing.T, tr *translator, in []byte, want datapath.Event) {
	t.Helper()
	var got []datapath.Event
	e := datapath.New(tr.Translator)
	e.OnEvent = func(ev datapath.Event) { got = append(got, ev) }
	e.NewWorker().Process([]*frame.Frame{newFrame(in)}, nil, nil)
	if !slices.Equal(got, []datapath.Event{want}) {
		t.Errorf("events %+v, want %+v", got, want)
	}
}
