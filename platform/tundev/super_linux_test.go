package tundev

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/clat/frame"
	"uclat/clat/segment"
	"uclat/platform/internal/nstest"
)

// Super-packets that come in by one TUN are forwarded to another: whole, or, where that has no offloads, cut by the kernel, which is what
// our software has to do.
func TestForwarded(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		for _, path := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+path, []byte("1"), 0); err != nil {
				t.Fatal(err)
			}
		}
		in, err := openWhole("in0", 1500)
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		raise(t, "in0", "192.0.2.1/24", "2001:db8::1/64")
		uso := hasUSO(t)
		both(t, func(t *testing.T, open opener) {
			out, err := open("out0", 1500)
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			defer time.AfterFunc(20*time.Second, func() { _ = out.Close() }).Stop() // ends the wait for a packet that does not come
			raise(t, "out0", "198.51.100.1/24", "2001:db8:1::1/64")
			_, isWhole := out.queue.(*whole)
			for _, c := range forwardCases {
				if isWhole && c.udp && !uso {
					continue
				}
				t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) { c.run(t, in, out, isWhole) })
			}
		})
	})
}

type forwardCase struct {
	v6, udp bool
	payload int
	size    uint16
	flags   byte
}

var forwardCases = []forwardCase{
	{payload: 60000, size: 1448, flags: 0x10},
	{payload: 5001, size: 1000, flags: 0xf9},
	{payload: 2801, size: 1400, flags: 0x19},
	{v6: true, payload: 60000, size: 1428, flags: 0x18},
	{v6: true, payload: 5000, size: 999, flags: 0xf9},
	{udp: true, payload: 60000, size: 1200},
	{udp: true, payload: 1201, size: 1200},
	{v6: true, udp: true, payload: 60000, size: 1452},
	{v6: true, udp: true, payload: 64, size: 1},
	{payload: 1400, size: 1400, flags: 0xf9}, // one segment is no super-packet
	{v6: true, payload: 1390, size: 1400, flags: 0xf9},
	{v6: true, udp: true, payload: 1200, size: 1400},
}

func (c forwardCase) run(t *testing.T, in, out *Device, isWhole bool) {
	if _, err := in.Write([]*frame.Frame{superPacket(c.v6, c.udp, c.payload, c.size, c.flags)}); err != nil {
		t.Fatal(err)
	}
	ours := superPacket(c.v6, c.udp, c.payload, c.size, c.flags)
	oneHop(ours)
	if isWhole {
		if c.payload <= int(c.size) {
			ours.GSO, ours.SegSize, ours.ECN = frame.NotSegmented, 0, false
		}
		got := readFrom(t, out, ours.Version())
		if diff := cmp.Diff(ours.Bytes(), got.Bytes()); diff != "" || got.Offload != ours.Offload {
			t.Errorf("%+v, want %+v (-want +got):\n%s", got.Offload, ours.Offload, diff)
		}
		return
	}
	var cut segment.Cutter
	if err := cut.Start(ours); err != nil {
		t.Fatal(err)
	}
	n := 0
	for ; cut.Next(); n++ {
		if diff := cmp.Diff(readFrom(t, out, ours.Version()).Bytes(), ours.Bytes()); diff != "" {
			t.Fatalf("segment %d (-kernel +ours):\n%s", n, diff)
		}
	}
	if want := (c.payload + int(c.size) - 1) / int(c.size); n != want {
		t.Errorf("%d segments, want %d", n, want)
	}
}

// hasUSO says whether the kernel gives UDP super-packets to a TUN.
func hasUSO(t *testing.T) bool {
	t.Helper()
	fd, err := create("uso0", wholeFlags)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	return unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloadsTCP|offloadsUDP) == nil
}

// oneHop does what forwarding does to the IP header.
func oneHop(f *frame.Frame) {
	p := f.Bytes()
	if f.Version() == 6 {
		p[7]--
		return
	}
	p[8]--
	p[10], p[11] = 0, 0
	s := ^sum(0, p[:20])
	p[10], p[11] = byte(s>>8), byte(s)
}

// readFrom is the next TCP or UDP packet of that version from a device. The kernel sends a few of its own (MLD, router solicitations).
func readFrom(t *testing.T, d *Device, version int) *frame.Frame {
	t.Helper()
	for fs := frames(1); ; {
		if _, err := d.Read(fs); err != nil {
			t.Fatal(err)
		}
		p, proto := fs[0].Bytes(), byte(0)
		if proto = p[9]; fs[0].Version() == 6 {
			proto = p[6]
		}
		if fs[0].Version() == version && (proto == unix.IPPROTO_TCP || proto == unix.IPPROTO_UDP) {
			return fs[0]
		}
	}
}

