package e2e

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"uclat/test/lab/netlab"
)

// inside runs f in the network of a node. Sockets that f opens stay there, goroutines that it starts do not.
func inside(t *testing.T, n *netlab.Node, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		done <- func() (err error) {
			// The thread must come home and go on: programs that it has started are killed when it ends.
			runtime.LockOSThread()
			home, err := netns.Get()
			if err != nil {
				return err
			}
			defer home.Close()
			there, err := netns.GetFromPid(n.PID())
			if err != nil {
				return err
			}
			defer there.Close()
			if err := netns.Set(there); err != nil {
				return err
			}
			defer func() {
				if back := netns.Set(home); back != nil {
					err = errors.Join(err, back) // the thread stays locked, and ends
					return
				}
				runtime.UnlockOSThread()
			}()
			return f()
		}()
	}()
	if err := <-done; err != nil {
		t.Fatalf("in the network of %s: %v", n.Name(), err)
	}
}

// socket is a socket of IPv4 in a node. It shows what the node's kernel tells to programs there.
type socket struct {
	fd int
}

// newSocket opens a socket of a type and protocol, until the end of the test. What ICMP errors say is kept for complaint.
func newSocket(t *testing.T, n *netlab.Node, kind, protocol int) *socket {
	t.Helper()
	s := &socket{}
	inside(t, n, func() (err error) {
		s.fd, err = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, protocol)
		return os.NewSyscallError("socket", err)
	})
	t.Cleanup(s.close)
	s.set(t, unix.IP_RECVERR, 1)
	return s
}

// close may be called twice.
func (s *socket) close() {
	if s.fd >= 0 {
		unix.Close(s.fd)
	}
	s.fd = -1
}

// newUDP opens a UDP socket with one of the values of IP_MTU_DISCOVER.
func newUDP(t *testing.T, n *netlab.Node, discover int) *socket {
	t.Helper()
	s := newSocket(t, n, unix.SOCK_DGRAM, unix.IPPROTO_UDP)
	s.set(t, unix.IP_MTU_DISCOVER, discover)
	return s
}

// set sets an option of IPv4.
func (s *socket) set(t *testing.T, option, value int) {
	t.Helper()
	if err := unix.SetsockoptInt(s.fd, unix.IPPROTO_IP, option, value); err != nil {
		t.Fatalf("option %d of IPv4 to %d: %v", option, value, err)
	}
}

// bind has it receive what comes to a port of any address; 0 is the kernel's choice, which is returned.
func (s *socket) bind(t *testing.T, port uint16) uint16 {
	t.Helper()
	if err := unix.Bind(s.fd, &unix.SockaddrInet4{Port: int(port)}); err != nil {
		t.Fatalf("bind to port %d: %v", port, err)
	}
	at, err := unix.Getsockname(s.fd)
	if err != nil {
		t.Fatal(err)
	}
	return uint16(at.(*unix.SockaddrInet4).Port)
}

// connect is that of a datagram socket, which sends nothing.
func (s *socket) connect(t *testing.T, to netip.AddrPort) {
	t.Helper()
	if err := unix.Connect(s.fd, sockaddr(to)); err != nil {
		t.Fatalf("connect to %s: %v", to, err)
	}
}

// send is what the kernel says to a datagram, at once.
func (s *socket) send(b []byte) error {
	return unix.Sendto(s.fd, b, unix.MSG_DONTWAIT, nil)
}

// mtu is what the path takes as far as the kernel knows, in octets of IPv4. The socket must be connected.
func (s *socket) mtu(t *testing.T) int {
	t.Helper()
	n, err := unix.GetsockoptInt(s.fd, unix.IPPROTO_IP, unix.IP_MTU)
	if err != nil {
		t.Fatalf("IP_MTU: %v", err)
	}
	return n
}

// receive waits for a datagram. The error is unix.EAGAIN where none comes in time.
func (s *socket) receive(buf []byte, wait time.Duration) (n int, from netip.AddrPort, err error) {
	if _, err := await(wait, s.delivers()); err != nil {
		return 0, from, err
	}
	n, sa, err := unix.Recvfrom(s.fd, buf, unix.MSG_DONTWAIT)
	if in, ok := sa.(*unix.SockaddrInet4); ok {
		from = netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
	}
	return n, from, err
}

