package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uclat/platform"
)

const (
	// A laptop on an IPv6-only network.
	laptop = `
		link lo l3
		link eth0
		addr lo 127.0.0.1/8
		addr lo ::1/128
		addr eth0 2001:db8:1::5/64
		addr eth0 fe80::5/64
		route eth0 ::/0 via fe80::1 metric 1024
	`
	wkp    = "64:ff9b::/96"
	routed = "address.ipv6 = '2001:db8:c1a7::/64'\n"
	is     = "on: IPv4 through eth0, PREF64 64:ff9b::/96 (configured), as 2001:db8:c1a7:0:64:402e:400:0"
	native = "off: this network has IPv4 itself, by "
)

func TestDecide(t *testing.T) {
	for _, tt := range []struct {
		name   string
		config string // beside address.ipv6
		host   string // beside the laptop
		pref64 string
		code   string
		why    string // how it begins
	}{
		{name: "all is there", pref64: wkp, code: "on", why: is},
		{name: "PREF64 from a resolver", pref64: "2001:db8:64::/96@2001:db8::53", code: "on",
			why: "on: IPv4 through eth0, PREF64 2001:db8:64::/96 (from resolver 2001:db8::53 by RFC 7050), as 2001:db8:c1a7:0:64:402e:400:0"},
		{name: "PREF64 from a router", pref64: "2001:db8:64::/96@fe80::1 64:ff9b::/96@2001:db8::53", code: "on",
			why: "on: IPv4 through eth0, PREF64 2001:db8:64::/96 (from router fe80::1 by RA), as 2001:db8:c1a7:0:64:402e:400:0"},

		{name: "mode off looks at nothing", config: "mode = 'off'", host: "link x\naddr x 100.64.0.1/10", pref64: wkp,
			code: "mode-off", why: "off: the configuration says so (mode = off)"},

		{name: "no PREF64", code: "no-pref64", why: "waiting: no PREF64 on eth0: none is configured, and no router announces one (RFC 8781), and no " +
			"resolver tells one (RFC 7050); `uclat discover` shows what they say, pref64.prefixes sets one"},
		{name: "a learned PREF64 that holds our address is none", pref64: "2001:db8::/32@2001:db8::53", code: "no-pref64", why: "waiting: no PREF64 on eth0"},
		{name: "nor is one that our prefix holds", pref64: "2001:db8:c1a7:0:1::/96@2001:db8::53", code: "on", config: "",
			why: "on: IPv4 through eth0, PREF64 2001:db8:c1a7:0:1::/96"}, // the one address in use lies elsewhere in it
		{name: "the next one is used", pref64: "2001:db8::/32@2001:db8::53 64:ff9b::/96@2001:db8::54", code: "on",
			why: "on: IPv4 through eth0, PREF64 64:ff9b::/96 (from resolver 2001:db8::54 by RFC 7050)"},
		{name: "mode force needs a PREF64 as well", config: "mode = 'force'", code: "no-pref64", why: "waiting: no PREF64 on eth0"},

		// Native IPv4.
		{name: "native IPv4", host: "route eth0 0.0.0.0/0 via 192.0.2.1 metric 100", pref64: wkp,
			code: "native-ipv4", why: native + "192.0.2.1 on eth0 (--mode on runs beside it)"},
		{name: "mode on runs beside it", config: "mode = 'on'", host: "route eth0 0.0.0.0/0 via 192.0.2.1", pref64: wkp, code: "on", why: is},
		{name: "mode force runs beside it", config: "mode = 'force'", host: "route eth0 0.0.0.0/0 via 192.0.2.1", pref64: wkp, code: "on", why: is},
		{name: "native IPv4 is the reason, not a missing PREF64", host: "route eth0 0.0.0.0/0 via 192.0.2.1", code: "native-ipv4",
			why: native + "192.0.2.1 on eth0"},
		{name: "on any interface", host: "link wlan0\nroute wlan0 0.0.0.0/0 via 192.0.2.1", pref64: wkp, code: "native-ipv4",
			why: native + "192.0.2.1 on wlan0"},
		{name: "as two halves", host: "route eth0 0.0.0.0/1 via 192.0.2.1\nroute eth0 128.0.0.0/1 via 192.0.2.1", pref64: wkp, code: "native-ipv4",
			why: native + "192.0.2.1 on eth0"},
		{name: "one half is not enough", host: "route eth0 128.0.0.0/1 via 192.0.2.1", pref64: wkp, code: "on", why: is},
		{name: "nor is the same half twice", host: "route eth0 128.0.0.0/1 via 192.0.2.1\nroute eth0 128.0.0.0/1 via 192.0.2.2 metric 1",
			pref64: wkp, code: "on", why: is},
		{name: "nor are halves of two interfaces", host: "link wlan0\nroute eth0 0.0.0.0/1 via 192.0.2.1\nroute wlan0 128.0.0.0/1 via 192.0.2.1",
			pref64: wkp, code: "on", why: is},
		{name: "a router with an IPv6 address (RFC 5549)", host: "route eth0 0.0.0.0/0 via fe80::1", pref64: wkp, code: "native-ipv4",
			why: native + "fe80::1 on eth0"},
		{name: "a router on 169.254/16 does not count", host: "route eth0 0.0.0.0/0 via 169.254.0.1", pref64: wkp, code: "on", why: is},
		{name: "nor does an interface that has nothing but 169.254/16", host: "addr eth0 169.254.7.7/16\nroute eth0 0.0.0.0/0 metric 1002",
			pref64: wkp, code: "on", why: is},
		{name: "on-link behind another address it counts", host: "addr eth0 192.0.2.7/24\nroute eth0 0.0.0.0/0", pref64: wkp,
			code: "native-ipv4", why: native + "eth0 ("},
		{name: "a VPN does not count", host: "link tun0 l3\naddr tun0 10.8.0.2/24\nroute tun0 0.0.0.0/0", pref64: wkp, code: "on", why: is},
		{name: "nor does it with two halves", host: "link tun0 l3\nroute tun0 0.0.0.0/1\nroute tun0 128.0.0.0/1", pref64: wkp, code: "on", why: is},
		{name: "a tunnel that is the uplink counts", config: "uplink = 'wwan0'",
			host: "link wwan0 l3\nroute wwan0 ::/0\nroute wwan0 0.0.0.0/0", pref64: wkp, code: "native-ipv4", why: native + "wwan0"},
		{name: "our own device does not count", host: "link clat0\naddr clat0 100.64.46.4/32\nroute clat0 0.0.0.0/0 metric 2000000",
			pref64: wkp, code: "on", why: is},
		{name: "an interface without carrier does not count", host: "link eth1 down\nroute eth1 0.0.0.0/0 via 192.0.2.1", pref64: wkp,
			code: "on", why: is},
		{name: "other IPv4 routes do not count", host: "route eth0 10.0.0.0/8 via 192.0.2.1", pref64: wkp, code: "on", why: is},

		// The uplink. MTU and metric are those of an uplink that was found.
		{name: "named and missing", config: "uplink = 'wg0'", pref64: wkp, code: "no-uplink", why: "waiting: there is no interface wg0 (uplink)"},
		{name: "named and down", config: "uplink = 'wg0'", host: "link wg0 l3 down\nroute wg0 ::/0", pref64: wkp, code: "no-uplink",
			why: "waiting: wg0 (uplink) is down"},
		{name: "named and without a route", config: "uplink = 'wg0'", host: "link wg0 l3\nroute wg0 2001:db8:2::/48", pref64: wkp, code: "no-uplink",
			why: "waiting: wg0 (uplink) has no IPv6 route toward the PLAT"},
		{name: "named, with a route to the PLAT only", config: "uplink = 'wg0'", host: "link wg0 l3\nroute wg0 64:ff9b::/96", pref64: wkp, code: "on",
			why: "on: IPv4 through wg0"},
		{name: "named, with a worse default route", config: "uplink = 'wg0'", host: "link wg0 l3\nroute wg0 ::/0 metric 5000", pref64: wkp, code: "on",
			why: "on: IPv4 through wg0"},
		{name: "the better metric of two", host: "link wlan0\nroute wlan0 ::/0 metric 600", pref64: wkp, code: "on", why: "on: IPv4 through wlan0"},
		{name: "the better metric of two, which stands first", host: "link wlan0\nroute wlan0 ::/0 metric 2000", pref64: wkp, code: "on", why: is},
		{name: "a route to the PLAT beats a default route", host: "link wg0 l3\nroute wg0 64:ff9b::/96 metric 5000", pref64: wkp, code: "on",
			why: "on: IPv4 through wg0"},
		{name: "half of the addresses beats a default route", host: "link wg0 l3\nroute wg0 ::/1\nroute wg0 8000::/1", pref64: wkp, code: "on",
			why: "on: IPv4 through wg0"},
		{name: "a route to a part of the PREF64 does not", host: "link wg0 l3\nroute wg0 64:ff9b::c000:200/120", pref64: wkp, code: "on", why: is},
		{name: "nor does a better one without carrier", host: "link wlan0 down\nroute wlan0 ::/0 metric 1", pref64: wkp, code: "on", why: is},
		{name: "our own device is no uplink", host: "link clat0 l3\nroute clat0 64:ff9b::/96", pref64: wkp, code: "on", why: is},

		{name: "an MTU that IPv6 cannot do with", host: "link wlan0 mtu 1279\nroute wlan0 ::/0 metric 1", pref64: wkp, code: "mtu",
			why: "off: wlan0 takes 1279 octets, and IPv6 needs 1280: raise its MTU"},

		// Two uses of one address.
		{name: "interface.ipv4 by an address", host: "link eth1\naddr eth1 100.64.10.5/10", pref64: wkp, code: "ipv4-overlap",
			why: "off: interface.ipv4 = 100.64.46.4 overlaps with 100.64.10.5/10 on eth1: choose another, such as 192.0.0.2 (interface.ipv4) and " +
				"192.0.0.3 (interface.self-ipv4)"},
		{name: "interface.ipv4 by a route", host: "link tailscale0 l3\nroute tailscale0 100.64.0.0/10", pref64: wkp, code: "ipv4-overlap",
			why: "off: interface.ipv4 = 100.64.46.4 overlaps with the route 100.64.0.0/10 by tailscale0: choose another"},
		{name: "Tailscale takes the whole range", host: "link tailscale0 l3\naddr tailscale0 100.101.102.103/32", pref64: wkp, code: "ipv4-overlap",
			why: "off: interface.ipv4 = 100.64.46.4 overlaps with 100.64.0.0/10, which Tailscale keeps for tailscale0: choose another"},
		{name: "but no other", config: "interface.ipv4 = '192.0.0.2'\ninterface.self-ipv4 = '192.0.0.3'", pref64: wkp, code: "on", why: "on: IPv4 ",
			host: "link tailscale0 l3\naddr tailscale0 100.101.102.103/32"},
		{name: "interface.self-ipv4", host: "link eth1\naddr eth1 100.64.46.5/32", pref64: wkp, code: "ipv4-overlap",
			why: "off: interface.self-ipv4 = 100.64.46.5 overlaps with 100.64.46.5/32 on eth1: choose another"},
		{name: "elsewhere in 100.64.0.0/10", host: "link eth1\naddr eth1 100.80.0.5/16\nroute eth1 100.80.0.0/16", pref64: wkp, code: "on", why: is},
		{name: "not by a default route, not by pieces of one", host: "link tun0 l3\nroute tun0 0.0.0.0/0\nroute tun0 0.0.0.0/1\n" +
			"route tun0 64.0.0.0/2", pref64: wkp, code: "on", why: is},
		{name: "not by our own device", host: "link clat0 l3\naddr clat0 100.64.46.4/32\nroute clat0 100.64.0.0/10", pref64: wkp, code: "on", why: is},
		{name: "not by what is not looked at any more", host: "route gone 100.64.0.0/10", pref64: wkp, code: "on", why: is},
		{name: "a clash comes before what can mend itself", config: "uplink = 'wg0'", host: "link eth1\naddr eth1 100.64.10.5/10",
			code: "ipv4-overlap", why: "off: interface.ipv4"},
		{name: "the clients' prefix is routed to the clients", config: "interface.ipv4 = '100.64.0.0/10'",
			host: "link wg0 l3\naddr wg0 100.64.0.1/32\nroute wg0 100.64.0.0/10", pref64: wkp, code: "on",
			why: "on: IPv4 through eth0, PREF64 64:ff9b::/96 (configured), as 2001:db8:c1a7::/64"},
		{name: "but our own address is nobody's", config: "interface.ipv4 = '100.64.0.0/10'", host: "link wg0 l3\naddr wg0 100.64.46.5/32", pref64: wkp,
			code: "ipv4-overlap", why: "off: interface.self-ipv4 = 100.64.46.5 is an address of wg0"},
		{name: "address.ipv6 that an interface has", host: "addr eth0 2001:db8:c1a7:0:64:402e:400:0/128", pref64: wkp, code: "ipv6-in-use",
			why: "off: address.ipv6 = 2001:db8:c1a7::/64 holds 2001:db8:c1a7:0:64:402e:400:0, which eth0 has already: choose an address that no " +
				"interface has, and that is routed to this host or free on the uplink"},
		{name: "another address of the prefix does not clash", host: "addr eth0 2001:db8:c1a7::1/128", pref64: wkp, code: "on", why: is},
		{name: "with clients every one does", config: "interface.ipv4 = '100.64.0.0/10'", host: "addr eth0 2001:db8:c1a7::1/128", pref64: wkp,
			code: "ipv6-in-use", why: "off: address.ipv6 = 2001:db8:c1a7::/64 holds 2001:db8:c1a7::1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkPlan(t, Input{Config: parse(t, routed+tt.config), Host: snapshot(t, laptop+tt.host), PREF64: known(tt.pref64)}, tt.code, tt.why)
		})
	}
}

