package policy

import (
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

// maxSilent is how many addresses of a prefix are tried that nothing answers to. The last is used all the same: a network that answers
// no probe may well carry packets.
const maxSilent = 2

// attempt goes through the addresses of a choice in order. False: all of them are somebody else's.
func (in *Input) attempt(link int, c choice) (last attempt, ok bool) {
	silent := 0
	for count := 0; count <= c.retries && silent < maxSilent; count++ {
		a := c.address(count)
		switch t := in.trial(link, a); t.State {
		case Duplicate:
		case Silent:
			silent++
			last, ok = attempt{choice: c, addr: a, state: t.State, detail: t.Detail, usable: true, degraded: true}, true
			if t.Unsent {
				return last, true
			}
		default:
			return attempt{choice: c, addr: a, state: t.State, usable: t.State == Seen}, true
		}
	}
	return last, ok
}
