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
	socket     *fake // nil: not open
	opened     int
	tries      int // to solicit
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
	messages chan message
	failures chan error
	closed   chan struct{}
}

type message struct {
	octets   []byte
	hopLimit int
	link     int
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
		w := &world{t: t, start: time.Now()}
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
		if w.socket != nil {
			w.t.Error("the socket is open after Run")
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

func (w *world) open() (Socket, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened++
	if w.cannotOpen != nil {
		return nil, w.cannotOpen
	}
	if w.socket != nil {
		w.t.Error("two sockets are open")
	}
	w.socket = &fake{w: w, messages: make(chan message), failures: make(chan error), closed: make(chan struct{})}
	return w.socket, nil
}

// set makes that sockets cannot be opened, or cannot send; nil: they can.
func (w *world) set(what *error, to error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*what = to
}

// current is the socket, which must be open.
func (w *world) current() *fake {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.socket == nil {
		w.t.Fatal("nobody listens")
	}
	return w.socket
}

// hear has a router of the link say something.
func (w *world) hear(l Link, text string) {
	w.t.Helper()
	w.current().messages <- message{octets(w.t, text), 255, l.Index, router}
	synctest.Wait()
}

func (f *fake) Receive(b []byte) (n, hopLimit, link int, from netip.Addr, err error) {
	select {
	case m := <-f.messages:
		return copy(b, m.octets), m.hopLimit, m.link, m.from, nil
	case err := <-f.failures:
		return 0, 0, 0, netip.Addr{}, err
	case <-f.closed:
		return 0, 0, 0, netip.Addr{}, errors.New("closed")
	}
}

func (f *fake) Solicit(l Link) error {
	f.w.mu.Lock()
	f.w.tries++
	err := f.w.cannotSend
	f.w.mu.Unlock()
	if err == nil {
		f.w.happens("rs %d", l.Index)
	}
	return err
}

func (f *fake) Close() error {
	f.w.mu.Lock()
	defer f.w.mu.Unlock()
	close(f.closed)
	f.w.socket = nil
	return nil
}
