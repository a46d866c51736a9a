package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"uclat/test/peers"
)

// TestRouterForgets has the router forget who has the program's address, or doubt it, while packets go. It asks all or one, is answered
// either way, and nobody notices.
func TestRouterForgets(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket, lan: bridge})
	quickly(t, top.router, "lan0")
	ip := peers.Find(t, "ip")
	p := top.up(t)
	addr := p.addr6(t)
	traffic := top.startStream(t, server4)
	for _, c := range []struct {
		name          string
		do            []string
		asks, asksNot netip.Addr
	}{
		{"forgets", []string{"neigh", "del", addr.String(), "dev", "lan0"}, solicitedNode(addr), addr},
		{"doubts", []string{"neigh", "change", addr.String(), "dev", "lan0", "nud", "probe"}, addr, solicitedNode(addr)},
		{"forgets all", []string{"-6", "neigh", "flush", "dev", "lan0"}, solicitedNode(addr), addr},
	} {
		t.Run(c.name, func(t *testing.T) {
			seen := startCapture(t, top.router, "lan0", "icmp6 and (ip6[40] == 135 or ip6[40] == 136)")
			must(t, top.router, ip, c.do...)
			began := time.Now()
			traffic.goesOn(t)
			if took := time.Since(began); took > soonAgain {
				t.Errorf("nothing came back for %v", took)
			}
			eventually(t, "the router is sure again", func() bool {
				return strings.HasSuffix(strings.TrimSpace(must(t, top.router, ip, "neigh", "show", addr.String(), "dev", "lan0")), "REACHABLE")
			})
			var asked, answered int
			var messages [][]byte
			eventually(t, "its question and the answer are seen", func() bool {
				messages = seen.soFar(t)
				asked, answered = slices.IndexFunc(messages, asks(addr, c.asks)), slices.IndexFunc(messages, answers(addr))
				return asked >= 0 && answered >= 0
			})
			if answered < asked || slices.ContainsFunc(messages[:answered], asks(addr, c.asksNot)) {
				t.Error("it is not that question which is answered")
			}
		})
	}
	if sent, lost := traffic.end(t); lost > 0 {
		t.Errorf("%d of %d packets were lost", lost, sent)
	}
	down(t, p, syscall.SIGTERM)
}

// TestIdle leaves the program alone for as long as sixty times a neighbour counts as reachable, which is usually half an hour, or until laptop
// and router have forgotten each other. Then the first packet is answered, whoever begins.
func TestIdle(t *testing.T) {
	t.Parallel()
	const reachable = 50 * time.Millisecond
	says := ordinary(lasting(lanPrefix))
	says.reachable = int(reachable.Milliseconds())
	top := newNetwork(t, network{path: onPacket, lan: bridge, says: &says})
	quickly(t, top.router, "lan0")
	if err := top.router.SetSysctl("net/ipv6/neigh/lan0/base_reachable_time_ms", fmt.Sprint(reachable.Milliseconds())); err != nil {
		t.Fatal(err)
	}
	stranger := top.addStranger(t)
	p := top.up(t, "--inbound", "all")
	addr := p.addr6(t)
	top.ping4(t)
	ip, ping := peers.Find(t, "ip"), peers.Find(t, "ping")
	idle := func(t *testing.T) {
		began := time.Now()
		eventually(t, "time has passed", func() bool { return time.Since(began) > 60*reachable })
	}
	forgotten := func(t *testing.T) {
		must(t, top.laptop, ip, "-6", "neigh", "flush", "dev", "eth0")
		must(t, top.router, ip, "-6", "neigh", "flush", "dev", "lan0")
	}
	for _, c := range []struct {
		name string
		pass func(t *testing.T)
	}{{"idle", idle}, {"forgotten", forgotten}} {
		t.Run(c.name+", and the laptop begins", func(t *testing.T) {
			c.pass(t)
			must(t, top.laptop, ping, "-c", "1", "-W", "1", server4.String())
		})
		t.Run(c.name+", and the other side begins", func(t *testing.T) {
			c.pass(t)
			must(t, top.plat, ping, "-6", "-c", "1", "-W", "1", "-I", stranger.String(), addr.String())
		})
	}
	down(t, p, syscall.SIGTERM)
}

// TestUplinkMAC has the laptop's interface get another link-layer address while a file is downloaded: it comes whole, and soon.
func TestUplinkMAC(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket, lan: bridge})
	p := top.up(t)
	addr := p.addr6(t)
	heard := startCapture(t, top.router, "lan0", "icmp6 and ip6[40] == 136")
	const size, rate = 6_000_000, "3M" // two seconds
	file := filepath.Join(t.TempDir(), "download")
	began := time.Now()
	traffic := start(t, top.laptop, peers.Find(t, "curl"), "-sS", "--fail", "--max-time", "20", "--limit-rate", rate, "-o", file, top.url(size))
	eventually(t, "it has begun", func() bool {
		info, err := os.Stat(file)
		return err == nil && info.Size() > 0
	})
	if err := top.laptop.SetHardwareAddr("eth0", mac(0x77)); err != nil {
		t.Fatal(err)
	}
	<-traffic.done
	if took := time.Since(began); took > 2*time.Second+soonAgain {
		t.Errorf("the download took %v", took)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	checkBlob(t, string(got), size)
	if is := p.addr6(t); is != addr {
		t.Errorf("it is %s now, and was %s", is, addr)
	}
	eventually(t, "all are told of the new link-layer address", func() bool {
		return slices.ContainsFunc(heard.soFar(t), func(f []byte) bool { return defends(addr)(f) && bytes.Equal(f[6:12], mac(0x77)) })
	})
	down(t, p, syscall.SIGTERM)
}

// TestKilledWithoutFlags ends the program as the kernel does when memory is short: nothing of it is left, and the next one goes on as
// the same.
func TestKilledWithoutFlags(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket})
	before := dump(t, top.laptop)
	groups := func() string { return must(t, top.laptop, peers.Find(t, "ip"), "maddress", "show", "dev", "eth0") }
	host, member := hostCase{path: onPacket}, groups()
	var first netip.Addr
	for i := range 2 {
		p := top.up(t)
		host.hasExactly(t, top, before)
		traffic := top.endlessDownload(t)
		if i == 0 {
			first = p.addr6(t)
		} else if addr := p.addr6(t); addr != first {
			t.Errorf("it is %s now, and was %s", addr, first)
		}
		host.hasExactly(t, top, before)
		p.stop(t, syscall.SIGKILL)
		eventually(t, "the device is gone", func() bool { return !top.has(tunDev) })
		top.unchanged(t, before)
		if is := groups(); is != member {
			t.Errorf("the laptop is in the groups\n%s\nand was in\n%s", is, member)
		}
		traffic.stop(t, syscall.SIGKILL)
	}
}