// complaint is an error that a program hears by IP_RECVERR.
type complaint struct {
	Errno      syscall.Errno
	Type, Code uint8      // of ICMP
	MTU        uint32     // octets, where the packet was too big
	From       netip.Addr // who sent the ICMP error; invalid where it is the host's own kernel that complains
}

// complaint waits for an ICMP error. The error is unix.EAGAIN where none comes in time.
func (s *socket) complaint(wait time.Duration) (complaint, error) {
	for end := time.Now().Add(wait); ; {
		if _, err := await(time.Until(end), s.complains()); err != nil {
			return complaint{}, err
		}
		// The kernel tells it twice, first in the queue. Only with both taken, the next call is not told of it.
		errno, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			return complaint{}, err
		case errno != 0:
			return s.queued()
		case time.Now().After(end):
			return complaint{}, errors.New("the queue has an error that the socket does not have")
		}
	}
}

// refusal is why the kernel did not send what it was just given.
func (s *socket) refusal() (complaint, error) { return s.queued() }

// complains is what to await for a complaint: POLLERR, which needs not be asked for.
func (s *socket) complains() unix.PollFd { return unix.PollFd{Fd: int32(s.fd)} }

// delivers is what to await for a datagram.
func (s *socket) delivers() unix.PollFd { return unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN} }

func (s *socket) queued() (c complaint, err error) {
	control := make([]byte, 256)
	_, n, _, _, err := unix.Recvmsg(s.fd, nil, control, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != nil {
		return c, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return c, err
	}
	for _, m := range messages {
		const extended, address = 16, 4 // of struct sock_extended_err, then of the address in struct sockaddr_in
		if m.Header.Level != unix.IPPROTO_IP || m.Header.Type != unix.IP_RECVERR || len(m.Data) < extended+address+4 {
			continue
		}
		c.Errno = syscall.Errno(binary.NativeEndian.Uint32(m.Data))
		c.MTU = binary.NativeEndian.Uint32(m.Data[8:])
		if m.Data[4] == unix.SO_EE_ORIGIN_ICMP {
			c.Type, c.Code = m.Data[5], m.Data[6]
			c.From = netip.AddrFrom4([4]byte(m.Data[extended+address:]))
		}
		return c, nil
	}
	return c, errors.New("an error without IP_RECVERR")
}

// await waits until something happens to one of several sockets, and says to which. The error is unix.EAGAIN where nothing does.
func await(wait time.Duration, sockets ...unix.PollFd) (int, error) {
	for end := time.Now().Add(wait); ; {
		left := max(0, time.Until(end))
		n, err := unix.Poll(sockets, int((left + time.Millisecond - 1).Milliseconds()))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, os.NewSyscallError("poll", err)
		case n == 0:
			return 0, unix.EAGAIN
		}
		// POLLERR comes to all who wait for a socket, and is for those who wait for nothing else.
		asked := func(s unix.PollFd) bool { return s.Revents != 0 && (s.Events == 0 || s.Revents&s.Events != 0) }
		if i := slices.IndexFunc(sockets, asked); i >= 0 {
			return i, nil
		}
		return slices.IndexFunc(sockets, func(s unix.PollFd) bool { return s.Revents != 0 }), nil
	}
}

func sockaddr(a netip.AddrPort) *unix.SockaddrInet4 {
	return &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())}
}

// control is a control message of IPv4 for sendmsg.
func control(kind int, data []byte) []byte {
	const header = 16 // struct cmsghdr
	b := binary.NativeEndian.AppendUint64(nil, header+uint64(len(data)))
	b = binary.NativeEndian.AppendUint32(b, unix.IPPROTO_IP)
	b = binary.NativeEndian.AppendUint32(b, uint32(kind))
	b = append(b, data...)
	return append(b, make([]byte, unix.CmsgSpace(len(data))-len(b))...)
}
