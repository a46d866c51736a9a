package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"uclat/clat/config"
)

func TestPath(t *testing.T) {
	const (
		said    = "the configuration says so (path)"
		clients = "clients are behind this host (interface.ipv4)"
		own     = "this host makes an address of its own on the uplink (address.ipv6 is not set)"
		ofLink  = "address.ipv6 is an address of eth0's link"
		routed  = "address.ipv6 is routed to this host"
	)
	for _, tt := range []struct {
		name, config, host string
		path               config.Path
		why                string
	}{
		{"a host", "", "", config.PathPacket, own},
		{"that forwards for others, and translates nothing of theirs", "", "forwarding IPv4 IPv6", config.PathPacket, own},
		{"an address that is routed to it", "address.ipv6 = '2001:db8:c1a7::46'", "", config.PathKernel, routed},
		{"a prefix that is routed to it", "address.ipv6 = '2001:db8:c1a7::/64'", "", config.PathKernel, routed},
		{"an address of the link", "address.ipv6 = '2001:db8:1::46'", "", config.PathPacket, ofLink},
		{"a prefix of the link, for one host", "address.ipv6 = '2001:db8:1::/64'", "", config.PathPacket, ofLink},
		{"an address of another link", "address.ipv6 = '2001:db8:9::46'", "link eth1\naddr eth1 2001:db8:9::5/64", config.PathKernel, routed},
		{"on-link where nobody asks", "address.ipv6 = '2001:db8:9::46'\nuplink = 'wg0'", "link wg0 l3\naddr wg0 2001:db8:9::5/64\nroute wg0 ::/0",
			config.PathKernel, routed},
		{"next to an address without a prefix", "address.ipv6 = '2001:db8:9::5'", "addr eth0 2001:db8:9::6/128", config.PathKernel, routed},
		{"of a link that a route tells of", "address.ipv6 = '2001:db8:9::46'", "addr eth0 2001:db8:9::6/128\nroute eth0 2001:db8:9::/64",
			config.PathPacket, ofLink},
		{"of a link that a router tells of", "address.ipv6 = '2001:db8:9::46'", "announced eth0 fe80::1 2001:db8:9::/64", config.PathPacket, ofLink},
		{"or somebody who is none of the host's", "address.ipv6 = '2001:db8:9::46'", "announced eth0 fe80::66 2001:db8:9::/64", config.PathKernel, routed},
		{"behind a router", "address.ipv6 = '2001:db8:9::46'", "route eth0 2001:db8:9::/64 via fe80::9", config.PathKernel, routed},
		{"not for a default route without a router", "address.ipv6 = '2001:db8:9::46'", "route eth0 2000::/3", config.PathKernel, routed},
		{"clients behind it", "interface.ipv4 = '100.64.0.0/10'\naddress.ipv6 = '2001:db8:c1a7::/64'", "", config.PathKernel, clients},
		{"with a prefix of the link", "interface.ipv4 = '100.64.0.0/10'\naddress.ipv6 = '2001:db8:1:0:46::/96'", "", config.PathKernel, clients},

		{"packet, by configuration", "path = 'packet'", "", config.PathPacket, said},
		{"also with an address that is routed to it", "path = 'packet'\naddress.ipv6 = '2001:db8:c1a7::46'", "", config.PathPacket, said},
		{"also with clients", "path = 'packet'\ninterface.ipv4 = '100.64.0.0/10'\naddress.ipv6 = '2001:db8:c1a7::/64'", "", config.PathPacket, said},
		{"kernel, by configuration", "path = 'kernel'\naddress.ipv6 = '2001:db8:c1a7::46'", "", config.PathKernel, said},
		{"also with an address of the link", "path = 'kernel'\naddress.ipv6 = '2001:db8:1::46'", "", config.PathKernel, said},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := seen(t, tt.config, lan+one+tt.host, wkp)
			p := Decide(in)
			if p.Path != tt.path || p.PathWhy != tt.why {
				t.Errorf("path %s, because %s; want %s, because %s (%s)", p.Path, p.PathWhy, tt.path, tt.why, p.Why)
			}
			if p.On == (len(p.Try) > 0) || p.On != (tt.path == config.PathKernel) {
				t.Errorf("%+v", p)
			}
		})
	}
}

