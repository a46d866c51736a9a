package link

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/mdlayher/ndp"
	"github.com/mdlayher/packet"
	"golang.org/x/sys/unix"
)

// ReadND waits for a Neighbor Solicitation or Advertisement that concerns the single addresses of Accept: to one of them, to its solicited-
// node group, or an Advertisement to all nodes. buf[:n] is the IPv6 packet, which is hostile: nothing is checked but what the filter looks at
// (hop limit 255, type). from is its link-layer source; nil on links without. buf must have 15 octets more than the packets that are
// to be heard; longer ones are skipped. It returns os.ErrClosed after Close.
func (c *Conn) ReadND(buf []byte) (n int, from net.HardwareAddr, err error) {
	for {
		n, _, err := c.nd.ReadFrom(buf)
		switch {
		case err == nil && n > c.shape.link && n < len(buf):
			if c.shape.link > 0 {
				from = bytes.Clone(buf[etherAddrLen : 2*etherAddrLen])
			}
			return copy(buf, buf[c.shape.link:n]), from, nil
		case err != nil && c.isClosed():
			return 0, nil, os.ErrClosed
		case err != nil && !errors.Is(err, unix.ENETDOWN): // said once, when the link goes down
			c.wait(c.ndRaw)
		}
	}
}

// SendND sends a whole IPv6 packet, with the link-layer addresses that it is to have; links without have no use for them.
func (c *Conn) SendND(p []byte, to, from net.HardwareAddr) error {
	if len(p) == 0 || p[0]&versionMask != six6 {
		return fmt.Errorf("%s: %w", c.name, errVersion)
	}
	if c.shape.link > 0 {
		if len(to) != etherAddrLen || len(from) != etherAddrLen {
			return fmt.Errorf("%s: %w: link-layer addresses %v and %v, want 6 octets each", c.name, ErrRefused, to, from)
		}
		h := etherHeader(to, from)
		p = append(h[:], p...)
	}
	if to == nil {
		to = net.HardwareAddr{} // to the library, nil is a mistake
	}
	if _, err := c.nd.WriteTo(p, &packet.Addr{HardwareAddr: to}); err != nil {
		return c.failed("send Neighbor Discovery", err)
	}
	return nil
}

// Join makes the kernel a member of addr's solicited-node group on the link (RFC 4291, 2.7.1): it programs the card's filter, reports by MLD
// and answers queries, but not Neighbor Solicitations for addr, which is not its own. leave, Close and the end of the process undo it.
func (c *Conn) Join(addr netip.Addr) (leave func() error, err error) {
	group, err := ndp.SolicitedNodeMulticast(addr)
	if err != nil {
		return nil, fmt.Errorf("%s: solicited-node group of %v: %w", c.name, addr, err)
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, c.failed("open a socket to join "+group.String(), err)
	}
	member := os.NewFile(uintptr(fd), "member of "+group.String())
	mreq := unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(c.index)}
	if err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, &mreq); err != nil {
		member.Close()
		return nil, c.failed("join "+group.String()+" (IPv6 must be on)", err)
	}
	c.joining.Lock()
	defer c.joining.Unlock()
	if c.groups == nil {
		member.Close()
		return nil, os.ErrClosed
	}
	c.groups[member] = struct{}{}
	return func() error { return c.leave(member) }, nil
}

// leave is nothing where the socket is closed already.
func (c *Conn) leave(member *os.File) error {
	c.joining.Lock()
	_, joined := c.groups[member]
	delete(c.groups, member)
	c.joining.Unlock()
	if !joined {
		return nil
	}
	return member.Close()
}
