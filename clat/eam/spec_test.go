package eam

import (
	"net/netip"
	"testing"

	"uclat/clat/pref64"
)

// behindOwn is m with a PREF64 of its own.
func behindOwn(m Mapping, prefix string) Mapping {
	m.PREF64 = pref64.MustParse(prefix)
	return m
}

func TestNewErrors(t *testing.T) {
	host := pair("192.0.0.2/32", "2001:db8:1:2::c1a7/128", false)
	second := pair("192.0.0.4/32", "2001:db8:1:2::c1a7/128", false)
	two := prefixes("64:ff9b::/96", "2001:db8:64::/96")
	const needDifferent = "2001:db8:1:2::c1a7/128 is mapped twice: hosts that share it need different PREF64"
	for _, c := range []struct {
		id   string
		spec Spec
		want string
	}{
		{"RFC 7757, 3", Spec{Ours: []Mapping{pair("2001:db8::/32", "2001:db8::/32", false)}}, "2001:db8::/32 is no IPv4 prefix"},
		{"RFC 7757, 3", Spec{Ours: []Mapping{{}}}, "invalid Prefix is no IPv4 prefix"},
		{"RFC 7757, 3", Spec{Ours: []Mapping{pair("192.0.2.0/24", "192.0.2.0/24", false)}}, "192.0.2.0/24 is no IPv6 prefix"},
		{"RFC 7757, 3", Spec{Ours: []Mapping{pair("192.0.2.0/24", "::ffff:1.2.3.4/128", false)}}, "::ffff:1.2.3.4/128 is no IPv6 prefix"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("192.0.2.1/24", "2001:db8::/64", false)}}, "192.0.2.1/24 has bits set behind its length: write 192.0.2.0/24"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("192.0.2.0/24", "2001:db8::1/64", false)}}, "2001:db8::1/64 has bits set behind its length: write 2001:db8::/64"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("192.0.2.0/24", "2001:db8::/121", false)}},
			"2001:db8::/121 has fewer addresses than 192.0.2.0/24: its length may be at most 120 (RFC 7757, 3.2)"},
		{"RFC 7757, 3", Spec{Ours: []Mapping{pair("0.0.0.0/32", "2001:db8::1/128", false)}},
			"0.0.0.0/32 has 0.0.0.0/8 addresses, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Ours: []Mapping{pair("127.1.0.0/16", "2001:db8::/64", false)}},
			"127.1.0.0/16 has loopback addresses, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("169.254.0.0/16", "2001:db8::/64", false)}},
			"169.254.0.0/16 has link-local addresses, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("239.0.0.0/8", "2001:db8::/64", false)}},
			"239.0.0.0/8 has multicast addresses, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("255.255.255.255/32", "2001:db8::/64", false)}},
			"255.255.255.255/32 has reserved addresses, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("192.0.2.1/32", "::1/128", false)}},
			"::1/128 has loopback addresses, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("192.0.2.1/32", "::/128", false)}},
			"::/128 has unspecified addresses, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("192.0.2.1/32", "fe80::1/128", false)}},
			"fe80::1/128 has link-local addresses, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("192.0.2.0/24", "ff0e::/96", false)}},
			"ff0e::/96 has multicast addresses, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Ours: []Mapping{host}, Map: []Mapping{pair("192.0.0.2/32", "2001:db8::/128", false)}}, "192.0.0.2/32 is mapped twice"},
		{"RFC 7757, 3", Spec{Ours: []Mapping{host}, Map: []Mapping{pair("192.0.2.2/32", "2001:db8:1:2::c1a7/128", false)}}, "2001:db8:1:2::c1a7/128 is mapped twice"},
		{"RFC 6052, 2.2", Spec{Ours: []Mapping{pair("100.64.0.0/10", "2001:db8::/63", true)}},
			"length 63 of 2001:db8::/63 is not one of 32, 40, 48, 56, 64, 96 (RFC 6052, 2.2)"},
		{"RFC 7915, 4.4", Spec{Ours: []Mapping{host}, Self4: netip.MustParseAddr("2001:db8::1")}, "2001:db8::1 is no IPv4 address"},
		{"RFC 6052, 2.2", Spec{Ours: []Mapping{host}, PREF64: make([]pref64.Prefix, 1)}, "a PREF64 is empty"},
		{"RFC 6146, 3.5", Spec{Ours: []Mapping{host}, PREF64: prefixes("2001:db8:1:2::/96")},
			"2001:db8:1:2::c1a7/128 lies in the PREF64 2001:db8:1:2::/96, from which the NAT64 accepts nothing (RFC 6146, 3.5)"},
		{"RFC 6146, 3.5", Spec{Ours: []Mapping{host}, PREF64: prefixes("64:ff9b::/96", "2001:db8::/32")},
			"2001:db8:1:2::c1a7/128 lies in the PREF64 2001:db8::/32, from which the NAT64 accepts nothing (RFC 6146, 3.5)"},
		{"RFC 6146, 3.5", Spec{Ours: []Mapping{pair("100.64.0.0/10", "2001:db8:1::/48", true)}, PREF64: prefixes("2001:db8:1:6440::/96")},
			"2001:db8:1::/48 covers the PREF64 2001:db8:1:6440::/96, whose addresses would be ours"},

		{"a PREF64 of its own", Spec{Ours: []Mapping{host, behindOwn(host, "2001:db8:64::/96")}, PREF64: two}, "192.0.0.2/32 is mapped twice"},
		{"a PREF64 of its own", Spec{Ours: []Mapping{host, second}}, needDifferent},
		{"a PREF64 of its own", Spec{Ours: []Mapping{host, second}, PREF64: two}, needDifferent},
		{"a PREF64 of its own", Spec{Ours: []Mapping{host, behindOwn(second, "64:ff9b::/96")}, PREF64: two}, needDifferent},
		{"a PREF64 of its own", Spec{Role: PLAT, Ours: []Mapping{host, second}, PREF64: two}, "2001:db8:1:2::c1a7/128 is mapped twice"},
		{"a PREF64 of its own", Spec{Ours: []Mapping{host, behindOwn(second, "2001:db8:64::/96"),
			behindOwn(pair("192.0.0.5/32", "2001:db8:1:2::c1a7/128", false), "2001:db8:64::/96")}, PREF64: two}, needDifferent},
		{"a PREF64 of its own", Spec{Ours: []Mapping{host}, Map: []Mapping{second}, PREF64: two}, "2001:db8:1:2::c1a7/128 is mapped twice"},
		{"a PREF64 of its own", Spec{Role: Router, Ours: []Mapping{host, second}, PREF64: two}, "2001:db8:1:2::c1a7/128 is mapped twice"},
		{"a PREF64 of its own", Spec{Ours: []Mapping{pair("192.0.2.0/24", "2001:db8:1::/120", false),
			behindOwn(pair("198.51.100.0/24", "2001:db8:1::/120", false), "2001:db8:64::/96")}, PREF64: two}, "2001:db8:1::/120 is mapped twice"},
		{"a PREF64 of its own", Spec{Ours: []Mapping{pair("192.0.2.1/32", "2001:db8:1::/64", true),
			behindOwn(pair("192.0.2.2/32", "2001:db8:1::/64", true), "2001:db8:64::/96")}, PREF64: two}, "2001:db8:1::/64 is mapped twice"},
		{"a PREF64 of its own", Spec{Ours: []Mapping{behindOwn(host, "2001:db8:65::/96")}, PREF64: two},
			"192.0.0.2/32 has a PREF64 of its own, 2001:db8:65::/96, from which nothing is accepted: it must be one of all"},
		{"a PREF64 of its own", Spec{Role: PLAT, Ours: []Mapping{behindOwn(host, "64:ff9b::/96")}, PREF64: two},
			"192.0.0.2/32 has a PREF64 of its own, 64:ff9b::/96, which is for the hosts of a CLAT"},
		{"a PREF64 of its own", Spec{Role: Router, Ours: []Mapping{behindOwn(host, "64:ff9b::/96")}, PREF64: two},
			"192.0.0.2/32 has a PREF64 of its own, 64:ff9b::/96, which is for the hosts of a CLAT"},
		{"a PREF64 of its own", Spec{Map: []Mapping{behindOwn(host, "64:ff9b::/96")}, PREF64: two},
			"the explicit mapping of 192.0.0.2/32 has a PREF64, 64:ff9b::/96, which is for the hosts of a CLAT"},
	} {
		t.Run(c.id+"/"+c.want, func(t *testing.T) {
			if m, err := New(c.spec); err == nil || err.Error() != c.want || m != nil {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
	t.Run("RFC 7757, 3/others may lie in a PREF64", func(t *testing.T) {
		table(t, Spec{Ours: []Mapping{host}, Map: eamt(), PREF64: prefixes("64:ff9b::/96")})
	})
}

// The caller may go on changing the lists it gave.
func TestSpecIsCopied(t *testing.T) {
	s := hostSpec()
	s.PREF64 = prefixes("64:ff9b::/96", "2001:db8:64::/96")
	m := table(t, s)
	s.PREF64[0], s.PREF64[1] = pref64.Prefix{}, pref64.Prefix{}
	there(t, m, "192.0.0.2", "8.8.8.8", "2001:db8:1:2::c1a7", "64:ff9b::808:808")
}
