package monitor

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

// Of the neighbours, a snapshot has the next hops of IPv6 default routes whose link-layer address is known, whatever table has the route.
func TestNeighbours(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		nstest.Veth(t, "eth0", "peer0", nstest.New(t))
		nstest.Veth(t, "eth1", "peer1", nstest.New(t))
		index := map[string]int{}
		for _, name := range []string{"eth0", "eth1"} {
			l, err := netlink.LinkByName(name)
			must(t, err)
			index[name] = l.Attrs().Index
		}
		neighbours := func() []platform.Neighbour {
			t.Helper()
			s, err := newMonitor(t).Snapshot(t.Context())
			must(t, err)
			return s.Neighbours
		}
		knows := func(link, addr string, state int, hw byte) {
			t.Helper()
			n := &netlink.Neigh{LinkIndex: index[link], IP: net.ParseIP(addr), State: state}
			if hw != 0 {
				n.HardwareAddr = net.HardwareAddr{2, 0, 0, 0, 0, hw}
			}
			must(t, netlink.NeighSet(n))
		}
		route := func(link, dst, via string, table, metric int) {
			t.Helper()
			p := netip.MustParsePrefix(dst)
			must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: index[link], Table: table, Priority: metric, Gw: net.ParseIP(via),
				Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}))
		}
		must(t, nstest.AddAddr("eth0", "192.0.2.1/24"))
		knows("eth0", "fe80::a1", unix.NUD_STALE, 0xa1)
		if got := neighbours(); got != nil {
			t.Errorf("without a default route: %v", got)
		}

		route("eth0", "::/0", "fe80::a1", 0, 100)
		route("eth0", "::/0", "fe80::a2", 0, 200)
		route("eth1", "::/0", "fe80::a1", 0, 300) // another one of that address
		route("eth1", "::/0", "fe80::a3", 100, 0)
		route("eth0", "0.0.0.0/0", "192.0.2.254", 0, 0)
		route("eth0", "2001:db8::/32", "fe80::b1", 0, 0)
		must(t, netlink.RouteAdd(&netlink.Route{Table: 200, Dst: &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
			MultiPath: []*netlink.NexthopInfo{{LinkIndex: index["eth0"], Gw: net.ParseIP("fe80::a5")},
				{LinkIndex: index["eth1"], Gw: net.ParseIP("fe80::a4")}}}))
		knows("eth0", "fe80::a2", unix.NUD_FAILED, 0) // nothing is known of where it is
		knows("eth0", "fe80::b1", unix.NUD_PERMANENT, 0xb1)
		knows("eth0", "192.0.2.254", unix.NUD_PERMANENT, 0xfe)
		knows("eth0", "fe80::a3", unix.NUD_PERMANENT, 0x33) // on the other link
		knows("eth1", "fe80::a1", unix.NUD_REACHABLE, 0x11)
		knows("eth1", "fe80::a3", unix.NUD_NOARP, 0xa3)
		knows("eth1", "fe80::a4", unix.NUD_PERMANENT, 0xa4)
		want := []platform.Neighbour{
			{Link: index["eth0"], Addr: netip.MustParseAddr("fe80::a1"), Hardware: "02:00:00:00:00:a1"},
			{Link: index["eth1"], Addr: netip.MustParseAddr("fe80::a1"), Hardware: "02:00:00:00:00:11"},
			{Link: index["eth1"], Addr: netip.MustParseAddr("fe80::a3"), Hardware: "02:00:00:00:00:a3"},
			{Link: index["eth1"], Addr: netip.MustParseAddr("fe80::a4"), Hardware: "02:00:00:00:00:a4"},
		}
		if diff := cmpDiff(want, neighbours()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A route may say by which source the host sends.
func TestRouteSource(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		nstest.Veth(t, "eth0", "peer0", nstest.New(t))
		eth0, err := netlink.LinkByName("eth0")
		must(t, err)
		want := map[string]netip.Addr{}
		for dst, src := range map[string]string{"0.0.0.0/0": "192.0.2.1", "::/0": "2001:db8::1"} {
			a := netip.MustParseAddr(src)
			must(t, nstest.AddAddr("eth0", netip.PrefixFrom(a, a.BitLen()).String()))
			p := netip.MustParsePrefix(dst)
			must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: eth0.Attrs().Index, Src: a.AsSlice(), Scope: netlink.SCOPE_LINK,
				Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(0, p.Addr().BitLen())}}))
			want[dst] = a
		}
		s, err := newMonitor(t).Snapshot(t.Context())
		must(t, err)
		if len(s.Routes) != len(want) {
			t.Errorf("routes: %+v", s.Routes)
		}
		for _, r := range s.Routes {
			if r.Src != want[r.Dst.String()] {
				t.Errorf("to %v from %v, want %v", r.Dst, r.Src, want[r.Dst.String()])
			}
		}
	})
}
