package daemon

import (
	"context"
	"time"

	"uclat/clat/config"
	"uclat/discovery"
)

// learn begins anew with what is known of PREF64s: it is what the configuration names, and what its finders will report.
func (d *daemon) learn(ctx context.Context) {
	ctx, forget := context.WithCancel(ctx)
	d.mu.Lock()
	if d.forget != nil {
		d.forget()
	}
	d.forget, d.mailbox = forget, nil
	d.mu.Unlock()

	d.set, d.finders = named(d.Config), nil
	if d.Finders != nil {
		d.finders = d.Finders(d.Config)
	}
	for _, f := range d.finders {
		d.watch(ctx, "discovery", func() error {
			return f.Run(ctx, func(o discovery.Observation) { d.report(ctx, o) })
		})
	}
}

// named is what is known of PREF64s by c alone.
func named(c *config.Config) (s discovery.Set) {
	s.Observe(time.Now(), discovery.Observation{Source: discovery.Configured, Prefixes: c.PREF64.Prefixes})
	return s
}

// patience is how long to wait for what a finder reports, which ends it sooner, before it is said that there is no PREF64.
func (d *daemon) patience() time.Duration {
	if known, _ := d.set.Valid(time.Now()); len(known) == 0 && len(d.finders) > 0 {
		return firstAnswer
	}
	return 0
}

// report keeps an observation for the loop, as long as ctx lasts. It never blocks.
func (d *daemon) report(ctx context.Context, o discovery.Observation) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ctx.Err() == nil {
		d.mailbox = append(d.mailbox, o)
		d.changed()
	}
}

// reported says whether there is an observation to be taken in.
func (d *daemon) reported() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.mailbox) > 0
}

// reports takes the observations out of the mailbox.
func (d *daemon) reports() []discovery.Observation {
	d.mu.Lock()
	defer d.mu.Unlock()
	seen := d.mailbox
	d.mailbox = nil
	return seen
}
