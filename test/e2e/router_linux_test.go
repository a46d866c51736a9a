package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// What the program is told as a router, and what the administrator routes to it.
var (
	siitPool   = netip.MustParsePrefix("192.0.2.0/24") // IPv4 addresses of IPv6 hosts
	siitSelf4  = netip.MustParseAddr("192.0.2.254")
	siitSelf6  = behindPREF64(siitSelf4)
	laptopMap4 = netip.MustParseAddr("192.0.2.7")
	routerMap4 = netip.MustParseAddr("192.0.2.1")
)

// behindPREF64 is the IPv6 address that stands for a.
func behindPREF64(a netip.Addr) netip.Addr {
	b, four := pref64.Addr().As16(), a.As4()
	copy(b[12:], four[:])
	return netip.AddrFrom16(b)
}

// TestRouter has the program in TAYGA's place, on the PLAT: IPv6-only hosts that a map gives an IPv4 address each, and an IPv4-only server, all
// of which know nothing of a translator.
func TestRouter(t *testing.T) {
	t.Parallel()
	top := newTopology(t)
	top.removeTAYGA(t)
	before := dump(t, top.plat)
	p := top.startRouter(t)

	t.Run("nothing of the host but the interface is changed", func(t *testing.T) {
		lost, added := changes(before, dump(t, top.plat))
		added = append(added, lost...)
		for _, line := range added {
			if !strings.Contains(line, "nat64") {
				t.Errorf("changed: %s", line)
			}
		}
	})
	t.Run("an IPv6 host asks the server", func(t *testing.T) {
		seen := startCapture(t, top.server, "eth0", "src host "+laptopMap4.String())
		const size = 2_000_000
		url := fmt.Sprintf("http://[%s]:%d/%d", server6, portHTTP, size)
		checkBlob(t, must(t, top.laptop, peers.Find(t, "curl"), "-sS", "--fail", "--max-time", "30", url), size)
		if len(seen.frames(t)) == 0 {
			t.Errorf("the server did not see %s", laptopMap4)
		}
	})
	t.Run("the server asks an IPv6 host", func(t *testing.T) {
		seen := startCapture(t, top.laptop, "eth0", "src host "+server6.String())
		top.pings(t, top.server, laptopMap4.String(), "-s", "56")
		out := must(t, top.server, peers.Find(t, "dig"), "+short", "+time=5", "+tries=1", "-b", server4.String(), "@"+routerMap4.String(), "AAAA", "router.lab.test")
		if strings.TrimSpace(out) != routerLAN.Addr().String() {
			t.Errorf("dig says %q", out)
		}
		if len(seen.frames(t)) == 0 {
			t.Errorf("the laptop did not see %s", server6)
		}
	})
	t.Run("pings in fragments, both ways", func(t *testing.T) {
		top.pings(t, top.server, laptopMap4.String(), "-s", "4000")
		top.pings(t, top.laptop, server6.String(), "-s", "4000")
	})
	t.Run("IPv6 hosts reach each other by their IPv4 addresses", func(t *testing.T) {
		seen := startCapture(t, top.router, "up0", "src host "+behindPREF64(laptopMap4).String())
		hairpin := behindPREF64(routerMap4).String()
		top.pings(t, top.laptop, hairpin, "-s", "56")
		top.pings(t, top.laptop, hairpin, "-s", "4000")
		for _, way := range []string{"+notcp", "+tcp"} {
			out := must(t, top.laptop, peers.Find(t, "dig"), way, "+short", "+time=5", "+tries=1", "@"+hairpin, "AAAA", "router.lab.test")
			if strings.TrimSpace(out) != routerLAN.Addr().String() {
				t.Errorf("dig %s says %q", way, out)
			}
		}
		refused := try(t, top.laptop, peers.Find(t, "dig"), "+time=5", "+tries=1", "-p", fmt.Sprint(portClosed), "@"+hairpin, "a.test")
		if !strings.Contains(refused.stdout, "connection refused") {
			t.Errorf("a closed UDP port: %+v", refused)
		}
		if len(seen.frames(t)) == 0 {
			t.Errorf("the router did not see the laptop as %s", behindPREF64(laptopMap4))
		}
	})
	t.Run("its own addresses answer, and are its hop", func(t *testing.T) {
		top.pings(t, top.server, siitSelf4.String())
		top.pings(t, top.laptop, siitSelf6.String())
		for _, from := range []struct {
			node     *netlab.Node
			to, self string
		}{{top.server, laptopMap4.String(), siitSelf4.String()}, {top.laptop, server6.String(), siitSelf6.String()}} {
			out := must(t, from.node, peers.Find(t, "traceroute"), "-n", "-q", "1", "-w", "2", from.to)
			if !strings.Contains(out, " "+from.self+" ") {
				t.Errorf("%s is no hop to %s:\n%s", from.self, from.to, out)
			}
		}
	})
	t.Run("a narrower link behind it", func(t *testing.T) {
		const mtu, size = 1400, 2_000_000
		for n, dev := range map[*netlab.Node]string{top.plat: "wan0", top.server: "eth0"} {
			setMTU(t, n, dev, mtu)
			defer setMTU(t, n, dev, 1500)
		}
		url := fmt.Sprintf("http://[%s]:%d/%d", server6, portHTTP, size)
		checkBlob(t, must(t, top.laptop, peers.Find(t, "curl"), "-sS", "--fail", "--max-time", "30", url), size)
		r := try(t, top.laptop, peers.Find(t, "ping"), "-M", "do", "-c", "3", "-i", "0.1", "-W", "1", "-s", "1452", server6.String())
		if said := r.stdout + r.stderr; !strings.Contains(said, fmt.Sprintf("mtu=%d", mtu+20)) && !strings.Contains(said, fmt.Sprintf("mtu: %d", mtu+20)) {
			t.Errorf("the laptop is not told of %d octets: %s", mtu+20, said)
		}
	})
	t.Run("beside it, a CLAT", func(t *testing.T) {
		clat := top.up(t, top.configured()...)
		top.curlBothWays(t, 2_000_000)
		top.ping4(t)
		down(t, clat, syscall.SIGTERM)
	})
	down(t, p, syscall.SIGTERM)
	if lost, added := changes(before, dump(t, top.plat)); len(lost)+len(added) > 0 {
		t.Errorf("the host is not as it was:\n- %s\n+ %s", strings.Join(lost, "\n- "), strings.Join(added, "\n+ "))
	}
}

