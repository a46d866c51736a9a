package main

import "slices"

// Where the faults are.
const (
	prefix      = "clat/pref64/pref64.go"
	table       = "clat/eam/eam.go"
	addresses   = "clat/eam/address.go"
	mappings    = "clat/eam/spec.go"
	options     = "clat/siit/siit.go"
	to6         = "clat/siit/to6.go"
	to4         = "clat/siit/to4.go"
	header4     = "clat/siit/header4.go"
	header6     = "clat/siit/header6.go"
	fragments   = "clat/siit/fragment.go"
	transport   = "clat/siit/transport.go"
	checksums   = "clat/siit/checksum.go"
	icmp        = "clat/siit/icmp.go"
	icmpTable   = "clat/siit/icmptable.go"
	icmpError   = "clat/siit/icmperror.go"
	extensions  = "clat/siit/extension.go"
	reply       = "clat/siit/reply.go"
	scratch     = "clat/siit/scratch.go"
	hairpin     = "clat/siit/hairpin.go"
	own         = "clat/siit/own.go"
	reassemble  = "clat/siit/reassemble.go"
	tooBig      = "clat/siit/toobig.go"
	pathCache   = "clat/pmtu/pmtu.go"
	reassembler = "clat/reasm/reasm.go"
	engine      = "clat/datapath/datapath.go"
	worker      = "clat/datapath/worker.go"
	events      = "clat/datapath/event.go"
	configKeys  = "clat/config/keys.go"
	configCheck = "clat/config/check.go"
	configSelf  = "clat/config/config.go"
	nodeSelf    = "clat/node/node.go"
	nodeInput   = "clat/node/input.go"
	nodeSend    = "clat/node/send.go"
	nodeMessage = "clat/node/message.go"
	madeAddress = "clat/policy/address.go"
	candidates  = "clat/policy/packet.go"
	tries       = "clat/policy/trial.go"
	conflicts   = "clat/policy/conflict.go"
	decision    = "clat/policy/policy.go"
	pauses      = "clat/policy/pause.go"
	announced   = "discovery/announcements.go"
)

// faults are mistakes that somebody could make, in the order of the requirements that they violate. Each old text is as short as it
// can be and still stand in the file once.
var faults = slices.Concat(
	addressFaults,
	hairpinFaults,
	header4Faults,
	header6Faults,
	icmp4Faults,
	icmp6Faults,
	icmpErrorFaults,
	unmappedFaults,
	transportFaults,
	reassemblyFaults,
	pathMTUFaults,
	nodeFaults,
	sourceFaults,
	dedicatedFaults,
	advertisementFaults,
	resolverFaults,
	useFaults,
)

