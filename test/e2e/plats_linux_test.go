package e2e

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// More PREF64s, one of each length of RFC 6052, and one in the second router's hands.
var (
	pref64By = map[int]netip.Prefix{
		32: netip.MustParsePrefix("2001:db9::/32"),
		40: netip.MustParsePrefix("2001:dba:100::/40"),
		48: netip.MustParsePrefix("2001:dbb:122::/48"),
		56: netip.MustParsePrefix("2001:dbc:122:300::/56"),
		64: netip.MustParsePrefix("2001:dbd:122:344::/64"),
		96: pref64,
	}
	lengths64    = []int{32, 40, 48, 56, 64, 96}
	otherPREF64  = netip.MustParsePrefix("2001:db8:65::/96")
	secondPREF64 = netip.MustParsePrefix("2001:db8:66::/96")
)

// addPLAT has the PLAT serve another PREF64 as well, which a router sends there.
func (top *topology) addPLAT(t *testing.T, p netip.Prefix, router *netlab.Node, via netip.Addr) {
	t.Helper()
	top.plats++
	dev := fmt.Sprintf("nat64-%d", top.plats)
	pool := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(254 - top.plats), 0}), 24)
	text := fmt.Sprintf("tun-device %s\nipv4-addr %s\nprefix %s\ndynamic-pool %s\n", dev, pool.Addr().Next(), p, pool)
	file := config(t, "tayga.conf", text)
	tayga := peers.Find(t, "tayga")
	must(t, top.plat, tayga, "--mktun", "-c", file)
	setMTU(t, top.plat, dev, 1500)
	start(t, top.plat, tayga, "-n", "-c", file, "-p", "/run/"+dev+".pid")
	if err := top.plat.SetUp(dev, true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "TAYGA serves "+dev, func() bool {
		link, err := top.plat.Netlink().LinkByName(dev)
		return err == nil && link.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
	})
	for _, r := range []struct {
		node *netlab.Node
		netlab.Route
	}{
		{top.plat, netlab.Route{Dst: p, Dev: dev}}, {top.plat, netlab.Route{Dst: pool, Dev: dev}}, {router, netlab.Route{Dst: p, Via: via}},
	} {
		if err := r.node.AddRoute(r.Route); err != nil {
			t.Fatal(err)
		}
	}
}

// addPREF64 has the router's PLAT serve another one.
func (top *topology) addPREF64(t *testing.T, p netip.Prefix) {
	t.Helper()
	top.addPLAT(t, p, top.router, platLAN.Addr())
}

// endPREF64 has the router know no way there any more.
func (top *topology) endPREF64(t *testing.T, p netip.Prefix) {
	t.Helper()
	if err := top.router.DelRoute(netlab.Route{Dst: p, Via: platLAN.Addr()}); err != nil {
		t.Fatal(err)
	}
}
