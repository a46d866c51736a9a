package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uclat/clat/config"
	"uclat/clat/eam"
	"uclat/discovery"
	"uclat/platform"
)

// Whatever a network does, and in whatever order, plan after plan: each is whole, it stays as it is when nothing changes, and what is in use is
// not taken from its connections.
func TestDecideAnySequence(t *testing.T) {
	configs := []*config.Config{
		parse(t, ""), parse(t, ""), parse(t, "path = 'packet'\naddress.checksum-neutral = true"), parse(t, "address.ipv6 = '2001:db8:c1a7::46'"),
		parse(t, routed), parse(t, "address.ipv6 = '2001:db8:1::46'"), parse(t, "pref64.sources = ['ra:eth0', 'dns']"),
		parse(t, "interface = {ipv4 = '192.0.0.2', self-ipv4 = '192.0.0.3'}"), parse(t, "interface = {ipv4 = '10.1.2.4', self-ipv4 = '10.1.2.5'}"),
		parse(t, routed+"interface.ipv4 = '100.64.0.0/10'"),
	}
	counts, changes := map[int]int{}, 0
	for seed := range uint64(120) {
		r := random{rand.New(rand.NewPCG(seed, 2))}
		in := Input{Config: pick(r, configs...), Secret: secret, Now: noon, Heard: map[int]discovery.Heard{eth0: discovery.Advertised},
			Used: map[netip.Addr]time.Time{}}
		for turn := range 100 {
			r.happen(&in)
			p := Decide(in)
			checkSequence(t, in, p)
			if t.Failed() {
				t.Fatalf("seed %d, turn %d: %+v\n%+v", seed, turn, in, p)
			}
			if p.On && in.Was.On && !reflect.DeepEqual(p.Generations, in.Was.Generations) {
				changes++
			}
			counts[len(p.Generations)]++
			in.Was = p
		}
	}
	if counts[maxGenerations] < 3 || changes < 150 {
		t.Errorf("plans by how many generations they have: %v, %d changes: this test does not see enough", counts, changes)
	}
}

// checkSequence holds a plan to what is true of every one that follows another.
func checkSequence(t *testing.T, in Input, p Plan) {
	t.Helper()
	checkWhole(t, in, p)
	if again := Decide(in); !reflect.DeepEqual(p, again) {
		t.Errorf("the same input, another plan (-first +second)\n%s", cmp.Diff(p, again, plain))
	}
	next := in
	next.Was = p
	q := Decide(next)
	if !p.On && len(p.Generations) == 0 { // of those that nothing is made for none is held
		q.PREF64, q.Source, q.Origin = p.PREF64, p.Source, p.Origin
	}
	if !reflect.DeepEqual(p, q) {
		t.Errorf("it is in force, nothing else changes, and it is another one (-first +second)\n%s", cmp.Diff(p, q, plain))
	}
	without := in
	without.PREF64 = slices.DeleteFunc(slices.Clone(in.PREF64), func(k discovery.Known) bool { return in.distrust(k) != "" })
	without.Announced = slices.DeleteFunc(slices.Clone(in.Announced), in.isStrange)
	q = Decide(without)
	q.Warnings = p.Warnings // they may be about those
	if !reflect.DeepEqual(p, q) {
		t.Errorf("without what is not trusted it is another plan (-with +without)\n%s", cmp.Diff(p, q, plain))
	}
	if !p.On {
		return
	}
	spec := eam.Spec{PREF64: p.PREF64, Elsewhere: p.Elsewhere, Here: p.Here, Self4: in.Config.Interface.SelfIPv4}
	for _, g := range p.Generations {
		if g.IPv6.IsValid() {
			spec.Ours = append(spec.Ours, eam.Mapping{IPv4: g.IPv4, IPv6: g.IPv6, PREF64: g.PREF64, Embed: !g.IPv4.IsSingleIP()})
		}
	}
	if _, err := eam.New(spec); err != nil {
		t.Errorf("no table can be made of %+v: %v", spec, err)
	}
	checkKept(t, in, p)
}

// checkKept looks for the generations that were in force, also before a pause, by their IPv4 addresses: as long as the pair of one can be used it is as it was, unless
// nobody will miss it, or it made room for the newest.
func checkKept(t *testing.T, in Input, p Plan) {
	t.Helper()
	was := in.Was
	if len(was.Generations) == 0 || was.IPv4 != p.IPv4 || !was.isThrough(p.Uplink, p.Path) {
		return
	}
	in.PREF64 = in.on(p.Uplink)
	in.Announced = slices.DeleteFunc(slices.Clone(in.Announced), in.isStrange)
	turn := &turn{Input: &in, uplink: p.Uplink, path: p.Path}
	turn.best = in.preferred(was.Generations[0].PREF64)
	for i, g := range was.Generations {
		if g.Interim { // it waits to be changed
			continue
		}
		source, ok := turn.source(g)
		if !ok || source.degraded || turn.isDead(g) || len(in.pool()) == 1 || !slices.Contains(in.pool(), g.IPv4) {
			continue
		}
		at := slices.IndexFunc(p.Generations, func(n Generation) bool { return n.IPv4 == g.IPv4 })
		switch {
		case at >= 0 && p.Generations[at].IPv6 == g.IPv6 && p.Generations[at].PREF64 == g.PREF64:
		case i == 0:
			t.Errorf("the current generation %+v could go on: now there are %+v", g, p.Generations)
		case at < 0 && !turn.isOver(g):
			t.Errorf("%+v is gone, of %+v; now there are %+v", g, was.Generations, p.Generations)
		case at > 0:
			t.Errorf("%+v has another pair, of %+v; now there are %+v", g, was.Generations, p.Generations)
		}
	}
}

