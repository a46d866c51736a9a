package policy

import (
	"fmt"
	"testing"
)

// A PREF64 is that of one link's network. What one network says, no packet of another one is for.
func TestUplinkOfThePREF64(t *testing.T) {
	const (
		// eth0 has the better metric.
		both = lan + one + "link wlan0\naddr wlan0 fe80::6/64\naddr wlan0 2001:db8:2::6/64 autoconf\nroute wlan0 ::/0 via fe80::9 metric 2048\n" +
			"heard wlan0 advertised\n"
		wired, wireless = "2001:db8:64::/96@fe80::1", "2001:db8:65::/96@fe80::9%3"
		vpn             = "link wg0 l3\naddr wg0 2001:db8:5::2/128 permanent\nroute wg0 ::/0 metric 1\n"
		address         = "address.ipv6 = '2001:db8:c1a7::46'\n"
	)
	for _, tt := range []struct {
		name, config, host, pref64 string
		packet, kernel             string // the uplink and its PREF64s
	}{
		{"each has one: the kernel's choice of links, and the PREF64 of that", "", both, wireless + " " + wired,
			"eth0 [2001:db8:64::/96]", "eth0 [2001:db8:64::/96]"},
		{"the better one has none: the one that has", "", both, wireless, "wlan0 [2001:db8:65::/96]", "eth0 []"},
		{"the better one's is by DNS, the other one's by RA", "", both, wireless + " 64:ff9b::/96@2001:db8::53", "eth0 [64:ff9b::/96]", "eth0 [64:ff9b::/96]"},
		{"the better one's is by who is not trusted", "", both, "2001:db8:64::/96@fe80::66 " + wireless, "wlan0 [2001:db8:65::/96]", "eth0 []"},
		{"none has any", "", both, "", "eth0 []", "eth0 []"},
		{"what is configured is everywhere", "", both, "64:ff9b::/96 " + wireless, "eth0 [64:ff9b::/96]", "eth0 [64:ff9b::/96]"},
		{"the named one", "uplink = 'wlan0'\n", both, wireless + " " + wired, "wlan0 [2001:db8:65::/96]", "wlan0 [2001:db8:65::/96]"},
		{"the named one, which has none", "uplink = 'wlan0'\n", both, wired, "wlan0 []", "wlan0 []"},
		{"a route of its own to the PREF64", "", both + "route wlan0 2001:db8:65::/96 via fe80::9\n", wireless, "wlan0 [2001:db8:65::/96]",
			"wlan0 [2001:db8:65::/96]"},
		{"a VPN tells none", "", both + vpn, wired, "eth0 [2001:db8:64::/96]", "wg0 []"},
		{"both do: the network comes first on path packet", "", both + vpn, wired + " 2001:db8:66::/96@2001:db8:5::53%4", "eth0 [2001:db8:64::/96]",
			"wg0 [2001:db8:66::/96]"},
		{"several of the link are all accepted", "", both, wireless + " " + wired + " 64:ff9b::/96@2001:db8::53 2001:db8:64::/96@2001:db8::53",
			"eth0 [2001:db8:64::/96 64:ff9b::/96]", "eth0 [2001:db8:64::/96 64:ff9b::/96]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for address, want := range map[string]string{"": tt.packet, address: tt.kernel} {
				in := seen(t, address+tt.config, tt.host, tt.pref64)
				p := Decide(in)
				checkWhole(t, in, p)
				if got := fmt.Sprint(p.Uplink.Name, " ", p.PREF64); got != want {
					t.Errorf("%q: %s, want %s: %s", address, got, want, p.Why)
				}
			}
		})
	}
}

// The MTU is that of the link, or what a router says that is trusted, whether the system listens to it or not.
func TestUplinkMTU(t *testing.T) {
	const mac = "02:00:5e:10:00:01"
	for _, tt := range []struct {
		name, config, seen string
		mtu                int
	}{
		{"nobody says anything", "", "", 1500},
		{"a router does", "", "mtu eth0 fe80::1 1400", 1400},
		{"one that says nothing of it", "", "mtu eth0 fe80::1 0", 1500},
		{"more than the link takes", "", "mtu eth0 fe80::1 9000", 1500},
		{"the least of two", "", "route eth0 ::/0 via fe80::2\nmtu eth0 fe80::1 1480\nmtu eth0 fe80::2 1400", 1400},
		{"who is not trusted", "", "mtu eth0 fe80::66 1280", 1500},
		{"known by its link-layer address", "", "neighbour eth0 fe80::1 " + mac + "\nmtu eth0 fe80::2 1400 " + mac, 1400},
		{"on another link", "", "link eth1\nroute eth1 ::/0 via fe80::1 metric 9999\nmtu eth1 fe80::1 1400", 1500},
		{"the configuration says less", "interface.mtu = 1300", "mtu eth0 fe80::1 1400", 1300},
		{"and more", "interface.mtu = 1480", "mtu eth0 fe80::1 1400", 1400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := seen(t, tt.config, lan+one+atWork+tt.seen, wkp)
			p := Decide(in)
			checkWhole(t, in, p)
			if p.MTU6 != tt.mtu || p.Host.MTU != tt.mtu-20 {
				t.Errorf("MTU %d, and %d of the device; want %d", p.MTU6, p.Host.MTU, tt.mtu)
			}
		})
	}
}

// As long as no PREF64 is known it is said on which link, and who could tell one.
func TestNoPREF64(t *testing.T) {
	const (
		ra, dns = "no router announces one (RFC 8781)", "no resolver tells one (RFC 7050)"
		help    = "; `uclat discover` shows what they say, pref64.prefixes sets one"
	)
	for _, tt := range []struct{ sources, want string }{
		{"", "waiting: no PREF64 on eth0: none is configured, and " + ra + ", and " + dns + help},
		{"pref64.sources = ['ra']", "waiting: no PREF64 on eth0: none is configured, and " + ra + help},
		{"pref64.sources = ['ra:eth0']", "waiting: no PREF64 on eth0: none is configured, and " + ra + help},
		{"pref64.sources = ['dns', 'ra:wlan0']", "waiting: no PREF64 on eth0: none is configured, and " + dns + help},
		{"pref64.sources = ['ra:wlan0']", "waiting: no PREF64: pref64.prefixes is empty, and pref64.sources names nothing that could tell one on eth0"},
	} {
		for _, address := range []string{"", "address.ipv6 = '2001:db8:c1a7::46'\n"} {
			p := Decide(seen(t, address+tt.sources, lan+one, ""))
			if p.Code != "no-pref64" || p.Why != tt.want || p.Uplink.Name != "eth0" || p.MTU6 != 1500 || p.Path == "" {
				t.Errorf("%s: %+v", tt.sources, p)
			}
		}
	}
}
