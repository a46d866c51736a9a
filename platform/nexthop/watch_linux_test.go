package nexthop

import (
	"context"
	"net"
	"testing"
	"time"

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

func TestWatch(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		ns := lan(t)
		nstest.Veth(t, "eth1", "peer1", nstest.New(t))
		eth0, eth1 := link(t, "eth0", true), link(t, "eth1", true)
		must(t, netlink.RouteAdd(route(eth0, "::/0", gateways[0], 0, 0)))
		table := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		knocks, done := make(chan struct{}, 1), make(chan error, 1)
		go func() {
			done <- Watch(ctx, eth0.Index, func() {
				select {
				case knocks <- struct{}{}:
				default:
				}
			})
		}()
		expect := func(what string) {
			t.Helper()
			select {
			case <-knocks:
			case <-time.After(5 * time.Second):
				t.Fatalf("no knock: %s", what)
			}
		}
		quiet := func() (knocked bool) { // until nothing came for a while
			for {
				select {
				case <-knocks:
					knocked = true
				case <-time.After(200 * time.Millisecond):
					return knocked
				}
			}
		}
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
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch: %v", err)
		}
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
