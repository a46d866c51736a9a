package conformance

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/config"
	"uclat/clat/eam"
	"uclat/clat/pref64"
	"uclat/clat/siit"
)

// sizes6 sets the MTU of the IPv6 side, and the size up to which packets without DF are not fragmented.
func sizes6(mtu, lowest int) func(*siit.Options, *eam.Spec) {
	return func(o *siit.Options, _ *eam.Spec) { o.MTU6, o.LowestMTU6 = mtu, lowest }
}

// path is an MTU that is known of all paths.
type path int

func (p path) MTU([16]byte) (int, bool) { return int(p), true }

// piece is what a test wants of one fragment.
type piece struct {
	offset, length int // octets of the datagram's payload
	more           bool
}

// pieces are the packets of the other family that in becomes, one or more.
func pieces(t *testing.T, tr *translator, in []byte) (all []packet) {
	t.Helper()
	r := tr.translate(in)
	if r.verdict != siit.Forward {
		t.Fatalf("verdict %d, reason %v, want it forwarded: %x", r.verdict, r.reason, in)
	}
	for _, out := range r.out {
		all = append(all, other(t, in, out))
	}
	return all
}

// payloadOf is what the fragments carry, one after the other.
func payloadOf(fragments []packet) (octets []byte) {
	for _, f := range fragments {
		octets = append(octets, f.payload...)
	}
	return octets
}

// arePieces fails t unless the fragments are these, of one datagram, with nothing in their IP headers but what the first has.
func arePieces(t *testing.T, got []packet, id uint32, want ...piece) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d fragments, want %d", len(got), len(want))
	}
	for i, f := range got {
		offset, more := f.offset()
		if (piece{offset, len(f.payload), more}) != want[i] {
			t.Errorf("fragment %d has %d octets at %d, more %v; want %+v", i, len(f.payload), offset, more, want[i])
		}
		if f.id() != id || f.protocol != got[0].protocol {
			t.Errorf("fragment %d has identification %#x, protocol %d; want %#x, %d", i, f.id(), f.protocol, id, got[0].protocol)
		}
		f.fromTo(t, got[0].src(), got[0].dst())
	}
}

// dontFragment is a header with DF.
var dontFragment = layers.IPv4{Flags: layers.IPv4DontFragment}

