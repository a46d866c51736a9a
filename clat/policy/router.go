package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"uclat/clat/config"
	"uclat/clat/pref64"
	"uclat/platform"
)

// router is the plan for a plain translator. Nothing of the network can be missing: what is routed to its interface it translates by what
// is configured, and who routes what there is the administrator's business. So it sets no routes for maps either, which may name hosts on
// either side, and native IPv4 is no reason to be off.
func router(in Input) Plan {
	c := in.Config
	mtu6 := c.Interface.MTU
	if mtu6 == 0 {
		mtu6 = config.RouterMTU6
	}
	p := Plan{On: true, Code: "router", PREF64: c.PREF64.Prefixes, MTU6: mtu6, MTU4: mtu4(c, mtu6), Warnings: routerWarnings(in), Self6: c.SelfIPv6()}
	p.Why = fmt.Sprintf("on: SIIT router on %s, %s: what is routed there comes back translated", c.Interface.Name, mappings(c.Maps, p.PREF64))
	p.Host = platform.HostConfig{TUN: c.Interface.Name, MTU: max(mtu6, p.MTU4), IPv6: true, Routes: defaultRoute(c, mtu6)}
	return p
}

// mappings says how addresses are mapped, such as "3 maps, PREF64 64:ff9b::/96".
func mappings(maps []config.Map, prefixes []pref64.Prefix) string {
	var parts []string
	switch n := len(maps); {
	case n == 1:
		parts = append(parts, "1 map")
	case n > 1:
		parts = append(parts, fmt.Sprintf("%d maps", n))
	}
	for _, p := range prefixes {
		parts = append(parts, "PREF64 "+p.String())
	}
	return strings.Join(parts, ", ")
}

// routerInterests are the addresses whose routes routerWarnings looks at.
func routerInterests(c *config.Config) (p []netip.Prefix) {
	if source := c.Translate.UnmappedSource; source.IsValid() {
		p = append(p, netip.PrefixFrom(source, source.BitLen()))
	}
	if len(c.PREF64.Prefixes) > 0 {
		p = append(p, c.PREF64.Prefixes[0].Prefix())
	}
	return p
}

// routerWarnings are never a reason to be off: the device would go, and with it the administrator's routes.
func routerWarnings(in Input) (warnings []string) {
	c, h := in.Config, &in.Host
	warn := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	if c.Translate.ICMPErrors && !c.SelfIPv6().IsValid() {
		warn("there is no source for ICMPv6 errors, so none are sent, and path MTU discovery of IPv6 hosts may fail: set address.self-ipv6 to an "+
			"address that is routed to %s and that no host has", c.Interface.Name)
	}
	if len(c.PREF64.Prefixes) > 1 {
		warn("pref64.prefixes has more than one, and IPv4 hosts come to stand behind the first, %v: answers to IPv6 hosts that use another one come "+
			"from elsewhere, and their connections fail: leave the one that they use", c.PREF64.Prefixes[0])
	}
	if !h.Forwarding4 {
		warn("this host does not forward IPv4, so that nothing gets to the translator or from it to other hosts: run sysctl -w net.ipv4.ip_forward=1")
	}
	if !h.Forwarding6 {
		warn("this host does not forward IPv6, so that nothing gets to the translator or from it to other hosts: run %s", forwardIPv6(h))
	}
	if a, link, taken := selfTaken(c, h); taken {
		warn("interface.self-ipv4 = %v is an address of %s, and a host drops packets that come in with an IPv4 source of its own, so all ICMP "+
			"errors that the translator sends to IPv4 hosts: choose one that no interface has, or take it away (ip addr del %v dev %s; with the "+
			"last one of an interface its IPv4 routes go, so add them again)", c.Interface.SelfIPv4, link, a, link)
	}
	if tun, ok := h.LinkByName(c.Interface.Name); ok {
		warnings = append(warnings, routeWarnings(c, h, tun)...)
	}
	return warnings
}

