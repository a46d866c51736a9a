package explain

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"testing"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/platform"
)

const (
	plain = "interface.ipv4 = ''\ninterface.default-route = false\n"
	maps  = "map = [{ipv4 = '198.51.100.1', ipv6 = '2001:db8:6::8'}, {ipv4 = '203.0.113.0/24', ipv6 = '2001:db8:7::/120'}, " +
		"{ipv4 = '203.0.113.9', ipv6 = '2001:db8:6::9'}]\n"
	behindNSP = "pref64.prefixes = ['2001:db8:64::/96']\n"
	behindWKP = "pref64.prefixes = ['64:ff9b::/96']\n"
)

// explainSIIT explains an address to a plain translator, on the host of host().
func explainSIIT(t *testing.T, toml string, s platform.Snapshot, address string) Explanation {
	t.Helper()
	c, err := config.Parse("test.toml", []byte(toml))
	if err != nil {
		t.Fatal(err)
	}
	plan := policy.Decide(policy.Input{Config: c, Host: s})
	if !plan.On {
		t.Fatal(plan.Why)
	}
	x, err := Explain(c, plan, s, netip.MustParseAddr(address))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func mappedText(m *Mapped) string {
	if m.Drop != "" {
		return m.Drop
	}
	return fmt.Sprintf("%v by %s", m.To, m.By)
}

func TestRouter(t *testing.T) {
	const first = "map 198.51.100.1=2001:db8:6::8"
	const many = "map 203.0.113.0/24=2001:db8:7::/120"
	const nsp, wkp = "PREF64 2001:db8:64::/96", "PREF64 64:ff9b::/96"
	for _, tt := range []struct{ name, config, address, source, destination string }{
		{"a map", maps + behindNSP, "198.51.100.1", "2001:db8:6::8 by " + first, ""},
		{"back", maps + behindNSP, "2001:db8:6::8", "198.51.100.1 by " + first, ""},
		{"one of many", maps + behindNSP, "203.0.113.7", "2001:db8:7::7 by " + many, ""},
		{"back", maps + behindNSP, "2001:db8:7::7", "203.0.113.7 by " + many, ""},
		{"the longest map", maps + behindNSP, "203.0.113.9", "2001:db8:6::9 by map 203.0.113.9=2001:db8:6::9", ""},
		{"whose place among the many stays theirs", maps + behindNSP, "2001:db8:7::9", "203.0.113.9 by " + many, ""},
		{"all others by the prefix", maps + behindNSP, "192.0.2.1", "2001:db8:64::c000:201 by " + nsp, ""},
		{"back", maps + behindNSP, "2001:db8:64::192.0.2.1", "192.0.2.1 by " + nsp, ""},
		{"nobody sends from behind the prefix what has a map", maps + behindNSP, "2001:db8:64::198.51.100.1", "spoofed-source",
			"2001:db8:6::8 by " + nsp + ", then " + first},
		{"without hairpins it comes back as IPv4", maps + behindNSP + "translate.hairpin = false", "2001:db8:64::198.51.100.1", "spoofed-source",
			"198.51.100.1 by " + nsp},

		{"a prefix alone", behindNSP, "192.0.2.1", "2001:db8:64::c000:201 by " + nsp, ""},
		{"back", behindNSP, "2001:db8:64::192.0.2.1", "192.0.2.1 by " + nsp, ""},
		{"the second prefix is accepted, the first made", "pref64.prefixes = ['64:ff9b::/96', '2001:db8:64::/96']", "2001:db8:64::192.0.2.1",
			"192.0.2.1 by " + nsp, ""},
		{"the second prefix is accepted, the first made", "pref64.prefixes = ['64:ff9b::/96', '2001:db8:64::/96']", "192.0.2.1",
			"64:ff9b::c000:201 by " + wkp, ""},
		{"private", behindWKP, "10.1.2.3", "64:ff9b::a01:203 by " + wkp, ""},
		{"private, rejected", behindWKP + "translate.wkp-non-global = 'reject'", "10.1.2.3", "wkp-non-global", ""},
		{"public, others rejected", behindWKP + "translate.wkp-non-global = 'reject'", "8.8.8.8", "64:ff9b::808:808 by " + wkp, ""},

		{"no PREF64", maps, "198.51.100.1", "2001:db8:6::8 by " + first, ""},
		{"no PREF64, back", maps, "2001:db8:6::8", "198.51.100.1 by " + first, ""},
		{"no PREF64, no map", maps, "192.0.2.1", "no-mapping", ""},
		{"native IPv6", maps + behindNSP, "2606:4700::1111", "no-mapping", ""},
		{"one map is all that there is", "map = [{ipv4 = '198.51.100.1', ipv6 = '2001:db8:6::8'}]", "198.51.100.1", "2001:db8:6::8 by " + first, ""},
		{"multicast", maps + behindNSP, "224.0.0.251", "source", "multicast"},
		{"IPv6 multicast", maps + behindNSP, "ff02::1", "source", "multicast"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.destination == "" {
				tt.destination = tt.source
			}
			x := explainSIIT(t, plain+tt.config, host(), tt.address)
			if s, d := mappedText(x.AsSource), mappedText(x.AsDestination); s != tt.source || d != tt.destination {
				t.Errorf("%s:\ngot  %s\nand  %s\nwant %s\nand  %s", tt.address, s, d, tt.source, tt.destination)
			}
		})
	}
}

