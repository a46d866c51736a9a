package lab

import (
	"net/netip"

	"uclat/clat/pref64"
)

// The lab's addresses.
var (
	prefix64 = pref64.WellKnown

	linkLocal   = netip.MustParsePrefix("fe80::/10")
	lanPrefix   = netip.MustParsePrefix("2001:db8:1::/64") // the laptop's link, for SLAAC
	routerLAN   = netip.MustParsePrefix("2001:db8:1::1/64")
	routerWAN   = netip.MustParsePrefix("2001:db8:2::1/64")
	platWAN     = netip.MustParsePrefix("2001:db8:2::2/64")
	platErrors6 = netip.MustParseAddr("2001:db8:2::64") // source of the PLAT's ICMPv6 errors
	platErrors4 = netip.MustParseAddr("192.0.2.254")    // source of its ICMPv4 errors
	platPool    = netip.MustParsePrefix("192.0.2.0/24")
	platNet     = netip.MustParsePrefix("203.0.113.1/24")
	hopNet      = netip.MustParsePrefix("203.0.113.2/24")
	hopServer   = netip.MustParsePrefix("198.51.100.1/24")
	serverNet   = netip.MustParsePrefix("198.51.100.10/24")

	default4 = netip.MustParsePrefix("0.0.0.0/0")
	default6 = netip.MustParsePrefix("::/0")
)

const (
	linkMTU   = 1500 // octets, of all links,
	serverMTU = 1400 // but the last, so that the path MTU is less than the first link's
	tunName   = "clat0"
	uplink    = "eth0"
)

// zone is what the lab's name servers know: IPv4 addresses only.
var zone = map[string][]netip.Addr{
	"ipv4only.arpa.":       {netip.MustParseAddr("192.0.0.170"), netip.MustParseAddr("192.0.0.171")},
	"server.example.test.": {serverNet.Addr()},
}

const serverName = "server.example.test."
