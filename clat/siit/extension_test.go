package siit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"uclat/clat"
)

// structure is an extension structure with one object of n octets of payload and a right checksum (RFC 4884, 7 and 8).
func structure(n int) []byte {
	b := append([]byte{0x20, 0, 0, 0, byte((4 + n) >> 8), byte(4 + n), 1, 1}, data(n)...)
	binary.BigEndian.PutUint16(b[2:], ^slowSum(b))
	return b
}

// extended is a quoted packet padded or cut to n octets, with a structure behind it.
func extended(quote []byte, n int, ext []byte) []byte {
	return append(append(bytes.Clone(quote), make([]byte, max(0, n-len(quote)))...)[:n], ext...)
}

// checkExtension reads the translated error m: a quote of want octets, which is zeros behind its first keep, and ext.
func checkExtension(t *testing.T, m []byte, unit, want, keep int, ext []byte) {
	t.Helper()
	length := int(m[4]) * 8
	if unit == unit4 {
		length = int(m[5]) * 4
	}
	if length != want || len(m) < 8+length {
		t.Fatalf("length attribute for %d octets of %d, want %d", length, len(m)-8, want)
	}
	if got := m[8+length:]; !bytes.Equal(got, ext) {
		t.Errorf("extension structure %x, want %x", got, ext)
	}
	if pad := m[min(8+keep, 8+length) : 8+length]; !bytes.Equal(pad, make([]byte, len(pad))) {
		t.Errorf("padding %x", pad)
	}
}

// The structure stands where the length attribute says, unchanged, whatever the sizes of quote and structure.
func TestExtensionKept(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, n := range []int{28, 48, 64, 108, 128, 136, 300, 516, 576, 1000, 1016} {
		for _, size := range []int{0, 4, 24, 200, 600} {
			ext := structure(size)
			for _, body := range []int{12, n - 20, n + 500} { // of the quoted packet: shorter than the quote, as long, longer
				q4 := ip4{src: peer4, dst: host4, proto: 50}.packet(data(body))
				q6 := ip6{src: host6, dst: peer6, next: 50}.packet(data(body))
				if n%4 == 0 && n >= 32 {
					t.Run(fmt.Sprintf("46/%d and %d of %d", n, size, body), func(t *testing.T) {
						out := forwarded(t, tr, from4(protoICMP, icmp(11, 0, uint32(n/4)<<16, extended(q4, n, ext))))
						keep := 40 + min(body, n-20)
						want := min((max(keep, 128)+7)&^7, (1232-len(ext))&^7)
						checkExtension(t, out.payload, unit6, want, keep, ext)
						if got := out.payload[8+40 : 8+min(keep, want)]; !bytes.Equal(got, data(body)[:len(got)]) {
							t.Errorf("quoted %x", got)
						}
					})
				}
				if n%8 == 0 && n >= 48 {
					t.Run(fmt.Sprintf("64/%d and %d of %d", n, size, body), func(t *testing.T) {
						out := forwarded(t, tr, from6(protoICMPv6, icmp(3, 0, uint32(n/8)<<24, extended(q6, n, ext))))
						keep := 20 + min(body, n-40)
						want := min((max(keep, 128)+3)&^3, (1472-len(ext))&^3)
						checkExtension(t, out.payload, unit4, want, keep, ext)
						if got := out.payload[8+20 : 8+min(keep, want)]; !bytes.Equal(got, data(body)[:len(got)]) {
							t.Errorf("quoted %x", got)
						}
					})
				}
			}
		}
	}
}

// What is no extension structure, has no place or is too large is left out, and the length attribute is 0.
func TestExtensionLeftOut(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	q4 := ip4{src: peer4, dst: host4, proto: 50}.packet(data(108))
	q6 := ip6{src: host6, dst: peer6, next: 50}.packet(data(88))
	for _, c := range []struct {
		name string
		ext  []byte
	}{
		{"nothing", nil},
		{"3 octets", []byte{0x20, 0, 0}},
		{"version 1", append([]byte{0x10}, structure(4)[1:]...)},
		{"too large", structure(1400)},
	} {
		t.Run("46/"+c.name, func(t *testing.T) {
			out := forwarded(t, tr, from4(protoICMP, icmp(3, 3, 32<<16, extended(q4, 128, c.ext))))
			if len(out.payload) != 8+40+108 || !bytes.Equal(out.payload[4:8], []byte{0, 0, 0, 0}) {
				t.Errorf("%d octets, %x", len(out.payload), out.payload[:8])
			}
		})
		t.Run("64/"+c.name, func(t *testing.T) {
			out := forwarded(t, tr, from6(protoICMPv6, icmp(1, 4, 16<<24, extended(q6, 128, c.ext))))
			if len(out.payload) != 8+20+88 || !bytes.Equal(out.payload[4:8], []byte{0, 0, 0, 0}) {
				t.Errorf("%d octets, %x", len(out.payload), out.payload[:8])
			}
		})
	}
	for _, c := range []struct {
		name      string
		typ, code uint8
		word      uint32
		want      row
	}{
		{"protocol unreachable", 3, 2, 32 << 16, row{4, 1, 6}},
		{"fragmentation needed", 3, 4, 32<<16 | 1400, row{2, 0, 1420}},
		{"parameter problem", 12, 0, 9<<24 | 32<<16, row{4, 0, 6}},
	} {
		t.Run("46/"+c.name, func(t *testing.T) {
			out := forwarded(t, tr, from4(protoICMP, icmp(c.typ, c.code, c.word, extended(q4, 128, structure(8)))))
			checkRow(t, out, c.want)
			if len(out.payload) != 8+40+108 {
				t.Errorf("%d octets", len(out.payload))
			}
		})
	}
	t.Run("64/in these the octet is another field's", func(t *testing.T) {
		checkRow(t, forwarded(t, tr, from6(protoICMPv6, icmp(2, 0, 1<<24, q6))), row{3, 4, 1480})
		checkRow(t, forwarded(t, tr, from6(protoICMPv6, icmp(4, 0, 6, q6))), row{12, 0, 9 << 24})
	})
	t.Run("claims more than there is", func(t *testing.T) {
		dropped(t, tr, from4(protoICMP, icmp(11, 0, 33<<16, q4)), clat.DropICMPInner)
		dropped(t, tr, from6(protoICMPv6, icmp(3, 0, 17<<24, q6)), clat.DropICMPInner)
	})
}

