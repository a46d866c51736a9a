package eam

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"uclat/clat"
	"uclat/clat/pref64"
)

// supply hands out the octets of a fuzzer's input, and zeros behind its end.
type supply []byte

func (s *supply) octets(n int) []byte {
	out := make([]byte, n)
	*s = (*s)[copy(out, *s):]
	return out
}

func (s *supply) octet() int { return int(s.octets(1)[0]) }

// prefix is one of either family; bits it has behind its length are cut.
func (s *supply) prefix(size int) netip.Prefix {
	a, _ := netip.AddrFromSlice(s.octets(size))
	return netip.PrefixFrom(a, s.octet()%(size*8+1)).Masked()
}

// spec is what a Table is made of, as the octets say.
func (s *supply) spec() (spec Spec) {
	flags, counts := s.octet(), s.octet()
	spec.RejectNonGlobal = flags&2 != 0
	switch flags & 9 {
	case 1:
		spec.Role = PLAT
	case 8, 9:
		spec.Role = Router
	}
	if flags&4 != 0 {
		spec.Self4 = netip.AddrFrom4([4]byte(s.octets(4)))
	}
	mapping := func() Mapping {
		return Mapping{IPv4: s.prefix(4), IPv6: s.prefix(16), Embed: s.octet()&1 != 0}
	}
	for range counts & 3 {
		spec.Ours = append(spec.Ours, mapping())
	}
	for range counts >> 2 & 3 {
		spec.Map = append(spec.Map, mapping())
	}
	for range counts >> 4 & 3 {
		a := netip.AddrFrom16([16]byte(s.octets(16)))
		p, err := pref64.From(netip.PrefixFrom(a, pref64.Lengths[s.octet()%len(pref64.Lengths)]).Masked())
		if err == nil {
			spec.PREF64 = append(spec.PREF64, p)
		}
	}
	for range flags >> 4 & 3 {
		spec.Elsewhere = append(spec.Elsewhere, s.prefix(4))
	}
	for range flags >> 6 & 3 {
		spec.Here = append(spec.Here, s.prefix(4))
	}
	return spec
}

// write is the octets of which supply.spec makes the Spec again.
func write(s Spec) (b []byte) {
	flags := byte(0)
	for i, is := range []bool{s.Role == PLAT, s.RejectNonGlobal, s.Self4.IsValid(), s.Role == Router} {
		if is {
			flags |= 1 << i
		}
	}
	b = append(b, flags|byte(len(s.Elsewhere)<<4|len(s.Here)<<6), byte(len(s.Ours)|len(s.Map)<<2|len(s.PREF64)<<4))
	b = append(b, s.Self4.AsSlice()...)
	for _, m := range slices.Concat(s.Ours, s.Map) {
		embed := byte(0)
		if m.Embed {
			embed = 1
		}
		b = append(append(b, m.IPv4.Addr().AsSlice()...), byte(m.IPv4.Bits()))
		b = append(append(b, m.IPv6.Addr().AsSlice()...), byte(m.IPv6.Bits()), embed)
	}
	for _, p := range s.PREF64 {
		b = append(append(b, p.Prefix().Addr().AsSlice()...), byte(slices.Index(pref64.Lengths[:], p.Bits())))
	}
	for _, p := range slices.Concat(s.Elsewhere, s.Here) {
		b = append(append(b, p.Addr().AsSlice()...), byte(p.Bits()))
	}
	return b
}

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

