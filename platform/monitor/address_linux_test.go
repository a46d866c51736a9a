package monitor

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform/internal/nstest"
)

// Who set an address: a hand, a lease, or a router's announcement.
func TestAddressOrigin(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		router := nstest.New(t)
		nstest.Veth(t, "eth0", "peer0", router)
		must(t, os.WriteFile("/proc/sys/net/ipv6/conf/eth0/use_tempaddr", []byte("1"), 0))
		must(t, nstest.AddAddr("eth0", "192.0.2.1/24"))
		must(t, nstest.AddAddr("eth0", "192.0.2.2/24")) // secondary, which IPv6 calls temporary
		must(t, nstest.AddAddr("eth0", "2001:db8:1::1/64"))
		eth0, err := netlink.LinkByName("eth0")
		must(t, err)
		must(t, netlink.AddrAdd(eth0, &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP("2001:db8:2::1"), Mask: net.CIDRMask(128, 128)},
			Flags: unix.IFA_F_NODAD, ValidLft: 3600, PreferedLft: 3600}))
		router.Do(t, func() error {
			return announce("peer0",
				&ndp.PrefixInformation{PrefixLength: 64, AutonomousAddressConfiguration: true, OnLink: true, ValidLifetime: time.Hour,
					PreferredLifetime: time.Hour, Prefix: netip.MustParseAddr("2001:db8:3::")},
				&ndp.PrefixInformation{PrefixLength: 64, AutonomousAddressConfiguration: true, OnLink: true, ValidLifetime: ndp.Infinity,
					PreferredLifetime: ndp.Infinity, Prefix: netip.MustParseAddr("2001:db8:4::")})
		})

		want := []string{
			"192.0.2.0/24 permanent",
			"192.0.2.0/24 permanent",
			"2001:db8:1::/64 permanent",
			"2001:db8:2::1/128",
			"2001:db8:3::/64 autoconf", // and a temporary one
			"2001:db8:3::/64 autoconf",
			"2001:db8:4::/64 autoconf",
			"2001:db8:4::/64 permanent autoconf", // for as long as the router does not take it back
		}
		eventually(t, func() string {
			s, err := newMonitor(t).Snapshot(t.Context())
			must(t, err)
			var got []string
			for _, a := range s.Addrs {
				if a.Link != eth0.Attrs().Index || a.Prefix.Addr().IsLinkLocalUnicast() {
					continue
				}
				origin := a.Prefix.Masked().String()
				if a.Permanent {
					origin += " permanent"
				}
				if a.Autoconf {
					origin += " autoconf"
				}
				got = append(got, origin)
			}
			slices.Sort(got)
			return cmpDiff(want, got)
		})
	})
}

// announce sends a Router Advertisement of no default router by the interface of the calling thread's namespace.
func announce(name string, options ...ndp.Option) error {
	return advertise(name, &ndp.RouterAdvertisement{Options: options})
}

// advertise sends a Router Advertisement by the interface of the calling thread's namespace.
func advertise(name string, ra *ndp.RouterAdvertisement) error {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	conn, _, err := ndp.Listen(ifi, ndp.LinkLocal)
	for deadline := time.Now().Add(5 * time.Second); err != nil; conn, _, err = ndp.Listen(ifi, ndp.LinkLocal) {
		if time.Now().After(deadline) {
			return err
		}
		time.Sleep(10 * time.Millisecond) // the kernel makes the address some time behind the carrier
	}
	defer conn.Close()
	return conn.WriteTo(ra, nil, netip.IPv6LinkLocalAllNodes())
}

// eventually waits until f has nothing to say.
func eventually(t *testing.T, f func() string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		diff := f()
		if diff == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after 10 s (-want +got):\n%s", diff)
		}
	}
}

