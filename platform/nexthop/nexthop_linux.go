package nexthop

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	nl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform"
)

// timeout is for one answer of the kernel, which has it ready.
const timeout = 5 * time.Second

// Table is the kernel's routes and neighbours in the network namespace that it was opened in. It is for one goroutine at a time.
type Table struct {
	routes     *netlink.Handle
	neighbours *nl.Conn // of its own: a handle lists all neighbours or none, and always replaces what it sets
}

// Open opens the tables of the calling thread's network namespace.
func Open() (*Table, error) {
	routes, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("look up the next hop: open a netlink socket: %w", err)
	}
	if err := routes.SetSocketTimeout(timeout); err != nil {
		routes.Close()
		return nil, fmt.Errorf("look up the next hop: set netlink timeout: %w", err)
	}
	neighbours, err := nl.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		routes.Close()
		return nil, fmt.Errorf("look up the next hop: open a netlink socket: %w", err)
	}
	return &Table{routes: routes, neighbours: neighbours}, nil
}

// Close ends the use of the table.
func (t *Table) Close() error {
	t.routes.Close()
	return t.neighbours.Close()
}

// Hop is who is next on the link toward dst for packets from src, which need not be an address of the host. An invalid src is one
// that no rule and no route asks for. The error is ErrNoRoute where the link leads nowhere.
//
// Where several routers are as good, it is the kernel's choice of the moment. It passes over one in state Failed while the host forwards no IPv6.
func (t *Table) Hop(link platform.Link, src, dst netip.Addr) (Hop, error) {
	gateway, err := t.gateway(link, src, dst)
	if err != nil {
		return Hop{}, fmt.Errorf("next hop to %s by %s: %w", dst, link.Name, err)
	}
	if !link.L2 {
		return Hop{}, nil
	}
	if !gateway.IsValid() {
		return Hop{OnLink: true}, nil
	}
	n, err := t.neighbour(link.Index, gateway)
	if err != nil {
		return Hop{}, fmt.Errorf("next hop to %s by %s: look up neighbour %s: %w", dst, link.Name, gateway, err)
	}
	return Hop{Gateway: gateway, Hardware: n.hardware, State: n.known()}, nil
}

// Router is a router on the link as a Hop, whether any route leads to it or not. On a link without neighbours there is none to be asked for.
func (t *Table) Router(link int, addr netip.Addr) (Hop, error) {
	addr = addr.WithZone("")
	if !addr.Is6() {
		return Hop{}, fmt.Errorf("look up router %s: it must be an IPv6 address", addr)
	}
	n, err := t.neighbour(link, addr)
	if err != nil {
		return Hop{}, fmt.Errorf("look up router %s: %w", addr, err)
	}
	return Hop{Gateway: addr, Hardware: n.hardware, State: n.known()}, nil
}

// gateway is the one of the best route by the link, invalid where that has none. A link in a request binds the kernel only if no source is
// there too (net/ipv6/route.c, ip6_route_output_flags_noref): with one, a better route elsewhere wins. But it is the source that leads to the
// tables of policy routing and to routes for some sources only. So it is asked with the source first, and without it if the answer is not by
// the link. What stays unseen is a table or a route for the source that a VPN hides; the link's other routes have to do there.
func (t *Table) gateway(link platform.Link, src, dst netip.Addr) (netip.Addr, error) {
	if !dst.Is6() || src.IsValid() && !src.Is6() {
		return netip.Addr{}, fmt.Errorf("from %s: both must be IPv6 addresses", src)
	}
	if src.IsValid() && !src.IsUnspecified() {
		gateway, err := t.route(dst, &netlink.RouteGetOptions{OifIndex: link.Index, SrcAddr: src.AsSlice()})
		if !errors.Is(err, ErrNoRoute) {
			return gateway, err
		}
	}
	return t.route(dst, &netlink.RouteGetOptions{OifIndex: link.Index})
}

// route asks the kernel once.
func (t *Table) route(dst netip.Addr, options *netlink.RouteGetOptions) (netip.Addr, error) {
	routes, err := t.routes.RouteGetWithOptions(dst.AsSlice(), options)
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.EACCES), errors.Is(err, unix.EINVAL),
		errors.Is(err, unix.ENODEV): // reject routes and rules of all kinds have an errno each
		return netip.Addr{}, fmt.Errorf("%w: %w", ErrNoRoute, err)
	case err != nil:
		return netip.Addr{}, fmt.Errorf("look up the route: %w", err)
	case len(routes) == 0, routes[0].LinkIndex != options.OifIndex, routes[0].Type != unix.RTN_UNICAST:
		return netip.Addr{}, ErrNoRoute
	}
	gateway, _ := netip.AddrFromSlice(routes[0].Gw)
	return gateway, nil
}

// Use has the kernel resolve the gateway's link-layer address, or check that it is still there if that is in doubt (RFC 4861, 7.3), as if a
// packet had been sent to it. What becomes of it is in Hop later, after a knock of Watch. An entry that somebody else keeps is left as it is.
func (t *Table) Use(link int, gateway netip.Addr) error {
	n, err := t.neighbour(link, gateway)
	if err != nil {
		return fmt.Errorf("use neighbour %s: look it up: %w", gateway, err)
	}
	if n.kept() {
		return nil
	}
	request := neighbour{link: link, flags: unix.NTF_USE}
	if _, err := t.ask(unix.RTM_NEWNEIGH, nl.Create|nl.Acknowledge, request, gateway); err != nil {
		return fmt.Errorf("use neighbour %s: %w", gateway, err)
	}
	return nil
}

// neighbour is the entry of the gateway, with no state where there is none.
func (t *Table) neighbour(link int, gateway netip.Addr) (neighbour, error) {
	messages, err := t.ask(unix.RTM_GETNEIGH, 0, neighbour{link: link}, gateway)
	if errors.Is(err, unix.ENOENT) {
		return neighbour{}, nil
	}
	if err != nil {
		return neighbour{}, err
	}
	for _, m := range messages {
		if n, ok := parse(m); ok && n.link == link {
			return n, nil
		}
	}
	return neighbour{}, nil
}

// ask sends a request about one neighbour, and is the answer.
func (t *Table) ask(kind nl.HeaderType, flags nl.HeaderFlags, n neighbour, gateway netip.Addr) ([]nl.Message, error) {
	data, err := n.request(gateway)
	if err != nil {
		return nil, err
	}
	if err := t.neighbours.SetDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	return t.neighbours.Execute(nl.Message{Header: nl.Header{Type: kind, Flags: nl.Request | flags}, Data: data})
}
