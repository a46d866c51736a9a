package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/discovery"
	"uclat/platform"
)

// look sees what is, decides what should be, and makes it so. It returns when to look again though nothing happens; 0 is never.
func (d *daemon) look(ctx context.Context) (time.Duration, error) {
	now := time.Now()
	for _, o := range d.reports() {
		d.set.Observe(now, o)
	}
	d.hear(now)
	known, next := d.set.Valid(now)
	in, err := d.see(ctx, d.Config, known)
	if err != nil {
		return 0, err
	}
	if routers := routers(in.Host); !slices.Equal(routers, d.routers) {
		// Another router may mean another network: what was learned on the last one has to be asked again.
		if d.routers = routers; d.decided {
			for _, f := range d.finders {
				f.Knock()
			}
			d.solicit()
		}
	}
	plan := policy.Decide(in)
	d.listen(in.Host, plan)
	if plan.Wrong && !d.decided {
		return 0, wrong{plan.Why}
	}
	if !d.decided && !plan.On && d.Config.Mode != config.ModeOff {
		if err := d.tryTUN(); err != nil {
			return 0, err
		}
	}
	if err := errors.Join(d.apply(ctx, plan), d.closeSpare()); err != nil {
		return 0, err
	}
	d.noteUse(plan)
	if _, at := d.announced.Valid(now); !at.IsZero() && (next.IsZero() || at.Before(next)) {
		next = at
	}
	if again := now.Add(d.grudge); plan.Code == "duplicate-address" && (next.IsZero() || again.Before(next)) {
		next = again
	}
	if next.IsZero() {
		return 0, nil
	}
	return max(time.Until(next), time.Millisecond), nil
}

// see is what c would be decided on.
func (d *daemon) see(ctx context.Context, c *config.Config, known []discovery.Known) (in policy.Input, err error) {
	in = policy.Input{Config: c, PREF64: known}
	if in.Host, err = d.Eyes.Snapshot(ctx, policy.Interests(in)...); err != nil {
		return in, fmt.Errorf("reading the host's network: %w", err)
	}
	if tun := d.plan.Host.TUN; d.path != nil && tun != c.Interface.Name {
		in.Host = without(in.Host, tun) // it is ours, and gives way to the new one
	}
	in.Now = time.Now()
	in.Trials = d.trialsOn(in.Host, in.Now)
	in.Announced, _ = d.announced.Valid(in.Now)
	in.Heard = map[int]discovery.Heard{}
	for _, l := range in.Host.Links {
		in.Heard[l.Index] = d.announced.Heard(l.Index)
	}
	if d.Memory != nil {
		in.Secret = d.Memory.Secret()
	}
	return in, nil
}

// without is the host when an interface has gone.
func without(host platform.Snapshot, name string) platform.Snapshot {
	gone, ok := host.LinkByName(name)
	if !ok {
		return host
	}
	host.Links = slices.DeleteFunc(slices.Clone(host.Links), func(l platform.Link) bool { return l.Index == gone.Index })
	host.Addrs = slices.DeleteFunc(slices.Clone(host.Addrs), func(a platform.Address) bool { return a.Link == gone.Index })
	host.Routes = slices.DeleteFunc(slices.Clone(host.Routes), func(r platform.Route) bool { return r.Link == gone.Index })
	return host
}

// routers are the IPv6 default routes.
func routers(host platform.Snapshot) (r []platform.Route) {
	for _, route := range slices.Concat(host.Routes, host.OtherRoutes) {
		if route.Dst.Addr().Is6() && route.Dst.Bits() == 0 {
			r = append(r, route)
		}
	}
	return r
}
