package policy

import (
	"cmp"
	"fmt"
	"slices"

	"uclat/clat/config"
	"uclat/discovery"
	"uclat/platform"
)

// findUplink is the interface that faces the PLAT: the named one, else the best of those whose network has a PREF64, else the best that has an
// IPv6 default route. Without one, the plan says why.
func findUplink(in Input) (platform.Link, Plan) {
	c, h := in.Config, &in.Host
	waiting := func(format string, args ...any) (platform.Link, Plan) {
		return platform.Link{}, Plan{Code: "no-uplink", Why: fmt.Sprintf("waiting: "+format, args...)}
	}
	if c.Uplink != "" {
		switch l, ok := h.LinkByName(c.Uplink); {
		case !ok:
			return waiting("there is no interface %s (uplink)", c.Uplink)
		case !l.Up:
			return waiting("%s (uplink) is down", c.Uplink)
		}
	}
	// A VPN may have the better route, but the NAT64 is that of the network: on path packet, which does not go by the kernel's choice, links
	// with neighbours come first.
	ownRoute := c.Path == config.PathPacket || c.Path == config.PathAuto && (!c.Address.IPv6.IsValid() || isOnSomeLink(in))
	ways := in.ways(h.Routes, ownRoute)
	if len(ways) == 0 && ownRoute { // rules may lead to them; the kernel's way to forward is that of the main table
		ways = in.ways(h.OtherRoutes, ownRoute)
	}
	switch {
	case len(ways) > 0:
		return ways[0].link, Plan{}
	case c.Uplink != "":
		return waiting("%s (uplink) has no IPv6 route toward the PLAT", c.Uplink)
	}
	return waiting("no interface has an IPv6 default route")
}

// Candidates are the links that may come to be the uplink, so that what their networks say of PREF64s matters: those with an IPv6 default route.
// Where there are such with neighbours, those without are left out, unless the configuration names one: they may be VPNs, whose resolvers and
// routers are not the network's.
func Candidates(in Input) (all []platform.Link) {
	c := in.Config
	for _, l := range in.Host.Links {
		if l.Up && l.Name != c.Interface.Name && (c.Uplink == "" || l.Name == c.Uplink) && len(in.defaultRoutes6(l.Index)) > 0 {
			all = append(all, l)
		}
	}
	if c.Uplink == "" && slices.ContainsFunc(all, func(l platform.Link) bool { return l.L2 }) {
		all = slices.DeleteFunc(all, func(l platform.Link) bool { return !l.L2 })
	}
	return all
}

// way is how a link leads to the PLAT.
type way struct {
	link  platform.Link
	route platform.Route
	plat  bool // the link's network has one, and IPv6 addresses for us
}

// ways are the links that lead to a PLAT, or may, best first.
func (in *Input) ways(routes []platform.Route, linksWithNeighboursFirst bool) (all []way) {
	for _, l := range in.Host.Links {
		if !l.Up || l.Name == in.Config.Interface.Name || in.Config.Uplink != "" && l.Name != in.Config.Uplink {
			continue
		}
		known := in.on(l)
		if r, ok := bestRoute(routes, l, known); ok && (linksWithNeighboursFirst || in.Config.Uplink != "" || in.isKernels(routes, r, known)) {
			all = append(all, way{l, r, len(known) > 0 && in.mayHaveAddress(l)})
		}
	}
	slices.SortStableFunc(all, func(a, b way) int {
		if c := compareBool(a.plat, b.plat); c != 0 {
			return c
		}
		if c := compareBool(a.link.L2, b.link.L2); c != 0 && linksWithNeighboursFirst {
			return c
		}
		return byKernel(a.route, b.route)
	})
	return all
}

// mayHaveAddress says whether an address of ours can be had on the link, as far as is known.
func (in *Input) mayHaveAddress(l platform.Link) bool {
	if in.Config.Address.IPv6.IsValid() || in.mayBeAnnounced(l) {
		return true
	}
	candidates, _ := in.candidates(l)
	return len(candidates) > 0
}

// byKernel orders routes to the same destination as the kernel chooses: the longest prefix, then the lowest metric.
func byKernel(a, b platform.Route) int {
	return cmp.Or(cmp.Compare(b.Dst.Bits(), a.Dst.Bits()), cmp.Compare(a.Metric, b.Metric))
}

// bestRoute is the best route by a link that leads to the first of known. As long as none is known, only a default route does.
func bestRoute(routes []platform.Route, l platform.Link, known []discovery.Known) (best platform.Route, ok bool) {
	for _, r := range routes {
		if r.Link == l.Index && leadsToPLAT(r, known) && (!ok || byKernel(r, best) < 0) {
			best, ok = r, true
		}
	}
	return best, ok
}

// isKernels says whether the kernel would take r to the first of known, among the usable links.
func (in *Input) isKernels(routes []platform.Route, r platform.Route, known []discovery.Known) bool {
	return !slices.ContainsFunc(routes, func(other platform.Route) bool {
		l, ok := in.Host.Link(other.Link)
		return ok && l.Up && l.Name != in.Config.Interface.Name && other.Link != r.Link && leadsToPLAT(other, known) && byKernel(other, r) < 0
	})
}

// leadsToPLAT says whether r leads to the first of known.
func leadsToPLAT(r platform.Route, known []discovery.Known) bool {
	if len(known) == 0 {
		return r.Dst.Addr().Is6() && r.Dst.Bits() == 0
	}
	plat := known[0].Prefix
	return r.Dst.Bits() <= plat.Bits() && r.Dst.Contains(plat.Prefix().Addr())
}
