package discovery

import (
	"cmp"
	"slices"
	"time"

	"uclat/clat/pref64"
)

// maxLifetime is where lifetimes saturate: no source speaks for longer, and sums of it and a time of today fit every type in use.
const maxLifetime = 100 * 365 * 24 * time.Hour

// Set is what all sources say together. It is owned by one goroutine and has no clock: the time is an argument, and it must not
// mix times that carry a monotonic reading with times that do not. The zero value is empty and ready.
type Set struct {
	said     []statement
	arrivals uint64
}

// statement is one prefix as one origin said it. Its arrival is that of the prefix in this source, whoever said it first.
type statement struct {
	Known
	arrival uint64
}

// Observe takes in what a source said at now.
func (s *Set) Observe(now time.Time, o Observation) {
	before := slices.DeleteFunc(s.said, func(st statement) bool { return !st.holds(now) })
	s.said = make([]statement, 0, len(before)+len(o.Prefixes))
	for _, st := range before {
		if st.Source != o.Source || st.Origin != o.Origin {
			s.said = append(s.said, st)
		}
	}
	var until time.Time
	if o.Source != Configured {
		if o.Lifetime <= 0 {
			return
		}
		until = now.Add(min(o.Lifetime, maxLifetime))
	}
	for i, p := range o.Prefixes {
		if !p.IsValid() || slices.Contains(o.Prefixes[:i], p) {
			continue
		}
		s.said = append(s.said, statement{
			Known:   Known{Source: o.Source, Origin: o.Origin, Prefix: p, Until: until},
			arrival: s.arrival(before, o.Source, p),
		})
	}
}

// arrival keeps the place of a prefix that this source offers already, so that an RRset in another order, or the same prefix from
// another origin, moves nothing: traffic stays where it is. The order of the configuration is its author's will and counts as written.
func (s *Set) arrival(before []statement, source Source, p pref64.Prefix) uint64 {
	if source != Configured {
		for _, st := range before {
			if st.Source == source && st.Prefix == p {
				return st.arrival
			}
		}
	}
	s.arrivals++
	return s.arrivals
}

// Valid is what holds at now, best first, and when that changes though nothing more is observed (zero: never). The best source comes
// first, the others follow as fallback. Within a source the order is that of arrival, and a prefix keeps its place while it holds: the
// one in use stays first (DISC-7050-3-3). Each prefix appears once, under the best source that offers it and, in that source, the
// origin that offers it for longest. At its Until a prefix holds no more.
func (s *Set) Valid(now time.Time) (known []Known, next time.Time) {
	valid := make([]statement, 0, len(s.said))
	for _, st := range s.said {
		if st.holds(now) {
			valid = append(valid, st)
		}
	}
	slices.SortStableFunc(valid, func(a, b statement) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.arrival, b.arrival), longest(a.Until, b.Until))
	})
	for _, st := range valid {
		if slices.ContainsFunc(known, func(k Known) bool { return k.Prefix == st.Prefix }) {
			continue
		}
		known = append(known, st.Known)
		// What is not listed for a better source or a longer lifetime ends unseen: only the listed ones change the answer.
		if !st.Until.IsZero() && (next.IsZero() || st.Until.Before(next)) {
			next = st.Until
		}
	}
	return known, next
}

func (st statement) holds(now time.Time) bool { return st.Until.IsZero() || now.Before(st.Until) }

// longest sorts the later end first; zero is for ever.
func longest(a, b time.Time) int {
	switch {
	case a.IsZero() && b.IsZero():
		return 0
	case a.IsZero():
		return -1
	case b.IsZero():
		return 1
	}
	return b.Compare(a)
}
