package link

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	rt "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/clat/checksum"
	"uclat/clat/frame"
	"uclat/platform"
	"uclat/platform/internal/nstest"
)

// Addresses in all tests: the host, what stands beside it, and the other end of the link.
const (
	host = "2001:db8::1"
	own  = "2001:db8::c1a7"
	peer = "2001:db8::2"
	away = "2001:db8:f::1" // behind peer
)

const patience = 10 * time.Second // for what comes within milliseconds

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// up0 (host) --- peer0 (peer, in its own namespace, which knows own at up0)
func newLab(t *testing.T) (far *nstest.NS) {
	t.Helper()
	far = nstest.New(t)
	nstest.Veth(t, "up0", "peer0", far)
	must(t, nstest.AddAddr("up0", host+"/64"))
	hw := hardware(t, "up0")
	far.Do(t, func() error {
		if err := nstest.AddAddr("peer0", peer+"/64"); err != nil {
			return err
		}
		return knows("peer0", own, hw)
	})
	return far
}

// knows gives an interface of the calling thread's namespace a neighbour that needs no asking.
func knows(name, addr string, hw net.HardwareAddr) error {
	l, err := rt.LinkByName(name)
	if err != nil {
		return err
	}
	return rt.NeighSet(&rt.Neigh{LinkIndex: l.Attrs().Index, Family: unix.AF_INET6, State: unix.NUD_PERMANENT,
		IP: net.ParseIP(addr), HardwareAddr: hw})
}

func hardware(t *testing.T, name string) net.HardwareAddr {
	t.Helper()
	l, err := rt.LinkByName(name)
	must(t, err)
	return l.Attrs().HardwareAddr
}

// find is an interface of the calling thread's namespace.
func find(name string) (platform.Link, error) {
	l, err := rt.LinkByName(name)
	if err != nil {
		return platform.Link{}, err
	}
	a := l.Attrs()
	p := platform.Link{Index: a.Index, Name: a.Name, MTU: a.MTU, MTU6: a.MTU, Up: true, L2: len(a.HardwareAddr) > 0}
	if p.L2 {
		p.Hardware = a.HardwareAddr.String()
	}
	return p, nil
}

// open opens an interface of the test's namespace.
func open(t *testing.T, name string, to ...string) *Conn {
	t.Helper()
	l, err := find(name)
	must(t, err)
	c, err := Open(Options{Link: l})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.Accept(prefixes(to...)))
	return c
}

// openPair opens both ends: up0 for own, peer0 for what is away, each with the other as its next hop.
func openPair(t *testing.T, far *nstest.NS) (near, other *Conn) {
	t.Helper()
	near = open(t, "up0", own+"/128")
	far.Do(t, func() error {
		l, err := find("peer0")
		if err != nil {
			return err
		}
		other, err = Open(Options{Link: l})
		return err
	})
	t.Cleanup(func() { other.Close() })
	must(t, other.Accept(prefixes(away+"/64")))
	near.Via(only(other.shape.own), near.shape.own)
	other.Via(only(near.shape.own), other.shape.own)
	return near, other
}

// only is a next hop for all sources.
func only(hw net.HardwareAddr) map[netip.Prefix]net.HardwareAddr {
	return map[netip.Prefix]net.HardwareAddr{{}: hw}
}

// packetRead is a packet that was read, copied out.
type packetRead struct {
	b []byte
	frame.Offload
	from net.HardwareAddr
}

// hear reads data until the Conn is closed.
func hear(t *testing.T, c *Conn) <-chan packetRead {
	ch := make(chan packetRead, 4096)
	go func() {
		defer close(ch)
		fs := []*frame.Frame{new(frame.Frame)}
		for {
			if _, err := c.Read(fs); err != nil {
				if err != os.ErrClosed {
					t.Errorf("Read: %v", err)
				}
				return
			}
			ch <- packetRead{b: append([]byte(nil), fs[0].Bytes()...), Offload: fs[0].Offload}
		}
	}()
	return ch
}

// hearND is the same for Neighbor Discovery.
func hearND(t *testing.T, c *Conn) <-chan packetRead {
	ch := make(chan packetRead, 4096)
	go func() {
		defer close(ch)
		buf := make([]byte, 1514+1)
		for {
			n, from, err := c.ReadND(buf)
			if err != nil {
				if err != os.ErrClosed {
					t.Errorf("ReadND: %v", err)
				}
				return
			}
			ch <- packetRead{b: append([]byte(nil), buf[:n]...), from: from}
		}
	}()
	return ch
}

func next(t *testing.T, ch <-chan packetRead) packetRead {
	t.Helper()
	select {
	case p, ok := <-ch:
		if !ok {
			t.Fatal("no more packets: closed")
		}
		return p
	case <-time.After(patience):
		t.Fatal("no packet")
	}
	panic("unreachable")
}

func expect(t *testing.T, ch <-chan packetRead, want []byte) packetRead {
	t.Helper()
	p := next(t, ch)
	if string(p.b) != string(want) {
		t.Fatalf("read %d octets %x\nwant %d octets %x", len(p.b), p.b[:min(len(p.b), 80)], len(want), want[:min(len(want), 80)])
	}
	return p
}

// inFrame is p with the usual room around it.
func inFrame(p []byte) *frame.Frame {
	buf := make([]byte, frame.Headroom+len(p)+frame.Tailroom)
	copy(buf[frame.Headroom:], p)
	f := new(frame.Frame)
	f.Wrap(buf, frame.Headroom, len(p))
	return f
}