// Hosts that are no laptop on an IPv6-only network.
func TestDecideElsewhere(t *testing.T) {
	for _, tt := range []struct{ name, host, code, why string }{
		{"nothing but loopback", "link lo l3\naddr lo ::1/128", "no-uplink", "waiting: no interface has an IPv6 default route"},
		{"only a link-local address", "link eth0\naddr eth0 fe80::5/64\nroute eth0 ::/0", "no-ipv6-address",
			"waiting: no interface has a global IPv6 address yet"},
		{"an address that is not ready", "link eth0\naddr eth0 2001:db8::5/64 tentative\nroute eth0 ::/0", "no-ipv6-address", "waiting: "},
		{"an address of our own device", "link eth0\nlink clat0 l3\naddr clat0 2001:db8::5/64\nroute eth0 ::/0", "no-ipv6-address", "waiting: "},
		{"an IPv4 address is none", "link eth0\naddr eth0 192.0.2.5/24\nroute eth0 ::/0", "no-ipv6-address", "waiting: "},
		{"a unique local address will do", "link eth0\naddr eth0 fd00::5/64\nroute eth0 ::/0", "on", is},
		{"an address of another interface will do", "link eth0\nlink br0\naddr br0 2001:db8:2::5/64\nroute eth0 ::/0", "on", is},
		{"IPv4 only", "link eth0\naddr eth0 192.0.2.5/24\nroute eth0 0.0.0.0/0 via 192.0.2.1", "native-ipv4", native + "192.0.2.1 on eth0"},
		{"an IPv4-only tunnel", "link tun0 l3\naddr tun0 192.0.2.5/24\nroute tun0 0.0.0.0/0", "no-uplink", "waiting: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			checkPlan(t, Input{Config: parse(t, routed), Host: snapshot(t, tt.host), PREF64: known(wkp)}, tt.code, tt.why)
		})
	}
}

