package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"uclat/clat/pref64"
)

// The functions of this file read one value. Their errors continue a sentence that the value begins: "lies in fe80::/10, ...".

// value stores what parse makes of the text.
func value[T any](parse func(string) (T, error), at func(*Config) *T) func(*Config, string) error {
	return func(c *Config, text string) error {
		v, err := parse(text)
		if err == nil {
			*at(c) = v
		}
		return err
	}
}

// optional is value for keys that an empty string unsets.
func optional[T any](parse func(string) (T, error), at func(*Config) *T) func(*Config, string) error {
	return value(func(text string) (v T, err error) {
		if text == "" {
			return v, nil
		}
		return parse(text)
	}, at)
}

type setList struct {
	add   func(*Config, string) error
	reset func(*Config)
}

// appendTo appends what parse makes of the text.
func appendTo[T comparable](parse func(string) (T, error), at func(*Config) *[]T) setList {
	return setList{
		add: func(c *Config, text string) error {
			v, err := parse(text)
			switch {
			case err != nil:
				return err
			case slices.Contains(*at(c), v):
				return errors.New("is there twice")
			}
			*at(c) = append(*at(c), v)
			return nil
		},
		reset: func(c *Config) { *at(c) = nil },
	}
}

// word stores one of the allowed words.
func word[T ~string](at func(*Config) *T, allowed ...T) func(*Config, string) error {
	return value(func(text string) (T, error) { return oneOf(T(text), allowed...) }, at)
}

func oneOf[T ~string](v T, allowed ...T) (T, error) {
	if slices.Contains(allowed, v) {
		return v, nil
	}
	words := make([]string, len(allowed))
	for i, a := range allowed {
		words[i] = string(a)
	}
	return v, errors.New("is not one of " + strings.Join(words, ", "))
}

// integer stores a whole number from least to most, or one of the others. Span says the same in words.
func integer(at func(*Config) *int, span string, least, most int, others ...int) func(*Config, string) error {
	return value(func(text string) (int, error) {
		n, err := strconv.Atoi(text)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return 0, fmt.Errorf("is not a whole number (%s)", span)
		}
		if err != nil || (n < least || n > most) && !slices.Contains(others, n) {
			return 0, fmt.Errorf("is out of range: %s", span)
		}
		return n, nil
	}, at)
}

func parseBool(text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, errors.New("is not one of true, false")
}

// autoOr stores a number from least to most, or 0 for "auto". Span says the same in words.
func autoOr(at func(*Config) *int, span string, least, most int) func(*Config, string) error {
	return value(func(text string) (int, error) {
		n, _, err := wordOrNumber(text, "auto", span, least, most)
		return n, err
	}, at)
}

func trafficClass(text string) (TrafficClass, error) {
	n, fixed, err := wordOrNumber(text, "copy", "0 to 255", 0, 255)
	return TrafficClass{Fixed: fixed, Octet: uint8(n)}, err
}

// wordOrNumber reads the word, which is no number, or a number from least to most. The number has one way of writing only: nobody shall
// wonder what "010" is.
func wordOrNumber(text, word, span string, least, most int) (n int, isNumber bool, err error) {
	if text == word {
		return 0, false, nil
	}
	n, err = strconv.Atoi(text)
	if err != nil || strconv.Itoa(n) != text || n < least || n > most {
		return 0, false, fmt.Errorf(`is neither "%s" nor a number from %s`, word, span)
	}
	return n, true, nil
}

func inbound(text string) (Inbound, error) { return oneOf(Inbound(text), InboundReplies, InboundAll) }

// probeTarget reads the address of a host that may be asked. The two of ipv4only.arpa are never (RFC 7050, 3.1 and 7.3): no host has them.
func probeTarget(text string) (netip.Addr, error) {
	a, err := hostAddr4(text)
	if err == nil && (a == arpa4[0] || a == arpa4[1]) {
		err = errors.New("is an address of ipv4only.arpa, which no host has (RFC 7050, 2.2)")
	}
	return a, err
}

var arpa4 = [...]netip.Addr{netip.AddrFrom4([4]byte{192, 0, 0, 170}), netip.AddrFrom4([4]byte{192, 0, 0, 171})}

func source(text string) (Source, error) {
	if link, ok := Source(text).RALink(); ok {
		if _, err := interfaceName(link); err != nil {
			return "", fmt.Errorf("what stands behind %s: %w", SourceRA, err)
		}
		return Source(text), nil
	}
	return oneOf(Source(text), SourceConfigured, SourceRA, SourceDNS, RAFrom("INTERFACE"))
}

// interfaceName takes what Linux takes as the name of an interface, but no template ("%d"), and neither of the names that mean
// something else in its settings.
func interfaceName(text string) (string, error) {
	odd := func(r rune) bool {
		return r == '/' || r == ':' || r == '%' || r == unicode.ReplacementChar || unicode.IsSpace(r) || !unicode.IsPrint(r)
	}
	switch {
	case len(text) == 0 || len(text) > 15:
		return "", errors.New("is no interface name: 1 to 15 octets")
	case strings.ContainsFunc(text, odd):
		return "", errors.New("is no interface name: no space and none of / : %")
	case text == "." || text == ".." || text == "all" || text == "default":
		return "", errors.New("is no interface name: the system means something else by it")
	}
	return text, nil
}

