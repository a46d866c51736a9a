package tundev

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/clat/frame"
	"uclat/platform/internal/nstest"
)

// Any number of goroutines may write, while another reads and one closes.
func TestConcurrentWriters(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		both(t, func(t *testing.T, open opener) {
			const writers, each = 8, 20
			d, fs := start(t, open, 1500)
			conn, err := net.ListenPacket("udp4", "192.0.2.1:9")
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			var reader, finished, closed sync.WaitGroup
			reader.Go(func() {
				for {
					if _, err := d.Read(fs); err != nil {
						if !errors.Is(err, os.ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
			finished.Add(writers)
			for i := range writers {
				closed.Go(func() {
					for n := 0; ; n++ {
						if n == each {
							finished.Done()
						}
						text := fmt.Sprintf("%d %d", i, n)
						if n >= each { // goes nowhere, until the device is closed
							text = ""
						}
						_, err := d.Write([]*frame.Frame{udp("192.0.2.2", "192.0.2.1", uint16(1000+i), uint16(9+n/each), text)})
						if n >= each && errors.Is(err, os.ErrClosed) {
							return
						}
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			next, buf := [writers]int{}, make([]byte, 100)
			for range writers * each {
				n, _, err := conn.ReadFrom(buf)
				if err != nil {
					t.Error(err)
					break
				}
				var i, number int
				if _, err := fmt.Sscanf(string(buf[:n]), "%d %d", &i, &number); err != nil || number != next[i] {
					t.Errorf("%q after %v: %v", buf[:n], next, err)
				} else {
					next[i]++
				}
			}
			finished.Wait()
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			closed.Wait()
			reader.Wait()
		})
	})
}

// What is on the interface is what any TUN has, but for what was asked for.
func TestNothingElseIsSet(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "plain0"
		theirs := &netlink.Tuntap{LinkAttrs: attrs, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI, NonPersist: true, Queues: 1}
		if err := netlink.LinkAdd(theirs); err != nil {
			t.Fatal(err)
		}
		defer theirs.Fds[0].Close()
		want := settings(t, "plain0")
		both(t, func(t *testing.T, open opener) {
			d, err := open("clat0", 1500)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if diff := cmp.Diff(want, settings(t, "clat0")); diff != "" {
				t.Errorf("(-any TUN +ours):\n%s", diff)
			}
		})
	})
}

// settings are the interface's attributes, addresses and sysctls.
func settings(t *testing.T, name string) map[string]string {
	t.Helper()
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	a := link.Attrs()
	s := map[string]string{"flags": a.Flags.String(), "raw flags": fmt.Sprintf("%#x", a.RawFlags), "mtu": strconv.Itoa(a.MTU),
		"queue": strconv.Itoa(a.TxQLen), "addresses": fmt.Sprint(addrs), "group": fmt.Sprint(a.Group), "alias": a.Alias, "promisc": fmt.Sprint(a.Promisc)}
	for _, family := range []string{"ipv4", "ipv6"} {
		files, err := filepath.Glob("/proc/sys/net/" + family + "/conf/" + name + "/*")
		if err != nil || len(files) == 0 {
			t.Fatalf("no sysctls of %s: %v", name, err)
		}
		for _, f := range files {
			b, _ := os.ReadFile(f) // stable_secret that was never set cannot be read
			s[family+"/"+filepath.Base(f)] = string(b)
		}
	}
	return s
}

// A kernel without virtio headers is told apart from a name that is wrong.
func TestFallBack(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		fd, err := create("clat0", plainFlags)
		if err != nil {
			t.Fatal(err)
		}
		if err := offload(fd, "clat0"); !errors.Is(err, errPlain) {
			t.Errorf("without virtio headers: %v", err)
		}
		unix.Close(fd)
		if _, err := openWhole("a/b", 1500); !errors.Is(err, errPlain) {
			t.Errorf("name that the kernel refuses: %v", err)
		}
		if _, err := openPlain("a/b", 1500); !errors.Is(err, ErrName) {
			t.Errorf("name that the kernel refuses, plain: %v", err)
		}
		d, err := Open("clat0", 1400)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, ok := d.queue.(*whole); !ok {
			t.Errorf("%T on a kernel that has virtio headers", d.queue)
		}
		if link, err := netlink.LinkByName("clat0"); err != nil || link.Attrs().MTU != 1400 {
			t.Errorf("MTU of %+v, %v", link, err)
		}
		flags, err := os.ReadFile("/sys/class/net/clat0/tun_flags")
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(flags)), 0, 32)
		if err != nil || uint16(n)&wholeFlags != wholeFlags {
			t.Errorf("flags %s: %v", bytes.TrimSpace(flags), err)
		}
	})
}

// Super-packets cost no more than others.
func TestSuperPacketAllocations(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		both(t, func(t *testing.T, open opener) {
			d, _ := start(t, open, 1500)
			fresh := superPacket(false, true, 30000, 1200, 0)
			buf, f := make([]byte, frame.Headroom+fresh.Len()), new(frame.Frame)
			batch := []*frame.Frame{f}
			if n := testing.AllocsPerRun(50, func() {
				copy(buf[frame.Headroom:], fresh.Bytes())
				f.Wrap(buf, frame.Headroom, fresh.Len())
				f.Offload = fresh.Offload
				if _, err := d.Write(batch); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	})
}
