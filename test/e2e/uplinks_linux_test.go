package e2e

import (
	"strings"
	"syscall"
	"testing"

	"uclat/test/peers"
)

// TestUplinkWithoutLinkLayer has an uplink that carries packets and nothing around them.
func TestUplinkWithoutLinkLayer(t *testing.T) {
	t.Parallel()
	testUplink(t, newNetwork(t, network{path: onPacket, lan: tunnel}))
}

func testUplink(t *testing.T, top *topology) {
	before := dump(t, top.laptop)
	p := top.up(t)
	if addr := p.addr6(t); !lanPrefix.Contains(addr) || !strings.Contains(p.said(), "path packet") {
		t.Errorf("it takes %s", addr)
	}
	top.ping4(t)
	top.curlBothWays(t, 5_000_000)
	top.echo(t, 1, 1000, 1400, 4000)
	top.traceroute(t)
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)
}

// TestVPN has a VPN beside the uplink, to which IPv6 goes by default. Nothing that the program sends goes there.
func TestVPN(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(*topology, *testing.T)
	}{
		{"a better default route", (*topology).preferVPN},
		{"rules as of wg-quick", (*topology).ruleVPN},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			top := newNetwork(t, network{path: onPacket})
			v := top.addVPN(t)
			before := dump(t, top.laptop)
			p := top.up(t)
			top.ping4(t)
			// It comes while the program runs, and once it is there already.
			c.prepare(top, t)
			top.ping4(t)
			top.curlBothWays(t, 1_000_000)
			down(t, p, syscall.SIGTERM)
			p = top.up(t)
			top.ping4(t)
			top.curlBothWays(t, 1_000_000)
			down(t, p, syscall.SIGTERM)
			if n := v.received.Load(); n > 0 {
				t.Errorf("%d packets went into the VPN", n)
			}
			if top.reaches6(t) || v.received.Load() == 0 {
				t.Error("the laptop's own packets do not go there, so this test shows nothing")
			}
			if lost, _ := changes(before, dump(t, top.laptop)); len(lost) > 0 {
				t.Errorf("lost: %s", strings.Join(lost, "\n"))
			}
		})
	}
}

// TestRoutingTable has the default route in a table of its own, to which a rule leads.
func TestRoutingTable(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket})
	top.defaultInTable(t)
	before := dump(t, top.laptop)
	p := top.up(t, "--uplink", "eth0")
	top.ping4(t)
	top.curlBothWays(t, 1_000_000)
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)
}

// TestResolverStub has a resolver on the laptop itself, which asks the router's: what systemd-resolved is.
func TestResolverStub(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket})
	top.startRole(t, top.laptop, "stub", stubOptions{Upstream: routerLAN.Addr()})
	if err := top.laptop.WriteFile("/etc/resolv.conf", []byte("nameserver 127.0.0.53\n")); err != nil {
		t.Fatal(err)
	}
	p := top.up(t)
	if !strings.Contains(p.said(), "(from resolver 127.0.0.53 by RFC 7050)") {
		t.Error("it does not have the PREF64 from the stub")
	}
	got := must(t, top.laptop, peers.Find(t, "dig"), "+short", "+time=2", "@127.0.0.53", "server.lab.test", "A")
	if got != server4.String()+"\n" {
		t.Errorf("the stub says %q", got)
	}
	out := must(t, top.laptop, peers.Find(t, "curl"), "-4", "-sS", "--fail", "--max-time", "20", "http://server.lab.test/1000000")
	checkBlob(t, out, 1_000_000)
	down(t, p, syscall.SIGTERM)
}
