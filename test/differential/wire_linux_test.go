package differential

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"uclat/test/lab/netlab"
)

const (
	tun     = "clat0" // the device of each translator
	linkMTU = 1500    // octets
)

// translator is a program that translates what is sent on its device, and a packet socket there. The kernel's IP is not involved: what
// the socket sends goes straight to the program, and what the program writes is seen before the kernel throws it away.
type translator struct {
	name  string
	fd    int
	index int // of the device
	count uint32
	buf   []byte
}

// openTranslator waits until the program in n translates.
func openTranslator(t *testing.T, n *netlab.Node) *translator {
	t.Helper()
	eventually(t, n.Name()+" has its device", func() bool {
		link, err := n.Netlink().LinkByName(tun)
		return err == nil && link.Attrs().MTU == linkMTU && link.Attrs().RawFlags&unix.IFF_UP != 0
	})
	link, err := n.Netlink().LinkByName(tun)
	if err != nil {
		t.Fatal(err)
	}
	// A marker says only that the packets before it in its own queue are done.
	queues, err := filepath.Glob(fmt.Sprintf("/proc/%d/root/sys/class/net/%s/queues/tx-*", n.PID(), tun))
	if err != nil || len(queues) != 1 {
		t.Fatalf("the device of %s has not one queue, but %q", n.Name(), queues)
	}
	tr := &translator{name: n.Name(), fd: -1, index: link.Attrs().Index, buf: make([]byte, 1<<16)}
	if err := inside(n, tr.open); err != nil {
		t.Fatalf("packet socket in %s: %v", n.Name(), err)
	}
	t.Cleanup(func() { unix.Close(tr.fd) })
	if outs, err := tr.exchange(); err != nil || len(outs) > 0 {
		t.Fatalf("%d packets out of %s that nobody sent: %v", len(outs), tr.name, err)
	}
	return tr
}

// inside runs f in the node's network namespace. Sockets that f opens stay inside. The thread must not end, as it usually does where one
// was in another namespace: the kernel would kill the programs that it started.
func inside(n *netlab.Node, f func() error) error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		return err
	}
	defer home.Close()
	ns, err := netns.GetFromPid(n.PID())
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := netns.Set(ns); err != nil {
		return err
	}
	err = f()
	if back := netns.Set(home); back != nil {
		return errors.Join(err, back) // and nobody else gets the thread
	}
	runtime.UnlockOSThread()
	return err
}

func (tr *translator) open() (err error) {
	if tr.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return err
	}
	return errors.Join(
		unix.SetsockoptInt(tr.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 1<<22),
		unix.SetsockoptTimeval(tr.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience.Seconds())}),
		unix.Bind(tr.fd, tr.address(unix.ETH_P_ALL)),
	)
}

func (tr *translator) address(protocol uint16) *unix.SockaddrLinklayer {
	return &unix.SockaddrLinklayer{Protocol: protocol<<8 | protocol>>8, Ifindex: tr.index}
}

// exchange sends packets, one after the other, and returns all that the program made of them. Behind them goes one marker of each family:
// the program keeps the order of what leaves in one family, so when both markers are through, everything else is.
func (tr *translator) exchange(ps ...[]byte) (outs [][]byte, err error) {
	tr.count++
	for _, p := range append(slices.Clip(ps), marker(false, tr.count), marker(true, tr.count)) {
		protocol := uint16(unix.ETH_P_IP)
		if p[0]>>4 == 6 {
			protocol = unix.ETH_P_IPV6
		}
		if err := unix.Sendto(tr.fd, p, 0, tr.address(protocol)); err != nil {
			return nil, fmt.Errorf("sending %d octets to %s: %w", len(p), tr.name, err)
		}
	}
	for markers := 0; markers < 2; {
		n, from, err := unix.Recvfrom(tr.fd, tr.buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s does not answer: %w", tr.name, err)
		}
		p := tr.buf[:n]
		switch out := from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING; {
		case out:
			return nil, fmt.Errorf("the kernel itself sends on the device of %s: % x", tr.name, p)
		case isMarker(p):
			if got := markerCount(p); got != tr.count {
				return nil, fmt.Errorf("marker %d comes out of %s, want %d", got, tr.name, tr.count)
			}
			markers++
		default:
			outs = append(outs, slices.Clone(p))
		}
	}
	return outs, nil
}

// marker is an echo request from one address of markers to the other, that carries a number.
func marker(six bool, count uint32) []byte {
	if six {
		return serialize(&layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: markers[0].six, DstIP: markers[1].six},
			raw(icmp6(markers[0].six, markers[1].six, 128, 0, count)))
	}
	return serialize(&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: markers[0].four, DstIP: markers[1].four},
		raw(icmp4(8, 0, count)))
}

func isMarker(p []byte) bool {
	v := look(p)
	return v.ok && markers[0].is(v.src) && markers[1].is(v.dst)
}

func markerCount(p []byte) uint32 { return binary.BigEndian.Uint32(p[look(p).head+4:]) }
