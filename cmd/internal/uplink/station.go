package uplink

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"uclat/clat/node"
	"uclat/clat/policy"
)

// station is the state of an Uplink.
type station struct {
	*Uplink
	is       Want
	hardware net.HardwareAddr // ours on the link; nil where it has none
	held     []*holding
	pace     pace
	told     ways
	probed   chan probe
	probes   int // under way
	said     []policy.Trial
}

// holding is one address or prefix that is held. Where its packets go may change meanwhile.
type holding struct {
	policy.Hold
	hop hop

	node *node.Node // nil where nobody asks for it
	next time.Time  // when node wants to be ticked; zero: not before something happens
	mute bool       // that nobody could be asked for the address was logged

	leave  func() error // the solicited-node group; nil: not a member
	rejoin time.Time    // when to try that again; zero: never

	state  policy.TrialState
	detail string
	unsent bool               // with Silent: nothing could be sent
	probe  context.CancelFunc // ends the probe that is under way; nil: none is
	again  time.Time          // when to probe once more; zero: never
	rest   time.Duration      // that was waited for before
}

// joinAgain is how long it takes until a group is tried again that could not be joined.
const joinAgain = 30 * time.Second

func newStation(u *Uplink) *station { return &station{Uplink: u, probed: make(chan probe)} }

// want makes what is held what w says.
func (s *station) want(ctx context.Context, w Want) {
	now := time.Now()
	s.is = w
	s.setHardware(w.Link.Hardware, now)
	var keep, begin []*holding
	follow := false
	for _, h := range s.held {
		i := slices.IndexFunc(w.Hold, h.is)
		if i < 0 {
			s.drop(h)
			continue
		}
		keep = append(keep, h)
		follow = s.redirect(h, w.Hold[i], now) || follow
	}
	for _, x := range w.Hold {
		if !slices.ContainsFunc(keep, func(h *holding) bool { return h.is(x) }) {
			begin = append(begin, &holding{Hold: x})
			keep = append(keep, begin[len(begin)-1])
		}
	}
	s.held = keep
	if err := s.Conn.Accept(prefixes(keep)); err != nil {
		s.Log.Warn("listening for our addresses on "+s.Link.Name, "error", err)
	}
	for _, h := range begin {
		s.begin(h, now)
	}
	if follow || len(begin) > 0 {
		s.follow(now)
	}
	s.tellWays() // another one may be in use
}

// is says whether x is what is held, wherever packets from it go.
func (h *holding) is(x policy.Hold) bool { return h.Addrs == x.Addrs && h.ND == x.ND }

// redirect tells a holding where its packets go from now on, and says whether that is another way than before. Whether answers come back is seen
// anew toward another PLAT, unless they did already.
func (s *station) redirect(h *holding, x policy.Hold, now time.Time) bool {
	samePLAT := h.PREF64 == x.PREF64
	if samePLAT && slices.Equal(h.Routers, x.Routers) {
		return false
	}
	h.Hold = x
	if samePLAT {
		return true
	}
	if h.probe != nil {
		h.probe()
	}
	if h.state == policy.Silent {
		h.again, h.rest = time.Time{}, 0
		if h.PREF64.IsValid() {
			h.again = now
		}
	}
	return true
}

// begin starts to hold an address, which is listened to already.
func (s *station) begin(h *holding, now time.Time) {
	if !h.ND {
		h.state = policy.Probing
		return
	}
	addr := h.Addrs.Addr()
	if err := s.join(h, now); err != nil {
		s.Log.Warn(fmt.Sprintf("joining the multicast group of %v on %s: neighbours may not find us", addr, s.Link.Name), "error", err)
	}
	var nonce [6]byte
	rand.Read(nonce[:])
	h.node = node.New(node.Options{
		Addr: addr, Hardware: s.hardware, Nonce: nonce, Optimistic: slices.Contains(s.is.Optimistic, addr),
		Send: func(packet []byte, to net.HardwareAddr) {
			if err := s.Conn.SendND(packet, to, s.hardware); err != nil {
				s.notSent(h, err)
			}
		},
	})
	h.next = h.node.Tick(now)
}

// join joins the solicited-node group of an address, or sees to it that this is tried again.
func (s *station) join(h *holding, now time.Time) (err error) {
	h.rejoin = time.Time{}
	if h.leave, err = s.Conn.Join(h.Addrs.Addr()); err != nil {
		h.rejoin = now.Add(joinAgain)
	}
	return err
}

