// Package reasm puts the fragments of ICMP datagrams together, of both families (RFC 791, 3.2; RFC 8200, 4.5), within memory that is
// fixed. It knows nothing of IP headers. Whoever sends fragments may be hostile: what one of them costs follows from its own length,
// whatever came before it.
//
// No ICMP error tells of a datagram that is given up. That is for its destination to send (RFC 8200, 4.5; RFC 1122, 3.3.2), which is
// somebody else, and which gets nothing of the datagram, as where a router on the way loses a fragment.
package reasm

import (
	"fmt"
	"reflect"
	"slices"
	"sync"

	"uclat/clat"
	"uclat/clat/frame"
)

const (
	timeout    = 60 // seconds from the first fragment that arrived (RFC 8200, 4.5; RFC 1122, 3.3.2)
	maxPayload = 65535 - 20
	maxHead    = 48
	shares     = 8 // one source may hold one in so many datagrams, and more only while nobody else needs them
)

// Limits are what a Reassembler holds at most.
type Limits struct {
	Datagrams int // begun and not complete, or known as bad
	Octets    int // of memory, for all that is kept and all that keeping it takes
}

// Reassembler holds the fragments of datagrams that are not complete yet. It may be used by several goroutines.
type Reassembler struct {
	mu     sync.Mutex
	limits Limits
	pages  int                                             // how many Limits.Octets has room for
	held   []*datagram                                     // the oldest first
	unused []*datagram                                     // the others
	free   []*page                                         // in no datagram
	drops  [clat.NumDirections][clat.NumDropReasons]uint64 // of fragments that had been kept
}

// New returns a Reassembler, which takes its memory with the first fragment that it keeps, all at once and for good. It panics where
// the limits have no room for a datagram of the largest size.
func New(l Limits) *Reassembler {
	perDatagram := int(reflect.TypeFor[datagram]().Size() + 2*reflect.TypeFor[*datagram]().Size())
	perPage := int(reflect.TypeFor[page]().Size() + reflect.TypeFor[*page]().Size())
	pages := (l.Octets - l.Datagrams*perDatagram) / perPage
	if l.Datagrams < 1 || pages < maxPages {
		panic(fmt.Sprintf("reasm: %d octets for %d datagrams, which takes one datagram at least, %d octets for each and %d more",
			l.Octets, l.Datagrams, perDatagram, maxPages*perPage))
	}
	return &Reassembler{limits: l, pages: pages}
}

// Add takes a copy of fr at the second now of a clock that does not jump. Where fr completes its datagram, whole is a frame from
// take(n) that holds the Head of the fragment at offset 0 and then the payload, n octets together, and is marked Joined; the lengths in
// its headers are left to the caller. The reason is not DropNone where fr itself was refused:
//
//   - DropFragment: it is impossible, alone or beside what came before.
//   - DropFragmentOverlap: it overlaps with what came before (RFC 8200, 4.5; RFC 5722; the same for IPv4), or came twice.
//
// A fragment that overlaps with the others of its datagram or contradicts them takes the datagram with it, and what comes of that
// until its time ends. One that is impossible by itself, or the exact copy of one that is held, does no harm.
//
// No fragment is refused for want of room: others are dropped instead. take must not return nil, and not call r.
func (r *Reassembler) Add(fr *frame.Fragment, now uint32, take func(n int) *frame.Frame) (whole *frame.Frame, reason clat.DropReason) {
	switch {
	case impossible(fr):
		return nil, clat.DropFragment
	case fr.Offset == 0 && !fr.More: // complete, and none of the others' business (RFC 8200, 4.5; RFC 6946, 4)
		whole = take(len(fr.Head) + len(fr.Payload))
		copy(whole.Bytes()[copy(whole.Bytes(), fr.Head):], fr.Payload)
		whole.Joined = true
		return whole, clat.DropNone
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	d := r.find(&fr.Datagram)
	if d == nil {
		d = r.begin(&fr.Datagram, now)
	}
	switch {
	case d.bad != clat.DropNone:
		return nil, d.bad
	case d.has(fr):
		return nil, clat.DropFragmentOverlap
	case d.contradicts(fr):
		r.spoil(d, clat.DropFragment)
		return nil, clat.DropFragment
	case d.overlaps(fr):
		r.spoil(d, clat.DropFragmentOverlap)
		return nil, clat.DropFragmentOverlap
	}
	r.makeRoom(d, fr)
	d.store(fr)
	if !d.complete() {
		return nil, clat.DropNone
	}
	whole = d.join(take)
	r.remove(d)
	return whole, clat.DropNone
}

// impossible says whether no datagram can have the fragment. An empty one is among these: no sender makes it.
func impossible(fr *frame.Fragment) bool {
	n := len(fr.Payload)
	return fr.Offset < 0 || fr.Offset%8 != 0 || n == 0 || fr.Offset > maxPayload-n || fr.More && n%8 != 0 || len(fr.Head) > maxHead
}

// Expire gives up the datagrams whose time has come. Add does so too; Expire is for when nothing comes.
func (r *Reassembler) Expire(now uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
}

// AddTo adds to t.Drops the fragments that Add had kept and that were dropped then, by the way they went and the reason. Those that Add
// refused are for its caller to count.
func (r *Reassembler) AddTo(t *clat.Totals) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for d := range t.Drops {
		for reason := range t.Drops[d] {
			t.Drops[d][reason] += r.drops[d][reason]
		}
	}
}

