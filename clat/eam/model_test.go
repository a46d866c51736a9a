package eam

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"uclat/clat"
	"uclat/clat/pref64"
)

// model is a Table as it would be written without a thought for speed: lists, walked from end to end, and bits, one at a time.
type model struct {
	Spec
	all  []Mapping
	ours []bool
}

func newModel(s Spec) *model {
	m := &model{Spec: s, all: slices.Concat(s.Ours, s.Map)}
	for i, x := range m.all {
		// A mapping of one of our clients is ours, wherever it stands.
		m.ours = append(m.ours, i < len(s.Ours) || slices.ContainsFunc(s.Ours, func(o Mapping) bool {
			return o.IPv4.Contains(x.IPv4.Addr()) && o.IPv4.Bits() <= x.IPv4.Bits()
		}))
	}
	return m
}

// find is the longest match, -1: none. Of several with the same IPv6 prefix it is the one whose PREF64 the other end is behind, or else the
// first.
func (m *model) find(a, other netip.Addr) int {
	best, bits := -1, -1
	for i, x := range m.all {
		p := x.IPv4
		if a.Is6() {
			p = x.IPv6
		}
		if p.Contains(a) && (p.Bits() > bits || p.Bits() == bits && m.prefix(i) == m.extracts(other)) {
			best, bits = i, p.Bits()
		}
	}
	if best >= 0 && a.Is6() && m.all[best].Embed && !m.all[best].IPv4.Contains(from(m.all[best], a)) {
		return -1
	}
	return best
}

// to is the IPv6 address that stands for a by x, from the IPv4 address for which a stands.
func to(x Mapping, a netip.Addr) netip.Addr {
	v4, v6 := a.As4(), x.IPv6.Addr().As16()
	where, first := bitsBehind(x)
	for i := first; i < 32; i++ {
		if at := where[i]; v4[i/8]>>(7-i%8)&1 != 0 {
			v6[at/8] |= 1 << (7 - at%8)
		}
	}
	return netip.AddrFrom16(v6)
}

func from(x Mapping, a netip.Addr) netip.Addr {
	v4, v6 := x.IPv4.Addr().As4(), a.As16()
	if x.Embed {
		v4 = [4]byte{}
		if x.IPv6.Bits() < 96 && v6[8] != 0 {
			return netip.Addr{}
		}
	}
	where, first := bitsBehind(x)
	for i := first; i < 32; i++ {
		if at := where[i]; v6[at/8]>>(7-at%8)&1 != 0 {
			v4[i/8] |= 1 << (7 - i%8)
		}
	}
	return netip.AddrFrom4(v4)
}

// bitsBehind is where bits of the IPv4 address stand in the IPv6 address, from the first that does (RFC 7757, 3.3; RFC 6052, 2.2).
func bitsBehind(x Mapping) (where [32]int, first int) {
	at := x.IPv6.Bits()
	if !x.Embed {
		first = x.IPv4.Bits()
	}
	for i := first; i < 32; i++ {
		if x.Embed && at == 64 && x.IPv6.Bits() < 96 {
			at += 8
		}
		where[i] = at
		at++
	}
	return where, first
}

// behind is the mapping that a PREF64 is.
func behind(p pref64.Prefix) Mapping {
	return Mapping{IPv4: netip.MustParsePrefix("0.0.0.0/0"), IPv6: p.Prefix(), Embed: true}
}

// prefix is the PREF64 of the mapping i, which one of our clients has from the longest of ours; zero: there is none.
func (m *model) prefix(i int) (p pref64.Prefix) {
	bits := -1
	for _, o := range m.Ours {
		if x := m.all[i].IPv4; o.IPv4.Contains(x.Addr()) && o.IPv4.Bits() <= x.Bits() && o.IPv4.Bits() > bits {
			p, bits = o.PREF64, o.IPv4.Bits()
		}
	}
	if !p.IsValid() && len(m.PREF64) > 0 {
		p = m.PREF64[0]
	}
	return p
}

// extracts is the longest PREF64 behind which a is; zero: none is such.
func (m *model) extracts(a netip.Addr) (best pref64.Prefix) {
	for _, p := range m.PREF64 {
		if x := behind(p); a.Is6() && x.IPv6.Contains(a) && p.Bits() > best.Bits() && from(x, a).IsValid() {
			best = p
		}
	}
	return best
}

