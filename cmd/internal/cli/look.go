package cli

import (
	"context"
	"log/slog"
	"net"
	"net/netip"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/cmd/internal/state"
	"uclat/cmd/internal/survey"
	"uclat/discovery/dns"
	"uclat/discovery/ra"
	"uclat/platform/clock"
	"uclat/platform/monitor"
	"uclat/platform/resolver"
)

// resolvers asks those of each link, by sockets that are bound to it.
func resolvers(log *slog.Logger) *dns.Finder {
	return dns.New(dns.Options{
		Log: log,
		Servers: func(ctx context.Context, on dns.Link) ([]netip.AddrPort, error) {
			servers, err := resolver.Of(ctx, on.Index, on.Name)
			return servers.List, err
		},
		Dial: func(on dns.Link) func(context.Context, string, string) (net.Conn, error) {
			return resolver.Dial(on.Index)
		},
	})
}

// options are those of a survey under c.
func options(c *config.Config, stateDir string) (survey.Options, error) {
	eyes, err := monitor.New(nil)
	if err != nil {
		return survey.Options{}, fault{err}
	}
	return survey.Options{
		Config: c, Secret: state.Peek(stateDir), Eyes: eyes, Routers: ra.New(ra.Options{}), Lookup: resolvers(nil).Lookup, Now: clock.Now,
	}, nil
}

// look sees what the daemon would see, and what it would decide if nobody else has the address that it makes and answers come back to it.
func look(ctx context.Context, c *config.Config, stateDir string, interest ...netip.Prefix) (policy.Input, policy.Plan, error) {
	o, err := options(c, stateDir)
	if err != nil {
		return policy.Input{}, policy.Plan{}, err
	}
	o.Interest = interest
	v, err := survey.Once(ctx, o)
	if err != nil {
		return v.Input, v.Plan, fault{err}
	}
	return v.Input, v.Plan, nil
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