// Where the host reaches IPv4: of all tables, local addresses too, but for what leads everywhere or nowhere.
func TestRoutes4(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		nstest.Veth(t, "eth0", "peer0", nstest.New(t))
		nstest.Veth(t, "docker0", "peer1", nstest.New(t))
		for _, name := range []string{"eth0", "docker0"} {
			must(t, os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0))
		}
		must(t, nstest.AddAddr("eth0", "192.0.2.1/24"))
		must(t, nstest.AddAddr("docker0", "172.17.0.1/16"))
		must(t, nstest.AddRoute("eth0", "0.0.0.0/0", "192.0.2.254", 0, 0))
		must(t, nstest.AddRoute("eth0", "0.0.0.0/1", "192.0.2.254", 0, 0))
		must(t, nstest.AddRoute("eth0", "128.0.0.0/1", "192.0.2.254", 0, 0))
		links := map[string]int{}
		for _, name := range []string{"lo", "eth0", "docker0"} {
			l, err := netlink.LinkByName(name)
			must(t, err)
			links[name] = l.Attrs().Index
		}
		add := func(dst string, r netlink.Route) {
			p := netip.MustParsePrefix(dst)
			r.Dst = &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
			must(t, netlink.RouteAdd(&r))
		}
		add("198.51.100.0/24", netlink.Route{Table: 100, LinkIndex: links["docker0"], Scope: netlink.SCOPE_LINK})
		add("198.51.100.0/24", netlink.Route{Table: 70000, LinkIndex: links["docker0"], Scope: netlink.SCOPE_LINK}) // the same again
		add("203.0.113.0/24", netlink.Route{Table: 100, MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: links["docker0"]}, {LinkIndex: links["eth0"]}}})
		add("0.0.0.0/0", netlink.Route{Table: 100, LinkIndex: links["docker0"], Scope: netlink.SCOPE_LINK})
		add("10.0.0.0/8", netlink.Route{Type: unix.RTN_BLACKHOLE})
		add("10.1.0.0/16", netlink.Route{Type: unix.RTN_UNREACHABLE, Table: 100})
		add("100.64.0.0/24", netlink.Route{Type: unix.RTN_LOCAL, Table: 100, LinkIndex: links["lo"], Scope: netlink.SCOPE_HOST})

		s, err := newMonitor(t).Snapshot(t.Context())
		must(t, err)
		var got []string
		for _, r := range s.Routes4 {
			l, _ := s.Link(r.Link)
			got = append(got, l.Name+" "+r.Dst.String())
		}
		want := []string{
			"lo 100.64.0.0/24",
			"eth0 192.0.2.0/24",
			"eth0 192.0.2.1/32",
			"eth0 203.0.113.0/24",
			"docker0 172.17.0.0/16",
			"docker0 172.17.0.1/32",
			"docker0 198.51.100.0/24",
			"docker0 203.0.113.0/24",
		}
		if !slices.Equal(got, want) {
			t.Errorf("IPv4 is reached at:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if len(s.Routes) != 3 {
			t.Errorf("of the main table: %v; want its default route, also in halves", s.Routes)
		}
	})
}

// Of other tables than main, only default routes of IPv6 are kept, beside the others.
func TestOtherRoutes(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		nstest.Veth(t, "eth0", "peer0", nstest.New(t))
		l, err := netlink.LinkByName("eth0")
		must(t, err)
		for _, dst := range []string{"::/0", "2001:db8:64::/96", "0.0.0.0/0"} {
			p := netip.MustParsePrefix(dst)
			n := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
			must(t, netlink.RouteAdd(&netlink.Route{Table: 100, LinkIndex: l.Attrs().Index, Dst: n, Scope: netlink.SCOPE_LINK}))
		}
		must(t, nstest.AddRoute("eth0", "::/0", "fe80::1", 0, 0))
		s, err := newMonitor(t).Snapshot(t.Context())
		must(t, err)
		if len(s.OtherRoutes) != 1 || s.OtherRoutes[0].Dst.String() != "::/0" || s.OtherRoutes[0].Link != l.Attrs().Index || s.OtherRoutes[0].Via.IsValid() {
			t.Errorf("other routes: %+v", s.OtherRoutes)
		}
		if len(s.Routes) != 1 || !s.Routes[0].Via.IsValid() {
			t.Errorf("routes: %+v", s.Routes)
		}
	})
}
