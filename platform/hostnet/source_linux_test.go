package hostnet

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

const oldHost, newHost4 = "100.64.46.4", "100.64.46.6"

// sourced is the host of path packet with these addresses, new sockets having the first.
func sourced(addrs ...string) platform.HostConfig {
	c := packetConfig()
	c.Addrs = nil
	for _, a := range addrs {
		c.Addrs = append(c.Addrs, netip.MustParsePrefix(a+"/32"))
	}
	c.Routes[0].Src = c.Addrs[0].Addr()
	return c
}

// sources is what the TUN has of IPv4: its addresses, and by which of them new sockets send.
func sources(t *testing.T) string {
	t.Helper()
	link, err := netlink.LinkByName("clat0")
	must(t, err)
	list, err := netlink.AddrList(link, netlink.FAMILY_V4)
	must(t, err)
	var addrs []string
	for _, a := range list {
		addrs = append(addrs, a.IP.String())
	}
	slices.Sort(addrs)
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{LinkIndex: link.Attrs().Index, Table: unix.RT_TABLE_MAIN},
		netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	must(t, err)
	text := fmt.Sprint(addrs)
	for _, r := range routes {
		text += fmt.Sprintf(", %v src %v", r.Dst, r.Src)
	}
	return text
}

// From one source address to the next: what is sent always has a route and a source, and a socket that is bound goes on as long as its address is
// there.
func TestSourceMoves(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		newLab(t)
		before := dump(t)
		h := newHost(t)
		const route = ", 0.0.0.0/0 src "
		set := func(want string, addrs ...string) {
			t.Helper()
			for range 2 {
				must(t, h.Set(t.Context(), sourced(addrs...)))
				if diff := cmp.Diff(want, sources(t)); diff != "" {
					t.Fatalf("%v (-want +got):\n%s", addrs, diff)
				}
			}
		}
		set("["+oldHost+"]"+route+oldHost, oldHost)

		unbound, err := net.ListenUDP("udp4", nil)
		must(t, err)
		defer unbound.Close()
		stop, done, sent := make(chan struct{}), new(sync.WaitGroup), 0
		done.Go(func() {
			for ; ; sent++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := unbound.WriteToUDP([]byte("hello"), &away); err != nil { // which looks up the route each time
					t.Error(err)
					return
				}
			}
		})
		for range 50 {
			set("["+oldHost+" "+newHost4+"]"+route+newHost4, newHost4, oldHost)
			for _, bound := range []string{oldHost, newHost4} {
				conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(bound)}, &away)
				must(t, err)
				_, err = conn.Write([]byte("hello"))
				must(t, err)
				must(t, conn.Close())
			}
			set("["+newHost4+"]"+route+newHost4, newHost4)
			set("["+oldHost+" "+newHost4+"]"+route+newHost4, newHost4, oldHost)
			set("["+oldHost+" "+newHost4+"]"+route+oldHost, oldHost, newHost4)
			set("["+oldHost+"]"+route+oldHost, oldHost)
		}
		close(stop)
		done.Wait()
		if sent == 0 {
			t.Error("nothing was sent meanwhile")
		}
		// And without one asked for, as the system chooses.
		c := sourced(oldHost, newHost4)
		c.Routes[0].Src = netip.Addr{}
		must(t, h.Set(t.Context(), c))
		if got, want := sources(t), "["+oldHost+" "+newHost4+"]"+route+"<nil>"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		must(t, h.Set(t.Context(), platform.HostConfig{}))
		if diff := cmp.Diff(before, dump(t)); diff != "" {
			t.Errorf("left behind:\n%s", diff)
		}
	})
}

var away = net.UDPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 4646}

// At no moment is there a route without its source, and at the end it is the route that goes first.
func TestSourceOrder(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		newLab(t)
		h := newHost(t)
		var seen []string
		h.step = func() {
			if s := sources(t); len(seen) == 0 || seen[len(seen)-1] != s {
				seen = append(seen, s)
			}
		}
		const route = ", 0.0.0.0/0 src "
		for _, tt := range []struct {
			want platform.HostConfig
			seen []string
		}{
			{sourced(oldHost), []string{"[]", "[" + oldHost + "]", "[" + oldHost + "]" + route + oldHost}},
			{sourced(newHost4), []string{"[" + oldHost + "]" + route + oldHost, "[" + oldHost + " " + newHost4 + "]" + route + oldHost,
				"[" + oldHost + " " + newHost4 + "]" + route + newHost4, "[" + newHost4 + "]" + route + newHost4}},
			{platform.HostConfig{}, []string{"[" + newHost4 + "]", "[]"}},
		} {
			seen = nil
			must(t, h.Set(t.Context(), tt.want))
			if diff := cmp.Diff(tt.seen, seen); diff != "" {
				t.Errorf("to %v (-want +got):\n%s", tt.want.Addrs, diff)
			}
		}
	})
}

// An IPv6 route's source moves as well.
func TestSource6(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		newLab(t)
		h := newHost(t)
		for _, src := range []string{"2001:db8:46::1", "2001:db8:46::2", "2001:db8:46::1", ""} {
			c := config()
			c.Addrs = append(c.Addrs, blackholes6("2001:db8:46::1", "2001:db8:46::2")...)
			dst := netip.MustParsePrefix("2001:db8:5::/64")
			r := platform.Route{Dst: dst, Metric: 7}
			want := "<nil>"
			if src != "" {
				r.Src, want = netip.MustParseAddr(src), src
			}
			c.Routes = append(c.Routes, r)
			must(t, h.Set(t.Context(), c))
			routes, err := netlink.RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Dst: ipNet(dst)}, netlink.RT_FILTER_DST)
			must(t, err)
			if len(routes) != 1 || routes[0].Src.String() != want {
				t.Errorf("%v, want one from %s", routes, want)
			}
		}
		must(t, h.Set(t.Context(), platform.HostConfig{}))
	})
}
