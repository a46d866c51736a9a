package conformance

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"uclat/clat/config"
	"uclat/clat/node"
	"uclat/clat/policy"
	"uclat/clat/pref64"
	"uclat/discovery"
	"uclat/platform"
)

// laptop is a host on one link, as a CLAT sees it: what is decided there, and who else is on the link.
type laptop struct {
	policy.Input
	t     testing.TB
	said  discovery.Announcements
	taken int          // the first of the addresses that are tried are somebody else's
	tried []netip.Addr // by duplicate address detection, in order
}

const (
	uplink = 2 // the index of the link
	lanA   = "2001:db8:a::/64"
	lanB   = "2001:db8:b::/64"
	lanULA = "fd00:a::/64"
)

// newLaptop is in a network of lanA, with a router that has announced it for a day, and with 64:ff9b::/96. The settings are those of a
// configuration file.
func newLaptop(t testing.TB, settings string) *laptop {
	t.Helper()
	l := bareLaptop(t, settings)
	l.hears(fromRouter(lanA))
	return l
}

// bareLaptop has heard no router yet. Its one global address is not of the link, and nothing is made of it.
func bareLaptop(t testing.TB, settings string) *laptop {
	t.Helper()
	c, err := config.Parse("test.toml", []byte(settings))
	if err != nil {
		t.Fatal(err)
	}
	l := &laptop{t: t, Input: policy.Input{
		Config: c,
		Host: platform.Snapshot{
			Links: []platform.Link{
				{Index: 1, Name: "lo", MTU: 65536, MTU6: 65536, Up: true},
				{Index: uplink, Name: "eth0", MTU: 1500, MTU6: 1500, Up: true, L2: true, Hardware: ourMAC.String()},
			},
			Addrs: []platform.Address{
				{Link: 1, Prefix: netip.MustParsePrefix("2001:db8:ffff::1/128"), Permanent: true},
				{Link: uplink, Prefix: netip.MustParsePrefix("fe80::5/64")},
			},
			Routes: []platform.Route{{Dst: netip.MustParsePrefix("::/0"), Via: addr(linkRouter), Link: uplink, FromRA: true}},
		},
		Now:    time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC),
		Heard:  map[int]discovery.Heard{uplink: discovery.Silent},
		Secret: [32]byte{5, 7, 11},
	}}
	l.behind("64:ff9b::/96")
	return l
}

// behind has these be the PREF64s, in this order.
func (l *laptop) behind(prefixes ...string) {
	l.PREF64 = nil
	for _, p := range prefixes {
		l.PREF64 = append(l.PREF64, discovery.Known{Prefix: pref64.MustParse(p)})
	}
}

// toldBehind has a resolver of the link say that these are.
func (l *laptop) toldBehind(prefixes ...string) {
	l.behind(prefixes...)
	for i := range l.PREF64 {
		l.PREF64[i].Source, l.PREF64[i].Link, l.PREF64[i].Resolver = discovery.DNS, uplink, "2001:db8::53"
	}
}

// has gives the link another address of the host's own.
func (l *laptop) has(prefix string, edits ...func(*platform.Address)) {
	a := platform.Address{Link: uplink, Prefix: netip.MustParsePrefix(prefix)}
	for _, edit := range edits {
		edit(&a)
	}
	l.Host.Addrs = append(l.Host.Addrs, a)
}

func byHand(a *platform.Address)   { a.Permanent = true }
func autoconf(a *platform.Address) { a.Autoconf = true }

// fromRouter is a prefix that is announced for autoconfiguration, valid for a day and preferred for half of it. The edits change that.
func fromRouter(prefix string, edits ...func(*discovery.PrefixInfo)) discovery.PrefixInfo {
	i := discovery.PrefixInfo{
		Prefix: netip.MustParsePrefix(prefix), OnLink: true, Autonomous: true, Valid: 24 * time.Hour, Preferred: 12 * time.Hour,
	}
	for _, edit := range edits {
		edit(&i)
	}
	return i
}

func deprecated(i *discovery.PrefixInfo)    { i.Preferred = 0 }
func notAutonomous(i *discovery.PrefixInfo) { i.Autonomous = false }

