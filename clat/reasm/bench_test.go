package reasm

import (
	"testing"

	"uclat/clat/frame"
)

// BenchmarkWhole puts a datagram of 4000 octets together of three fragments.
func BenchmarkWhole(b *testing.B) {
	r, take := New(product), reuse()
	fragments := []*frame.Fragment{piece(four, 0, 1448, true), piece(four, 1448, 2896, true), piece(four, 2896, 4000, false)}
	b.ReportAllocs()
	b.SetBytes(4000)
	for b.Loop() {
		for _, fr := range fragments {
			r.Add(fr, 0, take)
		}
	}
}

// BenchmarkFlood gives fragments, of which no datagram is ever complete, to a Reassembler that is full.
func BenchmarkFlood(b *testing.B) {
	for _, flood := range []struct {
		name string
		next func(fr *frame.Fragment, i int)
	}{
		{"one source", func(fr *frame.Fragment, i int) { fr.ID = uint32(i) }},
		{"many sources", func(fr *frame.Fragment, i int) {
			fr.ID = uint32(i)
			fr.Src = [16]byte{byte(i >> 16), byte(i >> 8), byte(i), 1}
		}},
		{"one ID", func(fr *frame.Fragment, i int) { fr.Src = [16]byte{byte(i >> 16), byte(i >> 8), byte(i), 1} }},
		{"8 octets", func(fr *frame.Fragment, i int) {
			fr.ID, fr.Offset, fr.Payload = uint32(i/4000), i%4000*16, fr.Payload[:8]
		}},
		{"bad", func(fr *frame.Fragment, i int) { fr.Offset = i & 1 * 8 }},
	} {
		b.Run(flood.name, func(b *testing.B) {
			r, take := New(product), reuse()
			for s := range 64 {
				r.Add(piece(from(s, 0), 0, 8, true), 0, take)
			}
			fr := piece(four, 0, 1448, true)
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				flood.next(fr, i)
				r.Add(fr, 0, take)
				i++
			}
		})
	}
}

// reuse is a take that wraps the same memory each time.
func reuse() func(n int) *frame.Frame {
	f, buf := new(frame.Frame), make([]byte, frame.MaxLen)
	return func(n int) *frame.Frame {
		f.Wrap(buf, 0, n)
		return f
	}
}
