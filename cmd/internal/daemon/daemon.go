// Package daemon keeps the CLAT as the plan wants it: one goroutine that looks, decides and applies.
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
	"time"

	"uclat/clat"
	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/cmd/internal/translation"
	"uclat/discovery"
	"uclat/platform"

	"golang.org/x/time/rate"
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

	// For path packet: the uplink seen from below, the kernel's neighbours there, what wakes when these change, the routers of all links, and what
	// is kept for the next start.
	OpenLink        func(platform.Link) (Link, error)
	OpenNeighbours  func() (Neighbours, error)
	WatchNeighbours func(ctx context.Context, link int, knock func()) error
	Routers         Routers
	Memory          Memory

	// Resolvers are asked for PREF64s (RFC 7050); nil: nobody is.
	Resolvers Resolvers

	// Now is the time that lifetimes are measured by, and Slept how long the host has been suspended so far; nil: time.Now, and never.
	Now   func() time.Time
	Slept func() time.Duration

	// Reload asks for Reread, which reads the configuration again from where Config came. Its buffer should hold one: what comes while
	// the daemon is busy is taken then. nil: Config stays.
	Reload <-chan os.Signal
	Reread func() (*config.Config, error)

	// Notes are warnings from before Run, logged when it is sure that there is anything to run: else the reason why not is all there is to say.
	Notes []string

	// Obstacles are the firewalls that may keep packets from going between the TUN and the uplink: one line each, with the remedy.
	Obstacles func(ctx context.Context, tun, uplink string) ([]string, error)
}

const (
	firstAnswer = 1500 * time.Millisecond // before it is first said that there is no PREF64: resolvers have half a second behind routers
	settle      = 50 * time.Millisecond   // changes come in swarms: look when they are over
	gap         = time.Second             // between two looks at a network that keeps changing,
	swarm       = 8                       // but for so many of them
	again       = 5 * time.Second         // after a failure
	rest        = time.Second             // after the device failed
	stopTimeout = 5 * time.Second         // for putting the host back
)

// Check finds what is missing in a valid configuration, or what cannot be translated with it. A host on path packet makes an address of its
// own, and a plain translator (config.Config.Router) needs none. Its error is ErrWrong.
func Check(c *config.Config) error {
	if c.Mode == config.ModeOff {
		return nil
	}
	_, host := c.Interface.Host()
	switch {
	case c.Address.IPv6.IsValid() || c.Router():
	case !host:
		return wrong{"address.ipv6 is not set, and interface.ipv4 is a prefix: the clients in it need IPv6 addresses that are routed to this host, beside " +
			"the /64 of its link; " + route}
	case c.Path == config.PathKernel:
		return wrong{"address.ipv6 is not set: path kernel needs an IPv6 address or prefix that is routed to this host, beside the /64 of its " +
			"link; leave path = \"auto\", which makes an address on the link, or " + route}
	}
	if _, err := translation.New(c, sample(c)); err != nil {
		return wrong{err.Error()}
	}
	return nil
}

const route = "have your router send one here (ip -6 route add 2001:db8:c1a7::/64 via <link-local address of this host>), then set --address.ipv6"

// sample is a plan for c, whatever the host is: it shows whether the mappings go together.
func sample(c *config.Config) policy.Plan {
	p := policy.Plan{On: true, PREF64: c.PREF64.Prefixes, Self6: c.SelfIPv6(), MTU6: clat.MinMTU6, MTU4: clat.MinMTU6}
	if c.Router() {
		return p
	}
	ours := policy.CLAT(c)
	if !ours.IsValid() {
		ours, p.Self6 = discard, discard.Addr()
	}
	p.Generations = []policy.Generation{{IPv4: c.Interface.IPv4, IPv6: ours}}
	return p
}

// discard stands for an address that is not made yet. Nobody has it (RFC 6666).
var discard = netip.MustParsePrefix("100::46/128")

