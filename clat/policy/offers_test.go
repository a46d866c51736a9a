package policy

import (
	"slices"
	"strings"
	"testing"
)

// Which PREF64s are trusted, and what is said of the others.
func TestOffers(t *testing.T) {
	const (
		static = "link lo l3\nlink eth0\naddr eth0 2001:db8:1::5/64 permanent\n" // accept_ra = 0: routes were set by hand
		mac    = "02:00:5e:10:00:01"

		trusted = ""
		instead = "; pref64.sources with \"ra:eth0\" trusts it all the same"
		noRoute = "eth0 has no IPv6 default route" + instead
	)
	for _, tt := range []struct{ name, config, host, pref64, why string }{
		{"a router that the host has accepted", "", lan, "64:ff9b::/96@fe80::1", trusted},
		{"by another route than the best", "", lan + "route eth0 ::/0 via fe80::2 metric 9999", "64:ff9b::/96@fe80::2", trusted},
		{"by one that was set by hand", "", static + "route eth0 ::/0 via fe80::1", "64:ff9b::/96@fe80::1", trusted},
		{"by one of another table", "", static + "route eth0 ::/0 via fe80::1 elsewhere", "64:ff9b::/96@fe80::1", trusted},
		{"somebody else on the link", "", lan, "64:ff9b::/96@fe80::66", "no IPv6 default route on eth0 leads to it, but to fe80::1" + instead},
		{"beside two routers, and three routes", "", lan + "route eth0 ::/0 via fe80::2\nroute eth0 ::/0 via fe80::1 elsewhere", "64:ff9b::/96@fe80::66",
			"no IPv6 default route on eth0 leads to it, but to fe80::1 and fe80::2" + instead},
		{"the next hop of another route", "", lan + "route eth0 2001:db8::/32 via fe80::2", "64:ff9b::/96@fe80::2",
			"no IPv6 default route on eth0 leads to it, but to fe80::1" + instead},
		{"the next hop of half of the default route", "", static + "route eth0 2000::/3 via fe80::1", "64:ff9b::/96@fe80::1", noRoute},
		{"the next hop of IPv4", "", static + "route eth0 0.0.0.0/0 via fe80::1", "64:ff9b::/96@fe80::1", noRoute},
		{"a link without a default route: a container on a bridge", "", static, "64:ff9b::/96@fe80::1", noRoute},
		{"the same address on another link", "", lan + "link eth1", "64:ff9b::/96@fe80::1%3",
			"eth1 has no IPv6 default route; pref64.sources with \"ra:eth1\" trusts it all the same"},

		// A router has more than one address, and one link-layer address.
		{"by its link-layer address", "", lan + "neighbour eth0 fe80::1 " + mac, "64:ff9b::/96@fe80::2=" + mac, trusted},
		{"where the host has a global address of it", "", static + "route eth0 ::/0 via 2001:db8:1::1\nneighbour eth0 2001:db8:1::1 " + mac,
			"64:ff9b::/96@fe80::1=" + mac, trusted},
		{"another link-layer address", "", lan + "neighbour eth0 fe80::1 " + mac, "64:ff9b::/96@fe80::2=02:00:5e:10:00:66",
			"no IPv6 default route on eth0 leads to it, but to fe80::1" + instead},
		{"it does not tell its own", "", lan + "neighbour eth0 fe80::1 " + mac, "64:ff9b::/96@fe80::2", "no IPv6 default route on eth0"},
		{"nor is the next hop's known", "", lan, "64:ff9b::/96@fe80::2=" + mac, "no IPv6 default route on eth0"},
		{"that of a neighbour that is no next hop", "", lan + "neighbour eth0 fe80::2 " + mac, "64:ff9b::/96@fe80::2=" + mac, "no IPv6 default route on eth0"},
		{"that of the next hop on another link", "", lan + "link eth1\nroute eth1 ::/0 via fe80::1\nneighbour eth1 fe80::1 " + mac,
			"64:ff9b::/96@fe80::2=" + mac, "no IPv6 default route on eth0"},

		// WWAN, PPP
		{"who is at the other end of a link without neighbours", "", "link lo l3\nlink wwan0 l3\nroute wwan0 ::/0", "64:ff9b::/96@fe80::7", trusted},
		{"where no default route leads", "", "link lo l3\nlink wwan0 l3\nroute wwan0 2001:db8::/32", "64:ff9b::/96@fe80::7", "wwan0 has no IPv6 default route"},
		{"a default route to nobody on a link with neighbours", "", static + "route eth0 ::/0", "64:ff9b::/96@fe80::1", "the IPv6 default route on eth0 leads to no router; pref64.sources with \"ra:eth0\" trusts it all the same"},

		// pref64.sources
		{"all of one interface are trusted", "pref64.sources = ['ra:eth0']", static, "64:ff9b::/96@fe80::66", trusted},
		{"those of another one are not", "pref64.sources = ['ra:eth1']", lan, "64:ff9b::/96@fe80::1", `pref64.sources names neither "ra" nor "ra:eth0"`},
		{"unless by the rule for all", "pref64.sources = ['ra:eth1', 'ra']", lan, "64:ff9b::/96@fe80::1", trusted},
		{"no RA at all", "pref64.sources = ['dns']", lan, "64:ff9b::/96@fe80::1", `pref64.sources names neither "ra" nor "ra:eth0"`},
		{"a resolver", "", lan, "64:ff9b::/96@2001:db8::53", trusted},
		{"no DNS", "pref64.sources = ['ra']", lan, "64:ff9b::/96@2001:db8::53", `pref64.sources leaves out "dns"`},
		{"pinned", "pref64.prefixes = ['64:ff9b::/96']", lan, "2001:db8:64::/96@fe80::1", "pref64.prefixes is set, which goes before all others"},
		{"also against a resolver", "pref64.prefixes = ['64:ff9b::/96']", lan, "2001:db8:64::/96@2001:db8::53", "pref64.prefixes is set"},
		{"also where it says the same", "pref64.prefixes = ['64:ff9b::/96']", lan, "64:ff9b::/96@fe80::1", "pref64.prefixes is set"},
		{"the pinned one itself", "pref64.prefixes = ['64:ff9b::/96']", "link lo l3", "64:ff9b::/96", trusted},

		// What no trust helps.
		{"a link that is gone", "", "link lo l3", "64:ff9b::/96@fe80::1", "its interface is gone"},
		{"also for a resolver", "", "link lo l3", "64:ff9b::/96@2001:db8::53", "its interface is gone"},
		{"a link that is down", "", "link lo l3\nlink eth0 down\nroute eth0 ::/0 via fe80::1", "64:ff9b::/96@fe80::1", "eth0 is down"},
		{"a PREF64 that holds an address of this host", "", lan + one, "2001:db8::/32@fe80::1", "it holds 2001:db8:1::5, an address of this host"},
		{"also where all are trusted", "pref64.sources = ['ra:eth0']", lan + one, "2001:db8::/32@fe80::66", "it holds 2001:db8:1::5"},
		{"also of a resolver", "", lan + one, "2001:db8::/32@2001:db8::53", "it holds 2001:db8:1::5"},
		{"who is not trusted does not get so far", "", lan + one, "2001:db8::/32@fe80::66", "no IPv6 default route"},
		{"an address on another link", "", lan + "link eth1\naddr eth1 2001:db8:1::5/64", "2001:db8::/32@fe80::1", trusted},
		{"one that holds our address", routed, lan, "2001:db8::/32@fe80::1", "it overlaps with address.ipv6 = 2001:db8:c1a7::/64: use another address"},
		{"one that our address's prefix holds", routed, lan, "2001:db8:c1a7:0:1::/96@fe80::1", trusted},
		{"or that of our clients", routed + "interface.ipv4 = '100.64.0.0/10'", lan, "2001:db8:c1a7:0:1::/96@fe80::1", "it overlaps with address.ipv6"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := seen(t, tt.config, tt.host, tt.pref64)
			offers := Offers(in)
			if len(offers) != 1 || offers[0].Known != in.PREF64[0] {
				t.Fatalf("%+v", offers)
			}
			if got := offers[0]; got.Trusted != (tt.why == "") || !strings.HasPrefix(got.Why, tt.why) || got.Trusted != (got.Why == "") {
				t.Errorf("trusted %v, why not: %q; want %q", got.Trusted, got.Why, tt.why)
			}
			p := Decide(in)
			if tt.why != "" && slices.Contains(p.PREF64, in.PREF64[0].Prefix) {
				t.Errorf("it is used all the same: %s", p.Why)
			}
		})
	}
}

