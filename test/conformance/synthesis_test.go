package conformance

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gopacket/gopacket/layers"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/discovery"
	"uclat/discovery/dns"
)

func TestSynthesis(t *testing.T) {
	t.Run("DISC-7050-3-2", func(t *testing.T) {
		for _, c := range []struct{ what, aaaa, want string }{
			{"/32", "2001:db8:c000:aa::", "2001:db8::/32"},
			{"/40", "2001:db8:1c0:0:aa::", "2001:db8:100::/40"},
			{"/48", "2001:db8:122:c000:0:aa00::", "2001:db8:122::/48"},
			{"/56", "2001:db8:122:3c0:0:aa::", "2001:db8:122:300::/56"},
			{"/64", "2001:db8:122:344:c0:0:aa00:0", "2001:db8:122:344::/64"},
			{"/96", "2001:db8:122:344::c000:aa", "2001:db8:122:344::/96"},
			{"the well-known prefix", "64:ff9b::c000:aa", "64:ff9b::/96"},
			{"the other address", "2001:db8:122:344:c0:0:ab00:0", "2001:db8:122:344::/64"},
			{"the other address, /40", "2001:db8:1c0:0:ab::", "2001:db8:100::/40"},
			{"both, the same prefix", "2001:db8:122:344::c000:aa 2001:db8:122:344::c000:ab", "2001:db8:122:344::/96"},
			{"two prefixes", "64:ff9b::c000:aa 2001:db8:c000:ab::", "64:ff9b::/96 2001:db8::/32"},

			{"twice in one", "2001:db8:c000:aa:c0:0:aa00:0", ""},
			{"twice in one, settled by the other address", "2001:db8:c000:aa:c0:0:aa00:0 2001:db8:c000:aa:c0:0:ab00:0", "2001:db8:c000:aa::/64"},
			{"the other way", "2001:db8:c000:aa:c0:0:aa00:0 2001:db8:c000:ab::", "2001:db8::/32"},
			{"in none", "2001:db8::1", ""},
			{"in none, beside a good one", "2001:db8::1 64:ff9b::c000:aa", "64:ff9b::/96"},
			{"at no place where a prefix ends", "2001:c0:0:aa00::", ""},
			{"not on octets", "2001:db8:122:344:0:c:0:aa0", ""},
			{"the well-known prefix with another length", "64:ff9b::c0:0:aa00:0", ""},
			{"a neighbour of the addresses", "2001:db8:122:344::c000:ac", ""},
			{"none", "", ""},
		} {
			var addrs []netip.Addr
			for a := range strings.FieldsSeq(c.aaaa) {
				addrs = append(addrs, netip.MustParseAddr(a))
			}
			if got := strings.Trim(fmt.Sprint(dns.Prefixes(addrs)), "[]"); got != c.want {
				t.Errorf("%s: %s, want %s", c.what, got, c.want)
			}
			// And so it is with a whole answer.
			synctest.Test(t, func(t *testing.T) {
				w := newResolvers(t)
				w.become(resolver1, synthesised(time.Hour, strings.Fields(c.aaaa)...))
				w.start(onEth0(resolver1))
				w.pass(0)
				w.knows(c.what, strings.Fields(c.want)...)
			})
		}
	})

	t.Run("DISC-7050-3-3", func(t *testing.T) {
		const a, b, c = "2001:db8:64::c000:aa", "2001:db8:65::c000:aa", "64:ff9b::c000:aa" // of platA, platB and platC
		l := newLearner(t, "")
		says := func(aaaa ...string) {
			t.Helper()
			synctest.Test(t, func(t *testing.T) {
				w := newResolvers(t)
				w.become(resolver1, synthesised(time.Hour, aaaa...))
				w.start(onEth0(resolver1))
				w.pass(0)
				l.observe(discovery.Observation{Source: discovery.DNS, Link: uplink, Resolver: "2001:db8::53", Prefixes: w.last})
			})
		}
		says(a, b, c)
		l.goesThrough("in their order", platA, platB, platC)
		says(c, a, b)
		l.goesThrough("in another order", platA, platB, platC)
		says(c, b)
		l.goesThrough("the one in use is gone", platB, platC)
		says(c, a, b)
		l.goesThrough("and back", platB, platC, platA)
	})

	t.Run("DISC-7050-3-4", func(t *testing.T) {
		const plat = "64:ff9b::c000:aa"
		asked := func(times ...time.Duration) (lines []string) {
			for _, at := range times {
				lines = append(lines, at.String()+" eth0 udp [2001:db8::53]:53")
			}
			return lines
		}
		const s, day = time.Second, 24 * time.Hour
		for _, c := range []struct {
			what  string
			says  answer
			until time.Duration
			want  []time.Duration
		}{
			{"TTL 60", synthesised(60*s, plat), 119 * s, []time.Duration{0, 50 * s, 100 * s}},
			{"TTL 3600", synthesised(3600*s, plat), 3600 * s, []time.Duration{0, 3590 * s}},
			{"the least of several", func(d *layers.DNS) []byte {
				synthesised(60*s, plat)(d)
				return synthesised(3600*s, "64:ff9b::c000:ab")(d)
			}, 60 * s, []time.Duration{0, 50 * s}},
			{"TTL 1 counts as 30", synthesised(s, plat), 41 * s, []time.Duration{0, 20 * s, 40 * s}},
			{"TTL of a week counts as a day", synthesised(7*day, plat), day, []time.Duration{0, day - 10*s}},
			{"NXDOMAIN, for 300 by MINIMUM", negative(layers.DNSResponseCodeNXDomain, 3600*s, 300*s), 601 * s, []time.Duration{0, 300 * s, 600 * s}},
			{"NXDOMAIN, for 300 by the TTL", negative(layers.DNSResponseCodeNXDomain, 300*s, 3600*s), 301 * s, []time.Duration{0, 300 * s}},
			{"NODATA, for 300", negative(layers.DNSResponseCodeNoErr, 3600*s, 300*s), 301 * s, []time.Duration{0, 300 * s}},
			{"silence", nil, 9 * s, []time.Duration{0, 2 * s, 4 * s, 7 * s}},
		} {
			synctest.Test(t, func(t *testing.T) {
				w := newResolvers(t)
				if c.says != nil {
					w.become(resolver1, c.says)
				}
				w.start(onEth0(resolver1))
				w.pass(c.until - 1)
				w.wants(c.what, asked(c.want...)...)
			})
		}
		// What was said holds until its lifetime ends, though nobody answers any more; an answer that there is none ends it.
		synctest.Test(t, func(t *testing.T) {
			w := newResolvers(t)
			w.become(resolver1, synthesised(60*s, plat))
			w.start(onEth0(resolver1))
			w.pass(0)
			w.become(resolver1, nil)
			w.pass(60*s - 1)
			w.knows("until the end", "64:ff9b::/96")
			w.pass(1)
			w.knows("after the end")
			w.become(resolver1, synthesised(60*s, plat))
			w.pass(time.Minute)
			w.knows("again", "64:ff9b::/96")
			w.become(resolver1, negative(layers.DNSResponseCodeNXDomain, 300*s, 300*s))
			w.pass(51 * s)
			w.knows("NXDOMAIN")
		})
	})
}

