package siit

import (
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
	if !t.errors4 || s.Errors <= 0 || h.offset != 0 || h.proto == protoICMP && (len(p) == h.hlen || isError4(p[h.hlen])) {
		return drop(reason)
	}
	s.Errors--
	const head = len4 + lenICMP
	quote := p[:min(len(p), maxError4-head)]
	out := s.take(head + len(quote))
	q := out.Bytes()
	copy(q[head:], quote)
	writeICMP(q[len4:], typ, code, word, 0)
	write4(q, &header4{src: t.self4, dst: h.src, tos: errorTOS, ttl: errorTTL, proto: protoICMP, id: s.id.next()}, len(q))
	r := s.one(Reply, out)
	r.Reason = reason
	return r
}

// error6 is the same for IPv6 (RFC 7915, 5.4; RFC 4443, 2.4 (e)).
func (t *Translator) error6(f *frame.Frame, h *header6, s *Scratch, reason clat.DropReason, typ, code uint8, word uint32) Result {
	p := f.Bytes()
	if !t.errors6 || s.Errors <= 0 || h.offset != 0 || h.next == protoICMPv6 && (len(p) <= h.hlen || isError6(p[h.hlen])) {
		return drop(reason)
	}
	s.Errors--
	const head = len6 + lenICMP
	quote := p[:min(len(p), maxError6-head)]
	out := s.take(head + len(quote))
	q := out.Bytes()
	copy(q[head:], quote)
	write6(q, &header6{src: t.self6, dst: h.src, tclass: errorTOS, hops: errorTTL, next: protoICMPv6}, len(q)-len6)
	writeICMP(q[len6:], typ, code, word, checksum.Pseudo6(&t.self6, &h.src, uint32(len(q)-len6), protoICMPv6))
	r := s.one(Reply, out)
	r.Reason = reason
	return r
}
