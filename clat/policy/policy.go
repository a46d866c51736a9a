// Package policy says what should be, from what is seen. It is pure: it looks at values and returns values.
package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"uclat/clat"
	"uclat/clat/config"
	"uclat/clat/pref64"
	"uclat/discovery"
	"uclat/platform"
)

// Input is all that is seen at one moment.
type Input struct {
	Config *config.Config
	Host   platform.Snapshot
	PREF64 []discovery.Known // what holds now, best first

	// For an address of our own.
	Now       time.Time
	Announced []discovery.Announced   // by routers, what holds now
	Heard     map[int]discovery.Heard // whether there are any, by the index of the link
	Secret    [32]byte                // what makes our addresses ours (RFC 7217, 5)
	Trials    []Trial
}

// Interests are the addresses whose routes Decide looks at, beside default routes: ours, and those behind which the PLAT is. A snapshot
// must hold the routes that overlap with them.
func Interests(in Input) []netip.Prefix {
	c := in.Config
	if c.Router() {
		return routerInterests(c)
	}
	p := []netip.Prefix{c.Interface.IPv4, netip.PrefixFrom(c.Interface.SelfIPv4, 32)}
	if c.Address.IPv6.IsValid() {
		p = append(p, c.Address.IPv6)
	}
	for _, k := range in.PREF64 {
		p = append(p, k.Prefix.Prefix())
	}
	return p
}

// Plan is what should be.
type Plan struct {
	On    bool
	Wrong bool   // off, and it stays so until the configuration or the host is changed by somebody
	Code  string // stable, for programs
	Why   string // one line, for people

	Warnings []string // what will probably not work, and what to do; one line each
	Notes    []string // what is as it should be, and may surprise; one line each

	// What the uplink has to hold on path packet, also before On is set: the addresses that are tried, and then the one in use.
	Try []Hold

	// The rest is valid when On or Try is set.
	Path    config.Path // empty for a Router
	PathWhy string      // why that one, as the end of a sentence

	Uplink platform.Link       // the zero value for a Router
	PREF64 []pref64.Prefix     // the first is used to make addresses, each is accepted; a Router may have none
	Source discovery.Source    // of the first, and
	Origin string              // who said so: a resolver; empty for the configuration
	MTU6   int                 // octets, of an IPv6 packet on the uplink, or of what the IPv6 side of a Router takes
	MTU4   int                 // octets, of an IPv4 packet that the IPv4 side takes
	Ours   netip.Prefix        // IPv6 addresses that stand for interface.ipv4; none for a Router
	Self6  netip.Addr          // source of the translator's ICMPv6 errors
	Use    netip.Addr          // on path packet, the one of Try that is in use
	Host   platform.HostConfig // with Try alone, no more than its Blackhole

	// Elsewhere are IPv4 addresses that this host reaches elsewhere than through the NAT64: nothing that comes from there may claim them. Here
	// are those to which it has a route of their own through the NAT64, such as to a VPN's server: the longest prefix counts.
	Elsewhere, Here []netip.Prefix
}

// maxMTU6 is the most that the translator takes, in octets: the greatest IPv4 packet.
const maxMTU6 = 65535

