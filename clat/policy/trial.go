package policy

import (
	"fmt"
	"net/netip"
	"slices"
)

// TrialState is how far an address of ours has come on a link.
type TrialState uint8

const (
	Checking  TrialState = iota // duplicate address detection is under way
	Probing                     // nobody else has it: now it is seen whether answers come back to it
	Seen                        // they do
	Silent                      // none came in time
	Duplicate                   // somebody else has it
)

// Trial is what is known of an address that was tried on a link. An Uplink reports those that it holds; the daemon remembers the others, as
// long as the link stays up.
type Trial struct {
	Link   int // index
	Addr   netip.Addr
	State  TrialState
	Detail string // with Duplicate, who has it; with Silent, what was not seen: the end of a line for people
	Unsent bool   // with Silent: nothing could be sent, so that another address would do no better
}

// trial is what is known of an address; the zero state is that of one that was not tried.
func (in *Input) trial(link int, a netip.Addr) Trial {
	i := slices.IndexFunc(in.Trials, func(t Trial) bool { return t.Link == link && t.Addr == a })
	if i < 0 {
		return Trial{Link: link, Addr: a}
	}
	return in.Trials[i]
}

// attempt is the address of a choice whose turn it is.
type attempt struct {
	choice
	addr     netip.Addr
	state    TrialState
	detail   string
	usable   bool // seen, or to be used though nothing was seen
	degraded bool // the latter
}

// attemptOf is how far an address of a choice has come.
func (in *Input) attemptOf(link int, c choice, addr netip.Addr) attempt {
	a := attempt{choice: c, addr: addr, state: Seen, usable: true}
	if !c.free {
		t := in.trial(link, addr)
		a.state, a.detail = t.State, t.Detail
		a.degraded = t.State == Silent
		a.usable = a.degraded || t.State == Seen
	}
	return a
}

// maxSilent is how many addresses of a prefix are tried that nothing answers to. The last is used all the same: a network that answers
// no probe may well carry packets.
const maxSilent = 2

// attempt goes through the addresses of a choice in order. False: all of them are somebody else's.
func (in *Input) attempt(link int, c choice) (last attempt, ok bool) {
	if c.free {
		return in.attemptOf(link, c, c.address(0)), true
	}
	silent := 0
	for count := 0; count <= c.retries && silent < maxSilent; count++ {
		a := c.address(count)
		switch t := in.trial(link, a); t.State {
		case Duplicate:
		case Silent:
			silent++
			last, ok = in.attemptOf(link, c, a), true
			if t.Unsent {
				return last, true
			}
		default:
			return in.attemptOf(link, c, a), true
		}
	}
	return last, ok
}

// find goes through choices: an address that can be used, and a better one that is to be tried; nil where there is none. Those of which all are
// somebody else's are lines of taken.
func (in *Input) find(link int, choices []choice) (use, waiting *attempt, taken []string) {
	for _, c := range choices {
		a, ok := in.attempt(link, c)
		switch {
		case !ok:
			taken = append(taken, fmt.Sprintf("all %d addresses that were tried in %v are taken", c.retries+1, c.what))
		case a.usable && (use == nil || use.degraded && !a.degraded):
			use = &a
		case !a.usable && waiting == nil && (use == nil || use.degraded): // one after the other
			waiting = &a
		}
	}
	return use, waiting, taken
}
