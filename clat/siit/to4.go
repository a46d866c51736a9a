package siit

import (
	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/frame"
)

// maxUnfragmented4 is the IPv4 length up to which a packet may be fragmented on its way: what came in at most 1280 octets of IPv6
// (RFC 7915, 5.1).
const maxUnfragmented4 = clat.MinMTU6 - len6 + len4

// to4 translates an IPv6 packet (RFC 7915, 5).
func (t *Translator) to4(f *frame.Frame, s *Scratch) Result {
	var h header6
	pointer, reason := h.parse(f)
	if reason != clat.DropNone && reason != clat.DropSourceRoute {
		return drop(reason)
	}
	switch h.next {
	case protoICMP:
		return drop(clat.DropProtocol)
	case protoIGMP: // IPv6 has none, and what IPv4 has stays on its link
		return drop(clat.DropIGMP)
	}
	var pair eam.Pair4
	if unmapped := t.m.To4(&pair, &h.src, &h.dst, false); unmapped != clat.DropNone {
		switch {
		case t.isOwn6 && h.dst == t.self6 && reason == clat.DropNone:
			return t.own6(f, &h, s, unmapped)
		case h.next == protoICMPv6:
			if reason == clat.DropNone {
				return t.icmp6Unmapped(f, &h, s, unmapped)
			}
		case t.prohibited6 && unmapped == clat.DropNoMapping:
			return t.error6(f, &h, s, unmapped, icmp6Unreachable, code6AdminProhibited, 0)
		}
		return drop(unmapped)
	}
	s.hairpin = pair.Hairpin && t.hairpin && (h.next != protoICMPv6 || h.isFragment()) // for whole ICMP, its type decides
	switch {
	case reason == clat.DropSourceRoute:
		return t.error6(f, &h, s, reason, icmp6ParameterProblem, 0, uint32(pointer))
	case h.hops <= t.hop:
		return t.error6(f, &h, s, clat.DropTTL, icmp6TimeExceeded, 0, 0)
	}
	if reason = checkOffload(f, h.hlen, h.next, h.fragment); reason != clat.DropNone {
		return drop(reason)
	}
	if h.next == protoICMPv6 {
		if h.isFragment() {
			return t.icmpFragment6(f, &h, s)
		}
		return t.icmp6(f, &h, &pair, s, false)
	}
	p := f.Bytes()
	transport := 0
	if h.offset == 0 {
		n, ok := transportLen(p[h.hlen:], h.next, h.mf)
		if !ok {
			return drop(clat.DropTransport)
		}
		transport = n
	}
	wire, r, fits := t.fits4(f, &h, transport, s)
	if !fits {
		return r
	}
	if h.offset == 0 {
		if t.mss != 0 && h.next == protoTCP {
			t.clampMSS(p[h.hlen:h.hlen+transport], f.Checksum, &h.src, s)
		}
		switch {
		case !hasZeroUDP(p[h.hlen:], h.next, f.Checksum):
			updateTransport(p[h.hlen:], h.next, pair.Delta, f.Checksum)
		case f.GSO != frame.NotSegmented:
			return drop(clat.DropOffload) // from which the device would make the segments' checksums
		case !t.passZeroUDP6:
			return drop(clat.DropZeroChecksum)
		}
	}
	return t.send4(f, &h, &pair, h.next, wire, s)
}

// fits4 answers packets that are too big for the IPv4 side. Those of at most 1280 octets cannot come any smaller, and are let through
// to be fragmented in IPv4 (RFC 7915, 1.4 and 5.1.1). It looks at what will be on the wire, so at one segment of a super-packet, and
// returns the length of that as IPv4. Datagrams of a super-packet that would have to be fragmented in IPv4 are dropped: there may be
// more pieces than a Scratch has room for. It must come before anything of the packet is changed: the error quotes it.
func (t *Translator) fits4(f *frame.Frame, h *header6, transport int, s *Scratch) (wire int, r Result, fits bool) {
	six := f.WireLen(h.hlen + transport)
	wire = six - h.hlen + len4
	switch {
	case wire <= t.mtu4 || s.hairpin: // which never comes to the IPv4 side
		return wire, Result{}, true
	case six > clat.MinMTU6 && !f.Joined:
		return 0, t.error6(f, h, s, clat.DropTooBig, icmp6PacketTooBig, 0, uint32(max(t.mtu4-len4+len6, clat.MinMTU6))), false
	case f.GSO == frame.NotSegmented:
		return wire, Result{}, true
	case f.GSO == frame.SegmentTCP && t.mtu4-len4-transport >= 8:
		// Instead of fragments, smaller segments: the device may cut a byte stream anywhere.
		f.SegSize = uint16(t.mtu4 - len4 - transport)
		return t.mtu4, Result{}, true
	}
	return 0, drop(clat.DropTooBig), false
}

// send4 puts the IPv4 header in front of what follows the IPv6 headers, which is translated already, and fragments what is too big
// for the IPv4 side. proto is the transport protocol's number in IPv4, wire the length of the largest IPv4 packet that f becomes.
func (t *Translator) send4(f *frame.Frame, h *header6, pair *eam.Pair4, proto uint8, wire int, s *Scratch) Result {
	four := header4{src: pair.Src, dst: pair.Dst, tos: t.trafficClass(h.tclass), ttl: h.hops - t.hop, proto: proto}
	switch {
	case h.fragment:
		four.id, four.offset, four.mf = uint16(h.id), h.offset, h.mf
	case wire > maxUnfragmented4:
		four.df = true
	default:
		four.id = s.id.next()
	}
	if wire > t.mtu4 && !s.hairpin {
		p := f.Bytes()[h.hlen:]
		if f.Checksum == frame.ChecksumPartial {
			finishPartial(p, proto)
		}
		return t.fragment4(p, &four, s)
	}
	total := f.Len() - h.hlen + len4
	if total > 65535 || !f.Reshape(h.hlen-len4, total) {
		return drop(clat.DropTooBig)
	}
	write4(f.Bytes(), &four, total)
	f.L4 = len4
	return s.one(Forward, f)
}
