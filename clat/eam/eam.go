// Package eam says which IPv6 address stands for which IPv4 address: by explicit mappings (RFC 7757), else by a NAT64 prefix
// (RFC 6052). A Table never changes: build another and swap it.
package eam

import (
	"net/netip"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/pref64"

	"github.com/gaissmai/bart"
)

// Table is an immutable set of mappings. Its lookups allocate nothing and may be called from any goroutine.
type Table struct {
	role            Role
	rejectNonGlobal bool
	self4           [4]byte // the translator's own IPv4 address; all zero: none

	// The one host of a host CLAT, and the few others that there may be, found without a walk through the tries; nil where there is more than that.
	host *entry
	more []entry

	by4, by6 bart.Table[*entry]
	current  pref64.Prefix
	prefixes []pref64.Prefix // longest first

	elsewhere *bart.Table[bool] // whether the longest match leads elsewhere, so that nobody behind a NAT64 is there; nil: none does. Only of a CLAT
}

// Pair6 is both addresses of a packet that leaves as IPv6, and the difference that they make to a transport checksum: what is to be
// added to the sum of the packet (RFC 1624).
type Pair6 struct {
	Src, Dst [16]byte
	Delta    uint16
}

// Pair4 is the same for a packet that leaves as IPv4.
type Pair4 struct {
	Src, Dst [4]byte
	Delta    uint16

	// Hairpin says that this is traffic between two IPv6 hosts that have a Mapping each: the destination, or in an ICMP error's quote the
	// source, is behind a NAT64 prefix, though a Mapping has its IPv4 address (RFC 7757, 4). Only a Router says so.
	Hairpin bool
}

// side is which end of a packet is ours: the one that only a Mapping can name.
type side uint8

const (
	oursIsSource side = iota
	oursIsDestination
	oursIsNeither // a Router has no hosts of its own
)

// ours is the end of an IPv4 packet that is ours, for a CLAT; of an IPv6 packet it is the other one.
func (t *Table) ours(clat, other side, embedded bool) side {
	switch {
	case t.role == Router:
		return oursIsNeither
	case (t.role == PLAT) != embedded:
		return other
	}
	return clat
}

// To6 maps both addresses of an IPv4 packet. Embedded is true for the packet inside an ICMP error, which went the other way.
func (t *Table) To6(p *Pair6, src, dst [4]byte, embedded bool) clat.DropReason {
	ours := t.ours(oursIsSource, oursIsDestination, embedded)
	if isGroup4(dst) { // before all else: whatever is wrong with such a packet, it is not answered
		return clat.DropMulticast
	}
	pref := &t.current // behind which the end is that is not ours
	if ours == oursIsDestination {
		if e := t.lookup4(dst); e != nil {
			pref = &e.pref64
		}
	}
	from, reason := t.src6(&p.Src, src, pref, ours, embedded)
	if reason != clat.DropNone {
		return reason
	}
	if ours == oursIsSource {
		pref = &from.pref64
	}
	if reason := t.dst6(&p.Dst, dst, pref, ours, embedded); reason != clat.DropNone {
		return reason
	}
	p.setDelta(src, dst)
	return clat.DropNone
}

// Hairpin6 maps both addresses of an IPv4 packet that was IPv6 a moment before, and whose Pair4 said Hairpin: the source stays behind the
// NAT64 prefix, so that the answer comes back through the translator; in an ICMP error's quote this is the destination (RFC 7757, 4.2.2).
func (t *Table) Hairpin6(p *Pair6, src, dst [4]byte, embedded bool) clat.DropReason {
	behind, a, mapped, b := &p.Src, src, &p.Dst, dst
	if embedded {
		behind, a, mapped, b = &p.Dst, dst, &p.Src, src
	}
	if reason := t.embed(&t.current, behind, a); reason != clat.DropNone {
		return reason
	}
	if e := t.lookup4(b); e != nil {
		e.to6(mapped, b)
	} else if reason := t.embed(&t.current, mapped, b); reason != clat.DropNone { // the translator's own error to a host with an address of the prefix
		return reason
	}
	p.setDelta(src, dst)
	return clat.DropNone
}

