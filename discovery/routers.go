package discovery

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// What Limit leaves at most. A link has far fewer of all; whoever forges Router Advertisements must not make this grow, nor drive others out.
// Who is to be trusted is not known when something is observed, so until then there is more room: for 16 routers of a link more, and for
// twice as many prefixes and links.
const (
	maxLinks     = 64
	maxRouters   = 8 // of a link
	maxNewcomers = 16
	maxPrefixes  = 32 // of a link
	maxServers   = 8  // of a router
	assured      = 2  // prefixes that a router keeps however many others have
)

// remembered is how long a router is shown after it was heard, though nothing holds of what it said.
const remembered = 30 * time.Minute

// link is one link, with its routers in the order of their addresses.
type link struct {
	heard   Heard
	routers []router
	count   uint64    // of the advertisements so far
	last    time.Time // when it was observed
}

// router is one router, with its prefixes in order.
type router struct {
	addr     netip.Addr
	hardware string
	trusted  bool   // at the last Limit
	first    uint64 // advertisement of the link that it came with
	heard    int    // advertisements of it
	last     time.Time
	lifetime term // as a default router
	mtu      int
	prefixes []prefix
	servers  []server // those that were named last come first
}

// server is a recursive DNS server, as one router names it.
type server struct {
	addr netip.Addr
	term
}

// Routers is what holds at now of the routers of all links, in the order of links and addresses, and when that changes though nothing more
// is observed (zero: never). A router is there as long as anything holds that it said, a prefix too, and for 30 minutes after it was heard.
func (a *Announcements) Routers(now time.Time) (all []Router, next time.Time) {
	for _, index := range slices.Sorted(maps.Keys(a.links)) {
		for _, r := range a.links[index].routers {
			if !r.kept().holds(now) {
				continue
			}
			next = r.lifetime.next(now, r.kept().next(now, next))
			known := Router{
				Link:     index,
				Addr:     r.addr,
				Hardware: r.hardware,
				Default:  r.lifetime.holds(now),
				Until:    r.lifetime.until,
				MTU:      r.mtu,
				Heard:    r.heard,
			}
			for _, s := range r.servers {
				if s.holds(now) {
					known.Servers = append(known.Servers, s.addr)
					next = s.next(now, next)
				}
			}
			all = append(all, known)
		}
	}
	return all, next
}

// router is the one with that address, which is added where it is new.
func (l *link) router(addr netip.Addr) *router {
	i, known := slices.BinarySearchFunc(l.routers, addr, func(r router, addr netip.Addr) int { return r.addr.Compare(addr) })
	if !known {
		l.routers = slices.Insert(l.routers, i, router{addr: addr, first: l.count})
	}
	return &l.routers[i]
}

// prune drops what does not hold.
func (l *link) prune(now time.Time) {
	for i := range l.routers {
		r := &l.routers[i]
		r.prefixes = slices.DeleteFunc(r.prefixes, func(p prefix) bool { return !p.end().holds(now) })
	}
	l.routers = slices.DeleteFunc(l.routers, func(r router) bool { return !r.kept().holds(now) })
}

// Limit drops what is too much of what was observed: more than 8 routers or 32 prefixes of a link, more than 64 links. What is trusted goes
// last, and is not driven out by what is observed until the next call either. It is to be called often: until then there is room for 16
// more routers of a link, and those that come first have it.
func (a *Announcements) Limit(trusted func(link int, router netip.Addr, hardware string) bool) {
	for index, l := range a.links {
		for i := range l.routers {
			r := &l.routers[i]
			r.trusted = trusted(index, r.addr, r.hardware)
		}
		l.limit(maxRouters, maxPrefixes)
	}
	a.limitLinks(maxLinks)
}

// limitLinks drops what is too much: first the links where nobody is trusted, then those where what was said ends first.
func (a *Announcements) limitLinks(most int) {
	for len(a.links) > most {
		delete(a.links, slices.MinFunc(slices.Sorted(maps.Keys(a.links)), func(i, j int) int {
			l, k := a.links[i], a.links[j]
			return cmp.Or(cmp.Compare(rank(l.trusted()), rank(k.trusted())), l.end().compare(k.end()))
		}))
	}
}

