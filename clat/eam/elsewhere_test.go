package eam

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"uclat/clat"
)

// elsewhereSpec is a CLAT for one host that routes some prefixes elsewhere than into the CLAT.
func elsewhereSpec(routed ...string) Spec {
	s := hostSpec()
	for _, p := range routed {
		s.Elsewhere = append(s.Elsewhere, netip.MustParsePrefix(p))
	}
	return s
}

// here adds routes into the CLAT.
func here(s Spec, routed ...string) Spec {
	for _, p := range routed {
		s.Here = append(s.Here, netip.MustParsePrefix(p))
	}
	return s
}

// isElsewhere is whether a CLAT refuses src because another host behind a NAT64 cannot have the address that src carries.
func (m *model) isElsewhere(src, dst netip.Addr, embedded bool) bool {
	if m.Role != CLAT || !src.Is6() || embedded {
		return false
	}
	v4, mapped, _ := m.counterpart(src, dst)
	longest := func(all []netip.Prefix) int {
		bits := -1
		for _, p := range all {
			if p.Contains(v4) {
				bits = max(bits, p.Bits())
			}
		}
		return bits
	}
	return !mapped && longest(m.Elsewhere) > longest(m.Here)
}

// RFC 3704, 2.2: what comes from where the host would not send the answer is forged.
func TestElsewhere(t *testing.T) {
	const own6 = "2001:db8:1:2::c1a7"
	docker := elsewhereSpec("172.17.0.0/16", "192.168.7.9/32", "10.0.0.0/8", "10.1.0.0/16")
	mapped := docker
	mapped.Map = []Mapping{pair("172.17.0.5/32", "2001:db8:d::5/128", false)}
	several := docker
	several.PREF64 = prefixes("64:ff9b::/96", "2001:db8:64::/48")
	clients := clientsSpec("2001:db8:c::/64")
	clients.Elsewhere = docker.Elsewhere
	own := elsewhereSpec("192.0.0.0/24")                                                               // the CLAT's own addresses are routed somewhere, too
	vpn := here(elsewhereSpec("203.0.113.0/24", "203.0.113.128/25", "203.0.113.130/32", "10.0.0.0/8"), // and its server
		"203.0.113.10/32", "203.0.113.128/26", "10.0.0.0/8", "203.0.0.0/16", "198.51.100.0/24")
	plat, router, reject := docker, docker, docker
	plat.Role, router.Role, reject.RejectNonGlobal = PLAT, Router, true
	router.Self4 = netip.Addr{}
	for _, c := range []struct {
		id       string
		spec     Spec
		way      direction
		src, dst string
		want     clat.DropReason
	}{
		{"the first of a prefix", docker, way64, "64:ff9b::172.17.0.0", own6, clat.DropLocalSource},
		{"the last of a prefix", docker, way64, "64:ff9b::172.17.255.255", own6, clat.DropLocalSource},
		{"one before", docker, way64, "64:ff9b::172.16.255.255", own6, clat.DropNone},
		{"one behind", docker, way64, "64:ff9b::172.18.0.0", own6, clat.DropNone},
		{"a host", docker, way64, "64:ff9b::192.168.7.9", own6, clat.DropLocalSource},
		{"beside a host", docker, way64, "64:ff9b::192.168.7.8", own6, clat.DropNone},
		{"in the longer of two", docker, way64, "64:ff9b::10.1.2.3", own6, clat.DropLocalSource},
		{"in the shorter of two", docker, way64, "64:ff9b::10.2.2.3", own6, clat.DropLocalSource},
		{"behind another PREF64", several, way64, "2001:db8:64:ac11:0:500::", own6, clat.DropLocalSource},
		{"of clients", clients, way64, "2001:db8:64::172.17.0.5", "2001:db8:c:0:64:4000:100:0", clat.DropLocalSource},
		{"out is not in", docker, way46, "192.0.0.2", "172.17.0.5", clat.DropNone},
		{"none", hostSpec(), way64, "64:ff9b::172.17.0.5", own6, clat.DropNone},

		{"a host of a network that is elsewhere", vpn, way64, "64:ff9b::203.0.113.10", own6, clat.DropNone},
		{"the one before it", vpn, way64, "64:ff9b::203.0.113.9", own6, clat.DropLocalSource},
		{"the one behind it", vpn, way64, "64:ff9b::203.0.113.11", own6, clat.DropLocalSource},
		{"the longest is here", vpn, way64, "64:ff9b::203.0.113.129", own6, clat.DropNone},
		{"the longest is elsewhere, in one that is here", vpn, way64, "64:ff9b::203.0.113.130", own6, clat.DropLocalSource},
		{"beside the longer ones", vpn, way64, "64:ff9b::203.0.113.200", own6, clat.DropLocalSource},
		{"in the shortest, which is here", vpn, way64, "64:ff9b::203.0.112.255", own6, clat.DropNone},
		{"here alone", vpn, way64, "64:ff9b::198.51.100.7", own6, clat.DropNone},
		{"neither", vpn, way64, "64:ff9b::198.51.101.7", own6, clat.DropNone},
		{"the same prefix here", vpn, way64, "64:ff9b::10.1.2.3", own6, clat.DropNone}, // RFC 3704, 2.3
		{"the same prefix here, with bits behind its length", here(docker, "172.17.0.1/16"), way64, "64:ff9b::172.17.0.5", own6, clat.DropNone},
		{"all is here", here(docker, "0.0.0.0/0"), way64, "64:ff9b::172.17.0.5", own6, clat.DropLocalSource},
		{"what nobody has, though it is here", here(docker, "127.0.0.1/32"), way64, "64:ff9b::127.0.0.1", own6, clat.DropSpoofed},

		{"an explicit mapping", mapped, way64, "2001:db8:d::5", own6, clat.DropNone},
		{"beside an explicit mapping", mapped, way64, "64:ff9b::172.17.0.5", own6, clat.DropLocalSource},
		{"quoted in an error, as the destination", docker, quote64, own6, "64:ff9b::172.17.0.5", clat.DropNone},
		{"quoted in an error, toward IPv6", docker, quote46, "172.17.0.5", "192.0.0.2", clat.DropNone},

		{"what is ours", own, way64, "64:ff9b::192.0.0.2", own6, clat.DropSpoofed},
		{"what nobody has", own, way64, "64:ff9b::192.0.0.7", own6, clat.DropSpoofed},
		{"non-global", reject, way64, "64:ff9b::172.17.0.5", own6, clat.DropNonGlobal},
		{"to a group", docker, way64, "64:ff9b::172.17.0.5", "ff0e::1", clat.DropMulticast},

		{"PLAT", plat, way64, own6, "64:ff9b::172.17.0.5", clat.DropNone},
		{"PLAT, quoted", plat, quote64, "64:ff9b::172.17.0.5", own6, clat.DropNone},
		{"Router", router, way64, "64:ff9b::172.17.0.5", own6, clat.DropNone},
	} {
		t.Run("RFC 3704, 2.2/"+c.id, func(t *testing.T) {
			if got := lookup(table(t, c.spec), c.way, c.src, c.dst); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
	t.Run("RFC 3704, 2.2/an error of a router without an IPv4 address", func(t *testing.T) {
		var v4 [4]byte
		src, dst := a6("2001:db8:ffff::1"), a6(own6)
		if reason := table(t, docker).Dst4(&v4, &src, &dst); reason != clat.DropNone {
			t.Error(reason)
		}
	})
}

func TestElsewhereErrors(t *testing.T) {
	with := func(p netip.Prefix) Spec {
		s := elsewhereSpec("10.0.0.0/8")
		s.Elsewhere = append(s.Elsewhere, p)
		return s
	}
	without := func(p netip.Prefix) Spec {
		s := hostSpec()
		s.Here = []netip.Prefix{p}
		return s
	}
	six := netip.MustParsePrefix("2001:db8::/32")
	for _, c := range []struct {
		spec Spec
		want string
	}{
		{with(netip.Prefix{}), "invalid Prefix, routed elsewhere, is no IPv4 prefix"},
		{with(six), "2001:db8::/32, routed elsewhere, is no IPv4 prefix"},
		{with(netip.MustParsePrefix("0.0.0.0/0")), "0.0.0.0/0 cannot be routed elsewhere: nothing could come in"},
		{without(netip.Prefix{}), "invalid Prefix, routed into the CLAT, is no IPv4 prefix"},
		{without(six), "2001:db8::/32, routed into the CLAT, is no IPv4 prefix"},
		{here(with(six), "10.0.0.0/8"), "2001:db8::/32, routed elsewhere, is no IPv4 prefix"},
	} {
		if m, err := New(c.spec); err == nil || err.Error() != c.want || m != nil {
			t.Errorf("%v\nwant %s", err, c.want)
		}
	}
}

// A host that has routes into the CLAT alone has nothing to look up for each packet.
func TestNothingElsewhere(t *testing.T) {
	if m := table(t, here(hostSpec(), "203.0.113.10/32", "10.0.0.0/8")); m.elsewhere != nil {
		t.Error("there is a table of what is elsewhere")
	}
}

// Prefixes that lie in one another, and are the same, in all ways, against the model.
func TestElsewhereNested(t *testing.T) {
	rng := rand.New(rand.NewPCG(3704, 22))
	own6 := netip.MustParseAddr("2001:db8:1:2::c1a7")
	nested := func() (all []netip.Prefix) {
		for range rng.IntN(5) {
			a := netip.AddrFrom4([4]byte{10, byte(rng.IntN(16)) << 4, 1, 1})
			all = append(all, netip.PrefixFrom(a, 7+rng.IntN(6)))
		}
		return all
	}
	for range 2000 {
		s := hostSpec()
		s.Elsewhere, s.Here = nested(), nested()
		m, w := table(t, s), newModel(s)
		for n := range 18 {
			src := to(behind(s.PREF64[0]), netip.AddrFrom4([4]byte{10 + byte(n/16), byte(n) << 4, 2, 2}))
			w.to4(t, m, src, own6, false)
		}
	}
}
