package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// quickly has a node find out within about a second, instead of 5 to 30, that a neighbour on an interface is gone.
func quickly(t *testing.T, n *netlab.Node, dev string) {
	t.Helper()
	for key, value := range map[string]string{"delay_first_probe_time": "1", "base_reachable_time_ms": "500", "retrans_time_ms": "200"} {
		if err := n.SetSysctl(fmt.Sprintf("net/ipv6/neigh/%s/%s", dev, key), value); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRouterMAC has the router change its link-layer address, and say so or not.
func TestRouterMAC(t *testing.T) {
	t.Parallel()
	says := ordinary(lasting(lanPrefix))
	says.silent = true
	top := newNetwork(t, network{path: onPacket, lan: bridge, says: &says})
	quickly(t, top.laptop, "eth0")
	p := top.up(t)
	top.ping4(t)
	for i, notify := range []string{"0", "1"} {
		t.Run("it says so: "+notify, func(t *testing.T) {
			if err := top.router.SetSysctl("net.ipv6.conf.lan0.ndisc_notify", notify); err != nil {
				t.Fatal(err)
			}
			top.changeMAC(t, top.router, mac(byte(0x90+i)))
			eventually(t, "the server is reached", func() bool { return top.reachesServer(t) })
		})
	}
	down(t, p, syscall.SIGTERM)
}

// TestTwoRouters has two routers, of which one goes with a word of it, and then the other without.
func TestTwoRouters(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket, lan: bridge})
	quickly(t, top.laptop, "eth0")
	p := top.up(t, top.discovering("--pref64.prefixes", pref64.String())...)
	second := top.addRouter(t, ordinary(lasting(lanPrefix)))
	defaultBy := func(router netip.Prefix) bool {
		out := must(t, top.laptop, peers.Find(t, "ip"), "-6", "route", "show", "default")
		return strings.Contains(out, router.Addr().String()+" ")
	}
	eventually(t, "the laptop has two routers", func() bool { return defaultBy(routerLL) && defaultBy(router2LL) })
	top.ping4(t)

	none := ordinary(lasting(lanPrefix))
	none.lifetime = 0
	top.radvd.say(t, none)
	eventually(t, "the first is none any more", func() bool { return !defaultBy(routerLL) })
	top.answersBySecond(t)
	seen := startCapture(t, second.Node, "up0", "dst host "+server6.String())
	eventually(t, "the server is reached by the second", func() bool { return top.reachesServer(t) && seen.seen(t) > 0 })

	top.radvd.say(t, ordinary(lasting(lanPrefix)))
	eventually(t, "the first is one again", func() bool { return defaultBy(routerLL) })
	// Nobody tells: the bridge's end of its cable stays up.
	second.radvd.stop(t, syscall.SIGKILL)
	silenced := errors.Join(second.SetSysctl("net.ipv6.conf.all.forwarding", "0"), second.DelAddr("lan0", router2LL), second.DelAddr("lan0", router2LAN))
	if err := errors.Join(silenced, top.plat.DelRoute(netlab.Route{Dst: lanPrefix, Via: router2Up.Addr()})); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server is reached by the first", func() bool { return top.reachesServer(t) })
	down(t, p, syscall.SIGTERM)
}

// TestForgetfulBridge has a bridge that forgets who is where, as wireless controllers do. The program tells it of the address before anybody
// asks, and answers when it is asked.
func TestForgetfulBridge(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket, lan: bridge})
	top.forgetful(t)
	top.asks(t, top.laptopAddr) // the resolver answers there
	eventually(t, "the bridge knows the laptop", func() bool { return top.knows(t, top.laptopAddr) })
	p := top.up(t)
	addr := p.addr6(t)
	eventually(t, "the bridge knows the address", func() bool { return top.knows(t, addr) })
	top.ping4(t)
	for range 3 {
		top.forgetHosts(t)
		top.asks(t, addr)
		eventually(t, "the bridge knows the address again", func() bool { return top.knows(t, addr) })
		top.ping4(t)
	}
	down(t, p, syscall.SIGTERM)
}

// TestSnoopingBridge has a bridge that sends to a port only what is for its groups: the program is in that of its address.
func TestSnoopingBridge(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket, lan: bridge})
	printer := top.addNeighbour(t, "printer", netip.MustParseAddr("2001:db8:1::70"))
	top.snoop(t)
	top.awaitSnooping(t, printer)
	p := top.up(t)
	addr := p.addr6(t)
	if !top.arrives(t, printer, addr) {
		t.Error("a Neighbor Solicitation to its group does not arrive")
	}
	must(t, top.router, peers.Find(t, "ip"), "neigh", "flush", "dev", "lan0")
	top.ping4(t)
	down(t, p, syscall.SIGTERM)
	// The kernel leaves the group with the process.
	if groups := must(t, top.laptop, peers.Find(t, "ip"), "maddress", "show", "dev", "eth0"); strings.Contains(groups, solicitedNode(addr).String()) {
		t.Errorf("the laptop is still in the group of %s:\n%s", addr, groups)
	}
}
