package cli

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/clat/pref64"
	"uclat/cmd/internal/survey"
	"uclat/discovery"
	"uclat/discovery/dns"

	"github.com/spf13/cobra"
)

// found is what `uclat discover` prints.
type found struct {
	Schema        int        `json:"schema"`
	Use           *offer     `json:"use"`      // the best of those that may be used; `uclat run` uses it where it is on. null: none may
	Decision      string     `json:"decision"` // what `uclat run` would do, and why: whether it would be on, too
	Prefixes      []offer    `json:"prefixes"` // all that were named, the best of a method first
	Resolvers     []resolved `json:"resolvers"`
	Routers       []router   `json:"routers"`
	RoutersError  string     `json:"routers_error,omitempty"` // why routers cannot be heard; none: they can
	Disagreements []string   `json:"disagreements"`
	Notes         []string   `json:"notes"` // on the decision
}

// offer is a PREF64, as one origin named it.
type offer struct {
	Prefix    pref64.Prefix `json:"prefix"`
	Method    string        `json:"method"`              // configured, ra or dns
	Interface string        `json:"interface,omitempty"` // whose network has the NAT64; none: any
	Router    string        `json:"router,omitempty"`
	Resolver  string        `json:"resolver,omitempty"`
	Lifetime  *int          `json:"lifetime,omitempty"` // seconds that are left; none: for ever
	Trusted   bool          `json:"trusted"`
	Why       string        `json:"why,omitempty"` // why not
}

// resolved is what one resolver said.
type resolved struct {
	Interface string          `json:"interface"`
	Resolver  string          `json:"resolver,omitempty"` // as in an offer; none: no resolver is known there
	NamedBy   string          `json:"named_by,omitempty"` // who says that it is one of the interface
	Prefixes  []pref64.Prefix `json:"prefixes"`
	TTL       int             `json:"ttl,omitempty"` // seconds
	Error     string          `json:"error,omitempty"`
}

// router is one that was heard.
type router struct {
	Interface      string `json:"interface"`
	Router         string `json:"router"`
	Advertisements int    `json:"advertisements"`
	Trusted        bool   `json:"trusted"`
	Why            string `json:"why,omitempty"` // why not
}

func newDiscover() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "discover",
		Short: "Show which PREF64s this network offers, by each method",
		Long: "discover shows the PREF64s that are configured, that routers announce (RFC 8781)\nand that the resolvers of each uplink tell (RFC 7050), " +
			"who named them, for how\nlong, where they disagree, and what `uclat run` would do. It solicits routers and\nasks resolvers, and changes nothing. " +
			"It ends with 1 if none could be used,\nand if it cannot hear routers (that takes root) where `uclat run` would go by them.",
		Args: noArgs,
	}
	var asJSON, watch bool
	var name string
	jsonFlag(cmd, &asJSON)
	cmd.Flags().BoolVar(&watch, "watch", false, "go on, and print it again whenever it changes")
	cmd.Flags().StringVar(&name, "interface", "", "look at this interface alone")
	readConfig, stateDir := configFlags(cmd), stateDirFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := readConfig()
		if err != nil {
			return err
		}
		if name != "" {
			one := *c // whose network is asked, through that goes what is used
			one.Uplink = name
			c = &one
		}
		o, err := options(c, *stateDir)
		if err != nil {
			return err
		}
		o.Everything, o.Interface = true, name
		if err := exists(cmd.Context(), o); err != nil {
			return err
		}
		show := func(f found) error {
			if asJSON {
				return printJSON(cmd.OutOrStdout(), f)
			}
			return printTable(cmd.OutOrStdout(), f.rows())
		}
		if watch {
			return watchPREF64s(cmd, o, show)
		}
		v, err := survey.Once(cmd.Context(), o)
		if err != nil {
			return fault{err}
		}
		f := newFound(v)
		if err := show(f); err != nil {
			return err
		}
		return f.verdict(c)
	}
	return cmd
}

// verdict is why the command ends with 1; nil where it does not.
func (f found) verdict(c *config.Config) error {
	switch {
	case f.RoutersError != "" && asksRouters(c):
		return fault{errors.New("routers cannot be heard, so there may be other PREF64s: " + f.RoutersError)}
	case f.Use == nil:
		return fault{errors.New("no PREF64 found: is there a NAT64 in this network? If you know its prefix, set pref64.prefixes")}
	}
	return nil
}

