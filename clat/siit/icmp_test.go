package siit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"uclat/clat"
)

func TestEcho(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, c := range []struct {
		id       string
		from     func(uint8, []byte) []byte
		proto    uint8
		typ, out byte
		outProto uint8
	}{
		{"RFC 7915, 4.2/46/request", from4, protoICMP, 8, 128, protoICMPv6},
		{"RFC 7915, 4.2/46/reply", from4, protoICMP, 0, 129, protoICMPv6},
		{"RFC 7915, 5.2/64/request", from6, protoICMPv6, 128, 8, protoICMP},
		{"RFC 7915, 5.2/64/reply", from6, protoICMPv6, 129, 0, protoICMP},
	} {
		for _, n := range []int{0, 1, 56, 1201} {
			t.Run(fmt.Sprintf("%s/%d", c.id, n), func(t *testing.T) {
				q := forwarded(t, tr, c.from(c.proto, icmp(c.typ, 0, 0xabcd0001, data(n))))
				want := icmp(c.out, 0, 0xabcd0001, data(n))
				copy(want[2:4], q.payload[2:])
				if q.proto != c.outProto || !bytes.Equal(q.payload, want) {
					t.Errorf("protocol %d: %x", q.proto, q.payload)
				}
			})
		}
		for bit := range 64 {
			t.Run(fmt.Sprintf("RFC 5508, REQ-3/%s/bit %d", c.id, bit), func(t *testing.T) {
				p := c.from(c.proto, icmp(c.typ, 0, 0xabcd0001, data(56)))
				p[len(p)-64+bit] ^= 1 << (bit % 8)
				dropped(t, tr, p, clat.DropTransport)
			})
		}
	}
	for n := range 8 {
		t.Run(fmt.Sprintf("RFC 5508, REQ-3/%d octets", n), func(t *testing.T) {
			m := make([]byte, n)
			if n >= 4 {
				seal(host4, peer4, protoICMP, m)
			}
			dropped(t, tr, ip4{proto: protoICMP}.packet(m), clat.DropTransport)
			dropped(t, tr, ip6{next: protoICMPv6}.packet(m), clat.DropTransport)
		})
	}
	t.Run("RFC 7915, 4.1/echo without DF is fragmented", func(t *testing.T) {
		m := seal(host4, peer4, protoICMP, icmp(8, 0, 1, data(1472)))
		whole := reassemble(t, pieces(t, tr, newFrame(ip4{proto: protoICMP}.packet(m))), 1280, 0)
		if whole[0] != 128 || slowSum(pseudo(host6, peer6, protoICMPv6, len(whole)), whole) != 0xffff {
			t.Errorf("%x", whole[:8])
		}
	})
	t.Run("RFC 7915, 4.1/echo with DF is too big", func(t *testing.T) {
		p := from4(protoICMP, icmp(8, 0, 1, data(1472)))
		if q := replied(t, tr, bytes.Clone(p), clat.DropTooBig); !bytes.Equal(q.payload[8:], p[:548]) {
			t.Error("the packet was changed before it was quoted")
		}
	})
}

// row is the right side of a table: what an error with a word becomes.
type row struct {
	typ, code uint8
	word      uint32
}

// wantTo6 is standards' table of ICMPv4 messages, written once more as the RFC has it: by exceptions.
func wantTo6(typ, code int, pointer int) (r row, ok bool) {
	switch typ {
	case 3:
		switch code {
		case 2:
			return row{4, 1, 6}, true
		case 3:
			return row{1, 4, 0}, true
		case 4:
			return row{2, 0, 1420}, true // of 1400
		case 9, 10, 13, 15:
			return row{1, 1, 0}, true
		case 0, 1, 5, 6, 7, 8, 11, 12:
			return row{1, 0, 0}, true
		}
	case 11:
		return row{3, uint8(code), 0}, true
	case 12:
		fields := map[int]uint32{0: 0, 1: 1, 2: 4, 3: 4, 8: 7, 9: 6, 12: 8, 13: 8, 14: 8, 15: 8, 16: 24, 17: 24, 18: 24, 19: 24}
		if word, known := fields[pointer]; known && (code == 0 || code == 2) {
			return row{4, 0, word}, true
		}
	}
	return row{}, false
}

