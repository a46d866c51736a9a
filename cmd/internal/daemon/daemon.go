// Package daemon keeps the CLAT as the plan wants it: one goroutine that looks, decides and applies.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
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
	Asked   *slog.Logger // for what the administrator asked for: no number of lines about the network may keep these from being written
	Host    Host
	Eyes    Eyes
	OpenTUN func(name string, mtu int) (TUN, error)

	// Finders are what looks for PREF64s under a configuration, made anew for each one that names other sources; nil: nothing looks.
	Finders func(*config.Config) []discovery.Finder

	// Reload asks for Reread, which reads the configuration again from where Config came. Its buffer should hold one: what comes while
	// the daemon is busy is taken then. nil: Config stays.
	Reload <-chan os.Signal
	Reread func() (*config.Config, error)

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

// Check finds what is missing in a valid configuration for path kernel, or what cannot be translated with it. A plain translator
// (config.Config.Router) needs no address of its own. Its error is ErrWrong.
func Check(c *config.Config) error {
	if c.Mode == config.ModeOff {
		return nil
	}
	if !c.Address.IPv6.IsValid() && !c.Router() {
		return wrong{"address.ipv6 is not set: path kernel needs an IPv6 address or prefix that is routed to this host, beside the /64 of its " +
			"link; have your router send one here (ip -6 route add 2001:db8:c1a7::/64 via <link-local address of this host>), then set --address.ipv6"}
	}
	if _, err := translation.New(c, c.PREF64.Prefixes, clat.MinMTU6, clat.MinMTU6); err != nil {
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
	ctx, cancel := context.WithCancel(ctx)
	d := &daemon{Options: o, knocked: make(chan struct{}, 1), failed: make(chan error), ended: make(chan error, 1)}
	d.watch(ctx, "watching the network", func() error { return o.Eyes.Watch(ctx, d.changed) })
	d.learn(ctx)
	err := d.loop(ctx)
	cancel()
	d.asked = true
	err = errors.Join(err, d.down(), d.closeSpare()) // first: it waits for nobody
	d.background.Wait()
	return err
}

type daemon struct {
	Options // whose Config is the one in force

	mu      sync.Mutex
	mailbox []discovery.Observation
	knocked chan struct{}

	background sync.WaitGroup
	failed     chan error // nobody waits for what ended in the background

	set     discovery.Set
	finders []discovery.Finder
	forget  context.CancelFunc // ends the finders; what they report after it is not heard
	routers []platform.Route   // of the last look
	plan    policy.Plan        // what is in force; the zero value where that is not sure
	decided bool               // a plan was in force once: from then on, what fails is tried again
	failure string             // what was last logged of what is tried again
	touched bool               // the host has something of ours
	path    *path
	ended   chan error // the path ended by itself
	spare   TUN        // opened for a configuration that is not applied yet; nil: the path's will do
	asked   bool       // what is done now, the administrator asked for
}

// log takes what comes of what is done now.
func (d *daemon) log() *slog.Logger {
	if d.asked {
		return d.Asked
	}
	return d.Log
}

// changed says that there is something to look at. It never blocks.
func (d *daemon) changed() {
	select {
	case d.knocked <- struct{}{}:
	default:
	}
}

// watch does something in the background. An error ends the daemon, unless it comes after the end of ctx.
func (d *daemon) watch(ctx context.Context, what string, run func() error) {
	d.background.Go(func() {
		if err := run(); err != nil && ctx.Err() == nil {
			select {
			case d.failed <- fmt.Errorf("%s: %w", what, err):
			case <-ctx.Done():
			}
		}
	})
}

func (d *daemon) loop(ctx context.Context) error {
	wait := d.patience()
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
		reload := d.Reload
		if !d.decided {
			reload = nil // what it is compared with is not there yet
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-d.failed:
			return err
		case <-reload:
			if d.reload(ctx) {
				sooner(d.patience())
			}
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
			d.asked = false
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
		d.log().Error("failed, and will be tried again", "error", line)
	}
	d.failure = line
}

// look sees what is, decides what should be, and makes it so. It returns when to look again though nothing happens; 0 is never.
func (d *daemon) look(ctx context.Context) (time.Duration, error) {
	now := time.Now()
	for _, o := range d.reports() {
		d.set.Observe(now, o)
	}
	known, next := d.set.Valid(now)
	in, err := d.see(ctx, d.Config, known)
	if err != nil {
		return 0, err
	}
	if routers := routers(in.Host); !slices.Equal(routers, d.routers) {
		// Another router may mean another network: what was learned on the last one has to be asked again.
		if d.routers = routers; d.decided {
			for _, f := range d.finders {
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
	if err := errors.Join(d.apply(ctx, plan), d.closeSpare()); err != nil {
		return 0, err
	}
	if next.IsZero() {
		return 0, nil
	}
	return max(time.Until(next), time.Millisecond), nil
}

// see is what c would be decided on.
func (d *daemon) see(ctx context.Context, c *config.Config, known []discovery.Known) (in policy.Input, err error) {
	in = policy.Input{Config: c, PREF64: known}
	if in.Host, err = d.Eyes.Snapshot(ctx, policy.Interests(in)...); err != nil {
		return in, fmt.Errorf("reading the host's network: %w", err)
	}
	if tun := d.plan.Host.TUN; d.path != nil && tun != c.Interface.Name {
		in.Host = without(in.Host, tun) // it is ours, and gives way to the new one
	}
	return in, nil
}

// without is the host when an interface has gone.
func without(host platform.Snapshot, name string) platform.Snapshot {
	gone, ok := host.LinkByName(name)
	if !ok {
		return host
	}
	host.Links = slices.DeleteFunc(slices.Clone(host.Links), func(l platform.Link) bool { return l.Index == gone.Index })
	host.Addrs = slices.DeleteFunc(slices.Clone(host.Addrs), func(a platform.Address) bool { return a.Link == gone.Index })
	host.Routes = slices.DeleteFunc(slices.Clone(host.Routes), func(r platform.Route) bool { return r.Link == gone.Index })
	return host
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
	if reflect.DeepEqual(plan, d.plan) && (d.path == nil || d.path.config == d.Config) {
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
	case plan.Host.TUN != was.Host.TUN:
		was = policy.Plan{} // of the new device, all is to be said again
		if err = d.down(); err == nil {
			err = d.up(ctx, plan)
		}
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
		d.log().Log(ctx, level, plan.Why, "code", plan.Code)
	}
	for _, w := range plan.Warnings {
		if !slices.Contains(was.Warnings, w) {
			d.Log.Warn(w)
		}
	}
	if plan.On && plan.Uplink.Name != "" && plan.Uplink.Name != was.Uplink.Name {
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
