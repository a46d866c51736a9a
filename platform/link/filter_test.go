package link

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
)

// meta is what the kernel knows of a packet besides its octets.
type meta struct {
	kind uint32 // toHost, ...
	vlan uint32 // 1: a tag was taken off
}

// run is the verdict of a program. The virtual machine has no extensions: constants stand in for them.
func run(t testing.TB, program []bpf.Instruction, m meta, p []byte) bool {
	t.Helper()
	ins := make([]bpf.Instruction, len(program))
	for i, in := range program {
		if x, ok := in.(bpf.LoadExtension); ok {
			in = bpf.LoadConstant{Dst: bpf.RegA, Val: m.kind}
			if x.Num == bpf.ExtVLANTagPresent {
				in = bpf.LoadConstant{Dst: bpf.RegA, Val: m.vlan}
			}
		}
		ins[i] = in
	}
	vm, err := bpf.NewVM(ins)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(p)
	if err != nil {
		t.Fatal(err)
	}
	if n != 0 && n < len(p) {
		t.Errorf("cut to %d of %d octets", n, len(p))
	}
	return n != 0
}

// ipv6 is a packet to dst whose payload begins with first.
func ipv6(dst string, next, hops, first byte) []byte {
	p := make([]byte, 40+24)
	p[0], p[5], p[atNext], p[atHops], p[atType] = 0x60, 24, next, hops, first
	copy(p[atDst:], netip.MustParseAddr(dst).AsSlice())
	return p
}

func prefixes(s ...string) (ps []netip.Prefix) {
	for _, p := range s {
		ps = append(ps, netip.MustParsePrefix(p))
	}
	return ps
}

