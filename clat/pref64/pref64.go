// Package pref64 is RFC 6052: IPv6 prefixes that carry an IPv4 address, of all six lengths and both ways.
package pref64

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// WellKnown is 64:ff9b::/96 (RFC 6052, 2.1).
var WellKnown = MustParse("64:ff9b::/96")

// Lengths are the prefix lengths that RFC 6052, 2.2 knows, shortest first.
var Lengths = [...]int{32, 40, 48, 56, 64, 96}

// Prefix is a valid RFC 6052 prefix. It is comparable. The zero value is no prefix.
type Prefix struct {
	hi, lo uint64 // the address; what is behind the prefix is zero
	bits   uint8
}

// From makes a Prefix of p, whose host bits must be zero. The error says what is wrong and what would be right.
func From(p netip.Prefix) (Prefix, error) {
	switch {
	case !p.IsValid() || !p.Addr().Is6() || p.Addr().Is4In6():
		return Prefix{}, fmt.Errorf("%v is no IPv6 prefix", p)
	case p.Masked() != p:
		return Prefix{}, fmt.Errorf("%v has bits set behind its length: write %v", p, p.Masked())
	case !validLength(p.Bits()):
		return Prefix{}, fmt.Errorf("length %d of %v is not one of 32, 40, 48, 56, 64, 96 (RFC 6052, 2.2)", p.Bits(), p)
	}
	a := p.Addr().As16()
	switch {
	// The well-known prefix is a /96 and nothing else (2.1); 64:ff9b:1::/48 (RFC 8215) is not it and takes any length.
	case a[0] == 0x00 && a[1] == 0x64 && a[2] == 0xff && a[3] == 0x9b && p.Bits() != 96 && (p.Bits() < 48 || a[4] == 0 && a[5] == 0):
		return Prefix{}, fmt.Errorf("%v: the well-known prefix exists as 64:ff9b::/96 only (RFC 6052, 2.1)", p)
	case p.Bits() == 96 && a[8] != 0:
		return Prefix{}, fmt.Errorf("bits 64 to 71 of %v are not zero (RFC 6052, 2.2)", p)
	}
	for _, r := range reserved {
		if r.prefix.Overlaps(p) {
			return Prefix{}, fmt.Errorf("%v lies in %v, %s", p, r.prefix, r.what)
		}
	}
	hi, lo := halves(a)
	return Prefix{hi: hi, lo: lo, bits: uint8(p.Bits())}, nil
}

var reserved = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("::/32"), "which holds the unspecified, loopback and IPv4-mapped addresses"},
	{netip.MustParsePrefix("fe80::/10"), "which is link-local"},
	{netip.MustParsePrefix("ff00::/8"), "which is multicast"},
}

func validLength(bits int) bool {
	for _, l := range Lengths {
		if bits == l {
			return true
		}
	}
	return false
}

// Parse reads a prefix as "64:ff9b::/96".
func Parse(s string) (Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return Prefix{}, fmt.Errorf("%q is no IPv6 prefix such as 64:ff9b::/96", s)
	}
	return From(p)
}

// MustParse is Parse for constants; it panics on an error.
func MustParse(s string) Prefix {
	p, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return p
}

// Prefix is p as a netip.Prefix; invalid for the zero value.
func (p Prefix) Prefix() netip.Prefix {
	if p.bits == 0 {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(netip.AddrFrom16(address(p.hi, p.lo)), int(p.bits))
}

// String is the canonical form, "64:ff9b::/96".
func (p Prefix) String() string { return p.Prefix().String() }

// Bits is the prefix length.
func (p Prefix) Bits() int { return int(p.bits) }

// IsValid is false for the zero value only.
func (p Prefix) IsValid() bool { return p.bits != 0 }

// IsWellKnown says whether p is 64:ff9b::/96, to which the restrictions of RFC 6052, 3.1 apply.
func (p Prefix) IsWellKnown() bool { return p == WellKnown }

// UnmarshalText reads a prefix from a configuration file or a flag.
func (p *Prefix) UnmarshalText(text []byte) (err error) {
	*p, err = Parse(string(text))
	return err
}

// MarshalText is the inverse of UnmarshalText.
func (p Prefix) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Embed is v4 behind p: octet 8 and the suffix are zero (RFC 6052, 2.2).
func (p Prefix) Embed(v4 [4]byte) (v6 [16]byte) {
	p.EmbedTo(&v6, v4)
	return v6
}

// EmbedTo is Embed in place.
func (p Prefix) EmbedTo(v6 *[16]byte, v4 [4]byte) {
	hi, lo, a := p.hi, p.lo, uint64(binary.BigEndian.Uint32(v4[:]))
	if p.bits == 96 {
		lo |= a
	} else {
		// What does not fit into the first half goes on behind octet 8.
		n := p.bits - 32
		hi, lo = hi|a>>n, lo|a<<(64-n)>>8
	}
	binary.BigEndian.PutUint64(v6[:8], hi)
	binary.BigEndian.PutUint64(v6[8:], lo)
}

// Extract is the IPv4 address that v6 carries behind p; false where v6 is not in p, or where octet 8 of a prefix shorter than 96
// is not zero. What stands in the suffix does not matter (RFC 6052, 2.2).
func (p Prefix) Extract(v6 [16]byte) (v4 [4]byte, ok bool) {
	hi, lo := halves(v6)
	if !p.contains(hi, lo) || p.bits != 96 && v6[8] != 0 {
		return v4, false
	}
	a := lo
	if p.bits != 96 {
		n := p.bits - 32
		a = hi<<n | lo<<8>>(64-n)
	}
	binary.BigEndian.PutUint32(v4[:], uint32(a))
	return v4, true
}

// Contains says whether v6 lies in p.
func (p Prefix) Contains(v6 [16]byte) bool { return p.contains(halves(v6)) }

func (p Prefix) contains(hi, lo uint64) bool {
	if p.bits == 96 {
		return hi == p.hi && lo>>32 == p.lo>>32
	}
	return p.bits != 0 && (hi^p.hi)>>(64-p.bits) == 0
}

func halves(v6 [16]byte) (hi, lo uint64) {
	return binary.BigEndian.Uint64(v6[:8]), binary.BigEndian.Uint64(v6[8:])
}

func address(hi, lo uint64) (v6 [16]byte) {
	binary.BigEndian.PutUint64(v6[:8], hi)
	binary.BigEndian.PutUint64(v6[8:], lo)
	return v6
}
