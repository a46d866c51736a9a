package conformance

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/clat"
	"uclat/clat/datapath"
	"uclat/clat/eam"
	"uclat/clat/frame"
	"uclat/clat/siit"
)

func TestRefused(t *testing.T) {
	t.Run("PMTU-CLAT-2", func(t *testing.T) {
		for _, c := range []struct {
			takes, says int // octets that the way out takes, and what it says of that
			want        int
		}{
			{1400, 1400, 1400}, {1499, 1499, 1499}, {1280, 1280, 1280},
			{1400, 0, 1280}, {1280, 0, 1280}, // it does not say
			{1280, 1, 1280}, {1280, 1279, 1280}, // less is none of IPv6
		} {
			synctest.Test(t, func(t *testing.T) { refusesDF(t, c.takes, c.says, c.want) })
		}
		synctest.Test(t, refusesOneOfMany)
		synctest.Test(t, refusesInSilence)
		kernelRefuses(t)
	})
}

// taking is a way out that takes so many octets and says so, or something else.
func taking(octets, says int, refused *int) func(p []byte) error {
	return func(p []byte) error {
		if p[0]>>4 == 4 || len(p) <= octets {
			return nil
		}
		*refused++
		return fmt.Errorf("writing: %w", clat.TooBig{MTU: says})
	}
}

// refusesDF: the first packet that is refused is answered as if it had come back with a Packet Too Big, and the next never gets there.
func refusesDF(t *testing.T, takes, says, want int) {
	refused := 0
	w := newWorker(t, auto)
	lane := run(t, w.engine, taking(takes, says, &refused))
	for n, proto := range []layers.IPProtocol{layers.IPProtocolUDP, layers.IPProtocolTCP, layers.IPProtocolGRE, layers.IPProtocolICMPv4} {
		dst := net.IP{198, 51, 100, byte(10 + n)}
		in := sized4(t, 1480, layers.IPv4{Flags: layers.IPv4DontFragment, DstIP: dst, TOS: 0xb8}, proto)
		for i := range 3 {
			out := lane.send(t, in)
			if len(out) != 1 {
				t.Fatalf("packet %d to %v: %d packets, want an answer", i, dst, len(out))
			}
			out[0].fromTo(t, self4, client4)
			m := out[0].icmp(t)
			m.is(t, 3, 4, uint32(want-20))
			quoted := m.quoted(t)
			quoted.fromTo(t, client4, dst)
			if quoted.v4.Length != 1480 || quoted.v4.Flags != layers.IPv4DontFragment || quoted.protocol != proto {
				t.Errorf("quotes %x", m.body[:20])
			}
			same(t, "quote", quoted.payload, in[20:][:len(quoted.payload)])
			if len(quoted.payload) < 8 || len(out[0].octets) > 1280 {
				t.Errorf("quotes %d octets behind the header, in %d", len(quoted.payload), len(out[0].octets))
			}
		}
		if refused != n+1 {
			t.Errorf("%d packets were refused, want one for each of %d peers", refused, n+1)
		}
		// What the answer says passes, and without DF, all does.
		for _, again := range [][]byte{
			sized4(t, want-20, layers.IPv4{Flags: layers.IPv4DontFragment, DstIP: dst}, proto), sized4(t, 1480, layers.IPv4{DstIP: dst}, proto),
		} {
			for _, p := range lane.send(t, again) {
				if p.v6 == nil {
					t.Errorf("%d octets were answered with %x", len(again), p.octets)
				}
			}
		}
		if refused != n+1 {
			t.Errorf("%d packets were refused, want %d", refused, n+1)
		}
	}
	total := w.engine.Counters()
	if dropped, said := total.Drops[clat.To6][clat.DropTooBig], total.Replies[clat.To6]; dropped != 4*3 || said != 4*3 {
		t.Errorf("counted %d dropped and %d answered, want 12", dropped, said)
	}
}

