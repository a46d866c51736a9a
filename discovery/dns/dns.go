// Package dns finds PREF64s by asking the resolvers of a link for ipv4only.arpa, a name that has IPv4 addresses only: a resolver that
// synthesises AAAA records for it gives its PREF64 away (RFC 7050, RFC 8880). It asks the resolvers that it is given and no others, and
// validates no DNSSEC, because there is nothing that could be validated. It does not choose between PREF64s: discovery.Set does.
package dns

import (
	"context"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"uclat/discovery"
)

// Link is a network interface whose network may have a NAT64.
type Link struct {
	Index int
	Name  string // for people; an interface that was renamed is another Link
	// Announced are the recursive DNS servers that the link's routers announce (RFC 8106), best first; link-local ones without a zone.
	// Where there are any, they alone are asked: they are the link's own whatever the host is configured with (RFC 8880, 7.1).
	Announced []netip.Addr
}

// Options are what a Finder needs.
type Options struct {
	// Servers are the resolvers of a link for which none is Announced, best first: those that its network gave, not a VPN's or public
	// ones (RFC 8880, 7.1). Link-local addresses need their zone. It is called before each round of queries of such a link, from several
	// goroutines, so it must be quick. Required.
	Servers func(ctx context.Context, link Link) ([]netip.AddrPort, error)
	// Dial is what opens connected UDP and TCP sockets that are bound to the link; nil: net.Dialer's DialContext, which binds to none.
	Dial func(link Link) func(ctx context.Context, network, address string) (net.Conn, error)
	// Log gets a debug line when what a resolver says has changed; nil: none.
	Log *slog.Logger
}

// Finder looks for PREF64s as RFC 7050 has it. It may be used by several goroutines, but Run runs once at a time.
type Finder struct {
	servers func(ctx context.Context, link Link) ([]netip.AddrPort, error)
	dial    func(link Link) func(ctx context.Context, network, address string) (net.Conn, error)
	log     *slog.Logger

	mu      sync.Mutex
	jobs    map[id]*job
	asked   map[id]time.Time // when the last round of queries began, also of links that went just now
	running *running         // nil: Run does not run
}

// id is what makes a link another one.
type id struct {
	index int
	name  string
}

func (l Link) id() id { return id{l.Index, l.Name} }

// job is that a link is to be asked. A link that went and came back has a new one.
type job struct {
	link    Link          // under the Finder's mu
	knock   chan struct{} // ask again. Has room for one
	changed chan struct{} // what is Announced has changed. Has room for one
	stop    func()        // under the Finder's mu
}

// running is one Run.
type running struct {
	ctx    context.Context
	report func(ctx context.Context, o discovery.Observation) // drops o where ctx, the job's, has ended
	jobs   sync.WaitGroup                                     // grows under the Finder's mu, and not after Run's end began
}

// New makes a Finder; it has no links, and asks nothing before Run or Lookup.
func New(o Options) *Finder {
	f := &Finder{servers: o.Servers, dial: o.Dial, log: o.Log, asked: map[id]time.Time{}}
	if f.dial == nil {
		f.dial = func(Link) func(context.Context, string, string) (net.Conn, error) { return new(net.Dialer).DialContext }
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	return f
}

// SetLinks says which links to ask on: exactly these from now on. One that is new is asked at once, one that went and came back at least
// 1 second after its last round of queries began. One of which only Announced has changed goes on, and is asked again if it has other
// resolvers now. One that is gone is asked no more; what its resolvers said is not withdrawn, but has its lifetime, and an Observation
// that is on its way may still be reported. It never blocks.
func (f *Finder) SetLinks(links []Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wanted := make(map[id]*job, len(links))
	for _, link := range links {
		link.Announced = slices.Clone(link.Announced)
		key := link.id()
		j := f.jobs[key]
		switch {
		case wanted[key] != nil:
			continue
		case j == nil:
			j = &job{link: link, knock: make(chan struct{}, 1), changed: make(chan struct{}, 1), stop: func() {}}
			f.start(j)
		case !sameSet(j.link.Announced, link.Announced, netip.Addr.Compare):
			poke(j.changed)
		}
		j.link, wanted[key] = link, j
	}
	for key, j := range f.jobs {
		if wanted[key] == nil {
			j.stop()
		}
	}
	maps.DeleteFunc(f.asked, func(key id, at time.Time) bool { return wanted[key] == nil && time.Since(at) >= minGap })
	f.jobs = wanted
}

// Knock makes Run ask again now on all links: the network changed. It never blocks, many knocks at once are one, and two rounds of queries
// of a link are 1 second apart at least.
func (f *Finder) Knock() { f.knock(func(Link) bool { return true }) }

// KnockLink is Knock for one link; it does nothing for one that is not set.
func (f *Finder) KnockLink(index int) { f.knock(func(link Link) bool { return link.Index == index }) }

func (f *Finder) knock(at func(Link) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, j := range f.jobs {
		if at(j.link) {
			poke(j.knock)
		}
	}
}

// Run asks, reports and asks again in time until ctx ends; then it returns nil. It reports, from one goroutine at a time and not after it
// has returned, what a resolver of a link offers: its PREF64s with their lifetime, and nothing, once, when it has come to offer none. The
// first one that offers any is enough, but those that did before are asked again before that ends, so that what is in use holds. What
// a resolver said that is one of the link's no more is withdrawn when those of now have answered. A resolver that fails to answer changes
// nothing: what it said holds until its lifetime ends, and it is asked again after 1 second, then 2, 4 and so on to 60.
func (f *Finder) Run(ctx context.Context, report func(discovery.Observation)) error {
	var reporting sync.Mutex
	r := &running{ctx: ctx, report: func(ctx context.Context, o discovery.Observation) {
		reporting.Lock()
		defer reporting.Unlock()
		if ctx.Err() == nil {
			report(o)
		}
	}}
	f.mu.Lock()
	f.running = r
	for _, j := range f.jobs {
		f.start(j)
	}
	f.mu.Unlock()

	<-ctx.Done()
	f.mu.Lock()
	f.running = nil
	f.mu.Unlock()
	r.jobs.Wait()
	return nil
}

// start begins with a job, if Run runs. It is called under mu.
func (f *Finder) start(j *job) {
	if f.running == nil {
		return
	}
	ctx, stop := context.WithCancel(f.running.ctx)
	j.stop = stop
	r := newRounds(f, j, f.running.report)
	f.running.jobs.Go(func() {
		defer stop()
		r.run(ctx)
	})
}

// link is the job's link as it is now.
func (f *Finder) link(j *job) Link {
	f.mu.Lock()
	defer f.mu.Unlock()
	return j.link
}

// begin is that a round of queries begins.
func (f *Finder) begin(link Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[link.id()] = time.Now()
}

// gap is how long to leave a new link alone, so that nobody has it asked all the time by having it come and go; 0 or less: not at all.
func (f *Finder) gap(link Link) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return minGap - time.Since(f.asked[link.id()])
}

// poke sends to a channel that has room for one; what is in it already is enough.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sameSet says whether a and b have the same members. Neither has one twice, or that counts.
func sameSet[T comparable](a, b []T, compare func(x, y T) int) bool {
	return slices.Equal(slices.SortedFunc(slices.Values(a), compare), slices.SortedFunc(slices.Values(b), compare))
}
