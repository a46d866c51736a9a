// Package vnet is the virtio-net header that Linux puts before the packets of TUN devices and packet sockets (struct virtio_net_hdr,
// 10 octets in the machine's own order): what a frame.Offload is there.
package vnet

import (
	"encoding/binary"
	"errors"
	"math"

	"uclat/clat/frame"
)

// Len is the header's length in octets.
const Len = 10

// The header's fields, by their offsets.
const (
	atFlags      = 0 // one octet
	atType       = 1 // one octet
	atHeaderLen  = 2 // octets before the payload, link-layer header included
	atSegSize    = 4 // octets of payload in a segment
	atStart      = 6 // where the checksum's coverage begins, from the link-layer header
	atChecksumAt = 8 // where the checksum is, from there
)

// Values from include/uapi/linux/virtio_net.h.
const (
	needsChecksum = 1
	dataValid     = 2

	gsoNone  = 0
	gsoTCPv4 = 1
	gsoTCPv6 = 4
	gsoUDP   = 5 // UDP_L4: datagrams of their own. 3 is UFO, fragments of one, which no kernel that is served makes
	gsoECN   = 0x80
)

// What is wrong with a header or a frame. None of them names the packet: they are made once, for the data path.
var (
	errShort    = errors.New("virtio-net header is cut off")
	errType     = errors.New("virtio-net header with a kind of segmentation that is not known")
	errSegSize  = errors.New("super-packet with segments of 0 octets")
	errNoSum    = errors.New("super-packet without a partial checksum")
	errChecksum = errors.New("partial checksum lies outside the packet")
	errHeader   = errors.New("super-packet shorter than its headers")
	errVersion  = errors.New("super-packet is neither IPv4 nor IPv6")
)

// Decode reads the header h of a packet before which link octets of link-layer header lie; n is the packet's length without these. Its
// errors allocate nothing, and are about this packet only. Whether the packet is what the header says is not looked at.
func Decode(h []byte, link, n int) (frame.Offload, error) {
	var o frame.Offload
	if len(h) < Len {
		return o, errShort
	}
	switch flags := h[atFlags]; {
	case flags&needsChecksum != 0:
		start, at := int(binary.NativeEndian.Uint16(h[atStart:])), int(binary.NativeEndian.Uint16(h[atChecksumAt:]))
		if start < link || start-link+at+2 > n {
			return frame.Offload{}, errChecksum
		}
		o.Checksum, o.L4, o.ChecksumAt = frame.ChecksumPartial, uint16(start-link), uint16(at)
	case flags&dataValid != 0:
		o.Checksum = frame.ChecksumVerified
	}
	switch h[atType] {
	case gsoNone:
		return o, nil
	case gsoTCPv4, gsoTCPv6:
		o.GSO = frame.SegmentTCP
	case gsoTCPv4 | gsoECN, gsoTCPv6 | gsoECN:
		o.GSO, o.ECN = frame.SegmentTCP, true
	case gsoUDP:
		o.GSO = frame.SegmentUDP
	default:
		return frame.Offload{}, errType
	}
	// The header's own length of headers is not read: it is how much of the packet the kernel has in one piece, which may be all of it.
	o.SegSize = binary.NativeEndian.Uint16(h[atSegSize:])
	switch {
	case o.SegSize == 0:
		return frame.Offload{}, errSegSize
	case o.Checksum != frame.ChecksumPartial:
		return frame.Offload{}, errNoSum
	}
	return o, nil
}

// Encode writes into h the header of the packet in f, before which link octets of link-layer header lie. It fails, without an allocation,
// where f's offloads do not fit f's packet; h then holds nothing of use. A super-packet of one segment leaves as the packet that it is: of
// those with TCP options, the kernel drops some as malformed.
func Encode(h []byte, f *frame.Frame, link int) error {
	if len(h) < Len {
		return errShort
	}
	clear(h[:Len])
	switch f.Checksum {
	case frame.ChecksumPartial:
		start := link + int(f.L4)
		if int(f.L4)+int(f.ChecksumAt)+2 > f.Len() || start > math.MaxUint16 {
			return errChecksum
		}
		h[atFlags] = needsChecksum
		binary.NativeEndian.PutUint16(h[atStart:], uint16(start))
		binary.NativeEndian.PutUint16(h[atChecksumAt:], f.ChecksumAt)
	case frame.ChecksumVerified:
		h[atFlags] = dataValid
	}
	if f.GSO == frame.NotSegmented {
		return nil
	}
	if f.SegSize == 0 {
		return errSegSize
	}
	if f.Checksum != frame.ChecksumPartial {
		return errNoSum
	}
	kind, err := gsoType(f)
	if err != nil {
		return err
	}
	headers, err := headersLen(f)
	if err != nil {
		return err
	}
	switch {
	case link+headers > math.MaxUint16:
		return errHeader
	case f.Len()-headers <= int(f.SegSize):
		return nil
	}
	h[atType] = kind
	binary.NativeEndian.PutUint16(h[atHeaderLen:], uint16(link+headers))
	binary.NativeEndian.PutUint16(h[atSegSize:], f.SegSize)
	return nil
}

// gsoType is f's kind of segmentation together with the family that its packet has.
func gsoType(f *frame.Frame) (uint8, error) {
	version := f.Version()
	switch {
	case version != 4 && version != 6:
		return 0, errVersion
	case f.GSO == frame.SegmentUDP:
		return gsoUDP, nil
	}
	kind := uint8(gsoTCPv4)
	if version == 6 {
		kind = gsoTCPv6
	}
	if f.ECN {
		kind |= gsoECN
	}
	return kind, nil
}

// headersLen is how many octets of a super-packet lie before its payload.
func headersLen(f *frame.Frame) (int, error) {
	const (
		udpLen       = 8
		tcpMinLen    = 20
		tcpOffsetAt  = 12 // the octet whose upper half is the header's length in words of 4 octets
		octetsByWord = 4
	)
	p, l4 := f.Bytes(), int(f.L4)
	if f.GSO == frame.SegmentUDP {
		if l4+udpLen > len(p) {
			return 0, errHeader
		}
		return l4 + udpLen, nil
	}
	if l4+tcpMinLen > len(p) {
		return 0, errHeader
	}
	n := int(p[l4+tcpOffsetAt]>>4) * octetsByWord
	if n < tcpMinLen || l4+n > len(p) {
		return 0, errHeader
	}
	return l4 + n, nil
}
