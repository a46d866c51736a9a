package resolver

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform/internal/nstest"
)

// echo answers over UDP and TCP at an address of the namespace, and says where it is.
func echo(t *testing.T, ns *nstest.NS, address, where string) {
	t.Helper()
	ns.Do(t, func() error { return serve(t, address, where) })
}

func serve(t *testing.T, address, where string) error {
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		return err
	}
	t.Cleanup(func() { packets.Close() })
	go func() {
		for b := make([]byte, 100); ; {
			n, from, err := packets.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo([]byte(where+string(b[:n])), from) // who asked sees that nothing came
		}
	}()
	streams, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	t.Cleanup(func() { streams.Close() })
	go func() {
		for {
			conn, err := streams.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 100)
			n, _ := conn.Read(b)
			_, _ = conn.Write([]byte(where + string(b[:n])))
			conn.Close()
		}
	}()
	return nil
}

// ask says what came back.
func ask(t *testing.T, l link, network, address string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := Dial(l.index)(ctx, network, address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	if _, err := conn.Write([]byte("?")); err != nil {
		return "", err
	}
	b := make([]byte, 100)
	n, err := conn.Read(b)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return string(b[:n]), err
}

// The same address is on both sides, and the VPN has the better route to it.
func TestDial(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		lan, eth0, _ := vpn(t)
		far := nstest.New(t)
		nstest.Veth(t, "tun1", "far1", far)
		lan.Do(t, func() error {
			return errors.Join(nstest.AddAddr("lan0", "2001:db8:1::1/64"), nstest.AddAddr("lan0", "2001:db8:99::53/128"),
				nstest.AddAddr("lan0", "fe80::53/64"))
		})
		far.Do(t, func() error {
			return errors.Join(nstest.AddAddr("far1", "2001:db8:3::1/64"), nstest.AddAddr("far1", "2001:db8:99::53/128"),
				nstest.AddAddr("far1", "192.0.2.53/24"))
		})
		must(t, nstest.AddAddr("tun1", "2001:db8:3::5/64"))
		must(t, nstest.AddRoute("tun1", "2001:db8:99::/64", "2001:db8:3::1", 0, 0))
		must(t, nstest.AddAddr("tun1", "192.0.2.5/24"))
		must(t, nstest.AddAddr("eth0", "169.254.1.5/16"))
		echo(t, lan, "[2001:db8:99::53]:53", "lan")
		echo(t, lan, "[fe80::53%lan0]:53", "lan")
		echo(t, far, "[2001:db8:99::53]:53", "vpn")
		echo(t, far, "192.0.2.53:53", "vpn")
		must(t, serve(t, "127.0.0.1:53", "host"))
		must(t, serve(t, "[::1]:53", "host"))
		tun1, err := netlink.LinkByName("tun1")
		must(t, err)
		vpn := link{tun1.Attrs().Index, "tun1"}

		for _, network := range []string{"udp", "tcp"} {
			for _, tt := range []struct {
				l             link
				address, want string
			}{
				{eth0, "[2001:db8:99::53]:53", "lan?"},
				{vpn, "[2001:db8:99::53]:53", "vpn?"},
				{eth0, "[fe80::53%" + strconv.Itoa(eth0.index) + "]:53", "lan?"},
				{eth0, "[fe80::53]:53", "lan?"},
				{vpn, "192.0.2.53:53", "vpn?"},
				{vpn, "[::ffff:192.0.2.53]:53", "vpn?"},
				{eth0, "127.0.0.1:53", "host?"},
				{eth0, "[::1]:53", "host?"},
			} {
				if got, err := ask(t, tt.l, network, tt.address); err != nil || got != tt.want {
					t.Errorf("%s to %s by %q: %q, error %v, want %q", network, tt.address, tt.l.name, got, err, tt.want)
				}
			}
			for _, l := range []link{eth0, {index: lo(t)}} {
				for _, address := range []string{"192.0.2.53:53", "[::ffff:192.0.2.53]:53"} {
					if _, err := ask(t, l, network, address); !errors.Is(err, unix.ENETUNREACH) || !strings.Contains(err.Error(), "192.0.2.53") ||
						!strings.Contains(err.Error(), "no IPv4 of its own") {
						t.Errorf("%s to IPv4 by a link without it: %v", network, err)
					}
				}
			}
			if _, err := ask(t, eth0, network, "resolver.example:53"); err == nil {
				t.Errorf("%s to a name: no error", network)
			}
		}
		must(t, netlink.LinkDel(tun1))
		for _, address := range []string{"[2001:db8:99::53]:53", "192.0.2.53:53"} {
			if _, err := ask(t, vpn, "udp", address); err == nil {
				t.Errorf("to %s by a link that is gone: no error", address)
			}
		}
	})
}

func lo(t *testing.T) int {
	t.Helper()
	l, err := netlink.LinkByName("lo")
	must(t, err)
	return l.Attrs().Index
}

func TestBindByName(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		must(t, err)
		defer unix.Close(fd)
		must(t, bindByName(fd, lo(t)))
		if index, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX); err != nil || index != lo(t) {
			t.Errorf("bound to %d, error %v, want %d", index, err, lo(t))
		}
		if err := bindByName(fd, 99); err == nil {
			t.Error("bound to a link that is not there")
		}
	})
}