// What the client sends without being a fragment (RFC 7915, 4 and 4.1).
func TestFragmentation46(t *testing.T) {
	t.Run("XLAT-7915-4.1-5", func(t *testing.T) {
		for _, lowest := range []int{1280, 1281, 1400, 1500} {
			tr := newTranslator(t, sizes6(1500, lowest))
			for _, proto := range transports {
				for _, length := range []int{48, 576, 1252, 1253, lowest - 21, lowest - 20} {
					p := forward(t, tr, sized4(t, length, layers.IPv4{Id: 0x1234}, proto))
					if p.fragment != nil || len(p.octets) != length+20 {
						t.Errorf("%d octets of IPv4 became %d of IPv6 with fragment header %v, with lowest-ipv6-mtu %d",
							length, len(p.octets), p.fragment, lowest)
					}
				}
				if n := len(fragments(t, tr, sized4(t, lowest-19, layers.IPv4{}, proto))); n != 2 {
					t.Errorf("%d fragments, want 2", n)
				}
				// What counts is the packet without its options.
				p := forward(t, tr, sized4(t, lowest-20+40, layers.IPv4{Padding: make([]byte, 40)}, proto))
				if p.fragment != nil || len(p.octets) != lowest {
					t.Errorf("%d octets of IPv6 with fragment header %v, want %d without", len(p.octets), p.fragment, lowest)
				}
			}
		}
		// With DF there is none either, up to the MTU of the IPv6 side.
		tr := newTranslator(t)
		for _, length := range []int{48, 1260, 1261, 1480} {
			if p := forward(t, tr, sized4(t, length, dontFragment, layers.IPProtocolUDP)); p.fragment != nil {
				t.Errorf("fragment header %v in a packet with DF", p.fragment)
			}
		}
	})

	t.Run("XLAT-7915-4.1-6", func(t *testing.T) {
		tr := newTranslator(t)
		for _, c := range []struct {
			length int // of the IPv4 packet
			want   []piece
		}{
			{1261, []piece{{0, 1232, true}, {1232, 9, false}}},
			{1500, []piece{{0, 1232, true}, {1232, 248, false}}},
			{2483, []piece{{0, 1232, true}, {1232, 1231, false}}},
			{2484, []piece{{0, 1232, true}, {1232, 1232, false}}},
			{2485, []piece{{0, 1232, true}, {1232, 1232, true}, {2464, 1, false}}},
		} {
			for _, proto := range transports {
				got := fragments(t, tr, sized4(t, c.length, layers.IPv4{Id: 0xfedc, TOS: 0xb9}, proto))
				arePieces(t, got, 0x0000fedc, c.want...)
				for i, f := range got {
					f.fromTo(t, client6, peer6)
					if want := 48 + c.want[i].length; len(f.octets) != want || want > 1280 {
						t.Errorf("%d octets, want %d", len(f.octets), want)
					}
					if f.v6.TrafficClass != 0xb9 || f.v6.HopLimit != 63 {
						t.Errorf("traffic class %#x, hop limit %d; want 0xb9, 63", f.v6.TrafficClass, f.v6.HopLimit)
					}
				}
				whole6 := sized6(t, c.length+20, layers.IPv6{TrafficClass: 0xb9, HopLimit: 63, SrcIP: client6, DstIP: peer6}, in6(proto))
				same(t, "packet put together", joined(t, got).octets, whole6)
			}
		}
		// The largest packet that there is.
		in := sized4(t, 65535, layers.IPv4{}, layers.IPProtocolUDP)
		all := fragments(t, tr, in)
		if len(all) != 54 {
			t.Errorf("%d fragments, want 54", len(all))
		}
		same(t, "datagram put together", joined(t, all).payload[8:], in[28:])
		// Options are left out before the packet is cut.
		in = sized4(t, 1500, layers.IPv4{Id: 1, Padding: make([]byte, 40)}, layers.IPProtocolUDP)
		arePieces(t, fragments(t, tr, in), 1, piece{0, 1232, true}, piece{1232, 208, false})
		// A checksum that must be computed is computed before.
		whole := joined(t, fragments(t, tr, edited(sized4(t, 1500, layers.IPv4{}, layers.IPProtocolUDP), 26, 0, 0)))
		if whole.udp(t).Checksum == 0 {
			t.Error("no UDP checksum in the fragments")
		}
		// The path counts where it is narrower than lowest-ipv6-mtu, and only there.
		for _, c := range []struct{ lowest, path, want int }{
			{1500, 1400, 1400}, {1500, 1500, 1500}, {1500, 9000, 1500}, {1280, 1400, 1280}, {1400, 1280, 1280}, {1500, 68, 1280},
		} {
			tr := newTranslator(t, sizes6(1500, c.lowest))
			tr.scratch.PathMTU = path(c.path)
			for _, proto := range transports {
				if p := forward(t, tr, sized4(t, c.want-20, layers.IPv4{}, proto)); p.fragment != nil || len(p.octets) != c.want {
					t.Errorf("%+v: %d octets with fragment header %v, want %d without", c, len(p.octets), p.fragment, c.want)
				}
				if n := len(fragments(t, tr, sized4(t, c.want-19, layers.IPv4{}, proto))); n != 2 {
					t.Errorf("%+v: one octet more became %d fragments, want 2", c, n)
				}
				got := fragments(t, tr, sized4(t, 5000, layers.IPv4{Id: 3}, proto))
				joined(t, got)
				if want := 48 + (c.want-48)&^7; len(got[0].octets) != want {
					t.Errorf("%+v: first fragment of %d octets, want %d", c, len(got[0].octets), want)
				}
			}
		}
	})

	t.Run("XLAT-7915-4.1-7", func(t *testing.T) {
		for _, c := range []struct {
			lowest, length int
			want           []piece
		}{
			{1500, 1500, []piece{{0, 1448, true}, {1448, 32, false}}}, // of 1496 octets: 1504 would be one multiple of 8 more
			{1280, 1500, []piece{{0, 1232, true}, {1232, 248, false}}},
			{1287, 1500, []piece{{0, 1232, true}, {1232, 248, false}}},
			{1288, 1500, []piece{{0, 1240, true}, {1240, 240, false}}},
			{1496, 1500, []piece{{0, 1448, true}, {1448, 32, false}}},
			{9000, 9000, []piece{{0, 8952, true}, {8952, 28, false}}},
		} {
			tr := newTranslator(t, sizes6(max(1500, c.lowest), c.lowest))
			got := fragments(t, tr, sized4(t, c.length, layers.IPv4{Id: 5}, layers.IPProtocolUDP))
			arePieces(t, got, 5, c.want...)
			joined(t, got)
		}
		t.Run("bounds", func(t *testing.T) {
			table, err := eam.New(eam.Spec{PREF64: []pref64.Prefix{pref64.WellKnown}})
			if err != nil {
				t.Fatal(err)
			}
			for lowest, allowed := range map[int]bool{0: false, 1279: false, 1280: true, 1281: true, 1500: true, 1501: false, 65535: false} {
				if _, err := siit.New(table, siit.Options{MTU6: 1500, MTU4: 1500, LowestMTU6: lowest}); allowed != (err == nil) {
					t.Errorf("lowest-ipv6-mtu %d with an IPv6 MTU of 1500: %v", lowest, err)
				}
			}
		})
		t.Run("configuration", func(t *testing.T) {
			const refused = -1
			for _, c := range []struct {
				file string
				want int // 0: auto
			}{
				{"", 1280},
				{"translate.lowest-ipv6-mtu = 'auto'", 0},
				{"interface.mtu = 1420\ntranslate.lowest-ipv6-mtu = 'auto'", 0},
				{"translate.lowest-ipv6-mtu = 1280", 1280},
				{"translate.lowest-ipv6-mtu = 1500", 1500},
				{"translate.lowest-ipv6-mtu = 65535", 65535},
				{"interface.mtu = 1420\ntranslate.lowest-ipv6-mtu = 1420", 1420},
				{"translate.lowest-ipv6-mtu = 0", refused},
				{"translate.lowest-ipv6-mtu = 'least'", refused},
				{"translate.lowest-ipv6-mtu = 1279", refused},
				{"translate.lowest-ipv6-mtu = 65536", refused},
				{"interface.mtu = 1420\ntranslate.lowest-ipv6-mtu = 1421", refused},
			} {
				got, err := config.Parse("test.toml", []byte(c.file))
				if (err != nil) != (c.want == refused) {
					t.Errorf("%q: %v", c.file, err)
				}
				if err == nil && got.Translate.LowestIPv6MTU != c.want {
					t.Errorf("%q: %d, want %d", c.file, got.Translate.LowestIPv6MTU, c.want)
				}
			}
		})
	})

	t.Run("XLAT-7915-4.1-8", func(t *testing.T) {
		for _, mtu := range []int{1280, 1281, 1420, 1500, 9000, 65515} {
			tr := newTranslator(t, sizes6(mtu, clat.MinMTU6))
			for _, proto := range transports {
				fits := forward(t, tr, sized4(t, mtu-20, dontFragment, proto))
				if fits.fragment != nil || len(fits.octets) != mtu {
					t.Errorf("%d octets of IPv6 with fragment header %v, want %d without", len(fits.octets), fits.fragment, mtu)
				}
				// The Next-Hop MTU is the lower half of the word, and the upper half is zero.
				for _, length := range []int{mtu - 19, mtu, mtu + 20, 65535} {
					answered(t, tr, sized4(t, length, dontFragment, proto), clat.DropTooBig).icmp(t).is(t, 3, 4, uint32(mtu-20))
				}
				// What counts is the packet without its options.
				options := layers.IPv4{Flags: layers.IPv4DontFragment, Padding: make([]byte, 8)}
				forward(t, tr, sized4(t, mtu-20+8, options, proto))
				answered(t, tr, sized4(t, mtu-20+9, options, proto), clat.DropTooBig).icmp(t).is(t, 3, 4, uint32(mtu-20))
				// Without DF nothing is too big.
				fragments(t, tr, sized4(t, mtu-19, layers.IPv4{}, proto))
			}
		}
		answered(t, newTranslator(t), sized4(t, 1500, dontFragment, layers.IPProtocolTCP), clat.DropTooBig).icmp(t).is(t, 3, 4, 1480)

		// What is a fragment already takes 8 octets more.
		for _, mtu := range []int{1280, 1288, 1424, 1500, 9000} {
			tr := newTranslator(t, sizes6(mtu, clat.MinMTU6))
			most := (mtu - 48) &^ 7
			first := layers.IPv4{Flags: layers.IPv4DontFragment | layers.IPv4MoreFragments}
			last := layers.IPv4{Flags: layers.IPv4DontFragment, FragOffset: 1}
			for _, proto := range []layers.IPProtocol{layers.IPProtocolTCP, layers.IPProtocolUDP, layers.IPProtocolGRE} {
				if fits := forward(t, tr, sized4(t, 20+most, first, proto)); len(fits.octets) != 48+most {
					t.Errorf("%d octets of IPv6, want %d", len(fits.octets), 48+most)
				}
				answered(t, tr, sized4(t, 20+most+8, first, proto), clat.DropTooBig).icmp(t).is(t, 3, 4, uint32(mtu-28))
			}
			if fits := forward(t, tr, sized4(t, mtu-28, last, layers.IPProtocolGRE)); len(fits.octets) != mtu {
				t.Errorf("%d octets of IPv6, want %d", len(fits.octets), mtu)
			}
			// Later fragments are never answered (RFC 1812, 4.3.2.7).
			dropped(t, tr, sized4(t, mtu-27, last, layers.IPProtocolGRE), clat.DropTooBig)
		}
		// The path counts where it is narrower, down to 1280.
		for limit, want := range map[int]int{1400: 1400, 1281: 1281, 1280: 1280, 1279: 1280, 0: 1280, 1499: 1499, 1500: 1500, 9000: 1500} {
			tr := newTranslator(t)
			tr.scratch.PathMTU = path(limit)
			for _, proto := range transports {
				if p := forward(t, tr, sized4(t, want-20, dontFragment, proto)); len(p.octets) != want {
					t.Errorf("%d octets of IPv6, want %d", len(p.octets), want)
				}
				answered(t, tr, sized4(t, want-19, dontFragment, proto), clat.DropTooBig).icmp(t).is(t, 3, 4, uint32(want-20))
			}
			first := layers.IPv4{Flags: layers.IPv4DontFragment | layers.IPv4MoreFragments}
			fits := 20 + (want-48)&^7
			forward(t, tr, sized4(t, fits, first, layers.IPProtocolTCP))
			answered(t, tr, sized4(t, fits+8, first, layers.IPProtocolTCP), clat.DropTooBig).icmp(t).is(t, 3, 4, uint32(want-28))
		}
		first := layers.IPv4{Flags: layers.IPv4DontFragment | layers.IPv4MoreFragments}
		answered(t, newTranslator(t), sized4(t, 1476, first, layers.IPProtocolTCP), clat.DropTooBig).icmp(t).is(t, 3, 4, 1472)
	})
}

