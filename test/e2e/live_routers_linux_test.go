package e2e

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// secondAnnouncing is what the second router says: a prefix of its own, and PREF64s.
func secondAnnouncing(offers ...offered) announcement {
	says := announcing(offers...)
	says.prefixes = []advertisedPrefix{lasting(otherPrefix)}
	return says
}

// addSecond puts the second router on the bridge, with a prefix and a PREF64 of its own and a way to that of the first. Either router
// drops what is not from its own prefix.
func (top *topology) addSecond(t *testing.T) (*netlab.Node, *announcer) {
	t.Helper()
	n := top.laySecond(t)
	if err := errors.Join(
		n.DelAddr("lan0", router2LAN),
		n.AddAddr("lan0", netip.PrefixFrom(otherPrefix.Addr().Next(), 64)),
		n.AddRoute(netlab.Route{Dst: pref64, Via: platLAN2.Addr()}),
		top.plat.AddRoute(netlab.Route{Dst: otherPrefix, Via: router2Up.Addr()}),
	); err != nil {
		t.Fatal(err)
	}
	top.addPLAT(t, secondPREF64, n, platLAN2.Addr())
	onlyFrom(t, top.router, lanPrefix)
	onlyFrom(t, n, otherPrefix)
	return n, startAnnouncer(t, n, "lan0", router2LL.Addr())
}

// hasRouters waits until the laptop's default routers are these.
func (top *topology) hasRouters(t *testing.T, routers ...netip.Prefix) {
	t.Helper()
	eventually(t, "the laptop's routers", func() bool {
		out := must(t, top.laptop, peers.Find(t, "ip"), "-6", "route", "show", "default")
		return strings.Count(out, " dev ") == len(routers) && !slices.ContainsFunc(routers, func(r netip.Prefix) bool {
			return !strings.Contains(out, " "+r.Addr().String()+" ")
		})
	})
}

// TestTwoPREF64s has two routers with a prefix and a PREF64 each, which drop what is not from their own. The one in use is kept while it
// is there, and packets go to the router that told it, from its prefix.
func TestTwoPREF64s(t *testing.T) {
	t.Parallel()
	says := announcing(lastingPREF64(pref64))
	top := newNetwork(t, network{path: onPacket, lan: bridge, announces: &says})
	router2, second := top.addSecond(t)
	p := top.startUclat(t)
	p.onBy(t, pref64, byRouter)
	stream := top.startStream(t, server4)
	second.say(t, secondAnnouncing(lastingPREF64(secondPREF64)))
	top.hasRouters(t, routerLL, router2LL)
	checkFrom := func(t *testing.T, source netip.Addr, within netip.Prefix) {
		t.Helper()
		if !within.Contains(source) {
			t.Errorf("a new flow is from %s, want one of %s", source, within)
		}
	}
	t.Run("the first is kept", func(t *testing.T) {
		for range 3 { // the kernel takes the routers in turn
			checkFrom(t, top.newFlowsBy(t, pref64, atRouter), lanPrefix)
		}
		p.onBy(t, pref64, byRouter)
	})
	t.Run("nobody asks the wrong router", func(t *testing.T) {
		for _, n := range []*netlab.Node{top.router, router2} {
			if out := must(t, n, peers.Find(t, "nft"), "list", "table", "ip6", "savi"); !strings.Contains(out, "packets 0 bytes 0") {
				t.Errorf("%s dropped what was not its own:\n%s", n.Name(), out)
			}
		}
	})
	t.Run("it is withdrawn", func(t *testing.T) {
		top.announcer.say(t, announcing(withdrawn(pref64)))
		p.onBy(t, secondPREF64, bySecond)
		eventually(t, "it is on from the second router's prefix", func() bool { return otherPrefix.Contains(p.addr6(t)) })
		for range 3 {
			checkFrom(t, top.newFlowsBy(t, secondPREF64, atSecond), otherPrefix)
		}
		top.curlBothWays(t, 1_000_000)
		stream.recovers(t)
	})
	t.Run("it moves to the second", func(t *testing.T) {
		second.say(t, secondAnnouncing(withdrawn(secondPREF64), lastingPREF64(pref64)))
		p.onBy(t, pref64, bySecond)
		checkFrom(t, top.newFlowsBy(t, pref64, atSecond), otherPrefix)
		top.curlBothWays(t, 1_000_000)
	})
	down(t, p, syscall.SIGTERM)
}

// TestSilentRouterGone has a router go without a word, with its PREF64 valid for long. Past its lifetime as a router, the other one's is
// used.
func TestSilentRouterGone(t *testing.T) {
	t.Parallel()
	const lifetime = 5 // seconds
	says := announcing(lastingPREF64(pref64))
	says.lifetime = lifetime
	top := newNetwork(t, network{path: onPacket, lan: bridge, announces: &says})
	_, second := top.addSecond(t)
	p := top.startUclat(t)
	p.onBy(t, pref64, byRouter)
	stream := top.startStream(t, server4)
	second.say(t, secondAnnouncing(lastingPREF64(secondPREF64)))
	top.hasRouters(t, routerLL, router2LL)

	top.announcer.silence()
	began := time.Now()
	if err := top.bridge.SetUp("router0", false); err != nil {
		t.Fatal(err)
	}
	p.onBy(t, secondPREF64, bySecond)
	eventually(t, "it is on from the second router's prefix", func() bool { return otherPrefix.Contains(p.addr6(t)) })
	t.Logf("it took %v, of %d s", time.Since(began).Round(10*time.Millisecond), lifetime)
	top.newFlowsBy(t, secondPREF64, atSecond)
	stream.recovers(t)

	if err := top.bridge.SetUp("router0", true); err != nil {
		t.Fatal(err)
	}
	top.announcer.say(t, says)
	top.hasRouters(t, routerLL, router2LL)
	top.newFlowsBy(t, secondPREF64, atSecond) // which is held
	down(t, p, syscall.SIGTERM)
}

// TestUnsolicited has a router that answers nobody who solicits, and speaks when it likes. It is solicited, until it has spoken;
// what it says then counts as much.
func TestUnsolicited(t *testing.T) {
	t.Parallel()
	says := announcing(lastingPREF64(pref64))
	top := newNetwork(t, network{path: onPacket, lan: bridge, announces: &says})
	top.announcer.ignore()
	top.announcer.silence()
	before := top.announcer.solicited.Load()
	p := top.startUclat(t)
	p.waits(t)
	eventually(t, "it is solicited twice", func() bool { return top.announcer.solicited.Load() > before+1 }) // 4 s lie between (RFC 4861, 6.3.7)
	top.announcer.say(t, says)
	p.onBy(t, pref64, byRouter)
	spoken, began := top.announcer.solicited.Load(), time.Now()
	eventually(t, "a while has passed", func() bool { return time.Since(began) > 5*time.Second })
	if n := top.announcer.solicited.Load() - spoken; n > 0 {
		t.Errorf("it is solicited another %d times", n)
	}
	top.ping4(t)
	down(t, p, syscall.SIGTERM)
}