var addressFaults = []fault{
	{"XLAT-6052-2.2-1", prefix, `{32, 40, 48, 56, 64, 96}`, `{32, 48, 56, 64, 96}`, "length 40 is forgotten"},
	{"XLAT-6052-2.2-1", prefix, `!validLength(p.Bits())`, `p.Bits() < 32 || p.Bits() > 96`,
		"any length between the least and the largest is taken"},
	{"XLAT-6052-2.2-1", prefix, `hi<<n | lo<<8>>(64-n)`, `hi<<n | lo>>(64-n)`, "octet 8 is skipped on one way only"},
	{"XLAT-6052-2.2-2", prefix, `lo|a<<(64-n)>>8`, `lo|a<<(64-n)`, "octet 8 is not skipped"},
	{"XLAT-6052-2.2-2", prefix, `p.Bits() == 96 && a[8] != 0`, `p.Bits() < 96 && a[8] != 0`,
		"octet 8 of a prefix is checked where it is none of it"},
	{"XLAT-6052-2.2-3", prefix, `lo|a<<(64-n)>>8`, `lo|(a<<8|0xff)<<(56-n)>>8`, "the suffix is filled with ones"},
	{"XLAT-6052-2.2-4", prefix, `|| p.bits != 96 && v6[8] != 0`, ``, "octet 8 is not looked at"},
	{"XLAT-6052-2.2-4", prefix, `p.bits != 96 && v6[8] != 0`, `p.bits != 96 && (v6[8] != 0 || v6[15] != 0)`,
		"a suffix that is not zero is refused"},
	{"XLAT-6052-2.1-1", prefix, `a[3] == 0x9b && p.Bits() != 96`, `a[3] == 0x9b && p.Bits() < 64`,
		"the well-known prefix is taken as a /64"},
	{"XLAT-6052-3.1-1", table, `pref.IsWellKnown() && nonGlobal(a)`, `nonGlobal(a)`, "every prefix is restricted"},
	{"XLAT-6052-3.1-1", table, `if t.rejectNonGlobal && p.IsWellKnown()`, `if false && p.IsWellKnown()`,
		"only one direction is restricted"},
	{"XLAT-6052-3.1-1", addresses, `172.16.0.0/12`, `172.16.0.0/16`, "172.16.0.0/12 is taken for a /16"},
	{"XLAT-6052-3.1-1", addresses, `	netip.MustParsePrefix("100.64.0.0/10"),` + "\n", ``, "shared address space is forgotten"},
	{"XLAT-6052-3.1-1", to6, `case clat.DropNoMapping, clat.DropNonGlobal:`, `case clat.DropNoMapping:`, "the sender is not told"},
	{"XLAT-WKP1918-1", table, `t.rejectNonGlobal && pref.IsWellKnown()`, `pref.IsWellKnown()`,
		"non-global addresses are always refused"},
	{"XLAT-8215-5-1", prefix, `p.Bits() < 48 || a[4] == 0 && a[5] == 0`, `p.Bits() < 48 || a[4] == 0`,
		"64:ff9b::/40 is taken for the well-known prefix"},
	{"XLAT-8215-5-1", prefix, `return p == WellKnown`, `return p.hi>>32 == WellKnown.hi>>32`,
		"64:ff9b::/32 is taken for the well-known prefix"},
	{"XLAT-6052-4.1-1", table, `checksum.Add(checksum.Addr6(&p.Src), checksum.Addr6(&p.Dst))`,
		`checksum.Add(checksum.Addr6(&p.Src), checksum.Addr4(&dst))`, "the prefix is taken for checksum-neutral"},
	{"XLAT-6052-5.1-1", table, `(neverRemote(*v4) || t.isOurs(*v4))`, `neverRemote(*v4)`, "a source may claim to be one of our clients"},
	{"XLAT-6052-5.1-1", addresses, `a[3] < 8`, `a[3] < 7`, "192.0.0.0/29 is one address short"},
	{"XLAT-7757-3-1", mappings, `hi, lo = low>>(64-shift), low<<shift`, `hi, lo = 0, low<<shift`,
		"a suffix across the middle of the address is cut"},
}

