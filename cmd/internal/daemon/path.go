package daemon

import (
	"context"
	"fmt"
	"sync"

	"uclat/clat"
	"uclat/clat/config"
	"uclat/clat/datapath"
	"uclat/clat/inbound"
	"uclat/clat/policy"
	"uclat/clat/siit"
	"uclat/cmd/internal/translation"
	"uclat/platform"
)

// TUN is the IPv4 interface; platform/tundev is one.
type TUN interface {
	datapath.Port
	Name() string
	// Lost is how many reads and how many packets to be written the device could not make sense of. The datapath never saw the first.
	Lost() (read, written uint64)
}

// maxEvents is how many events may wait for the log.
const maxEvents = 8

// path is a running datapath. It ends when it is stopped, or by itself when the device fails.
//
//	kernel: the TUN is all there is: it is read, and both families are written back into it.
//	packet: what is read from the TUN goes to the link or, if it is IPv4, back; and what is read from the link, to the TUN. Either may be
//	missing for a while: the TUN until an address of ours can be used, the link until there is one.
type path struct {
	kind   config.Path // empty for a Router, which goes by path kernel
	engine *datapath.Engine
	config *config.Config // that it translates by
	filter *inbound.Filter

	tun     TUN   // nil until there is one
	reading *lane // of the TUN
	link    *link // of path packet; nil until there is one
	toTUN   datapath.Gate
	toLink  datapath.Gate

	health  *health
	unwatch context.CancelFunc
	watched sync.WaitGroup

	events chan datapath.Event
	logged chan struct{} // closed when all events are logged
	served bool          // the host was set up to use it
}

// lane is a lane that is served in the background.
type lane struct {
	stop context.CancelFunc
	done sync.WaitGroup
}

// serve serves l until the lane is stopped. Where it ends by itself, failed gets the reason: it must not block.
func (p *path) serve(l datapath.Lane, failed func(error)) *lane {
	// Not the loop's context: the path outlives it until the host is put back.
	ctx, stop := context.WithCancel(context.Background())
	n := &lane{stop: stop}
	n.done.Go(func() {
		err := p.engine.Run(ctx, []datapath.Lane{l})
		_ = l.In.Close() // which the engine leaves to us where the device failed, also in the moment before stop
		if err != nil {  // nil where it was stopped
			failed(err)
		}
	})
	return n
}

func (n *lane) end() {
	n.stop()
	n.done.Wait()
}

// up makes the path and the host what plan says. Packets meet a translator from the first on: first it is changed what is accepted, then
// what is sent there.
func (d *daemon) up(ctx context.Context, plan policy.Plan) error {
	t, err := translator(d.Config, plan)
	if err != nil {
		return err
	}
	if d.path == nil {
		d.path = d.newPath(plan.Path, t)
	} else {
		if d.path.tun != nil {
			d.path.watch(d.Config, plan)
		}
		d.path.engine.Swap(t)
	}
	d.path.config = d.Config
	switch {
	case plan.Path != config.PathPacket:
	case len(plan.Try) == 0:
		d.detach()
	default:
		if err := d.attach(plan); err != nil {
			return err
		}
	}
	switch {
	case !plan.On && plan.Host.TUN != "":
		return d.setHost(ctx, plan) // what is bound to our addresses lives on for a while
	case !plan.On:
		return d.withdraw(ctx, plan)
	}
	if err := d.openPath(plan); err != nil {
		return err
	}
	err = d.setHost(ctx, plan)
	d.path.served = d.path.served || err == nil
	return err
}

// newPath is a path without devices.
func (d *daemon) newPath(kind config.Path, t *siit.Translator) *path {
	p := &path{
		kind: kind, engine: datapath.New(t), filter: inbound.New(),
		events: make(chan datapath.Event, maxEvents), logged: make(chan struct{}),
	}
	p.engine.OnEvent = func(e datapath.Event) {
		select {
		case p.events <- e:
		default: // no packet waits for the log
		}
	}
	go func() {
		defer close(p.logged)
		for e := range p.events {
			d.Packets.Warn(eventLine(e), "drop", e.Reason.String())
		}
	}()
	return p
}

// openPath has the path read the TUN, which it opens where there is none yet.
func (d *daemon) openPath(plan policy.Plan) error {
	p := d.path
	filter := p.filter
	if plan.Path != config.PathPacket || !d.Config.RepliesOnly() {
		filter = nil // on path kernel the kernel's connection tracking does that
	}
	p.engine.SetInbound(filter)
	if p.tun != nil {
		return nil
	}
	tun, err := d.takeTUN(plan.Host.TUN, plan.Host.MTU)
	if err != nil {
		return err
	}
	p.tun = tun
	l := datapath.Lane{In: tun, V6: tun, V4: tun}
	if plan.Path == config.PathPacket {
		l.V6 = &p.toLink
	}
	p.toTUN.Open(tun)
	p.reading = p.serve(l, func(err error) { d.ended <- err })

	p.health = &health{engine: p.engine, log: d.Log, suspects: d}
	p.watch(d.Config, plan)
	ctx, stop := context.WithCancel(context.Background())
	p.unwatch = stop
	p.watched.Go(func() { p.health.run(ctx) })
	return nil
}

