package link

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"uclat/clat/frame"
)

// Who cuts super-packets.
const (
	cutUnknown  int32 = iota // not found out: here, which is right everywhere
	cutHere                  // this package
	cutByKernel              // the kernel, or the device
)

// cutter is what is known of that for a link.
type cutter struct {
	who   atomic.Int32
	asked sync.Mutex         // so that one Write finds it out
	offer func([]byte) error // gives the kernel a frame, without waiting
}

// kernelCuts says whether frames may be written with what is left to do for the kernel: super-packets whole, checksums partial.
//
// The kernel looks for the IPv6 header behind hard_header_len octets, and drops super-packets without a word where it is not there. Some
// Ethernet devices have more than 14: VLANs over cards that insert no tags, USB adapters that wrap frames. Nothing reports that number, and
// it changes where a bond gets another member or a card another setting.
//
// hop is the link-layer header of what is to be written.
func (c *Conn) kernelCuts(hop []byte) bool {
	if !c.shape.vnet {
		return false
	}
	if who := c.cutter.who.Load(); who != cutUnknown {
		return who == cutByKernel
	}
	c.cutter.asked.Lock()
	defer c.cutter.asked.Unlock()
	if c.cutter.who.Load() == cutUnknown {
		c.cutter.who.Store(whoCuts(hop, c.currentMTU, c.cutter.offer))
	}
	return c.cutter.who.Load() == cutByKernel
}

// whoCuts offers the kernel a frame that is one octet longer than a link takes whose header is as long as hop. A longer header lets it pass:
// it goes from the link's own address to that, and is of no IP version. Nothing leaves where the frame is refused for its length.
func whoCuts(hop []byte, mtu func() int, offer func([]byte) error) int32 {
	n := mtu()
	switch {
	case n <= 0:
		return cutUnknown
	case n > frame.MaxLen: // an MTU that nobody needs super-packets for
		return cutHere
	}
	b := make([]byte, len(hop)+n+1)
	if len(hop) > 0 {
		self := hop[etherAddrLen : 2*etherAddrLen]
		h := etherHeader(self, self)
		copy(b, h[:])
	}
	err := offer(b)
	switch {
	case mtu() != n:
		return cutUnknown
	case err == nil:
		return cutHere
	case err == unix.EMSGSIZE:
		return cutByKernel
	}
	return cutUnknown // the link is down, or the kernel short of memory
}

// offer goes by the socket for Neighbor Discovery, which has no virtio header and whose buffer data does not fill.
func (c *Conn) offer(b []byte) error {
	return control(c.ndRaw, func(fd int) error {
		_, err := unix.Write(fd, b)
		return err
	})
}