// refusesOneOfMany: what comes with it in one batch leaves, in order.
func refusesOneOfMany(t *testing.T) {
	refused := 0
	lane := run(t, newWorker(t, auto).engine, taking(1400, 1400, &refused))
	var batch [][]byte
	for i, length := range []int{100, 1480, 101, 102, 1480, 103} {
		header := layers.IPv4{Flags: layers.IPv4DontFragment, DstIP: net.IP{198, 51, 100, byte(i)}}
		batch = append(batch, sized4(t, length, header, layers.IPProtocolUDP))
	}
	var left, told []byte
	for _, p := range lane.send(t, batch...) {
		if p.v6 != nil {
			left = append(left, p.dst()[15])
		} else {
			told = append(told, p.icmp(t).quoted(t).dst()[3])
		}
	}
	if !slices.Equal(left, []byte{0, 2, 3, 5}) || !slices.Equal(told, []byte{1, 4}) || refused != 2 {
		t.Errorf("of packets 0 to 5, %d left, the senders of %d were told, and %d were refused", left, told, refused)
	}
}

// refusesInSilence: nobody is told of a fragment, of an error, or where errors are off; and a device that fails for another reason says
// nothing about sizes.
func refusesInSilence(t *testing.T) {
	full := func(flags layers.IPv4Flag) []byte {
		return sized4(t, 1480, layers.IPv4{Flags: flags}, layers.IPProtocolUDP)
	}
	quiet := func(lane *device, in []byte) {
		t.Helper()
		for _, p := range lane.send(t, in) {
			if p.v4 != nil {
				t.Errorf("answered with %x", p.octets)
			}
		}
	}
	refused := 0
	w := newWorker(t, auto)
	lane := run(t, w.engine, taking(1400, 1400, &refused))
	whole := sized4(t, 3000, layers.IPv4{Id: 9}, layers.IPProtocolUDP) // in fragments of 1496 octets
	quiet(lane, whole)
	joined(t, lane.send(t, whole)) // the next one, in fragments that pass
	w.most(t, peer4, 1400)

	w = newWorker(t, auto, func(o *siit.Options, _ *eam.Spec) { o.NoErrors = true })
	lane = run(t, w.engine, taking(1400, 1400, &refused))
	quiet(lane, full(layers.IPv4DontFragment))
	if out := lane.send(t, full(0)); len(out) != 2 {
		t.Errorf("without errors: %d packets, want 2: what was refused says it", len(out))
	}

	quote := build(t, &layers.IPv4{SrcIP: peer4, DstIP: client4}, &layers.UDP{}, data(1400))
	lane = run(t, newWorker(t, auto).engine, taking(1000, 1000, &refused))
	quiet(lane, build(t, &layers.IPv4{Flags: layers.IPv4DontFragment}, icmp4(3, 3, 0), payload(quote)))

	w = newWorker(t, auto)
	lane = run(t, w.engine, func(p []byte) error {
		if len(p) == 1500 {
			return unix.EIO
		}
		return nil
	})
	for range 2 {
		quiet(lane, full(layers.IPv4DontFragment))
	}
	if n := w.drops(clat.DropWrite); n != 2 {
		t.Errorf("%d packets counted as refused, want 2", n)
	}
	w.most(t, peer4, 1500)
}

