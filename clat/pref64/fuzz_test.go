package pref64

import (
	"net/netip"
	"strings"
	"testing"
)

// FuzzParse reads prefixes from text.
func FuzzParse(f *testing.F) {
	for _, r := range rows {
		f.Add(r.prefix)
	}
	for _, text := range []string{
		"", "/", "::/96", "64:ff9b::/64", "64:ff9b:1::/48", "2001:db8::1/96", "2001:db8:0:0:100::/96", "fe80::%x/64", "1.2.3.4/32", "::ffff:0:0/96",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		var unmarshalled Prefix
		if other := unmarshalled.UnmarshalText([]byte(text)); (other == nil) != (err == nil) || unmarshalled != p {
			t.Fatalf("Parse says %v, %v, and UnmarshalText %v, %v", p, err, unmarshalled, other)
		}
		if err != nil {
			if p != (Prefix{}) || p.IsValid() || err.Error() == "" || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%v with the error %q", p, err)
			}
			return
		}
		again, err := Parse(p.String())
		if marshalled, _ := p.MarshalText(); err != nil || again != p || string(marshalled) != p.String() {
			t.Fatalf("%v read again is %v, %v", p, again, err)
		}
		from, err := From(p.Prefix())
		if err != nil || from != p || !p.IsValid() || p.Bits() != p.Prefix().Bits() || p.IsWellKnown() != (p.String() == "64:ff9b::/96") {
			t.Fatalf("%v is %v, %v", p, from, err)
		}
	})
}

// FuzzEmbed embeds an address behind a prefix of each length, and reads any address behind it.
func FuzzEmbed(f *testing.F) {
	for _, r := range rows {
		a, v4, v6 := netip.MustParsePrefix(r.prefix).Addr().As16(), addr4(r.v4), addr6(r.v6)
		f.Add(a[:], v4[:], v6[:])
	}
	f.Fuzz(func(t *testing.T, prefix, inner, other []byte) {
		if len(prefix) < 16 || len(inner) < 4 || len(other) < 16 {
			return
		}
		v4 := [4]byte(inner)
		for _, length := range Lengths {
			p, err := From(netip.PrefixFrom(netip.AddrFrom16([16]byte(prefix)), length).Masked())
			if err != nil {
				continue
			}
			v6 := p.Embed(v4)
			back, ok := p.Extract(v6)
			if v6 != embed(p, v4) || !ok || back != v4 || !p.Contains(v6) || length < 96 && v6[8] != 0 {
				t.Fatalf("%v behind %v is %v, and comes back as %v, %v", netip.AddrFrom4(v4), p, netip.AddrFrom16(v6), netip.AddrFrom4(back), ok)
			}
			// Any address, moved behind the prefix or not: octet 8 must be zero, what is in the suffix does not matter (RFC 6052, 2.2).
			free := [16]byte(other)
			checkExtract(t, p, free)
			copy(free[:length/8], v6[:])
			checkExtract(t, p, free)
			if length < 96 {
				free[8] = 0
				checkExtract(t, p, free)
			}
		}
	})
}

// checkExtract reads v6 octet by octet.
func checkExtract(t *testing.T, p Prefix, v6 [16]byte) {
	in := p.Prefix().Contains(netip.AddrFrom16(v6))
	var want [4]byte
	octet8 := p.Bits() == 96 || v6[8] == 0
	if in && octet8 {
		at := p.Bits() / 8
		for i := range want {
			if at == 8 {
				at++
			}
			want[i] = v6[at]
			at++
		}
	}
	got, ok := p.Extract(v6)
	if p.Contains(v6) != in || ok != (in && octet8) || got != want {
		t.Fatalf("%v behind %v reads as %v, %v, want %v", netip.AddrFrom16(v6), p, netip.AddrFrom4(got), ok, netip.AddrFrom4(want))
	}
}
