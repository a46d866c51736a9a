package conformance

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"uclat/clat/policy"
	"uclat/clat/pref64"
	"uclat/discovery"
	"uclat/platform"
)

// learner is a laptop to which nobody has named a PREF64 yet.
type learner struct {
	*laptop
	t     *testing.T
	known discovery.Set
}

// newLearner is in the network of newLaptop.
func newLearner(t *testing.T, settings string) *learner {
	t.Helper()
	return learning(t, newLaptop(t, settings))
}

func learning(t *testing.T, l *laptop) *learner {
	l.behind()
	return &learner{laptop: l, t: t}
}

// secondLink is another link of the host; its networks are others.
var secondLink = platform.Link{Index: 3, Name: "wlan0", MTU: 1500, MTU6: 1500, Up: true, L2: true, Hardware: otherMAC.String()}

var secondRouter = ip("fe80::2")

// defaultBy is an IPv6 default route that the host has from its router.
func defaultBy(router net.IP, link int) platform.Route {
	return platform.Route{Dst: netip.MustParsePrefix("::/0"), Via: addr(router), Link: link, FromRA: true}
}

// router is a Router Advertisement with these options, as it comes by the link.
func (l *learner) router(router net.IP, lifetime time.Duration, options ...layers.ICMPv6Option) {
	l.t.Helper()
	l.announces(router, lifetime, nil, options...)
}

// announces is the same with prefixes of the link.
func (l *learner) announces(router net.IP, lifetime time.Duration, prefixes []discovery.PrefixInfo, options ...layers.ICMPv6Option) {
	l.t.Helper()
	heard := hears(l.t, routerPacket(l.t, router, lifetime, options...))
	if len(heard) != 1 {
		l.t.Fatalf("%d advertisements are heard", len(heard))
	}
	heard[0].Prefixes = prefixes
	l.said.Observe(l.Now, heard[0])
	if o, ok := heard[0].Observation(); ok {
		l.observe(o)
	}
	l.pass(0)
}

func (l *learner) observe(o discovery.Observation) {
	l.known.Observe(l.Now, o)
	l.pass(0)
}

// resolver is what the resolver of the link says; no prefixes: it says that there are none.
func (l *learner) resolver(lifetime time.Duration, prefixes ...string) {
	o := discovery.Observation{Source: discovery.DNS, Link: uplink, Resolver: "2001:db8::53"}
	for _, p := range prefixes {
		o.Prefixes = append(o.Prefixes, offered(p, lifetime))
	}
	l.observe(o)
}

// pass lets time go by.
func (l *learner) pass(d time.Duration) {
	l.laptop.pass(d)
	l.PREF64, _ = l.known.Valid(l.Now)
}

// goesThrough wants the CLAT to be on, with this PREF64 for new connections; others are accepted as well, in this order.
func (l *learner) goesThrough(what string, prefix string, others ...string) policy.Plan {
	l.t.Helper()
	p := l.settle()
	var want []pref64.Prefix
	for _, o := range append([]string{prefix}, others...) {
		want = append(want, pref64.MustParse(o))
	}
	if !p.On || p.Generations[0].PREF64 != want[0] || !slices.Equal(p.PREF64, want) {
		l.t.Errorf("%s: %s: goes through %v, want %v", what, p.Why, p.PREF64, want)
	}
	return p
}

// halts wants that the host loses what it has of the CLAT, for want of a PREF64. The address may be held.
func (l *learner) halts(what string) {
	l.t.Helper()
	if p := l.settle(); p.On || p.Code != "no-pref64" || !l.leaves(p) {
		l.t.Errorf("%s: %s (%s), host %+v", what, p.Code, p.Why, p.Host)
	}
}

const (
	platA = "2001:db8:64::/96"
	platB = "2001:db8:65::/96"
	platC = "64:ff9b::/96"
)

