package node

import (
	"net"
	"testing"
	"time"
)

func TestDefence(t *testing.T) {
	claim := packet(na, flagO, ours, "ff02::1", ours, target(otherMAC))
	for _, r := range []struct {
		name   string
		claims []float64 // seconds
		sent   []float64
		status Status
	}{
		{"once", []float64{0}, []float64{0}, Ready},
		{"twice", []float64{0, 5}, []float64{0, 5}, Ready},
		{"three times", []float64{0, 5, 10}, []float64{0, 5}, Duplicate},
		{"three times a second apart", []float64{0, 1, 2}, []float64{0, 1}, Duplicate},
		{"three times in 30 s", []float64{0, 15, 30}, []float64{0, 15}, Duplicate},
		{"in more than that", []float64{0, 15, 31, 46, 62, 77}, []float64{0, 15, 31, 46, 62, 77}, Ready},
		{"the window moves", []float64{0, 20, 31, 50}, []float64{0, 20, 31}, Duplicate},
		{"nine times at once is once, and the later ones are answered a second later", []float64{0, 0, 0, .1, .2, .3, .4, .5, .9},
			[]float64{0, 1}, Ready},
		{"at once, again and again", []float64{0, .1, .2, 10, 10.1, 20}, []float64{0, 1, 10, 11}, Duplicate},
	} {
		t.Run(r.name, func(t *testing.T) {
			l, s := ready(t)
			begin := l.now
			for _, c := range r.claims {
				l.pass(begin.Add(time.Duration(c * float64(time.Second))).Sub(l.now))
				l.hear(claim, otherMAC)
			}
			l.pass(time.Minute)
			l.status(s, r.status)
			var want []string
			for _, at := range r.sent {
				want = append(want, seconds(10+at)+defence)
			}
			l.want(want...)
			if r.status == Duplicate {
				final(t, l, s)
			}
		})
	}
	t.Run("not against ourselves", func(t *testing.T) {
		l, s := ready(t)
		l.hardware(s, newMAC)
		l.pass(10 * time.Second)
		l.log = nil
		for range 5 {
			for _, own := range []net.HardwareAddr{ourMAC, newMAC} {
				l.hear(packet(na, flagO, ours, "ff02::1", ours, target(own)), thirdMAC)
				l.hear(packet(na, flagO, ours, "ff02::1", ours), own)
			}
			l.pass(time.Second)
		}
		l.want()
		l.status(s, Ready)
	})
	t.Run("a link that delivers everything three times", func(t *testing.T) {
		l, a := ready(t)
		l.repeats = 2
		b := l.join(otherMAC, 2)
		l.pass(time.Minute)
		l.status(a, Ready)
		l.status(b, Duplicate)
	})
}

// A flood costs what it asks for, and leaves nothing behind.
func TestFlood(t *testing.T) {
	sent := 0
	n := New(Options{Addr: ourAddr, Hardware: ourMAC, Send: func([]byte, net.HardwareAddr) { sent++ }})
	n.Tick(n.Tick(start))
	sent = 0
	flood := func(p []byte) float64 {
		return testing.AllocsPerRun(1000, func() { n.Input(p, otherMAC, start.Add(time.Minute)) })
	}
	solicitation, detection := packet(ns, 0, other6, group6, ours, source(otherMAC)), packet(ns, 0, "::", group6, ours, nonce(4711))
	foreign := flood(packet(ns, 0, other6, "ff02::1:ff00:3", "2001:db8::3", source(otherMAC)))
	if sent != 0 {
		t.Errorf("%d answers for another", sent)
	}
	first := flood(solicitation)
	flood(detection)
	for range 10 {
		flood(packet(na, flagO, ours, "ff02::1", ours, target(otherMAC)))
	}
	if again := flood(solicitation); again != first || first > 60 || foreign > 20 {
		t.Errorf("%v allocations for an answer, then %v; %v for no answer", first, again, foreign)
	}
	if want := 3*1001 + 1; sent != want {
		t.Errorf("%d packets, want %d", sent, want)
	}
	if n.Status() != Ready {
		t.Error(n.Status())
	}
}
