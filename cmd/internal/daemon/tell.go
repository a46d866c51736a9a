package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"uclat/clat/policy"
	"uclat/discovery"
)

// For so long it is not said that something is missing which was there a moment ago: it often comes back before, and where it is the PREF64,
// resolvers are asked then, and answer. And what came and went of PREF64s is not said while an address is tried because of it, so that all of it
// stands in one line.
const (
	moment = firstAnswer
	trying = 5 * time.Second
)

// tell logs the plan in one line if it is another one than was told, with what has changed of PREF64s meanwhile, and what becomes of connections.
// What changed and led to nothing is told by itself.
func (d *daemon) tell(ctx context.Context, plan policy.Plan) {
	if d.isQuiet(plan) {
		return
	}
	d.quiet = time.Time{}
	lines := connections(d.carried, plan)
	if plan.On {
		d.carried = plan
	}
	if plan.Why == d.told {
		d.tellChanges(lines)
		return
	}
	level := slog.LevelInfo
	if plan.Wrong || plan.Code == "degraded" {
		level = slog.LevelWarn
	}
	attrs := []any{"code", plan.Code}
	if plan.On && plan.Path != "" {
		attrs = append(attrs, "path", plan.Path, "because", plan.PathWhy)
	}
	if len(d.untold) > 0 && d.decided {
		attrs = append(attrs, "change", strings.Join(d.untold, "; "))
	}
	if lines != "" {
		attrs = append(attrs, "connections", lines)
	}
	d.log().Log(ctx, level, plan.Why, attrs...)
	d.told, d.untold = plan.Why, nil
}

// tellChanges logs what changed of PREF64s where the plan is as it was told, and in the last of these lines what becomes of connections.
func (d *daemon) tellChanges(connections string) {
	last := len(d.untold) - 1
	for i, line := range d.untold {
		if i == last && connections != "" {
			d.Log.Info(line, "connections", connections)
		} else {
			d.Log.Info(line)
		}
	}
	if last < 0 && connections != "" {
		d.log().Info("connections: " + connections)
	}
	d.untold = nil
}

// missing are the codes of plans that wait for what is not there.
var missing = []string{"no-uplink", "no-ipv6-address", "no-pref64"}

// isQuiet says whether it is too early to tell the plan. Who asked for it, is told.
func (d *daemon) isQuiet(plan policy.Plan) bool {
	wait := time.Duration(0)
	switch {
	case d.asked:
	case slices.Contains(missing, plan.Code) && !plan.Paused.IsZero() && plan.Why != d.told:
		wait = moment
	case plan.On && plan.Why == d.told && len(d.untold) > 0 && plan.Tries():
		wait = trying
	}
	if wait > 0 && d.quiet.IsZero() {
		d.quiet = time.Now().Add(wait)
	}
	return wait > 0 && time.Now().Before(d.quiet)
}

// mostUntold is how many changes may wait to be told.
const mostUntold = 8

// changes notes what came and went of PREF64s since the last time. What untrusted routers say nobody needs to hear, often.
func (d *daemon) changes(in policy.Input) {
	for _, c := range d.set.Changes(in.Now) {
		on, _ := in.Host.Link(c.Link)
		line := fmt.Sprintf("PREF64 %v on %s, %s: %v", c.Prefix, on.Name, c.Origin(), c.What)
		if c.What == discovery.Appeared {
			line += " for " + c.Until.Sub(in.Now).Round(time.Second).String()
		}
		switch o := policy.Judge(in, c.Known); {
		case c.Source == discovery.Configured:
		case !o.Trusted:
			d.Log.Debug(line + ", and is not used: " + o.Why)
		case len(d.untold) < mostUntold:
			d.untold = append(d.untold, line)
		}
	}
}
