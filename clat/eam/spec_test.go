package eam

import (
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/pref64"
)

func TestNewErrors(t *testing.T) {
	host := pair("192.0.0.2/32", "2001:db8:1:2::c1a7/128", false)
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
			"0.0.0.0/32 is this network, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Ours: []Mapping{pair("127.1.0.0/16", "2001:db8::/64", false)}},
			"127.1.0.0/16 is loopback, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("169.254.0.0/16", "2001:db8::/64", false)}},
			"169.254.0.0/16 is link-local, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("239.0.0.0/8", "2001:db8::/64", false)}},
			"239.0.0.0/8 is multicast, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("255.255.255.255/32", "2001:db8::/64", false)}},
			"255.255.255.255/32 is reserved, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("192.0.2.1/32", "::1/128", false)}},
			"::1/128 is loopback, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("192.0.2.1/32", "::/128", false)}},
			"::/128 is unspecified, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("192.0.2.1/32", "fe80::1/128", false)}},
			"fe80::1/128 is link-local, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Map: []Mapping{pair("192.0.2.0/24", "ff0e::/96", false)}},
			"ff0e::/96 is multicast, which no packet may cross a router with"},
		{"RFC 7757, 3", Spec{Ours: []Mapping{host}, Map: []Mapping{pair("192.0.0.2/32", "2001:db8::/128", false)}}, "192.0.0.2/32 is mapped twice"},
		{"RFC 7757, 3", Spec{Ours: []Mapping{host}, Map: []Mapping{pair("192.0.2.2/32", "2001:db8:1:2::c1a7/128", false)}}, "2001:db8:1:2::c1a7/128 is mapped twice"},
		{"RFC 6052, 2.2", Spec{Ours: []Mapping{pair("100.64.0.0/10", "2001:db8::/63", true)}},
			"length 63 of 2001:db8::/63 is not one of 32, 40, 48, 56, 64, 96 (RFC 6052, 2.2)"},
		{"RFC 7915, 4.4", Spec{Ours: []Mapping{host}, Self4: netip.MustParseAddr("2001:db8::1")}, "2001:db8::1 is no IPv4 address"},
		{"RFC 6052, 2.2", Spec{Ours: []Mapping{host}, PREF64: make([]pref64.Prefix, 1)}, "a PREF64 is empty"},
		{"SRC-6146-3.5", Spec{Ours: []Mapping{host}, PREF64: prefixes("2001:db8:1:2::/96")},
			"2001:db8:1:2::c1a7/128 lies in the PREF64 2001:db8:1:2::/96, from which the NAT64 accepts nothing (RFC 6146, 3.5)"},
		{"SRC-6146-3.5", Spec{Ours: []Mapping{host}, PREF64: prefixes("64:ff9b::/96", "2001:db8::/32")},
			"2001:db8:1:2::c1a7/128 lies in the PREF64 2001:db8::/32, from which the NAT64 accepts nothing (RFC 6146, 3.5)"},
		{"SRC-6146-3.5", Spec{Ours: []Mapping{pair("100.64.0.0/10", "2001:db8:1::/48", true)}, PREF64: prefixes("2001:db8:1:6440::/96")},
			"2001:db8:1::/48 covers the PREF64 2001:db8:1:6440::/96, whose addresses would be ours"},
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

func octets(b []byte, n int) []byte {
	out := make([]byte, n)
	copy(out, b)
	return out
}

// FuzzTable builds a table of one mapping of ours, one of others and one PREF64, and sends a packet there and back.
func FuzzTable(f *testing.F) {
	f.Add([]byte{192, 0, 0, 2}, uint8(32), []byte{0x20, 1, 0x0d, 0xb8, 15: 1}, uint8(128), false,
		[]byte{203, 0, 113}, uint8(24), []byte{0x20, 1, 0x0d, 0xb9}, uint8(64), []byte{0, 0x64, 0xff, 0x9b}, uint8(5), []byte{192, 0, 0, 2}, []byte{8, 8, 8, 8}, false)
	f.Add([]byte{100, 64}, uint8(10), []byte{0x20, 1, 0x0d, 0xb8}, uint8(64), true,
		[]byte{192, 0, 2, 192}, uint8(29), []byte{0x20, 1, 0x0d, 0xb8, 0xee, 0xee, 0, 8}, uint8(62), []byte{0x20, 1, 0x0d, 0xb8, 0, 0x64}, uint8(2),
		[]byte{100, 64, 1, 2}, []byte{192, 0, 2, 193}, true)
	// A source that nobody could answer.
	f.Add([]byte{203, 0, 113, 48}, uint8(32), []byte{0x20, 1, 0x0d, 0xb8}, uint8(53), false,
		[]byte{203}, uint8(16), []byte{0x20, 1, 0x0d, 0xb9}, uint8(17), []byte{0, 0x64, 0xff, 0x9b, 0, 1}, uint8(3), []byte{192, 0, 0, 2}, []byte{203, 0, 113, 48}, true)
	f.Fuzz(func(t *testing.T, own4 []byte, ownBits4 uint8, own6 []byte, ownBits6 uint8, embed bool,
		map4 []byte, mapBits4 uint8, map6 []byte, mapBits6 uint8, nat []byte, natLength uint8, src, dst []byte, plat bool) {
		prefix := func(b []byte, size int, bits uint8) netip.Prefix {
			a, _ := netip.AddrFromSlice(octets(b, size))
			return netip.PrefixFrom(a, int(bits)%(size*8+1)).Masked()
		}
		s := Spec{
			PLAT: plat,
			Ours: []Mapping{{IPv4: prefix(own4, 4, ownBits4), IPv6: prefix(own6, 16, ownBits6), Embed: embed}},
			Map:  []Mapping{{IPv4: prefix(map4, 4, mapBits4), IPv6: prefix(map6, 16, mapBits6)}},
		}
		length := pref64.Lengths[int(natLength)%len(pref64.Lengths)]
		if p, err := pref64.From(prefix(nat, 16, uint8(length))); err == nil {
			s.PREF64 = append(s.PREF64, p)
		}
		m, err := New(s)
		if err != nil {
			if m != nil || err.Error() == "" {
				t.Fatalf("%v with the error %q", m, err)
			}
			return
		}
		from, to := [4]byte(octets(src, 4)), [4]byte(octets(dst, 4))
		var six Pair6
		if m.To6(&six, from, to, false) != clat.DropNone {
			return
		}
		// Where mappings overlap, the longest match of the way back need not be that of the way there (RFC 7757, 3.3).
		if s.Ours[0].IPv6.Overlaps(s.Map[0].IPv6) || len(s.PREF64) > 0 && s.PREF64[0].Prefix().Overlaps(s.Map[0].IPv6) {
			return
		}
		var four Pair4
		reason := m.To4(&four, &six.Dst, &six.Src, false)
		if reason == clat.DropNone && (four.Src != to || four.Dst != from) {
			t.Fatalf("%v to %v comes back as %v to %v by way of %v, %v", from, to, four.Dst, four.Src, netip.AddrFrom16(six.Src), netip.AddrFrom16(six.Dst))
		}
		switch reason {
		case clat.DropNone, clat.DropSource, clat.DropMulticast, clat.DropSpoofed, clat.DropHairpin:
		default:
			t.Fatalf("the answer is dropped: %v", reason)
		}
	})
}