// checkPlan compares what Decide says, and holds it to what is true of every plan.
func checkPlan(t *testing.T, in Input, code, why string) {
	t.Helper()
	p := Decide(in)
	if p.Code != code || !strings.HasPrefix(p.Why, why) {
		t.Errorf("got  %s  %s\nwant %s  %s...", p.Code, p.Why, code, why)
	}
	if strings.ContainsAny(p.Why, "\n\"") {
		t.Errorf("%q is not one line that a log shows as it is", p.Why)
	}
	wrong := map[string]bool{"mtu": true, "ipv4-overlap": true, "ipv6-in-use": true, "no-address": true}
	if p.On != (code == "on" || code == "router") || p.Wrong != wrong[code] {
		t.Errorf("%s: on %v, wrong %v", code, p.On, p.Wrong)
	}
	if !p.On {
		p.Code, p.Why, p.Wrong, p.Warnings = "", "", false, nil
		if code == "no-pref64" { // where one is looked for
			p.Uplink, p.Path, p.PathWhy, p.MTU6, p.MTU4 = platform.Link{}, "", "", 0, 0
		}
		if diff := cmp.Diff(Plan{}, p, plain); diff != "" {
			t.Errorf("a plan that is off says nothing else (-want +got)\n%s", diff)
		}
	}
}

func TestNoPREF64WithoutDNS(t *testing.T) {
	c := *parse(t, routed)
	c.PREF64.Sources = c.PREF64.Sources[:1]
	checkPlan(t, Input{Config: &c, Host: snapshot(t, laptop)}, "no-pref64",
		"waiting: no PREF64: pref64.prefixes is empty, and pref64.sources names nothing that could tell one on eth0")
}