func TestFilters(t *testing.T) {
	const own, other, near, group = "2001:db8::c1a7:1234:5678", "2001:db8::1", "2001:db8::1:1234:5678", "ff02::1:ff34:5678"
	const udp, ns, na = 17, solicitation, advertisement
	single := prefixes(own + "/128")
	type both struct{ data, nd bool }
	for _, tt := range []struct {
		name   string
		to     []netip.Prefix
		meta   meta
		packet []byte
		want   both
	}{
		{"data", single, meta{}, ipv6(own, udp, 64, 0), both{data: true}},
		{"nothing asked for", nil, meta{}, ipv6(own, udp, 64, 0), both{}},
		{"nothing asked for, ND", nil, meta{kind: toMulticast}, ipv6("ff02::1", icmpv6, 255, na), both{}},
		{"for the host", single, meta{}, ipv6(other, udp, 64, 0), both{}},
		{"last bit", single, meta{}, ipv6("2001:db8::c1a7:1234:5679", udp, 64, 0), both{}},
		{"first bit", single, meta{}, ipv6("a001:db8::c1a7:1234:5678", udp, 64, 0), both{}},
		{"third word", single, meta{}, ipv6("2001:db8::c1a6:1234:5678", udp, 64, 0), both{}},
		{"another host's", single, meta{kind: 3}, ipv6(own, udp, 64, 0), both{}},
		{"our own", single, meta{kind: 4}, ipv6(own, udp, 64, 0), both{}},
		{"broadcast", single, meta{kind: 1}, ipv6(own, udp, 64, 0), both{}},
		{"data in multicast frames", single, meta{kind: toMulticast}, ipv6(own, udp, 64, 0), both{}},
		{"of a VLAN", single, meta{vlan: 1}, ipv6(own, udp, 64, 0), both{}},
		{"IPv4", single, meta{}, append([]byte{0x45}, ipv6(own, udp, 64, 0)[1:]...), both{}},
		{"cut off", single, meta{}, ipv6(own, udp, 64, 0)[:39], both{}},
		{"empty", single, meta{}, nil, both{}},
		{"header only", single, meta{}, ipv6(own, 59, 64, 0)[:40], both{data: true}},

		{"echo request", single, meta{}, ipv6(own, icmpv6, 255, 128), both{data: true}},
		{"packet too big", single, meta{}, ipv6(own, icmpv6, 64, 2), both{data: true}},
		{"multicast listener report", single, meta{}, ipv6(own, icmpv6, 255, 132), both{data: true}},
		{"router solicitation", single, meta{}, ipv6(own, icmpv6, 255, 133), both{}},
		{"router advertisement", single, meta{}, ipv6(own, icmpv6, 255, 134), both{}},
		{"neighbor solicitation", single, meta{}, ipv6(own, icmpv6, 255, ns), both{nd: true}},
		{"neighbor advertisement", single, meta{}, ipv6(own, icmpv6, 255, na), both{nd: true}},
		{"redirect", single, meta{}, ipv6(own, icmpv6, 255, 137), both{}},
		{"renumbering", single, meta{}, ipv6(own, icmpv6, 255, 138), both{data: true}},
		{"solicitation of another link", single, meta{}, ipv6(own, icmpv6, 254, ns), both{data: true}},
		{"UDP that looks so", single, meta{}, ipv6(own, udp, 255, ns), both{data: true}},
		{"ICMPv6 without a type", single, meta{}, ipv6(own, icmpv6, 255, 0)[:40], both{}},

		{"solicitation to the group", single, meta{kind: toMulticast}, ipv6(group, icmpv6, 255, ns), both{nd: true}},
		{"on a link without multicast frames", single, meta{}, ipv6(group, icmpv6, 255, ns), both{nd: true}},
		{"to another group", single, meta{kind: toMulticast}, ipv6("ff02::1:ff34:5679", icmpv6, 255, ns), both{}},
		{"to the group from another link", single, meta{kind: toMulticast}, ipv6(group, icmpv6, 64, ns), both{}},
		{"to the group, of a VLAN", single, meta{kind: toMulticast, vlan: 1}, ipv6(group, icmpv6, 255, ns), both{}},
		{"advertisement to all", single, meta{kind: toMulticast}, ipv6("ff02::1", icmpv6, 255, na), both{nd: true}},
		{"solicitation to all", single, meta{kind: toMulticast}, ipv6("ff02::1", icmpv6, 255, ns), both{}},
		{"router advertisement to all", single, meta{kind: toMulticast}, ipv6("ff02::1", icmpv6, 255, 134), both{}},
		{"solicitation for another host", single, meta{kind: 3}, ipv6(own, icmpv6, 255, ns), both{}},
		{"our own solicitation", single, meta{kind: 4}, ipv6(group, icmpv6, 255, ns), both{}},
		{"ND with a header between", single, meta{kind: toMulticast}, ipv6(group, 0, 255, ns), both{}},

		{"/64", prefixes("2001:db8:1::/64"), meta{}, ipv6("2001:db8:1::77", udp, 64, 0), both{data: true}},
		{"beside /64", prefixes("2001:db8:1::/64"), meta{}, ipv6("2001:db8:1:1::77", udp, 64, 0), both{}},
		{"/56", prefixes("2001:db8:1:ff00::/56"), meta{}, ipv6("2001:db8:1:ff77::", udp, 64, 0), both{data: true}},
		{"beside /56", prefixes("2001:db8:1:ff00::/56"), meta{}, ipv6("2001:db8:1:fe77::", udp, 64, 0), both{}},
		{"bits behind the prefix", prefixes("2001:db8:1:ff77::9/56"), meta{}, ipv6("2001:db8:1:ff00::1", udp, 64, 0), both{data: true}},
		{"no ND for prefixes", prefixes("2001:db8:1::/64"), meta{}, ipv6("2001:db8:1::77", icmpv6, 255, ns), both{}},
		{"nor their groups", prefixes("2001:db8:1::/64"), meta{kind: toMulticast}, ipv6("ff02::1:ff00:0", icmpv6, 255, ns), both{}},
		{"nor all nodes", prefixes("2001:db8:1::/64"), meta{kind: toMulticast}, ipv6("ff02::1", icmpv6, 255, na), both{}},
		{"second of two", prefixes("2001:db8:1::/96", own+"/128"), meta{}, ipv6(own, udp, 64, 0), both{data: true}},
		{"first of two", prefixes("2001:db8:1::/96", own+"/128"), meta{}, ipv6("2001:db8:1::8", udp, 64, 0), both{data: true}},
		{"none of two", prefixes("2001:db8:1::/96", own+"/128"), meta{}, ipv6(near, udp, 64, 0), both{}},
		{"same group, other address", single, meta{}, ipv6(near, icmpv6, 255, ns), both{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, at := range []uint32{0, 14} {
				p := append(make([]byte, at), tt.packet...)
				got := both{run(t, dataFilter(tt.to, at), tt.meta, p), run(t, ndFilter(tt.to, at), tt.meta, p)}
				if got != tt.want {
					t.Errorf("header at %d: %+v, want %+v", at, got, tt.want)
				}
			}
		})
	}
}

