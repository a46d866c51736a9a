package e2e

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// The addresses of the topology.
var (
	lanPrefix    = netip.MustParsePrefix("2001:db8:1::/64") // advertised to the laptop
	routerLAN    = netip.MustParsePrefix("2001:db8:1::1/64")
	routerLL     = netip.MustParsePrefix("fe80::1/64") // the laptop's default router
	routerUp     = netip.MustParsePrefix("2001:db8:2::1/64")
	platLAN      = netip.MustParsePrefix("2001:db8:2::2/64")
	routedPrefix = netip.MustParsePrefix("2001:db8:c1a7::/64") // routed to the laptop
	pref64       = netip.MustParsePrefix("2001:db8:64::/96")
	platPool     = netip.MustParsePrefix("192.168.255.0/24") // what TAYGA gives to IPv6 sources
	platSelf     = netip.MustParseAddr("192.168.255.1")
	platWAN      = netip.MustParsePrefix("198.51.100.1/24")
	serverWAN    = netip.MustParsePrefix("198.51.100.10/24")
	server4      = serverWAN.Addr()
	server6      = netip.MustParseAddr("2001:db8:64::c633:640a") // the server in pref64
)

// network is what a topology can be made of. What is not said is path kernel, a cable, and an ordinary router.
type network struct {
	path path // of the program that is tested
	lan  lan  // between the laptop and the router
	says *advertised

	announces *announcement // by the test, instead of what radvd would say: see announcer. The laptop knows no resolver then but what it is told
}

// topology is the network of the tests.
type topology struct {
	path
	lab *netlab.Lab
	lan
	laptop, router, plat, server *netlab.Node
	bridge                       *netlab.Node // between laptop and router, where there is one
	hop                          *netlab.Node // between PLAT and server, where addHop put one
	radvd                        *radvd       // of the router, or
	announcer                    *announcer   // the test itself
	tayga                        *process     // of the PLAT
	plats                        int          // how many more there are
	laptopAddr                   netip.Addr   // that the laptop has in lanPrefix; invalid where it makes none
}

// newTopology makes the network for a test of path kernel.
func newTopology(t *testing.T) *topology {
	t.Helper()
	return newNetwork(t, network{})
}