// An RA that was heard before the route to its router was there counts when it is.
func TestOffersLater(t *testing.T) {
	const early = "link lo l3\nlink eth0\naddr eth0 fe80::5/64\naddr eth0 2001:db8:1::5/64 autoconf\nroute eth0 ::/0 via fe80::2 metric 9\nheard eth0 advertised\n"
	before, after := seen(t, "", early, "64:ff9b::/96@fe80::1"), seen(t, "", early+"route eth0 ::/0 via fe80::1", "64:ff9b::/96@fe80::1")
	if p := Decide(before); p.Code != "no-pref64" {
		t.Errorf("%s: %s", p.Code, p.Why)
	}
	if p := Decide(after); p.Code != "checking-address" || len(p.Try) != 1 || len(p.Try[0].Routers) != 1 {
		t.Errorf("%s: %s, tries %+v", p.Code, p.Why, p.Try)
	}
}

// What is not used though its origin is trusted is worth a warning; who is not trusted gets none, nor what has no meaning anyway.
func TestOffersWarnings(t *testing.T) {
	const warning = "PREF64 2001:db8::/32, from router fe80::1 by RA, is not used: it holds 2001:db8:1::5, an address of this host"
	for _, tt := range []struct{ name, config, pref64, want string }{
		{"trusted", "", "64:ff9b::/96 2001:db8::/32@fe80::1", warning},
		{"not trusted", "", "64:ff9b::/96 2001:db8::/32@fe80::66", ""},
		{"pinned", "pref64.prefixes = ['64:ff9b::/96']", "64:ff9b::/96 2001:db8::/32@fe80::1", ""},
		{"no DNS", "pref64.sources = ['ra']", "64:ff9b::/96 2001:db8::/32@2001:db8::53", ""},
	} {
		p := Decide(seen(t, tt.config, lan+one, tt.pref64))
		if got := strings.Join(p.Warnings, "\n"); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
