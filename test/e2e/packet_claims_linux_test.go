package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mdlayher/ndp"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// soonAgain is how long IPv4 may be away when somebody on the link has forgotten us, or was told something false.
const soonAgain = 2 * time.Second

// TestClaimed has another host say that the program's address is its own. The first times it is told that it is wrong, and all others on
// the link too; one who insists gets it, and so does one who has it when the program starts. It takes another, and says who has the first.
func TestClaimed(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket, lan: bridge})
	printer := top.addNeighbour(t, "printer")
	holder, err := printer.HardwareAddr("eth0")
	if err != nil {
		t.Fatal(err)
	}
	before := dump(t, top.laptop)
	p := top.up(t)
	first := p.addr6(t)
	inUse := fmt.Sprintf("level=INFO msg=\"%s is in use on eth0 by %s\"", first, holder)
	another := func(p *process) bool { return strings.Count(p.said(), `msg="on: `) > 0 && p.addr6(t) != first }
	seen := startCapture(t, printer, "eth0", "icmp6 and ip6[40] == 136")
	top.ping4(t)

	t.Run("once", func(t *testing.T) {
		top.claim(t, printer, first)
		top.soonAgain(t)
		if got := p.addr6(t); got != first {
			t.Errorf("it is %s now, and was %s", got, first)
		}
		eventually(t, "it defends its address", func() bool { return slices.ContainsFunc(seen.soFar(t), defends(first)) })
	})
	t.Run("again and again", func(t *testing.T) {
		eventually(t, "it takes another address", func() bool {
			top.claim(t, printer, first)
			return another(p)
		})
		top.ping4(t)
		if n := strings.Count(p.said(), inUse); n != 1 {
			t.Errorf("it says %d times who has %s", n, first)
		}
	})
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)

	if err := printer.AddAddr("eth0", netip.PrefixFrom(first, 64)); err != nil {
		t.Fatal(err)
	}
	for _, dad := range []string{"normal", "optimistic"} {
		t.Run("from the beginning, "+dad, func(t *testing.T) {
			p := top.startUclat(t, "--address.dad", dad)
			eventually(t, "it takes another address", func() bool { return another(p) })
			if n := strings.Count(p.said(), inUse); n != 1 {
				t.Errorf("it says %d times who has %s", n, first)
			}
			top.ping4(t)
			must(t, top.router, peers.Find(t, "ping"), "-c", "1", "-W", "2", first.String()) // the printer
			down(t, p, syscall.SIGTERM)
			top.unchanged(t, before)
		})
	}
}

// TestClaimedAndConfigured has another host insist on the address that the program was told to have. There is no other: it is off, says who has
// it, and leaves nothing behind. On another link, or the same one plugged in again, it tries anew.
func TestClaimedAndConfigured(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket, lan: bridge})
	printer := top.addNeighbour(t, "printer")
	holder, err := printer.HardwareAddr("eth0")
	if err != nil {
		t.Fatal(err)
	}
	before := dump(t, top.laptop)
	addr := netip.MustParseAddr(top.addr6)
	p := top.up(t, "--address.ipv6", addr.String())
	off := fmt.Sprintf("msg=\"off: %s (address.ipv6) is in use on eth0 by %s: choose another\"", addr, holder)
	eventually(t, "it is off", func() bool {
		top.claim(t, printer, addr)
		return strings.Contains(p.said(), off)
	})
	if n := strings.Count(p.said(), "in use"); n != 1 {
		t.Errorf("it says %d times that the address is in use", n)
	}
	top.unchanged(t, before)
	top.setUp(t, false)
	p.wait(t, `msg="waiting: `)
	top.setUp(t, true)
	eventually(t, "it is on again", func() bool { return strings.Count(p.said(), `msg="on: `) == 2 })
	top.ping4(t)
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)
}

// TestHairpin has a bridge that sends back to the laptop what it says to groups. It does not take its own question for that of another who
// wants the address too (RFC 7527).
func TestHairpin(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket, lan: bridge})
	must(t, top.bridge, peers.Find(t, "ip"), "link", "set", "laptop0", "type", "bridge_slave", "hairpin", "on")
	seen := startCapture(t, top.laptop, "eth0", "icmp6 and ip6[40] == 135 and ip6 src host ::")
	p := top.up(t)
	addr := p.addr6(t)
	eventually(t, "its question comes back", func() bool {
		first := slices.IndexFunc(seen.soFar(t), detects(addr))
		return first >= 0 && slices.ContainsFunc(seen.soFar(t)[first+1:], func(f []byte) bool { return bytes.Equal(f, seen.soFar(t)[first]) })
	})
	if strings.Contains(p.said(), "in use") {
		t.Error("it believes that somebody else has its address")
	}
	top.ping4(t)
	top.curlBothWays(t, 1_000_000)
	down(t, p, syscall.SIGTERM)
}

// claim has a host on the bridge say to all that an address is its own.
func (top *topology) claim(t *testing.T, n *netlab.Node, addr netip.Addr) {
	t.Helper()
	sender, err := n.HardwareAddr("eth0")
	if err != nil {
		t.Fatal(err)
	}
	inside(t, n, func() error {
		ifi, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		conn, _, err := ndp.Listen(ifi, ndp.LinkLocal)
		if err != nil {
			return err
		}
		defer conn.Close()
		return conn.WriteTo(&ndp.NeighborAdvertisement{
			Override: true, TargetAddress: addr, Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: sender}},
		}, nil, netip.IPv6LinkLocalAllNodes())
	})
}

// soonAgain fails the test unless the server is reached soon.
func (top *topology) soonAgain(t *testing.T) {
	t.Helper()
	began := time.Now()
	eventually(t, "the server is reached", func() bool { return top.reachesServer(t) })
	if took := time.Since(began); took > soonAgain {
		t.Errorf("the server was not reached for %v", took)
	}
}