// Decide returns the plan.
func Decide(in Input) Plan {
	c := in.Config
	if c.Mode == config.ModeOff {
		return Plan{Code: "mode-off", Why: "off: the configuration says so (mode = off)"}
	}
	if c.Router() {
		return router(in)
	}
	if p, ok := conflict(in); ok {
		return p
	}
	unusable := in.keepUsable()
	uplink, p := findUplink(in)
	// Before what is missing: where IPv4 is native, nothing is.
	if native, ok := nativeIPv4(in, uplink); ok && c.Mode == config.ModeAuto {
		return Plan{Code: "native-ipv4", Why: fmt.Sprintf("off: this network has IPv4 itself, by %s (--mode on runs beside it)", native)}
	}
	if !uplink.Up {
		return p
	}
	path, because := pathOf(in, uplink)
	if !hasGlobalAddress(&in.Host, c.Interface.Name) {
		return Plan{Code: "no-ipv6-address", Why: "waiting: no interface has a global IPv6 address yet"}
	}
	if len(in.PREF64) == 0 {
		return Plan{Code: "no-pref64", Why: noPREF64(c), Warnings: unusable}
	}
	mtu := uplink.MTU6
	if c.Interface.MTU != 0 {
		mtu = min(mtu, c.Interface.MTU)
	}
	if mtu < clat.MinMTU6 {
		return Plan{Code: "mtu", Wrong: true, Why: fmt.Sprintf("off: %s takes %d octets, and IPv6 needs %d: raise its MTU",
			uplink.Name, mtu, clat.MinMTU6)}
	}
	p = through(in, uplink, min(mtu, maxMTU6))
	p.Warnings, p.Path, p.PathWhy = unusable, path, because
	if path == config.PathPacket {
		return packet(in, p)
	}
	return kernel(in, p)
}

// keepUsable takes out of PREF64 what was learned and overlaps with our own addresses, and says so. The configuration is checked for
// that, but a network may say anything, and must not end us by it.
func (in *Input) keepUsable() (warnings []string) {
	ours := CLAT(in.Config)
	var usable []discovery.Known
	for _, k := range in.PREF64 {
		if !k.Prefix.Prefix().Overlaps(ours) {
			usable = append(usable, k)
			continue
		}
		warnings = append(warnings, fmt.Sprintf("PREF64 %v from %s is not used: it overlaps with address.ipv6 = %v; use another address, or set "+
			"pref64.prefixes", k.Prefix, k.Origin, in.Config.Address.IPv6))
	}
	in.PREF64 = usable
	return warnings
}

// through is what both paths have in common.
func through(in Input, uplink platform.Link, mtu int) Plan {
	c, best := in.Config, in.PREF64[0]
	p := Plan{Uplink: uplink, Source: best.Source, Origin: best.Origin, MTU6: mtu, MTU4: mtu4(c, mtu)}
	p.Elsewhere, p.Here = byDirection(in)
	for _, k := range in.PREF64 {
		p.PREF64 = append(p.PREF64, k.Prefix)
	}
	from := "configured"
	if best.Source == discovery.DNS {
		from = "from " + best.Origin + " by RFC 7050"
	}
	p.Why = fmt.Sprintf("IPv4 through %s, PREF64 %v (%s)", uplink.Name, best.Prefix, from)
	return p
}

// byDirection are the IPv4 prefixes that lead to other interfaces than ours, and those that lead to ours, but for what is ours.
func byDirection(in Input) (elsewhere, here []netip.Prefix) {
	for _, r := range in.Host.Routes4 {
		switch l, _ := in.Host.Link(r.Link); {
		case l.Name != in.Config.Interface.Name:
			elsewhere = append(elsewhere, r.Dst)
		case r.Dst != in.Config.Interface.IPv4:
			here = append(here, r.Dst)
		}
	}
	slices.SortFunc(elsewhere, netip.Prefix.Compare)
	slices.SortFunc(here, netip.Prefix.Compare)
	return slices.Compact(elsewhere), slices.Compact(here)
}

// kernel is the plan for path kernel.
func kernel(in Input, p Plan) Plan {
	c := in.Config
	if !c.Address.IPv6.IsValid() {
		return Plan{Code: "no-address", Wrong: true, Why: "off: address.ipv6 is not set, and path kernel needs an IPv6 address or prefix that is routed " +
			"to this host: set it, or leave path = auto"}
	}
	p.On, p.Code, p.Ours, p.Self6 = true, "on", CLAT(c), c.SelfIPv6()
	p.Why = fmt.Sprintf("on: %s, as %s", p.Why, shortPrefix(p.Ours))
	if link, ok := onLink(in, p.Uplink); ok {
		p.Warnings = append(p.Warnings, fmt.Sprintf("address.ipv6 = %v lies in %v, which is on-link at %s: the router asks there who has it, and "+
			"nobody answers; use path = \"packet\", or an address that is routed to this host%s", c.Address.IPv6, link, p.Uplink.Name,
			by(&in.Host, p.Uplink)))
	}
	p.Host = hostConfig(c, p.Uplink, p)
	return p
}

