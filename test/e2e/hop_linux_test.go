package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// The addresses between the PLAT and the hop, where there is one. To the server, the hop is what the PLAT was.
var (
	platHop   = netip.MustParsePrefix("203.0.113.1/24")
	hopPLAT   = netip.MustParsePrefix("203.0.113.2/24")
	hopServer = platWAN
)

// addHop puts an IPv4 router between the PLAT and the server, in place of their cable.
func (top *topology) addHop(t *testing.T) {
	t.Helper()
	hop, err := top.lab.Node("hop", netlab.NodeOptions{NoDAD: true})
	if err != nil {
		t.Fatal(err)
	}
	cable, err := top.server.Netlink().LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := top.server.Netlink().LinkDel(cable); err != nil { // the PLAT's end goes with it
		t.Fatal(err)
	}
	top.hop = hop
	if err := errors.Join(
		hop.SetSysctl("net.ipv4.ip_forward", "1"),
		hop.SetSysctl("net.ipv4.icmp_ratelimit", "0"),
		netlab.Connect(top.plat, "wan0", hop, "plat0", netlab.LinkOptions{}),
		netlab.Connect(hop, "server0", top.server, "eth0", netlab.LinkOptions{}),
		top.plat.AddAddr("wan0", platHop),
		top.plat.AddRoute(netlab.Route{Dst: serverWAN.Masked(), Via: hopPLAT.Addr()}),
		hop.AddAddr("plat0", hopPLAT),
		hop.AddAddr("server0", hopServer),
		top.server.AddAddr("eth0", serverWAN),
		top.server.AddRoute(netlab.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: hopServer.Addr()}),
	); err != nil {
		t.Fatal(err)
	}
}

// narrowHop has the hop take no more than so many octets in both directions, until the end of the test.
func (top *topology) narrowHop(t *testing.T, mtu int) {
	t.Helper()
	top.narrow(t, top.hop, mtu, netlab.Route{Dst: host(server4), Dev: "server0"}, netlab.Route{Dst: host(platHop.Addr()), Dev: "plat0"})
}

// narrow has a router take no more than so many octets on the way by these routes, until the end of the test.
func (top *topology) narrow(t *testing.T, n *netlab.Node, mtu int, routes ...netlab.Route) {
	t.Helper()
	for _, r := range routes {
		r.MTU = mtu
		if err := n.AddRoute(r); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.DelRoute(r); err != nil {
				t.Error(err)
			}
		})
	}
}

// silence has the nodes never send what a rule of nftables matches. heard counts it.
func (top *topology) silence(t *testing.T, match string, nodes ...*netlab.Node) (heard func() int) {
	t.Helper()
	nft := peers.Find(t, "nft")
	rules := fmt.Sprintf("table inet silence { chain output { type filter hook output priority filter; %s counter drop; }; }\n", match)
	for _, n := range nodes {
		if r := tryInput(t, n, rules, nft, "-f", "-"); r.code != 0 {
			t.Fatalf("nft: %+v", r)
		}
	}
	return func() (sum int) {
		t.Helper()
		for _, n := range nodes {
			count := regexp.MustCompile(`counter packets (\d+)`).FindStringSubmatch(must(t, n, nft, "list", "table", "inet", "silence"))
			if count == nil {
				t.Fatal("no counter")
			}
			i, _ := strconv.Atoi(count[1]) // digits
			sum += i
		}
		return sum
	}
}

// forget has the laptop and the server forget what they learned of paths.
func (top *topology) forget(t *testing.T) {
	t.Helper()
	for _, n := range []*netlab.Node{top.laptop, top.server} {
		if err := n.SetSysctl("net.ipv4.route.flush", "1"); err != nil {
			t.Fatal(err)
		}
	}
}

// host is the prefix of one address.
func host(addr netip.Addr) netip.Prefix { return netip.PrefixFrom(addr, addr.BitLen()) }
