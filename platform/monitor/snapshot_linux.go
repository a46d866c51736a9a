package monitor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform"
)

const (
	procSys     = "/proc/sys/net"
	ipv4Conf    = procSys + "/ipv4/conf"
	ipv6Conf    = procSys + "/ipv6/conf"
	dumpTimeout = 10 * time.Second // for one answer of the kernel, which has it ready
	dumpTries   = 4                // a dump that a change interrupted is read again, this often in all
)

// Monitor sees the network namespace that its methods are called in. It holds no resources between calls.
type Monitor struct{ log *slog.Logger }

// New is a Monitor. log takes warnings; nil discards them.
func New(log *slog.Logger) (*Monitor, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Monitor{log: log}, nil
}

// Snapshot reads the host: all links, their addresses, and of the main table's unicast routes the default ones (also in halves) and
// those that share addresses with one of interest, at most 4096 of the latter; which links routes lead to at all; the neighbours that IPv6 default
// routes lead to; where it reaches IPv4, by at most 65,536 routes of all tables; and whether it forwards. The routes of a large table are read one by
// one and not kept.
// A route by a Router Advertisement is left out from the end of its lifetime on, of which no knock tells.
func (m *Monitor) Snapshot(ctx context.Context, interest ...netip.Prefix) (platform.Snapshot, error) {
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return platform.Snapshot{}, fmt.Errorf("read the network: open a netlink socket: %w", err)
	}
	defer h.Close()
	if err := h.SetSocketTimeout(dumpTimeout); err != nil {
		return platform.Snapshot{}, fmt.Errorf("read the network: set netlink timeout: %w", err)
	}
	r := reader{handle: h, log: m.log}
	for try := 1; ; try++ {
		s, err := r.read(ctx, interest)
		if err == nil || !errors.Is(err, netlink.ErrDumpInterrupted) || try == dumpTries {
			return s, err
		}
	}
}

// reader reads one snapshot.
type reader struct {
	handle *netlink.Handle
	log    *slog.Logger
}

func (r reader) read(ctx context.Context, interest []netip.Prefix) (platform.Snapshot, error) {
	var s platform.Snapshot
	for _, part := range []struct {
		name string
		read func() error
	}{
		{"links", func() error { return r.links(&s) }},
		{"addresses", func() error { return r.addrs(&s) }},
		{"IPv4 routes", func() error { return r.routes(ctx, &s, netlink.FAMILY_V4, interest) }},
		{"IPv6 routes", func() error { return r.routes(ctx, &s, netlink.FAMILY_V6, interest) }},
		{"neighbours", func() error { return r.neighbours(&s) }}, // behind the routes, whose next hops it reads
	} {
		if err := ctx.Err(); err != nil {
			return platform.Snapshot{}, fmt.Errorf("read the network: %s: %w", part.name, err)
		}
		if err := part.read(); err != nil {
			return platform.Snapshot{}, fmt.Errorf("read the network: %s: %w", part.name, err)
		}
	}
	sortSnapshot(&s)
	sysctls(&s)
	return s, nil
}

// sysctls reads what the kernel does with packets that come in. An interface's own IPv6 forwarding is left out: that makes the host a router
// toward its neighbours, and forwards nothing (net/ipv6/ip6_output.c, ip6_forward).
func sysctls(s *platform.Snapshot) {
	s.Forwarding4, s.Forwarding6 = isOn(procSys+"/ipv4/ip_forward"), isOn(ipv6Conf+"/all/forwarding")
	filtered := isOn(ipv4Conf + "/all/rp_filter") // the stricter of both holds
	for _, l := range s.Links {
		s.Forwarding4 = s.Forwarding4 || isOn(filepath.Join(ipv4Conf, l.Name, "forwarding"))
		s.Forwarding6 = s.Forwarding6 || isOn(filepath.Join(ipv6Conf, l.Name, "force_forwarding"))
		if filtered || isOn(filepath.Join(ipv4Conf, l.Name, "rp_filter")) {
			s.Filtered4 = append(s.Filtered4, l.Index)
		}
	}
}

// isOn says whether a sysctl has another value than 0. Of a family that the kernel does not have, nothing is on.
func isOn(file string) bool {
	b, err := os.ReadFile(file)
	return err == nil && strings.TrimSpace(string(b)) != "0"
}

// addrs reads addresses. Temporary ones (RFC 8981) are made beside those of announced prefixes alone, which is what tells an address that was
// autoconfigured. The kernel marks so those that it makes, systemd-networkd its own too, and NetworkManager its own where it wants temporary ones.
func (r reader) addrs(s *platform.Snapshot) error {
	addrs, err := r.handle.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		p, ok := prefix(a.IPNet)
		if !ok {
			continue
		}
		s.Addrs = append(s.Addrs, platform.Address{
			Link:   a.LinkIndex,
			Prefix: p,
			// An optimistic address may be used while its uniqueness is tested (RFC 4429); one that failed the test may not.
			Tentative: a.Flags&unix.IFA_F_DADFAILED != 0 || a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_OPTIMISTIC) == unix.IFA_F_TENTATIVE,
			// The kernel takes the flag away for a moment at each advertisement that says it again; the lifetime is 0 all the time.
			Deprecated: a.Flags&unix.IFA_F_DEPRECATED != 0 || p.Addr().Is6() && a.PreferedLft == 0,
			Permanent:  a.Flags&unix.IFA_F_PERMANENT != 0 || uint32(a.ValidLft) == math.MaxUint32,
			Autoconf:   p.Addr().Is6() && a.Flags&(unix.IFA_F_MANAGETEMPADDR|unix.IFA_F_TEMPORARY) != 0,
		})
	}
	return nil
}

