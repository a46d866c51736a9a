// Package policy says what should be, from what is seen. It is pure: it looks at values and returns values.
package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
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
	Routers   []discovery.Router // what they say beside prefixes

	// What is in force.
	Was     Plan                     // the zero value where nothing is
	Used    map[netip.Addr]time.Time // when packets of our IPv4 addresses were seen last
	Suspect []pref64.Prefix          // PREF64s through which nothing comes back
}

// Interests are the addresses whose routes Decide looks at, beside default routes: ours, and those behind which the PLAT is. A snapshot
// must hold the routes that overlap with them.
func Interests(in Input) []netip.Prefix {
	c := in.Config
	if c.Router() {
		return routerInterests(c)
	}
	p := []netip.Prefix{c.Interface.IPv4, netip.PrefixFrom(c.Interface.SelfIPv4, 32)}
	if space, ok := poolSpace(c); ok {
		p = append(p, space)
	}
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

	Uplink platform.Link    // the zero value for a Router
	PREF64 []pref64.Prefix  // the first is that of new connections, each is accepted; a Router may have none
	Source discovery.Source // of the first, and
	Origin string           // who said so, as people read it

	// The pairs of IPv6 addresses and PREF64 in use, the one for new connections first; none for a Router. Where the plan is not on, one that may
	// be used again.
	Generations []Generation
	IPv4        netip.Prefix // that they began with: interface.ipv4
	Paused      time.Time    // since when the plan is not on, though it was; zero: it is, or was not

	MTU6  int                 // octets, of an IPv6 packet on the uplink, or of what the IPv6 side of a Router takes
	MTU4  int                 // octets, of an IPv4 packet that the IPv4 side takes
	Self6 netip.Addr          // source of the translator's ICMPv6 errors
	Host  platform.HostConfig // with Try alone, no more than its Blackhole

	// Elsewhere are IPv4 addresses that this host reaches elsewhere than through the NAT64: nothing that comes from there may claim them. Here
	// are those to which it has a route of their own through the NAT64, such as to a VPN's server: the longest prefix counts.
	Elsewhere, Here []netip.Prefix
}

// Ours is the IPv6 addresses that stand for the IPv4 addresses of new connections; invalid where there are none.
func (p *Plan) Ours() netip.Prefix {
	if len(p.Generations) == 0 {
		return netip.Prefix{}
	}
	return p.Generations[0].IPv6
}

// maxMTU6 is the most that the translator takes, in octets: the greatest IPv4 packet.
const maxMTU6 = 65535

// Decide returns the plan.
func Decide(in Input) Plan {
	in.Announced = slices.DeleteFunc(slices.Clone(in.Announced), in.isStrange)
	p := decide(in)
	p.pause(in)
	if len(p.Generations) > 0 {
		p.IPv4 = in.Config.Interface.IPv4
	}
	return p
}

func decide(in Input) Plan {
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
	uplink, p := findUplink(in)
	// Before what is missing: where IPv4 is native, nothing is.
	if native, ok := nativeIPv4(in, uplink); ok && c.Mode == config.ModeAuto {
		return Plan{Code: "native-ipv4", Why: fmt.Sprintf("off: this network has IPv4 itself, by %s (--mode on runs beside it)", native)}
	}
	if !uplink.Up {
		return p
	}
	path, because := pathOf(in, uplink)
	if !in.hasAddress(uplink, path) {
		return Plan{Code: "no-ipv6-address", Why: "waiting: no interface has a global IPv6 address yet"}
	}
	unusable := in.warnings()
	in.PREF64 = in.on(uplink)
	mtu := in.mtu6(uplink)
	if c.Interface.MTU != 0 {
		mtu = min(mtu, c.Interface.MTU)
	}
	if mtu < clat.MinMTU6 && len(in.PREF64) > 0 {
		return Plan{Code: "mtu", Wrong: true, Why: fmt.Sprintf("off: %s takes %d octets, and IPv6 needs %d: raise its MTU",
			uplink.Name, mtu, clat.MinMTU6)}
	}
	mtu = min(max(mtu, clat.MinMTU6), maxMTU6)
	p = Plan{Uplink: uplink, Path: path, PathWhy: because, MTU6: mtu, MTU4: mtu4(c, mtu), Warnings: unusable}
	if len(in.PREF64) == 0 {
		p.Code, p.Why = "no-pref64", noPREF64(in, uplink)
		return p
	}
	p.Elsewhere, p.Here = byDirection(in)
	if path == config.PathPacket {
		return packet(in, p)
	}
	return kernel(in, p)
}

// hasAddress says whether there is an address to go by: one of the host, or where we make one, a prefix for it.
func (in *Input) hasAddress(uplink platform.Link, path config.Path) bool {
	if hasGlobalAddress(&in.Host, in.Config.Interface.Name) {
		return true
	}
	if path != config.PathPacket || in.Config.Address.IPv6.IsValid() {
		return false
	}
	candidates, _ := in.candidates(uplink)
	return len(candidates) > 0
}

// warnings are about PREF64s that cannot be used, though their origin is trusted. The configuration is checked for that, but a network may say
// anything, and must not end us by it.
func (in *Input) warnings() (lines []string) {
	for _, k := range in.PREF64 {
		link, _ := in.Host.Link(k.Link)
		if why := in.distrust(k); why != "" && why == in.holdsUs(k, link) {
			lines = append(lines, fmt.Sprintf("PREF64 %v, %s, is not used: %s", k.Prefix, k.Origin(), why))
		}
	}
	return lines
}

