package hostnet

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

// udp4 is an IPv4 UDP packet to port, without a checksum of UDP.
func udp4(src, dst, payload string) []byte {
	p := make([]byte, 28+len(payload))
	s, d := netip.MustParseAddr(src).As4(), netip.MustParseAddr(dst).As4()
	p[0], p[8], p[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	copy(p[12:], s[:])
	copy(p[16:], d[:])
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum>>16+sum&0xffff))
	binary.BigEndian.PutUint16(p[20:], port)
	binary.BigEndian.PutUint16(p[22:], port)
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(payload)))
	copy(p[28:], payload)
	return p
}

// A plain translator: without an address, and without forwarding of ours, what the administrator routes to the TUN gets there in either
// family, and what comes out of it is forwarded. Nothing else is on it, also where new interfaces get no IPv6.
//
//	plat0 (IPv6 hosts) --- eth0 | this host, clat0 (TUN) | lan --- lan0 (IPv4 hosts)
func TestRouter(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		l := newLab(t)
		must(t, nstest.AddAddr("lan", "192.0.2.1/24"))
		sysctl(t, "net/ipv4/ip_forward", "1")
		sysctl(t, "net/ipv6/conf/all/forwarding", "1")
		sysctl(t, "net/ipv6/conf/clat0/disable_ipv6", "1")
		sysctl(t, "net/ipv4/conf/all/rp_filter", "1")

		var four, six net.PacketConn
		l.lan.Do(t, func() (err error) {
			must(t, nstest.AddAddr("lan0", "192.0.2.2/24"))
			must(t, nstest.AddRoute("lan0", "0.0.0.0/0", "192.0.2.1", 0, 0))
			four, err = net.ListenPacket("udp4", "192.0.2.2:4646")
			return err
		})
		defer four.Close()
		l.plat.Do(t, func() (err error) {
			must(t, nstest.AddRoute("plat0", "2001:db8:64::/96", "2001:db8:1::1", 0, 0))
			six, err = net.ListenPacket("udp6", "[2001:db8:1::64]:4646")
			return err
		})
		defer six.Close()

		before := dump(t)
		h := newHost(t)
		want := platform.HostConfig{TUN: "clat0", MTU: 9000, IPv6: true}
		must(t, h.Set(t.Context(), want))
		got := changed(before, dump(t))
		for _, none := range []string{"addr clat0", "route table", "table family", "forwarding"} {
			if strings.Contains(got, none) {
				t.Errorf("not asked for: %q in\n%s", none, got)
			}
		}
		// The administrator's: to the IPv6 host by an IPv4 address, to the IPv4 host by one behind a prefix.
		must(t, nstest.AddRoute("clat0", "198.51.100.0/24", "", 0, 0))
		must(t, nstest.AddRoute("clat0", "2001:db8:64::/96", "", 0, 0))

		intoTUN := func(what string, from net.PacketConn, to string, header int) {
			t.Helper()
			send(t, from, to, what)
			buf := make([]byte, 2000)
			l.tun.SetReadDeadline(time.Now().Add(5 * time.Second))
			for {
				n, err := l.tun.Read(buf)
				if err != nil {
					t.Fatalf("%s did not get into the TUN: %v", what, err)
				}
				if n > header && string(buf[header:n]) == what {
					return
				}
				if buf[0]>>4 == 4 || buf[6] == 58 && buf[40] == 133 { // not the kernel's MLD: forwarding makes it listen to all routers
					t.Errorf("the TUN is not quiet: % x", buf[:n])
				}
			}
		}
		intoTUN("four", four, "198.51.100.7", 28)
		intoTUN("six", six, "2001:db8:64::192.0.2.2", 48)

		outOfTUN := func(packet []byte, to net.PacketConn, payload, source string) {
			t.Helper()
			_, err := l.tun.Write(packet)
			must(t, err)
			to.SetReadDeadline(time.Now().Add(5 * time.Second))
			buf := make([]byte, 2000)
			n, from, err := to.ReadFrom(buf)
			if err != nil || string(buf[:n]) != payload || from.(*net.UDPAddr).AddrPort().Addr() != netip.MustParseAddr(source) {
				t.Errorf("got %q from %v, %v; want %q from %s", buf[:n], from, err, payload, source)
			}
		}
		outOfTUN(udp4("198.51.100.7", "192.0.2.2", "four"), four, "four", "198.51.100.7")
		outOfTUN(udp6("2001:db8:64::192.0.2.2", "2001:db8:1::64", "six"), six, "six", "2001:db8:64::192.0.2.2")

		must(t, h.Set(t.Context(), want)) // twice is once, and the administrator's routes stay
		intoTUN("four again", four, "198.51.100.7", 28)
		must(t, h.Set(t.Context(), platform.HostConfig{}))
		// His routes go with the interface, which is set down.
		if diff := cmp.Diff(before, dump(t)); diff != "" {
			t.Errorf("left behind:\n%s", diff)
		}
	})
}

// IPv6 needs its least MTU, and a device.
func TestRouterWrong(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		openTUN(t, "clat0")
		before := dump(t)
		var errs []error
		for _, c := range []platform.HostConfig{{TUN: "clat0", MTU: 1279, IPv6: true}, {IPv6: true}} {
			err := newHost(t).Set(t.Context(), c)
			if err == nil {
				t.Errorf("%+v: no error", c)
			}
			errs = append(errs, err)
		}
		if err := errors.Join(errs...); err == nil || !strings.Contains(err.Error(), "1280 is the least") {
			t.Error(err)
		}
		if diff := cmp.Diff(before, dump(t)); diff != "" {
			t.Errorf("left behind:\n%s", diff)
		}
	})
}
