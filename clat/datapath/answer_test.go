package datapath

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"uclat/clat/checksum"
)

// router6 is on the host's own link, and far6 behind the NAT64 on the way to the peer.
var router6, far6 = netip.MustParseAddr("fe80::1"), netip.MustParseAddr("64:ff9b::192.0.2.1")

// from is an ICMPv6 message of src to dst, with its checksum.
func from(src, dst netip.Addr, message ...[]byte) []byte {
	p := six(protoICMP6, message...)
	copy(p[8:], addr(src))
	copy(p[24:], addr(dst))
	sealed(p, 40)
	return p
}

// sealed makes the checksum of the ICMPv6 message at p[at:] right.
func sealed(p []byte, at int) []byte {
	src, dst := [16]byte(p[8:24]), [16]byte(p[24:40])
	p[at+2], p[at+3] = 0, 0
	sum := checksum.Add(checksum.Sum(p[at:]), checksum.Pseudo6(&src, &dst, uint32(len(p)-at), protoICMP6))
	binary.BigEndian.PutUint16(p[at+2:], ^sum)
	return p
}

// edited is p with the octet at `at` changed.
func edited(p []byte, at int) []byte {
	p = slices.Clone(p)
	p[at] ^= 1
	return p
}

// behind puts an extension header in front of the message in p.
func behind(p []byte, next byte, header []byte) []byte {
	p = slices.Insert(p, 40, header...)
	p[6] = next
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	return p
}

