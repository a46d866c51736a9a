package e2e

import (
	"errors"
	"net/netip"
	"testing"

	"uclat/test/lab/netlab"
)

// The addresses of the other router, which has a link of its own to the PLAT.
var (
	router2LL  = netip.MustParsePrefix("fe80::2/64")
	router2LAN = netip.MustParsePrefix("2001:db8:1::2/64")
	router2Up  = netip.MustParsePrefix("2001:db8:3::1/64")
	platLAN2   = netip.MustParsePrefix("2001:db8:3::2/64")
)

// secondRouter is another router on the bridge.
type secondRouter struct {
	*netlab.Node
	radvd *radvd
}

// addRouter puts another router on the bridge, which advertises itself and the same prefix. Answers go on by the first, until they are
// turned to it.
func (top *topology) addRouter(t *testing.T, says advertised) *secondRouter {
	t.Helper()
	n := top.laySecond(t)
	if err := n.AddRoute(netlab.Route{Dst: pref64, Via: platLAN2.Addr()}); err != nil {
		t.Fatal(err)
	}
	return &secondRouter{n, startRadvd(t, n, "lan0", router2LL.Addr(), says)}
}

// laySecond is that router, which says nothing and has no way to a PLAT.
func (top *topology) laySecond(t *testing.T) *netlab.Node {
	t.Helper()
	n, err := top.lab.Node("router2", netlab.NodeOptions{NoDAD: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		n.SetSysctl("net.ipv6.conf.all.forwarding", "1"),
		n.SetSysctl("net.ipv6.icmp.ratelimit", "0"),
		netlab.Connect(n, "lan0", top.bridge, "router20", netlab.LinkOptions{MACA: mac(0x13)}),
		netlab.Connect(n, "up0", top.plat, "lan1", netlab.LinkOptions{}),
		top.bridge.AddPort("br0", "router20"),
		n.AddAddr("lan0", router2LAN),
		n.AddAddr("lan0", router2LL),
		n.AddAddr("up0", router2Up),
		top.plat.AddAddr("lan1", platLAN2),
	); err != nil {
		t.Fatal(err)
	}
	if _, err := n.WaitAddr(t.Context(), "lan0", host(router2LL.Addr())); err != nil {
		t.Fatal(err)
	}
	return n
}

// answersBySecond has answers to the laptop's link come by the second router.
func (top *topology) answersBySecond(t *testing.T) {
	t.Helper()
	if err := top.plat.AddRoute(netlab.Route{Dst: lanPrefix, Via: router2Up.Addr()}); err != nil {
		t.Fatal(err)
	}
}
