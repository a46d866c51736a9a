package differential

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
)

// The addresses of both translators.
var (
	self4  = netip.MustParseAddr("192.0.2.1") // the sources of their own ICMP errors
	self6  = netip.MustParseAddr("2001:db8:5e1f::1")
	prefix = netip.MustParsePrefix("2001:db8:64::/96") // PREF64: stands for all that has no mapping
)

// mapping is an explicit address mapping. Single addresses have no length, and the lowest bits of both sides' prefixes are at the same
// place within the last octet: TAYGA can do no other.
type mapping struct{ four, six string }

var mappings = []mapping{
	{"198.51.100.7", "2001:db8:a::7"},
	{"198.51.100.8", "2001:db8:b:1:2:3:4:5"},
	{"198.51.100.250", "2001:db8:3::a"}, // markers
	{"198.51.100.251", "2001:db8:3::b"},
	{"203.0.113.0/24", "2001:db8:c::/120"},
	{"192.0.2.64/29", "2001:db8:d::c000:240/125"},
	{"192.0.2.128/28", "2001:db8:e::80/124"},
}

// host is an address in both families.
type host struct{ four, six net.IP }

func (h host) is(a []byte) bool { return bytes.Equal(a, h.four) || bytes.Equal(a, h.six) }

var (
	singles = []host{mapped("198.51.100.7", "2001:db8:a::7"), mapped("198.51.100.8", "2001:db8:b:1:2:3:4:5")}
	markers = []host{mapped("198.51.100.250", "2001:db8:3::a"), mapped("198.51.100.251", "2001:db8:3::b")}
)

func mapped(four, six string) host {
	return host{netip.MustParseAddr(four).AsSlice(), netip.MustParseAddr(six).AsSlice()}
}

// behind is an address behind PREF64.
func behind(four uint32) host {
	h := host{binary.BigEndian.AppendUint32(nil, four), prefix.Addr().AsSlice()}
	copy(h.six[12:], h.four)
	return h
}

// pick is a random host: by the mapping of one address, by that of a prefix, or behind PREF64.
func pick(r *rand.Rand) host {
	switch r.IntN(3) {
	case 0:
		return singles[r.IntN(len(singles))]
	case 1:
		return pickMapped(r)
	}
	return pool.any[r.IntN(len(pool.any))]
}

// pickMapped is one by the mapping of a prefix.
func pickMapped(r *rand.Rand) host {
	return within("203.0.113.0", "2001:db8:c::", byte(r.IntN(256)))
}

// mappedTo is the host of that prefix with this IPv4 address.
func mappedTo(four []byte) host { return within("203.0.113.0", "2001:db8:c::", four[3]) }

// isTwin is whether an address is behind PREF64 and stands for a host that has another one by the mapping of that prefix.
func isTwin(six []byte) bool {
	a, _ := netip.AddrFromSlice(six)
	return prefix.Contains(a) && mappedTo(six[12:]).is(six[12:])
}

// pool is addresses behind PREF64, of hosts that are sent packets of all kinds, and of those of pickNarrow. There are not so many that
// TAYGA would forget what it knows of them.
var pool = func() (p struct{ any, narrow [1000]host }) {
	r := rand.New(rand.NewPCG(46, 64))
	nets := []struct{ net, mask uint32 }{
		{8 << 24, 1<<24 - 1}, {10 << 24, 1<<24 - 1}, {100<<24 | 64<<16, 1<<22 - 1}, {192<<24 | 168<<16, 1<<16 - 1},
	}
	for i := range p.any {
		n := nets[i%len(nets)]
		p.any[i] = behind(n.net | r.Uint32()&n.mask)
		p.narrow[i] = behind(172<<24 | 31<<16 | r.Uint32()&0xffff)
	}
	return p
}()

// pickNarrow is the same for those that packets are said to be too big for: what a translator learns of them must not show in other
// packets.
func pickNarrow(r *rand.Rand) host {
	switch r.IntN(3) {
	case 0:
		return within("192.0.2.64", "2001:db8:d::c000:240", byte(r.IntN(8)))
	case 1:
		return within("192.0.2.128", "2001:db8:e::80", byte(r.IntN(16)))
	}
	return pool.narrow[r.IntN(len(pool.narrow))]
}

// within is the n-th host of a prefix that is mapped.
func within(four, six string, n byte) host {
	h := mapped(four, six)
	h.four[3] |= n
	h.six[15] |= n
	return h
}

// pair is the two ends of a packet, which are not the same.
func pair(r *rand.Rand, pick func(*rand.Rand) host) (src, dst host) {
	for src, dst = pick(r), pick(r); src.is(dst.four); dst = pick(r) {
	}
	return src, dst
}
