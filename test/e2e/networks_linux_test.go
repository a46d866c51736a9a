package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// These show of each network that it is as it says, without the program under test: what fails here is no fault of it.

// reaches6 says whether the laptop reaches the server's IPv6 address.
func (top *topology) reaches6(t *testing.T) bool {
	t.Helper()
	return try(t, top.laptop, peers.Find(t, "ping"), "-c", "1", "-W", "1", server6.String()).code == 0
}

// TestNetworkLANs reaches the server over all that can be between the laptop and the router.
func TestNetworkLANs(t *testing.T) {
	t.Parallel()
	for name, lan := range map[string]lan{"bridge": bridge, "tunnel": tunnel} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			top := newNetwork(t, network{lan: lan})
			url := fmt.Sprintf("http://[%s]:%d/%d", server6, portHTTP, 1_000_000)
			checkBlob(t, must(t, top.laptop, peers.Find(t, "curl"), "-sS", "--fail", "--max-time", "20", url), 1_000_000)
			link := must(t, top.laptop, peers.Find(t, "ip"), "link", "show", top.uplink)
			if ethernet := strings.Contains(link, "link/ether"); ethernet != (top.uplink == "eth0") {
				t.Errorf("%s is\n%s", top.uplink, link)
			}
		})
	}
}

// TestNetworkBridge has another host on the bridge: the laptop finds an address that it has taken already, and is told by the router's
// reachable time how long to believe in a neighbour.
func TestNetworkBridge(t *testing.T) {
	t.Parallel()
	says := ordinary(lasting(lanPrefix))
	says.reachable = 1000
	top := newNetwork(t, network{lan: bridge, says: &says})
	taken := netip.MustParseAddr("2001:db8:1::77")
	printer := top.addNeighbour(t, "printer", taken)
	ip := peers.Find(t, "ip")

	t.Run("a duplicate address", func(t *testing.T) {
		must(t, top.laptop, ip, "address", "add", taken.String()+"/64", "dev", "eth0")
		eventually(t, "the laptop sees that it is taken", func() bool {
			return strings.Contains(must(t, top.laptop, ip, "address", "show", "dev", "eth0"), "dadfailed")
		})
		must(t, top.laptop, ip, "address", "delete", taken.String()+"/64", "dev", "eth0")
		must(t, top.laptop, peers.Find(t, "ping"), "-c", "1", "-W", "2", taken.String())
	})
	t.Run("a short reachable time", func(t *testing.T) {
		if ms := top.sysctl(t, "net/ipv6/neigh/eth0/base_reachable_time_ms"); ms != "1000" {
			t.Errorf("the laptop believes in neighbours for %s ms", ms)
		}
	})
	t.Run("the router gets another link-layer address", func(t *testing.T) {
		if !top.reaches6(t) {
			t.Fatal("the server is not reached")
		}
		top.changeMAC(t, top.router, mac(0x99))
		eventually(t, "the laptop follows", func() bool { return top.reaches6(t) })
	})
	t.Run("a sniffer", func(t *testing.T) {
		seen := startCapture(t, top.bridge, "laptop0", "icmp6 and ip6[40] == 128")
		must(t, printer, peers.Find(t, "ping"), "-c", "1", "-W", "2", top.laptopAddr.String())
		if len(seen.frames(t)) != 1 {
			t.Error("it does not see a ping to the laptop")
		}
	})
	t.Run("hosts of a group only", func(t *testing.T) {
		top.snoop(t)
		top.awaitSnooping(t, printer)
		if !top.arrives(t, printer, top.laptopAddr) {
			t.Error("what is for the laptop's group does not come either")
		}
	})
}

// TestNetworkForgetful has a bridge that forgets an address, until it asks for it and is answered.
func TestNetworkForgetful(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{lan: bridge})
	top.forgetful(t)
	learn := func(t *testing.T) {
		t.Helper()
		top.asks(t, top.laptopAddr)
		eventually(t, "the bridge knows the laptop", func() bool { return top.knows(t, top.laptopAddr) })
		if !top.reaches6(t) {
			t.Error("the server is not reached though the bridge knows the laptop")
		}
	}
	learn(t)
	top.forgetHosts(t)
	if top.knows(t, top.laptopAddr) {
		t.Error("it forgets nothing")
	}
	if top.reaches6(t) {
		t.Error("the server is reached though the bridge has forgotten the laptop")
	}
	learn(t)
	nobody := netip.MustParseAddr("2001:db8:1::dead")
	top.asks(t, nobody)
	learn(t)
	if top.knows(t, nobody) {
		t.Error("the bridge knows an address that nobody has")
	}
}

// TestNetworkAdvertised has the router say something else now and then.
func TestNetworkAdvertised(t *testing.T) {
	t.Parallel()
	ula, gua := netip.MustParsePrefix("fd00:db8:1::/64"), netip.MustParsePrefix("2001:db8:11::/64")
	top := newNetwork(t, network{lan: bridge})
	ip := peers.Find(t, "ip")
	has := func(prefix netip.Prefix, flag string) func() bool {
		return func() bool {
			text := strings.TrimSuffix(prefix.Addr().String(), "::") + ":"
			for line := range strings.Lines(must(t, top.laptop, ip, "-6", "address", "show", "dev", "eth0")) {
				if strings.Contains(line, "inet6 "+text) && strings.Contains(line, flag) {
					return true
				}
			}
			return false
		}
	}
	top.radvd.say(t, ordinary(lasting(lanPrefix), lasting(ula)))
	eventually(t, "ULA beside GUA", has(ula, "dynamic"))
	deprecated := lasting(lanPrefix)
	deprecated.preferred = 0
	top.radvd.say(t, ordinary(deprecated, lasting(gua)))
	eventually(t, "another prefix", has(gua, "dynamic"))
	eventually(t, "the old one is deprecated", has(lanPrefix, "deprecated"))
	none := ordinary(lasting(gua))
	none.lifetime = 0
	top.radvd.say(t, none)
	eventually(t, "no default router", func() bool { return must(t, top.laptop, ip, "-6", "route", "show", "default") == "" })
	top.radvd.say(t, ordinary(lasting(gua)))
	eventually(t, "a default router again", func() bool { return top.reaches6(t) })
}

