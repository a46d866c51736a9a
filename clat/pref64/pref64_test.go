package pref64

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/quick"
)

func addr4(s string) [4]byte  { return netip.MustParseAddr(s).As4() }
func addr6(s string) [16]byte { return netip.MustParseAddr(s).As16() }

// RFC 6052, 2.4, table 1, its well-known prefix, and what RFC 7050 looks for behind each length.
var rows = []struct{ prefix, v4, v6 string }{
	{"2001:db8::/32", "192.0.2.33", "2001:db8:c000:221::"},
	{"2001:db8:100::/40", "192.0.2.33", "2001:db8:1c0:2:21::"},
	{"2001:db8:122::/48", "192.0.2.33", "2001:db8:122:c000:2:2100::"},
	{"2001:db8:122:300::/56", "192.0.2.33", "2001:db8:122:3c0:0:221::"},
	{"2001:db8:122:344::/64", "192.0.2.33", "2001:db8:122:344:c0:2:2100::"},
	{"2001:db8:122:344::/96", "192.0.2.33", "2001:db8:122:344::c000:221"},
	{"64:ff9b::/96", "192.0.2.33", "64:ff9b::192.0.2.33"},
	{"2001:db8::/32", "192.0.0.170", "2001:db8:c000:aa::"},
	{"2001:db8:100::/40", "192.0.0.170", "2001:db8:1c0:0:aa::"},
	{"2001:db8:122::/48", "192.0.0.170", "2001:db8:122:c000:0:aa00::"},
	{"2001:db8:122:300::/56", "192.0.0.170", "2001:db8:122:3c0:0:aa::"},
	{"2001:db8:122:344::/64", "192.0.0.170", "2001:db8:122:344:c0:0:aa00::"},
	{"2001:db8:122:344::/96", "192.0.0.170", "2001:db8:122:344::c000:aa"},
	{"64:ff9b:1::/48", "10.0.0.1", "64:ff9b:1:a00:0:100::"},
	{"64:ff9b:1:fffe::/96", "10.0.0.1", "64:ff9b:1:fffe::a00:1"},
	{"2001:db8::/32", "255.255.255.255", "2001:db8:ffff:ffff::"},
	{"2001:db8::/40", "255.255.255.255", "2001:db8:ff:ffff:ff::"},
	{"2001:db8::/64", "255.255.255.255", "2001:db8::ff:ffff:ff00:0"},
}

func TestRows(t *testing.T) {
	for _, r := range rows {
		t.Run("RFC 6052, 2.2/"+r.v4+" behind "+r.prefix, func(t *testing.T) {
			p := MustParse(r.prefix)
			if got := p.Embed(addr4(r.v4)); got != addr6(r.v6) {
				t.Errorf("embeds as %v, want %v", netip.AddrFrom16(got), r.v6)
			}
			if got, ok := p.Extract(addr6(r.v6)); !ok || got != addr4(r.v4) {
				t.Errorf("extracts as %v, %v", netip.AddrFrom4(got), ok)
			}
			if p.String() != r.prefix || p.Prefix() != netip.MustParsePrefix(r.prefix) || !p.IsValid() || p.Bits() != p.Prefix().Bits() {
				t.Errorf("reads as %v", p)
			}
		})
	}
}

// random is a valid prefix of any of the six lengths.
func random(rng *rand.Rand) Prefix {
	var a [16]byte
	for i := range a {
		a[i] = byte(rng.Uint32())
	}
	a[0], a[8] = 0x20|a[0]&0x0f, 0
	p, err := From(netip.PrefixFrom(netip.AddrFrom16(a), Lengths[rng.IntN(len(Lengths))]).Masked())
	if err != nil {
		panic(err)
	}
	return p
}

// embed is section 1's table of octets, one at a time.
func embed(p Prefix, v4 [4]byte) [16]byte {
	v6 := p.Prefix().Addr().As16()
	at := p.Bits() / 8
	for _, o := range v4 {
		if at == 8 && p.Bits() != 96 {
			at++
		}
		v6[at] = o
		at++
	}
	return v6
}

