package inbound

import "encoding/binary"

// Protocol numbers.
const (
	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17
)

const (
	len4   = 20 // IPv4 header without options, in octets
	lenUDP = 8
)

// header is what the IPv4 header of a packet says.
type header struct {
	transport []byte // what follows it
	offset    uint16 // of a fragment, in units of 8 octets
	proto     uint8
}

// read reads the IPv4 header of p; false where it is not all there, or there is none.
func read(p []byte) (h header, ok bool) {
	if len(p) < len4 || p[0]>>4 != 4 {
		return h, false
	}
	n, total := int(p[0]&0x0f)*4, int(binary.BigEndian.Uint16(p[2:]))
	if n < len4 || n > total || total > len(p) {
		return h, false
	}
	return header{p[n:total], binary.BigEndian.Uint16(p[6:]) & 0x1fff, p[9]}, true
}