// raise sets an interface up and gives it addresses.
func raise(t *testing.T, name string, addrs ...string) {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetUp(link)
	}
	for _, a := range addrs {
		if err == nil {
			err = nstest.AddAddr(name, a)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// seen counts what a pump carried.
type seen struct{ packets, supers, partial, full atomic.Int64 }

// pump carries what one kernel sends to the other, until from is closed.
func pump(t *testing.T, from, to *Device, s *seen) {
	for fs := frames(1); ; {
		n, err := from.Read(fs)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			t.Error(err)
			return
		}
		s.packets.Add(1)
		switch {
		case fs[0].GSO != frame.NotSegmented:
			s.supers.Add(1)
		case fs[0].Checksum == frame.ChecksumPartial:
			s.partial.Add(1)
		default:
			s.full.Add(1)
		}
		if _, err := to.Write(fs[:n]); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	}
}

// Two kernels, joined by two TUNs of any kinds: their TCP and UDP get through unharmed, as super-packets where the device has them.
func TestTwoKernels(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		kinds := map[string]opener{"whole": openWhole, "plain": openPlain}
		for here, open := range kinds {
			for there, open2 := range kinds {
				t.Run(here+"-"+there, func(t *testing.T) { twoKernels(t, open, open2, here == "whole", there == "whole") })
			}
		}
	})
}

func twoKernels(t *testing.T, open, open2 opener, wholeHere, wholeThere bool) {
	far := nstest.New(t)
	a, err := open("clat0", 1500)
	if err != nil {
		t.Fatal(err)
	}
	var b *Device
	far.Do(t, func() (err error) {
		b, err = open2("clat0", 1500)
		return err
	})
	raise(t, "clat0", "192.0.2.1/24", "2001:db8::1/64")
	far.Do(t, func() error {
		raise(t, "clat0", "192.0.2.2/24", "2001:db8::2/64")
		return nil
	})
	var up, down seen
	var pumps sync.WaitGroup
	pumps.Go(func() { pump(t, a, b, &up) })
	pumps.Go(func() { pump(t, b, a, &down) })
	defer func() { _, _ = a.Close(), b.Close(); pumps.Wait() }()
	for _, addr := range []string{"192.0.2.2", "2001:db8::2"} {
		streams(t, far, addr)
		datagrams(t, far, addr)
	}
	for name, c := range map[string]struct {
		s     *seen
		whole bool
	}{"up": {&up, wholeHere}, "down": {&down, wholeThere}} {
		t.Logf("%s: %d packets, %d super-packets, %d partial, %d full", name, c.s.packets.Load(), c.s.supers.Load(), c.s.partial.Load(), c.s.full.Load())
		if c.whole != (c.s.supers.Load() > 0) || c.whole != (c.s.partial.Load() > 0) {
			t.Errorf("%s: %d super-packets, %d with partial checksums", name, c.s.supers.Load(), c.s.partial.Load())
		}
	}
	for _, d := range []*Device{a, b} {
		if read, written := d.Lost(); read+written > 0 {
			t.Errorf("lost %d, %d", read, written)
		}
	}
}

// streams sends random octets both ways at once by TCP.
func streams(t *testing.T, far *nstest.NS, addr string) {
	t.Helper()
	const size = 3 << 20
	var l net.Listener
	far.Do(t, func() (err error) {
		l, err = net.Listen("tcp", net.JoinHostPort(addr, "7"))
		return err
	})
	defer l.Close()
	var sums [4][sha256.Size]byte // sent here, received there, sent there, received here
	both := func(c net.Conn, seed uint64, sent, received *[sha256.Size]byte) error {
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		out := make([]byte, size)
		var key [32]byte
		key[0] = byte(seed)
		_, _ = rand.NewChaCha8(key).Read(out)
		*sent = sha256.Sum256(out)
		written := make(chan error, 1)
		go func() {
			_, err := c.Write(out)
			written <- errors.Join(err, c.(*net.TCPConn).CloseWrite())
		}()
		in, err := io.ReadAll(c)
		*received = sha256.Sum256(in)
		return errors.Join(err, <-written, c.Close())
	}
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = both(c, 1, &sums[2], &sums[1])
		}
		served <- err
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(both(c, 2, &sums[0], &sums[3]), <-served); err != nil {
		t.Fatal(err)
	}
	if sums[0] != sums[1] || sums[2] != sums[3] {
		t.Errorf("%s: hashes differ", addr)
	}
}

// datagrams sends by UDP_SEGMENT, and without.
func datagrams(t *testing.T, far *nstest.NS, addr string) {
	t.Helper()
	var l *net.UDPConn
	far.Do(t, func() (err error) {
		l, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 9)))
		return err
	})
	defer l.Close()
	_ = l.SetReadDeadline(time.Now().Add(10 * time.Second))
	c, err := net.Dial("udp", l.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	payload, buf := bytes.Repeat([]byte("0123456789abc"), 5000), make([]byte, 2000)
	for _, s := range []struct{ n, size int }{{60000, 1200}, {2401, 1200}, {600, 100}, {60000, 1452}, {1, 0}, {1000, 0}} {
		if err := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, s.size) }); err != nil {
			t.Fatal(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(payload[:s.n]); err != nil {
			t.Fatal(err)
		}
		if s.size == 0 {
			s.size = s.n
		}
		for at := 0; at < s.n; at += s.size {
			want := payload[at:min(at+s.size, s.n)]
			if n, err := l.Read(buf); err != nil || !bytes.Equal(buf[:n], want) {
				t.Fatalf("%s: octet %d of %d: %d octets, want %d: %v", addr, at, s.n, n, len(want), err)
			}
		}
	}
}