// counterpart is the address of the other family of a, in a packet whose other end is end, and whether it is by a mapping, and one of ours.
func (m *model) counterpart(a, end netip.Addr) (other netip.Addr, mapped, ours bool) {
	if i := m.find(a, end); i >= 0 {
		if a.Is4() {
			return to(m.all[i], a), true, m.ours[i]
		}
		return from(m.all[i], a), true, m.ours[i]
	}
	if a.Is6() {
		if p := m.extracts(a); p.IsValid() {
			other = from(behind(p), a)
		}
		return other, false, false
	}
	if i := m.find(end, a); i >= 0 && m.ours[i] {
		if p := m.prefix(i); p.IsValid() {
			other = to(behind(p), a)
		}
	} else if len(m.PREF64) > 0 {
		other = to(behind(m.PREF64[0]), a)
	}
	return other, false, false
}

// check holds what a lookup said of a packet against the model. src and dst are its addresses, gotSrc and gotDst what they became.
func (m *model) check(t *testing.T, reason clat.DropReason, src, dst, gotSrc, gotDst netip.Addr, embedded bool) {
	if m.Role == Router {
		if why := m.routerRefuses(src, dst, embedded); (why == "") != (reason == clat.DropNone) {
			t.Fatalf("%v to %v, embedded %v: %v, but the model says %q\n%+v", src, dst, embedded, reason, why, m.Spec)
		}
	}
	if got, want := reason == clat.DropLocalSource, m.isElsewhere(src, dst, embedded); got && !want || want && reason == clat.DropNone {
		t.Fatalf("%v to %v, embedded %v: %v\n%+v", src, dst, embedded, reason, m.Spec)
	}
	switch reason {
	case clat.DropNone:
	case clat.DropLocalSource, clat.DropSource, clat.DropMulticast, clat.DropNoMapping, clat.DropNonGlobal, clat.DropSpoofed, clat.DropHairpin:
		return
	default:
		t.Fatalf("%v to %v, embedded %v: dropped for %v", src, dst, embedded, reason)
	}
	fail := func(what string) {
		t.Fatalf("%v to %v, embedded %v, became %v to %v: %s\n%+v", src, dst, embedded, gotSrc, gotDst, what, m.Spec)
	}
	wantSrc, mappedSrc, oursSrc := m.counterpart(src, dst)
	wantDst, mappedDst, oursDst := m.counterpart(dst, src)
	if gotSrc != wantSrc || gotDst != wantDst {
		fail(fmt.Sprintf("want %v to %v", wantSrc, wantDst))
	}
	if m.Role == Router {
		return
	}
	// One end is of those for whom we translate: the source of what a CLAT takes from IPv4, or a PLAT from IPv6; in a quote the other end.
	client, client4, clientMapped, remote4, remoteOurs, remoteMapped := src, wantSrc, mappedSrc, wantDst, oursDst, mappedDst
	clientIsSource := src.Is4() == ((m.Role == PLAT) == embedded)
	if !clientIsSource {
		client, client4, clientMapped, remote4, remoteOurs, remoteMapped = dst, wantDst, mappedDst, wantSrc, oursSrc, mappedSrc
	}
	if src.Is4() {
		client4, remote4 = client, dst
		if !clientIsSource {
			remote4 = src
		}
	}
	switch {
	case !clientMapped:
		fail("a client without a mapping")
	case remoteOurs:
		fail("both ends are ours")
	case m.Self4.IsValid() && !m.Self4.IsUnspecified() && (client4 == m.Self4 || remote4 == m.Self4):
		fail("one end is the translator itself")
	case dst.IsMulticast() || dst == netip.MustParseAddr("255.255.255.255"):
		fail("to a group")
	case m.RejectNonGlobal && !remoteMapped && isWellKnown(m.PREF64, src, dst, gotSrc, gotDst) && nonGlobal(remote4.As4()):
		fail("non-global behind 64:ff9b::/96")
	case embedded:
	case src.IsMulticast() || src.IsUnspecified() || src.IsLoopback() || src.Is6() && src.IsLinkLocalUnicast():
		fail("illegal source")
	case !remoteMapped && neverRemote(remote4.As4()):
		fail("no remote host has this address")
	}
}

