package siit

import (
	"bytes"
	"fmt"
	"testing"

	"uclat/clat"
)

func TestExistingFragments46(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	whole := seal(host4, peer4, protoUDP, udp(data(1472)))
	for _, c := range []struct {
		name   string
		offset int
		mf     bool
		part   []byte
	}{
		{"first", 0, true, whole[:800]},
		{"middle", 800, true, whole[800:1200]},
		{"last", 1200, false, whole[1200:]},
		{"highest offset", 65504, false, data(11)},
	} {
		for _, df := range []bool{false, true} {
			t.Run(fmt.Sprintf("RFC 7915, 4.1/%s/DF %v", c.name, df), func(t *testing.T) {
				p := ip4{proto: protoUDP, id: 0xfedc, df: df, mf: c.mf, offset: c.offset}.packet(c.part)
				q := forwarded(t, tr, p)
				if !q.fragment || q.offset != c.offset || q.mf != c.mf || q.id != 0xfedc || q.proto != protoUDP {
					t.Errorf("%+v", q)
				}
				got := bytes.Clone(q.payload)
				if c.offset == 0 {
					copy(got[6:8], c.part[6:])
				}
				if !bytes.Equal(got, c.part) {
					t.Error("RFC 7915, 4.5: the payload has changed")
				}
			})
		}
	}
	t.Run("RFC 7915, 4.5/whole again", func(t *testing.T) {
		var all []byte
		for i := 0; i < len(whole); i += 400 {
			part := whole[i:min(i+400, len(whole))]
			all = append(all, forwarded(t, tr, ip4{proto: protoUDP, mf: i+400 < len(whole), offset: i}.packet(part)).payload...)
		}
		if slowSum(pseudo(host6, peer6, protoUDP, len(all)), all) != 0xffff {
			t.Error("checksum of the whole is wrong")
		}
	})
}

func TestExistingFragments64(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	whole := seal(peer6, host6, protoTCP, tcp(data(1448)))
	for _, c := range []struct {
		name   string
		offset int
		mf     bool
		part   []byte
	}{
		{"first", 0, true, whole[:800]},
		{"middle", 800, true, whole[800:1200]},
		{"last", 1200, false, whole[1200:]},
		{"highest offset", 65512, false, data(3)},
	} {
		for _, before := range [][]extension{nil, {options8(protoHopByHop, 16)}} {
			t.Run(fmt.Sprintf("RFC 7915, 5.1/%s/%d headers before", c.name, len(before)), func(t *testing.T) {
				ext := append(before[:len(before):len(before)], fragmentHeader(c.offset, c.mf, 0xabcdfedc))
				q := forwarded(t, tr, ip6{next: protoTCP, extensions: ext}.packet(c.part))
				if q.offset != c.offset || q.mf != c.mf || q.id != 0xfedc || q.proto != protoTCP || q.df {
					t.Errorf("%+v", q)
				}
				got := bytes.Clone(q.payload)
				if c.offset == 0 {
					copy(got[16:18], c.part[16:])
				}
				if !bytes.Equal(got, c.part) {
					t.Error("RFC 7915, 4.5: the payload has changed")
				}
			})
		}
	}
	for _, n := range []int{0, 1300} {
		t.Run(fmt.Sprintf("RFC 8200, 4.5/%d", n), func(t *testing.T) {
			seg := seal(peer6, host6, protoTCP, tcp(data(n)))
			q := forwarded(t, tr, ip6{next: protoTCP, extensions: []extension{fragmentHeader(0, false, 0x10203)}}.packet(seg))
			if q.fragment || q.df || q.id != 0x0203 || len(q.payload) != len(seg) {
				t.Errorf("%+v", q)
			}
		})
	}
	t.Run("RFC 8200, 4.5/echo", func(t *testing.T) {
		m := seal(peer6, host6, protoICMPv6, icmp(129, 0, 1, data(8)))
		forwarded(t, tr, ip6{next: protoICMPv6, extensions: []extension{fragmentHeader(0, false, 9)}}.packet(m))
	})
	for next := range 256 {
		t.Run(fmt.Sprintf("RFC 7915, 5.1.1/%d", next), func(t *testing.T) {
			p := ip6{next: uint8(next), extensions: []extension{fragmentHeader(80, false, 9)}}.packet(data(8))
			switch next {
			case 0, 43, 44, 60, 51, 135, 139, 140:
				dropped(t, tr, p, clat.DropExtension)
			case protoICMP:
				dropped(t, tr, p, clat.DropProtocol)
			case protoIGMP:
				dropped(t, tr, p, clat.DropIGMP)
			case protoICMPv6:
				dropped(t, tr, p, clat.DropFragmentedICMP)
			default:
				forwarded(t, tr, p)
			}
		})
	}
}

