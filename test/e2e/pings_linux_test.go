package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// TestLargePings has ICMP in fragments, both ways. TAYGA has no checksum for it, so the program is the PLAT as well.
func TestLargePings(t *testing.T) { eachPath(t, testLargePings) }

func testLargePings(t *testing.T, top *topology) {
	top.removeTAYGA(t)
	plat := top.startRouter(t)
	for _, n := range []*netlab.Node{top.laptop, top.server} {
		if err := n.SetSysctl("net.ipv4.ping_group_range", "0 0"); err != nil { // sockets of echo messages are for these users
			t.Fatal(err)
		}
	}
	ping := func(t *testing.T, n *netlab.Node, to netip.Addr, count, size int, args ...string) {
		t.Helper()
		args = append(args, "-M", "dont", "-s", fmt.Sprint(size), "-c", fmt.Sprint(count), "-W", "2", to.String())
		out := must(t, n, peers.Find(t, "ping"), args...)
		if !strings.Contains(out, fmt.Sprintf("%d packets transmitted, %d received, ", count, count)) {
			t.Errorf("%d octets from %s: ping says\n%s", size, n.Name(), out)
		}
	}
	for _, c := range []struct {
		name    string
		inbound string
		from    *netlab.Node
		to      netip.Addr
	}{
		// The laptop's connection tracking puts together what comes, before the program sees it.
		{"from the laptop, replies only", "replies", top.laptop, server4},
		{"from the laptop", "all", top.laptop, server4},
		{"from outside", "all", top.server, fixed4},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := top.up(t, top.configured("--inbound", c.inbound)...)
			t.Run("4000 octets, 200 times", func(t *testing.T) { ping(t, c.from, c.to, 200, 4000, "-i", "0.002") })
			// A socket holds two or three answers of this size.
			t.Run("60000 octets", func(t *testing.T) { ping(t, c.from, c.to, 10, 60_000, "-i", "0.2") })
			t.Run("every size around the borders", func(t *testing.T) {
				var sizes []int
				for size := 1220; size <= 1510; size++ {
					sizes = append(sizes, size)
				}
				top.pingSizes(t, c.from, c.to, unix.IP_PMTUDISC_DONT, sizes)
				top.pingSizes(t, c.from, c.to, unix.IP_PMTUDISC_DO, sizes)
			})
			down(t, p, syscall.SIGTERM)
		})
	}
	// As TestNoSilentLoss has it for UDP. Answers have no DF.
	mtus := []int{jumbo, 1500, 1400, 1280}
	setMTU(t, top.router, "up0", jumbo)
	setMTU(t, top.plat, "lan0", jumbo)
	for _, uplink := range mtus {
		// The PLAT's translator sends a hundred errors at once, and each too large a request draws one.
		down(t, plat, syscall.SIGTERM)
		plat = top.startRouter(t)
		top.uplinkMTU(t, uplink)
		p := top.up(t, top.configured("--inbound", "all")...)
		for _, behind := range mtus {
			t.Run(fmt.Sprintf("uplink %d, behind the PLAT %d", uplink, behind), func(t *testing.T) {
				setMTU(t, top.plat, "wan0", behind)
				setMTU(t, top.server, "eth0", behind)
				for _, discover := range []int{unix.IP_PMTUDISC_DO, unix.IP_PMTUDISC_DONT} {
					top.pingSizes(t, top.laptop, server4, discover, borders(uplink, behind+20))
					top.pingSizes(t, top.server, fixed4, discover, borders(uplink, behind+20))
				}
			})
		}
		down(t, p, syscall.SIGTERM)
	}
	down(t, plat, syscall.SIGTERM)
}

// pingSizes sends echo requests in IPv4 packets of these sizes. Each is answered, or refused with a size that is.
func (top *topology) pingSizes(t *testing.T, n *netlab.Node, to netip.Addr, discover int, sizes []int) {
	t.Helper()
	s := newSocket(t, n, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)
	defer s.close()
	s.set(t, unix.IP_MTU_DISCOVER, discover)
	s.connect(t, netip.AddrPortFrom(to, 0))
	for _, size := range sizes {
		top.forget(t)
		err := s.tries(size, discover, s, func(size int) (request []byte, take func() error) {
			request = binary.BigEndian.AppendUint16([]byte{8, 0, 0, 0, 0, 0}, uint16(size)) // identifier and checksum are the kernel's
			request = append(request, content(size)...)
			return request, func() error { return s.takesAnswer(request) }
		})
		if err != nil {
			t.Errorf("ping of %d octets from %s, DF %v: %v", size, n.Name(), discover == unix.IP_PMTUDISC_DO, err)
		}
	}
}

// takesAnswer takes the answer to an echo request, which is there.
func (s *socket) takesAnswer(request []byte) error {
	buf := make([]byte, 65536)
	n, _, err := s.receive(buf, 0)
	if err == nil && (n != len(request) || buf[0] != 0 || !bytes.Equal(buf[6:n], request[6:])) {
		err = fmt.Errorf("%d octets arrived and are not the answer to %d", n, len(request))
	}
	return err
}
