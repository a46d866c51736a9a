package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// TestMTU follows the uplink's MTU, also when it changes while the program runs.
func TestMTU(t *testing.T) { eachPath(t, testMTU) }

func testMTU(t *testing.T, top *topology) {
	before := dump(t, top.laptop)
	p := top.up(t, top.discovering()...)
	for _, mtu := range []int{1400, 1280, 1500} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			top.uplinkMTU(t, mtu)
			route := fmt.Sprintf("metric 2000000 scope link dev %s src %s mtu %d\n", tunDev, self4, mtu-20)
			device := fmt.Sprintf("link %s type tuntap mtu %d ", tunDev, mtu-top.spare)
			eventually(t, "device and IPv4 route have the new MTU", func() bool {
				is := dump(t, top.laptop)
				return strings.Contains(is, route) && strings.Contains(is, device)
			})
			top.curlBothWays(t, 2_000_000)
			top.echo(t, mtu-20-28, 4000)
			top.tooBig(t, mtu-20+1, mtu-20)
		})
	}
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)
}

// TestPathMTU has a link behind the PLAT that takes less than all others: its router's error reaches the program that sent.
func TestPathMTU(t *testing.T) { eachPath(t, testPathMTU) }

func testPathMTU(t *testing.T, top *topology) {
	const mtu = 1300
	setMTU(t, top.plat, "wan0", mtu)
	setMTU(t, top.server, "eth0", mtu)
	p := top.up(t, top.configured()...)
	top.tooBig(t, 1480, mtu)
	top.curlBothWays(t, 2_000_000)
	top.echo(t, mtu-28, mtu-27, 4000)
	down(t, p, syscall.SIGTERM)
}

// uplinkMTU sets it at both ends.
func (top *topology) uplinkMTU(t *testing.T, mtu int) {
	t.Helper()
	setMTU(t, top.laptop, "eth0", mtu)
	setMTU(t, top.router, "lan0", mtu)
}

func setMTU(t *testing.T, n *netlab.Node, dev string, mtu int) {
	t.Helper()
	if err := n.SetMTU(dev, mtu); err != nil {
		t.Fatal(err)
	}
}

// tooBig sends a packet of so many octets that must not be fragmented, and finds that the path takes only so many.
func (top *topology) tooBig(t *testing.T, size, path int) {
	t.Helper()
	const headers = 20 + 8 // IPv4, ICMP
	args := []string{"-M", "do", "-c", "2", "-i", "0.1", "-W", "1", "-s", fmt.Sprint(size - headers), server4.String()}
	r := try(t, top.laptop, peers.Find(t, "ping"), args...)
	said := r.stdout + r.stderr
	router, kernel := fmt.Sprintf("(mtu = %d)", path), fmt.Sprintf("mtu=%d", path) // who says it
	if r.code == 0 || !strings.Contains(said, router) && !strings.Contains(said, kernel) {
		t.Errorf("%d octets, where the path takes %d: %+v", size, path, r)
	}
}
