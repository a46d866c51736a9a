package policy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uclat/platform"
)

const (
	// A router between two networks, without a default route of either family.
	between = `
		link lo l3
		link eth0
		link eth1
		addr eth0 192.0.2.1/24
		addr eth1 2001:db8:6::1/64
		addr eth1 fe80::1/64
		forwarding IPv4 IPv6
	`
	siit  = "interface.ipv4 = ''\ninterface.default-route = false\n"
	amap  = "map = [{ipv4 = '198.51.100.1', ipv6 = '2001:db8:6::8'}]\n"
	three = "map = [{ipv4 = '198.51.100.1', ipv6 = '2001:db8:6::8'}, {ipv4 = '198.51.100.2', ipv6 = '2001:db8:6::9'}, " +
		"{ipv4 = '203.0.113.0/24', ipv6 = '2001:db8:7::/120'}]\n"
	prefix = "pref64.prefixes = ['2001:db8:64::/96']\n"

	back = ": what is routed there comes back translated"
)

func TestRouter(t *testing.T) {
	for _, tt := range []struct {
		name, config, host, pref64 string
		empty                      bool // the host has nothing at all
		code, why                  string
	}{
		{name: "maps and a PREF64", config: siit + three + "pref64.prefixes = ['64:ff9b::/96']", code: "router",
			why: "on: SIIT router on clat0, 3 maps, PREF64 64:ff9b::/96" + back},
		{name: "a map alone", config: siit + amap, code: "router", why: "on: SIIT router on clat0, 1 map" + back},
		{name: "a PREF64 alone, another name", config: "interface = {ipv4 = '', name = 'siit'}\n" + prefix, code: "router",
			why: "on: SIIT router on siit, PREF64 2001:db8:64::/96" + back},
		{name: "two PREF64s", config: siit + "pref64.prefixes = ['2001:db8:64::/96', '64:ff9b::/96']", code: "router",
			why: "on: SIIT router on clat0, PREF64 2001:db8:64::/96, PREF64 64:ff9b::/96" + back},
		{name: "what a resolver says is not used", config: siit + amap, pref64: "64:ff9b::/96@2001:db8::53", code: "router",
			why: "on: SIIT router on clat0, 1 map" + back},
		{name: "native IPv4 does not turn it off", config: siit + amap, host: "route eth0 0.0.0.0/0 via 192.0.2.2", code: "router",
			why: "on: SIIT router"},
		{name: "it needs neither links nor addresses", config: siit + amap, empty: true, code: "router", why: "on: SIIT router"},
		{name: "mode off", config: "mode = 'off'\n" + siit + amap, code: "mode-off", why: "off: the configuration says so (mode = off)"},
		{name: "mode force", config: "mode = 'force'\n" + siit + amap, code: "router", why: "on: SIIT router"},

		{name: "an address of its own that the host has does not turn it off", config: siit + amap + "interface.self-ipv4 = '192.0.2.1'",
			code: "router", why: "on: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			host := snapshot(t, between+tt.host)
			if tt.empty {
				host = platform.Snapshot{}
			}
			checkPlan(t, Input{Config: parse(t, tt.config), Host: host, PREF64: known(tt.pref64)}, tt.code, tt.why)
		})
	}
}

