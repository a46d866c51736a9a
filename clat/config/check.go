package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"uclat/clat/pref64"
)

// check looks at settings that must go together. Each of them alone is right.
func (b *builder) check() {
	b.checkInterface()
	b.checkRouter()
	b.checkPREF64()
	b.checkAddress()
	b.checkMaps()
	b.checkTranslate()
}

// ref is one value of a setting.
type ref struct {
	key   string
	index int // in a list
}

// shown is the value as it was written, or the default, and where that was.
func (b *builder) shown(r ref) (shown string, at place, given bool) {
	if s, ok := b.given[r.key]; ok {
		return s.items[r.index].shown, s.items[r.index].place, true
	}
	k := findKey(r.key)
	shown = k.defaults()[r.index]
	if _, err := strconv.Atoi(shown); k.Kind == String || k.Kind == Mixed && err != nil {
		shown = quote(shown)
	}
	return shown, place{}, false
}

// conflict reports that x and y do not go together, at x, or at y where x was not written by the user.
func (b *builder) conflict(x, y ref, why string) {
	shownX, atX, givenX := b.shown(x)
	shownY, atY, givenY := b.shown(y)
	if !givenX {
		x, y = y, x
		shownX, shownY, atX, atY, givenY = shownY, shownX, atY, atX, false
	}
	origin := atY.where
	if !givenY {
		origin = "the default"
	}
	b.fail(atX, x.key, shownX, fmt.Sprintf("does not go with %s %s (%s): %s", y.key, shownY, origin, why))
}

func (b *builder) checkInterface() {
	c := &b.config
	ipv4 := ref{key: "interface.ipv4"}
	if c.Uplink == c.Interface.Name {
		b.conflict(ref{key: "uplink"}, ref{key: "interface.name"}, "the IPv4 interface cannot be its own uplink")
	}
	if host, one := c.Interface.Host(); one && host == c.Interface.SelfIPv4 {
		b.conflict(ref{key: "interface.self-ipv4"}, ipv4, "they must differ, because a host ignores ICMP errors that seem to come from itself")
	}
	if c.Interface.IPv4.Contains(c.Translate.UnmappedSource) {
		b.conflict(ref{key: "translate.unmapped-source"}, ipv4, "it must be no address of the hosts that receive these errors")
	}
	if c.Translate.UnmappedSource == c.Interface.SelfIPv4 {
		b.conflict(ref{key: "translate.unmapped-source"}, ref{key: "interface.self-ipv4"},
			"they must differ, because it stands for routers, and the translator is none of them")
	}
	lowest, mtu := ref{key: "translate.lowest-ipv6-mtu"}, ref{key: "interface.mtu"}
	switch most := c.Interface.MTU; {
	case most != 0 && c.Translate.LowestIPv6MTU > most:
		b.conflict(lowest, mtu, "it must not be larger")
	case most == 0 && c.Router() && c.Translate.LowestIPv6MTU > RouterMTU6:
		b.conflict(lowest, mtu, fmt.Sprintf("for a plain translator that is %d, and it must not be larger", RouterMTU6))
	}
}

// checkRouter looks at what a plain translator has no use for: a setting without effect would be a promise that nobody keeps.
func (b *builder) checkRouter() {
	c := &b.config
	if !c.Router() {
		return
	}
	ipv4 := ref{key: "interface.ipv4"}
	if c.Address.IPv6.IsValid() {
		b.conflict(ref{key: "address.ipv6"}, ipv4,
			"it stands for interface.ipv4, which a plain translator does not have: give each address that is to be translated a [[map]]")
	}
	if c.Uplink != "" {
		b.conflict(ref{key: "uplink"}, ipv4, "a plain translator has none: the routes of this host say what goes where")
	}
	if c.Path == PathPacket {
		b.conflict(ref{key: "path"}, ipv4, "what a plain translator translates is routed to it and from it, by the kernel")
	}
	if c.Address.DAD == DADOptimistic {
		b.conflict(ref{key: "address.dad"}, ipv4, "a plain translator has no address on a link")
	}
	if len(c.Probe.Targets) > 0 {
		b.conflict(ref{"probe.targets", 0}, ipv4, "a plain translator watches nothing")
	}
	if c.Inbound == InboundReplies {
		b.conflict(ref{key: "inbound"}, ipv4, "a plain translator filters nothing: leave it empty, and let the firewall of this host do it")
	}
	if len(c.Maps) == 0 && len(c.PREF64.Prefixes) == 0 {
		b.fail(b.given["interface.ipv4"].place, "interface.ipv4", `""`,
			"makes this a plain translator, and there is nothing that it could translate by: write pref64.prefixes or a [[map]]")
	}
}