// reserved are ranges that a value must keep clear of.
type reserved []struct {
	prefix netip.Prefix
	what   string
}

var reserved4 = reserved{
	{netip.MustParsePrefix("0.0.0.0/8"), "which means this network"},
	{netip.MustParsePrefix("127.0.0.0/8"), "which is loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "which is link-local"},
	{netip.MustParsePrefix("224.0.0.0/4"), "which is multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "which is reserved and broadcast"},
}

var reserved6 = reserved{
	{netip.MustParsePrefix("::/32"), "which holds the unspecified, loopback and IPv4-mapped addresses"},
	{netip.MustParsePrefix("fe80::/10"), "which is link-local"},
	{netip.MustParsePrefix("ff00::/8"), "which is multicast"},
}

// reservedOwn6 is what no address of our own may be.
var reservedOwn6 = append(slices.Clone(reserved6), reserved{
	{pref64.WellKnown.Prefix(), "the well-known NAT64 prefix, from which no NAT64 accepts anything (RFC 6146, 3.5)"},
}...)

func (r reserved) clear(p netip.Prefix) error {
	for _, e := range r {
		switch {
		case e.prefix.Overlaps(p) && e.prefix.Bits() <= p.Bits():
			return fmt.Errorf("lies in %v, %s", e.prefix, e.what)
		case e.prefix.Overlaps(p):
			return fmt.Errorf("covers %v, %s", e.prefix, e.what)
		}
	}
	return nil
}

// prefix reads an address or a prefix without host bits, of the family that 32 or 128 bits stand for.
func prefix(text string, bits int) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if addr, addrErr := netip.ParseAddr(text); addrErr == nil && addr.Zone() == "" {
		p, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	switch {
	case (err != nil || p.Addr().BitLen() != bits) && bits == 32:
		return p, errors.New("is no IPv4 address or prefix such as 100.64.46.4 or 100.64.0.0/10")
	case err != nil || p.Addr().BitLen() != bits:
		return p, errors.New("is no IPv6 address or prefix such as 2001:db8::46 or 2001:db8::/64")
	case p.Masked() != p:
		return p, fmt.Errorf("has bits set behind its length: write %v for the one address or %v for the prefix", p.Addr(), p.Masked())
	}
	return p, nil
}

func hostPrefix4(text string) (netip.Prefix, error) {
	p, err := prefix(text, 32)
	if err == nil {
		err = reserved4.clear(p)
	}
	return p, err
}

func ownPrefix6(text string) (netip.Prefix, error) {
	p, err := prefix(text, 128)
	if err == nil {
		err = reservedOwn6.clear(p)
	}
	if err == nil && !p.IsSingleIP() {
		_, err = rfc6052(p)
	}
	return p, err
}

func hostAddr4(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is4() {
		return addr, errors.New("is no IPv4 address such as 100.64.46.5")
	}
	return addr, reserved4.clear(netip.PrefixFrom(addr, 32))
}

func unmappedSource(text string) (netip.Addr, error) {
	if addr, err := netip.ParseAddr(text); err != nil || !addr.Is4() {
		return addr, errors.New(`is no IPv4 address such as 192.0.0.8, nor "", with which such errors are dropped`)
	}
	return hostAddr4(text)
}

// selfAddr6 lets the well-known prefix pass, where a Router may have its own address.
func selfAddr6(text string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(text)
	if err != nil || !addr.Is6() || addr.Zone() != "" {
		return addr, errors.New("is no IPv6 address such as 2001:db8::46")
	}
	return addr, reserved6.clear(netip.PrefixFrom(addr, 128))
}

func nat64Prefix(text string) (pref64.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return pref64.Prefix{}, errors.New("is no IPv6 prefix such as 64:ff9b::/96")
	}
	return rfc6052(p)
}

// rfc6052 is pref64.From, whose errors name the prefix; here it stands before them already.
func rfc6052(p netip.Prefix) (pref64.Prefix, error) {
	q, err := pref64.From(p)
	if err != nil {
		why := strings.Replace(err.Error(), " of "+p.String(), "", 1)
		err = errors.New(strings.TrimLeft(strings.TrimPrefix(why, p.String()), ": "))
	}
	return q, err
}

func mapPrefix6(text string) (netip.Prefix, error) {
	p, err := prefix(text, 128)
	if err == nil {
		err = reserved6.clear(p)
	}
	return p, err
}

// parseMap reads "IPV4=IPV6".
func parseMap(text string) (m Map, err error) {
	v4, v6, ok := strings.Cut(text, "=")
	if !ok {
		return m, errors.New("is no mapping such as 192.0.2.1=2001:db8::1")
	}
	if m.IPv4, err = hostPrefix4(v4); err != nil {
		return m, fmt.Errorf("%s %w", quote(v4), err)
	}
	if m.IPv6, err = mapPrefix6(v6); err != nil {
		return m, fmt.Errorf("%s %w", quote(v6), err)
	}
	if s4, s6 := 32-m.IPv4.Bits(), 128-m.IPv6.Bits(); s6 < s4 {
		return m, fmt.Errorf("has %d bits behind the IPv6 prefix for %d behind the IPv4 prefix: "+
			"make the IPv6 prefix /%d or shorter (RFC 7757, 3.2)", s6, s4, 128-s4)
	}
	return m, nil
}
