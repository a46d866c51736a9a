package siit

import (
	"encoding/binary"
	"fmt"
	"testing"

	"uclat/clat"
)

// Fragmentation Needed becomes Packet Too Big.
func TestMTU46(t *testing.T) {
	for _, c := range []struct {
		id          string
		mtu6, mtu4  int
		mtu         uint32
		total, want int // length that the quote claims; MTU in the answer
	}{
		{"RFC 7915, 4.2/plus 20", 1500, 1500, 1400, 1500, 1420},
		{"RFC 7915, 4.2/next hop of IPv6", 1500, 9000, 8000, 9000, 1500},
		{"RFC 7915, 4.2/next hop of IPv4", 9000, 1460, 8000, 9000, 1480},
		{"RFC 7915, 4.2/65535", 65535, 65535, 65535, 65535, 65535},
		{"RFC 7915, 4.2/not below 1280", 1500, 1500, 576, 1500, 1280},
		{"RFC 7915, 4.2/1", 1500, 1500, 1, 1500, 1280},
		{"RFC 7915, 4.2/1259", 1500, 1500, 1259, 1500, 1280},
		{"RFC 7915, 4.2/1261", 1500, 1500, 1261, 1500, 1281},
		{"RFC 7915, 4.2/plateau 1492, next hop 1500", 1500, 1500, 0, 1500, 1500},
		{"RFC 7915, 4.2/plateau 1492, next hop 9000", 9000, 9000, 0, 1500, 1512},
		{"RFC 7915, 4.2/plateau below 1492", 1500, 1500, 0, 1492, 1280},
		{"RFC 7915, 4.2/plateau below 1400", 1500, 1500, 0, 1400, 1280},
		{"RFC 7915, 4.2/plateau of a small packet", 1500, 1500, 0, 60, 1280},
		{"RFC 7915, 4.2/plateau 2002", 9000, 9000, 0, 4352, 2022},
		{"RFC 7915, 4.2/plateau 32000", 65535, 65535, 0, 65535, 32020},
	} {
		t.Run(fmt.Sprintf("%s/%d of %d", c.id, c.mtu, c.total), func(t *testing.T) {
			tr := newTranslator(t, with(func(o *Options) { o.MTU6, o.MTU4 = c.mtu6, c.mtu4 }))
			quote := ip4{src: peer4, dst: host4, proto: 50, df: true, total: c.total}.packet(data(40))
			q := forwarded(t, tr, from4(protoICMP, icmp(3, 4, c.mtu, quote)))
			checkRow(t, q, row{2, 0, uint32(c.want)})
		})
	}
}

// Packet Too Big becomes Fragmentation Needed.
func TestMTU64(t *testing.T) {
	for _, c := range []struct {
		id         string
		mtu6, mtu4 int
		mtu        uint32
		fragment   bool
		want       uint32 // 0: a drop
	}{
		{"RFC 7915, 5.2/minus 20", 1500, 1500, 1400, false, 1380},
		{"RFC 7915, 5.2/minus 28", 1500, 1500, 1400, true, 1372},
		{"RFC 7915, 5.2/1280", 1500, 1500, 1280, false, 1260},
		{"RFC 7915, 5.2/1280", 1500, 1500, 1280, true, 1252},
		{"RFC 8201, 4", 1500, 1500, 1279, false, 0},
		{"RFC 8201, 4", 1500, 1500, 1000, true, 0},
		{"RFC 8201, 4", 1500, 1500, 0, false, 0},
		{"RFC 8201, 4", 1500, 1500, 9000, false, 1480},
		{"RFC 8201, 4", 1500, 1500, 9000, true, 1472},
		{"RFC 7915, 5.2/next hop of IPv4", 9000, 1400, 9000, false, 1400},
		{"RFC 7915, 5.2/more than 16 bits", 65535, 65535, 65556, false, 65515},
		{"RFC 7915, 5.2/32 bits", 65535, 65535, 1<<32 - 1, false, 65515},
		{"RFC 7915, 5.2/32 bits", 65535, 65535, 1<<32 - 1, true, 65507},
	} {
		t.Run(fmt.Sprintf("%s/%d, fragment %v", c.id, c.mtu, c.fragment), func(t *testing.T) {
			tr := newTranslator(t, with(func(o *Options) { o.MTU6, o.MTU4 = c.mtu6, c.mtu4 }))
			h := ip6{src: host6, dst: peer6, next: 50}
			if c.fragment {
				h.extensions = []extension{fragmentHeader(0, true, 1)}
			}
			p := from6(protoICMPv6, icmp(2, 0, c.mtu, h.packet(data(40))))
			if c.want == 0 {
				dropped(t, tr, p, clat.DropPTBTooSmall)
				return
			}
			checkRow(t, forwarded(t, tr, p), row{3, 4, c.want})
		})
	}
}

// What the error says fits is what the translator then lets through, as one packet.
func TestAnsweredMTUIsRight(t *testing.T) {
	for mtu6 := 1280; mtu6 <= 1520; mtu6 += 7 {
		tr := newTranslator(t, with(func(o *Options) { o.MTU6 = mtu6 }))
		for _, mf := range []bool{false, true} {
			t.Run(fmt.Sprintf("RFC 7915, 4.1/%d, fragment %v", mtu6, mf), func(t *testing.T) {
				h := ip4{proto: 50, df: true, mf: mf}
				q := replied(t, tr, h.packet(data(1600)), clat.DropTooBig)
				mtu := int(binary.BigEndian.Uint16(q.payload[6:]))
				n := mtu - 20
				if mf {
					n &^= 7
				}
				out := forwarded(t, tr, h.packet(data(n)))
				size := 40 + len(out.payload)
				if mf {
					size += 8
				}
				if size > mtu6 || size <= mtu6-8 {
					t.Errorf("%d octets of IPv6 for an MTU of %d", size, mtu6)
				}
			})
		}
	}
}
