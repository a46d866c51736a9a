package discovery

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"uclat/clat/pref64"
)

// maxLifetime is where lifetimes saturate: no source speaks for longer, and sums of it and a time of today fit every type in use.
const maxLifetime = 100 * 365 * 24 * time.Hour

// Set is what all sources say together. It is owned by one goroutine and has no clock: the time is an argument, and it must not
// mix times that carry a monotonic reading with times that do not. The zero value is empty and ready. A copy goes its own way.
type Set struct {
	said     []statement // like changes made anew each time, because a copy of the Set may share it
	changes  []Change    // that nobody asked for yet
	arrivals uint64
	turns    uint64 // Observations so far
}

// statement is one prefix as one origin says it.
type statement struct {
	Known
	arrival uint64 // of the prefix on this link, by this source, whoever said it first
	turn    uint64 // the last Observation that said it
	limited bool   // its origin was there at the last Limit, which left it
}

// speaker is who makes statements.
type speaker struct {
	source   Source
	link     int
	router   netip.Addr
	resolver string
}

// Change is one thing that became different.
type Change struct {
	What Event
	Known
}

// Event is what became of a statement, which the same origin made.
type Event uint8

const (
	Appeared  Event = iota // it was not made before, or not any more
	Withdrawn              // it was taken back, or left out where all should be said
	Expired                // its lifetime ended
)

// String is the event's name in logs and in output.
func (e Event) String() string {
	return [...]string{Appeared: "appeared", Withdrawn: "withdrawn", Expired: "expired"}[e]
}

// Observe takes in what an origin says at now. What is too much of it is left out: see Limit.
func (s *Set) Observe(now time.Time, o Observation) {
	s.expire(now)
	s.turns++
	if o.Source != Configured {
		o.Prefixes = o.Prefixes[:min(len(o.Prefixes), maxHeard)]
	}
	by := speaker{o.Source, o.Link, o.Router, o.Resolver}
	own, others := divide(s.said, func(st statement) bool { return st.speaker() == by })
	slices.SortFunc(own, better)
	said := s.listen(now, o, own)
	kept := said
	if o.Source != Configured {
		kept = latest(said, room(own, others, by))
	}
	for _, st := range own {
		if !names(said, st.Prefix) {
			s.note(Withdrawn, st)
		}
	}
	for _, st := range kept {
		if !names(own, st.Prefix) {
			s.note(Appeared, st)
		}
	}
	s.said = append(others, kept...)
}

// listen is what an origin that said before says after o.
func (s *Set) listen(now time.Time, o Observation, before []statement) (said []statement) {
	hardware := o.Hardware
	if o.Source == RA {
		said = slices.Clone(before) // which o adds to. An RA that does not give a link-layer address says nothing of it (RFC 4861, 6.3.4)
		if hardware == "" && len(before) > 0 {
			hardware = before[0].Hardware
		}
	}
	for _, offer := range o.Prefixes {
		if !offer.Prefix.IsValid() {
			continue
		}
		i := slices.IndexFunc(said, func(st statement) bool { return st.Prefix == offer.Prefix })
		if o.Source != Configured && offer.Lifetime <= 0 {
			if i >= 0 {
				said = slices.Delete(said, i, i+1)
			}
			continue
		}
		if i < 0 {
			i = len(said)
			said = append(said, statement{
				Known:   Known{Source: o.Source, Link: o.Link, Router: o.Router, Resolver: o.Resolver, Prefix: offer.Prefix},
				arrival: s.arrival(o.Source, o.Link, offer.Prefix),
			})
		}
		said[i].turn = s.turns
		if o.Source != Configured {
			said[i].Until = now.Add(min(offer.Lifetime, maxLifetime))
		}
	}
	for i := range said {
		said[i].Hardware, said[i].limited = hardware, len(before) > 0 && before[0].limited
	}
	return said
}

// arrival keeps the place of a prefix that this source offers on this link already, so that an RRset in another order, or the same prefix
// from another origin, moves nothing: traffic stays where it is. The order of the configuration is its author's will and counts as written.
func (s *Set) arrival(source Source, link int, p pref64.Prefix) uint64 {
	if source != Configured {
		for _, st := range s.said {
			if st.Source == source && st.Link == link && st.Prefix == p {
				return st.arrival
			}
		}
	}
	s.arrivals++
	return s.arrivals
}

// Valid is what holds at now, best first, and when that changes though nothing more is observed (zero: never). The best source comes
// first, the others follow as fallback (RFC 8781, 5.1; RFC 9872, 3). Within a source the order is that of arrival, and a prefix keeps its
// place on its link while anybody there stands by it: the one in use stays first (RFC 7050, 3). A prefix that several origins name is there
// for each, the one that stands by it for longest first. At its Until a statement holds no more.
func (s *Set) Valid(now time.Time) (known []Known, next time.Time) {
	valid, _ := divide(s.said, func(st statement) bool { return st.holds(now) })
	slices.SortFunc(valid, better)
	for _, st := range valid {
		known = append(known, st.Known)
		if !st.Until.IsZero() && (next.IsZero() || st.Until.Before(next)) {
			next = st.Until
		}
	}
	return known, next
}

// Changes is what became different since the last call, in its order; the oldest are left out if there are too many. A statement that is
// made again, whatever its lifetime, is no change, nor is one that is gone because of Forget or Limit.
func (s *Set) Changes(now time.Time) []Change {
	s.expire(now)
	c := slices.Clone(s.changes)
	s.changes = nil
	return c
}

// Forget drops what was said of a link's network: the link went away, or leads to another one now. What is Configured stays.
func (s *Set) Forget(link int) {
	_, s.said = divide(s.said, func(st statement) bool { return st.Link == link && st.Source != Configured })
}

// expire drops what holds no more.
func (s *Set) expire(now time.Time) {
	if !slices.ContainsFunc(s.said, func(st statement) bool { return !st.holds(now) }) {
		return
	}
	holds, ended := divide(s.said, func(st statement) bool { return st.holds(now) })
	slices.SortFunc(ended, func(a, b statement) int { return cmp.Or(a.Until.Compare(b.Until), better(a, b)) })
	for _, st := range ended {
		s.note(Expired, st)
	}
	s.said = holds
}

func (s *Set) note(what Event, st statement) {
	c := slices.Concat(s.changes, []Change{{what, st.Known}})
	s.changes = c[max(0, len(c)-maxChanges):]
}

func (st statement) speaker() speaker { return speaker{st.Source, st.Link, st.Router, st.Resolver} }

func (st statement) holds(now time.Time) bool { return st.Until.IsZero() || now.Before(st.Until) }

// better sorts by what is to be preferred. Two statements are never equal.
func better(a, b statement) int {
	return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.arrival, b.arrival), longest(a.Until, b.Until),
		a.Router.Compare(b.Router), strings.Compare(a.Resolver, b.Resolver))
}

// longest sorts the later end first; zero is for ever.
func longest(a, b time.Time) int {
	if a.IsZero() || b.IsZero() {
		return cmp.Compare(rank(b.IsZero()), rank(a.IsZero()))
	}
	return b.Compare(a)
}

func names(said []statement, p pref64.Prefix) bool {
	return slices.ContainsFunc(said, func(st statement) bool { return st.Prefix == p })
}

// divide makes two new slices out of one, each in its order.
func divide(all []statement, is func(statement) bool) (yes, no []statement) {
	for _, st := range all {
		if is(st) {
			yes = append(yes, st)
		} else {
			no = append(no, st)
		}
	}
	return yes, no
}