// happen changes a thing or none of what is seen, and lets time pass.
func (r random) happen(in *Input) {
	in.Now = in.Now.Add(pick(r, 0, time.Second, time.Second, 10*time.Second, time.Minute, 5*time.Minute))
	if len(in.Host.Links) == 0 {
		in.Host = r.hostOnLAN()
	}
	switch r.IntN(14) {
	case 0:
		in.PREF64 = r.pref64s()
	case 1:
		in.Suspect = nil
		if len(in.PREF64) > 0 && r.IntN(2) == 0 {
			in.Suspect = append(in.Suspect, in.PREF64[r.IntN(len(in.PREF64))].Prefix)
		}
	case 2:
		if r.seldom() {
			in.Host = r.hostOnLAN()
		}
	case 3, 4: // a prefix is deprecated, or preferred again
		in.Host.Addrs = slices.Clone(in.Host.Addrs)
		one := &in.Host.Addrs[r.IntN(len(in.Host.Addrs))]
		one.Deprecated = !one.Deprecated
	case 6: // the default routes go, or come back
		if in.Host.Routes, in.Host.OtherRoutes = in.Host.OtherRoutes, in.Host.Routes; len(in.Host.Routes) > 0 {
			in.Host.OtherRoutes = nil
		}
	case 7:
		in.Announced = r.announced()
	case 5: // somebody names one more PREF64, or a router or a resolver leaves
		if more := r.pref64s(); len(more) > 0 && r.IntN(2) == 0 {
			in.PREF64 = append(slices.Clone(in.PREF64), more[0])
		} else if len(in.PREF64) > 1 {
			in.PREF64 = slices.Delete(slices.Clone(in.PREF64), 0, 1)
		}
		bySource(in.PREF64)
	}
	for _, g := range in.Was.Generations {
		if r.IntN(3) == 0 {
			in.Used[g.IPv4.Addr()] = in.Now
		}
	}
	r.advance(in)
}

// advance lets trials come further, or lets somebody take an address.
func (r random) advance(in *Input) {
	for _, h := range in.Was.Try {
		state := pick(r, Checking, Probing, Seen, Seen, Seen, Seen, Seen, Seen, Silent, Duplicate)
		i := slices.IndexFunc(in.Trials, func(x Trial) bool { return x.Addr == h.Addrs.Addr() })
		switch {
		case i < 0:
			in.Trials = append(in.Trials, Trial{Link: eth0, Addr: h.Addrs.Addr(), State: state})
		case in.Trials[i].State < Seen || r.IntN(100) == 0:
			in.Trials = slices.Clone(in.Trials)
			in.Trials[i].State = state
		}
	}
}

func (r random) pref64s() (all []discovery.Known) {
	for range r.IntN(8) {
		k := known(pick(r, wkp, "2001:db8:64::/96", "2001:db8:65::/96", "2001:db8:66::/96", "2001:db8:64::/48", "2001:db8::/32", "fd00:64::/96"))[0]
		switch {
		case k.Prefix.IsWellKnown() && r.IntN(4) == 0: // configured
		case r.IntN(2) == 0:
			k.Source, k.Resolver = discovery.DNS, "2001:db8::53"
		default:
			k.Source, k.Router = discovery.RA, pick(r, netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::2"), netip.MustParseAddr("fe80::66"))
		}
		if k.Source != discovery.Configured {
			k.Link = pick(r, eth0, eth0, eth0, eth0, eth0, eth0, 1, 3)
		}
		all = append(all, k)
	}
	bySource(all)
	return all
}

// announced is what routers say of prefixes, some of them nobody's.
func (r random) announced() (all []discovery.Announced) {
	for range r.IntN(5) {
		all = append(all, discovery.Announced{Link: eth0, Router: netip.MustParseAddr(pick(r, "fe80::1", "fe80::2", "fe80::66")),
			Prefix: netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d::/64", 1+r.IntN(3))), OnLink: r.often(), Autonomous: r.often()})
	}
	return all
}

func bySource(all []discovery.Known) {
	slices.SortStableFunc(all, func(a, b discovery.Known) int { return int(a.Source) - int(b.Source) })
}

// hostOnLAN is a host with one network, and prefixes there.
func (r random) hostOnLAN() (s platform.Snapshot) {
	s.Links = []platform.Link{{Index: 1, Name: "lo", MTU: 65536, MTU6: 65536, Up: true},
		{Index: eth0, Name: "eth0", MTU: 1500, MTU6: 1500, Up: r.IntN(30) > 0, L2: true}}
	s.Addrs = []platform.Address{{Link: eth0, Prefix: netip.MustParsePrefix("fe80::5/64")}}
	for i := range 3 {
		if p := netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d::5/64", 1+i)); r.IntN(2) == 0 {
			s.Addrs = append(s.Addrs, platform.Address{Link: eth0, Prefix: p, Autoconf: true, Deprecated: r.IntN(3) == 0})
		}
	}
	for i := range 1 + r.IntN(2) {
		s.Routes = append(s.Routes, platform.Route{Link: eth0, Dst: netip.PrefixFrom(netip.IPv6Unspecified(), 0),
			Via: netip.MustParseAddr(fmt.Sprintf("fe80::%d", 1+i)), Metric: r.IntN(3)})
	}
	if r.seldom() {
		s.Addrs = append(s.Addrs, platform.Address{Link: 1, Prefix: netip.MustParsePrefix("100.64.46.6/32")})
	}
	s.Forwarding6 = r.seldom()
	return s
}
