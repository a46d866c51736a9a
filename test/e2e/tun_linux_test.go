package e2e

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// TestErrorsFromOneself shows why the translator has an IPv4 address of its own: Linux does not believe ICMP errors whose source is one
// of its own addresses. (So TestBadHost has the program refuse to run where the host has the translator's address too.)
func TestErrorsFromOneself(t *testing.T) {
	t.Parallel()
	peers.NeedRoot(t)
	needTUN(t)
	lab, err := netlab.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	laptop, err := lab.Node("laptop", netlab.NodeOptions{NoDAD: true})
	if err != nil {
		t.Fatal(err)
	}
	tun := openTUN(t, laptop, tunDev)
	if err := errors.Join(
		laptop.AddAddr(tunDev, host(self4)),
		laptop.SetUp(tunDev, true),
		laptop.AddRoute(netlab.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Dev: tunDev}),
	); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		source netip.Addr
		want   int // octets that the path takes then
	}{{self4, 1500}, {errors4, 1480}} {
		t.Run(c.source.String(), func(t *testing.T) {
			s := newUDP(t, laptop, unix.IP_PMTUDISC_DO)
			s.connect(t, netip.AddrPortFrom(server4, portEcho))
			if err := s.send(make([]byte, 1500-28)); err != nil {
				t.Fatal(err)
			}
			sent := readTUN(t, tun, 4)
			ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: c.source.AsSlice(), DstIP: self4.AsSlice()}
			// The next hop's MTU is where echo messages have their number.
			tooBig := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4), Seq: 1480}
			if _, err := tun.Write(packet(t, ip, tooBig, gopacket.Payload(sent[:28]))); err != nil {
				t.Fatal(err)
			}
			if _, err := s.complaint(soon / 10); (err == nil) != (c.want == 1480) {
				t.Errorf("the socket hears something: %v", err == nil)
			}
			if mtu := s.mtu(t); mtu != c.want {
				t.Errorf("IP_MTU is %d, want %d", mtu, c.want)
			}
		})
	}
}

// openTUN makes a device in a node that is a wire to the test.
func openTUN(t *testing.T, n *netlab.Node, dev string) *os.File {
	t.Helper()
	return openDevice(t, n, dev, unix.IFF_TUN|unix.IFF_NO_PI, 0)
}

// openDevice is openTUN with flags of TUNSETIFF, and what the wire takes unfinished (TUNSETOFFLOAD).
func openDevice(t *testing.T, n *netlab.Node, dev string, flags uint16, offloads int) *os.File {
	t.Helper()
	var tun *os.File
	inside(t, n, func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return os.NewSyscallError("open", err)
		}
		r, err := unix.NewIfreq(dev)
		if err != nil {
			return err
		}
		r.SetUint16(flags)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, r); err != nil {
			unix.Close(fd)
			return os.NewSyscallError("TUNSETIFF", err)
		}
		if offloads != 0 {
			if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloads); err != nil {
				unix.Close(fd)
				return os.NewSyscallError("TUNSETOFFLOAD", err)
			}
		}
		tun = os.NewFile(uintptr(fd), dev) // before, it cannot be polled
		return nil
	})
	t.Cleanup(func() { tun.Close() })
	return tun
}

// readTUN is the next packet of an IP version that the kernel sends.
func readTUN(t *testing.T, tun *os.File, version byte) []byte {
	t.Helper()
	if err := tun.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for buf := make([]byte, 2000); ; {
		n, err := tun.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if n > 0 && buf[0]>>4 == version {
			return bytes.Clone(buf[:n])
		}
	}
}
