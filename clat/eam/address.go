package eam

import "net/netip"

// illegalSource4 is what may not be the source of a packet (RFC 7915, 4.1; RFC 1812, 5.3.7).
func illegalSource4(a [4]byte) bool { return a[0] == 0 || a[0] == 127 || a[0] >= 224 }

// isGroup4 is multicast or the limited broadcast.
func isGroup4(a [4]byte) bool { return a[0]&0xf0 == 224 || a == [4]byte{255, 255, 255, 255} }

func isGroup6(a *[16]byte) bool { return a[0] == 0xff }

// illegalSource6 is what may not be the source of any packet: multicast, unspecified, loopback (RFC 7915, 5.1).
func illegalSource6(a *[16]byte) bool {
	return isGroup6(a) || *a == [16]byte{} || *a == [16]byte{15: 1}
}

// isLinkLocal6 is what may not be the source of a packet that leaves its link (RFC 4291, 2.5.6).
func isLinkLocal6(a *[16]byte) bool { return a[0] == 0xfe && a[1]&0xc0 == 0x80 }

// noHost names what p has that cannot be an address of a packet that crosses a router; empty for nothing.
func noHost(p netip.Prefix) string {
	for _, r := range noHostPrefixes {
		if r.prefix.Overlaps(p) {
			return r.name
		}
	}
	return ""
}

var noHostPrefixes = [...]struct {
	prefix netip.Prefix
	name   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "0.0.0.0/8"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved"},
	{netip.MustParsePrefix("::/128"), "unspecified"},
	{netip.MustParsePrefix("::1/128"), "loopback"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// neverRemote is what no host behind a NAT64 can have as its address: this network, loopback, link-local, multicast, class E and
// 192.0.0.0/29, which is for IPv4 continuity within a host (RFC 6052, 5.1; RFC 7335).
func neverRemote(a [4]byte) bool {
	return illegalSource4(a) || a[0] == 169 && a[1] == 254 || a[0] == 192 && a[1] == 0 && a[2] == 0 && a[3] < 8
}

// nonGlobal is what RFC 6052, 3.1 forbids behind the well-known prefix: RFC 5735, 3 and the shared address space of RFC 6598.
func nonGlobal(a [4]byte) bool {
	addr := netip.AddrFrom4(a)
	for _, p := range nonGlobalPrefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

var nonGlobalPrefixes = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("10.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("192.168.0.0/16"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("240.0.0.0/4"),
}
