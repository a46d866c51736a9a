package datapath

import (
	"errors"
	"os"
	"sync"
	"testing"
	"testing/synctest"

	"uclat/clat"
	"uclat/clat/frame"
)

var _ Writer = (*Gate)(nil)

func TestGate(t *testing.T) {
	errFull := errors.New("full")
	closed := func([]byte) error { return os.ErrClosed }
	three := [][]byte{udp4(28, 64, true), udp4(29, 64, true), udp4(30, 64, true)}
	second := func(err error) func(p []byte) error {
		return func(p []byte) error {
			if len(p) == len(three[1]) {
				return err
			}
			return nil
		}
	}
	for _, tt := range []struct {
		name   string
		change func(*Gate, *queue)
		n      int
		err    error
	}{
		{"the zero value", func(*Gate, *queue) {}, 0, clat.ErrNextHop},
		{"open", func(g *Gate, q *queue) { g.Open(q) }, 3, nil},
		{"shut again", func(g *Gate, q *queue) { g.Open(q); g.Shut() }, 0, clat.ErrNextHop},
		{"open again", func(g *Gate, q *queue) { g.Open(newQueue()); g.Shut(); g.Open(q) }, 3, nil},
		{"to another", func(g *Gate, q *queue) { g.Open(newQueue()); g.Open(q) }, 3, nil},
		{"the queue is closed", func(g *Gate, q *queue) { q.refuse = closed; g.Open(q) }, 0, clat.ErrNextHop},
		{"it is closed meanwhile", func(g *Gate, q *queue) { q.refuse = second(os.ErrClosed); g.Open(q) }, 1, clat.ErrNextHop},
		{"it refuses one", func(g *Gate, q *queue) { q.refuse = second(errFull); g.Open(q) }, 1, errFull},
		{"one is too big", func(g *Gate, q *queue) { q.refuse = second(clat.TooBig{MTU: 28}); g.Open(q) }, 1, clat.TooBig{MTU: 28}},
	} {
		g, q := new(Gate), newQueue()
		tt.change(g, q)
		if n, err := g.Write(frames(three...)); n != tt.n || !errors.Is(err, tt.err) || errors.Is(err, os.ErrClosed) {
			t.Errorf("%s: %d, %v, want %d, %v", tt.name, n, err, tt.n, tt.err)
		}
		if len(q.out) != tt.n {
			t.Errorf("%s: %d frames arrived, want %d", tt.name, len(q.out), tt.n)
		}
	}
}

// The queue behind a gate may change, close or go at any moment: no frame goes astray, and none twice.
func TestGateConcurrent(t *testing.T) {
	const writers, rounds, batch = 4, 500, 3
	g := new(Gate)
	queues := [2]*sink{{}, {}}
	var arrived, refused [writers]int
	var writing sync.WaitGroup
	for i := range writers {
		writing.Go(func() {
			for range rounds {
				for fs := frames(udp4(28, 64, true), udp4(28, 64, true), udp4(28, 64, true)); len(fs) > 0; {
					n, err := g.Write(fs)
					arrived[i] += n
					if err != nil {
						if !errors.Is(err, clat.ErrNextHop) {
							t.Error(err)
						}
						refused[i]++
						n++
					}
					fs = fs[n:]
				}
			}
		})
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			switch q := queues[i%2]; i % 4 {
			case 0, 1:
				q.reopen()
				g.Open(q)
			case 2:
				_ = q.Close()
			case 3:
				g.Shut()
			}
		}
	}()
	writing.Wait()
	close(stop)
	<-stopped
	got, want := queues[0].count()+queues[1].count(), 0
	for i := range writers {
		want += arrived[i]
		if arrived[i]+refused[i] != rounds*batch {
			t.Errorf("writer %d: %d arrived and %d were refused of %d", i, arrived[i], refused[i], rounds*batch)
		}
	}
	if got != want {
		t.Errorf("%d frames arrived, want %d", got, want)
	}
}

// sink is a Port that counts what is written, and can be closed and opened again.
type sink struct {
	queue
	mu     sync.Mutex
	frames int
	shut   bool
}

func (s *sink) Write(fs []*frame.Frame) (int, error) {
	for i := range fs {
		s.mu.Lock()
		if s.shut {
			s.mu.Unlock()
			return i, os.ErrClosed
		}
		s.frames++
		s.mu.Unlock()
	}
	return len(fs), nil
}

func (s *sink) Close() error { return s.set(true) }
func (s *sink) reopen()      { _ = s.set(false) }

func (s *sink) set(shut bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shut = shut
	return nil
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.frames
}

// A lane goes on though the queue that it writes to is gone: what had to go there is counted as without a next hop.
func TestLaneBehindGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := newQueue(), newQueue()
		gate := new(Gate)
		e := New(translator(t, "64:ff9b::/96"))
		stop := start(t, e, Lane{In: in, V6: gate, V4: in})
		send := func(refused uint64, arrived int) {
			t.Helper()
			in.in <- udp4(100, 64, true)
			synctest.Wait()
			if got := e.Counters().Drops[clat.To6][clat.DropNextHop]; got != refused || len(out.out) != arrived {
				t.Errorf("%d are without a next hop, %d arrived, want %d, %d", got, len(out.out), refused, arrived)
			}
		}
		send(1, 0)
		gate.Open(out)
		send(1, 1)
		out.refuse = func([]byte) error { return os.ErrClosed }
		send(2, 1)
		gate.Shut()
		send(3, 1)
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}
