package hostnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

const legacyTables = "/proc/net/ip6_tables_names"

// ForwardObstacles looks for firewalls that keep IPv6 packets from passing between the TUN and the uplink. It changes nothing. A
// kernel without nftables has none of these.
func ForwardObstacles(ctx context.Context, tun, uplink string) ([]Obstacle, error) {
	legacy, err := legacyFilter()
	if err != nil {
		return nil, fmt.Errorf("look for firewalls: %w", err)
	}
	chains, err := readChains(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for firewalls: nftables: %w", err)
	}
	return obstacles(chains, legacy, tun, uplink), nil
}

// legacyFilter says whether the old ip6tables has a filter table in this namespace.
func legacyFilter() (bool, error) {
	b, err := os.ReadFile(legacyTables)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return slices.Contains(strings.Fields(string(b)), "filter"), err
}

func readChains(ctx context.Context) ([]chained, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, err
	}
	list, err := conn.ListChains()
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.EINVAL) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var chains []chained
	for _, c := range list {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		family := ""
		switch c.Table.Family {
		case nftables.TableFamilyINet:
			family = "inet"
		case nftables.TableFamilyIPv6:
			family = "ip6"
		default:
			continue
		}
		out := chained{
			Family:     family,
			Table:      c.Table.Name,
			Name:       c.Name,
			Forward:    c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward,
			PolicyDrop: c.Policy != nil && *c.Policy == nftables.ChainPolicyDrop,
		}
		// Rules that cannot be read (an expression that google/nftables does not know) leave the policy, which counts most.
		rules, err := conn.GetRules(c.Table, c)
		if err == nil {
			for _, r := range rules {
				out.Rules = append(out.Rules, readRule(r.Exprs))
			}
		}
		chains = append(chains, out)
	}
	return chains, nil
}

// readRule understands a comparison of an interface's name, a counter, a log, and the end of a rule; anything else makes it not plain.
func readRule(exprs []expr.Any) ruled {
	r := ruled{Plain: true}
	var loaded *string // what the register has
	for _, e := range exprs {
		switch e := e.(type) {
		case *expr.Meta:
			switch e.Key {
			case expr.MetaKeyIIFNAME:
				loaded = &r.In
			case expr.MetaKeyOIFNAME:
				loaded = &r.Out
			default:
				r.Plain, loaded = false, nil
			}
		case *expr.Cmp:
			if loaded == nil || e.Op != expr.CmpOpEq {
				r.Plain = false
				continue
			}
			name, _, whole := bytes.Cut(e.Data, []byte{0})
			*loaded = string(name)
			if !whole {
				*loaded += "*" // nothing but the beginning is compared
			}
		case *expr.Counter, *expr.Log:
		case *expr.Reject:
			r.Verdict = "drop"
		case *expr.Verdict:
			switch e.Kind {
			case expr.VerdictAccept:
				r.Verdict = "accept"
			case expr.VerdictDrop:
				r.Verdict = "drop"
			}
		default:
			r.Plain = false
		}
	}
	return r
}