// Path kernel cannot do without an address.
func TestKernelWithoutAddress(t *testing.T) {
	for _, tt := range []string{"path = 'kernel'", "interface.ipv4 = '100.64.0.0/10'"} {
		p := Decide(seen(t, tt, lan+one, wkp))
		if p.On || !p.Wrong || p.Code != "no-address" || !strings.HasPrefix(p.Why, "off: address.ipv6 is not set") {
			t.Errorf("%s: %+v", tt, p)
		}
	}
}

// The kernel's choice is right where the kernel routes. A packet socket is for the network that the host is attached to.
func TestUplink(t *testing.T) {
	const (
		vpn    = "link wg0 l3\naddr wg0 2001:db8:5::2/128 permanent\nroute wg0 ::/0 metric 50\n"
		halves = "link wg0 l3\naddr wg0 2001:db8:5::2/128 permanent\nroute wg0 ::/1\nroute wg0 8000::/1\n"
		plat   = "link wg0 l3\naddr wg0 2001:db8:5::2/128 permanent\nroute wg0 64:ff9b::/96 metric 1\n"
		wlan   = "link wlan0\naddr wlan0 2001:db8:3::5/64 autoconf\nroute wlan0 ::/0 via fe80::3 metric 600\n"
		toPLAT = "link wlan0\naddr wlan0 2001:db8:3::5/64 autoconf\nroute wlan0 64:ff9b::/96 metric 9999\n"
		routed = "address.ipv6 = '2001:db8:c1a7::46'\n"
		first  = "link wg0 l3\nroute wg0 ::/0 metric 50\n" // stands before the others
	)
	for _, tt := range []struct{ name, config, before, host, packet, kernel string }{
		{"one uplink", "", "", "", "eth0", "eth0"},
		{"a VPN has the better default route", "", "", vpn, "eth0", "wg0"},
		{"and stands first", "", first, "", "eth0", "wg0"},
		{"a VPN with the default route in halves", "", "", halves, "eth0", "wg0"},
		{"a VPN with a route to the PLAT", "", "", plat, "eth0", "wg0"},
		{"it is the one that is named", "uplink = 'wg0'\n", "", vpn, "wg0", "wg0"},
		{"the network is the one that is named", "uplink = 'eth0'\n", "", vpn, "eth0", "eth0"},
		{"of two networks the better metric", "", "", wlan, "wlan0", "wlan0"},
		{"whatever stands between them", "", first, wlan, "wlan0", "wg0"},
		{"of two networks and a VPN the better network", "", "", vpn + wlan, "wlan0", "wg0"},
		{"a network that leads to the PLAT alone", "", "", vpn + toPLAT, "wlan0", "wlan0"},
		{"a network without carrier is none", "", "", vpn + "link wlan0 down\nroute wlan0 ::/0 metric 1\n", "eth0", "wg0"},
		{"a VPN in a table of its own", "", "", "link wg0 l3\nroute wg0 ::/0 elsewhere\n", "eth0", "eth0"},
		{"nor is our own device", "", "", "link clat0\nroute clat0 64:ff9b::/96\n", "eth0", "eth0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := tt.before + lan + one + tt.host
			for path, want := range map[string]string{"": tt.packet, "path = 'packet'\n" + routed: tt.packet, routed: tt.kernel,
				"path = 'kernel'\n" + routed: tt.kernel} {
				if p := Decide(seen(t, path+tt.config, text, wkp)); p.Uplink.Name != want {
					t.Errorf("%q: by %q, want %q: %s", path, p.Uplink.Name, want, p.Why)
				}
			}
		})
	}
}

