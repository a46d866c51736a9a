package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"uclat/test/lab/netlab"
)

// jumbo is the largest MTU of the links here, in octets.
const jumbo = 9000

// passZeroChecksum is for tests with many datagrams: TAYGA leaves checksums zero that happen to become so, one of 65,536.
const passZeroChecksum = "--translate.udp6-zero-checksum=pass"

// TestNoSilentLoss has links of all MTUs on both sides of the PLAT, and sends datagrams of the sizes at which something begins to be cut or
// refused, both ways, with DF and without. Each of them arrives as it was sent, or its sender hears an error that tells an MTU with
// which the next one arrives.
func TestNoSilentLoss(t *testing.T) { eachPath(t, testNoSilentLoss) }

func testNoSilentLoss(t *testing.T, top *topology) {
	top.restartTAYGA(t, jumbo, platPool)
	setMTU(t, top.router, "up0", jumbo)
	setMTU(t, top.plat, "lan0", jumbo)
	mtus := []int{jumbo, 1500, 1400, 1280} // this way round, nothing that was learned before is too small
	for _, uplink := range mtus {
		top.uplinkMTU(t, uplink)
		p := top.up(t, top.configured(passZeroChecksum)...)
		for _, behind := range mtus {
			t.Run(fmt.Sprintf("uplink %d, behind the PLAT %d", uplink, behind), func(t *testing.T) {
				setMTU(t, top.plat, "wan0", behind)
				setMTU(t, top.server, "eth0", behind)
				top.noSilentLoss(t, uplink, behind+20)
				if uplink == behind {
					top.curlBothWays(t, 2_000_000)
				}
			})
		}
		down(t, p, syscall.SIGTERM)
	}
	for _, c := range []struct {
		name                    string
		uplink, between, behind int
		route                   bool // the host believes that the translator takes what its device does
	}{
		{"a link between takes less", jumbo, 1350, jumbo, false},
		{"the translator says what it takes", 1500, jumbo, jumbo, true},
		{"the translator says what it takes, and a router what it does", 1400, 1350, 1320, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			top.uplinkMTU(t, c.uplink)
			setMTU(t, top.router, "up0", c.between)
			setMTU(t, top.plat, "lan0", c.between)
			setMTU(t, top.plat, "wan0", c.behind)
			setMTU(t, top.server, "eth0", c.behind)
			// With "all", nobody on the laptop puts fragments together before the program sees them.
			p := top.up(t, top.configured(passZeroChecksum, "--inbound", "all")...)
			if c.route {
				if err := top.laptop.AddRoute(netlab.Route{Dst: host(server4), Dev: tunDev}); err != nil {
					t.Fatal(err)
				}
			}
			top.noSilentLoss(t, c.uplink, c.between, c.behind+20)
			down(t, p, syscall.SIGTERM)
		})
	}
}

// borders are the sizes of IPv4 packets that may make a difference where IPv6 packets of so many octets pass.
func borders(mtus ...int) []int {
	sizes := []int{1232, 1252, 1260, 1280, 1472, 1480, 1500, 4000, jumbo - 20, jumbo}
	for _, mtu := range mtus {
		for _, border := range []int{mtu - 48, mtu - 28, mtu - 20, mtu} { // less: fragment header and both headers, fragment header, IPv4 header
			sizes = append(sizes, border-1, border, border+1)
		}
	}
	slices.Sort(sizes)
	return slices.DeleteFunc(slices.Compact(sizes), func(size int) bool { return size > jumbo })
}

// noSilentLoss sends datagrams around the borders of these MTUs, both ways.
func (top *topology) noSilentLoss(t *testing.T, mtus ...int) {
	t.Helper()
	for _, discover := range []int{unix.IP_PMTUDISC_DO, unix.IP_PMTUDISC_DONT} {
		w := newWire(t, top.laptop, top.server, server4, discover)
		for _, size := range borders(mtus...) {
			for _, way := range []struct {
				name     string
				from, to *socket
			}{{"to the server", w.caller, w.callee}, {"to the laptop", w.callee, w.caller}} {
				top.forget(t) // else the kernel would know the answer
				err := way.from.tries(size, discover, way.to, func(size int) (datagram []byte, comesTo func() error) {
					data := content(size)
					return data, func() error { return way.to.takes(data) }
				})
				if err != nil {
					t.Errorf("%d octets %s, DF %v: %v", size, way.name, discover == unix.IP_PMTUDISC_DO, err)
				}
			}
		}
		w.close()
	}
}

// wire is a pair of UDP sockets that are connected with each other.
type wire struct {
	caller, callee *socket
}

// newWire has a node send to an address that leads to another first, and both use one of the values of IP_MTU_DISCOVER.
func newWire(t *testing.T, caller, callee *netlab.Node, to netip.Addr, discover int) *wire {
	t.Helper()
	w := &wire{caller: newUDP(t, caller, discover), callee: newUDP(t, callee, discover)}
	w.caller.connect(t, netip.AddrPortFrom(to, w.callee.bind(t, 0)))
	hello := []byte("hello")
	if err := w.caller.send(hello); err != nil {
		t.Fatal(err)
	}
	n, from, err := w.callee.receive(make([]byte, 100), patience)
	if err != nil || n != len(hello) {
		t.Fatalf("the first datagram did not arrive in %s: %d octets, %v", callee.Name(), n, err)
	}
	w.callee.connect(t, from)
	return w
}

func (w *wire) close() {
	w.caller.close()
	w.callee.close()
}

// content is what a UDP or ICMP message has behind its header, in an IPv4 packet of so many octets.
func content(size int) []byte {
	const headers = 20 + 8                             // IPv4, UDP or ICMP
	data, _ := io.ReadAll(blob(int64(size - headers))) // never fails
	return data
}

// tries sends a datagram in an IPv4 packet of so many octets, and a smaller one where the first is refused, as often as there are links.
// compose makes one, and says how it is taken where it arrives.
func (s *socket) tries(size, discover int, to *socket, compose func(size int) (datagram []byte, take func() error)) error {
	for range 5 {
		datagram, take := compose(size)
		var c complaint
		var err error
		if refused := s.send(datagram); refused != nil {
			if c, err = s.refusal(); c.Errno != refused {
				return fmt.Errorf("%d octets: %w", size, errors.Join(refused, err))
			}
		} else {
			at, silence := await(soon, to.delivers(), s.complains())
			if silence != nil {
				return fmt.Errorf("nothing is heard of %d octets: %w", size, silence)
			}
			if at == 0 {
				return take()
			}
			if c, err = s.complaint(soon); err != nil {
				return fmt.Errorf("%d octets: %w", size, err)
			}
		}
		switch {
		case discover != unix.IP_PMTUDISC_DO || c.Errno != unix.EMSGSIZE:
			return fmt.Errorf("of %d octets %+v is heard", size, c)
		case int(c.MTU) >= size || c.MTU < 1260:
			return fmt.Errorf("%d octets are said to be too many for %d", size, c.MTU)
		}
		size = int(c.MTU)
	}
	return fmt.Errorf("%d octets are the last that was said to arrive, and nothing does", size)
}

// takes takes a datagram that is there.
func (s *socket) takes(want []byte) error {
	buf := make([]byte, 65536)
	n, _, err := s.receive(buf, 0)
	if err == nil && !bytes.Equal(buf[:n], want) {
		err = fmt.Errorf("%d octets arrived and are not the %d that were sent", n, len(want))
	}
	return err
}
