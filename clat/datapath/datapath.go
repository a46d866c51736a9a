// Package datapath carries batches of packets between queues through one Translator, and owns what that takes: workers, the budget
// of ICMP errors, reassembly, the path MTU cache, what may come in, probes, counters, and events: what is dropped and should be known.
package datapath

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"uclat/clat"
	"uclat/clat/frame"
	"uclat/clat/inbound"
	"uclat/clat/pmtu"
	"uclat/clat/reasm"
	"uclat/clat/siit"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// Writer is a way out. Any number of goroutines write it.
type Writer interface {
	// Write sends fs in order. On error fs[n] is the one refused, and the caller goes on at n+1. It is a clat.TooBig where fs[n]
	// is longer than the device or the route takes, and clat.ErrNextHop where it is not known to whom on the link it goes.
	Write(fs []*frame.Frame) (n int, err error)
}

// Port is one queue of a device, to be read by one goroutine.
type Port interface {
	Writer
	// Read waits for at least one packet, takes what else already waits, and returns how many of fs it filled: each a packet with
	// frame.Headroom before it. The frames are valid until the next Read.
	Read(fs []*frame.Frame) (int, error)
	// Batch is the most that one Read fills.
	Batch() int
	// Close makes Read and Write return os.ErrClosed.
	Close() error
}

// Lane is what one worker serves: one queue that is read and two that are written. A frame leaves by its IP version, and that is all
// the routing there is. On path kernel all three are one TUN queue.
type Lane struct {
	In     Port
	V6, V4 Writer
}

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

// turn is how often the inbound filter forgets, see inbound.Filter.Turn.
const turn = 5 * time.Minute

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
	inbound        atomic.Pointer[inbound.Filter] // nil: all may come in
	probes         atomic.Pointer[probes]         // whose answers are taken; nil: none. Replaced, not changed

	mu      sync.Mutex // of what follows, and of storing probes
	workers []*Worker
	idle    []*Worker // whose lane has ended: the next lane takes one of them
	turned  time.Time // when the inbound filter was turned last
	watch   watch
	awaited []*probe // that are under way
	ended   []*probe // whose answers would be late, the oldest first
}

// New returns an Engine that translates with t.
func New(t *siit.Translator) *Engine {
	e := &Engine{
		errors: rate.NewLimiter(errorsPerSecond, errorBurst), tooBig: rate.NewLimiter(errorsPerSecond, errorBurst),
		events: rate.NewLimiter(eventsPerSecond, eventBurst),
		start:  time.Now(), turned: time.Now(), fragments: reasm.New(reassembly),
	}
	e.translator.Store(t)
	return e
}

// Swap makes t the translator from the next batch on. No packet is lost. Where some of our addresses go by another way then, Renew says so.
func (e *Engine) Swap(t *siit.Translator) { e.translator.Store(t) }

// SetInbound makes f say what may come in, from the next batch on; nil: all may. f is this engine's alone, which turns it while it runs.
func (e *Engine) SetInbound(f *inbound.Filter) { e.inbound.Store(f) }

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
// queues that it reads. It may be called again, also while it runs, for other lanes.
func (e *Engine) Run(ctx context.Context, lanes []Lane) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		e.expire(ctx)
		return nil
	})
	for _, l := range lanes {
		w := e.worker()
		stop := context.AfterFunc(ctx, func() { _ = l.In.Close() })
		g.Go(func() error {
			defer e.rest(w)
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

// worker is one that is idle, or a new one.
func (e *Engine) worker() *Worker {
	e.mu.Lock()
	if last := len(e.idle) - 1; last >= 0 {
		defer e.mu.Unlock()
		w := e.idle[last]
		e.idle = e.idle[:last]
		return w
	}
	e.mu.Unlock()
	return e.NewWorker()
}

// rest takes a worker back whose lane has ended.
func (e *Engine) rest(w *Worker) {
	w.Done()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.idle = append(e.idle, w)
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
			e.turnInbound()
		}
	}
}

// turnInbound has the inbound filter forget when it is time for that.
func (e *Engine) turnInbound() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := time.Now(); now.Sub(e.turned) >= turn {
		e.turned = now
		if f := e.inbound.Load(); f != nil {
			f.Turn()
		}
	}
}