func TestImpossibleFragments(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, c := range []struct {
		name   string
		offset int
		mf     bool
		n      int
		bad    bool
	}{
		{"M and 9 octets", 80, true, 9, true},
		{"M and 12 octets in the first", 0, true, 12, true},
		{"no M and 9 octets", 80, false, 9, false},
		{"ends at 65515", 65504, false, 11, false},
		{"ends at 65516", 65504, false, 12, true},
		{"begins behind 65515", 65528, true, 8, true},
	} {
		t.Run("RFC 8200, 4.5/"+c.name, func(t *testing.T) {
			four := ip4{proto: 50, offset: c.offset, mf: c.mf}.packet(data(c.n))
			six := ip6{next: 50, extensions: []extension{fragmentHeader(c.offset, c.mf, 1)}}.packet(data(c.n))
			for _, p := range [][]byte{four, six} {
				if c.bad {
					dropped(t, tr, p, clat.DropFragment)
				} else {
					forwarded(t, tr, p)
				}
			}
		})
	}
	// The first fragment of TCP or UDP must reach to the checksum, or that would go unchanged.
	for _, c := range []struct {
		proto uint8
		n     int
		ok    bool
	}{{protoTCP, 16, false}, {protoTCP, 24, true}, {protoUDP, 8, true}} {
		t.Run(fmt.Sprintf("RFC 7915, 4.5/first %d octets of %d", c.n, c.proto), func(t *testing.T) {
			seg := tcp(nil)
			if c.proto == protoUDP {
				seg = udp(data(8))
			}
			part := seal(host4, peer4, c.proto, seg)[:c.n]
			four := ip4{proto: c.proto, mf: true}.packet(part)
			six := ip6{next: c.proto, extensions: []extension{fragmentHeader(0, true, 1)}}.packet(part)
			for _, p := range [][]byte{four, six} {
				if c.ok {
					forwarded(t, tr, p)
				} else {
					dropped(t, tr, p, clat.DropTransport)
				}
			}
		})
	}
}

func TestFragmentedICMP(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	m := seal(host4, peer4, protoICMP, icmp(8, 0, 1, data(72)))
	for _, c := range []struct {
		offset int
		mf     bool
	}{{0, true}, {800, true}, {800, false}} {
		t.Run(fmt.Sprintf("RFC 7915, 1.2/%+v", c), func(t *testing.T) {
			dropped(t, tr, ip4{proto: protoICMP, offset: c.offset, mf: c.mf}.packet(m), clat.DropFragmentedICMP)
			ext := []extension{fragmentHeader(c.offset, c.mf, 1)}
			dropped(t, tr, ip6{next: protoICMPv6, extensions: ext}.packet(m), clat.DropFragmentedICMP)
		})
	}
}

