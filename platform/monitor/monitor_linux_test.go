package monitor

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

func newMonitor(t *testing.T) *Monitor {
	t.Helper()
	m, err := New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eth0 --- peer0 (other namespace); tun0; quiet0 --- peer2 (a third); down0 --- peer1 (a fourth)
func TestSnapshot(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		nstest.Veth(t, "eth0", "peer0", nstest.New(t))
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "tun0"
		must(t, netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TUN}))
		nstest.Veth(t, "quiet0", "peer2", nstest.New(t))
		quiet0, err := netlink.LinkByName("quiet0")
		must(t, err)
		must(t, netlink.LinkSetARPOff(quiet0)) // Ethernet, with an address, and nobody is asked
		nstest.Veth(t, "down0", "peer1", nstest.New(t))
		down0, err := netlink.LinkByName("down0")
		must(t, err)
		must(t, netlink.LinkSetDown(down0))
		must(t, os.WriteFile("/proc/sys/net/ipv6/conf/eth0/mtu", []byte("1400"), 0)) // where the kernel keeps what an RA said
		must(t, nstest.AddAddr("eth0", "192.0.2.1/24"))
		must(t, nstest.AddAddr("eth0", "2001:db8::1/64"))
		must(t, nstest.AddRoute("eth0", "0.0.0.0/0", "192.0.2.2", 0, 7))
		must(t, nstest.AddRoute("eth0", "128.0.0.0/1", "192.0.2.2", 0, 0))
		must(t, nstest.AddRoute("eth0", "100.64.1.0/24", "192.0.2.2", 0, 0))
		must(t, nstest.AddRoute("eth0", "198.51.100.0/24", "192.0.2.2", 0, 0))
		must(t, nstest.AddRoute("eth0", "::/0", "2001:db8::2", unix.RTPROT_RA, 512))
		eth0, err := netlink.LinkByName("eth0")
		must(t, err)
		index := eth0.Attrs().Index
		deprecated := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP("2001:db8::3"), Mask: net.CIDRMask(64, 128)},
			Flags: unix.IFA_F_NODAD, ValidLft: 3600, PreferedLft: 0}
		must(t, netlink.AddrAdd(eth0, deprecated))
		must(t, netlink.LinkSetHardwareAddr(eth0, net.HardwareAddr{2, 0, 0, 0, 0, 1}))
		must(t, netlink.LinkSetHardwareAddr(down0, net.HardwareAddr{2, 0, 0, 0, 0, 2}))
		must(t, netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Priority: 99,
			MultiPath: []*netlink.NexthopInfo{{LinkIndex: index, Gw: net.IPv4(192, 0, 2, 3)}, {LinkIndex: index, Gw: net.IPv4(192, 0, 2, 4)}}}))
		must(t, netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Priority: 100, LinkIndex: index,
			MTU: 1300, Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: net.ParseIP("2001:db8::4")}}))

		m := newMonitor(t)
		s, err := m.Snapshot(t.Context(), netip.MustParsePrefix("100.64.0.0/10"))
		must(t, err)
		again, err := m.Snapshot(t.Context(), netip.MustParsePrefix("100.64.0.0/10"))
		must(t, err)
		if !reflect.DeepEqual(s, again) {
			t.Errorf("two snapshots of one host differ:\n%s", cmpDiff(s, again))
		}

		for _, want := range []platform.Link{
			{Name: "lo", MTU: 65536, MTU6: 65536, Up: true, Loopback: true},
			{Name: "eth0", MTU: 1500, MTU6: 1400, Up: true, L2: true, Hardware: "02:00:00:00:00:01"},
			{Name: "tun0", MTU: 1500, MTU6: 1500},
			{Name: "down0", MTU: 1500, MTU6: 1500, L2: true, Hardware: "02:00:00:00:00:02"},
			{Name: "quiet0", MTU: 1500, MTU6: 1500, Up: true},
		} {
			got, ok := s.LinkByName(want.Name)
			want.Index, want.Ups = got.Index, got.Ups
			if !ok || got != want {
				t.Errorf("link %+v, want %+v", got, want)
			}
		}

		prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
		wantRoutes := []platform.Route{
			{Dst: prefix("0.0.0.0/0"), Via: addr("192.0.2.2"), Metric: 7},
			{Dst: prefix("0.0.0.0/0"), Via: addr("192.0.2.3"), Metric: 99},
			{Dst: prefix("0.0.0.0/0"), Via: addr("192.0.2.4"), Metric: 99},
			{Dst: prefix("0.0.0.0/0"), Via: addr("2001:db8::4"), Metric: 100, MTU: 1300},
			{Dst: prefix("100.64.1.0/24"), Via: addr("192.0.2.2")},
			{Dst: prefix("128.0.0.0/1"), Via: addr("192.0.2.2")},
			{Dst: prefix("::/0"), Via: addr("2001:db8::2"), Metric: 512, FromRA: true},
		}
		for i := range wantRoutes {
			wantRoutes[i].Link = index
		}
		if diff := cmpDiff(wantRoutes, s.Routes); diff != "" {
			t.Errorf("routes (-want +got):\n%s", diff)
		}

		var got []platform.Address
		for _, a := range s.Addrs {
			if a.Link == index && !a.Prefix.Addr().IsLinkLocalUnicast() {
				got = append(got, a)
			}
		}
		want := []platform.Address{
			{Link: index, Prefix: prefix("192.0.2.1/24"), Permanent: true},
			{Link: index, Prefix: prefix("2001:db8::1/64"), Permanent: true},
			{Link: index, Prefix: prefix("2001:db8::3/64"), Deprecated: true},
		}
		if diff := cmpDiff(want, got); diff != "" {
			t.Errorf("addresses (-want +got):\n%s", diff)
		}
	})
}