// removeTAYGA leaves the PLAT without a translator.
func (top *topology) removeTAYGA(t *testing.T) {
	t.Helper()
	top.tayga.stop(t, syscall.SIGTERM)
	must(t, top.plat, peers.Find(t, "ip"), "link", "delete", "nat64")
	must(t, top.plat, peers.Find(t, "nft"), "delete", "table", "ip", "nat")
}

// startRouter starts the program on the PLAT, and routes to it what it translates.
func (top *topology) startRouter(t *testing.T) *process {
	t.Helper()
	file := config(t, "uclat.toml", fmt.Sprintf(`interface.name = "nat64"
interface.ipv4 = ""
interface.self-ipv4 = "%s"
interface.default-route = false
pref64.prefixes = ["%s"]
map = [{ipv4 = "%s", ipv6 = "%s"}, {ipv4 = "%s", ipv6 = "%s"}, {ipv4 = "192.0.2.46", ipv6 = "%s"}]
`, siitSelf4, pref64, laptopMap4, top.laptopAddr, routerMap4, routerLAN.Addr(), top.addr6))
	p := start(t, top.plat, uclat(t), "run", "--config", file)
	p.wait(t, `msg="on: SIIT router on nat64`)
	for _, r := range []netlab.Route{{Dst: pref64, Dev: "nat64"}, {Dst: siitPool, Dev: "nat64"}} {
		if err := top.plat.AddRoute(r); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// pings sends from a node until five are answered.
func (top *topology) pings(t *testing.T, n *netlab.Node, to string, args ...string) {
	t.Helper()
	out := must(t, n, peers.Find(t, "ping"), append([]string{"-c", "5", "-i", "0.05", "-w", "5", to}, args...)...)
	if _, received := pingTotals(t, out); received < 5 {
		t.Errorf("ping %s says\n%s", to, out)
	}
}