// Packets without DF around the lowest IPv6 MTU, put together again.
func TestFragmenting(t *testing.T) {
	for _, lowest := range []int{1280, 1281, 1287, 1288, 1400, 1500, 9000, 65535} {
		tr := newTranslator(t, with(func(o *Options) { o.MTU6, o.LowestMTU6 = 65535, lowest }))
		for _, n := range []int{lowest - 41, lowest - 40, lowest - 39, lowest, 2 * lowest, 65515} {
			if n > 65515 {
				continue
			}
			seg := seal(host4, peer4, protoUDP, udp(data(n-8)))
			p := ip4{proto: protoUDP, id: 0xffee, tos: 3}.packet(seg)
			if n+40 <= lowest {
				t.Run(fmt.Sprintf("RFC 7915, 4.1/%d/%d", lowest, n), func(t *testing.T) {
					if q := forwarded(t, tr, p); q.fragment {
						t.Errorf("RFC 8021: an atomic fragment")
					}
				})
				continue
			}
			t.Run(fmt.Sprintf("RFC 7915, 4.1/%d/%d", lowest, n), func(t *testing.T) {
				all := pieces(t, tr, newFrame(p))
				together := reassemble(t, all, lowest, 0)
				if q := all[0]; q.id != 0xffee || q.tos != 3 || q.ttl != 63 || q.proto != protoUDP {
					t.Errorf("%+v", q)
				}
				if len(together) != len(seg) || slowSum(pseudo(host6, peer6, protoUDP, len(together)), together) != 0xffff {
					t.Error("not the datagram that was sent")
				}
			})
		}
	}
}

// reassemble puts pieces together that come in order, beginning at offset, and checks their sizes.
func reassemble(t *testing.T, all []packet, lowest, offset int) (whole []byte) {
	t.Helper()
	for i, q := range all {
		last := i == len(all)-1
		if q.offset != offset+len(whole) || q.id != all[0].id || !q.fragment {
			t.Fatalf("piece %d: %+v", i, q)
		}
		if size := 48 + len(q.payload); size > lowest || !last && (size <= lowest-8 || len(q.payload)%8 != 0) {
			t.Fatalf("piece %d of %d octets", i, size)
		}
		if !last && !q.mf {
			t.Fatalf("piece %d has no M", i)
		}
		whole = append(whole, q.payload...)
	}
	return whole
}

func TestRefragmenting(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, mf := range []bool{true, false} {
		t.Run(fmt.Sprintf("RFC 7915, 4.1/refragment/MF %v", mf), func(t *testing.T) {
			part := data(1480)
			all := pieces(t, tr, newFrame(ip4{proto: protoUDP, id: 7, offset: 1480, mf: mf}.packet(part)))
			if got := reassemble(t, all, 1280, 1480); !bytes.Equal(got, part) {
				t.Error("payload has changed")
			}
			if last := all[len(all)-1]; last.mf != mf {
				t.Errorf("MF %v on the last piece", last.mf)
			}
		})
	}
	t.Run("RFC 7915, 4.1/exactly fits", func(t *testing.T) {
		forwarded(t, tr, ip4{proto: 50, mf: true}.packet(data(1232)))
		pieces(t, tr, newFrame(ip4{proto: 50, mf: true}.packet(data(1240))))
	})
}

func TestFragNeeded(t *testing.T) {
	for _, c := range []struct {
		name      string
		mtu6      int
		fragment  bool
		fits, mtu int // octets of IPv4 packet
	}{
		{"1500", 1500, false, 1480, 1480},
		{"1500, a fragment", 1500, true, 1472, 1472},
		{"1280", 1280, false, 1260, 1260},
		{"1280, a fragment", 1280, true, 1252, 1252},
		{"9000", 9000, false, 8980, 8980},
	} {
		t.Run("RFC 7915, 4.1/"+c.name, func(t *testing.T) {
			tr := newTranslator(t, with(func(o *Options) { o.MTU6 = c.mtu6 }))
			h := ip4{proto: 50, df: true, mf: c.fragment}
			n := c.fits - 20
			if c.fragment {
				n &^= 7
			}
			forwarded(t, tr, h.packet(data(n)))
			n += 8
			p := h.packet(data(n))
			q := replied(t, tr, p, clat.DropTooBig)
			want := icmp(3, 4, uint32(c.mtu), p[:min(len(p), 548)])
			copy(want[2:], q.payload[2:4])
			if q.src != self4 || q.dst != host4 || !bytes.Equal(q.payload, want) {
				t.Errorf("%v to %v: %x", q.src, q.dst, q.payload[:8])
			}
		})
	}
}
