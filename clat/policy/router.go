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

// routerMTU6 is what the IPv6 side of a Router takes where nothing else is configured, in octets: there is no uplink to ask.
const routerMTU6 = 1500

// router is the plan for a plain translator. Nothing of the network can be missing: what is routed to its interface it translates by what
// is configured, and who routes what there is the administrator's business. So it sets no routes for maps either, which may name hosts on
// either side, and native IPv4 is no reason to be off.
func router(in Input) Plan {
	c := in.Config
	if p, ok := routerConflict(in); ok {
		return p
	}
	mtu6 := c.Interface.MTU
	if mtu6 == 0 {
		mtu6 = routerMTU6
	}
	p := Plan{On: true, Code: "router", PREF64: c.PREF64.Prefixes, MTU6: mtu6, MTU4: mtu4(c, mtu6), Warnings: routerWarnings(in)}
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

// routerConflict finds an interface that has an address of the translator: Linux drops packets that come in with a source of its own,
// and these are the sources of our ICMP errors.
func routerConflict(in Input) (Plan, bool) {
	c := in.Config
	for _, own := range []struct {
		key, code string
		addr      netip.Addr
	}{{"interface.self-ipv4", "ipv4-overlap", c.Interface.SelfIPv4}, {"address.self-ipv6", "ipv6-in-use", c.SelfIPv6()}} {
		if l, taken := holder(in, netip.PrefixFrom(own.addr, own.addr.BitLen())); taken {
			return Plan{Wrong: true, Code: own.code, Why: fmt.Sprintf("off: %s = %v is an address of %s, and a host drops packets that come in with a "+
				"source of its own, so all ICMP errors of the translator: choose an address that is routed to %s and that no interface has",
				own.key, own.addr, l.link, c.Interface.Name)}, true
		}
	}
	return Plan{}, false
}

func routerWarnings(in Input) (warnings []string) {
	c, h := in.Config, &in.Host
	if c.Translate.ICMPErrors && !c.SelfIPv6().IsValid() {
		warnings = append(warnings, "there is no source for ICMPv6 errors, so none are sent, and path MTU discovery of IPv6 hosts may fail: set "+
			"address.self-ipv6 to an address that is routed to "+c.Interface.Name+" and that no host has")
	}
	if !h.Forwarding4 {
		warnings = append(warnings, "this host does not forward IPv4, so that nothing gets to the translator or from it to other hosts: run sysctl -w "+
			"net.ipv4.ip_forward=1")
	}
	if !h.Forwarding6 {
		warnings = append(warnings, "this host does not forward IPv6, so that nothing gets to the translator or from it to other hosts: run "+
			forwardIPv6(h))
	}
	return warnings
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