// hostConfig is the host as path kernel needs it. IPv6 of full size comes in through the TUN, so the device's MTU is that of IPv6, or that
// of IPv4 where it is set to more, and the IPv4 routes have what is left of it.
func hostConfig(c *config.Config, uplink platform.Link, p Plan) platform.HostConfig {
	h := platform.HostConfig{TUN: c.Interface.Name, MTU: max(p.MTU6, p.MTU4)}
	if host, ok := c.Interface.Host(); ok {
		h.Addrs = []netip.Prefix{netip.PrefixFrom(host, 32)}
	}
	h.Routes = defaultRoute(c, p.MTU6)
	ours := CLAT(c)
	h.Routes = append(h.Routes, platform.Route{Dst: ours})
	h.Forward = &platform.Forward{Uplink: uplink.Name, CLAT: []netip.Prefix{ours}, RepliesOnly: c.RepliesOnly()}
	if self := c.SelfIPv6(); self.IsValid() && !ours.Contains(self) {
		h.Forward.CLAT = append(h.Forward.CLAT, netip.PrefixFrom(self, 128))
	}
	for _, p := range p.PREF64 {
		h.Forward.PREF64 = append(h.Forward.PREF64, p.Prefix())
	}
	for _, m := range c.Maps {
		client := c.Interface.IPv4.Overlaps(m.IPv4)
		if client && !ours.Contains(m.IPv6.Addr()) {
			// It stands elsewhere than the others.
			h.Routes = append(h.Routes, platform.Route{Dst: m.IPv6})
		}
		h.Forward.CLAT = append(h.Forward.CLAT, m.IPv6)
		if !client { // then it may name a host on either side
			h.Forward.PREF64 = append(h.Forward.PREF64, m.IPv6)
		}
	}
	return h
}

// CLAT is the IPv6 prefix that stands for our IPv4 addresses, and that is to be routed to this host: the one address behind
// address.ipv6 that stands for the host, or the whole prefix where clients are behind it.
func CLAT(c *config.Config) netip.Prefix {
	host, one := c.Interface.Host()
	if p, ok := c.Address.Embedding(); ok && one {
		return netip.PrefixFrom(netip.AddrFrom16(p.Embed(host.As4())), 128)
	}
	return c.Address.IPv6
}

func noPREF64(c *config.Config) string {
	if slices.Contains(c.PREF64.Sources, config.SourceDNS) {
		return "waiting: no PREF64: none is configured, and no resolver of this host has told one (RFC 7050); `uclat discover` shows what " +
			"they say, pref64.prefixes sets one"
	}
	return "waiting: no PREF64: pref64.prefixes is empty, and pref64.sources names nothing else"
}

// findUplink is the interface that faces the PLAT: the named one, else the one that the kernel takes to get there. Without one, the
// plan says why.
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
	uplink := bestUplink(in, h.Routes, ownRoute)
	if !uplink.Up && ownRoute { // rules may lead to them; the kernel's way to forward is that of the main table
		uplink = bestUplink(in, h.OtherRoutes, ownRoute)
	}
	switch {
	case uplink.Up:
		return uplink, Plan{}
	case c.Uplink != "":
		return waiting("%s (uplink) has no IPv6 route toward the PLAT", c.Uplink)
	}
	return waiting("no interface has an IPv6 default route")
}