// isWellKnown is whether one of the IPv6 addresses is behind 64:ff9b::/96, and one of the prefixes is that.
func isWellKnown(all []pref64.Prefix, addresses ...netip.Addr) bool {
	return slices.Contains(all, pref64.WellKnown) && slices.ContainsFunc(addresses, func(a netip.Addr) bool {
		return pref64.WellKnown.Prefix().Contains(a)
	})
}

// to6 looks a packet up, and then what answers it, and what quotes it.
func (m *model) to6(t *testing.T, table *Table, src, dst netip.Addr, embedded bool) {
	var six Pair6
	reason := table.To6(&six, src.As4(), dst.As4(), embedded)
	src6, dst6 := netip.AddrFrom16(six.Src), netip.AddrFrom16(six.Dst)
	m.check(t, reason, src, dst, src6, dst6, embedded)
	if reason != clat.DropNone {
		return
	}
	checkDelta(t, six.Delta, append(src.AsSlice(), dst.AsSlice()...), append(src6.AsSlice(), dst6.AsSlice()...))
	// Where the longest match of the way back is another, it leads elsewhere (RFC 7757, 3.3).
	back1, _, _ := m.counterpart(dst6, src6)
	back2, _, _ := m.counterpart(src6, dst6)
	var four Pair4
	answer := table.To4(&four, &six.Dst, &six.Src, embedded)
	if answer == clat.DropNone && back1 == dst && back2 == src && (netip.AddrFrom4(four.Src) != dst || netip.AddrFrom4(four.Dst) != src) {
		t.Fatalf("%v to %v comes back as %v to %v", src, dst, four.Dst, four.Src)
	}
	if !embedded {
		var quoted Pair6
		if reason := table.To6(&quoted, dst.As4(), src.As4(), true); reason != clat.DropNone || quoted.Src != six.Dst || quoted.Dst != six.Src {
			t.Fatalf("%v to %v passes, but not its answer when an error quotes it: %v", src, dst, reason)
		}
	}
}

func (m *model) to4(t *testing.T, table *Table, src, dst netip.Addr, embedded bool) {
	a, b := src.As16(), dst.As16()
	var four Pair4
	reason := table.To4(&four, &a, &b, embedded)
	src4, dst4 := netip.AddrFrom4(four.Src), netip.AddrFrom4(four.Dst)
	m.check(t, reason, src, dst, src4, dst4, embedded)
	var v4 [4]byte
	other := table.Dst4(&v4, &a, &b)
	if reason != clat.DropNone {
		if reason == clat.DropMulticast && !embedded && other != clat.DropMulticast {
			t.Fatalf("%v to %v: %v, and as an error of a router %v", src, dst, reason, other)
		}
		return
	}
	checkDelta(t, four.Delta, append(src.AsSlice(), dst.AsSlice()...), append(src4.AsSlice(), dst4.AsSlice()...))
	m.checkHairpin(t, table, four, src, dst, embedded)
	if !embedded {
		if other != clat.DropNone || v4 != four.Dst {
			t.Fatalf("%v to %v becomes %v to %v, but for a router the destination is %v, %v", src, dst, src4, dst4, v4, other)
		}
		var quoted Pair4
		if reason := table.To4(&quoted, &b, &a, true); reason != clat.DropNone || quoted.Src != four.Dst || quoted.Dst != four.Src {
			t.Fatalf("%v to %v passes, but not its answer when an error quotes it: %v", src, dst, reason)
		}
	}
}

// checkDelta: the difference brings the sum of the old addresses to that of the new ones.
func checkDelta(t *testing.T, delta uint16, before, after []byte) {
	sum := func(b []byte) (s uint32) {
		for i := 0; i < len(b); i += 2 {
			s += uint32(b[i])<<8 | uint32(b[i+1])
		}
		return s % 0xffff
	}
	if (sum(before)+uint32(delta))%0xffff != sum(after) {
		t.Fatalf("difference %#04x from %x to %x", delta, before, after)
	}
}

// random makes octets.
type random struct{ *rand.Rand }

