package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// TestPacketLifetimeZero has the only router be no router any more, and one again.
func TestPacketLifetimeZero(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket})
	p := top.up(t)
	addr := p.addr6(t)
	top.ping4(t)
	none := ordinary(lasting(lanPrefix))
	none.lifetime = 0
	top.radvd.say(t, none)
	p.wait(t, `msg="waiting: no interface has an IPv6 default route`)
	if a := top.source(t); a.IsValid() {
		t.Errorf("there is a way to IPv4, from %v, without a router", a)
	}
	top.radvd.say(t, ordinary(lasting(lanPrefix)))
	top.onAgain(t, p, addr)
	down(t, p, syscall.SIGTERM)
}

// onAgain waits until the program is on for the second time, as the same address as before.
func (top *topology) onAgain(t *testing.T, p *process, addr netip.Addr) {
	t.Helper()
	eventually(t, "IPv4 is back", func() bool { return strings.Count(p.said(), `msg="on: `) == 2 })
	if got := p.addr6(t); got != addr {
		t.Errorf("it is %s now, and was %s", got, addr)
	}
	top.ping4(t)
}

// TestPacketUplinkFlaps takes the uplink away for a moment while a download goes on, which goes on after it.
func TestPacketUplinkFlaps(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket})
	before := dump(t, top.laptop)
	p := top.up(t)
	addr := p.addr6(t)
	traffic := top.endlessDownload(t)
	top.setUp(t, false)
	p.wait(t, `msg="waiting: no interface has an IPv6 default route`)
	top.setUp(t, true)
	top.onAgain(t, p, addr)
	seen := startCapture(t, top.laptop, tunDev, "tcp and greater 500 and src host "+server4.String())
	eventually(t, "the download goes on", func() bool { return seen.seen(t) > 10 })
	traffic.stop(t, syscall.SIGKILL)
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)
}

// TestPacketUplinkBounces takes the uplink away for less than it takes to see it, several times, and then pulls it out: the one that is
// plugged in instead has the same name and nothing else of it.
func TestPacketUplinkBounces(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket, lan: bridge})
	p := top.up(t)
	addr := p.addr6(t)
	for range 5 {
		top.setUp(t, false)
		top.setUp(t, true)
	}
	eventually(t, "the server is reached", func() bool { return top.reachesServer(t) })
	top.sendsFrom(t, addr)
	must(t, top.laptop, peers.Find(t, "ip"), "link", "delete", "eth0")
	eventually(t, "IPv4 goes with the uplink", func() bool { return !top.source(t).IsValid() })
	if err := errors.Join(
		netlab.Connect(top.laptop, "eth0", top.bridge, "laptop0", netlab.LinkOptions{MACA: mac(0x55)}),
		top.bridge.AddPort("br0", "laptop0"),
	); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server is reached again", func() bool { return top.reachesServer(t) })
	top.sendsFrom(t, addr)
	if strings.Contains(p.said(), "level=ERROR") {
		t.Error("something failed")
	}
	down(t, p, syscall.SIGTERM)
}

// sendsFrom pings the server, and sees on the bridge that what the laptop sends is from an address.
func (top *topology) sendsFrom(t *testing.T, addr netip.Addr) {
	t.Helper()
	seen := startCapture(t, top.bridge, "laptop0", "icmp6 and dst host "+server6.String())
	top.ping4(t)
	for _, f := range seen.frames(t) {
		if got := source6(f); got != addr.String() {
			t.Errorf("it sends from %s, want %s", got, addr)
		}
	}
}

