package tundev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

	"uclat/clat/frame"
	"uclat/platform/internal/nstest"
)

// open is a TUN that is up, with 192.0.2.1/24 on it, and the frames to read it.
func open(t *testing.T, mtu int) (*Device, []*frame.Frame) {
	t.Helper()
	d, err := Open("clat0", mtu)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	// No IPv6 on it: the kernel would send router solicitations that no test expects.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/clat0/disable_ipv6", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName("clat0")
	if err != nil {
		t.Fatal(err)
	}
	if link.Attrs().MTU != mtu {
		t.Errorf("MTU %d, want %d", link.Attrs().MTU, mtu)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		t.Fatal(err)
	}
	if err := nstest.AddAddr("clat0", "192.0.2.1/24"); err != nil {
		t.Fatal(err)
	}
	return d, frames(d.Batch())
}

func frames(n int) []*frame.Frame {
	fs := make([]*frame.Frame, n)
	for i := range fs {
		fs[i] = new(frame.Frame)
	}
	return fs
}

func TestEcho(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		d, fs := open(t, 1500)
		if d.Name() != "clat0" || d.Batch() != 128 {
			t.Errorf("name %s, batch %d", d.Name(), d.Batch())
		}
		conn, err := net.Dial("udp4", "192.0.2.2:7")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		for _, text := range []string{"one", "two", strings.Repeat("x", 1472)} {
			if _, err := conn.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
			n, err := d.Read(fs)
			if err != nil || n != 1 {
				t.Fatalf("read: %d, %v", n, err)
			}
			p := fs[0].Bytes()
			if before, behind := fs[0].Room(); before != frame.Headroom || behind < frame.Tailroom {
				t.Errorf("room %d before, %d behind", before, behind)
			}
			if string(p[28:]) != text || transportSum(p) != 0xffff {
				t.Errorf("read % x", p)
			}
			answer := udp("192.0.2.2", "192.0.2.1", 7, binary.BigEndian.Uint16(p[20:]), "re: "+text[:3])
			if n, err := d.Write([]*frame.Frame{answer}); n != 1 || err != nil {
				t.Fatalf("write: %d, %v", n, err)
			}
			buf := make([]byte, 100)
			m, err := conn.Read(buf)
			if err != nil || string(buf[:m]) != "re: "+text[:3] {
				t.Fatalf("answer %q, %v", buf[:m], err)
			}
		}
	})
}

// Many packets of one flow in one batch are put together by the device; all of them must arrive, in order.
func TestWriteBatch(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		d, _ := open(t, 1500)
		conn, err := net.ListenPacket("udp4", "192.0.2.1:9")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		var batch []*frame.Frame
		for i := range 100 {
			batch = append(batch, udp("192.0.2.2", "192.0.2.1", 5, 9, strings.Repeat(string(rune('A'+i%26)), 100)))
		}
		if n, err := d.Write(batch); n != len(batch) || err != nil {
			t.Fatalf("write: %d, %v", n, err)
		}
		buf := make([]byte, 2000)
		for i := range batch {
			n, _, err := conn.ReadFrom(buf)
			if err != nil || n != 100 || buf[0] != byte('A'+i%26) {
				t.Fatalf("packet %d: %d octets of %c, %v", i, n, buf[0], err)
			}
		}
	})
}

// A UDP super-packet of the host (UDP_SEGMENT) comes out as its segments, each with its own checksums.
func TestReadSplits(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		d, fs := open(t, 1500)
		conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 7})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		oob := make([]byte, unix.CmsgSpace(2))
		h := (*unix.Cmsghdr)(bytesPointer(oob))
		h.Level, h.Type = unix.SOL_UDP, unix.UDP_SEGMENT
		h.SetLen(unix.CmsgLen(2))
		binary.NativeEndian.PutUint16(oob[unix.CmsgLen(0):], 1000)
		payload := bytes.Repeat([]byte("0123456789"), 1234)
		if _, _, err := conn.WriteMsgUDP(payload, oob, nil); err != nil {
			t.Fatal(err)
		}
		var got []byte
		reads := 0
		for len(got) < len(payload) {
			n, err := d.Read(fs)
			if err != nil {
				t.Fatal(err)
			}
			reads++
			for _, f := range fs[:n] {
				p := f.Bytes()
				if sum(0, p[:20]) != 0xffff || transportSum(p) != 0xffff {
					t.Errorf("wrong checksum in % x", p[:28])
				}
				got = append(got, p[28:]...)
			}
		}
		if !bytes.Equal(got, payload) {
			t.Error("payload changed")
		}
		t.Logf("%d octets in %d reads", len(got), reads)
	})
}

