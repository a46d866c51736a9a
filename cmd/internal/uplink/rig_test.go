package uplink

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"uclat/clat/checksum"
	"uclat/clat/policy"
	"uclat/clat/pref64"
	"uclat/platform"
	"uclat/platform/nexthop"

	gocmp "github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	first  = netip.MustParseAddr("2001:db8:1::46")
	second = netip.MustParseAddr("2001:db8:1::47")
	nat64  = pref64.MustParse("64:ff9b::/96")
	other  = pref64.MustParse("64:ff9b:1::/96")
	router = netip.MustParseAddr("fe80::1")

	ourMAC    = net.HardwareAddr{2, 0, 0, 0, 0, 5}
	newMAC    = net.HardwareAddr{2, 0, 0, 0, 0, 6}
	otherMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 0x99}
	routerMAC = net.HardwareAddr{2, 0, 0, 0, 0, 0xa1}
)

// rig is an Uplink at work on a fake link with one router, within a synctest bubble. All that it does stands in one transcript.
type rig struct {
	t      *testing.T
	begin  time.Time
	uplink *Uplink
	cancel context.CancelFunc
	ended  chan error

	messages chan neighbourMessage // that wait to be read
	closed   chan struct{}
	broken   chan error  // the link cannot be read any more
	knocks   chan func() // what wakes who watches neighbours
	blinded  chan error  // neighbours cannot be watched any more

	mu     sync.Mutex
	lines  []line
	want   Want
	hop    nexthop.Hop                // what the kernel says
	hops   map[netip.Addr]nexthop.Hop // what it says of other routers, and of where other PREF64s are
	fail   map[string]error
	mute   bool                                  // the router answers no solicitation
	echo   func(context.Context) (string, error) // what becomes of an echo request
	sent   uint64                                // packets that have left
	groups map[netip.Addr]bool                   // that were joined
}

// line is something that happened.
type line struct {
	at         time.Duration
	kind, text string
}

func (l line) String() string { return fmt.Sprintf("%v %s %s", l.at, l.kind, l.text) }

// newRig is a rig on link, whose router the kernel knows, which answers everything. It does not run yet.
func newRig(t *testing.T, link platform.Link) *rig {
	t.Helper()
	r := &rig{
		t: t, begin: time.Now(), ended: make(chan error, 1), messages: make(chan neighbourMessage, 64), closed: make(chan struct{}),
		broken: make(chan error, 1), knocks: make(chan func(), 1), blinded: make(chan error, 1), fail: map[string]error{},
		groups: map[netip.Addr]bool{}, hops: map[netip.Addr]nexthop.Hop{}, echo: answers,
		hop:  nexthop.Hop{Gateway: router, Hardware: routerMAC, State: nexthop.Reachable},
		want: Want{Link: link, Hold: []policy.Hold{hold(first)}, Probe: true},
	}
	if !link.L2 {
		r.hop = nexthop.Hop{}
	}
	r.uplink = New(Options{
		Link: link, Conn: r, Neighbours: r, Watch: r.watch, Echo: r.request, Log: slog.New(logged{r}),
		Sent: func() uint64 {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.sent
		},
		Changed: func() { r.say("trials", "%s", trialsText(r.uplink.Trials())) },
	})
	return r
}

// run starts the Uplink, and waits until all is done that can be at once.
func (r *rig) run() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	r.cancel = cancel
	r.uplink.Want(r.want)
	go func() { r.ended <- r.uplink.Run(ctx) }()
	r.after(0)
}

// start is newRig and run on Ethernet.
func start(t *testing.T, change ...func(*rig)) *rig {
	t.Helper()
	r := newRig(t, ethernet)
	for _, c := range change {
		c(r)
	}
	r.run()
	return r
}

var ethernet = platform.Link{Index: 2, Name: "eth0", MTU: 1500, MTU6: 1500, Up: true, L2: true, Hardware: ourMAC.String()}

// hold is an address whose PREF64 is known.
func hold(a netip.Addr) policy.Hold {
	return policy.Hold{Addrs: netip.PrefixFrom(a, 128), ND: true, PREF64: nat64}
}

func (r *rig) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// set changes what the rig does from now on.
func (r *rig) set(change func(*rig)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r)
}

// rewant wants something else.
func (r *rig) rewant(change func(*Want)) {
	r.set(func(r *rig) {
		r.want.Hold = slices.Clone(r.want.Hold)
		change(&r.want)
	})
	r.uplink.Want(r.want)
	r.after(0)
}

// stop ends the Uplink, and the link with it. Nothing may be left.
func (r *rig) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.ended; err != nil {
		r.t.Error(err)
	}
	r.left()
}

// left sees that nothing is left of an Uplink that has ended.
func (r *rig) left() {
	r.t.Helper()
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.groups) > 0 {
		r.t.Errorf("still in the groups of %v", r.groups)
	}
	close(r.closed)
}

func (r *rig) say(kind, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line{time.Since(r.begin), kind, fmt.Sprintf(format, args...)})
}

// expect compares what happened of these kinds since the last time. What other goroutines than that of the station do comes last in its moment.
func (r *rig) expect(kinds string, want ...string) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.DeleteFunc(r.lines, func(l line) bool { return !slices.Contains(strings.Fields(kinds), l.kind) })
	r.lines = nil
	aside := func(l line) int {
		return slices.Index([]string{"watch", "echo"}, l.kind)
	}
	slices.SortStableFunc(all, func(a, b line) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(aside(a), aside(b))) })
	var got []string
	for _, l := range all {
		got = append(got, l.String())
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		r.t.Errorf("(-want +got)\n%s", diff)
	}
}

