package inbound

import (
	"sync/atomic"
	"testing"
)

// BenchmarkFilter is the price of a packet, on all processors at once, each with ports of its own in words that they share.
func BenchmarkFilter(b *testing.B) {
	for _, c := range []struct {
		name string
		make func(port uint16) (out, in []byte)
	}{
		{"UDP", func(port uint16) (out, in []byte) {
			return packet(protoUDP, 0, udp(port, 53, 100)...), packet(protoUDP, 0, udp(53, port, 100)...)
		}},
		{"TCP", func(uint16) (out, in []byte) {
			return packet(protoTCP, 0, tcp(16, 100)...), packet(protoTCP, 0, tcp(16, 100)...)
		}},
		{"others", func(uint16) (out, in []byte) {
			return packet(47, 0, make([]byte, 100)...), packet(47, 0, make([]byte, 100)...)
		}},
	} {
		f := New()
		each := func(b *testing.B, do func(out, in []byte)) {
			var n atomic.Uint32
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				out, in := c.make(uint16(5000 + n.Add(1)))
				f.sent(out)
				for pb.Next() {
					do(out, in)
				}
			})
		}
		b.Run(c.name+"/out", func(b *testing.B) { each(b, func(out, _ []byte) { f.Open(Opens(out)) }) })
		b.Run(c.name+"/in", func(b *testing.B) {
			each(b, func(_, in []byte) {
				if !f.Allows(in) {
					b.Error("refused")
				}
			})
		})
	}
}