func (r random) octets(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// lookups looks packets of each mapping up, to and from random hosts.
func (m *model) lookups(t *testing.T, table *Table, r random) {
	for _, e := range m.all {
		c4, r4, c6 := within(e.IPv4, r.octets(4)), netip.AddrFrom4([4]byte(r.octets(4))), within(e.IPv6, r.octets(16))
		r6 := netip.AddrFrom16([16]byte(r.octets(16)))
		d6 := r6
		if n := len(m.PREF64); n > 0 {
			i := r.IntN(n)
			r6, d6 = within(m.PREF64[i].Prefix(), r.octets(16)), to(behind(m.PREF64[i]), c4)
		}
		for _, embedded := range []bool{false, true} {
			m.to6(t, table, c4, r4, embedded)
			m.to6(t, table, r4, c4, embedded)
			m.to4(t, table, c6, r6, embedded)
			m.to4(t, table, r6, c6, embedded)
			m.to4(t, table, c6, d6, embedded)
			m.to4(t, table, d6, c6, embedded)
		}
	}
}

// TestModel holds tables of random mappings against the model.
func TestModel(t *testing.T) {
	r := random{rand.New(rand.NewPCG(7757, 6052))}
	tables := 0
	for range 3000 {
		spec := bytes.Join([][]byte{{byte(r.Uint32()), 1 | byte(r.Uint32())&0x3d}, r.octets(400)}, nil)
		s := supply(spec)
		x := s.spec()
		m, err := New(x)
		if err != nil {
			continue
		}
		tables++
		newModel(x).lookups(t, m, r)
	}
	if tables < 100 {
		t.Errorf("only %d tables", tables)
	}
}

// TestModelOfPairs does the same with a few hosts, which have PREF64 of their own, some of them within others, and some share an IPv6 address.
func TestModelOfPairs(t *testing.T) {
	r := random{rand.New(rand.NewPCG(9872, 6052))}
	all := prefixes("2001:db8::/32", "2001:db8:a00::/40", "2001:db8:a01::/96", "64:ff9b::/96", "3fff:64::/64", "3fff:64::/96", "3fff:64::/48")
	shared := 0
	for range 3000 {
		x := Spec{Self4: netip.MustParseAddr("100.64.46.5"), RejectNonGlobal: r.IntN(2) == 0}
		for _, i := range r.Perm(len(all))[:1+r.IntN(4)] {
			x.PREF64 = append(x.PREF64, all[i])
		}
		for _, i := range r.Perm(10)[:1+r.IntN(4)] {
			o := pair(fmt.Sprintf("100.64.46.%d/32", i), fmt.Sprintf("3fff:1::%d/128", r.IntN(3)+1), false)
			if r.IntN(4) > 0 {
				o.PREF64 = x.PREF64[r.IntN(len(x.PREF64))]
			}
			x.Ours = append(x.Ours, o)
		}
		if r.IntN(4) == 0 {
			x.Map = []Mapping{pair("203.0.113.0/24", "3fff:2::/120", false), pair("198.51.100.7/32", "3fff:64::7/128", false)}
		}
		m, err := New(x)
		if err != nil {
			continue
		}
		w := newModel(x)
		w.lookups(t, m, r)
		for _, o := range x.Ours {
			for _, v4 := range []netip.Addr{netip.AddrFrom4([4]byte(r.octets(4))), netip.MustParseAddr("203.0.113.9"), x.Ours[0].IPv4.Addr()} {
				w.to6(t, m, o.IPv4.Addr(), v4, false)
				w.to6(t, m, v4, o.IPv4.Addr(), true)
			}
			for _, v6 := range []netip.Addr{netip.MustParseAddr("3fff:2::9"), netip.MustParseAddr("3fff:64::7"), netip.MustParseAddr("2001:db8:a01::808:808")} {
				w.to4(t, m, v6, o.IPv6.Addr(), false)
				w.to4(t, m, o.IPv6.Addr(), v6, true)
			}
		}
		for i := range x.Ours {
			if slices.ContainsFunc(x.Ours[:i], func(o Mapping) bool { return o.IPv6 == x.Ours[i].IPv6 }) {
				shared++
			}
		}
	}
	if shared < 100 {
		t.Errorf("only %d hosts share an address", shared)
	}
}
