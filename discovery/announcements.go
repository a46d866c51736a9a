package discovery

import (
	"cmp"
	"maps"
	"math"
	"net/netip"
	"slices"
	"time"
)

// Infinity is the lifetime of a prefix that has no end (RFC 4861, 4.6.2).
const Infinity = math.MaxUint32 * time.Second

// shortest is what an unauthenticated advertisement can shorten the lifetime of an address to (RFC 4862, 5.5.3 e).
const shortest = 2 * time.Hour

// Heard is what is known of the routers of a link.
type Heard uint8

const (
	Unknown    Heard = iota // nobody has answered yet
	Silent                  // routers were solicited, and none answers
	Advertised              // a router has spoken
)

// String is the state's name in logs and in output.
func (h Heard) String() string {
	return [...]string{Unknown: "unknown", Silent: "silent", Advertised: "advertised"}[h]
}

// Announcements is what the routers of all links say. It is owned by one goroutine and has no clock: the time is an argument, and it
// must not mix times that carry a monotonic reading with times that do not. The zero value is empty and ready.
type Announcements struct {
	links map[int]*link
}

// prefix is what one router says of one prefix. The flags are facts of their own, each with an end of its own: an advertisement with L=0
// or A=0 says nothing of what one with L=1 or A=1 has said (RFC 4861, 6.3.4; RFC 4862, 5.5.3 a).
type prefix struct {
	netip.Prefix
	last       uint64 // advertisement of the link that named it
	said       term   // the prefix was named, with whatever flags
	onLink     term
	autonomous term
	preferred  term
}

// Observe takes in what a router said at now, as RFC 4861, 6.3.4, and RFC 4862, 5.5.3, have it; or, without a Router, that none
// answers, which matters only where nothing holds of what routers of the link said before. What is too much of it is left out: see Limit.
func (a *Announcements) Observe(now time.Time, ad Advertisement) {
	if a.links == nil {
		a.links = make(map[int]*link)
	}
	l := a.links[ad.Link]
	if l == nil {
		l = new(link)
		a.links[ad.Link] = l
	}
	l.prune(now)
	switch {
	case ad.Router.IsValid():
		l.heard = Advertised
		l.count++
		l.last = now
		l.router(ad.Router).observe(now, l.count, ad)
		l.prune(now)
		l.limit(maxRouters+maxNewcomers, 2*maxPrefixes)
	case !l.end().holds(now):
		l.heard = Silent
	}
	a.limitLinks(2 * maxLinks)
}

// Valid is what holds at now, in the order of links, routers and prefixes, and when that changes though nothing more is observed (zero:
// never): the next end of a lifetime, the preferred ones too. At its Until a prefix holds no more. Until and Preferred are those of the
// address that is made of the prefix where it is Autonomous; that it is OnLink can end earlier.
func (a *Announcements) Valid(now time.Time) (known []Announced, next time.Time) {
	for _, index := range slices.Sorted(maps.Keys(a.links)) {
		for _, r := range a.links[index].routers {
			for _, p := range r.prefixes {
				if !p.end().holds(now) {
					continue
				}
				for _, t := range []term{p.end(), p.onLink, p.autonomous, p.preferred} {
					next = t.next(now, next)
				}
				known = append(known, p.announced(now, index, r.addr))
			}
		}
	}
	return known, next
}

// Heard is what is known of the routers of a link, which is Unknown again after Forget.
func (a *Announcements) Heard(link int) Heard {
	if l := a.links[link]; l != nil {
		return l.heard
	}
	return Unknown
}

// Forget drops all that was said on a link: it went down, or away, or leads to another network now.
func (a *Announcements) Forget(link int) { delete(a.links, link) }

func (p *prefix) observe(now time.Time, i PrefixInfo) {
	valid := lasting(now, i.Valid)
	p.said = valid
	if i.OnLink {
		p.onLink = valid
	}
	if i.Autonomous {
		p.autonomous = p.autonomous.renewed(now, valid)
	}
	if i.Autonomous || !p.autonomous.holds(now) {
		p.preferred = term{known: true, until: now}
		if i.Preferred > 0 {
			p.preferred = lasting(now, i.Preferred)
		}
	}
}

func (p prefix) end() term { return later(later(p.said, p.onLink), p.autonomous) }

// isOfUse says whether the prefix is more than a name.
func (p prefix) isOfUse(now time.Time) bool { return p.onLink.holds(now) || p.autonomous.holds(now) }

func (p prefix) announced(now time.Time, link int, router netip.Addr) Announced {
	until := p.end().until
	if p.autonomous.holds(now) {
		until = p.autonomous.until
	}
	return Announced{
		Link:       link,
		Router:     router,
		Prefix:     p.Prefix,
		OnLink:     p.onLink.holds(now),
		Autonomous: p.autonomous.holds(now),
		Until:      until,
		Preferred:  p.preferred.until,
	}
}

// term is how long something holds: the zero value never, else until a time, and for ever where that is zero.
type term struct {
	known bool
	until time.Time
}

// lasting is the term of a lifetime that begins at now.
func lasting(now time.Time, lifetime time.Duration) term {
	switch {
	case lifetime <= 0:
		return term{}
	case lifetime >= Infinity:
		return term{known: true}
	}
	return term{known: true, until: now.Add(lifetime)}
}

func (t term) holds(now time.Time) bool { return t.known && (t.until.IsZero() || now.Before(t.until)) }

// next is the term's end, if that is to come before another time (zero: never).
func (t term) next(now, other time.Time) time.Time {
	if t.holds(now) && !t.until.IsZero() && (other.IsZero() || t.until.Before(other)) {
		return t.until
	}
	return other
}

// renewed is the term of an address after an advertisement with another one, which anybody on the link could have forged: it is not made
// shorter than two hours, and what is shorter than that already is not shortened (RFC 4862, 5.5.3 e).
func (t term) renewed(now time.Time, said term) term {
	floor := lasting(now, shortest)
	switch {
	case said.compare(t) > 0, said.compare(floor) > 0:
		return said
	case t.compare(floor) <= 0:
		return t
	}
	return floor
}

// compare sorts by the end.
func (t term) compare(u term) int {
	switch {
	case !t.known || !u.known:
		return cmp.Compare(rank(t.known), rank(u.known))
	case t.until.IsZero() || u.until.IsZero():
		return cmp.Compare(rank(t.until.IsZero()), rank(u.until.IsZero()))
	}
	return t.until.Compare(u.until)
}

func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}

func later(t, u term) term {
	if t.compare(u) < 0 {
		return u
	}
	return t
}
