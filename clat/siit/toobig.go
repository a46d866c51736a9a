package siit

import (
	"encoding/binary"

	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/frame"
)

// TooBig is for a translated IPv6 packet that the way out refused, because it takes no more than mtu octets; 0 where it did not say. That
// is a Packet Too Big from our own link, and what a router's would do is done: the MTU is learned, and the sender is told (RFC 8201, 4).
// What has a Fragment Header is not answered: its sender has no use for that. The caller makes sure that s.Ready holds.
func (t *Translator) TooBig(f *frame.Frame, mtu int, s *Scratch) Result {
	mtu = max(mtu, clat.MinMTU6)
	var h header6
	if _, reason := h.read(f.Bytes()); reason != clat.DropNone {
		return drop(clat.DropTooBig)
	}
	to := eam.Pair4{Src: t.self4}
	if h.fragment || !t.errors4 || !s.mayReply(clat.DropTooBig) || h.next == protoICMPv6 && (f.Len() == h.hlen || isError6(f.Bytes()[h.hlen])) ||
		t.m.Dst4(&to.Dst, &h.dst, &h.src) != clat.DropNone {
		h.payload = firstSegment(f, h.hlen, h.next) - len6
		t.learn(mtu, &h, s)
		return drop(clat.DropTooBig)
	}
	ptb := t.packetTooBig(f, &h, mtu, s)
	outer := header6{src: h.dst, dst: h.src, hlen: len6, payload: ptb.Len() - len6, tclass: errorTOS, hops: errorTTL + t.hop, next: protoICMPv6}
	r := t.icmpError4(ptb, &outer, &to, s, false)
	if s.hairpin {
		r = t.back(r, s)
	}
	if r.Verdict != Forward {
		return drop(clat.DropTooBig)
	}
	s.spend()
	return Result{Verdict: Reply, Reason: clat.DropTooBig, Out: r.Out}
}

// packetTooBig is an ICMPv6 Packet Too Big about f, as far as icmpError4 looks at it: its IPv6 header is nobody's.
func (t *Translator) packetTooBig(f *frame.Frame, h *header6, mtu int, s *Scratch) *frame.Frame {
	const head = len6 + lenICMP
	wire := firstSegment(f, h.hlen, h.next)
	quote := f.Bytes()[:min(wire, maxError6-head)]
	out := s.Take(head + len(quote))
	q := out.Bytes()
	clear(q[:head])
	copy(q[head:], quote)
	if wire < f.Len() {
		shorten6(q[head:], h, wire)
	}
	q[len6] = icmp6PacketTooBig
	binary.BigEndian.PutUint32(q[len6+4:], uint32(mtu))
	return out
}
