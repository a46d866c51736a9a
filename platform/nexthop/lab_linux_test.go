package nexthop

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

var (
	plat     = netip.MustParseAddr("64:ff9b::c000:1")
	clat     = netip.MustParseAddr("2001:db8:1::c1a7") // of no host
	routers  = [...]string{"router1", "router2"}
	gateways = [...]netip.Addr{netip.MustParseAddr("fe80::a1"), netip.MustParseAddr("fe80::a2")}
	macs     = [...]net.HardwareAddr{{2, 0, 0, 0, 0, 0xa1}, {2, 0, 0, 0, 0, 0xa2}}
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eth0 --- lan0 (other namespace), with router1 and router2 on it, each with a link-layer address of its own. Neighbours are doubted soon.
func lan(t *testing.T) *nstest.NS {
	t.Helper()
	ns := nstest.New(t)
	nstest.Veth(t, "eth0", "lan0", ns)
	ns.Do(t, func() error {
		// A host's Neighbor Advertisement would take the router out of the default router list (RFC 4861, 7.3.3).
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0); err != nil {
			return err
		}
		for i := range routers {
			if err := addRouter(i); err != nil {
				return err
			}
		}
		return nil
	})
	for name, value := range map[string]string{
		"base_reachable_time_ms": "500", "delay_first_probe_time": "0", "retrans_time_ms": "20", "mcast_solicit": "3", "ucast_solicit": "3",
	} {
		must(t, os.WriteFile("/proc/sys/net/ipv6/neigh/eth0/"+name, []byte(value), 0))
	}
	must(t, nstest.AddAddr("eth0", "2001:db8:1::5/64"))
	return ns
}

func addRouter(i int) error {
	lan0, err := netlink.LinkByName("lan0")
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.ParentIndex, attrs.HardwareAddr = routers[i], lan0.Attrs().Index, macs[i]
	router := &netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}
	if err := netlink.LinkAdd(router); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(router); err != nil {
		return err
	}
	return nstest.AddAddr(routers[i], gateways[i].String()+"/64")
}

// kill makes a router vanish without a word.
func kill(t *testing.T, ns *nstest.NS, i int) {
	t.Helper()
	ns.Do(t, func() error {
		router, err := netlink.LinkByName(routers[i])
		if err != nil {
			return err
		}
		return netlink.LinkDel(router)
	})
}

// say has a router multicast a message to all nodes.
func say(t *testing.T, ns *nstest.NS, i int, m ndp.Message) {
	t.Helper()
	ns.Do(t, func() error {
		ifi, err := net.InterfaceByName(routers[i])
		if err != nil {
			return err
		}
		conn, _, err := ndp.Listen(ifi, ndp.Addr(gateways[i].String()))
		if err != nil {
			return err
		}
		defer conn.Close()
		return conn.WriteTo(m, nil, netip.IPv6LinkLocalAllNodes())
	})
}

func open(t *testing.T) *Table {
	t.Helper()
	table, err := Open()
	must(t, err)
	t.Cleanup(func() { must(t, table.Close()) })
	return table
}

// link is an interface of the calling namespace.
func link(t *testing.T, name string, l2 bool) platform.Link {
	t.Helper()
	l, err := netlink.LinkByName(name)
	must(t, err)
	return platform.Link{Index: l.Attrs().Index, Name: name, L2: l2}
}

// tun adds a device without neighbours.
func tun(t *testing.T, name string) platform.Link {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	l := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TUN}
	must(t, netlink.LinkAdd(l))
	must(t, netlink.LinkSetUp(l))
	return link(t, name, false)
}

// route is one of IPv6 in a table; 0 is the main one.
func route(l platform.Link, dst string, via netip.Addr, table, metric int) *netlink.Route {
	p := netip.MustParsePrefix(dst)
	r := &netlink.Route{LinkIndex: l.Index, Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 128)}, Table: table, Priority: metric}
	if via.IsValid() {
		r.Gw = via.AsSlice()
	}
	return r
}

// neighbours are the entries of the link's table as the system tells them, by address.
func neighbours(t *testing.T, l platform.Link) map[string]netlink.Neigh {
	t.Helper()
	list, err := netlink.NeighList(l.Index, unix.AF_INET6)
	must(t, err)
	entries := map[string]netlink.Neigh{}
	for _, n := range list {
		n.Confirmed, n.Used, n.Updated = 0, 0, 0 // ages
		entries[n.IP.String()] = n
	}
	return entries
}

// until asks for the hop, uses its gateway as traffic would, and asks again, until the hop is as wanted.
func until(t *testing.T, table *Table, l platform.Link, what string, wanted func(Hop) bool) Hop {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		h, err := table.Hop(l, clat, plat)
		must(t, err)
		if wanted(h) {
			return h
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: after 10 s %+v", what, h)
		}
		must(t, table.Use(l.Index, h.Gateway))
	}
}