// serve fills in what follows from the generations.
func (p *Plan) serve(in Input, t *turn) {
	c := in.Config
	p.On, p.Code, p.Generations, p.Self6 = true, "on", t.all, t.current.self6(t.current.addr)
	p.accept(in, t)
	p.Why = fmt.Sprintf("IPv4 through %s, PREF64 %v (%s)", p.Uplink.Name, p.PREF64[0], p.Origin)

	p.Host.TUN, p.Host.Routes = c.Interface.Name, defaultRoute(c, p.MTU6)
	if _, host := c.Interface.Host(); !host {
		return
	}
	for _, g := range t.all {
		p.Host.Addrs = append(p.Host.Addrs, g.IPv4)
	}
	for i := range p.Host.Routes {
		p.Host.Routes[i].Src = t.all[0].IPv4.Addr()
	}
}

// accept fills in the PREF64s: those of the generations, then the best, then all others; and who told the first.
func (p *Plan) accept(in Input, t *turn) {
	add := func(one pref64.Prefix) {
		if !slices.Contains(p.PREF64, one) {
			p.PREF64 = append(p.PREF64, one)
		}
	}
	for _, g := range t.all {
		add(g.PREF64)
	}
	add(t.best.Prefix)
	for _, k := range in.PREF64 {
		add(k.Prefix)
	}
	p.Source, p.Origin = in.origin(p.PREF64[0])
}

// origin says how p became known and who said so. Of several who say the same it is the one who was named before, so that nothing seems to change.
func (in *Input) origin(p pref64.Prefix) (discovery.Source, string) {
	var all []discovery.Known
	for _, k := range in.PREF64 {
		if k.Prefix == p && (len(all) == 0 || k.Source == all[0].Source) {
			all = append(all, k)
		}
	}
	for _, k := range all {
		if k.Origin() == in.Was.Origin {
			return k.Source, k.Origin()
		}
	}
	first := slices.MinFunc(all, func(a, b discovery.Known) int {
		return cmp.Or(a.Router.Compare(b.Router), cmp.Compare(a.Resolver, b.Resolver))
	})
	return first.Source, first.Origin()
}

// byDirection are the IPv4 prefixes that lead to other interfaces than ours, and those that lead to ours, but for what is ours.
func byDirection(in Input) (elsewhere, here []netip.Prefix) {
	pool := in.pool()
	for _, r := range in.Host.Routes4 {
		switch l, _ := in.Host.Link(r.Link); {
		case l.Name != in.Config.Interface.Name:
			elsewhere = append(elsewhere, r.Dst)
		case r.Dst != in.Config.Interface.IPv4 && !slices.Contains(pool, r.Dst):
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
	p.serve(in, in.succeed(p.Uplink, p.Path))
	p.Why = fmt.Sprintf("on: %s, as %s", p.Why, shortPrefix(p.Ours()))
	if link, ok := onLink(in, p.Uplink); ok {
		p.Warnings = append(p.Warnings, fmt.Sprintf("address.ipv6 = %v lies in %v, which is on-link at %s: the router asks there who has it, and "+
			"nobody answers; use path = \"packet\", or an address that is routed to this host%s", c.Address.IPv6, link, p.Uplink.Name,
			by(&in.Host, p.Uplink)))
	}
	p.forward(c)
	return p
}

// forward is the host as path kernel needs it. IPv6 of full size comes in through the TUN, so the device's MTU is that of IPv6, or that
// of IPv4 where it is set to more, and the IPv4 routes have what is left of it.
func (p *Plan) forward(c *config.Config) {
	h := &p.Host
	h.MTU = max(p.MTU6, p.MTU4)
	h.Forward = &platform.Forward{Uplink: p.Uplink.Name, RepliesOnly: c.RepliesOnly()}
	for _, g := range p.Generations {
		if !slices.Contains(h.Forward.CLAT, g.IPv6) {
			h.Routes = append(h.Routes, platform.Route{Dst: g.IPv6})
			h.Forward.CLAT = append(h.Forward.CLAT, g.IPv6)
		}
	}
	ours := p.Ours()
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
}

// CLAT is the IPv6 prefix that stands for our IPv4 addresses, and that is to be routed to this host: the one address behind
// address.ipv6 that stands for the host, or the whole prefix where clients are behind it.
func CLAT(c *config.Config) netip.Prefix { return clatOf(c, c.Interface.IPv4) }

// clatOf is the same for other IPv4 addresses than interface.ipv4.
func clatOf(c *config.Config, v4 netip.Prefix) netip.Prefix {
	if p, ok := c.Address.Embedding(); ok && v4.IsSingleIP() {
		return alone(netip.AddrFrom16(p.Embed(v4.Addr().As4())))
	}
	return c.Address.IPv6
}

func noPREF64(in Input, uplink platform.Link) string {
	sources := in.Config.PREF64.Sources
	has := func(s config.Source) bool { return slices.Contains(sources, s) }
	var who []string
	if has(config.SourceRA) || has(config.RAFrom(uplink.Name)) {
		who = append(who, "no router announces one (RFC 8781)")
	}
	if has(config.SourceDNS) {
		who = append(who, "no resolver tells one (RFC 7050)")
	}
	if len(who) == 0 {
		return fmt.Sprintf("waiting: no PREF64: pref64.prefixes is empty, and pref64.sources names nothing that could tell one on %s", uplink.Name)
	}
	return fmt.Sprintf("waiting: no PREF64 on %s: none is configured, and %s; `uclat discover` shows what they say, pref64.prefixes sets one",
		uplink.Name, strings.Join(who, ", and "))
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
