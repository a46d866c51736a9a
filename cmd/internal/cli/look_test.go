package cli

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"uclat/clat/policy"
	"uclat/cmd/internal/survey"
	"uclat/discovery"
	"uclat/discovery/dns"
	"uclat/platform/resolver"

	"github.com/google/go-cmp/cmp"
)

// errForbidden is what somebody gets who is not root.
var errForbidden = fmt.Errorf("open a raw ICMPv6 socket: %w", os.NewSyscallError("socket", os.ErrPermission))

// Who cannot hear routers is told so, and what to do, by each command that looks; discover ends with 1 where that may matter.
func TestDeaf(t *testing.T) {
	const (
		made       = "address.ipv6 = '2001:db8:c1a7::46'\n"
		reason     = "open a raw ICMPv6 socket: socket: permission denied"
		unsure     = "routers cannot be heard, so there may be other PREF64s: "
		none       = "no PREF64 found: "
		configured = "pref64.prefixes = ['64:ff9b::/96']\n"
	)
	busy := errors.New("no buffer space")
	for _, tt := range []struct {
		name, toml string
		known      []discovery.Known
		deaf       error
		why        string
		verdict    string // its beginning
	}{
		{"resolvers tell", "", []discovery.Known{byResolver(wkp, time.Minute)}, errForbidden, reason + ": run it as root",
			unsure + reason + ": run it as root"},
		{"nobody tells", "", nil, errForbidden, reason + ": run it as root", unsure},
		{"it is no matter of permission", "", nil, busy, "no buffer space", unsure + "no buffer space"},
		{"only routers of one interface count", "pref64.sources = ['ra:docker0', 'dns']", []discovery.Known{byResolver(wkp, time.Minute)}, busy,
			"no buffer space", unsure},
		{"routers do not count", "pref64.sources = ['dns']", []discovery.Known{byResolver(wkp, time.Minute)}, busy, "no buffer space", ""},
		{"routers do not count, and nobody tells", "pref64.sources = ['dns']", nil, busy, "no buffer space", none},
		{"it is configured", configured, []discovery.Known{{Prefix: wkp}}, busy, "no buffer space", ""},
		{"they are heard", "", []discovery.Known{byResolver(wkp, time.Minute)}, nil, "", ""},
		{"they are heard, and nobody tells", "", nil, nil, "", none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := viewed(t, made+tt.toml, tt.known, nil)
			v.Deaf = tt.deaf
			f := newFound(v)
			row := [2]string{"routers", "cannot be heard: " + tt.why}
			if f.RoutersError != tt.why || slices.Contains(f.rows(), row) != (tt.why != "") {
				t.Errorf("%q, %q", f.RoutersError, f.rows())
			}
			var notes []string
			if tt.why != "" {
				notes = []string{"routers cannot be heard, so what they announce is left out: " + tt.why}
			}
			if got := unheard(v); !slices.Equal(got, notes) {
				t.Errorf("notes are %q, want %q", got, notes)
			}
			err := f.verdict(v.Input.Config)
			if tt.verdict == "" && err != nil || tt.verdict != "" && (!errors.As(err, new(fault)) || !strings.HasPrefix(err.Error(), tt.verdict)) {
				t.Errorf("%v, want %s", err, tt.verdict)
			}
		})
	}
}

// What is not certain of an address that is made stands in discover as it does elsewhere.
func TestNotes(t *testing.T) {
	const (
		example = "the IPv6 address is an example: what makes it this host's own comes with the first `uclat run` (--state-dir), or only root may read it"
		untried = "whether that address is free, and whether answers come back to it, `uclat run` finds out"
	)
	known := []discovery.Known{byRouter(2, "fe80::1", wkp, time.Hour)}
	for _, tt := range []struct {
		name, toml string
		secret     bool
		known      []discovery.Known
		want       []string
	}{
		{"it has run", "", true, known, []string{untried}},
		{"it has never run", "", false, known, []string{example, untried}},
		{"the address is configured", "address.ipv6 = '2001:db8:1::46'\npath = 'packet'", false, known, []string{untried}},
		{"the address is routed", "address.ipv6 = '2001:db8:c1a7::46'", false, known, nil},
		{"there is none yet", "", false, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := viewed(t, tt.toml, tt.known, nil)
			if !tt.secret {
				v.Input.Secret = [32]byte{}
			}
			v.Plan = policy.Decide(v.Input)
			for _, h := range v.Plan.Try { // as a survey has it
				v.Input.Trials = append(v.Input.Trials, policy.Trial{Link: 2, Addr: h.Addrs.Addr(), State: policy.Seen})
			}
			v.Plan = policy.Decide(v.Input)
			if diff := cmp.Diff(tt.want, notes(v)); diff != "" {
				t.Errorf("%s\n(-want +got)\n%s", v.Plan.Why, diff)
			}
			f := newFound(v)
			var rows []string
			for _, r := range f.rows() {
				if r[0] == "note" {
					rows = append(rows, r[1])
				}
			}
			if !slices.Equal(rows, tt.want) || !slices.Equal(f.Notes, tt.want) {
				t.Errorf("discover has %q and %q", rows, f.Notes)
			}
		})
	}
}

// A resolver has one name wherever it stands, and its interface beside it: link-local ones may be the same elsewhere.
func TestOneNameForAResolver(t *testing.T) {
	answer := dns.Answer{Server: netip.MustParseAddrPort("[fe80::1%2]:53"), Lifetime: time.Minute}
	known := byResolver(wkp, time.Minute)
	known.Resolver = answer.Observation(dns.Link{Index: 2, Name: "eth0"}).Resolver
	f := newFound(viewed(t, "", []discovery.Known{known}, nil, survey.Asked{Link: eth0, Answers: []dns.Answer{answer}}))
	if f.Prefixes[0].Resolver != "fe80::1%eth0" || f.Resolvers[0].Resolver != f.Prefixes[0].Resolver {
		t.Errorf("%q and %q", f.Prefixes[0].Resolver, f.Resolvers[0].Resolver)
	}
}

// Who names the resolvers is logged when it changes, for each link, and not at each round of questions.
func TestWhoNamesResolversIsLogged(t *testing.T) {
	var out bytes.Buffer
	named := logNamed(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	one := resolver.Servers{List: []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::53]:53")}, From: "systemd-resolved"}
	other := resolver.Servers{List: one.List, From: "/etc/resolv.conf"}
	for _, s := range []resolver.Servers{one, one, other, other, one} {
		named(dns.Link{Index: 2, Name: "eth0"}, s)
	}
	named(dns.Link{Index: 3, Name: "wlan0"}, one)
	var got []string
	for line := range strings.Lines(out.String()) {
		_, said, _ := strings.Cut(strings.TrimSpace(line), " level=DEBUG ")
		got = append(got, said)
	}
	line := func(link, from string) string {
		return `msg="resolvers of a link" link=` + link + ` resolvers=[[2001:db8::53]:53] named_by=` + from
	}
	want := []string{
		line("eth0", "systemd-resolved"), line("eth0", "/etc/resolv.conf"), line("eth0", "systemd-resolved"), line("wlan0", "systemd-resolved"),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
