package siit

import (
	"encoding/binary"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/eam"
	"uclat/clat/frame"
)

// The checksum of ICMPv6 covers the length of the whole, and that of ICMP nothing of IPv6, so a fragment by itself cannot be translated
// (RFC 7915, 1.2). Here a fragment is described for who puts the whole together, after all that can be checked of it alone.

// icmpFragment4 describes a fragment of ICMP in Scratch.Fragment.
func (t *Translator) icmpFragment4(f *frame.Frame, h *header4, pair *eam.Pair6, s *Scratch) Result {
	payload := f.Bytes()[h.hlen:]
	switch {
	case !t.reassemble:
		return drop(clat.DropFragmentedICMP)
	case len(payload) == 0:
		return drop(clat.DropFragment)
	}
	if r, fits := t.fits6(f, h, pair, 0, s); !fits {
		return r
	}
	d := frame.Datagram{ID: uint32(h.id), Version: 4}
	copy(d.Src[:], h.src[:])
	copy(d.Dst[:], h.dst[:])
	head := s.head[:len4]
	write4(head, &header4{src: h.src, dst: h.dst, tos: h.tos, ttl: h.ttl, proto: h.proto, id: h.id}, 0)
	s.Fragment = frame.Fragment{Datagram: d, Offset: int(h.offset) * 8, More: h.mf, Payload: payload, Head: head}
	return Result{Verdict: Reassemble}
}

// icmpFragment6 is the same for ICMPv6. The whole keeps a fragment header: it says that it may leave in fragments, and by which
// identification (RFC 7915, 5.1.1).
func (t *Translator) icmpFragment6(f *frame.Frame, h *header6, s *Scratch) Result {
	payload := f.Bytes()[h.hlen:]
	switch {
	case !t.reassemble:
		return drop(clat.DropFragmentedICMP)
	case len(payload) == 0:
		return drop(clat.DropFragment)
	}
	if _, r, fits := t.fits4(f, h, 0, s); !fits {
		return r
	}
	write6(s.head[:], &header6{src: h.src, dst: h.dst, tclass: h.tclass, hops: h.hops, next: h.next, fragment: true, id: h.id}, 0)
	s.Fragment = frame.Fragment{
		Datagram: frame.Datagram{Src: h.src, Dst: h.dst, ID: h.id, Version: 6},
		Offset:   int(h.offset) * 8, More: h.mf, Payload: payload, Head: s.head[:],
	}
	return Result{Verdict: Reassemble}
}

// Complete writes the lengths into the header of what was put together of Scratch.Fragment and its like, so that it can be translated.
func Complete(whole *frame.Frame) {
	p := whole.Bytes()
	if whole.Version() == 6 {
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-len6))
		return
	}
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], ^checksum.Sum(p[:len4]))
}
