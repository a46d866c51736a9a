package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/discovery"
	"uclat/platform"
)

// usePeriod is how often it is seen which of our IPv4 addresses are in use, while there are old ones.
const usePeriod = time.Minute

// look sees what is, decides what should be, and makes it so. It returns when to look again though nothing happens; 0 is never.
func (d *daemon) look(ctx context.Context) (time.Duration, error) {
	said := d.hear()
	host, err := d.snapshot(ctx, d.Config, said.prefixes()...)
	if err != nil {
		return 0, err
	}
	now := d.Now()
	left := d.follow(host) // first: what was heard is of the network that the host is in now
	d.leave(left)
	said.on(d.links, left).observe(now, &d.announced, &d.set)
	in := d.input(d.Config, host, &d.set)
	d.limit(in)
	plan := policy.Decide(in)
	d.listen(now, in, plan)
	if wait := time.Until(d.patient); plan.Code == "no-pref64" && wait > 0 {
		if next := d.untilNext(now, plan); next > 0 {
			wait = min(wait, next)
		}
		return wait, nil // it would be said too early
	}
	d.patient = time.Time{}
	if plan.Wrong && !d.decided {
		return 0, wrong{plan.Why}
	}
	if !d.decided && !plan.On && d.Config.Mode != config.ModeOff {
		if err := d.tryTUN(); err != nil {
			return 0, err
		}
	}
	d.changes(in)
	if err := errors.Join(d.apply(ctx, plan), d.closeSpare()); err != nil {
		return 0, err
	}
	d.decided = true
	d.noteUse(plan)
	return d.untilNext(now, plan), nil
}

// untilNext is how long nothing changes by itself of what was decided on at now; 0 is for ever.
func (d *daemon) untilNext(now time.Time, plan policy.Plan) time.Duration {
	_, set := d.set.Valid(now)
	_, announced := d.announced.Valid(now)
	_, routers := d.announced.Routers(now)
	times := []time.Time{set, announced, routers, d.answersDue(now), plan.Ends()}
	if time.Now().Before(d.quiet) {
		times = append(times, now.Add(time.Until(d.quiet)))
	}
	if plan.Code == "duplicate-address" {
		times = append(times, now.Add(d.grudge))
	}
	if len(plan.Generations) > 1 {
		times = append(times, now.Add(usePeriod))
	}
	d.mu.Lock()
	for _, since := range d.suspects {
		times = append(times, since.Add(suspicion))
	}
	d.mu.Unlock()
	var next time.Time
	for _, t := range times {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if next.IsZero() {
		return 0
	}
	return max(next.Sub(d.Now()), time.Millisecond)
}

// snapshot is the host, with its routes to what c names, to the PREF64s that are known and to these.
func (d *daemon) snapshot(ctx context.Context, c *config.Config, prefixes ...netip.Prefix) (platform.Snapshot, error) {
	known, _ := d.set.Valid(d.Now())
	interests := append(policy.Interests(policy.Input{Config: c, PREF64: known}), prefixes...)
	host, err := d.Eyes.Snapshot(ctx, interests...)
	if err != nil {
		return host, fmt.Errorf("reading the host's network: %w", err)
	}
	if tun := d.plan.Host.TUN; d.path != nil && tun != c.Interface.Name {
		host = without(host, tun) // it is ours, and gives way to the new one
	}
	return host, nil
}

// input is what c would be decided on, with what is known of PREF64s.
func (d *daemon) input(c *config.Config, host platform.Snapshot, set *discovery.Set) policy.Input {
	in := policy.Input{Config: c, Host: host, Now: d.Now(), Was: d.plan}
	in.PREF64, _ = set.Valid(in.Now)
	in.Trials = d.trialsOn(in.Host, in.Now)
	in.Announced, _ = d.announced.Valid(in.Now)
	in.Routers, _ = d.announced.Routers(in.Now)
	in.Heard = map[int]discovery.Heard{}
	for _, l := range in.Host.Links {
		in.Heard[l.Index] = d.announced.Heard(l.Index)
		if in.Heard[l.Index] == discovery.Unknown && d.Routers != nil && d.Routers.Err() != nil {
			in.Heard[l.Index] = discovery.Silent // to us
		}
	}
	if d.Memory != nil {
		in.Secret = d.Memory.Secret()
	}
	in.Used, in.Suspect = d.usedAt(in.Now), d.suspected(in.Now)
	return in
}

// usedAt is when our IPv4 addresses were in use last: those that the path tells to have been since it was asked, now.
func (d *daemon) usedAt(now time.Time) map[netip.Addr]time.Time {
	if d.path == nil {
		d.used = nil
		return nil
	}
	bits := d.path.engine.Used()
	used := make(map[netip.Addr]time.Time)
	for _, g := range d.plan.Generations {
		a := g.IPv4.Addr()
		if before, ok := d.used[a]; ok {
			used[a] = before
		}
		if bits>>(a.As4()[3]&7)&1 != 0 {
			used[a] = now
		}
	}
	d.used = used
	return used
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
