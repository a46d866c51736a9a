package dns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uclat/clat/pref64"
)

func addrs(s string) (as []netip.Addr) {
	for _, f := range strings.Fields(s) {
		as = append(as, netip.MustParseAddr(f))
	}
	return as
}

func names(ps []pref64.Prefix) string {
	var s []string
	for _, p := range ps {
		s = append(s, p.String())
	}
	return strings.Join(s, " ")
}

// RFC 7050, 3.
func TestPrefixes(t *testing.T) {
	for _, tt := range []struct{ name, aaaa, want string }{
		// RFC 7050, 3, with the six example prefixes of RFC 6052, 2.4
		{"32", "2001:db8:c000:aa::", "2001:db8::/32"},
		{"40", "2001:db8:1c0:0:aa::", "2001:db8:100::/40"},
		{"48", "2001:db8:122:c000:0:aa00::", "2001:db8:122::/48"},
		{"56", "2001:db8:122:3c0:0:aa::", "2001:db8:122:300::/56"},
		{"64", "2001:db8:122:344:c0:0:aa00:0", "2001:db8:122:344::/64"},
		{"96", "2001:db8:122:344::c000:aa", "2001:db8:122:344::/96"},
		{"WKP", "64:ff9b::c000:aa", "64:ff9b::/96"},
		{"32 by 171", "2001:db8:c000:ab::", "2001:db8::/32"},
		{"40 by 171", "2001:db8:1c0:0:ab::", "2001:db8:100::/40"},
		{"48 by 171", "2001:db8:122:c000:0:ab00::", "2001:db8:122::/48"},
		{"56 by 171", "2001:db8:122:3c0:0:ab::", "2001:db8:122:300::/56"},
		{"64 by 171", "2001:db8:122:344:c0:0:ab00:0", "2001:db8:122:344::/64"},
		{"96 by 171", "2001:db8:122:344::c000:ab", "2001:db8:122:344::/96"},
		{"WKP by 171", "64:ff9b::c000:ab", "64:ff9b::/96"},
		{"both addresses are one prefix", "64:ff9b::c000:ab 64:ff9b::c000:aa", "64:ff9b::/96"},
		{"local-use prefix of RFC 8215", "64:ff9b:1:fffe::c000:aa", "64:ff9b:1:fffe::/96"},
		{"suffix is not looked at", "2001:db8:c000:aa::1", "2001:db8::/32"},

		{"WKP with another length", "64:ff9b:c000:aa::", ""},
		{"WKP as a 64", "64:ff9b:0:0:c0:0:aa00:0", ""},
		{"octet 8 not zero", "2001:db8:122:344:1c0:0:aa00:0", ""},
		{"octet 8 not zero in a 96", "2001:db8:122:344:100:0:c000:aa", ""},
		{"between two places", "2001:db8:0:0:0:c0:0:aa00", ""},
		{"another address of 192.0.0.0 24", "64:ff9b::c000:ac", ""},
		{"IPv4-mapped", "::ffff:192.0.0.170", ""},
		{"IPv4-compatible", "::192.0.0.170", ""},
		{"link-local", "fe80::c000:aa", ""},
		{"multicast", "ff02::c000:aa", ""},
		{"IPv4", "192.0.0.170", ""},
		{"captive portal", "2001:db8::1", ""},
		{"captive portal beside a prefix", "2001:db8::1 2001:db8:122:344::c000:aa", "2001:db8:122:344::/96"},
		{"nothing", "", ""},

		// The value stands twice: as a /32 and as a /64.
		{"ambiguous alone", "2001:db8:c000:aa:c0:0:aa00:0", ""},
		{"ambiguous alone by 171", "2001:db8:c000:ab:c0:0:ab00:0", ""},
		{"ambiguous, the 171 record tells the 64",
			"2001:db8:c000:aa:c0:0:aa00:0 2001:db8:c000:aa:c0:0:ab00:0", "2001:db8:c000:aa::/64"},
		{"ambiguous, the 171 record first",
			"2001:db8:c000:aa:c0:0:ab00:0 2001:db8:c000:aa:c0:0:aa00:0", "2001:db8:c000:aa::/64"},
		{"ambiguous, the 171 record tells the 32",
			"2001:db8:c000:aa:c0:0:aa00:0 2001:db8:c000:ab:c0:0:aa00:0", "2001:db8::/32"},
		{"ambiguous, the 170 record tells of 171",
			"2001:db8:c000:ab:c0:0:aa00:0 2001:db8:c000:ab:c0:0:ab00:0", "2001:db8:c000:ab::/64"},
		{"ambiguous, the other record is about another prefix",
			"2001:db8:c000:aa:c0:0:aa00:0 64:ff9b::c000:ab", "64:ff9b::/96"},
		{"170 within the prefix of a 96",
			"2001:db8:c000:aa::c000:aa 2001:db8:c000:aa::c000:ab", "2001:db8:c000:aa::/96"},
		{"170 twice, once where no prefix ends", "2001:c000:aa::c000:aa", ""},
		{"170 twice, once where no prefix ends, but confirmed",
			"2001:c000:aa::c000:aa 2001:c000:aa::c000:ab", "2001:c000:aa::/96"},
		{"170 ambiguous, 171 found once", "2001:c000:aa:c000:aa:0:c000:ab", "2001:c000:aa:c000:aa::/96"},

		// Several prefixes
		{"order of arrival", "2001:db8:2::c000:aa 64:ff9b::c000:aa 2001:db8:1::c000:ab 2001:db8:2::c000:ab",
			"2001:db8:2::/96 64:ff9b::/96 2001:db8:1::/96"},
		{"lengths mixed", "2001:db8:122:c000:0:aa00:: 2001:db8:122:344::c000:aa", "2001:db8:122::/48 2001:db8:122:344::/96"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, names(Prefixes(addrs(tt.aaaa)))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.aaaa, diff)
			}
		})
	}
}

// Whatever the prefix, what a DNS64 makes of the two addresses leads back to it.
func TestPrefixesInvertEmbed(t *testing.T) {
	for _, s := range []string{"2001:db8::/32", "2001:db8:100::/40", "2001:db8:122::/48", "2001:db8:122:300::/56", "2001:db8:122:344::/64",
		"2001:db8:122:344::/96", "64:ff9b:1::/48", "64:ff9b::/96", "2001:db8:c000:aa::/64", "2001:db8:c000:ab::/96", "c000:aa::/32",
		"2001:c000:ab:c0:0:aa::/96"} {
		p := pref64.MustParse(s)
		got := Prefixes([]netip.Addr{
			netip.AddrFrom16(p.Embed([4]byte{192, 0, 0, 171})),
			netip.AddrFrom16(p.Embed([4]byte{192, 0, 0, 170})),
		})
		if names(got) != s {
			t.Errorf("%s: found %v", s, got)
		}
	}
}
