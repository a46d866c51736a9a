package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"uclat/clat/config"
	"uclat/platform"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a daemon at work among fakes, within a synctest bubble. All that it does stands in one transcript, a line each.
type rig struct {
	t      *testing.T
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan error
	hup    chan os.Signal

	host      *fakeHost
	eyes      *fakeEyes
	resolvers *fakeResolvers
	tuns      *fakeTUNs
	lan       *fakeLAN
	routers   *fakeRouters
	memory    *fakeMemory

	mu         sync.Mutex
	transcript []string
	file       string // the configuration, as it is written down now
}

// newRig is a rig on host whose daemon does not run yet.
func newRig(t *testing.T, toml string, host platform.Snapshot) (*rig, Options) {
	t.Helper()
	r := &rig{t: t, ended: make(chan error, 1), hup: make(chan os.Signal, 1), file: toml}
	c, err := r.read()
	if err != nil {
		t.Fatal(err)
	}
	r.ctx, r.cancel = context.WithCancel(t.Context())
	r.host = &fakeHost{rig: r}
	r.eyes = &fakeEyes{now: host}
	r.resolvers = &fakeResolvers{}
	r.tuns = &fakeTUNs{rig: r}
	r.lan = newLAN(r)
	r.routers = &fakeRouters{}
	r.memory = &fakeMemory{used: map[netip.Addr]time.Time{}, new: map[netip.Addr]time.Time{}}
	o := Options{
		Config: c, Log: r.logger(), Packets: r.logger().With("about", "packets"), Asked: r.logger(),
		Host: r.host, Eyes: r.eyes, OpenTUN: r.tuns.open,
		OpenLink: r.lan.open, OpenNeighbours: r.lan.neighbours, WatchNeighbours: r.lan.watch, Routers: r.routers, Memory: r.memory,
		Reload: r.hup, Reread: r.read, Resolvers: r.resolvers,
		Now: time.Now, Slept: r.eyes.asleep,
		Obstacles: func(_ context.Context, tun, uplink string) ([]string, error) {
			r.say("look for firewalls between %s and %s", tun, uplink)
			return nil, nil
		},
	}
	return r, o
}

// read reads the configuration.
func (r *rig) read() (*config.Config, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return config.Parse("test.toml", []byte(r.file))
}

// reload writes another configuration and says so, then waits until the daemon has nothing more to do for a second.
func (r *rig) reload(toml string) {
	r.hangUp(toml)
	r.after(time.Second)
}

// hangUp is reload, without the time in which the daemon does more than to answer.
func (r *rig) hangUp(toml string) {
	r.mu.Lock()
	r.file = toml
	r.mu.Unlock()
	r.hup <- syscall.SIGHUP
	synctest.Wait()
}

// run starts the daemon and waits until it has nothing more to do for a second; where others tell PREF64s, until these have had their time.
func (r *rig) run(o Options) {
	go func() { r.ended <- Run(r.ctx, o) }()
	if len(o.Config.PREF64.Prefixes) == 0 {
		r.after(firstAnswer - time.Second/2)
	}
	r.after(time.Second)
}

// start is newRig and run.
func start(t *testing.T, toml string, host platform.Snapshot) *rig {
	t.Helper()
	r, o := newRig(t, toml, host)
	r.run(o)
	return r
}

// after lets that much time pass.
func (r *rig) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// stop ends the daemon and returns its error. It may leave nothing on a link.
func (r *rig) stop() error {
	r.t.Helper()
	r.cancel()
	err := <-r.ended
	r.lan.left()
	return err
}

func (r *rig) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.transcript = append(r.transcript, fmt.Sprintf(format, args...))
}

// Write makes the rig the log's destination.
func (r *rig) Write(line []byte) (int, error) {
	r.say("%s", strings.TrimSuffix(string(line), "\n"))
	return len(line), nil
}

// logger writes lines as slog's text handler does, without the time.
func (r *rig) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch {
		case a.Key == slog.TimeKey:
			return slog.Attr{}
		case a.Key == "path" || a.Key == "because": // the same in all lines: TestPathIsSaid
			return slog.Attr{}
		}
		return a
	}}))
}

