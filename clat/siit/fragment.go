package siit

// fragment6 sends payload in pieces of which none is longer than the lowest IPv6 MTU (RFC 7915, 4). h is the header of the whole;
// where it is a fragment itself, the pieces continue its offsets, and the last keeps its more-fragments flag.
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
