package siit

import (
	"encoding/binary"

	"uclat/clat/checksum"
	"uclat/clat/eam"
	"uclat/clat/frame"
)

// Offsets of the checksum field in a transport header.
const (
	checksumAtTCP  = 16
	checksumAtUDP  = 6 // also UDP-Lite and DCCP
	checksumAtICMP = 2
)

// checksumAt is the offset of the checksum field in the headers that have one over the addresses (RFC 9293, RFC 768, RFC 3828,
// RFC 4340); false for all others, which are left alone.
func checksumAt(proto uint8) (int, bool) {
	switch proto {
	case protoTCP:
		return checksumAtTCP, true
	case protoUDP, protoUDPLite, protoDCCP:
		return checksumAtUDP, true
	}
	return 0, false
}

// updateTransport brings the checksum of the transport header at the start of p, which transportLen approved, in line with new
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
	if field == 0 && (proto == protoUDP || proto == protoUDPLite) {
		field = 0xffff // zero would say that there is none (RFC 768; RFC 3828, 3.1)
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

// fillUDP6 computes the checksum that an unfragmented datagram came without (RFC 7915, 4.5). It covers what the UDP header says, which
// may be less than the packet holds; false where it is more.
func fillUDP6(p []byte, pair *eam.Pair6) bool {
	n := int(binary.BigEndian.Uint16(p[4:]))
	if n < 8 || n > len(p) {
		return false
	}
	sum := checksum.Add(checksum.Pseudo6(&pair.Src, &pair.Dst, uint32(n), protoUDP), checksum.Sum(p[:n]))
	putChecksum(p[checksumAtUDP:], ^sum, protoUDP)
	return true
}
