package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"uclat/clat/datapath"
	"uclat/clat/pref64"
)

// How the NAT64 is watched.
const (
	healthPeriod = 2 * time.Second  // between two looks at what was sent and received
	targetPeriod = 30 * time.Second // between two rounds of probe.targets
	targetWait   = 3 * time.Second  // for an answer
	targetRounds = 3                // without any answer, until it is said
	targetHops   = 64
)

// health sees whether the NAT64 in use carries packets. It says so in the log, and to whoever chooses between several.
type health struct {
	engine interface {
		Health() datapath.Health
		Probe(context.Context, datapath.Probe) (datapath.Answer, error)
	}
	log    *slog.Logger
	report func(p pref64.Prefix, suspect bool) // must not block
	now    atomic.Pointer[watched]
}

// watched is what is to be seen to now.
type watched struct {
	pref64  pref64.Prefix
	source  netip.Addr      // of what is sent to targets,
	port    datapath.Writer // where it is written
	targets []netip.Addr
}

// run watches until ctx ends.
func (h *health) run(ctx context.Context) {
	look, round := time.NewTicker(healthPeriod), time.NewTimer(0)
	defer look.Stop()
	defer round.Stop()
	var suspect, silent pref64.Prefix // of which it was said
	var asked pref64.Prefix           // through which the targets were
	rounds := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			w := h.now.Load()
			switch s := h.engine.Health(); {
			case s.Suspect && suspect != w.pref64:
				if !h.isSilent(ctx, w) {
					continue
				}
				suspect = w.pref64
				h.report(suspect, true)
				h.log.Warn(fmt.Sprintf("PREF64 %v is suspect: packets went through it to %d destinations or more since %s, and nothing came back: "+
					"if this stays so, its NAT64 does not work, or does not know the way back to us", w.pref64, s.Destinations,
					s.Since.Format(time.TimeOnly)))
			case !s.Suspect && suspect.IsValid():
				if suspect == w.pref64 {
					h.report(suspect, false)
					h.log.Info(fmt.Sprintf("PREF64 %v is no longer suspect", w.pref64))
				}
				suspect = pref64.Prefix{}
			}
		case <-round.C:
			round.Reset(targetPeriod)
			w := h.now.Load()
			if w.pref64 != asked {
				asked, rounds = w.pref64, 0
			}
			if len(w.targets) == 0 {
				rounds, silent = 0, pref64.Prefix{}
				continue
			}
			answered := h.ask(ctx, w)
			if ctx.Err() != nil {
				return
			}
			if answered {
				if silent == w.pref64 {
					h.report(silent, false)
					h.log.Info(fmt.Sprintf("PREF64 %v: a host of probe.targets answers again", w.pref64))
				}
				rounds, silent = 0, pref64.Prefix{}
				continue
			}
			if rounds++; rounds >= targetRounds && silent != w.pref64 {
				silent = w.pref64
				h.report(silent, true)
				h.log.Warn(fmt.Sprintf("PREF64 %v is suspect: none of probe.targets (%v) answered %d times in a row", w.pref64, w.targets, rounds))
			}
		}
	}
}

// isSilent asks the targets, which takes a while, and says whether nothing came back from them, nor from anybody else meanwhile.
func (h *health) isSilent(ctx context.Context, w *watched) bool {
	return !h.ask(ctx, w) && ctx.Err() == nil && h.engine.Health().Suspect
}

// ask pings the targets one after the other until one answers. It is false where there are none.
func (h *health) ask(ctx context.Context, w *watched) bool {
	for _, t := range w.targets {
		wait, done := context.WithTimeout(ctx, targetWait)
		a, err := h.engine.Probe(wait, datapath.Probe{
			Source: w.source, Target: netip.AddrFrom16(w.pref64.Embed(t.As4())), HopLimit: targetHops, Port: w.port,
		})
		done()
		if err == nil && a.What == "echo reply" {
			return true
		}
	}
	return false
}