func TestRouterOwn(t *testing.T) {
	const want = `{"schema":1,"address":"%s","native":"it is the translator's own: it answers pings, and its ICMP errors come from there",` +
		`"route":"%s by %s"}`
	for _, tt := range []struct{ config, address, want string }{
		{behindNSP, "100.64.46.5", fmt.Sprintf(want, "100.64.46.5", "0.0.0.0/0", "clat0")},
		{behindNSP, "2001:db8:64::100.64.46.5", fmt.Sprintf(want, "2001:db8:64::6440:2e05", "::/0", "eth0: only what is routed to clat0 is translated")},
		{"address.self-ipv6 = '2001:db8:6::1'", "2001:db8:6::1", fmt.Sprintf(want, "2001:db8:6::1", "::/0",
			"eth0: only what is routed to clat0 is translated")},
	} {
		got, err := json.Marshal(explainSIIT(t, plain+tt.config+"\n"+maps, host(), tt.address))
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: got\n%s\nwant\n%s\n%v", tt.address, got, tt.want, err)
		}
	}
}

func TestRouterRoutes(t *testing.T) {
	for _, tt := range []struct{ routes, address, want string }{
		{"wg0 198.51.100.0/24 0", "198.51.100.1", "198.51.100.0/24 by wg0: only what is routed to clat0 is translated"},
		{"clat0 198.51.100.0/24 0", "198.51.100.1", "198.51.100.0/24 by clat0"},
		{"clat0 2001:db8:64::/96 0", "2001:db8:64::192.0.2.1", "2001:db8:64::/96 by clat0"},
		{"clat0 2001:db8:64::/96 0", "2001:db8:65::192.0.2.1", "::/0 by eth0: only what is routed to clat0 is translated"},
		{"wg0 192.0.2.0/24 0", "2001:db8:1::5", "none: it is an address of this host, on eth0"},
	} {
		if got := explainSIIT(t, plain+maps, host(tt.routes), tt.address).Route; got != tt.want {
			t.Errorf("%s, %s: got %q, want %q", tt.routes, tt.address, got, tt.want)
		}
	}
	if got := explainSIIT(t, plain+maps, platform.Snapshot{}, "192.0.2.1").Route; got != "none: only what is routed to clat0 is translated" {
		t.Errorf("no routes: got %q", got)
	}
}

func TestRouterJSON(t *testing.T) {
	const want = `{"schema":1,"address":"2001:db8:64::c633:6401","as_destination":{"to":"2001:db8:6::8","by":"PREF64 2001:db8:64::/96, then ` +
		`map 198.51.100.1=2001:db8:6::8"},"as_source":{"drop":"spoofed-source","why":"its IPv6 source claims an IPv4 address that ` +
		`another host has, or that none can have"},"route":"::/0 by eth0: only what is routed to clat0 is translated"}`
	got, err := json.Marshal(explainSIIT(t, plain+maps+behindNSP, host(), "2001:db8:64::198.51.100.1"))
	if err != nil || string(got) != want {
		t.Errorf("got\n%s\nwant\n%s\n%v", got, want, err)
	}
}
