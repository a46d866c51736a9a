package reasm

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"uclat/clat"
	"uclat/clat/frame"
)

// model is a Reassembler that is slow and easy to believe: it keeps fragments in lists, and each octet by itself.
type model struct {
	datagrams, pages int
	held             []*modelled // the oldest first
	drops            [clat.NumDirections][clat.NumDropReasons]uint64
}

type modelled struct {
	frame.Datagram
	first     uint32
	fragments []*frame.Fragment
	octets    []int // none: did not arrive
	bad       clat.DropReason
	lent      bool
}

const none = -1

func (m *model) add(fr *frame.Fragment, now uint32) (whole []byte, reason clat.DropReason) {
	end := fr.Offset + len(fr.Payload)
	if fr.Offset%8 != 0 || fr.More && end%8 != 0 || end == fr.Offset || end > 65515 {
		return nil, clat.DropFragment
	}
	if fr.Offset == 0 && !fr.More {
		return append(slices.Clone(fr.Head), fr.Payload...), clat.DropNone
	}
	for _, d := range slices.Clone(m.held) {
		if now-d.first >= 60 {
			m.drop(d, clat.DropFragmentTimeout)
		}
	}
	at := slices.IndexFunc(m.held, func(d *modelled) bool { return d.Datagram == fr.Datagram })
	if at < 0 {
		if len(m.held) == m.datagrams {
			m.drop(m.victim(fr, m.held), clat.DropFragmentRoom)
		}
		at = len(m.held)
		m.held = append(m.held, &modelled{Datagram: fr.Datagram, first: now, lent: m.ofSource(fr) >= m.share()})
	}
	d := m.held[at]
	if d.bad == clat.DropNone {
		d.bad = d.judge(fr)
		if d.bad != clat.DropNone && d.hasCopy(fr) {
			d.bad = clat.DropNone
			return nil, clat.DropFragmentOverlap
		}
	}
	if d.bad != clat.DropNone {
		m.release(d, d.bad)
		return nil, d.bad
	}
	d.fragments = append(d.fragments, fr)
	for len(d.octets) < end {
		d.octets = append(d.octets, none)
	}
	for i, o := range fr.Payload {
		d.octets[fr.Offset+i] = int(o)
	}
	for m.pagesInUse() > m.pages {
		others := slices.DeleteFunc(slices.Clone(m.held), func(other *modelled) bool { return other == d || len(other.fragments) == 0 })
		m.drop(m.victim(fr, others), clat.DropFragmentRoom)
	}
	if slices.Contains(d.octets, none) || !slices.ContainsFunc(d.fragments, func(fr *frame.Fragment) bool { return !fr.More }) {
		return nil, clat.DropNone
	}
	whole = head(d.Version)
	for _, o := range d.octets {
		whole = append(whole, byte(o))
	}
	m.held = slices.DeleteFunc(m.held, func(other *modelled) bool { return other == d })
	return whole, clat.DropNone
}

// judge compares fr with each fragment that is held.
func (d *modelled) judge(fr *frame.Fragment) clat.DropReason {
	end := fr.Offset + len(fr.Payload)
	for _, other := range d.fragments {
		otherEnd := other.Offset + len(other.Payload)
		if !other.More && (end > otherEnd || !fr.More && end != otherEnd) || !fr.More && otherEnd > end {
			return clat.DropFragment
		}
	}
	for i := fr.Offset; i < min(end, len(d.octets)); i++ {
		if d.octets[i] != none {
			return clat.DropFragmentOverlap
		}
	}
	return clat.DropNone
}

func (d *modelled) hasCopy(fr *frame.Fragment) bool {
	return slices.ContainsFunc(d.fragments, func(other *frame.Fragment) bool {
		return other.Offset == fr.Offset && other.More == fr.More && bytes.Equal(other.Payload, fr.Payload)
	})
}

func (m *model) pagesInUse() int {
	in := map[[2]int]bool{}
	for i, d := range m.held {
		for _, fr := range d.fragments {
			for page := fr.Offset / 2048; page*2048 < fr.Offset+len(fr.Payload); page++ {
				in[[2]int{i, page}] = true
			}
		}
	}
	return len(in)
}

func (m *model) share() int { return max(1, m.datagrams/8) }

func (m *model) ofSource(fr *frame.Fragment) int {
	return len(ofSource(m.held, fr))
}

func ofSource(of []*modelled, fr *frame.Fragment) []*modelled {
	return slices.DeleteFunc(slices.Clone(of), func(d *modelled) bool { return d.Src != fr.Src })
}

func (m *model) victim(fr *frame.Fragment, of []*modelled) *modelled {
	if own := ofSource(of, fr); len(own) > 0 && m.ofSource(fr) >= m.share() {
		return own[0]
	}
	if i := slices.IndexFunc(of, func(d *modelled) bool { return d.lent }); i >= 0 {
		return of[i]
	}
	return of[0]
}

func (m *model) drop(d *modelled, reason clat.DropReason) {
	m.release(d, reason)
	m.held = slices.DeleteFunc(m.held, func(other *modelled) bool { return other == d })
}

func (m *model) release(d *modelled, reason clat.DropReason) {
	way := clat.To6
	if d.Version == 6 {
		way = clat.To4
	}
	m.drops[way][reason] += uint64(len(d.fragments))
	d.fragments, d.octets = nil, nil
}

