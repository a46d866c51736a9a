package eam

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"uclat/clat/pref64"

	"github.com/gaissmai/bart"
)

// Mapping is IPv4 addresses and the IPv6 addresses that stand for them.
//
// With Embed false it is an explicit address mapping (RFC 7757, 3.2): the bits behind the IPv4 prefix follow those of the IPv6
// prefix, and zeros follow them; one host is a /32 and a /128. With Embed true the whole IPv4 address stands behind the IPv6 prefix
// as RFC 6052, 2.2 lays it out.
type Mapping struct {
	IPv4, IPv6 netip.Prefix
	Embed      bool

	// PREF64 is one of Spec.PREF64, behind which packets from these IPv4 addresses find who has no Mapping; the zero value: the first of them.
	// It is for Spec.Ours of a CLAT. There, hosts may share an IPv6 address when their PREF64 differ: a packet to it is for the one behind
	// whose PREF64 its source is, and from elsewhere for the first in Spec.Ours.
	PREF64 pref64.Prefix
}

// Role is where the translator stands.
type Role uint8

const (
	CLAT   Role = iota // the mapped hosts speak IPv4, and are the source of what goes 4 to 6
	PLAT               // the mapped hosts speak IPv6, and are the source of what goes 6 to 4
	Router             // SIIT (RFC 7915) between any hosts: each address is mapped if it has a Mapping, else by a NAT64 prefix
)

// Spec is what a Table is made of.
type Spec struct {
	Role Role

	Ours   []Mapping       // for whom we translate; nobody else may use their addresses. A Router has none: there they are as those of Map
	Map    []Mapping       // explicit mappings of any host, ours or remote (RFC 7757)
	PREF64 []pref64.Prefix // all others; a Mapping of ours says which is used to make addresses, or else the first is; each is accepted
	Self4  netip.Addr      // the translator's own IPv4 address, which nobody may use; may be invalid

	// Elsewhere are IPv4 prefixes that the host of a CLAT has a route to elsewhere than into the CLAT, and Here those that it has a route to into
	// the CLAT: nothing that came through a NAT64 has a source whose longest match is Elsewhere (RFC 3704, 2.2). Of a prefix that is both, either
	// way may be in use, by metrics or rules that are not seen here, so that it is Here (RFC 3704, 2.3). Not Elsewhere is the default route,
	// which would cover all. Other roles take no notice.
	Elsewhere, Here []netip.Prefix

	RejectNonGlobal bool // refuse non-global IPv4 addresses behind 64:ff9b::/96 (RFC 6052, 3.1)
}

// New builds a Table. The error names the mapping at fault.
func New(s Spec) (*Table, error) {
	t := &Table{role: s.Role, rejectNonGlobal: s.RejectNonGlobal}
	if s.Self4.IsValid() {
		if !s.Self4.Is4() {
			return nil, fmt.Errorf("%v is no IPv4 address", s.Self4)
		}
		t.self4 = s.Self4.As4()
	}
	if len(s.PREF64) > 0 {
		t.current = s.PREF64[0]
	}
	if err := t.addAll(&s); err != nil {
		return nil, err
	}
	if s.Role == CLAT {
		var err error
		if t.elsewhere, err = notFrom(s.Elsewhere, s.Here); err != nil {
			return nil, err
		}
	}
	for _, p := range s.PREF64 {
		if !p.IsValid() {
			return nil, fmt.Errorf("a PREF64 is empty")
		}
		// Explicit mappings of others may lie in it, and win (RFC 7757, 3.2 has such an example).
		for _, m := range s.Ours {
			switch {
			case s.Role == Router || !p.Prefix().Overlaps(m.IPv6):
			case p.Bits() <= m.IPv6.Bits():
				return nil, fmt.Errorf("%v lies in the PREF64 %v, from which the NAT64 accepts nothing (RFC 6146, 3.5)", m.IPv6, p)
			default:
				return nil, fmt.Errorf("%v covers the PREF64 %v, whose addresses would be ours", m.IPv6, p)
			}
		}
	}
	t.prefixes = slices.Clone(s.PREF64)
	slices.SortStableFunc(t.prefixes, func(a, b pref64.Prefix) int { return b.Bits() - a.Bits() })
	return t, nil
}

// maxHosts is up to how many hosts are compared one after the other.
const maxHosts = 8

