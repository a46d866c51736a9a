package datapath

import (
	"testing"

	"uclat/clat/frame"
	"uclat/clat/inbound"
)

// BenchmarkProcess is a full batch of small packets, each way, without and with a filter for what comes in.
func BenchmarkProcess(b *testing.B) {
	for _, c := range []struct {
		name   string
		packet []byte
		filter *inbound.Filter
	}{
		{"To6", from4(5000), nil}, {"To4", from6(5000, 72), nil},
		{"To6Replies", from4(5000), inbound.New()}, {"To4Replies", from6(5000, 72), inbound.New()},
	} {
		b.Run(c.name, func(b *testing.B) {
			const batch = 32
			e := New(translator(b, "64:ff9b::/96"))
			if c.filter != nil {
				c.filter.Open(inbound.Opens(from4(5000)))
				e.SetInbound(c.filter)
			}
			w := e.NewWorker()
			bufs, fs := make([][]byte, batch), make([]*frame.Frame, batch)
			for i := range fs {
				bufs[i], fs[i] = make([]byte, frame.Headroom+len(c.packet)+frame.Tailroom), new(frame.Frame)
			}
			v6, v4 := make([]*frame.Frame, 0, batch), make([]*frame.Frame, 0, batch)
			b.ReportAllocs()
			for b.Loop() {
				for i, f := range fs {
					copy(bufs[i][frame.Headroom:], c.packet)
					f.Wrap(bufs[i], frame.Headroom, len(c.packet))
				}
				if n, _, _ := w.Process(fs, v6[:0], v4[:0]); n != batch {
					b.Fatalf("%d taken", n)
				}
				w.Done()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batch, "ns/packet")
		})
	}
}
