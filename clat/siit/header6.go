package siit

import (
	"encoding/binary"

	"uclat/clat"
	"uclat/clat/frame"
)

// maxExtensions bounds the walk along a chain of extension headers. Real packets have one or two.
const maxExtensions = 8

// header6 is what an IPv6 header and the extension headers behind it say.
type header6 struct {
	src, dst [16]byte
	hlen     int // octets up to the transport header, extension headers included
	payload  int // octets behind the IPv6 header; of the original packet, where only a part of it is embedded in an error
	id       uint32
	offset   uint16 // of a fragment, in units of 8 octets
	tclass   uint8
	hops     uint8
	next     uint8 // the transport protocol
	fragment bool  // has a fragment header
	mf       bool
}

// isFragment is false for an atomic fragment, which is a whole datagram (RFC 8200, 4.5).
func (h *header6) isFragment() bool { return h.mf || h.offset != 0 }

// read reads the IPv6 header at the start of p and the chain behind it. pointer is the offset of the octet that is at fault with
// DropSourceRoute.
func (h *header6) read(p []byte) (pointer int, reason clat.DropReason) {
	if len(p) < len6 || p[0]>>4 != 6 {
		return 0, clat.DropHeader
	}
	h.tclass, h.hops, h.next = p[0]<<4|p[1]>>4, p[7], p[6]
	h.payload = int(binary.BigEndian.Uint16(p[4:]))
	h.src, h.dst = [16]byte(p[8:24]), [16]byte(p[24:40])
	h.hlen = len6
	for n := 0; ; n++ {
		at := h.hlen
		switch h.next {
		case protoHopByHop, protoRouting, protoDestOpts, protoFragment:
		default:
			return pointer, reason
		}
		if n == maxExtensions || at+8 > len(p) || at+8-len6 > h.payload {
			return 0, clat.DropExtension
		}
		if h.next == protoFragment {
			word := binary.BigEndian.Uint16(p[at+2:])
			h.fragment, h.offset, h.mf = true, word>>3, word&1 != 0
			h.id = binary.BigEndian.Uint32(p[at+4:])
			h.next = p[at]
			h.hlen += lenFragment
			switch h.next {
			case protoHopByHop, protoRouting, protoFragment, protoDestOpts, protoAH, protoMobility, protoHIP, protoShim6:
				return 0, clat.DropExtension // RFC 7915, 5.1.1
			}
			return pointer, reason
		}
		if h.next == protoRouting && p[at+3] != 0 && pointer == 0 {
			pointer, reason = at+3, clat.DropSourceRoute // but walk on: an ICMPv6 error behind it is not answered
		}
		h.next = p[at]
		h.hlen += 8 + int(p[at+1])*8
		if h.hlen > len(p) || h.hlen-len6 > h.payload {
			return 0, clat.DropExtension
		}
	}
}

// parse checks the IPv6 packet in f and cuts what lies behind its Payload Length.
func (h *header6) parse(f *frame.Frame) (pointer int, reason clat.DropReason) {
	p := f.Bytes()
	pointer, reason = h.read(p)
	switch {
	case reason != clat.DropNone && reason != clat.DropSourceRoute:
		return 0, reason
	case len6+h.payload > len(p):
		return 0, clat.DropHeader
	}
	f.Reshape(0, len6+h.payload)
	length := len6 + h.payload - h.hlen
	if h.isFragment() && (h.mf && length%8 != 0 || int(h.offset)*8+length > 65535-len4) {
		return 0, clat.DropFragment
	}
	return pointer, reason
}

// write6 writes an IPv6 header into p[:40], and behind it a fragment header if h.fragment is set. payload is what follows both.
func write6(p []byte, h *header6, payload int) {
	next := h.next
	if h.fragment {
		next = protoFragment
		payload += lenFragment
	}
	binary.BigEndian.PutUint32(p, 6<<28|uint32(h.tclass)<<20)
	binary.BigEndian.PutUint16(p[4:], uint16(payload))
	p[6], p[7] = next, h.hops
	copy(p[8:24], h.src[:])
	copy(p[24:40], h.dst[:])
	if h.fragment {
		word := h.offset << 3
		if h.mf {
			word |= 1
		}
		p[40], p[41] = h.next, 0
		binary.BigEndian.PutUint16(p[42:], word)
		binary.BigEndian.PutUint32(p[44:], h.id)
	}
}
