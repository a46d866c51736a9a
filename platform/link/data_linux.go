package link

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"uclat/clat"
	"uclat/clat/frame"
	"uclat/clat/segment"
	"uclat/platform/internal/vnet"
)

// breath is the wait after a failed read that says nothing about the next one.
const breath = 100 * time.Millisecond

// Read waits for a packet and makes fs[0] it: in a buffer of the Conn, with frame.Headroom before and frame.Tailroom behind it, until the
// next Read. Octets may follow the packet where the link pads short ones. A link that is down or deleted has no packets, and that is no
// error. It returns os.ErrClosed after Close.
func (c *Conn) Read(fs []*frame.Frame) (int, error) {
	if len(fs) == 0 {
		return 0, errors.New("read of a link into no frames")
	}
	for {
		n, err := c.data.Read(c.in)
		switch {
		case err == nil && c.wrap(fs[0], n-c.shape.head()):
			return 1, nil
		case err != nil && c.isClosed():
			return 0, os.ErrClosed
		case errors.Is(err, unix.ENETDOWN): // said once, when the link goes down
			continue
		case err != nil && !errors.Is(err, unix.EINVAL): // EINVAL: the virtio header has no words for this packet
			c.wait(c.raw)
		}
		c.lostRead.Add(1)
	}
}

// wrap makes f the n octets behind the headers that were read.
func (c *Conn) wrap(f *frame.Frame, n int) bool {
	if n <= 0 || n > frame.MaxLen {
		return false
	}
	var o frame.Offload
	if c.shape.vnet {
		var err error
		unlist(c.in[:vnet.Len], c.shape.link, c.in[c.shape.head():c.shape.head()+n])
		if o, err = vnet.Decode(c.in[:vnet.Len], c.shape.link, n); err != nil {
			return false
		}
	}
	f.Wrap(c.buf, frame.Headroom, n)
	f.Offload = o
	return true
}

// wait lets a moment go by. An error that the socket holds is taken off before: the runtime's poller would report it again and again
// instead of letting us read.
func (c *Conn) wait(raw syscall.RawConn) {
	_ = control(raw, func(fd int) error {
		_, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		return err
	})
	select {
	case <-c.closed:
	case <-time.After(breath):
	}
}

// Write sends IPv6 packets in order; it may change what lies before them. Where the socket's buffer is full it waits, but not longer than
// fullWait in all. On error fs[n] is the one refused, and the caller goes on at n+1. The error is a clat.TooBig, of the MTU that the link has
// now; clat.ErrNextHop; ErrRefused; or os.ErrClosed. On links where super-packets are cut here, a refused one has become the segment that was.
func (c *Conn) Write(fs []*frame.Frame) (int, error) {
	s := c.senders.Get().(*sender)
	defer c.senders.Put(s)
	s.until = time.Time{}
	for i, f := range fs {
		if err := c.write(s, f); err != nil {
			return i, err
		}
	}
	return len(fs), nil
}

var (
	errVersion = fmt.Errorf("%w: not an IPv6 packet", ErrRefused)
	errRoom    = fmt.Errorf("%w: no room for headers before the packet", ErrRefused)
)

func (c *Conn) write(s *sender, f *frame.Frame) error {
	if f.Version() != 6 {
		return c.refuse(errVersion)
	}
	hop, err := c.hop(f)
	if err != nil {
		return err
	}
	if !c.kernelCuts(hop) {
		return c.writeCut(s, f, hop)
	}
	b := c.behind(hop, f)
	if b == nil {
		return c.refuse(errRoom)
	}
	if err := vnet.Encode(b, f, c.shape.link); err != nil {
		return c.refuse(fmt.Errorf("%w: %w", ErrRefused, err))
	}
	if f.GSO != frame.NotSegmented {
		headers := int(binary.NativeEndian.Uint16(b[2:])) - c.shape.link // hdr_len
		if mtu, too := c.tooLong(f.WireLen(headers)); too {
			return clat.TooBig{MTU: mtu}
		}
	}
	return c.send(s, b)
}

