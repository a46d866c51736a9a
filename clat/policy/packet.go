package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"uclat/clat/config"
	"uclat/clat/pref64"
	"uclat/discovery"
	"uclat/platform"
)

// Hold is an address, or a prefix of addresses, that path packet holds on the uplink.
type Hold struct {
	Addrs netip.Prefix
	ND    bool // neighbours ask for it: duplicate address detection goes before its use. Never set for more than one address

	// Where packets from it go: to this PREF64, by one of these routers; without any, by the one that the host's routes lead to. An invalid
	// PREF64: it is not known yet, and the address is only held.
	PREF64  pref64.Prefix
	Routers []netip.Addr
}

// packet is the plan for path packet. Each address is tried before it is used, so that it takes several looks to be on: Try says what the
// uplink has to hold meanwhile, and Trials come back.
func packet(in Input, p Plan) Plan {
	if _, host := in.Config.Interface.Host(); !host && !in.Config.Address.IPv6.IsValid() {
		return Plan{Code: "no-address", Wrong: true, Why: "off: address.ipv6 is not set, and one address that is made cannot stand for the clients " +
			"behind this host (interface.ipv4): set it to a prefix that is routed to this host"}
	}
	t := in.succeed(p.Uplink, p.Path)
	p.Try = t.holds()
	p.blackhole(in)
	if len(t.all) > 0 {
		return packetOn(in, p, t)
	}
	p.accept(in, t)
	switch {
	case len(t.waiting) > 0:
		w := t.waiting[0]
		if w.state == Probing || !w.nd {
			p.Code, p.Why = "probing", fmt.Sprintf("starting: seeing whether answers come back to %v on %s", w.addr, p.Uplink.Name)
		} else {
			p.Code, p.Why = "checking-address", fmt.Sprintf("starting: seeing whether %v is free on %s", w.addr, p.Uplink.Name)
		}
	case in.Config.Address.IPv6.IsValid():
		x := in.trial(p.Uplink.Index, CLAT(in.Config).Addr())
		p.Code, p.Why = "duplicate-address", fmt.Sprintf("off: %v (address.ipv6) is in use on %s%s: choose another", x.Addr, p.Uplink.Name, x.Detail)
	case in.mayBeAnnounced(p.Uplink):
		p.Code, p.Why = AskingRouters, fmt.Sprintf("starting: asking the routers on %s whether hosts may choose their addresses there", p.Uplink.Name)
	case t.choices > 0:
		p.Code, p.Why = "duplicate-address", fmt.Sprintf("off: no address is free on %s: %s", p.Uplink.Name, strings.Join(t.why, "; "))
	case len(t.why) == 0:
		p.Code, p.Why = "no-ipv6-address", fmt.Sprintf("waiting: %s has no global IPv6 address yet", p.Uplink.Name)
	default:
		p.Code, p.Why = "one-address", fmt.Sprintf("off: this network gives one address only: %s; have the network announce a /64 for "+
			"autoconfiguration, or route an address to this host and set address.ipv6", strings.Join(t.why, "; "))
	}
	return p
}

// packetOn is the plan where an address can be used.
func packetOn(in Input, p Plan, t *turn) Plan {
	a := t.current
	p.serve(in, t)
	state := "on"
	if a.degraded {
		p.Code, state = "degraded", "on, degraded"
	}
	p.Why = fmt.Sprintf("%s: %s, as %v, path packet", state, p.Why, shortPrefix(p.Ours()))
	if a.degraded {
		p.Why += ": " + a.detail
	}
	if a.warning != "" {
		p.Warnings = append(p.Warnings, a.warning)
	}
	if a.note != "" {
		p.Notes = append(p.Notes, a.note)
	}
	p.Host.MTU = min(p.MTU4, p.MTU6-20)
	if in.Config.Interface.IPv4MTU != 0 {
		p.Host.MTU = in.Config.Interface.IPv4MTU
	}
	return p
}

// blackhole keeps the kernel quiet about the addresses that are held, where it would not be.
func (p *Plan) blackhole(in Input) {
	if !in.Host.Forwarding6 {
		return
	}
	for _, h := range p.Try {
		p.Host.Blackhole = append(p.Host.Blackhole, h.Addrs)
	}
}

