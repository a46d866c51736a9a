package eam

import (
	"net/netip"
	"testing"

	"uclat/clat"
)

// routerSpec is a Router with two mapped hosts, a mapped network, and a mapping within its prefix (RFC 7757, 3.1, figure 1).
func routerSpec() Spec {
	return Spec{Role: Router, Map: eamt(), PREF64: prefixes("64:ff9b::/96"), Self4: netip.MustParseAddr("203.0.113.1")}
}

// end is an address as one end of a packet through a Router.
type end struct {
	name string
	a, b string // in the family that comes in, and in the other; empty: none
	src  clat.DropReason
	dst  clat.DropReason
	// In a quote, where not what is above.
	quotedSrc, quotedDst clat.DropReason
	detour               bool // it has a mapping, but is behind the prefix
}

const none = clat.DropNone

var ends4 = []end{
	{name: "mapped", a: "192.0.2.1", b: "2001:db8:aaaa::"},
	{name: "of a mapped network", a: "192.0.2.130", b: "2001:db8:dddd:0:800::"},
	{name: "mapped into the prefix", a: "192.0.2.225", b: "64:ff9b::1"},
	{name: "by the prefix", a: "198.51.100.5", b: "64:ff9b::c633:6405"},
	{name: "private", a: "10.0.0.1", b: "64:ff9b::a00:1"},
	{name: "self", a: "203.0.113.1", src: clat.DropSource, dst: clat.DropHairpin, quotedSrc: clat.DropSource, quotedDst: clat.DropHairpin},
	{name: "this network", a: "0.0.0.1", b: "64:ff9b::1", src: clat.DropSource, dst: clat.DropNoMapping},
	{name: "loopback", a: "127.0.0.1", b: "64:ff9b::7f00:1", src: clat.DropSource, dst: clat.DropNoMapping},
	{name: "link-local", a: "169.254.0.1", b: "64:ff9b::a9fe:1", src: clat.DropSource, dst: clat.DropNoMapping},
	{name: "within a host", a: "192.0.0.2", b: "64:ff9b::c000:2", src: clat.DropSource, dst: clat.DropNoMapping},
	{name: "a group", a: "224.0.0.1", b: "64:ff9b::e000:1", src: clat.DropSource, dst: clat.DropMulticast, quotedDst: clat.DropMulticast},
	{name: "all", a: "255.255.255.255", b: "64:ff9b::ffff:ffff", src: clat.DropSource, dst: clat.DropMulticast, quotedDst: clat.DropMulticast},
	{name: "reserved", a: "240.0.0.1", b: "64:ff9b::f000:1", src: clat.DropSource, dst: clat.DropNoMapping},
}

var ends6 = []end{
	{name: "mapped", a: "2001:db8:aaaa::", b: "192.0.2.1"},
	{name: "of a mapped network", a: "2001:db8:dddd:0:800::", b: "192.0.2.130"},
	{name: "mapped within the prefix", a: "64:ff9b::1", b: "192.0.2.225"},
	{name: "by the prefix", a: "64:ff9b::c633:6405", b: "198.51.100.5"},
	{name: "private", a: "64:ff9b::a00:1", b: "10.0.0.1"},
	{name: "detour", a: "64:ff9b::c000:201", b: "192.0.2.1", src: clat.DropSpoofed, detour: true},
	{name: "detour to a network", a: "64:ff9b::c000:282", b: "192.0.2.130", src: clat.DropSpoofed, detour: true},
	{name: "native", a: "2001:db8::1", src: clat.DropNoMapping, dst: clat.DropNoMapping, quotedSrc: clat.DropNoMapping, quotedDst: clat.DropNoMapping},
	{name: "self", a: "64:ff9b::203.0.113.1", src: clat.DropSpoofed, dst: clat.DropHairpin, quotedSrc: clat.DropSpoofed, quotedDst: clat.DropHairpin},
	{name: "loopback behind the prefix", a: "64:ff9b::127.0.0.1", b: "127.0.0.1", src: clat.DropSpoofed, dst: clat.DropNoMapping},
	{name: "link-local behind the prefix", a: "64:ff9b::169.254.0.1", b: "169.254.0.1", src: clat.DropSpoofed, dst: clat.DropNoMapping},
	{name: "within a host behind the prefix", a: "64:ff9b::192.0.0.2", b: "192.0.0.2", src: clat.DropSpoofed, dst: clat.DropNoMapping},
	{name: "a group behind the prefix", a: "64:ff9b::224.0.0.1", b: "224.0.0.1", src: clat.DropSpoofed, dst: clat.DropMulticast},
	{name: "a group", a: "ff0e::1", src: clat.DropSource, dst: clat.DropMulticast, quotedSrc: clat.DropNoMapping, quotedDst: clat.DropMulticast},
	{name: "unspecified", a: "::", src: clat.DropSource, dst: clat.DropNoMapping, quotedSrc: clat.DropNoMapping, quotedDst: clat.DropNoMapping},
	{name: "loopback", a: "::1", src: clat.DropSource, dst: clat.DropNoMapping, quotedSrc: clat.DropNoMapping, quotedDst: clat.DropNoMapping},
	{name: "link-local", a: "fe80::1", src: clat.DropSource, dst: clat.DropNoMapping, quotedSrc: clat.DropNoMapping, quotedDst: clat.DropNoMapping},
}

