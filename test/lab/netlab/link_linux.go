package netlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// LinkOptions are the properties of a link between two nodes. What is zero is the kernel's choice: 1500 octets, random addresses.
type LinkOptions struct {
	MTU        int
	MACA, MACB net.HardwareAddr
}

// Connect makes a cable between two nodes, an interface of that name at each end, and sets both ends up.
func Connect(a *Node, ifA string, b *Node, ifB string, opt LinkOptions) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = ifA, opt.MTU, opt.MACA
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: ifB, PeerMTU: uint32(opt.MTU), PeerHardwareAddr: opt.MACB,
		PeerNamespace: netlink.NsPid(b.PID())}
	if err := a.handle.LinkAdd(veth); err != nil {
		return fmt.Errorf("netlab: connecting %s of %s with %s of %s: %w", ifA, a.name, ifB, b.name, err)
	}
	return errors.Join(a.SetUp(ifA, true), b.SetUp(ifB, true))
}

func (n *Node) link(dev string) (netlink.Link, error) {
	l, err := n.handle.LinkByName(dev)
	if err != nil {
		return nil, fmt.Errorf("netlab: %s of node %s: %w", dev, n.name, err)
	}
	return l, nil
}

// SetUp sets an interface up or down.
func (n *Node) SetUp(dev string, up bool) error {
	l, err := n.link(dev)
	if err != nil {
		return err
	}
	set := n.handle.LinkSetDown
	if up {
		set = n.handle.LinkSetUp
	}
	if err := set(l); err != nil {
		return fmt.Errorf("netlab: setting %s of node %s up or down: %w", dev, n.name, err)
	}
	return nil
}

// SetMTU sets the MTU of an interface.
func (n *Node) SetMTU(dev string, mtu int) error {
	l, err := n.link(dev)
	if err != nil {
		return err
	}
	if err := n.handle.LinkSetMTU(l, mtu); err != nil {
		return fmt.Errorf("netlab: MTU %d of %s of node %s: %w", mtu, dev, n.name, err)
	}
	return nil
}

// HardwareAddr is the link-layer address of an interface.
func (n *Node) HardwareAddr(dev string) (net.HardwareAddr, error) {
	l, err := n.link(dev)
	if err != nil {
		return nil, err
	}
	return l.Attrs().HardwareAddr, nil
}

// SetHardwareAddr gives an interface another link-layer address, also while it is up.
func (n *Node) SetHardwareAddr(dev string, mac net.HardwareAddr) error {
	l, err := n.link(dev)
	if err != nil {
		return err
	}
	if err := n.handle.LinkSetHardwareAddr(l, mac); err != nil {
		return fmt.Errorf("netlab: address %s of %s of node %s: %w", mac, dev, n.name, err)
	}
	return nil
}

// AddBridge makes a bridge of interfaces that there are, and sets it up. It may be a bridge of none, for AddPort.
func (n *Node) AddBridge(bridge string, ports ...string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = bridge
	if err := n.handle.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		return fmt.Errorf("netlab: bridge %s in node %s: %w", bridge, n.name, err)
	}
	for _, dev := range ports {
		if err := n.AddPort(bridge, dev); err != nil {
			return err
		}
	}
	return n.SetUp(bridge, true)
}

// AddPort makes an interface a port of a bridge.
func (n *Node) AddPort(bridge, dev string) error {
	b, err := n.link(bridge)
	if err != nil {
		return err
	}
	l, err := n.link(dev)
	if err != nil {
		return err
	}
	if err := n.handle.LinkSetMaster(l, b); err != nil {
		return fmt.Errorf("netlab: %s as a port of %s in node %s: %w", dev, bridge, n.name, err)
	}
	return nil
}

// AddAddr gives an interface an address, with the prefix that is on-link by it.
func (n *Node) AddAddr(dev string, addr netip.Prefix) error {
	l, err := n.link(dev)
	if err != nil {
		return err
	}
	if err := n.handle.AddrAdd(l, &netlink.Addr{IPNet: ipNet(addr)}); err != nil {
		return fmt.Errorf("netlab: address %s of %s of node %s: %w", addr, dev, n.name, err)
	}
	return nil
}

// DelAddr takes an address from an interface.
func (n *Node) DelAddr(dev string, addr netip.Prefix) error {
	l, err := n.link(dev)
	if err != nil {
		return err
	}
	if err := n.handle.AddrDel(l, &netlink.Addr{IPNet: ipNet(addr)}); err != nil {
		return fmt.Errorf("netlab: taking address %s from %s of node %s: %w", addr, dev, n.name, err)
	}
	return nil
}

// Addrs lists the addresses of an interface that can be used: not tentative, and not found to be somebody else's.
func (n *Node) Addrs(dev string) ([]netip.Prefix, error) {
	l, err := n.link(dev)
	if err != nil {
		return nil, err
	}
	list, err := n.handle.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("netlab: addresses of %s of node %s: %w", dev, n.name, err)
	}
	var addrs []netip.Prefix
	for _, a := range list {
		if a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 {
			addrs = append(addrs, prefixOf(a.IPNet))
		}
	}
	return addrs, nil
}

// WaitAddr waits until an interface has a usable address in a prefix, and returns that.
func (n *Node) WaitAddr(ctx context.Context, dev string, within netip.Prefix) (netip.Addr, error) {
	const pause = 20 * time.Millisecond
	for {
		addrs, err := n.Addrs(dev)
		if err != nil {
			return netip.Addr{}, err
		}
		if i := slices.IndexFunc(addrs, func(p netip.Prefix) bool { return within.Contains(p.Addr()) }); i >= 0 {
			return addrs[i].Addr(), nil
		}
		select {
		case <-ctx.Done():
			return netip.Addr{}, fmt.Errorf("netlab: %s of node %s got no address in %s: %w", dev, n.name, within, ctx.Err())
		case <-time.After(pause):
		}
	}
}

// Route is a route of the main table.
type Route struct {
	Dst    netip.Prefix
	Via    netip.Addr // invalid: on-link
	Dev    string     // may be empty where Via tells
	MTU    int        // octets; 0: the interface's
	Metric int        // 0: the kernel's choice
}

// AddRoute adds a route.
func (n *Node) AddRoute(r Route) error {
	return n.changeRoute("adding", r, n.handle.RouteAdd)
}

// DelRoute removes a route.
func (n *Node) DelRoute(r Route) error {
	return n.changeRoute("removing", r, n.handle.RouteDel)
}

func (n *Node) changeRoute(what string, r Route, change func(*netlink.Route) error) error {
	nl := netlink.Route{Dst: ipNet(r.Dst), MTU: r.MTU, Priority: r.Metric}
	if r.Via.IsValid() {
		nl.Gw = r.Via.WithZone("").AsSlice()
	} else {
		nl.Scope = netlink.SCOPE_LINK
	}
	if r.Dev != "" {
		l, err := n.link(r.Dev)
		if err != nil {
			return err
		}
		nl.LinkIndex = l.Attrs().Index
	}
	if err := change(&nl); err != nil {
		return fmt.Errorf("netlab: %s route %s via %s dev %q in node %s: %w", what, r.Dst, r.Via, r.Dev, n.name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	addr, _ := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), bits)
}
