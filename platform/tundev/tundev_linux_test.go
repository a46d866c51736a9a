package tundev

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/clat/frame"
	"uclat/clat/segment"
	"uclat/platform/internal/nstest"
)

// opener makes a TUN: there are two kinds, for which the same holds.
type opener func(name string, mtu int) (*Device, error)

// both runs f for each kind.
func both(t *testing.T, f func(t *testing.T, open opener)) {
	t.Helper()
	for name, open := range map[string]opener{"whole": openWhole, "plain": openPlain} {
		t.Run(name, func(t *testing.T) { f(t, open) })
	}
}

// start is a TUN that is up, with 192.0.2.1/24 on it, and the frames to read it.
func start(t *testing.T, open opener, mtu int) (*Device, []*frame.Frame) {
	t.Helper()
	d, err := open("clat0", mtu)
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

// finish makes of a read frame what it is on a wire: its checksum may have been left to us.
func finish(t *testing.T, f *frame.Frame) {
	t.Helper()
	var c segment.Cutter
	if err := c.Start(f); err != nil {
		t.Fatal(err)
	}
	if !c.Next() || c.Next() {
		t.Fatal("not one packet")
	}
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
		both(t, func(t *testing.T, open opener) {
			d, fs := start(t, open, 1500)
			if d.Name() != "clat0" || d.Batch() != 1 {
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
				finish(t, fs[0])
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
	})
}

// Packets of one flow arrive all, and in order.
func TestWriteBatch(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		both(t, func(t *testing.T, open opener) {
			d, _ := start(t, open, 1500)
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
	})
}

func TestNameTaken(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		both(t, func(t *testing.T, open opener) {
			d, _ := start(t, open, 1500)
			if _, err := open(d.Name(), 1500); !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "clat0") {
				t.Errorf("second open: %v", err)
			}
			// A persistent TUN that nobody holds is somebody else's all the same.
			attrs := netlink.NewLinkAttrs()
			attrs.Name = "theirs"
			theirs := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TUN}
			if err := netlink.LinkAdd(theirs); err != nil {
				t.Fatal(err)
			}
			defer netlink.LinkDel(theirs)
			if _, err := open("theirs", 1500); !errors.Is(err, ErrTaken) {
				t.Errorf("persistent TUN: %v", err)
			}
			if _, err := open("lo", 1500); !errors.Is(err, ErrTaken) {
				t.Errorf("lo: %v", err)
			}
		})
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
			runtime.LockOSThread() // the runtime ends the thread together with the goroutine
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
		both(t, func(t *testing.T, open opener) {
			d, fs := start(t, open, 1500)
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
	})
}

func TestGone(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		both(t, func(t *testing.T, open opener) {
			d, fs := start(t, open, 1500)
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
	})
}

func second(_ int, err error) error { return err }

// A device that is down refuses packets, and works again once it is up.
func TestWriteWhileDown(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		both(t, func(t *testing.T, open opener) {
			d, _ := start(t, open, 1500)
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
			if n != 0 || !errors.Is(err, ErrRefused) || !errors.Is(err, unix.EIO) || strings.Contains(err.Error(), "\n") {
				t.Errorf("down: %d, %v", n, err)
			}
			if _, lost := d.Lost(); lost != 1 {
				t.Errorf("lost %d, want 1", lost)
			}
			if err := netlink.LinkSetUp(link); err != nil {
				t.Fatal(err)
			}
			if n, err := d.Write(batch); n != 3 || err != nil {
				t.Errorf("up: %d, %v", n, err)
			}
		})
	})
}

func TestAllocations(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		both(t, func(t *testing.T, open opener) {
			d, fs := start(t, open, 1500)
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
	})
}
