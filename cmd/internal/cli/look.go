package cli

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/cmd/internal/state"
	"uclat/discovery"
	"uclat/discovery/dns"
	"uclat/discovery/ra"
	"uclat/platform"
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

// look sees what the daemon would see, and what it would decide if nobody else has the address that it makes and answers come back to it:
// that takes packets, and looking sends none but questions.
func look(ctx context.Context, c *config.Config, stateDir string, interest ...netip.Prefix) (policy.Input, policy.Plan, error) {
	eyes, err := monitor.New(nil)
	if err != nil {
		return policy.Input{}, policy.Plan{}, fault{err}
	}
	in := policy.Input{Config: c, Now: time.Now(), PREF64: knownPREF64s(ctx, c), Secret: state.Peek(stateDir)}
	if in.Host, err = eyes.Snapshot(ctx, append(policy.Interests(in), interest...)...); err != nil {
		return in, policy.Plan{}, fault{err}
	}
	plan := policy.Decide(in)
	if plan.Code == policy.AskingRouters {
		if in.Announced, in.Heard, err = hearRouters(ctx, plan.Uplink); err != nil {
			return in, plan, fault{err}
		}
		plan = policy.Decide(in)
	}
	if !plan.On && len(plan.Try) > 0 {
		for _, h := range plan.Try {
			in.Trials = append(in.Trials, policy.Trial{Link: plan.Uplink.Index, Addr: h.Addrs.Addr(), State: policy.Seen})
		}
		plan = policy.Decide(in)
	}
	return in, plan, nil
}

// madeLater is a note to a plan whose address is not the one that run will have; empty where it is.
func madeLater(in policy.Input, plan policy.Plan) string {
	if in.Config.Address.IPv6.IsValid() || plan.Path != config.PathPacket || in.Secret != [32]byte{} {
		return ""
	}
	return "the IPv6 address is an example: what makes it this host's own comes with the first `uclat run` (--state-dir), or only root may read it"
}

// untried is a note to a plan on path packet: what was looked at is not all.
func untried(plan policy.Plan) []string {
	if len(plan.Try) == 0 {
		return nil
	}
	return []string{"whether that address is free, and whether answers come back to it, `uclat run` finds out"}
}

// hearRouters solicits the routers of a link, and hears what they announce there.
func hearRouters(ctx context.Context, on platform.Link) ([]discovery.Announced, map[int]discovery.Heard, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	said := make(chan discovery.Advertisement, 1)
	routers := ra.New(ra.Options{})
	routers.SetLinks([]ra.Link{{Index: on.Index, Name: on.Name}})
	ended := make(chan error, 1)
	go func() {
		ended <- routers.Run(ctx, func(a discovery.Advertisement) {
			select {
			case said <- a:
			default:
			}
		})
	}()
	var all discovery.Announcements
	select {
	case a := <-said:
		all.Observe(time.Now(), a)
	case err := <-ended:
		return nil, nil, err
	}
	cancel()
	<-ended
	known, _ := all.Valid(time.Now())
	return known, map[int]discovery.Heard{on.Index: all.Heard(on.Index)}, nil
}
