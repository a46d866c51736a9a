package cli

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/discovery"
	"uclat/discovery/dns"
	"uclat/platform/monitor"
	"uclat/platform/resolver"
)

// lookTime bounds how long a command looks at the network.
const lookTime = 15 * time.Second

// askResolvers asks each resolver of the system for a PREF64, once.
func askResolvers(ctx context.Context) ([]dns.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	return dns.New(dns.Options{Servers: resolver.System}).Lookup(ctx)
}

// knownPREF64s are what the daemon would go by now: the configured ones, else what the resolvers say.
func knownPREF64s(ctx context.Context, c *config.Config) []discovery.Known {
	var set discovery.Set
	now := time.Now()
	if len(c.PREF64.Prefixes) > 0 {
		set.Observe(now, discovery.Observation{Source: discovery.Configured, Prefixes: c.PREF64.Prefixes})
	} else if !c.Router() && slices.Contains(c.PREF64.Sources, config.SourceDNS) {
		// Why there is none is for `uclat discover` to tell.
		answers, _ := askResolvers(ctx)
		for _, a := range answers {
			set.Observe(now, discovery.Observation{Source: discovery.DNS, Origin: a.Server.Addr().String(), Prefixes: a.Prefixes, Lifetime: a.Lifetime})
		}
	}
	known, _ := set.Valid(now)
	return known
}

// look sees what the daemon would see.
func look(ctx context.Context, c *config.Config, interest ...netip.Prefix) (policy.Input, error) {
	eyes, err := monitor.New(nil)
	if err != nil {
		return policy.Input{}, fault{err}
	}
	in := policy.Input{Config: c, PREF64: knownPREF64s(ctx, c)}
	if in.Host, err = eyes.Snapshot(ctx, append(policy.Interests(in), interest...)...); err != nil {
		return in, fault{err}
	}
	return in, nil
}
