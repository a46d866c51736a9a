package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"uclat/discovery"
)

const (
	refreshBefore = 10 * time.Second // the end of a lifetime (RFC 7050, 3)
	minBackoff    = time.Second
	maxBackoff    = time.Minute
	minGap        = time.Second // between two rounds of queries of a link, whoever knocks
)

// rounds asks the resolvers of one link, and remembers what is needed from one round of queries to the next.
type rounds struct {
	f       *Finder
	j       *job
	report  func(context.Context, discovery.Observation)
	link    Link // of this round
	current []netip.AddrPort
	decided netip.AddrPort               // who offered a PREF64 in the last round; invalid: nobody
	known   map[netip.AddrPort]*resolver // the current ones, and others that said something that may still hold
	cut     bool                         // the last round, before it came to its end
	backoff time.Duration                // to wait after the next failure
	lost    bool                         // the resolvers themselves could not be learned, and that is logged
}

// resolver is what is remembered of one resolver.
type resolver struct {
	negative time.Time // it offers nothing, and is not to be asked before
	silent   bool      // it did not answer the last query
	reported bool      // prefixes of it were
	until    time.Time // when what was reported ends
	refresh  time.Time // when to ask again for what was reported
	logged   string    // what was last logged of it
}

func newRounds(f *Finder, j *job, report func(context.Context, discovery.Observation)) *rounds {
	return &rounds{f: f, j: j, report: report, known: map[netip.AddrPort]*resolver{}, backoff: minBackoff}
}

// run goes on until ctx ends.
func (r *rounds) run(ctx context.Context) {
	sleep(ctx, r.f.gap(r.f.link(r.j)))
	for ctx.Err() == nil {
		if drain(r.j.knock) { // before this began, or since the last round: the one that begins now is the answer
			r.forgetNegatives()
		}
		drain(r.j.changed)
		began := time.Now()
		pause := r.ask(ctx)
		r.rest(ctx, began, time.Now().Add(pause))
	}
}

// rest returns when the next round is due: at that time, or before that because somebody knocks or the resolvers are others. Until then it
// keeps what resolvers said that had no part in the last round.
func (r *rounds) rest(ctx context.Context, began, due time.Time) {
	for {
		next := r.keep(ctx, due)
		if !time.Now().Before(due) {
			return
		}
		alarm := time.NewTimer(time.Until(next))
		select {
		case <-r.j.knock:
			r.forgetNegatives()
		case <-r.j.changed:
			if !r.cut && !r.haveChanged(ctx) {
				alarm.Stop()
				continue
			}
		case <-alarm.C:
			continue
		case <-ctx.Done():
		}
		alarm.Stop()
		sleep(ctx, minGap-time.Since(began))
		return
	}
}

// keep asks those again whose prefixes are about to end though they had no part in the last round, because another resolver offered a PREF64
// before it was their turn: traffic may depend on them (RFC 7050, 3). It returns when there is something to do next, which is due at the
// latest. After a round in which nobody offered any, all are asked soon enough.
func (r *rounds) keep(ctx context.Context, due time.Time) (next time.Time) {
	for ctx.Err() == nil && !r.isWanted() {
		s, at := r.kept()
		now := time.Now()
		switch {
		case !s.IsValid() || !at.Before(due) || !now.Before(due):
			return due
		case now.Before(at):
			return at
		}
		r.refresh(ctx, s)
	}
	return due
}

// kept is the first resolver to be asked again without a round, and when; invalid: none is.
func (r *rounds) kept() (first netip.AddrPort, at time.Time) {
	for _, s := range r.current {
		k := r.known[s]
		if r.decided.IsValid() && s != r.decided && k.holds() && (!first.IsValid() || k.refresh.Before(at)) {
			first, at = s, k.refresh
		}
	}
	return first, at
}

// refresh asks one resolver once.
func (r *rounds) refresh(ctx context.Context, s netip.AddrPort) {
	a, k := r.f.try(ctx, r.link, s), r.known[s]
	k.silent = errors.Is(a.Err, errSilent)
	switch {
	case a.Err == nil:
		r.found(ctx, a)
	case errors.Is(a.Err, ErrNoDNS64):
		r.offersNone(ctx, a)
	case k.silent:
		k.missed()
	default:
		r.cannot(ctx, s, a.Err)
	}
}

// holds says whether something still holds that the resolver said.
func (k *resolver) holds() bool { return k.reported && time.Now().Before(k.until) }

// missed has the resolver asked again after half of the time that is left, if that is not to be later anyway.
func (k *resolver) missed() {
	now := time.Now()
	if again := now.Add(max(k.until.Sub(now)/2, minGap)); k.refresh.Before(again) {
		k.refresh = again
	}
}

// ask goes through the resolvers in order until one offers a PREF64, and returns when to come again. Those that offer none are done
// with for as long as they said, those that are silent get another try after the others had theirs. A knock ends the round early.
func (r *rounds) ask(ctx context.Context) time.Duration {
	r.cut, r.decided, r.link = false, netip.AddrPort{}, r.f.link(r.j)
	r.f.begin(r.link)
	servers, err := r.f.resolvers(ctx, r.link)
	if err != nil {
		if ctx.Err() == nil && !r.lost {
			r.f.log.Debug("cannot look for a PREF64 by DNS", "link", r.link.Name, "error", err)
		}
		r.lost, r.current = true, nil
		return r.failed()
	}
	r.lost = false
	r.follow(servers)

	failed := false
	pending := r.due()
	for range tries {
		var silent []netip.AddrPort
		for _, s := range pending {
			a := r.f.try(ctx, r.link, s)
			r.known[s].silent = errors.Is(a.Err, errSilent)
			switch {
			case a.Err == nil:
				r.decided = s
				r.found(ctx, a)
				r.settle(ctx)
				return untilRefresh(a.Lifetime)
			case errors.Is(a.Err, ErrNoDNS64):
				r.offersNone(ctx, a)
			case r.known[s].silent:
				r.known[s].missed()
				silent = append(silent, s)
			default:
				r.cannot(ctx, s, a.Err)
				failed = true
			}
			// Not before the first query: however often somebody knocks, one resolver is asked.
			if r.cut = r.isWanted(); r.cut || ctx.Err() != nil {
				return maxBackoff
			}
		}
		pending = silent
	}
	for _, s := range pending {
		r.cannot(ctx, s, errSilent)
		failed = true
	}
	if failed {
		return min(r.failed(), r.untilNegativesEnd())
	}
	r.settle(ctx)
	return r.untilNegativesEnd()
}

