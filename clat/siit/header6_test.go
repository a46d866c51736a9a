package siit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"uclat/clat"
)

// options8 is an extension header of n octets, a multiple of 8, full of padding.
func options8(typ uint8, n int) extension {
	b := make([]byte, n)
	b[1] = byte(n/8 - 1)
	return extension{typ, b}
}

// routing is a routing header of 24 octets.
func routing(segmentsLeft byte) extension {
	e := options8(protoRouting, 24)
	e.body[3] = segmentsLeft
	return e
}

func TestIPv6HeaderIsChecked(t *testing.T) {
	good := func() []byte { return from6(protoUDP, udp(data(40))) }
	for _, c := range []struct {
		name string
		edit func(p []byte) []byte
		want clat.DropReason
	}{
		{"39 octets", func(p []byte) []byte { return p[:39] }, clat.DropHeader},
		{"Payload Length beyond the packet", func(p []byte) []byte { p[5]++; return p }, clat.DropHeader},
		{"Payload Length 0", func(p []byte) []byte { p[5] = 0; return p }, clat.DropTransport},
	} {
		t.Run("RFC 7915, 5.1/"+c.name, func(t *testing.T) { dropped(t, newTranslator(t, hostOptions()), c.edit(good()), c.want) })
	}
	t.Run("RFC 7915, 5.1/padding behind Payload Length", func(t *testing.T) {
		if q := forwarded(t, newTranslator(t, hostOptions()), append(good(), 1, 2, 3, 4, 5, 6)); len(q.payload) != 48 {
			t.Errorf("%d octets of payload, want 48", len(q.payload))
		}
	})
}

func TestExtensionHeaders(t *testing.T) {
	seg := seal(peer6, host6, protoTCP, tcp(data(50)))
	walk := []extension{options8(protoHopByHop, 8), options8(protoDestOpts, 16), routing(0), options8(protoDestOpts, 2048)}
	for n := range len(walk) + 1 {
		t.Run(fmt.Sprintf("RFC 7915, 5.1/%d headers", n), func(t *testing.T) {
			o := with(func(o *Options) { o.MTU4, o.MTU6 = 9000, 9000 })
			q := forwarded(t, newTranslator(t, o), ip6{next: protoTCP, extensions: walk[:n]}.packet(seg))
			if q.proto != protoTCP || len(q.payload) != len(seg) || !bytes.Equal(q.payload[18:], seg[18:]) {
				t.Errorf("%+v", q)
			}
		})
	}
	for _, next := range []uint8{50, 51, 59, 135, 139, 140} {
		t.Run(fmt.Sprintf("RFC 7915, 5.1/next header %d is not walked", next), func(t *testing.T) {
			payload := data(24)
			q := forwarded(t, newTranslator(t, hostOptions()), ip6{next: next, extensions: walk[:1]}.packet(payload))
			if q.proto != next || !bytes.Equal(q.payload, payload) {
				t.Errorf("%+v", q)
			}
		})
	}
	for _, n := range []int{maxExtensions, maxExtensions + 1, 100} {
		t.Run(fmt.Sprintf("hostile input/%d headers", n), func(t *testing.T) {
			many := make([]extension, n)
			for i := range many {
				many[i] = options8(protoDestOpts, 8)
			}
			p := ip6{next: protoTCP, extensions: many}.packet(seg)
			if n > maxExtensions {
				dropped(t, newTranslator(t, hostOptions()), p, clat.DropExtension)
			} else {
				forwarded(t, newTranslator(t, hostOptions()), p)
			}
		})
	}
	for _, c := range []struct {
		name string
		p    []byte
	}{
		{"nothing behind the header", ip6{next: protoHopByHop}.packet(nil)},
		{"7 octets", ip6{next: protoDestOpts}.packet(make([]byte, 7))},
		{"longer than the packet",
			ip6{next: protoUDP, extensions: []extension{{protoDestOpts, []byte{0, 9, 0, 0, 0, 0, 0, 0}}}}.packet(data(8))},
		{"longer than Payload Length",
			ip6{next: protoUDP, extensions: []extension{options8(protoDestOpts, 16)}, payload: 8}.packet(data(40))},
		{"beginning behind Payload Length",
			ip6{next: protoUDP, extensions: []extension{options8(protoDestOpts, 8)}, payload: 4}.packet(data(40))},
	} {
		t.Run("hostile input/"+c.name, func(t *testing.T) { dropped(t, newTranslator(t, hostOptions()), c.p, clat.DropExtension) })
	}
}

func TestRoutingHeader(t *testing.T) {
	seg := seal(peer6, host6, protoUDP, udp(data(50)))
	for _, c := range []struct {
		name       string
		extensions []extension
		pointer    uint32
	}{
		{"first", []extension{routing(1)}, 43},
		{"behind 8 octets of hop-by-hop", []extension{options8(protoHopByHop, 8), routing(2)}, 51},
		{"the first of two at fault", []extension{options8(protoHopByHop, 8), routing(255), routing(1)}, 51},
		{"the second of two at fault", []extension{routing(0), routing(1)}, 67},
	} {
		t.Run("RFC 7915, 5.1/"+c.name, func(t *testing.T) {
			q := replied(t, newTranslator(t, hostOptions()), ip6{next: protoUDP, extensions: c.extensions}.packet(seg), clat.DropSourceRoute)
			if q.payload[0] != 4 || q.payload[1] != 0 || binary.BigEndian.Uint32(q.payload[4:]) != c.pointer {
				t.Errorf("answer %x, want pointer %d", q.payload[:8], c.pointer)
			}
		})
	}
	t.Run("RFC 7915, 5.4/not about an ICMPv6 error", func(t *testing.T) {
		m := seal(peer6, host6, protoICMPv6, icmp(1, 0, 0, data(48)))
		p := ip6{next: protoICMPv6, extensions: []extension{routing(1)}}.packet(m)
		dropped(t, newTranslator(t, hostOptions()), p, clat.DropSourceRoute)
	})
	t.Run("RFC 7915, 5.4/not to a stranger", func(t *testing.T) {
		p := ip6{src: router, next: protoUDP, extensions: []extension{routing(1)}}.packet(seg)
		dropped(t, newTranslator(t, hostOptions()), p, clat.DropNoMapping)
	})
}

