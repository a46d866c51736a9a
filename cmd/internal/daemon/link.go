package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"uclat/clat"
	"uclat/clat/config"
	"uclat/clat/datapath"
	"uclat/clat/policy"
	"uclat/cmd/internal/uplink"
	"uclat/platform"
)

// Link is the uplink as path packet has it; platform/link is one.
type Link interface {
	datapath.Port
	uplink.Conn
	Lost() (read, written uint64)
}

// Neighbours are what the kernel knows of routers; platform/nexthop is one.
type Neighbours interface {
	uplink.Neighbours
	Close() error
}

// Memory is what is kept from one run to the next; cmd/internal/state is one.
type Memory interface {
	Secret() [32]byte
	UsedSince(addr netip.Addr, since time.Time) bool
	NoteUse(addr netip.Addr, now time.Time) error
}

const (
	recently = 24 * time.Hour // within which an address that was ours may be used before it is known to be free

	// For so long addresses are not tried again that were somebody else's, or that nothing came back to; twice as long each time.
	grudge     = time.Minute
	mostGrudge = time.Hour
)

// link is the uplink at work.
type link struct {
	platform.Link
	conn       Link
	neighbours Neighbours
	reading    *lane
	station    *uplink.Uplink
	stop       context.CancelFunc
	done       chan struct{}
}

// attach has the path hold what plan says on the uplink, which it opens where it is another one than before.
func (d *daemon) attach(plan policy.Plan) error {
	if l := d.path.link; l != nil && (l.Index != plan.Uplink.Index || l.Name != plan.Uplink.Name) {
		d.detach()
	}
	if d.path.link == nil {
		if err := d.openLink(plan.Uplink); err != nil {
			if !d.decided {
				return wrong{err.Error()} // no permission, or a kernel without packet sockets
			}
			return err
		}
	}
	d.path.link.station.Want(uplink.Want{
		Link: plan.Uplink, Hold: plan.Try, Use: plan.Ours().Addr(), Probe: d.Config.Mode != config.ModeForce,
		Optimistic: d.optimistic(plan.Try),
	})
	return nil
}

// optimistic are the addresses that may be used before they are known to be free: those that were ours within the last day.
func (d *daemon) optimistic(hold []policy.Hold) (known []netip.Addr) {
	if d.Config.Address.DAD != config.DADOptimistic {
		return nil
	}
	since := time.Now().Add(-recently)
	for _, h := range hold {
		if a := h.Addrs.Addr(); h.ND && d.Memory.UsedSince(a, since) {
			known = append(known, a)
		}
	}
	return known
}

func (d *daemon) openLink(on platform.Link) error {
	conn, err := d.OpenLink(on)
	if err != nil {
		return err
	}
	neighbours, err := d.OpenNeighbours()
	if err != nil {
		_ = conn.Close()
		return err
	}
	p := d.path
	l := &link{Link: on, conn: conn, neighbours: neighbours, done: make(chan struct{})}
	p.toLink.Open(conn)
	unlinked := func(err error) {
		select {
		case d.unlinked <- fmt.Errorf("%s: %w", on.Name, err):
		default: // the other half has failed already
		}
	}
	l.reading = p.serve(datapath.Lane{In: conn, V6: &p.toLink, V4: &p.toTUN}, unlinked)
	l.station = uplink.New(uplink.Options{
		Link: on, Conn: conn, Neighbours: neighbours, Watch: d.WatchNeighbours, Log: d.Log,
		Echo: func(ctx context.Context, source, target netip.Addr) (string, error) {
			a, err := p.engine.Probe(ctx, datapath.Probe{Source: source, Target: target, HopLimit: 1, Port: conn})
			return a.What, err
		},
		Sent:    func() uint64 { return p.engine.Counters().Packets[clat.To6] },
		Changed: d.heard,
	})
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	go func() {
		defer close(l.done)
		// Where the link was closed, the lane did that, and says why.
		if err := l.station.Run(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, os.ErrClosed) {
			unlinked(err)
		}
	}()
	p.link = l
	return nil
}

// leave forgets what was found out on links whose network was left. Where carrier came back, which may be that of another network, others
// have our addresses there: before anything is decided by them, the uplink is given up.
func (d *daemon) leave(left []int) {
	d.trials = slices.DeleteFunc(d.trials, func(r remembered) bool { return slices.Contains(left, r.Link) })
	isBack := func(on platform.Link) bool {
		return slices.Contains(left, on.Index) && slices.ContainsFunc(d.links, func(l platform.Link) bool { return l.Index == on.Index })
	}
	if d.path != nil && d.path.link != nil && isBack(d.path.link.Link) {
		d.detach()
	}
}

// detach gives the uplink up, and all that is held there.
func (d *daemon) detach() {
	l := d.path.link
	if l == nil {
		return
	}
	d.path.toLink.Shut()
	l.stop()
	l.reading.end() // closes the link, which ends what waits for it
	<-l.done
	_ = l.neighbours.Close()
	d.path.link = nil
	select {
	case <-d.unlinked: // it is gone anyway
	default:
	}
}

// heard says that the uplink has something to tell. It never blocks.
func (d *daemon) heard() {
	select {
	case d.tried <- struct{}{}:
	default:
	}
}

// remembered is a trial, and when it came to its end.
type remembered struct {
	policy.Trial
	at time.Time
}

// trialsOn are those of the addresses that are held, and of those that were given up. What is known of a link goes when it is down, since who
// has what there may change meanwhile; and after a while, where nothing of it is in use: while it is, nothing better is known.
func (d *daemon) trialsOn(host platform.Snapshot, now time.Time) (trials []policy.Trial) {
	if d.plan.On || d.grudge == 0 {
		d.grudge = grudge
	}
	over := false
	d.trials = slices.DeleteFunc(d.trials, func(r remembered) bool {
		l, ok := host.Link(r.Link)
		late := !d.plan.On && now.Sub(r.at) >= d.grudge
		over = over || late
		return !ok || !l.Up || late
	})
	if over {
		d.grudge = min(2*d.grudge, mostGrudge)
	}
	if d.path != nil && d.path.link != nil {
		trials = d.path.link.station.Trials()
	}
	for _, t := range trials {
		if t.State == policy.Duplicate && !d.Config.Address.IPv6.IsValid() && !d.remembers(t) { // of that one, the plan says it
			d.Log.Info(fmt.Sprintf("%v is in use on %s%s", t.Addr, d.path.link.Name, t.Detail))
		}
		d.trials = slices.DeleteFunc(d.trials, func(r remembered) bool { return r.Link == t.Link && r.Addr == t.Addr })
		if t.State == policy.Duplicate || t.State == policy.Silent {
			d.trials = append(d.trials, remembered{t, now})
		}
	}
	for _, r := range d.trials {
		if !slices.Contains(trials, r.Trial) {
			trials = append(trials, r.Trial)
		}
	}
	return trials
}

func (d *daemon) remembers(t policy.Trial) bool {
	return slices.ContainsFunc(d.trials, func(r remembered) bool { return r.Trial == t })
}

// noteUse keeps that the address in use is ours.
func (d *daemon) noteUse(plan policy.Plan) {
	if !plan.On || plan.Path != config.PathPacket {
		return
	}
	if err := d.Memory.NoteUse(plan.Ours().Addr(), time.Now()); err != nil {
		d.Log.Warn("keeping the address for the next start", "error", err)
	}
}