// addAll adds all Mappings of s.
func (t *Table) addAll(s *Spec) error {
	all := make([]entry, len(s.Ours)+len(s.Map))
	ours, others := all[:len(s.Ours)], all[len(s.Ours):]
	for i, m := range s.Ours {
		switch {
		case !m.PREF64.IsValid():
			m.PREF64 = t.current
		case s.Role != CLAT:
			return fmt.Errorf("%v has a PREF64 of its own, %v, which is for the hosts of a CLAT", m.IPv4, m.PREF64)
		case !slices.Contains(s.PREF64, m.PREF64):
			return fmt.Errorf("%v has a PREF64 of its own, %v, from which nothing is accepted: it must be one of all", m.IPv4, m.PREF64)
		}
		if err := t.add(&ours[i], m, s.Role != Router); err != nil {
			return err
		}
	}
	for i, m := range s.Map {
		if m.PREF64.IsValid() {
			return fmt.Errorf("the explicit mapping of %v has a PREF64, %v, which is for the hosts of a CLAT", m.IPv4, m.PREF64)
		}
		// A mapping of one of our clients wins over its prefix, but makes a stranger of nobody.
		m.PREF64 = t.current
		client := longest(ours, s.Ours, m.IPv4)
		if client != nil {
			m.PREF64 = client.pref64
		}
		if err := t.add(&others[i], m, client != nil && client.ours); err != nil {
			return err
		}
	}
	if len(others) == 0 && len(ours) > 0 && len(ours) <= maxHosts && !slices.ContainsFunc(s.Ours, isWide) {
		t.host, t.more = &ours[0], ours[1:]
	}
	return nil
}

// isWide says whether m has more than one address of a family.
func isWide(m Mapping) bool { return !m.IPv4.IsSingleIP() || !m.IPv6.IsSingleIP() }

// longest is the one of ours, made of mappings, that has all of p, by the longest match; nil: none has.
func longest(ours []entry, mappings []Mapping, p netip.Prefix) (best *entry) {
	for i, m := range mappings {
		if m.IPv4.Overlaps(p) && m.IPv4.Bits() <= p.Bits() && (best == nil || best.bits4 < ours[i].bits4) {
			best = &ours[i]
		}
	}
	return best
}

// add makes e of m, and has it found.
func (t *Table) add(e *entry, m Mapping, ours bool) error {
	if err := e.set(m, ours); err != nil {
		return err
	}
	if _, taken := t.by4.Get(m.IPv4); taken {
		return fmt.Errorf("%v is mapped twice", m.IPv4)
	}
	t.by4.Insert(m.IPv4, e)
	first, taken := t.by6.Get(m.IPv6)
	switch {
	case !taken:
		t.by6.Insert(m.IPv6, e)
	case t.role != CLAT || !first.isHost() || !e.isHost():
		return fmt.Errorf("%v is mapped twice", m.IPv6)
	case !first.share(e):
		return fmt.Errorf("%v is mapped twice: hosts that share it need different PREF64", m.IPv6)
	}
	return nil
}

// notFrom says of prefixes whether no source behind a NAT64 may be in them; nil: none is such.
func notFrom(elsewhere, here []netip.Prefix) (*bart.Table[bool], error) {
	all := new(bart.Table[bool])
	for _, p := range elsewhere {
		switch {
		case !p.IsValid() || !p.Addr().Is4():
			return nil, fmt.Errorf("%v, routed elsewhere, is no IPv4 prefix", p)
		case p.Bits() == 0:
			return nil, fmt.Errorf("%v cannot be routed elsewhere: nothing could come in", p)
		}
		all.Insert(p, true)
	}
	for _, p := range here { // behind the others, whose entries it replaces
		if !p.IsValid() || !p.Addr().Is4() {
			return nil, fmt.Errorf("%v, routed into the CLAT, is no IPv4 prefix", p)
		}
		all.Insert(p, false)
	}
	if len(elsewhere) == 0 {
		return nil, nil
	}
	return all, nil
}

// lookup4 is small enough to be a part of who calls it.
func (t *Table) lookup4(a [4]byte) *entry {
	if t.host != nil && a == t.host.v4 {
		return t.host
	}
	return t.other4(a)
}

// lookup6 finds the first of those that share an address.
func (t *Table) lookup6(a *[16]byte) *entry {
	if t.host != nil && *a == t.host.v6 {
		return t.host
	}
	return t.other6(a)
}

func (t *Table) other4(a [4]byte) *entry {
	if t.host == nil {
		e, _ := t.by4.Lookup(netip.AddrFrom4(a))
		return e
	}
	for i := range t.more {
		if a == t.more[i].v4 {
			return &t.more[i]
		}
	}
	return nil
}

func (t *Table) other6(a *[16]byte) *entry {
	if t.host == nil {
		e, ok := t.by6.Lookup(netip.AddrFrom16(*a))
		if !ok || !e.covers6(a) {
			return nil
		}
		return e
	}
	for i := range t.more {
		if *a == t.more[i].v6 {
			return &t.more[i]
		}
	}
	return nil
}

