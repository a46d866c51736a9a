package siit

import (
	"encoding/binary"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/frame"
)

// ICMP errors of our own.
const (
	maxError4 = 576 // octets (RFC 1812, 4.3.2.3)
	maxError6 = clat.MinMTU6
	errorTTL  = 64
	errorTOS  = 0xc0 // internetwork control (RFC 1812, 4.3.2.5)
)

// error4 drops the packet in f, which nobody has changed yet, for reason, and answers it with an ICMPv4 error. There is no answer to
// an ICMP error or to a later fragment (RFC 7915, 4.4; RFC 1812, 4.3.2.7), and none beyond the budget.
func (t *Translator) error4(f *frame.Frame, h *header4, s *Scratch, reason clat.DropReason, typ, code uint8, word uint32) Result {
	p := f.Bytes()
	if !t.errors4 || !s.mayReply(reason) || h.offset != 0 || h.proto == protoICMP && (len(p) == h.hlen || isError4(p[h.hlen])) {
		return drop(reason)
	}
	s.spend()
	const head = len4 + lenICMP
	wire := firstSegment(f, h.hlen, h.proto)
	quote := p[:min(wire, maxError4-head)]
	out := s.Take(head + len(quote))
	q := out.Bytes()
	copy(q[head:], quote)
	if wire < len(p) {
		shorten4(q[head:], h, wire)
	}
	writeICMP(q[len4:], typ, code, word, 0)
	write4(q, &header4{src: t.self4, dst: h.src, tos: errorTOS, ttl: errorTTL, proto: protoICMP, id: s.id.next()}, len(q))
	r := s.one(Reply, out)
	r.Reason = reason
	return r
}

// error6 is the same for IPv6 (RFC 7915, 5.4; RFC 4443, 2.4 (e)), where a Redirect is no error, but not answered either, and a later
// fragment is answered, unless it is of ICMPv6, whose type nobody knows.
func (t *Translator) error6(f *frame.Frame, h *header6, s *Scratch, reason clat.DropReason, typ, code uint8, word uint32) Result {
	p := f.Bytes()
	if !t.errors6 || !s.mayReply(reason) ||
		h.next == protoICMPv6 && (h.offset != 0 || len(p) <= h.hlen || isError6(p[h.hlen]) || p[h.hlen] == icmp6Redirect) {
		return drop(reason)
	}
	s.spend()
	const head = len6 + lenICMP
	wire := firstSegment(f, h.hlen, h.next)
	quote := p[:min(wire, maxError6-head)]
	out := s.Take(head + len(quote))
	q := out.Bytes()
	copy(q[head:], quote)
	if wire < len(p) {
		shorten6(q[head:], h, wire)
	}
	write6(q, &header6{src: t.self6, dst: h.src, tclass: errorTOS, hops: errorTTL, next: protoICMPv6}, len(q)-len6)
	writeICMP(q[len6:], typ, code, word, checksum.Pseudo6(&t.self6, &h.src, uint32(len(q)-len6), protoICMPv6))
	r := s.one(Reply, out)
	r.Reason = reason
	return r
}

// firstSegment is how many octets of f would have been one packet on a wire: all, or the first segment of a super-packet, which is what
// an error is about. l4 is the offset of the transport header. Nothing that the device said is certain yet.
func firstSegment(f *frame.Frame, l4 int, proto uint8) int {
	if f.SegSize == 0 || !(f.GSO == frame.SegmentTCP && proto == protoTCP || f.GSO == frame.SegmentUDP && proto == protoUDP) {
		return f.Len()
	}
	transport, ok := transportLen(f.Bytes()[l4:], proto, false)
	if !ok {
		return f.Len()
	}
	return f.WireLen(l4 + transport)
}

// shorten4 makes the quoted IPv4 packet say that it is wire octets long.
func shorten4(q []byte, h *header4, wire int) {
	binary.BigEndian.PutUint16(q[2:], uint16(wire))
	q[10], q[11] = 0, 0
	binary.BigEndian.PutUint16(q[10:], ^checksum.Sum(q[:h.hlen]))
	shortenUDP(q, h.hlen, h.proto, wire)
}

// shorten6 is the same for IPv6, where the quote may end among the extension headers.
func shorten6(q []byte, h *header6, wire int) {
	binary.BigEndian.PutUint16(q[4:], uint16(wire-len6))
	shortenUDP(q, h.hlen, h.next, wire)
}

func shortenUDP(q []byte, l4 int, proto uint8, wire int) {
	if proto == protoUDP && len(q) >= l4+lenUDP {
		binary.BigEndian.PutUint16(q[l4+4:], uint16(wire-l4))
	}
}