func (b *builder) checkPREF64() {
	p := b.config.PREF64
	configured := slices.Contains(p.Sources, SourceConfigured)
	sources := b.given["pref64.sources"].place
	switch {
	case b.config.Router() && configured:
	case b.config.Router() && len(p.Sources) > 0:
		b.conflict(ref{"pref64.sources", 0}, ref{key: "interface.ipv4"},
			`a plain translator goes by what is configured alone: add "configured", or leave it out`)
	case len(p.Sources) == 0:
		b.fail(sources, "pref64.sources", "", `is empty, so that no NAT64 prefix can be found: write at least one of "configured", "ra", "dns"`)
	case configured && len(p.Sources) == 1 && len(p.Prefixes) == 0:
		b.fail(sources, "pref64.sources", "", `has nothing but "configured", and pref64.prefixes is empty: write a prefix there, or add "ra" or "dns" here`)
	case !configured && len(p.Prefixes) > 0:
		b.conflict(ref{"pref64.prefixes", 0}, ref{"pref64.sources", 0}, `without "configured" among the sources it is not used`)
	}
	for i, prefix := range p.Prefixes {
		for j, earlier := range p.Prefixes[:i] {
			if prefix.Prefix().Overlaps(earlier.Prefix()) {
				b.conflict(ref{"pref64.prefixes", i}, ref{"pref64.prefixes", j}, "they overlap, and an address would have two meanings")
			}
		}
	}
}

func (b *builder) checkAddress() {
	c := &b.config
	own := ref{key: "address.ipv6"}
	if c.Address.IPv6.IsSingleIP() && !c.Interface.IPv4.IsSingleIP() && !c.Router() {
		b.conflict(own, ref{key: "interface.ipv4"},
			"one address cannot stand for many: write a prefix of length 32, 40, 48, 56, 64 or 96 (RFC 6052, 2.2)")
	}
	if c.Address.DAD == DADOptimistic && c.Path == PathKernel {
		b.conflict(ref{key: "address.dad"}, ref{key: "path"}, "there, the address is routed to this host, and nobody on the link has it")
	}
	for i, t := range c.Probe.Targets {
		target := ref{"probe.targets", i}
		switch {
		case t == c.Interface.SelfIPv4:
			b.conflict(target, ref{key: "interface.self-ipv4"}, "it is the translator's own address, and not behind the NAT64")
		case c.Interface.IPv4.Contains(t):
			b.conflict(target, ref{key: "interface.ipv4"}, "it is on this side of the NAT64")
		}
	}
	if c.Address.ChecksumNeutral && c.Address.IPv6.IsValid() {
		b.conflict(ref{key: "address.checksum-neutral"}, own, "an address that is given is used as it is: leave one of them out")
	}
	for i, p := range c.PREF64.Prefixes {
		switch nat64 := p.Prefix(); {
		case !c.Address.IPv6.IsValid() || !nat64.Overlaps(c.Address.IPv6):
		case nat64.Bits() <= c.Address.IPv6.Bits():
			b.conflict(own, ref{"pref64.prefixes", i}, "it lies in the NAT64 prefix, and the NAT64 drops what comes from there (RFC 6146, 3.5)")
		default:
			b.conflict(own, ref{"pref64.prefixes", i}, "it covers the NAT64 prefix, and packets to the NAT64 would come back to this host")
		}
	}
	if c.Address.SelfIPv6.IsValid() {
		b.checkSelfIPv6()
	}
}

