package link

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	rt "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/clat"
	"uclat/clat/datapath"
	"uclat/clat/frame"
	"uclat/platform/internal/nstest"
)

var _ datapath.Port = (*Conn)(nil)

// Frames for an address that the host does not have arrive, and the kernel answers none of them. Frames for the host do not arrive.
func TestForeignAddress(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		far := newLab(t)
		c := open(t, "up0", own+"/128")
		data := hear(t, c)
		var tap, raw *packet.Conn
		var hw net.HardwareAddr
		far.Do(t, func() (err error) {
			ifi, err := net.InterfaceByName("peer0")
			if err != nil {
				return err
			}
			hw = ifi.HardwareAddr
			if tap, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil); err != nil {
				return err
			}
			raw, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_IPV6, nil)
			return err
		})
		defer tap.Close()
		defer raw.Close()
		near := hardware(t, "up0")
		emit := func(p []byte) {
			h := etherHeader(near, hw)
			_, err := raw.WriteTo(append(h[:], p...), &packet.Addr{HardwareAddr: near})
			must(t, err)
		}
		listener, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.ParseIP(host), Port: 5001})
		must(t, err)
		defer listener.Close()

		syn := tcp6(peer, own, nil)
		syn[53] = 2
		one, two, echo := udp6(peer, own, []byte("one")), udp6(peer, own, []byte("two")), nd6(128, peer, own, "::")
		emit(one)
		emit(syn)
		emit(udp6(peer, host, []byte("for the host")))
		emit(echo)
		emit(two)
		expect(t, data, one)
		expect(t, data, syn)
		expect(t, data, echo)
		expect(t, data, two)

		// The host's answer to what was for the host ends the time in which it could have said something to the rest.
		buf := make([]byte, 2000)
		n, from, err := listener.ReadFromUDPAddrPort(buf)
		must(t, err)
		if string(buf[:n]) != "for the host" {
			t.Errorf("the host got %q", buf[:n])
		}
		far.Do(t, func() error { return knows("peer0", host, near) })
		must(t, knows("up0", peer, hw))
		_, err = listener.WriteToUDPAddrPort([]byte("fence"), from)
		must(t, err)
		must(t, tap.SetReadDeadline(time.Now().Add(patience)))
		for {
			n, _, err := tap.ReadFrom(buf)
			must(t, err)
			p := buf[etherLen:n]
			switch {
			case !bytes.Equal(buf[6:12], near) || n < etherLen+48 || p[0]>>4 != 6 || netip.AddrFrom16([16]byte(p[24:40])).IsMulticast():
			case bytes.HasSuffix(p, []byte("fence")):
				return
			case p[6] != unix.IPPROTO_ICMPV6 || p[40] != solicitation && p[40] != advertisement:
				t.Errorf("the kernel sent %x", p)
			}
		}
	})
}

// Neighbor Discovery goes to ReadND, all else to Read, and what is about others to neither.
func TestSplit(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		far := newLab(t)
		near, other := openPair(t, far)
		data, nd := hear(t, near), hearND(t, near)
		hw := other.shape.own
		group := net.HardwareAddr{0x33, 0x33, 0xff, 0, 0xc1, 0xa7}
		all := net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
		dad := nd6(solicitation, "::", "ff02::1:ff00:c1a7", own)
		unicast := nd6(solicitation, peer, own, own)
		claim := nd6(advertisement, own, "ff02::1", own)
		must(t, other.SendND(nd6(solicitation, peer, "ff02::1:ff00:1", host), net.HardwareAddr{0x33, 0x33, 0xff, 0, 0, 1}, hw))
		must(t, other.SendND(nd6(solicitation, peer, host, host), near.shape.own, hw))
		must(t, other.SendND(dad, group, hw))
		must(t, other.SendND(unicast, near.shape.own, hw))
		must(t, other.SendND(unicast, net.HardwareAddr{2, 0, 0, 0, 0, 99}, hw)) // of another host
		must(t, other.SendND(claim, all, net.HardwareAddr{2, 0, 0, 0, 0, 9}))
		send(t, other, udp6(away, own, []byte("data")))
		if p := expect(t, nd, dad); !bytes.Equal(p.from, hw) {
			t.Errorf("solicitation from %v, want %v", p.from, hw)
		}
		expect(t, nd, unicast)
		if p := expect(t, nd, claim); p.from.String() != "02:00:00:00:00:09" {
			t.Errorf("advertisement from %v", p.from)
		}
		expect(t, data, udp6(away, own, []byte("data")))

		if err := other.SendND(dad, group, nil); !errors.Is(err, ErrRefused) {
			t.Errorf("without a source: %v", err)
		}
		if err := other.SendND([]byte{0x45}, group, hw); !errors.Is(err, ErrRefused) {
			t.Errorf("IPv4: %v", err)
		}
		must(t, near.Accept(nil))
		must(t, near.Accept(prefixes(own+"/128")))
		must(t, other.SendND(unicast, near.shape.own, hw))
		expect(t, nd, unicast)
	})
}

