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
	switch reason := t.m.To6(&pair, h.src, h.dst, false); reason {
	case clat.DropNone:
	case clat.DropNoMapping, clat.DropNonGlobal:
		return t.error4(f, &h, s, reason, icmp4Unreachable, code4AdminProhibited, 0)
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
			return drop(clat.DropFragmentedICMP)
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
	if r, fits := t.fits6(f, &h, transport, s); !fits {
		return r
	}
	if h.offset == 0 {
		if t.mss != 0 && h.proto == protoTCP {
			t.clampMSS(p[h.hlen:h.hlen+transport], f.Checksum)
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
		f.SegSize = min(f.SegSize, uint16(t.lowest-len6-transport))
	}
	return t.send6(f, &h, &pair, h.proto, s)
}

// fits6 answers packets that are too big for the IPv6 side and must not be fragmented (RFC 7915, 4). It looks at what will be on the
// wire, so at one segment of a super-packet. It must come before anything of the packet is changed: the error quotes it.
func (t *Translator) fits6(f *frame.Frame, h *header4, transport int, s *Scratch) (Result, bool) {
	growth := len6 + fragmentLen(h) - h.hlen
	if f.WireLen(h.hlen+transport)+growth <= t.mtu6 {
		return Result{}, true
	}
	if h.df {
		return t.error4(f, h, s, clat.DropTooBig, icmp4Unreachable, code4FragNeeded, uint32(t.mtu6-len6+len4-fragmentLen(h))), false
	}
	return Result{}, true
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
		case f.GSO == frame.NotSegmented && head+payload > t.lowest:
			p := f.Bytes()[h.hlen:]
			if f.Checksum == frame.ChecksumPartial {
				finishPartial(p, next)
			}
			return Result{Verdict: Forward, Out: s.out[:t.fragment6(p, &six, s, 0)]}
		case f.GSO == frame.SegmentUDP && f.WireLen(h.hlen+lenUDP)-h.hlen+len6 > t.lowest:
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
