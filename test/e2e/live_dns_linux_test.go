package e2e

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// TestLiar has resolvers that tell no PREF64, for all the reasons that there are, and then do. The program waits for it with one line,
// asks now and then, and asks for nothing else.
func TestLiar(t *testing.T) {
	t.Parallel()
	says := announcing()
	captive := lie{addrs: []netip.Addr{netip.MustParseAddr("2001:db8::1")}, ttl: 0}
	for _, c := range []struct {
		name  string
		tells lie
		most  int // questions in a few seconds
	}{
		{"a captive portal", captive, 3},
		{"nothing is answered", lie{silent: true}, 8},
		{"SERVFAIL", lie{rcode: dnsmessage.RCodeServerFailure}, 8},
		{"REFUSED", lie{rcode: dnsmessage.RCodeRefused, noSOA: true}, 8},
		{"NXDOMAIN", lie{rcode: dnsmessage.RCodeNameError, ttl: 60}, 2},
		{"NXDOMAIN for no time", lie{rcode: dnsmessage.RCodeNameError}, 3},
		{"no DNS64", lie{ttl: 60}, 2},
		{"no DNS64, and nobody says for how long", lie{noSOA: true}, 2},
		{"ambiguous", lie{addrs: []netip.Addr{netip.MustParseAddr("2001:db8:c000:aa:c0:0:aa00:0")}, ttl: 60}, 2}, // as /32 and as /64
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			top := newNetwork(t, network{path: onPacket, announces: &says})
			l := top.addLiar(t, c.tells)
			before := dump(t, top.laptop)
			p := top.startUclat(t)
			p.waits(t)
			eventually(t, "the resolver is asked", func() bool { return l.questions() > 0 })
			const awhile = 4 * time.Second
			began := time.Now()
			eventually(t, "a while has passed", func() bool { return time.Since(began) > awhile })
			if n := l.questions(); n > c.most {
				t.Errorf("it was asked %d times within %v, want %d at most", n, awhile, c.most)
			}
			top.unchanged(t, before)
			if n := len(p.plans()); n != 1 {
				t.Errorf("%d lines say what it does: %q", n, p.plans())
			}
			if n := strings.Count(p.said(), "\n"); n > 5 {
				t.Errorf("it says %d lines", n)
			}
			for _, q := range l.others {
				t.Errorf("it asks for %v of %v", q.Type, q.Name)
			}
			// A router knows better.
			top.announcer.say(t, announcing(lastingPREF64(pref64)))
			p.onBy(t, pref64, byRouter)
			top.ping4(t)
			down(t, p, syscall.SIGTERM)
		})
	}
}

// TestTruth has resolvers that tell the PREF64 in unusual ways.
func TestTruth(t *testing.T) {
	t.Parallel()
	says := announcing()
	truncated := dns64(60, pref64)
	truncated.truncated = true
	for _, c := range []struct {
		name  string
		tells lie
		check func(t *testing.T, l *liar)
	}{
		{"valid for a second", dns64(1, pref64), func(t *testing.T, l *liar) {
			began := time.Now()
			eventually(t, "a while has passed", func() bool { return time.Since(began) > 4*time.Second })
			if n := l.questions(); n > 2 {
				t.Errorf("it was asked %d times within %v", n, time.Since(began))
			}
		}},
		{"over TCP alone", truncated, func(t *testing.T, l *liar) {
			if l.overTCP == 0 {
				t.Error("it was not asked over TCP")
			}
		}},
		{"the second record alone tells", lie{addrs: []netip.Addr{
			netip.MustParseAddr("2001:db8::1"), embed(pref64, netip.MustParseAddr("192.0.0.171")),
		}, ttl: 60}, func(*testing.T, *liar) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			top := newNetwork(t, network{path: onPacket, announces: &says})
			l := top.addLiar(t, c.tells)
			p := top.startUclat(t)
			p.onBy(t, pref64, "resolver "+liarAddr.String())
			top.ping4(t)
			c.check(t, l)
			top.ping4(t)
			if n := strings.Count(p.said(), `msg="on: `); n != 1 {
				t.Errorf("it came on %d times", n)
			}
			down(t, p, syscall.SIGTERM)
		})
	}
}

// TestResolverBehindCLAT has a resolver that has an IPv4 address alone. It is reached through the CLAT, by which PREF64 a router tells;
// the program itself does not ask there, as that would be to ask itself.
func TestResolverBehindCLAT(t *testing.T) {
	says := announcing(lastingPREF64(pref64))
	eachPathIn(t, network{announces: &says}, testResolverBehindCLAT)
}

