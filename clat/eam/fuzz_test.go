package eam

import (
	"fmt"
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
	if spec.Role == CLAT {
		for i := range spec.Ours {
			s.own(&spec, i)
		}
	}
	return spec
}

// own gives one of ours a PREF64 of its own, and the IPv6 address of the first, if the octet says so.
func (s *supply) own(spec *Spec, i int) {
	flags := s.octet()
	if n := len(spec.PREF64); flags&7 != 0 && n > 0 {
		spec.Ours[i].PREF64 = spec.PREF64[(flags&7-1)%n]
	}
	if flags&8 != 0 {
		spec.Ours[i].IPv6 = spec.Ours[0].IPv6
	}
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
	if s.Role == CLAT {
		for _, m := range s.Ours {
			b = append(b, byte(1+slices.Index(s.PREF64, m.PREF64)))
		}
	}
	return b
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
	pairs, apart := pairsSpec(), apartSpec()
	pairs.PREF64, apart.PREF64 = pairs.PREF64[:3], apart.PREF64[:3]
	elsewhere := elsewhereSpec("172.17.0.0/16", "8.8.0.0/15")
	hereToo := here(elsewhereSpec("172.17.0.0/16", "8.8.0.0/15", "8.8.8.8/31"), "8.8.8.0/24", "8.8.8.8/32", "172.16.0.0/12")
	for _, s := range []Spec{
		hostSpec(), plat, router, elsewhere, hereToo, pairs, apart, walked(pairs), clientsSpec("2001:db8:c::/64"), clientsSpec("2001:db8:c::/40"), eam,
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

// fastPath: a table of few hosts answers like one that has another mapping besides, which is found by a walk.
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
	pairs := pairsSpec()
	pairs.PREF64 = pairs.PREF64[:3]
	for _, s := range []Spec{hostSpec(), clientsSpec("2001:db8:c::/64"), several, pairs, elsewhereSpec("10.0.0.0/8", "172.17.0.1/32"),
		here(elsewhereSpec("10.0.0.0/8"), "10.1.0.0/16", "10.1.2.3/32", "192.0.2.0/24")} {
		b := supply(write(s))
		if got := b.spec(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", s) || len(b) != 0 {
			t.Errorf("%+v\nreads as %+v", s, got)
		}
	}
}
