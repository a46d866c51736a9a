package siit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"uclat/clat"
)

// bothWays are a packet of each direction with the same message, and what it must become.
func bothWays(proto uint8, seg []byte) []struct {
	name    string
	in      []byte
	version int
} {
	return []struct {
		name    string
		in      []byte
		version int
	}{
		{"46", from4(proto, bytes.Clone(seg)), 6},
		{"64", from6(proto, bytes.Clone(seg)), 4},
	}
}

func TestTransport(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, c := range []struct {
		name  string
		proto uint8
		make  func([]byte) []byte
	}{{"TCP", protoTCP, tcp}, {"UDP", protoUDP, udp}} {
		for _, n := range []int{0, 1, 2, 33, 1200} {
			for _, d := range bothWays(c.proto, c.make(data(n))) {
				t.Run(fmt.Sprintf("RFC 7915, 4.5/%s/%s/%d", c.name, d.name, n), func(t *testing.T) {
					q := forwarded(t, tr, d.in)
					src, dst := host6, peer6
					if d.version == 4 {
						src, dst = peer4, host4
					}
					if q.version != d.version || q.src != src || q.dst != dst || q.proto != c.proto || q.ttl != 63 || q.fragment {
						t.Errorf("%+v", q)
					}
					want, at := c.make(data(n)), field(c.proto)
					copy(want[at:at+2], q.payload[at:])
					if !bytes.Equal(q.payload, want) {
						t.Error("more than the checksum has changed")
					}
				})
			}
		}
	}
}

// A wrong checksum stays as wrong as it was: the receiver decides.
func TestBadChecksumStaysBad(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, c := range []struct {
		name  string
		proto uint8
		seg   []byte
	}{{"TCP", protoTCP, tcp(data(40))}, {"UDP", protoUDP, udp(data(40))}} {
		for _, d := range bothWays(c.proto, c.seg) {
			t.Run("RFC 7915, 4.5/"+c.name+"/"+d.name, func(t *testing.T) {
				d.in[len(d.in)-1] ^= 0x10
				if q := forwardedFrame(t, tr, newFrame(d.in)); q.good() {
					t.Error("the checksum was made right")
				}
			})
		}
	}
}

// A computed checksum of zero is sent as 0xffff by UDP, and as zero by TCP. The last word of the message is chosen so that it comes
// out as zero.
func TestComputedZero(t *testing.T) {
	for _, c := range []struct {
		name  string
		proto uint8
		seg   []byte
		want  uint16
	}{{"UDP", protoUDP, udp(data(4)), 0xffff}, {"TCP", protoTCP, tcp(data(4)), 0}} {
		for _, d := range []struct {
			name string
			from func(uint8, []byte) []byte
			sum  []byte // of the pseudo-header on the way out
		}{
			{"46", from4, pseudo(host6, peer6, c.proto, len(c.seg))},
			{"64", from6, pseudo(peer4, host4, c.proto, len(c.seg))},
		} {
			t.Run("RFC 7915, 4.5/"+c.name+"/"+d.name, func(t *testing.T) {
				seg, at := bytes.Clone(c.seg), field(c.proto)
				seg[at], seg[at+1] = 0, 0
				end := seg[len(seg)-2:]
				end[0], end[1] = 0, 0
				binary.BigEndian.PutUint16(end, ^slowSum(d.sum, seg))
				q := forwardedFrame(t, newTranslator(t, hostOptions()), newFrame(d.from(c.proto, seg)))
				if got := binary.BigEndian.Uint16(q.payload[at:]); got != c.want {
					t.Errorf("checksum %#04x, want %#04x", got, c.want)
				}
			})
		}
	}
}