func (r *Reassembler) expire(now uint32) {
	for len(r.held) > 0 && r.held[0].due(now) {
		r.drop(r.held[0], clat.DropFragmentTimeout)
	}
}

func (r *Reassembler) find(key *frame.Datagram) *datagram {
	for _, d := range r.held {
		if d.ID == key.ID && d.Datagram == *key {
			return d
		}
	}
	return nil
}

// begin holds a new datagram, if need be in place of another.
func (r *Reassembler) begin(key *frame.Datagram, now uint32) *datagram {
	if r.free == nil {
		r.allocate()
	}
	if len(r.unused) == 0 {
		r.drop(r.victim(key, nil), clat.DropFragmentRoom)
	}
	d := pop(&r.unused)
	*d = datagram{Datagram: *key, first: now, end: unknown, lent: r.ofSource(key) >= r.share()}
	r.held = append(r.held, d)
	return d
}

func (r *Reassembler) allocate() {
	r.held = make([]*datagram, 0, r.limits.Datagrams)
	r.unused = make([]*datagram, 0, r.limits.Datagrams)
	r.free = make([]*page, 0, r.pages)
	datagrams, pages := make([]datagram, r.limits.Datagrams), make([]page, r.pages)
	for i := range datagrams {
		r.unused = append(r.unused, &datagrams[i])
	}
	for i := range pages {
		r.free = append(r.free, &pages[i])
	}
}

// makeRoom gives d the pages that fr will lie in. There are enough for any one datagram.
func (r *Reassembler) makeRoom(d *datagram, fr *frame.Fragment) {
	for i := fr.Offset / pageLen; i <= (fr.Offset+len(fr.Payload)-1)/pageLen; i++ {
		if d.pages[i] != nil {
			continue
		}
		for len(r.free) == 0 {
			r.drop(r.victim(&d.Datagram, d), clat.DropFragmentRoom)
		}
		d.pages[i] = pop(&r.free)
	}
}

// victim is the datagram to be dropped in favour of another: the oldest of the same source if that has its share, else the oldest
// that some source has beyond its share, else the oldest. With needy, it is pages that are short: needy is spared, and whoever has none.
func (r *Reassembler) victim(favoured *frame.Datagram, needy *datagram) *datagram {
	var own, lent, oldest *datagram
	for _, d := range slices.Backward(r.held) {
		if needy != nil && (d == needy || d.kept == 0) {
			continue
		}
		oldest = d
		if d.lent {
			lent = d
		}
		if d.Src == favoured.Src {
			own = d
		}
	}
	switch {
	case own != nil && r.ofSource(favoured) >= r.share():
		return own
	case lent != nil:
		return lent
	}
	return oldest
}

// share is how many datagrams one source may hold when room is short.
func (r *Reassembler) share() int { return max(1, r.limits.Datagrams/shares) }

// ofSource is how many datagrams the source of d holds.
func (r *Reassembler) ofSource(d *frame.Datagram) (n int) {
	for _, other := range r.held {
		if other.Src == d.Src {
			n++
		}
	}
	return n
}

// spoil drops what is held of d, and remembers d as bad until its time ends.
func (r *Reassembler) spoil(d *datagram, reason clat.DropReason) {
	r.count(d, reason)
	r.release(d)
	d.bad = reason
}

// drop gives d up.
func (r *Reassembler) drop(d *datagram, reason clat.DropReason) {
	r.count(d, reason)
	r.remove(d)
}

func (r *Reassembler) count(d *datagram, reason clat.DropReason) {
	way := clat.To4
	if d.Version == 4 {
		way = clat.To6
	}
	r.drops[way][reason] += uint64(d.kept)
	d.kept = 0
}

// remove forgets d.
func (r *Reassembler) remove(d *datagram) {
	r.release(d)
	i := slices.Index(r.held, d)
	r.held = slices.Delete(r.held, i, i+1)
	r.unused = append(r.unused, d)
}

// release takes d's pages back.
func (r *Reassembler) release(d *datagram) {
	for i, p := range d.pages {
		if p != nil {
			r.free = append(r.free, p)
			d.pages[i] = nil
		}
	}
}

func pop[T any](from *[]T) T {
	last := len(*from) - 1
	t := (*from)[last]
	*from = (*from)[:last]
	return t
}
