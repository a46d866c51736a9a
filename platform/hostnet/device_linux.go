package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/clat"
	"uclat/platform"
)

// device is the TUN as we found it, and what we gave it.
type device struct {
	name    string
	index   int
	mtu     int  // octets, before us
	ipv6    bool // what was asked for last
	brought bool // up, by us
	muted   bool // IFF_MULTICAST taken away, by us
	journal journal
	addrs   []netip.Prefix // given by us
}

// setDevice sets up the TUN itself, and gives it the addresses that it lacks.
func (h *Host) setDevice(nl *netlink.Handle, want platform.HostConfig) error {
	ipv6 := carriesIPv6(want)
	if ipv6 && want.MTU != 0 && want.MTU < clat.MinMTU6 { // below it Linux takes IPv6 off the interface
		return fmt.Errorf("TUN %s: MTU %d is too small for IPv6: %d is the least (RFC 8200)", want.TUN, want.MTU, clat.MinMTU6)
	}
	if p, ok := first6(want); ok && !ipv6 {
		return fmt.Errorf("TUN %s: %s asked for on a device that carries no IPv6: ask for IPv6 too", want.TUN, p)
	}
	link, err := nl.LinkByName(want.TUN)
	if err != nil {
		return fmt.Errorf("TUN %s: not found: %w: open the device first", want.TUN, err)
	}
	attrs := link.Attrs()
	if h.tun != nil && (h.tun.name != want.TUN || h.tun.index != attrs.Index) {
		if err := h.clearDevice(nl); err != nil {
			return err
		}
	}
	if h.tun == nil {
		h.tun = &device{name: want.TUN, index: attrs.Index, mtu: attrs.MTU, journal: journal{sys: h.sys}}
	}
	// The MTU first: one that crosses 1280 gives the interface new IPv6 settings.
	if want.MTU != 0 && want.MTU != attrs.MTU {
		if err := nl.LinkSetMTU(link, want.MTU); err != nil {
			return fmt.Errorf("TUN %s: set MTU %d: %w", want.TUN, want.MTU, err)
		}
	}
	if err := h.tun.quiet(h.sys); err != nil {
		return err
	}
	h.tun.ipv6 = ipv6
	if err := h.tun.setIPv6(ipv6); err != nil {
		return fmt.Errorf("TUN %s: %w", want.TUN, err)
	}
	// Nobody is on a TUN to hear of a group. Programs that announce themselves (mDNS, SSDP) do so on every interface with this flag.
	if attrs.RawFlags&unix.IFF_MULTICAST != 0 {
		if err := nl.LinkSetMulticastOff(link); err != nil {
			return fmt.Errorf("TUN %s: turn multicast off: %w", want.TUN, err)
		}
		h.tun.muted = true
	}
	if attrs.RawFlags&unix.IFF_UP == 0 {
		if err := nl.LinkSetUp(link); err != nil {
			return fmt.Errorf("TUN %s: set up: %w", want.TUN, err)
		}
		h.tun.brought = true
	}
	return h.tun.addAddrs(nl, link, want.Addrs)
}

func carriesIPv6(want platform.HostConfig) bool { return want.IPv6 || want.Forward != nil }

// quiet keeps the kernel from doing on the TUN what it does on a link with neighbours: a link-local address, router solicitations,
// and belief in whatever a packet of ours might look like. An interface without IPv6 has nothing to be quiet about.
func (d *device) quiet(sys sysctls) error {
	// IN6_ADDR_GEN_MODE_NONE. It is not put back: the write itself would make the kernel invent an address, also while the link is
	// down. It ends with the device.
	key := confKey(d.name, "addr_gen_mode")
	mode, err := sys.read(key)
	if err == nil && mode != "1" {
		err = sys.write(key, "1")
	}
	if err == nil {
		err = d.journal.set(confKey(d.name, "accept_ra"), "0")
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("TUN %s: %w", d.name, err)
	}
	// Strict reverse-path filtering (RFC 3704) would drop all answers while another interface has the better default route. The
	// kernel takes the greater of both values, and loose is the greatest.
	strict := false
	for _, name := range []string{"all", d.name} {
		v, err := sys.read("net/ipv4/conf/" + name + "/rp_filter")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("TUN %s: %w", d.name, err)
		}
		strict = strict || v == "1"
	}
	if strict {
		if err := d.journal.set("net/ipv4/conf/"+d.name+"/rp_filter", "2"); err != nil {
			return fmt.Errorf("TUN %s: %w", d.name, err)
		}
	}
	return nil
}

