package policy

import (
	"fmt"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uclat/clat/config"
	"uclat/discovery"
	"uclat/platform"
)

const (
	// A laptop where routers are, and what it gets from them. What they announce is heard.
	lan = `
		link lo l3
		link eth0 hardware 02:00:5e:10:00:05
		addr lo ::1/128
		addr eth0 fe80::5/64
		route eth0 ::/0 via fe80::1 metric 1024
		heard eth0 advertised
	`
	one   = "addr eth0 2001:db8:1::5/64 autoconf\n"
	two   = "addr eth0 2001:db8:2::5/64 autoconf\n"
	local = "addr eth0 fd00:1::5/64 autoconf\n"

	through0 = "IPv4 through eth0, PREF64 64:ff9b::/96 (configured), as "
)

var (
	noon   = time.Date(2026, 8, 1, 12, 0, 0, 0, time.UTC)
	secret = [32]byte{1, 2, 3}
)

// addressName is how an address that is made is called in the tests: "2001:db8:1::/64#2" is the third of that prefix, for interface.ipv4, and
// "2001:db8:1::/64#2.6" that for the generation of 100.64.46.6.
var addressName = regexp.MustCompile(`([0-9a-f:]+/64)#(\d)(?:\.(\d))?`)

// seen is an Input at noon. Beside the lines of a snapshot there are "heard LINK STATE", "announced LINK ROUTER PREFIX [A=0] [preferred
// DURATION]", "mtu LINK ROUTER OCTETS [MAC]" of what a router says, and "trial LINK ADDRESS STATE [DETAIL...]" with an address or the name of one
// that is made.
func seen(t *testing.T, settings, text, pref64 string) Input {
	t.Helper()
	in := Input{Config: parse(t, settings), PREF64: known(pref64), Now: noon, Secret: secret, Heard: map[int]discovery.Heard{}}
	var host, rest []string
	for line := range strings.Lines(text) {
		if w := strings.Fields(line); len(w) > 0 && slices.Contains([]string{"heard", "announced", "mtu", "trial"}, w[0]) {
			rest = append(rest, line)
		} else {
			host = append(host, line)
		}
	}
	in.Host = snapshot(t, strings.Join(host, ""))
	for _, line := range rest {
		w := strings.Fields(line)
		link, ok := in.Host.LinkByName(w[1])
		if !ok {
			t.Fatalf("%q: no such link", line)
		}
		switch w[0] {
		case "heard":
			in.Heard[link.Index] = heardState(t, w[2])
		case "announced":
			a := discovery.Announced{Link: link.Index, Router: netip.MustParseAddr(w[2]), Prefix: netip.MustParsePrefix(w[3]), OnLink: true,
				Autonomous: !slices.Contains(w, "A=0"), Until: noon.Add(24 * time.Hour)}
			if i := slices.Index(w, "preferred"); i >= 0 {
				d, err := time.ParseDuration(w[i+1])
				if err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				a.Preferred = noon.Add(d)
			}
			in.Announced = append(in.Announced, a)
		case "mtu":
			mtu, err := strconv.Atoi(w[3])
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			in.Routers = append(in.Routers, discovery.Router{Link: link.Index, Addr: netip.MustParseAddr(w[2]), MTU: mtu, Hardware: strings.Join(w[4:], "")})
		case "trial":
			one := Trial{Link: link.Index, Addr: addressNamed(w[2], link.Name), State: trialState(t, w[3])}
			if one.Detail = strings.Join(w[4:], " "); one.State == Duplicate && one.Detail != "" {
				one.Detail = " " + one.Detail // the end of a line: " by" somebody
			}
			in.Trials = append(in.Trials, one)
		}
	}
	return in
}

func heardState(t *testing.T, text string) discovery.Heard {
	for _, h := range []discovery.Heard{discovery.Unknown, discovery.Silent, discovery.Advertised} {
		if h.String() == text {
			return h
		}
	}
	t.Fatalf("heard %q", text)
	return 0
}

func trialState(t *testing.T, text string) TrialState {
	i := slices.Index([]string{Checking: "checking", Probing: "probing", Seen: "seen", Silent: "silent", Duplicate: "duplicate"}, text)
	if i < 0 {
		t.Fatalf("trial %q", text)
	}
	return TrialState(i)
}

// addressNamed is an address by its text, or by its name.
func addressNamed(text, link string) netip.Addr {
	if m := addressName.FindStringSubmatch(text); m != nil {
		count, _ := strconv.Atoi(m[2])
		if m[3] != "" {
			link += "\x00100.64.46." + m[3] + "/32"
		}
		return makeAddress(secret, netip.MustParsePrefix(m[1]), link, count)
	}
	return netip.MustParseAddr(text)
}

