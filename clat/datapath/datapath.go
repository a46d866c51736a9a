// Package datapath carries batches of packets between queues through one Translator, and owns what that takes: workers, the budget
// of ICMP errors, reassembly, the path MTU cache, counters, and events: what is dropped and should be known.
package datapath

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"uclat/clat"
	"uclat/clat/frame"
	"uclat/clat/pmtu"
	"uclat/clat/reasm"
	"uclat/clat/siit"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Port is one queue of a device. One goroutine reads it, any number write it.
type Port interface {
	// Read waits for at least one packet, takes what else already waits, and returns how many of fs it filled: each a packet with
	// frame.Headroom before it. The frames are valid until the next Read.
	Read(fs []*frame.Frame) (int, error)
	// Write sends fs in order. On error fs[n] is the one refused, and the caller goes on at n+1. It is a clat.TooBig where fs[n]
	// is longer than the device or the route takes, and clat.ErrNextHop where it is not known to whom on the link it goes.
	Write(fs []*frame.Frame) (n int, err error)
	// Batch is the most that one Read fills.
	Batch() int
	// Close makes Read and Write return os.ErrClosed.
	Close() error
}

// Lane is what one worker serves: one queue that is read and two that are written. A frame leaves by its IP version, and that is all
// the routing there is. On path kernel all three are one TUN queue.
type Lane struct{ In, V6, V4 Port }

// ICMP errors of our own: so many a second and so many at once (RFC 4443, 2.4 (f)), over all workers. As many again may say that a packet
// is too big, so that whoever provokes others does not turn path MTU discovery off.
const (
	errorsPerSecond = 100
	errorBurst      = 100
)

// Fragments of ICMP that are kept, over all workers. A ping of 65 KB takes 32 pages of 2 KB of it.
var reassembly = reasm.Limits{Datagrams: 64, Octets: 1 << 20}

// expiry is how often what is too old is given up.
const expiry = 10 * time.Second

// Engine is a translator at work.
type Engine struct {
	// OnEvent is told what should be known, a few times a second at most; nil: nobody is. The workers call it, so it must not block.
	// Set it before Run.
	OnEvent func(Event)

	translator     atomic.Pointer[siit.Translator]
	errors, tooBig *rate.Limiter
	events         *rate.Limiter
	start          time.Time
	paths          pmtu.Cache
	fragments      *reasm.Reassembler

	mu      sync.Mutex
	workers []*Worker
}

// New returns an Engine that translates with t.
func New(t *siit.Translator) *Engine {
	e := &Engine{
		errors: rate.NewLimiter(errorsPerSecond, errorBurst), tooBig: rate.NewLimiter(errorsPerSecond, errorBurst),
		events: rate.NewLimiter(eventsPerSecond, eventBurst),
		start:  time.Now(), fragments: reasm.New(reassembly),
	}
	e.translator.Store(t)
	return e
}

// Swap makes t the translator from the next batch on. No packet is lost.
func (e *Engine) Swap(t *siit.Translator) { e.translator.Store(t) }

// Counters are the sums over all workers that there ever were. ICMP that was put together of fragments counts as one packet.
func (e *Engine) Counters() (t clat.Totals) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.workers {
		w.counters.AddTo(&t)
	}
	e.fragments.AddTo(&t)
	return t
}

// now is a monotonic second.
func (e *Engine) now() uint32 { return uint32(time.Since(e.start) / time.Second) }

// Run serves the lanes, one goroutine each, until ctx ends, which is no error, or a queue cannot be read any more. It closes the
// queues that it reads.
func (e *Engine) Run(ctx context.Context, lanes []Lane) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		e.expire(ctx)
		return nil
	})
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

// expire gives up what is too old, until ctx ends.
func (e *Engine) expire(ctx context.Context) {
	tick := time.NewTicker(expiry)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			e.paths.Expire(e.now())
			e.fragments.Expire(e.now())
		}
	}
}
