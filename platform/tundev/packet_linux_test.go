package tundev

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"uclat/clat/frame"
)

// udp is an IPv4 UDP packet in a buffer with the usual room around it.
func udp(src, dst string, sport, dport uint16, payload string) *frame.Frame {
	f := ip(netip.MustParseAddr(src), netip.MustParseAddr(dst), unix.IPPROTO_UDP, 8+len(payload))
	p := f.Bytes()
	binary.BigEndian.PutUint16(p[20:], sport)
	binary.BigEndian.PutUint16(p[22:], dport)
	binary.BigEndian.PutUint16(p[24:], uint16(8+len(payload)))
	copy(p[28:], payload)
	binary.BigEndian.PutUint16(p[26:], ^sum(uint32(pseudoSum(p)), p[20:]))
	return f
}

// superPacket goes from 192.0.2.9 to 198.51.100.7, or 2001:db8::9 to 2001:db8:1::7. flags are those of TCP.
func superPacket(v6, isUDP bool, payload int, size uint16, flags byte) *frame.Frame {
	src, dst := "192.0.2.9", "198.51.100.7"
	if v6 {
		src, dst = "2001:db8::9", "2001:db8:1::7"
	}
	proto, header, at := byte(unix.IPPROTO_TCP), 32, 16 // TCP with the timestamps' 12 octets of options
	if isUDP {
		proto, header, at = unix.IPPROTO_UDP, 8, 6
	}
	f := ip(netip.MustParseAddr(src), netip.MustParseAddr(dst), proto, header+payload)
	f.Checksum, f.GSO, f.SegSize, f.ChecksumAt = frame.ChecksumPartial, frame.SegmentTCP, size, uint16(at)
	if f.L4 = 20; v6 {
		f.L4 = 40
	}
	t := f.Bytes()[f.L4:]
	copy(t, []byte{0x10, 0, 0x20, 0})
	if isUDP {
		f.GSO = frame.SegmentUDP
		binary.BigEndian.PutUint16(t[4:], uint16(len(t)))
	} else {
		copy(t[4:], []byte{0xff, 0xff, 0xf0, 0, 1, 2, 3, 4, 8 << 4, flags, 0x12, 0x34, 0, 0, 0, 0, 1, 1, 8, 10})
		f.ECN = flags&0x80 != 0
	}
	for i := range t[header:] {
		t[header+i] = byte(i*i>>5 + i)
	}
	binary.BigEndian.PutUint16(t[at:], pseudoSum(f.Bytes()))
	return f
}

// ip is a packet with n octets of zeros behind its IP header.
func ip(src, dst netip.Addr, proto byte, n int) *frame.Frame {
	head := 20
	if src.Is6() {
		head = 40
	}
	buf := make([]byte, frame.Headroom+head+n+frame.Tailroom)
	p := buf[frame.Headroom:]
	if src.Is6() {
		p[0], p[6], p[7] = 0x60, proto, 64
		binary.BigEndian.PutUint16(p[4:], uint16(n))
		copy(p[8:], src.AsSlice())
		copy(p[24:], dst.AsSlice())
	} else {
		p[0], p[4], p[5], p[6], p[8], p[9] = 0x45, 0xff, 0xfe, 0x40, 64, proto
		binary.BigEndian.PutUint16(p[2:], uint16(head+n))
		copy(p[12:], src.AsSlice())
		copy(p[16:], dst.AsSlice())
		binary.BigEndian.PutUint16(p[10:], ^sum(0, p[:20]))
	}
	f := new(frame.Frame)
	f.Wrap(buf, frame.Headroom, head+n)
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

// pseudoSum is the sum of the pseudo-header of an IP packet without options.
func pseudoSum(p []byte) uint16 {
	if p[0]>>4 == 6 {
		return sum(uint32(p[6])+uint32(len(p)-40), p[8:40])
	}
	return sum(uint32(p[9])+uint32(len(p)-20), p[12:20])
}

// transportSum is the sum over the transport part of an IP packet without options and its pseudo-header: 0xffff where the checksum in it
// is right.
func transportSum(p []byte) uint16 {
	if p[0]>>4 == 6 {
		return sum(uint32(pseudoSum(p)), p[40:])
	}
	return sum(uint32(pseudoSum(p)), p[20:])
}
