package e2e

import (
	"net/netip"
	"testing"

	"github.com/mdlayher/ndp"

	"uclat/test/peers"
)

// These show of what the tests of discovery need that it is as it says, without the program under test.

// TestNetworkAnnounced has the test speak for the router.
func TestNetworkAnnounced(t *testing.T) {
	t.Parallel()
	says := announcing(lastingPREF64(pref64By[56]), withdrawn(pref64))
	says.mtu = 1400
	top := newNetwork(t, network{announces: &says})
	if !top.reaches6(t) {
		t.Error("the server is not reached")
	}
	if mtu := top.sysctl(t, "net/ipv6/conf/eth0/mtu"); mtu != "1400" {
		t.Errorf("the laptop's MTU is %s", mtu)
	}
	seen := startCapture(t, top.laptop, "eth0", "icmp6 and ip6[40] == 134")
	eventually(t, "an advertisement", func() bool { return seen.seen(t) > 0 })
	for _, f := range seen.frames(t) {
		m, err := ndp.ParseMessage(f[14+40:])
		if err != nil {
			t.Fatal(err)
		}
		var got []netip.Prefix
		for _, o := range m.(*ndp.RouterAdvertisement).Options {
			if o, ok := o.(*ndp.PREF64); ok {
				got = append(got, o.Prefix)
			}
		}
		if len(got) != 2 || got[0] != pref64By[56] || got[1] != pref64 || f[14+7] != ndp.HopLimit {
			t.Errorf("hop limit %d, PREF64s %v", f[14+7], got)
		}
	}
	top.setUp(t, false)
	before := top.announcer.solicited.Load()
	top.setUp(t, true)
	eventually(t, "a solicitation is heard", func() bool { return top.announcer.solicited.Load() > before })
	eventually(t, "the server is reached again", func() bool { return top.reaches6(t) })
	none := announcing()
	none.lifetime = 0
	top.announcer.say(t, none)
	eventually(t, "no default router", func() bool {
		return must(t, top.laptop, peers.Find(t, "ip"), "-6", "route", "show", "default") == ""
	})
}

// TestNetworkPLATs reaches the server by PREF64s of all lengths.
func TestNetworkPLATs(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{})
	for _, bits := range lengths64 {
		p := pref64By[bits]
		if p != pref64 {
			top.addPREF64(t, p)
		}
		must(t, top.laptop, peers.Find(t, "ping"), "-c", "1", "-w", "5", embed(p, server4).String())
	}
}

// TestNetworkLiar asks the name server that says what the test wants.
func TestNetworkLiar(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{})
	l := top.addLiar(t, dns64(60, pref64By[32]))
	dig := func(more ...string) string {
		return must(t, top.laptop, peers.Find(t, "dig"), append([]string{"+short", "+time=2", arpa, "AAAA"}, more...)...)
	}
	const both = "2001:db9:c000:aa::\n2001:db9:c000:ab::\n"
	if got := dig(); got != both {
		t.Errorf("it says %q", got)
	}
	tells := dns64(60, pref64By[32])
	tells.truncated = true
	l.tell(tells)
	if got := dig(); got != both || l.overTCP != 1 {
		t.Errorf("it says %q, %d times over TCP", got, l.overTCP)
	}
	if l.questions() != 3 {
		t.Errorf("it counts %d questions", l.questions())
	}
	if got := must(t, top.laptop, peers.Find(t, "dig"), "+short", "server.lab.test", "A"); got != server4.String()+"\n" {
		t.Errorf("the server is %q", got)
	}
}