func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	check := func(v4 [4]byte, suffix [16]byte) bool {
		p := random(rng)
		v6 := p.Embed(v4)
		back, ok := p.Extract(v6)
		noisy := v6 // what lies behind the address does not matter
		for i := max(p.Bits()/8+5, 9); i < 16 && p.Bits() != 96; i++ {
			noisy[i] = suffix[i]
		}
		again, okAgain := p.Extract(noisy)
		return v6 == embed(p, v4) && ok && back == v4 && okAgain && again == v4 && p.Contains(v6) && p.Prefix().Contains(netip.AddrFrom16(v6)) &&
			(p.Bits() == 96 || v6[8] == 0)
	}
	if err := quick.Check(check, &quick.Config{MaxCount: 20000}); err != nil {
		t.Error(err)
	}
}

func TestContains(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 20000 {
		p := random(rng)
		a := p.Embed([4]byte{1, 2, 3, 4})
		bit := rng.IntN(128)
		a[bit/8] ^= 1 << (7 - bit%8)
		if got, want := p.Contains(a), p.Prefix().Contains(netip.AddrFrom16(a)); got != want {
			t.Fatalf("%v contains %v: %v, want %v", p, netip.AddrFrom16(a), got, want)
		}
	}
}

func TestOctet8(t *testing.T) {
	for _, l := range Lengths {
		t.Run(fmt.Sprintf("RFC 6052, 2.2/%d", l), func(t *testing.T) {
			p, err := From(netip.PrefixFrom(netip.MustParseAddr("2001:db8::"), l))
			if err != nil {
				t.Fatal(err)
			}
			v6 := p.Embed([4]byte{192, 0, 2, 33})
			v6[8] = 1
			// Of a /96 the octet belongs to the prefix, so that the address is another prefix's.
			if v4, ok := p.Extract(v6); ok || v4 != [4]byte{} {
				t.Errorf("extracts as %v", netip.AddrFrom4(v4))
			}
		})
	}
	t.Run("RFC 6052, 2.2/suffix", func(t *testing.T) {
		v4, ok := MustParse("2001:db8:122:344::/64").Extract(addr6("2001:db8:122:344:c0:2:2100:1"))
		if !ok || v4 != addr4("192.0.2.33") {
			t.Errorf("%v, %v", netip.AddrFrom4(v4), ok)
		}
	})
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct{ id, text, want string }{
		{"RFC 6052, 2.2", "2001:db8::/95", "length 95 of 2001:db8::/95 is not one of 32, 40, 48, 56, 64, 96 (RFC 6052, 2.2)"},
		{"RFC 6052, 2.2", "2001:db8::/63", "length 63 of 2001:db8::/63 is not one of 32, 40, 48, 56, 64, 96 (RFC 6052, 2.2)"},
		{"RFC 6052, 2.2", "::/0", "length 0 of ::/0 is not one of 32, 40, 48, 56, 64, 96 (RFC 6052, 2.2)"},
		{"RFC 6052, 2.2", "2001:db8::1/128", "length 128 of 2001:db8::1/128 is not one of 32, 40, 48, 56, 64, 96 (RFC 6052, 2.2)"},
		{"RFC 6052, 2.2", "2001:db8::1/96", "2001:db8::1/96 has bits set behind its length: write 2001:db8::/96"},
		{"RFC 6052, 2.2", "2001:db8:0:0:100::/96", "bits 64 to 71 of 2001:db8:0:0:100::/96 are not zero (RFC 6052, 2.2)"},
		{"RFC 6052, 2.1", "64:ff9b::/64", "64:ff9b::/64: the well-known prefix exists as 64:ff9b::/96 only (RFC 6052, 2.1)"},
		{"RFC 6052, 2.1", "64:ff9b::/56", "64:ff9b::/56: the well-known prefix exists as 64:ff9b::/96 only (RFC 6052, 2.1)"},
		{"RFC 6052, 2.1", "64:ff9b::/48", "64:ff9b::/48: the well-known prefix exists as 64:ff9b::/96 only (RFC 6052, 2.1)"},
		{"RFC 6052, 2.1", "64:ff9b::/40", "64:ff9b::/40: the well-known prefix exists as 64:ff9b::/96 only (RFC 6052, 2.1)"},
		{"RFC 6052, 2.1", "64:ff9b::/32", "64:ff9b::/32: the well-known prefix exists as 64:ff9b::/96 only (RFC 6052, 2.1)"},
		{"RFC 6052, 2.2", "::/96", "::/96 lies in ::/32, which holds the unspecified, loopback and IPv4-mapped addresses"},
		{"RFC 6052, 2.2", "fe80::/64", "fe80::/64 lies in fe80::/10, which is link-local"},
		{"RFC 6052, 2.2", "ff0e::/32", "ff0e::/32 lies in ff00::/8, which is multicast"},
		{"RFC 6052, 2.2", "10.0.0.0/8", "10.0.0.0/8 is no IPv6 prefix"},
		{"RFC 6052, 2.2", "::ffff:10.0.0.0/96", `::ffff:10.0.0.0/96 is no IPv6 prefix`},
		{"RFC 6052, 2.2", "64:ff9b::", `"64:ff9b::" is no IPv6 prefix such as 64:ff9b::/96`},
		{"RFC 6052, 2.2", "fe80::%eth0/64", `"fe80::%eth0/64" is no IPv6 prefix such as 64:ff9b::/96`},
		{"RFC 6052, 2.2", "", `"" is no IPv6 prefix such as 64:ff9b::/96`},
	} {
		t.Run(c.id+"/"+c.text, func(t *testing.T) {
			p, err := Parse(c.text)
			if err == nil || err.Error() != c.want || p.IsValid() {
				t.Errorf("%v, %v\nwant %s", p, err, c.want)
			}
			if err := p.UnmarshalText([]byte(c.text)); err == nil || err.Error() != c.want {
				t.Errorf("UnmarshalText: %v", err)
			}
		})
	}
	if _, err := From(netip.Prefix{}); err == nil || err.Error() != "invalid Prefix is no IPv6 prefix" {
		t.Errorf("From nothing: %v", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("MustParse does not panic")
		}
	}()
	MustParse("64:ff9b::/64")
}