// due are the resolvers that are to be asked now. Those that were silent come last: they shall not hold up what is in use until its
// lifetime is over.
func (r *rounds) due() []netip.AddrPort {
	var due, silent []netip.AddrPort
	for _, s := range r.current {
		switch k := r.known[s]; {
		case time.Now().Before(k.negative):
		case k.silent:
			silent = append(silent, s)
		default:
			due = append(due, s)
		}
	}
	return append(due, silent...)
}

// follow makes known what the link's resolvers are now. Of others it keeps those that have said something.
func (r *rounds) follow(servers []netip.AddrPort) {
	r.current = servers
	for s, k := range r.known {
		if !k.reported && !slices.Contains(servers, s) {
			delete(r.known, s)
		}
	}
	for _, s := range servers {
		if r.known[s] == nil {
			r.known[s] = &resolver{}
		}
	}
}

// isWanted says whether somebody has knocked, or the resolvers may be others.
func (r *rounds) isWanted() bool { return len(r.j.knock) > 0 || len(r.j.changed) > 0 }

// haveChanged says whether the link has other resolvers than in the last round.
func (r *rounds) haveChanged(ctx context.Context) bool {
	servers, err := r.f.resolvers(ctx, r.f.link(r.j))
	return err == nil && !sameSet(servers, r.current, netip.AddrPort.Compare)
}

func (r *rounds) found(ctx context.Context, a Answer) {
	k := r.known[a.Server]
	now := time.Now()
	k.negative, k.reported, k.until, k.refresh = time.Time{}, true, now.Add(a.Lifetime), now.Add(untilRefresh(a.Lifetime))
	o := a.Observation(r.link)
	r.report(ctx, o)
	r.log(k, fmt.Sprint(a.Prefixes), "PREF64 found by DNS", "resolver", o.Resolver, "prefixes", a.Prefixes, "lifetime", a.Lifetime)
}

func (r *rounds) offersNone(ctx context.Context, a Answer) {
	k := r.known[a.Server]
	k.negative = time.Now().Add(a.Lifetime)
	o := a.Observation(r.link)
	if k.reported {
		k.reported = false
		r.report(ctx, o)
	}
	r.log(k, "none", "no PREF64 by DNS", "resolver", o.Resolver, "why", a.Err)
}

func (r *rounds) cannot(ctx context.Context, s netip.AddrPort, err error) {
	k := r.known[s]
	k.negative = time.Time{}
	k.missed()
	if ctx.Err() == nil {
		r.log(k, "failed", "cannot ask a resolver for the PREF64", "resolver", origin(r.link, s), "error", err)
	}
}

// settle is the end of a round with an answer: the back-off starts anew, and what former resolvers said gives way to it.
func (r *rounds) settle(ctx context.Context) {
	r.backoff = minBackoff
	for s := range r.known {
		if !slices.Contains(r.current, s) {
			delete(r.known, s)
			r.report(ctx, Answer{Server: s}.Observation(r.link))
		}
	}
}

// log writes a line unless the last one of this resolver was of the same kind. It is for whoever looks for a fault: what follows from
// all resolvers together is the caller's to say.
func (r *rounds) log(k *resolver, kind, msg string, args ...any) {
	if k.logged != kind {
		k.logged = kind
		r.f.log.Debug(msg, append([]any{"link", r.link.Name}, args...)...)
	}
}

// failed is how long to wait after one more failure.
func (r *rounds) failed() time.Duration {
	d := r.backoff
	r.backoff = min(2*d, maxBackoff)
	return d
}

// untilRefresh is when to ask again for what holds for a lifetime from now on (RFC 7050, 3): never at once, however short that is.
func untilRefresh(lifetime time.Duration) time.Duration {
	return max(lifetime-refreshBefore, minGap)
}

// untilNegativesEnd is when the first of the resolvers that offer none may be asked again.
func (r *rounds) untilNegativesEnd() time.Duration {
	d := maxLifetime
	for _, s := range r.current {
		if k := r.known[s]; !k.negative.IsZero() {
			d = min(d, time.Until(k.negative))
		}
	}
	return d
}

// forgetNegatives has all resolvers asked again, and soon: what they said of another network does not matter.
func (r *rounds) forgetNegatives() {
	for _, k := range r.known {
		k.negative = time.Time{}
	}
	r.backoff = minBackoff
}

// origin names a resolver in observations and logs: its zone as people know it, its port only where it is not the usual one.
func origin(link Link, s netip.AddrPort) string {
	if s.Addr().Zone() == strconv.Itoa(link.Index) && link.Name != "" {
		s = netip.AddrPortFrom(s.Addr().WithZone(link.Name), s.Port())
	}
	if s.Port() == port {
		return s.Addr().String()
	}
	return s.String()
}

// sleep waits for d, or until ctx ends. It has no timer for what is over already: the race detector fails now and then where two
// goroutines of a synctest bubble have that (golang/go#78156).
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// drain empties a channel that has room for one, and says whether there was something in it.
func drain(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
