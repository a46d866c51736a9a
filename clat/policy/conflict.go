package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"uclat/platform"
)

// conflict finds addresses of ours that the host has or routes elsewhere already. Two uses of one address cannot both work, and which
// of them wins would be chance.
func conflict(in Input) (Plan, bool) {
	c := in.Config
	self := c.Interface.SelfIPv4
	if host, ok := c.Interface.Host(); ok {
		for _, a := range []struct {
			key  string
			addr netip.Addr
		}{{"interface.ipv4", host}, {"interface.self-ipv4", self}} {
			if what, taken := overlap(in, a.addr); taken {
				return overlapping(fmt.Sprintf("off: %s = %v overlaps with %s: choose another, such as 192.0.0.2 (interface.ipv4) and 192.0.0.3 "+
					"(interface.self-ipv4)", a.key, a.addr, what)), true
			}
		}
	} else if l, taken := holder(in, netip.PrefixFrom(self, self.BitLen())); taken {
		// The addresses of the clients are routed to them, and ours is among them: only the host itself must not have it.
		return overlapping(fmt.Sprintf("off: interface.self-ipv4 = %v is an address of %s, and a host ignores ICMP errors that seem to come from "+
			"itself: choose another, such as 192.0.0.3", self, l.link)), true
	}
	if l, taken := holder(in, CLAT(c)); taken {
		return Plan{Wrong: true, Code: "ipv6-in-use", Why: fmt.Sprintf("off: address.ipv6 = %v holds %v, which %s has already: choose an address "+
			"that no interface has, and that is routed to this host or free on the uplink", c.Address.IPv6, l.addr, l.link)}, true
	}
	return Plan{}, false
}

func overlapping(why string) Plan { return Plan{Wrong: true, Code: "ipv4-overlap", Why: why} }

// held is an address of an interface.
type held struct {
	addr netip.Addr
	link string
}

// holder is the first other interface that has an address in p.
func holder(in Input, p netip.Prefix) (held, bool) {
	for _, a := range in.Host.Addrs {
		if l, ok := in.Host.Link(a.Link); ok && l.Name != in.Config.Interface.Name && p.Contains(a.Prefix.Addr()) {
			return held{a.Prefix.Addr(), l.Name}, true
		}
	}
	return held{}, false
}

// pieceBits is the length in bits below which a route is taken for a piece of the default route: VPN programs cut it in halves, or in
// more where private addresses are to go past them. Such routes cover everything and mean nothing by it.
const pieceBits = 8

// overlap says which address or route of another interface covers a.
func overlap(in Input, a netip.Addr) (string, bool) {
	for _, other := range in.Host.Addrs {
		l, ok := in.Host.Link(other.Link)
		if ok && l.Name != in.Config.Interface.Name && other.Prefix.Masked().Contains(a) {
			return fmt.Sprintf("%v on %s", other.Prefix, l.Name), true
		}
	}
	for _, r := range in.Host.Routes {
		l, ok := in.Host.Link(r.Link)
		if ok && l.Name != in.Config.Interface.Name && r.Dst.Bits() >= pieceBits && r.Dst.Contains(a) {
			return fmt.Sprintf("the route %v by %s", r.Dst, l.Name), true
		}
	}
	for _, l := range in.Host.Links {
		// Its routes to single peers cover nothing of ours, but its firewall drops what comes from this range by another interface.
		if strings.HasPrefix(l.Name, "tailscale") && sharedSpace.Contains(a) {
			return fmt.Sprintf("%v, which Tailscale keeps for %s", sharedSpace, l.Name), true
		}
	}
	return "", false
}

// sharedSpace is the shared address space of RFC 6598.
var sharedSpace = netip.MustParsePrefix("100.64.0.0/10")

// isOnSomeLink says whether our IPv6 address is on-link somewhere.
func isOnSomeLink(in Input) bool {
	return slices.ContainsFunc(in.Host.Links, func(l platform.Link) bool {
		_, ok := onLink(in, l)
		return ok && l.Up
	})
}

// onLink is the prefix of the uplink that covers our IPv6 address, where neighbours are asked for it: that of an address, of a route without a
// router, or one that routers announce as on-link.
func onLink(in Input, uplink platform.Link) (netip.Prefix, bool) {
	ours := CLAT(in.Config)
	if !uplink.L2 || !ours.IsValid() {
		return netip.Prefix{}, false
	}
	covers := func(p netip.Prefix) bool { return p.Addr().Is6() && !p.IsSingleIP() && p.Masked().Overlaps(ours) }
	for _, a := range in.Host.Addrs {
		if a.Link == uplink.Index && covers(a.Prefix) {
			return a.Prefix.Masked(), true
		}
	}
	for _, r := range in.Host.Routes {
		if r.Link == uplink.Index && !r.Via.IsValid() && r.Dst.Bits() >= pieceBits && covers(r.Dst) {
			return r.Dst, true
		}
	}
	for _, x := range in.Announced {
		if x.Link == uplink.Index && x.OnLink && covers(x.Prefix) {
			return x.Prefix, true
		}
	}
	return netip.Prefix{}, false
}