// withNames is text with the names of the addresses that are made.
func withNames(in Input, text string) string {
	var pairs []string
	name := func(link int, p netip.Prefix) {
		l, _ := in.Host.Link(link)
		for count := range identifierRetries + 2 {
			if p.Bits() != 64 {
				continue
			}
			for _, v4 := range in.pool() {
				name := fmt.Sprintf("%v#%d", p.Masked(), count)
				if v4 != in.Config.Interface.IPv4 {
					name += fmt.Sprintf(".%d", v4.Addr().As4()[3])
				}
				pairs = append(pairs, makeAddress(in.Secret, p, in.identity(l, v4), count).String(), name)
			}
		}
	}
	for _, a := range in.Host.Addrs {
		name(a.Link, a.Prefix)
	}
	for _, a := range in.Announced {
		name(a.Link, a.Prefix)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}

// planText is a plan as lines: its code and why, what the uplink has to hold, and the warnings.
func planText(in Input, p Plan) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s\n", p.Code, p.Why)
	for _, h := range p.Try {
		fmt.Fprintf(&b, "try %s", shortPrefix(h.Addrs))
		if h.ND {
			b.WriteString(" ND")
		}
		b.WriteString("\n")
	}
	if p.On {
		fmt.Fprintf(&b, "use %v as %s, errors from %v\n", p.Ours().Addr(), shortPrefix(p.Ours()), p.Self6)
	}
	for _, w := range p.Warnings {
		fmt.Fprintf(&b, "warning %s\n", w)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "note %s\n", n)
	}
	return withNames(in, b.String())
}

// decideText is what Decide says, as text. It holds the plan to what is true of every one.
func decideText(t *testing.T, in Input) string {
	t.Helper()
	p := Decide(in)
	checkWhole(t, in, p)
	if again := Decide(in); !reflect.DeepEqual(p, again) {
		t.Errorf("the same input, another plan (-first +second)\n%s", cmp.Diff(p, again, plain))
	}
	return planText(in, p)
}