// hears is a Router Advertisement of linkRouter's.
func (l *laptop) hears(prefixes ...discovery.PrefixInfo) {
	l.said.Observe(l.Now, discovery.Advertisement{Link: uplink, Router: addr(linkRouter), Lifetime: time.Hour, Prefixes: prefixes})
	l.pass(0)
}

// pass lets time go by.
func (l *laptop) pass(d time.Duration) {
	l.Now = l.Now.Add(d)
	l.Announced, _ = l.said.Valid(l.Now)
	l.Heard[uplink] = l.said.Heard(uplink)
}

// decide is the plan now, which is in force from then on. What is in use must have been tried.
func (l *laptop) decide() policy.Plan {
	l.t.Helper()
	p := policy.Decide(l.Input)
	if p.On {
		trial := policy.Trial{Link: uplink, Addr: used(p), State: policy.Seen}
		if !slices.Contains(l.Trials, trial) || !slices.ContainsFunc(p.Try, func(h policy.Hold) bool { return h.Addrs == p.Ours() }) {
			l.t.Errorf("%v is used: held is %v, known %v", used(p), p.Try, l.Trials)
		}
	}
	l.Was = p
	return p
}

// used is the address of new connections; invalid where the plan is not on.
func used(p policy.Plan) netip.Addr {
	if !p.On {
		return netip.Addr{}
	}
	return p.Ours().Addr()
}

// settle tries what is to be tried, until nothing is any more.
func (l *laptop) settle() policy.Plan {
	l.t.Helper()
	for range 20 {
		p := l.decide()
		before := len(l.Trials)
		for _, h := range p.Try {
			if !slices.ContainsFunc(l.Trials, func(t policy.Trial) bool { return t.Addr == h.Addrs.Addr() }) {
				l.Trials = append(l.Trials, l.try(h))
			}
		}
		if len(l.Trials) == before {
			return p
		}
	}
	l.t.Fatal("it does not come to rest")
	return policy.Plan{}
}

// try is what becomes of an address on the link. Answers come back to each that is free.
func (l *laptop) try(h policy.Hold) policy.Trial {
	l.t.Helper()
	a := h.Addrs.Addr()
	known := policy.Trial{Link: uplink, Addr: a, State: policy.Seen}
	if !h.ND {
		return known
	}
	s := newStation(l.t, func(o *node.Options) { o.Addr = a })
	s.pass(0)
	if len(l.tried) < l.taken {
		s.hear(advertisement(l.t, a.AsSlice(), allNodes, a.AsSlice(), flagOverride, targetIs(otherMAC)), otherMAC)
	}
	s.pass(retransTimer)
	l.tried = append(l.tried, a)
	if s.Status() != node.Ready {
		known.State = policy.Duplicate
	}
	return known
}

// uses wants the CLAT to be on with an address in a prefix, which it returns.
func (l *laptop) uses(what, prefix string) netip.Addr {
	l.t.Helper()
	p := l.settle()
	if !p.On || !netip.MustParsePrefix(prefix).Contains(used(p)) {
		l.t.Errorf("%s: %s: uses %v, want an address in %s", what, p.Why, used(p), prefix)
	}
	return used(p)
}

// leaves says whether the host is to lose all routes of a plan before p, the plan now, and half a minute later all else.
func (l *laptop) leaves(p policy.Plan) bool {
	later := l.Input
	later.Now = later.Now.Add(30 * time.Second)
	nothing := fmt.Sprint(platform.HostConfig{})
	return len(p.Host.Routes) == 0 && (fmt.Sprint(p.Host) == nothing || !p.Paused.IsZero()) && fmt.Sprint(policy.Decide(later).Host) == nothing
}

// stops wants nothing to be on or held.
func (l *laptop) stops(what, code string) policy.Plan {
	l.t.Helper()
	p := l.settle()
	if p.On || len(p.Try) > 0 || !l.leaves(p) || p.Code != code {
		l.t.Errorf("%s: %s (%s): holds %v, host %+v; want nothing, for %s", what, p.Code, p.Why, p.Try, p.Host, code)
	}
	return p
}