// Run keeps the CLAT until ctx ends, then puts the host back as it was and returns nil. What can mend itself is a log line, and Run
// waits. An error is something that nobody waits for; it is ErrWrong where the configuration or the machine must be changed.
func Run(ctx context.Context, o Options) error {
	if err := Check(o.Config); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &daemon{
		Options: o, looks: rate.NewLimiter(rate.Every(gap), swarm), knocked: make(chan struct{}, 1), tried: make(chan struct{}, 1), failed: make(chan error),
		ended: make(chan error, 1), unlinked: make(chan error, 1),
	}
	d.watch(ctx, "watching the network", func() error { return o.Eyes.Watch(ctx, d.changed) })
	if o.Routers != nil {
		d.watch(ctx, "listening to routers", func() error { return o.Routers.Run(ctx, d.advertised) })
	}
	if o.Resolvers != nil {
		d.watch(ctx, "discovery", func() error { return o.Resolvers.Run(ctx, d.report) })
	}
	d.set.Observe(o.Now(), configured(o.Config))
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
	said    said
	spoken  map[speaker]spoken
	knocked chan struct{}
	tried   chan struct{} // an address of ours has come further

	background sync.WaitGroup
	failed     chan error // nobody waits for what ended in the background

	patient  time.Time // until when it is not said that there is no PREF64; zero: something else was said since
	looks    *rate.Limiter
	plan     policy.Plan // what is in force; the zero value where that is not sure
	decided  bool        // a plan was in force once: from then on, what fails is tried again
	told     string      // the plan that was logged last
	untold   []string    // what changed of PREF64s since
	quiet    time.Time   // until when neither is told; zero: now
	carried  policy.Plan // the last that was told and on, whose connections live as long as the TUN; the zero value where that has gone
	failure  string      // what was last logged of what is tried again
	touched  bool        // the host has something of ours
	path     *path
	ended    chan error // the TUN ended by itself
	unlinked chan error // so did the uplink

	set       discovery.Set
	announced discovery.Announcements
	links     []platform.Link  // of the last look
	routers   []platform.Route // of the last look
	listening []listened       // where routers are solicited
	slept     time.Duration    // of the last look

	suspects map[nat64]time.Time      // through which nothing came back, and when that was seen last; under mu
	used     map[netip.Addr]time.Time // when our IPv4 addresses were in use

	trials []remembered
	grudge time.Duration // how long they are remembered while nothing is in use
	spare  TUN           // opened for a configuration that is not applied yet; nil: the path's will do
	asked  bool          // what is done now, the administrator asked for
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
	due := time.Now()
	d.patient = due.Add(firstAnswer)
	alarm := time.NewTimer(0)
	defer alarm.Stop()
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
				sooner(0)
			}
		case <-d.knocked:
			if d.looks.Tokens() >= 1 {
				sooner(settle)
			} else {
				sooner(gap)
			}
		case <-d.tried:
			sooner(0)
		case err := <-d.ended:
			d.Log.Warn("the TUN device failed, making it again", "error", err)
			d.plan, d.told = policy.Plan{}, ""
			if err := d.down(); err != nil {
				d.complain(err)
			}
			sooner(rest)
		case err := <-d.unlinked:
			d.Log.Warn("the uplink failed, opening it again", "error", err)
			d.plan, d.told = policy.Plan{}, ""
			d.detach()
			sooner(rest)
		case <-alarm.C:
			due = time.Time{}
			d.looks.Allow()
			next, err := d.look(ctx)
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil && !d.decided:
				return err
			case err != nil:
				d.complain(err)
				next = again
			case d.decided:
				d.notes()
				d.failure = ""
			}
			d.asked = d.asked && !d.patient.IsZero()
			if next > 0 {
				sooner(next)
			}
		}
	}
}

// notes logs Notes, once.
func (d *daemon) notes() {
	for _, n := range d.Notes {
		d.Log.Warn(n)
	}
	d.Notes = nil
}

// complain logs what will be tried again, once and not at every try.
func (d *daemon) complain(err error) {
	line := strings.ReplaceAll(err.Error(), "\n", "; ")
	if line != d.failure {
		d.log().Error("failed, and will be tried again", "error", line)
	}
	d.failure = line
}
