package link

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

	rt "github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"uclat/clat"
	"uclat/clat/frame"
	"uclat/platform/internal/nstest"
	"uclat/platform/tundev"
)

// port is what a Conn and a TUN have in common.
type port interface {
	Read(fs []*frame.Frame) (int, error)
	Write(fs []*frame.Frame) (int, error)
	Batch() int
}

// newTUN is a TUN that is up and says nothing by itself.
func newTUN(t *testing.T, name string) *tundev.Device {
	t.Helper()
	dev, err := tundev.Open(name, 1500)
	must(t, err)
	t.Cleanup(func() { dev.Close() })
	must(t, quietUp(name))
	return dev
}

// quietUp sets an interface of the calling thread's namespace up, without a link-local address.
func quietUp(name string) error {
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/addr_gen_mode", []byte("1"), 0); err != nil {
		return err
	}
	l, err := rt.LinkByName(name)
	if err != nil {
		return err
	}
	return rt.LinkSetUp(l)
}

// On a link without link-layer addresses packets begin with the IP header, whatever the socket: the one for links that are known to have no
// header, with super-packets whole and cut; and the one for all others, which does without a virtio header.
func TestWithoutLinkLayer(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		wire := newTUN(t, "up0")
		l, err := find("up0")
		must(t, err)
		if l.L2 || l.Hardware != "" {
			t.Fatalf("%+v", l)
		}
		known, err := inspect(l)
		must(t, err)
		if !known.vnet {
			t.Errorf("%+v", known)
		}
		other, err := shapeOf(l, 0)
		must(t, err)
		for _, tt := range []struct {
			shape
			who int32
		}{{known, cutUnknown}, {known, cutHere}, {other, cutUnknown}} {
			c, err := openAs(Options{Link: l}, tt.shape)
			must(t, err)
			c.cutter.who.Store(tt.who)
			must(t, c.Accept(prefixes(own+"/128")))
			throughTUN(t, c, wire, tt.vnet && tt.who == cutUnknown)
			must(t, c.Close())
		}
	})
}

func throughTUN(t *testing.T, c *Conn, wire *tundev.Device, whole bool) {
	t.Helper()
	data, nd := hear(t, c), hearND(t, c)
	emit := func(f *frame.Frame) {
		t.Helper()
		if _, err := wire.Write([]*frame.Frame{f}); err != nil {
			t.Fatal(err)
		}
	}
	in := make([]*frame.Frame, wire.Batch())
	for i := range in {
		in[i] = new(frame.Frame)
	}
	emitted := func() packetRead {
		t.Helper()
		_, err := wire.Read(in[:1])
		must(t, err)
		return packetRead{b: bytes.Clone(in[0].Bytes()), Offload: in[0].Offload}
	}

	one, ask := udp6(away, own, []byte("one")), nd6(solicitation, peer, own, own)
	emit(inFrame(ask))
	emit(inFrame(udp6(away, host, []byte("for somebody else"))))
	emit(inFrame(one))
	expect(t, data, one)
	if p := expect(t, nd, ask); p.from != nil {
		t.Errorf("from %v", p.from)
	}
	c.Via(nil, nil) // changes nothing
	send(t, c, udp6(own, away, []byte("two")))
	if p := emitted(); !bytes.Equal(p.b, udp6(own, away, []byte("two"))) {
		t.Errorf("%x", p.b)
	}
	must(t, c.SendND(ask, nil, nil))
	if p := emitted(); !bytes.Equal(p.b, ask) {
		t.Errorf("%x", p.b)
	}

	f := bigTCP(own, away, 30000, 1440)
	want, offload := bytes.Clone(f.Bytes()), f.Offload
	if _, err := c.Write([]*frame.Frame{f}); err != nil {
		t.Fatal(err)
	}
	if whole {
		if p := emitted(); !bytes.Equal(p.b, want) || p.Offload != offload {
			t.Errorf("%d octets, %+v", len(p.b), p.Offload)
		}
	} else {
		ch := make(chan packetRead, 30)
		for range 21 { // of 1440 octets, in 30000
			ch <- emitted()
		}
		collect(t, ch, 60, 1440, want[60:])
	}
	if c.shape.vnet {
		emit(bigUDP(away, own, 24000, 1200))
		if p := next(t, data); len(p.b) != 24048 || p.GSO != frame.SegmentUDP || p.SegSize != 1200 {
			t.Errorf("%d octets, %+v", len(p.b), p.Offload)
		}
	}

	var tooBig clat.TooBig
	for _, f := range []*frame.Frame{inFrame(udp6(own, away, make([]byte, 1453))), bigTCP(own, away, 30000, 1441)} {
		if n, err := c.Write([]*frame.Frame{f}); n != 0 || !errors.As(err, &tooBig) || tooBig.MTU != 1500 {
			t.Errorf("%d, %v", n, err)
		}
	}
	if read, written := c.Lost(); read != 0 || written != 0 {
		t.Errorf("lost %d, %d", read, written)
	}
}

// The uplink may be a bridge, whose ports other hosts and guests are on.
func TestBridge(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		far, guest := newLab(t), nstest.New(t)
		nstest.Veth(t, "guest0", "eth0", guest)
		attrs := rt.NewLinkAttrs()
		attrs.Name = "br0"
		br := &rt.Bridge{LinkAttrs: attrs}
		must(t, rt.LinkAdd(br))
		for _, name := range []string{"up0", "guest0"} {
			l, err := rt.LinkByName(name)
			must(t, err)
			must(t, rt.LinkSetMaster(l, br))
		}
		must(t, rt.LinkSetUp(br))
		c := open(t, "br0", own+"/128")
		data, nd := hear(t, c), hearND(t, c)
		_, other := openPair(t, far)
		c.Via(only(other.shape.own), c.shape.own)
		other.Via(only(c.shape.own), other.shape.own)
		atOther := hear(t, other)

		p, ask := udp6(away, own, []byte("hello")), nd6(solicitation, peer, "ff02::1:ff00:c1a7", own)
		must(t, other.SendND(ask, net.HardwareAddr{0x33, 0x33, 0xff, 0, 0xc1, 0xa7}, other.shape.own))
		send(t, other, p)
		expect(t, nd, ask)
		expect(t, data, p)
		back := udp6(own, away, []byte("hello yourself"))
		send(t, c, back)
		expect(t, atOther, back)
	})
}

