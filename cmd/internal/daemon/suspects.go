package daemon

import (
	"maps"
	"time"

	"uclat/clat/pref64"
)

// suspicion is for how long a PREF64 is not used that carried nothing, where there is another.
const suspicion = 10 * time.Minute

// nat64 is a PREF64 as it is used on a link: on another one it may lead elsewhere.
type nat64 struct {
	link   int // index
	pref64 pref64.Prefix
}

// suspect keeps for the loop that nothing came back through n, and says whether that is news. It never blocks.
func (d *daemon) suspect(n nat64) (news bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.suspects[n]; !known {
		news = true
		d.changed()
	}
	if d.suspects == nil {
		d.suspects = make(map[nat64]time.Time)
	}
	d.suspects[n] = d.Now()
	return news
}

// isSuspect says whether n is, which is in use: it is so now, and forgotten no earlier than when it is not in use any more.
func (d *daemon) isSuspect(n nat64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, known := d.suspects[n]
	if known {
		d.suspects[n] = d.Now()
	}
	return known
}

// clear keeps for the loop that something came back through n, and says whether that is news. It never blocks.
func (d *daemon) clear(n nat64) (news bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, news = d.suspects[n]; news {
		delete(d.suspects, n)
		d.changed()
	}
	return news
}

// forgive forgets what was said of PREF64s on a link whose network was left: nothing is known of them in the next one.
func (d *daemon) forgive(link int) {
	if d.path != nil && d.plan.Uplink.Index == link {
		d.path.engine.Renew(allAddresses)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.suspects, func(n nat64, _ time.Time) bool { return n.link == link })
}

// suspected are the PREF64s that are not to be used on the uplink; while that is not sure, on any.
func (d *daemon) suspected(now time.Time) (all []pref64.Prefix) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.suspects, func(_ nat64, seen time.Time) bool { return now.Sub(seen) >= suspicion })
	for n := range d.suspects {
		if uplink := d.plan.Uplink.Index; uplink == 0 || n.link == uplink {
			all = append(all, n.pref64)
		}
	}
	return all
}
