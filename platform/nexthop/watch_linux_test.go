package nexthop

import (
	"context"
	"errors"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

// keep sets a permanent entry.
func keep(t *testing.T, l platform.Link, addr string, mac byte) {
	t.Helper()
	must(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: l.Index, IP: net.ParseIP(addr), State: unix.NUD_PERMANENT,
		HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, mac}}))
}

// watch listens until the test ends. Knocks that nobody has heard yet are one.
func watch(t *testing.T, l platform.Link) <-chan struct{} {
	ctx, cancel := context.WithCancel(t.Context())
	knocks, done := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		done <- Watch(ctx, l.Index, func() {
			select {
			case knocks <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch: %v", err)
		}
	})
	return knocks
}

// quiet waits until nothing came for a while, and says whether something did before.
func quiet(knocks <-chan struct{}) (knocked bool) {
	for {
		select {
		case <-knocks:
			knocked = true
		case <-time.After(200 * time.Millisecond):
			return knocked
		}
	}
}

func TestWatch(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		ns := lan(t)
		nstest.Veth(t, "eth1", "peer1", nstest.New(t))
		eth0, eth1 := link(t, "eth0", true), link(t, "eth1", true)
		must(t, netlink.RouteAdd(route(eth0, "::/0", gateways[0], 0, 0)))
		table := open(t)
		knocks := watch(t, eth0)
		expect := func(what string) {
			t.Helper()
			select {
			case <-knocks:
			case <-time.After(5 * time.Second):
				t.Fatalf("no knock: %s", what)
			}
		}
		quiet := func() bool { return quiet(knocks) }
		// silent fails if it always knocks: now and then, the kernel changes something by itself.
		silent := func(what string, change func(try byte)) {
			t.Helper()
			for try := range byte(5) {
				quiet()
				if change(try); !quiet() {
					return
				}
			}
			t.Errorf("knocks: %s", what)
		}
		expect("has begun to listen")
		silent("other link", func(try byte) { keep(t, eth1, "fe80::b1", try) })
		silent("IPv4", func(try byte) { keep(t, eth0, "192.0.2.1", try) })
		for _, change := range []struct {
			what string
			do   func()
		}{
			{"entry set", func() { keep(t, eth0, "fe80::b1", 1) }},
			{"link-layer address", func() { keep(t, eth0, "fe80::b1", 2) }},
			{"resolved", func() { must(t, table.Use(eth0.Index, gateways[0])) }},
			{"gone", func() {
				kill(t, ns, 0)
				until(t, table, eth0, "gone", func(h Hop) bool { return h.State == Failed })
			}},
			{"entry deleted", func() {
				must(t, netlink.NeighDel(&netlink.Neigh{LinkIndex: eth0.Index, IP: net.ParseIP("fe80::b1")}))
			}},
			{"link deleted", func() {
				keep(t, eth0, "fe80::b1", 1)
				quiet()
				l, err := netlink.LinkByName("eth0")
				must(t, err)
				must(t, netlink.LinkDel(l))
			}},
		} {
			quiet()
			change.do()
			expect(change.what)
		}
	})
}

// What makes the hop another one while both routers are there, and no neighbour changes.
func TestWatchRoutes(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		ns := lan(t)
		eth0 := link(t, "eth0", true)
		for i := range routers {
			must(t, netlink.NeighSet(&netlink.Neigh{LinkIndex: eth0.Index, IP: gateways[i].AsSlice(), State: unix.NUD_PERMANENT,
				Flags: unix.NTF_ROUTER, HardwareAddr: macs[i]}))
		}
		table := open(t)
		hop := func() (i int) { // which of the gateways it is
			h, err := table.Hop(eth0, clat, plat)
			if errors.Is(err, ErrNoRoute) {
				return -1
			}
			must(t, err)
			if h.State != Reachable {
				t.Fatalf("%+v", h)
			}
			return slices.Index(gateways[:], h.Gateway)
		}
		announce := func(i int, lifetime time.Duration) {
			say(t, ns, i, &ndp.RouterAdvertisement{RouterLifetime: lifetime,
				Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: macs[i]}}})
		}
		knocks := watch(t, eth0)
		// turns sees that the hop is the wanted one after a knock, and was another one before.
		turns := func(what string, wanted int, change func()) {
			t.Helper()
			quiet(knocks)
			if i := hop(); i == wanted {
				t.Fatalf("%s: it is router %d already", what, i)
			}
			change()
			for timeout := time.After(5 * time.Second); ; {
				select {
				case <-knocks:
					if hop() == wanted {
						return
					}
				case <-timeout:
					t.Fatalf("%s: no knock after which it was router %d; now it is %d", what, wanted, hop())
				}
			}
		}
		turns("the first is announced", 0, func() { announce(0, 30*time.Minute) })
		announce(1, 30*time.Minute)
		second := func() bool {
			routes, err := netlink.RouteListFiltered(unix.AF_INET6, &netlink.Route{Gw: gateways[1].AsSlice()}, netlink.RT_FILTER_GW)
			must(t, err)
			return len(routes) == 1
		}
		for deadline := time.Now().Add(10 * time.Second); !second(); {
			if time.Now().After(deadline) {
				t.Fatal("the second router is not there after 10 s")
			}
		}
		used := hop()
		turns("a router ends", 1-used, func() { announce(used, 0) })
		better := route(eth0, "::/0", gateways[used], 0, 1)
		turns("a better route", used, func() { must(t, netlink.RouteAdd(better)) })
		must(t, netlink.RouteAdd(route(eth0, "::/0", gateways[1-used], 100, 0)))
		rule := withPriority(&netlink.Rule{Family: unix.AF_INET6, Table: 100}, 100)
		turns("a rule", 1-used, func() { must(t, netlink.RuleAdd(rule)) })
		turns("no rule", used, func() { must(t, netlink.RuleDel(rule)) })
		turns("no better route", 1-used, func() { must(t, netlink.RouteDel(better)) })
		turns("the last router ends", -1, func() { announce(1-used, 0) })
	})
}

// A flood that overflows the socket knocks, and does not end the watch.
func TestWatchOverflow(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		lan(t)
		eth0 := link(t, "eth0", true)
		ctx, cancel := context.WithCancel(t.Context())
		hold, begun, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		knocks := make(chan struct{}, 10000)
		go func() {
			first := true
			done <- Watch(ctx, eth0.Index, func() {
				if knocks <- struct{}{}; first {
					first = false
					close(begun)
					<-hold
				}
			})
		}()
		<-begun
		<-knocks
		const flood = 5000
		for i := range flood {
			keep(t, eth0, "fe80::b1", byte(i))
		}
		close(hold)
		n := 0
		for idle := false; !idle; {
			select {
			case <-knocks:
				n++
			case <-time.After(time.Second):
				idle = true
			}
		}
		if n == 0 || n >= flood {
			t.Errorf("%d knocks for %d changes: want fewer, because messages were lost, but some", n, flood)
		}
		keep(t, eth0, "fe80::b1", 0xff)
		select {
		case <-knocks:
		case <-time.After(5 * time.Second):
			t.Error("no knock after the flood")
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch: %v", err)
		}
	})
}
