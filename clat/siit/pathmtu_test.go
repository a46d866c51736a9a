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

func TestPathMTU(t *testing.T) {
	for _, c := range []struct {
		name       string
		mtu6, path int // 0: unknown
		want       int
	}{
		{"unknown", 1500, 0, 1500}, {"1400", 1500, 1400, 1400}, {"1281", 1500, 1281, 1281}, {"the least", 1500, 1280, 1280},
		{"less than the least", 1500, 1279, 1280}, {"nothing", 1500, -1, 1280}, {"more than ours", 1400, 9000, 1400}, {"65535", 65535, 65535, 65535},
	} {
		tr := newTranslator(t, with(func(o *Options) { o.MTU6, o.LowestMTU6 = c.mtu6, c.mtu6 }))
		paths := known{netip.MustParseAddr("64:ff9b::1.2.3.4"): 1300, host6: 1290}
		if c.path != 0 {
			paths[peer6] = c.path
		}
		for _, fragment := range []bool{false, true} {
			t.Run(fmt.Sprintf("RFC 8201, 4/%s/DF, fragment %v", c.name, fragment), func(t *testing.T) {
				h, fits := ip4{proto: 50, df: true, mf: fragment}, c.want-40
				if fragment {
					fits = (fits - 8) &^ 7
				}
				fits = min(fits, 65512-20)
				if r, _ := translateOver(tr, paths, newFrame(h.packet(data(fits)))); r.Verdict != Forward || len(r.Out) != 1 {
					t.Errorf("%d octets: %+v", fits, r)
				}
				if c.want > 65000 {
					return
				}
				more := 1
				if fragment {
					more = 8
				}
				r, s := translateOver(tr, paths, newFrame(h.packet(data(fits+more))))
				if r.Verdict != Reply || r.Reason != clat.DropTooBig || s.Errors != 999 {
					t.Fatalf("%+v", r)
				}
				told := c.want - 20
				if fragment {
					told -= 8
				}
				if q := parse(t, r.Out[0].Bytes()); q.src != self4 || q.dst != host4 || !bytes.Equal(q.payload[:2], []byte{3, 4}) ||
					int(binary.BigEndian.Uint32(q.payload[4:])) != told {
					t.Errorf("%x, want an MTU of %d", q.payload[:8], told)
				}
			})
		}
		t.Run("RFC 7915, 4.1/"+c.name+"/without DF", func(t *testing.T) {
			m := seal(host4, peer4, protoICMP, icmp(8, 0, 1, data(9000)))
			r, _ := translateOver(tr, paths, newFrame(ip4{proto: protoICMP, id: 77}.packet(m)))
			var all []packet
			for _, f := range r.Out {
				all = append(all, parse(t, f.Bytes()))
			}
			if len(m)+40 <= c.want {
				if len(all) != 1 || all[0].fragment {
					t.Errorf("%d frames", len(all))
				}
				return
			}
			whole := reassemble(t, all, c.want, 0)
			if slowSum(pseudo(host6, peer6, protoICMPv6, len(whole)), whole) != 0xffff {
				t.Error("checksum of the whole is wrong")
			}
		})
	}
	t.Run("RFC 7915, 4.1/the lowest MTU is less", func(t *testing.T) {
		tr := newTranslator(t, hostOptions())
		r, _ := translateOver(tr, known{peer6: 1400}, newFrame(ip4{proto: 50}.packet(data(1480))))
		if len(r.Out) != 2 || r.Out[0].Len() != 1280 {
			t.Errorf("%+v", r)
		}
	})
}

// asked is a PathMTU that counts.
type asked struct {
	dst [][16]byte
}

func (a *asked) MTU(dst [16]byte) (int, bool) {
	a.dst = append(a.dst, dst)
	return 1400, true
}