func (r reader) routes(ctx context.Context, s *platform.Snapshot, family int, interest []netip.Prefix) error {
	kept, over := 0, 0
	routed := map[int]bool{}
	var reached reach
	expired := sync.OnceValues(readExpired) // only where there is a route that may have
	var unknown error
	allTables := &netlink.Route{Table: unix.RT_TABLE_UNSPEC} // which the kernel tells anyway
	err := r.handle.RouteListFilteredIter(family, allTables, netlink.RT_FILTER_TABLE, func(route netlink.Route) bool {
		dst, ok := destination(family, route.Dst)
		if ok && family == netlink.FAMILY_V4 && (route.Type == unix.RTN_UNICAST || route.Type == unix.RTN_LOCAL) {
			eachLink(&route, func(link int) { reached.add(dst, link) })
		}
		if !ok || route.Type != unix.RTN_UNICAST {
			return ctx.Err() == nil
		}
		if family == netlink.FAMILY_V6 && int(route.Protocol) == unix.RTPROT_RA {
			e, err := expired()
			if unknown = err; err != nil {
				return false
			}
			if !e.prune(dst, &route) {
				return ctx.Err() == nil
			}
		}
		if route.Table != unix.RT_TABLE_MAIN {
			if family == netlink.FAMILY_V6 && isDefault(dst) {
				s.OtherRoutes = append(s.OtherRoutes, hops(dst, &route)...)
			}
			return ctx.Err() == nil
		}
		if !dst.Addr().IsLinkLocalUnicast() {
			eachLink(&route, func(link int) { routed[link] = true })
		}
		if !relevant(dst, interest) {
			return ctx.Err() == nil
		}
		if !isDefault(dst) {
			if kept == maxRoutes {
				over++
				return ctx.Err() == nil
			}
			kept++
		}
		s.Routes = append(s.Routes, hops(dst, &route)...)
		return ctx.Err() == nil
	})
	if err == nil {
		err = unknown
	}
	if err != nil {
		return err
	}
	for link := range routed {
		s.Routed = append(s.Routed, link)
	}
	if family == netlink.FAMILY_V4 {
		s.Routes4 = reached.routes()
	}
	if over > 0 {
		r.log.Warn("more routes than are looked at", "limit", maxRoutes, "left out", over)
	}
	if reached.over {
		r.log.Warn("more IPv4 routes than are looked at for local sources: the longest prefixes are left out", "limit", maxReach)
	}
	return ctx.Err()
}

// neighbours reads what is known of the next hops of IPv6 default routes.
func (r reader) neighbours(s *platform.Snapshot) error {
	type hop struct {
		link int
		addr netip.Addr
	}
	wanted := map[hop]bool{}
	for _, route := range slices.Concat(s.Routes, s.OtherRoutes) {
		if route.Dst.Addr().Is6() && isDefault(route.Dst) && route.Via.IsValid() {
			wanted[hop{route.Link, route.Via}] = true
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	all, err := r.handle.NeighList(0, netlink.FAMILY_V6) // of all links: the kernel bounds how many there are (gc_thresh3)
	if err != nil {
		return err
	}
	for _, n := range all {
		if a := address(n.IP); len(n.HardwareAddr) > 0 && wanted[hop{n.LinkIndex, a}] {
			s.Neighbours = append(s.Neighbours, platform.Neighbour{Link: n.LinkIndex, Addr: a, Hardware: n.HardwareAddr.String()})
		}
	}
	return nil
}

// eachLink calls f with each link that the route leads to.
func eachLink(r *netlink.Route, f func(link int)) {
	if len(r.MultiPath) == 0 {
		f(r.LinkIndex)
	}
	for _, h := range r.MultiPath {
		f(h.LinkIndex)
	}
}

// hops is the route once for each of its next hops that is alive.
func hops(dst netip.Prefix, r *netlink.Route) []platform.Route {
	one := func(link, flags int, gw net.IP, via netlink.Destination) []platform.Route {
		if flags&unix.RTNH_F_DEAD != 0 {
			return nil
		}
		return []platform.Route{{Dst: dst, Via: gateway(gw, via), Link: link, Metric: r.Priority, MTU: r.MTU,
			FromRA: int(r.Protocol) == unix.RTPROT_RA, Src: address(r.Src)}}
	}
	if len(r.MultiPath) == 0 {
		return one(r.LinkIndex, r.Flags, r.Gw, r.Via)
	}
	var all []platform.Route
	for _, h := range r.MultiPath {
		all = append(all, one(h.LinkIndex, h.Flags, h.Gw, h.Via)...)
	}
	return all
}

// gateway is the next hop's address, which for IPv4 may be an IPv6 one (RFC 5549); invalid where there is none.
func gateway(gw net.IP, via netlink.Destination) netip.Addr {
	if v, ok := via.(*netlink.Via); ok && v != nil {
		gw = v.Addr
	}
	return address(gw)
}

// address is one of vishvananda/netlink's; invalid where there is none.
func address(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// destination is a route's prefix; the kernel leaves that of a default route out.
func destination(family int, dst *net.IPNet) (netip.Prefix, bool) {
	if dst != nil {
		p, ok := prefix(dst)
		return p.Masked(), ok
	}
	if family == netlink.FAMILY_V4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0), true
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0), true
}

// prefix converts what vishvananda/netlink made of an address; the mask's length tells the family.
func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	bits, size := n.Mask.Size()
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok || size == 0 {
		return netip.Prefix{}, false
	}
	if size == 32 {
		a = a.Unmap()
	}
	return netip.PrefixFrom(a, bits), a.BitLen() == size
}
