package monitor

import (
	"cmp"
	"net/netip"
	"slices"

	"uclat/platform"
)

// maxReach bounds where a snapshot says that the host reaches IPv4. A provider's full table is far larger; its short prefixes are kept.
const maxReach = 1 << 16

var loopback4 = netip.MustParsePrefix("127.0.0.0/8")

// reach gathers where the host reaches IPv4, with at most twice maxReach in memory.
type reach struct {
	all  []platform.Route4
	over bool // some were left out
}

// add takes a route in. Default routes say nothing of where an address is, and everybody has the loopback's.
func (r *reach) add(dst netip.Prefix, link int) {
	if dst.Bits() <= 1 || dst.Bits() >= loopback4.Bits() && loopback4.Overlaps(dst) {
		return
	}
	r.all = append(r.all, platform.Route4{Dst: dst, Link: link})
	if len(r.all) == 2*maxReach {
		r.prune()
	}
}

// prune keeps one of each, and the shortest prefixes if there are too many.
func (r *reach) prune() {
	slices.SortFunc(r.all, func(a, b platform.Route4) int {
		return cmp.Or(cmp.Compare(a.Dst.Bits(), b.Dst.Bits()), a.Dst.Compare(b.Dst), cmp.Compare(a.Link, b.Link))
	})
	r.all = slices.Compact(r.all)
	if len(r.all) > maxReach {
		r.all, r.over = r.all[:maxReach], true
	}
}

// routes are what was taken in, in the order of a snapshot.
func (r *reach) routes() []platform.Route4 {
	r.prune()
	slices.SortFunc(r.all, func(a, b platform.Route4) int {
		return cmp.Or(cmp.Compare(a.Link, b.Link), a.Dst.Compare(b.Dst))
	})
	return r.all
}