// 64:ff9b:1::/48 is not the well-known prefix, and any prefix out of it is like anybody's own.
func TestLocalUsePrefix(t *testing.T) {
	for _, text := range []string{"64:ff9b:1::/48", "64:ff9b:1::/56", "64:ff9b:1::/64", "64:ff9b:1::/96", "64:ff9b:1:fffe::/96"} {
		t.Run("RFC 8215, 5/"+text, func(t *testing.T) {
			p, err := Parse(text)
			if err != nil || p.IsWellKnown() {
				t.Errorf("%v, %v, well-known: %v", p, err, p.IsWellKnown())
			}
		})
	}
	if !MustParse("64:ff9b::/96").IsWellKnown() || !WellKnown.IsWellKnown() {
		t.Error("RFC 6052, 2.1: 64:ff9b::/96 is the well-known prefix")
	}
	if _, ok := WellKnown.Extract(addr6("64:ff9b:1::1.2.3.4")); ok {
		t.Error("RFC 8215, 5: 64:ff9b:1:: is no part of 64:ff9b::/96")
	}
}

func TestZeroValue(t *testing.T) {
	var p Prefix
	_, ok := p.Extract([16]byte{})
	if p.IsValid() || p.IsWellKnown() || p.Contains([16]byte{}) || ok || p.Embed([4]byte{1, 2, 3, 4}) != [16]byte{} || p.Prefix().IsValid() {
		t.Error("the zero value is no prefix")
	}
}

func TestText(t *testing.T) {
	var p Prefix
	if err := p.UnmarshalText([]byte("2001:0DB8:0::/48")); err != nil {
		t.Fatal(err)
	}
	if text, err := p.MarshalText(); err != nil || string(text) != "2001:db8::/48" {
		t.Errorf("%s, %v", text, err)
	}
}

func TestNoAllocation(t *testing.T) {
	p, v4 := MustParse("2001:db8:100::/40"), [4]byte{192, 0, 2, 33}
	if n := testing.AllocsPerRun(100, func() {
		if back, ok := p.Extract(p.Embed(v4)); !ok || back != v4 {
			t.Error(back)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
