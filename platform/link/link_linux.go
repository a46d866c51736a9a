package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"uclat/clat/frame"
)

// Conn is an open link. One goroutine reads data, one reads Neighbor Discovery; any number may call everything else.
type Conn struct {
	name  string // for people: the interface may get another
	index int
	shape shape
	fixed bool // the link has no neighbours: Via changes nothing

	data    *os.File
	raw     syscall.RawConn // of data
	nd      *packet.Conn
	ndRaw   syscall.RawConn
	hops    atomic.Pointer[hops] // of what Write sends; nil: none is known
	senders sync.Pool            // of *sender
	waiting sync.Mutex           // the data socket's write deadline is of one Write
	mtu     mtu
	cutter  cutter

	// Owned by the reader of data: a packet's buffer, and the part of it that the kernel fills.
	buf, in []byte

	lostRead, lostWritten atomic.Uint64

	accepting sync.Mutex // both filters are of one call

	joining sync.Mutex
	groups  map[*os.File]struct{} // guarded by joining; nil once the Conn is closed

	closed    chan struct{}
	closeOnce sync.Once
	closeErr  error
}

// newConn takes both sockets over.
func newConn(o Options, s shape, data *os.File, nd *packet.Conn) (*Conn, error) {
	c := &Conn{
		name: o.Link.Name, index: o.Link.Index, shape: s, fixed: s.link == 0 || !o.Link.L2,
		data: data, nd: nd,
		buf: make([]byte, frame.BufLen), groups: map[*os.File]struct{}{}, closed: make(chan struct{}),
	}
	c.in = c.buf[frame.Headroom-s.head() : frame.Headroom+frame.MaxLen+1] // one more than a packet has, to see what is cut off
	c.senders.New = func() any { return newSender() }
	if s.link > 0 && c.fixed { // Ethernet in name only: what is sent goes to the other end, whatever the addresses (the kernel does the same)
		list := makeHops(map[netip.Prefix]net.HardwareAddr{{}: s.own}, s.own)
		c.hops.Store(&list)
	}
	var err error
	if c.raw, err = data.SyscallConn(); err != nil {
		return nil, err
	}
	if c.ndRaw, err = nd.SyscallConn(); err != nil {
		return nil, err
	}
	c.cutter.offer = c.offer
	c.mtu.start = time.Now()
	c.mtu.octets.Store(int64(o.Link.MTU))
	return c, nil
}

// Batch is how many frames Read may fill: a super-packet is one.
func (c *Conn) Batch() int { return 1 }

// Lost is how many packets were for us that Read could not return, because the receive buffer was full or the kernel or this package
// cannot express what they are; and how many Write could not hand to the kernel, but for those that were too big or had no next hop.
func (c *Conn) Lost() (read, written uint64) {
	c.countOverflow()
	return c.lostRead.Load(), c.lostWritten.Load()
}

// countOverflow adds the packets that found the receive buffer full. The kernel counts from zero again each time that it is asked.
func (c *Conn) countOverflow() {
	_ = c.raw.Control(func(fd uintptr) { // fails once closed, and Close has asked before
		if s, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			c.lostRead.Add(uint64(s.Drops))
		}
	})
}

// Accept lets in what is sent to these addresses, and nothing else: up to 8 IPv6 prefixes, and none for nothing at all. Neighbor Discovery
// is heard for single addresses only. It may be called while packets flow: the kernel changes from the old set to the new one in one
// step. What waits to be read already stays.
func (c *Conn) Accept(to []netip.Prefix) error {
	err := checkPrefixes(to)
	if err != nil {
		return fmt.Errorf("%s: %w", c.name, err)
	}
	c.accepting.Lock()
	defer c.accepting.Unlock()
	data, err := bpf.Assemble(dataFilter(to, uint32(c.shape.link)))
	if err != nil {
		return fmt.Errorf("%s: filter for data: %w", c.name, err)
	}
	nd, err := bpf.Assemble(ndFilter(to, uint32(c.shape.link)))
	if err != nil {
		return fmt.Errorf("%s: filter for Neighbor Discovery: %w", c.name, err)
	}
	if err := control(c.raw, func(fd int) error { return attach(fd, data) }); err != nil {
		return c.failed("attach the filter for data", err)
	}
	if err := c.nd.SetBPF(nd); err != nil {
		return c.failed("attach the filter for Neighbor Discovery", err)
	}
	return nil
}

// Close ends waiting Reads and ReadNDs with os.ErrClosed, and leaves all groups. A second Close does nothing.
func (c *Conn) Close() error {
	c.closeOnce.Do(func() {
		c.countOverflow()
		close(c.closed)
		c.joining.Lock()
		groups := c.groups
		c.groups = nil
		c.joining.Unlock()
		var errs []error
		for g := range groups {
			errs = append(errs, g.Close())
		}
		c.closeErr = errors.Join(append(errs, c.data.Close(), c.nd.Close())...)
	})
	return c.closeErr
}

func (c *Conn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// failed is an error of something other than packets; os.ErrClosed after Close.
func (c *Conn) failed(what string, err error) error {
	if c.isClosed() {
		err = os.ErrClosed
	}
	return fmt.Errorf("%s: %s: %w", c.name, what, err)
}

// control runs f with the socket's descriptor.
func control(raw syscall.RawConn, f func(fd int) error) error {
	var err error
	if closed := raw.Control(func(fd uintptr) { err = f(int(fd)) }); closed != nil {
		return closed
	}
	return err
}

// mtu is the link's MTU in octets as it was last asked for; 0: unknown.
type mtu struct {
	octets, asked atomic.Int64 // asked: nanoseconds from start
	start         time.Time
}

// staleMTU is how long a super-packet may trust what the link's MTU was, which the kernel does not compare with their segments, and what was
// found out about the link's header.
const staleMTU = time.Second

// currentMTU is the link's MTU in octets, asked now; 0 where the link is gone.
func (c *Conn) currentMTU() int {
	n := 0
	_ = control(c.raw, func(fd int) error {
		r, err := interfaceRequest(fd, c.index, unix.SIOCGIFMTU)
		if err == nil {
			n = int(r.Uint32())
		}
		return err
	})
	c.mtu.asked.Store(int64(time.Since(c.mtu.start)))
	c.mtu.octets.Store(int64(n))
	c.cutter.who.CompareAndSwap(cutByKernel, cutUnknown)
	return n
}

// tooLong says whether packets of n octets are longer than the link takes, and what it takes.
func (c *Conn) tooLong(n int) (mtu int, tooLong bool) {
	mtu = int(c.mtu.octets.Load())
	if n > mtu || int64(time.Since(c.mtu.start))-c.mtu.asked.Load() > int64(staleMTU) {
		mtu = c.currentMTU()
	}
	return mtu, mtu > 0 && n > mtu
}