// setIPv6 turns the device's IPv6 on, where new interfaces get none (conf/default/disable_ipv6), or off. One of an MTU below 1280 has none.
func (d *device) setIPv6(on bool) error {
	value := "1"
	if on {
		value = "0"
	}
	err := d.journal.set(confKey(d.name, "disable_ipv6"), value)
	if !on && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// first6 is an IPv6 address or route that want has on the TUN.
func first6(want platform.HostConfig) (p netip.Prefix, ok bool) {
	for _, a := range want.Addrs {
		if a.Addr().Is6() {
			return a, true
		}
	}
	for _, r := range want.Routes {
		if r.Link == 0 && r.Dst.Addr().Is6() {
			return r.Dst, true
		}
	}
	return p, false
}

func (d *device) addAddrs(nl *netlink.Handle, link netlink.Link, want []netip.Prefix) error {
	have, err := nl.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("TUN %s: list addresses: %w", d.name, err)
	}
	for _, p := range want {
		addr := kernelAddr(p)
		if slices.ContainsFunc(have, func(a netlink.Addr) bool { return a.IPNet.String() == addr.IPNet.String() }) {
			continue
		}
		if err := nl.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("TUN %s: add address %s: %w", d.name, p, err)
		}
		if !slices.Contains(d.addrs, p) {
			d.addrs = append(d.addrs, p)
		}
	}
	return nil
}

// dropAddrs takes away the addresses of ours that are no longer wanted. The kernel takes the IPv4 routes with it that have them as their source:
// those have another one by now.
func (d *device) dropAddrs(nl *netlink.Handle, want []netip.Prefix) error {
	var errs error
	d.addrs = slices.DeleteFunc(d.addrs, func(p netip.Prefix) bool {
		if slices.Contains(want, p) {
			return false
		}
		addr := kernelAddr(p)
		addr.LinkIndex = d.index
		if err := nl.AddrDel(nil, addr); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = errors.Join(errs, fmt.Errorf("TUN %s: remove address %s: %w", d.name, p, err))
			return false
		}
		return true
	})
	return errs
}

// clearDevice puts the TUN back as it was found. One that is gone took everything with it.
func (h *Host) clearDevice(nl *netlink.Handle) error {
	d := h.tun
	if d == nil {
		return nil
	}
	link, err := nl.LinkByIndex(d.index)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		h.tun = nil
		return nil
	}
	if err != nil {
		return fmt.Errorf("TUN %s: put back: %w", d.name, err)
	}
	errs := d.dropAddrs(nl, nil)
	if d.brought {
		if err := nl.LinkSetDown(link); err != nil {
			errs = errors.Join(errs, fmt.Errorf("TUN %s: set down: %w", d.name, err))
		}
	}
	if d.muted {
		if err := nl.LinkSetMulticastOn(link); err != nil {
			errs = errors.Join(errs, fmt.Errorf("TUN %s: turn multicast on: %w", d.name, err))
		}
	}
	errs = errors.Join(errs, d.journal.undo(nil))
	if link.Attrs().MTU != d.mtu {
		if err := nl.LinkSetMTU(link, d.mtu); err != nil {
			errs = errors.Join(errs, fmt.Errorf("TUN %s: set MTU back to %d: %w", d.name, d.mtu, err))
		}
	}
	if errs == nil {
		h.tun = nil
	}
	return errs
}

// kernelAddr is the address without a route to its prefix, which would not be ours by protocol, and without duplicate address
// detection, for which a TUN has no neighbours.
func kernelAddr(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p), Flags: unix.IFA_F_NOPREFIXROUTE}
	if p.Addr().Is6() {
		a.Flags |= unix.IFA_F_NODAD
	}
	return a
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// confKey is the sysctl of an interface's IPv6 side; the interface may be "all" or "default".
func confKey(iface, name string) string { return "net/ipv6/conf/" + iface + "/" + name }