// nodeID is the object that tells the router's address.
func nodeID(t *testing.T) []byte {
	return append(unhex(t, "0018050400020000"), router.AsSlice()...)
}

func TestNodeIdentification(t *testing.T) {
	tr := newTranslator(t, with(func(o *Options) { o.NodeID = true }))
	message := func(typ uint8, word uint32, body []byte) []byte {
		return ip6{src: router, next: protoICMPv6}.packet(seal(router, host6, protoICMPv6, icmp(typ, 0, word, body)))
	}
	alone := append(unhex(t, "2000ad27"), nodeID(t)...)
	t.Run("alone", func(t *testing.T) {
		for _, body := range []int{8, 88, 101, 400, 992, 1192} {
			q := ip6{src: host6, dst: peer6, next: 50}.packet(data(body))
			for _, typ := range []uint8{1, 3} {
				out := forwarded(t, tr, message(typ, 0, q))
				checkExtension(t, out.payload, unit4, min((max(20+body, 128)+3)&^3, 1020), 20+body, alone)
			}
		}
	})
	t.Run("behind others", func(t *testing.T) {
		ext := append(structure(8), nodeID(t)...)
		binary.BigEndian.PutUint16(ext[2:], 0)
		binary.BigEndian.PutUint16(ext[2:], ^slowSum(ext))
		q := ip6{src: host6, dst: peer6, next: 50}.packet(data(88))
		out := forwarded(t, tr, message(3, 16<<24, extended(q, 128, structure(8))))
		checkExtension(t, out.payload, unit4, 128, 108, ext)
	})
	t.Run("a structure without a checksum stays so, a wrong one stays wrong", func(t *testing.T) {
		q := ip6{src: host6, dst: peer6, next: 50}.packet(data(88))
		none, wrong := structure(8), structure(8)
		none[2], none[3] = 0, 0
		wrong[3] ^= 1
		out := forwarded(t, tr, message(3, 16<<24, extended(q, 128, none)))
		checkExtension(t, out.payload, unit4, 128, 108, append(none, nodeID(t)...))
		out = forwarded(t, tr, message(3, 16<<24, extended(q, 128, wrong)))
		if ext := out.payload[8+128:]; len(ext) != 16+24 || slowSum(ext) == 0xffff {
			t.Errorf("extension structure %x", ext)
		}
	})
	t.Run("it gives way to a structure that leaves no room, or is not aligned", func(t *testing.T) {
		q := ip6{src: host6, dst: peer6, next: 50}.packet(data(88))
		for _, n := range []int{1500 - 28 - 128 - 8, 1500 - 28 - 128 - 8 - 20, 5} {
			ext := structure(n)
			out := forwarded(t, tr, message(3, 16<<24, extended(q, 128, ext)))
			checkExtension(t, out.payload, unit4, 128, 108, ext)
		}
	})
	t.Run("not where the source has an IPv4 address", func(t *testing.T) {
		q := ip6{src: host6, dst: peer6, next: 50}.packet(data(88))
		if out := forwarded(t, tr, from6(protoICMPv6, icmp(3, 0, 0, q))); len(out.payload) != 8+108 {
			t.Errorf("%x", out.payload)
		}
	})
	t.Run("not where a quote has fewer octets than it should", func(t *testing.T) {
		q := ip6{src: host6, dst: peer6, next: 59}.packet(data(7))
		if out := forwarded(t, tr, message(3, 0, q)); len(out.payload) != 8+27 {
			t.Errorf("%x", out.payload)
		}
	})
	t.Run("not in Fragmentation Needed or Parameter Problem, nor unless it is wanted", func(t *testing.T) {
		q := ip6{src: host6, dst: peer6, next: 50}.packet(data(88))
		without := newTranslator(t, hostOptions())
		for _, out := range []packet{
			forwarded(t, tr, message(2, 1400, q)), forwarded(t, tr, message(4, 6, q)), forwarded(t, without, message(3, 0, q)),
		} {
			if len(out.payload) != 8+108 {
				t.Errorf("%x", out.payload)
			}
		}
	})
}