func (p *Pair6) setDelta(src, dst [4]byte) {
	six := checksum.Add(checksum.Addr6(&p.Src), checksum.Addr6(&p.Dst))
	four := checksum.Add(checksum.Addr4(&src), checksum.Addr4(&dst))
	p.Delta = checksum.Sub(six, four)
}

// To4 maps both addresses of an IPv6 packet. Embedded is true for the packet inside an ICMP error, which went the other way.
func (t *Table) To4(p *Pair4, src, dst *[16]byte, embedded bool) clat.DropReason {
	ours := t.ours(oursIsDestination, oursIsSource, embedded)
	if isGroup6(dst) {
		return clat.DropMulticast
	}
	p.Hairpin = false
	if reason := t.src4(p, src, dst, ours, embedded); reason != clat.DropNone {
		return reason
	}
	if reason := t.dst4(p, dst, src, ours, embedded); reason != clat.DropNone {
		return reason
	}
	four := checksum.Add(checksum.Addr4(&p.Src), checksum.Addr4(&p.Dst))
	six := checksum.Add(checksum.Addr6(src), checksum.Addr6(dst))
	p.Delta = checksum.Sub(four, six)
	return clat.DropNone
}

// Dst4 maps the destination of an ICMPv6 error whose source has no IPv4 address: a router on the way (RFC 7915, 5.2), which on our
// own link may have a link-local address only. A source that may not send at all is refused all the same. Where Mappings share the
// destination, which of them it is says the packet that the error quotes, and not v4.
func (t *Table) Dst4(v4 *[4]byte, src, dst *[16]byte) clat.DropReason {
	switch {
	case isGroup6(dst):
		return clat.DropMulticast
	case illegalSource6(src):
		return clat.DropSource
	}
	var p Pair4
	reason := t.dst4(&p, dst, src, t.ours(oursIsDestination, oursIsSource, false), false)
	*v4 = p.Dst
	return reason
}

// src6 maps a by its Mapping, if it has one, or else to an address behind pref.
func (t *Table) src6(v6 *[16]byte, a [4]byte, pref *pref64.Prefix, ours side, embedded bool) (*entry, clat.DropReason) {
	if !embedded && illegalSource4(a) {
		return nil, clat.DropSource
	}
	e := t.lookup4(a)
	switch {
	case ours == oursIsSource && (e == nil || t.isSelf(a)):
		return nil, clat.DropSource
	case ours == oursIsDestination && (e != nil && e.ours || t.isSelf(a)):
		return nil, clat.DropSpoofed
	case t.isSelf(a):
		return nil, clat.DropSource
	case e != nil:
		e.to6(v6, a)
		return e, clat.DropNone
	case !embedded && neverRemote(a):
		return nil, clat.DropSource
	}
	return nil, t.embed(pref, v6, a)
}

// dst6 is the same for a destination.
func (t *Table) dst6(v6 *[16]byte, a [4]byte, pref *pref64.Prefix, ours side, embedded bool) clat.DropReason {
	e := t.lookup4(a)
	switch {
	case t.isSelf(a) || ours == oursIsSource && e != nil && e.ours:
		return clat.DropHairpin
	case ours == oursIsDestination && e == nil:
		return clat.DropNoMapping
	case e != nil:
		e.to6(v6, a)
		return clat.DropNone
	case !embedded && neverRemote(a):
		return clat.DropNoMapping
	}
	return t.embed(pref, v6, a)
}

