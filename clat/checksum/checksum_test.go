package checksum

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// reference is RFC 1071, 1 as it is written: 16 bits at a time.
func reference(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		w := uint32(b[i]) << 8
		if i+1 < len(b) {
			w |= uint32(b[i+1])
		}
		sum += w
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

// same treats the two zeros of ones' complement as one.
func same(a, b uint16) bool { return a == b || a == 0 && b == 0xffff || a == 0xffff && b == 0 }

func TestSumAgainstReference(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	buf := make([]byte, 9001)
	for n := range len(buf) {
		for i := range n {
			buf[i] = byte(rng.Uint32())
		}
		if n%3 == 0 {
			for i := range n {
				buf[i] = 0xff
			}
		}
		if got, want := Sum(buf[:n]), reference(buf[:n]); !same(got, want) {
			t.Fatalf("length %d: %#04x, want %#04x", n, got, want)
		}
	}
}

// RFC 1624, 4: the example in which HC' must be 0x0000, not 0xffff.
func TestUpdateRFC1624Example(t *testing.T) {
	if got := Update(0xdd2f, Sub(0x3285, 0x5555)); got != 0x0000 {
		t.Fatalf("%#04x, want 0x0000", got)
	}
}

func TestUpdateEqualsRecomputation(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 100_000 {
		var b [64]byte
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		field, old := ^Sum(b[:]), binary.BigEndian.Uint16(b[8:])
		replacement := uint16(rng.Uint32())
		binary.BigEndian.PutUint16(b[8:], replacement)
		if got, want := Update(field, Sub(replacement, old)), ^Sum(b[:]); !same(got, want) {
			t.Fatalf("%#04x, want %#04x", got, want)
		}
	}
}

func TestPseudoHeader(t *testing.T) {
	var src6, dst6 [16]byte
	for i := range 16 {
		src6[i], dst6[i] = byte(i*17), byte(255-i)
	}
	six := append(append(append([]byte{}, src6[:]...), dst6[:]...), 0, 1, 0x86, 0xa0, 0, 0, 0, 58)
	if got, want := Pseudo6(&src6, &dst6, 100000, 58), reference(six); !same(got, want) {
		t.Errorf("IPv6: %#04x, want %#04x", got, want)
	}
}

func BenchmarkSum1460(b *testing.B) {
	buf := make([]byte, 1460)
	b.SetBytes(1460)
	for b.Loop() {
		Sum(buf)
	}
}
