package uplink

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"uclat/platform/nexthop"
)

// How often the next hops are looked at though nothing happens.
const (
	hopUnresolved = time.Second      // until the kernel knows its link-layer address
	hopInUse      = 5 * time.Second  // while packets leave: what the kernel does not use itself, it does not check by itself
	hopIdle       = 30 * time.Second // and while none do
)

// hop is the next hop of what leaves from a holding.
type hop struct {
	gateway  netip.Addr       // invalid: there is none
	hardware net.HardwareAddr // nil: not known
	onLink   bool
	failure  string // what was last logged

	// away are those of Routers that did not answer, until they are known to be reachable: one that is asked again is unresolved for a moment,
	// and would seem to be better than one that has just failed, in turn.
	away map[netip.Addr]bool
}

// pace says when the next hops are looked at.
type pace struct {
	sent uint64    // packets that had left at the last look
	used time.Time // the last look that found more of them than the one before
	due  time.Time // of the next look; zero: none
}

// ways is what the link was last told: the next hop's link-layer address by the source, and our own.
type ways struct {
	to   map[netip.Prefix]net.HardwareAddr
	from net.HardwareAddr
}

// missing says why packets cannot leave.
func (h *hop) missing() string {
	switch {
	case h.onLink:
		return "the route to the PREF64 has no router"
	case !h.gateway.IsValid():
		return "there is no route to the PREF64"
	}
	return fmt.Sprintf("the router %v does not tell its link-layer address", h.gateway)
}

// follow finds the next hop of each holding, and has the kernel resolve or check them where it has to. On a link without neighbours there is
// nothing to follow, and where the PREF64 is not known, nobody to send to.
func (s *station) follow(now time.Time) {
	s.pace.due = time.Time{}
	if s.hardware == nil || len(s.held) == 0 {
		return
	}
	if sent := s.Sent(); sent != s.pace.sent {
		s.pace.sent, s.pace.used = sent, now
	}
	asked := map[netip.Addr]bool{}
	var moved []*holding
	for _, h := range s.held {
		var found nexthop.Hop
		if h.PREF64.IsValid() {
			found = s.look(h, now, asked)
		}
		if h.hop.onLink = found.OnLink; found.Gateway != h.hop.gateway || !slices.Equal(found.Hardware, h.hop.hardware) {
			h.hop.gateway, h.hop.hardware = found.Gateway, found.Hardware
			moved = append(moved, h)
		}
	}
	s.tellWays()
	for _, h := range moved {
		s.meet(h, now)
	}
}

// look asks the kernel for the next hop of one holding. Routers that are in asked were seen to already.
func (s *station) look(h *holding, now time.Time, asked map[netip.Addr]bool) nexthop.Hop {
	all, err := s.choose(h)
	if err != nil {
		s.complain(h, err)
	}
	var found nexthop.Hop
	if len(all) > 0 {
		found = all[0]
	}
	inUse := now.Sub(s.pace.used) < hopInUse // a knock may come right behind another look
	var ask []nexthop.Hop
	wait := hopIdle
	switch {
	case err != nil || found.OnLink || !found.Gateway.IsValid():
		wait = hopInUse
	case !there(found):
		ask, wait = all, hopUnresolved // any of them will do
	case inUse:
		wait = hopInUse
		if found.State == nexthop.Stale {
			ask = all[:1]
		}
	}
	if due := now.Add(wait); s.pace.due.IsZero() || due.Before(s.pace.due) {
		s.pace.due = due
	}
	var failed error
	for _, x := range ask {
		if !asked[x.Gateway] {
			asked[x.Gateway] = true
			failed = errors.Join(failed, s.Neighbours.Use(s.is.Link.Index, x.Gateway))
		}
	}
	if failed != nil {
		s.complain(h, failed)
	}
	if found.Gateway == h.hop.gateway && found.Hardware == nil && err == nil {
		found.Hardware = h.hop.hardware // it is being asked, and where it was is the best guess
	}
	return found
}