// want is what becomes of a pair: a group is before all else, then the source.
func want(src, dst end, embedded bool) clat.DropReason {
	from, to := src.src, dst.dst
	if embedded {
		from, to = src.quotedSrc, dst.quotedDst
	}
	if dst.name == "a group" || dst.name == "all" {
		return clat.DropMulticast
	}
	if from != none {
		return from
	}
	return to
}

func TestRouter46(t *testing.T) {
	m := table(t, routerSpec())
	for _, src := range ends4 {
		for _, dst := range ends4 {
			for _, embedded := range []bool{false, true} {
				var p Pair6
				got := m.To6(&p, a4(src.a), a4(dst.a), embedded)
				if got != want(src, dst, embedded) || got == none && (p.Src != a6(src.b) || p.Dst != a6(dst.b)) {
					t.Errorf("RFC 7757, 3.3: %s to %s, embedded %v: %v, %v to %v, want %v", src.name, dst.name, embedded, got,
						netip.AddrFrom16(p.Src), netip.AddrFrom16(p.Dst), want(src, dst, embedded))
				}
			}
		}
	}
}

func TestRouter64(t *testing.T) {
	m := table(t, routerSpec())
	for _, src := range ends6 {
		for _, dst := range ends6 {
			for _, embedded := range []bool{false, true} {
				p := Pair4{Hairpin: true} // of the last packet
				from, to := a6(src.a), a6(dst.a)
				got := m.To4(&p, &from, &to, embedded)
				turns := dst.detour && !embedded || src.detour && embedded
				if got != want(src, dst, embedded) || got == none && (p.Src != a4(src.b) || p.Dst != a4(dst.b) || p.Hairpin != turns) {
					t.Errorf("RFC 7757, 3.3: %s to %s, embedded %v: %v, %v to %v, hairpin %v, want %v, %v", src.name, dst.name, embedded, got,
						netip.AddrFrom4(p.Src), netip.AddrFrom4(p.Dst), p.Hairpin, want(src, dst, embedded), turns)
				}
			}
		}
	}
}