// watch has the health of the NAT64s in use watched. A Router has none, nor has a plan that is not on.
func (p *path) watch(c *config.Config, plan policy.Plan) {
	w := newWatched(plan)
	w.targets, w.port = c.Probe.Targets, p.tun
	if plan.Path == config.PathPacket {
		w.port = &p.toLink
	}
	p.health.watch(w)
}

// translator is the one that a plan for c needs. As long as no address is in use, it is that of the one that is tried.
func translator(c *config.Config, plan policy.Plan) (*siit.Translator, error) {
	switch {
	case !plan.On && len(plan.Try) == 0:
		plan.Generations, plan.Self6 = []policy.Generation{{IPv4: c.Interface.IPv4, IPv6: discard}}, discard.Addr()
	case !plan.On:
		first := plan.Try[0].Addrs
		plan.Generations, plan.Self6 = []policy.Generation{{IPv4: c.Interface.IPv4, IPv6: first}}, first.Addr()
	}
	return translation.New(c, plan)
}

// openTUN opens the device. Where that fails at the start, somebody has to change something first: no waiting gives us a driver, the
// permission to use it, or a name that is free.
func (d *daemon) openTUN(name string, mtu int) (TUN, error) {
	tun, err := d.OpenTUN(name, mtu)
	if err != nil && !d.decided {
		return nil, wrong{err.Error()}
	}
	return tun, err
}

// takeTUN is the spare device where it has that name, whose MTU setHost sets; else it opens one.
func (d *daemon) takeTUN(name string, mtu int) (TUN, error) {
	if tun := d.spare; tun != nil && tun.Name() == name {
		d.spare = nil
		return tun, nil
	}
	return d.openTUN(name, mtu)
}

// closeSpare closes the spare device, where nobody took it.
func (d *daemon) closeSpare() error {
	if d.spare == nil {
		return nil
	}
	tun := d.spare
	d.spare = nil
	return tun.Close()
}

// tryTUN opens the device and closes it again, so that what would keep it from opening later is said at the start.
func (d *daemon) tryTUN() error {
	tun, err := d.openTUN(d.Config.Interface.Name, clat.MinMTU6)
	if err != nil {
		return err
	}
	return tun.Close()
}

func (d *daemon) setHost(ctx context.Context, plan policy.Plan) error {
	d.touched = true
	err := d.Host.Set(ctx, plan.Host)
	switch {
	case err == nil:
		return nil
	case !d.decided && ctx.Err() == nil:
		return wrong{"setting up the host: " + err.Error()} // another uclat, a read-only /proc/sys, a metric that is taken
	}
	return fmt.Errorf("setting up the host: %w", err)
}

// clearHost puts the host back. What could not be put back, the next time tries again.
func (d *daemon) clearHost() error {
	if !d.touched {
		return nil
	}
	// Not the loop's context: that may have ended.
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := d.Host.Set(ctx, platform.HostConfig{})
	if err != nil {
		err = fmt.Errorf("putting the host back: %w", err)
	}
	d.touched = err != nil
	return err
}

// withdraw takes IPv4 from the host, and leaves the path what it needs to get it back.
func (d *daemon) withdraw(ctx context.Context, plan policy.Plan) error {
	var err error
	if d.touched || len(plan.Host.Blackhole) > 0 {
		err = d.setHost(ctx, plan)
	}
	d.closePath()
	return err
}

// closePath ends the reading of the TUN, which goes with it.
func (d *daemon) closePath() {
	p := d.path
	if p.tun == nil {
		return
	}
	p.toTUN.Shut()
	p.unwatch()
	p.watched.Wait()
	p.reading.end()
	select {
	case err := <-d.ended:
		d.log().Warn("the TUN device failed while it was being stopped", "error", err)
	default:
	}
	if p.served {
		d.log().Info("stopped translating", p.counters()...)
	}
	p.tun, p.reading, p.served = nil, nil, false
	d.carried = policy.Plan{}
}

// down puts the host back, then stops the path, whose device goes with it.
func (d *daemon) down() error {
	err := d.clearHost()
	if p := d.path; p != nil {
		d.closePath()
		d.detach()
		close(p.events)
		<-p.logged
		d.path = nil
	}
	return err
}

// counters are the totals as log attributes: what went each way, and every reason for which something was dropped.
func (p *path) counters() (attrs []any) {
	t := p.engine.Counters()
	for dir := range clat.NumDirections {
		attrs = append(attrs, "packets-"+dir.String(), t.Packets[dir], "bytes-"+dir.String(), t.Bytes[dir])
		if t.Replies[dir] > 0 {
			attrs = append(attrs, "replies-"+dir.String(), t.Replies[dir])
		}
		for r := range clat.NumDropReasons {
			if n := t.Drops[dir][r]; n > 0 {
				attrs = append(attrs, "drop-"+dir.String()+"-"+r.String(), n)
			}
		}
	}
	lost := func(device string, read, written uint64) {
		if read > 0 {
			attrs = append(attrs, device+"-lost-read", read)
		}
		if written > 0 {
			attrs = append(attrs, device+"-lost-written", written)
		}
	}
	read, written := p.tun.Lost()
	lost("device", read, written)
	if p.link != nil {
		read, written = p.link.conn.Lost()
		lost("link", read, written)
	}
	return attrs
}
