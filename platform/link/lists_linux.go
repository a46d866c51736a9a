package link

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"uclat/clat/checksum"
)

// unlist gives a super-packet that the kernel has put together as a list (rx-gro-list) the checksum that all others have. Such a list keeps the
// checksum of its first segment, which the kernel has verified like those of all. h is the virtio header, p the IPv6 packet. What is no such
// super-packet, and what has extension headers, stays as it is.
func unlist(h []byte, link int, p []byte) {
	const lenIPv6, nextHeader, tcp, udp = 40, 6, 6, 17
	if h[0] != unix.VIRTIO_NET_HDR_F_DATA_VALID || len(p) <= lenIPv6 {
		return
	}
	at := 0
	switch kind := h[1]; {
	case kind&^unix.VIRTIO_NET_HDR_GSO_ECN == unix.VIRTIO_NET_HDR_GSO_TCPV6 && p[nextHeader] == tcp:
		at = 16
	case kind == unix.VIRTIO_NET_HDR_GSO_UDP_L4 && p[nextHeader] == udp:
		at = 6
	}
	length := int(binary.BigEndian.Uint16(p[4:]))
	if at == 0 || length < at+2 || length > len(p)-lenIPv6 {
		return
	}
	sum := checksum.Pseudo6((*[16]byte)(p[8:]), (*[16]byte)(p[24:]), uint32(length), p[nextHeader])
	binary.BigEndian.PutUint16(p[lenIPv6+at:], sum)
	h[0] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
	binary.NativeEndian.PutUint16(h[6:], uint16(link+lenIPv6))
	binary.NativeEndian.PutUint16(h[8:], uint16(at))
}
