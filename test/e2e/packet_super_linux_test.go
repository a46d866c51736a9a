package e2e

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uclat/test/lab/netlab"
)

// segmentation is all that keeps the kernel from putting packets together at the other end of a veth: there they are, as they were.
var segmentation = []string{
	"tx-tcp-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation", "tx-tcp6-segmentation",
	"tx-udp-segmentation", "tx-generic-segmentation", "tx-checksum-ip-generic",
}

// TestSuperPackets has a PLAT that takes and gives super-packets, which TAYGA does not, so that they come to the laptop in all the ways in which
// they can: as they were sent, or cut on the way and put together again by the laptop's interface, as TCP, as UDP, and as lists of packets. They are
// translated whole, and nothing of them is missing.
func TestSuperPackets(t *testing.T) { eachPath(t, testSuperPackets) }

func testSuperPackets(t *testing.T, top *topology) {
	top.removeTAYGA(t)
	top.startRouter(t)
	const lists, udp = "rx-gro-list", "rx-udp-gro-forwarding"
	for _, c := range []struct {
		name string
		cut  bool     // on the way to the laptop
		on   []string // of the laptop's interface
		udp  bool     // UDP comes as super-packets too
	}{
		{"as they were sent", false, nil, true},
		{"put together", true, nil, false},
		{"put together, and UDP", true, []string{udp}, true},
		{"lists", true, []string{lists}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			setFeatures(t, top.router, "lan0", !c.cut, segmentation...)
			setFeatures(t, top.laptop, "eth0", true, "rx-gro")
			setFeatures(t, top.laptop, "eth0", false, lists, udp)
			setFeatures(t, top.laptop, "eth0", true, c.on...)
			const least = 3000                                      // octets on average that show that not every packet came alone
			whole := !top.forwards || !slices.Contains(c.on, lists) // what the kernel forwards into a TUN is no list any more
			p := top.up(t, top.configured("--inbound", "all")...)
			top.curlBothWays(t, 30_000_000)
			down(t, p, syscall.SIGTERM)
			if n := p.length(t, "46"); n < least {
				t.Errorf("TCP: %d octets a packet to the server", n)
			}
			if n := p.length(t, "64"); n < least && whole {
				t.Errorf("TCP: %d octets a packet to the laptop", n)
			}

			p = top.up(t, top.configured("--inbound", "all")...)
			here, there := top.listenUDP(t, netip.AddrPortFrom(self4, 0)), serverUDP(t, top.server)
			port := here.LocalAddr().(*net.UDPAddr).AddrPort().Port()
			for _, err := range []error{
				sendsBursts(here, there, there.LocalAddr().(*net.UDPAddr).AddrPort()),
				sendsBursts(there, here, netip.AddrPortFrom(fixed4, port)),
			} {
				if err != nil {
					t.Error(err)
				}
			}
			down(t, p, syscall.SIGTERM)
			if n := p.length(t, "46"); n < least {
				t.Errorf("UDP: %d octets a packet to the server", n)
			}
			if n := p.length(t, "64"); n < least && c.udp && whole {
				t.Errorf("UDP: %d octets a packet to the laptop", n)
			}
		})
	}
}

// translated are the numbers of packets and octets in what the program says in the end.
var translated = regexp.MustCompile(`msg="stopped translating" packets-46=(\d+) bytes-46=(\d+) .*packets-64=(\d+) bytes-64=(\d+)`)

// length is how many octets a packet had on average on its way from IPv4 to IPv6 ("46"), or from IPv6 to IPv4 ("64").
func (p *process) length(t *testing.T, way string) int {
	t.Helper()
	numbers := translated.FindStringSubmatch(p.said())
	if numbers == nil {
		t.Fatal("it does not say how much it has translated")
	}
	if numbers = numbers[1:]; way == "64" {
		numbers = numbers[2:]
	}
	packets, _ := strconv.Atoi(numbers[0]) // digits
	octets, _ := strconv.Atoi(numbers[1])
	return octets / max(1, packets)
}

// serverUDP is a socket of the server, until the end of the test.
func serverUDP(t *testing.T, n *netlab.Node) (conn *net.UDPConn) {
	t.Helper()
	inside(t, n, func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(server4, 0)))
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// sendsBursts sends bursts of datagrams that the kernel gets as one each (UDP_SEGMENT), and sees that they arrive one by one and in order.
func sendsBursts(from, to *net.UDPConn, at netip.AddrPort) error {
	const size, datagrams, bursts = 1200, 30, 20
	raw, err := from.SyscallConn()
	if err != nil {
		return err
	}
	var segment error
	err = raw.Control(func(fd uintptr) { segment = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size) })
	if err := errors.Join(err, segment); err != nil {
		return err
	}
	defer func() {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, 0) })
	}()
	if err := to.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	buf := make([]byte, 65536)
	for n := range bursts {
		var burst []byte
		for i := range datagrams {
			burst = append(burst, bytes.Repeat([]byte{byte(n), byte(i)}, size/2)...)
		}
		if _, err := from.WriteToUDPAddrPort(burst, at); err != nil {
			return err
		}
		for rest := burst; len(rest) > 0; rest = rest[size:] {
			got, err := to.Read(buf)
			if err == nil && !bytes.Equal(buf[:got], rest[:size]) {
				err = errors.New("another datagram arrives than was sent")
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}
