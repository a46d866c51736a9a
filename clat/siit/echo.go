package siit

import (
	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/frame"
)

// Like every router, the translator answers an ICMP echo to an address of its own (RFC 1812, 4.3.3.6; RFC 4443, 4.1), unless that is in
// fragments. The answer is the request, turned round.

// echo4To drops what is for an address of ours, unless it asks for an echo of the translator.
func (t *Translator) echo4To(f *frame.Frame, h *header4, s *Scratch) Result {
	p := f.Bytes()
	icmp := p[h.hlen:]
	if !t.echo4 || h.dst != t.self4 || h.proto != protoICMP || checkOffload(f, h.hlen, h.proto, false) != clat.DropNone || h.isFragment() ||
		len(icmp) < lenICMP || icmp[0] != icmp4Echo || checksum.Sum(icmp) != 0xffff {
		return drop(clat.DropHairpin)
	}
	retypeEcho(icmp, icmp4EchoReply, 0)
	four := header4{src: h.dst, dst: h.src, tos: h.tos, ttl: errorTTL, proto: protoICMP, df: h.df, id: s.id.next()}
	f.Reshape(h.hlen-len4, len4+len(icmp))
	f.Offload = frame.Offload{}
	write4(f.Bytes(), &four, f.Len())
	return s.one(Reply, f)
}

// echo6To is the same for IPv6. unmapped is why the packet is not to be translated.
func (t *Translator) echo6To(f *frame.Frame, h *header6, s *Scratch, unmapped clat.DropReason) Result {
	icmp := f.Bytes()[h.hlen:]
	if unmapped == clat.DropSource || unmapped == clat.DropSpoofed || checkOffload(f, h.hlen, h.next, false) != clat.DropNone || h.isFragment() ||
		len(icmp) < lenICMP || icmp[0] != icmp6Echo ||
		checksum.Add(checksum.Sum(icmp), checksum.Pseudo6(&h.src, &h.dst, uint32(len(icmp)), protoICMPv6)) != 0xffff {
		return drop(unmapped)
	}
	retypeEcho(icmp, icmp6EchoReply, 0)
	f.Reshape(h.hlen-len6, len6+len(icmp))
	f.Offload = frame.Offload{}
	write6(f.Bytes(), &header6{src: h.dst, dst: h.src, tclass: h.tclass, hops: errorTTL, next: protoICMPv6}, len(icmp))
	return s.one(Reply, f)
}
