package eam

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/pref64"
)

func a4(s string) [4]byte  { return netip.MustParseAddr(s).As4() }
func a6(s string) [16]byte { return netip.MustParseAddr(s).As16() }

func pair(v4, v6 string, embed bool) Mapping {
	return Mapping{IPv4: netip.MustParsePrefix(v4), IPv6: netip.MustParsePrefix(v6), Embed: embed}
}

func prefixes(list ...string) (all []pref64.Prefix) {
	for _, s := range list {
		all = append(all, pref64.MustParse(s))
	}
	return all
}

func table(t testing.TB, s Spec) *Table {
	t.Helper()
	m, err := New(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// hostSpec is a CLAT for one host.
func hostSpec() Spec {
	return Spec{
		Ours: []Mapping{pair("192.0.0.2/32", "2001:db8:1:2::c1a7/128", false)}, PREF64: prefixes("64:ff9b::/96"),
		Self4: netip.MustParseAddr("192.0.0.3"),
	}
}

// clientsSpec is a CLAT for all of 100.64.0.0/10.
func clientsSpec(prefix string) Spec {
	return Spec{
		Ours: []Mapping{pair("100.64.0.0/10", prefix, true)}, PREF64: prefixes("2001:db8:64::/96"),
		Self4: netip.MustParseAddr("100.64.46.5"),
	}
}

// eamt is the table of RFC 7757, 3.1, figure 1.
func eamt() []Mapping {
	return []Mapping{
		pair("192.0.2.1/32", "2001:db8:aaaa::/128", false),
		pair("192.0.2.2/32", "2001:db8:bbbb::b/128", false),
		pair("192.0.2.16/28", "2001:db8:cccc::/124", false),
		pair("192.0.2.128/26", "2001:db8:dddd::/64", false),
		pair("192.0.2.192/29", "2001:db8:eeee:8::/62", false),
		pair("192.0.2.224/31", "64:ff9b::/127", false),
	}
}

// there translates a packet of ours, and what would answer it.
func there(t *testing.T, m *Table, src, dst, src6, dst6 string) {
	t.Helper()
	var six Pair6
	if reason := m.To6(&six, a4(src), a4(dst), false); reason != clat.DropNone || six.Src != a6(src6) || six.Dst != a6(dst6) {
		t.Errorf("46: %v, %v to %v, want %v to %v", reason, netip.AddrFrom16(six.Src), netip.AddrFrom16(six.Dst), src6, dst6)
	}
	var four Pair4
	from, to := a6(dst6), a6(src6)
	if reason := m.To4(&four, &from, &to, false); reason != clat.DropNone || four.Src != a4(dst) || four.Dst != a4(src) {
		t.Errorf("64: %v, %v to %v, want %v to %v", reason, netip.AddrFrom4(four.Src), netip.AddrFrom4(four.Dst), dst, src)
	}
}

func TestMappings(t *testing.T) {
	withEAMT := Spec{Map: eamt(), PREF64: prefixes("64:ff9b::/96")}
	for _, c := range []struct {
		id                   string
		spec                 Spec
		src, dst, src6, dst6 string
	}{
		{"RFC 7757, 3/one host", hostSpec(), "192.0.0.2", "198.51.100.5", "2001:db8:1:2::c1a7", "64:ff9b::c633:6405"},
		{"RFC 6877/clients behind a /96", clientsSpec("2001:db8:c:0:0:1::/96"), "100.64.0.1", "8.8.8.8", "2001:db8:c::1:6440:1", "2001:db8:64::808:808"},
		{"RFC 6877/clients behind a /64", clientsSpec("2001:db8:c::/64"), "100.127.255.254", "8.8.8.8", "2001:db8:c:0:64:7fff:fe00:0", "2001:db8:64::808:808"},
		{"RFC 6877/clients behind a /48", clientsSpec("2001:db8:c::/48"), "100.64.3.4", "8.8.8.8", "2001:db8:c:6440:3:400::", "2001:db8:64::808:808"},
		{"RFC 7757, 3/1", withEAMT, "192.0.2.1", "8.8.8.8", "2001:db8:aaaa::", "64:ff9b::808:808"},
		{"RFC 7757, 3/2", withEAMT, "192.0.2.2", "8.8.8.8", "2001:db8:bbbb::b", "64:ff9b::808:808"},
		{"RFC 7757, 3/3", withEAMT, "192.0.2.16", "8.8.8.8", "2001:db8:cccc::", "64:ff9b::808:808"},
		{"RFC 7757, 3/3", withEAMT, "192.0.2.31", "8.8.8.8", "2001:db8:cccc::f", "64:ff9b::808:808"},
		{"RFC 7757, 3/4", withEAMT, "192.0.2.130", "8.8.8.8", "2001:db8:dddd:0:800::", "64:ff9b::808:808"},
		{"RFC 7757, 3/4", withEAMT, "192.0.2.191", "8.8.8.8", "2001:db8:dddd:0:fc00::", "64:ff9b::808:808"},
		{"RFC 7757, 3/5", withEAMT, "192.0.2.193", "8.8.8.8", "2001:db8:eeee:8:8000::", "64:ff9b::808:808"},
		{"RFC 7757, 3/5", withEAMT, "192.0.2.199", "8.8.8.8", "2001:db8:eeee:b:8000::", "64:ff9b::808:808"},
		{"RFC 7757, 3/6", withEAMT, "192.0.2.225", "8.8.8.8", "64:ff9b::1", "64:ff9b::808:808"},
		{"RFC 7757, 3/wins over PREF64", withEAMT, "192.0.2.1", "192.0.2.2", "2001:db8:aaaa::", "2001:db8:bbbb::b"},
		{"RFC 7757, 3/wins over PREF64", withEAMT, "192.0.2.1", "192.0.2.224", "2001:db8:aaaa::", "64:ff9b::"},
		{"RFC 7757, 3/beside the entries", withEAMT, "192.0.2.1", "192.0.2.3", "2001:db8:aaaa::", "64:ff9b::c000:203"},
	} {
		t.Run(c.id+"/"+c.src+" to "+c.dst, func(t *testing.T) { there(t, table(t, c.spec), c.src, c.dst, c.src6, c.dst6) })
	}
	t.Run("RFC 7757, 3/longest match", func(t *testing.T) {
		s := hostSpec()
		s.Map = []Mapping{
			pair("203.0.113.0/24", "2001:db8:a::/64", false),
			pair("203.0.113.16/28", "2001:db8:b::/64", false),
			pair("203.0.113.17/32", "2001:db8:b:0:1000::/128", false), // within the IPv6 prefix of the second, too
		}
		m := table(t, s)
		there(t, m, "192.0.0.2", "203.0.113.1", "2001:db8:1:2::c1a7", "2001:db8:a:0:100::")
		there(t, m, "192.0.0.2", "203.0.113.18", "2001:db8:1:2::c1a7", "2001:db8:b:0:2000::")
		there(t, m, "192.0.0.2", "203.0.113.17", "2001:db8:1:2::c1a7", "2001:db8:b:0:1000::")
	})
	t.Run("RFC 7757, 3/a prefix for one host", func(t *testing.T) {
		s := hostSpec()
		s.Ours[0].IPv6 = netip.MustParsePrefix("2001:db8:9::/64")
		m := table(t, s)
		there(t, m, "192.0.0.2", "8.8.8.8", "2001:db8:9::", "64:ff9b::808:808")
		var p Pair4
		src, dst := a6("64:ff9b::8.8.8.8"), a6("2001:db8:9::77")
		if reason := m.To4(&p, &src, &dst, false); reason != clat.DropNone || p.Dst != a4("192.0.0.2") {
			t.Errorf("%v, %v", reason, netip.AddrFrom4(p.Dst))
		}
	})
	t.Run("RFC 7757, 3/bits behind the suffix", func(t *testing.T) {
		m := table(t, withEAMT)
		var p Pair4
		src, dst := a6("64:ff9b::8.8.8.8"), a6("2001:db8:dddd:0:bff:1:2:3")
		if reason := m.To4(&p, &src, &dst, false); reason != clat.DropNone || p.Dst != a4("192.0.2.130") {
			t.Errorf("%v, %v", reason, netip.AddrFrom4(p.Dst))
		}
	})
}

func TestSeveralPREF64(t *testing.T) {
	s := hostSpec()
	s.PREF64 = prefixes("2001:db8:64::/96", "2001:db8:64::/48", "64:ff9b::/96", "2001:db9::/32")
	m := table(t, s)
	own := a6("2001:db8:1:2::c1a7")
	for _, c := range []struct{ src, want string }{
		{"2001:db8:64::c633:6405", "198.51.100.5"},
		{"2001:db8:64:c633:64:500::", "198.51.100.5"},
		{"64:ff9b::c633:6405", "198.51.100.5"},
		{"2001:db9:c633:6405::", "198.51.100.5"},
	} {
		t.Run("source in any of them/"+c.src, func(t *testing.T) {
			var p Pair4
			src := a6(c.src)
			if reason := m.To4(&p, &src, &own, false); reason != clat.DropNone || p.Src != a4(c.want) {
				t.Errorf("%v, %v", reason, netip.AddrFrom4(p.Src))
			}
		})
	}
	t.Run("the first makes addresses", func(t *testing.T) {
		there(t, m, "192.0.0.2", "198.51.100.5", "2001:db8:1:2::c1a7", "2001:db8:64::c633:6405")
	})
	t.Run("none", func(t *testing.T) {
		s.PREF64 = nil
		var p Pair6
		if reason := table(t, s).To6(&p, a4("192.0.0.2"), a4("8.8.8.8"), false); reason != clat.DropNoMapping {
			t.Error(reason)
		}
	})
}

// The difference is what a full sum over old and new addresses gives.
func TestDelta(t *testing.T) {
	sum := func(parts ...[]byte) (s uint32) {
		for _, b := range parts {
			for i := 0; i < len(b); i += 2 {
				s += uint32(b[i])<<8 | uint32(b[i+1])
			}
		}
		return s % 0xffff
	}
	rng := rand.New(rand.NewPCG(5, 6))
	octets := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	for i := range 3000 {
		own4, own6, remote := [4]byte(octets(4)), [16]byte(octets(16)), [4]byte(octets(4))
		own4[0], own6[0], remote[0] = 100, 0x20, 9
		prefix := [16]byte(octets(16))
		prefix[0], prefix[8] = 0x2c, 0
		p, err := pref64.From(netip.PrefixFrom(netip.AddrFrom16(prefix), pref64.Lengths[i%6]).Masked())
		if err != nil {
			t.Fatal(err)
		}
		m := table(t, Spec{PREF64: []pref64.Prefix{p}, Ours: []Mapping{{
			IPv4: netip.PrefixFrom(netip.AddrFrom4(own4), 32), IPv6: netip.PrefixFrom(netip.AddrFrom16(own6), 128)}}})
		var six Pair6
		var four Pair4
		if reason := m.To6(&six, own4, remote, false); reason != clat.DropNone {
			t.Fatal(reason)
		}
		if reason := m.To4(&four, &six.Dst, &six.Src, false); reason != clat.DropNone {
			t.Fatal(reason)
		}
		before, after := sum(own4[:], remote[:]), sum(six.Src[:], six.Dst[:])
		if (before+uint32(six.Delta))%0xffff != after || (after+uint32(four.Delta))%0xffff != before {
			t.Fatalf("RFC 7915, 4.5: %v behind %v: %#x and %#x, sums %#x and %#x", remote, p, six.Delta, four.Delta, before, after)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	for name, s := range map[string]Spec{
		"host": hostSpec(), "clients": clientsSpec("2001:db8:c::/64"), "elsewhere": here(elsewhereSpec("172.17.0.0/16", "8.0.0.0/8"), "8.8.8.8/32"),
		"pairs": pairsSpec(), "pairs with a mapping": walked(pairsSpec()), "apart": apartSpec(),
		"maps": {Ours: hostSpec().Ours, Map: eamt(), PREF64: prefixes("64:ff9b::/96"), RejectNonGlobal: true},
	} {
		m := table(t, s)
		var six Pair6
		var four Pair4
		last := s.Ours[len(s.Ours)-1].IPv4
		src := last.Addr().Next().As4()
		if last.IsSingleIP() {
			src = last.Addr().As4()
		}
		dst := a4("8.8.8.8")
		if n := testing.AllocsPerRun(100, func() {
			if reason := m.To6(&six, src, dst, false); reason != clat.DropNone {
				t.Fatal(reason)
			}
			if reason := m.To4(&four, &six.Dst, &six.Src, false); reason != clat.DropNone {
				t.Fatal(reason)
			}
			_ = m.Dst4(&four.Dst, &six.Dst, &six.Src)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	t.Run("router", func(t *testing.T) {
		m := table(t, routerSpec())
		var six Pair6
		var four Pair4
		src, dst := a6("2001:db8:aaaa::"), a6("64:ff9b::192.0.2.2")
		if n := testing.AllocsPerRun(100, func() {
			if reason := m.To4(&four, &src, &dst, false); reason != clat.DropNone || !four.Hairpin {
				t.Fatal(reason)
			}
			if reason := m.Hairpin6(&six, four.Src, four.Dst, false); reason != clat.DropNone {
				t.Fatal(reason)
			}
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func BenchmarkTable(b *testing.B) {
	for _, c := range []struct {
		name string
		spec Spec
		src  string
	}{
		{"host", hostSpec(), "192.0.0.2"}, {"elsewhere", elsewhereSpec("172.17.0.0/16", "10.0.0.0/8"), "192.0.0.2"},
		{"clients", clientsSpec("2001:db8:c::/64"), "100.64.1.2"}, {"router", routerSpec(), "192.0.2.1"},
		{"apart", apartSpec(), "100.64.46.7"}, {"pairs", pairsSpec(), "100.64.46.7"},
	} {
		m := table(b, c.spec)
		src := a4(c.src)
		var six Pair6
		var four Pair4
		b.Run(fmt.Sprintf("To6/%s", c.name), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.To6(&six, src, [4]byte{8, 8, 8, 8}, false)
			}
		})
		m.To6(&six, src, [4]byte{8, 8, 8, 8}, false)
		b.Run(fmt.Sprintf("To4/%s", c.name), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.To4(&four, &six.Dst, &six.Src, false)
			}
		})
	}
}
