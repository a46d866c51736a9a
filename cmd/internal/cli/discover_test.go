package cli

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/clat/pref64"
	"uclat/cmd/internal/survey"
	"uclat/discovery"
	"uclat/discovery/dns"
	"uclat/discovery/ra"
	"uclat/platform"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

// A network with everything in it: a router that the host has accepted, one that it has not, one that tells nothing, resolvers of all kinds.
var (
	noon   = time.Date(2026, 3, 6, 12, 0, 0, 0, time.UTC)
	eth0   = platform.Link{Index: 2, Name: "eth0", MTU: 1500, MTU6: 1500, Up: true, L2: true, Hardware: "02:00:00:00:00:05"}
	docker = platform.Link{Index: 7, Name: "docker0", MTU: 1500, MTU6: 1500, Up: true, L2: true}
	wkp    = pref64.WellKnown
	nsp    = pref64.MustParse("2001:db8:64::/96")
)

func viewed(t *testing.T, toml string, known []discovery.Known, routers []discovery.Router, asked ...survey.Asked) survey.View {
	t.Helper()
	c, err := config.Parse("test.toml", []byte(toml))
	if err != nil {
		t.Fatal(err)
	}
	in := policy.Input{
		Config: c, Now: noon, PREF64: known, Routers: routers, Secret: [32]byte{46},
		Heard: map[int]discovery.Heard{2: discovery.Advertised, 7: discovery.Advertised},
		Host: platform.Snapshot{
			Links:  []platform.Link{eth0, docker},
			Addrs:  []platform.Address{{Link: 2, Prefix: netip.MustParsePrefix("2001:db8:1::5/64"), Autoconf: true}},
			Routes: []platform.Route{{Dst: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("fe80::1"), Link: 2}},
		},
	}
	return survey.View{Input: in, Offers: policy.Offers(in), Plan: policy.Decide(in), Asked: asked}
}

func byRouter(link int, router string, p pref64.Prefix, lifetime time.Duration) discovery.Known {
	return discovery.Known{Source: discovery.RA, Link: link, Router: netip.MustParseAddr(router), Prefix: p, Until: noon.Add(lifetime)}
}

func byResolver(p pref64.Prefix, lifetime time.Duration) discovery.Known {
	return discovery.Known{Source: discovery.DNS, Link: 2, Resolver: "2001:db8::53", Prefix: p, Until: noon.Add(lifetime)}
}

func heard(link int, router string) discovery.Router {
	return discovery.Router{Link: link, Addr: netip.MustParseAddr(router), Default: true, Heard: 3}
}

func heardOnce(link int, router string) discovery.Router {
	r := heard(link, router)
	r.Heard = 1
	return r
}

