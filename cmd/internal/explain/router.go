package explain

import (
	"fmt"
	"net/netip"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/clat/pref64"
	"uclat/clat/siit"
	"uclat/cmd/internal/translation"
	"uclat/platform"
)

// Mapped is what becomes of an address at one end of a packet.
type Mapped struct {
	To   netip.Addr `json:"to,omitzero"`
	By   string     `json:"by,omitempty"`   // the map or PREF64 that covers it, or first the one and then the other
	Drop string     `json:"drop,omitempty"` // name of the drop reason, where such packets are dropped
	Why  string     `json:"why,omitempty"`  // the drop reason in words
}

// explainRouter looks at address as one end of a packet, and then as the other: a plain translator has no address of its own that could
// be the other end of all.
func explainRouter(c *config.Config, plan policy.Plan, host platform.Snapshot, address netip.Addr) (Explanation, error) {
	x := Explanation{Schema: 1, Address: address, Route: route(c, host, address)}
	if own(c, plan, address) {
		x.Native = ownText
		return x, nil
	}
	t, err := translation.New(c, plan)
	if err != nil {
		return x, err
	}
	m := mappings{c.Maps, plan.PREF64}
	if x.AsSource, err = m.look(t, address, 0); err != nil {
		return x, err
	}
	x.AsDestination, err = m.look(t, address, 1)
	return x, err
}

// route is where this host sends packets to address.
func route(c *config.Config, host platform.Snapshot, address netip.Addr) string {
	for _, a := range host.Addrs {
		if l, _ := host.Link(a.Link); a.Prefix.Addr() == address {
			return "none: it is an address of this host, on " + l.Name
		}
	}
	best, found := bestRoute(host, address, platform.Route{}) // whose prefix is shorter than any
	l, _ := host.Link(best.Link)
	switch {
	case !found:
		return "none: only what is routed to " + c.Interface.Name + " is translated"
	case l.Name != c.Interface.Name:
		return fmt.Sprintf("%v by %s: only what is routed to %s is translated", best.Dst, l.Name, c.Interface.Name)
	}
	return fmt.Sprintf("%v by %s", best.Dst, l.Name)
}

// mappings are all that a plain translator knows of addresses.
type mappings struct {
	maps     []config.Map
	prefixes []pref64.Prefix
}

// look sends a packet with a as the source (end 0) or destination (end 1) through t.
func (m mappings) look(t *siit.Translator, a netip.Addr, end int) (*Mapped, error) {
	other := m.other(a)
	ends := [2]netip.Addr{other, other}
	ends[end] = a
	r := translate(t, packet(ends[0], ends[1]))
	if r.Verdict != siit.Forward {
		return &Mapped{Drop: r.Reason.String(), Why: r.Reason.Meaning()}, nil
	}
	to, err := addresses(r.Out[0].Bytes())
	return &Mapped{To: to[end], By: m.by(a, to[end])}, err
}

// public is one of the addresses that every NAT64 prefix may hold: which one does not matter.
var public = netip.AddrFrom4([4]byte{1, 1, 1, 1})

// other is an address of a's family that can be the other end of a packet: one with a map, which nothing keeps from it, else a public one.
func (m mappings) other(a netip.Addr) netip.Addr {
	if len(m.maps) > 0 {
		return pick(a, m.maps[0].IPv4.Addr(), m.maps[0].IPv6.Addr())
	}
	return pick(a, public, behind(m.prefixes[0], public))
}

// by says what covers a, which becomes to: the longest map, else a NAT64 prefix. Where an IPv6 address becomes another one, the IPv4
// address that it stands for has a map.
func (m mappings) by(a, to netip.Addr) string {
	longest, by := -1, ""
	for _, x := range m.maps {
		if p := pick(a, x.IPv4, x.IPv6); p.Contains(a) && p.Bits() > longest {
			longest, by = p.Bits(), fmt.Sprintf("map %v=%v", short(x.IPv4), short(x.IPv6))
		}
	}
	if by != "" {
		return by
	}
	for _, p := range m.prefixes {
		if a.Is4() {
			return "PREF64 " + p.String()
		}
		switch v4, ok := p.Extract(a.As16()); {
		case ok && to.Is6():
			return "PREF64 " + p.String() + ", then " + m.by(netip.AddrFrom4(v4), to)
		case ok:
			return "PREF64 " + p.String()
		}
	}
	return ""
}

func behind(p pref64.Prefix, a netip.Addr) netip.Addr { return netip.AddrFrom16(p.Embed(a.As4())) }

// pick is the one of both that is of a's family.
func pick[T any](a netip.Addr, v4, v6 T) T {
	if a.Is4() {
		return v4
	}
	return v6
}

// short is a prefix as the configuration has it, one address without its length.
func short(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
