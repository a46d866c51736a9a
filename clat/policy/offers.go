package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"uclat/clat/config"
	"uclat/discovery"
	"uclat/platform"
)

// Offer is a PREF64 that was heard of, and whether it may be used.
type Offer struct {
	discovery.Known
	Trusted bool
	Why     string // why it is not, as the end of a sentence; empty where it is
}

// Offers are all PREF64s of in, in their order. An RA is trusted where the host itself has accepted its router: the sender is the next hop of an
// IPv6 default route on that link, by its address or by its link-layer address. Whoever else is on a link could announce what he likes.
func Offers(in Input) []Offer {
	all := make([]Offer, len(in.PREF64))
	for i, k := range in.PREF64 {
		all[i] = Judge(in, k)
	}
	return all
}

// Judge says whether k may be used, whether it is in in or not.
func Judge(in Input, k discovery.Known) Offer {
	why := in.distrust(k)
	return Offer{Known: k, Trusted: why == "", Why: why}
}

// distrust says why a PREF64 may not be used; empty where it may.
func (in *Input) distrust(k discovery.Known) string {
	c := in.Config
	pinned := len(c.PREF64.Prefixes) > 0 && slices.Contains(c.PREF64.Sources, config.SourceConfigured)
	switch {
	case k.Source == discovery.Configured:
		return ""
	case pinned:
		return "pref64.prefixes is set, which goes before all others"
	}
	link, ok := in.Host.Link(k.Link)
	switch {
	case !ok:
		return "its interface is gone"
	case !link.Up:
		return link.Name + " is down"
	case k.Source == discovery.RA:
		if why := in.distrustRouter(link, k.Router, k.Hardware); why != "" {
			return why
		}
	case !slices.Contains(c.PREF64.Sources, config.SourceDNS):
		return `pref64.sources leaves out "dns"`
	}
	return in.holdsUs(k, link)
}

// holdsUs says which address of this host the prefix holds: what would be sent from there the PLAT drops (RFC 6146, 3.5).
func (in *Input) holdsUs(k discovery.Known, link platform.Link) string {
	for _, a := range in.Host.Addrs {
		if a.Link == link.Index && isGlobal6(a.Prefix.Addr()) && k.Prefix.Prefix().Contains(a.Prefix.Addr()) {
			return fmt.Sprintf("it holds %v, an address of this host", a.Prefix.Addr())
		}
	}
	if ours := CLAT(in.Config); ours.IsValid() && k.Prefix.Prefix().Overlaps(ours) {
		return fmt.Sprintf("it overlaps with address.ipv6 = %v: use another address, or set pref64.prefixes", in.Config.Address.IPv6)
	}
	return ""
}

// distrustRouter says why a router's PREF64s do not count; empty where they do.
func (in *Input) distrustRouter(link platform.Link, router netip.Addr, hardware string) string {
	if !in.isNamed(link) && !slices.Contains(in.Config.PREF64.Sources, config.SourceRA) {
		return fmt.Sprintf("pref64.sources names neither %q nor %q", config.SourceRA, config.RAFrom(link.Name))
	}
	return in.refused(link, router, hardware)
}

// isNamed says whether the configuration trusts whoever is on the link.
func (in *Input) isNamed(link platform.Link) bool {
	return slices.Contains(in.Config.PREF64.Sources, config.RAFrom(link.Name))
}

// refused says why the host has not accepted a router; empty where it has, or where the configuration trusts the link.
func (in *Input) refused(link platform.Link, router netip.Addr, hardware string) string {
	if in.isNamed(link) {
		return ""
	}
	but := fmt.Sprintf("; pref64.sources with %q trusts it all the same", config.RAFrom(link.Name))
	routes := in.defaultRoutes6(link.Index)
	if len(routes) == 0 {
		return link.Name + " has no IPv6 default route" + but
	}
	var hops []string
	for _, r := range routes {
		switch {
		case !r.Via.IsValid() && !link.L2: // who is at the other end is the next hop
			return ""
		case !r.Via.IsValid():
		case r.Via == router:
			return ""
		case hardware != "" && slices.Contains(in.Host.Neighbours, platform.Neighbour{Link: link.Index, Addr: r.Via, Hardware: hardware}):
			return ""
		case !slices.Contains(hops, r.Via.String()):
			hops = append(hops, r.Via.String())
		}
	}
	if len(hops) == 0 {
		return fmt.Sprintf("the IPv6 default route on %s leads to no router", link.Name) + but
	}
	return fmt.Sprintf("no IPv6 default route on %s leads to it, but to %s", link.Name, strings.Join(hops, " and ")) + but
}

// Accepted says whether the host itself has accepted a router, or the configuration trusts its link.
func Accepted(in Input, link int, router netip.Addr, hardware string) bool {
	l, ok := in.Host.Link(link)
	return ok && in.refused(l, router, hardware) == ""
}

// isStrange says whether a prefix was announced by a router that the host has not accepted.
func (in *Input) isStrange(x discovery.Announced) bool {
	hardware := ""
	for _, r := range in.Routers {
		if r.Link == x.Link && r.Addr == x.Router {
			hardware = r.Hardware
		}
	}
	return !Accepted(*in, x.Link, x.Router, hardware)
}

// defaultRoutes6 are the IPv6 default routes by a link, of whatever table: rules may lead there.
func (in *Input) defaultRoutes6(link int) (all []platform.Route) {
	for _, r := range slices.Concat(in.Host.Routes, in.Host.OtherRoutes) {
		if r.Link == link && r.Dst.Addr().Is6() && r.Dst.Bits() == 0 {
			all = append(all, r)
		}
	}
	return all
}

// on are the PREF64s that may be used on a link, best first.
func (in *Input) on(link platform.Link) (known []discovery.Known) {
	for _, k := range in.PREF64 {
		if (k.Link == 0 || k.Link == link.Index) && in.distrust(k) == "" {
			known = append(known, k)
		}
	}
	return known
}

// mtu6 is the most that the link takes of IPv6, in octets: the system may not listen to routers (RFC 4861, 6.3.4), so we do.
func (in *Input) mtu6(link platform.Link) int {
	mtu := link.MTU6
	for _, r := range in.Routers {
		if r.Link == link.Index && r.MTU != 0 && in.refused(link, r.Addr, r.Hardware) == "" {
			mtu = min(mtu, r.MTU)
		}
	}
	return mtu
}

// Resolvers are the recursive DNS servers of a link as its routers announce them: those that the host itself has accepted.
func (in *Input) Resolvers(link platform.Link) (servers []netip.Addr) {
	for _, r := range in.Routers {
		if r.Link != link.Index || in.refused(link, r.Addr, r.Hardware) != "" {
			continue
		}
		for _, s := range r.Servers {
			if !slices.Contains(servers, s) {
				servers = append(servers, s)
			}
		}
	}
	return servers
}

// JudgeRouter says why what a router announces does not count; empty where it does.
func JudgeRouter(in Input, r discovery.Router) string {
	link, ok := in.Host.Link(r.Link)
	if !ok {
		return "its interface is gone"
	}
	return in.distrustRouter(link, r.Addr, r.Hardware)
}
