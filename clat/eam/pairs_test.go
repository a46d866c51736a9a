package eam

import (
	"fmt"
	"net/netip"
	"testing"

	"uclat/clat"
)

// pairsSpec is a CLAT for one host whose IPv4 addresses share an IPv6 address, behind a PREF64 each, the last behind the first of all.
func pairsSpec() Spec {
	s := Spec{PREF64: prefixes("64:ff9b::/96", "2001:db8:64::/96", "2001:db8:65::/48", "2001:db8:66::/96"), Self4: netip.MustParseAddr("100.64.46.5")}
	for _, p := range []struct{ v4, prefix string }{{"100.64.46.4/32", "2001:db8:64::/96"}, {"100.64.46.6/32", "2001:db8:65::/48"}, {"100.64.46.7/32", ""}} {
		m := pair(p.v4, "2001:db8:1:2::c1a7/128", false)
		if p.prefix != "" {
			m.PREF64 = prefixes(p.prefix)[0]
		}
		s.Ours = append(s.Ours, m)
	}
	return s
}

// apartSpec is the same with an IPv6 address for each.
func apartSpec() Spec {
	s := pairsSpec()
	for i := range s.Ours {
		s.Ours[i].IPv6 = netip.MustParsePrefix(fmt.Sprintf("2001:db8:1:2::c1a%d/128", 7+i))
	}
	return s
}

// walked is s with an explicit mapping besides, so that each lookup is a walk.
func walked(s Spec) Spec {
	s.Map = []Mapping{pair("203.0.113.77/32", "2001:db8:77::77/128", false)}
	return s
}

// What goes 4 to 6 leaves by the pair of its source, and what answers it, or quotes either, comes back to that.
func TestPairs(t *testing.T) {
	for name, s := range map[string]Spec{
		"shared": pairsSpec(), "apart": apartSpec(), "shared, with a mapping": walked(pairsSpec()), "apart, with a mapping": walked(apartSpec()),
	} {
		m := table(t, s)
		if (m.host == nil) != (len(s.Map) > 0) {
			t.Errorf("%s: by a walk: %v", name, m.host == nil)
		}
		for i, dst6 := range []string{"2001:db8:64::808:808", "2001:db8:65:808:8:800::", "64:ff9b::808:808"} {
			src, src6 := s.Ours[i].IPv4.Addr().String(), s.Ours[i].IPv6.Addr().String()
			t.Run(name+"/"+src, func(t *testing.T) {
				there(t, m, src, "8.8.8.8", src6, dst6)
				var six Pair6
				if reason := m.To6(&six, a4("8.8.8.8"), a4(src), true); reason != clat.DropNone || six.Src != a6(dst6) || six.Dst != a6(src6) {
					t.Errorf("quoted, 46: %v, %v to %v", reason, netip.AddrFrom16(six.Src), netip.AddrFrom16(six.Dst))
				}
				var four Pair4
				from, to := a6(src6), a6(dst6)
				if reason := m.To4(&four, &from, &to, true); reason != clat.DropNone || four.Src != a4(src) || four.Dst != a4("8.8.8.8") {
					t.Errorf("quoted, 64: %v, %v to %v", reason, netip.AddrFrom4(four.Src), netip.AddrFrom4(four.Dst))
				}
			})
		}
	}
}

// Whoever an address stands for, 64 traffic is accepted from each PREF64 that still holds.
func TestToWhom(t *testing.T) {
	overlap := pairsSpec()
	overlap.PREF64 = prefixes("2001:db8::/32", "2001:db8:808:808::/96")
	overlap.Ours = overlap.Ours[:2]
	overlap.Ours[0].IPv6, overlap.Ours[1].IPv6 = netip.MustParsePrefix("2001:db9::1/128"), netip.MustParsePrefix("2001:db9::1/128")
	overlap.Ours[0].PREF64, overlap.Ours[1].PREF64 = overlap.PREF64[0], overlap.PREF64[1]
	const shared = "2001:db8:1:2::c1a7"
	for _, c := range []struct {
		name           string
		spec           Spec
		src, dst, src4 string
		want           string
	}{
		{"the pair", pairsSpec(), "2001:db8:65:808:8:800::", shared, "8.8.8.8", "100.64.46.6"},
		{"a prefix that is nobody's", pairsSpec(), "2001:db8:66::8.8.8.8", shared, "8.8.8.8", "100.64.46.4"},
		{"a prefix of another", apartSpec(), "2001:db8:64::8.8.8.8", "2001:db8:1:2::c1a8", "8.8.8.8", "100.64.46.6"},
		{"a prefix that is nobody's, to the third", apartSpec(), "2001:db8:66::8.8.8.8", "2001:db8:1:2::c1a9", "8.8.8.8", "100.64.46.7"},
		{"an explicit mapping", walked(pairsSpec()), "2001:db8:77::77", shared, "203.0.113.77", "100.64.46.4"},
		{"an explicit mapping, to the second", walked(apartSpec()), "2001:db8:77::77", "2001:db8:1:2::c1a8", "203.0.113.77", "100.64.46.6"},
		{"the longer of two", overlap, "2001:db8:808:808::9.9.9.9", "2001:db9::1", "9.9.9.9", "100.64.46.6"},
		{"the shorter of two", overlap, "2001:db8:809:909::", "2001:db9::1", "8.9.9.9", "100.64.46.4"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := table(t, c.spec)
			var p Pair4
			src, dst := a6(c.src), a6(c.dst)
			if reason := m.To4(&p, &src, &dst, false); reason != clat.DropNone || p.Src != a4(c.src4) || p.Dst != a4(c.want) {
				t.Errorf("%v, %v to %v", reason, netip.AddrFrom4(p.Src), netip.AddrFrom4(p.Dst))
			}
			if reason := m.To4(&p, &dst, &src, true); reason != clat.DropNone || p.Dst != a4(c.src4) || p.Src != a4(c.want) {
				t.Errorf("quoted: %v, %v to %v", reason, netip.AddrFrom4(p.Src), netip.AddrFrom4(p.Dst))
			}
		})
	}
	t.Run("a router", func(t *testing.T) {
		var v4 [4]byte
		src, dst := a6("2001:db8:ffff::1"), a6(shared)
		if reason := table(t, pairsSpec()).Dst4(&v4, &src, &dst); reason != clat.DropNone || v4 != a4("100.64.46.4") {
			t.Errorf("%v, %v", reason, v4)
		}
	})
}