// expect compares what Decide says with the lines of want.
func expect(t *testing.T, in Input, want string) {
	t.Helper()
	var lines strings.Builder
	for line := range strings.Lines(strings.TrimSpace(want)) {
		lines.WriteString(strings.TrimSpace(line) + "\n")
	}
	if diff := cmp.Diff(lines.String(), decideText(t, in)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// checkWhole holds a plan of path packet to what is true of every one: there is no half.
func checkWhole(t *testing.T, in Input, p Plan) {
	t.Helper()
	if p.Code == "" || strings.ContainsAny(p.Why, "\n\"%") || p.Why == "" {
		t.Errorf("%s  %q is not one line that a log shows as it is", p.Code, p.Why)
	}
	if p.Path != config.PathPacket && len(p.Try) > 0 || len(p.Try) > 2*maxGenerations {
		t.Errorf("%s, on path %s: tries %v", p.Code, p.Path, p.Try)
	}
	if starting := p.Code == "checking-address" || p.Code == "probing"; starting && len(p.Try) != 1 || !p.On && starting != p.Tries() {
		t.Errorf("%s: tries %v", p.Code, p.Try)
	}
	for i, h := range p.Try {
		same := func(o Hold) bool { return o.Addrs == h.Addrs }
		if !h.Addrs.IsValid() || h.Addrs.Masked() != h.Addrs || h.ND && !h.Addrs.IsSingleIP() || slices.ContainsFunc(p.Try[:i], same) {
			t.Errorf("tries %v", p.Try)
		}
		if in.trial(p.Uplink.Index, h.Addrs.Addr()).State == Duplicate {
			t.Errorf("tries %v, which is somebody else's", h.Addrs)
		}
	}
	if holes := len(p.Host.Blackhole); p.Path == config.PathPacket && holes != len(p.Try) && (holes > 0 || in.Host.Forwarding6) {
		t.Errorf("tries %v, of which the kernel is to keep quiet about %v", p.Try, p.Host.Blackhole)
	}
	if !p.On {
		if p.Self6.IsValid() {
			t.Errorf("%s, and half on: %+v", p.Code, p)
		}
		checkPaused(t, in, p)
		return
	}
	inUse := func(h Hold) bool { return h.Addrs == p.Ours() }
	if p.Wrong || !p.Ours().IsValid() || !p.Self6.IsValid() || p.Host.TUN == "" || len(p.PREF64) == 0 ||
		p.Path == config.PathPacket && !slices.ContainsFunc(p.Try, inUse) {
		t.Errorf("%s, and not whole: %+v", p.Code, p)
	}
	checkGenerations(t, in, p)
	if p.Path == config.PathPacket && (p.Host.Forward != nil || p.Host.IPv6 || p.PathWhy == "") {
		t.Errorf("path packet, and the host is changed: %+v", p.Host)
	}
}

// checkPaused holds a plan that is not on to what it may keep of the one before it: the generations, and on path packet the device with their IPv4
// addresses for a while, to which no route leads.
func checkPaused(t *testing.T, in Input, p Plan) {
	t.Helper()
	waits := slices.Contains(passing, p.Code)
	if (len(p.Generations) > 0) == p.Paused.IsZero() || len(p.Generations) > 0 && (!waits || p.IPv4 != in.Config.Interface.IPv4) {
		t.Errorf("%s, paused since %v, and IPv4 addresses of %v: %+v", p.Code, p.Paused, p.IPv4, p.Generations)
	}
	host := platform.HostConfig{Blackhole: p.Host.Blackhole}
	if in.Was.Host.TUN == in.Config.Interface.Name && p.Path == config.PathPacket && len(p.Generations) > 0 && in.Now.Sub(p.Paused) < lingering {
		host.TUN, host.MTU = in.Config.Interface.Name, in.Was.Host.MTU
		for _, g := range p.Generations {
			if g.IPv4.IsSingleIP() {
				host.Addrs = append(host.Addrs, g.IPv4)
			}
		}
	}
	if ends := p.Ends(); !reflect.DeepEqual(p.Host, host) || ends.IsZero() != (host.TUN == "") || !ends.IsZero() && !ends.After(in.Now) {
		t.Errorf("%s: until %v the host is to have %+v; want %+v", p.Code, ends, p.Host, host)
	}
	for i, g := range p.Generations {
		if g.Old.IsZero() != (i == 0) {
			t.Errorf("%s: generations %+v", p.Code, p.Generations)
		}
		held := slices.ContainsFunc(p.Try, func(h Hold) bool { return h.Addrs == g.IPv6 && h.ND == g.ND })
		if g.IPv6.IsValid() && p.Path == config.PathPacket && !held {
			t.Errorf("%s: %+v is not held: %+v", p.Code, g, p.Try)
		}
	}
	if waits && in.Was.IPv4 == in.Config.Interface.IPv4 {
		checkAllKept(t, in, p)
	}
}

// checkAllKept wants a plan that waits to have all generations that were in force and that somebody may miss, in their order.
func checkAllKept(t *testing.T, in Input, p Plan) {
	t.Helper()
	var want []netip.Prefix
	for _, g := range in.Was.Generations {
		if slices.Contains(in.pool(), g.IPv4) && (len(want) == 0 || !(&turn{Input: &in}).isOver(g)) {
			want = append(want, g.IPv4)
		}
	}
	if len(p.Generations) != len(want) {
		t.Errorf("%s: %+v, of %+v", p.Code, p.Generations, in.Was.Generations)
		return
	}
	for i, g := range p.Generations {
		if g.IPv4 != want[i] {
			t.Errorf("%s: %+v, of %+v", p.Code, p.Generations, in.Was.Generations)
		}
	}
}

// announcers are the routers by which packets of a generation may go: who announced its PREF64, and of these, if there are any, who announced the
// /64 of its IPv6 addresses too.
func announcers(in Input, link platform.Link, g Generation) []netip.Addr {
	var all, both []netip.Addr
	for _, k := range in.PREF64 {
		if k.Source != discovery.RA || k.Link != link.Index || k.Prefix != g.PREF64 || slices.Contains(all, k.Router) {
			continue
		}
		all = append(all, k.Router)
		for _, x := range in.Announced {
			if x.Link == link.Index && x.Router == k.Router && x.Prefix.Contains(g.IPv6.Addr()) && !slices.Contains(both, k.Router) {
				both = append(both, k.Router)
			}
		}
	}
	if len(both) > 0 {
		all = both
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return all
}

// checkGenerations holds the generations of a plan that is on to what is true of all of them.
func checkGenerations(t *testing.T, in Input, p Plan) {
	t.Helper()
	in.PREF64 = in.on(p.Uplink)
	pool := in.pool()
	if len(p.Generations) > maxGenerations || p.PREF64[0] != p.Generations[0].PREF64 {
		t.Errorf("generations %+v, PREF64s %v", p.Generations, p.PREF64)
	}
	for i, g := range p.Generations {
		same := func(o Generation) bool {
			return o.IPv4 == g.IPv4 || o.IPv6 == g.IPv6 && o.IPv6.IsValid() && o.PREF64 == g.PREF64
		}
		if slices.ContainsFunc(p.Generations[:i], same) {
			t.Errorf("generation %d shares what another one has: %+v", i, p.Generations)
		}
		if !slices.Contains(pool, g.IPv4) || g.Old.IsZero() != (i == 0) || !slices.Contains(p.PREF64, g.PREF64) {
			t.Errorf("generation %+v; the pool is %v, PREF64s are %v", g, pool, p.PREF64)
		}
		if routers := announcers(in, p.Uplink, g); !slices.Equal(routers, g.Routers) {
			t.Errorf("generation %+v, and %v announced what it is made of", g, routers)
		}
		known := func(k discovery.Known) bool { return k.Prefix == g.PREF64 }
		if !slices.ContainsFunc(in.PREF64, known) {
			t.Errorf("generation %+v has a PREF64 that does not hold any more", g)
		}
	}
	if _, host := in.Config.Interface.Host(); !host {
		return
	}
	var addrs []netip.Prefix
	for _, g := range p.Generations {
		addrs = append(addrs, g.IPv4)
	}
	if !slices.Equal(addrs, p.Host.Addrs) {
		t.Errorf("the host has %v of generations %+v", p.Host.Addrs, p.Generations)
	}
	for _, r := range p.Host.Routes {
		if want := addrs[0].Addr(); r.Dst.Addr().Is4() && r.Src != want {
			t.Errorf("route %+v, and new connections are to come from %v", r, want)
		}
	}
}