// asksRouters says whether it may depend on routers what PREF64 is used.
func asksRouters(c *config.Config) bool {
	return len(c.PREF64.Prefixes) == 0 && slices.ContainsFunc(c.PREF64.Sources, func(s config.Source) bool {
		_, named := s.RALink()
		return named || s == config.SourceRA
	})
}

// exists refuses an interface that there is not.
func exists(ctx context.Context, o survey.Options) error {
	if o.Interface == "" {
		return nil
	}
	host, err := o.Eyes.Snapshot(ctx)
	if err != nil {
		return fault{err}
	}
	if _, ok := host.LinkByName(o.Interface); ok {
		return nil
	}
	var names []string
	for _, l := range host.Links {
		names = append(names, l.Name)
	}
	return fmt.Errorf("discover: there is no interface %q: there are %s", o.Interface, strings.Join(names, ", "))
}

// watchPREF64s shows what is found, and shows it again whenever anything but lifetimes changes, until the user ends it.
func watchPREF64s(cmd *cobra.Command, o survey.Options, show func(found) error) error {
	var last *found
	var failed error
	ctx, stop := context.WithCancel(cmd.Context())
	defer stop()
	err := survey.Watch(ctx, o, func(v survey.View) {
		f := newFound(v)
		now := f.timeless()
		if failed != nil || last != nil && reflect.DeepEqual(*last, now) {
			return
		}
		if last != nil && cmd.Flag("json").Value.String() != "true" {
			fmt.Fprintf(cmd.OutOrStdout(), "\n%s\n", time.Now().Format(time.TimeOnly))
		}
		last = &now
		if failed = show(f); failed != nil {
			stop()
		}
	})
	if err != nil {
		return fault{err}
	}
	return failed
}

func newFound(v survey.View) found {
	f := found{
		Schema: schema, Decision: v.Plan.Why, Prefixes: []offer{}, Resolvers: []resolved{}, Routers: []router{}, RoutersError: deafness(v),
		Disagreements: append([]string{}, disagreements(v)...), Notes: append([]string{}, notes(v)...),
	}
	isUse := false // of the plan; without one, the first that could be used
	for _, o := range v.Offers {
		x := offer{
			Prefix: o.Prefix, Method: o.Source.String(), Resolver: o.Resolver, Trusted: o.Trusted, Why: o.Why,
		}
		if o.Link != 0 {
			x.Interface = v.Name(o.Link)
		}
		if o.Router.IsValid() {
			x.Router = o.Router.String()
		}
		if !o.Until.IsZero() {
			seconds := int(o.Until.Sub(v.Input.Now).Seconds())
			x.Lifetime = &seconds
		}
		f.Prefixes = append(f.Prefixes, x)
		inUse := len(v.Plan.PREF64) > 0 && v.Plan.PREF64[0] == o.Prefix && v.Plan.Source == o.Source && (o.Link == 0 || o.Link == v.Plan.Uplink.Index)
		if o.Trusted && (f.Use == nil || inUse && !isUse) {
			f.Use, isUse = &x, inUse
		}
	}
	for _, a := range v.Asked {
		if a.Err != nil {
			f.Resolvers = append(f.Resolvers, resolved{Interface: a.Link.Name, Prefixes: []pref64.Prefix{}, Error: a.Err.Error()})
		}
		for _, x := range a.Answers {
			r := resolved{
				Interface: a.Link.Name, Resolver: x.Observation(dns.Link{Index: a.Link.Index, Name: a.Link.Name}).Resolver, NamedBy: a.From,
				Prefixes: append([]pref64.Prefix{}, x.Prefixes...), TTL: int(x.TTL.Seconds()),
			}
			if x.Err != nil {
				r.Error = x.Err.Error()
			}
			f.Resolvers = append(f.Resolvers, r)
		}
	}
	for _, r := range v.Input.Routers {
		why := policy.JudgeRouter(v.Input, r)
		f.Routers = append(f.Routers, router{
			Interface: v.Name(r.Link), Router: r.Addr.String(), Advertisements: r.Heard, Trusted: why == "", Why: why,
		})
	}
	return f
}

