package daemon

import (
	"context"
	"errors"
	"reflect"
	"slices"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/platform"
)

// apply makes the host and the path as plan wants them, and tells what changed.
func (d *daemon) apply(ctx context.Context, plan policy.Plan) error {
	if reflect.DeepEqual(plan, d.plan) && (d.path == nil || d.path.config == d.Config) {
		d.tell(ctx, plan)
		if d.path == nil || !plan.On && plan.Host.TUN == "" && len(plan.Host.Blackhole) == 0 {
			return nil
		}
		// What was ours may have been taken away, and forwarding turned on or off by others: Set changes only what differs.
		return d.setHost(ctx, plan)
	}
	was := d.plan
	d.plan = policy.Plan{}
	var err error
	working := plan.On || len(plan.Try) > 0 || plan.Host.TUN != "" && d.path != nil
	if working && d.path != nil {
		switch tun := d.path.tun; {
		case (d.path.kind == config.PathPacket) != (plan.Path == config.PathPacket):
			was, d.told, err = policy.Plan{}, "", d.down() // of the new device, all is to be said again
		case plan.On && tun != nil && tun.Name() != plan.Host.TUN:
			was, d.told, err = policy.Plan{}, "", d.withdraw(ctx, policy.Plan{}) // so it is here; what is held on the uplink stays
		}
	}
	if !plan.On && !d.hasTUN() {
		plan.Host = platform.HostConfig{Blackhole: plan.Host.Blackhole} // the one that was to stay went with the path of the other kind
	}
	switch {
	case !working:
		err = d.down()
	case err == nil:
		err = d.up(ctx, plan)
	}
	if err != nil && working {
		err = errors.Join(err, d.down()) // there is no half
	}
	if err != nil {
		d.told = ""
		return err
	}
	d.plan = plan
	if was.On && !plan.On && !d.hasTUN() {
		d.told = "" // it was said that it stopped: that it is on again is news
	}
	d.tell(ctx, plan)
	for _, w := range plan.Warnings {
		if !slices.Contains(was.Warnings, w) {
			d.Log.Warn(w)
		}
	}
	for _, n := range plan.Notes {
		if !slices.Contains(was.Notes, n) {
			d.Log.Info(n)
		}
	}
	if plan.On && plan.Path == config.PathKernel && (!was.On || plan.Uplink.Name != was.Uplink.Name) {
		d.warnOfFirewalls(ctx, plan)
	}
	return nil
}

// hasTUN says whether the TUN is there.
func (d *daemon) hasTUN() bool { return d.path != nil && d.path.tun != nil }

// warnOfFirewalls is for path kernel: what does not go by the kernel, none of them sees.
func (d *daemon) warnOfFirewalls(ctx context.Context, plan policy.Plan) {
	obstacles, err := d.Obstacles(ctx, plan.Host.TUN, plan.Uplink.Name)
	if err != nil && ctx.Err() == nil {
		d.Log.Warn("looking for firewalls that may drop what is forwarded", "error", err)
	}
	for _, o := range obstacles {
		d.Log.Warn(o)
	}
}