func cmpDiff(a, b any) string {
	return cmp.Diff(a, b, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmp.Comparer(func(a, b netip.Addr) bool { return a == b }))
}

func TestForwarding(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		nstest.Veth(t, "eth0", "peer0", nstest.New(t))
		const ip4, ip6, own4, own6, forced = "ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/eth0/forwarding",
			"ipv6/conf/eth0/forwarding", "ipv6/conf/eth0/force_forwarding"
		for _, tt := range []struct {
			on        []string
			four, six bool
		}{
			{nil, false, false},
			{[]string{ip4}, true, false},
			{[]string{ip6}, false, true},
			{[]string{ip4, ip6}, true, true},
			{[]string{own4}, true, false},
			{[]string{own6}, false, false}, // forwards nothing
			{[]string{forced}, false, true},
			{nil, false, false},
		} {
			for _, off := range []string{ip4, ip6, own4, own6, forced} {
				if err := os.WriteFile("/proc/sys/net/"+off, []byte("0"), 0); off != forced {
					must(t, err)
				}
			}
			missing := false
			for _, on := range tt.on {
				err := os.WriteFile("/proc/sys/net/"+on, []byte("1"), 0)
				if missing = on == forced && errors.Is(err, fs.ErrNotExist); !missing { // before Linux 6.17
					must(t, err)
				}
			}
			s, err := newMonitor(t).Snapshot(t.Context())
			must(t, err)
			if s.Forwarding4 != tt.four || s.Forwarding6 != (tt.six && !missing) {
				t.Errorf("%q: seen as %v, %v", tt.on, s.Forwarding4, s.Forwarding6)
			}
		}
	})
}

// Which links routes of any kind lead to, though the routes are not kept, and which check the sources of what comes in.
func TestLinksOf(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		nstest.Veth(t, "eth0", "peer0", nstest.New(t))
		nstest.Veth(t, "eth1", "peer1", nstest.New(t))
		names := func(indices []int, s *platform.Snapshot) (names []string) {
			for _, i := range indices {
				l, _ := s.Link(i)
				names = append(names, l.Name)
			}
			return names
		}
		index := func(name string) int {
			l, err := netlink.LinkByName(name)
			must(t, err)
			return l.Attrs().Index
		}
		for _, f := range []string{"all", "lo", "eth0", "eth1"} {
			must(t, os.WriteFile("/proc/sys/net/ipv4/conf/"+f+"/rp_filter", []byte("0"), 0))
		}
		sees := func(what string, routed, filtered []string) {
			t.Helper()
			s, err := newMonitor(t).Snapshot(t.Context())
			must(t, err)
			if got := names(s.Routed, &s); !slices.Equal(got, routed) {
				t.Errorf("%s: routes lead to %q, want %q", what, got, routed)
			}
			if got := names(s.Filtered4, &s); !slices.Equal(got, filtered) {
				t.Errorf("%s: sources are checked on %q, want %q", what, got, filtered)
			}
		}
		sees("link-local routes alone", nil, nil)
		must(t, nstest.AddRoute("eth1", "2001:db8:1::/64", "", 0, 0))
		must(t, os.WriteFile("/proc/sys/net/ipv4/conf/eth1/rp_filter", []byte("2"), 0))
		sees("IPv6, loose", []string{"eth1"}, []string{"eth1"})
		must(t, nstest.AddRoute("eth1", "198.51.100.0/24", "", 0, 0))
		must(t, nstest.AddRoute("eth0", "198.51.101.0/24", "", 0, 0))
		must(t, os.WriteFile("/proc/sys/net/ipv4/conf/eth1/rp_filter", []byte("0"), 0))
		must(t, os.WriteFile("/proc/sys/net/ipv4/conf/all/rp_filter", []byte("1"), 0))
		sees("both families, all strict", []string{"eth0", "eth1"}, []string{"lo", "eth0", "eth1"})
		for _, name := range []string{"eth0", "eth1"} {
			link, err := netlink.LinkByName(name)
			must(t, err)
			must(t, netlink.LinkSetDown(link)) // its routes go
			must(t, netlink.LinkSetUp(link))
		}
		sees("none again", nil, []string{"lo", "eth0", "eth1"})
		must(t, netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4(198, 51, 100, 0), Mask: net.CIDRMask(24, 32)},
			MultiPath: []*netlink.NexthopInfo{{LinkIndex: index("eth0")}, {LinkIndex: index("eth1")}}}))
		sees("several next hops", []string{"eth0", "eth1"}, []string{"lo", "eth0", "eth1"})
	})
}

