package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"uclat/clat/config"
	"uclat/clat/pref64"
	"uclat/discovery/dns"

	"github.com/spf13/cobra"
)

// found is what `uclat discover` prints.
type found struct {
	Schema     int             `json:"schema"`
	Configured []pref64.Prefix `json:"configured"`
	DNS        []answer        `json:"dns"`
	Error      string          `json:"error,omitempty"` // why no resolver was asked
}

// answer is what one resolver said.
type answer struct {
	Resolver string          `json:"resolver"`
	Prefixes []pref64.Prefix `json:"prefixes"`
	TTL      int             `json:"ttl,omitempty"` // seconds
	Error    string          `json:"error,omitempty"`
}

func newDiscover() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "discover",
		Short: "Show which PREF64s this network offers, by each method",
		Long: "discover shows the configured PREF64s and asks each resolver of this host for\nipv4only.arpa (RFC 7050). It ends with 1 if there " +
			"is none.",
		Args: noArgs,
	}
	var asJSON bool
	jsonFlag(cmd, &asJSON)
	readConfig := configFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := readConfig()
		if err != nil {
			return err
		}
		f := found{Schema: schema, Configured: append([]pref64.Prefix{}, c.PREF64.Prefixes...), DNS: []answer{}}
		asked := slices.Contains(c.PREF64.Sources, config.SourceDNS)
		if asked {
			answers, err := askResolvers(cmd.Context())
			if err != nil {
				f.Error = err.Error()
			}
			for _, a := range answers {
				f.DNS = append(f.DNS, newAnswer(a))
			}
		}
		if asJSON {
			err = printJSON(cmd.OutOrStdout(), f)
		} else {
			err = printTable(cmd.OutOrStdout(), f.rows(asked))
		}
		if err == nil && !f.any() {
			err = fault{errors.New("no PREF64 found: is there a NAT64 in this network? If you know its prefix, set pref64.prefixes")}
		}
		return err
	}
	return cmd
}

func newAnswer(a dns.Answer) answer {
	x := answer{Resolver: a.Server.String(), Prefixes: append([]pref64.Prefix{}, a.Prefixes...), TTL: int(a.TTL.Seconds())}
	if a.Err != nil {
		x.Error = a.Err.Error()
	}
	return x
}

func (f found) any() bool {
	return len(f.Configured) > 0 || slices.ContainsFunc(f.DNS, func(a answer) bool { return len(a.Prefixes) > 0 })
}

func (f found) rows(asked bool) [][2]string {
	rows := [][2]string{{"configured", list(f.Configured)}}
	switch {
	case !asked:
		rows = append(rows, [2]string{"RFC 7050", "not asked: pref64.sources leaves out dns"})
	case f.Error != "":
		rows = append(rows, [2]string{"RFC 7050", f.Error})
	}
	for _, a := range f.DNS {
		text := list(a.Prefixes)
		if a.Error != "" {
			text = a.Error
		} else {
			text += fmt.Sprintf(", for %d s", a.TTL)
		}
		rows = append(rows, [2]string{"RFC 7050, " + a.Resolver, text})
	}
	return rows
}

func list(prefixes []pref64.Prefix) string {
	if len(prefixes) == 0 {
		return "none"
	}
	var s []string
	for _, p := range prefixes {
		s = append(s, p.String())
	}
	return strings.Join(s, ", ")
}
