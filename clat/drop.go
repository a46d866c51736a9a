package clat

// DropReason says why a packet was not forwarded. The names are a promise: they appear in counters, logs and captures.
type DropReason uint8

const (
	DropNone DropReason = iota

	// The packet is not what it says.
	DropVersion   // neither IPv4 nor IPv6, or empty
	DropHeader    // IP header truncated or with impossible lengths (RFC 1812, 5.2.2; RFC 8200, 3)
	DropChecksum  // IPv4 header checksum wrong (RFC 1812, 5.2.2)
	DropTransport // transport header truncated, or a checksum that must be right is wrong (RFC 5508, REQ-3)
	DropExtension // IPv6 extension headers truncated, too many, or behind a fragment header (RFC 7915, 5.1.1)
	DropFragment  // impossible fragment: offset, length, or more than 65535 octets in all (RFC 8200, 4.5)
	DropOffload   // segmentation or partial checksum on what is not plain TCP or UDP, or with values that contradict the packet

	// The packet is right, but not ours to forward.
	DropSource         // source that may not send here: illegal (RFC 7915, 4.1 and 5.1), or not one of our clients
	DropMulticast      // destination is multicast or broadcast: has no mapping and gets no error (RFC 7915, 4.2)
	DropNoMapping      // an address that neither a prefix nor a map covers (RFC 7915, 5.6)
	DropNonGlobal      // non-global IPv4 address behind 64:ff9b::/96, with wkp-non-global = "reject" (RFC 6052, 3.1)
	DropSpoofed        // IPv6 source that embeds an address no remote host has: ours, that of a mapped host, loopback, ... (RFC 6052, 5.1)
	DropHairpin        // to our own address, or one that the host delivers itself (RFC 7757, 4)
	DropSourceRoute    // unexpired source route or routing header (RFC 7915, 4.1 and 5.1)
	DropProtocol       // protocol number that means something else in the other family: ICMP of the wrong one, extension headers
	DropTTL            // TTL or hop limit ran out (RFC 7915, 4.1 and 5.1)
	DropTooBig         // larger than the way out takes, and not to be fragmented (RFC 7915, 4.1 and 1.4)
	DropZeroChecksum   // UDP checksum 0 where the other family has none (RFC 7915, 4.5; RFC 8200, 8.1)
	DropFragmentedICMP // ICMP in fragments cannot be translated piece by piece (RFC 7915, 1.2)
	DropIGMP           // IGMP and MLD stay on their link (RFC 7915, 4.2 and 5.2)
	DropICMPType       // ICMP type or code without a counterpart (RFC 7915, 4.2 and 5.2)
	DropICMPInner      // ICMP error about a packet that is truncated, an ICMP error itself, or not ours (RFC 7915, 4.3 and 5.3)
	DropPTBTooSmall    // Packet Too Big below 1280 octets (RFC 8201, 4)
	DropLocalSource    // IPv6 source that embeds an address to which the host has a route elsewhere than into the TUN (RFC 3704, 2.2)
	DropInbound        // not asked for from here, with inbound = "replies"

	// The fragment was kept, or could have been, to put its datagram together.
	DropFragmentOverlap // overlaps with another fragment of its datagram (RFC 8200, 4.5; RFC 5722)
	DropFragmentTimeout // the rest of its datagram did not come in time (RFC 8200, 4.5; RFC 1122, 3.3.2)
	DropFragmentRoom    // made room for others: there is a bound to what is kept

	// The packet was translated, but did not get out.
	DropNextHop // the router's link-layer address is not known (RFC 4861, 7.2.2)
	DropWrite   // the device refused it
	NumDropReasons
)

// drops are each reason's stable name, and its meaning as the end of a sentence.
var drops = [NumDropReasons]struct{ name, meaning string }{
	DropNone:            {"none", "nothing was dropped"},
	DropVersion:         {"ip-version", "it is neither IPv4 nor IPv6"},
	DropHeader:          {"ip-header", "its IP header is truncated or has impossible lengths"},
	DropChecksum:        {"ipv4-header-checksum", "its IPv4 header checksum is wrong"},
	DropTransport:       {"transport-header", "its transport header is truncated, or its ICMP checksum is wrong"},
	DropExtension:       {"extension-header", "its IPv6 extension headers are truncated, too many, or behind a fragment header"},
	DropFragment:        {"fragment", "it is an impossible fragment"},
	DropOffload:         {"offload", "the device's notes on segmentation or checksum do not fit it"},
	DropSource:          {"source", "its source may not send here"},
	DropMulticast:       {"multicast", "its destination is multicast or broadcast, which has no counterpart"},
	DropNoMapping:       {"no-mapping", "no NAT64 prefix or map covers one of its addresses"},
	DropNonGlobal:       {"wkp-non-global", "its IPv4 address is not global, and translate.wkp-non-global rejects such behind 64:ff9b::/96"},
	DropSpoofed:         {"spoofed-source", "its IPv6 source claims an IPv4 address that another host has, or that none can have"},
	DropHairpin:         {"hairpin", "it is for an address of ours"},
	DropSourceRoute:     {"source-route", "it carries an unexpired source route"},
	DropProtocol:        {"protocol", "its protocol number means something else in the other family"},
	DropTTL:             {"ttl", "its TTL or hop limit ran out"},
	DropTooBig:          {"too-big", "it is larger than the way out takes, and must not be fragmented"},
	DropZeroChecksum:    {"udp-zero-checksum", "it is UDP without a checksum"},
	DropFragmentedICMP:  {"fragmented-icmp", "it is ICMP in fragments"},
	DropIGMP:            {"igmp-mld", "it is IGMP or MLD, which stay on their link"},
	DropICMPType:        {"icmp-type", "its ICMP type has no counterpart"},
	DropICMPInner:       {"icmp-inner", "it is an ICMP error about a packet that is truncated, an error itself, or not ours"},
	DropPTBTooSmall:     {"ptb-below-1280", "it is a Packet Too Big below 1280 octets"},
	DropLocalSource:     {"source-is-local", "its source claims an IPv4 address that this host reaches elsewhere than through the NAT64"},
	DropInbound:         {"inbound", "nothing on this host asked for it, and inbound = \"replies\" lets in no more than that"},
	DropFragmentOverlap: {"fragment-overlap", "it overlaps with another fragment of its datagram"},
	DropFragmentTimeout: {"fragment-timeout", "the other fragments of its datagram did not come in time"},
	DropFragmentRoom:    {"fragment-room", "it had to make room for other fragments"},
	DropNextHop:         {"next-hop", "the router's link-layer address is not known"},
	DropWrite:           {"write", "the device refused it"},
}

// String is the reason's stable name.
func (r DropReason) String() string {
	if r >= NumDropReasons {
		return "unknown"
	}
	return drops[r].name
}

// Meaning says the reason to people, as the end of a sentence that begins with "dropped, because".
func (r DropReason) Meaning() string {
	if r >= NumDropReasons {
		return "of an unknown reason"
	}
	return drops[r].meaning
}