func testResolverBehindCLAT(t *testing.T, top *topology) {
	top.resolver(t, server4.String())
	asked := startCapture(t, top.server, "eth0", "udp dst port 53")
	p := top.startUclat(t, top.discovering()...)
	p.onBy(t, pref64, byRouter)
	for range 3 {
		got := must(t, top.laptop, peers.Find(t, "dig"), "+short", "+time=2", "a.test", "A")
		if got != dnsAnswer.String()+"\n" {
			t.Errorf("DNS says %q", got)
		}
	}
	began := time.Now()
	eventually(t, "a while has passed", func() bool { return time.Since(began) > 3*time.Second })
	if n := len(asked.frames(t)); n != 3 {
		t.Errorf("the server was asked %d times, want 3", n)
	}
	if n := len(p.plans()); n != 1 {
		t.Errorf("%d lines say what it does: %q", n, p.plans())
	}
	top.ping4(t)
	down(t, p, syscall.SIGTERM)
}

// TestVPNsResolver has a VPN with a resolver of its own, which everything but the program is to ask. Of ipv4only.arpa nothing leaves by
// the VPN.
func TestVPNsResolver(t *testing.T) {
	t.Parallel()
	vpnResolver := netip.MustParseAddr("fd00:7::53")
	for _, c := range []struct {
		name    string
		prepare func(*topology, *testing.T)
	}{
		{"a better default route", (*topology).preferVPN},
		{"rules as of wg-quick", (*topology).ruleVPN},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			says := resolving()
			top := newNetwork(t, network{path: onPacket, announces: &says})
			v := top.addVPN(t)
			c.prepare(top, t)
			top.resolver(t, vpnResolver.String())
			p := top.startUclat(t)
			p.onBy(t, pref64, byResolver)
			top.ping4(t)
			down(t, p, syscall.SIGTERM)

			// And where the network names none, nobody is asked.
			quiet := announcing()
			top.announcer.say(t, quiet)
			p = top.startUclat(t)
			p.waits(t)
			began := time.Now()
			eventually(t, "a while has passed", func() bool { return time.Since(began) > 3*time.Second })
			if n := v.received.Load(); n > 0 {
				t.Errorf("%d packets went into the VPN", n)
			}
			top.announcer.say(t, announcing(lastingPREF64(pref64)))
			p.onBy(t, pref64, byRouter)
			top.ping4(t)
			down(t, p, syscall.SIGTERM)
			if n := v.received.Load(); n > 0 {
				t.Errorf("%d packets went into the VPN", n)
			}
			if try(t, top.laptop, peers.Find(t, "dig"), "+time=1", "+tries=1", arpa, "AAAA"); v.received.Load() == 0 {
				t.Error("the laptop's own questions do not go there, so this test shows nothing")
			}
		})
	}
}

// TestOtherNetwork has a second interface on another network, whose router announces a PREF64 too: it is of that network alone.
func TestOtherNetwork(t *testing.T) {
	t.Parallel()
	says := announcing()
	top := newNetwork(t, network{path: onPacket, announces: &says})
	other := top.addOtherNetwork(t)
	other.say(t, secondAnnouncing(lastingPREF64(secondPREF64)))
	eventually(t, "the laptop has both", func() bool {
		return strings.Count(must(t, top.laptop, peers.Find(t, "ip"), "-6", "route", "show", "default"), " dev eth") == 2
	})
	through := func(t *testing.T, uplink string, pref64 netip.Prefix, who string, flags ...string) {
		t.Helper()
		p := top.startUclat(t, flags...)
		p.onBy(t, pref64, who)
		if !strings.HasPrefix(p.plan(), "on: IPv4 through "+uplink+",") {
			t.Errorf("it says %s", p.plan())
		}
		down(t, p, syscall.SIGTERM)
	}
	t.Run("the one network has none", func(t *testing.T) {
		through(t, "eth1", secondPREF64, bySecond)
		p := top.startUclat(t, "--uplink", "eth0")
		p.waits(t)
		down(t, p, syscall.SIGTERM)
	})
	t.Run("each has one", func(t *testing.T) {
		top.announcer.say(t, announcing(lastingPREF64(pref64)))
		through(t, "eth0", pref64, byRouter, "--uplink", "eth0")
		through(t, "eth1", secondPREF64, bySecond, "--uplink", "eth1")
	})
}

// addOtherNetwork gives the laptop a second interface, eth1, on a network with a router that knows no way to the PLAT.
func (top *topology) addOtherNetwork(t *testing.T) *announcer {
	t.Helper()
	n, err := top.lab.Node("router2", netlab.NodeOptions{NoDAD: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.SetSysctl("net.ipv6.conf.all.forwarding", "1"); err != nil {
		t.Fatal(err)
	}
	if err := netlab.Connect(top.laptop, "eth1", n, "lan0", netlab.LinkOptions{MACA: mac(0x14), MACB: mac(atSecond)}); err != nil {
		t.Fatal(err)
	}
	for _, a := range []netip.Prefix{router2LL, netip.PrefixFrom(otherPrefix.Addr().Next(), 64)} {
		if err := n.AddAddr("lan0", a); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.WaitAddr(t.Context(), "lan0", host(router2LL.Addr())); err != nil {
		t.Fatal(err)
	}
	return startAnnouncer(t, n, "lan0", router2LL.Addr())
}
