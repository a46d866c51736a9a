package e2e

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"uclat/test/peers"
)

// TestLiveRenumbering has the router announce another prefix and let the old one grow old. Connections go on from the old one, and new
// flows are from the other; until the old one ends, and what was bound goes on from the other too.
func TestLiveRenumbering(t *testing.T) {
	t.Parallel()
	const valid = 5 // seconds
	says := announcing(lastingPREF64(pref64))
	says.prefixes = []advertisedPrefix{{Prefix: lanPrefix, preferred: valid, valid: valid}}
	top := newNetwork(t, network{path: onPacket, announces: &says})
	top.addPrefixes(t)
	p := top.startUclat(t, "--address.dad", "optimistic")
	p.onBy(t, pref64, byRouter)
	first := p.addr6(t)
	says.prefixes = []advertisedPrefix{{Prefix: lanPrefix, preferred: 0, valid: valid}, lasting(otherPrefix)}
	talk := top.startTalk(t)
	top.announcer.say(t, says)
	eventually(t, "it takes an address of the other prefix", func() bool { return otherPrefix.Contains(p.addr6(t)) })
	if got := top.newFlowsBy(t, pref64, atRouter); got != p.addr6(t) {
		t.Errorf("a new flow is from %s, want %s", got, p.addr6(t))
	}
	if got, want := top.sources(t), generations[:2]; !slices.Equal(got, want) || top.source(t) != want[1] {
		t.Errorf("the device has %v, and new flows are from %s; want %v and the second", got, top.source(t), want)
	}
	old := startCapture(t, top.laptop, "eth0", "tcp and ip6 src host "+first.String())
	talk.goesOn(t)
	if old.seen(t) == 0 {
		t.Error("the connection does not go on from the old address")
	}
	talk.end(t)

	// It is announced no more, and ends.
	says.prefixes = says.prefixes[1:]
	top.announcer.say(t, says)
	bound := top.startStreamFrom(t, generations[0], server4)
	eventually(t, "the old prefix is gone", func() bool {
		addrs, err := top.laptop.Addrs("eth0")
		return err == nil && !slices.ContainsFunc(addrs, func(a netip.Prefix) bool { return lanPrefix.Contains(a.Addr()) })
	})
	seen := startCapture(t, top.laptop, "eth0", "udp dst port 7 and ip6 src net "+otherPrefix.String())
	eventually(t, "what is bound to the old address is from the other prefix", func() bool {
		bound.forgive()
		return seen.seen(t) > 0
	})
	bound.recovers(t)
	down(t, p, syscall.SIGTERM)
}

// TestLiveMTU follows the MTU that the router announces, and that of the link.
func TestLiveMTU(t *testing.T) {
	says := announcing(lastingPREF64(pref64))
	eachPathIn(t, network{announces: &says}, testLiveMTU)
}

func testLiveMTU(t *testing.T, top *topology) {
	p := top.startUclat(t, top.discovering()...)
	p.onBy(t, pref64, byRouter)
	check := func(mtu int) {
		t.Helper()
		route := fmt.Sprintf(" mtu %d ", mtu-20)
		eventually(t, fmt.Sprintf("the route takes %d octets", mtu-20), func() bool {
			return strings.Contains(must(t, top.laptop, peers.Find(t, "ip"), "-4", "route", "show", "default"), route)
		})
		top.echo(t, mtu-20-28, mtu-20-27)
		top.forget(t) // what the server learned of the path: its answers would be in fragments, for which TAYGA has no checksum
		fits := try(t, top.laptop, peers.Find(t, "ping"), "-M", "do", "-c", "1", "-w", "5", "-s", fmt.Sprint(mtu-20-28), server4.String())
		if fits.code != 0 {
			t.Errorf("%d octets: %+v", mtu-20, fits)
		}
		top.tooBig(t, mtu-20+1, mtu-20)
	}
	check(1500)
	for _, mtu := range []int{1400, 1280, 1500} {
		says := announcing(lastingPREF64(pref64))
		says.mtu = mtu
		top.announcer.say(t, says)
		check(mtu)
	}
	top.uplinkMTU(t, 1450)
	check(1450)
	top.uplinkMTU(t, 1500)
	top.announcer.say(t, announcing(lastingPREF64(pref64)))
	if n := len(p.plans()); n != 1 {
		t.Logf("%d lines say what it does: %q", n, p.plans())
	}
	down(t, p, syscall.SIGTERM)
}