// writeCut sends finished packets, one or the segments of one: a virtio header, where there is one, says nothing. The first segment is the
// longest. The kernel compares packets with the link's MTU, too, but not to the octet where the link's header is longer than ours.
func (c *Conn) writeCut(s *sender, f *frame.Frame, hop []byte) error {
	if err := s.cutter.Start(f); err != nil {
		return c.refuse(fmt.Errorf("%w: %w", ErrRefused, err))
	}
	for s.cutter.Next() {
		b := c.behind(hop, f)
		if b == nil {
			return c.refuse(errRoom)
		}
		if mtu, too := c.tooLong(f.Len()); too {
			return clat.TooBig{MTU: mtu}
		}
		if err := c.send(s, b); err != nil {
			return err
		}
	}
	return nil
}

// behind is f behind the link-layer header hop, and behind an empty virtio header where the socket has one; nil: there is no room for that.
func (c *Conn) behind(hop []byte, f *frame.Frame) []byte {
	b := f.WithRoom(c.shape.head())
	if b != nil {
		n := c.shape.head() - len(hop)
		clear(b[:n])
		copy(b[n:], hop)
	}
	return b
}

// send hands b to the kernel.
func (c *Conn) send(s *sender, b []byte) error {
	s.b = b
	closed := c.raw.Control(s.try) // not data.Write, which lets one goroutine in at a time
	if closed == nil && s.err == unix.EAGAIN {
		closed = c.sendWaiting(s)
	}
	s.b = nil
	switch {
	case s.err == nil && closed == nil:
		return nil
	case closed != nil && c.isClosed():
		return os.ErrClosed
	case s.err == unix.EMSGSIZE:
		return clat.TooBig{MTU: c.currentMTU()}
	}
	if errno, ok := s.err.(unix.Errno); ok {
		return c.refuse(refusal(errno))
	}
	return c.refuse(ErrRefused)
}

// fullWait is how long a Write waits for room in a full buffer. On a slow link the buffer holds seconds: a full queue drops.
const fullWait = 20 * time.Millisecond

// sendWaiting tries again until there is room or the time of this Write is up. The deadline is the socket's, hence one goroutine at a time;
// who waits behind another had to be done later, and loses nothing. The kernel reports room when half of the buffer is free, and takes a
// packet when any is, hence the try at the end.
func (c *Conn) sendWaiting(s *sender) (closed error) {
	if s.until.IsZero() {
		s.until = time.Now().Add(fullWait)
	}
	c.waiting.Lock()
	defer c.waiting.Unlock()
	if err := c.data.SetWriteDeadline(s.until); err != nil {
		return err
	}
	err := c.raw.Write(s.wait)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return c.raw.Control(s.try)
	}
	return err
}

func (c *Conn) refuse(err error) error {
	c.lostWritten.Add(1)
	return err
}

// refusal is the kernel's reason not to take a packet. As an error it takes no memory, which counts where a queue overflows: ENOBUFS for
// every packet.
type refusal unix.Errno

func (r refusal) Error() string        { return ErrRefused.Error() + ": " + unix.Errno(r).Error() }
func (r refusal) Is(target error) bool { return target == ErrRefused }
func (r refusal) Unwrap() error        { return unix.Errno(r) }

// sender is what one Write needs besides the frame, so that nothing is allocated for a packet.
type sender struct {
	cutter segment.Cutter
	b      []byte
	err    error
	until  time.Time // when waiting ends for this Write; zero: it has not waited

	try  func(fd uintptr)      // writes b
	wait func(fd uintptr) bool // the same, and is false where that would block
}

func newSender() *sender {
	s := new(sender)
	s.try = func(fd uintptr) { _, s.err = unix.Write(int(fd), s.b) }
	s.wait = func(fd uintptr) bool {
		s.try(fd)
		return s.err != unix.EAGAIN
	}
	return s
}