// forget returns what happened since the last time.
func (r *rig) forget() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.transcript
	r.transcript = nil
	return got
}

// expect compares what happened since the last time.
func (r *rig) expect(want ...string) {
	r.t.Helper()
	got := r.forget()
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("(-want +got)\n%s", diff)
	}
}

// fakeHost writes down what changes of it. Like platform/hostnet it changes only what differs.
type fakeHost struct {
	*rig
	mu   sync.Mutex
	sets int // how often it was asked
	is   string
	fail func(want platform.HostConfig) error
}

func (h *fakeHost) Set(ctx context.Context, want platform.HostConfig) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	h.sets++
	if h.fail != nil {
		if err := h.fail(want); err != nil {
			h.say("host: %s: %v", hostText(want), err)
			h.is = ""
			return err
		}
	}
	if text := hostText(want); text != h.is {
		h.say("host: %s", text)
		h.is = text
	}
	return nil
}

// tamper is somebody else who takes away what is ours, which the eyes see.
func (h *fakeHost) tamper() {
	h.mu.Lock()
	h.is = "tampered with"
	h.mu.Unlock()
	h.eyes.mu.Lock()
	defer h.eyes.mu.Unlock()
	h.eyes.knock()
}

// asked is how often Set was called.
func (h *fakeHost) asked() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sets
}

func (h *fakeHost) failWith(fail func(want platform.HostConfig) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail = fail
}

func hostText(h platform.HostConfig) string {
	var parts []string
	if h.TUN != "" {
		parts = append(parts, fmt.Sprintf("%s mtu %d %v", h.TUN, h.MTU, h.Addrs))
	}
	for _, r := range h.Routes {
		part := fmt.Sprintf("route %v", r.Dst)
		if r.Src.IsValid() {
			part += fmt.Sprintf(" src %v", r.Src)
		}
		if r.Metric != 0 {
			part += fmt.Sprintf(" metric %d mtu %d", r.Metric, r.MTU)
		}
		parts = append(parts, part)
	}
	for _, b := range h.Blackhole {
		parts = append(parts, fmt.Sprintf("blackhole %v", b))
	}
	if len(parts) == 0 {
		return "nothing of ours"
	}
	text := strings.Join(parts, ", ")
	if h.Forward == nil {
		return text
	}
	text += fmt.Sprintf(", forward by %s %v <-> %v", h.Forward.Uplink, h.Forward.CLAT, h.Forward.PREF64)
	if !h.Forward.RepliesOnly {
		text += ", all of it"
	}
	return text
}

// fakeEyes see what they are told to see. Like platform/monitor they knock as soon as they watch.
type fakeEyes struct {
	mu      sync.Mutex
	now     platform.Snapshot
	err     error
	looks   int           // how often it was looked
	slept   time.Duration // for how long the host was suspended
	knock   func()
	blinded chan error // nil until Watch
}

func (e *fakeEyes) Watch(ctx context.Context, knock func()) error {
	e.mu.Lock()
	e.knock, e.blinded = knock, make(chan error)
	blinded := e.blinded
	e.mu.Unlock()
	knock()
	select {
	case err := <-blinded:
		return err
	case <-ctx.Done():
		return ctx.Err() // which is nobody's fault
	}
}

func (e *fakeEyes) Snapshot(ctx context.Context, _ ...netip.Prefix) (platform.Snapshot, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.looks++
	return e.now, errors.Join(e.err, ctx.Err())
}

// looked is how often.
func (e *fakeEyes) looked() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.looks
}

func (e *fakeEyes) asleep() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.slept
}

// suspend has the host have slept for a while, which it notices by a knock.
func (e *fakeEyes) suspend(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.slept += d
	e.knock()
}

// change makes the host another, and knocks.
func (e *fakeEyes) change(to platform.Snapshot, err error) {
	e.become(to, err)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.knock()
}

// become makes the host another.
func (e *fakeEyes) become(to platform.Snapshot, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.now, e.err = to, err
}
