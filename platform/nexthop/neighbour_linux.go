package nexthop

import (
	"encoding/binary"
	"net"
	"net/netip"

	nl "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// neighbour is an IPv6 entry of the neighbour table: struct ndmsg with the attributes that matter (linux/neighbour.h).
type neighbour struct {
	link     int
	state    uint16 // NUD_*
	flags    uint8  // NTF_*
	ext      uint32 // NTF_EXT_*
	hardware net.HardwareAddr
}

// known is the state in the words of this package.
func (n neighbour) known() State {
	switch {
	case n.state&(unix.NUD_REACHABLE|unix.NUD_DELAY|unix.NUD_PROBE|unix.NUD_PERMANENT|unix.NUD_NOARP) != 0:
		return Reachable
	case n.state&unix.NUD_STALE != 0:
		return Stale
	case n.state&unix.NUD_FAILED != 0:
		return Failed
	default:
		return Unresolved
	}
}

// kept says whether an administrator or another program keeps the entry. NTF_USE would take that away from it, permanence too
// (net/core/neighbour.c, __neigh_update).
func (n neighbour) kept() bool {
	return n.state&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0 || n.flags&unix.NTF_EXT_LEARNED != 0 || n.ext&netlink.NTF_EXT_MANAGED != 0
}

// request is the message that asks for the entry of the address, or sets it.
func (n neighbour) request(addr netip.Addr) ([]byte, error) {
	b := make([]byte, unix.SizeofNdMsg)
	b[0] = unix.AF_INET6
	binary.NativeEndian.PutUint32(b[4:], uint32(n.link))
	binary.NativeEndian.PutUint16(b[8:], n.state)
	b[10] = n.flags
	attrs, err := nl.MarshalAttributes([]nl.Attribute{{Type: unix.NDA_DST, Data: addr.AsSlice()}})
	return append(b, attrs...), err
}

// parse reads what the kernel tells of one IPv6 neighbour; of others and of proxies, which are none, nothing.
func parse(m nl.Message) (neighbour, bool) {
	b := m.Data
	if m.Header.Type != unix.RTM_NEWNEIGH && m.Header.Type != unix.RTM_DELNEIGH || len(b) < unix.SizeofNdMsg || b[0] != unix.AF_INET6 {
		return neighbour{}, false
	}
	n := neighbour{
		link:  int(binary.NativeEndian.Uint32(b[4:])),
		state: binary.NativeEndian.Uint16(b[8:]),
		flags: b[10],
	}
	attrs, err := nl.NewAttributeDecoder(b[unix.SizeofNdMsg:])
	if err != nil || n.flags&unix.NTF_PROXY != 0 {
		return neighbour{}, false
	}
	for attrs.Next() {
		switch attrs.Type() {
		case unix.NDA_LLADDR:
			n.hardware = attrs.Bytes()
		case netlink.NDA_FLAGS_EXT:
			n.ext = attrs.Uint32()
		}
	}
	return n, attrs.Err() == nil
}
