package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"uclat/test/lab/netlab"
)

// Roles are the lab's hosts, for netlab.Main.
func Roles() netlab.Roles {
	return netlab.Roles{"router": router, "plat": plat, "server": server, "tries": tries, "without-ipv4": withoutIPv4}
}

// internet is the lab, running.
type internet struct {
	*netlab.Lab
	laptop, router, plat, hop, server *netlab.Node
}

// newLab is a lab without hosts yet, where this machine has what one needs.
func newLab() (*netlab.Lab, error) {
	l, err := netlab.New()
	if err != nil {
		return nil, Missing{err}
	}
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		return nil, Missing{fmt.Errorf("lab: %w: load the driver (modprobe tun), or give the container the device (--device=/dev/net/tun)", err)}
	}
	return l, tun.Close()
}

// start builds the lab and returns when the laptop has its IPv6 address. Close ends it.
func start(ctx context.Context, l *netlab.Lab) (_ *internet, err error) {
	n := &internet{Lab: l}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	infrastructure := netlab.NodeOptions{NoDAD: true}
	for _, x := range []struct {
		node **netlab.Node
		name string
		opt  netlab.NodeOptions
	}{
		{&n.laptop, "laptop", netlab.NodeOptions{}}, {&n.router, "router", infrastructure}, {&n.plat, "plat", infrastructure},
		{&n.hop, "hop", infrastructure}, {&n.server, "server", infrastructure},
	} {
		if *x.node, err = l.Node(x.name, x.opt); err != nil {
			return nil, err
		}
	}
	if err = n.connect(); err != nil {
		return nil, err
	}
	if err = n.startRoles(ctx); err != nil {
		return nil, err
	}
	// uclat needs no configuration: what it has to know, it finds.
	if err = n.laptop.WriteFile("/etc/resolv.conf", fmt.Appendf(nil, "nameserver %v\n", routerLAN.Addr())); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	// An advertisement may come before the link-local address is known to be free.
	for _, p := range []netip.Prefix{linkLocal, lanPrefix} {
		if _, err = n.laptop.WaitAddr(ctx, uplink, p); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// connect lays the cables, and gives all but the laptop their addresses and routes: that one has to find its own.
func (n *internet) connect() error {
	mtu := netlab.LinkOptions{MTU: linkMTU}
	last := netlab.LinkOptions{MTU: serverMTU}
	router, plat, hop, server := n.router, n.plat, n.hop, n.server
	return first(
		func() error { return plat.SetSysctl("net.ipv4.ip_forward", "1") },
		func() error { return hop.SetSysctl("net.ipv4.ip_forward", "1") },
		func() error { return plat.SetSysctl("net.ipv6.conf.all.forwarding", "1") },
		func() error { return router.SetSysctl("net.ipv6.conf.all.forwarding", "1") },
		func() error {
			return netlab.Connect(n.laptop, uplink, router, "lan0", mtu)
		},
		func() error { return netlab.Connect(router, "wan0", plat, "wan0", mtu) },
		func() error { return netlab.Connect(plat, "net0", hop, "net0", mtu) },
		func() error { return netlab.Connect(hop, "net1", server, "eth0", last) },
		func() error { return router.AddAddr("lan0", routerLAN) },
		func() error { return router.AddAddr("wan0", routerWAN) },
		func() error { return plat.AddAddr("wan0", platWAN) },
		func() error { return plat.AddAddr("net0", platNet) },
		func() error { return hop.AddAddr("net0", hopNet) },
		func() error { return hop.AddAddr("net1", hopServer) },
		func() error { return server.AddAddr("eth0", serverNet) },
		func() error {
			return router.AddRoute(netlab.Route{Dst: prefix64.Prefix(), Via: platWAN.Addr(), Dev: "wan0"})
		},
		func() error { return plat.AddRoute(netlab.Route{Dst: default6, Via: routerWAN.Addr(), Dev: "wan0"}) },
		func() error { return plat.AddRoute(netlab.Route{Dst: default4, Via: hopNet.Addr(), Dev: "net0"}) },
		func() error { return hop.AddRoute(netlab.Route{Dst: platPool, Via: platNet.Addr(), Dev: "net0"}) },
		func() error { return server.AddRoute(netlab.Route{Dst: default4, Via: hopServer.Addr(), Dev: "eth0"}) },
	)
}

// startRoles starts what the hosts do, and waits until each is ready.
func (n *internet) startRoles(ctx context.Context) error {
	for _, x := range []struct {
		node *netlab.Node
		role string
	}{{n.plat, "plat"}, {n.server, "server"}, {n.router, "router"}} {
		r, err := x.node.Role(ctx, x.role, nil)
		if err != nil {
			return err
		}
		var ready string
		if err := r.Next(&ready); err != nil {
			return fmt.Errorf("lab: %s did not start: %w", x.role, errors.Join(err, r.Stop()))
		}
	}
	return first(
		func() error { return n.plat.SetUp(platTUN, true) },
		func() error { return n.plat.AddRoute(netlab.Route{Dst: prefix64.Prefix(), Dev: platTUN}) },
		func() error { return n.plat.AddRoute(netlab.Route{Dst: platPool, Dev: platTUN}) },
	)
}

// first runs steps until one fails.
func first(steps ...func() error) error {
	for _, s := range steps {
		if err := s(); err != nil {
			return err
		}
	}
	return nil
}
