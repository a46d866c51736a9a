package siit

import (
	"encoding/binary"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/frame"
)

// Fragments of what is a fragment itself continue its offsets, and the last keeps its more-fragments flag. All but the last carry a
// multiple of 8 octets.

// fragment6 sends payload in pieces of which none is longer than the lowest IPv6 MTU (RFC 7915, 4.1), nor than the path takes, as frames
// from s.out[n] on, and returns where they end. h is the header of the whole.
func (t *Translator) fragment6(payload []byte, h *header6, s *Scratch, n int) int {
	room := (s.lowest - len6 - lenFragment) &^ 7
	piece := *h
	piece.fragment = true
	for len(payload) > 0 {
		size := min(room, len(payload))
		last := size == len(payload)
		piece.mf = h.mf || !last
		out := s.Take(len6 + lenFragment + size)
		p := out.Bytes()
		write6(p, &piece, size)
		copy(p[len6+lenFragment:], payload[:size])
		payload = payload[size:]
		piece.offset += uint16(size / 8)
		s.out[n] = out
		n++
	}
	return n
}

// fragmentEach6 sends each datagram of a UDP super-packet by itself, in pieces where it is longer than the lowest IPv6 MTU: a device
// would cut the super-packet, but not fragment. h is the header that came in, six that of the first
// datagram, whose identification it counts up.
func (t *Translator) fragmentEach6(f *frame.Frame, h *header4, six *header6, s *Scratch) Result {
	if f.Checksum != frame.ChecksumPartial {
		return drop(clat.DropOffload) // the checksum of each is not known
	}
	p := f.Bytes()[h.hlen:]
	head := [lenUDP]byte(p)
	n := 0
	for len(p) > lenUDP {
		// The header goes where the end of the datagram before was, which has been sent.
		d := p[:min(lenUDP+int(f.SegSize), len(p))]
		copy(d, head[:])
		binary.BigEndian.PutUint16(d[4:], uint16(len(d)))
		binary.BigEndian.PutUint16(d[checksumAtUDP:], checksum.Pseudo6(&six.src, &six.dst, uint32(len(d)), protoUDP))
		finishPartial(d, protoUDP)
		if len6+len(d) > s.lowest {
			n = t.fragment6(d, six, s, n)
		} else {
			s.out[n] = s.Take(len6 + len(d))
			write6(s.out[n].Bytes(), six, len(d))
			copy(s.out[n].Bytes()[len6:], d)
			n++
		}
		six.id = uint32(uint16(six.id + 1)) // as a device numbers them
		p = p[len(d)-lenUDP:]
	}
	return Result{Verdict: Forward, Out: s.out[:n]}
}

// fragment4 sends payload in pieces of which none is longer than the MTU of the IPv4 side (RFC 7915, 5.1.1; RFC 791, 3.2). h is the
// header of the whole.
func (t *Translator) fragment4(payload []byte, h *header4, s *Scratch) Result {
	room := (t.mtu4 - len4) &^ 7
	if len(payload) > maxOut*room { // only what was put together here is so long
		return drop(clat.DropTooBig)
	}
	piece := *h
	n := 0
	for len(payload) > 0 {
		size := min(room, len(payload))
		last := size == len(payload)
		piece.mf = h.mf || !last
		out := s.Take(len4 + size)
		p := out.Bytes()
		write4(p, &piece, len(p))
		copy(p[len4:], payload[:size])
		payload = payload[size:]
		piece.offset += uint16(size / 8)
		s.out[n] = out
		n++
	}
	return Result{Verdict: Forward, Out: s.out[:n]}
}