// TestNetworkOneAddress has a router that lets nobody make an address: the laptop is given one.
func TestNetworkOneAddress(t *testing.T) {
	t.Parallel()
	closed := lasting(lanPrefix)
	closed.notAuto = true
	says := ordinary(closed)
	top := newNetwork(t, network{says: &says})
	addrs, err := top.laptop.Addrs("eth0")
	if err != nil || len(addrs) != 1 {
		t.Fatalf("the laptop has %v, %v", addrs, err)
	}
	top.giveAddress(t, host(oneAddress))
	eventually(t, "the server is reached", func() bool { return top.reaches6(t) })
}

// TestNetworkSecondRouter loses the first of two routers.
func TestNetworkSecondRouter(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{lan: bridge})
	second := top.addRouter(t, ordinary(lasting(lanPrefix)))
	ip := peers.Find(t, "ip")
	eventually(t, "the laptop has two routers", func() bool {
		out := must(t, top.laptop, ip, "-6", "route", "show", "default")
		return strings.Contains(out, routerLL.Addr().String()+" ") && strings.Contains(out, router2LL.Addr().String()+" ")
	})
	none := ordinary(lasting(lanPrefix))
	none.lifetime = 0
	top.radvd.say(t, none)
	eventually(t, "the first is none any more", func() bool {
		return !strings.Contains(must(t, top.laptop, ip, "-6", "route", "show", "default"), routerLL.Addr().String()+" ")
	})
	top.answersBySecond(t)
	if err := top.router.SetUp("lan0", false); err != nil {
		t.Fatal(err)
	}
	seen := startCapture(t, second.Node, "up0", "icmp6")
	eventually(t, "the server is reached", func() bool { return top.reaches6(t) })
	if len(seen.frames(t)) < 2 {
		t.Error("it is not reached by the second router")
	}
}

// TestNetworkVPN has the laptop's IPv6 go into a VPN in several ways, and the uplink's own way beside it.
func TestNetworkVPN(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		prepare func(*topology, *testing.T)
		dev     string // by which the server is reached
	}{
		{"a better default route", (*topology).preferVPN, "vpn0"},
		{"rules as of wg-quick", (*topology).ruleVPN, "vpn0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			top := newTopology(t)
			v := top.addVPN(t)
			c.prepare(top, t)
			if top.reaches6(t) || v.received.Load() == 0 {
				t.Errorf("the VPN got %d packets", v.received.Load())
			}
			must(t, top.laptop, peers.Find(t, "ping"), "-c", "1", "-W", "2", "-I", "eth0", server6.String())
		})
	}
	t.Run("the default route in another table", func(t *testing.T) {
		t.Parallel()
		top := newTopology(t)
		top.defaultInTable(t)
		if out := must(t, top.laptop, peers.Find(t, "ip"), "-6", "route", "show", "default"); out != "" {
			t.Errorf("the main table has\n%s", out)
		}
		if !top.reaches6(t) {
			t.Error("the server is not reached")
		}
	})
}

// TestNetworkDocker has a container behind a laptop with IPv4: it is hidden behind the laptop's address, and its published port is reached.
func TestNetworkDocker(t *testing.T) {
	t.Parallel()
	top := newTopology(t)
	c := top.addContainer(t)
	must(t, c, peers.Find(t, "ping"), "-c", "1", "-W", "2", docker0.Addr().String())
	tun := openTUN(t, top.laptop, "vpn0")
	if err := top.laptop.AddAddr("vpn0", host(self4)); err != nil {
		t.Fatal(err)
	}
	if err := top.laptop.SetUp("vpn0", true); err != nil {
		t.Fatal(err)
	}
	if err := top.laptop.AddRoute(netlab.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Dev: "vpn0"}); err != nil {
		t.Fatal(err)
	}
	start(t, c, peers.Find(t, "ping"), server4.String())
	if got := source4(readTUN(t, tun, 4)); got != self4 {
		t.Errorf("the container is seen as %s", got)
	}
	top.startRole(t, c, "server", serverOptions{Addr: container.Addr()})
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: server4.AsSlice(), DstIP: self4.AsSlice()}
	syn := &layers.TCP{SrcPort: 4711, DstPort: portPublished, SYN: true, Window: 1000}
	if err := syn.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	if _, err := tun.Write(packet(t, ip, syn)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the published port answers", func() bool {
		tcp, ok := gopacket.NewPacket(readTUN(t, tun, 4), layers.LayerTypeIPv4, gopacket.Default).TransportLayer().(*layers.TCP)
		return ok && tcp.SrcPort == portPublished && tcp.SYN && tcp.ACK
	})
}

// source4 is the source of an IPv4 packet.
func source4(p []byte) netip.Addr { return netip.AddrFrom4([4]byte(p[12:])) }
