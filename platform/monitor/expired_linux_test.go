package monitor

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

// A default route by a Router Advertisement is in a snapshot until its lifetime is over, though the kernel lists it for longer, and again when the
// router announces itself anew.
func TestExpiredRouter(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		collectNoGarbage(t)
		router := nstest.New(t)
		nstest.Veth(t, "eth0", "peer0", router)
		nstest.Veth(t, "eth1", "peer1", router)
		must(t, nstest.AddRoute("eth1", "::/0", "fe80::a1", 0, 10))
		must(t, nstest.AddRoute("eth1", "::/0", "fe80::a2", unix.RTPROT_RA, 20)) // by another program, which takes it away in time
		const always = "eth1 static 10, eth1 RA 20, "
		sees := func(what, want string) {
			t.Helper()
			eventually(t, func() string {
				s, err := newMonitor(t).Snapshot(t.Context())
				must(t, err)
				if diff := cmpDiff(want, inShort(&s)); diff != "" {
					return what + ":\n" + diff
				}
				return ""
			})
		}
		says := func(link string, lifetime time.Duration) {
			t.Helper()
			router.Do(t, func() error { return advertise(link, &ndp.RouterAdvertisement{RouterLifetime: lifetime}) })
		}
		sees("before it says anything", always+"routed to eth1")
		says("peer1", time.Hour)
		sees("another router", always+"eth1 RA 1024, routed to eth1")
		says("peer0", time.Hour)
		sees("announced", "eth0 RA 1024, "+always+"eth1 RA 1024, routed to eth0 eth1")
		says("peer0", time.Second)
		sees("its lifetime is over", always+"eth1 RA 1024, routed to eth1")
		if n := listed(t); n != 4 {
			t.Errorf("the kernel lists %d default routes: this test is of one that it goes on to list", n)
		}
		says("peer0", time.Hour)
		sees("it is back", "eth0 RA 1024, "+always+"eth1 RA 1024, routed to eth0 eth1")
	})
}

// inShort are the default routes of a snapshot, and where any lead to.
func inShort(s *platform.Snapshot) (text string) {
	name := func(index int) string {
		l, _ := s.Link(index)
		return l.Name
	}
	for _, r := range s.Routes {
		text += name(r.Link) + map[bool]string{true: " RA ", false: " static "}[r.FromRA] + fmt.Sprint(r.Metric, ", ")
	}
	text += "routed to"
	for _, i := range s.Routed {
		text += " " + name(i)
	}
	return text
}

