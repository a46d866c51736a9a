package ra

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"uclat/discovery"
)

// world is a Listener among links that are not there, in a bubble of synctest, and what happens to it as text.
type world struct {
	*Listener
	t     *testing.T
	start time.Time

	mu         sync.Mutex
	events     []event
	sockets    map[Link]*fake
	opened     int
	cannotOpen error
	cannotSend error
}

type event struct {
	at   time.Duration // since the start
	what string
}

// fake is a Socket.
type fake struct {
	w        *world
	link     Link
	messages chan message
	failures chan error
	closed   chan struct{}
}

type message struct {
	octets   []byte
	hopLimit int
	from     netip.Addr
}

var (
	eth0 = Link{Index: 1, Name: "eth0"}
	eth1 = Link{Index: 2, Name: "eth1"}
)

// inWorld runs f in a bubble, with a Listener that runs; in a bare one it does not run yet.
func inWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	inBareWorld(t, func(t *testing.T, w *world) {
		defer w.run()()
		f(t, w)
	})
}

func inBareWorld(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, start: time.Now(), sockets: map[Link]*fake{}}
		w.Listener = New(Options{Listen: w.open})
		f(t, w)
	})
}

// run starts Run; stop ends it.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx, w.report) }()
	return func() {
		w.t.Helper()
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
		if len(w.sockets) > 0 {
			w.t.Errorf("%d sockets are open after Run", len(w.sockets))
		}
	}
}

func (w *world) happens(what string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, event{time.Since(w.start), fmt.Sprintf(what, args...)})
}

// told is what happened since the last call, until that time after the start. What happens at one time has no order.
func (w *world) told(until time.Duration) string {
	time.Sleep(until - time.Since(w.start))
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	slices.SortFunc(w.events, func(a, b event) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.what, b.what)) })
	var texts []string
	for _, e := range w.events {
		texts = append(texts, fmt.Sprint(e.at, " ", e.what))
	}
	w.events = nil
	return strings.Join(texts, "; ")
}

// expect compares what happened since the last call.
func (w *world) expect(until time.Duration, want string) {
	w.t.Helper()
	if got := w.told(until); got != want {
		w.t.Errorf("until %v\n got: %s\nwant: %s", until, got, want)
	}
}

func (w *world) report(ad discovery.Advertisement) {
	if !ad.Router.IsValid() {
		w.happens("silence %d", ad.Link)
		return
	}
	w.happens("ra %d %v", ad.Link, ad.Lifetime)
}

func (w *world) open(l Link) (Socket, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened++
	if w.cannotOpen != nil {
		return nil, w.cannotOpen
	}
	if w.sockets[l] != nil {
		w.t.Errorf("two sockets on %v", l)
	}
	w.sockets[l] = &fake{w: w, link: l, messages: make(chan message), failures: make(chan error), closed: make(chan struct{})}
	return w.sockets[l], nil
}

// set makes that sockets cannot be opened, or cannot send; nil: they can.
func (w *world) set(what *error, to error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*what = to
}

func (w *world) socket(l Link) *fake {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sockets[l]
}

// hear has a router of the link say something.
func (w *world) hear(l Link, text string) {
	w.t.Helper()
	synctest.Wait()
	s := w.socket(l)
	if s == nil {
		w.t.Fatalf("nobody listens on %v", l)
	}
	s.messages <- message{octets(w.t, text), 255, router}
	synctest.Wait()
}

func (f *fake) Receive(b []byte) (n, hopLimit int, from netip.Addr, err error) {
	select {
	case m := <-f.messages:
		return copy(b, m.octets), m.hopLimit, m.from, nil
	case err := <-f.failures:
		return 0, 0, netip.Addr{}, err
	case <-f.closed:
		return 0, 0, netip.Addr{}, errors.New("closed")
	}
}

func (f *fake) Solicit() error {
	f.w.mu.Lock()
	err := f.w.cannotSend
	f.w.mu.Unlock()
	if err == nil {
		f.w.happens("rs %d", f.link.Index)
	}
	return err
}

func (f *fake) Close() error {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	close(f.closed)
	delete(f.w.sockets, f.link)
	return nil
}
