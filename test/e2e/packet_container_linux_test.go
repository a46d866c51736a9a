package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"uclat/test/peers"
)

// TestContainerTraffic has a container behind the laptop send and receive all that the laptop itself does: what the laptop's kernel forwards
// comes in super-packets whose checksums are not finished, and in sizes that only the translator refuses.
func TestContainerTraffic(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket})
	c := top.addContainer(t)
	const rules = "table ip nat { chain prerouting { fib daddr type local udp dport 7007 dnat to 172.17.0.2:7; }; }\n" +
		"table ip filter { chain forward { oifname docker0 ip daddr 172.17.0.2 udp dport 7 accept; }; }\n"
	if r := tryInput(t, top.laptop, rules, peers.Find(t, "nft"), "-f", "-"); r.code != 0 {
		t.Fatalf("nft: %+v", r)
	}
	top.giveFixed4(t)
	before := dump(t, top.laptop)
	p := top.up(t, top.configured()...)
	t.Run("TCP", func(t *testing.T) {
		top.download(t, c, 20_000_000)
		top.upload(t, c, 20_000_000)
	})
	t.Run("UDP", func(t *testing.T) {
		echo := func(t *testing.T, opt echoOptions) (lost []string) {
			t.Helper()
			opt.Addr = server4
			top.askRole(t, c, "echo", opt, &lost)
			return lost
		}
		const fits = 1480 - 20 - 8 // less the headers of IPv4 and UDP
		sizes := []int{0, 1, 1000, fits - 1, fits, fits + 1, fits + 20, fits + 21, 4000, 60000}
		if lost := echo(t, echoOptions{NoDF: true, Sizes: sizes}); len(lost) > 0 {
			t.Errorf("without DF: %q", lost)
		}
		lost := echo(t, echoOptions{DF: true, Sizes: []int{fits, fits + 1, fits}})
		if len(lost) != 1 || !strings.Contains(lost[0], fmt.Sprintf("%d octets: ", fits+1)) {
			t.Errorf("with DF: %q", lost)
		}
	})
	t.Run("closed ports refuse at once", func(t *testing.T) {
		const refused = 7 // curl's exit code
		began := time.Now()
		if r := try(t, c, peers.Find(t, "curl"), "-sS", "--max-time", "5", fmt.Sprintf("http://%s:%d/", server4, portClosed)); r.code != refused {
			t.Errorf("TCP: %+v", r)
		}
		r := try(t, c, peers.Find(t, "dig"), "+time=5", "+tries=1", "-p", fmt.Sprint(portClosed), "@"+server4.String(), "a.test")
		if !strings.Contains(r.stdout, "connection refused") {
			t.Errorf("UDP: %+v", r)
		}
		if took := time.Since(began); took > soon {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("traceroute", func(t *testing.T) {
		out := must(t, c, peers.Find(t, "traceroute"), "-n", "-q", "1", "-w", "2", server4.String())
		for _, hop := range []string{docker0.Addr().String(), translator, server4.String()} {
			if !strings.Contains(out, " "+hop+" ") {
				t.Errorf("no hop %s in\n%s", hop, out)
			}
		}
	})
	t.Run("a UDP port that is published", func(t *testing.T) {
		arrived := startCapture(t, c, "eth0", "udp dst port 7")
		if r := tryInput(t, top.server, "unasked\n", peers.Find(t, "nc"), "-u", "-w", "1", fixed4.String(), "7007"); r.stdout != "" {
			t.Errorf("it answers %q", r.stdout)
		}
		if n := len(arrived.frames(t)); n > 0 {
			t.Errorf("%d datagrams arrive in the container", n)
		}
	})
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)
}