// selfTaken finds an interface that has the translator's IPv4 address, our own as well: Linux takes packets with a source of its own for
// martians. Of IPv6 it does not (measured on 6.18).
func selfTaken(c *config.Config, h *platform.Snapshot) (a netip.Prefix, link string, taken bool) {
	for _, a := range h.Addrs {
		if l, ok := h.Link(a.Link); ok && a.Prefix.Addr() == c.Interface.SelfIPv4 {
			return a.Prefix, l.Name, true
		}
	}
	return a, "", false
}

// routeWarnings looks at the administrator's routes. As long as there is no device there can be none by it.
func routeWarnings(c *config.Config, h *platform.Snapshot, tun platform.Link) (warnings []string) {
	if !c.Interface.DefaultRoute && !slices.Contains(h.Routed, tun.Index) {
		warnings = append(warnings, fmt.Sprintf("no route of the main table leads to %s, and nothing else is translated: run ip route add ... "+
			"dev %s, and ip -6 route add ... dev %s", tun.Name, tun.Name, tun.Name))
	}
	if len(c.PREF64.Prefixes) > 0 {
		// A piece of the default route stands for the whole.
		p, half := c.PREF64.Prefixes[0], netip.PrefixFrom(netip.IPv4Unspecified(), 1)
		if leadsTo(h, half, tun) && leadsTo(h, p.Prefix(), tun) {
			warnings = append(warnings, fmt.Sprintf("the IPv4 default route and %v both lead to %s: what has no map goes round there, from IPv4 "+
				"to IPv6 and back, until its TTL runs out: set interface.default-route = false, and route there only what the maps cover", p, tun.Name))
		}
	}
	source := c.Translate.UnmappedSource
	covers := func(r platform.Route) bool { return r.Dst.Contains(source) }
	if source.IsValid() && slices.Contains(h.Filtered4, tun.Index) && !slices.ContainsFunc(h.Routes, covers) {
		warnings = append(warnings, fmt.Sprintf("this host has no route to translate.unmapped-source = %v, and drops what comes from there "+
			"(rp_filter), so ICMP errors of IPv6 routers: run ip route add %v dev %s", source, source, tun.Name))
	}
	return warnings
}

// leadsTo says whether the host sends what is for the first address of p to l.
func leadsTo(h *platform.Snapshot, p netip.Prefix, l platform.Link) bool {
	var best platform.Route
	for _, r := range h.Routes {
		if r.Dst.Bits() > p.Bits() || !r.Dst.Contains(p.Addr()) {
			continue
		}
		if !best.Dst.IsValid() || r.Dst.Bits() > best.Dst.Bits() || r.Dst.Bits() == best.Dst.Bits() && r.Metric < best.Metric {
			best = r
		}
	}
	return best.Dst.IsValid() && best.Link == l.Index
}

// forwardIPv6 is the commands that turn forwarding on. A host that forwards believes no Router Advertisement any more, unless it is told to.
func forwardIPv6(h *platform.Snapshot) string {
	var commands []string
	for _, l := range h.Links {
		if slices.ContainsFunc(h.Routes, func(r platform.Route) bool { return r.Link == l.Index && r.FromRA }) {
			// With slashes, as names of interfaces may contain dots.
			commands = append(commands, "sysctl -w net/ipv6/conf/"+l.Name+"/accept_ra=2")
		}
	}
	return strings.Join(append(commands, "sysctl -w net.ipv6.conf.all.forwarding=1"), " && ")
}

// mtu4 is what the IPv4 side takes, in octets.
func mtu4(c *config.Config, mtu6 int) int {
	if c.Interface.IPv4MTU != 0 {
		return c.Interface.IPv4MTU
	}
	return mtu6
}

// defaultRoute is the IPv4 default route, where there is to be one. Its MTU is that of IPv4 packets which fit as IPv6 packets too, whose
// header is 20 octets longer.
func defaultRoute(c *config.Config, mtu6 int) []platform.Route {
	if !c.Interface.DefaultRoute {
		return nil
	}
	all := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	return []platform.Route{{Dst: all, Metric: c.Interface.Metric, MTU: min(mtu4(c, mtu6), mtu6-20)}}
}
