package resolver

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// elsewhere says whether the host reaches an address by another link than index for a reason of its own: by a route that is no default route, nor
// one half of it, by which VPNs take over all that has no better route.
func elsewhere(index int, a netip.Addr) (bool, error) {
	if a.Zone() != "" || a.Is6() && a.IsLinkLocalUnicast() {
		return false, nil // on the link, whatever it is
	}
	routes, err := netlink.RouteGetWithOptions(a.AsSlice(), &netlink.RouteGetOptions{FIBMatch: true})
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.EINVAL):
		return false, nil // no route, or a reject route, of which each kind has an errno
	case err != nil:
		return false, fmt.Errorf("look up the route to resolver %s: %w", a, err)
	case len(routes) == 0:
		return false, nil
	}
	r := routes[0]
	if r.Dst == nil || r.LinkIndex == index {
		return false, nil
	}
	if bits, _ := r.Dst.Mask.Size(); bits <= 1 {
		return false, nil
	}
	return !slices.ContainsFunc(r.MultiPath, func(n *netlink.NexthopInfo) bool { return n.LinkIndex == index }), nil
}