// What the host gets: the device, and the default route where it is wanted. Routes for maps are the administrator's.
func TestRouterHost(t *testing.T) {
	for _, tt := range []struct {
		name, config string
		mtu6, mtu4   int
		want         string
	}{
		{"nothing but the device", siit + three + prefix, 1500, 1500, "tun clat0 mtu 1500 with IPv6\n"},
		{"the default route", "interface.ipv4 = ''\n" + prefix, 1500, 1500, `
tun clat0 mtu 1500 with IPv6
route 0.0.0.0/0 metric 2000000 mtu 1480
`},
		{"interface.mtu", "interface = {ipv4 = '', mtu = 9000}\n" + prefix, 9000, 9000, `
tun clat0 mtu 9000 with IPv6
route 0.0.0.0/0 metric 2000000 mtu 8980
`},
		{"an IPv4 side that takes more", "interface = {ipv4 = '', ipv4-mtu = 9000}\n" + prefix, 1500, 9000, `
tun clat0 mtu 9000 with IPv6
route 0.0.0.0/0 metric 2000000 mtu 1480
`},
		{"less", "interface = {ipv4 = '', mtu = 1280, ipv4-mtu = 68}\n" + prefix, 1280, 68, `
tun clat0 mtu 1280 with IPv6
route 0.0.0.0/0 metric 2000000 mtu 68
`},
		{"or as much as IPv6", "interface = {ipv4 = '', ipv4-mtu = 1500}\n" + prefix, 1500, 1500, `
tun clat0 mtu 1500 with IPv6
route 0.0.0.0/0 metric 2000000 mtu 1480
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Decide(Input{Config: parse(t, tt.config), Host: snapshot(t, between)})
			if !p.On || p.MTU6 != tt.mtu6 || p.MTU4 != tt.mtu4 || p.Uplink != (platform.Link{}) || p.Host.Forward != nil {
				t.Errorf("%+v; want MTU %d and %d, no uplink, nothing forwarded", p, tt.mtu6, tt.mtu4)
			}
			if diff := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), hostText(p.Host)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	c := parse(t, siit+three+prefix)
	if diff := cmp.Diff(c.PREF64.Prefixes, Decide(Input{Config: c, PREF64: known(wkp)}).PREF64, plain); diff != "" {
		t.Errorf("PREF64s (-want +got)\n%s", diff)
	}
	for text, want := range map[string]string{
		siit + prefix: "[192.0.0.8/32 2001:db8:64::/96]", siit + amap: "[192.0.0.8/32]", siit + amap + "translate.unmapped-source = ''": "[]",
	} {
		if got := fmt.Sprint(Interests(Input{Config: parse(t, text)})); got != want {
			t.Errorf("%s\nit looks at routes to %v, want %v", text, got, want)
		}
	}
}

func TestRouterWarnings(t *testing.T) {
	const (
		noSource = "there is no source for ICMPv6 errors, so none are sent, and path MTU discovery of IPv6 hosts may fail: set address.self-ipv6 " +
			"to an address that is routed to clat0 and that no host has"
		no4 = "this host does not forward IPv4, so that nothing gets to the translator or from it to other hosts: run sysctl -w " +
			"net.ipv4.ip_forward=1"
		no6 = "this host does not forward IPv6, so that nothing gets to the translator or from it to other hosts: run "
		on6 = "sysctl -w net.ipv6.conf.all.forwarding=1"

		taken = "interface.self-ipv4 = %s is an address of %s, and a host drops packets that come in with an IPv4 source of its own, so all " +
			"ICMP errors that the translator sends to IPv4 hosts: choose one that no interface has, or take it away (ip addr del %s dev %s; with " +
			"the last one of an interface its IPv4 routes go, so add them again)"
		manyPrefixes = "pref64.prefixes has more than one, and IPv4 hosts come to stand behind the first, 2001:db8:64::/96: answers to IPv6 hosts " +
			"that use another one come from elsewhere, and their connections fail: leave the one that they use"
		noRoute = "no route of the main table leads to clat0, and nothing else is translated: run ip route add ... dev clat0, and ip -6 route " +
			"add ... dev clat0"
		round = "the IPv4 default route and 2001:db8:64::/96 both lead to clat0: what has no map goes round there, from IPv4 to IPv6 and back, " +
			"until its TTL runs out: set interface.default-route = false, and route there only what the maps cover"
		noSourceRoute = "this host has no route to translate.unmapped-source = 192.0.0.8, and drops what comes from there (rp_filter), so ICMP " +
			"errors of IPv6 routers: run ip route add 192.0.0.8 dev clat0"

		running = "link clat0 l3\nlink eth0\nforwarding IPv4 IPv6\n"
		all     = "interface.ipv4 = ''\n" + prefix
	)
	for _, tt := range []struct {
		name, config, host string
		want               []string
	}{
		{"none", siit + prefix, "forwarding IPv4 IPv6", nil},
		{"no source for ICMPv6 errors", siit + amap, "forwarding IPv4 IPv6", []string{noSource}},
		{"where it is given, or none are sent", siit + amap + "address.self-ipv6 = '2001:db8:7::1'", "forwarding IPv4 IPv6", nil},
		{"where it is given, or none are sent", siit + amap + "translate.icmp-errors = false", "forwarding IPv4 IPv6", nil},
		{"no forwarding of IPv4", siit + prefix, "forwarding IPv6", []string{no4}},
		{"no forwarding of IPv6", siit + prefix, "forwarding IPv4", []string{no6 + on6}},
		{"all of it", siit + amap, "", []string{noSource, no4, no6 + on6}},
		{"a default route from a Router Advertisement would be lost", siit + prefix,
			"link eth0\nlink eth1.5\nroute eth0 ::/0 via fe80::9 metric 100\nroute eth1.5 ::/0 via fe80::9 ra\nforwarding IPv4",
			[]string{no6 + "sysctl -w net/ipv6/conf/eth1.5/accept_ra=2 && " + on6}},

		{"self-ipv4 is an address of the host", siit + prefix + "interface.self-ipv4 = '192.0.2.1'", between,
			[]string{fmt.Sprintf(taken, "192.0.2.1", "eth0", "192.0.2.1/24", "eth0")}},
		{"in its network is not on it", siit + prefix + "interface.self-ipv4 = '192.0.2.9'", between, nil},
		{"or of the translator's own interface", siit + prefix, running + "routed clat0\naddr clat0 100.64.46.5/32",
			[]string{fmt.Sprintf(taken, "100.64.46.5", "clat0", "100.64.46.5/32", "clat0")}},
		{"IPv6 sources of its own are no martians", siit + prefix, between + "addr eth1 2001:db8:64::100.64.46.5/128", nil},

		{"several PREF64s", siit + "pref64.prefixes = ['2001:db8:64::/96', '64:ff9b::/96']", "forwarding IPv4 IPv6", []string{manyPrefixes}},

		{"nothing is routed there", siit + prefix, running + "route eth0 0.0.0.0/0", []string{noRoute}},
		{"something is", siit + prefix, running + "routed clat0", nil},
		{"or is about to be", all, running, nil},

		{"all IPv4 goes round", all, running + "route clat0 0.0.0.0/0 metric 2000000\nroute clat0 2001:db8:64::/96", []string{round}},
		{"also by another route", siit + prefix, running + "route clat0 0.0.0.0/1\nroute clat0 128.0.0.0/1\nroute eth0 0.0.0.0/0\n" +
			"route clat0 2001:db8::/32", []string{round}},
		{"where native IPv4 wins it does not", all, running + "route clat0 0.0.0.0/0 metric 2000000\nroute eth0 0.0.0.0/0 metric 100\n" +
			"route clat0 2001:db8:64::/96", nil},
		{"where the PLAT has the PREF64 it does not", all, running + "route clat0 0.0.0.0/0 metric 2000000\nroute eth0 ::/0", nil},
		{"also where that is more specific", all, running + "route clat0 0.0.0.0/0\nroute clat0 2001:db8::/32\nroute eth0 2001:db8:64::/64", nil},
		{"one host of the PREF64 is not all of it", all, running + "route clat0 0.0.0.0/0\nroute clat0 2001:db8:64::/128\nroute eth0 ::/0", nil},

		{"sources are checked", siit + amap + "address.self-ipv6 = '2001:db8:7::1'", running + "filtered clat0\nrouted clat0",
			[]string{noSourceRoute}},
		{"on another interface", siit + prefix, running + "filtered eth0\nrouted clat0", nil},
		{"and there is a route", siit + prefix, running + "filtered clat0\nroute clat0 192.0.0.8/32", nil},
		{"and there is a default route", siit + prefix, running + "filtered clat0\nrouted clat0\nroute eth0 0.0.0.0/0", nil},
		{"and IPv6 has one", siit + prefix, running + "filtered clat0\nrouted clat0\nroute eth0 ::/0", []string{noSourceRoute}},
		{"and such errors are dropped anyway", siit + prefix + "translate.unmapped-source = ''", running + "filtered clat0\nrouted clat0", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Decide(Input{Config: parse(t, tt.config), Host: snapshot(t, tt.host)})
			if diff := cmp.Diff(tt.want, p.Warnings); diff != "" || !p.On {
				t.Errorf("%s: (-want +got)\n%s", p.Why, diff)
			}
		})
	}
}
