package siit

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/eam"
)

func TestIPv4HeaderIsChecked(t *testing.T) {
	good := func() []byte { return from4(protoUDP, udp(data(40))) }
	for _, c := range []struct {
		name string
		edit func(p []byte) []byte
		want clat.DropReason
	}{
		{"19 octets", func(p []byte) []byte { return p[:19] }, clat.DropHeader},
		{"IHL 4", func(p []byte) []byte { p[0] = 0x44; return resum(p) }, clat.DropHeader},
		{"IHL beyond the packet", func(p []byte) []byte { p[0] = 0x4f; return p[:40] }, clat.DropHeader},
		{"Total Length below IHL", func(p []byte) []byte { p[2], p[3] = 0, 19; return resum(p) }, clat.DropHeader},
		{"Total Length beyond the packet", func(p []byte) []byte { p[3]++; return resum(p) }, clat.DropHeader},
		{"header checksum", func(p []byte) []byte { p[10] ^= 1; return p }, clat.DropChecksum},
		{"header checksum 0", func(p []byte) []byte { p[10], p[11] = 0, 0; return p }, clat.DropChecksum},
	} {
		t.Run("RFC 1812, 5.2.2/"+c.name, func(t *testing.T) {
			dropped(t, newTranslator(t, hostOptions()), c.edit(good()), c.want)
		})
	}
	for _, n := range []int{1, 6, 46} {
		t.Run(fmt.Sprintf("RFC 1812, 5.2.2/padding %d", n), func(t *testing.T) {
			padded := append(good(), bytes.Repeat([]byte{0xee}, n)...)
			if q := forwarded(t, newTranslator(t, hostOptions()), padded); len(q.payload) != 48 {
				t.Errorf("%d octets of payload, want 48", len(q.payload))
			}
		})
	}
}

// resum makes the header checksum of an IPv4 packet right.
func resum(p []byte) []byte {
	n := min(int(p[0]&15)*4, len(p))
	p[10], p[11] = 0, 0
	sum := ^slowSum(p[:n])
	p[10], p[11] = byte(sum>>8), byte(sum)
	return p
}

func TestIPv4Options(t *testing.T) {
	for _, c := range []struct {
		name    string
		options []byte
		drop    bool
	}{
		{"no operation", []byte{1, 1, 1, 0}, false},
		{"record route", []byte{7, 7, 4, 0, 0, 0, 0, 0}, false},
		{"router alert", []byte{148, 4, 0, 0}, false},
		{"40 octets", bytes.Repeat([]byte{1}, 40), false},
		{"LSRR not begun", []byte{131, 7, 4, 203, 0, 113, 9, 0}, true},
		{"SSRR not begun", []byte{137, 7, 4, 203, 0, 113, 9, 0}, true},
		{"LSRR on the last address", []byte{131, 11, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0}, true},
		{"LSRR pointer at length", []byte{131, 7, 7, 203, 0, 113, 9, 0}, true},
		{"LSRR used up", []byte{131, 7, 8, 203, 0, 113, 9, 0}, false},
		{"SSRR used up", []byte{137, 7, 8, 203, 0, 113, 9, 0}, false},
		{"LSRR behind others", []byte{1, 148, 4, 0, 0, 131, 7, 4, 203, 0, 113, 9}, true},
		{"LSRR behind the end", []byte{0, 131, 7, 4, 203, 0, 113, 9}, false},
		{"LSRR of two octets", []byte{131, 2, 0, 0}, false},
		{"option of length 0", []byte{7, 0, 131, 7, 4, 1, 2, 3}, false},
		{"option of length 1", []byte{7, 1, 131, 7, 4, 1, 2, 3}, false},
		{"option longer than all", []byte{131, 9, 4, 1}, false},
		{"type without length", []byte{1, 1, 1, 131}, false},
	} {
		tr := newTranslator(t, hostOptions())
		seg := seal(host4, peer4, protoUDP, udp(data(30)))
		t.Run("RFC 7915, 4.1/"+c.name, func(t *testing.T) {
			p := ip4{proto: protoUDP, df: true, options: c.options}.packet(seg)
			if c.drop {
				q := replied(t, tr, p, clat.DropSourceRoute)
				if q.payload[0] != 3 || q.payload[1] != 5 || !bytes.Equal(q.payload[8:], p) {
					t.Errorf("answer %x", q.payload)
				}
				return
			}
			if q := forwarded(t, tr, p); len(q.payload) != len(seg) || !bytes.Equal(q.payload[8:], seg[8:]) {
				t.Errorf("payload %x", q.payload)
			}
		})
	}
}

// Options go away, so a packet with options may fit where one without does not.
func TestIPv4OptionsAndMTU(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	options := bytes.Repeat([]byte{1}, 40)
	forwarded(t, tr, ip4{proto: 50, df: true, options: options}.packet(data(1460)))
	q := replied(t, tr, ip4{proto: 50, df: true, options: options}.packet(data(1461)), clat.DropTooBig)
	if q.payload[6] != 1480>>8 || q.payload[7] != 1480&0xff {
		t.Errorf("answer %x", q.payload[:8])
	}
}

