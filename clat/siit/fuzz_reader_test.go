package siit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"uclat/clat/eam"
	"uclat/clat/pref64"
)

// network is the addresses that a subject knows: one host, or the clients of 100.64.0.0/10, and all others behind a NAT64 prefix. A router
// has both as mapped hosts, and two more.
type network struct {
	plat, clients, rejectNonGlobal, router bool
	nat64                                  netip.Prefix // zero: 64:ff9b::/96
}

var (
	clients4 = netip.MustParsePrefix("100.64.0.0/10")
	clients6 = netip.MustParsePrefix("2001:db8:c::/64")

	// Two IPv6 hosts that have a mapping each.
	alice4, alice6 = netip.MustParseAddr("185.0.2.1"), netip.MustParseAddr("2001:db8:a::1")
	bob4, bob6     = netip.MustParseAddr("185.0.2.2"), netip.MustParseAddr("2001:db8:b::2")
)

func (n network) prefix() netip.Prefix {
	if n.nat64.IsValid() {
		return n.nat64
	}
	return netip.MustParsePrefix("64:ff9b::/96")
}

func (n network) table(t testing.TB) *eam.Table {
	t.Helper()
	s := eam.Spec{PREF64: []pref64.Prefix{pref64.MustParse(n.prefix().String())}, Self4: self4, RejectNonGlobal: n.rejectNonGlobal}
	if n.plat {
		s.Role = eam.PLAT
	}
	s.Ours = []eam.Mapping{{IPv4: netip.PrefixFrom(host4, 32), IPv6: netip.PrefixFrom(host6, 128)}}
	if n.clients {
		s.Ours = []eam.Mapping{{IPv4: clients4, IPv6: clients6, Embed: true}}
	}
	if n.router {
		s.Role, s.Map, s.Ours = eam.Router, append(s.Ours, single(alice4, alice6), single(bob4, bob6)), nil
	}
	m, err := eam.New(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func single(v4, v6 netip.Addr) eam.Mapping {
	return eam.Mapping{IPv4: netip.PrefixFrom(v4, 32), IPv6: netip.PrefixFrom(v6, 128)}
}

// mapped is whether a, of either family, is by a mapping and not by the prefix.
func (n network) mapped(a netip.Addr) bool {
	return a.IsValid() && (a.Is4() && !n.prefix().Contains(n.to6(a)) || a.Is6() && !n.prefix().Contains(a) && n.to4(a).IsValid())
}

// detour is whether a is the prefix's way to a host that has a mapping.
func (n network) detour(a netip.Addr) bool {
	return n.router && n.prefix().Contains(a) && n.mapped(n.to4(a))
}

// to6 is the IPv6 address that stands for a.
func (n network) to6(a netip.Addr) netip.Addr {
	switch {
	case n.router && a == alice4:
		return alice6
	case n.router && a == bob4:
		return bob6
	case !n.clients && a == host4:
		return host6
	case n.clients && clients4.Contains(a):
		return embedded(clients6, a)
	}
	return embedded(n.prefix(), a)
}

// to4 is the IPv4 address that a stands for; the zero Addr where it stands for none.
func (n network) to4(a netip.Addr) netip.Addr {
	switch {
	case n.router && a == alice6:
		return alice4
	case n.router && a == bob6:
		return bob4
	case !n.clients && a == host6:
		return host4
	case n.clients && clients6.Contains(a):
		if inner := extracted(clients6, a); clients4.Contains(inner) {
			return inner
		}
		return netip.Addr{}
	case n.prefix().Contains(a):
		return extracted(n.prefix(), a)
	}
	return netip.Addr{}
}

// embedded is RFC 6052, 2.2, one octet at a time.
func embedded(p netip.Prefix, a netip.Addr) netip.Addr {
	v6 := p.Addr().As16()
	for i, at := range octetsBehind(p) {
		v6[at] = a.AsSlice()[i]
	}
	return netip.AddrFrom16(v6)
}

// extracted is the zero Addr where octet 8 is not 0.
func extracted(p netip.Prefix, a netip.Addr) netip.Addr {
	v6, v4 := a.As16(), [4]byte{}
	for i, at := range octetsBehind(p) {
		v4[i] = v6[at]
	}
	if v6[8] != 0 {
		return netip.Addr{}
	}
	return netip.AddrFrom4(v4)
}

// octetsBehind is where an IPv4 address stands behind p.
func octetsBehind(p netip.Prefix) [4]int {
	return map[int][4]int{
		32: {4, 5, 6, 7}, 40: {5, 6, 7, 9}, 48: {6, 7, 9, 10}, 56: {7, 9, 10, 11}, 64: {9, 10, 11, 12}, 96: {12, 13, 14, 15},
	}[p.Bits()]
}

// received is a packet as its own headers describe it.
type received struct {
	version         int
	src, dst        netip.Addr
	tos, ttl, proto uint8
	id              uint32
	df, mf          bool
	offset          int    // octets
	fragmentHeader  bool   // IPv6
	beyond          bool   // an extension header stands behind the fragment header
	joined          bool   // put together again from fragments that we made
	routing         int    // where the first Segments Left that is not 0 stands; 0: nowhere
	options         []byte // IPv4
	head            int    // octets of IP headers
	total           int    // octets of the packet, as its length field says
	payload         []byte // as much of it as is there
}

func (r received) isFragment() bool { return r.mf || r.offset > 0 }

func (r received) isICMP() bool { return r.proto == protoICMP || r.proto == protoICMPv6 }

// isError is an ICMP message that must not be answered by an ICMP error. Without a type there is no knowing.
func (r received) isError() bool {
	switch {
	case !r.isICMP() || r.offset > 0:
		return false
	case len(r.payload) == 0:
		return true
	case r.version == 6:
		return r.payload[0] < 128
	}
	return bytes.Contains([]byte{3, 4, 5, 11, 12}, r.payload[:1])
}

func (r received) String() string {
	return fmt.Sprintf("IPv%d %v to %v, protocol %d, TOS %#02x, TTL %d, DF %v, MF %v at %d of %#x (header %v, beyond %v), routing %d, options %x, "+
		"%d and %d of %d octets %.100x", r.version, r.src, r.dst, r.proto, r.tos, r.ttl, r.df, r.mf, r.offset, r.id, r.fragmentHeader, r.beyond,
		r.routing, r.options, r.head, len(r.payload), r.promised(), r.payload)
}

// promised is the octets of payload that the length field tells of.
func (r received) promised() int { return r.total - r.head }

// read is false where the headers are not all there, or contradict the length field.
func read(p []byte) (r received, ok bool) {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		flags := binary.BigEndian.Uint16(p[6:])
		r = received{
			version: 4, src: netip.AddrFrom4([4]byte(p[12:])), dst: netip.AddrFrom4([4]byte(p[16:])),
			tos: p[1], ttl: p[8], proto: p[9], id: uint32(binary.BigEndian.Uint16(p[4:])),
			df: flags&0x4000 != 0, mf: flags&0x2000 != 0, offset: int(flags&0x1fff) * 8,
			head: int(p[0]&15) * 4, total: int(binary.BigEndian.Uint16(p[2:])),
		}
		if r.head < 20 || r.head > len(p) || r.total < r.head {
			return r, false
		}
		r.options = p[20:r.head]
	case len(p) >= 40 && p[0]>>4 == 6:
		r = received{
			version: 6, src: netip.AddrFrom16([16]byte(p[8:])), dst: netip.AddrFrom16([16]byte(p[24:])),
			tos: p[0]<<4 | p[1]>>4, ttl: p[7], proto: p[6], head: 40, total: 40 + int(binary.BigEndian.Uint16(p[4:])),
		}
		if !r.readExtensions(p) {
			return r, false
		}
	default:
		return r, false
	}
	r.payload = p[r.head:max(r.head, min(len(p), r.total))]
	return r, true
}

func (r *received) readExtensions(p []byte) bool {
	for {
		at := r.head
		switch r.proto {
		case 0, 43, 44, 60:
			if at+8 > min(len(p), r.total) {
				return false
			}
		default:
			return true
		}
		kind := r.proto
		r.proto = p[at]
		if kind == 44 {
			word := binary.BigEndian.Uint16(p[at+2:])
			r.fragmentHeader, r.offset, r.mf, r.id = true, int(word&^7), word&1 != 0, binary.BigEndian.Uint32(p[at+4:])
			r.beyond = bytes.Contains([]byte{0, 43, 44, 51, 60, 135, 139, 140}, p[at:at+1])
			r.head += 8
			return true
		}
		if kind == 43 && p[at+3] != 0 && r.routing == 0 {
			r.routing = at + 3
		}
		r.head += 8 + int(p[at+1])*8
		if r.head > min(len(p), r.total) {
			return false
		}
	}
}