// limit drops what is too much, so that no advertisement drives out what other routers have said, those that are trusted and default routers
// above all. Of routers, one that is not trusted goes first, then one that is only remembered, then one that is no default router, and among
// equals the one that came last. Of prefixes, those of the router that has most go first, while that is more than assured: of one that is
// neither trusted nor a default router, then of one that is not trusted.
func (l *link) limit(routers, prefixes int) {
	now := l.last
	for len(l.routers) > routers {
		i := worst(l.routers, func(r, s router) int {
			return cmp.Or(cmp.Compare(rank(r.trusted), rank(s.trusted)), cmp.Compare(r.standing(now), s.standing(now)), cmp.Compare(s.first, r.first))
		})
		l.routers = slices.Delete(l.routers, i, i+1)
	}
	for l.prefixes() > prefixes {
		l.routers[worst(l.routers, func(r, s router) int {
			return cmp.Or(cmp.Compare(r.claim(now), s.claim(now)), cmp.Compare(len(s.prefixes), len(r.prefixes)), cmp.Compare(s.first, r.first))
		})].dropOne(now)
	}
}

func (l *link) trusted() bool {
	return slices.ContainsFunc(l.routers, func(r router) bool { return r.trusted })
}

// prefixes is how many there are.
func (l *link) prefixes() (n int) {
	for _, r := range l.routers {
		n += len(r.prefixes)
	}
	return n
}

func (l *link) end() (t term) {
	for _, r := range l.routers {
		t = later(t, r.end())
	}
	return t
}

// standing is how much of the router there is.
func (r router) standing(now time.Time) int {
	return rank(r.lifetime.holds(now)) + rank(r.end().holds(now))
}

// claim is how good a claim the router has to all its prefixes. The best one never yields: where all have it, there are not too many.
func (r router) claim(now time.Time) int {
	switch {
	case len(r.prefixes) <= assured:
		return 3
	case r.trusted:
		return 2
	case r.lifetime.holds(now):
		return 1
	}
	return 0
}

// dropOne drops a prefix that is good for nothing, else the one that was not said for longest: the router says again what it means.
func (r *router) dropOne(now time.Time) {
	i := worst(r.prefixes, func(p, q prefix) int {
		return cmp.Or(cmp.Compare(rank(p.isOfUse(now)), rank(q.isOfUse(now))), cmp.Compare(p.last, q.last))
	})
	r.prefixes = slices.Delete(r.prefixes, i, i+1)
}

func (r *router) observe(now time.Time, count uint64, ad Advertisement) {
	r.heard++
	r.last = now
	r.lifetime = lasting(now, ad.Lifetime)
	r.hardware = cmp.Or(ad.Hardware, r.hardware)
	r.mtu = cmp.Or(ad.MTU, r.mtu)
	r.listServers(now, ad.Servers)
	for _, i := range ad.Prefixes[:min(len(ad.Prefixes), maxPrefixes)] {
		net := i.Prefix.Masked()
		if !net.IsValid() || net.Addr().IsLinkLocalUnicast() || net.Addr().IsMulticast() || i.Preferred > i.Valid {
			continue
		}
		at, known := slices.BinarySearchFunc(r.prefixes, net, func(p prefix, net netip.Prefix) int { return p.Compare(net) })
		if !known {
			r.prefixes = slices.Insert(r.prefixes, at, prefix{Prefix: net})
		}
		r.prefixes[at].observe(now, i)
		r.prefixes[at].last = count
	}
}

// listServers takes in which servers the router names (RFC 8106, 5.3.1). Those that it does not name stay, behind the others.
func (r *router) listServers(now time.Time, named []Resolver) {
	var servers []server
	for _, n := range named[:min(len(named), maxPrefixes)] {
		addr := n.Addr.WithZone("")
		if !addr.Is6() || addr.Is4In6() || addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() {
			continue
		}
		servers = slices.DeleteFunc(servers, func(s server) bool { return s.addr == addr })
		servers = append(servers, server{addr, lasting(now, n.Lifetime)})
	}
	for _, s := range r.servers {
		if !slices.ContainsFunc(servers, func(n server) bool { return n.addr == s.addr }) {
			servers = append(servers, s)
		}
	}
	servers = slices.DeleteFunc(servers, func(s server) bool { return !s.holds(now) })
	r.servers = servers[:min(len(servers), maxServers)]
}

// end is when nothing holds any more of what the router said.
func (r router) end() term {
	t := r.lifetime
	for _, p := range r.prefixes {
		t = later(t, p.end())
	}
	for _, s := range r.servers {
		t = later(t, s.term)
	}
	return t
}

// kept is how long the router is there.
func (r router) kept() term { return later(r.end(), lasting(r.last, remembered)) }

// worst is the index of the first of the least.
func worst[T any](all []T, compare func(a, b T) int) (least int) {
	for i := range all {
		if compare(all[i], all[least]) < 0 {
			least = i
		}
	}
	return least
}