func TestHairpin6(t *testing.T) {
	several := routerSpec()
	several.PREF64 = prefixes("2001:db8:64::/48", "64:ff9b::/96")
	plain, reject := routerSpec(), routerSpec()
	reject.RejectNonGlobal = true
	reject.Map = append(reject.Map, pair("9.9.9.9/32", "2001:db8:9::9/128", false))
	for _, c := range []struct {
		name             string
		spec             Spec
		src, dst         string
		embedded         bool
		wantSrc, wantDst string
		reason           clat.DropReason
	}{
		{name: "a packet", spec: plain, src: "192.0.2.1", dst: "192.0.2.2", wantSrc: "64:ff9b::192.0.2.1", wantDst: "2001:db8:bbbb::b"},
		{name: "a quote", spec: plain, src: "192.0.2.1", dst: "192.0.2.2", embedded: true, wantSrc: "2001:db8:aaaa::", wantDst: "64:ff9b::192.0.2.2"},
		{name: "of a network", spec: plain, src: "192.0.2.131", dst: "192.0.2.130", wantSrc: "64:ff9b::192.0.2.131", wantDst: "2001:db8:dddd:0:800::"},
		{name: "to itself", spec: plain, src: "192.0.2.1", dst: "192.0.2.1", wantSrc: "64:ff9b::192.0.2.1", wantDst: "2001:db8:aaaa::"},
		{name: "from a host without a mapping", spec: plain, src: "9.9.9.9", dst: "192.0.2.1", wantSrc: "64:ff9b::9.9.9.9", wantDst: "2001:db8:aaaa::"},
		{name: "to a host without a mapping", spec: plain, src: "203.0.113.1", dst: "9.9.9.9", wantSrc: "64:ff9b::203.0.113.1", wantDst: "64:ff9b::9.9.9.9"},
		{name: "by the first of several prefixes", spec: several, src: "192.0.2.1", dst: "192.0.2.2", wantSrc: "2001:db8:64:c000:2:100::", wantDst: "2001:db8:bbbb::b"},
		{name: "RFC 6052, 3.1", spec: reject, src: "192.0.2.1", dst: "9.9.9.9", reason: clat.DropNonGlobal},
		{name: "RFC 6052, 3.1, a quote", spec: reject, src: "9.9.9.9", dst: "192.0.2.1", embedded: true, reason: clat.DropNonGlobal},
		{name: "RFC 6052, 3.1, only what is behind the prefix", spec: reject, src: "9.9.9.9", dst: "192.0.2.1", wantSrc: "64:ff9b::9.9.9.9", wantDst: "2001:db8:aaaa::"},
	} {
		t.Run("RFC 7757, 4.2.2/"+c.name, func(t *testing.T) {
			var p Pair6
			reason := table(t, c.spec).Hairpin6(&p, a4(c.src), a4(c.dst), c.embedded)
			if reason != c.reason {
				t.Fatal(reason)
			}
			if reason != none {
				return
			}
			if p.Src != a6(c.wantSrc) || p.Dst != a6(c.wantDst) {
				t.Errorf("%v to %v", netip.AddrFrom16(p.Src), netip.AddrFrom16(p.Dst))
			}
			src, dst := a4(c.src), a4(c.dst)
			checkDelta(t, p.Delta, append(src[:], dst[:]...), append(p.Src[:], p.Dst[:]...))
		})
	}
}

// There and back: what a hairpin makes of a packet is what its answer is translated to, turned round.
func TestHairpinAnswer(t *testing.T) {
	m := table(t, routerSpec())
	alice, bob, there, back := a6("2001:db8:aaaa::"), a6("2001:db8:bbbb::b"), a6("64:ff9b::192.0.2.2"), a6("64:ff9b::192.0.2.1")
	for _, embedded := range []bool{false, true} {
		var four Pair4
		var six Pair6
		src, dst := &alice, &there
		if embedded {
			src, dst = &back, &bob
		}
		if reason := m.To4(&four, src, dst, embedded); reason != none || !four.Hairpin {
			t.Fatalf("RFC 7757, 4.2.2: %v, hairpin %v", reason, four.Hairpin)
		}
		if reason := m.Hairpin6(&six, four.Src, four.Dst, embedded); reason != none {
			t.Fatal(reason)
		}
		want := [2][16]byte{back, bob}
		if embedded {
			want = [2][16]byte{alice, there}
		}
		if got := [2][16]byte{six.Src, six.Dst}; got != want {
			t.Errorf("RFC 7757, 4.2.2: embedded %v: %v", embedded, got)
		}
	}
}

