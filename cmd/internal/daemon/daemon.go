// Package daemon keeps the CLAT as the plan wants it: one goroutine that looks, decides and applies.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"uclat/clat"
	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/cmd/internal/translation"
	"uclat/discovery"
	"uclat/platform"
)

// ErrWrong marks what waiting does not mend: the configuration or the machine has to be changed first.
var ErrWrong = errors.New("configuration")

// wrong is a line for people that errors.Is finds to be ErrWrong.
type wrong struct{ line string }

func (w wrong) Error() string   { return w.line }
func (w wrong) Is(t error) bool { return t == ErrWrong }

// Host makes the host as it should be; platform/hostnet is one. The zero HostConfig takes all of ours away.
type Host interface {
	Set(ctx context.Context, want platform.HostConfig) error
}

// Eyes see the host; platform/monitor is one.
type Eyes interface {
	Watch(ctx context.Context, knock func()) error
	Snapshot(ctx context.Context, interest ...netip.Prefix) (platform.Snapshot, error)
}

// Options are what the daemon is made of.
type Options struct {
	Config  *config.Config
	Log     *slog.Logger
	Packets *slog.Logger // for single packets, whose lines must not keep those of Log from being written
	Host    Host
	Eyes    Eyes
	Finders []discovery.Finder
	OpenTUN func(name string, mtu int) (TUN, error)

	// Obstacles are the firewalls that may keep packets from going between the TUN and the uplink: one line each, with the remedy.
	Obstacles func(ctx context.Context, tun, uplink string) ([]string, error)
}

const (
	firstAnswer = 500 * time.Millisecond // at the start, before saying that there is no PREF64
	settle      = 100 * time.Millisecond // changes come in swarms: look when they are over
	gap         = time.Second            // between two looks at a network that keeps changing
	again       = 5 * time.Second        // after a failure
	rest        = time.Second            // after the device failed
	stopTimeout = 5 * time.Second        // for putting the host back
)

// Check finds what is missing in a valid configuration for path kernel, or what cannot be translated with it. Its error is ErrWrong.
func Check(c *config.Config) error {
	if c.Mode == config.ModeOff {
		return nil
	}
	if !c.Address.IPv6.IsValid() {
		return wrong{"address.ipv6 is not set: path kernel needs an IPv6 address or prefix that is routed to this host, beside the /64 of its " +
			"link; have your router send one here (ip -6 route add 2001:db8:c1a7::/64 via <link-local address of this host>), then set --address.ipv6"}
	}
	if _, err := translation.New(c, c.PREF64.Prefixes, clat.MinMTU6); err != nil {
		return wrong{err.Error()}
	}
	return nil
}

// Run keeps the CLAT until ctx ends, then puts the host back as it was and returns nil. What can mend itself is a log line, and Run
// waits. An error is something that nobody waits for; it is ErrWrong where the configuration or the machine must be changed.
func Run(ctx context.Context, o Options) error {
	if err := Check(o.Config); err != nil {
		return err
	}
	d := &daemon{Options: o, knocked: make(chan struct{}, 1), ended: make(chan error, 1)}
	if len(o.Config.PREF64.Prefixes) > 0 {
		d.report(discovery.Observation{Source: discovery.Configured, Prefixes: o.Config.PREF64.Prefixes})
	}

	ctx, cancel := context.WithCancel(ctx)
	var background sync.WaitGroup
	failed := make(chan error, 1+len(o.Finders))
	watch := func(what string, run func() error) {
		background.Go(func() {
			if err := run(); err != nil && ctx.Err() == nil {
				failed <- fmt.Errorf("%s: %w", what, err)
			}
		})
	}
	watch("watching the network", func() error { return o.Eyes.Watch(ctx, d.changed) })
	for _, f := range o.Finders {
		watch("discovery", func() error { return f.Run(ctx, d.report) })
	}
	err := d.loop(ctx, failed)
	cancel()
	err = errors.Join(err, d.down()) // first: it waits for nobody
	background.Wait()
	return err
}

type daemon struct {
	Options

	mu      sync.Mutex
	mailbox []discovery.Observation
	knocked chan struct{}

	set     discovery.Set
	routers []platform.Route // of the last look
	plan    policy.Plan      // what is in force; the zero value where that is not sure
	decided bool             // a plan was in force once: from then on, what fails is tried again
	failure string           // what was last logged of what is tried again
	touched bool             // the host has something of ours
	path    *path
	ended   chan error // the path ended by itself
}

// changed says that there is something to look at. It never blocks.
func (d *daemon) changed() {
	select {
	case d.knocked <- struct{}{}:
	default:
	}
}

// reported says whether there is an observation to be taken in.
func (d *daemon) reported() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.mailbox) > 0
}

// report keeps an observation for the loop. It never blocks.
func (d *daemon) report(o discovery.Observation) {
	d.mu.Lock()
	d.mailbox = append(d.mailbox, o)
	d.mu.Unlock()
	d.changed()
}