// A host without any network that resolves neighbours goes by the kernel's choice.
func TestUplinkWithoutNeighbours(t *testing.T) {
	const wwan = "link lo l3\nlink wwan0 l3\naddr wwan0 2001:db8:7::5/64 autoconf\nroute wwan0 ::/0 metric 700\n"
	for _, tt := range []struct{ name, config, host, want string }{
		{"a mobile network", "", "", "wwan0"},
		{"and a VPN with the better route", "", "link wg0 l3\naddr wg0 2001:db8:5::2/64 permanent\nroute wg0 ::/0 metric 50", "wg0"},
		{"which has one address only", "", "link wg0 l3\naddr wg0 2001:db8:5::2/128 permanent\nroute wg0 ::/0 metric 50", "wwan0"},
		{"the network is named", "uplink = 'wwan0'", "link wg0 l3\nroute wg0 ::/0 metric 50", "wwan0"},
		{"and a VPN with the worse route", "", "link wg0 l3\nroute wg0 ::/0 metric 701", "wwan0"},
	} {
		p := Decide(seen(t, tt.config, wwan+tt.host, wkp))
		if p.Uplink.Name != tt.want || p.Path != config.PathPacket {
			t.Errorf("%s: by %q on path %q, want %q: %s", tt.name, p.Uplink.Name, p.Path, tt.want, p.Why)
		}
	}
}

// Where the main table leads nowhere, a rule may lead to another one. The kernel forwards by the main table here.
func TestUplinkOfAnotherTable(t *testing.T) {
	const table = "link wg0 l3\nlink eth0\naddr eth0 2001:db8:1::5/64 autoconf\naddr eth0 fe80::5/64\n" +
		"route wg0 ::/0 metric 1 elsewhere\nroute eth0 ::/0 via fe80::1 metric 1024 elsewhere\n"
	for path, want := range map[string]string{"": "eth0", "path = 'packet'": "eth0", "address.ipv6 = '2001:db8:c1a7::46'": ""} {
		if p := Decide(seen(t, path, table, wkp)); p.Uplink.Name != want {
			t.Errorf("%q: by %q, want %q: %s", path, p.Uplink.Name, want, p.Why)
		}
	}
}

// An address of the link is for path packet, also where a VPN has the better route.
func TestUplinkOfTheAddress(t *testing.T) {
	p := Decide(seen(t, "address.ipv6 = '2001:db8:1::46'", lan+one+"link wg0 l3\nroute wg0 ::/0 metric 50\n", wkp))
	if p.Uplink.Name != "eth0" || p.Path != config.PathPacket {
		t.Errorf("by %q on path %q: %s", p.Uplink.Name, p.Path, p.Why)
	}
}