func TestPathMTUIsAskedForLongPacketsOnly(t *testing.T) {
	tr := newTranslator(t, with(func(o *Options) { o.ClampMSS = true }))
	for _, c := range []struct {
		name string
		p    []byte
		want []netip.Addr
	}{
		{"1280 octets", ip4{proto: 50, df: true}.packet(data(1240)), nil},
		{"1281 octets", ip4{proto: 50, df: true}.packet(data(1241)), []netip.Addr{peer6}},
		{"1281 octets in fragments", ip4{proto: 50, mf: true}.packet(data(1240)), []netip.Addr{peer6}},
		{"SYN46", from4(protoTCP, synWith(2, 4, 5, 0xb4)), []netip.Addr{peer6}},
		{"SYN64", from6(protoTCP, synWith(2, 4, 5, 0xb4)), []netip.Addr{peer6}},
		{"IPv6", from6(protoUDP, udp(data(1400))), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := new(asked)
			translateOver(tr, a, newFrame(c.p))
			var got []netip.Addr
			for _, dst := range a.dst {
				got = append(got, netip.AddrFrom16(dst))
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestPathMTUSuperPackets(t *testing.T) {
	y := families[0]
	tr := newTranslator(t, with(func(o *Options) { o.LowestMTU6 = 1500 }))
	for _, c := range segmented {
		fits := 1400 - 40 - c.head
		for _, df := range []bool{true, false} {
			for _, size := range []int{1000, fits, fits + 1, 5000} {
				t.Run(fmt.Sprintf("RFC 8201, 4/%s/DF %v/%d", c.name, df, size), func(t *testing.T) {
					f := newFrame(ip4{proto: c.proto, df: df, id: 5}.packet(y.partialSegment(c.proto, c.make(data(20000)))))
					f.Offload = y.offload(c.proto, c.gso, uint16(size))
					r, _ := translateOver(tr, known{peer6: 1400}, f)
					switch {
					case size <= fits:
						if r.Verdict != Forward || len(r.Out) != 1 || f.SegSize != uint16(size) {
							t.Errorf("%+v", r)
						}
					case df:
						if q := parse(t, r.Out[0].Bytes()); r.Verdict != Reply || binary.BigEndian.Uint32(q.payload[4:]) != 1380 {
							t.Errorf("%+v", r)
						}
					case c.proto == protoTCP:
						if r.Verdict != Forward || len(r.Out) != 1 || int(f.SegSize) != fits {
							t.Errorf("%+v, segments of %d", r, f.SegSize)
						}
					default:
						if r.Verdict != Forward || len(r.Out) < 2*(20000/size) {
							t.Fatalf("%+v", r)
						}
						for _, f := range r.Out {
							if f.Len() > 1400 || f.GSO != frame.NotSegmented {
								t.Errorf("%d octets", f.Len())
							}
						}
					}
				})
			}
		}
	}
}

func TestPathMTUClampsMSS(t *testing.T) {
	for _, c := range []struct {
		name             string
		mtu4, path, want int
	}{
		{"unknown", 1500, 0, 1440}, {"1400", 1500, 1400, 1340}, {"less than the least", 1500, 576, 1220}, {"IPv4 takes less", 1300, 1400, 1260},
	} {
		t.Run("RFC 9293, 3.7.1/"+c.name, func(t *testing.T) {
			tr := newTranslator(t, with(func(o *Options) { o.ClampMSS, o.MTU4 = true, c.mtu4 }))
			paths := known{host6: 1281}
			if c.path > 0 {
				paths[peer6] = c.path
			}
			for _, p := range [][]byte{from4(protoTCP, synWith(2, 4, 0xff, 0xff)), from6(protoTCP, synWith(2, 4, 0xff, 0xff))} {
				r, _ := translateOver(tr, paths, newFrame(p))
				q := parse(t, r.Out[0].Bytes())
				if got := binary.BigEndian.Uint16(q.payload[22:]); int(got) != c.want || !q.good() {
					t.Errorf("%d, want %d; checksum right: %v", got, c.want, q.good())
				}
			}
		})
	}
	t.Run("RFC 7757, 4.2.2/both ways of a hairpin", func(t *testing.T) {
		for _, paths := range []known{{alice6: 1400}, {bob6: 1400}, {alice6: 1400, bob6: 1450}, {alice6: 1450, bob6: 1400}} {
			tr := newRouter(t, network{}, func(o *Options) { o.ClampMSS = true })
			r, _ := translateOver(tr, paths, newFrame(toBob(protoTCP, synWith(2, 4, 0xff, 0xff))))
			if q := parse(t, r.Out[0].Bytes()); binary.BigEndian.Uint16(q.payload[22:]) != 1340 || !q.good() {
				t.Errorf("%v: %x", paths, q.payload)
			}
		}
	})
}

// tooBig6 is a Packet Too Big, from a router if nobody else is named, about a TCP segment of 1500 octets of which 600 are quoted.
type tooBig6 struct {
	from, src, dst netip.Addr // who reports; ends of the quote
	mtu            uint32
	claimed        int // octets that the quoted packet says it has, 0: 1500
	next, hops     uint8
	extensions     []extension
	quoteLen       int
}

func (b tooBig6) packet() []byte {
	for _, a := range []struct {
		is *netip.Addr
		or netip.Addr
	}{{&b.from, router}, {&b.src, host6}, {&b.dst, peer6}} {
		if !a.is.IsValid() {
			*a.is = a.or
		}
	}
	if b.next == 0 {
		b.next = protoTCP
	}
	if b.claimed == 0 {
		b.claimed = 1500
	}
	if b.quoteLen == 0 {
		b.quoteLen = 600
	}
	quote := ip6{src: b.src, dst: b.dst, next: b.next, extensions: b.extensions, payload: b.claimed - 40}.packet(icmp(128, 0, 0x50000000, data(1300)))
	m := seal(b.from, host6, protoICMPv6, icmp(2, 0, b.mtu, quote[:b.quoteLen]))
	return ip6{src: b.from, dst: host6, next: protoICMPv6, hops: b.hops}.packet(m)
}

func TestLearned(t *testing.T) {
	damaged := tooBig6{mtu: 1400}.packet()
	damaged[300] ^= 1
	cut := tooBig6{mtu: 1400}.packet()
	cut = cut[:len(cut)-1]
	fragmented := tooBig6{mtu: 1400}.packet()
	fragmented = ip6{src: router, next: protoICMPv6, extensions: []extension{fragmentHeader(0, true, 1)}}.packet(fragmented[40:][:640])
	atomic := tooBig6{mtu: 1400}.packet()
	atomic = ip6{src: router, next: protoICMPv6, extensions: []extension{fragmentHeader(0, false, 1)}}.packet(atomic[40:])
	unreachable := seal(router, host6, protoICMPv6, icmp(1, 0, 1400, tooBig6{}.packet()[48:]))
	for _, c := range []struct {
		name    string
		p       []byte
		verdict Verdict
		want    int // MTU that is learned for peer6; 0: none
	}{
		{"from a router", tooBig6{mtu: 1400}.packet(), Forward, 1400},
		{"from a neighbour", tooBig6{from: netip.MustParseAddr("fe80::1"), mtu: 1400}.packet(), Forward, 1400},
		{"from the peer", tooBig6{from: peer6, mtu: 1400}.packet(), Forward, 1400},
		{"1280", tooBig6{mtu: 1280}.packet(), Forward, 1280},
		{"1279", tooBig6{mtu: 1279}.packet(), Drop, 0},
		{"0", tooBig6{mtu: 0}.packet(), Drop, 0},
		{"1499", tooBig6{mtu: 1499}.packet(), Forward, 1499},
		{"as much as ours", tooBig6{mtu: 1500, claimed: 9000}.packet(), Forward, 0},
		{"more than ours", tooBig6{mtu: 9000, claimed: 60000}.packet(), Forward, 0},
		{"32 bits", tooBig6{mtu: 0xffffffff, claimed: 60000}.packet(), Forward, 0},
		{"31 bits", tooBig6{mtu: 0x80000000, claimed: 60000}.packet(), Forward, 0},
		{"about a packet that is not too big", tooBig6{mtu: 1400, claimed: 1400}.packet(), Forward, 0},
		{"about a packet that is one octet too big", tooBig6{mtu: 1400, claimed: 1401}.packet(), Forward, 1400},
		{"about a packet that is small", tooBig6{mtu: 1280, claimed: 700}.packet(), Forward, 0},
		{"about a fragment", tooBig6{mtu: 1400, extensions: []extension{fragmentHeader(0, true, 9)}}.packet(), Forward, 1400},
		{"about a later fragment", tooBig6{mtu: 1400, extensions: []extension{fragmentHeader(1448, false, 9)}}.packet(), Forward, 1400},
		{"about an echo", tooBig6{mtu: 1400, next: protoICMPv6}.packet(), Forward, 1400},
		{"about a fragment of an echo, which IPv4 is not told of",
			tooBig6{mtu: 1400, next: protoICMPv6, extensions: []extension{fragmentHeader(0, true, 9)}}.packet(), Drop, 1400},
		{"about what we have not sent", tooBig6{mtu: 1400, src: router}.packet(), Drop, 0},
		{"about what we have not sent to there", tooBig6{mtu: 1400, dst: router}.packet(), Drop, 0},
		{"about what was for us", tooBig6{mtu: 1400, src: peer6, dst: host6}.packet(), Drop, 0},
		{"about us and ourselves", tooBig6{mtu: 1400, dst: host6}.packet(), Drop, 0},
		{"quoting half a header", tooBig6{mtu: 1400, quoteLen: 39}.packet(), Drop, 0},
		{"damaged", damaged, Drop, 0},
		{"truncated", cut, Drop, 0},
		{"in fragments", fragmented, Drop, 0},
		{"in one fragment", atomic, Forward, 1400},
		{"from an impossible source", tooBig6{from: netip.MustParseAddr("::1"), mtu: 1400}.packet(), Drop, 0},
		{"at its last hop", tooBig6{mtu: 1400, hops: 1}.packet(), Drop, 0},
		{"another error", ip6{src: router, next: protoICMPv6}.packet(unreachable), Forward, 0},
		{"Fragmentation Needed",
			from4(protoICMP, icmp(3, 4, 1300, ip4{src: peer4, dst: host4, proto: 50, df: true, total: 1500}.packet(data(40)))), Forward, 0},
	} {
		t.Run("RFC 8201, 4/"+c.name, func(t *testing.T) {
			r, s := translateOver(newTranslator(t, with(func(o *Options) { o.Reassemble = true })), nil, newFrame(c.p))
			if r.Verdict != c.verdict {
				t.Errorf("%+v", r)
			}
			want := []PTB{{peer6.As16(), c.want}}
			if c.want == 0 {
				want = want[:0]
			}
			if fmt.Sprint(s.Learned) != fmt.Sprint(want) {
				t.Errorf("learned %v, want %v", s.Learned, want)
			}
		})
	}
	t.Run("RFC 8201, 4/bounded", func(t *testing.T) {
		tr, s := newTranslator(t, hostOptions()), newScratch()
		for n := range 3 * maxLearned {
			if s.Ready() != (n < maxLearned) {
				t.Fatalf("ready %v with %d learned", s.Ready(), len(s.Learned))
			}
			if r := tr.Translate(newFrame(tooBig6{mtu: 1400 + uint32(n%64)}.packet()), s); r.Verdict != Forward {
				t.Fatalf("%+v", r)
			}
		}
		if len(s.Learned) != maxLearned || cap(s.Learned) != maxLearned || s.Learned[63].MTU != 1463 {
			t.Errorf("%d of %d, the last %+v", len(s.Learned), cap(s.Learned), s.Learned[len(s.Learned)-1])
		}
		if s.Reset(); len(s.Learned) != 0 || !s.Ready() {
			t.Error("Reset does not forget")
		}
	})
}
