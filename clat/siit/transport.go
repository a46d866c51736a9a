package siit

import (
	"encoding/binary"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/frame"
)

// Offsets of the checksum field in a transport header.
const (
	checksumAtTCP  = 16
	checksumAtUDP  = 6
	checksumAtICMP = 2
)

// checksumAt is the offset of the checksum field in the headers that have one over the addresses; false for all others, which are
// left alone.
func checksumAt(proto uint8) (int, bool) {
	switch proto {
	case protoTCP:
		return checksumAtTCP, true
	case protoUDP:
		return checksumAtUDP, true
	}
	return 0, false
}

// checkOffload says whether what the device said of f fits the packet: only plain TCP and UDP come segmented or with a partial
// checksum. l4 is the offset of the transport header, proto its protocol.
func checkOffload(f *frame.Frame, l4 int, proto uint8, fragment bool) clat.DropReason {
	if f.GSO == frame.NotSegmented && f.Checksum != frame.ChecksumPartial {
		return clat.DropNone
	}
	at, ok := checksumAt(proto)
	gso := frame.SegmentTCP
	if proto == protoUDP {
		gso = frame.SegmentUDP
	}
	if !ok || fragment || int(f.L4) != l4 || int(f.ChecksumAt) != at || f.GSO != frame.NotSegmented && (f.GSO != gso || f.SegSize == 0) {
		return clat.DropOffload
	}
	return clat.DropNone
}

// transportLen is the length in octets of the TCP or UDP header at the start of p; false where p is too short for it. Of other
// protocols nothing is asked. Fragment is true for a first fragment, which may end within the header, but not before its checksum:
// that could not be kept right.
func transportLen(p []byte, proto uint8, fragment bool) (int, bool) {
	switch proto {
	case protoTCP:
		if fragment {
			return 0, len(p) >= checksumAtTCP+2
		}
		if len(p) < 20 {
			return 0, false
		}
		n := int(p[12]>>4) * 4
		return n, n >= 20 && n <= len(p)
	case protoUDP:
		return 8, len(p) >= 8
	}
	return 0, true
}

// updateTransport brings the checksum of the TCP or UDP header at the start of p, which transportLen approved, in line with new
// addresses. A partial checksum is a sum that is not inverted yet.
func updateTransport(p []byte, proto uint8, delta uint16, state frame.Checksum) {
	at, ok := checksumAt(proto)
	if !ok {
		return
	}
	field := binary.BigEndian.Uint16(p[at:])
	if state == frame.ChecksumPartial {
		binary.BigEndian.PutUint16(p[at:], checksum.Add(field, delta))
		return
	}
	putChecksum(p[at:], checksum.Update(field, delta), proto)
}

// putChecksum writes a finished checksum to the start of p.
func putChecksum(p []byte, field uint16, proto uint8) {
	if field == 0 && proto == protoUDP {
		field = 0xffff // zero would say that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(p, field)
}

// finishPartial makes a partial checksum a finished one, for a packet that leaves in pieces, of which no device could do it.
func finishPartial(p []byte, proto uint8) {
	if at, ok := checksumAt(proto); ok {
		putChecksum(p[at:], ^checksum.Sum(p), proto)
	}
}

// hasZeroUDP says whether p starts with the header of a UDP datagram that carries no checksum.
func hasZeroUDP(p []byte, proto uint8, state frame.Checksum) bool {
	return proto == protoUDP && state != frame.ChecksumPartial && binary.BigEndian.Uint16(p[checksumAtUDP:]) == 0
}