// Of routes that others than the kernel make of Router Advertisements, with the kernel's clock: those of other tables, and those by several
// next hops, of which each may end at another time.
func TestExpiredNextHops(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		collectNoGarbage(t)
		nstest.Veth(t, "eth0", "peer0", nstest.New(t))
		eth0, err := netlink.LinkByName("eth0")
		must(t, err)
		index := eth0.Attrs().Index
		const soon, late = 1, 1000 // seconds
		add := func(table uint8, dst string, metric uint32, seconds uint32, how ...*nl.RtAttr) {
			t.Helper()
			must(t, addExpiring(table, netip.MustParsePrefix(dst), metric, seconds, how...))
		}
		via := func(gw string) *nl.RtAttr { return nl.NewRtAttr(unix.RTA_GATEWAY, net.ParseIP(gw)) }
		link := nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(uint32(index)))

		const main, other = unix.RT_TABLE_MAIN, 100
		for _, differs := range []struct {
			table   uint8
			dst     string
			metric  uint32
			seconds uint32
			gw      string
		}{
			{main, "::/0", 100, late, "fe80::1"},
			{other, "::/0", 100, soon, "fe80::1"},
			{main, "2000::/3", 100, soon, "fe80::1"},
			{main, "::/0", 101, soon, "fe80::1"},
			{main, "::/0", 200, soon, "fe80::2"}, // one route with the next
			{main, "::/0", 200, late, "fe80::3"},
			{main, "::/0", 300, late, "fe80::4"}, // and here
			{main, "::/0", 300, soon, "fe80::5"}, // to which the kernel goes on to send
			{other, "::/0", 400, late, "fe80::6"},
		} {
			add(differs.table, differs.dst, differs.metric, differs.seconds, link, via(differs.gw))
		}
		must(t, addNexthop(1, nl.NewRtAttr(unix.NHA_OIF, nl.Uint32Attr(uint32(index))), nl.NewRtAttr(unix.NHA_GATEWAY, net.ParseIP("fe80::7"))))
		must(t, addNexthop(2, nl.NewRtAttr(unix.NHA_OIF, nl.Uint32Attr(uint32(index))), nl.NewRtAttr(unix.NHA_GATEWAY, net.ParseIP("fe80::8"))))
		must(t, addNexthop(3, nl.NewRtAttr(unix.NHA_GROUP, slices.Concat(nl.Uint32Attr(1), nl.Uint32Attr(0), nl.Uint32Attr(2), nl.Uint32Attr(0)))))
		add(main, "::/0", 500, soon, nl.NewRtAttr(rtaNHID, nl.Uint32Attr(3)))
		add(main, "::/0", 501, late, nl.NewRtAttr(rtaNHID, nl.Uint32Attr(3)))
		add(main, "::/0", 502, soon, nl.NewRtAttr(rtaNHID, nl.Uint32Attr(1)))
		before := listed(t)

		route := func(metric int, gw string) platform.Route {
			return platform.Route{Dst: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr(gw), Link: index, Metric: metric, FromRA: true}
		}
		want := platform.Snapshot{
			Routes: []platform.Route{route(100, "fe80::1"), route(200, "fe80::3"), route(300, "fe80::4"), route(300, "fe80::5"),
				route(501, "fe80::7"), route(501, "fe80::8")},
			OtherRoutes: []platform.Route{route(400, "fe80::6")},
		}
		eventually(t, func() string {
			s, err := newMonitor(t).Snapshot(t.Context())
			must(t, err)
			return cmpDiff(want, platform.Snapshot{Routes: s.Routes, OtherRoutes: s.OtherRoutes})
		})
		if after := listed(t); before != 14 || after != before {
			t.Errorf("the kernel lists %d next hops, and %d at the end: this test is of some that it goes on to list", before, after)
		}
	})
}

// collectNoGarbage has the kernel go on to list what has expired.
func collectNoGarbage(t *testing.T) {
	t.Helper()
	must(t, os.WriteFile("/proc/sys/net/ipv6/route/gc_interval", []byte("3600"), 0))
}

// listed is how many next hops of IPv6 default routes the kernel tells, of all tables.
func listed(t *testing.T) (n int) {
	t.Helper()
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	must(t, err)
	for _, r := range routes {
		if dst, _ := destination(netlink.FAMILY_V6, r.Dst); isDefault(dst) && r.Type == unix.RTN_UNICAST {
			n += max(1, len(r.MultiPath))
		}
	}
	return n
}

// addExpiring adds a route of a Router Advertisement that ends by itself, or one more next hop to it.
func addExpiring(table uint8, dst netip.Prefix, metric, seconds uint32, how ...*nl.RtAttr) error {
	request := nl.NewNetlinkRequest(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_APPEND|unix.NLM_F_ACK)
	request.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET6, Dst_len: uint8(dst.Bits()), Table: table, Protocol: unix.RTPROT_RA,
		Type: unix.RTN_UNICAST}})
	how = append(how, nl.NewRtAttr(unix.RTA_DST, dst.Addr().AsSlice()), nl.NewRtAttr(unix.RTA_PRIORITY, nl.Uint32Attr(metric)),
		nl.NewRtAttr(unix.RTA_EXPIRES, nl.Uint32Attr(seconds)))
	for _, a := range how {
		request.AddData(a)
	}
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// addNexthop adds a nexthop object: struct nhmsg with attributes (linux/nexthop.h).
func addNexthop(id uint32, attrs ...*nl.RtAttr) error {
	request := nl.NewNetlinkRequest(unix.RTM_NEWNEXTHOP, unix.NLM_F_CREATE|unix.NLM_F_ACK)
	family := uint8(unix.AF_INET6)
	if attrs[0].Type == unix.NHA_GROUP {
		family = unix.AF_UNSPEC
	}
	data := []byte{family, 0, unix.RTPROT_RA, 0, 0, 0, 0, 0}
	for _, a := range append(attrs, nl.NewRtAttr(unix.NHA_ID, nl.Uint32Attr(id))) {
		data = append(data, a.Serialize()...)
	}
	request.AddRawData(data)
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	return err
}