// A mapping wins over what is said of addresses in general.
func TestRouterMappingWins(t *testing.T) {
	s := routerSpec()
	s.Map = append(s.Map, pair("192.0.0.2/32", "2001:db8:2::2/128", false))
	m := table(t, s)
	var four Pair4
	src, dst := a6("2001:db8:aaaa::"), a6("64:ff9b::192.0.0.2")
	if reason := m.To4(&four, &src, &dst, false); reason != none || !four.Hairpin || four.Dst != a4("192.0.0.2") {
		t.Errorf("RFC 7757, 4.2.2: %v, %+v", reason, four)
	}
	src = a6("2001:db8:2::2")
	if reason := m.To4(&four, &src, &dst, false); reason != none || four.Src != a4("192.0.0.2") {
		t.Errorf("RFC 7757, 3.3: %v, %+v", reason, four)
	}
}

// A Router has none of its own: what is given as ours is mapped as all others are, and may lie behind the prefix.
func TestRouterHasNoHostsOfItsOwn(t *testing.T) {
	of := func(s Spec) *Table { s.Role = Router; return table(t, s) }
	inside := pair("192.0.2.1/32", "64:ff9b::1/128", false)
	for name, m := range map[string]*Table{
		"one host": of(hostSpec()), "a network": of(clientsSpec("2001:db8:c::/64")),
		"behind the prefix": of(Spec{Ours: []Mapping{inside}, PREF64: prefixes("64:ff9b::/96")}),
	} {
		t.Run("RFC 7757, 3/"+name, func(t *testing.T) {
			var six Pair6
			if reason := m.To6(&six, a4("8.8.8.8"), a4("9.9.9.9"), false); reason != none {
				t.Errorf("between two others: %v", reason)
			}
			if reason := m.To6(&six, a4("8.8.8.8"), a4("8.8.4.4"), true); reason != none {
				t.Errorf("a quote between two others: %v", reason)
			}
		})
	}
	for name, s := range map[string]Spec{"CLAT": hostSpec(), "PLAT": {Role: PLAT, Ours: hostSpec().Ours, PREF64: hostSpec().PREF64}} {
		t.Run("RFC 7757, 4/"+name+" has no hairpins", func(t *testing.T) {
			s.Map = eamt()
			m := table(t, s)
			for _, src := range ends6 {
				for _, dst := range ends6 {
					for _, embedded := range []bool{false, true} {
						p := Pair4{Hairpin: true}
						from, to := a6(src.a), a6(dst.a)
						if reason := m.To4(&p, &from, &to, embedded); reason == none && p.Hairpin {
							t.Errorf("%s to %s, embedded %v", src.name, dst.name, embedded)
						}
					}
				}
			}
		})
	}
	t.Run("RFC 7915, 5.6/without a prefix", func(t *testing.T) {
		m := table(t, Spec{Role: Router, Map: eamt()})
		var six Pair6
		if reason := m.To6(&six, a4("192.0.2.1"), a4("192.0.2.2"), false); reason != none {
			t.Error(reason)
		}
		if reason := m.To6(&six, a4("192.0.2.1"), a4("8.8.8.8"), false); reason != clat.DropNoMapping {
			t.Error(reason)
		}
		if reason := m.Hairpin6(&six, a4("192.0.2.1"), a4("192.0.2.2"), false); reason != clat.DropNoMapping {
			t.Error(reason)
		}
	})
}

// An error of a router without an IPv4 address, in whatever way its destination is written.
func TestRouterDst4(t *testing.T) {
	m := table(t, routerSpec())
	for _, c := range []struct {
		dst, want string
		reason    clat.DropReason
	}{
		{"2001:db8:aaaa::", "192.0.2.1", none}, {"64:ff9b::192.0.2.1", "192.0.2.1", none}, {"64:ff9b::8.8.8.8", "8.8.8.8", none},
		{"64:ff9b::203.0.113.1", "", clat.DropHairpin}, {"2001:db8::1", "", clat.DropNoMapping}, {"64:ff9b::127.0.0.1", "", clat.DropNoMapping},
	} {
		t.Run("RFC 7915, 5.2/"+c.dst, func(t *testing.T) {
			var v4 [4]byte
			src, dst := a6("2001:db8:ffff::1"), a6(c.dst)
			if got := m.Dst4(&v4, &src, &dst); got != c.reason || got == none && v4 != a4(c.want) {
				t.Errorf("%v, %v", got, v4)
			}
		})
	}
}
