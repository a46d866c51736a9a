package reasm

import (
	"iter"

	"uclat/clat/frame"
)

const maxUnits = (maxPayload + 7) / 8

// units has a bit for each eight octets of a payload: what fragments are cut at (RFC 791, 3.2; RFC 8200, 4.5). The last of a payload
// may be shorter. There is a bit behind the last, never set.
type units [maxUnits/64 + 1]uint64

func (u *units) has(i int) bool { return u[i/64]>>(i%64)&1 != 0 }

// span is the units that fr covers, up to but without to.
func span(fr *frame.Fragment) (from, to int) {
	return fr.Offset / 8, (fr.Offset + len(fr.Payload) + 7) / 8
}

// words are the words of a bitmap that hold the bits from..to-1, each with a mask of these.
func words(from, to int) iter.Seq2[int, uint64] {
	return func(yield func(int, uint64) bool) {
		for i := from / 64; i*64 < to; i++ {
			mask := ^uint64(0)
			if before := from - i*64; before > 0 {
				mask <<= before
			}
			if behind := i*64 + 64 - to; behind > 0 {
				mask &= ^uint64(0) >> behind
			}
			if !yield(i, mask) {
				return
			}
		}
	}
}
