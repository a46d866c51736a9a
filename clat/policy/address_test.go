package policy

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/pref64"
)

// RFC 7217, 5: stable as long as nothing changes, and another one wherever something does.
func TestMakeAddress(t *testing.T) {
	home := netip.MustParsePrefix("2001:db8:1::/64")
	a := makeAddress(secret, home, "eth0", 0)
	if !home.Contains(a) {
		t.Errorf("%v does not lie in %v", a, home)
	}
	// What was in use yesterday is in use after the update of today: a change of how addresses are made is one that users see.
	if want := netip.MustParseAddr("2001:db8:1:0:36ff:b716:a455:74b9"); a != want {
		t.Errorf("the address is %v in other versions, and now it is %v", want, a)
	}
	for _, tt := range []struct {
		what   string
		other  netip.Addr
		differ bool
	}{
		{"once more", makeAddress(secret, home, "eth0", 0), false},
		{"an address of the prefix instead of the prefix", makeAddress(secret, netip.MustParsePrefix("2001:db8:1::5/64"), "eth0", 0), false},
		{"another network", makeAddress(secret, netip.MustParsePrefix("2001:db8:2::/64"), "eth0", 0), true},
		{"another interface", makeAddress(secret, home, "eth1", 0), true},
		{"an interface whose name ends with a zero octet", makeAddress(secret, home, "eth0\x00", 0), true},
		{"another secret", makeAddress([32]byte{31: 1}, home, "eth0", 0), true},
		{"no secret", makeAddress([32]byte{}, home, "eth0", 0), true},
		{"the second address", makeAddress(secret, home, "eth0", 1), true},
	} {
		if same := identifier(tt.other) == identifier(a); same == tt.differ {
			t.Errorf("%s: %v and %v", tt.what, a, tt.other)
		}
	}
}

// None looks like one that was made of a MAC address, with ff:fe in the middle (RFC 7136 and RFC 8064), but for those that do by chance;
// all bits of them are in use, and none comes twice.
func TestMadeIdentifiers(t *testing.T) {
	const networks = 4096
	known := map[uint64]netip.Addr{}
	var ones, zeros uint64
	likeMAC := 0
	for i := range networks {
		p := netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, 4: byte(i >> 8), 5: byte(i)}), 64)
		for count := range identifierRetries + 1 {
			a := makeAddress(secret, p, "wlan0", count)
			id := identifier(a)
			if other, taken := known[id]; taken {
				t.Fatalf("%v and %v have the same identifier", a, other)
			}
			known[id] = a
			ones, zeros = ones|id, zeros|^id
			if id>>24&0xffff == 0xfffe {
				likeMAC++
			}
		}
	}
	if ones != ^uint64(0) || zeros != ^uint64(0) {
		t.Errorf("bits that are never set: %x; never clear: %x", ^ones, ^zeros)
	}
	if likeMAC > 3 { // one of 65536 is expected to
		t.Errorf("%d of %d look as if they were made of a MAC address", likeMAC, len(known))
	}
}

func identifier(a netip.Addr) uint64 {
	b := a.As16()
	return binary.BigEndian.Uint64(b[8:])
}

// RFC 5453 and the registry that it made.
func TestReservedIdentifier(t *testing.T) {
	for _, tt := range []struct {
		id   uint64
		want bool
	}{
		{0, true}, // Subnet-Router anycast (RFC 4291, 2.6.1)
		{1, false},
		{0x02005efffdffffff, false},
		{0x02005efffe000000, true}, // RFC 5453
		{0x02005efffe005213, true}, // Proxy Mobile IPv6 (RFC 6543)
		{0x02005efffeffffff, true},
		{0x02005effff000000, false},
		{0xfdffffffffffff7f, false},
		{0xfdffffffffffff80, true}, // anycast (RFC 2526)
		{0xfdfffffffffffffe, true}, // Mobile IPv6 Home-Agents
		{0xfdffffffffffffff, true},
		{0xfe00000000000000, false},
		{0xffffffffffffffff, false},
	} {
		if got := reservedIdentifier(tt.id); got != tt.want {
			t.Errorf("%#016x: reserved %v", tt.id, got)
		}
	}
}

// Translation with a neutral address leaves the sum of the addresses as it is, whatever the destination. The translator's own table says so.
func TestNeutral(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, plat := range []string{"64:ff9b::/96", "2001:db8:64::/96", "fd00:64:0:ffff::/96", "2001:500::/32", "2a00::/32"} {
		p := pref64.MustParse(plat)
		for _, host := range []string{"100.64.46.4", "192.0.0.2", "10.255.255.255"} {
			v4 := netip.MustParseAddr(host)
			made := makeAddress(secret, netip.MustParsePrefix("2001:db8:1::/64"), "eth0", random.IntN(4))
			a, ok := neutral(made, p, v4)
			if !ok {
				t.Errorf("%v: refused", p)
				continue
			}
			before, after := made.As16(), a.As16()
			if before[12], before[13] = after[12], after[13]; before != after {
				t.Errorf("%v became %v: more than two octets changed", made, a)
			}
			if again, _ := neutral(a, p, v4); again != a {
				t.Errorf("%v is neutral, and neutral again it is %v", a, again)
			}
			checkNeutral(t, random, a, v4, p)
		}
	}
	// An address of these has its IPv4 address across the 16-bit words of a sum, or not all of it.
	for _, plat := range []string{"2001:db8:100::/40", "2001:db8:122::/48", "2001:db8:122:300::/56", "2001:db8:122:344::/64"} {
		made := netip.MustParseAddr("2001:db8:1::1:2:3:4")
		if a, ok := neutral(made, pref64.MustParse(plat), netip.MustParseAddr("192.0.0.2")); ok || a != made {
			t.Errorf("%s: %v, though no address is neutral for all destinations", plat, a)
		}
	}
}

func checkNeutral(t *testing.T, random *rand.Rand, a, v4 netip.Addr, p pref64.Prefix) {
	t.Helper()
	table, err := eam.New(eam.Spec{Ours: []eam.Mapping{{IPv4: netip.PrefixFrom(v4, 32), IPv6: alone(a)}}, PREF64: []pref64.Prefix{p}})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		var dst [4]byte
		binary.BigEndian.PutUint32(dst[:], 0x08000000+random.Uint32N(0x50000000)) // remote, as far as the table goes
		if dst[0] == 10 {
			continue
		}
		var out eam.Pair6
		if reason := table.To6(&out, v4.As4(), dst, false); reason != clat.DropNone {
			t.Fatalf("to %v: %v", dst, reason)
		}
		var back eam.Pair4
		if reason := table.To4(&back, &out.Dst, &out.Src, false); reason != clat.DropNone {
			t.Fatalf("from %v: %v", dst, reason)
		}
		// Both are zero in ones' complement.
		if out.Delta != 0 && out.Delta != 0xffff || back.Delta != 0 && back.Delta != 0xffff {
			t.Fatalf("%v behind %v, to %v: the sum changes by %#x, and back by %#x", a, p, netip.AddrFrom4(dst), out.Delta, back.Delta)
		}
	}
}
