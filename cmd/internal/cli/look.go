package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"uclat/clat/config"
	"uclat/cmd/internal/state"
	"uclat/cmd/internal/survey"
	"uclat/discovery/dns"
	"uclat/discovery/ra"
	"uclat/platform/clock"
	"uclat/platform/monitor"
	"uclat/platform/resolver"
)

// finder asks the resolvers of each link, by sockets that are bound to it. It calls named, from several goroutines, with those that the system has.
func finder(log *slog.Logger, named func(on dns.Link, servers resolver.Servers)) *dns.Finder {
	return dns.New(dns.Options{
		Log: log,
		Servers: func(ctx context.Context, on dns.Link) ([]netip.AddrPort, error) {
			servers, err := resolver.Of(ctx, on.Index, on.Name)
			if err == nil {
				named(on, servers)
			}
			return servers.List, err
		},
		Dial: func(on dns.Link) func(context.Context, string, string) (net.Conn, error) {
			return resolver.Dial(on.Index)
		},
	})
}

// logNamed returns a function that logs who names which resolvers of a link, whenever that changes.
func logNamed(log *slog.Logger) func(on dns.Link, servers resolver.Servers) {
	var mu sync.Mutex
	logged := map[string]string{} // by the link's name
	return func(on dns.Link, servers resolver.Servers) {
		mu.Lock()
		defer mu.Unlock()
		if text := fmt.Sprint(servers); logged[on.Name] != text {
			logged[on.Name] = text
			log.Debug("resolvers of a link", "link", on.Name, "resolvers", servers.List, "named_by", servers.From)
		}
	}
}

// lookup asks the resolvers of a link once, and says who named them.
func lookup(ctx context.Context, on dns.Link) (answers []dns.Answer, from string, err error) {
	if len(on.Announced) > 0 {
		from = "its routers"
	}
	answers, err = finder(nil, func(_ dns.Link, servers resolver.Servers) { from = servers.From }).Lookup(ctx, on)
	return answers, from, err
}

// options are those of a survey under c.
func options(c *config.Config, stateDir string) (survey.Options, error) {
	eyes, err := monitor.New(nil)
	if err != nil {
		return survey.Options{}, fault{err}
	}
	return survey.Options{
		Config: c, Secret: state.Peek(stateDir), Eyes: eyes, Routers: ra.New(ra.Options{}), Lookup: lookup, Now: clock.Now,
	}, nil
}

// look sees what the daemon would see, and what it would decide if nobody else has the address that it makes and answers come back to it.
func look(ctx context.Context, c *config.Config, stateDir string, interest ...netip.Prefix) (survey.View, error) {
	o, err := options(c, stateDir)
	if err != nil {
		return survey.View{}, err
	}
	o.Interest = interest
	v, err := survey.Once(ctx, o)
	if err != nil {
		return v, fault{err}
	}
	return v, nil
}

// notes are what to know of an address on path packet that was looked for and not tried: it may be none that run will have.
func notes(v survey.View) (lines []string) {
	if v.Plan.On && v.Plan.Path == config.PathPacket && !v.Input.Config.Address.IPv6.IsValid() && v.Input.Secret == [32]byte{} {
		lines = append(lines, "the IPv6 address is an example: what makes it this host's own comes with the first `uclat run` (--state-dir), "+
			"or only root may read it")
	}
	if len(v.Plan.Try) > 0 {
		lines = append(lines, "whether that address is free, and whether answers come back to it, `uclat run` finds out")
	}
	return lines
}

// unheard is a note that what routers announce is left out, if it is.
func unheard(v survey.View) []string {
	if v.Deaf == nil {
		return nil
	}
	return []string{"routers cannot be heard, so what they announce is left out: " + deafness(v)}
}

// deafness is why routers cannot be heard, and what to do; empty where they can.
func deafness(v survey.View) string {
	switch {
	case v.Deaf == nil:
		return ""
	case errors.Is(v.Deaf, fs.ErrPermission):
		return v.Deaf.Error() + ": run it as root"
	}
	return v.Deaf.Error()
}