// newNetwork makes the network and waits until the laptop is connected.
func newNetwork(t *testing.T, with network) *topology {
	t.Helper()
	if with.path.name == "" {
		with.path = onKernel
	}
	if with.lan.lay == nil {
		with.lan = cable
	}
	if with.says == nil {
		usual := ordinary(lasting(lanPrefix))
		with.says = &usual
	}
	peers.NeedRoot(t)
	needTUN(t)
	lab, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	top := &topology{path: with.path, lan: with.lan, lab: lab}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	for name, node := range map[string]**netlab.Node{"laptop": &top.laptop, "router": &top.router, "plat": &top.plat, "server": &top.server} {
		if *node, err = lab.Node(name, netlab.NodeOptions{NoDAD: name != "laptop"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := top.connect(t); err != nil {
		t.Fatal(err)
	}
	if err := top.awaitRouter(t.Context()); err != nil {
		t.Fatal(err)
	}
	switch {
	case with.announces != nil:
		top.announcer = startAnnouncer(t, top.router, "lan0", routerLL.Addr())
		top.announcer.say(t, *with.announces)
		with.says = &with.announces.advertised
	case !top.address.IsValid():
		top.radvd = startRadvd(t, top.router, "lan0", routerLL.Addr(), *with.says)
	}
	top.startUnbound(t)
	top.startTAYGA(t)
	top.masquerade(t)
	top.startServer(t)
	if err := top.awaitLaptop(t.Context(), with.says.makesAddress(lanPrefix)); err != nil {
		t.Fatal(err)
	}
	if with.announces != nil {
		if err := top.laptop.WriteFile("/etc/resolv.conf", nil); err != nil {
			t.Fatal(err)
		}
	}
	return top
}

func needTUN(t *testing.T) {
	t.Helper()
	tun, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		peers.Skip(t, "no TUN devices here: %v", err)
	}
	tun.Close()
}

// connect lays the cables and configures what no daemon does.
func (top *topology) connect(t *testing.T) error {
	router, plat, server := top.router, top.plat, top.server
	anywhere4, anywhere6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	return errors.Join(
		// Before a link is up: a router's interfaces do not listen to advertisements.
		router.SetSysctl("net.ipv6.conf.all.forwarding", "1"),
		plat.SetSysctl("net.ipv6.conf.all.forwarding", "1"),
		plat.SetSysctl("net.ipv4.ip_forward", "1"),
		// Errors that a limit swallows would be hops that a traceroute lacks.
		router.SetSysctl("net.ipv6.icmp.ratelimit", "0"),
		plat.SetSysctl("net.ipv6.icmp.ratelimit", "0"),
		plat.SetSysctl("net.ipv4.icmp_ratelimit", "0"),
		server.SetSysctl("net.ipv4.icmp_ratelimit", "0"),
		top.laptop.SetSysctl("net.ipv6.conf.default.router_solicitation_delay", "0"),
		top.lay(t, top),
		netlab.Connect(router, "up0", plat, "lan0", netlab.LinkOptions{MACA: mac(0x21), MACB: mac(0x22)}),
		netlab.Connect(plat, "wan0", server, "eth0", netlab.LinkOptions{MACA: mac(0x31), MACB: mac(0x32)}),
		router.AddAddr("lan0", routerLAN),
		router.AddAddr("lan0", routerLL),
		router.AddAddr("up0", routerUp),
		router.AddRoute(netlab.Route{Dst: pref64, Via: platLAN.Addr()}),
		plat.AddAddr("lan0", platLAN),
		plat.AddRoute(netlab.Route{Dst: anywhere6, Via: routerUp.Addr()}),
		plat.AddAddr("wan0", platWAN),
		server.AddAddr("eth0", serverWAN),
		server.AddRoute(netlab.Route{Dst: anywhere4, Via: platWAN.Addr()}),
	)
}

// awaitRouter waits until programs can use the router's addresses: also without duplicate address detection, the kernel takes a moment.
func (top *topology) awaitRouter(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, addr := range []netip.Prefix{routerLAN, routerLL} {
		if _, err := top.router.WaitAddr(ctx, "lan0", host(addr.Addr())); err != nil {
			return err
		}
	}
	return nil
}

// awaitLaptop waits until the laptop has configured itself, routes the other prefix to it and names its resolver.
func (top *topology) awaitLaptop(ctx context.Context, makesAddress bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if top.address.IsValid() {
		if err := top.laptop.AddAddr(top.uplink, top.address); err != nil {
			return err
		}
	}
	linkLocal, err := top.laptop.WaitAddr(ctx, top.uplink, netip.MustParsePrefix("fe80::/10"))
	if err != nil {
		return err
	}
	if makesAddress {
		if top.laptopAddr, err = top.laptop.WaitAddr(ctx, top.uplink, lanPrefix); err != nil {
			return err
		}
	}
	return errors.Join(
		top.router.AddRoute(netlab.Route{Dst: routedPrefix, Via: linkLocal, Dev: "lan0"}),
		top.laptop.WriteFile("/etc/resolv.conf", []byte("nameserver "+routerLAN.Addr().String()+"\n")),
	)
}

// oneAddress is what the laptop is given where it can make no address itself, as by DHCPv6.
var oneAddress = netip.MustParseAddr("2001:db8:1::d")

// giveAddress gives the laptop an address with its prefix.
func (top *topology) giveAddress(t *testing.T, addr netip.Prefix) {
	t.Helper()
	if err := top.laptop.AddAddr(top.uplink, addr); err != nil {
		t.Fatal(err)
	}
	if _, err := top.laptop.WaitAddr(t.Context(), top.uplink, host(addr.Addr())); err != nil {
		t.Fatal(err)
	}
	top.laptopAddr = addr.Addr()
}
