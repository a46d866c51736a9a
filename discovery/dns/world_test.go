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

	"uclat/clat/pref64"
	"uclat/discovery"
)

// world is links with resolvers in memory, and all that happens between them and a Finder as lines of text, each with its time. What
// happens on another link than eth0 bears its name. It lives in a synctest bubble.
type world struct {
	t       *testing.T
	began   time.Time
	mu      sync.Mutex
	servers map[int][]netip.AddrPort // by link
	broken  error                    // what Servers fails with
	says    map[netip.AddrPort][]edit
	unable  map[netip.AddrPort]error // why it cannot be dialled
	lines   []string
	log     bytes.Buffer
	set     discovery.Set
	f       *Finder
}

var (
	r1 = netip.MustParseAddrPort("192.0.2.1:53")
	r2 = netip.MustParseAddrPort("[fe80::2%2]:53")
	r3 = netip.MustParseAddrPort("[2001:db8:3::53]:53")

	eth0  = Link{Index: 2, Name: "eth0"}
	wlan0 = Link{Index: 3, Name: "wlan0"}
)

// newWorld has a Finder over eth0 with these resolvers, which are silent.
func newWorld(t *testing.T, servers ...netip.AddrPort) *world {
	w := emptyWorld(t)
	w.servers[eth0.Index] = servers
	w.f.SetLinks([]Link{eth0})
	return w
}

// emptyWorld has a Finder without links.
func emptyWorld(t *testing.T) *world {
	w := &world{t: t, began: time.Now(), servers: map[int][]netip.AddrPort{}, says: map[netip.AddrPort][]edit{},
		unable: map[netip.AddrPort]error{}}
	handler := slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	w.f = New(Options{
		Servers: func(_ context.Context, link Link) ([]netip.AddrPort, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.servers[link.Index], w.broken
		},
		Dial: func(link Link) func(context.Context, string, string) (net.Conn, error) {
			return func(_ context.Context, network, address string) (net.Conn, error) {
				return w.dial(link, network, address)
			}
		},
		Log: slog.New(handler),
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

func (w *world) dial(link Link, network, address string) (net.Conn, error) {
	server := netip.MustParseAddrPort(address)
	w.mu.Lock()
	unable := w.unable[server]
	w.mu.Unlock()
	if unable != nil {
		w.note(link.Index, "cannot dial %s %v", network, server.Addr())
		return nil, &net.OpError{Op: "dial", Net: network, Addr: net.UDPAddrFromAddrPort(server), Err: unable}
	}
	client, conn := net.Pipe()
	go func() {
		defer conn.Close()
		buf := make([]byte, udpSize)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			w.note(link.Index, "query %s %v", network, server.Addr())
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
		w.note(o.Link, "withdraw %v %s", o.Source, o.Resolver)
	} else {
		var ps []pref64.Prefix
		for _, offer := range o.Prefixes {
			ps = append(ps, offer.Prefix)
			if offer.Lifetime != o.Prefixes[0].Lifetime {
				w.t.Errorf("one answer, several lifetimes: %v", o.Prefixes)
			}
		}
		w.note(o.Link, "report %v %s %s %v", o.Source, o.Resolver, names(ps), o.Prefixes[0].Lifetime)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.set.Observe(time.Now(), o)
}

func (w *world) note(link int, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := fmt.Sprint(time.Since(w.began), " ")
	if link == wlan0.Index {
		at += "wlan0 "
	}
	w.lines = append(w.lines, at+fmt.Sprintf(format, args...))
}

// resolvers sets what the system knows of a link from now on.
func (w *world) resolvers(link Link, servers ...netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers[link.Index] = servers
}

// answers sets what a resolver says from now on.
func (w *world) answers(server netip.AddrPort, edits ...edit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.says[server] = edits
}

// silence has a resolver say nothing from now on.
func (w *world) silence(server netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.says, server)
}

// known is what the Set makes of all that was reported.
func (w *world) known() []discovery.Known {
	w.mu.Lock()
	defer w.mu.Unlock()
	known, _ := w.set.Valid(time.Now())
	return known
}

// forget drops the lines so far.
func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = nil
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
