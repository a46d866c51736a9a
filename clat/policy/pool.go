package policy

import (
	"net/netip"
	"slices"
	"time"

	"uclat/clat/config"
	"uclat/platform"
)

// maxGenerations is how many there are at once.
const maxGenerations = 4

// continuity is 192.0.0.0/29, for IPv4 within a host (RFC 7335).
var continuity = netip.MustParsePrefix("192.0.0.0/29")

// poolSpace is the /29 of interface.ipv4, of which other generations may have addresses, if that is of addresses that are for this: in other
// networks they may be somebody's. Clients have their own, and there is one generation of them.
func poolSpace(c *config.Config) (p netip.Prefix, ok bool) {
	host, ok := c.Interface.Host()
	if !ok || !sharedSpace.Contains(host) && !continuity.Contains(host) {
		return p, false
	}
	return netip.PrefixFrom(host, continuity.Bits()).Masked(), true
}

// pool are the IPv4 addresses that generations may have, the configured one first.
func (in *Input) pool() []netip.Prefix {
	c := in.Config
	all := []netip.Prefix{c.Interface.IPv4}
	if _, ok := poolSpace(c); !ok {
		return all
	}
	const mask = 7
	four := c.Interface.IPv4.Addr().As4()
	for i := byte(1); i <= mask && len(all) < maxGenerations; i++ {
		other := four
		other[3] = four[3]&^mask | (four[3]+i)&mask
		a := netip.AddrFrom4(other)
		_, taken := overlap(*in, a)
		mapped := slices.ContainsFunc(c.Maps, func(m config.Map) bool { return m.IPv4.Contains(a) })
		if !taken && !mapped && a != c.Interface.SelfIPv4 && a != c.Translate.UnmappedSource && other[3]&mask != 0 {
			all = append(all, alone(a))
		}
	}
	return all
}

// standing are the generations in force that go on: those whose IPv4 addresses may still be ours. On another link or path they have no IPv6
// addresses yet.
func (in *Input) standing(uplink platform.Link, path config.Path) (all []Generation) {
	was, pool := in.Was, in.pool()
	if was.IPv4 != in.Config.Interface.IPv4 {
		return nil
	}
	for _, g := range was.Generations {
		if !slices.Contains(pool, g.IPv4) {
			continue
		}
		if !was.isThrough(uplink, path) {
			g = Generation{IPv4: g.IPv4, Old: g.Old}
		}
		if len(all) == 0 { // also where the one before it has lost its IPv4 addresses
			g.Old = time.Time{}
		}
		all = append(all, g)
	}
	return all
}

// isThrough says whether the plan goes by a link, and by that path.
func (p *Plan) isThrough(uplink platform.Link, path config.Path) bool {
	return p.Path == path && p.Uplink.Index == uplink.Index && p.Uplink.Name == uplink.Name
}