// A program has room for the most and longest prefixes, within the kernel's limits too (BPF_MAXINSNS, and 20 KB of optmem_max for both).
func TestLongestFilters(t *testing.T) {
	var to []netip.Prefix
	for i := range maxPrefixes {
		to = append(to, netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d::%d/128", i, i)))
	}
	last := to[len(to)-1].Addr().String()
	if !run(t, dataFilter(to, 14), meta{}, append(make([]byte, 14), ipv6(last, 17, 64, 0)...)) {
		t.Error("data for the last prefix was not let in")
	}
	if !run(t, ndFilter(to, 14), meta{kind: toMulticast}, append(make([]byte, 14), ipv6("ff02::1", icmpv6, 255, advertisement)...)) {
		t.Error("advertisement to all nodes was not let in")
	}
	if n := len(dataFilter(to, 14)) + len(ndFilter(to, 14)); n > 300 {
		t.Errorf("%d instructions", n)
	}
}

func TestCheckPrefixes(t *testing.T) {
	for _, tt := range []struct {
		to []netip.Prefix
		ok bool
	}{
		{nil, true},
		{prefixes("2001:db8::/64", "fe80::1/128"), true},
		{make([]netip.Prefix, 1), false},
		{prefixes("192.0.2.1/32"), false},
		{[]netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:192.0.2.1"), 128)}, false},
		{prefixes("::/1", "::/2", "::/3", "::/4", "::/5", "::/6", "::/7", "::/8", "::/9"), false},
	} {
		if err := checkPrefixes(tt.to); (err == nil) != tt.ok {
			t.Errorf("%v: %v", tt.to, err)
		}
	}
}

// The programs say of any octets what a plain reading of the rules says.
func FuzzFilters(f *testing.F) {
	f.Add(ipv6("2001:db8::1", 17, 64, 0), uint8(0), uint8(0), uint8(128))
	f.Add(ipv6("2001:db8::1", icmpv6, 255, solicitation), uint8(0), uint8(0), uint8(64))
	f.Add(ipv6("ff02::1:ff00:1", icmpv6, 255, advertisement), uint8(2), uint8(0), uint8(128))
	f.Add(ipv6("ff02::1", icmpv6, 255, advertisement), uint8(2), uint8(1), uint8(3))
	f.Fuzz(func(t *testing.T, p []byte, kind, vlan, bits uint8) {
		to := []netip.Prefix{
			netip.MustParsePrefix("2001:db8:9::/48"),
			netip.PrefixFrom(netip.MustParseAddr("2001:db8::1"), int(bits)%129),
		}
		if len(p) < 40 {
			return // a header that is cut off is for the translator to refuse
		}
		m := meta{kind: uint32(kind) % 8, vlan: uint32(vlan) % 2}
		if got, want := run(t, dataFilter(to, 0), m, p), wantData(to, m, p); got != want {
			t.Errorf("data: %v", got)
		}
		if got, want := run(t, ndFilter(to, 0), m, p), wantND(to, m, p); got != want {
			t.Errorf("ND: %v", got)
		}
	})
}

func wantData(to []netip.Prefix, m meta, p []byte) bool {
	if m != (meta{kind: toHost}) || p[0]>>4 != 6 {
		return false
	}
	if p[6] == 58 && p[7] == 255 && (len(p) == 40 || p[40] >= 133 && p[40] <= 137) {
		return false
	}
	dst := netip.AddrFrom16([16]byte(p[24:40]))
	return to[0].Contains(dst) || to[1].Contains(dst)
}

func wantND(to []netip.Prefix, m meta, p []byte) bool {
	if m.vlan != 0 || m.kind != 0 && m.kind != 2 || len(p) <= 40 || p[0]>>4 != 6 || p[6] != 58 || p[7] != 255 || p[40] != 135 && p[40] != 136 {
		return false
	}
	dst := netip.AddrFrom16([16]byte(p[24:40]))
	return to[1].Bits() == 128 && (dst == to[1].Addr() || dst.String() == "ff02::1:ff00:1" || dst.String() == "ff02::1" && p[40] == 136)
}