// A table of many routes costs only what is kept of it.
func TestSnapshotBound(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		nstest.Veth(t, "eth0", "peer0", nstest.New(t))
		link, err := netlink.LinkByName("eth0")
		must(t, err)
		for i := range maxRoutes + 10 {
			must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK,
				Dst: &net.IPNet{IP: net.IPv4(100, 64, byte(i>>8), byte(i)), Mask: net.CIDRMask(32, 32)}}))
		}
		must(t, nstest.AddRoute("eth0", "0.0.0.0/0", "", 0, 0))
		m := newMonitor(t)
		s, err := m.Snapshot(t.Context(), netip.MustParsePrefix("100.64.0.0/10"))
		must(t, err)
		if len(s.Routes) != maxRoutes+1 || s.Routes[0].Dst.Bits() != 0 {
			t.Errorf("%d routes, first %v", len(s.Routes), s.Routes[0])
		}
		s, err = m.Snapshot(t.Context())
		must(t, err)
		if len(s.Routes) != 1 {
			t.Errorf("%d routes without interest, want 1", len(s.Routes))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := m.Snapshot(ctx); err == nil {
			t.Error("snapshot after its context ended")
		}
	})
}

func TestWatch(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		nstest.Veth(t, "eth0", "peer0", nstest.New(t))
		link, err := netlink.LinkByName("eth0")
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		knocks, done := make(chan struct{}, 1), make(chan error, 1)
		go func() {
			done <- newMonitor(t).Watch(ctx, func() {
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
		quiet := func() { // until nothing came for a while
			for {
				select {
				case <-knocks:
				case <-time.After(200 * time.Millisecond):
					return
				}
			}
		}
		expect("has begun to listen")
		for _, change := range []struct {
			what string
			do   func() error
		}{
			{"IPv4 address", func() error { return nstest.AddAddr("eth0", "192.0.2.1/24") }},
			{"IPv6 address", func() error { return nstest.AddAddr("eth0", "2001:db8::1/64") }},
			{"IPv4 route", func() error { return nstest.AddRoute("eth0", "198.51.100.0/24", "192.0.2.2", 0, 0) }},
			{"IPv6 route", func() error { return nstest.AddRoute("eth0", "2001:db8:1::/64", "2001:db8::2", 0, 0) }},
			{"IPv4 rule", func() error { return addRule(netlink.FAMILY_V4) }},
			{"IPv6 rule", func() error { return addRule(netlink.FAMILY_V6) }},
			{"IPv4 forwarding", func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) }},
			{"IPv6 forwarding", func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0) }},
			{"IPv6 forwarding off", func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("0"), 0) }},
			{"IPv6 forwarding of one link", forceForwarding},
			{"MTU", func() error { return netlink.LinkSetMTU(link, 1400) }},
			{"link down", func() error { return netlink.LinkSetDown(link) }},
			{"link up", func() error { return netlink.LinkSetUp(link) }},
			{"link deleted", func() error { return netlink.LinkDel(link) }},
		} {
			quiet()
			must(t, change.do())
			expect(change.what)
		}
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch: %v", err)
		}
	})
}

func addRule(family int) error {
	r := netlink.NewRule()
	r.Family, r.Priority, r.Table = family, 100, 100
	return netlink.RuleAdd(r)
}

// forceForwarding changes something else where the kernel has no such switch: before Linux 6.17.
func forceForwarding() error {
	err := os.WriteFile("/proc/sys/net/ipv6/conf/eth0/force_forwarding", []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return os.WriteFile("/proc/sys/net/ipv6/conf/eth0/forwarding", []byte("1"), 0)
	}
	return err
}

// A flood that overflows the socket knocks, and does not end the watch.
func TestWatchOverflow(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		nstest.Veth(t, "eth0", "peer0", nstest.New(t))
		link, err := netlink.LinkByName("eth0")
		must(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		hold, begun, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		knocks := 0
		go func() {
			done <- newMonitor(t).Watch(ctx, func() {
				if knocks++; knocks == 1 {
					close(begun)
					<-hold
				}
			})
		}()
		<-begun
		for i := range 5000 {
			must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK,
				Dst: &net.IPNet{IP: net.IPv4(10, 0, byte(i>>8), byte(i)), Mask: net.CIDRMask(32, 32)}}))
		}
		close(hold)
		time.Sleep(200 * time.Millisecond)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch: %v", err)
		}
		if knocks < 2 || knocks > 5000 {
			t.Errorf("%d knocks for 5000 routes: want fewer, because messages were lost, and more than the first", knocks)
		}
	})
}
