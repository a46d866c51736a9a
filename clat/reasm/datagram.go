package reasm

import (
	"bytes"

	"uclat/clat"
	"uclat/clat/frame"
)

const (
	pageLen  = 2048
	maxPages = (maxPayload + pageLen - 1) / pageLen
	unknown  = -1
)

// page is memory for one stretch of a datagram's payload.
type page [pageLen]byte

// datagram is what is known of one datagram. Where fragments lie is held in bitmaps rather than in a list, so that many small ones
// cost no more than few large ones.
type datagram struct {
	frame.Datagram
	pages    [maxPages]*page // by offset; nil: nothing arrived for it
	head     [maxHead]byte   // of the fragment at offset 0,
	headLen  int             // of which so many octets are used
	first    uint32          // the second in which the first fragment arrived
	kept     int             // fragments
	have     int             // octets
	last     int             // where the furthest fragment ends
	end      int             // where the payload ends, or unknown
	bad      clat.DropReason // why the datagram is dropped, with what may still come of it; else DropNone
	lent     bool            // when it began, its source had its share already
	received units           // what arrived
	starts   units           // where fragments start
}

func (d *datagram) due(now uint32) bool { return int32(now-d.first) >= timeout }

func (d *datagram) complete() bool { return d.have == d.end }

// contradicts says whether fr and what is held cannot both be true of where the datagram ends.
func (d *datagram) contradicts(fr *frame.Fragment) bool {
	end := fr.Offset + len(fr.Payload)
	if fr.More {
		return d.end != unknown && end > d.end
	}
	return d.end != unknown && end != d.end || d.last > end
}

func (d *datagram) overlaps(fr *frame.Fragment) bool {
	from, to := span(fr)
	for i, mask := range words(from, to) {
		if d.received[i]&mask != 0 {
			return true
		}
	}
	return false
}

// has says whether fr is the copy of a fragment that is held: the same octets within the same bounds. The header is not compared,
// as a TTL may differ.
func (d *datagram) has(fr *frame.Fragment) bool {
	from, to := span(fr)
	end := fr.Offset + len(fr.Payload)
	if fr.More == (end == d.end) || d.received.has(to) && !d.starts.has(to) {
		return false
	}
	for i, mask := range words(from, to) {
		start := uint64(0)
		if i == from/64 {
			start = 1 << (from % 64)
		}
		if d.received[i]&mask != mask || d.starts[i]&mask != start {
			return false
		}
	}
	rest := fr.Payload
	for at, n := fr.Offset, 0; len(rest) > 0; at, rest = at+n, rest[n:] {
		held := d.pages[at/pageLen][at%pageLen:]
		n = min(len(held), len(rest))
		if !bytes.Equal(held[:n], rest[:n]) {
			return false
		}
	}
	return true
}

// store copies fr, which fits in with what is held, into pages that are there.
func (d *datagram) store(fr *frame.Fragment) {
	if fr.Offset == 0 {
		d.headLen = copy(d.head[:], fr.Head)
	}
	from, to := span(fr)
	for i, mask := range words(from, to) {
		d.received[i] |= mask
	}
	d.starts[from/64] |= 1 << (from % 64)
	rest := fr.Payload
	for at, n := fr.Offset, 0; len(rest) > 0; at, rest = at+n, rest[n:] {
		n = copy(d.pages[at/pageLen][at%pageLen:], rest)
	}
	d.kept++
	d.have += len(fr.Payload)
	d.last = max(d.last, fr.Offset+len(fr.Payload))
	if !fr.More {
		d.end = d.last
	}
}

// join makes the whole of a complete datagram.
func (d *datagram) join(take func(n int) *frame.Frame) *frame.Frame {
	whole := take(d.headLen + d.end)
	whole.Joined = true
	rest := whole.Bytes()
	rest = rest[copy(rest, d.head[:d.headLen]):]
	for _, p := range d.pages {
		if len(rest) == 0 {
			break
		}
		rest = rest[copy(rest, p[:]):]
	}
	return whole
}
