package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"uclat/discovery"
)

// rounds is what Run remembers from one round of queries to the next.
type rounds struct {
	f       *Finder
	report  func(discovery.Observation)
	known   map[netip.AddrPort]*resolver
	backoff time.Duration // to wait after the next failure
	lost    bool          // the resolvers themselves could not be learned, and that is logged
}

// resolver is what is remembered of one resolver.
type resolver struct {
	negative time.Time // it offers nothing, and is not to be asked before
	reported bool      // prefixes of it were
	logged   string    // what was last logged of it
}

// ask goes through the resolvers in order until one offers a PREF64, and returns when to come again. Those that offer none are done
// with for as long as they said, those that are silent get another try after the others had theirs. A knock ends the round early.
func (r *rounds) ask(ctx context.Context) time.Duration {
	servers, err := r.f.resolvers(ctx)
	if err != nil {
		if ctx.Err() == nil && !r.lost {
			r.f.log.Debug("cannot look for a PREF64 by DNS", "error", err)
		}
		r.lost = true
		return r.failed()
	}
	r.lost = false
	r.follow(servers)

	var pending []netip.AddrPort
	for _, s := range servers {
		if !time.Now().Before(r.known[s].negative) {
			pending = append(pending, s)
		}
	}
	failed := false
	for range tries {
		var silent []netip.AddrPort
		for _, s := range pending {
			a := r.f.try(ctx, s)
			switch {
			case a.Err == nil:
				r.found(a)
				r.backoff = minBackoff
				return a.Lifetime - refreshBefore
			case errors.Is(a.Err, ErrNoDNS64):
				r.offersNone(a)
			case errors.Is(a.Err, errSilent):
				silent = append(silent, s)
			default:
				r.cannot(ctx, s, a.Err)
				failed = true
			}
			// Not before the first query: however often somebody knocks, one resolver is asked.
			if ctx.Err() != nil || len(r.f.knock) > 0 {
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
	r.backoff = minBackoff
	return r.untilNegativesEnd()
}

// follow makes known what the system's resolvers are now, and withdraws what others said: they belong to a network that was left.
func (r *rounds) follow(servers []netip.AddrPort) {
	now := make(map[netip.AddrPort]*resolver, len(servers))
	for _, s := range servers {
		if now[s] = r.known[s]; now[s] == nil {
			now[s] = &resolver{}
		}
	}
	for s, k := range r.known {
		if now[s] == nil && k.reported {
			r.report(discovery.Observation{Source: discovery.DNS, Origin: origin(s)})
		}
	}
	r.known = now
}

func (r *rounds) found(a Answer) {
	k := r.known[a.Server]
	k.negative, k.reported = time.Time{}, true
	r.report(discovery.Observation{Source: discovery.DNS, Origin: origin(a.Server), Prefixes: a.Prefixes, Lifetime: a.Lifetime})
	k.log(r.f.log, fmt.Sprint(a.Prefixes), "PREF64 found by DNS",
		"resolver", origin(a.Server), "prefixes", a.Prefixes, "lifetime", a.Lifetime)
}

func (r *rounds) offersNone(a Answer) {
	k := r.known[a.Server]
	k.negative = time.Now().Add(a.Lifetime)
	if k.reported {
		k.reported = false
		r.report(discovery.Observation{Source: discovery.DNS, Origin: origin(a.Server)})
	}
	k.log(r.f.log, "none", "no PREF64 by DNS", "resolver", origin(a.Server), "why", a.Err)
}

func (r *rounds) cannot(ctx context.Context, s netip.AddrPort, err error) {
	k := r.known[s]
	k.negative = time.Time{}
	if ctx.Err() == nil {
		k.log(r.f.log, "failed", "cannot ask a resolver for the PREF64", "resolver", origin(s), "error", err)
	}
}

// log writes a line unless the last one of this resolver was of the same kind. It is for whoever looks for a fault: what follows from
// all resolvers together is the caller's to say.
func (k *resolver) log(l *slog.Logger, kind, msg string, args ...any) {
	if k.logged != kind {
		k.logged = kind
		l.Debug(msg, args...)
	}
}

// failed is how long to wait after one more failure.
func (r *rounds) failed() time.Duration {
	d := r.backoff
	r.backoff = min(2*d, maxBackoff)
	return d
}

// untilNegativesEnd is when the first of the resolvers that offer none may be asked again.
func (r *rounds) untilNegativesEnd() time.Duration {
	d := maxLifetime
	for _, k := range r.known {
		if !k.negative.IsZero() {
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

// origin names a resolver in observations and logs: its port only where it is not the usual one.
func origin(s netip.AddrPort) string {
	if s.Port() == 53 {
		return s.Addr().String()
	}
	return s.String()
}