func TestConnectivity(t *testing.T) {
	t.Run("DISC-7050-3.2-1", func(t *testing.T) {
		l := newLearner(t, "")
		l.router(linkRouter, time.Hour, announcing(platA, time.Hour))
		// settle is what comes of it where nothing is answered, or everything.
		settle := func(state policy.TrialState, detail string) (p policy.Plan) {
			for range 20 {
				p = policy.Decide(l.Input)
				l.Was = p
				l.Trials = slices.Clone(l.Trials)
				for _, h := range p.Try {
					l.Trials = slices.DeleteFunc(l.Trials, func(t policy.Trial) bool { return t.Addr == h.Addrs.Addr() })
					l.Trials = append(l.Trials, policy.Trial{Link: uplink, Addr: h.Addrs.Addr(), State: state, Detail: detail})
				}
			}
			return p
		}
		if p := settle(policy.Silent, "no answer"); !p.On || p.Code != "degraded" || !strings.Contains(p.Why, "no answer") || len(p.Host.Routes) == 0 {
			t.Errorf("nothing answers: %s (%s), on %v, %+v", p.Code, p.Why, p.On, p.Host)
		}
		if p := settle(policy.Seen, ""); !p.On || p.Code != "on" {
			t.Errorf("something does: %s (%s)", p.Code, p.Why)
		}
		// Where there is one through which something comes back, that is used.
		l.router(linkRouter, time.Hour, announcing(platB, time.Hour))
		l.Suspect = append(l.Suspect, offered(platA, 0).Prefix)
		l.goesThrough("two, and nothing comes back through the first", platB, platA)
		l.Suspect = append(l.Suspect, offered(platB, 0).Prefix)
		if p := l.settle(); !p.On {
			t.Errorf("nor through the second: %s", p.Why)
		}
	})

	t.Run("DISC-7050-3.2-2", func(t *testing.T) {
		for target, ok := range map[string]bool{
			"192.0.0.170": false, "192.0.0.171": false, "192.0.0.169": true, "192.0.0.172": true, "192.0.0.9": true, "198.51.100.1": true,
		} {
			for _, targets := range []string{"'" + target + "'", "'198.51.100.2', '" + target + "'"} {
				_, err := config.Parse("test.toml", []byte("probe.targets = ["+targets+"]"))
				if (err == nil) != ok || !ok && !strings.Contains(err.Error(), "RFC 7050") {
					t.Errorf("%s: %v", targets, err)
				}
			}
		}
		c, err := config.Parse("test.toml", nil)
		if err != nil || len(c.Probe.Targets) != 0 {
			t.Errorf("by default, %v is probed: %v", c.Probe.Targets, err)
		}
	})

	t.Run("DISC-7050-6", func(t *testing.T) {
		for sources, want := range map[string]bool{
			"": true, "pref64.sources = ['dns']": true, "pref64.sources = ['configured', 'ra']": false, "pref64.sources = ['ra:eth0']": false,
		} {
			l := newLearner(t, sources)
			l.resolver(time.Hour, platA)
			if want {
				l.goesThrough(sources, platA)
				continue
			}
			l.halts(sources)
			if o := policy.Offers(l.Input); len(o) != 1 || o[0].Trusted || !strings.Contains(o[0].Why, "dns") {
				t.Errorf("%s: %+v", sources, o)
			}
		}
		// On a link that is not set, nobody is asked.
		synctest.Test(t, func(t *testing.T) {
			w := newResolvers(t)
			w.system = []netip.AddrPort{resolver1}
			w.become(resolver1, synthesised(time.Minute, "64:ff9b::c000:aa"))
			w.start()
			w.finder.Knock()
			w.pass(time.Hour)
			w.wants("no links")
			w.finder.SetLinks([]dns.Link{onEth0()})
			w.pass(time.Second)
			w.finder.SetLinks(nil)
			w.wants("one", "1h0m0s eth0 udp [2001:db8::53]:53")
			w.pass(time.Hour)
			w.wants("gone")
		})
	})
}
