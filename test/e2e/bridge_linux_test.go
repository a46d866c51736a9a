package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/mdlayher/ndp"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// layBridge puts a switch between the laptop and the router: laptop0, router0 and the ports of others are one link by br0.
func layBridge(_ *testing.T, top *topology) (err error) {
	if top.bridge, err = top.lab.Node("bridge", netlab.NodeOptions{NoDAD: true}); err != nil {
		return err
	}
	return errors.Join(
		netlab.Connect(top.laptop, "eth0", top.bridge, "laptop0", netlab.LinkOptions{MACA: mac(0x11)}),
		netlab.Connect(top.router, "lan0", top.bridge, "router0", netlab.LinkOptions{MACA: mac(0x12)}),
		top.bridge.AddBridge("br0", "laptop0", "router0"),
	)
}

// addNeighbour puts another host on the bridge. It has these addresses, and makes none from what is advertised.
func (top *topology) addNeighbour(t *testing.T, name string, addrs ...netip.Addr) *netlab.Node {
	t.Helper()
	n, err := top.lab.Node(name, netlab.NodeOptions{NoDAD: true})
	if err != nil {
		t.Fatal(err)
	}
	steps := []error{
		n.SetSysctl("net.ipv6.conf.default.accept_ra", "0"),
		netlab.Connect(n, "eth0", top.bridge, name+"0", netlab.LinkOptions{}),
		top.bridge.AddPort("br0", name+"0"),
	}
	for _, addr := range addrs {
		steps = append(steps, n.AddAddr("eth0", netip.PrefixFrom(addr, 64)))
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	return n
}

// forgetful has the bridge drop what is sent to the laptop's addresses in the link's prefix that it does not know. It learns one when the laptop
// answers for it with a Neighbor Advertisement, and lets all Neighbor Solicitations pass.
func (top *topology) forgetful(t *testing.T) {
	t.Helper()
	rules := fmt.Sprintf(`table bridge bindings {
	set known { type ipv6_addr; flags dynamic; size 1000; }
	chain forward {
		type filter hook forward priority 0
		iifname laptop0 icmpv6 type nd-neighbor-advert update @known { @nh,384,128 }
		oifname laptop0 icmpv6 type nd-neighbor-solicit accept
		oifname laptop0 ip6 daddr %s ip6 daddr != @known counter drop
	}
	chain input {
		type filter hook input priority 0
		iifname laptop0 icmpv6 type nd-neighbor-advert update @known { @nh,384,128 }
	}
}
`, lanPrefix)
	if r := tryInput(t, top.bridge, rules, peers.Find(t, "nft"), "-f", "-"); r.code != 0 {
		t.Fatalf("nft: %+v", r)
	}
}

// forgetHosts has the forgetful bridge forget all that it has learned.
func (top *topology) forgetHosts(t *testing.T) {
	t.Helper()
	must(t, top.bridge, peers.Find(t, "nft"), "flush", "set", "bridge", "bindings", "known")
}

// knows says whether the forgetful bridge has learned an address.
func (top *topology) knows(t *testing.T, addr netip.Addr) bool {
	t.Helper()
	set := must(t, top.bridge, peers.Find(t, "nft"), "list", "set", "bridge", "bindings", "known")
	return slices.Contains(strings.FieldsFunc(set, func(r rune) bool { return strings.ContainsRune(" ,\n\t{}", r) }), addr.String())
}

// asks has the bridge send a Neighbor Solicitation for one of the laptop's addresses to that address and to nobody else.
func (top *topology) asks(t *testing.T, addr netip.Addr) {
	t.Helper()
	laptop, err := top.laptop.HardwareAddr("eth0")
	if err != nil {
		t.Fatal(err)
	}
	must(t, top.bridge, peers.Find(t, "ip"), "neigh", "replace", addr.String(), "lladdr", laptop.String(), "dev", "br0", "nud", "permanent")
	must(t, top.bridge, peers.Find(t, "ip"), "route", "replace", host(addr).String(), "dev", "br0")
	top.solicit(t, top.bridge, "br0", addr, addr)
}

// snoop has the bridge ask which groups there are hosts of, and send to each port what is for its groups only.
func (top *topology) snoop(t *testing.T) {
	t.Helper()
	// It waits for answers first, for half a second instead of ten.
	for _, args := range []string{"mcast_query_response_interval 50", "mcast_mld_version 2", "mcast_querier 1"} {
		must(t, top.bridge, peers.Find(t, "ip"), append([]string{"link", "set", "br0", "type", "bridge"}, strings.Fields(args)...)...)
	}
}

// awaitSnooping waits until it does, as another host on the bridge finds out.
func (top *topology) awaitSnooping(t *testing.T, printer *netlab.Node) {
	t.Helper()
	stranger := netip.MustParseAddr("2001:db8:1::dead") // nobody on the laptop's port has asked for its group
	eventually(t, "what is for another group does not come to the laptop", func() bool { return !top.arrives(t, printer, stranger) })
}

// arrives says whether a Neighbor Solicitation to an address's group comes to the laptop.
func (top *topology) arrives(t *testing.T, from *netlab.Node, addr netip.Addr) bool {
	t.Helper()
	const targets = "icmp6 and ip6[40] == 135 and ip6[48:4] == 0x20010db8" // of global addresses
	seen := startCapture(t, top.bridge, "laptop0", targets)
	top.solicit(t, from, "eth0", solicitedNode(addr), addr)
	top.solicit(t, from, "eth0", netip.IPv6LinkLocalAllNodes(), routerLAN.Addr()) // all get this one
	last := func(f []byte) bool { return target(f) == routerLAN.Addr() }
	eventually(t, "solicitations", func() bool { return slices.ContainsFunc(seen.soFar(t), last) })
	return slices.ContainsFunc(seen.frames(t), func(f []byte) bool { return target(f) == addr })
}

// target is whom a Neighbor Solicitation is about, in an Ethernet frame.
func target(f []byte) netip.Addr { return netip.AddrFrom16([16]byte(f[14+40+8:])) }

// changeMAC gives a router's interface on the laptop's link another link-layer address. It tells nobody.
func (top *topology) changeMAC(t *testing.T, n *netlab.Node, mac net.HardwareAddr) {
	t.Helper()
	if err := n.SetHardwareAddr("lan0", mac); err != nil {
		t.Fatal(err)
	}
}

// solicitedNode is the group of those who may have an address (RFC 4291, 2.7.1).
func solicitedNode(addr netip.Addr) netip.Addr {
	group, a := netip.MustParseAddr("ff02::1:ff00:0").As16(), addr.As16()
	copy(group[13:], a[13:])
	return netip.AddrFrom16(group)
}

// solicit sends a Neighbor Solicitation from a node's link-local address.
func (top *topology) solicit(t *testing.T, n *netlab.Node, dev string, to, target netip.Addr) {
	t.Helper()
	sender, err := n.HardwareAddr(dev)
	if err != nil {
		t.Fatal(err)
	}
	inside(t, n, func() error {
		ifi, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		conn, _, err := ndp.Listen(ifi, ndp.LinkLocal)
		if err != nil {
			return err
		}
		defer conn.Close()
		return conn.WriteTo(&ndp.NeighborSolicitation{
			TargetAddress: target, Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: sender}},
		}, nil, to)
	})
}