func TestPREF64Lifetime(t *testing.T) {
	t.Run("DISC-8781-4.1-2", func(t *testing.T) {
		l := newLearner(t, "")
		l.router(linkRouter, time.Hour, announcing(platA, 18*time.Hour))
		l.goesThrough("at first", platA)
		l.router(linkRouter, time.Hour, announcing(platA, 0))
		l.halts("withdrawn, at once")

		l.router(linkRouter, time.Hour, announcing(platA, 18*time.Hour), announcing(platB, 18*time.Hour))
		l.goesThrough("two", platA, platB)
		l.router(linkRouter, time.Hour, announcing(platA, 0))
		l.goesThrough("one of two is withdrawn", platB)
		// That of another router is another.
		l.Host.Routes = append(l.Host.Routes, defaultBy(secondRouter, uplink))
		l.router(secondRouter, time.Hour, announcing(platB, 0))
		l.goesThrough("by somebody who did not name it", platB)
	})

	t.Run("DISC-8781-5-1", func(t *testing.T) {
		l := newLearner(t, "")
		l.Host.Routes = append(l.Host.Routes, defaultBy(secondRouter, uplink))
		l.router(linkRouter, time.Hour, announcing(platB, time.Hour), announcing(platA, 2*time.Hour))
		l.goesThrough("two in one", platB, platA)
		l.router(secondRouter, time.Hour, announcing(platC, 3*time.Hour))
		l.goesThrough("and one of another router", platB, platA, platC)

		l.router(linkRouter, time.Hour)
		l.goesThrough("an RA that names none", platB, platA, platC)
		l.router(linkRouter, time.Hour, announcing(platA, 2*time.Hour))
		l.goesThrough("an RA that names one of them", platB, platA, platC)
		l.pass(time.Hour - 1)
		l.goesThrough("until it expires", platB, platA, platC)
		l.pass(1)
		l.goesThrough("the first expired", platA, platC)
		l.pass(time.Hour)
		l.goesThrough("the second, too", platC)
		l.pass(time.Hour)
		l.halts("all did")
	})

	t.Run("CLATON-DIS", func(t *testing.T) {
		for what, gone := range map[string]func(*learner){
			"its lifetime ends": func(l *learner) {
				l.pass(time.Hour - 1)
				l.goesThrough("until the end", platA)
				l.pass(1)
			},
			"lifetime 0":            func(l *learner) { l.router(linkRouter, time.Hour, announcing(platA, 0)) },
			"the link is another's": func(l *learner) { l.known.Forget(uplink); l.pass(0) },
		} {
			l := newLearner(t, "")
			l.router(linkRouter, time.Hour, announcing(platA, time.Hour))
			before := used(l.goesThrough("at first", platA))
			gone(l)
			l.halts(what)
			if p := l.decide(); len(p.Try) != 1 || p.Try[0].Addrs.Addr() != before {
				t.Errorf("%s: holds %v, and before %v", what, p.Try, before)
			}
			l.pass(time.Minute)
			l.router(linkRouter, time.Hour, announcing(platA, time.Hour))
			tried := len(l.tried)
			if after := used(l.goesThrough(what+", and it is back", platA)); after != before || len(l.tried) != tried {
				t.Errorf("%s: before %v, after %v; tried %v", what, before, after, l.tried)
			}
			l.router(linkRouter, time.Hour, announcing(platA, 0), announcing(platB, time.Hour))
			l.goesThrough("another one", platB)
		}
	})
}