// bestUplink is the link that the best of the routes to the PLAT goes by; the zero value where none leads there.
func bestUplink(in Input, routes []platform.Route, linksWithNeighboursFirst bool) (uplink platform.Link) {
	c := in.Config
	var best platform.Route
	for _, r := range routes {
		l, ok := in.Host.Link(r.Link)
		if !ok || !l.Up || l.Name == c.Interface.Name || c.Uplink != "" && l.Name != c.Uplink || !leadsToPLAT(r, in.PREF64) {
			continue
		}
		if linksWithNeighboursFirst && uplink.Up && uplink.L2 != l.L2 {
			if l.L2 {
				best, uplink = r, l
			}
			continue
		}
		// As the kernel chooses: the longest prefix, then the lowest metric.
		if !uplink.Up || r.Dst.Bits() > best.Dst.Bits() || r.Dst.Bits() == best.Dst.Bits() && r.Metric < best.Metric {
			best, uplink = r, l
		}
	}
	return uplink
}

// leadsToPLAT says whether r leads to the PREF64 in use. As long as none is known, only a default route does.
func leadsToPLAT(r platform.Route, known []discovery.Known) bool {
	if len(known) == 0 {
		return r.Dst.Addr().Is6() && r.Dst.Bits() == 0
	}
	plat := known[0].Prefix.Prefix()
	return r.Dst.Bits() <= plat.Bits() && r.Dst.Contains(plat.Addr())
}

func hasGlobalAddress(h *platform.Snapshot, tun string) bool {
	return slices.ContainsFunc(h.Addrs, func(a platform.Address) bool {
		l, _ := h.Link(a.Link)
		return l.Name != tun && !a.Tentative && isGlobal6(a.Prefix.Addr())
	})
}

// isGlobal6 is true for unique local addresses as well: a NAT64 may serve them.
func isGlobal6(a netip.Addr) bool { return a.Is6() && a.IsGlobalUnicast() }

// by is by which address the router can reach this host, as the end of a sentence; empty where there is none.
func by(h *platform.Snapshot, uplink platform.Link) string {
	for _, a := range h.Addrs {
		if a.Link == uplink.Index && a.Prefix.Addr().Is6() && a.Prefix.Addr().IsLinkLocalUnicast() {
			return fmt.Sprintf(" (by %v)", a.Prefix.Addr())
		}
	}
	return ""
}

// nativeIPv4 describes an IPv4 default route that the network provides: not ours, not over link-local addresses, and not a tunnel's.
func nativeIPv4(in Input, uplink platform.Link) (string, bool) {
	halves := map[int]int{}
	for _, r := range in.Host.Routes {
		l, ok := in.Host.Link(r.Link)
		if !ok || !l.Up || !r.Dst.Addr().Is4() || r.Dst.Bits() > 1 || l.Name == in.Config.Interface.Name || !l.L2 && l.Index != uplink.Index ||
			isLinkLocal4(&in.Host, r) {
			continue
		}
		if r.Dst.Bits() == 1 {
			// 0.0.0.0/1 and 128.0.0.0/1 together are a default route.
			if halves[l.Index] |= 1 << (r.Dst.Addr().As4()[0] >> 7); halves[l.Index] != 3 {
				continue
			}
		}
		if r.Via.IsValid() {
			return fmt.Sprintf("%v on %s", r.Via, l.Name), true
		}
		return l.Name, true
	}
	return "", false
}

// isLinkLocal4 says whether a route to IPv4 is what hosts give themselves where nobody gives them addresses (RFC 3927): by a router on
// 169.254/16, or by none on an interface that has no other addresses (avahi-autoipd).
func isLinkLocal4(h *platform.Snapshot, r platform.Route) bool {
	if r.Via.IsValid() {
		return r.Via.Is4() && r.Via.IsLinkLocalUnicast()
	}
	only := false
	for _, a := range h.Addrs {
		if a.Link == r.Link && a.Prefix.Addr().Is4() {
			if only = a.Prefix.Addr().IsLinkLocalUnicast(); !only {
				return false
			}
		}
	}
	return only
}