func TestZeroUDPChecksum(t *testing.T) {
	four := ip4{proto: protoUDP, df: true}.packet(udp(data(40)))
	six := ip6{next: protoUDP}.packet(udp(data(40)))
	for _, c := range []struct{ drop4, pass6 bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
		tr := newTranslator(t, with(func(o *Options) { o.DropZeroUDP4, o.PassZeroUDP6 = c.drop4, c.pass6 }))
		t.Run(fmt.Sprintf("RFC 7915, 4.5/drop %v, pass %v", c.drop4, c.pass6), func(t *testing.T) {
			if c.drop4 {
				dropped(t, tr, four, clat.DropZeroChecksum)
			} else if q := forwarded(t, tr, four); q.payload[6] == 0 && q.payload[7] == 0 {
				t.Error("no checksum")
			}
		})
		t.Run(fmt.Sprintf("RFC 6935/drop %v, pass %v", c.drop4, c.pass6), func(t *testing.T) {
			if !c.pass6 {
				dropped(t, tr, six, clat.DropZeroChecksum)
			} else if q := forwardedFrame(t, tr, newFrame(six)); !bytes.Equal(q.payload, udp(data(40))) {
				t.Errorf("changed to %x", q.payload)
			}
		})
	}
	tr := newTranslator(t, hostOptions())
	t.Run("RFC 7915, 4.5/first fragment", func(t *testing.T) {
		dropped(t, tr, ip4{proto: protoUDP, mf: true}.packet(udp(data(40))), clat.DropZeroChecksum)
		if q := forwarded(t, tr, ip4{proto: protoUDP, offset: 48}.packet(make([]byte, 40))); !bytes.Equal(q.payload, make([]byte, 40)) {
			t.Errorf("later fragment changed to %x", q.payload)
		}
	})
	// What the sum covers is what the UDP header says, though the packet holds more (RFC 8200, 8.1).
	t.Run("RFC 7915, 4.5/short UDP length", func(t *testing.T) {
		u := udp(data(40))
		u[4], u[5] = 0, 30
		q := forwardedFrame(t, tr, newFrame(ip4{proto: protoUDP}.packet(u)))
		if sum := slowSum(pseudo(host6, peer6, protoUDP, 30), q.payload[:30]); sum != 0xffff {
			t.Errorf("sum %#04x", sum)
		}
	})
	for _, n := range []byte{0, 7, 49} {
		t.Run(fmt.Sprintf("RFC 7915, 4.5/UDP length %d of 48", n), func(t *testing.T) {
			u := udp(data(40))
			u[5] = n
			dropped(t, tr, ip4{proto: protoUDP}.packet(u), clat.DropTransport)
		})
	}
}

// Everything that is not TCP, UDP or ICMP passes as it is, unless its number means something else in the other family.
func TestUnknownProtocols(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	payload := data(64)
	for proto := range 256 {
		proto := uint8(proto)
		t.Run(fmt.Sprintf("RFC 7915, 4.5/46/%d", proto), func(t *testing.T) {
			p := ip4{proto: proto, df: true}.packet(payload)
			switch proto {
			case protoICMP, protoTCP, protoUDP, protoUDPLite, protoDCCP:
			case protoIGMP:
				dropped(t, tr, p, clat.DropIGMP)
			case 0, 43, 44, 58, 60:
				dropped(t, tr, p, clat.DropProtocol)
			default:
				if q := forwarded(t, tr, p); q.proto != proto || !bytes.Equal(q.payload, payload) {
					t.Errorf("%+v", q)
				}
			}
		})
		t.Run(fmt.Sprintf("RFC 7915, 4.5/64/%d", proto), func(t *testing.T) {
			p := ip6{next: proto}.packet(payload)
			switch proto {
			case protoTCP, protoUDP, protoUDPLite, protoDCCP, protoICMPv6:
			case 0, 43, 44, 60: // extension headers, which payload is not
			case protoICMP:
				dropped(t, tr, p, clat.DropProtocol)
			case protoIGMP:
				dropped(t, tr, p, clat.DropIGMP)
			default:
				if q := forwarded(t, tr, p); q.proto != proto || !bytes.Equal(q.payload, payload) {
					t.Errorf("%+v", q)
				}
			}
		})
	}
}

func TestTransportTruncated(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, c := range []struct {
		proto uint8
		n     int
	}{{protoTCP, 0}, {protoTCP, 19}, {protoUDP, 0}, {protoUDP, 7}} {
		dropped(t, tr, ip4{proto: c.proto}.packet(make([]byte, c.n)), clat.DropTransport)
		dropped(t, tr, ip6{next: c.proto}.packet(make([]byte, c.n)), clat.DropTransport)
	}
	for _, words := range []byte{0, 4, 15} { // 15: 60 octets, of which 52 are there
		s := tcp(data(20))
		s[12] = words << 4
		dropped(t, tr, from4(protoTCP, s), clat.DropTransport)
		dropped(t, tr, from6(protoTCP, s), clat.DropTransport)
	}
}

// The sum of the CLAT address and the prefix is not zero as a rule: each pair must give right checksums.
func TestNeutralAndOtherPrefixes(t *testing.T) {
	for _, c := range []struct{ own, prefix string }{
		{"2001:db8:1:2::c1a7", "64:ff9b::/96"},
		{"2001:db8:1:2:aabb:ccac:2bdd:eeff", "64:ff9b::/96"},
		{"2001:db8:1:2::c1a7", "64:ff9b:1:fffe::/96"},
		{"2001:db8:1:2::c1a7", "2001:db8:64::/48"},
		{"fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8:1:ff00::/56"},
	} {
		t.Run("RFC 6052, 4.1/"+c.own+","+c.prefix, func(t *testing.T) {
			tr := customTranslator(t, c.own, c.prefix)
			six := forwarded(t, tr, from4(protoTCP, tcp(data(99))))
			back := forwarded(t, tr, ip6{src: six.dst, dst: six.src, next: protoTCP}.packet(seal(six.dst, six.src, protoTCP, tcp(data(9)))))
			if back.src != peer4 || back.dst != host4 {
				t.Errorf("%v to %v", back.src, back.dst)
			}
		})
	}
}
