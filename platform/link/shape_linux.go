package link

import (
	"net"

	"golang.org/x/sys/unix"

	"uclat/platform"
	"uclat/platform/internal/vnet"
)

// Lengths in octets.
const (
	etherAddrLen = 6
	etherLen     = 14 // destination, source, type
)

// shape is how packets lie in what the sockets read and write.
type shape struct {
	socket int              // SOCK_RAW or SOCK_DGRAM
	link   int              // octets of link-layer header before a packet
	vnet   bool             // the data socket has a virtio header before that; without it, super-packets and partial checksums are finished here
	own    net.HardwareAddr // of Ethernet
}

// head is the octets before a packet on the data socket.
func (s shape) head() int {
	if !s.vnet {
		return s.link
	}
	return vnet.Len + s.link
}

// inspect finds out what the sockets on a link have to be.
func inspect(l platform.Link) (shape, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return shape{}, explain(l.Name, "open", err)
	}
	defer unix.Close(fd)
	r, err := interfaceRequest(fd, l.Index, unix.SIOCGIFHWADDR)
	if err != nil {
		return shape{}, explain(l.Name, "find the interface", err)
	}
	return shapeOf(l, r.Uint16()) // sa_family, which is the kind of link (ARPHRD)
}

// shapeOf is the shape for a link of that kind (ARPHRD).
//
// The kernel gives a virtio header to SOCK_RAW only, and takes the first hard_header_len octets that SOCK_RAW writes for the link-layer
// header. That fits most Ethernet, whose header is ours (kernelCuts finds the rest), and the kinds below, which have none. It does not fit
// PPP, which says 4 and wants none from us: segmentation would look for the IP header 4 octets too late. There, and wherever that is not
// known, SOCK_DGRAM leaves the header to the kernel.
func shapeOf(l platform.Link, kind uint16) (shape, error) {
	if l.Hardware != "" {
		own, err := net.ParseMAC(l.Hardware)
		if err != nil || len(own) != etherAddrLen {
			return shape{}, unsuited(l.Name, "its link-layer address "+l.Hardware+" is not Ethernet's", nil)
		}
		return shape{socket: unix.SOCK_RAW, link: etherLen, vnet: true, own: own}, nil
	}
	switch {
	case l.L2:
		return shape{}, unsuited(l.Name, "it has neighbours with link-layer addresses that are not Ethernet's", nil)
	case kind == unix.ARPHRD_NONE || kind == unix.ARPHRD_RAWIP: // TUN, WireGuard, XFRM, raw IP of WWAN modems
		return shape{socket: unix.SOCK_RAW, vnet: true}, nil
	}
	return shape{socket: unix.SOCK_DGRAM}, nil
}

// etherHeader is the header of an IPv6 packet on Ethernet.
func etherHeader(to, from net.HardwareAddr) (h [etherLen]byte) {
	copy(h[:], to)
	copy(h[etherAddrLen:], from)
	h[12], h[13] = unix.ETH_P_IPV6>>8, unix.ETH_P_IPV6&0xff
	return h
}

// interfaceRequest asks the kernel something about an interface by its index, because names change.
func interfaceRequest(fd, index int, what uint) (*unix.Ifreq, error) {
	r, err := unix.NewIfreq("")
	if err != nil {
		return nil, err
	}
	r.SetUint32(uint32(index))
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFNAME, r); err != nil {
		return nil, err
	}
	if r, err = unix.NewIfreq(r.Name()); err != nil {
		return nil, err
	}
	return r, unix.IoctlIfreq(fd, what, r)
}
