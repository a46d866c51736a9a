package ra

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Of the kernel's include/uapi/linux/if_addr.h and in6.h.
const (
	addrTentative   = 0x40 // optimistic ones have it too
	receiveFragSize = 77
)

// etherIPv6 is the EtherType of IPv6 in network order.
var etherIPv6 = binary.NativeEndian.Uint16([]byte{0x86, 0xdd})

// join does nothing: a raw socket that is not bound hears whatever the host does, and each interface is in the group of all nodes.
func (*socket) join(Link) error { return nil }

// ownAddresses are the host's link-local ones, with what package net does not tell. The file is that of the thread's network namespace.
func ownAddresses() (own []address, err error) {
	text, err := os.ReadFile("/proc/thread-self/net/if_inet6")
	if err != nil {
		return nil, fmt.Errorf("list the IPv6 addresses: %w", err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		f := strings.Fields(lines.Text()) // address, index, length, scope, flags, name
		if len(f) < 5 {
			continue
		}
		octets, badAddr := hex.DecodeString(f[0])
		link, badIndex := strconv.ParseUint(f[1], 16, 31)
		flags, badFlags := strconv.ParseUint(f[4], 16, 32)
		addr, ok := netip.AddrFromSlice(octets)
		if badAddr != nil || badIndex != nil || badFlags != nil || !ok {
			return nil, fmt.Errorf("list the IPv6 addresses: the kernel says %q", lines.Text())
		}
		if addr.IsLinkLocalUnicast() {
			own = append(own, address{link: int(link), addr: addr, tentative: flags&addrTentative != 0})
		}
	}
	return own, nil
}

// solicitFromNone sends a packet, because no IPv6 socket of Linux sends from :: where the link has an address: it insists on one that is
// verified, even with a header of the program's own (EADDRNOTAVAIL).
func solicitFromNone(link Link) error {
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0) // 0: it receives nothing
	if err != nil {
		return fmt.Errorf("open a packet socket: %w", err)
	}
	defer syscall.Close(fd)
	to := &syscall.SockaddrLinklayer{Protocol: etherIPv6, Ifindex: link.Index, Halen: 6, Addr: [8]byte{0x33, 0x33, 0, 0, 0, 2}}
	if err := syscall.Sendto(fd, anonymous, 0, to); err != nil {
		return fmt.Errorf("send a Router Solicitation on %s from ::: %w", link.Name, err)
	}
	return nil
}

// anonymous is a Router Solicitation from :: to ff02::2, an IPv6 packet whose checksum is always the same.
var anonymous = slices.Concat(
	[]byte{6 << 4, 0, 0, 0, 0, 8, syscall.IPPROTO_ICMPV6, hopLimitOnLink},
	net.IPv6unspecified, net.IPv6linklocalallrouters,
	[]byte{133, 0, 0x7b, 0xb8, 0, 0, 0, 0},
)

// tellFragments has the kernel say of a packet that it put it together.
func tellFragments(c *net.IPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var bad error
	if err := raw.Control(func(fd uintptr) { bad = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, receiveFragSize, 1) }); err != nil {
		return err
	}
	return os.NewSyscallError("setsockopt", bad)
}

// wasFragmented says whether the kernel put the packet together, or cannot be understood. RFC 6980 has it ignored: fragments are how
// forged advertisements slip through switches that filter them.
func wasFragmented(oob []byte) bool {
	messages, err := syscall.ParseSocketControlMessage(oob)
	return err != nil || slices.ContainsFunc(messages, func(m syscall.SocketControlMessage) bool {
		return m.Header.Level == syscall.IPPROTO_IPV6 && m.Header.Type == receiveFragSize
	})
}
