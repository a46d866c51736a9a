// Package segment cuts super-packets in software: into the packets that a device with segmentation offload would make of them.
package segment

import (
	"encoding/binary"
	"errors"
	"math"

	"uclat/clat/checksum"
	"uclat/clat/frame"
)

// MaxHeaders is the most octets of headers, IP and transport, that a super-packet may have. The longest of IPv4 have 120.
const MaxHeaders = 256

// What is wrong with a frame whose offloads do not fit its packet.
var (
	errVersion  = errors.New("super-packet is neither IPv4 nor IPv6")
	errHeaders  = errors.New("super-packet whose headers are cut off, or are not where its offloads say")
	errSize     = errors.New("super-packet with segments of 0 octets, or of more than IP can carry")
	errOffload  = errors.New("super-packet without a partial checksum, or with one at another place than its protocol's")
	errChecksum = errors.New("partial checksum lies outside the packet")
)

// Where things are in headers.
const (
	ip4Len, ip4ID, ip4Sum = 2, 4, 10
	ip6Len                = 4
	lenIP4, lenIP6        = 20, 40

	tcpSeq, tcpOffset, tcpFlags, tcpSum = 4, 12, 13, 16
	udpLen, udpSum                      = 4, 6
	lenTCP, lenUDP                      = 20, 8

	flagFIN, flagPSH, flagCWR = 0x01, 0x08, 0x80
)

// Cutter cuts one super-packet at a time. It is the scratch that this takes, and may be used again and again by one goroutine.
type Cutter struct {
	f    *frame.Frame
	cut  bool // f is a super-packet
	more bool // there is a packet that Next has not made

	// Of a super-packet:
	template    [MaxHeaders]byte // the super-packet's headers; a transport checksum in it is the pseudo-header's sum without a length
	headers, l4 int              // octets of headers; of those, before the transport header
	tcp         bool
	version     int
	size        int // octets of payload in each segment but the last
	done, rest  int // octets of payload that are in segments already, and that are not
	count       int // segments so far
}

// Start begins with f. A frame without segmentation makes one packet, whose checksum gets finished if it is partial (frame.ChecksumPartial).
// It fails, and leaves f as it is, where f's offloads do not fit its packet.
//
// The packets are made in f's own buffer one after the other, which uses up the super-packet. There are at most as many as it has octets
// of payload, and the work for each is that of its own headers and one sum over it.
func (c *Cutter) Start(f *frame.Frame) error {
	c.f, c.cut, c.more = f, f.GSO != frame.NotSegmented, false
	if !c.cut {
		if f.Checksum == frame.ChecksumPartial && int(f.L4)+int(f.ChecksumAt)+2 > f.Len() {
			return errChecksum
		}
		c.more = true
		return nil
	}
	if err := c.measure(); err != nil {
		return err
	}
	p := f.Bytes()
	copy(c.template[:], p[:c.headers])
	at := c.template[c.l4+int(f.ChecksumAt):]
	binary.BigEndian.PutUint16(at, checksum.Sub(binary.BigEndian.Uint16(at), checksum.Fold(uint64(len(p)-c.l4))))
	c.done, c.rest, c.count = 0, len(p)-c.headers, 0
	c.more = true
	return nil
}

// Next makes the frame of Start the next packet, complete and without offloads, and is false when there is none. The packet is valid
// until the next call.
func (c *Cutter) Next() bool {
	if !c.more {
		return false
	}
	if c.cut {
		c.segment()
	} else {
		c.whole()
	}
	return true
}

// measure finds the headers of the super-packet and what is to be cut, and looks whether that can be done.
func (c *Cutter) measure() error {
	f, p := c.f, c.f.Bytes()
	c.l4, c.tcp, c.version, c.size = int(f.L4), f.GSO == frame.SegmentTCP, f.Version(), int(f.SegSize)
	limit := math.MaxUint16 // octets in the largest packet
	switch c.version {
	case 4:
		if c.l4 < lenIP4 || c.l4 != int(p[0]&0xf)*4 {
			return errHeaders
		}
	case 6:
		if c.l4 < lenIP6 {
			return errHeaders
		}
		limit += lenIP6
	default:
		return errVersion
	}
	at := udpSum
	if c.headers = c.l4 + lenUDP; c.tcp {
		if c.l4+lenTCP > len(p) {
			return errHeaders
		}
		at, c.headers = tcpSum, c.l4+int(p[c.l4+tcpOffset]>>4)*4
	}
	switch {
	case f.Checksum != frame.ChecksumPartial, int(f.ChecksumAt) != at:
		return errOffload
	case c.tcp && c.headers < c.l4+lenTCP, c.headers > len(p), c.headers > MaxHeaders:
		return errHeaders
	case c.size == 0, c.headers+min(c.size, len(p)-c.headers) > limit:
		return errSize
	}
	return nil
}

// whole makes f, which is not cut, fit to leave as it is.
func (c *Cutter) whole() {
	if c.f.Checksum == frame.ChecksumPartial {
		finish(c.f.Bytes(), int(c.f.L4), int(c.f.ChecksumAt))
	}
	c.f.Offload, c.more = frame.Offload{}, false
}

// segment makes f the next segment. The headers go before the segment's payload where it lies: over what has been used already.
func (c *Cutter) segment() {
	n, step := min(c.size, c.rest), 0
	if c.count > 0 {
		step = c.size
	}
	c.f.Reshape(step, c.headers+n) // never refused: it ends within the super-packet
	p := c.f.Bytes()
	copy(p, c.template[:c.headers])
	c.rest -= n
	c.more = c.rest > 0
	if c.version == 4 {
		binary.BigEndian.PutUint16(p[ip4Len:], uint16(len(p)))
		binary.BigEndian.PutUint16(p[ip4ID:], binary.BigEndian.Uint16(p[ip4ID:])+uint16(c.count))
		p[ip4Sum], p[ip4Sum+1] = 0, 0
		binary.BigEndian.PutUint16(p[ip4Sum:], ^checksum.Sum(p[:c.l4]))
	} else {
		binary.BigEndian.PutUint16(p[ip6Len:], uint16(len(p)-lenIP6))
	}
	c.transport(p[c.l4:])
	c.f.Offload = frame.Offload{}
	c.done += n
	c.count++
}

// transport makes the transport header at the start of t that of a segment.
func (c *Cutter) transport(t []byte) {
	at := udpSum
	if c.tcp {
		at = tcpSum
		binary.BigEndian.PutUint32(t[tcpSeq:], binary.BigEndian.Uint32(t[tcpSeq:])+uint32(c.done))
		if c.count > 0 {
			t[tcpFlags] &^= flagCWR // said once (RFC 3168, 6.1.2)
		}
		if c.more {
			t[tcpFlags] &^= flagFIN | flagPSH
		}
	} else {
		binary.BigEndian.PutUint16(t[udpLen:], uint16(len(t)))
	}
	binary.BigEndian.PutUint16(t[at:], checksum.Add(binary.BigEndian.Uint16(t[at:]), uint16(len(t))))
	finish(t, 0, at)
}

// finish replaces the partial checksum at octet at of the transport header, which is at l4, by the whole.
func finish(p []byte, l4, at int) {
	sum := ^checksum.Sum(p[l4:])
	if sum == 0 {
		sum = 0xffff // the same number, and for UDP not the sign that there is no checksum (RFC 768)
	}
	binary.BigEndian.PutUint16(p[l4+at:], sum)
}
