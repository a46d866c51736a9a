package daemon

import (
	"context"
	"slices"
	"time"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/discovery"
	"uclat/discovery/ra"
	"uclat/platform"
)

// Routers tell what they announce on links; discovery/ra is one.
type Routers interface {
	SetLinks([]ra.Link)
	Solicit(link int)
	Run(ctx context.Context, report func(discovery.Advertisement)) error
}

// listen has the routers heard of all links that may be the uplink: those with an IPv6 default route, and the one that is. Of others, what was
// heard is forgotten.
func (d *daemon) listen(host platform.Snapshot, plan policy.Plan) {
	if d.Routers == nil {
		return
	}
	var links []ra.Link
	for _, l := range host.Links {
		candidate := l.Index == plan.Uplink.Index || hasDefaultRoute6(host, l.Index)
		if candidate && l.Up && l.Name != d.Config.Interface.Name && d.Config.Mode != config.ModeOff {
			links = append(links, ra.Link{Index: l.Index, Name: l.Name})
		}
	}
	for _, l := range d.listening {
		if !slices.Contains(links, l) {
			d.announced.Forget(l.Index)
		}
	}
	d.listening = links
	d.Routers.SetLinks(links)
}

// hear takes in what routers said on links that are listened on.
func (d *daemon) hear(now time.Time) {
	for _, a := range d.advertisements() {
		if slices.ContainsFunc(d.listening, func(l ra.Link) bool { return l.Index == a.Link }) {
			d.announced.Observe(now, a)
		}
	}
}

// solicit asks all routers anew.
func (d *daemon) solicit() {
	for _, l := range d.listening {
		d.Routers.Solicit(l.Index)
	}
}

func hasDefaultRoute6(host platform.Snapshot, link int) bool {
	for _, r := range routers(host) {
		if r.Link == link {
			return true
		}
	}
	return false
}

// advertised keeps what a router said for the loop. It never blocks.
func (d *daemon) advertised(a discovery.Advertisement) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.said) < maxAdvertisements {
		d.said = append(d.said, a)
	}
	d.changed()
}

// maxAdvertisements is how many may wait for the loop. Routers say everything again.
const maxAdvertisements = 64

// advertisements takes them out.
func (d *daemon) advertisements() []discovery.Advertisement {
	d.mu.Lock()
	defer d.mu.Unlock()
	said := d.said
	d.said = nil
	return said
}