func send(t *testing.T, c *Conn, p []byte) {
	t.Helper()
	if n, err := c.Write([]*frame.Frame{inFrame(p)}); n != 1 || err != nil {
		t.Fatalf("Write: %d, %v", n, err)
	}
}

// udp6 is a UDP packet with its checksum.
func udp6(src, dst string, payload []byte) []byte {
	p := make([]byte, 48+len(payload))
	ip6(p, src, dst, unix.IPPROTO_UDP)
	binary.BigEndian.PutUint16(p[40:], 5000)
	binary.BigEndian.PutUint16(p[42:], 5001)
	binary.BigEndian.PutUint16(p[44:], uint16(8+len(payload)))
	copy(p[48:], payload)
	binary.BigEndian.PutUint16(p[46:], ^transportSum(p))
	return p
}

// tcp6 is a TCP packet whose checksum is partial, as a super-packet has it.
func tcp6(src, dst string, payload []byte) []byte {
	p := make([]byte, 60+len(payload))
	ip6(p, src, dst, unix.IPPROTO_TCP)
	binary.BigEndian.PutUint16(p[40:], 5000)
	binary.BigEndian.PutUint16(p[42:], 5001)
	p[52], p[53] = 5<<4, 0x10
	copy(p[60:], payload)
	binary.BigEndian.PutUint16(p[56:], pseudoSum(p))
	return p
}

// nd6 is a Neighbor Solicitation or Advertisement about target.
func nd6(kind byte, src, dst, target string) []byte {
	p := make([]byte, 40+24)
	ip6(p, src, dst, unix.IPPROTO_ICMPV6)
	p[7], p[40] = 255, kind
	copy(p[48:], netip.MustParseAddr(target).AsSlice())
	binary.BigEndian.PutUint16(p[42:], ^transportSum(p))
	return p
}

func ip6(p []byte, src, dst string, next byte) {
	p[0], p[6], p[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	copy(p[8:], netip.MustParseAddr(src).AsSlice())
	copy(p[24:], netip.MustParseAddr(dst).AsSlice())
}

// transportSum is the sum over the transport part and its pseudo-header: 0xffff where the checksum in it is right.
func transportSum(p []byte) uint16 { return checksum.Add(checksum.Sum(p[40:]), pseudoSum(p)) }

func pseudoSum(p []byte) uint16 {
	return checksum.Add(checksum.Sum(p[8:40]), checksum.Add(uint16(len(p)-40), uint16(p[6])))
}

// setFeatures turns offloads of an interface of the calling thread's namespace on or off, as ethtool -K does.
func setFeatures(name string, on bool, features ...string) error {
	c, err := netlink.Dial(unix.NETLINK_GENERIC, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	family, err := genericFamily(c, unix.ETHTOOL_GENL_NAME)
	if err != nil {
		return err
	}
	ae := netlink.NewAttributeEncoder()
	ae.Nested(unix.ETHTOOL_A_FEATURES_HEADER, func(h *netlink.AttributeEncoder) error {
		h.String(unix.ETHTOOL_A_HEADER_DEV_NAME, name)
		return nil
	})
	ae.Nested(unix.ETHTOOL_A_FEATURES_WANTED, func(w *netlink.AttributeEncoder) error {
		w.Nested(unix.ETHTOOL_A_BITSET_BITS, func(bits *netlink.AttributeEncoder) error {
			for _, f := range features {
				bits.Nested(unix.ETHTOOL_A_BITSET_BITS_BIT, func(bit *netlink.AttributeEncoder) error {
					bit.String(unix.ETHTOOL_A_BITSET_BIT_NAME, f)
					bit.Flag(unix.ETHTOOL_A_BITSET_BIT_VALUE, on)
					return nil
				})
			}
			return nil
		})
		return nil
	})
	_, err = generic(c, family, unix.ETHTOOL_MSG_FEATURES_SET, ae)
	return err
}

func genericFamily(c *netlink.Conn, name string) (uint16, error) {
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.CTRL_ATTR_FAMILY_NAME, name)
	msgs, err := generic(c, unix.GENL_ID_CTRL, unix.CTRL_CMD_GETFAMILY, ae)
	if err != nil {
		return 0, err
	}
	ad, err := netlink.NewAttributeDecoder(msgs[0].Data[unix.GENL_HDRLEN:])
	if err != nil {
		return 0, err
	}
	for ad.Next() {
		if ad.Type() == unix.CTRL_ATTR_FAMILY_ID {
			return ad.Uint16(), nil
		}
	}
	return 0, os.ErrNotExist
}

func generic(c *netlink.Conn, family uint16, command uint8, ae *netlink.AttributeEncoder) ([]netlink.Message, error) {
	attrs, err := ae.Encode()
	if err != nil {
		return nil, err
	}
	return c.Execute(netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(family), Flags: netlink.Request},
		Data:   append([]byte{command, 1, 0, 0}, attrs...),
	})
}

// lockThreadForGood makes the runtime end the thread together with the calling goroutine.
func lockThreadForGood() { runtime.LockOSThread() }

// slow makes an interface send that many octets a second, and keep as many octets as limit until it can.
func slow(t *testing.T, index int, rate uint64, limit uint32) {
	t.Helper()
	const burst = 16000
	must(t, rt.QdiscReplace(&rt.Tbf{QdiscAttrs: rt.QdiscAttrs{LinkIndex: index, Handle: rt.MakeHandle(1, 0), Parent: rt.HANDLE_ROOT},
		Rate: rate, Buffer: rt.Xmittime(rate, burst), Limit: limit}))
}
