package explain

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/clat/pref64"
	"uclat/discovery"
	"uclat/platform"
)

const (
	one     = "address.ipv6 = '2001:db8:c1a7::46'\n"
	prefix  = "address.ipv6 = '2001:db8:c1a7::/64'\n"
	clients = "address.ipv6 = '2001:db8:c1a7::/96'\ninterface.ipv4 = '100.64.0.0/10'\n"
)

// host has an IPv6 uplink eth0 and, as index 3, our own device. More routes are "LINK PREFIX METRIC".
func host(routes ...string) platform.Snapshot {
	s := platform.Snapshot{
		Links: []platform.Link{
			{Index: 1, Name: "lo", MTU: 65536, MTU6: 65536, Up: true},
			{Index: 2, Name: "eth0", MTU: 1500, MTU6: 1500, Up: true, L2: true},
			{Index: 3, Name: "clat0", MTU: 1500, MTU6: 1500, Up: true},
			{Index: 4, Name: "wg0", MTU: 1420, MTU6: 1420, Up: true},
		},
		Addrs: []platform.Address{
			{Link: 1, Prefix: netip.MustParsePrefix("127.0.0.1/8")},
			{Link: 2, Prefix: netip.MustParsePrefix("2001:db8:1::5/64")},
			{Link: 3, Prefix: netip.MustParsePrefix("100.64.46.4/32")},
			{Link: 4, Prefix: netip.MustParsePrefix("10.8.0.2/32")},
		},
		Routes: []platform.Route{
			{Dst: netip.MustParsePrefix("::/0"), Link: 2, Metric: 1024},
			{Dst: netip.MustParsePrefix("0.0.0.0/0"), Link: 3, Metric: 2000000, MTU: 1480},
		},
	}
	for _, text := range routes {
		var link, dst string
		var r platform.Route
		if _, err := fmt.Sscan(text, &link, &dst, &r.Metric); err != nil {
			panic(err)
		}
		l, _ := s.LinkByName(link)
		r.Link, r.Dst = l.Index, netip.MustParsePrefix(dst)
		s.Routes = append(s.Routes, r)
	}
	return s
}