// src4 maps a, the source of a packet whose other end is other.
func (t *Table) src4(p *Pair4, a, other *[16]byte, ours side, embedded bool) clat.DropReason {
	v4 := &p.Src
	if !embedded && (illegalSource6(a) || isLinkLocal6(a)) {
		return clat.DropSource
	}
	e := t.lookup6(a)
	switch {
	case ours == oursIsSource && e == nil:
		return clat.DropNoMapping
	case ours == oursIsDestination && e != nil && e.ours:
		return clat.DropSpoofed
	case e != nil:
		if e.next != nil {
			e = t.paired(e, other)
		}
		*v4 = e.to4(a)
		if t.isSelf(*v4) {
			return clat.DropSource
		}
		return clat.DropNone
	}
	reason := t.extract(v4, a)
	switch {
	case reason != clat.DropNone:
		return reason
	case t.isSelf(*v4) || !embedded && (neverRemote(*v4) || t.isOurs(*v4)):
		return clat.DropSpoofed
	case t.elsewhere != nil && t.isElsewhere(*v4): // of a CLAT, where the source that an error quotes has a Mapping
		return clat.DropLocalSource
	case ours == oursIsNeither && t.lookup4(*v4) != nil:
		if !embedded {
			return clat.DropSpoofed // who has that IPv4 address has another IPv6 address
		}
		p.Hairpin = true
	}
	return clat.DropNone
}

// dst4 is the same for a destination.
func (t *Table) dst4(p *Pair4, a, other *[16]byte, ours side, embedded bool) clat.DropReason {
	v4 := &p.Dst
	e := t.lookup6(a)
	switch {
	case ours == oursIsDestination && e == nil:
		return clat.DropNoMapping
	case ours == oursIsSource && e != nil && e.ours:
		return clat.DropHairpin
	case e != nil:
		if e.next != nil {
			e = t.paired(e, other)
		}
		*v4 = e.to4(a)
		if t.isSelf(*v4) {
			return clat.DropHairpin
		}
		return clat.DropNone
	}
	reason := t.extract(v4, a)
	switch {
	case reason != clat.DropNone:
		return reason
	case t.isSelf(*v4):
		return clat.DropHairpin
	case embedded:
		return clat.DropNone
	case isGroup4(*v4):
		return clat.DropMulticast
	case t.isOurs(*v4):
		return clat.DropHairpin
	}
	p.Hairpin = ours == oursIsNeither && t.lookup4(*v4) != nil
	if !p.Hairpin && neverRemote(*v4) {
		return clat.DropNoMapping
	}
	return clat.DropNone
}

// embed is a behind the NAT64 prefix pref.
func (t *Table) embed(pref *pref64.Prefix, v6 *[16]byte, a [4]byte) clat.DropReason {
	switch {
	case !pref.IsValid():
		return clat.DropNoMapping
	case t.rejectNonGlobal && pref.IsWellKnown() && nonGlobal(a):
		return clat.DropNonGlobal
	}
	pref.EmbedTo(v6, a)
	return clat.DropNone
}

// paired is which of the Mappings that share the IPv6 address of e, the first, a packet belongs to: the one whose PREF64 the other end is
// behind, or if none is, e.
func (t *Table) paired(e *entry, other *[16]byte) *entry {
	for _, p := range t.prefixes {
		if _, ok := p.Extract(*other); !ok {
			continue
		}
		for x := e; x != nil; x = x.next {
			if x.pref64 == p {
				return x
			}
		}
		break
	}
	return e
}

// extract is the IPv4 address that a carries behind any NAT64 prefix that still holds, the longest first.
func (t *Table) extract(v4 *[4]byte, a *[16]byte) clat.DropReason {
	for _, p := range t.prefixes {
		var ok bool
		if *v4, ok = p.Extract(*a); ok {
			if t.rejectNonGlobal && p.IsWellKnown() && nonGlobal(*v4) {
				return clat.DropNonGlobal
			}
			return clat.DropNone
		}
	}
	return clat.DropNoMapping
}

func (t *Table) isSelf(a [4]byte) bool { return a == t.self4 && a != [4]byte{} }

// isOurs is whether a is an address of ours beside the translator's own.
func (t *Table) isOurs(a [4]byte) bool {
	e := t.lookup4(a)
	return e != nil && e.ours
}

// isElsewhere may be asked where t.elsewhere is not nil.
func (t *Table) isElsewhere(a [4]byte) bool {
	is, _ := t.elsewhere.Lookup(netip.AddrFrom4(a))
	return is
}