// DF by the length of the IPv4 packet that results.
func TestDontFragment64(t *testing.T) {
	for _, c := range []struct {
		name string
		ext  []extension
		six  int // octets of IPv6 packet
		df   bool
	}{
		{"1280", nil, 1280, false},
		{"1281", nil, 1281, true},
		{"1288 with 8 of hop-by-hop", []extension{options8(protoHopByHop, 8)}, 1288, false},
		{"1289 with 8 of hop-by-hop", []extension{options8(protoHopByHop, 8)}, 1289, true},
		{"60", nil, 60, false},
		{"1500", nil, 1500, true},
	} {
		for _, next := range []uint8{50, protoUDP, protoICMPv6} {
			t.Run(fmt.Sprintf("RFC 7915, 5.1/%s/%d", c.name, next), func(t *testing.T) {
				n := c.six - 40 - 8*len(c.ext)
				seg := data(n)
				switch next {
				case protoUDP:
					seg = seal(peer6, host6, next, udp(data(n-8)))
				case protoICMPv6:
					seg = seal(peer6, host6, next, icmp(129, 0, 7, data(n-8)))
				}
				q := forwarded(t, newTranslator(t, hostOptions()), ip6{next: next, extensions: c.ext}.packet(seg))
				if q.df != c.df || len(q.payload) != n {
					t.Errorf("DF %v, %d octets", q.df, len(q.payload))
				}
			})
		}
	}
}

func TestTooBigFor4(t *testing.T) {
	tr := newTranslator(t, with(func(o *Options) { o.MTU4 = 1400 }))
	t.Run("RFC 7915, 1.4", func(t *testing.T) {
		forwarded(t, tr, ip6{next: 50}.packet(data(1380)))
		for _, p := range [][]byte{
			ip6{next: 50}.packet(data(1381)),
			from6(protoUDP, udp(data(1452))),
			from6(protoICMPv6, icmp(128, 0, 1, data(1452))),
			ip6{next: 50, extensions: []extension{fragmentHeader(0, true, 1)}}.packet(data(1384)),
		} {
			q := replied(t, tr, p, clat.DropTooBig)
			if q.payload[0] != 2 || q.payload[1] != 0 || binary.BigEndian.Uint32(q.payload[4:]) != 1420 || q.dst != peer6 {
				t.Errorf("answer %x to %v", q.payload[:8], q.dst)
			}
		}
	})
	t.Run("RFC 7915, 1.4/least MTU", func(t *testing.T) {
		tr := newTranslator(t, with(func(o *Options) { o.MTU4 = 1260 }))
		forwarded(t, tr, ip6{next: 50}.packet(data(1240)))
		if q := replied(t, tr, ip6{next: 50}.packet(data(1241)), clat.DropTooBig); binary.BigEndian.Uint32(q.payload[4:]) != 1280 {
			t.Errorf("answer %x", q.payload[:8])
		}
	})
}

func TestAddresses6(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, c := range []struct {
		id, src, dst string
		want         clat.DropReason
	}{
		{"RFC 7915, 5.1", "::", host6.String(), clat.DropSource},
		{"RFC 7915, 5.1", "::1", host6.String(), clat.DropSource},
		{"RFC 7915, 5.1", "fe80::1", host6.String(), clat.DropSource},
		{"RFC 7915, 5.1", "febf::1", host6.String(), clat.DropSource},
		{"RFC 7915, 5.1", "ff02::1", host6.String(), clat.DropSource},
		{"RFC 7915, 5.6", "2001:db8::9", host6.String(), clat.DropNoMapping},
		{"RFC 7915, 5.6", "64:ff9b::198.51.100.5", "2001:db8:1:2::c1a8", clat.DropNoMapping},
		{"RFC 7915, 5.6", "64:ff9b::198.51.100.5", "ff02::1", clat.DropMulticast},
		{"RFC 6052, 5.1", "64:ff9b::127.0.0.1", host6.String(), clat.DropSpoofed},
		{"RFC 6052, 5.1", "64:ff9b::192.0.0.1", host6.String(), clat.DropSpoofed},
		{"RFC 6052, 5.1", "64:ff9b::192.0.0.6", host6.String(), clat.DropSpoofed},
		{"RFC 6052, 5.1", host6.String(), host6.String(), clat.DropSpoofed},
	} {
		t.Run(c.id+"/"+c.src+" to "+c.dst, func(t *testing.T) {
			for _, p := range [][]byte{
				ip6{src: netip.MustParseAddr(c.src), dst: netip.MustParseAddr(c.dst), next: protoUDP}.packet(udp(data(9))),
				ip6{src: netip.MustParseAddr(c.src), dst: netip.MustParseAddr(c.dst), next: protoICMPv6}.packet(icmp(128, 0, 0, data(9))),
			} {
				dropped(t, tr, p, c.want)
			}
		})
	}
}
