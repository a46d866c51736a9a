// Package ra hears what the routers of the host's links announce in Router Advertisements (RFC 4861). It listens beside whoever
// configures the host from them, be it the kernel or a network manager: it needs none of that, solicits routers itself, and changes no
// setting. What the advertisements amount to over time is discovery.Announcements' to say.
package ra

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"

	"uclat/discovery"
)

// Link is a network interface.
type Link struct {
	Index int
	Name  string // for logs; an interface that was renamed is another Link
}

// Socket sends and receives on one link.
type Socket interface {
	// Receive returns the next ICMPv6 message: its length in b, the hop limit that it came with, and who sent it. It blocks until there is
	// one; after Close it returns an error.
	Receive(b []byte) (n, hopLimit int, from netip.Addr, err error)
	// Solicit sends a Router Solicitation.
	Solicit() error
	// Close may be called while Receive blocks.
	Close() error
}

// Options are what a Listener needs.
type Options struct {
	// Log gets debug lines for whoever looks for a fault; nil: none.
	Log *slog.Logger
	// Listen opens a Socket; nil: a raw ICMPv6 socket on the link, which needs root or CAP_NET_RAW. It must not block for long.
	Listen func(Link) (Socket, error)
}

// Listener listens for Router Advertisements. It may be used by several goroutines, but Run runs once at a time.
type Listener struct {
	log    *slog.Logger
	listen func(Link) (Socket, error)
	unable error // why it cannot listen on this system

	reports chan discovery.Advertisement
	changed chan struct{} // wanted has; has room for one

	mu     sync.Mutex
	began  bool // SetLinks was called
	wanted map[Link]*order
}

// order is that a link is to be listened on. A link that went and came back has a new one.
type order struct {
	link    Link
	fresh   bool          // the link came up just now
	solicit chan struct{} // has room for one
}

// New makes a Listener; it opens nothing before Run.
func New(o Options) *Listener {
	l := &Listener{log: o.Log, listen: o.Listen, changed: make(chan struct{}, 1), reports: make(chan discovery.Advertisement)}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if l.listen == nil {
		l.listen, l.unable = system()
	}
	return l
}

// SetLinks says which links to listen on: exactly these from now on. Routers are solicited on each that is new: at once on those of the
// first call, which were there before the program was, and whose hosts do not all ask together; as Solicit does it on later ones, which
// have come up just now. It never blocks.
func (l *Listener) SetLinks(links []Link) {
	l.mu.Lock()
	wanted := make(map[Link]*order, len(links))
	for _, link := range links {
		if wanted[link] = l.wanted[link]; wanted[link] == nil {
			wanted[link] = &order{link: link, fresh: l.began, solicit: make(chan struct{}, 1)}
		}
	}
	l.wanted, l.began = wanted, true
	l.mu.Unlock()
	poke(l.changed)
}

// Solicit asks the routers of a link anew: the link came up, or the host woke up. The first question comes after a random time of up to
// 1 second, because all hosts of the link may have reason to ask now (RFC 4861, 6.3.7). It never blocks, and does nothing on a link that
// was not set.
func (l *Listener) Solicit(link int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for k, o := range l.wanted {
		if k.Index == link {
			poke(o.solicit)
		}
	}
}

// Run listens until ctx ends; then it returns nil. It calls report, from one goroutine, for each Router Advertisement that passes the
// checks of RFC 4861, 6.1.2; options that are broken or unknown are left out. Where routers were solicited and none has said anything,
// it reports an advertisement without a Router: 4 seconds after the first of the three solicitations, and 1 second after the last.
// So it does 4 seconds after it began where it could not solicit at all, for want of a link-local address that is ready; it goes on to
// try. A router that answers later is reported as ever. Its error is that this system is not served (platform.ErrUnsupported).
func (l *Listener) Run(ctx context.Context, report func(discovery.Advertisement)) error {
	if l.unable != nil {
		return l.unable
	}
	running := map[*order]func(){}
	defer func() {
		for _, stop := range running {
			stop()
		}
	}()
	l.reconcile(ctx, running)
	for {
		select {
		case <-l.changed:
			l.reconcile(ctx, running)
		case ad := <-l.reports:
			report(ad)
		case <-ctx.Done():
			return nil
		}
	}
}

// reconcile starts and stops, so that what is wanted is running.
func (l *Listener) reconcile(ctx context.Context, running map[*order]func()) {
	l.mu.Lock()
	wanted := l.wanted
	l.mu.Unlock()
	for o, stop := range running {
		if wanted[o.link] != o {
			stop()
			delete(running, o)
		}
	}
	for _, o := range wanted {
		if running[o] == nil {
			running[o] = l.start(ctx, o)
		}
	}
}

// start listens on a link until the function that it returns is called, which waits for the end of it.
func (l *Listener) start(ctx context.Context, o *order) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		newWatch(l, o).run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// poke sends to a channel that has room for one; what is in it already is enough.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
