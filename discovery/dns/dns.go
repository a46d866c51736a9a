// Package dns finds PREF64s by asking the resolvers of the host for ipv4only.arpa, a name that has IPv4 addresses only: a resolver that
// synthesises AAAA records for it gives its PREF64 away (RFC 7050, RFC 8880). It asks the resolvers that it is given and no others, and
// validates no DNSSEC, because there is nothing that could be validated. It does not choose between PREF64s: discovery.Set does.
package dns

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"uclat/discovery"
)

const (
	refreshBefore = 10 * time.Second // the end of a lifetime (RFC 7050, 3)
	minBackoff    = time.Second
	maxBackoff    = time.Minute
	minGap        = time.Second // between two rounds of queries, whoever knocks
)

// Options are what a Finder needs.
type Options struct {
	// Servers are the resolvers to ask, best first: those that the uplink's network gave, not a VPN's or public ones (RFC 8880, 7.1).
	// Link-local addresses need their zone. It is called before each round of queries, so it must be quick. Required.
	Servers func(ctx context.Context) ([]netip.AddrPort, error)
	// Dial opens a connected UDP or TCP socket; nil: net.Dialer's DialContext. It is where a socket is bound to an interface.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Log gets a debug line when what a resolver says has changed; nil: none.
	Log *slog.Logger
}

// Finder is a discovery.Finder for RFC 7050. It may be used by several goroutines, but Run runs once at a time.
type Finder struct {
	servers func(ctx context.Context) ([]netip.AddrPort, error)
	dial    func(ctx context.Context, network, address string) (net.Conn, error)
	log     *slog.Logger
	knock   chan struct{}
}

var _ discovery.Finder = (*Finder)(nil)

// New makes a Finder; it asks nothing before Run or Lookup.
func New(o Options) *Finder {
	f := &Finder{servers: o.Servers, dial: o.Dial, log: o.Log, knock: make(chan struct{}, 1)}
	if f.dial == nil {
		f.dial = new(net.Dialer).DialContext
	}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	return f
}

// Knock makes Run ask again now: the network changed. It never blocks, and many knocks at once are one.
func (f *Finder) Knock() {
	select {
	case f.knock <- struct{}{}:
	default:
	}
}

// Run asks, reports and asks again in time until ctx ends; then it returns nil. It reports under the resolver's address as origin: its
// prefixes with their lifetime, and nothing, once, when it has come to offer none or is no longer a resolver of the system. A resolver
// that fails to answer changes nothing: what it said holds until its lifetime ends, and it is asked again after 1 second, then 2, 4 and
// so on to 60.
func (f *Finder) Run(ctx context.Context, report func(discovery.Observation)) error {
	r := rounds{f: f, report: report, known: map[netip.AddrPort]*resolver{}, backoff: minBackoff}
	for ctx.Err() == nil {
		began := time.Now()
		select {
		case <-f.knock: // before Run, or since the last round: the one that begins now is the answer
			r.forgetNegatives()
		default:
		}
		next := r.ask(ctx)
		select {
		case <-time.After(next):
		case <-f.knock:
			r.forgetNegatives()
			sleep(ctx, minGap-time.Since(began))
		case <-ctx.Done():
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
