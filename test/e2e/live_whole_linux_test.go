package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"uclat/test/peers"
)

// TestLive runs the program without a word of configuration on a network whose PREF64 appears, changes its length, moves to another
// router, disappears, and comes back. Each is one line of the log, IPv4 works whenever it can, and a socket that was opened in the
// beginning goes on.
func TestLive(t *testing.T) {
	t.Parallel()
	says := announcing()
	top := newNetwork(t, network{path: onPacket, lan: bridge, announces: &says})
	before := dump(t, top.laptop)
	router2 := top.laySecond(t)
	second := startAnnouncer(t, router2, "lan0", router2LL.Addr())
	top.addPLAT(t, secondPREF64, router2, platLAN2.Addr())
	top.addPREF64(t, betterOne)
	p := top.startUclat(t)
	p.waits(t)
	var bound *stream
	for i, c := range []struct {
		name          string
		first, second *announcement
		on            func(t *testing.T)
	}{
		{"appears", say(announcing(lastingPREF64(pref64))), nil, func(t *testing.T) {
			p.onBy(t, pref64, byRouter)
			top.newFlowsBy(t, pref64, atRouter)
		}},
		{"changes its length", say(announcing(withdrawn(pref64), lastingPREF64(betterOne))), nil, func(t *testing.T) {
			p.onBy(t, betterOne, byRouter)
			top.endPREF64(t, pref64)
			top.newFlowsBy(t, betterOne, atRouter)
		}},
		{"moves to another router", say(announcing(withdrawn(betterOne))), say(announcing(lastingPREF64(secondPREF64))), func(t *testing.T) {
			p.onBy(t, secondPREF64, bySecond)
			top.newFlowsBy(t, secondPREF64, atSecond)
		}},
		{"disappears", nil, say(announcing(withdrawn(secondPREF64))), func(t *testing.T) {
			p.waits(t)
			eventually(t, "IPv4 is gone", func() bool { return !top.source(t).IsValid() })
		}},
		{"comes back", nil, say(announcing(lastingPREF64(secondPREF64))), func(t *testing.T) {
			p.onBy(t, secondPREF64, bySecond)
			top.newFlowsBy(t, secondPREF64, atSecond)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.second != nil {
				second.say(t, *c.second)
				top.hasRouters(t, routerLL, router2LL)
			}
			if c.first != nil {
				top.announcer.say(t, *c.first)
			}
			c.on(t)
			if n := len(p.plans()); n != i+2 {
				t.Errorf("%d lines say what it does, want %d:\n%s", n, i+2, strings.Join(p.plans(), "\n"))
			}
		})
		if t.Failed() {
			return
		}
		if bound == nil {
			bound = top.startStream(t, server4)
		}
	}
	bound.recovers(t)
	top.curlBothWays(t, 1_000_000)
	for line := range strings.Lines(p.said()) {
		_, on, _ := strings.Cut(line, `msg="on: IPv4 through eth0, PREF64 `)
		if on != "" && !strings.HasPrefix(on, pref64.String()) && !strings.Contains(line, " change=") { // the first one had to be tried before
			t.Errorf("it does not say why: %s", line)
		}
	}
	down(t, p, syscall.SIGTERM)
	if after := dump(t, top.laptop); strings.Contains(after, tunDev) || strings.Count(after, "sysctl ") != strings.Count(before, "sysctl ") {
		t.Errorf("something is left:\n%s", after)
	}
}

func say(says announcement) *announcement { return &says }

// TestLiveBlackHole has the NAT64 of the PREF64 in use swallow what it gets, while there is another one. That one is used then, a socket
// that was bound before goes on by it, and the log says so.
func TestLiveBlackHole(t *testing.T) {
	says := announcing(lastingPREF64(pref64), lastingPREF64(otherPREF64))
	eachPathIn(t, network{announces: &says}, testLiveBlackHole)
}

func testLiveBlackHole(t *testing.T, top *topology) {
	top.addPREF64(t, otherPREF64)
	p := top.startUclat(t, top.discovering()...)
	p.onBy(t, pref64, byRouter)
	bound := top.startStream(t, server4)
	const in = "type filter hook prerouting priority raw; iifname lan0"
	rules := fmt.Sprintf("table inet swallow { chain in { %s ip6 daddr %s drop; }; }\n", in, pref64)
	if r := tryInput(t, top.plat, rules, peers.Find(t, "nft"), "-f", "-"); r.code != 0 {
		t.Fatalf("nft: %+v", r)
	}
	top.pingMany(t, 8)
	p.wait(t, `level=WARN msg="PREF64 `+pref64.String()+" is suspect")
	p.onBy(t, otherPREF64, byRouter)
	for line := range strings.Lines(p.said()) {
		_, on, _ := strings.Cut(line, `msg="on: `)
		if strings.Contains(on, otherPREF64.String()) && !strings.Contains(on, pref64.String()) {
			t.Errorf("it does not say what is lost: %s", line)
		}
	}
	top.newFlowsBy(t, otherPREF64, atRouter)
	bound.recovers(t)
	down(t, p, syscall.SIGTERM)
}