// answers are packets that may answer a request. Their makers may change them as they like.
var answers = []struct {
	name string
	make func(request []byte) []byte
	from netip.Addr
	what string // empty: it is none
}{
	{"echo reply", func(q []byte) []byte { return from(peer6, host6, []byte{129, 0, 0, 0}, q[44:]) }, peer6, "echo reply"},
	{"echo reply, padded", func(q []byte) []byte {
		return append(from(peer6, host6, []byte{129, 0, 0, 0}, q[44:]), make([]byte, 6)...)
	}, peer6, "echo reply"},
	{"echo reply behind options", func(q []byte) []byte {
		return behind(from(peer6, host6, []byte{129, 0, 0, 0}, q[44:]), 0, options(protoICMP6))
	}, peer6, "echo reply"},
	{"echo reply in an atomic fragment", func(q []byte) []byte {
		return behind(from(peer6, host6, []byte{129, 0, 0, 0}, q[44:]), 44, fragment(protoICMP6, 0))
	}, peer6, "echo reply"},
	{"time exceeded", func(q []byte) []byte { return from(router6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, q) }, router6, "time exceeded"},
	{"time exceeded with another hop limit and traffic class in the quote", func(q []byte) []byte {
		return from(router6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, edited(edited(q, 7), 1))
	}, router6, "time exceeded"},
	{"time exceeded about 8 octets", func(q []byte) []byte {
		return from(far6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, q[:48])
	}, far6, "time exceeded"},
	{"time exceeded about 13 octets", func(q []byte) []byte {
		return from(far6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, q[:53])
	}, far6, "time exceeded"},
	{"RFC 4884, 3/time exceeded with an extension structure", func(q []byte) []byte {
		return from(router6, host6, []byte{3, 0, 0, 0, 16, 0, 0, 0}, q, make([]byte, 128-len(q)), []byte{0x20, 0, 0xdf, 0xff})
	}, router6, "time exceeded"},
	{"unreachable", func(q []byte) []byte { return from(peer6, host6, []byte{1, 3, 0, 0, 0, 0, 0, 0}, q) }, peer6, "unreachable, code 3"},
	{"packet too big", func(q []byte) []byte { return from(far6, host6, []byte{2, 0, 0, 0, 0, 0, 5, 0}, q) }, far6, "packet too big"},
	{"parameter problem", func(q []byte) []byte { return from(far6, host6, []byte{4, 1, 0, 0, 0, 0, 0, 6}, q) }, far6, "parameter problem, code 1"},

	{"echo reply of another", func(q []byte) []byte { return from(far6, host6, []byte{129, 0, 0, 0}, q[44:]) }, far6, ""},
	{"echo reply to another", func(q []byte) []byte { return from(peer6, far6, []byte{129, 0, 0, 0}, q[44:]) }, far6, ""},
	{"echo reply, identifier", func(q []byte) []byte { return from(peer6, host6, []byte{129, 0, 0, 0}, edited(q, 45)[44:]) }, peer6, ""},
	{"echo reply, sequence number", func(q []byte) []byte { return from(peer6, host6, []byte{129, 0, 0, 0}, edited(q, 47)[44:]) }, peer6, ""},
	{"echo reply, data", func(q []byte) []byte { return from(peer6, host6, []byte{129, 0, 0, 0}, edited(q, 55)[44:]) }, peer6, ""},
	{"echo reply, less data", func(q []byte) []byte { return from(peer6, host6, []byte{129, 0, 0, 0}, q[44:55]) }, peer6, ""},
	{"echo reply, more data", func(q []byte) []byte { return from(peer6, host6, []byte{129, 0, 0, 0}, q[44:], []byte{0}) }, peer6, ""},
	{"echo reply, code", func(q []byte) []byte { return from(peer6, host6, []byte{129, 1, 0, 0}, q[44:]) }, peer6, ""},
	{"echo reply, checksum", func(q []byte) []byte {
		return edited(from(peer6, host6, []byte{129, 0, 0, 0}, q[44:]), 42)
	}, peer6, ""},
	{"echo reply, cut", func(q []byte) []byte { return from(peer6, host6, []byte{129, 0, 0, 0}, q[44:])[:55] }, peer6, ""},
	{"echo reply in a fragment", func(q []byte) []byte {
		return behind(from(peer6, host6, []byte{129, 0, 0, 0}, q[44:]), 44, fragment(protoICMP6, 1))
	}, peer6, ""},
	{"echo request", func(q []byte) []byte { return from(peer6, host6, []byte{128, 0, 0, 0}, q[44:]) }, peer6, ""},
	{"the request", slices.Clone[[]byte], host6, ""},
	{"UDP", func(q []byte) []byte { return sealed(six(17, []byte{129, 0, 0, 0}, q[44:]), 40) }, peer6, ""},
	{"time exceeded, checksum", func(q []byte) []byte {
		return edited(from(router6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, q), 42)
	}, router6, ""},
	{"time exceeded to another", func(q []byte) []byte { return from(router6, far6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, q) }, router6, ""},
	{"time exceeded about a packet of another", func(q []byte) []byte {
		return from(router6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, edited(q, 23))
	}, router6, ""},
	{"time exceeded about a packet to another", func(q []byte) []byte {
		return from(router6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, edited(q, 39))
	}, router6, ""},
	{"time exceeded about another identifier", func(q []byte) []byte {
		return from(router6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, edited(q, 44))
	}, router6, ""},
	{"time exceeded about other data", func(q []byte) []byte {
		return from(router6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, edited(q, 48))
	}, router6, ""},
	{"time exceeded about a longer packet", func(q []byte) []byte {
		q[5]++
		return from(router6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, q, []byte{0})
	}, router6, ""},
	{"time exceeded about an answer", func(q []byte) []byte {
		return from(router6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, edited(q, 40))
	}, router6, ""},
	{"time exceeded about another code", func(q []byte) []byte {
		return from(router6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, edited(q, 41))
	}, router6, ""},
	{"time exceeded about UDP", func(q []byte) []byte {
		q[6] = 17
		return from(router6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, q)
	}, router6, ""},
	{"time exceeded about a fragment", func(q []byte) []byte {
		return from(router6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, behind(q, 44, fragment(protoICMP6, 1)))
	}, router6, ""},
	{"time exceeded about 7 octets", func(q []byte) []byte {
		return from(router6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, q[:47])
	}, router6, ""},
	{"time exceeded about nothing", func([]byte) []byte { return from(router6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}) }, router6, ""},
	{"a message without a header", func([]byte) []byte { return from(router6, host6, []byte{3, 0, 0, 0}) }, router6, ""},
	{"an error of type 0", func(q []byte) []byte { return from(router6, host6, []byte{0, 0, 0, 0, 0, 0, 0, 0}, q) }, router6, ""},
	{"an error of type 5", func(q []byte) []byte { return from(router6, host6, []byte{5, 0, 0, 0, 0, 0, 0, 0}, q) }, router6, ""},
}
