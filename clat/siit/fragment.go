package siit

// Fragments of what is a fragment itself continue its offsets, and the last keeps its more-fragments flag. All but the last carry a
// multiple of 8 octets.

// fragment6 sends payload in pieces of which none is longer than the lowest IPv6 MTU (RFC 7915, 4.1). h is the header of the whole.
func (t *Translator) fragment6(payload []byte, h *header6, s *Scratch) Result {
	room := (t.lowest - len6 - lenFragment) &^ 7
	piece := *h
	piece.fragment = true
	n := 0
	for len(payload) > 0 {
		size := min(room, len(payload))
		last := size == len(payload)
		piece.mf = h.mf || !last
		out := s.take(len6 + lenFragment + size)
		p := out.Bytes()
		write6(p, &piece, size)
		copy(p[len6+lenFragment:], payload[:size])
		payload = payload[size:]
		piece.offset += uint16(size / 8)
		s.out[n] = out
		n++
	}
	return Result{Verdict: Forward, Out: s.out[:n]}
}

// fragment4 sends payload in pieces of which none is longer than the MTU of the IPv4 side (RFC 7915, 5.1.1; RFC 791, 3.2). h is the
// header of the whole.
func (t *Translator) fragment4(payload []byte, h *header4, s *Scratch) Result {
	room := (t.mtu4 - len4) &^ 7
	piece := *h
	n := 0
	for len(payload) > 0 {
		size := min(room, len(payload))
		last := size == len(payload)
		piece.mf = h.mf || !last
		out := s.take(len4 + size)
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
