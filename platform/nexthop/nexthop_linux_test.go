package nexthop

import (
	"bytes"
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"uclat/platform/internal/nstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A router's life, as the neighbour table has it: unknown, found, doubted, with another card, gone.
func TestNeighbour(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		ns := lan(t)
		eth0 := link(t, "eth0", true)
		must(t, netlink.RouteAdd(route(eth0, "::/0", gateways[0], 0, 0)))
		table := open(t)

		h, err := table.Hop(eth0, clat, plat)
		must(t, err)
		if h.Gateway != gateways[0] || h.OnLink || h.Hardware != nil || h.State != Unresolved {
			t.Errorf("before anybody asked: %+v", h)
		}
		is := func(s State, mac net.HardwareAddr) func(Hop) bool {
			return func(h Hop) bool { return h.Gateway == gateways[0] && h.State == s && bytes.Equal(h.Hardware, mac) }
		}
		until(t, table, eth0, "resolved", is(Reachable, macs[0]))
		stale := func() {
			t.Helper()
			for deadline := time.Now().Add(10 * time.Second); !is(Stale, macs[0])(h); h, err = table.Hop(eth0, clat, plat) { // not used meanwhile
				if must(t, err); time.Now().After(deadline) {
					t.Fatalf("not stale after 10 s: %+v", h)
				}
			}
		}
		stale()
		until(t, table, eth0, "confirmed", is(Reachable, macs[0]))

		other := net.HardwareAddr{2, 0, 0, 0, 0, 0xb1}
		ns.Do(t, func() error {
			l, err := netlink.LinkByName(routers[0])
			if err != nil {
				return err
			}
			return netlink.LinkSetHardwareAddr(l, other)
		})
		say(t, ns, 0, &ndp.NeighborAdvertisement{Router: true, Override: true, TargetAddress: gateways[0],
			Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: other}}})
		until(t, table, eth0, "another card", is(Reachable, other))

		kill(t, ns, 0)
		until(t, table, eth0, "gone", is(Failed, nil))
		ns.Do(t, func() error { return addRouter(0) })
		until(t, table, eth0, "back", is(Reachable, macs[0]))
	})
}

// A router is looked up whether routes lead to it or not, by what the neighbour table of its link has.
func TestRouter(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		ns := lan(t)
		nstest.Veth(t, "eth1", "lan1", nstest.New(t))
		eth0, eth1 := link(t, "eth0", true), link(t, "eth1", true)
		table := open(t)
		look := func(addr netip.Addr) Hop {
			t.Helper()
			h, err := table.Router(eth0.Index, addr)
			must(t, err)
			return h
		}
		if diff := cmp.Diff(Hop{Gateway: gateways[0]}, look(gateways[0]), sameAddr); diff != "" {
			t.Errorf("before anybody asked (-want +got):\n%s", diff)
		}
		must(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: eth1.Index, IP: gateways[0].AsSlice(), State: unix.NUD_PERMANENT, HardwareAddr: macs[1]}))
		becomes := func(what string, want Hop) {
			t.Helper()
			for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
				diff := cmp.Diff(want, look(want.Gateway), sameAddr)
				if diff == "" {
					return
				}
				must(t, table.Use(eth0.Index, want.Gateway)) // which takes one that is away for unresolved again
				if time.Now().After(deadline) {
					t.Fatalf("%s: after 10 s (-want +got):\n%s", what, diff)
				}
			}
		}
		for i, g := range gateways {
			becomes("used", Hop{Gateway: g, Hardware: macs[i], State: Reachable})
		}
		if h := look(gateways[0].WithZone("eth0")); h.Gateway != gateways[0] || h.Hardware == nil {
			t.Errorf("with a zone: %+v", h)
		}
		kill(t, ns, 0)
		becomes("gone", Hop{Gateway: gateways[0], State: Failed})
		for _, bad := range []netip.Addr{{}, netip.MustParseAddr("192.0.2.1")} {
			if h, err := table.Router(eth0.Index, bad); err == nil {
				t.Errorf("router %v: %+v", bad, h)
			}
		}
	})
}

var sameAddr = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

