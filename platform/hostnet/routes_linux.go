package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform"
)

// defaultMetric6 is what the kernel makes of a metric 0 for IPv6 (IP6_RT_PRIO_USER).
const defaultMetric6 = 1024

// routes are those that we added by other interfaces than the TUN, as the kernel shows them. By the TUN all of Protocol are ours.
type routes map[platform.Route]bool

// set makes our routes in the main table those that are wanted; a Link of 0 is the TUN's index. What is missing comes before what is too
// much goes, so that a change leaves no gap.
func (added routes) set(nl *netlink.Handle, tun int, want []platform.Route) error {
	have, err := added.list(nl, tun)
	if err != nil {
		return fmt.Errorf("routes: list: %w", err)
	}
	for _, w := range want {
		w = normal(w, tun)
		if !w.Dst.IsValid() {
			return errors.New("routes: one without a destination asked for")
		}
		if _, ok := have[w]; ok {
			delete(have, w)
			continue
		}
		set := nl.RouteAdd
		for h := range have {
			if h.Dst == w.Dst && h.Metric == w.Metric { // the same to the kernel, with another way, source or MTU
				set = nl.RouteReplace
				delete(have, h)
				break
			}
		}
		if err := set(kernelRoute(w)); err != nil {
			if errors.Is(err, unix.EEXIST) {
				return fmt.Errorf("route %s: somebody else has one with metric %d: remove it or choose another metric: %w", w.Dst, w.Metric, err)
			}
			return fmt.Errorf("route %s by interface %d, metric %d: add: %w", w.Dst, w.Link, w.Metric, err)
		}
		if w.Link != tun {
			added[w] = true
		}
	}
	var errs error
	for key, r := range have {
		if err := nl.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			errs = errors.Join(errs, fmt.Errorf("route %s: remove: %w", r.Dst, err))
			continue
		}
		delete(added, key)
	}
	return errs
}

// normal is the route as the kernel would show it.
func normal(r platform.Route, tun int) platform.Route {
	if r.Link == 0 {
		r.Link = tun
	}
	if r.Metric == 0 && r.Dst.Addr().Is6() {
		r.Metric = defaultMetric6
	}
	r.Dst, r.FromRA = r.Dst.Masked(), false
	return r
}

// list is what the main table has of ours, by what platform can say of a route. Protocol alone does not make a route ours: another program
// may use the number, or another uclat.
func (added routes) list(nl *netlink.Handle, tun int) (map[platform.Route]netlink.Route, error) {
	ours := make(map[platform.Route]netlink.Route)
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN, Protocol: Protocol}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		err := nl.RouteListFilteredIter(family, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL, func(r netlink.Route) bool {
			key := platform.Route{Link: r.LinkIndex, Metric: r.Priority, MTU: r.MTU, Via: addr(r.Gw), Src: addr(r.Src)}
			if a, ok := netip.AddrFromSlice(r.Dst.IP); ok { // vishvananda/netlink shows a default route as 0.0.0.0/0 or ::/0
				bits, size := r.Dst.Mask.Size()
				if size == 32 {
					a = a.Unmap()
				}
				key.Dst = netip.PrefixFrom(a, bits)
			}
			if r.LinkIndex == tun || added[key] {
				ours[key] = r
			}
			return true
		})
		// An interrupted dump may lack routes that others changed meanwhile, not ours.
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, err
		}
	}
	return ours, nil
}

// addr is one of vishvananda/netlink's; invalid where there is none.
func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func kernelRoute(r platform.Route) *netlink.Route {
	k := &netlink.Route{
		LinkIndex: r.Link,
		Dst:       ipNet(r.Dst),
		Protocol:  Protocol,
		Priority:  r.Metric,
		MTU:       r.MTU,
		Table:     unix.RT_TABLE_MAIN,
	}
	if r.Via.IsValid() {
		k.Gw = r.Via.AsSlice()
	} else if r.Dst.Addr().Is4() {
		k.Scope = netlink.SCOPE_LINK
	}
	if r.Src.IsValid() {
		k.Src = r.Src.AsSlice()
	}
	return k
}