func (d *daemon) loop(ctx context.Context, failed <-chan error) error {
	wait := time.Duration(0)
	if len(d.Config.PREF64.Prefixes) == 0 && len(d.Finders) > 0 {
		wait = firstAnswer // what a finder reports brings it forward
	}
	alarm := time.NewTimer(wait)
	defer alarm.Stop()
	due := time.Now().Add(wait)
	var looked time.Time
	// sooner brings the alarm forward, and never puts it off: a network that keeps changing is looked at all the same.
	sooner := func(in time.Duration) {
		if at := time.Now().Add(in); due.IsZero() || at.Before(due) {
			due = at
			alarm.Reset(in)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			return err
		case <-d.knocked:
			// What watches the network knocks as soon as it does, and that must not cut the firstAnswer short.
			switch {
			case d.reported():
				sooner(settle)
			case d.decided:
				sooner(max(settle, gap-time.Since(looked)))
			}
		case err := <-d.ended:
			d.Log.Warn("the TUN device failed, making it again", "error", err)
			d.plan = policy.Plan{}
			if err := d.down(); err != nil {
				d.complain(err)
			}
			sooner(rest)
		case <-alarm.C:
			due = time.Time{}
			next, err := d.look(ctx)
			looked = time.Now()
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil && !d.decided:
				return err
			case err != nil:
				d.complain(err)
				next = again
			default:
				d.decided, d.failure = true, ""
			}
			if next > 0 {
				sooner(next)
			}
		}
	}
}

// complain logs what will be tried again, once and not at every try.
func (d *daemon) complain(err error) {
	line := strings.ReplaceAll(err.Error(), "\n", "; ")
	if line != d.failure {
		d.Log.Error("failed, and will be tried again", "error", line)
	}
	d.failure = line
}

// look sees what is, decides what should be, and makes it so. It returns when to look again though nothing happens; 0 is never.
func (d *daemon) look(ctx context.Context) (_ time.Duration, err error) {
	d.mu.Lock()
	seen := d.mailbox
	d.mailbox = nil
	d.mu.Unlock()
	now := time.Now()
	for _, o := range seen {
		d.set.Observe(now, o)
	}
	known, next := d.set.Valid(now)
	in := policy.Input{Config: d.Config, PREF64: known}
	in.Host, err = d.Eyes.Snapshot(ctx, policy.Interests(in)...)
	if err != nil {
		return 0, fmt.Errorf("reading the host's network: %w", err)
	}
	if routers := routers(in.Host); !slices.Equal(routers, d.routers) {
		// Another router may mean another network: what was learned on the last one has to be asked again.
		if d.routers = routers; d.decided {
			for _, f := range d.Finders {
				f.Knock()
			}
		}
	}
	plan := policy.Decide(in)
	if plan.Wrong && !d.decided {
		return 0, wrong{plan.Why}
	}
	if !d.decided && !plan.On && d.Config.Mode != config.ModeOff {
		if err := d.tryTUN(); err != nil {
			return 0, err
		}
	}
	if err := d.apply(ctx, plan); err != nil {
		return 0, err
	}
	if next.IsZero() {
		return 0, nil
	}
	return max(time.Until(next), time.Millisecond), nil
}

// routers are the IPv6 default routes.
func routers(host platform.Snapshot) (r []platform.Route) {
	for _, route := range host.Routes {
		if route.Dst.Addr().Is6() && route.Dst.Bits() == 0 {
			r = append(r, route)
		}
	}
	return r
}

// apply makes the host and the path as plan wants them, and logs what changed in one line.
func (d *daemon) apply(ctx context.Context, plan policy.Plan) error {
	if reflect.DeepEqual(plan, d.plan) {
		if d.path == nil {
			return nil
		}
		// What was ours may have been taken away, and forwarding turned on or off by others: Set changes only what differs.
		return d.setHost(ctx, plan)
	}
	was := d.plan
	d.plan = policy.Plan{}
	var err error
	switch {
	case !plan.On:
		err = d.down()
	case d.path == nil:
		err = d.up(ctx, plan)
	default:
		err = d.swap(ctx, plan)
	}
	if err != nil && plan.On {
		err = errors.Join(err, d.down()) // there is no half
	}
	if err != nil {
		return err
	}
	d.plan = plan
	if plan.Why != was.Why {
		level := slog.LevelInfo
		if plan.Wrong {
			level = slog.LevelWarn
		}
		d.Log.Log(ctx, level, plan.Why, "code", plan.Code)
	}
	for _, w := range plan.Warnings {
		if !slices.Contains(was.Warnings, w) {
			d.Log.Warn(w)
		}
	}
	if plan.On && plan.Uplink.Name != was.Uplink.Name {
		d.warnOfFirewalls(ctx, plan)
	}
	return nil
}

func (d *daemon) warnOfFirewalls(ctx context.Context, plan policy.Plan) {
	obstacles, err := d.Obstacles(ctx, plan.Host.TUN, plan.Uplink.Name)
	if err != nil && ctx.Err() == nil {
		d.Log.Warn("looking for firewalls that may drop what is forwarded", "error", err)
	}
	for _, o := range obstacles {
		d.Log.Warn(o)
	}
}
