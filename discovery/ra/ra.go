// Package ra hears what the routers of the host's links announce in Router Advertisements (RFC 4861). It listens beside whoever
// configures the host from them, be it the kernel or a network manager: it needs none of that, solicits routers itself, and changes no
// setting. What the advertisements amount to over time is discovery.Announcements' to say, and that of PREF64s discovery.Set's.
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

// Socket sends and receives on all links.
type Socket interface {
	// Receive returns the next ICMPv6 message that this host has not sent itself: its length in b, the hop limit that it came with, the
	// index of the link that it came by, and who sent it. It blocks until there is one; after Close it returns an error.
	Receive(b []byte) (n, hopLimit, link int, from netip.Addr, err error)
	// Solicit sends a Router Solicitation on a link. On systems where that is needed, the link is heard from then on. It may be called
	// while Receive blocks. An error means that the link is not ready, or that somebody forbids it; another try may succeed.
	Solicit(Link) error
	// Close may be called while Receive blocks.
	Close() error
}

// Options are what a Listener needs.
type Options struct {
	// Log gets debug lines for whoever looks for a fault; nil: none.
	Log *slog.Logger
	// Listen opens a Socket; nil: a raw ICMPv6 socket, which needs root or CAP_NET_RAW. It must not block for long.
	Listen func() (Socket, error)
}

// Listener listens for Router Advertisements. It may be used by several goroutines, but Run runs once at a time.
type Listener struct {
	log    *slog.Logger
	listen func() (Socket, error)
	unable error // why it cannot listen on this system

	changed chan struct{} // wanted has, or what is in it; has room for one

	mu     sync.Mutex
	began  bool // SetLinks was called
	deaf   error
	wanted map[Link]*order
}

// order is that routers of a link are to be solicited. A link that went and came back has a new one.
type order struct {
	link  Link
	fresh bool // the link came up just now
	again bool // Solicit was called since the loop looked; under Listener.mu
}

// New makes a Listener; it opens nothing before Run.
func New(o Options) *Listener {
	l := &Listener{log: o.Log, listen: o.Listen, changed: make(chan struct{}, 1)}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if l.listen == nil {
		l.listen, l.unable = system()
	}
	return l
}

// SetLinks says where to solicit routers: on exactly these links from now on. They are solicited on each that is new: at once on those of
// the first call, which were there before the program was, and whose hosts do not all ask together; as Solicit does it on later ones,
// which have come up just now. Advertisements are heard on other links too, if the system lets us. It never blocks.
func (l *Listener) SetLinks(links []Link) {
	l.mu.Lock()
	wanted := make(map[Link]*order, len(links))
	for _, link := range links {
		if wanted[link] = l.wanted[link]; wanted[link] == nil {
			wanted[link] = &order{link: link, fresh: l.began}
		}
	}
	l.wanted, l.began = wanted, true
	l.mu.Unlock()
	l.knock()
}

// Solicit asks the routers of a link anew: the link came up, or the host woke up. The first question comes after a random time of up to
// a quarter of a second, and a second after the last one at the earliest. It never blocks, and does nothing on a link that was not set.
func (l *Listener) Solicit(link int) {
	l.mu.Lock()
	for k, o := range l.wanted {
		if k.Index == link {
			o.again = true
		}
	}
	l.mu.Unlock()
	l.knock()
}

// Run listens until ctx ends; then it returns nil. It calls report, from one goroutine, for each Router Advertisement of any link that
// passes the checks of RFC 4861, 6.1.2; options that are broken or unknown are left out. On Linux these are all links of the host; on
// other systems those that were solicited. Of one link it reports 20 a second in the long run, and up to 40 at once: whoever
// floods it drowns out the routers of that link, which say everything again, but not those of others, nor the program.
//
// Where routers of a link were solicited and none has said anything, it reports an advertisement without a Router: 4 seconds after the
// first of the three solicitations, and 1 second after the last. So it does 4 seconds after it began to listen where it could not solicit
// at all; it goes on to try. While it cannot listen, which Err tells, it reports nothing. A router that answers later is reported as ever.
// Its error is that this system is not served (platform.ErrUnsupported).
func (l *Listener) Run(ctx context.Context, report func(discovery.Advertisement)) error {
	if l.unable != nil {
		return l.unable
	}
	defer l.setErr(nil)
	newLoop(l, report).run(ctx)
	return nil
}

// Err is why no router can be heard now: the socket could not be opened, which takes root or CAP_NET_RAW, or it failed. Run tries again and
// again. It is nil while Run listens, and while it does not run.
func (l *Listener) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.deaf
}

// setErr says what Err returns.
func (l *Listener) setErr(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deaf = err
}

// knock wakes the loop. What is in the channel already is enough.
func (l *Listener) knock() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}