var transportFaults = []fault{
	{"XLAT-CK-1", table, `p.Delta = checksum.Sub(six, four)`, `p.Delta = checksum.Sub(four, six)`,
		"the difference is taken the wrong way, toward IPv6"},
	{"XLAT-CK-1", table, `p.Delta = checksum.Sub(four, six)`, `p.Delta = checksum.Sub(six, four)`,
		"the difference is taken the wrong way, toward IPv4"},
	{"XLAT-CK-1", checksums, `checksumAtTCP  = 16`, `checksumAtTCP  = 18`, "TCP's urgent pointer is taken for its checksum"},
	{"XLAT-CK-2", to6, "if h.offset == 0 {\n\t\tif t.mss", "if h.offset == 0 || len(p) > h.hlen+20 {\n\t\tif t.mss",
		"the payload of later fragments is changed, toward IPv6"},
	{"XLAT-CK-2", to4, "if h.offset == 0 {\n\t\tif t.mss", "if h.offset == 0 || len(p) > h.hlen+20 {\n\t\tif t.mss",
		"the payload of later fragments is changed, toward IPv4"},
	{"XLAT-CK-3", checksums, `(proto == protoUDP || proto == protoUDPLite)`, `proto == protoUDPLite`, "a UDP checksum of 0x0000 is sent"},
	{"XLAT-CK-3", checksums, `field == 0 && (proto == protoUDP || proto == protoUDPLite)`, `field == 0`, "TCP's 0x0000 becomes 0xffff"},
	{"XLAT-CK-4", to6, `case h.mf || t.dropZeroUDP4:`, `case h.mf:`, "the setting has no effect"},
	{"XLAT-CK-4", checksums, `checksum.Pseudo6(&pair.Src, &pair.Dst, uint32(n), protoUDP), checksum.Sum(p[:n])`,
		`checksum.Pseudo6(&pair.Src, &pair.Dst, uint32(len(p)), protoUDP), checksum.Sum(p)`,
		"the checksum covers the packet, not the datagram"},
	{"XLAT-CK-4", checksums, `uint32(n), protoUDP), checksum`, `uint32(len(p)), protoUDP), checksum`,
		"the pseudo-header has the length of the packet"},
	{"XLAT-CK-4", checksums, `n < 8 || n > len(p)`, `n < 8 || n > cap(p)`, "the checksum covers what lies behind the packet"},
	{"XLAT-CK-4", checksums, `n < 8 || n > len(p)`, `n < 8 || n != len(p)`, "a datagram with something behind it is refused"},
	{"XLAT-CK-4", checksums, `n < 8 || n > len(p)`, `n > len(p)`, "a UDP Length within the header passes"},
	{"XLAT-CK-4", to6, `case !fillUDP6(p[h.hlen:], &pair):`, `case !fillUDP6(p[h.hlen:], &pair) && false:`,
		"a datagram longer than its packet passes without a checksum"},
	{"XLAT-CK-5", to6, `case h.mf || t.dropZeroUDP4:`, `case t.dropZeroUDP4:`,
		"the checksum of a first fragment is computed over the fragment"},
	{"XLAT-CK-6", to4, `case !t.passZeroUDP6:`, `case t.passZeroUDP6:`, "the setting is turned round"},
	{"XLAT-CK-8", checksums, `case protoUDP, protoUDPLite, protoDCCP:`, `case protoUDP, protoUDPLite:`, "DCCP passes unchanged"},
	{"XLAT-CK-9", to6, `f.L4 = uint16(head)`, `f.L4 = uint16(h.hlen)`, "the transport header's offset stays"},
	{"XLAT-CK-9", to6, `wire := f.WireLen(h.hlen+transport)`, `wire := f.Len()`,
		"the whole super-packet is compared with the MTU"},
	{"XLAT-CK-9", reply, "\tif wire < len(p) {\n\t\tshorten4(q[head:], h, wire)\n\t}\n", ``,
		"the quote tells the super-packet's length, in IPv4"},
	{"XLAT-CK-9", reply, "\tif wire < len(p) {\n\t\tshorten6(q[head:], h, wire)\n\t}\n", ``,
		"the quote tells the super-packet's length, in IPv6"},
	{"XLAT-CK-9", reply, `wire := firstSegment(f, h.hlen, h.proto)`, `wire := len(p)`, "the super-packet itself is quoted, in IPv4"},
	{"XLAT-CK-9", reply, `wire := firstSegment(f, h.hlen, h.next)`, `wire := len(p)`, "the super-packet itself is quoted, in IPv6"},
	{"XLAT-CK-9", reply, `quote := p[:min(wire, maxError4-head)]`, `quote := p[:min(len(p), maxError4-head)]`,
		"more than a segment is quoted, in IPv4"},
	{"XLAT-CK-9", reply, `quote := p[:min(wire, maxError6-head)]`, `quote := p[:min(len(p), maxError6-head)]`,
		"more than a segment is quoted, in IPv6"},
	{"XLAT-CK-9", reply, `^checksum.Sum(q[:h.hlen])`, `^checksum.Sum(q[:len4])`, "the quoted header's checksum is made without the options"},
	{"XLAT-CK-9", reply, "\tq[10], q[11] = 0, 0\n", ``, "the quoted header's checksum is made over the old one"},
	{"XLAT-CK-9", reply, `uint16(wire-len6)`, `uint16(wire-h.hlen)`, "extension headers do not count in the quoted Payload Length"},
	{"XLAT-CK-9", reply, `uint16(wire-l4)`, `uint16(wire-l4-lenUDP)`, "the quoted UDP length does not count its header"},
	{"XLAT-CK-9", reply, "\tshortenUDP(q, h.hlen, h.proto, wire)\n", ``, "the quoted UDP length is the super-packet's, in IPv4"},
	{"XLAT-CK-9", reply, "\tshortenUDP(q, h.hlen, h.next, wire)\n", ``, "the quoted UDP length is the super-packet's, in IPv6"},
	{"XLAT-CK-9", reply, `proto == protoUDP && len(q) >= l4+lenUDP`, `proto == protoUDP`, "a length is written that is not quoted"},
	{"XLAT-CK-9", reply, `transport, ok := transportLen(f.Bytes()[l4:], proto, false)`, `transport, ok := lenTCP, true`,
		"every transport header has 20 octets"},
	{"XLAT-CK-9", fragments, `six.id = uint32(uint16(six.id + 1))`, `six.id++`, "the Identification goes on counting beyond 16 bits"},
	{"XLAT-CK-9", fragments, `six.id = uint32(uint16(six.id + 1))`, `_ = six.id`, "all datagrams have one Identification"},
	{"XLAT-CK-9", fragments, `six.id = uint32(uint16(six.id + 1))`, `six.id = uint32(s.id.next())`,
		"a device would have chosen other Identifications"},
	{"XLAT-CK-9", fragments, `if f.Checksum != frame.ChecksumPartial {`, `if false {`,
		"fragments of datagrams of which no checksum is known pass"},
	{"XLAT-CK-9", to4, "\t\tf.SegSize = uint16(t.mtu4 - len4 - transport)\n", ``, "segments stay larger than the IPv4 MTU"},
	{"XLAT-CK-9", to4, `uint16(t.mtu4 - len4 - transport)`, `uint16(t.mtu4 - len4 - lenTCP)`,
		"TCP's options do not count in the new segment size"},
	{"XLAT-CK-9", to4, `t.mtu4-len4-transport >= 8`, `true`, "the segment size goes below 0"},
	{"XLAT-CK-9", to4, `t.mtu4-len4-transport >= 8`, `t.mtu4-len4-transport > 8`, "the least segment that there may be is refused"},
	{"XLAT-CK-9", to4, `case f.GSO == frame.NotSegmented:`, `case f.GSO != frame.SegmentTCP:`,
		"the datagrams of a super-packet become fragments of one"},
	{"XLAT-CK-9", to6, `case f.GSO != frame.NotSegmented:`, `case false:`, "segmented UDP without a checksum passes, toward IPv6"},
	{"XLAT-CK-9", to4, `case f.GSO != frame.NotSegmented:`, `case false:`, "segmented UDP without a checksum passes, toward IPv4"},
	{"XLAT-CK-9", transport, `fragment, int(f.L4) != l4`, `int(f.L4) != l4`, "fragments may have a partial checksum"},
	{"XLAT-CK-9", transport, `int(f.L4) != l4, `, ``, "the transport header may be elsewhere"},
	{"XLAT-CK-9", transport, `, int(f.ChecksumAt) != at,`, `, at < 0,`, "the checksum may be elsewhere"},
	{"XLAT-CK-9", transport, `at, gso = checksumAtUDP, frame.SegmentUDP`, `at, gso = checksumAtUDP, f.GSO`, "UDP may come in segments of TCP"},
	{"XLAT-CK-9", transport, `at, gso := checksumAtTCP, frame.SegmentTCP`, `at, gso := checksumAtTCP, f.GSO`,
		"TCP may come in datagrams of UDP"},
	{"XLAT-CK-9", transport, ` || f.SegSize == 0`, ``, "segments may be empty"},
	{"XLAT-CK-9", transport, `case proto != protoTCP && proto != protoUDP, `, `case `, "any protocol may be segmented as TCP is"},
}