func TestPairsRefused(t *testing.T) {
	reject := pairsSpec()
	reject.RejectNonGlobal = true
	own := pairsSpec()
	own.Ours[1].IPv4 = netip.PrefixFrom(own.Self4, 32)
	const shared = "2001:db8:1:2::c1a7"
	for _, c := range []struct {
		name     string
		spec     Spec
		way      direction
		src, dst string
		want     clat.DropReason
	}{
		{"from one of ours to another", pairsSpec(), way46, "100.64.46.4", "100.64.46.6", clat.DropHairpin},
		{"an address that is not yet, or no longer, ours", pairsSpec(), way46, "100.64.46.1", "8.8.8.8", clat.DropSource},
		{"a source that carries another's address", pairsSpec(), way64, "2001:db8:64::100.64.46.6", shared, clat.DropSpoofed},
		{"a source that carries another's address, apart", apartSpec(), way64, "2001:db8:64::100.64.46.6", shared, clat.DropSpoofed},
		{"from one to another in IPv6", apartSpec(), way64, shared, "2001:db8:1:2::c1a8", clat.DropSpoofed},
		{"no PREF64", pairsSpec(), way64, "2001:db8:67::8.8.8.8", shared, clat.DropNoMapping},
		{"non-global behind the well-known prefix", reject, way46, "100.64.46.7", "10.0.0.1", clat.DropNonGlobal},
		{"non-global behind the well-known prefix, quoted", reject, quote46, "10.0.0.1", "100.64.46.7", clat.DropNonGlobal},
		{"non-global behind another", reject, way46, "100.64.46.6", "10.0.0.1", clat.DropNone},
		{"the translator's own", own, way46, "100.64.46.5", "8.8.8.8", clat.DropSource},
		{"to the translator's own", own, way64, "2001:db8:65:808:8:800::", shared, clat.DropHairpin},
		{"beside the translator's own", own, way64, "2001:db8:64::8.8.8.8", shared, clat.DropNone},
		{"of the translator's own, quoted", own, quote64, shared, "2001:db8:65:808:8:800::", clat.DropSource},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, s := range []Spec{c.spec, walked(c.spec)} {
				if got := lookup(table(t, s), c.way, c.src, c.dst); got != c.want {
					t.Errorf("%v, want %v", got, c.want)
				}
			}
		})
	}
}

// Of clients, each has the PREF64 of the longest match, also if a mapping of its own says which IPv6 address it has.
func TestClientsOfAPrefix(t *testing.T) {
	s := clientsSpec("2001:db8:c::/64")
	s.PREF64 = prefixes("2001:db8:64::/96", "64:ff9b::/96", "2001:db8:65::/96")
	s.Ours = append(s.Ours, pair("100.64.8.0/24", "2001:db8:8::/120", false), pair("100.64.8.0/25", "2001:db8:9::/121", false))
	s.Ours[1].PREF64, s.Ours[2].PREF64 = s.PREF64[1], s.PREF64[2]
	s.Map = []Mapping{
		pair("100.64.9.9/32", "2001:db8:d::9/128", false), pair("100.64.8.128/25", "2001:db8:d:1::/121", false), pair("100.64.8.7/32", "2001:db8:d::7/128", false),
	}
	m := table(t, s)
	for _, c := range []struct{ src, src6, dst6 string }{
		{"100.64.0.1", "2001:db8:c:0:64:4000:100:0", "2001:db8:64::808:808"},
		{"100.64.9.9", "2001:db8:d::9", "2001:db8:64::808:808"},
		{"100.64.8.129", "2001:db8:d:1::1", "64:ff9b::808:808"},
		{"100.64.8.8", "2001:db8:9::8", "2001:db8:65::808:808"},
		{"100.64.8.7", "2001:db8:d::7", "2001:db8:65::808:808"},
	} {
		t.Run(c.src, func(t *testing.T) { there(t, m, c.src, "8.8.8.8", c.src6, c.dst6) })
	}
}

// As many hosts as there are.
func TestManyHosts(t *testing.T) {
	for _, n := range []int{1, 2, maxHosts, maxHosts + 1, 50} {
		s := Spec{PREF64: prefixes("64:ff9b::/96", "2001:db8:64::/96")}
		for i := range n {
			s.Ours = append(s.Ours, pair(fmt.Sprintf("192.0.2.%d/32", 1+i), fmt.Sprintf("2001:db8:1::%x/128", 1+i/2), false))
			s.Ours[i].PREF64 = s.PREF64[i%2]
		}
		m := table(t, s)
		for i := range n {
			dst6 := []string{"64:ff9b::808:808", "2001:db8:64::808:808"}[i%2]
			there(t, m, fmt.Sprintf("192.0.2.%d", 1+i), "8.8.8.8", fmt.Sprintf("2001:db8:1::%x", 1+i/2), dst6)
		}
		if got := lookup(m, way46, fmt.Sprintf("192.0.2.%d", 1+n), "8.8.8.8"); got != clat.DropSource {
			t.Errorf("%d hosts, and one that is none: %v", n, got)
		}
	}
}