// TestPacketWireGuard has an uplink as wireguard-go makes it: it has no link-layer addresses, an address by hand, less than 1500 octets, and
// super-packets go through it whole. Nobody speaks Neighbor Discovery there.
func TestPacketWireGuard(t *testing.T) {
	t.Parallel()
	var sent, received *atomic.Int64 // the largest
	wireguard := lan{uplink: "wg0", address: netip.MustParsePrefix("2001:db8:1::d/64")}
	wireguard.lay = func(t *testing.T, top *topology) (err error) {
		sent, received, err = layWireGuard(t, top)
		return err
	}
	top := newNetwork(t, network{path: onPacket, lan: wireguard})
	// What TAYGA sends are single packets. What the PLAT's kernel sends is not.
	top.startRole(t, top.plat, "server", serverOptions{Addr: top.addStranger(t)})
	seen := startCapture(t, top.laptop, "wg0", "icmp6 and (ip6[40] == 135 or ip6[40] == 136)")
	before := dump(t, top.laptop)
	p := top.up(t)
	top.ping4(t)
	top.curlBothWays(t, 5_000_000)
	top.echo(t, 1, 1000, 1400, 4000)
	top.traceroute(t)
	const size = 5_000_000
	url := fmt.Sprintf("http://203.0.113.7:%d/%d", portHTTP, size)
	checkBlob(t, must(t, top.laptop, peers.Find(t, "curl"), "-sS", "--fail", "--max-time", "20", url), size)
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)
	if n := len(seen.frames(t)); n > 0 {
		t.Errorf("%d messages of Neighbor Discovery were there", n)
	}
	for who, n := range map[string]int64{"laptop": sent.Load(), "router": received.Load()} {
		if n <= 2*wireGuardMTU {
			t.Errorf("the largest that the %s sent had %d octets, which is no super-packet", who, n)
		}
	}
}

// wireGuardMTU is what wg-quick leaves of 1500 octets.
const wireGuardMTU = 1420

// layWireGuard makes devices as wireguard-go does, and carries between them what it would encrypt. The numbers are the largest packets.
func layWireGuard(t *testing.T, top *topology) (fromLaptop, fromRouter *atomic.Int64, err error) {
	const (
		flags    = unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR
		offloads = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6
	)
	fromLaptop, fromRouter = carry(t, openDevice(t, top.laptop, "wg0", flags, offloads), openDevice(t, top.router, "lan0", flags, offloads))
	return fromLaptop, fromRouter, errors.Join(
		top.laptop.SetMTU("wg0", wireGuardMTU),
		top.router.SetMTU("lan0", wireGuardMTU),
		top.laptop.SetUp("wg0", true),
		top.router.SetUp("lan0", true),
		top.laptop.AddRoute(netlab.Route{Dst: netip.MustParsePrefix("::/0"), Dev: "wg0"}),
	)
}

// TestPacketSourceTable has a rule that leads what is from the link's prefix to a table of its own, with another router: packets of the CLAT
// are of that prefix.
func TestPacketSourceTable(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket, lan: bridge})
	none := ordinary(lasting(lanPrefix))
	none.lifetime = 0
	top.addRouter(t, none)
	ip := peers.Find(t, "ip")
	p := top.up(t)
	top.leavesBy(t, p, mac(0x12))
	rule := []string{"from", lanPrefix.String(), "lookup", "100"}
	must(t, top.laptop, ip, "-6", "route", "add", "default", "via", router2LL.Addr().String(), "dev", "eth0", "table", "100")
	must(t, top.laptop, ip, append([]string{"-6", "rule", "add"}, rule...)...)
	eventually(t, "the second router is known", func() bool { return top.reaches6(t) })
	top.leavesBy(t, p, mac(0x13))
	down(t, p, syscall.SIGTERM)
	p = top.up(t)
	top.leavesBy(t, p, mac(0x13))
	must(t, top.laptop, ip, append([]string{"-6", "rule", "del"}, rule...)...)
	top.leavesBy(t, p, mac(0x12))
	down(t, p, syscall.SIGTERM)
}

// leavesBy waits until what the program sends goes to a router's link-layer address, and finds that answers come back.
func (top *topology) leavesBy(t *testing.T, p *process, router []byte) {
	t.Helper()
	seen := startCapture(t, top.bridge, "laptop0", fmt.Sprintf("icmp6 and src host %s and dst host %s", p.addr6(t), server6))
	eventually(t, fmt.Sprintf("packets leave to % x", router), func() bool {
		top.reachesServer(t)
		frames := seen.soFar(t)
		return len(frames) > 0 && string(frames[len(frames)-1][:6]) == string(router)
	})
	top.ping4(t)
}