// arrival is how FuzzReassembler reads one fragment: of which datagram, when, and where.
type arrival struct {
	source, id uint8 // 0..7, 0..3
	six        bool
	altered    bool   // its last octet is not that of others
	octets     bool   // offset and length are octets, not units of eight
	more       bool   //
	wait       uint8  // seconds since the one before, 0..63
	offset, n  uint16 // with a last fragment, n is octets anyway
}

const arrivalLen = 6

func (a arrival) encode() []byte {
	b := [arrivalLen]byte{a.source | a.id<<3, a.wait}
	for i, set := range []bool{a.six, a.altered} {
		if set {
			b[0] |= 1 << (5 + i)
		}
	}
	for i, set := range []bool{a.octets, a.more} {
		if set {
			b[1] |= 1 << (6 + i)
		}
	}
	binary.BigEndian.PutUint16(b[2:], a.offset)
	binary.BigEndian.PutUint16(b[4:], a.n)
	return b[:]
}

func decode(b []byte) arrival {
	return arrival{
		source: b[0] & 7, id: b[0] >> 3 & 3, six: b[0]>>5&1 != 0, altered: b[0]>>6&1 != 0,
		octets: b[1]>>6&1 != 0, more: b[1]>>7 != 0, wait: b[1] & 63,
		offset: binary.BigEndian.Uint16(b[2:]), n: binary.BigEndian.Uint16(b[4:]),
	}
}

func (a arrival) fragment() *frame.Fragment {
	k := from(int(a.source), int(a.id))
	if a.six {
		k.Version = 6
	}
	offset, n := int(a.offset), int(a.n)
	if !a.octets {
		offset = offset % 8192 * 8
		if a.more {
			n = n % 8192 * 8
		}
	}
	fr := piece(k, offset, offset+n, a.more)
	if a.altered && n > 0 {
		fr.Payload[n-1] ^= 1
	}
	return fr
}

// FuzzReassembler lets a Reassembler with little room and the model take the same fragments. The first octet says how many datagrams
// and how many pages there is room for.
func FuzzReassembler(f *testing.F) {
	for _, seed := range []struct {
		room     byte
		arrivals []arrival
	}{
		{15, []arrival{{more: true, n: 2}, {offset: 2, n: 5}}},
		{15, []arrival{{offset: 2, n: 5, six: true}, {more: true, n: 2, six: true}, {more: true, n: 2, six: true}}},
		{15, []arrival{{more: true, n: 8189}, {offset: 8189, n: 3}, {offset: 8189, n: 4}}},
		{15, []arrival{{more: true, n: 2}, {more: true, n: 2}, {more: true, n: 2, altered: true}, {offset: 2, n: 8}}},
		{15, []arrival{{more: true, n: 4}, {more: true, offset: 2, n: 4}, {offset: 6, n: 4, wait: 59}, {offset: 6, n: 4, wait: 1}}},
		{15, []arrival{{more: true, n: 300}, {offset: 600, n: 4}, {offset: 300, n: 4}, {offset: 700, n: 9}}},
		{0, []arrival{{more: true, n: 2}, {more: true, n: 2, id: 1}, {offset: 2, n: 5, id: 1}, {offset: 2, n: 5}}},
		{15, []arrival{{source: 1, more: true, n: 8000}, {source: 2, more: true, n: 8000}, {source: 3, more: true, n: 8000}, {source: 2, offset: 8000, n: 3}}},
		{1, []arrival{{id: 0, more: true, n: 2}, {id: 1, more: true, n: 2}, {id: 2, more: true, n: 2}, {source: 1, more: true, n: 2}, {source: 1, offset: 2, n: 1}}},
		{3, []arrival{
			{more: true, n: 2}, {source: 1, more: true, n: 2}, {source: 1, id: 1, more: true, n: 2}, {source: 2, more: true, n: 2, six: true},
			{source: 3, more: true, n: 2}, {source: 4, more: true, n: 2}, {offset: 2, n: 1},
		}},
	} {
		input := []byte{seed.room}
		for _, a := range seed.arrivals {
			input = append(input, a.encode()...)
		}
		f.Add(input)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) == 0 || len(input) > 1+64*arrivalLen {
			return
		}
		datagrams, pages := 1+int(input[0]&31), maxPages+8*int(input[0]>>5)
		m, d := &model{datagrams: datagrams, pages: pages}, &desk{Reassembler: withRoom(datagrams, pages)}
		for rest := input[1:]; len(rest) >= arrivalLen; rest = rest[arrivalLen:] {
			a := decode(rest)
			fr := a.fragment()
			d.now += uint32(a.wait)
			whole, reason := d.give(t, fr)
			wantWhole, wantReason := m.add(fr, d.now)
			if reason != wantReason || (whole == nil) != (wantWhole == nil) || whole != nil && !bytes.Equal(whole.Bytes(), wantWhole) {
				t.Fatalf("%+v: whole %v, reason %v; want %v, %v", a, whole != nil, reason, wantWhole != nil, wantReason)
			}
			var totals clat.Totals
			d.AddTo(&totals)
			if totals.Drops != m.drops {
				t.Fatalf("%+v: dropped %s, want %v", a, d.dropped(), m.drops)
			}
			if len(d.held) != len(m.held) {
				t.Fatalf("%+v: %d datagrams held, want %d", a, len(d.held), len(m.held))
			}
			for i, held := range d.held {
				if want := m.held[i]; held.Datagram != want.Datagram || held.kept != len(want.fragments) || held.bad != want.bad {
					t.Fatalf("%+v: held %v with %d fragments, bad: %v; want %+v", a, held.Datagram, held.kept, held.bad, want)
				}
			}
		}
	})
}