func explain(t *testing.T, toml string, s platform.Snapshot, pref string, address string) Explanation {
	t.Helper()
	c, err := config.Parse("test.toml", []byte(toml))
	if err != nil {
		t.Fatal(err)
	}
	plan := policy.Decide(policy.Input{Config: c, Host: s, PREF64: []discovery.Known{{Prefix: pref64.MustParse(pref)}}})
	if !plan.On {
		t.Fatal(plan.Why)
	}
	x, err := Explain(c, plan, s, netip.MustParseAddr(address))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// text is what matters of an explanation: "native: ...", "drop: ..." or the addresses after the translation.
func text(x Explanation) string {
	switch {
	case x.Native != "":
		return "native: " + x.Native
	case x.Drop != "":
		return "drop: " + x.Drop
	}
	return fmt.Sprintf("%v -> %v", x.Translated.To[0], x.Translated.To[1])
}

func TestExplain(t *testing.T) {
	const wkp, nsp = "64:ff9b::/96", "2001:db8:64::/96"
	const native6 = "native: no NAT64 prefix or map covers it: it is native IPv6, which goes its own way"
	for _, tt := range []struct{ name, config, pref64, address, want string }{
		{"public", one, wkp, "198.51.100.10", "2001:db8:c1a7::46 -> 64:ff9b::c633:640a"},
		{"behind a prefix", prefix, wkp, "198.51.100.10", "2001:db8:c1a7:0:64:402e:400:0 -> 64:ff9b::c633:640a"},
		{"from the first client", clients, wkp, "198.51.100.10", "2001:db8:c1a7::6440:1 -> 64:ff9b::c633:640a"},
		{"which is never the translator", "address.ipv6 = '2001:db8:c1a7::/96'\ninterface.ipv4 = '100.64.46.4/30'", wkp, "198.51.100.10",
			"2001:db8:c1a7::6440:2e06 -> 64:ff9b::c633:640a"},
		{"private, translated", one, wkp, "10.1.2.3", "2001:db8:c1a7::46 -> 64:ff9b::a01:203"},
		{"private, rejected", one + "translate.wkp-non-global = 'reject'", wkp, "10.1.2.3", "drop: wkp-non-global"},
		{"private behind another prefix", one + "translate.wkp-non-global = 'reject'", nsp, "10.1.2.3", "2001:db8:c1a7::46 -> 2001:db8:64::a01:203"},
		{"a map", one + "map = [{ipv4 = '192.0.2.1', ipv6 = '2001:db8:9::1'}]", wkp, "192.0.2.1", "2001:db8:c1a7::46 -> 2001:db8:9::1"},
		{"multicast", one, wkp, "224.0.0.251", "drop: multicast"},
		{"broadcast", one, wkp, "255.255.255.255", "drop: multicast"},
		{"class E", one, wkp, "240.0.0.1", "drop: no-mapping"},
		{"loopback", one, wkp, "127.0.0.1", "native: it is an address of this host, on lo"},
		{"the rest of loopback", one, wkp, "127.0.0.53", "drop: no-mapping"},
		{"link-local", one, wkp, "169.254.169.254", "drop: no-mapping"},
		{"the host's own", one, wkp, "100.64.46.4", "drop: hairpin"},
		{"the translator's own", one, wkp, "100.64.46.5", "native: " + ownText},
		{"of a client's", clients, wkp, "100.64.46.5", "native: " + ownText},
		{"of IPv6", clients, wkp, "2001:db8:c1a7::100.64.46.5", "native: " + ownText},
		{"which it says itself", one + "address.self-ipv6 = '2001:db8:c1a7::47'", wkp, "2001:db8:c1a7::47", "native: " + ownText},
		{"another of the range is as any other", one, wkp, "100.64.46.6", "2001:db8:c1a7::46 -> 64:ff9b::6440:2e06"},
		{"an address of another interface", one, wkp, "10.8.0.2", "native: it is an address of this host, on wg0"},

		{"IPv6 in the PREF64", one, wkp, "64:ff9b::198.51.100.10", "198.51.100.10 -> 100.64.46.4"},
		{"of another prefix", one, nsp, "64:ff9b::198.51.100.10", native6},
		{"also where it would be answered", one + "translate.icmpv6-prohibited = true", nsp, "64:ff9b::198.51.100.10", native6},
		{"to the first client", clients, wkp, "64:ff9b::198.51.100.10", "198.51.100.10 -> 100.64.0.1"},
		{"a map's", one + "map = [{ipv4 = '192.0.2.1', ipv6 = '2001:db8:9::1'}]", wkp, "2001:db8:9::1", "192.0.2.1 -> 100.64.46.4"},
		{"IPv6 that claims a private address", one, wkp, "64:ff9b::10.1.2.3", "10.1.2.3 -> 100.64.46.4"},
		{"IPv6 that claims loopback", one, wkp, "64:ff9b::127.0.0.1", "drop: spoofed-source"},
		{"IPv6 that claims to be us", one, wkp, "64:ff9b::100.64.46.4", "drop: spoofed-source"},
		{"native IPv6", one, wkp, "2606:4700::1111", native6},
		{"IPv6 of this host", one, wkp, "2001:db8:1::5", native6},
		{"ours", one, wkp, "2001:db8:c1a7::46", "native: it is ours: address.ipv6 = 2001:db8:c1a7::46/128 stands for 100.64.46.4/32"},
		{"link-local IPv6", one, wkp, "fe80::1", "drop: source"},
		{"IPv6 multicast is no source", one, wkp, "ff02::1", "drop: source"},
		{"IPv6 loopback", one, wkp, "::1", "drop: source"},

		{"beside nothing native", one + "mode = 'on'", wkp, "198.51.100.10", "2001:db8:c1a7::46 -> 64:ff9b::c633:640a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := text(explain(t, tt.config, host(), tt.pref64, tt.address)); got != tt.want {
				t.Errorf("%s: got\n%s, want\n%s", tt.address, got, tt.want)
			}
		})
	}
}