// Of two routers as good as each other, the kernel passes over the one that does not answer.
func TestTwoRouters(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		ns := lan(t)
		eth0 := link(t, "eth0", true)
		table := open(t)
		onlyTheOther := func(what string) {
			t.Helper()
			reachable := func(h Hop) bool { return h.State == Reachable }
			first := until(t, table, eth0, what, reachable)
			i := slices.Index(gateways[:], first.Gateway)
			kill(t, ns, i)
			second := until(t, table, eth0, what+", one is gone", func(h Hop) bool { return h.Gateway != first.Gateway && reachable(h) })
			if second.Gateway != gateways[1-i] || !bytes.Equal(second.Hardware, macs[1-i]) {
				t.Errorf("%s: after %+v came %+v", what, first, second)
			}
			ns.Do(t, func() error { return addRouter(i) })
		}

		for i := range routers {
			say(t, ns, i, &ndp.RouterAdvertisement{RouterLifetime: 30 * time.Minute,
				Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: macs[i]}}})
		}
		announced := func() []netlink.Route {
			routes, err := netlink.RouteListFiltered(unix.AF_INET6, &netlink.Route{Protocol: unix.RTPROT_RA}, netlink.RT_FILTER_PROTOCOL)
			must(t, err)
			return routes
		}
		for deadline := time.Now().Add(10 * time.Second); len(announced()) < 2; {
			if time.Now().After(deadline) {
				t.Fatalf("after 10 s only %v", announced())
			}
		}
		onlyTheOther("announced")
		for _, r := range announced() {
			must(t, netlink.RouteDel(&r))
		}
		must(t, netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}, MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: eth0.Index, Gw: gateways[0].AsSlice()}, {LinkIndex: eth0.Index, Gw: gateways[1].AsSlice()}}}))
		onlyTheOther("one route with two next hops")
	})
}

// Entries that an administrator or another program keeps stay as they are, and what Use makes is not kept.
func TestUseLeavesOthers(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		lan(t)
		eth0 := link(t, "eth0", true)
		for _, n := range []netlink.Neigh{
			{IP: net.ParseIP("fe80::b1"), State: unix.NUD_PERMANENT, HardwareAddr: macs[0]},
			{IP: net.ParseIP("fe80::b2"), State: unix.NUD_NOARP, HardwareAddr: macs[0]},
			{IP: net.ParseIP("fe80::b3"), State: unix.NUD_STALE, HardwareAddr: macs[0], Flags: unix.NTF_EXT_LEARNED},
			{IP: net.ParseIP("fe80::b4"), State: unix.NUD_STALE, HardwareAddr: macs[0], Flags: unix.NTF_ROUTER}, // used, and still a router's
			{IP: gateways[1].AsSlice(), FlagsExt: netlink.NTF_EXT_MANAGED},
		} {
			n.LinkIndex = eth0.Index
			must(t, netlink.NeighAdd(&n))
		}
		for deadline := time.Now().Add(10 * time.Second); neighbours(t, eth0)[gateways[1].String()].State != unix.NUD_REACHABLE; {
			if time.Now().After(deadline) {
				t.Fatal("the kernel does not keep what it was asked to")
			}
		}
		table := open(t)
		before := neighbours(t, eth0)
		for addr := range before {
			must(t, table.Use(eth0.Index, netip.MustParseAddr(addr)))
		}
		after := neighbours(t, eth0)
		maps.DeleteFunc(after, func(addr string, _ netlink.Neigh) bool { // a neighbour may have asked for us meanwhile
			_, known := before[addr]
			return !known
		})
		if diff := cmp.Diff(keeping(before), keeping(after)); diff != "" {
			t.Errorf("entries of others (-before +after):\n%s", diff)
		}
		must(t, table.Use(eth0.Index, gateways[0]))
		n := neighbours(t, eth0)[gateways[0].String()]
		if n.State == 0 || n.State&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0 || n.Flags&^unix.NTF_ROUTER != 0 || n.FlagsExt != 0 {
			t.Errorf("what Use made: %+v", n)
		}
		if err := table.Use(99, gateways[0]); err == nil {
			t.Error("used on a link that there is not")
		}
	})
}

// keeping is what makes an entry stay. Multicast ones come by themselves.
func keeping(entries map[string]netlink.Neigh) map[string][3]int {
	kept := map[string][3]int{}
	for addr, n := range entries {
		if n.IP.IsMulticast() {
			continue
		}
		kept[addr] = [3]int{n.State & (unix.NUD_PERMANENT | unix.NUD_NOARP), n.Flags, n.FlagsExt}
	}
	return kept
}