func TestTrafficClassAndTOS(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for tos := range 256 {
		t.Run(fmt.Sprintf("RFC 7915, 4.1/46/%#02x", tos), func(t *testing.T) {
			if q := forwarded(t, tr, ip4{proto: 50, tos: uint8(tos), df: true}.packet(data(9))); q.tos != uint8(tos) {
				t.Errorf("traffic class %#02x", q.tos)
			}
		})
		t.Run(fmt.Sprintf("RFC 7915, 5.1/64/%#02x", tos), func(t *testing.T) {
			if q := forwarded(t, tr, ip6{next: 50, tclass: uint8(tos)}.packet(data(9))); q.tos != uint8(tos) {
				t.Errorf("TOS %#02x", q.tos)
			}
		})
	}
}

func TestTTL(t *testing.T) {
	normal := newTranslator(t, hostOptions())
	transparent := newTranslator(t, with(func(o *Options) { o.TTLTransparent = true }))
	for ttl := range 256 {
		four := ip4{proto: 50, ttl: uint8(ttl), df: true}.packet(data(9))
		six := ip6{next: 50, hops: uint8(ttl)}.packet(data(9))
		if ttl == 0 { // which the builders take for the usual one
			four[8], six[7] = 0, 0
			resum(four)
		}
		t.Run(fmt.Sprintf("RFC 7915, 4.1/%d", ttl), func(t *testing.T) {
			if ttl <= 1 {
				if q := replied(t, normal, four, clat.DropTTL); q.src != self4 || q.payload[0] != 11 || q.payload[1] != 0 {
					t.Errorf("%+v", q)
				}
			} else if q := forwarded(t, normal, four); int(q.ttl) != ttl-1 {
				t.Errorf("hop limit %d", q.ttl)
			}
		})
		t.Run(fmt.Sprintf("RFC 7915, 5.1/%d", ttl), func(t *testing.T) {
			if ttl <= 1 {
				if q := replied(t, normal, six, clat.DropTTL); q.dst != peer6 || q.payload[0] != 3 || q.payload[1] != 0 {
					t.Errorf("%+v", q)
				}
			} else if q := forwarded(t, normal, six); int(q.ttl) != ttl-1 {
				t.Errorf("TTL %d", q.ttl)
			}
		})
		t.Run(fmt.Sprintf("ttl-transparent/%d", ttl), func(t *testing.T) {
			if ttl == 0 {
				replied(t, transparent, four, clat.DropTTL)
				replied(t, transparent, six, clat.DropTTL)
				return
			}
			if q := forwarded(t, transparent, four); int(q.ttl) != ttl {
				t.Errorf("hop limit %d", q.ttl)
			}
			if q := forwarded(t, transparent, six); int(q.ttl) != ttl {
				t.Errorf("TTL %d", q.ttl)
			}
		})
	}
}

// What is not ours leaves no trace but a counter: no packet, and for illegal sources and groups no error.
func TestAddresses4(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, c := range []struct {
		id, src, dst string
		want         clat.DropReason
		reply        bool
	}{
		{"RFC 7915, 4.1", "0.0.0.0", "198.51.100.5", clat.DropSource, false},
		{"RFC 7915, 4.1", "127.0.0.1", "198.51.100.5", clat.DropSource, false},
		{"RFC 7915, 4.1", "224.0.0.1", "198.51.100.5", clat.DropSource, false},
		{"RFC 7915, 4.1", "240.0.0.1", "198.51.100.5", clat.DropSource, false},
		{"RFC 7915, 4.1", "255.255.255.255", "198.51.100.5", clat.DropSource, false},
		{"not from the host", "192.168.1.2", "198.51.100.5", clat.DropSource, false},
		{"from the translator itself", "192.0.0.6", "198.51.100.5", clat.DropSource, false},
		{"RFC 7915, 4.2", "192.0.0.1", "224.0.0.251", clat.DropMulticast, false},
		{"RFC 7915, 4.2", "192.0.0.1", "255.255.255.255", clat.DropMulticast, false},
		{"RFC 7757, 4", "192.0.0.1", "192.0.0.1", clat.DropHairpin, false},
		{"RFC 7915, 4.4", "192.0.0.1", "169.254.1.1", clat.DropNoMapping, true},
		{"RFC 7915, 4.4", "192.0.0.1", "127.0.0.1", clat.DropNoMapping, true},
		{"RFC 7915, 4.4", "192.0.0.1", "192.0.0.3", clat.DropNoMapping, true},
		{"RFC 7915, 4.4", "192.0.0.1", "240.0.0.1", clat.DropNoMapping, true},
	} {
		t.Run(c.id+"/"+c.src+" to "+c.dst, func(t *testing.T) {
			p := ip4{src: netip.MustParseAddr(c.src), dst: netip.MustParseAddr(c.dst), proto: protoUDP}.packet(udp(data(9)))
			if !c.reply {
				dropped(t, tr, p, c.want)
			} else if q := replied(t, tr, p, c.want); q.payload[0] != 3 || q.payload[1] != 13 {
				t.Errorf("answer %x", q.payload[:8])
			}
		})
	}
	t.Run("RFC 6052, 3.1/a documentation address", func(t *testing.T) {
		s := hostSpec()
		s.RejectNonGlobal = true
		m, err := eam.New(s)
		if err != nil {
			t.Fatal(err)
		}
		strict, err := New(m, hostOptions())
		if err != nil {
			t.Fatal(err)
		}
		if q := replied(t, strict, from4(protoUDP, udp(data(9))), clat.DropNonGlobal); q.payload[0] != 3 || q.payload[1] != 13 {
			t.Errorf("answer %x", q.payload[:8])
		}
		dropped(t, strict, from6(protoUDP, udp(data(9))), clat.DropNonGlobal)
	})
}
