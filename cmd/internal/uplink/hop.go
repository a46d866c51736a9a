package uplink

import (
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
	found, err := s.choose(h)
	if err != nil {
		s.complain(h, err)
	}
	inUse := now.Sub(s.pace.used) < hopInUse // a knock may come right behind another look
	ask, wait := false, hopIdle
	switch {
	case err != nil || found.OnLink || !found.Gateway.IsValid():
		wait = hopInUse
	case found.State == nexthop.Unresolved || found.State == nexthop.Failed:
		ask, wait = true, hopUnresolved
	case inUse:
		ask, wait = found.State == nexthop.Stale, hopInUse
	}
	if due := now.Add(wait); s.pace.due.IsZero() || due.Before(s.pace.due) {
		s.pace.due = due
	}
	if ask && !asked[found.Gateway] {
		asked[found.Gateway] = true
		if err := s.Neighbours.Use(s.is.Link.Index, found.Gateway); err != nil {
			s.complain(h, err)
		}
	}
	if found.Gateway == h.hop.gateway && found.Hardware == nil && err == nil {
		found.Hardware = h.hop.hardware // it is being asked, and where it was is the best guess
	}
	return found
}

// choose is the router that the host's routes lead to. Where that is none of those that announced the PREF64, it is the first of them that is not
// known to be away.
func (s *station) choose(h *holding) (nexthop.Hop, error) {
	byRoute, err := s.Neighbours.Hop(s.is.Link, h.Addrs.Addr(), plat(h.PREF64))
	if len(h.Routers) == 0 || slices.Contains(h.Routers, byRoute.Gateway) {
		return byRoute, err
	}
	var first nexthop.Hop
	for i, r := range h.Routers {
		found, err := s.Neighbours.Router(s.is.Link.Index, r)
		if err != nil {
			return nexthop.Hop{}, err
		}
		if found.State != nexthop.Failed {
			return found, nil
		}
		if i == 0 {
			first = found
		}
	}
	return first, nil
}

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
