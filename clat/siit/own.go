package siit

import (
	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/frame"
)

// What is for an address of the translator's own is not translated. Like every router it answers an ICMP echo (RFC 1812, 4.3.3.6; RFC 4443,
// 4.1), unless that is in fragments: the answer is the request, turned round. It speaks no transport protocol, and says so
// (RFC 1812, 5.2.7.1; RFC 4443, 3.4).

// own4 is for a packet to an address of ours: the translator's, or that of a host, which delivers what is its own itself.
func (t *Translator) own4(f *frame.Frame, h *header4, s *Scratch) Result {
	switch {
	case !t.isOwn4 || h.dst != t.self4:
		return drop(clat.DropHairpin)
	case h.hlen > len4 && sourceRouted(f.Bytes()[len4:h.hlen]): // it is not the end of the way
		return t.error4(f, h, s, clat.DropSourceRoute, icmp4Unreachable, code4SourceRoute, 0)
	case h.proto != protoICMP:
		return t.error4(f, h, s, clat.DropHairpin, icmp4Unreachable, code4Protocol, 0)
	}
	icmp := f.Bytes()[h.hlen:]
	if checkOffload(f, h.hlen, h.proto, false) != clat.DropNone || h.isFragment() || len(icmp) < lenICMP || icmp[0] != icmp4Echo ||
		checksum.Sum(icmp) != 0xffff {
		return drop(clat.DropHairpin)
	}
	retypeEcho(icmp, icmp4EchoReply, 0)
	four := header4{src: h.dst, dst: h.src, tos: h.tos, ttl: errorTTL, proto: protoICMP, df: h.df, id: s.id.next()}
	f.Reshape(h.hlen-len4, len4+len(icmp))
	f.Offload = frame.Offload{}
	write4(f.Bytes(), &four, f.Len())
	return s.one(Reply, f)
}

// own6 is for an IPv6 packet to the translator. unmapped is why it is not to be translated.
func (t *Translator) own6(f *frame.Frame, h *header6, s *Scratch, unmapped clat.DropReason) Result {
	switch {
	case unmapped == clat.DropSource || unmapped == clat.DropSpoofed || h.next == protoNone:
		return drop(unmapped)
	case h.next != protoICMPv6 && h.hlen == len6:
		return t.error6(f, h, s, unmapped, icmp6ParameterProblem, code6NextHeader, nextHeaderAt)
	}
	icmp := f.Bytes()[h.hlen:]
	if h.next != protoICMPv6 || checkOffload(f, h.hlen, h.next, false) != clat.DropNone || h.isFragment() || len(icmp) < lenICMP ||
		icmp[0] != icmp6Echo || checksum.Add(checksum.Sum(icmp), checksum.Pseudo6(&h.src, &h.dst, uint32(len(icmp)), protoICMPv6)) != 0xffff {
		return drop(unmapped)
	}
	retypeEcho(icmp, icmp6EchoReply, 0)
	f.Reshape(h.hlen-len6, len6+len(icmp))
	f.Offload = frame.Offload{}
	write6(f.Bytes(), &header6{src: h.dst, dst: h.src, tclass: h.tclass, hops: errorTTL, next: protoICMPv6}, len(icmp))
	return s.one(Reply, f)
}
