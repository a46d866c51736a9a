package siit

import (
	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/frame"
)

// to6 translates an IPv4 packet (RFC 7915, 4).
func (t *Translator) to6(f *frame.Frame, s *Scratch) Result {
	var h header4
	if reason := h.parse(f); reason != clat.DropNone {
		return drop(reason)
	}
	switch {
	case h.proto == protoIGMP:
		return drop(clat.DropIGMP)
	case protocolDiffers6(h.proto):
		return drop(clat.DropProtocol)
	}
	var pair eam.Pair6
	switch reason := t.map6(&pair, &h, s, false); reason {
	case clat.DropNone:
	case clat.DropNoMapping, clat.DropNonGlobal:
		return t.error4(f, &h, s, reason, icmp4Unreachable, code4AdminProhibited, 0)
	case clat.DropHairpin:
		return t.own4(f, &h, s)
	default:
		return drop(reason)
	}
	p := f.Bytes()
	switch {
	case h.hlen > len4 && sourceRouted(p[len4:h.hlen]):
		return t.error4(f, &h, s, clat.DropSourceRoute, icmp4Unreachable, code4SourceRoute, 0)
	case h.ttl <= t.hop:
		return t.error4(f, &h, s, clat.DropTTL, icmp4TimeExceeded, 0, 0)
	}
	if reason := checkOffload(f, h.hlen, h.proto, h.isFragment()); reason != clat.DropNone {
		return drop(reason)
	}
	if h.proto == protoICMP {
		if h.isFragment() {
			return t.icmpFragment4(f, &h, &pair, s)
		}
		return t.icmp4(f, &h, &pair, s)
	}
	transport := 0
	if h.offset == 0 {
		n, ok := transportLen(p[h.hlen:], h.proto, h.mf)
		if !ok {
			return drop(clat.DropTransport)
		}
		transport = n
	}
	if r, fits := t.fits6(f, &h, &pair, transport, s); !fits {
		return r
	}
	if h.offset == 0 {
		if t.mss != 0 && h.proto == protoTCP {
			t.clampMSS(p[h.hlen:h.hlen+transport], f.Checksum, &pair.Dst, s)
		}
		switch {
		case !hasZeroUDP(p[h.hlen:], h.proto, f.Checksum):
			updateTransport(p[h.hlen:], h.proto, pair.Delta, f.Checksum)
		case f.GSO != frame.NotSegmented:
			return drop(clat.DropOffload) // from which the device would make the segments' checksums
		case h.mf || t.dropZeroUDP4:
			return drop(clat.DropZeroChecksum)
		case !fillUDP6(p[h.hlen:], &pair):
			return drop(clat.DropTransport)
		}
	}
	if !h.df && f.GSO == frame.SegmentTCP {
		// Instead of fragments, smaller segments: the device may cut a byte stream anywhere.
		f.SegSize = min(f.SegSize, uint16(s.lowest-len6-transport))
	}
	return t.send6(f, &h, &pair, h.proto, s)
}

// map6 maps the addresses of a packet, or with embedded those of one that an ICMP error quotes.
func (t *Translator) map6(pair *eam.Pair6, h *header4, s *Scratch, embedded bool) clat.DropReason {
	if s.hairpin {
		return t.m.Hairpin6(pair, h.src, h.dst, embedded)
	}
	return t.m.To6(pair, h.src, h.dst, embedded)
}

// fits6 answers packets that are too big for the way through IPv6 and must not be fragmented (RFC 7915, 4; RFC 8201, 4). It looks at what
// will be on the wire, so at one segment of a super-packet. It must come before anything of the packet is changed: the error quotes it.
func (t *Translator) fits6(f *frame.Frame, h *header4, pair *eam.Pair6, transport int, s *Scratch) (Result, bool) {
	wire := f.WireLen(h.hlen+transport) + len6 + fragmentLen(h) - h.hlen
	if s.lowest = t.lowest; wire <= clat.MinMTU6 {
		return Result{}, true
	}
	limit := t.pathMTU(&pair.Dst, s)
	s.lowest = min(t.lowest, limit)
	if wire <= limit || !h.df {
		return Result{}, true
	}
	return t.error4(f, h, s, clat.DropTooBig, icmp4Unreachable, code4FragNeeded, uint32(limit-len6+len4-fragmentLen(h))), false
}

// pathMTU is the MTU of the way to an IPv6 address.
func (t *Translator) pathMTU(dst *[16]byte, s *Scratch) int {
	if s.PathMTU == nil {
		return t.mtu6
	}
	mtu, known := s.PathMTU.MTU(*dst)
	if !known {
		return t.mtu6
	}
	return min(max(mtu, clat.MinMTU6), t.mtu6)
}

// fragmentLen is what the packet's fragment header will take in IPv6, in octets.
func fragmentLen(h *header4) int {
	if h.isFragment() {
		return lenFragment
	}
	return 0
}

// send6 puts the IPv6 header in front of what follows the IPv4 header, which is translated already, and fragments where the packet
// allows that and its size demands it. next is the transport protocol's number in IPv6.
func (t *Translator) send6(f *frame.Frame, h *header4, pair *eam.Pair6, next uint8, s *Scratch) Result {
	six := header6{
		tclass: t.trafficClass(h.tos), hops: h.ttl - t.hop, next: next,
		fragment: h.isFragment(), mf: h.mf, offset: h.offset, id: uint32(h.id),
	}
	six.src, six.dst = pair.Src, pair.Dst
	payload := f.Len() - h.hlen
	head := len6 + fragmentLen(h)
	if !h.df {
		switch {
		case f.GSO == frame.NotSegmented && head+payload > s.lowest:
			p := f.Bytes()[h.hlen:]
			if f.Checksum == frame.ChecksumPartial {
				finishPartial(p, next)
			}
			return Result{Verdict: Forward, Out: s.out[:t.fragment6(p, &six, s, 0)]}
		case f.GSO == frame.SegmentUDP && f.WireLen(h.hlen+lenUDP)-h.hlen+len6 > s.lowest:
			return t.fragmentEach6(f, h, &six, s)
		}
	}
	if !f.Reshape(h.hlen-head, head+payload) {
		return drop(clat.DropTooBig)
	}
	write6(f.Bytes(), &six, payload)
	f.L4 = uint16(head)
	return s.one(Forward, f)
}