func trialsText(trials []policy.Trial) string {
	states := [...]string{policy.Checking: "checking", policy.Probing: "probing", policy.Seen: "seen", policy.Silent: "silent",
		policy.Duplicate: "duplicate"}
	var all []string
	for _, t := range trials {
		text := fmt.Sprintf("%v %s", t.Addr, states[t.State])
		if t.Detail != "" {
			text += ": " + strings.TrimSpace(t.Detail)
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// logged is a log that stands in the transcript.
type logged struct{ *rig }

func (h logged) Enabled(context.Context, slog.Level) bool { return true }
func (h logged) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h logged) WithGroup(string) slog.Handler            { return h }
func (h logged) Handle(_ context.Context, r slog.Record) error {
	text := fmt.Sprintf("%v %s", r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	h.say("log", "%s", text)
	return nil
}

// answers is an echo request that the router answers at once.
func answers(context.Context) (string, error) { return "time exceeded", nil }

// nothing is one that nobody answers.
func nothing(ctx context.Context) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}

func (r *rig) request(ctx context.Context, source, target netip.Addr) (string, error) {
	r.say("echo", "%v to %v", source, target)
	r.mu.Lock()
	echo := r.echo
	r.mu.Unlock()
	answer, err := echo(ctx)
	if errors.Is(err, context.Canceled) {
		r.say("echo", "%v to %v given up", source, target)
	}
	return answer, err
}

func (r *rig) failure(what string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fail[what]
}

// The link.

func (r *rig) Accept(to []netip.Prefix) error {
	r.say("link", "accept %v", to)
	return r.failure("accept")
}

func (r *rig) Via(to map[netip.Prefix]net.HardwareAddr, from net.HardwareAddr) {
	var sources, hops []string
	for p, hw := range to {
		if p.IsValid() {
			sources = append(sources, fmt.Sprintf("%v: %v", p, hw))
		} else {
			sources = append(sources, fmt.Sprintf("others: %v", hw))
		}
		hops = append(hops, hw.String())
	}
	slices.Sort(sources)
	r.say("ways", "%s, from %v", strings.Join(sources, ", "), from)
	slices.Sort(hops)
	switch hops = slices.Compact(hops); {
	case len(hops) == 0 || len(hops) == 1 && hops[0] == "":
		r.say("via", "nobody")
	case len(hops) == 1:
		r.say("via", "%v from %v", hops[0], from)
	default:
		r.say("via", "several from %v", from)
	}
}

func (r *rig) Join(addr netip.Addr) (func() error, error) {
	r.say("link", "join for %v", addr)
	if err := r.failure("join"); err != nil {
		return nil, err
	}
	r.set(func(r *rig) { r.groups[addr] = true })
	return func() error {
		r.say("link", "leave for %v", addr)
		r.set(func(r *rig) { delete(r.groups, addr) })
		return r.failure("leave")
	}, nil
}

func (r *rig) ReadND(buf []byte) (int, net.HardwareAddr, error) {
	select {
	case m := <-r.messages:
		return copy(buf, m.packet), m.from, nil
	case err := <-r.broken:
		return 0, nil, err
	case <-r.closed:
		return 0, nil, os.ErrClosed
	}
}

func (r *rig) SendND(p []byte, to, from net.HardwareAddr) error {
	src, target := netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[48:64]))
	switch {
	case p[40] == advertisement:
		r.say("nd", "%v is at %v, to %v from %v", target, net.HardwareAddr(p[66:72]), to, from)
	case src.IsUnspecified():
		r.say("nd", "who has %v, to %v from %v", target, to, from)
	default:
		r.say("nd", "%v asks for %v, to %v from %v", src, target, to, from)
		r.set(func(r *rig) {
			if target == router && !r.mute {
				r.messages <- neighbourMessage{advertise(router, src, routerMAC, true), routerMAC}
			}
		})
	}
	return r.failure("send")
}

// hear has the link deliver a packet.
func (r *rig) hear(p []byte, from net.HardwareAddr) {
	r.messages <- neighbourMessage{p, from}
	r.after(0)
}

const (
	solicitation  = 135
	advertisement = 136
)

// advertise is a Neighbor Advertisement of target.
func advertise(target, dst netip.Addr, mac net.HardwareAddr, solicited bool) []byte {
	flags := byte(0x20)
	if solicited {
		flags |= 0x40
	}
	return neighbour(advertisement, flags, target, dst, target, append([]byte{2, 1}, mac...))
}

// neighbour is a packet of Neighbor Discovery.
func neighbour(kind, flags byte, src, dst, target netip.Addr, option []byte) []byte {
	p := slices.Concat([]byte{0x60, 0, 0, 0, 0, 0, 58, 255}, src.AsSlice(), dst.AsSlice(), []byte{kind, 0, 0, 0, flags, 0, 0, 0},
		target.AsSlice(), option)
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	sum := checksum.Pseudo6((*[16]byte)(p[8:]), (*[16]byte)(p[24:]), uint32(len(p)-40), 58)
	binary.BigEndian.PutUint16(p[42:], ^checksum.Add(sum, checksum.Sum(p[40:])))
	return p
}
