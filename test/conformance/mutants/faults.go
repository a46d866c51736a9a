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
	datapath    = "clat/datapath/datapath.go"
	events      = "clat/datapath/event.go"
	configKeys  = "clat/config/keys.go"
	configCheck = "clat/config/check.go"
)

// faults are mistakes that somebody could make, in the order of the requirements that they violate. Each old text is as short as it
// can be and still stand in the file once.
var faults = slices.Concat(
	addressFaults,
	header4Faults,
	header6Faults,
	icmp4Faults,
	icmp6Faults,
	icmpErrorFaults,
	unmappedFaults,
	transportFaults,
	pathMTUFaults,
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
	{"XLAT-6052-3.1-1", table, `t.current.IsWellKnown() && nonGlobal(a)`, `nonGlobal(a)`, "every prefix is restricted"},
	{"XLAT-6052-3.1-1", table, `if t.rejectNonGlobal && p.IsWellKnown()`, `if false && p.IsWellKnown()`,
		"only one direction is restricted"},
	{"XLAT-6052-3.1-1", addresses, `172.16.0.0/12`, `172.16.0.0/16`, "172.16.0.0/12 is taken for a /16"},
	{"XLAT-6052-3.1-1", addresses, `	netip.MustParsePrefix("100.64.0.0/10"),` + "\n", ``, "shared address space is forgotten"},
	{"XLAT-6052-3.1-1", to6, `case clat.DropNoMapping, clat.DropNonGlobal:`, `case clat.DropNoMapping:`, "the sender is not told"},
	{"XLAT-WKP1918-1", table, `t.rejectNonGlobal && t.current.IsWellKnown()`, `t.current.IsWellKnown()`,
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
	{"XLAT-7757-4-1", table, `case t.isSelf(a) || ours == oursIsSource && e != nil && e.ours:`, `case t.isSelf(a):`,
		"packets to ourselves go round"},
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
	{"XLAT-CK-5", to6, `case h.mf || t.dropZeroUDP4:`, `case t.dropZeroUDP4:`,
		"the checksum of a first fragment is computed over the fragment"},
	{"XLAT-CK-6", to4, `case !t.passZeroUDP6:`, `case t.passZeroUDP6:`, "the setting is turned round"},
	{"XLAT-CK-7", to6, `if h.proto == protoICMP {`, `if h.proto == protoICMP && !h.isFragment() {`,
		"fragments pass as an unknown protocol, toward IPv6"},
	{"XLAT-CK-7", to4, `if h.next == protoICMPv6 {`, `if h.next == protoICMPv6 && !h.isFragment() {`,
		"fragments pass as an unknown protocol, toward IPv4"},
	{"XLAT-CK-8", checksums, `case protoUDP, protoUDPLite, protoDCCP:`, `case protoUDP, protoUDPLite:`, "DCCP passes unchanged"},
	{"XLAT-CK-9", to6, `f.L4 = uint16(head)`, `f.L4 = uint16(h.hlen)`, "the transport header's offset stays"},
	{"XLAT-CK-9", to6, `f.WireLen(h.hlen+transport)+growth <= t.mtu6`, `f.Len()+growth <= t.mtu6`,
		"the whole super-packet is compared with the MTU"},
}

var pathMTUFaults = []fault{
	{"PMTU-8201-4-1", icmpError, `if word < clat.MinMTU6 {`, `if word == 0 {`, "any MTU but 0 is taken"},
	{"PMTU-8201-4-1", icmpError, `if word < clat.MinMTU6 {`, `if word < clat.MinMTU6-1 {`, "1279 is taken"},
	{"PMTU-8201-4-1", icmpError, `if word < clat.MinMTU6 {`, `if word <= clat.MinMTU6 {`, "1280 is refused"},
	{"PMTU-8201-4-2", icmpTable, `min(min(mtu, uint32(t.mtu6))-less, uint32(t.mtu4))`, `mtu - less`, "the MTU is not capped"},
	{"PMTU-CLAT-3", icmpError, ` || in.src != h.dst`, ``, "a quoted packet may come from another address"},
	{"PMTU-CLAT-3", icmpError, `&in.dst, true) != clat.DropNone`, `&in.dst, true) == clat.DropHairpin`, "a quoted packet may go anywhere"},
	{"PMTU-4821/8899", options, `uint16(min(o.MTU6-len6, o.MTU4-len4) - lenTCP)`, `uint16(min(o.MTU6, o.MTU4) - len4 - lenTCP)`,
		"the larger IPv6 header is forgotten"},
	{"PMTU-4821/8899", to4, `if t.mss != 0 && h.next == protoTCP {`, `if false && h.next == protoTCP {`, "only one direction is clamped"},
	{"PMTU-4821/8899", transport, `if old <= t.mss {`, `if old == t.mss {`, "a smaller size is raised"},
}