// The host's routes are what the kernel looks at first.
func TestNativeRoutes(t *testing.T) {
	const translated = "2001:db8:c1a7::46 -> 64:ff9b::c633:640a"
	const client = "2001:db8:c1a7::6440:1 -> 64:ff9b::c633:640a"
	for _, tt := range []struct{ name, config, routes, want string }{
		{"more specific", one, "wg0 198.51.100.0/24 0", "native: the route 198.51.100.0/24 by wg0 is more specific than the CLAT's"},
		{"the most specific of them", one, "wg0 198.51.100.0/24 0\neth0 198.51.100.8/29 0",
			"native: the route 198.51.100.8/29 by eth0 is more specific than the CLAT's"},
		{"the best metric of them", one, "wg0 198.51.100.0/24 50\neth0 198.51.100.0/24 10",
			"native: the route 198.51.100.0/24 by eth0 is more specific than the CLAT's"},
		{"elsewhere", one, "wg0 192.0.2.0/24 0", translated},
		{"ours is the most specific", one, "clat0 198.51.100.0/28 0\nwg0 198.51.100.0/24 0", translated},
		{"a default route of a VPN", one, "wg0 0.0.0.0/0 50", "native: the default route by wg0 has a better metric than the CLAT's (2000000)"},
		{"with a worse metric", one, "wg0 0.0.0.0/0 3000000", translated},
		{"in halves", one, "wg0 128.0.0.0/1 0", "native: the route 128.0.0.0/1 by wg0 is more specific than the CLAT's"},
		{"native IPv4, in mode on", one + "mode = 'on'", "eth0 0.0.0.0/0 100",
			"native: the default route by eth0 has a better metric than the CLAT's (2000000)"},
		{"native IPv4 with a worse metric", one + "mode = 'on'\ninterface.metric = 50", "eth0 0.0.0.0/0 100", translated},
		{"without a default route of ours, something else leads there", one + "mode = 'on'\ninterface.default-route = false", "eth0 0.0.0.0/0 100",
			translated},
		{"clients follow the same routes", clients + "mode = 'on'", "eth0 0.0.0.0/0 100",
			"native: the default route by eth0 has a better metric than the CLAT's (2000000)"},
		{"with a worse metric they are translated", clients + "mode = 'on'", "eth0 0.0.0.0/0 3000000", client},
		{"but not what is more specific", clients, "wg0 198.51.100.0/24 0",
			"native: the route 198.51.100.0/24 by wg0 is more specific than the CLAT's"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := explain(t, tt.config, host(strings.Split(tt.routes, "\n")...), "64:ff9b::/96", "198.51.100.10")
			if got := text(x); got != tt.want {
				t.Errorf("got\n%s, want\n%s", got, tt.want)
			}
		})
	}
}

func TestJSON(t *testing.T) {
	for _, tt := range []struct{ address, want string }{
		{"198.51.100.10", `{"schema":1,"address":"198.51.100.10","translated":{"from":["100.64.46.4","198.51.100.10"],` +
			`"to":["2001:db8:c1a7::46","64:ff9b::c633:640a"]},"mtu6":1500,"mtu4":1480,"uplink":"eth0","path":"kernel","path_why":"address.ipv6 is routed to this host","pref64":"64:ff9b::/96","source":"configured","origin":"configured"}`},
		{"224.0.0.1", `{"schema":1,"address":"224.0.0.1","drop":"multicast","why":"its destination is multicast or broadcast, which has no ` +
			`counterpart","mtu6":1500,"mtu4":1480,"uplink":"eth0","path":"kernel","path_why":"address.ipv6 is routed to this host","pref64":"64:ff9b::/96","source":"configured","origin":"configured"}`},
	} {
		got, err := json.Marshal(explain(t, one, host(), "64:ff9b::/96", tt.address))
		if err != nil || string(got) != tt.want {
			t.Errorf("got\n%s\nwant\n%s\n%v", got, tt.want, err)
		}
	}
}