// choose is the router that the host's routes lead to. Where the PREF64 has routers of its own it is one of them, and the others that would do
// follow, best first.
func (s *station) choose(h *holding) ([]nexthop.Hop, error) {
	byRoute, err := s.Neighbours.Hop(s.is.Link, h.Addrs.Addr(), plat(h.PREF64))
	if len(h.Routers) == 0 {
		return []nexthop.Hop{byRoute}, err
	}
	routers := h.Routers
	if i := slices.Index(routers, byRoute.Gateway); i >= 0 {
		routers = slices.Concat(routers[i:i+1], routers[:i], routers[i+1:])
	}
	maps.DeleteFunc(h.hop.away, func(r netip.Addr, _ bool) bool { return !slices.Contains(routers, r) })
	rank := func(x nexthop.Hop) int { return h.hop.rank(x, x.Gateway == byRoute.Gateway) }
	var all []nexthop.Hop
	for _, r := range routers {
		found := byRoute
		if r != byRoute.Gateway {
			if found, err = s.Neighbours.Router(s.is.Link.Index, r); err != nil {
				return nil, err
			}
		}
		h.hop.note(found)
		if rank(found) == rankBest {
			return []nexthop.Hop{found}, nil
		}
		all = append(all, found)
	}
	slices.SortStableFunc(all, func(a, b nexthop.Hop) int { return cmp.Compare(rank(a), rank(b)) })
	return all, nil
}

// note keeps in mind whether a router is away.
func (h *hop) note(x nexthop.Hop) {
	switch x.State {
	case nexthop.Reachable:
		delete(h.away, x.Gateway)
	case nexthop.Failed:
		if h.away == nil {
			h.away = map[netip.Addr]bool{}
		}
		h.away[x.Gateway] = true
	}
}

// Ranks of routers, before 1 is added to all but rankBest for being another one than now: the next hop does not change without need.
const (
	rankBest       = 0 // there, and the host's routes lead to it
	rankThere      = 1
	rankUnresolved = 3
	rankAway       = 5
)

// rank says how good a router is as the next hop; less is better. One that was away and is only heard from again may not hear us: it is no
// reason to leave one that does.
func (h *hop) rank(x nexthop.Hop, byRoute bool) int {
	var rank int
	switch wasAway := h.away[x.Gateway]; {
	case there(x) && byRoute && !wasAway:
		return rankBest
	case there(x):
		rank = rankThere
	case !wasAway:
		rank = rankUnresolved
	default:
		rank = rankAway
	}
	if x.Gateway != h.gateway {
		rank++
	}
	return rank
}

// there says whether packets can go to a router, as far as the kernel knows.
func there(x nexthop.Hop) bool { return x.State == nexthop.Reachable || x.State == nexthop.Stale }

// meet has a holding make itself known to its next hop, which is another one than before.
func (s *station) meet(h *holding, now time.Time) {
	if h.hop.hardware != nil {
		h.hop.failure = ""
		s.Log.Debug(fmt.Sprintf("next hop of %v on %s is %v (%v)", h.Addrs.Addr(), s.Link.Name, h.hop.gateway, h.hop.hardware))
	}
	if h.node != nil {
		h.next = h.node.SetRouter(h.hop.gateway, h.hop.hardware, now)
	}
}

// tellWays gives the link what it has to write in front of packets, if that is another thing than before. What comes from none of our addresses
// goes the way of the one in use: ICMP errors of the translator's own.
func (s *station) tellWays() {
	w := ways{to: map[netip.Prefix]net.HardwareAddr{}, from: s.hardware}
	known := false
	for i, h := range s.held {
		w.to[h.Addrs] = h.hop.hardware // also where it is not known: it is not that of the others
		if i == 0 || h.Addrs.Addr() == s.is.Use {
			w.to[netip.Prefix{}] = h.hop.hardware
		}
		known = known || h.hop.hardware != nil
	}
	if !known {
		clear(w.to)
	}
	same := func(a, b net.HardwareAddr) bool { return slices.Equal(a, b) }
	if !slices.Equal(w.from, s.told.from) || !maps.EqualFunc(w.to, s.told.to, same) {
		s.told = w
		s.Conn.Via(w.to, w.from)
	}
}

// complain logs what keeps us from finding a holding's next hop, once.
func (s *station) complain(h *holding, err error) {
	if text := err.Error(); text != h.hop.failure {
		h.hop.failure = text
		if !errors.Is(err, nexthop.ErrNoRoute) { // which the plan will say
			s.Log.Warn("finding the next hop on "+s.Link.Name, "error", err)
		}
	}
}
