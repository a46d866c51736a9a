package nexthop

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

// Which route is taken, among those that lead elsewhere and those for some sources only.
func TestRoute(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		lan(t)
		eth0, wg0 := link(t, "eth0", true), tun(t, "wg0")
		must(t, nstest.AddAddr("wg0", "2001:db8:9::5/64"))
		must(t, os.WriteFile("/proc/sys/net/ipv6/conf/eth0/accept_ra", []byte("0"), 0))
		nstest.Settle(t) // the host's own addresses come into the table late
		table := open(t)

		const own, vpn = 100, 51820
		byDefault := route(eth0, "::/0", gateways[0], 0, 1024)
		mine := route(eth0, "::/0", gateways[1], own, 0)
		sources := &netlink.Rule{Family: unix.AF_INET6, Table: own, Src: &net.IPNet{IP: net.ParseIP("2001:db8:1::"), Mask: net.CIDRMask(64, 128)}}
		unreachable := route(platform.Link{}, "::/0", netip.Addr{}, 0, 1)
		unreachable.Type = unix.RTN_UNREACHABLE
		notMarked := &netlink.Rule{Family: unix.AF_INET6, Table: vpn, Mark: vpn, Invert: true}
		noDefault := &netlink.Rule{Family: unix.AF_INET6, Table: unix.RT_TABLE_MAIN, SuppressPrefixlen: 0}
		byVPN := route(wg0, "::/0", netip.Addr{}, vpn, 0)

		var none netip.Addr
		for _, tt := range []struct {
			name   string
			routes []*netlink.Route
			rules  []*netlink.Rule // the first is asked first
			link   platform.Link
			src    netip.Addr
			dst    netip.Addr
			want   netip.Addr // invalid: on the link, or where that is L3
			err    error
		}{
			{name: "nothing", link: eth0, src: clat, dst: plat, err: ErrNoRoute},
			{name: "default", routes: []*netlink.Route{byDefault}, link: eth0, src: clat, dst: plat, want: gateways[0]},
			{name: "any source", routes: []*netlink.Route{byDefault}, link: eth0, src: none, dst: plat, want: gateways[0]},
			{name: "unspecified source", routes: []*netlink.Route{byDefault}, link: eth0, src: netip.IPv6Unspecified(), dst: plat, want: gateways[0]},
			{name: "more specific", routes: []*netlink.Route{byDefault, route(eth0, "64:ff9b::/96", gateways[1], 0, 0)},
				link: eth0, src: clat, dst: plat, want: gateways[1]},
			{name: "by another link", routes: []*netlink.Route{byDefault}, link: wg0, src: clat, dst: plat, err: ErrNoRoute},
			{name: "link without neighbours", routes: []*netlink.Route{byDefault, byVPN}, rules: []*netlink.Rule{notMarked},
				link: wg0, src: clat, dst: plat},
			{name: "on the link", link: eth0, src: clat, dst: netip.MustParseAddr("2001:db8:1::9")},
			{name: "everything on the link", routes: []*netlink.Route{route(eth0, "::/0", none, 0, 0)}, link: eth0, src: clat, dst: plat},
			{name: "the host itself", routes: []*netlink.Route{byDefault}, link: eth0, src: clat, dst: netip.MustParseAddr("2001:db8:1::5"), err: ErrNoRoute},
			{name: "multicast", link: eth0, src: clat, dst: netip.IPv6LinkLocalAllNodes(), err: ErrNoRoute},
			{name: "VPN, better metric", routes: []*netlink.Route{byDefault, route(wg0, "::/0", none, 0, 1)}, link: eth0, src: clat, dst: plat,
				want: gateways[0]},
			{name: "VPN, halves", routes: []*netlink.Route{byDefault, route(wg0, "::/1", none, 0, 0), route(wg0, "8000::/1", none, 0, 0)},
				link: eth0, src: clat, dst: plat, want: gateways[0]},
			{name: "VPN, wg-quick", routes: []*netlink.Route{byDefault, byVPN}, rules: []*netlink.Rule{noDefault, notMarked}, link: eth0, src: clat,
				dst: plat, want: gateways[0]},
			{name: "VPN, wg-quick, and PREF64 more specific", routes: []*netlink.Route{byDefault, byVPN, route(eth0, "64:ff9b::/96", gateways[1], 0, 0)},
				rules: []*netlink.Rule{noDefault, notMarked}, link: eth0, src: clat, dst: plat, want: gateways[1]},
			{name: "VPN alone", routes: []*netlink.Route{byVPN}, rules: []*netlink.Rule{noDefault, notMarked}, link: eth0, src: clat, dst: plat,
				err: ErrNoRoute},
			{name: "unreachable in front", routes: []*netlink.Route{byDefault, unreachable}, link: eth0, src: clat, dst: plat, want: gateways[0]},
			{name: "unreachable alone", routes: []*netlink.Route{unreachable}, link: eth0, src: clat, dst: plat, err: ErrNoRoute},
			{name: "table for the source", routes: []*netlink.Route{byDefault, mine}, rules: []*netlink.Rule{sources}, link: eth0, src: clat,
				dst: plat, want: gateways[1]},
			{name: "table for other sources", routes: []*netlink.Route{byDefault, mine}, rules: []*netlink.Rule{sources}, link: eth0,
				src: netip.MustParseAddr("2001:db8:2::c1a7"), dst: plat, want: gateways[0]},
			{name: "table for the source, then VPN", routes: []*netlink.Route{byDefault, mine, byVPN},
				rules: []*netlink.Rule{sources, noDefault, notMarked}, link: eth0, src: clat, dst: plat, want: gateways[1]},
			{name: "VPN, then table for the source", routes: []*netlink.Route{byDefault, mine, byVPN},
				rules: []*netlink.Rule{noDefault, notMarked, sources}, link: eth0, src: clat, dst: plat, want: gateways[0]}, // see Table.gateway
			{name: "IPv4 destination", link: eth0, src: clat, dst: netip.MustParseAddr("192.0.2.1"), err: errIPv4},
			{name: "IPv4 source", link: eth0, src: netip.MustParseAddr("192.0.2.1"), dst: plat, err: errIPv4},
			{name: "no such link", link: platform.Link{Index: 99, Name: "gone0", L2: true}, src: clat, dst: plat, err: ErrNoRoute},
		} {
			for _, r := range tt.routes {
				must(t, netlink.RouteAdd(r))
			}
			for i, r := range tt.rules {
				must(t, netlink.RuleAdd(withPriority(r, 100+i)))
			}
			got, err := table.Hop(tt.link, tt.src, tt.dst)
			want := Hop{Gateway: tt.want, OnLink: tt.err == nil && !tt.want.IsValid() && tt.link.L2}
			if tt.err == errIPv4 && err != nil && !errors.Is(err, ErrNoRoute) {
				err = errIPv4
			}
			if !errors.Is(err, tt.err) || got.Gateway != want.Gateway || got.OnLink != want.OnLink {
				t.Errorf("%s: %+v, %v; want %+v, %v", tt.name, got, err, want, tt.err)
			}
			for i, r := range tt.rules {
				must(t, netlink.RuleDel(withPriority(r, 100+i)))
			}
			for _, r := range tt.routes {
				must(t, netlink.RouteDel(r))
			}
		}
	})
}

var errIPv4 = errors.New("not ErrNoRoute")

// withPriority is the rule with what the package would set by NewRule.
func withPriority(r *netlink.Rule, priority int) *netlink.Rule {
	full := netlink.NewRule()
	full.Family, full.Table, full.Mark, full.Invert, full.Src, full.Priority = r.Family, r.Table, r.Mark, r.Invert, r.Src, priority
	if r.Table == unix.RT_TABLE_MAIN {
		full.SuppressPrefixlen = r.SuppressPrefixlen
	}
	return full
}
