package ra

import (
	"math/rand/v2"
	"time"
)

// Of RFC 4861, 10, and 6.3.7 for what comes after the last solicitation.
const (
	solicitationInterval = 4 * time.Second
	maxSolicitations     = 3
	lastWait             = time.Second
)

// maxDelay is how long the first solicitation of a link that came up waits at most, at random: a quarter of what RFC 4861, 6.3.7 says a
// host SHOULD wait, so that those that come up together after a power failure do not ask together. A host that the link layer told of a
// movement may leave the delay out (same section), a link that came up is such news, and all the time until the answer comes the host
// has no IPv4. Some is kept for a switch that comes back with all its hosts: the answers are multicast to all of them, 3 seconds apart at
// least (6.2.6), however many ask. NetworkManager waits as long.
const maxDelay = 250 * time.Millisecond

// minInterval keeps one who calls Solicit often from sending often.
const minInterval = time.Second

// round is the solicitations of a link: up to three until a default router answers.
type round struct {
	next     time.Time // when to send; zero: no more
	silence  time.Time // when to report that nobody answers; zero: never
	last     time.Time // when one was sent
	sent     int
	backoff  backoff
	answered bool // somebody has spoken since it began
	done     bool // a default router has answered a solicitation of it: no more are due (RFC 4861, 6.3.7)
}

func (r *round) begin(now time.Time, delay bool) {
	*r = round{next: now, last: r.last}
	if delay {
		r.next = now.Add(rand.N(maxDelay))
	}
	if earliest := r.last.Add(minInterval); r.next.Before(earliest) {
		r.next = earliest
	}
	r.silence = r.next.Add(solicitationInterval)
}

// again starts another round, unless one has started that has asked nobody yet: however often it is called, routers are asked.
func (r *round) again(now time.Time) {
	if r.sent > 0 {
		r.begin(now, true)
		return
	}
	r.backoff.reset()
	if soon := now.Add(maxDelay); r.next.After(soon) && !soon.Before(r.last.Add(minInterval)) {
		r.next = soon // it failed before, and would wait
	}
}

// isDue says whether a solicitation is to be sent now. One is in any case: what a router says unasked may be less than all (RFC 4861,
// 6.3.7).
func (r *round) isDue(now time.Time) bool {
	if r.done {
		r.next = time.Time{}
	}
	return !r.next.IsZero() && !now.Before(r.next)
}

// solicited says that one was sent, or could not be.
func (r *round) solicited(now time.Time, ok bool) {
	if !ok {
		r.next = now.Add(r.backoff.next(maxRoundBackoff))
		return
	}
	r.sent++
	r.last = now
	r.backoff.reset()
	r.next = now.Add(solicitationInterval)
	switch r.sent {
	case 1:
		r.silence = now.Add(solicitationInterval)
	case maxSolicitations:
		r.silence = now.Add(lastWait)
		r.next = time.Time{}
	}
}

func (r *round) heard(fromDefaultRouter bool) {
	r.answered = true
	r.done = r.done || r.sent > 0 && fromDefaultRouter
}

// listened says that nobody could be heard until now.
func (r *round) listened(now time.Time) {
	if earliest := now.Add(solicitationInterval); !r.silence.IsZero() && r.silence.Before(earliest) {
		r.silence = earliest
	}
}

// isSilent says once that it is time to report that nobody answers, and that nobody does.
func (r *round) isSilent(now time.Time) bool {
	if r.silence.IsZero() || now.Before(r.silence) {
		return false
	}
	r.silence = time.Time{}
	return !r.answered
}