// find is the longest match, -1: none.
func (m *model) find(a netip.Addr) int {
	best, bits := -1, -1
	for i, x := range m.all {
		p := x.IPv4
		if a.Is6() {
			p = x.IPv6
		}
		if p.Contains(a) && p.Bits() > bits {
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

// counterpart is the address of the other family, and whether it is by a mapping, and one of ours.
func (m *model) counterpart(a netip.Addr) (other netip.Addr, mapped, ours bool) {
	if i := m.find(a); i >= 0 {
		if a.Is4() {
			return to(m.all[i], a), true, m.ours[i]
		}
		return from(m.all[i], a), true, m.ours[i]
	}
	if a.Is4() && len(m.PREF64) > 0 {
		return to(behind(m.PREF64[0]), a), false, false
	}
	best := -1
	for _, p := range m.PREF64 {
		if x := behind(p); a.Is6() && x.IPv6.Contains(a) && p.Bits() > best {
			if inner := from(x, a); inner.IsValid() {
				other, best = inner, p.Bits()
			}
		}
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
	if got, want := reason == clat.DropLocalSource, m.isElsewhere(src, embedded); got && !want || want && reason == clat.DropNone {
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
	wantSrc, mappedSrc, oursSrc := m.counterpart(src)
	wantDst, mappedDst, oursDst := m.counterpart(dst)
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

// within is the address a, moved into the prefix p.
func within(p netip.Prefix, a []byte) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= a[i/8] & (1 << (7 - i%8))
	}
	moved, _ := netip.AddrFromSlice(b)
	return moved
}

// FuzzTable builds a table and looks up a packet of each family, as itself and as what an error quotes. Addresses are moved into what
// the table knows, unless raw says otherwise.
func FuzzTable(f *testing.F) {
	eam := Spec{Ours: hostSpec().Ours, Map: eamt()[:3], PREF64: prefixes("64:ff9b::/96")}
	plat := hostSpec()
	plat.Role, plat.RejectNonGlobal = PLAT, true
	router := eam
	router.Role = Router
	elsewhere := elsewhereSpec("172.17.0.0/16", "8.8.0.0/15")
	hereToo := here(elsewhereSpec("172.17.0.0/16", "8.8.0.0/15", "8.8.8.8/31"), "8.8.8.0/24", "8.8.8.8/32", "172.16.0.0/12")
	for _, s := range []Spec{
		hostSpec(), plat, router, elsewhere, hereToo, clientsSpec("2001:db8:c::/64"), clientsSpec("2001:db8:c::/40"), eam,
		{Map: eamt()[3:], PREF64: prefixes("64:ff9b::/96")},
		{Ours: hostSpec().Ours, PREF64: prefixes("2001:db8:64::/96", "2001:db8:64::/48", "2001:db9::/32")},
	} {
		for _, a := range []string{"192.0.0.2", "100.64.1.2", "192.0.2.193", "8.8.8.8"} {
			for raw := range uint8(4) {
				client, remote := a6("2001:db8:c:0:64:4001:200:0"), a6("64:ff9b::8.8.8.8")
				f.Add(write(s), netip.MustParseAddr(a).AsSlice(), []byte{8, 8, 8, 8}, client[:], remote[:], raw)
			}
		}
	}
	f.Fuzz(func(t *testing.T, spec, client4, remote4, client6, remote6 []byte, raw uint8) {
		s := supply(spec)
		x := s.spec()
		m, err := New(x)
		if err != nil {
			if m != nil || err.Error() == "" || strings.ContainsAny(err.Error(), "\n\r") {
				t.Fatalf("%v with the error %q", m, err)
			}
			return
		}
		w := newModel(x)
		c4, r4 := netip.AddrFrom4([4]byte((*supply)(&client4).octets(4))), netip.AddrFrom4([4]byte((*supply)(&remote4).octets(4)))
		c6, r6 := netip.AddrFrom16([16]byte((*supply)(&client6).octets(16))), netip.AddrFrom16([16]byte((*supply)(&remote6).octets(16)))
		if n := len(w.all); n > 0 && raw&1 == 0 {
			c4, c6 = within(w.all[int(raw>>2)%n].IPv4, c4.AsSlice()), within(w.all[int(raw>>2)%n].IPv6, c6.AsSlice())
		}
		d6 := c6 // the client by the detour of a prefix
		if n := len(x.PREF64); n > 0 {
			d6 = to(behind(x.PREF64[int(raw>>2)%n]), c4)
			if raw&2 == 0 {
				r6 = within(x.PREF64[int(raw>>2)%n].Prefix(), r6.AsSlice())
			}
		}
		for _, embedded := range []bool{false, true} {
			for _, way := range [][2]netip.Addr{{c4, r4}, {r4, c4}} {
				w.to6(t, m, way[0], way[1], embedded)
			}
			for _, way := range [][2]netip.Addr{{c6, r6}, {r6, c6}, {c6, d6}, {d6, c6}, {r6, d6}} {
				w.to4(t, m, way[0], way[1], embedded)
			}
		}
		w.fastPath(t, m, c4, r4, c6, r6)
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
	back1, _, _ := m.counterpart(dst6)
	back2, _, _ := m.counterpart(src6)
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

// fastPath: a table of one host answers like one that has another mapping besides, which is found by a walk.
func (m *model) fastPath(t *testing.T, table *Table, c4, r4, c6, r6 netip.Addr) {
	if table.host == nil {
		return
	}
	s := m.Spec
	s.Map = []Mapping{pair("203.0.113.77/32", "3fff:77::77/128", false)}
	walk, err := New(s)
	if err != nil {
		return // it is taken
	}
	for _, a := range []netip.Addr{c4, r4, c6, r6} {
		if s.Map[0].IPv4.Contains(a) || s.Map[0].IPv6.Contains(a) {
			return
		}
	}
	for _, embedded := range []bool{false, true} {
		for _, way := range [][2]netip.Addr{{c4, r4}, {r4, c4}, {c4, c4}} {
			var fast, slow Pair6
			a, b := table.To6(&fast, way[0].As4(), way[1].As4(), embedded), walk.To6(&slow, way[0].As4(), way[1].As4(), embedded)
			if a != b || a == clat.DropNone && fast != slow {
				t.Fatalf("%v: %v %v, and by a walk %v %v", way, fast, a, slow, b)
			}
		}
		for _, way := range [][2]netip.Addr{{c6, r6}, {r6, c6}, {c6, c6}} {
			var fast, slow Pair4
			src, dst := way[0].As16(), way[1].As16()
			a, b := table.To4(&fast, &src, &dst, embedded), walk.To4(&slow, &src, &dst, embedded)
			if a != b || a == clat.DropNone && fast != slow {
				t.Fatalf("%v: %v %v, and by a walk %v %v", way, fast, a, slow, b)
			}
		}
	}
}

// What the fuzzer is fed with is what it reads.
func TestSupply(t *testing.T) {
	several := Spec{Map: eamt()[:3], PREF64: prefixes("64:ff9b::/96", "2001:db8::/32"), Role: PLAT}
	for _, s := range []Spec{hostSpec(), clientsSpec("2001:db8:c::/64"), several, elsewhereSpec("10.0.0.0/8", "172.17.0.1/32"),
		here(elsewhereSpec("10.0.0.0/8"), "10.1.0.0/16", "10.1.2.3/32", "192.0.2.0/24")} {
		b := supply(write(s))
		if got := b.spec(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", s) || len(b) != 0 {
			t.Errorf("%+v\nreads as %+v", s, got)
		}
	}
}

// TestModel holds tables of random mappings against the model.
func TestModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(7757, 6052))
	octets := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	tables := 0
	for range 3000 {
		spec := bytes.Join([][]byte{{byte(rng.Uint32()), 1 | byte(rng.Uint32())&0x3d}, octets(400)}, nil)
		s := supply(spec)
		x := s.spec()
		m, err := New(x)
		if err != nil {
			continue
		}
		tables++
		w := newModel(x)
		for _, e := range w.all {
			c4, r4, c6 := within(e.IPv4, octets(4)), netip.AddrFrom4([4]byte(octets(4))), within(e.IPv6, octets(16))
			r6 := netip.AddrFrom16([16]byte(octets(16)))
			d6 := r6
			if len(x.PREF64) > 0 {
				r6, d6 = within(x.PREF64[0].Prefix(), octets(16)), to(behind(x.PREF64[0]), c4)
			}
			for _, embedded := range []bool{false, true} {
				w.to6(t, m, c4, r4, embedded)
				w.to6(t, m, r4, c4, embedded)
				w.to4(t, m, c6, r6, embedded)
				w.to4(t, m, r6, c6, embedded)
				w.to4(t, m, c6, d6, embedded)
				w.to4(t, m, d6, c6, embedded)
			}
		}
	}
	if tables < 100 {
		t.Errorf("only %d tables", tables)
	}
}