func wantTo4(typ, code int, pointer uint32) (r row, ok bool) {
	switch typ {
	case 1:
		codes := map[int]uint8{0: 1, 1: 10, 2: 1, 3: 1, 4: 3}
		to, known := codes[code]
		return row{3, to, 0}, known
	case 2:
		return row{3, 4, 1380}, true // of 1400
	case 3:
		return row{11, uint8(code), 0}, true
	case 4:
		switch code {
		case 0:
			var to uint32
			switch {
			case pointer < 2:
				to = pointer
			case pointer == 4 || pointer == 5:
				to = 2
			case pointer == 6:
				to = 9
			case pointer == 7:
				to = 8
			case pointer >= 8 && pointer < 24:
				to = 12
			case pointer >= 24 && pointer < 40:
				to = 16
			default:
				return row{}, false
			}
			return row{12, 0, to << 24}, true
		case 1:
			return row{3, 2, 0}, true
		}
	}
	return row{}, false
}

// quoted4 is what a packet from the peer to the host's own request looks like in an error that the host sends; quoted6 is what the
// host had sent, in an error that it receives.
func quoted4() []byte {
	return ip4{src: peer4, dst: host4, proto: protoUDP, df: true}.packet(seal(peer4, host4, protoUDP, udp(data(20))))
}

func quoted6() []byte {
	return ip6{src: host6, dst: peer6, next: protoUDP}.packet(seal(host6, peer6, protoUDP, udp(data(20))))
}

func TestICMPv4Table(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for typ := range 256 {
		if typ == 0 || typ == 8 {
			continue
		}
		for code := range 21 {
			t.Run(fmt.Sprintf("RFC 7915, 4.2/%d/%d", typ, code), func(t *testing.T) {
				word := uint32(0)
				if typ == 3 && code == 4 {
					word = 1400
				}
				p := from4(protoICMP, icmp(uint8(typ), uint8(code), word, quoted4()))
				want, ok := wantTo6(typ, code, 0)
				if !ok {
					dropped(t, tr, p, clat.DropICMPType)
					return
				}
				checkRow(t, forwarded(t, tr, p), want)
			})
		}
	}
	for _, code := range []uint8{0, 1, 2, 3} {
		for pointer := range 256 {
			t.Run(fmt.Sprintf("RFC 7915, 4.2/12/%d/pointer %d", code, pointer), func(t *testing.T) {
				p := from4(protoICMP, icmp(12, code, uint32(pointer)<<24, quoted4()))
				want, ok := wantTo6(12, int(code), pointer)
				if !ok {
					dropped(t, tr, p, clat.DropICMPType)
					return
				}
				checkRow(t, forwarded(t, tr, p), want)
			})
		}
	}
}

func TestICMPv6Table(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for typ := range 256 {
		if typ == 128 || typ == 129 {
			continue
		}
		for code := range 21 {
			t.Run(fmt.Sprintf("RFC 7915, 5.2/%d/%d", typ, code), func(t *testing.T) {
				word := uint32(0)
				if typ == 2 {
					word = 1400
				}
				p := from6(protoICMPv6, icmp(uint8(typ), uint8(code), word, quoted6()))
				want, ok := wantTo4(typ, code, 0)
				switch {
				case ok:
					checkRow(t, forwarded(t, tr, p), want)
				case typ >= 130 && typ <= 132 || typ == 143:
					dropped(t, tr, p, clat.DropIGMP)
				default:
					dropped(t, tr, p, clat.DropICMPType)
				}
			})
		}
	}
	pointers := []uint32{255, 256, 1 << 16, 1 << 24, 1<<24 | 4, 1<<32 - 1}
	for i := range uint32(60) {
		pointers = append(pointers, i)
	}
	for _, pointer := range pointers {
		t.Run(fmt.Sprintf("RFC 7915, 5.2/4/0/pointer %d", pointer), func(t *testing.T) {
			p := from6(protoICMPv6, icmp(4, 0, pointer, quoted6()))
			want, ok := wantTo4(4, 0, pointer)
			if !ok {
				dropped(t, tr, p, clat.DropICMPType)
				return
			}
			checkRow(t, forwarded(t, tr, p), want)
		})
		t.Run(fmt.Sprintf("RFC 7915, 5.2/4/1/pointer %d", pointer), func(t *testing.T) {
			checkRow(t, forwarded(t, tr, from6(protoICMPv6, icmp(4, 1, pointer, quoted6()))), row{3, 2, 0})
		})
	}
}

