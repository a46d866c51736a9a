package uplink

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"uclat/clat"
	"uclat/clat/policy"
	"uclat/clat/pref64"
)

// How it is seen whether answers come back: so many echo requests, each with so long to be answered. Where nothing was seen it begins anew
// after a while, which is twice as long each time.
const (
	probeTries = 3
	probeWait  = time.Second
	probeAgain = 5 * time.Second
	probeRest  = time.Minute // at most
)

// plat is the address behind a PREF64 that the echo requests with hop limit 1 are for: 192.0.0.9, the anycast address of the Port Control
// Protocol (RFC 7723). It is globally reachable, so that no NAT64 has to refuse it, and with that hop limit nobody is asked there.
func plat(p pref64.Prefix) netip.Addr { return netip.AddrFrom16(p.Embed([4]byte{192, 0, 0, 9})) }

// probe is what a probe came to.
type probe struct {
	of     *holding
	toward pref64.Prefix
	answer string // empty: none
	sent   bool   // a request was
	ended  bool   // nobody waits for the answer any more
}

// startProbe sees in the background whether an echo request with hop limit 1 toward the PLAT is answered: with Time Exceeded, another ICMPv6
// error, or an echo reply. Whatever it is, it came back to our address, and no server was asked.
func (s *station) startProbe(ctx context.Context, h *holding) {
	ctx, cancel := context.WithCancel(ctx)
	h.probe, h.again = cancel, time.Time{}
	source, target := h.Addrs.Addr(), plat(h.PREF64)
	p := probe{of: h, toward: h.PREF64}
	go func() {
		for try := 0; try < probeTries && p.answer == "" && ctx.Err() == nil; try++ {
			wait, done := context.WithTimeout(ctx, probeWait)
			answer, err := s.Echo(wait, source, target)
			p.sent = p.sent || !errors.Is(err, clat.ErrNextHop)
			if err != nil {
				<-wait.Done() // it may have failed at once: the next hop may be known in a moment
			}
			done()
			p.answer = answer
		}
		p.ended = ctx.Err() != nil
		cancel()
		s.probed <- p
	}()
	s.probes++
}

// stopProbes waits for all of them: each is told to end.
func (s *station) stopProbes() {
	for _, h := range s.held {
		if h.probe != nil {
			h.probe()
		}
	}
	for s.probes > 0 {
		<-s.probed
		s.probes--
	}
}

// answered takes in what a probe came to.
func (s *station) answered(p probe) {
	s.probes--
	h := p.of
	h.probe = nil
	switch {
	case p.ended || h.state == policy.Duplicate || !s.is.Probe || p.toward != h.PREF64:
	case p.answer != "":
		h.state, h.detail = policy.Seen, ""
	default:
		h.rest = min(max(2*h.rest, probeAgain), probeRest)
		h.state, h.detail, h.unsent, h.again = policy.Silent, s.unseen(h, p.sent), !p.sent, time.Now().Add(h.rest)
	}
}

// unseen is what was not seen, as the end of a line for people.
func (s *station) unseen(h *holding, sent bool) string {
	if !sent {
		return "nothing could be sent: " + h.hop.missing()
	}
	text := fmt.Sprintf("no answer to %d echo requests with hop limit 1 to %v", probeTries, plat(h.PREF64))
	switch {
	case h.node == nil:
		return text
	case h.hop.hardware == nil:
		return text + ": " + h.hop.missing()
	case h.node.RouterHeard().IsZero():
		return fmt.Sprintf("%s, and the router %v does not answer neighbour solicitations from %v", text, h.hop.gateway, h.Addrs.Addr())
	}
	return fmt.Sprintf("%s, though the router %v answers neighbour solicitations", text, h.hop.gateway)
}
