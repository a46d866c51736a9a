package eam

import (
	"net/netip"
	"testing"

	"uclat/clat"
)

// direction names the four ways a pair of addresses is looked up.
type direction struct {
	to6, embedded bool
}

func lookup(m *Table, d direction, src, dst string) clat.DropReason {
	if d.to6 {
		var p Pair6
		return m.To6(&p, a4(src), a4(dst), d.embedded)
	}
	var p Pair4
	from, to := a6(src), a6(dst)
	return m.To4(&p, &from, &to, d.embedded)
}

var (
	way46, quote46 = direction{true, false}, direction{true, true}
	way64, quote64 = direction{false, false}, direction{false, true}
)

func TestRefused(t *testing.T) {
	const own6, peer6 = "2001:db8:1:2::c1a7", "64:ff9b::8.8.8.8"
	clients := clientsSpec("2001:db8:c::/64")
	clients.Map = []Mapping{pair("100.64.9.9/32", "2001:db8:d::9/128", false), pair("203.0.113.7/32", "2001:db8:d::7/128", false)}
	plat := hostSpec()
	plat.Role = PLAT
	pool := clientsSpec("2001:db8:c::/64")
	pool.Role = PLAT
	reject := hostSpec()
	reject.RejectNonGlobal = true
	own := hostSpec()
	own.PREF64 = prefixes("64:ff9b:1::/48")
	own.RejectNonGlobal = true
	for _, c := range []struct {
		id       string
		spec     Spec
		way      direction
		src, dst string
		want     clat.DropReason
	}{
		{"RFC 7915, 4.1", hostSpec(), way46, "192.0.0.4", "8.8.8.8", clat.DropSource},
		{"RFC 7915, 4.1", hostSpec(), way46, "0.0.0.0", "8.8.8.8", clat.DropSource},
		{"RFC 7915, 4.1", hostSpec(), way46, "127.1.2.3", "8.8.8.8", clat.DropSource},
		{"RFC 7915, 4.1", hostSpec(), way46, "239.1.2.3", "8.8.8.8", clat.DropSource},
		{"RFC 7915, 4.1/self", hostSpec(), way46, "192.0.0.3", "8.8.8.8", clat.DropSource},
		{"RFC 7915, 4.1/self among clients", clients, way46, "100.64.46.5", "8.8.8.8", clat.DropSource},
		{"RFC 7915, 4.2", hostSpec(), way46, "192.0.0.2", "224.0.0.0", clat.DropMulticast},
		{"RFC 7915, 4.2", hostSpec(), way46, "192.0.0.2", "239.255.255.255", clat.DropMulticast},
		{"RFC 7915, 4.2", hostSpec(), way46, "192.0.0.2", "255.255.255.255", clat.DropMulticast},
		{"RFC 7915, 4.4", hostSpec(), way46, "192.0.0.2", "255.255.255.254", clat.DropNoMapping},
		{"RFC 7915, 4.4", hostSpec(), way46, "192.0.0.2", "169.254.169.254", clat.DropNoMapping},
		{"RFC 7757, 4/own", hostSpec(), way46, "192.0.0.2", "192.0.0.2", clat.DropHairpin},
		{"RFC 7757, 4/self", hostSpec(), way46, "192.0.0.2", "192.0.0.3", clat.DropHairpin},
		{"RFC 7757, 4/another client", clients, way46, "100.64.0.1", "100.64.0.2", clat.DropHairpin},
		{"RFC 7757, 4/a client with a mapping", clients, way46, "100.64.0.1", "100.64.9.9", clat.DropHairpin},
		{"RFC 7757, 3/a mapped stranger", clients, way46, "100.64.0.1", "203.0.113.7", clat.DropNone},

		{"RFC 7915, 5.1", hostSpec(), way64, "::", own6, clat.DropSource},
		{"RFC 7915, 5.1", hostSpec(), way64, "::1", own6, clat.DropSource},
		{"RFC 7915, 5.1", hostSpec(), way64, "fe80::1", own6, clat.DropSource},
		{"RFC 7915, 5.1", hostSpec(), way64, "fec0::1", own6, clat.DropNoMapping},
		{"RFC 7915, 5.1", hostSpec(), way64, "ff0e::1", own6, clat.DropSource},
		{"RFC 7915, 5.6", hostSpec(), way64, "2001:db8::9", own6, clat.DropNoMapping},
		{"RFC 7915, 5.6", hostSpec(), way64, peer6, "2001:db8:1:2::c1a8", clat.DropNoMapping},
		{"RFC 7915, 5.6", hostSpec(), way64, peer6, "ff0e::1", clat.DropMulticast},
		{"RFC 4443, 2.4 (e.3)/from a stranger", hostSpec(), way64, "2001:db8::9", "ff0e::1", clat.DropMulticast},
		{"RFC 1812, 4.3.2.7/from a stranger", hostSpec(), way46, "192.0.0.4", "224.0.0.1", clat.DropMulticast},
		{"RFC 7915, 5.6/own IPv4 not within 100.64.0.0/10", clients, way64, "2001:db8:64::8.8.8.8", "2001:db8:c:0:8:808:800:0", clat.DropNoMapping},
		{"RFC 6052, 5.1", hostSpec(), way64, "64:ff9b::0.1.2.3", own6, clat.DropSpoofed},
		{"RFC 6052, 5.1", hostSpec(), way64, "64:ff9b::127.0.0.1", own6, clat.DropSpoofed},
		{"RFC 6052, 5.1", hostSpec(), way64, "64:ff9b::169.254.0.1", own6, clat.DropSpoofed},
		{"RFC 6052, 5.1", hostSpec(), way64, "64:ff9b::224.0.0.1", own6, clat.DropSpoofed},
		{"RFC 6052, 5.1", hostSpec(), way64, "64:ff9b::240.0.0.1", own6, clat.DropSpoofed},
		{"RFC 6052, 5.1", hostSpec(), way64, "64:ff9b::255.255.255.255", own6, clat.DropSpoofed},
		{"RFC 6052, 5.1", hostSpec(), way64, "64:ff9b::192.0.0.7", own6, clat.DropSpoofed},
		{"RFC 6052, 5.1", hostSpec(), way64, "64:ff9b::192.0.0.8", own6, clat.DropNone},
		{"RFC 6052, 5.1", hostSpec(), way64, "64:ff9b::192.0.0.2", own6, clat.DropSpoofed},
		{"RFC 6052, 5.1", hostSpec(), way64, own6, own6, clat.DropSpoofed},
		{"RFC 6052, 5.1/a client", clients, way64, "2001:db8:64::100.64.0.1", "2001:db8:c:0:64:4000:100:0", clat.DropSpoofed},
		{"RFC 6052, 5.1/self among clients", clients, way64, "2001:db8:64::100.64.46.5", "2001:db8:c:0:64:4000:100:0", clat.DropSpoofed},
		{"RFC 6052, 5.1/a client with a mapping", clients, way64, "2001:db8:64::100.64.9.9", "2001:db8:c:0:64:4000:100:0", clat.DropSpoofed},
		{"RFC 6052, 5.1/a client's other address", clients, way64, "2001:db8:d::9", "2001:db8:c:0:64:4000:100:0", clat.DropSpoofed},
		{"RFC 6052, 5.1/to self among clients", clients, way64, "2001:db8:64::8.8.8.8", "2001:db8:c:0:64:402e:500:0", clat.DropHairpin},

		// What is quoted in an error went the other way, and may hold what no packet may.
		{"RFC 7915, 4.3", hostSpec(), quote46, "8.8.8.8", "192.0.0.2", clat.DropNone},
		{"RFC 7915, 4.1", hostSpec(), quote46, "127.0.0.1", "192.0.0.2", clat.DropNone},
		{"RFC 7915, 4.3", hostSpec(), quote46, "192.0.0.2", "8.8.8.8", clat.DropSpoofed},
		{"RFC 7915, 4.3", hostSpec(), quote46, "8.8.8.8", "9.9.9.9", clat.DropNoMapping},
		{"RFC 7915, 4.3", hostSpec(), quote46, "8.8.8.8", "192.0.0.3", clat.DropHairpin},
		{"RFC 7915, 4.3", hostSpec(), quote64, own6, peer6, clat.DropNone},
		{"RFC 7915, 4.1", hostSpec(), quote64, own6, "64:ff9b::127.0.0.1", clat.DropNone},
		{"RFC 7915, 4.3", hostSpec(), quote64, peer6, own6, clat.DropNoMapping},
		{"RFC 7915, 4.3", hostSpec(), quote64, own6, "2001:db8::9", clat.DropNoMapping},
		{"RFC 7915, 4.3", hostSpec(), quote64, own6, own6, clat.DropHairpin},
		{"RFC 7915, 4.3/to self behind the prefix", hostSpec(), quote64, own6, "64:ff9b::192.0.0.3", clat.DropHairpin},

		// A PLAT's hosts speak IPv6.
		{"PLAT/forward", plat, way64, own6, peer6, clat.DropNone},
		{"PLAT/forward", plat, way46, "8.8.8.8", "192.0.0.2", clat.DropNone},
		{"PLAT/quoted", plat, quote64, peer6, own6, clat.DropNone},
		{"PLAT/quoted", plat, quote46, "192.0.0.2", "8.8.8.8", clat.DropNone},
		{"PLAT/source in the PREF64", plat, way64, peer6, own6, clat.DropNoMapping},
		{"PLAT/not from a host", plat, way64, "2001:db8::9", peer6, clat.DropNoMapping},
		{"PLAT/client with the translator's address", pool, way64, "2001:db8:c:0:64:402e:500:0", "2001:db8:64::8.8.8.8", clat.DropSource},
		{"PLAT/hairpin", plat, way64, own6, "64:ff9b::192.0.0.2", clat.DropHairpin},
		{"PLAT/itself", plat, way64, own6, "64:ff9b::192.0.0.3", clat.DropHairpin},
		{"PLAT/multicast", plat, way64, own6, "64:ff9b::224.0.0.1", clat.DropMulticast},
		{"PLAT/loopback", plat, way64, own6, "64:ff9b::127.0.0.1", clat.DropNoMapping},
		{"PLAT/source of a host", plat, way46, "192.0.0.2", "192.0.0.2", clat.DropSpoofed},
		{"PLAT/source of the translator", plat, way46, "192.0.0.3", "192.0.0.2", clat.DropSpoofed},
		{"PLAT/link-local source", plat, way46, "169.254.1.1", "192.0.0.2", clat.DropSource},
		{"PLAT/source in 192.0.0.0/29", plat, way46, "192.0.0.7", "192.0.0.2", clat.DropSource},
		{"PLAT/not to a host", plat, way46, "8.8.8.8", "9.9.9.9", clat.DropNoMapping},
		{"PLAT/to the translator", plat, way46, "8.8.8.8", "192.0.0.3", clat.DropHairpin},

		{"RFC 6052, 3.1/translate", hostSpec(), way46, "192.0.0.2", "10.0.0.1", clat.DropNone},
		{"RFC 6052, 3.1/translate", hostSpec(), way64, "64:ff9b::10.0.0.1", own6, clat.DropNone},
		{"RFC 6052, 3.1/reject", reject, way46, "192.0.0.2", "10.0.0.1", clat.DropNonGlobal},
		{"RFC 6052, 3.1/reject", reject, way64, "64:ff9b::10.0.0.1", own6, clat.DropNonGlobal},
		{"RFC 6052, 3.1/reject", reject, way46, "192.0.0.2", "8.8.8.8", clat.DropNone},
		{"RFC 8215, 5/reject", own, way46, "192.0.0.2", "10.0.0.1", clat.DropNone},
		{"RFC 8215, 5/reject", own, way64, "64:ff9b:1:a00:0:100::", own6, clat.DropNone},
	} {
		t.Run(c.id+"/"+c.src+" to "+c.dst, func(t *testing.T) {
			if got := lookup(table(t, c.spec), c.way, c.src, c.dst); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

func TestNonGlobal(t *testing.T) {
	s := hostSpec()
	s.RejectNonGlobal = true
	m := table(t, s)
	for _, p := range []string{
		"10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
		"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	} {
		t.Run("RFC 6052, 3.1/"+p, func(t *testing.T) {
			prefix := netip.MustParsePrefix(p)
			first, last := prefix.Addr().As4(), prefix.Addr().As4()
			for bit := prefix.Bits(); bit < 32; bit++ {
				last[bit/8] |= 0x80 >> (bit % 8)
			}
			var six Pair6
			for _, a := range [][4]byte{first, last} {
				if reason := m.To6(&six, a4("192.0.0.2"), a, false); reason != clat.DropNonGlobal && !neverRemote(a) {
					t.Errorf("%v: %v", a, reason)
				}
			}
			outside := netip.AddrFrom4(last).Next().As4()
			if reason := m.To6(&six, a4("192.0.0.2"), outside, false); reason != clat.DropNone {
				t.Errorf("%v: %v", outside, reason)
			}
		})
	}
}

// An error of a router without an IPv4 address has a destination all the same.
func TestDst4(t *testing.T) {
	m := table(t, hostSpec())
	for _, c := range []struct {
		src, dst string
		want     clat.DropReason
	}{
		{"2001:db8:ffff::1", "2001:db8:1:2::c1a7", clat.DropNone},
		{"2001:db8:ffff::1", "2001:db8:1:2::c1a8", clat.DropNoMapping},
		{"2001:db8:ffff::1", "ff02::1", clat.DropMulticast},
		{"fe80::1", "2001:db8:1:2::c1a7", clat.DropNone},
		{"::1", "2001:db8:1:2::c1a7", clat.DropSource},
		{"ff02::1", "2001:db8:1:2::c1a7", clat.DropSource},
		{"::", "2001:db8:1:2::c1a7", clat.DropSource},
	} {
		t.Run("source without a mapping/"+c.src+" to "+c.dst, func(t *testing.T) {
			var v4 [4]byte
			src, dst := a6(c.src), a6(c.dst)
			if got := m.Dst4(&v4, &src, &dst); got != c.want || got == clat.DropNone && v4 != a4("192.0.0.2") {
				t.Errorf("%v, %v", got, v4)
			}
		})
	}
	t.Run("source without a mapping/PLAT", func(t *testing.T) {
		s := hostSpec()
		s.Role = PLAT
		var v4 [4]byte
		src, dst := a6("2001:db8:ffff::1"), a6("64:ff9b::8.8.8.8")
		if got := table(t, s).Dst4(&v4, &src, &dst); got != clat.DropNone || v4 != a4("8.8.8.8") {
			t.Errorf("%v, %v", got, v4)
		}
	})
}