func checkRow(t *testing.T, q packet, want row) {
	t.Helper()
	got := row{q.payload[0], q.payload[1], binary.BigEndian.Uint32(q.payload[4:])}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// Routers on the way to the NAT64 have no IPv4 address. Those behind it have, and it is used.
func TestUnmappedSource(t *testing.T) {
	behind := netip.MustParseAddr("64:ff9b::203.0.113.1")
	message := func(src netip.Addr, typ uint8, word uint32) []byte {
		return ip6{src: src, next: protoICMPv6}.packet(seal(src, host6, protoICMPv6, icmp(typ, 0, word, quoted6())))
	}
	tr := newTranslator(t, hostOptions())
	for typ := range uint8(4) {
		typ++
		word := uint32(0)
		if typ == 2 {
			word = 1400
		}
		t.Run(fmt.Sprintf("source without a mapping/%d", typ), func(t *testing.T) {
			if q := forwarded(t, tr, message(router, typ, word)); q.src != netip.MustParseAddr("192.0.0.8") || q.dst != host4 {
				t.Errorf("%v to %v", q.src, q.dst)
			}
		})
		t.Run(fmt.Sprintf("source with a mapping/%d", typ), func(t *testing.T) {
			if q := forwarded(t, tr, message(behind, typ, word)); q.src != netip.MustParseAddr("203.0.113.1") {
				t.Errorf("from %v", q.src)
			}
		})
		t.Run(fmt.Sprintf("source without a mapping/%d/switched off", typ), func(t *testing.T) {
			off := newTranslator(t, with(func(o *Options) { o.UnmappedSource = netip.Addr{} }))
			dropped(t, off, message(router, typ, word), clat.DropNoMapping)
		})
	}
	t.Run("RFC 7915, 5.6/echo from a stranger", func(t *testing.T) {
		m := seal(router, host6, protoICMPv6, icmp(128, 0, 1, data(8)))
		dropped(t, tr, ip6{src: router, next: protoICMPv6}.packet(m), clat.DropNoMapping)
	})
	t.Run("source without a mapping/link-local router", func(t *testing.T) {
		near := netip.MustParseAddr("fe80::1")
		if q := forwarded(t, tr, message(near, 2, 1400)); q.src != netip.MustParseAddr("192.0.0.8") || q.dst != host4 {
			t.Errorf("%v to %v", q.src, q.dst)
		}
		dropped(t, tr, ip6{src: near, next: protoICMPv6}.packet(seal(near, host6, protoICMPv6, icmp(128, 0, 1, data(8)))), clat.DropSource)
		dropped(t, tr, ip6{src: near, next: protoUDP}.packet(seal(near, host6, protoUDP, udp(data(8)))), clat.DropSource)
	})
	t.Run("RFC 7915, 5.1/error without hops", func(t *testing.T) {
		p := message(router, 3, 0)
		p[7] = 1
		dropped(t, tr, p, clat.DropTTL)
	})
	t.Run("RFC 5508, REQ-3/error with a wrong checksum", func(t *testing.T) {
		p := message(router, 3, 0)
		p[len(p)-1] ^= 1
		dropped(t, tr, p, clat.DropTransport)
	})
	t.Run("RFC 7915, 1.2/fragment of an error", func(t *testing.T) {
		p := ip6{src: router, next: protoICMPv6, extensions: []extension{fragmentHeader(0, true, 1)}}.packet(
			seal(router, host6, protoICMPv6, icmp(3, 0, 0, append(quoted6(), 0, 0, 0, 0))))
		dropped(t, tr, p, clat.DropFragmentedICMP)
	})
	t.Run("hostile input/no message at all", func(t *testing.T) {
		dropped(t, tr, ip6{src: router, next: protoICMPv6}.packet(nil), clat.DropNoMapping)
		dropped(t, tr, ip6{src: router, next: protoICMPv6}.packet([]byte{1}), clat.DropTransport)
	})
}
