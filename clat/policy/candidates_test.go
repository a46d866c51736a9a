package policy

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uclat/clat/config"
)

// Where hosts may choose their addresses, and where not.
func TestCandidates(t *testing.T) {
	const (
		starting = "checking-address  starting: seeing whether "
		free     = " is free on eth0"
		asking   = "asking-routers  starting: asking the routers on eth0 whether hosts may choose their addresses there"
		off      = "one-address  off: this network gives one address only: "
		helps    = "; have the network announce a /64 for autoconfiguration, or route an address to this host and set address.ipv6"

		mac       = "02:00:5e:10:00:01"
		static    = "addr eth0 2001:db8:1::5/64 permanent\n"
		dhcp      = "addr eth0 2001:db8:1::5/64\n"
		dhcp128   = "addr eth0 2001:db8:1::5/128\n"
		elsewhere = "link eth1\naddr eth1 2001:db8:9::5/64 autoconf\n"
		second    = "route eth0 ::/0 via fe80::2 metric 2048\n"
		unknown   = "heard eth0 unknown\n"
		silent    = "heard eth0 silent\n"
	)
	for _, tt := range []struct {
		name, seen, pref64 string
		want               string // the prefixes, best first
		plan               string // how it begins
	}{
		{"the kernel made an address by autoconfiguration", one, wkp, "2001:db8:1::/64", starting + "2001:db8:1::/64#0" + free},
		{"before routers are heard", one + unknown, wkp, "2001:db8:1::/64", starting + "2001:db8:1::/64#0" + free},
		{"and where there are none any more", one + silent, wkp, "2001:db8:1::/64", starting},
		{"two of a prefix, one of them temporary", one + "addr eth0 2001:db8:1::7/64 autoconf deprecated", wkp, "2001:db8:1::/64", starting},
		{"in any order", "addr eth0 2001:db8:1::3/64 autoconf deprecated\n" + one, wkp, "2001:db8:1::/64", starting},
		{"both deprecated", "addr eth0 2001:db8:1::3/64 autoconf deprecated\naddr eth0 2001:db8:1::7/64 autoconf deprecated", wkp,
			"2001:db8:1::/64 deprecated", starting + "2001:db8:1::/64#0" + free},
		{"two prefixes", one + two, wkp, "2001:db8:1::/64, 2001:db8:2::/64", starting + "2001:db8:1::/64#0"},
		{"the better one for this PREF64", one + two, "2001:db8:2:64::/96", "2001:db8:2::/64, 2001:db8:1::/64", starting + "2001:db8:2::/64#0"},
		{"ULA and GUA with a global PREF64", local + one, wkp, "2001:db8:1::/64, fd00:1::/64", starting + "2001:db8:1::/64#0"},
		{"and with a unique local one", local + one, "fd00:64::/96", "fd00:1::/64, 2001:db8:1::/64", starting + "fd00:1::/64#0"},
		{"deprecated by the kernel", "addr eth0 2001:db8:1::5/64 autoconf deprecated\n" + two, wkp,
			"2001:db8:2::/64, 2001:db8:1::/64 deprecated", starting + "2001:db8:2::/64#0"},

		// A router says so, whoever gave the host its address.
		{"announced, and DHCPv6 gave the address", dhcp + "announced eth0 fe80::1 2001:db8:1::/64", wkp, "2001:db8:1::/64", starting},
		{"or gave one without a prefix", dhcp128 + "announced eth0 fe80::1 2001:db8:1::/64", wkp, "2001:db8:1::/64", starting},
		{"or it was set by hand", static + "announced eth0 fe80::1 2001:db8:1::/64", wkp, "2001:db8:1::/64", starting},
		{"the host has an address of another prefix", static + "announced eth0 fe80::1 2001:db8:2::/64", wkp,
			"2001:db8:2::/64, 2001:db8:1::/64 by hand", starting + "2001:db8:2::/64#0"},
		{"or on another link only", elsewhere + "announced eth0 fe80::1 2001:db8:1::/64", wkp, "2001:db8:1::/64", starting},
		{"deprecated by the router", elsewhere + "announced eth0 fe80::1 2001:db8:1::/64 preferred -1s", wkp, "2001:db8:1::/64 deprecated", starting},
		{"just now", elsewhere + "announced eth0 fe80::1 2001:db8:1::/64 preferred 0s", wkp, "2001:db8:1::/64 deprecated", starting},
		{"in a second", elsewhere + "announced eth0 fe80::1 2001:db8:1::/64 preferred 1s", wkp, "2001:db8:1::/64", starting},
		{"whatever the host's own address of it is", static + "announced eth0 fe80::1 2001:db8:1::/64 preferred -1s", wkp,
			"2001:db8:1::/64 deprecated", starting},
		{"by one of two routers", elsewhere + second + "announced eth0 fe80::1 2001:db8:1::/64 preferred -1s\n" +
			"announced eth0 fe80::2 2001:db8:1::/64 preferred 1h", wkp, "2001:db8:1::/64", starting},
		{"by one of two, and the host has an address", static + second + "announced eth0 fe80::1 2001:db8:1::/64\n" +
			"announced eth0 fe80::2 2001:db8:1::/64 preferred -1s", wkp, "2001:db8:1::/64", starting},
		{"by a router that the host has not accepted", elsewhere + "announced eth0 fe80::66 2001:db8:1::/64", wkp, "", "no-ipv6-address"},
		{"the accepted one is of another link", elsewhere + "route eth1 ::/0 via fe80::66 metric 9999\nannounced eth0 fe80::66 2001:db8:1::/64", wkp,
			"", starting + "2001:db8:9::/64#0 is free on eth1"},
		{"by a router that is known by its link-layer address", elsewhere + "neighbour eth0 fe80::1 " + mac + "\nmtu eth0 fe80::9 0 " + mac +
			"\nannounced eth0 fe80::9 2001:db8:1::/64", wkp, "2001:db8:1::/64", starting + "2001:db8:1::/64#0"},
		{"another one calls it deprecated", static + "announced eth0 fe80::1 2001:db8:1::/64\nannounced eth0 fe80::66 2001:db8:2::/64\n" +
			"announced eth0 fe80::66 2001:db8:1::/64 preferred -1s", wkp, "2001:db8:1::/64", starting},
		{"or is alone to", one + "announced eth0 fe80::66 2001:db8:1::/64 preferred -1s", wkp, "2001:db8:1::/64", starting},
		{"on another link", static + elsewhere + "route eth1 ::/0 via fe80::1 metric 9999\nannounced eth1 fe80::1 2001:db8:9::/64\n" + silent, wkp, "2001:db8:1::/64 by hand", starting},
		{"of another length", dhcp128 + "announced eth0 fe80::1 2001:db8:1::/80", wkp, "", off + "eth0 has 2001:db8:1::5/128" + helps},
		{"a link-local one", dhcp128 + "announced eth0 fe80::1 fe80::/64", wkp, "", off},
		{"a multicast one", dhcp128 + "announced eth0 fe80::1 ff0e::/64", wkp, "", off},

		// A=0.
		{"announced, but hosts must not choose", dhcp + "announced eth0 fe80::1 2001:db8:1::/64 A=0", wkp, "",
			off + "routers announce 2001:db8:1::/64, but not for autoconfiguration (A=0)" + helps},
		{"also not beside what was set by hand", static + "announced eth0 fe80::1 2001:db8:1::/64 A=0", wkp, "", off + "routers announce "},
		{"nor where the kernel has chosen before", one + "announced eth0 fe80::1 2001:db8:1::/64 A=0", wkp, "", off + "routers announce "},
		{"nor without an address of the host", elsewhere + "announced eth0 fe80::1 2001:db8:1::/64 A=0", wkp, "", "no-ipv6-address"},
		{"one router says that they may", dhcp + "announced eth0 fe80::1 2001:db8:1::/64 A=0\n" + second + "announced eth0 fe80::2 2001:db8:1::/64", wkp,
			"2001:db8:1::/64", starting},
		{"another prefix is the one to choose in", one + "announced eth0 fe80::1 2001:db8:1::/64 A=0\nannounced eth0 fe80::1 2001:db8:2::/64", wkp,
			"2001:db8:2::/64", starting + "2001:db8:2::/64#0"},
		{"nobody whom the host has accepted says so", one + "announced eth0 fe80::66 2001:db8:1::/64 A=0", wkp, "2001:db8:1::/64", starting},
		{"said on another link it means nothing here", one + elsewhere + "route eth1 ::/0 via fe80::1 metric 9999\nannounced eth1 fe80::1 2001:db8:1::/64 A=0", wkp, "2001:db8:1::/64", starting},

		// DHCPv6 gives one address.
		{"one address without a prefix", dhcp128, wkp, "", off + "eth0 has 2001:db8:1::5/128" + helps},
		{"for ever", "addr eth0 2001:db8:1::5/128 permanent", wkp, "", off + "eth0 has 2001:db8:1::5/128" + helps},
		{"two of them", dhcp128 + "addr eth0 2001:db8:1::6/128", wkp, "", off + "eth0 has 2001:db8:1::5/128; eth0 has 2001:db8:1::6/128" + helps},
		{"nobody announces anything", dhcp128 + silent, wkp, "", off},
		{"for a time, in a /64 that nobody announces", dhcp, wkp, "",
			off + "eth0 has 2001:db8:1::5/64 for a time, and no router announces it (DHCPv6)" + helps},
		{"that is not known before routers were asked", dhcp + unknown, wkp, "", asking},
		{"nor whether they announce more than the one", dhcp128 + unknown, wkp, "", asking},
		{"a prefix of another length", "addr eth0 2001:db8:1::5/80 permanent", wkp, "", off + "eth0 has 2001:db8:1::5/80" + helps},

		// An address that was set by hand.
		{"by hand, while routers are asked", static + unknown, wkp, "", asking},
		{"and none answers", static + silent, wkp, "2001:db8:1::/64 by hand", starting + "2001:db8:1::/64#0"},
		{"and they announce nothing", static, wkp, "2001:db8:1::/64 by hand", starting + "2001:db8:1::/64#0"},
		{"and they announce what is for DHCPv6", static + "announced eth0 fe80::1 2001:db8:2::/64 A=0", wkp, "2001:db8:1::/64 by hand", starting},
		{"and one router that is not the host's announces something", static + "announced eth0 fe80::66 2001:db8:2::/64", wkp,
			"2001:db8:1::/64 by hand", starting},
		{"and the kernel has one of the same prefix", static + "addr eth0 2001:db8:1::6/64 autoconf", wkp, "2001:db8:1::/64", starting},
		{"deprecated by hand", "addr eth0 2001:db8:1::5/64 permanent deprecated", wkp, "2001:db8:1::/64 deprecated by hand", starting},
		{"beside one that the kernel made", static + two + unknown, wkp, "2001:db8:2::/64", starting + "2001:db8:2::/64#0"},

		// What is no address of the uplink.
		{"tentative", "addr eth0 2001:db8:1::5/64 tentative autoconf\n" + elsewhere, wkp, "", "no-ipv6-address"},
		{"tentative, of a prefix that is announced", "addr eth0 2001:db8:1::5/64 tentative autoconf\nannounced eth0 fe80::1 2001:db8:1::/64\n" + elsewhere,
			wkp, "2001:db8:1::/64", starting},
		{"of other links", elsewhere, wkp, "", "no-ipv6-address  waiting: eth0 has no global IPv6 address yet"},
		{"of other links, before routers were asked", elsewhere + unknown, wkp, "", asking},
		{"IPv4", "addr eth0 192.168.1.5/24\n" + elsewhere, wkp, "", "no-ipv6-address"},

		// RFC 6146, 3.5.
		{"in the PREF64", one, "2001:db8::/32", "",
			off + "2001:db8:1::/64 lies in the PREF64 2001:db8::/32" + helps},
		{"in one that is not in use", one, "64:ff9b::/96 2001:db8::/32", "", off},
		{"another one lies outside", one + local, "2001:db8::/32", "fd00:1::/64",
			starting + "fd00:1::/64#0" + free},
		{"a PREF64 in the link's prefix", one, "2001:db8:1::/96", "2001:db8:1::/64", starting + "2001:db8:1::/64#0" + free},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := seen(t, "", lan+tt.seen, tt.pref64)
			if got := decideText(t, in); !strings.HasPrefix(got, tt.plan) {
				t.Errorf("got  %swant %s...", got, tt.plan)
			}
			if diff := cmp.Diff(tt.want, choicesText(in)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// choicesText is the prefixes that may be chosen on eth0, best first.
func choicesText(in Input) string {
	l, _ := in.Host.LinkByName("eth0")
	in.Announced = slices.DeleteFunc(in.Announced, in.isStrange)
	candidates, _ := in.candidates(l)
	in.PREF64 = in.on(l)
	choices, _ := in.choose(l, config.PathPacket, in.Config.Interface.IPv4, in.PREF64[0])
	var chosen []candidate
	for _, c := range choices {
		chosen = append(chosen, candidates[slices.IndexFunc(candidates, func(x candidate) bool { return x.prefix == c.what })])
	}
	return candidatesText(chosen)
}

// Links whose devices resolve no neighbours: WWAN, PPP, tunnels. Nobody asks for our address there.
func TestCandidatesWithoutNeighbours(t *testing.T) {
	const (
		wwan  = "link lo l3\nlink wwan0 l3\nroute wwan0 ::/0\naddr lo ::1/128\n"
		helps = "; have the network announce a /64 for autoconfiguration, or route an address to this host and set address.ipv6"
		hand  = "note no router announces a prefix for autoconfiguration on wwan0: the address is one of 2001:db8:7::/64, which an address of this " +
			"host has that was set by hand\n"
	)
	for _, tt := range []struct{ name, seen, want string }{
		{"of mobile networks each host has a /64", "addr wwan0 fe80::7/64\naddr wwan0 2001:db8:7::5/64 autoconf", `
			probing  starting: seeing whether answers come back to 2001:db8:7::/64#0 on wwan0
			try 2001:db8:7::/64#0`},
		{"seen", "addr wwan0 2001:db8:7::5/64 autoconf\ntrial wwan0 2001:db8:7::/64#0 seen", `
			on  on: IPv4 through wwan0, PREF64 64:ff9b::/96 (configured), as 2001:db8:7::/64#0, path packet
			try 2001:db8:7::/64#0
			use 2001:db8:7::/64#0 as 2001:db8:7::/64#0, errors from 2001:db8:7::/64#0`},
		{"a tunnel has no link-local address, and no routers to ask", "addr wwan0 2001:db8:7::5/64 permanent\ntrial wwan0 2001:db8:7::/64#0 seen", `
			on  on: IPv4 through wwan0, PREF64 64:ff9b::/96 (configured), as 2001:db8:7::/64#0, path packet
			try 2001:db8:7::/64#0
			use 2001:db8:7::/64#0 as 2001:db8:7::/64#0, errors from 2001:db8:7::/64#0
			` + hand},
		{"one address", "addr wwan0 2001:db8:7::5/128 permanent", `
			one-address  off: this network gives one address only: wwan0 has 2001:db8:7::5/128` + helps},
	} {
		t.Run(tt.name, func(t *testing.T) { expect(t, seen(t, "", wwan+tt.seen, wkp), tt.want) })
	}
}