// What this host reaches in IPv4 elsewhere than through the NAT64, no answer from there may claim to be.
func TestElsewhere(t *testing.T) {
	const routed = "address.ipv6 = '2001:db8:c1a7::46'"
	docker := "link docker0\nlink clat0 l3\nlink wg0 l3\n" +
		"route4 wg0 10.0.0.0/8\nroute4 lo 127.0.0.0/8\nroute4 docker0 172.17.0.0/16\nroute4 docker0 172.17.0.1/32\nroute4 wg0 192.168.1.0/24\n"
	for _, tt := range []struct{ name, config, host, want, here string }{
		{"nothing but us", "", "link clat0 l3\nroute4 clat0 100.64.46.4/32", "[]", "[]"},
		{"nothing at all", "", "", "[]", "[]"},
		{"containers and a VPN", "", docker, "[10.0.0.0/8 127.0.0.0/8 172.17.0.0/16 172.17.0.1/32 192.168.1.0/24]", "[]"},
		{"not what leads to us", "", docker + "route4 clat0 198.51.100.0/24\nroute4 wg0 203.0.113.0/24",
			"[10.0.0.0/8 127.0.0.0/8 172.17.0.0/16 172.17.0.1/32 192.168.1.0/24 203.0.113.0/24]", "[198.51.100.0/24]"},
		{"a VPN's server in what is behind the VPN", "", "link clat0 l3\nlink wg0 l3\nroute4 wg0 203.0.113.0/24\nroute4 clat0 203.0.113.10/32",
			"[203.0.113.0/24]", "[203.0.113.10/32]"},
		{"each once, by however many links", "", "link clat0 l3\nlink wg0 l3\nroute4 eth0 10.0.0.0/8\nroute4 clat0 10.0.0.0/8\n" +
			"route4 wg0 10.0.0.0/8\nroute4 wg0 10.1.0.0/16", "[10.0.0.0/8 10.1.0.0/16]", "[10.0.0.0/8]"},
		{"to us in order, and each once", "", "link clat0 l3\nroute4 clat0 203.0.113.10/32\nroute4 clat0 10.1.0.0/16\nroute4 clat0 203.0.113.10/32\n" +
			"route4 clat0 10.0.0.0/8\nroute4 clat0 100.64.46.4/32", "[]", "[10.0.0.0/8 10.1.0.0/16 203.0.113.10/32]"},
		{"nor what is of other generations", "", "link clat0 l3\nroute4 clat0 100.64.46.4/32\nroute4 clat0 100.64.46.6/32\nroute4 clat0 100.64.46.3/32",
			"[]", "[100.64.46.3/32]"},
		{"what is ours is no way, but what holds it is", "", "link clat0 l3\nroute4 clat0 100.64.46.4/32\nroute4 clat0 100.64.46.0/24",
			"[]", "[100.64.46.0/24]"},
		{"ours by another way", "", "link clat0 l3\nlink wg0 l3\nroute4 wg0 100.64.46.4/32", "[100.64.46.4/32]", "[]"},
		{"also by us and by another", "", "link clat0 l3\nroute4 clat0 10.0.0.0/8\nroute4 eth0 10.0.0.0/8", "[10.0.0.0/8]", "[10.0.0.0/8]"},
		{"a link that is gone is not ours", "", "route4 gone 10.0.0.0/8", "[10.0.0.0/8]", "[]"},
		{"another name of ours", "interface.name = 'v4'", "link v4 l3\nlink clat0 l3\nroute4 v4 10.0.0.0/8\nroute4 clat0 10.1.0.0/16", "[10.1.0.0/16]",
			"[10.0.0.0/8]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, address := range []string{"", routed} {
				in := seen(t, address+"\n"+tt.config, lan+one+tt.host+"\n"+atWork, wkp)
				p := Decide(in)
				if got, here := prefixesText(p.Elsewhere), prefixesText(p.Here); got != tt.want || here != tt.here || !p.On {
					t.Errorf("on path %s %s, and by us %s; want %s and %s", p.Path, got, here, tt.want, tt.here)
				}
			}
		})
	}
}

func prefixesText(p []netip.Prefix) string { return fmt.Sprint(p) }

// Routers may tell of a prefix on the link in which this host has no address.
func TestPathOfAnAnnouncedPrefix(t *testing.T) {
	const host = "announced eth0 fe80::1 2001:db8:9::/64 A=0\n"
	p := Decide(seen(t, "address.ipv6 = '2001:db8:9::46'", lan+one+host, wkp))
	if p.Path != config.PathPacket || len(p.Try) != 1 || !p.Try[0].ND {
		t.Errorf("path %q, tries %v: %s", p.Path, p.Try, p.Why)
	}
}

// Where nothing can be sent, another address would do no better.
func TestTrialUnsent(t *testing.T) {
	in := seen(t, "", lan+one, wkp)
	first := Decide(in).Try[0].Addrs.Addr()
	eth0, _ := in.Host.LinkByName("eth0")
	in.Trials = []Trial{{Link: eth0.Index, Addr: first, State: Silent, Detail: "nothing could be sent: why", Unsent: true}}
	p := Decide(in)
	if p.Code != "degraded" || p.Ours() != alone(first) || len(p.Try) != 1 || !strings.HasSuffix(p.Why, "path packet: nothing could be sent: why") {
		t.Errorf("%s: %s, uses %v, tries %v", p.Code, p.Why, p.Ours(), p.Try)
	}
	in.Trials[0].Unsent = false
	if p := Decide(in); p.On {
		t.Errorf("another one is not tried: %s", p.Why)
	}
}
