package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"uclat/clat/pref64"
)

const (
	minLifetime      = 30 * time.Second // a shorter TTL would have us ask all the time
	maxLifetime      = 24 * time.Hour
	negativeLifetime = 60 * time.Second // of a negative answer that does not say how long it holds
	maxPrefixes      = 16               // of one answer: more than any network has; bounds what a hostile one costs
)

// ErrNoDNS64 is the definite answer that a resolver offers no PREF64. It is wrapped with what the resolver said.
var ErrNoDNS64 = errors.New("this resolver does no DNS64")

// Answer is what one resolver said of ipv4only.arpa.
type Answer struct {
	Server   netip.AddrPort
	Prefixes []pref64.Prefix // in the order of the answer; none where Err is set
	TTL      time.Duration   // as the resolver said, of a negative answer too; 0 where it did not say
	// Lifetime is how long to go by the answer, which may be a negative one: its TTL, at least 30 seconds and at most a day. It is
	// 0 after a failure.
	Lifetime time.Duration
	Err      error // why there are no prefixes: ErrNoDNS64, or what failed
}

// Lookup asks every resolver once, all at the same time, each again where it is silent; the answers are in the order of the
// resolvers. It takes 6 seconds at most, 10 where an answer comes over TCP. The error says why no resolver is known; what goes wrong
// with one of them is in its Answer.
func (f *Finder) Lookup(ctx context.Context) ([]Answer, error) {
	servers, err := f.resolvers(ctx)
	if err != nil {
		return nil, err
	}
	answers := make([]Answer, len(servers))
	var wg sync.WaitGroup
	for i, server := range servers {
		wg.Go(func() {
			for range tries {
				answers[i] = f.try(ctx, server)
				if !errors.Is(answers[i].Err, errSilent) {
					return
				}
			}
		})
	}
	wg.Wait()
	return answers, nil
}

// resolvers are those to ask, each once; never none without an error.
func (f *Finder) resolvers(ctx context.Context) ([]netip.AddrPort, error) {
	all, err := f.servers(ctx)
	if err != nil {
		return nil, fmt.Errorf("learning the resolvers: %w", err)
	}
	var servers []netip.AddrPort
	seen := map[netip.AddrPort]bool{}
	for _, s := range all {
		if s.IsValid() && !seen[s] {
			seen[s] = true
			servers = append(servers, s)
		}
	}
	if len(servers) == 0 {
		return nil, errors.New("no resolver is known: configure one in the system, or configure the PREF64 itself")
	}
	return servers, nil
}

// try asks one resolver once.
func (f *Finder) try(ctx context.Context, server netip.AddrPort) Answer {
	r, err := f.exchange(ctx, server)
	if err != nil {
		return Answer{Server: server, Err: err}
	}
	a := r.judge()
	a.Server = server
	return a
}

// judge says what a reply means: prefixes, a definite no, or a failure.
func (r reply) judge() Answer {
	a := Answer{TTL: max(r.ttl, 0), Lifetime: negativeLifetime}
	if r.ttl >= 0 {
		a.Lifetime = min(max(r.ttl, minLifetime), maxLifetime)
	}
	switch {
	case r.rcode == dnsmessage.RCodeNameError:
		a.Err = fmt.Errorf("%w: it says that ipv4only.arpa does not exist (NXDOMAIN)", ErrNoDNS64)
	case r.rcode != dnsmessage.RCodeSuccess:
		return Answer{Err: fmt.Errorf("the resolver answers %s, which is no answer", rcode(r.rcode))}
	case len(r.aaaa) == 0:
		a.Err = fmt.Errorf("%w: it knows no AAAA record of ipv4only.arpa", ErrNoDNS64)
	default:
		a.Prefixes = Prefixes(r.aaaa)
		if len(a.Prefixes) == 0 {
			// This holds until somebody has logged in, whatever its TTL: soon to be asked again.
			a.Lifetime = min(a.Lifetime, negativeLifetime)
			a.Err = fmt.Errorf("%w: it answers ipv4only.arpa with %v, which tells no PREF64 (neither 192.0.0.170 nor 192.0.0.171 "+
				"is in it behind a valid prefix): does a captive portal or a filter answer in its place?", ErrNoDNS64, r.aaaa[0])
		}
		a.Prefixes = a.Prefixes[:min(len(a.Prefixes), maxPrefixes)]
	}
	return a
}

// rcode is a response code as the field writes it.
func rcode(c dnsmessage.RCode) string {
	switch c {
	case dnsmessage.RCodeFormatError:
		return "FORMERR"
	case dnsmessage.RCodeServerFailure:
		return "SERVFAIL"
	case dnsmessage.RCodeNotImplemented:
		return "NOTIMP"
	case dnsmessage.RCodeRefused:
		return "REFUSED"
	}
	return fmt.Sprintf("RCODE %d", uint16(c))
}
