package siit

import (
	"encoding/binary"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/eam"
	"uclat/clat/frame"
)

// ICMPv4 types (RFC 792) and codes of Destination Unreachable.
const (
	icmp4EchoReply        = 0
	icmp4Unreachable      = 3
	icmp4SourceQuench     = 4
	icmp4Redirect         = 5
	icmp4Echo             = 8
	icmp4TimeExceeded     = 11
	icmp4ParameterProblem = 12

	code4Protocol        = 2
	code4FragNeeded      = 4
	code4SourceRoute     = 5
	code4AdminProhibited = 13
)

// ICMPv6 types (RFC 4443) and codes of Destination Unreachable.
const (
	icmp6Unreachable      = 1
	icmp6PacketTooBig     = 2
	icmp6TimeExceeded     = 3
	icmp6ParameterProblem = 4
	icmp6Echo             = 128
	icmp6EchoReply        = 129
	icmp6MLDQuery         = 130
	icmp6MLDDone          = 132
	icmp6Redirect         = 137
	icmp6MLDv2Report      = 143

	code6AdminProhibited = 1

	code6NextHeader = 1 // of Parameter Problem: unrecognized,
	nextHeaderAt    = 6 // and where it stands in the IPv6 header
)

func isError4(typ uint8) bool {
	switch typ {
	case icmp4Unreachable, icmp4SourceQuench, icmp4Redirect, icmp4TimeExceeded, icmp4ParameterProblem:
		return true
	}
	return false
}

func isError6(typ uint8) bool { return typ < 128 }

// icmp4 translates an unfragmented ICMPv4 message (RFC 7915, 4.2).
func (t *Translator) icmp4(f *frame.Frame, h *header4, pair *eam.Pair6, s *Scratch) Result {
	p := f.Bytes()[h.hlen:]
	// A sum made anew over a damaged message would hide the damage (RFC 5508, REQ-3).
	if len(p) < lenICMP || checksum.Sum(p) != 0xffff {
		return drop(clat.DropTransport)
	}
	typ := uint8(icmp6Echo)
	switch p[0] {
	case icmp4Echo:
	case icmp4EchoReply:
		typ = icmp6EchoReply
	default:
		to, ok := errorTo6(p[0], p[1])
		if !ok {
			return drop(clat.DropICMPType)
		}
		return t.icmpError6(f, h, pair, to, s)
	}
	if r, fits := t.fits6(f, h, pair, 0, s); !fits {
		return r
	}
	retypeEcho(p, typ, checksum.Pseudo6(&pair.Src, &pair.Dst, uint32(len(p)), protoICMPv6))
	return t.send6(f, h, pair, protoICMPv6, s)
}

// icmp6 translates an unfragmented ICMPv6 message (RFC 7915, 5.2). unmapped says that pair's source stands for a router without an
// IPv4 address.
func (t *Translator) icmp6(f *frame.Frame, h *header6, pair *eam.Pair4, s *Scratch, unmapped bool) Result {
	p := f.Bytes()[h.hlen:]
	pseudo := checksum.Pseudo6(&h.src, &h.dst, uint32(len(p)), protoICMPv6)
	if len(p) < lenICMP || checksum.Add(checksum.Sum(p), pseudo) != 0xffff {
		return drop(clat.DropTransport)
	}
	typ := uint8(icmp4Echo)
	switch {
	case p[0] == icmp6Echo:
	case p[0] == icmp6EchoReply:
		typ = icmp4EchoReply
	case p[0] >= icmp6MLDQuery && p[0] <= icmp6MLDDone || p[0] == icmp6MLDv2Report:
		return drop(clat.DropIGMP)
	case isError6(p[0]):
		return t.icmpError4(f, h, pair, s, unmapped)
	default:
		return drop(clat.DropICMPType)
	}
	s.hairpin = pair.Hairpin && t.hairpin
	wire, r, fits := t.fits4(f, h, 0, s)
	if !fits {
		return r
	}
	retypeEcho(p, typ, ^pseudo)
	return t.send4(f, h, pair, protoICMP, wire, s)
}

// icmp6Unmapped translates an ICMPv6 error of a router that has no IPv4 address, or only a link-local one of IPv6; all else from there
// is dropped for reason. Without these errors, path MTU discovery would be blind toward everything between the host and the PLAT
// (draft-ietf-v6ops-icmpext-xlat-v6only-source, 4.1).
func (t *Translator) icmp6Unmapped(f *frame.Frame, h *header6, s *Scratch, reason clat.DropReason) Result {
	if reason != clat.DropNoMapping && reason != clat.DropSource || !t.hasUnmapped {
		return drop(reason)
	}
	p := f.Bytes()[h.hlen:]
	if !h.isFragment() && (len(p) == 0 || !isError6(p[0])) {
		return drop(reason)
	}
	pair := eam.Pair4{Src: t.unmapped}
	switch reason := t.m.Dst4(&pair.Dst, &h.src, &h.dst); {
	case reason != clat.DropNone:
		return drop(reason)
	case h.isFragment():
		return drop(clat.DropFragmentedICMP)
	case h.hops <= t.hop:
		return drop(clat.DropTTL)
	case f.GSO != frame.NotSegmented || f.Checksum == frame.ChecksumPartial:
		return drop(clat.DropOffload)
	}
	return t.icmp6(f, h, &pair, s, true)
}

// retypeEcho changes the type of an echo message and its checksum; delta is what the pseudo-header adds or takes away.
func retypeEcho(p []byte, typ uint8, delta uint16) {
	old := binary.BigEndian.Uint16(p)
	p[0] = typ
	delta = checksum.Add(delta, checksum.Sub(binary.BigEndian.Uint16(p), old))
	binary.BigEndian.PutUint16(p[checksumAtICMP:], checksum.Update(binary.BigEndian.Uint16(p[checksumAtICMP:]), delta))
}