// What is a fragment already (RFC 7915, 4.1).
func TestFragments46(t *testing.T) {
	t.Run("XLAT-7915-4.1-9", func(t *testing.T) {
		t.Run("copied", func(t *testing.T) {
			tr := newTranslator(t)
			for _, more := range []bool{false, true} {
				for _, df := range []bool{false, true} {
					for offset := range uint16(8192) {
						if offset == 0 && !more || int(offset)*8+64 > 65515 {
							continue // no fragment, and none that can be put together
						}
						in := &layers.IPv4{Id: ^offset, FragOffset: offset, Protocol: layers.IPProtocolTCP}
						fragment := &layers.IPv6Fragment{
							NextHeader: layers.IPProtocolTCP, FragmentOffset: offset, MoreFragments: more, Identification: uint32(^offset),
						}
						if more {
							in.Flags |= layers.IPv4MoreFragments
						}
						if df {
							in.Flags |= layers.IPv4DontFragment
						}
						if offset == 0 { // the only one with a header, whose checksum changes
							p := forward(t, tr, build(t, in, &layers.TCP{}, data(44)))
							arePieces(t, []packet{p}, 0xffff, piece{0, 64, true})
							continue
						}
						becomes6(t, tr, build(t, in, data(64)), &layers.IPv6{}, fragment, data(64))
					}
				}
			}
			in := &layers.IPv4{FragOffset: 185, Flags: layers.IPv4MoreFragments, Protocol: layers.IPProtocolUDP}
			p := forward(t, tr, build(t, in, data(8)))
			if got := binary.BigEndian.Uint16(p.octets[42:]); got != 185<<3|1 {
				t.Errorf("offset and flags are %#04x, want %#04x", got, 185<<3|1)
			}
		})

		t.Run("whole again", func(t *testing.T) {
			for _, c := range []struct{ lowest, size, want int }{
				{1280, 64, 63}, {1280, 1232, 4}, {1280, 1240, 7}, {1280, 1480, 5}, {1280, 2480, 5},
				{1500, 1448, 3}, {1500, 1456, 5}, {1500, 1480, 5},
			} {
				for _, proto := range []layers.IPProtocol{layers.IPProtocolUDP, layers.IPProtocolTCP, layers.IPProtocolGRE} {
					tr := newTranslator(t, sizes6(1500, c.lowest))
					in := sized4(t, 4002, layers.IPv4{}, proto)
					var all []packet
					for _, f := range cut(t, in, 0x8001, c.size) {
						all = append(all, pieces(t, tr, f)...)
					}
					for _, f := range all {
						if len(f.octets) > c.lowest || f.id() != 0x8001 {
							t.Errorf("%d octets with identification %#x, want at most %d with 0x8001", len(f.octets), f.id(), c.lowest)
						}
					}
					if len(all) != c.want {
						t.Errorf("fragments of %d octets became %d of at most %d, want %d", c.size, len(all), c.lowest, c.want)
					}
					whole6 := sized6(t, 4002+20, layers.IPv6{HopLimit: 63, SrcIP: client6, DstIP: peer6}, in6(proto))
					same(t, "packet put together", joined(t, all).octets, whole6)
				}
			}
		})

		t.Run("cut once more", func(t *testing.T) {
			tr := newTranslator(t)
			for _, c := range []struct {
				offset uint16 // in units of 8 octets
				flags  layers.IPv4Flag
				length int // octets of payload
				want   []piece
			}{
				{0, layers.IPv4MoreFragments, 1232, []piece{{0, 1232, true}}},
				{0, layers.IPv4MoreFragments, 1240, []piece{{0, 1232, true}, {1232, 8, true}}},
				{0, layers.IPv4MoreFragments, 1480, []piece{{0, 1232, true}, {1232, 248, true}}},
				{185, layers.IPv4MoreFragments, 1480, []piece{{1480, 1232, true}, {2712, 248, true}}},
				{185, 0, 1480, []piece{{1480, 1232, true}, {2712, 248, false}}},
				{185, 0, 1232, []piece{{1480, 1232, false}}},
				{185, 0, 1233, []piece{{1480, 1232, true}, {2712, 1, false}}},
				{185, 0, 2465, []piece{{1480, 1232, true}, {2712, 1232, true}, {3944, 1, false}}},
				{185, layers.IPv4DontFragment, 1452, []piece{{1480, 1452, false}}},
				{185, layers.IPv4DontFragment | layers.IPv4MoreFragments, 1448, []piece{{1480, 1448, true}}},
			} {
				header := &layers.IPv4{Id: 0xabcd, FragOffset: c.offset, Flags: c.flags, Protocol: layers.IPProtocolGRE}
				in := build(t, header, data(c.length))
				got := pieces(t, tr, in)
				arePieces(t, got, 0xabcd, c.want...)
				same(t, "payload", payloadOf(got), in[20:])
			}
		})
	})

	t.Run("XLAT-8021-1", func(t *testing.T) {
		random := rand.New(rand.NewPCG(8021, 1))
		headers, quoted := 0, 0 // so many Fragment headers were there
		for range 60 {
			mtu := 1280 + random.IntN(300)
			tr := newTranslator(t, sizes6(mtu, 1280+random.IntN(mtu-1280+1)))
			for range 500 {
				in := anyIPv4(t, random)
				for _, out := range tr.translate(in).out {
					if out[0]>>4 != 6 {
						continue // an error of our own
					}
					headers += hasFragmentHeader(t, in, out)
					if out[6] != 58 || out[40] >= 128 {
						continue
					}
					quoted += hasFragmentHeader(t, in, out[48:])
					if mtu := binary.BigEndian.Uint32(out[44:]); out[40] == 2 && mtu < clat.MinMTU6 {
						t.Errorf("Packet Too Big with %d octets asks for atomic fragments: %x", mtu, in)
					}
				}
			}
		}
		if headers < 1000 || quoted < 1000 {
			t.Errorf("only %d and %d fragment headers seen", headers, quoted)
		}
	})
}

