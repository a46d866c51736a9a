package siit

import (
	"math"

	"uclat/clat"
)

// rest says what stands in the second word of a translated ICMP error.
type rest uint8

const (
	restZero    rest = iota
	restMTU          // an MTU, recomputed
	restPointer      // an offset into the embedded header, looked up
	restNextHdr      // the offset of Next Header: the protocol is unreachable
)

// icmpTo is a row's right side: type, code and second word of the other family's message.
type icmpTo struct {
	typ, code uint8
	rest      rest
}

// unreachableTo6 are the codes of ICMPv4 Destination Unreachable (RFC 7915, 4.2). Code 14 and those above 15 have no counterpart.
var unreachableTo6 = [...]icmpTo{
	0:  {icmp6Unreachable, 0, restZero},         // net unreachable: no route
	1:  {icmp6Unreachable, 0, restZero},         // host unreachable
	2:  {icmp6ParameterProblem, 1, restNextHdr}, // protocol unreachable: unrecognized next header
	3:  {icmp6Unreachable, 4, restZero},         // port unreachable
	4:  {icmp6PacketTooBig, 0, restMTU},         // fragmentation needed
	5:  {icmp6Unreachable, 0, restZero},         // source route failed
	6:  {icmp6Unreachable, 0, restZero},         // net unknown
	7:  {icmp6Unreachable, 0, restZero},         // host unknown
	8:  {icmp6Unreachable, 0, restZero},         // source host isolated
	9:  {icmp6Unreachable, 1, restZero},         // net prohibited: administratively prohibited
	10: {icmp6Unreachable, 1, restZero},         // host prohibited
	11: {icmp6Unreachable, 0, restZero},         // net unreachable for TOS
	12: {icmp6Unreachable, 0, restZero},         // host unreachable for TOS
	13: {icmp6Unreachable, 1, restZero},         // communication prohibited
	15: {icmp6Unreachable, 1, restZero},         // precedence cutoff
}

// errorTo6 is the row of an ICMPv4 error; false where RFC 7915, 4.2 says to drop it.
func errorTo6(typ, code uint8) (icmpTo, bool) {
	switch typ {
	case icmp4Unreachable:
		if int(code) < len(unreachableTo6) && code != 14 {
			return unreachableTo6[code], true
		}
	case icmp4TimeExceeded:
		return icmpTo{icmp6TimeExceeded, code, restZero}, true
	case icmp4ParameterProblem:
		if code == 0 || code == 2 {
			return icmpTo{icmp6ParameterProblem, 0, restPointer}, true
		}
	}
	return icmpTo{}, false
}

// unreachableTo4 are the codes of ICMPv6 Destination Unreachable (RFC 7915, 5.2).
var unreachableTo4 = [...]icmpTo{
	0: {icmp4Unreachable, 1, restZero},  // no route: host unreachable
	1: {icmp4Unreachable, 10, restZero}, // administratively prohibited: host prohibited
	2: {icmp4Unreachable, 1, restZero},  // beyond scope
	3: {icmp4Unreachable, 1, restZero},  // address unreachable
	4: {icmp4Unreachable, 3, restZero},  // port unreachable
}

// errorTo4 is the row of an ICMPv6 error; false where RFC 7915, 5.2 says to drop it.
func errorTo4(typ, code uint8) (icmpTo, bool) {
	switch typ {
	case icmp6Unreachable:
		if int(code) < len(unreachableTo4) {
			return unreachableTo4[code], true
		}
	case icmp6PacketTooBig:
		return icmpTo{icmp4Unreachable, code4FragNeeded, restMTU}, true
	case icmp6TimeExceeded:
		return icmpTo{icmp4TimeExceeded, code, restZero}, true
	case icmp6ParameterProblem:
		switch code {
		case 0:
			return icmpTo{icmp4ParameterProblem, 0, restPointer}, true
		case 1:
			return icmpTo{icmp4Unreachable, 2, restZero}, true
		}
	}
	return icmpTo{}, false
}

// noPointer marks header fields that the other family does not have.
const noPointer = math.MaxUint8

// pointerTo6 are offsets into an IPv4 header, and what they are in IPv6 (RFC 7915, 4.2, figure 3).
var pointerTo6 = [len4]uint8{
	0: 0, 1: 1, 2: 4, 3: 4, // version, TOS, Total Length
	4: noPointer, 5: noPointer, 6: noPointer, 7: noPointer, // Identification, flags, offset
	8: 7, 9: 6, 10: noPointer, 11: noPointer, // TTL, Protocol, checksum
	12: 8, 13: 8, 14: 8, 15: 8, 16: 24, 17: 24, 18: 24, 19: 24, // source, destination
}

// pointerTo4 are offsets into an IPv6 header, and what they are in IPv4 (RFC 7915, 5.2, figure 6).
var pointerTo4 = [len6]uint8{
	0: 0, 1: 1, 2: noPointer, 3: noPointer, // version, traffic class, flow label
	4: 2, 5: 2, 6: 9, 7: 8, // Payload Length, Next Header, Hop Limit; then source, and destination
	8: 12, 9: 12, 10: 12, 11: 12, 12: 12, 13: 12, 14: 12, 15: 12, 16: 12, 17: 12, 18: 12, 19: 12, 20: 12, 21: 12, 22: 12, 23: 12,
	24: 16, 25: 16, 26: 16, 27: 16, 28: 16, 29: 16, 30: 16, 31: 16, 32: 16, 33: 16, 34: 16, 35: 16, 36: 16, 37: 16, 38: 16, 39: 16,
}

// mtuTo6 is the MTU of a Packet Too Big made of a Fragmentation Needed (RFC 7915, 4.2). total is the length of the embedded packet,
// from which the MTU follows where an old router gave none.
func (t *Translator) mtuTo6(mtu, total int, s *Scratch) uint32 {
	if mtu == 0 {
		mtu = plateauBelow(total)
	}
	return uint32(max(clat.MinMTU6, min(mtu+len6-len4, t.mtu6, t.take4(s)+len6-len4)))
}

// plateaus of RFC 1191, 7.1, of those that are not below the least MTU of IPv6.
var plateaus = [...]int{65535, 32000, 17914, 8166, 4352, 2002, 1492}

// plateauBelow is the largest plateau below total, or else what makes the least MTU of IPv6.
func plateauBelow(total int) int {
	for _, p := range plateaus {
		if p < total {
			return p
		}
	}
	return maxUnfragmented4
}

// mtuTo4 is the MTU of a Fragmentation Needed made of a Packet Too Big whose MTU is at least 1280 (RFC 7915, 5.2). The fragment header
// that the packet carried in IPv6 takes room as well.
func (t *Translator) mtuTo4(mtu uint32, fragment bool, s *Scratch) uint32 {
	less := uint32(len6 - len4)
	if fragment {
		less += lenFragment
	}
	return min(min(mtu, uint32(t.mtu6))-less, uint32(t.take4(s)))
}

// take4 is the MTU of the IPv4 side, in octets, which nothing meets that goes back to IPv6.
func (t *Translator) take4(s *Scratch) int {
	if s.hairpin {
		return 65535
	}
	return t.mtu4
}
