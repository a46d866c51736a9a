// Package datapath carries batches of packets between queues through one Translator, and owns what that takes: workers, the budget
// of ICMP errors, counters, and events: what is dropped and should be known.
package datapath

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"uclat/clat"
	"uclat/clat/frame"
	"uclat/clat/siit"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Port is one queue of a device. One goroutine reads it, one writes it.
type Port interface {
	// Read waits for at least one packet, takes what else already waits, and returns how many of fs it filled: each a packet with
	// frame.Headroom before it. The frames are valid until the next Read.
	Read(fs []*frame.Frame) (int, error)
	// Write sends fs in order. On error fs[n] is the one refused, and the caller goes on at n+1.
	Write(fs []*frame.Frame) (n int, err error)
	// Batch is the most that one Read fills.
	Batch() int
	// Close makes Read and Write return os.ErrClosed.
	Close() error
}

// Lane is what one worker serves: one queue that is read and two that are written. A frame leaves by its IP version, and that is all
// the routing there is. On path kernel all three are one TUN queue.
type Lane struct{ In, V6, V4 Port }

// ICMP errors of our own: so many a second and so many at once (RFC 4443, 2.4 (f)), over all workers.
const (
	errorsPerSecond = 100
	errorBurst      = 100
)

// Engine is a translator at work.
type Engine struct {
	// OnEvent is told what should be known, a few times a second at most; nil: nobody is. The workers call it, so it must not block.
	// Set it before Run.
	OnEvent func(Event)

	translator     atomic.Pointer[siit.Translator]
	errors, events *rate.Limiter

	mu      sync.Mutex
	workers []*Worker
}

// New returns an Engine that translates with t.
func New(t *siit.Translator) *Engine {
	e := &Engine{errors: rate.NewLimiter(errorsPerSecond, errorBurst), events: rate.NewLimiter(eventsPerSecond, eventBurst)}
	e.translator.Store(t)
	return e
}

// Swap makes t the translator from the next batch on. No packet is lost.
func (e *Engine) Swap(t *siit.Translator) { e.translator.Store(t) }

// Counters are the sums over all workers that there ever were.
func (e *Engine) Counters() (t clat.Totals) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.workers {
		w.counters.AddTo(&t)
	}
	return t
}

// Run serves the lanes, one goroutine each, until ctx ends, which is no error, or a queue cannot be read any more. It closes the
// queues that it reads.
func (e *Engine) Run(ctx context.Context, lanes []Lane) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range lanes {
		w := e.NewWorker()
		stop := context.AfterFunc(ctx, func() { _ = l.In.Close() })
		g.Go(func() error {
			defer stop()
			err := w.serve(l)
			if ctx.Err() != nil {
				return nil
			}
			return err
		})
	}
	return g.Wait()
}

// Worker is the state of one lane. Its methods belong to one goroutine.
type Worker struct {
	e        *Engine
	scratch  *siit.Scratch
	counters clat.Counters
}

// NewWorker returns a Worker whose counters are part of the engine's.
func (e *Engine) NewWorker() *Worker {
	w := &Worker{e: e, scratch: siit.NewScratch(rand.Uint64())}
	e.mu.Lock()
	e.workers = append(e.workers, w)
	e.mu.Unlock()
	return w
}

// serve reads, translates and writes until a queue fails.
func (w *Worker) serve(l Lane) error {
	batch := l.In.Batch()
	in := make([]*frame.Frame, batch)
	for i := range in {
		in[i] = new(frame.Frame)
	}
	v6, v4 := make([]*frame.Frame, 0, 2*batch), make([]*frame.Frame, 0, 2*batch)
	for {
		n, err := l.In.Read(in)
		for rest := in[:n]; len(rest) > 0; {
			var done int
			done, v6, v4 = w.Process(rest, v6[:0], v4[:0])
			rest = rest[done:]
			if err := w.write(l.V6, v6, clat.To6); err != nil {
				return err
			}
			if err := w.write(l.V4, v4, clat.To4); err != nil {
				return err
			}
			w.Done()
		}
		if err != nil {
			return fmt.Errorf("reading packets: %w", err)
		}
	}
}

// write sends frames that went d, and counts those that the device refused. It returns an error only when the device is gone.
func (w *Worker) write(p Port, fs []*frame.Frame, d clat.Direction) error {
	for len(fs) > 0 {
		n, err := p.Write(fs)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, os.ErrClosed):
			return fmt.Errorf("writing packets: %w", err)
		}
		w.counters.Drops[d][clat.DropWrite].Add(1)
		fs = fs[min(n+1, len(fs)):]
	}
	return nil
}

// Process translates packets of in until all are done, or until the scratch has less room than one packet may need, and appends what
// is to be sent to v6 and v4. It returns how many of in it took, at least one. The caller writes v6 and v4, calls Done, and comes back
// with the rest.
func (w *Worker) Process(in, v6, v4 []*frame.Frame) (int, []*frame.Frame, []*frame.Frame) {
	w.refill()
	t := w.e.translator.Load()
	var packets, bytes [clat.NumDirections]uint64
	n := 0
	for ; n < len(in) && w.scratch.Ready(); n++ {
		d := clat.To6
		if in[n].Version() == 6 {
			d = clat.To4
		}
		size := in[n].Len()
		r := t.Translate(in[n], w.scratch)
		switch r.Verdict {
		case siit.Forward:
			packets[d]++
			bytes[d] += uint64(size)
		case siit.Reply:
			w.counters.Replies[d].Add(1)
			w.counters.Drops[d][r.Reason].Add(1)
		default:
			w.counters.Drops[d][r.Reason].Add(1)
			w.e.report(r.Reason, d, in[n].Bytes())
		}
		for _, f := range r.Out {
			if f.Version() == 6 {
				v6 = append(v6, f)
			} else {
				v4 = append(v4, f)
			}
		}
	}
	for d := range packets {
		if packets[d] > 0 {
			w.counters.Packets[d].Add(packets[d])
			w.counters.Bytes[d].Add(bytes[d])
		}
	}
	return n, v6, v4
}

// Done says that what Process returned has been written.
func (w *Worker) Done() { w.scratch.Reset() }

// refill brings the worker's share of the error budget up to a tenth of a second's worth, as far as the common bucket has that much.
func (w *Worker) refill() {
	const share = errorsPerSecond / 10
	want := share - w.scratch.Errors
	if want <= 0 {
		return
	}
	now := time.Now()
	if want = min(want, int(w.e.errors.TokensAt(now))); want > 0 && w.e.errors.AllowN(now, want) {
		w.scratch.Errors += want
	}
}
