package netlab

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Each change of a node is a line that comes, or another one, and is away when the change is undone.
func TestDump(t *testing.T) {
	_, nodes := newLab(t, "alpha", "beta")
	n := nodes[0]
	if err := Connect(n, "eth0", nodes[1], "eth0", LinkOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := n.AddAddr("eth0", netip.MustParsePrefix("192.0.2.1/24")); err != nil {
		t.Fatal(err)
	}
	// The kernel makes it by itself, a moment after the link is up.
	if _, err := n.WaitAddr(t.Context(), "eth0", netip.MustParsePrefix("fe80::/10")); err != nil {
		t.Fatal(err)
	}
	nl := n.Netlink()
	eth0, err := nl.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	index := eth0.Attrs().Index
	addr := netip.MustParsePrefix("2001:db8::1/64")
	route := Route{Dst: netip.MustParsePrefix("198.51.100.0/24"), Via: netip.MustParseAddr("192.0.2.2"), MTU: 1280, Metric: 9}
	table := &netlink.Route{Dst: ipNet(netip.MustParsePrefix("203.0.113.0/24")), LinkIndex: index, Table: 77, Protocol: 46}
	blackhole := &netlink.Route{Dst: ipNet(netip.MustParsePrefix("2001:db8::46/128")), Type: unix.RTN_BLACKHOLE, Protocol: 46}
	rule := netlink.NewRule()
	rule.Table, rule.Priority, rule.Family = 77, 500, netlink.FAMILY_V6
	fixed := &netlink.Neigh{LinkIndex: index, IP: net.ParseIP("192.0.2.9"), HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 9}, State: unix.NUD_PERMANENT}
	proxy := &netlink.Neigh{LinkIndex: index, IP: net.ParseIP("2001:db8::9"), Family: netlink.FAMILY_V6, Flags: netlink.NTF_PROXY}
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "clat0", MTU: 1500, TxQLen: -1}, PeerName: "clat1"}
	nft := nftablesIn(t, n)
	own := &nftables.Table{Family: nftables.TableFamilyINet, Name: "own"}

	for _, c := range []struct {
		name, want string
		do, undo   func() error
	}{
		{"sysctl", "sysctl net/ipv6/conf/eth0/accept_ra = 2",
			func() error { return n.SetSysctl("net.ipv6.conf.eth0.accept_ra", "2") },
			func() error { return n.SetSysctl("net.ipv6.conf.eth0.accept_ra", "1") }},
		{"forwarding", "sysctl net/ipv4/ip_forward = 1",
			func() error { return n.SetSysctl("net.ipv4.ip_forward", "1") },
			func() error { return n.SetSysctl("net.ipv4.ip_forward", "0") }},
		{"neighbour parameter", "sysctl net/ipv6/neigh/eth0/app_solicit = 3",
			func() error { return n.SetSysctl("net.ipv6.neigh.eth0.app_solicit", "3") },
			func() error { return n.SetSysctl("net.ipv6.neigh.eth0.app_solicit", "0") }},
		{"mtu", "mtu 1400", func() error { return n.SetMTU("eth0", 1400) }, func() error { return n.SetMTU("eth0", 1500) }},
		{"link", "link clat0 type veth mtu 1500",
			func() error { return nl.LinkAdd(pair) }, func() error { return nl.LinkDel(pair) }},
		{"address", "address 2001:db8::1/64 dev eth0",
			func() error { return n.AddAddr("eth0", addr) }, func() error { return n.DelAddr("eth0", addr) }},
		{"route", "route 198.51.100.0/24 table 254 type 1 protocol 3 metric 9 scope universe dev eth0 via 192.0.2.2 mtu 1280",
			func() error { return n.AddRoute(route) }, func() error { return n.DelRoute(route) }},
		{"table", "route 203.0.113.0/24 table 77 type 1 protocol 46",
			func() error { return nl.RouteAdd(table) }, func() error { return nl.RouteDel(table) }},
		{"blackhole", "route 2001:db8::46/128 table 254 type 6 protocol 46 metric 1024",
			func() error { return nl.RouteAdd(blackhole) }, func() error { return nl.RouteDel(blackhole) }},
		{"rule", "rule family 10 ip rule 500: from all to all table 77",
			func() error { return nl.RuleAdd(rule) }, func() error { return nl.RuleDel(rule) }},
		{"neighbour", "neighbour 192.0.2.9 dev eth0 address 02:00:00:00:00:09",
			func() error { return nl.NeighAdd(fixed) }, func() error { return nl.NeighDel(fixed) }},
		{"proxy", "proxy 2001:db8::9 dev eth0",
			func() error { return nl.NeighAdd(proxy) }, func() error { return nl.NeighDel(proxy) }},
		{"nftables", "nft rule inet own forward 0: counter verdict{\"Kind\":0,\"Chain\":\"\"}",
			func() error {
				nft.AddTable(own)
				chain := nft.AddChain(&nftables.Chain{Table: own, Name: "forward", Type: nftables.ChainTypeFilter,
					Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
				nft.AddRule(&nftables.Rule{Table: own, Chain: chain, Exprs: []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}}})
				set := &nftables.Set{Table: own, Name: "names", KeyType: nftables.TypeInetService}
				return errors.Join(nft.AddSet(set, []nftables.SetElement{{Key: []byte{0, 53}}}), nft.Flush())
			},
			func() error { nft.DelTable(own); return nft.Flush() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := dumpOf(t, n)
			if strings.Contains(before, c.want) {
				t.Fatalf("%q is there before", c.want)
			}
			if err := c.do(); err != nil {
				t.Fatal(err)
			}
			during := dumpOf(t, n)
			if !strings.Contains(during, c.want) {
				t.Errorf("no %q in\n%s", c.want, during)
			}
			if err := c.undo(); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(before, dumpOf(t, n)); d != "" {
				t.Errorf("state is not as before:\n%s", d)
			}
		})
	}
}

// What comes and goes by itself is no difference.
func TestDumpIsStill(t *testing.T) {
	_, nodes := newLab(t, "alpha", "beta")
	a, b := nodes[0], nodes[1]
	err := errors.Join(
		Connect(a, "eth0", b, "eth0", LinkOptions{}),
		a.AddAddr("eth0", netip.MustParsePrefix("2001:db8::1/64")),
		b.AddAddr("eth0", netip.MustParsePrefix("2001:db8::2/64")),
	)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.WaitAddr(t.Context(), "eth0", netip.MustParsePrefix("fe80::/10")); err != nil {
		t.Fatal(err)
	}
	echo, err := b.Role(t.Context(), "echo", "[::]:7")
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := echo.Next(&v); err != nil {
		t.Fatal(err)
	}
	before := dumpOf(t, a)
	ask, err := a.Role(t.Context(), "ask", "[2001:db8::2]:7") // learns a neighbour
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(ask.Next(&v), ask.Stop(), echo.Stop()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, dumpOf(t, a)); d != "" {
		t.Errorf("state changed by itself:\n%s", d)
	}
}

func dumpOf(t *testing.T, n *Node) string {
	t.Helper()
	text, err := n.Dump()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func nftablesIn(t *testing.T, n *Node) *nftables.Conn {
	t.Helper()
	ns, err := netns.GetFromPid(n.PID())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
