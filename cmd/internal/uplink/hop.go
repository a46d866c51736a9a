package uplink

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"uclat/platform/nexthop"
)

// How often the next hop is looked at though nothing happens.
const (
	hopUnresolved = time.Second      // until the kernel knows its link-layer address
	hopInUse      = 5 * time.Second  // while packets leave: what the kernel does not use itself, it does not check by itself
	hopIdle       = 30 * time.Second // and while none do
)

// hop is the next hop toward the PLAT.
type hop struct {
	gateway  netip.Addr       // invalid: there is none
	hardware net.HardwareAddr // nil: not known
	onLink   bool
	sent     uint64    // packets that had left at the last look
	used     time.Time // the last look that found more of them than the one before
	due      time.Time // of the next look; zero: none
	failure  string    // what was last logged
}

func (h *hop) isDue(now time.Time) bool { return !h.due.IsZero() && !now.Before(h.due) }

// set gives the link what it has to write in front of packets.
func (h *hop) set(s *station) { s.Conn.Via(h.hardware, s.hardware) }

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

// follow asks the kernel for the next hop, and has it resolve or check that where it has to. On a link without neighbours there is nothing to
// follow.
func (s *station) follow(now time.Time) {
	if s.hardware == nil || len(s.held) == 0 {
		s.hop.due = time.Time{}
		return
	}
	src := s.is.Use
	if !src.IsValid() {
		src = s.held[0].Addrs.Addr()
	}
	found, err := s.Neighbours.Hop(s.is.Link, src, s.is.PLAT)
	if err != nil {
		found = nexthop.Hop{}
		s.complain(err)
	}
	if sent := s.Sent(); sent != s.hop.sent {
		s.hop.sent, s.hop.used = sent, now
	}
	inUse := now.Sub(s.hop.used) < hopInUse // a knock may come right behind another look
	ask := false
	switch {
	case err != nil || found.OnLink || !found.Gateway.IsValid():
		s.hop.due = now.Add(hopInUse)
	case found.State == nexthop.Unresolved || found.State == nexthop.Failed:
		ask, s.hop.due = true, now.Add(hopUnresolved)
	case inUse:
		ask, s.hop.due = found.State == nexthop.Stale, now.Add(hopInUse)
	default:
		s.hop.due = now.Add(hopIdle)
	}
	if ask {
		if err := s.Neighbours.Use(s.is.Link.Index, found.Gateway); err != nil {
			s.complain(err)
		}
	}
	if found.Gateway == s.hop.gateway && found.Hardware == nil && err == nil {
		found.Hardware = s.hop.hardware // it is being asked, and where it was is the best guess
	}
	s.hop.onLink = found.OnLink
	if found.Gateway == s.hop.gateway && slices.Equal(found.Hardware, s.hop.hardware) {
		return
	}
	s.hop.gateway, s.hop.hardware = found.Gateway, found.Hardware
	s.hop.set(s)
	if found.Hardware != nil {
		s.hop.failure = ""
		s.Log.Debug(fmt.Sprintf("next hop on %s is %v (%v)", s.Link.Name, found.Gateway, found.Hardware))
	}
	for _, h := range s.held {
		if h.node != nil {
			h.next = h.node.SetRouter(found.Gateway, found.Hardware, now)
		}
	}
}

// complain logs what keeps us from finding the next hop, once.
func (s *station) complain(err error) {
	if text := err.Error(); text != s.hop.failure {
		s.hop.failure = text
		if !errors.Is(err, nexthop.ErrNoRoute) { // which the plan will say
			s.Log.Warn("finding the next hop on "+s.Link.Name, "error", err)
		}
	}
}