func TestNameTaken(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		d, _ := open(t, 1500)
		if _, err := Open(d.Name(), 1500); !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "clat0") {
			t.Errorf("second open: %v", err)
		}
		// A persistent TUN that nobody holds is somebody else's all the same.
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "theirs"
		if err := netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TUN}); err != nil {
			t.Fatal(err)
		}
		if _, err := Open("theirs", 1500); !errors.Is(err, ErrTaken) {
			t.Errorf("persistent TUN: %v", err)
		}
		if _, err := Open("lo", 1500); !errors.Is(err, ErrTaken) {
			t.Errorf("lo: %v", err)
		}
	})
}

func TestOpenErrors(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		if _, err := Open("clat0", 67); err == nil || !strings.Contains(err.Error(), "MTU 67") {
			t.Errorf("MTU: %v", err)
		}
		// Without CAP_NET_ADMIN, and the other errnos, by what the kernel says.
		for errno, kind := range map[unix.Errno]error{unix.EPERM: ErrPermission, unix.EACCES: ErrPermission, unix.ENOENT: ErrNoTUN,
			unix.ENODEV: ErrNoTUN, unix.ENXIO: ErrNoTUN, unix.EBUSY: ErrTaken, unix.EINVAL: ErrName} {
			err := explain("clat0", "create it", errno)
			if !errors.Is(err, kind) || !errors.Is(err, errno) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v: %v", errno, err)
			}
		}
		// A machine without the driver: hide the device.
		if err := unix.Mount("none", "/dev/net", "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		_, err := Open("clat0", 1500)
		if !errors.Is(err, ErrNoTUN) || !strings.Contains(err.Error(), "modprobe tun") {
			t.Errorf("no driver: %v", err)
		}
	})
}

func TestPermission(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		// Capabilities belong to a thread, which here ends with the goroutine.
		done := make(chan error)
		go func() {
			lockThreadForGood()
			hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
			var none [2]unix.CapUserData
			if err := unix.Capset(&hdr, &none[0]); err != nil {
				done <- err
				return
			}
			_, err := Open("clat0", 1500)
			done <- err
		}()
		if err := <-done; !errors.Is(err, ErrPermission) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
			t.Errorf("without capabilities: %v", err)
		}
	})
}

func TestCloseUnblocksRead(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		d, fs := open(t, 1500)
		result := make(chan error)
		go func() {
			_, err := d.Read(fs)
			result <- err
		}()
		time.Sleep(50 * time.Millisecond) // most likely inside Read by now; right either way
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-result; !errors.Is(err, os.ErrClosed) || errors.Is(err, ErrGone) {
			t.Errorf("read: %v", err)
		}
		if _, err := d.Write([]*frame.Frame{udp("192.0.2.2", "192.0.2.1", 1, 2, "x")}); !errors.Is(err, os.ErrClosed) {
			t.Errorf("write: %v", err)
		}
		if err := d.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
		if _, err := netlink.LinkByName("clat0"); err == nil {
			t.Error("interface is still there")
		}
	})
}

func TestGone(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		d, fs := open(t, 1500)
		result := make(chan error)
		go func() {
			_, err := d.Read(fs)
			result <- err
		}()
		time.Sleep(50 * time.Millisecond)
		link, err := netlink.LinkByName("clat0")
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkDel(link); err != nil {
			t.Fatal(err)
		}
		packet := []*frame.Frame{udp("192.0.2.2", "192.0.2.1", 1, 2, "x")}
		for i, err := range []error{<-result, second(d.Read(fs)), second(d.Write(packet))} {
			if !errors.Is(err, ErrGone) || errors.Is(err, os.ErrClosed) {
				t.Errorf("%d: %v", i, err)
			}
		}
	})
}