// The next hop is as Via says, and without one nothing is sent.
func TestVia(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		near, other := openPair(t, newLab(t))
		data := hear(t, other)
		ok := udp6(own, away, []byte("ok"))
		send(t, near, ok)
		expect(t, data, ok)
		before := near.lostWritten.Load()
		near.Via(nil, near.shape.own)
		if n, err := near.Write([]*frame.Frame{inFrame(ok)}); n != 0 || !errors.Is(err, clat.ErrNextHop) {
			t.Errorf("without a next hop: %d, %v", n, err)
		}
		if near.lostWritten.Load() != before {
			t.Error("counted as lost")
		}
		near.Via(only(net.HardwareAddr{2, 0, 0, 0, 0, 99}), near.shape.own) // nobody
		send(t, near, udp6(own, away, []byte("to nobody")))
		near.Via(only(other.shape.own), near.shape.own)
		n, err := near.Write([]*frame.Frame{inFrame(ok), inFrame([]byte{0x45, 0}), inFrame(ok)})
		if n != 1 || !errors.Is(err, ErrRefused) {
			t.Errorf("IPv4: %d, %v", n, err)
		}
		expect(t, data, ok)
		bare := new(frame.Frame)
		bare.Wrap(ok, 0, len(ok))
		if _, err := near.Write([]*frame.Frame{bare}); !errors.Is(err, ErrRefused) {
			t.Errorf("without room: %v", err)
		}
		if _, written := near.Lost(); written != before+2 {
			t.Errorf("%d lost", written-before)
		}

		l, err := find("up0")
		must(t, err)
		l.L2 = false // as Ethernet with NOARP is: a modem that wants frames
		fixed, err := Open(Options{Link: l})
		must(t, err)
		defer fixed.Close()
		fixed.Via(nil, nil)
		want := etherHeader(near.shape.own, near.shape.own)
		if h, err := fixed.hop(inFrame(ok)); err != nil || !bytes.Equal(h, want[:]) {
			t.Errorf("without neighbours: header %x, %v", h, err)
		}
	})
}

func TestDownAndUp(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		far := newLab(t)
		near, other := openPair(t, far)
		data, nd := hear(t, near), hearND(t, near)
		l, err := rt.LinkByName("up0")
		must(t, err)
		p, ask := udp6(away, own, []byte("hello")), nd6(solicitation, peer, own, own)
		for range 3 {
			must(t, rt.LinkSetDown(l))
			if _, err := near.Write([]*frame.Frame{inFrame(udp6(own, away, nil))}); !errors.Is(err, ErrRefused) || !errors.Is(err, unix.ENETDOWN) {
				t.Errorf("down: %v", err)
			}
			must(t, rt.LinkSetUp(l))
			for deadline := time.Now().Add(patience); ; { // the carrier takes a moment
				if _, err := other.Write([]*frame.Frame{inFrame(p)}); err != nil {
					t.Log(err)
				}
				must(t, other.SendND(ask, near.shape.own, other.shape.own))
				if len(data) > 0 && len(nd) > 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%d packets and %d of Neighbor Discovery", len(data), len(nd))
				}
				time.Sleep(time.Millisecond)
			}
			expect(t, data, p)
			expect(t, nd, ask)
			for len(data) > 0 || len(nd) > 0 {
				select {
				case <-data:
				case <-nd:
				}
			}
		}
		must(t, rt.LinkDel(l))
		if _, err := near.Write([]*frame.Frame{inFrame(udp6(own, away, nil))}); !errors.Is(err, ErrRefused) {
			t.Errorf("deleted: %v", err)
		}
		must(t, near.Close())
		for range data {
		}
		for range nd {
		}
	})
}

// An interface that is down can be opened, too.
func TestOpenDown(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		far := newLab(t)
		l, err := rt.LinkByName("up0")
		must(t, err)
		must(t, rt.LinkSetDown(l))
		near, other := openPair(t, far)
		data := hear(t, near)
		must(t, rt.LinkSetUp(l))
		for deadline := time.Now().Add(patience); len(data) == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			_, _ = other.Write([]*frame.Frame{inFrame(udp6(away, own, []byte("hello")))})
		}
		expect(t, data, udp6(away, own, []byte("hello")))
	})
}

func TestClose(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		newLab(t)
		c := open(t, "up0", own+"/128")
		data, nd := hear(t, c), hearND(t, c)
		must(t, c.Close())
		must(t, c.Close())
		for range data {
		}
		for range nd {
		}
		c.Via(only(c.shape.own), c.shape.own)
		if _, err := c.Write([]*frame.Frame{inFrame(udp6(own, away, nil))}); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Write: %v", err)
		}
		if err := c.SendND(nd6(solicitation, own, peer, peer), c.shape.own, c.shape.own); !errors.Is(err, os.ErrClosed) {
			t.Errorf("SendND: %v", err)
		}
		if err := c.Accept(nil); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Accept: %v", err)
		}
		if _, err := c.Join(netip.MustParseAddr(own)); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Join: %v", err)
		}
		c.Lost()
	})
}

// Nothing of the host is changed, neither while a link is open nor after.
func TestHostUntouched(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		far := newLab(t)
		nstest.Settle(t)
		before := nstest.Dump(t)
		near, other := openPair(t, far)
		_, err := near.Join(netip.MustParseAddr(own))
		must(t, err)
		data := hear(t, near)
		send(t, other, udp6(away, own, []byte("hello")))
		expect(t, data, udp6(away, own, []byte("hello")))
		if during := nstest.Dump(t); during != before {
			t.Errorf("while it is open:\n%s\nbefore:\n%s", during, before)
		}
		must(t, near.Close())
		if after := nstest.Dump(t); after != before {
			t.Errorf("after:\n%s\nbefore:\n%s", after, before)
		}
	})
}

func Example_refusal() {
	err := error(refusal(unix.ENOBUFS))
	fmt.Println(err, errors.Is(err, ErrRefused), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EPERM))
	// Output: refused by the link: no buffer space available true true false
}
