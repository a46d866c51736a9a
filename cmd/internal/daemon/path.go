package daemon

import (
	"context"
	"fmt"

	"uclat/clat"
	"uclat/clat/config"
	"uclat/clat/datapath"
	"uclat/clat/policy"
	"uclat/clat/siit"
	"uclat/cmd/internal/translation"
	"uclat/platform"
)

// TUN is the device of path kernel: one queue, both ways and both families.
type TUN interface {
	datapath.Port
	Name() string
	// Lost is how many reads and how many packets to be written the device could not make sense of. The datapath never saw the first.
	Lost() (read, written uint64)
}

// maxEvents is how many events may wait for the log.
const maxEvents = 8

// path is a running datapath. It ends when stop is called, or by itself when the device fails.
type path struct {
	tun    TUN
	engine *datapath.Engine
	config *config.Config // that it translates by
	stop   context.CancelFunc
	done   chan struct{}
	served bool // the host was set up to use it
}

// up opens the device, starts the path and sets the host. Packets meet a translator from the first on.
func (d *daemon) up(ctx context.Context, plan policy.Plan) error {
	t, err := translator(d.Config, plan)
	if err != nil {
		return err
	}
	tun, err := d.takeTUN(plan.Host.TUN, plan.Host.MTU)
	if err != nil {
		return err
	}
	// Not ctx: the path outlives it until the host is put back.
	run, stop := context.WithCancel(context.Background())
	p := &path{tun: tun, engine: datapath.New(t), config: d.Config, stop: stop, done: make(chan struct{})}
	d.path = p
	events := make(chan datapath.Event, maxEvents)
	p.engine.OnEvent = func(e datapath.Event) {
		select {
		case events <- e:
		default: // no packet waits for the log
		}
	}
	go func() {
		defer close(events)
		err := p.engine.Run(run, []datapath.Lane{{In: tun, V6: tun, V4: tun}})
		_ = tun.Close() // which the engine leaves to us where the device failed, also in the moment before stop
		if run.Err() == nil {
			d.ended <- err
		}
	}()
	go func() {
		defer close(p.done)
		for e := range events {
			d.Packets.Warn(eventLine(e), "drop", e.Reason.String())
		}
	}()
	err = d.setHost(ctx, plan)
	p.served = err == nil
	return err
}

// translator is the one that a plan for c needs.
func translator(c *config.Config, plan policy.Plan) (*siit.Translator, error) {
	return translation.New(c, plan.PREF64, plan.MTU6, plan.MTU4)
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

// swap changes a running path: first what it accepts, then what is sent to it.
func (d *daemon) swap(ctx context.Context, plan policy.Plan) error {
	t, err := translator(d.Config, plan)
	if err != nil {
		return err
	}
	d.path.engine.Swap(t)
	d.path.config = d.Config
	return d.setHost(ctx, plan)
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

// down puts the host back, then stops the path, whose device goes with it. What could not be put back, the next down tries again.
func (d *daemon) down() error {
	var err error
	if d.touched {
		// Not the loop's context: that may have ended.
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		if err = d.Host.Set(ctx, platform.HostConfig{}); err != nil {
			err = fmt.Errorf("putting the host back: %w", err)
		}
		d.touched = err != nil
	}
	if d.path != nil {
		d.stopPath()
	}
	return err
}

func (d *daemon) stopPath() {
	p := d.path
	d.path = nil
	p.stop()
	<-p.done
	select {
	case err := <-d.ended:
		d.log().Warn("the TUN device failed while it was being stopped", "error", err)
	default:
	}
	if p.served {
		d.log().Info("stopped translating", p.counters()...)
	}
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
	read, written := p.tun.Lost()
	for _, lost := range []struct {
		name string
		n    uint64
	}{{"device-lost-read", read}, {"device-lost-written", written}} {
		if lost.n > 0 {
			attrs = append(attrs, lost.name, lost.n)
		}
	}
	return attrs
}
