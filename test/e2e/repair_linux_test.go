package e2e

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"uclat/test/peers"
)

// TestRepair takes away what the program made, and starts another beside it: IPv4 comes back or stays.
func TestRepair(t *testing.T) { eachPath(t, testRepair) }

func testRepair(t *testing.T, top *topology) {
	before := dump(t, top.laptop)
	ip := peers.Find(t, "ip")
	p := top.up(t, top.configured()...)
	top.ping4(t)
	for _, c := range []struct {
		name   string
		kernel bool // nothing of the sort is made on path packet
		spoil  [][]string
	}{
		{"the default route is removed", false, [][]string{{"route", "del", "default", "dev", tunDev}}},
		{"the IPv6 route is removed", true, [][]string{{"-6", "route", "del", clat46, "dev", tunDev}}},
		{"the address is removed", false, [][]string{{"addr", "flush", "dev", tunDev}}},
		{"the device goes down and up", false, [][]string{{"link", "set", tunDev, "down"}, {"link", "set", tunDev, "up"}}},
	} {
		if c.kernel && !top.forwards {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			for _, args := range c.spoil {
				must(t, top.laptop, ip, args...)
			}
			eventually(t, "IPv4 is back", func() bool { return top.reachesServer(t) })
		})
	}
	if top.forwards {
		top.repairForwarding(t)
	}
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)
}

// repairForwarding is about what is made on path kernel.
func (top *topology) repairForwarding(t *testing.T) {
	t.Run("another program turns forwarding on and off", func(t *testing.T) {
		top.setSysctl(t, acceptRAEth0, "2") // or the kernel forgets the router
		top.setSysctl(t, allForwarding, "1")
		eventually(t, "our closing rule is gone", func() bool {
			return !strings.Contains(must(t, top.laptop, peers.Find(t, "nft"), "list", "table", "inet", "uclat"), `nfproto ipv6 iifname "eth0" counter`)
		})
		top.ping4(t)
		top.setSysctl(t, allForwarding, "0")
		eventually(t, "we forward again", func() bool { return top.reachesServer(t) })
		top.setSysctl(t, acceptRAEth0, "1")
	})
	t.Run("a second one takes nothing of the first", func(t *testing.T) {
		r := try(t, top.laptop, uclat(t), append([]string{"run"}, top.configured("--interface.name", "clat1", "--interface.ipv4", "192.0.0.2",
			"--interface.self-ipv4", "192.0.0.3", "--address.ipv6", "2001:db8:c1a7::47", "--state-dir", "/run/second")...)...)
		if r.code != 2 || !strings.Contains(r.stderr, "a table inet uclat exists already") {
			t.Errorf("the second ended with %d: %s", r.code, r.stderr)
		}
		top.ping4(t)
	})
}

// addStranger has the PLAT be a host of the IPv4 internet, as a PLAT shows it.
func (top *topology) addStranger(t *testing.T) netip.Addr {
	t.Helper()
	stranger := netip.MustParseAddr("2001:db8:64::cb00:7107")
	if err := top.plat.AddAddr("lo", host(stranger)); err != nil {
		t.Fatal(err)
	}
	if _, err := top.plat.WaitAddr(t.Context(), "lo", host(stranger)); err != nil {
		t.Fatal(err)
	}
	return stranger
}

// reachesServer says whether the server answers over IPv4.
func (top *topology) reachesServer(t *testing.T) bool {
	t.Helper()
	return try(t, top.laptop, peers.Find(t, "ping"), "-c", "1", "-W", "1", server4.String()).code == 0
}

// TestInbound sends the laptop what it did not ask for: a host gets it only if it wants it.
func TestInbound(t *testing.T) { eachPath(t, testInbound) }

func testInbound(t *testing.T, top *topology) {
	stranger := top.addStranger(t)
	nc := peers.Find(t, "nc")
	arrives := func(t *testing.T) bool {
		listener := start(t, top.laptop, nc, "-4", "-u", "-l", "-n", "-v", "5555")
		listener.wait(t, "Bound on")
		seen := startCapture(t, top.laptop, "eth0", "ip6 src host "+stranger.String()+" and udp")
		tryInput(t, top.plat, "unasked\n", nc, "-6", "-u", "-n", "-w", "1", "-s", stranger.String(), top.addr6, "5555")
		if len(seen.frames(t)) == 0 {
			t.Fatal("nothing came to the laptop")
		}
		return strings.Contains(listener.said(), "unasked")
	}
	for _, c := range []struct {
		name string
		args []string
		want bool
	}{{"replies", nil, false}, {"all", []string{"--inbound", "all"}, true}} {
		t.Run(c.name, func(t *testing.T) {
			p := top.up(t, top.configured(c.args...)...)
			top.ping4(t)
			if got := arrives(t); got != c.want {
				t.Errorf("arrived: %v", got)
			}
			down(t, p, syscall.SIGTERM)
		})
	}
}
