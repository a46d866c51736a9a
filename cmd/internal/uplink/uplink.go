// Package uplink is this host as an IPv6 node of its own on one link: it holds addresses there that the kernel does not know, finds the next
// hop from each toward its PLAT, and sees whether answers come back.
package uplink

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"uclat/clat/policy"
	"uclat/platform"
	"uclat/platform/nexthop"

	"golang.org/x/sync/errgroup"
)

// Conn is the link seen from below; platform/link is one.
type Conn interface {
	Accept(to []netip.Prefix) error
	Via(to map[netip.Prefix]net.HardwareAddr, from net.HardwareAddr)
	ReadND(buf []byte) (n int, from net.HardwareAddr, err error)
	SendND(packet []byte, to, from net.HardwareAddr) error
	Join(addr netip.Addr) (leave func() error, err error)
}

// Neighbours are the kernel's routes and neighbours; platform/nexthop is one.
type Neighbours interface {
	Hop(link platform.Link, src, dst netip.Addr) (nexthop.Hop, error)
	Router(link int, addr netip.Addr) (nexthop.Hop, error)
	Use(link int, gateway netip.Addr) error
}

// Options are what an Uplink is made of.
type Options struct {
	Link       platform.Link
	Conn       Conn
	Neighbours Neighbours
	Watch      func(ctx context.Context, link int, knock func()) error // knocks when what Neighbours say may have changed

	// Echo sends an ICMPv6 echo request with hop limit 1, and says what answered.
	Echo func(ctx context.Context, source, target netip.Addr) (answer string, err error)
	Sent func() uint64 // how many packets have left: a next hop is looked after while it is in use

	Changed func() // what Trials says is another thing now. It must not block
	Log     *slog.Logger
}

// Want is what to hold.
type Want struct {
	Link       platform.Link // as it is now: its link-layer address may change
	Hold       []policy.Hold // each prefix once. One whose Addrs and ND are as before is held on, whatever else of it changes
	Use        netip.Addr    // the one in use; invalid: none yet
	Probe      bool          // see whether answers come back before an address is used
	Optimistic []netip.Addr  // those that may be used before they are known to be free (RFC 4429)
}

// Uplink holds addresses on a link while Run runs.
type Uplink struct {
	Options
	wanted chan Want // the last one

	mu     sync.Mutex
	trials []policy.Trial
}

// New is an Uplink that holds nothing yet.
func New(o Options) *Uplink { return &Uplink{Options: o, wanted: make(chan Want, 1)} }

// Want says what to hold from now on. It never blocks; one goroutine calls it.
func (u *Uplink) Want(w Want) {
	select {
	case <-u.wanted: // nobody has seen it, and nobody need to
	default:
	}
	u.wanted <- w
}

// Trials are the addresses that it holds, and how far they have come.
func (u *Uplink) Trials() []policy.Trial {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Clone(u.trials)
}

// neighbourMessage is a Neighbor Solicitation or Advertisement.
type neighbourMessage struct {
	packet []byte
	from   net.HardwareAddr
}

// Run holds what is wanted until ctx ends, which is no error, or until the link cannot be read or its next hop cannot be watched any more. It
// does not close Conn, and does not wait for a ReadND under way, which ends when somebody does.
func (u *Uplink) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	messages := make(chan neighbourMessage)
	neighbours := make(chan struct{}, 1)
	listened := make(chan error, 1)
	go func() { listened <- u.listen(ctx, messages) }()
	g.Go(func() error {
		select {
		case err := <-listened:
			return err
		case <-ctx.Done():
			return nil
		}
	})
	if u.Link.L2 {
		g.Go(func() error {
			return u.Watch(ctx, u.Link.Index, func() {
				select {
				case neighbours <- struct{}{}:
				default:
				}
			})
		})
	}
	g.Go(func() error {
		s := newStation(u)
		defer s.leave()
		s.loop(ctx, messages, neighbours)
		return nil
	})
	return g.Wait()
}

// maxMessage is more than any Neighbor Solicitation or Advertisement has in octets: what is longer is cut, and then not valid.
const maxMessage = 2048

func (u *Uplink) listen(ctx context.Context, to chan<- neighbourMessage) error {
	buf := make([]byte, maxMessage)
	for {
		n, from, err := u.Conn.ReadND(buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		select {
		case to <- neighbourMessage{slices.Clone(buf[:n]), slices.Clone(from)}:
		case <-ctx.Done():
			return nil
		}
	}
}

// loop is the only goroutine that touches the station.
func (s *station) loop(ctx context.Context, messages <-chan neighbourMessage, neighbours <-chan struct{}) {
	alarm := time.NewTimer(0)
	defer alarm.Stop()
	for {
		select {
		case <-ctx.Done():
			s.stopProbes()
			return
		case w := <-s.wanted:
			s.want(ctx, w)
		case m := <-messages:
			s.input(m, time.Now())
		case <-neighbours:
			s.follow(time.Now())
		case p := <-s.probed:
			s.answered(p)
		case <-alarm.C:
		}
		s.tick(ctx, time.Now())
		alarm.Reset(s.untilNext(time.Now()))
		s.report()
	}
}
