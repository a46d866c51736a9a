package tundev

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"uclat/clat/frame"
)

// udp is an IPv4 UDP packet in a buffer with the usual room around it.
func udp(src, dst string, sport, dport uint16, payload string) *frame.Frame {
	n := 28 + len(payload)
	buf := make([]byte, frame.Headroom+n+frame.Tailroom)
	p := buf[frame.Headroom : frame.Headroom+n]
	p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP
	binary.BigEndian.PutUint16(p[2:], uint16(n))
	copy(p[12:], netip.MustParseAddr(src).AsSlice())
	copy(p[16:], netip.MustParseAddr(dst).AsSlice())
	binary.BigEndian.PutUint16(p[10:], ^sum(0, p[:20]))
	binary.BigEndian.PutUint16(p[20:], sport)
	binary.BigEndian.PutUint16(p[22:], dport)
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(payload)))
	copy(p[28:], payload)
	binary.BigEndian.PutUint16(p[26:], ^transportSum(p))
	f := new(frame.Frame)
	f.Wrap(buf, frame.Headroom, n)
	return f
}

func sum(start uint32, b []byte) uint16 {
	for ; len(b) > 1; b = b[2:] {
		start += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		start += uint32(b[0]) << 8
	}
	for start > 0xffff {
		start = start&0xffff + start>>16
	}
	return uint16(start)
}

// transportSum is the sum over the transport part of an IPv4 packet and its pseudo-header: 0xffff where the checksum in it is right.
func transportSum(p []byte) uint16 {
	return sum(uint32(p[9])+uint32(len(p)-20)+uint32(sum(0, p[12:20])), p[20:])
}