// disagreements are the links where routers that are trusted and resolvers name different PREF64s.
func disagreements(v survey.View) (lines []string) {
	for _, link := range v.Input.Host.Links {
		by := map[discovery.Source][]string{}
		for _, o := range v.Offers {
			if p := o.Prefix.String(); o.Link == link.Index && o.Trusted && !slices.Contains(by[o.Source], p) {
				by[o.Source] = append(by[o.Source], p)
			}
		}
		routers, resolvers := by[discovery.RA], by[discovery.DNS]
		slices.Sort(routers)
		slices.Sort(resolvers)
		if len(routers) > 0 && len(resolvers) > 0 && !slices.Equal(routers, resolvers) {
			lines = append(lines, fmt.Sprintf("on %s routers announce %s, and resolvers tell %s: what routers say goes first (RFC 9872)",
				link.Name, strings.Join(routers, ", "), strings.Join(resolvers, ", ")))
		}
	}
	return lines
}

// timeless is f without what changes all the time.
func (f found) timeless() found {
	f.Prefixes, f.Resolvers, f.Routers = slices.Clone(f.Prefixes), slices.Clone(f.Resolvers), slices.Clone(f.Routers)
	for i := range f.Prefixes {
		f.Prefixes[i].Lifetime = nil
	}
	for i := range f.Resolvers {
		f.Resolvers[i].TTL = 0
	}
	for i := range f.Routers {
		f.Routers[i].Advertisements = 0
	}
	if f.Use != nil {
		use := *f.Use
		use.Lifetime = nil
		f.Use = &use
	}
	return f
}

func (f found) rows() (rows [][2]string) {
	add := func(name, format string, args ...any) {
		rows = append(rows, [2]string{name, fmt.Sprintf(format, args...)})
	}
	for _, o := range f.Prefixes {
		switch {
		case o.Trusted:
			add(o.Prefix.String(), "%s", o.origin())
		default:
			add(o.Prefix.String(), "%s: seen%s, not trusted: %s", o.origin(), f.times(o), o.Why)
		}
	}
	for _, r := range f.Resolvers {
		switch {
		case r.Resolver == "":
			add("resolvers of "+r.Interface, "%s", r.Error)
		case r.Error != "":
			add("resolver "+r.Resolver+" on "+r.Interface, "%s%s", r.naming(), r.Error)
		}
	}
	for _, r := range f.Routers {
		announces := slices.ContainsFunc(f.Prefixes, func(o offer) bool { return o.Router == r.Router && o.Interface == r.Interface })
		switch {
		case announces:
		case r.Trusted:
			add("router "+r.Router, "on %s announces no PREF64", r.Interface)
		default:
			add("router "+r.Router, "on %s announces no PREF64, seen%s, and would not be trusted: %s", r.Interface, r.times(), r.Why)
		}
	}
	if f.RoutersError != "" {
		add("routers", "cannot be heard: %s", f.RoutersError)
	}
	for _, line := range f.Disagreements {
		add("disagreement", "%s", line)
	}
	add("uclat run", "%s", f.Decision)
	for _, note := range f.Notes {
		add("note", "%s", note)
	}
	return rows
}

// times is how often the router was heard that announces o; empty where it is not known.
func (f found) times(o offer) string {
	for _, r := range f.Routers {
		if r.Router == o.Router && r.Interface == o.Interface {
			return r.times()
		}
	}
	return ""
}

func (r router) times() string {
	if r.Advertisements == 1 {
		return " once"
	}
	return fmt.Sprintf(" %d times", r.Advertisements)
}

func (r resolved) naming() string {
	if r.NamedBy == "" {
		return ""
	}
	return "named by " + r.NamedBy + ": "
}

func (o offer) origin() string {
	text := "configured"
	switch o.Method {
	case discovery.RA.String():
		text = fmt.Sprintf("on %s, by RA from router %s", o.Interface, o.Router)
	case discovery.DNS.String():
		text = fmt.Sprintf("on %s, by RFC 7050 from resolver %s", o.Interface, o.Resolver)
	}
	if o.Lifetime != nil {
		text += fmt.Sprintf(", for %v", time.Duration(*o.Lifetime)*time.Second)
	}
	return text
}
