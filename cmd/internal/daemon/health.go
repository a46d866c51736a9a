package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"uclat/clat/datapath"
	"uclat/clat/policy"
)

// How NAT64s are watched.
const (
	healthPeriod = 2 * time.Second  // between two looks at what was sent and received
	targetPeriod = 30 * time.Second // between two rounds of probe.targets
	targetWait   = 3 * time.Second  // for an answer
	targetRounds = 3                // without any answer, until it is said
	targetHops   = 64
)

// health sees whether the NAT64s in use carry packets. It says so in the log, and to whoever chooses between several.
type health struct {
	engine interface {
		Health(addresses uint8) datapath.Health
		Renew(addresses uint8)
		Probe(context.Context, datapath.Probe) (datapath.Answer, error)
	}
	log      *slog.Logger
	suspects interface { // none may block
		suspect(nat64) (news bool)
		isSuspect(nat64) bool
		clear(nat64) (news bool)
	}
	now atomic.Pointer[watched]

	// Of the rounds of targets:
	asked  nat64 // they went through it
	rounds int   // that nothing answered, one after the other; the one that makes it suspect is not counted
	said   bool  // it was said that it is suspect for that
	mute   bool  // it is no sign that nothing answers: else packets come back
}

// watched is what is to be seen to now.
type watched struct {
	ways    []way // that for new connections first
	link    int   // index
	of      [numAddresses]policy.Generation
	targets []netip.Addr
	port    datapath.Writer // where what is sent to targets is written
}

// way is a NAT64 in use.
type way struct {
	nat64
	addresses uint8      // which of our IPv4 addresses go by it, as datapath.Engine.Used has them
	source    netip.Addr // of what is sent to targets
}

// Our IPv4 addresses as datapath.Engine.Used tells them apart.
const (
	numAddresses = 8
	allAddresses = 1<<numAddresses - 1
)

// newWatched is what a plan has to be seen to. Generations with one PREF64 are one way: what comes back to either shows that the NAT64 works. All
// that is not of the old ones is of the current one: it may be a prefix, and the translator has an address too.
func newWatched(plan policy.Plan) *watched {
	w := &watched{link: plan.Uplink.Index}
	if !plan.On {
		return w
	}
	rest := uint8(allAddresses)
	for i, g := range slices.Backward(plan.Generations) {
		its := rest
		if i > 0 {
			its &= 1 << (g.IPv4.Addr().As4()[3] % numAddresses)
		}
		rest &^= its
		for bit := range w.of {
			if its>>bit&1 != 0 {
				w.of[bit] = g
			}
		}
		source := plan.Self6
		if g.IPv6.IsSingleIP() {
			source = g.IPv6.Addr()
		}
		n := nat64{w.link, g.PREF64}
		if same := slices.IndexFunc(w.ways, func(other way) bool { return other.nat64 == n }); same >= 0 {
			its |= w.ways[same].addresses
			w.ways = slices.Delete(w.ways, same, same+1)
		}
		w.ways = slices.Insert(w.ways, 0, way{n, its, source})
	}
	return w
}

// changed are those of our IPv4 addresses whose packets went another way before.
func (w *watched) changed(was *watched) (changed uint8) {
	if was == nil || was.link != w.link {
		return allAddresses
	}
	for bit, g := range w.of {
		if old := was.of[bit]; g.PREF64 != old.PREF64 || g.IPv6 != old.IPv6 || !slices.Equal(g.Routers, old.Routers) {
			changed |= 1 << bit
		}
	}
	return changed
}

// watch has something else watched from now on.
func (h *health) watch(w *watched) {
	h.engine.Renew(w.changed(h.now.Load()))
	h.now.Store(w)
}

// run watches until ctx ends.
func (h *health) run(ctx context.Context) {
	look, round := time.NewTicker(healthPeriod), time.NewTimer(0)
	defer look.Stop()
	defer round.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			for _, by := range h.now.Load().ways {
				h.look(ctx, by)
			}
		case <-round.C:
			round.Reset(targetPeriod)
			if w := h.now.Load(); len(w.targets) == 0 || len(w.ways) == 0 {
				h.asked = nat64{}
			} else {
				h.round(ctx, w, w.ways[0])
			}
		}
	}
}

// look sees what was sent and received by way of a NAT64. One that is suspect is so until something was received, whatever it is suspect for.
func (h *health) look(ctx context.Context, by way) {
	w := h.now.Load()
	if !slices.Contains(w.ways, by) {
		return // any more
	}
	s := h.engine.Health(by.addresses)
	switch {
	case s.Heard:
		if by.nat64 == h.asked && h.rounds == targetRounds-1 {
			h.said, h.mute = false, true
		}
		if h.suspects.clear(by.nat64) {
			h.log.Info(fmt.Sprintf("PREF64 %v is no longer suspect", by.pref64))
		}
	case h.suspects.isSuspect(by.nat64):
	case s.Suspect && h.isSilent(ctx, w, by) && h.suspects.suspect(by.nat64):
		h.log.Warn(fmt.Sprintf("PREF64 %v is suspect: packets went through it to %d destinations or more since %s, and nothing came back: "+
			"if this stays so, its NAT64 does not work, or does not know the way back to us", by.pref64, s.Destinations, s.Since.Format(time.TimeOnly)))
	}
}

// isSilent asks the targets, which takes a while, and says whether nothing came back from them, nor from anybody else meanwhile.
func (h *health) isSilent(ctx context.Context, w *watched, by way) bool {
	return !h.ask(ctx, w, by) && ctx.Err() == nil && slices.Contains(h.now.Load().ways, by) && h.engine.Health(by.addresses).Suspect
}

// round asks the targets by way of a NAT64.
func (h *health) round(ctx context.Context, w *watched, by way) {
	if by.nat64 != h.asked {
		h.asked, h.rounds, h.said, h.mute = by.nat64, 0, false, false
	}
	answered := h.ask(ctx, w, by)
	switch {
	case ctx.Err() != nil:
	case answered:
		if h.said && h.suspects.clear(by.nat64) {
			h.log.Info(fmt.Sprintf("PREF64 %v: a host of probe.targets answers again", by.pref64))
		}
		h.rounds, h.said, h.mute = 0, false, false
	case h.rounds < targetRounds-1:
		h.rounds++
	case !h.mute && h.suspects.suspect(by.nat64):
		h.said = true
		h.log.Warn(fmt.Sprintf("PREF64 %v is suspect: none of probe.targets (%v) answered %d times in a row", by.pref64, w.targets, targetRounds))
	}
}

// ask pings the targets one after the other until one answers. It is false where there are none.
func (h *health) ask(ctx context.Context, w *watched, by way) bool {
	for _, t := range w.targets {
		wait, done := context.WithTimeout(ctx, targetWait)
		a, err := h.engine.Probe(wait, datapath.Probe{
			Source: by.source, Target: netip.AddrFrom16(by.pref64.Embed(t.As4())), HopLimit: targetHops, Port: w.port, Addresses: by.addresses,
		})
		done()
		if err == nil && a.What == "echo reply" {
			return true
		}
	}
	return false
}
