package e2e

import (
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"uclat/test/peers"
)

// resolving is what the router says where it names a resolver with DNS64 as well.
func resolving(offers ...offered) announcement {
	says := announcing(offers...)
	says.rdnss = routerLAN.Addr()
	return says
}

var (
	byResolver = "resolver " + routerLAN.Addr().String()
	betterOne  = pref64By[48]
)

// TestBetterPREF64 has a router announce a PREF64 of another length while another one is in use that the resolver told, and withdraw it
// again. What goes by the first one never breaks, and new flows go by the better one while it is there. A socket that was bound meanwhile
// goes on by the first.
func TestBetterPREF64(t *testing.T) {
	says := resolving()
	eachPathIn(t, network{announces: &says}, testBetterPREF64)
}

func testBetterPREF64(t *testing.T, top *topology) {
	before := dump(t, top.laptop)
	top.addPREF64(t, betterOne)
	p := top.startUclat(t, top.discovering()...)
	p.onBy(t, pref64, byResolver)
	iperf := top.startIperf3(t)
	talk := top.startTalk(t)
	device := must(t, top.laptop, peers.Find(t, "ip"), "-o", "link", "show", tunDev)

	top.announcer.say(t, resolving(lastingPREF64(betterOne)))
	p.onBy(t, betterOne, byRouter)
	if got := top.source(t); got != generations[1] {
		t.Errorf("new flows are from %s, want %s", got, generations[1])
	}
	if got, want := top.sources(t), generations[:2]; !slices.Equal(got, want) {
		t.Errorf("the device has %v, want %v", got, want)
	}
	old, young := top.flowsBy(t, pref64), top.flowsBy(t, betterOne)
	top.newFlowsBy(t, betterOne, atRouter)
	top.curlBothWays(t, 1_000_000)
	talk.goesOn(t)
	stream := top.startStream(t, server4)
	eventually(t, "packets go by both", func() bool { return old.seen(t) > 500 && young.seen(t) > 500 })
	const connected, since = 2*2 + 1, 2 + 1 // iperf3 has two connections each way, curl one
	if byOld, byYoung := flowsOf(old.soFar(t)), flowsOf(young.soFar(t)); len(byOld) > connected || len(byYoung) != since {
		t.Errorf("by the first go %v, and by the better one %v", byOld, byYoung)
	}

	top.endPREF64(t, betterOne)
	top.announcer.say(t, resolving(withdrawn(betterOne)))
	p.onBy(t, pref64, byResolver)
	stream.recovers(t)
	top.newFlowsBy(t, pref64, atRouter)
	if got := must(t, top.laptop, peers.Find(t, "ip"), "-o", "link", "show", tunDev); got != device {
		t.Errorf("the device was\n%sand is\n%s", device, got)
	}
	talk.end(t)
	iperf.ends(t)
	if n := len(p.plans()); n != 3 {
		t.Errorf("%d lines say what it does, want 3: %q", n, p.plans())
	}
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)
}

// flowsOf are the sources and ports of the TCP and UDP packets in Ethernet frames of IPv6.
func flowsOf(frames [][]byte) map[netip.AddrPort]int {
	flows := map[netip.AddrPort]int{}
	for _, f := range frames {
		const ip = 14
		if next := f[ip+6]; next == syscall.IPPROTO_TCP || next == syscall.IPPROTO_UDP {
			port := uint16(f[ip+40])<<8 | uint16(f[ip+41])
			flows[netip.AddrPortFrom(netip.AddrFrom16([16]byte(f[ip+8:])), port)]++
		}
	}
	return flows
}

// iperf is an iperf3 that goes on for a while, both ways in turn.
type iperf struct{ up, down *process }

// startIperf3 has as much go each way, in a connection of its own, as a slow machine can do beside other tests.
func (top *topology) startIperf3(t *testing.T) iperf {
	t.Helper()
	const seconds = "6"
	iperf3 := peers.Find(t, "iperf3")
	begin := func(port string, more ...string) *process {
		server := start(t, top.server, iperf3, "-s", "--forceflush", "-1", "-B", server4.String(), "-p", port)
		server.wait(t, "Server listening on "+port)
		client := start(t, top.laptop, iperf3, append([]string{"-J", "-c", server4.String(), "-p", port, "-t", seconds, "-b", "20M"}, more...)...)
		server.wait(t, " connected to ")
		return client
	}
	return iperf{begin("5201"), begin("5202", "-R")}
}

// ends waits until they have done it, without a word of an error.
func (i iperf) ends(t *testing.T) {
	t.Helper()
	for _, p := range []*process{i.up, i.down} {
		select {
		case <-p.done:
		case <-time.After(patience):
			t.Fatalf("%s does not end", p.name)
		}
		var report struct {
			Error string
			End   struct {
				Sent     struct{ Bytes, Seconds float64 } `json:"sum_sent"`
				Received struct{ Bytes, Seconds float64 } `json:"sum_received"`
			}
		}
		parseJSON(t, p.said(), &report)
		sent, received := report.End.Sent, report.End.Received
		if report.Error != "" || received.Bytes < sent.Bytes/2 || received.Bytes < 5_000_000 || received.Seconds < 5.5 {
			t.Errorf("iperf3: %q, %+v", report.Error, report.End)
		}
	}
}

// TestSamePREF64 has a router announce the PREF64 that the resolver has told already, and take it back: nothing changes but who told it.
func TestSamePREF64(t *testing.T) {
	says := resolving()
	eachPathIn(t, network{announces: &says}, testSamePREF64)
}

func testSamePREF64(t *testing.T, top *topology) {
	p := top.startUclat(t, top.discovering()...)
	p.onBy(t, pref64, byResolver)
	talk, stream := top.startTalk(t), top.startStream(t, server4)
	top.announcer.say(t, resolving(lastingPREF64(pref64)))
	p.onBy(t, pref64, byRouter)
	talk.goesOn(t)
	top.announcer.say(t, resolving(withdrawn(pref64)))
	p.onBy(t, pref64, byResolver)
	talk.goesOn(t)
	if got := top.sources(t); !slices.Equal(got, generations[:1]) || top.source(t) != generations[0] {
		t.Errorf("the device has %v", got)
	}
	if sent, lost := stream.end(t); lost > 0 {
		t.Errorf("%d of %d packets were lost", lost, sent)
	}
	talk.end(t)
	if n := len(p.plans()); n != 3 {
		t.Errorf("%d lines say what it does, want 3: %q", n, p.plans())
	}
	down(t, p, syscall.SIGTERM)
}
