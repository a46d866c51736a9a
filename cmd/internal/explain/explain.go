// Package explain says what happens to an address: it sends a packet for it through the translator that the daemon would use, and
// reads what comes out.
package explain

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/config"
	"uclat/clat/frame"
	"uclat/clat/policy"
	"uclat/clat/siit"
	"uclat/cmd/internal/translation"
	"uclat/platform"
)

// Explanation is what happens to packets from this host, or from a client behind it, to Address; or, where Address is an IPv6 address,
// to packets that come from it. Of a plain translator it is what becomes of Address at either end of a packet.
type Explanation struct {
	Schema  int        `json:"schema"`
	Address netip.Addr `json:"address"`

	Native string `json:"native,omitempty"` // why nothing is translated: a better route of the host, IPv6 that needs none, our own address
	Drop   string `json:"drop,omitempty"`   // name of the drop reason
	Why    string `json:"why,omitempty"`    // the drop reason in words

	Translated *Translated `json:"translated,omitempty"`
	MTU6       int         `json:"mtu6,omitempty"` // octets, of an IPv6 packet on the uplink,
	MTU4       int         `json:"mtu4,omitempty"` // and of the largest IPv4 packet that fits as one
	Uplink     string      `json:"uplink,omitempty"`
	Path       string      `json:"path,omitempty"`     // how packets get there: packet or kernel,
	PathWhy    string      `json:"path_why,omitempty"` // and why, as the end of a sentence
	PREF64     string      `json:"pref64,omitempty"`   // the one in use
	Source     string      `json:"source,omitempty"`   // how it became known: configured, ra or dns,
	Origin     string      `json:"origin,omitempty"`   // and from whom, for people

	// Of a plain translator only, and then there is nothing else but the first two, and Native for its own addresses.
	AsDestination *Mapped `json:"as_destination,omitempty"`
	AsSource      *Mapped `json:"as_source,omitempty"`
	Route         string  `json:"route,omitempty"` // of this host to Address: only what is routed to the translator is translated
}

// Translated is a packet's addresses before and after.
type Translated struct {
	From [2]netip.Addr `json:"from"` // source, destination
	To   [2]netip.Addr `json:"to"`
}

// Explain looks at address as the plan would have it, which must be on. host must hold the routes to address.
func Explain(c *config.Config, plan policy.Plan, host platform.Snapshot, address netip.Addr) (Explanation, error) {
	if c.Router() {
		return explainRouter(c, plan, host, address)
	}
	x := Explanation{
		Schema: 1, Address: address, MTU6: plan.MTU6, MTU4: min(plan.MTU4, plan.MTU6-20), Uplink: plan.Uplink.Name,
		Path: string(plan.Path), PathWhy: plan.PathWhy, PREF64: plan.PREF64[0].String(),
		Source: plan.Source.String(), Origin: plan.Origin,
	}
	if own(c, plan, address) {
		x.Native = ownText
		return x, nil
	}
	if native, ok := nativeRoute(c, host, address); ok && address.Is4() {
		x.Native = native
		return x, nil
	}
	t, err := translation.New(c, plan)
	if err != nil {
		return x, err
	}
	ours4, ours6 := ours(c, plan)
	var p []byte
	switch {
	case address.Is4():
		p = packet(ours4, address)
	case plan.Ours().Contains(address) && !c.Address.IPv6.IsValid():
		x.Native = fmt.Sprintf("it is ours: it stands for %v", c.Interface.IPv4)
		return x, nil
	case plan.Ours().Contains(address):
		x.Native = fmt.Sprintf("it is ours: address.ipv6 = %v stands for %v", c.Address.IPv6, c.Interface.IPv4)
		return x, nil
	default:
		p = packet(address, ours6)
	}
	r := translate(t, p)
	if r.Verdict != siit.Forward {
		if address.Is6() && r.Reason == clat.DropNoMapping {
			x.Native = "no NAT64 prefix or map covers it: it is native IPv6, which goes its own way"
			return x, nil
		}
		x.Drop, x.Why = r.Reason.String(), r.Reason.Meaning()
		return x, nil
	}
	from, err1 := addresses(p)
	to, err2 := addresses(r.Out[0].Bytes())
	x.Translated = &Translated{from, to}
	return x, errors.Join(err1, err2)
}

const ownText = "it is the translator's own: it answers pings, and its ICMP errors come from there"

// own says whether address is the translator's, and stands for nobody else.
func own(c *config.Config, plan policy.Plan, address netip.Addr) bool {
	shared := plan.Ours().IsSingleIP() && plan.Ours().Addr() == address
	return address == c.Interface.SelfIPv4 || address == plan.Self6 && !shared
}