// notSent takes in that a packet of the node's could not be sent. An address that nobody was asked for is not known to be free.
func (s *station) notSent(h *holding, err error) {
	h.node.Unsent()
	switch {
	case h.node.Status() == node.Ready:
		s.Log.Debug("sending neighbour discovery on "+s.Link.Name, "error", err)
	case !h.mute:
		h.mute = true
		s.Log.Warn(fmt.Sprintf("asking whether somebody has %v on %s: it is tried each second", h.Addrs.Addr(), s.Link.Name), "error", err)
	}
}

// drop stops to hold an address.
func (s *station) drop(h *holding) {
	if h.probe != nil {
		h.probe()
	}
	if h.leave != nil {
		if err := h.leave(); err != nil {
			s.Log.Debug("leaving a multicast group on "+s.Link.Name, "error", err)
		}
	}
}

// leave drops all.
func (s *station) leave() {
	for _, h := range s.held {
		s.drop(h)
	}
	s.held = nil
}

func (s *station) setHardware(text string, now time.Time) {
	a, err := net.ParseMAC(text)
	if err != nil {
		a = nil // a link without link-layer addresses
	}
	if slices.Equal(a, s.hardware) {
		return
	}
	s.hardware = a
	for _, h := range s.held {
		if h.node != nil {
			h.next = h.node.SetHardware(a, now)
		}
	}
	s.tellWays()
}

func (s *station) input(m neighbourMessage, now time.Time) {
	for _, h := range s.held {
		if h.node != nil {
			h.next = h.node.Input(m.packet, m.from, now)
		}
	}
}

// tick does what is due.
func (s *station) tick(ctx context.Context, now time.Time) {
	for _, h := range s.held {
		if !h.next.IsZero() && !now.Before(h.next) {
			h.next = h.node.Tick(now)
		}
		if !h.rejoin.IsZero() && !now.Before(h.rejoin) && s.join(h, now) == nil {
			s.Log.Info(fmt.Sprintf("joined the multicast group of %v on %s", h.Addrs.Addr(), s.Link.Name))
		}
		s.advance(ctx, h, now)
	}
	if !s.pace.due.IsZero() && !now.Before(s.pace.due) {
		s.follow(now)
	}
}

// advance takes a holding on to its next state.
func (s *station) advance(ctx context.Context, h *holding, now time.Time) {
	if h.node != nil {
		switch h.node.Status() {
		case node.Tentative:
			return
		case node.Duplicate:
			if h.state != policy.Duplicate && h.probe != nil {
				h.probe()
			}
			h.state, h.again = policy.Duplicate, time.Time{}
			if holder := h.node.Holder(); holder != nil {
				h.detail = fmt.Sprintf(" by %v", holder)
			}
			return
		}
		if h.state == policy.Checking {
			h.state = policy.Probing
		}
	}
	switch {
	case !s.is.Probe:
		h.state, h.detail, h.again = policy.Seen, "", time.Time{}
		if h.probe != nil {
			h.probe()
		}
	case h.probe != nil, !h.PREF64.IsValid():
	case h.state == policy.Probing, !h.again.IsZero() && !now.Before(h.again):
		s.startProbe(ctx, h)
	}
}

// untilNext is how long nothing is due.
func (s *station) untilNext(now time.Time) time.Duration {
	next := s.pace.due
	for _, h := range s.held {
		for _, t := range []time.Time{h.next, h.rejoin, h.again} {
			if !t.IsZero() && (next.IsZero() || t.Before(next)) {
				next = t
			}
		}
	}
	if next.IsZero() {
		return time.Hour
	}
	return max(next.Sub(now), time.Millisecond)
}

// report says what has changed.
func (s *station) report() {
	trials := make([]policy.Trial, len(s.held))
	for i, h := range s.held {
		trials[i] = policy.Trial{Link: s.Link.Index, Addr: h.Addrs.Addr(), State: h.state, Detail: h.detail, Unsent: h.state == policy.Silent && h.unsent}
	}
	if slices.Equal(trials, s.said) {
		return
	}
	s.said = trials
	s.mu.Lock()
	s.trials = trials
	s.mu.Unlock()
	s.Changed()
}

func prefixes(held []*holding) (p []netip.Prefix) {
	for _, h := range held {
		p = append(p, h.Addrs)
	}
	return p
}
