package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
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
	maxResolvers     = 16               // of one link, likewise
	port             = 53
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

// Lookup asks every resolver of a link once, all at the same time, each again where it is silent; the answers are in the order of the
// resolvers. It takes 6 seconds at most, 10 where an answer comes over TCP. The error says why no resolver is known; what goes wrong
// with one of them is in its Answer. The link need not be set.
func (f *Finder) Lookup(ctx context.Context, link Link) ([]Answer, error) {
	servers, err := f.resolvers(ctx, link)
	if err != nil {
		return nil, err
	}
	answers := make([]Answer, len(servers))
	var wg sync.WaitGroup
	for i, server := range servers {
		wg.Go(func() {
			for range tries {
				answers[i] = f.try(ctx, link, server)
				if !errors.Is(answers[i].Err, errSilent) {
					return
				}
			}
		})
	}
	wg.Wait()
	return answers, nil
}

// resolvers are those to ask on a link, each once; never none without an error.
func (f *Finder) resolvers(ctx context.Context, link Link) ([]netip.AddrPort, error) {
	all := link.announced()
	if len(all) == 0 {
		var err error
		if all, err = f.servers(ctx, link); err != nil {
			return nil, fmt.Errorf("learning the resolvers of %s: %w", link.Name, err)
		}
	}
	var servers []netip.AddrPort
	for _, s := range all {
		if a := s.Addr(); a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" {
			s = netip.AddrPortFrom(a.WithZone(strconv.Itoa(link.Index)), s.Port())
		}
		if s.IsValid() && !slices.Contains(servers, s) && len(servers) < maxResolvers {
			servers = append(servers, s)
		}
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("no resolver of %s is known: configure one in the system, or configure the PREF64 itself", link.Name)
	}
	return servers, nil
}

// announced are the announced resolvers that can be asked. One that is no unicast address of another host is left out: whoever
// announces the host itself would have it asked what is for the link's resolvers.
func (l Link) announced() (servers []netip.AddrPort) {
	for _, a := range l.Announced {
		if a.IsValid() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && !a.Is4In6() {
			servers = append(servers, netip.AddrPortFrom(a.WithZone(""), port))
		}
	}
	return servers
}

// try asks one resolver once.
func (f *Finder) try(ctx context.Context, link Link, server netip.AddrPort) Answer {
	r, err := f.exchange(ctx, link, server)
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