// kernelRefuses: a host whose CLAT sends through a raw IPv6 socket, on a link of 1400 octets where the translator expects 1500. The kernel
// refuses the first packet to each peer, and hands what the translator says of it to the application.
func kernelRefuses(t *testing.T) {
	const narrow = 1400
	n := newNetwork(t, 1)
	var socket *rawSocket
	n.do(t, func() error {
		link, err := netlink.LinkByName("uplink")
		if err != nil {
			return err
		}
		if err := errors.Join(
			netlink.LinkSetMTU(link, narrow),
			address("uplink", addr(self6)),                    // which a socket must have to send from, whatever it sends
			route("clat0", netip.PrefixFrom(addr(self4), 32)), // whose errors else come from nowhere
		); err != nil {
			return err
		}
		socket, err = openRaw()
		return err
	})
	t.Cleanup(func() { socket.Close() })
	n.serve(t, newTranslator(t, auto), func(q *queue) datapath.Port { return sendsBy{q, socket} })
	if err := n.uplink.file.SetReadDeadline(time.Now().Add(arrival)); err != nil {
		t.Fatal(err)
	}

	peer := netip.AddrPortFrom(addr(peer4), 53)
	app := n.socket(t, 4660, peer)
	control(t, app, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	})
	if err := app.SetReadDeadline(time.Now().Add(arrival)); err != nil {
		t.Fatal(err)
	}
	write := func(c *net.UDPConn, octets int) error {
		_, err := c.Write(data(octets - 28))
		return err
	}
	if err := write(app, 1480); err != nil {
		t.Fatal(err)
	}
	if _, err := app.Read(make([]byte, 1)); !errors.Is(err, unix.EMSGSIZE) {
		t.Fatalf("the application was told %v, want %v", err, unix.EMSGSIZE)
	}
	if got := pathMTU(t, app); got != narrow-20 {
		t.Errorf("the application's kernel takes the path for %d octets, want %d", got, narrow-20)
	}
	if err := write(app, narrow-20+1); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("one octet too many: %v, want %v", err, unix.EMSGSIZE)
	}
	if err := write(app, narrow-20); err != nil {
		t.Fatal(err)
	}
	if p := decode(t, n.uplink.receive(t).octets); len(p.octets) != narrow || p.fragment != nil {
		t.Errorf("%d octets with fragment header %v, want %d without", len(p.octets), p.fragment, narrow)
	}
	// Without DF and what the host has learned, a socket relies on the translator.
	other := n.socket(t, 4661, peer)
	control(t, other, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_INTERFACE)
	})
	if err := write(other, 1480); err != nil {
		t.Fatal(err)
	}
	var pieces []packet
	for range 2 {
		pieces = append(pieces, decode(t, n.uplink.receive(t).octets))
	}
	if whole := joined(t, pieces); len(pieces[0].octets) > narrow || len(whole.octets) != 1500 {
		t.Errorf("%d octets in fragments of up to %d, want 1500 in %d", len(whole.octets), len(pieces[0].octets), narrow)
	}
	if n := socket.refused.Load(); n != 1 {
		t.Errorf("the kernel refused %d packets, want one", n)
	}
}

// pathMTU is what the kernel takes for the path MTU of a connected socket.
func pathMTU(t *testing.T, c *net.UDPConn) (octets int) {
	t.Helper()
	control(t, c, func(fd int) (err error) {
		octets, err = unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU)
		return err
	})
	return octets
}

// sendsBy is a Port that reads a queue and writes into a socket.
type sendsBy struct {
	*queue
	socket *rawSocket
}

func (s sendsBy) Write(fs []*frame.Frame) (int, error) { return s.socket.Write(fs) }

// rawSocket sends whole IPv6 packets.
type rawSocket struct {
	file    *os.File
	raw     syscall.RawConn
	refused atomic.Int32 // packets that the kernel would not take
}

func openRaw() (*rawSocket, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("open a raw IPv6 socket: %w", err)
	}
	s := &rawSocket{file: os.NewFile(uintptr(fd), "raw IPv6 socket")}
	s.raw, err = s.file.SyscallConn()
	return s, err
}

func (s *rawSocket) Close() error { return s.file.Close() }

// Write sends all of fs. What EMSGSIZE does not say, the socket does once it is connected.
func (s *rawSocket) Write(fs []*frame.Frame) (n int, err error) {
	failed := s.raw.Write(func(fd uintptr) bool {
		for ; n < len(fs) && err == nil; n++ {
			p := fs[n].Bytes()
			to := &unix.SockaddrInet6{Addr: [16]byte(p[24:40])}
			if err = unix.Sendto(int(fd), p, 0, to); !errors.Is(err, unix.EMSGSIZE) {
				continue
			}
			s.refused.Add(1)
			var mtu int
			if err = unix.Connect(int(fd), to); err == nil {
				mtu, err = unix.GetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MTU)
			}
			if err == nil {
				err = clat.TooBig{MTU: mtu}
			}
		}
		return true
	})
	if err != nil {
		n-- // at the one that failed
	}
	return n, errors.Join(err, failed)
}
