package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"uclat/clat/datapath"
	"uclat/clat/frame"
	"uclat/test/peers"
)

// network is a host with a CLAT, in a network namespace of its own, that ends with the test:
//
//	applications - IPv4 - clat0 (TUN) - IPv6 - uplink (TUN, read and written by the test)
//
// Packets to 198.51.100.0/24 go to clat0, which is the translator's, and come back as IPv6. The host forwards them to the uplink, and
// to clat0 what comes from there for client6.
type network struct {
	ns     netns.NsHandle
	clat   []*queue
	uplink *queue
}

// The links take 1500 octets, and so many packets before one is lost.
const (
	linkMTU    = 1500
	linkQueued = 1 << 15
)

// newNetwork makes the network, with so many queues of clat0.
func newNetwork(t *testing.T, queues int) *network {
	t.Helper()
	peers.NeedRoot(t)
	if _, err := os.Stat(clonePath); err != nil {
		peers.Skip(t, "no TUN devices here: %v", err)
	}
	n := &network{ns: netns.None()}
	err := onThread(func() (err error) {
		n.ns, err = netns.New() // this thread is in it from here on
		return err
	})
	if err != nil {
		peers.Skip(t, "may not make a network namespace: %v", err)
	}
	t.Cleanup(func() { n.ns.Close() })
	n.do(t, func() (err error) {
		// Nothing of the kernel's own among the packets.
		if err := errors.Join(
			os.WriteFile("/proc/sys/net/ipv6/conf/default/addr_gen_mode", []byte("1"), 0),
			os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte("1"), 0),
		); err != nil {
			return err
		}
		if n.clat, err = openTUN("clat0", queues); err != nil {
			return err
		}
		uplink, err := openTUN("uplink", 1)
		if err != nil {
			return err
		}
		n.uplink = uplink[0]
		return errors.Join(
			address("clat0", addr(client4)),
			route("clat0", netip.MustParsePrefix("198.51.100.0/24")),
			route("clat0", netip.PrefixFrom(addr(client6), 128)),
			route("uplink", netip.MustParsePrefix("64:ff9b::/96")),
		)
	})
	t.Cleanup(func() { n.uplink.Close() })
	return n
}

// onThread runs f on a thread that ends with it, so that what f did to the thread's namespace harms nobody.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread together with the goroutine
		done <- f()
	}()
	return <-done
}

// do runs f inside. Sockets that f opens stay inside, goroutines that it starts do not.
func (n *network) do(t testing.TB, f func() error) {
	t.Helper()
	err := onThread(func() error {
		if err := netns.Set(n.ns); err != nil {
			return err
		}
		return f()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// translate has the datapath serve clat0 until the test ends, one lane for each queue.
func (n *network) translate(t *testing.T) {
	t.Helper()
	n.serve(t, newTranslator(t), func(q *queue) datapath.Port { return q })
}

// serve is the same with a translator and a way out for the IPv6 packets of each lane.
func (n *network) serve(t *testing.T, tr *translator, v6 func(*queue) datapath.Port) {
	t.Helper()
	engine := datapath.New(tr.Translator)
	var lanes []datapath.Lane
	for _, q := range n.clat {
		lanes = append(lanes, datapath.Lane{In: q, V6: v6(q), V4: q})
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- engine.Run(ctx, lanes) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// socket is a UDP socket of an application, from client4 to a port of a peer.
func (n *network) socket(t testing.TB, local uint16, peer netip.AddrPort) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	n.do(t, func() (err error) {
		conn, err = net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr(client4), local)), net.UDPAddrFromAddrPort(peer))
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// control does something to a socket.
func control(t testing.TB, c *net.UDPConn, f func(fd int) error) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	failed := raw.Control(func(fd uintptr) { err = f(int(fd)) })
	if err := errors.Join(failed, err); err != nil {
		t.Fatal(err)
	}
}

// address gives a link an address that can be used at once: nobody is asked whether it is his.
func address(link string, a netip.Addr) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	host := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
	return netlink.AddrAdd(l, &netlink.Addr{IPNet: host, Flags: unix.IFA_F_NODAD})
}

func route(link string, dst netip.Prefix) error {
	l, err := netlink.LinkByName(link)
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{
		LinkIndex: l.Attrs().Index,
		Dst:       &net.IPNet{IP: dst.Addr().AsSlice(), Mask: net.CIDRMask(dst.Bits(), dst.Addr().BitLen())},
	})
}

// queue is one queue of a TUN: a datapath.Port that reads what waits there, as many packets as fit.
type queue struct {
	file  *os.File
	raw   syscall.RawConn
	slots [][]byte
	reads atomic.Uint64 // packets
}

var _ datapath.Port = (*queue)(nil)

// openTUN makes a TUN with so many queues, in the namespace of the calling thread.
func openTUN(name string, queues int) (all []*queue, err error) {
	for range queues {
		q, err := openQueue(name)
		if err != nil {
			return nil, err
		}
		all = append(all, q)
	}
	l, err := netlink.LinkByName(name)
	if err != nil {
		return nil, err
	}
	return all, errors.Join(netlink.LinkSetMTU(l, linkMTU), netlink.LinkSetTxQLen(l, linkQueued), netlink.LinkSetUp(l))
}

const clonePath = "/dev/net/tun"

func openQueue(name string) (*queue, error) {
	fd, err := unix.Open(clonePath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", clonePath, err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_MULTI_QUEUE)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make the TUN %s: %w", name, err)
	}
	q := &queue{file: os.NewFile(uintptr(fd), clonePath)}
	for range 64 {
		q.slots = append(q.slots, make([]byte, frame.Headroom+linkMTU+frame.Tailroom))
	}
	q.raw, err = q.file.SyscallConn()
	return q, err
}

// Batch is the most that one Read fills.
func (q *queue) Batch() int { return len(q.slots) }

// Close ends a waiting Read.
func (q *queue) Close() error { return q.file.Close() }

// Read fills at least one frame.
func (q *queue) Read(fs []*frame.Frame) (n int, err error) {
	end := q.raw.Read(func(fd uintptr) bool {
		for n < len(fs) {
			slot := q.slots[n]
			size, failed := unix.Read(int(fd), slot[frame.Headroom:frame.Headroom+linkMTU])
			if errors.Is(failed, unix.EAGAIN) {
				return n > 0 // else wait
			}
			if failed != nil {
				err = failed
				return true
			}
			fs[n].Wrap(slot, frame.Headroom, size)
			n++
		}
		return true
	})
	q.reads.Add(uint64(n))
	return n, errors.Join(err, end)
}

// Write sends all of fs, each in the order of fs.
func (q *queue) Write(fs []*frame.Frame) (int, error) {
	for i, f := range fs {
		if _, err := q.file.Write(f.Bytes()); err != nil {
			return i, err
		}
	}
	return len(fs), nil
}

// send writes a packet into the link, from where the kernel takes it as received.
func (q *queue) send(t testing.TB, p []byte) {
	t.Helper()
	if _, err := q.file.Write(p); err != nil {
		t.Fatal(err)
	}
}

// receive waits for the next packet that the kernel sends on the link, apart from what it says of itself to its neighbours.
func (q *queue) receive(t testing.TB) packet {
	t.Helper()
	buf := make([]byte, linkMTU)
	for {
		n, err := q.file.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if p := decodeHeader(t, slices.Clone(buf[:n])); !p.dst().IsMulticast() {
			return p
		}
	}
}