// checkSelfIPv6 looks at address.self-ipv6. What comes from a NAT64 prefix is dropped by the NAT64; but where a Router stands in its place,
// its own address is one of those behind the prefix.
func (b *builder) checkSelfIPv6() {
	c, self := &b.config, ref{key: "address.self-ipv6"}
	if !c.Router() || !slices.Contains(c.PREF64.Prefixes, pref64.WellKnown) {
		if err := reservedOwn6.clear(netip.PrefixFrom(c.Address.SelfIPv6, 128)); err != nil {
			shown, at, _ := b.shown(self)
			b.fail(at, self.key, shown, err.Error())
			return
		}
	}
	for i, p := range c.PREF64.Prefixes {
		switch {
		case !p.Contains(c.Address.SelfIPv6.As16()):
		case !c.Router():
			b.conflict(self, ref{"pref64.prefixes", i}, "it lies in the NAT64 prefix, and the NAT64 drops what comes from there (RFC 6146, 3.5)")
		case c.Address.SelfIPv6 != behind(p, c.Interface.SelfIPv4):
			b.conflict(self, ref{"pref64.prefixes", i}, fmt.Sprintf("it stands for another address than interface.self-ipv4 there: write %v, or an "+
				"address that no prefix holds", behind(p, c.Interface.SelfIPv4)))
		}
	}
}

// behind is the IPv6 address that stands for a behind p (RFC 6052, 2.2).
func behind(p pref64.Prefix, a netip.Addr) netip.Addr { return netip.AddrFrom16(p.Embed(a.As4())) }

func (b *builder) checkMaps() {
	c := &b.config
	first := map[netip.Prefix]int{} // of both families
	for i, m := range c.Maps {
		this := ref{mapKey, i}
		for _, p := range []netip.Prefix{m.IPv4, m.IPv6} {
			if j, taken := first[p]; taken {
				b.conflict(this, ref{mapKey, j}, p.String()+" is mapped twice")
				continue
			}
			first[p] = i
		}
		// A mapping for some of the clients is more specific than their prefix, and wins (RFC 7757, 3.3).
		if c.Interface.IPv4.Overlaps(m.IPv4) && m.IPv4.Bits() <= c.Interface.IPv4.Bits() {
			b.conflict(this, ref{key: "interface.ipv4"}, "it would take over what address.ipv6 stands for")
		}
		if c.Address.IPv6.IsValid() && c.Address.IPv6.Overlaps(m.IPv6) && m.IPv6.Bits() <= c.Address.IPv6.Bits() {
			b.conflict(this, ref{key: "address.ipv6"}, "it would take over what stands for interface.ipv4")
		}
		if m.IPv4.IsSingleIP() && m.IPv4.Addr() == c.Interface.SelfIPv4 { // of a prefix it is left out
			b.conflict(this, ref{key: "interface.self-ipv4"}, "the translator's own address stands for no host")
		}
		if c.Address.SelfIPv6.IsValid() && m.IPv6.Contains(c.Address.SelfIPv6) {
			b.conflict(this, ref{key: "address.self-ipv6"}, "the translator's own address stands for no host")
		}
		if c.Router() && m.IPv4.Contains(c.Translate.UnmappedSource) {
			b.conflict(this, ref{key: "translate.unmapped-source"}, "it stands for routers without an IPv4 address, so no host may have it")
		}
		for j, p := range c.PREF64.Prefixes {
			if p.Prefix().Overlaps(m.IPv6) && p.Bits() <= m.IPv6.Bits() {
				b.conflict(this, ref{"pref64.prefixes", j}, "it lies in the NAT64 prefix, which gives its addresses a meaning already")
			}
		}
	}
}

func (b *builder) checkTranslate() {
	if t := b.config.Translate; t.ICMPv6Prohibited && !t.ICMPErrors {
		b.conflict(ref{key: "translate.icmpv6-prohibited"}, ref{key: "translate.icmp-errors"}, "without ICMP errors there is no such answer")
	}
}