// choice is where an address of ours may come from.
type choice struct {
	what    netip.Prefix
	address func(count int) netip.Addr
	retries int  // how many other addresses there are
	nd      bool // neighbours ask for it
	hold    func(netip.Addr) netip.Prefix
	self6   func(netip.Addr) netip.Addr
	free    bool // nobody else can have it: no trial

	candidate            // of an address that is made
	warning, note string // lines for people; empty: there is nothing to be said
}

func alone(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
func itself(a netip.Addr) netip.Addr  { return a }

// choose says which IPv6 addresses may stand for v4 toward a PREF64, best first, and why there are no others.
func (in *Input) choose(uplink platform.Link, path config.Path, v4 netip.Prefix, plat discovery.Known) (all []choice, why []string) {
	c := in.Config
	if c.Address.IPv6.IsValid() {
		ours := clatOf(c, v4)
		_, onLink := onLink(*in, uplink)
		self := c.SelfIPv6()
		if onLink && ours.IsSingleIP() && !c.Address.SelfIPv6.IsValid() {
			self = ours.Addr() // another one of the link might be somebody's
		}
		return []choice{{
			// Also where it seems to be routed to this host: that may be a mistake, and to ask does no harm.
			what: ours, address: func(int) netip.Addr { return ours.Addr() }, nd: path == config.PathPacket && uplink.L2 && ours.IsSingleIP(),
			hold: func(netip.Addr) netip.Prefix { return ours }, self6: func(netip.Addr) netip.Addr { return self }, free: path != config.PathPacket,
		}}, nil
	}
	candidates, why := in.candidates(uplink)
	in.ofRouters(candidates, uplink, plat.Prefix)
	toward := wellKnown // as long as none is known
	if plat.Prefix.IsValid() {
		toward = plat.Prefix.Prefix().Addr()
	}
	bySourceSelection(candidates, toward)
	for _, x := range candidates {
		_, canBeNeutral := neutral(x.prefix.Addr(), plat.Prefix, v4.Addr())
		at := func(count int) netip.Addr {
			a := makeAddress(in.Secret, x.prefix, in.identity(uplink, v4), count)
			if c.Address.ChecksumNeutral {
				a, _ = neutral(a, plat.Prefix, v4.Addr())
			}
			return a
		}
		// From there the PLAT drops everything (RFC 6146, 3.5).
		if i := slices.IndexFunc(in.PREF64, func(k discovery.Known) bool { return k.Prefix.Prefix().Overlaps(alone(at(0))) }); i >= 0 {
			why = append(why, fmt.Sprintf("%v lies in the PREF64 %v", x.prefix, in.PREF64[i].Prefix))
			continue
		}
		one := choice{what: x.prefix, address: at, retries: identifierRetries, nd: uplink.L2, hold: alone, self6: itself, candidate: x}
		switch {
		case c.Address.ChecksumNeutral && !canBeNeutral:
			one.warning = fmt.Sprintf("address.checksum-neutral has no effect: it needs a PREF64 of 32 or 96 bits, and %v has %d", plat.Prefix,
				plat.Prefix.Bits())
		case x.byHand:
			one.note = fmt.Sprintf("no router announces a prefix for autoconfiguration on %s: the address is one of %v, which an address of this host "+
				"has that was set by hand", uplink.Name, x.prefix)
		}
		all = append(all, one)
	}
	return all, why
}

var wellKnown = netip.MustParseAddr("64:ff9b::")

// identity is what tells the addresses that are made in one prefix apart: by link, and by generation.
func (in *Input) identity(uplink platform.Link, v4 netip.Prefix) string {
	if v4 == in.Config.Interface.IPv4 {
		return uplink.Name
	}
	return uplink.Name + "\x00" + v4.String()
}

// ofRouters marks the candidates that a router announced which announced the PREF64, too: another provider drops what comes from there
// (RFC 6724, 5, rule 5.5).
func (in *Input) ofRouters(candidates []candidate, uplink platform.Link, p pref64.Prefix) {
	routers := in.routersOf(uplink, p)
	for i := range candidates {
		candidates[i].ofRouter = slices.ContainsFunc(in.Announced, func(x discovery.Announced) bool {
			return x.Link == uplink.Index && x.Prefix == candidates[i].prefix && slices.Contains(routers, x.Router)
		})
	}
}

// AskingRouters is the code of a plan that waits for what the routers of Uplink announce.
const AskingRouters = "asking-routers"

// candidates are the prefixes of the uplink in which hosts may make addresses (RFC 4862, 5.5.3), and why others are none.
func (in *Input) candidates(uplink platform.Link) (all []candidate, why []string) {
	// Several say the same of a prefix, and one good word is enough.
	add := func(c candidate) {
		i := slices.IndexFunc(all, func(other candidate) bool { return other.prefix == c.prefix })
		if i < 0 {
			all = append(all, c)
			return
		}
		all[i].deprecated, all[i].byHand = all[i].deprecated && c.deprecated, all[i].byHand && c.byHand
	}
	for _, a := range in.Host.Addrs {
		p := a.Prefix.Masked()
		if a.Link != uplink.Index || a.Tentative || !isGlobal6(a.Prefix.Addr()) {
			continue
		}
		announced, autonomous, deprecated := in.announced(uplink, p)
		switch {
		case p.Bits() != 64:
			why = append(why, fmt.Sprintf("%s has %v", uplink.Name, a.Prefix))
		case announced && !autonomous:
			why = append(why, fmt.Sprintf("routers announce %v, but not for autoconfiguration (A=0)", p))
		case a.Autoconf:
			add(candidate{prefix: p, deprecated: a.Deprecated})
		case autonomous:
			add(candidate{prefix: p, deprecated: deprecated})
		case !a.Permanent:
			why = append(why, fmt.Sprintf("%s has %v for a time, and no router announces it (DHCPv6)", uplink.Name, a.Prefix))
		case !in.mayBeAnnounced(uplink):
			add(candidate{prefix: p, deprecated: a.Deprecated, byHand: true})
		}
	}
	for _, x := range in.Announced {
		if x.Link == uplink.Index && x.Autonomous && x.Prefix.Bits() == 64 && isGlobal6(x.Prefix.Addr()) {
			add(candidate{prefix: x.Prefix, deprecated: in.isDeprecated(x)})
		}
	}
	return all, why
}

// announced says whether routers on the uplink announce p, whether for autoconfiguration, and then whether all who do have deprecated it.
func (in *Input) announced(uplink platform.Link, p netip.Prefix) (announced, autonomous, deprecated bool) {
	deprecated = true
	for _, x := range in.Announced {
		if x.Link != uplink.Index || x.Prefix != p {
			continue
		}
		announced = true
		if x.Autonomous {
			autonomous, deprecated = true, deprecated && in.isDeprecated(x)
		}
	}
	return announced, autonomous, deprecated
}

// isDeprecated says whether the preferred lifetime of what is made of x is over.
func (in *Input) isDeprecated(x discovery.Announced) bool {
	return !x.Preferred.IsZero() && !in.Now.Before(x.Preferred)
}

// mayBeAnnounced says whether it is too early to say what routers on the uplink announce. A link without a link-local address has no routers
// that could.
func (in *Input) mayBeAnnounced(uplink platform.Link) bool {
	linkLocal := slices.ContainsFunc(in.Host.Addrs, func(a platform.Address) bool {
		return a.Link == uplink.Index && a.Prefix.Addr().Is6() && a.Prefix.Addr().IsLinkLocalUnicast()
	})
	return linkLocal && in.Heard[uplink.Index] == discovery.Unknown
}

// shortPrefix is a prefix of one address as that address.
func shortPrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// pathOf is the path of a CLAT, and why it is that one.
func pathOf(in Input, uplink platform.Link) (config.Path, string) {
	c := in.Config
	_, onLink := onLink(in, uplink)
	_, host := c.Interface.Host()
	switch {
	case c.Path != config.PathAuto:
		return c.Path, "the configuration says so (path)"
	case !host:
		return config.PathKernel, "clients are behind this host (interface.ipv4)"
	case !c.Address.IPv6.IsValid():
		return config.PathPacket, "this host makes an address of its own on the uplink (address.ipv6 is not set)"
	case onLink && CLAT(c).IsSingleIP():
		return config.PathPacket, fmt.Sprintf("address.ipv6 is an address of %s's link", uplink.Name)
	}
	return config.PathKernel, "address.ipv6 is routed to this host"
}
