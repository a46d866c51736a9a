package link

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

func TestShapes(t *testing.T) {
	const ether = "02:00:00:00:00:01"
	for _, tt := range []struct {
		name string
		link platform.Link
		kind uint16
		want shape
		err  error
	}{
		{"Ethernet", platform.Link{Hardware: ether, L2: true}, unix.ARPHRD_ETHER, shape{socket: unix.SOCK_RAW, link: 14, vnet: true}, nil},
		{"Ethernet in name", platform.Link{Hardware: ether}, unix.ARPHRD_ETHER, shape{socket: unix.SOCK_RAW, link: 14, vnet: true}, nil},
		{"TUN, WireGuard", platform.Link{}, unix.ARPHRD_NONE, shape{socket: unix.SOCK_RAW, vnet: true}, nil},
		{"WWAN", platform.Link{}, unix.ARPHRD_RAWIP, shape{socket: unix.SOCK_RAW, vnet: true}, nil},
		{"PPP", platform.Link{}, unix.ARPHRD_PPP, shape{socket: unix.SOCK_DGRAM}, nil},
		{"6in4", platform.Link{}, unix.ARPHRD_SIT, shape{socket: unix.SOCK_DGRAM}, nil},
		{"InfiniBand", platform.Link{L2: true}, unix.ARPHRD_INFINIBAND, shape{}, ErrUnsuited},
		{"8 octets", platform.Link{L2: true, Hardware: ether + ":02:03"}, unix.ARPHRD_IEEE1394, shape{}, ErrUnsuited},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := shapeOf(tt.link, tt.kind)
			if !errors.Is(err, tt.err) || s.socket != tt.want.socket || s.link != tt.want.link || s.vnet != tt.want.vnet {
				t.Errorf("%+v, %v", s, err)
			}
			if err != nil && !strings.Contains(err.Error(), `path = "kernel"`) {
				t.Errorf("no cure: %v", err)
			}
		})
	}
}

// Before Accept nothing is let in; and the sockets are as they should be.
func TestBeforeAccept(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		_, other := openPair(t, newLab(t))
		l, err := find("up0")
		must(t, err)
		c, err := Open(Options{Link: l})
		must(t, err)
		defer c.Close()
		data, nd := hear(t, c), hearND(t, c)
		p, ask := udp6(away, own, []byte("late")), nd6(solicitation, away, own, own)
		send(t, other, udp6(away, own, []byte("early")))
		must(t, other.SendND(nd6(solicitation, peer, own, own), c.shape.own, other.shape.own))
		must(t, c.Accept(prefixes(own+"/128")))
		send(t, other, p)
		must(t, other.SendND(ask, c.shape.own, other.shape.own))
		expect(t, data, p)
		expect(t, nd, ask)
		for _, tt := range []struct {
			name               string
			level, option, min int
		}{
			{"send buffer", unix.SOL_SOCKET, unix.SO_SNDBUF, 8 << 20},
			{"receive buffer", unix.SOL_SOCKET, unix.SO_RCVBUF, 8 << 20},
			{"virtio header", unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1},
			{"ignore outgoing", unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1},
		} {
			must(t, control(c.raw, func(fd int) error {
				n, err := unix.GetsockoptInt(fd, tt.level, tt.option)
				if n < tt.min {
					t.Errorf("%s: %d, want %d", tt.name, n, tt.min)
				}
				return err
			}))
		}
	})
}

func TestOpenErrors(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		if c, err := Open(Options{Link: platform.Link{Index: 99, Name: "gone0"}}); err == nil || !strings.Contains(err.Error(), "gone0") {
			t.Errorf("no such interface: %v, %v", c, err)
		}
		newLab(t)
		l, err := find("up0")
		must(t, err)
		with := func(capabilities uint32) (log string, err error) { // in the form of capset(2)
			done := make(chan struct{})
			go func() {
				defer close(done)
				lockThreadForGood()
				caps := [2]unix.CapUserData{{Effective: capabilities, Permitted: capabilities}}
				if err = unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &caps[0]); err != nil {
					return
				}
				var b strings.Builder
				var c *Conn
				if c, err = Open(Options{Link: l, Log: slog.New(slog.NewTextHandler(&b, nil))}); err == nil {
					err = c.Close()
				}
				log = b.String()
			}()
			<-done
			return log, err
		}
		if _, err := with(0); !errors.Is(err, ErrPermission) || !strings.Contains(fmt.Sprint(err), "CAP_NET_RAW") {
			t.Errorf("without capabilities: %v", err)
		}
		if log, err := with(1 << unix.CAP_NET_RAW); err != nil || strings.Count(log, "CAP_NET_ADMIN") != 2 {
			t.Errorf("with CAP_NET_RAW: %v, log %q", err, log)
		}
		if log, err := with(1<<unix.CAP_NET_RAW | 1<<unix.CAP_NET_ADMIN); err != nil || log != "" {
			t.Errorf("with CAP_NET_RAW and CAP_NET_ADMIN: %v, log %q", err, log)
		}
	})
}