func TestPREF64Choice(t *testing.T) {
	t.Run("DISC-8781-5.1-1", func(t *testing.T) {
		// Whoever speaks first, the router counts.
		byRA := func(l *learner) { l.router(linkRouter, time.Hour, announcing(platA, time.Hour)) }
		byDNS := func(l *learner) { l.resolver(2*time.Hour, platB) }
		for _, order := range [][]func(*learner){{byRA, byDNS}, {byDNS, byRA}} {
			l := newLearner(t, "")
			for _, says := range order {
				says(l)
				l.settle()
			}
			if p := l.goesThrough("they disagree", platA, platB); p.Source != discovery.RA {
				t.Errorf("%s", p.Why)
			}
			// All new connections: what stands for them is one pair, and old ones are other pairs.
			for _, g := range l.settle().Generations[1:] {
				if g.PREF64 == pref64.MustParse(platB) && g.Old.IsZero() {
					t.Errorf("%+v is not old", g)
				}
			}
			l.pass(time.Hour)
			if p := l.goesThrough("the router's expired", platB); p.Source != discovery.DNS {
				t.Errorf("%s", p.Why)
			}
		}
		// What is configured goes before both.
		l := newLearner(t, "pref64.prefixes = ['64:ff9b::/96']")
		l.observe(discovery.Observation{Source: discovery.Configured, Prefixes: []discovery.Offer{offered(platC, 0)}})
		byRA(l)
		byDNS(l)
		l.goesThrough("configured", platC)
	})

	t.Run("DISC-8781-D2", func(t *testing.T) {
		two := func() *learner {
			l := newLearner(t, "")
			l.has("2001:db8:a::5/64", autoconf)
			l.Host.Routes = append(l.Host.Routes, defaultBy(secondRouter, uplink))
			l.router(linkRouter, 30*time.Minute, announcing(platA, 18*time.Hour))
			l.router(secondRouter, 18*time.Hour, announcing(platB, 18*time.Hour))
			l.goesThrough("two routers", platA, platB)
			return l
		}
		// The host forgets a router when its lifetime ends, or when it is not there any more.
		l := two()
		l.pass(time.Hour)
		l.Host.Routes = l.Host.Routes[1:]
		l.goesThrough("the first is gone", platB)
		if g := l.settle().Generations[0]; !slices.Equal(g.Routers, []netip.Addr{addr(secondRouter)}) {
			t.Errorf("packets go to %v", g.Routers)
		}
		// As long as the host goes by it, its Router Lifetime is no matter.
		l = two()
		l.pass(time.Hour)
		l.goesThrough("its lifetime is over, and the host goes by it", platA, platB)
		l = newLearner(t, "")
		l.Host.Routes[0].FromRA = false
		l.router(linkRouter, 0, announcing(platA, time.Hour))
		l.goesThrough("a router that is no default router by what it says, and is by the host's own route", platA)

		// Who is no router of the host's is not believed, whatever he says.
		l = newLearner(t, "")
		l.router(secondRouter, time.Hour, announcing(platB, time.Hour))
		l.halts("no route of the host leads there")
		l.router(linkRouter, time.Hour, announcing(platA, time.Hour))
		l.goesThrough("the host's own router", platA)
	})

	t.Run("CLATON-8-1", func(t *testing.T) {
		// Each router has a PREF64, and a prefix for addresses, of another provider.
		l := learning(t, bareLaptop(t, ""))
		l.Host.Routes = append(l.Host.Routes, defaultBy(secondRouter, uplink))
		l.announces(secondRouter, time.Hour, []discovery.PrefixInfo{fromRouter(lanB)}, announcing(platB, 2*time.Hour))
		l.announces(linkRouter, time.Hour, []discovery.PrefixInfo{fromRouter(lanA)}, announcing(platA, time.Hour))
		goes := func(what, prefix, from string, to ...net.IP) policy.Generation {
			t.Helper()
			p := l.settle()
			var routers []netip.Addr
			for _, r := range to {
				routers = append(routers, addr(r))
			}
			if !p.On || len(p.Generations) == 0 {
				t.Fatalf("%s: %s", what, p.Why)
			}
			g := p.Generations[0]
			if g.PREF64 != pref64.MustParse(prefix) || !netip.MustParsePrefix(from).Contains(g.IPv6.Addr()) || !slices.Equal(g.Routers, routers) {
				t.Errorf("%s: %+v; want %s from %s by %v", what, g, prefix, from, to)
			}
			// And so do the packets of each pair.
			for _, g := range p.Generations {
				i := slices.IndexFunc(p.Try, func(h policy.Hold) bool { return h.Addrs == g.IPv6 })
				if i < 0 || p.Try[i].PREF64 != g.PREF64 || !slices.Equal(p.Try[i].Routers, g.Routers) {
					t.Errorf("%s: of %+v, the link holds %+v", what, g, p.Try)
				}
			}
			return g
		}
		old := goes("that which was first", platB, lanB, secondRouter)
		// It is gone: what was sent there goes by the other router, from its prefix.
		l.router(secondRouter, time.Hour, announcing(platB, 0))
		goes("withdrawn", platA, lanA, linkRouter)
		l.announces(secondRouter, time.Hour, []discovery.PrefixInfo{fromRouter(lanB)}, announcing(platA, time.Hour))
		named := goes("named by both, one of which announced the address's prefix", platA, lanA, linkRouter)
		if named.IPv6 == old.IPv6 {
			t.Errorf("%+v", named)
		}
		// It is the other one's now: nothing comes back by the old pair.
		l.router(linkRouter, time.Hour, announcing(platA, 0))
		if g := goes("moved", platA, lanB, secondRouter); g.IPv4 != named.IPv4 {
			t.Errorf("%+v, and before %+v", g, named)
		}
		// A better one of the other router: the old pair stays whole.
		l = learning(t, bareLaptop(t, ""))
		l.Host.Routes = append(l.Host.Routes, defaultBy(secondRouter, uplink))
		l.announces(secondRouter, time.Hour, []discovery.PrefixInfo{fromRouter(lanB)})
		l.announces(linkRouter, time.Hour, []discovery.PrefixInfo{fromRouter(lanA)})
		l.resolver(time.Hour, platA)
		old = goes("by DNS: no router is known to have it", platA, lanA)
		l.announces(secondRouter, time.Hour, []discovery.PrefixInfo{fromRouter(lanB)}, announcing(platB, time.Hour))
		goes("by RA", platB, lanB, secondRouter)
		if all := l.settle().Generations; len(all) != 2 || all[1].IPv6 != old.IPv6 || all[1].PREF64 != old.PREF64 || len(all[1].Routers) != 0 {
			t.Errorf("the old pair %+v is not among %+v", old, all)
		}
	})
}