// entry is one Mapping, ready for lookups.
type entry struct {
	ours  bool
	v4    [4]byte
	v6    [16]byte
	bits4 uint8
	bits6 uint8
	embed pref64.Prefix // valid with Mapping.Embed

	pref64 pref64.Prefix // behind which those without a Mapping are in packets of this one
	next   *entry        // the next host that has the same IPv6 address, and another PREF64
}

// set makes e of m.
func (e *entry) set(m Mapping, ours bool) error {
	switch {
	case !m.IPv4.IsValid() || !m.IPv4.Addr().Is4():
		return fmt.Errorf("%v is no IPv4 prefix", m.IPv4)
	case !m.IPv6.IsValid() || !m.IPv6.Addr().Is6() || m.IPv6.Addr().Is4In6():
		return fmt.Errorf("%v is no IPv6 prefix", m.IPv6)
	case m.IPv4.Masked() != m.IPv4:
		return fmt.Errorf("%v has bits set behind its length: write %v", m.IPv4, m.IPv4.Masked())
	case m.IPv6.Masked() != m.IPv6:
		return fmt.Errorf("%v has bits set behind its length: write %v", m.IPv6, m.IPv6.Masked())
	}
	for _, p := range []netip.Prefix{m.IPv4, m.IPv6} {
		if name := noHost(p); name != "" {
			return fmt.Errorf("%v has %s addresses, which no packet may cross a router with", p, name)
		}
	}
	*e = entry{
		ours: ours, v4: m.IPv4.Addr().As4(), v6: m.IPv6.Addr().As16(), bits4: uint8(m.IPv4.Bits()), bits6: uint8(m.IPv6.Bits()),
		pref64: m.PREF64,
	}
	if m.Embed {
		var err error
		e.embed, err = pref64.From(m.IPv6)
		return err
	}
	if 32-m.IPv4.Bits() > 128-m.IPv6.Bits() {
		return fmt.Errorf("%v has fewer addresses than %v: its length may be at most %d (RFC 7757, 3.2)", m.IPv6, m.IPv4, 96+m.IPv4.Bits())
	}
	return nil
}

// isHost says whether e is one host of ours, which may share its IPv6 address.
func (e *entry) isHost() bool { return e.ours && e.bits4 == 32 && !e.embed.IsValid() }

// share puts o behind those that share the IPv6 address of e, the first; false: one of them has the PREF64 of o.
func (e *entry) share(o *entry) bool {
	for e.pref64 != o.pref64 {
		if e.next == nil {
			e.next = o
			return true
		}
		e = e.next
	}
	return false
}

// suffix is how many bits of an IPv4 address stand behind the IPv6 prefix.
func (e *entry) suffix() uint { return 32 - uint(e.bits4) }

func (e *entry) to6(v6 *[16]byte, a [4]byte) {
	if e.embed.IsValid() {
		e.embed.EmbedTo(v6, a)
		return
	}
	*v6 = e.v6
	if e.suffix() == 0 {
		return
	}
	// The suffix's last bit lands 128-bits6-suffix bits from the right end.
	shift := 128 - uint(e.bits6) - e.suffix()
	low := uint64(binary.BigEndian.Uint32(a[:])) & (1<<e.suffix() - 1)
	hi, lo := uint64(0), uint64(0)
	if shift >= 64 {
		hi = low << (shift - 64)
	} else {
		hi, lo = low>>(64-shift), low<<shift
	}
	binary.BigEndian.PutUint64(v6[:], binary.BigEndian.Uint64(v6[:])|hi)
	binary.BigEndian.PutUint64(v6[8:], binary.BigEndian.Uint64(v6[8:])|lo)
}

func (e *entry) to4(a *[16]byte) [4]byte {
	if e.embed.IsValid() {
		v4, _ := e.embed.Extract(*a)
		return v4
	}
	v4 := e.v4
	if e.suffix() == 0 {
		return v4
	}
	shift := 128 - uint(e.bits6) - e.suffix()
	hi, lo := binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(a[8:])
	low := hi >> (shift - 64)
	if shift < 64 {
		low = hi<<(64-shift) | lo>>shift
	}
	low &= 1<<e.suffix() - 1
	binary.BigEndian.PutUint32(v4[:], binary.BigEndian.Uint32(v4[:])|uint32(low))
	return v4
}

// covers6 says whether an address within the entry's IPv6 prefix stands for one within its IPv4 prefix. Only an embedding can miss.
func (e *entry) covers6(a *[16]byte) bool {
	if !e.embed.IsValid() {
		return true
	}
	v4, ok := e.embed.Extract(*a)
	return ok && netip.PrefixFrom(netip.AddrFrom4(e.v4), int(e.bits4)).Contains(netip.AddrFrom4(v4))
}
