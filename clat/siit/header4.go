package siit

import (
	"encoding/binary"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/frame"
)

// Protocol numbers and IPv6 next headers.
const (
	protoICMP     = 1
	protoIGMP     = 2
	protoTCP      = 6
	protoUDP      = 17
	protoDCCP     = 33
	protoICMPv6   = 58
	protoNone     = 59 // nothing follows (RFC 8200, 4.7)
	protoHopByHop = 0
	protoRouting  = 43
	protoFragment = 44
	protoESP      = 50
	protoAH       = 51
	protoDestOpts = 60
	protoMobility = 135
	protoUDPLite  = 136
	protoHIP      = 139
	protoShim6    = 140
)

// protocolDiffers6 says whether a protocol number of IPv4 means something else as a next header of IPv6: there it would be read as an
// extension header, or as an ICMPv6 message that nobody translated.
func protocolDiffers6(proto uint8) bool {
	switch proto {
	case protoHopByHop, protoRouting, protoFragment, protoDestOpts, protoICMPv6:
		return true
	}
	return false
}

const (
	len4        = 20 // IPv4 header without options
	len6        = 40 // IPv6 header
	lenFragment = 8  // IPv6 fragment header
	lenICMP     = 8  // ICMP header of the messages that are translated
	lenTCP      = 20 // TCP header without options
	lenUDP      = 8
)

// header4 is what an IPv4 header says.
type header4 struct {
	src, dst [4]byte
	hlen     int // octets of header, options included
	total    int // octets of packet; of the original packet, where only a part of it is embedded in an error
	id       uint16
	offset   uint16 // of a fragment, in units of 8 octets
	tos, ttl uint8
	proto    uint8
	df, mf   bool
}

func (h *header4) isFragment() bool { return h.mf || h.offset != 0 }

// read reads the header at the start of p without looking at lengths beyond it.
func (h *header4) read(p []byte) bool {
	if len(p) < len4 || p[0]>>4 != 4 {
		return false
	}
	h.hlen = int(p[0]&0x0f) * 4
	h.total = int(binary.BigEndian.Uint16(p[2:]))
	if h.hlen < len4 || h.hlen > len(p) || h.total < h.hlen {
		return false
	}
	flags := binary.BigEndian.Uint16(p[6:])
	h.tos, h.id, h.ttl, h.proto = p[1], binary.BigEndian.Uint16(p[4:]), p[8], p[9]
	h.df, h.mf, h.offset = flags&0x4000 != 0, flags&0x2000 != 0, flags&0x1fff
	h.src, h.dst = [4]byte(p[12:16]), [4]byte(p[16:20])
	return true
}

// parse checks the IPv4 packet in f (RFC 1812, 5.2.2) and cuts what lies behind its Total Length.
func (h *header4) parse(f *frame.Frame) clat.DropReason {
	p := f.Bytes()
	switch {
	case !h.read(p) || h.total > len(p):
		return clat.DropHeader
	case checksum.Sum(p[:h.hlen]) != 0xffff:
		return clat.DropChecksum
	case h.isFragment() && (int(h.offset)*8+h.total-h.hlen > 65535-len4 || h.mf && (h.total-h.hlen)%8 != 0):
		return clat.DropFragment
	}
	f.Reshape(0, h.total)
	return clat.DropNone
}

// write4 writes a header without options into p[:20]. total includes it.
func write4(p []byte, h *header4, total int) {
	_ = p[len4-1]
	flags := h.offset
	if h.df {
		flags |= 0x4000
	}
	if h.mf {
		flags |= 0x2000
	}
	// The checksum is made of the words before they are written: reading back what was just stored in parts stalls.
	length, fragment, hops := 0x45<<24|uint32(h.tos)<<16|uint32(total), uint32(h.id)<<16|uint32(flags), uint32(h.ttl)<<24|uint32(h.proto)<<16
	src, dst := binary.BigEndian.Uint32(h.src[:]), binary.BigEndian.Uint32(h.dst[:])
	sum := checksum.Fold(uint64(length) + uint64(fragment) + uint64(hops) + uint64(src) + uint64(dst))
	binary.BigEndian.PutUint32(p, length)
	binary.BigEndian.PutUint32(p[4:], fragment)
	binary.BigEndian.PutUint32(p[8:], hops|uint32(^sum))
	binary.BigEndian.PutUint32(p[12:], src)
	binary.BigEndian.PutUint32(p[16:], dst)
}

// sourceRouted says whether the options hold a source route that is not used up (RFC 7915, 4.1). Options that make no sense end the
// search: they are ignored like all others.
func sourceRouted(options []byte) bool {
	for len(options) > 0 {
		switch options[0] {
		case 0: // end of options
			return false
		case 1: // no operation
			options = options[1:]
			continue
		}
		if len(options) < 2 || options[1] < 2 || int(options[1]) > len(options) {
			return false
		}
		const lsrr, ssrr = 131, 137
		if (options[0] == lsrr || options[0] == ssrr) && options[1] >= 3 && options[2] <= options[1] {
			return true
		}
		options = options[options[1]:]
	}
	return false
}