// translate gives p to the translator, which leaves p as it is.
func translate(t *siit.Translator, p []byte) siit.Result {
	var f frame.Frame
	buf := make([]byte, frame.Headroom+len(p)+frame.Tailroom)
	copy(buf[frame.Headroom:], p)
	f.Wrap(buf, frame.Headroom, len(p))
	return t.Translate(&f, siit.NewScratch(0))
}

// ours is an address that is translated, of both families: the host's, or that of the first client behind it.
func ours(c *config.Config, plan policy.Plan) (netip.Addr, netip.Addr) {
	v4 := c.Interface.IPv4.Addr()
	if !c.Interface.IPv4.IsSingleIP() {
		v4 = v4.Next()
	}
	if v4 == c.Interface.SelfIPv4 && c.Interface.IPv4.Contains(v4.Next()) {
		v4 = v4.Next()
	}
	if e, ok := c.Address.Embedding(); ok {
		return v4, netip.AddrFrom16(e.Embed(v4.As4()))
	}
	return v4, plan.Ours().Addr()
}

// nativeRoute describes what the host does with packets to address instead of giving them to the CLAT.
func nativeRoute(c *config.Config, host platform.Snapshot, address netip.Addr) (string, bool) {
	for _, a := range host.Addrs {
		if a.Prefix.Addr() == address {
			l, _ := host.Link(a.Link)
			return "it is an address of this host, on " + l.Name, l.Name != c.Interface.Name
		}
	}
	// The CLAT's own default route, also where it does not stand yet. Where it has none, something else leads packets to the CLAT: only
	// routes that are no default routes, whole or in halves, are known to win over that.
	best := platform.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Metric: c.Interface.Metric}
	if !c.Interface.DefaultRoute {
		best = platform.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 1)}
	}
	best, found := bestRoute(host, address, best)
	l, _ := host.Link(best.Link)
	if !found || l.Name == c.Interface.Name {
		return "", false
	}
	if best.Dst.Bits() == 0 {
		return fmt.Sprintf("the default route by %s has a better metric than the CLAT's (%d)", l.Name, c.Interface.Metric), true
	}
	return fmt.Sprintf("the route %v by %s is more specific than the CLAT's", best.Dst, l.Name), true
}

// bestRoute is the route to address that is better than best, as the kernel chooses; false where there is none.
func bestRoute(host platform.Snapshot, address netip.Addr, best platform.Route) (_ platform.Route, found bool) {
	for _, r := range host.Routes {
		if r.Dst.Contains(address) && (r.Dst.Bits() > best.Dst.Bits() || r.Dst.Bits() == best.Dst.Bits() && r.Metric < best.Metric) {
			best, found = r, true
		}
	}
	return best, found
}

// The packets are the least that there is: a UDP header to port 33434, as traceroute sends.
const udpLen = 8

func udp() []byte { return []byte{0x82, 0x9a, 0x82, 0x9a, 0, udpLen, 0, 1} }

func packet(src, dst netip.Addr) []byte {
	if src.Is4() {
		return packet4(src, dst)
	}
	return packet6(src, dst)
}

func packet4(src, dst netip.Addr) []byte {
	p := make([]byte, 20, 20+udpLen)
	p[0], p[8], p[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(p[2:], 20+udpLen)
	s, d := src.As4(), dst.As4()
	copy(p[12:], s[:])
	copy(p[16:], d[:])
	binary.BigEndian.PutUint16(p[10:], ^checksum.Sum(p))
	return append(p, udp()...)
}

func packet6(src, dst netip.Addr) []byte {
	p := make([]byte, 40, 40+udpLen)
	p[0], p[6], p[7] = 0x60, 17, 64
	binary.BigEndian.PutUint16(p[4:], udpLen)
	s, d := src.As16(), dst.As16()
	copy(p[8:], s[:])
	copy(p[24:], d[:])
	return append(p, udp()...)
}

func addresses(p []byte) (a [2]netip.Addr, err error) {
	var ok1, ok2 bool
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		a[0], ok1 = netip.AddrFromSlice(p[12:16])
		a[1], ok2 = netip.AddrFromSlice(p[16:20])
	case len(p) >= 40:
		a[0], ok1 = netip.AddrFromSlice(p[8:24])
		a[1], ok2 = netip.AddrFromSlice(p[24:40])
	}
	if !ok1 || !ok2 {
		return a, errors.New("the translator returned no IP packet")
	}
	return a, nil
}