func second(_ int, err error) error { return err }

// A device that is down refuses packets, and works again once it is up.
func TestWriteWhileDown(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		d, _ := open(t, 1500)
		link, err := netlink.LinkByName("clat0")
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetDown(link); err != nil {
			t.Fatal(err)
		}
		batch := []*frame.Frame{udp("192.0.2.2", "192.0.2.1", 1, 2, "x"), udp("192.0.2.3", "192.0.2.1", 3, 4, "y"),
			udp("192.0.2.4", "192.0.2.1", 5, 6, "z")}
		n, err := d.Write(batch)
		if n != 2 || !errors.Is(err, ErrRefused) || !errors.Is(err, unix.EIO) || strings.Contains(err.Error(), "\n") {
			t.Errorf("down: %d, %v", n, err)
		}
		if _, lost := d.Lost(); lost != 3 {
			t.Errorf("lost %d, want 3", lost)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
		if n, err := d.Write(batch); n != 3 || err != nil {
			t.Errorf("up: %d, %v", n, err)
		}
	})
}

// What the device cannot take is named exactly, and what stands before it has been sent.
func TestWriteRefuses(t *testing.T) {
	good := func() *frame.Frame { return udp("192.0.2.2", "192.0.2.1", 1, 2, "x") }
	noRoom, offload, partial, empty := new(frame.Frame), good(), good(), new(frame.Frame)
	noRoom.Wrap(good().Bytes(), 0, 29)
	offload.GSO = frame.SegmentUDP
	partial.Checksum = frame.ChecksumPartial
	for name, bad := range map[string]*frame.Frame{"no room": noRoom, "segmented": offload, "partial checksum": partial, "empty": empty} {
		fake := &fakeTUN{events: make(chan tun.Event)}
		d := newDevice("clat0", fake)
		n, err := d.Write([]*frame.Frame{good(), good(), bad, good()})
		if n != 2 || !errors.Is(err, ErrRefused) || fake.wrote != 2 {
			t.Errorf("%s: %d, %v; wrote %d", name, n, err, fake.wrote)
		}
		d.Close()
	}
}

// Errors about one packet do not end the device, and what came with them is delivered.
func TestReadGoesOn(t *testing.T) {
	fake := &fakeTUN{events: make(chan tun.Event), reads: []fakeRead{
		{err: errors.New("tcp header len is invalid: 64")},
		{sizes: []int{0, 0}},
		{sizes: []int{20, 0, 40}, err: tun.ErrTooManySegments},
	}}
	d := newDevice("clat0", fake)
	defer d.Close()
	fs := frames(d.Batch())
	n, err := d.Read(fs)
	if n != 2 || err != nil || fs[0].Len() != 20 || fs[1].Len() != 40 {
		t.Errorf("%d, %v", n, err)
	}
	if lost, _ := d.Lost(); lost != 2 {
		t.Errorf("lost %d, want 2", lost)
	}
}

func TestAllocations(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		d, fs := open(t, 1500)
		conn, err := net.Dial("udp4", "192.0.2.2:7")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		payload := []byte("payload")
		batch := []*frame.Frame{udp("192.0.2.2", "192.0.2.1", 1, 2, "x"), udp("192.0.2.3", "192.0.2.1", 3, 4, "y")}
		allocs := testing.AllocsPerRun(200, func() {
			if _, err := conn.Write(payload); err != nil {
				t.Fatal(err)
			}
			if _, err := d.Write(batch); err != nil {
				t.Fatal(err)
			}
			for { // besides ours, the port unreachable that the host answers to the batch
				n, err := d.Read(fs)
				if err != nil {
					t.Fatal(err)
				}
				if bytes.HasSuffix(fs[n-1].Bytes(), payload) {
					return
				}
			}
		})
		if allocs != 0 {
			t.Errorf("%v allocations a batch", allocs)
		}
	})
}
