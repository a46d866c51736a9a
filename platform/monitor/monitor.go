// Package monitor sees the host: it reads links, addresses and routes into one snapshot, and knocks when something of these changed.
// A knock says nothing but "look again", so that to lose one behind another is harmless.
package monitor

import (
	"cmp"
	"net/netip"
	"slices"

	"uclat/platform"
)

// maxRoutes bounds the routes of a snapshot. Default routes come on top: there are few on any host.
const maxRoutes = 4096

// relevant says whether a snapshot keeps the route: a default route, also as two or more halves of the address space, or one
// that shares addresses with a prefix that the caller named.
func relevant(dst netip.Prefix, interest []netip.Prefix) bool {
	return isDefault(dst) || slices.ContainsFunc(interest, dst.Overlaps)
}

// isDefault takes in what VPN programs install to win over the default route: 0.0.0.0/1 and 128.0.0.0/1, ::/1 and 8000::/1, 2000::/3.
func isDefault(dst netip.Prefix) bool {
	return dst.Bits() <= 1 || dst.Addr().Is6() && dst.Bits() <= 3 && dst.Contains(netip.AddrFrom16([16]byte{0x20}))
}

// sortSnapshot brings a snapshot into its documented order, which is total: two readings of the same host are equal.
func sortSnapshot(s *platform.Snapshot) {
	slices.SortFunc(s.Links, func(a, b platform.Link) int { return cmp.Compare(a.Index, b.Index) })
	slices.SortFunc(s.Addrs, func(a, b platform.Address) int {
		return cmp.Or(cmp.Compare(a.Link, b.Link), a.Prefix.Compare(b.Prefix))
	})
	for _, routes := range [][]platform.Route{s.Routes, s.OtherRoutes} {
		slices.SortFunc(routes, func(a, b platform.Route) int {
			return cmp.Or(cmp.Compare(a.Link, b.Link), a.Dst.Compare(b.Dst), cmp.Compare(a.Metric, b.Metric), a.Via.Compare(b.Via),
				cmp.Compare(a.MTU, b.MTU), a.Src.Compare(b.Src))
		})
	}
	slices.SortFunc(s.Neighbours, func(a, b platform.Neighbour) int { return cmp.Or(cmp.Compare(a.Link, b.Link), a.Addr.Compare(b.Addr)) })
	slices.Sort(s.Routed)
	s.Routed = slices.Compact(s.Routed) // both families lead there
}
