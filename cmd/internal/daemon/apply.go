package daemon

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"

	"uclat/clat/config"
	"uclat/clat/policy"
)

// apply makes the host and the path as plan wants them, and logs what changed in one line, with what has changed of PREF64s.
func (d *daemon) apply(ctx context.Context, plan policy.Plan, changes []string) error {
	if reflect.DeepEqual(plan, d.plan) && (d.path == nil || d.path.config == d.Config) {
		if d.path == nil || !plan.On && len(plan.Host.Blackhole) == 0 {
			return nil
		}
		// What was ours may have been taken away, and forwarding turned on or off by others: Set changes only what differs.
		return d.setHost(ctx, plan)
	}
	was := d.plan
	d.plan = policy.Plan{}
	var err error
	working := plan.On || len(plan.Try) > 0
	if working && d.path != nil {
		switch tun := d.path.tun; {
		case (d.path.kind == config.PathPacket) != (plan.Path == config.PathPacket):
			was, err = policy.Plan{}, d.down() // of the new device, all is to be said again
		case plan.On && tun != nil && tun.Name() != plan.Host.TUN:
			was, err = policy.Plan{}, d.withdraw(ctx, policy.Plan{}) // so it is here; what is held on the uplink stays
		}
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
		return err
	}
	d.plan = plan
	lines := connections(was, plan)
	if plan.Why == was.Why && lines != "" {
		d.log().Info("connections: " + lines)
	}
	if plan.Why != was.Why {
		level := slog.LevelInfo
		if plan.Wrong || plan.Code == "degraded" {
			level = slog.LevelWarn
		}
		attrs := []any{"code", plan.Code}
		if plan.On && plan.Path != "" {
			attrs = append(attrs, "path", plan.Path, "because", plan.PathWhy)
		}
		if len(changes) > 0 && d.decided {
			attrs = append(attrs, "change", strings.Join(changes, "; "))
		}
		if lines != "" {
			attrs = append(attrs, "connections", lines)
		}
		d.log().Log(ctx, level, plan.Why, attrs...)
	}
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
