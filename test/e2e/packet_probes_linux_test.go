package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"uclat/test/peers"
)

const (
	// hopLimited is silenced at a router that drops what has no hops left, and says nothing.
	hopLimited = "icmpv6 type time-exceeded"
	// echoProbes are what the program sends to see whether answers come back.
	echoProbes = "icmp6 and ip6[40] == 128 and ip6[7] == 1"
)

// TestPacketSilentRouter has a router that answers no probe. Another address is tried once, then IPv4 is there all the same, and the log says
// what was not seen. Who wants it by force has it at once, and no probe is sent.
func TestPacketSilentRouter(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket})
	heard := top.silence(t, hopLimited, top.router)
	before := dump(t, top.laptop)
	asked := startCapture(t, top.laptop, "eth0", echoProbes)
	p := top.startUclat(t)
	p.wait(t, degraded)
	top.ping4(t)
	var sources []string
	for _, f := range asked.frames(t) {
		sources = append(sources, source6(f))
	}
	if tried := slices.Compact(slices.Clone(sources)); len(sources) != 6 || len(tried) != 2 || tried[1] != p.degraded6(t) {
		t.Errorf("probes were from %v, want three each from two addresses, and the last is the one in use", sources)
	}
	if heard() != len(sources) {
		t.Errorf("the router wanted to answer %d of %d", heard(), len(sources))
	}
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)

	t.Run("by force", func(t *testing.T) {
		asked := startCapture(t, top.laptop, "eth0", echoProbes)
		p := top.up(t, "--mode", "force")
		top.ping4(t)
		if n := len(asked.frames(t)); n > 0 {
			t.Errorf("%d probes were sent", n)
		}
		down(t, p, syscall.SIGTERM)
	})
}

// degraded is how the line begins that says so.
const degraded = `msg="on, degraded: IPv4 through eth0, PREF64 2001:db8:64::/96 (from resolver 2001:db8:1::1 by RFC 7050), as `

// degraded6 is the address that it is on with. Its line ends with what was not seen.
func (p *process) degraded6(t *testing.T) string {
	t.Helper()
	_, rest, _ := strings.Cut(p.said(), degraded)
	addr, rest, _ := strings.Cut(rest, ", path packet: ")
	const why = "no answer to 3 echo requests with hop limit 1 to 2001:db8:64::c000:9, " +
		"though the router fe80::1 answers neighbour solicitations\" "
	if !strings.HasPrefix(rest, why) {
		t.Errorf("it says why: %.200s", rest)
	}
	return addr
}

// TestPacketLateProbes has a router that answered no probe do so now, a few seconds after the last one. The hosts of probe.targets are asked all the same.
func TestPacketLateProbes(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket})
	top.silence(t, hopLimited, top.router)
	asked := startCapture(t, top.server, "eth0", "icmp[icmptype] == icmp-echo")
	p := top.startUclat(t, "--probe.targets", server4.String())
	p.wait(t, degraded)
	addr := p.degraded6(t)
	must(t, top.router, peers.Find(t, "nft"), "delete", "table", "inet", "silence")
	for end := time.Now().Add(time.Minute); time.Now().Before(end) && !strings.Contains(p.said(), `msg="on: `); {
		time.Sleep(100 * time.Millisecond)
	}
	p.wait(t, `msg="on: IPv4 through eth0`)
	if got := p.addr6(t); got.String() != addr {
		t.Errorf("it is %s now, and was %s", got, addr)
	}
	if len(asked.frames(t)) == 0 {
		t.Error("the server was not asked")
	}
	top.ping4(t)
	if strings.Contains(p.said(), "suspect") {
		t.Error("the PREF64 is said to be suspect")
	}
	down(t, p, syscall.SIGTERM)
}

// TestPacketSuspect has a NAT64 that swallows what it gets, for a while. The program says so, and does nothing.
func TestPacketSuspect(t *testing.T) {
	t.Parallel()
	const destinations, within = 8, 20 * time.Second
	top := newNetwork(t, network{path: onPacket})
	const in = "type filter hook prerouting priority raw; iifname lan0"
	rules := fmt.Sprintf("table inet swallow { chain in { %s ip6 daddr %s drop; }; }\n", in, pref64)
	nft := peers.Find(t, "nft")
	p := top.up(t)
	if r := tryInput(t, top.plat, rules, nft, "-f", "-"); r.code != 0 {
		t.Fatalf("nft: %+v", r)
	}
	top.pingMany(t, destinations)
	began := time.Now()
	const suspect = `level=WARN msg="PREF64 2001:db8:64::/96 is suspect: packets went through it to `
	p.wait(t, suspect)
	if took := time.Since(began); took < within/2 {
		t.Errorf("it took no longer than %v", took)
	}
	if strings.Contains(p.said(), "suspect: packets went through it to 0 ") || !top.has(tunDev) {
		t.Error("it knows of no destinations, or IPv4 is gone")
	}
	must(t, top.plat, nft, "delete", "table", "inet", "swallow")
	p.wait(t, `level=INFO msg="PREF64 2001:db8:64::/96 is no longer suspect"`)
	top.ping4(t)
	if n := strings.Count(p.said(), suspect); n != 1 || strings.Count(p.said(), `msg="on: `) != 1 {
		t.Errorf("it said %d times that the PREF64 is suspect, or what it is on with more than once", n)
	}
	down(t, p, syscall.SIGTERM)
}

// pingMany has the laptop ping so many addresses without end, of which the first is the server's.
func (top *topology) pingMany(t *testing.T, n int) {
	t.Helper()
	for i, addr := 0, server4; i < n; i, addr = i+1, addr.Next() {
		start(t, top.laptop, peers.Find(t, "ping"), "-q", "-i", "0.5", addr.String())
	}
}
