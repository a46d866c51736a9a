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
		if reason == clat.DropNone && unmapped == clat.DropNoMapping && h.next == protoICMPv6 && !h.isFragment() {
			return t.icmp6Unmapped(f, &h, s)
		}
		return drop(unmapped)
	}
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
			return drop(clat.DropFragmentedICMP)
		}
		return t.icmp6(f, &h, &pair, s)
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
	wire := f.WireLen(h.hlen+transport) - h.hlen + len4
	if wire > t.mtu4 {
		return t.error6(f, &h, s, clat.DropTooBig, icmp6PacketTooBig, 0, uint32(max(t.mtu4-len4+len6, clat.MinMTU6)))
	}
	if h.offset == 0 {
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

// send4 puts the IPv4 header in front of what follows the IPv6 headers, which is translated already. proto is the transport
// protocol's number in IPv4, wire the length of the largest IPv4 packet that f becomes.
func (t *Translator) send4(f *frame.Frame, h *header6, pair *eam.Pair4, proto uint8, wire int, s *Scratch) Result {
	four := header4{src: pair.Src, dst: pair.Dst, tos: h.tclass, ttl: h.hops - t.hop, proto: proto}
	switch {
	case h.fragment:
		four.id, four.offset, four.mf = uint16(h.id), h.offset, h.mf
	case wire > maxUnfragmented4:
		four.df = true
	default:
		four.id = s.id.next()
	}
	total := f.Len() - h.hlen + len4
	if total > 65535 || !f.Reshape(h.hlen-len4, total) {
		return drop(clat.DropTooBig)
	}
	write4(f.Bytes(), &four, total)
	f.L4 = len4
	return s.one(Forward, f)
}
