package dns

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"uclat/discovery"
)

// world is resolvers in memory, and all that happens between them and a Finder as lines of text, each with its time. It lives in a
// synctest bubble.
type world struct {
	t       *testing.T
	began   time.Time
	mu      sync.Mutex
	servers []netip.AddrPort
	broken  error // what Servers fails with
	says    map[netip.AddrPort][]edit
	lines   []string
	log     bytes.Buffer
	set     discovery.Set
	f       *Finder
}

var (
	r1 = netip.MustParseAddrPort("192.0.2.1:53")
	r2 = netip.MustParseAddrPort("[fe80::2%eth0]:53")
)

// newWorld has a Finder over these resolvers, which are silent.
func newWorld(t *testing.T, servers ...netip.AddrPort) *world {
	w := &world{t: t, began: time.Now(), servers: servers, says: map[netip.AddrPort][]edit{}}
	handler := slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	w.f = New(Options{
		Servers: func(context.Context) ([]netip.AddrPort, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.servers, w.broken
		},
		Dial: w.dial,
		Log:  slog.New(handler),
	})
	return w
}

// start runs the Finder until the test ends, which it must notice at once.
func (w *world) start() {
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error)
	go func() { done <- w.f.Run(ctx, w.report) }()
	w.t.Cleanup(func() {
		cancel()
		began := time.Now()
		if err := <-done; err != nil {
			w.t.Errorf("Run: %v", err)
		}
		if d := time.Since(began); d != 0 {
			w.t.Errorf("Run ended %v after its context", d)
		}
	})
}

func (w *world) dial(_ context.Context, network, address string) (net.Conn, error) {
	server := netip.MustParseAddrPort(address)
	client, conn := net.Pipe()
	go func() {
		defer conn.Close()
		buf := make([]byte, udpSize)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			w.note("query %s %v", network, server.Addr())
			w.mu.Lock()
			edits := w.says[server]
			w.mu.Unlock()
			if edits != nil {
				conn.Write(respond(buf[:n], edits...))
			}
		}
	}()
	return client, nil
}

func (w *world) report(o discovery.Observation) {
	if len(o.Prefixes) == 0 {
		w.note("withdraw %v %s", o.Source, o.Origin)
	} else {
		w.note("report %v %s %s %v", o.Source, o.Origin, names(o.Prefixes), o.Lifetime)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set.Observe(time.Now(), o)
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, fmt.Sprint(time.Since(w.began), " ")+fmt.Sprintf(format, args...))
}

// answers sets what a resolver says from now on.
func (w *world) answers(server netip.AddrPort, edits ...edit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.says[server] = edits
}

// nodata is an answer with nothing in it.
func nodata(*dnsmessage.Message) {}

// until lets time pass to d after the beginning.
func (w *world) until(d time.Duration) {
	time.Sleep(d - time.Since(w.began))
	synctest.Wait()
}

func (w *world) expect(want string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var lines []string
	for line := range strings.Lines(want) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if diff := cmp.Diff(lines, w.lines); diff != "" {
		w.t.Errorf("-want +got:\n%s", diff)
	}
	w.lines = nil
}

// bubble runs a test in simulated time.
func bubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}
