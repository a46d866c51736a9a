package discovery

import (
	"cmp"
	"slices"
	"strings"
)

// What is kept of PREF64s at most. Who is to be trusted, the Set does not know when something is observed; so until Limit there is room for
// newcomers, and each link has its own for each source: a flood there takes it from nobody elsewhere.
const (
	maxHeard     = 64  // offers of one Observation
	maxOffers    = 16  // prefixes of one origin
	maxSpeakers  = 8   // routers of a link, and resolvers
	maxLimited   = 256 // statements
	maxNewOfLink = 64  // statements of newcomers by one source on one link
	maxNew       = maxLinks * maxNewOfLink
	maxChanges   = 64 // that nobody asked for yet
)

// Limit drops what is too much of what was observed: more than 8 routers or 8 resolvers of a link, more than 64 links, more than 256
// statements in all. Origins go as a whole: first those of which nothing is trusted, then those that spoke longest ago. So none that is
// not trusted drives out one that is. What is Configured stays, and does not count.
//
// It is to be called often, for until then Observe has bounds that do not know whom to trust. Of one origin there are 16 prefixes, the last
// that it said. All newcomers together, which are the origins of which the last call has left nothing, have room for 64 statements on each
// link, routers and resolvers for themselves: the first ones for as much as they say, up to half of it, and 16 that come later for 2
// prefixes each.
func (s *Set) Limit(trusted func(Known) bool) {
	type place struct {
		source Source
		link   int
	}
	speakers, links, total, keep := map[place]int{}, map[int]bool{}, 0, map[speaker]bool{}
	for _, o := range s.origins(trusted) {
		at := place{o.source, o.link}
		if speakers[at] == maxSpeakers || len(links) == maxLinks && !links[o.link] || total+o.statements > maxLimited {
			continue
		}
		speakers[at]++
		links[o.link] = true
		total += o.statements
		keep[o.speaker] = true
	}
	s.said, _ = divide(s.said, func(st statement) bool { return st.Source == Configured || keep[st.speaker()] })
	for i := range s.said {
		s.said[i].limited = true
	}
}

// room is for how many statements an origin has room. It never has less than it has made.
func room(own, others []statement, by speaker) int {
	if len(own) > 0 && own[0].limited {
		return maxOffers
	}
	all, here := 0, 0 // of other newcomers
	for _, st := range others {
		if st.Source == Configured || st.limited {
			continue
		}
		all++
		if st.Source == by.source && st.Link == by.link {
			here++
		}
	}
	free := min(max(maxNewOfLink/2-here, assured), maxNewOfLink-here, maxNew-all)
	return min(max(free, len(own)), maxOffers)
}

// origin is what matters of a speaker to Limit.
type origin struct {
	speaker
	statements int
	trusted    bool   // in something
	turn       uint64 // when it spoke last
}

// origins are all that are not the configuration, those to be kept first.
func (s *Set) origins(trusted func(Known) bool) (all []origin) {
	index := map[speaker]int{}
	for _, st := range s.said {
		if st.Source == Configured {
			continue
		}
		by := st.speaker()
		i, known := index[by]
		if !known {
			i, index[by] = len(all), len(all)
			all = append(all, origin{speaker: by})
		}
		o := &all[i]
		o.statements++
		o.trusted = o.trusted || trusted(st.Known)
		o.turn = max(o.turn, st.turn)
	}
	slices.SortFunc(all, func(a, b origin) int {
		return cmp.Or(cmp.Compare(rank(b.trusted), rank(a.trusted)), cmp.Compare(b.turn, a.turn), cmp.Compare(a.link, b.link),
			cmp.Compare(a.source, b.source), a.router.Compare(b.router), strings.Compare(a.resolver, b.resolver))
	})
	return all
}

// latest is what is kept of an origin's statements if there is room for so many: what it said last and, of that, what it said first of all.
func latest(said []statement, room int) []statement {
	if len(said) <= room {
		return said
	}
	last := slices.SortedFunc(slices.Values(said), func(a, b statement) int {
		return cmp.Or(cmp.Compare(b.turn, a.turn), cmp.Compare(a.arrival, b.arrival))
	})
	return last[:room]
}