// The kernel's TCP, in a namespace of its own behind a TUN, through a Conn to the kernel's TCP on the other side of the link.
//
//	client: tun0 (own)  ===  test: TUN - Conn on up0  ---  far: peer0 (peer)
func TestTCP(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		far, client := newLab(t), nstest.New(t)
		dev, err := tundev.Open("tun0", 1500)
		must(t, err)
		defer dev.Close()
		handle := netns.None()
		client.Do(t, func() (err error) {
			handle, err = netns.Get()
			return err
		})
		defer handle.Close()
		tun0, err := rt.LinkByName("tun0")
		must(t, err)
		must(t, rt.LinkSetNsFd(tun0, int(handle)))
		client.Do(t, func() error {
			if err := quietUp("tun0"); err != nil {
				return err
			}
			if err := nstest.AddAddr("tun0", own+"/128"); err != nil {
				return err
			}
			return nstest.AddRoute("tun0", "2001:db8::/32", "", 0, 0)
		})
		c := open(t, "up0", own+"/128")
		far.Do(t, func() error {
			l, err := rt.LinkByName("peer0")
			if err == nil {
				c.Via(only(l.Attrs().HardwareAddr), c.shape.own)
			}
			return err
		})
		up, down := new(flow), new(flow)
		var wg sync.WaitGroup
		wg.Go(func() { up.pump(t, dev, c) })
		wg.Go(func() { down.pump(t, c, dev) })
		defer wg.Wait()
		defer c.Close()
		defer dev.Close()

		hardware := []string{"tx-checksum-ip-generic", "tx-tcp6-segmentation", "tx-tcp-segmentation", "tx-udp-segmentation"}
		both := func(on bool, features ...string) {
			must(t, setFeatures("up0", on, features...))
			far.Do(t, func() error { return setFeatures("peer0", on, features...) })
		}
		for _, tt := range []struct {
			name  string
			set   func()
			whole bool // super-packets come from the link
		}{
			{"all offloads", func() {}, true},
			{"no offloads", func() { both(false, hardware...); both(false, "rx-gro") }, false},
			{"no offloads but GRO", func() { both(true, "rx-gro") }, true},
			{"no segmentation on the way out", func() { both(false, "tx-generic-segmentation") }, true},
			{"segmentation here", func() { c.cutter.who.Store(cutHere) }, true},
		} {
			tt.set()
			up.super.Store(0)
			down.super.Store(0)
			transfer(t, client, far, peer, 16<<20)
			transfer(t, far, client, own, 16<<20)
			if (down.super.Load() > 100) != tt.whole || up.super.Load() < 100 {
				t.Errorf("%s: %d super-packets up, %d down", tt.name, up.super.Load(), down.super.Load())
			}
			if read, _ := c.Lost(); read != 0 {
				t.Errorf("%s: %d lost", tt.name, read)
			}
		}
	})
}

// flow is one direction, with a count of its super-packets.
type flow struct{ super atomic.Int64 }

// pump carries unicast IPv6 from one to the other until one is closed.
func (f *flow) pump(t *testing.T, from, to port) {
	fs := make([]*frame.Frame, from.Batch())
	for i := range fs {
		fs[i] = new(frame.Frame)
	}
	for {
		n, err := from.Read(fs)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil {
			t.Errorf("read: %v", err)
			return
		}
		for i := range fs[:n] {
			if p := fs[i].Bytes(); len(p) < 40 || netip.AddrFrom16([16]byte(p[24:40])).IsMulticast() {
				continue
			}
			if fs[i].GSO != frame.NotSegmented {
				f.super.Add(1)
			}
			if _, err := to.Write(fs[i : i+1]); err != nil && !errors.Is(err, os.ErrClosed) {
				t.Errorf("write: %v", err)
			}
		}
	}
}

// transfer sends random octets over a TCP connection from one namespace to another, where addr is.
func transfer(t *testing.T, from, to *nstest.NS, addr string, octets int64) {
	t.Helper()
	var l net.Listener
	to.Do(t, func() (err error) {
		l, err = net.Listen("tcp6", net.JoinHostPort(addr, "0"))
		return err
	})
	defer l.Close()
	type result struct {
		sum [sha256.Size]byte
		err error
	}
	got := make(chan result, 1)
	go func() {
		var r result
		h := sha256.New()
		conn, err := l.Accept()
		if err == nil {
			_, err = io.Copy(h, conn)
			conn.Close()
		}
		r.err = err
		h.Sum(r.sum[:0])
		got <- r
	}()
	h := sha256.New()
	from.Do(t, func() error {
		conn, err := net.DialTimeout("tcp6", l.Addr().String(), patience)
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := io.CopyN(io.MultiWriter(conn, h), rand.NewChaCha8([32]byte{1}), octets); err != nil {
			return fmt.Errorf("send: %w", err)
		}
		return nil
	})
	r := <-got
	if r.err != nil || r.sum != [sha256.Size]byte(h.Sum(nil)) {
		t.Errorf("what came is not what was sent (%v)", r.err)
	}
}