func TestDiscoverText(t *testing.T) {
	server := netip.MustParseAddrPort("[2001:db8::53]:53")
	const kernel = "address.ipv6 = '2001:db8:c1a7::46'\n"
	for _, tt := range []struct {
		name string
		view survey.View
		use  string // method and prefix
		want string
	}{
		{"a router", viewed(t, kernel, []discovery.Known{byRouter(2, "fe80::1", wkp, 90*time.Minute)}, []discovery.Router{heard(2, "fe80::1")}),
			"ra 64:ff9b::/96", `
  64:ff9b::/96   on eth0, by RA from router fe80::1, for 1h30m0s
  uclat run      on: IPv4 through eth0, PREF64 64:ff9b::/96 (from router fe80::1 by RA), as 2001:db8:c1a7::46
`},
		{"routers and resolvers disagree", viewed(t, kernel, []discovery.Known{byRouter(2, "fe80::1", nsp, time.Hour), byResolver(wkp, time.Minute)},
			[]discovery.Router{heard(2, "fe80::1")}, survey.Asked{Link: eth0, Answers: []dns.Answer{{Server: server, Prefixes: []pref64.Prefix{wkp}}}}),
			"ra 2001:db8:64::/96", `
  2001:db8:64::/96   on eth0, by RA from router fe80::1, for 1h0m0s
  64:ff9b::/96       on eth0, by RFC 7050 from resolver 2001:db8::53, for 1m0s
  disagreement       on eth0 routers announce 2001:db8:64::/96, and resolvers tell 64:ff9b::/96: what routers say goes first (RFC 9872)
  uclat run          on: IPv4 through eth0, PREF64 2001:db8:64::/96 (from router fe80::1 by RA), as 2001:db8:c1a7::46
`},
		{"they agree", viewed(t, kernel, []discovery.Known{byRouter(2, "fe80::1", wkp, time.Hour), byResolver(wkp, time.Second/2)},
			[]discovery.Router{heard(2, "fe80::1")}), "ra 64:ff9b::/96", `
  64:ff9b::/96   on eth0, by RA from router fe80::1, for 1h0m0s
  64:ff9b::/96   on eth0, by RFC 7050 from resolver 2001:db8::53, for 0s
  uclat run      on: IPv4 through eth0, PREF64 64:ff9b::/96 (from router fe80::1 by RA), as 2001:db8:c1a7::46
`},
		{"who is not trusted disagrees with nobody", viewed(t, kernel, []discovery.Known{byRouter(2, "fe80::9", nsp, time.Hour),
			byRouter(7, "fe80::2", nsp, time.Hour), byResolver(wkp, time.Minute)},
			[]discovery.Router{heard(2, "fe80::1"), heard(2, "fe80::9"), heardOnce(7, "fe80::2"), heard(7, "fe80::3")}), "dns 64:ff9b::/96", `
  2001:db8:64::/96   on eth0, by RA from router fe80::9, for 1h0m0s: seen 3 times, not trusted: no IPv6 default route on eth0 leads to it, but to fe80::1; pref64.sources with "ra:eth0" trusts it all the same
  2001:db8:64::/96   on docker0, by RA from router fe80::2, for 1h0m0s: seen once, not trusted: docker0 has no IPv6 default route; pref64.sources with "ra:docker0" trusts it all the same
  64:ff9b::/96       on eth0, by RFC 7050 from resolver 2001:db8::53, for 1m0s
  router fe80::1     on eth0 announces no PREF64
  router fe80::3     on docker0 announces no PREF64, seen 3 times, and would not be trusted: docker0 has no IPv6 default route; pref64.sources with "ra:docker0" trusts it all the same
  uclat run          on: IPv4 through eth0, PREF64 64:ff9b::/96 (from resolver 2001:db8::53 by RFC 7050), as 2001:db8:c1a7::46
`},
		{"configured", viewed(t, kernel+"pref64.prefixes = ['2001:db8:64::/96']", []discovery.Known{{Prefix: nsp},
			byRouter(2, "fe80::1", wkp, time.Hour)}, nil), "configured 2001:db8:64::/96", `
  2001:db8:64::/96   configured
  64:ff9b::/96       on eth0, by RA from router fe80::1, for 1h0m0s: seen, not trusted: pref64.prefixes is set, which goes before all others
  uclat run          on: IPv4 through eth0, PREF64 2001:db8:64::/96 (configured), as 2001:db8:c1a7::46
`},
		{"nothing, and why", viewed(t, kernel, nil, nil,
			survey.Asked{Link: eth0, From: "systemd-resolved", Answers: []dns.Answer{{Server: server, Err: dns.ErrNoDNS64}, {Server: netip.MustParseAddrPort("192.0.2.53:5353"),
				Err: errors.New("no answer")}}},
			survey.Asked{Link: docker, Err: errors.New("no resolver is known for docker0")}), "", `
  resolver 2001:db8::53 on eth0      named by systemd-resolved: this resolver does no DNS64
  resolver 192.0.2.53:5353 on eth0   named by systemd-resolved: no answer
  resolvers of docker0               no resolver is known for docker0
  uclat run                          waiting: no PREF64 on eth0: none is configured, and no router announces one (RFC 8781), and no resolver tells one (RFC 7050); ` +
			"`uclat discover` shows what they say, pref64.prefixes sets one" + `
`},
		{"it could be used, and the CLAT is off", viewed(t, "mode = 'off'", []discovery.Known{byRouter(2, "fe80::1", wkp, time.Hour), byResolver(nsp,
			time.Hour)}, nil), "ra 64:ff9b::/96", `
  64:ff9b::/96       on eth0, by RA from router fe80::1, for 1h0m0s
  2001:db8:64::/96   on eth0, by RFC 7050 from resolver 2001:db8::53, for 1h0m0s
  disagreement       on eth0 routers announce 64:ff9b::/96, and resolvers tell 2001:db8:64::/96: what routers say goes first (RFC 9872)
  uclat run          off: the configuration says so (mode = off)
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFound(tt.view)
			var b strings.Builder
			if err := printTable(&b, f.rows()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), b.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			use := ""
			if f.Use != nil {
				use = f.Use.Method + " " + f.Use.Prefix.String()
			}
			if use != tt.use {
				t.Errorf("uses %q, want %q", use, tt.use)
			}
		})
	}
}

func TestDiscoverJSON(t *testing.T) {
	v := viewed(t, "address.ipv6 = '2001:db8:c1a7::46'", []discovery.Known{byRouter(7, "fe80::2", nsp, time.Hour), byResolver(wkp, time.Minute)},
		[]discovery.Router{heard(2, "fe80::1"), heard(7, "fe80::2")},
		survey.Asked{Link: eth0, From: "NetworkManager",
			Answers: []dns.Answer{{Server: netip.MustParseAddrPort("[2001:db8::53]:53"), Prefixes: []pref64.Prefix{wkp}, TTL: time.Minute}}},
		survey.Asked{Link: docker, Err: errors.New("no resolver is known")})
	var b bytes.Buffer
	if err := printJSON(&b, newFound(v)); err != nil {
		t.Fatal(err)
	}
	const dns = `{
    "prefix": "64:ff9b::/96",
    "method": "dns",
    "interface": "eth0",
    "resolver": "2001:db8::53",
    "lifetime": 60,
    "trusted": true
  }`
	want := `{
  "schema": 1,
  "use": ` + dns + `,
  "decision": "on: IPv4 through eth0, PREF64 64:ff9b::/96 (from resolver 2001:db8::53 by RFC 7050), as 2001:db8:c1a7::46",
  "prefixes": [
    {
      "prefix": "2001:db8:64::/96",
      "method": "ra",
      "interface": "docker0",
      "router": "fe80::2",
      "lifetime": 3600,
      "trusted": false,
      "why": "docker0 has no IPv6 default route; pref64.sources with \"ra:docker0\" trusts it all the same"
    },
    ` + strings.ReplaceAll(dns, "\n", "\n  ") + `
  ],
  "resolvers": [
    {
      "interface": "eth0",
      "resolver": "2001:db8::53",
      "named_by": "NetworkManager",
      "prefixes": [
        "64:ff9b::/96"
      ],
      "ttl": 60
    },
    {
      "interface": "docker0",
      "prefixes": [],
      "error": "no resolver is known"
    }
  ],
  "routers": [
    {
      "interface": "eth0",
      "router": "fe80::1",
      "advertisements": 3,
      "trusted": true
    },
    {
      "interface": "docker0",
      "router": "fe80::2",
      "advertisements": 3,
      "trusted": false,
      "why": "docker0 has no IPv6 default route; pref64.sources with \"ra:docker0\" trusts it all the same"
    }
  ],
  "disagreements": [],
  "notes": []
}
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// network is what a watch looks at: a host, and a router that says something now and then.
type network struct {
	host platform.Snapshot
	err  error
	says chan discovery.Advertisement
}

func newNetwork(t *testing.T) *network {
	return &network{host: viewed(t, "", nil, nil).Input.Host, says: make(chan discovery.Advertisement)}
}

func (n *network) Snapshot(context.Context, ...netip.Prefix) (platform.Snapshot, error) {
	return n.host, n.err
}

func (n *network) SetLinks([]ra.Link) {}

func (n *network) Solicit(int) {}

func (n *network) Err() error { return nil }

func (n *network) Run(ctx context.Context, report func(discovery.Advertisement)) error {
	for {
		select {
		case a := <-n.says:
			report(a)
		case <-ctx.Done():
			return nil
		}
	}
}

func (n *network) options() survey.Options {
	return survey.Options{Config: configOf("address.ipv6 = '2001:db8:c1a7::46'"), Eyes: n, Routers: n, Everything: true, Now: time.Now,
		Lookup: func(context.Context, dns.Link) ([]dns.Answer, string, error) {
			return nil, "", errors.New("no resolver is known")
		}}
}

func configOf(toml string) *config.Config {
	c, err := config.Parse("test.toml", []byte(toml))
	if err != nil {
		panic(err)
	}
	return c
}

// It is printed whenever anything changes but a lifetime, and not else.
func TestDiscoverWatch(t *testing.T) {
	for _, asJSON := range []string{"false", "true"} {
		synctest.Test(t, func(t *testing.T) {
			n := newNetwork(t)
			cmd := &cobra.Command{}
			var out bytes.Buffer
			cmd.SetOut(&out)
			var js bool
			jsonFlag(cmd, &js)
			if err := cmd.Flags().Set("json", asJSON); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			cmd.SetContext(ctx)
			var shown []string
			ended := make(chan error)
			go func() {
				ended <- watchPREF64s(cmd, n.options(), func(f found) error {
					use := "nothing"
					if f.Use != nil {
						use = f.Use.Prefix.String()
					}
					shown = append(shown, use)
					return nil
				})
			}()
			say := func(prefix pref64.Prefix, lifetime time.Duration) {
				n.says <- discovery.Advertisement{Link: 2, Router: netip.MustParseAddr("fe80::1"), Lifetime: time.Hour,
					PREF64: []discovery.Offer{{Prefix: prefix, Lifetime: lifetime}}}
				time.Sleep(time.Minute)
				synctest.Wait()
			}
			time.Sleep(time.Second)
			for _, lifetime := range []time.Duration{time.Hour, 2 * time.Hour, 0, 0, time.Hour} {
				say(wkp, lifetime)
			}
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff([]string{"64:ff9b::/96", "nothing", "64:ff9b::/96"}, shown); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if lines := strings.Count(out.String(), "\n"); asJSON == "true" && lines > 0 || asJSON == "false" && lines != 4 {
				t.Errorf("json %s: between them stands %q", asJSON, out.String())
			}
		})
	}
}

// Where nobody reads it any more, it ends.
func TestDiscoverWatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		cmd := &cobra.Command{}
		var js bool
		jsonFlag(cmd, &js)
		cmd.SetContext(t.Context())
		broken := fault{errors.New("broken pipe")}
		if err := watchPREF64s(cmd, n.options(), func(found) error { return broken }); !errors.Is(err, broken) {
			t.Error(err)
		}
		n.err = errors.New("broken")
		if err := watchPREF64s(cmd, n.options(), func(found) error { return nil }); !errors.As(err, new(fault)) {
			t.Error(err)
		}
	})
}

// An interface that there is not is a mistake of who named it, and the line says which there are.
func TestDiscoverInterface(t *testing.T) {
	n := newNetwork(t)
	for name, want := range map[string]string{"": "", "eth0": "", "eth7": `discover: there is no interface "eth7": there are eth0, docker0`} {
		o := n.options()
		o.Interface = name
		switch err := exists(t.Context(), o); {
		case want == "" && err != nil, want != "" && (err == nil || err.Error() != want || errors.As(err, new(fault))):
			t.Errorf("%q: %v, want %s", name, err, want)
		}
	}
	n.err = errors.New("broken")
	o := n.options()
	o.Interface = "eth0"
	if err := exists(t.Context(), o); !errors.As(err, new(fault)) {
		t.Error(err)
	}
}