// hasFragmentHeader is 1 if the IPv6 packet out has a Fragment header, and fails t where it is that of an atomic fragment.
func hasFragmentHeader(t *testing.T, in, out []byte) int {
	t.Helper()
	if out[6] != byte(layers.IPProtocolIPv6Fragment) {
		return 0
	}
	const offsetAndMore = 0xfff9
	if binary.BigEndian.Uint16(out[42:])&offsetAndMore == 0 {
		t.Errorf("an atomic fragment is made of %x", in)
	}
	return 1
}

// anyIPv4 is any kind of packet that a client may send, with its fields drawn at random.
func anyIPv4(t *testing.T, random *rand.Rand) []byte {
	header := layers.IPv4{Id: uint16(random.Uint32()), Padding: make([]byte, 4*random.IntN(3))}
	if random.IntN(2) == 0 {
		header.Flags |= layers.IPv4DontFragment
	}
	length := 48 + random.IntN(1500)
	proto := transports[random.IntN(len(transports))]
	switch random.IntN(4) {
	case 0:
		quote := layers.IPv4{SrcIP: peer4, DstIP: client4, Id: header.Id, Flags: header.Flags}
		if random.IntN(2) == 0 {
			quote.Flags |= layers.IPv4MoreFragments
		}
		if random.IntN(2) == 0 && proto != layers.IPProtocolICMPv4 {
			quote.FragOffset = uint16(random.IntN(8000))
		}
		if random.IntN(2) == 0 {
			return build(t, &header, icmp4(3, uint8(random.IntN(4)), 0), payload(sized4(t, length, quote, proto)))
		}
		return build(t, &header, icmp4(3, 4, uint32(random.IntN(1500))), payload(sized4(t, length, quote, proto)))
	case 1:
		header.FragOffset = uint16(random.IntN(8000))
		fallthrough
	case 2:
		if random.IntN(2) == 0 {
			header.Flags |= layers.IPv4MoreFragments
			length = length&^7 + 20 + len(header.Padding)
		}
	}
	return sized4(t, length+len(header.Padding), header, proto)
}
