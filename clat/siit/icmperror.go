package siit

import (
	"encoding/binary"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/eam"
	"uclat/clat/frame"
)

// An ICMP error quotes the packet that it is about. The quote is translated like a packet of its own, but it went the other way, its
// lengths are those of the whole packet even where the quote is cut, and its TTL is left alone (RFC 7915, 4.3 and 5.3).
//
// Both translations keep the quote's transport part where it lies in the buffer, and write all headers anew in front of it.

// minQuoted is how many octets every quote has behind the IP header (RFC 792); those of IPv6 have as much as fits.
const minQuoted = 8

// icmpError6 translates an ICMPv4 error whose checksum was verified.
func (t *Translator) icmpError6(f *frame.Frame, h *header4, pair *eam.Pair6, to icmpTo, s *Scratch) Result {
	icmp := f.Bytes()[h.hlen:]
	quote, ext, ok := splitExtension(icmp[lenICMP:], int(icmp[5])*unit4)
	var in header4
	if !ok || !in.read(quote) || len(quote) < in.hlen+minQuoted || protocolDiffers6(in.proto) {
		return drop(clat.DropICMPInner)
	}
	var inner eam.Pair6
	if t.map6(&inner, &in, s, true) != clat.DropNone {
		return drop(clat.DropICMPInner)
	}
	if s.hairpin && h.src != in.dst && h.src != t.self4 { // from a router on the way, which has its own address (RFC 7757, 4.2.2)
		if reason := t.m.To6(pair, h.src, h.dst, false); reason != clat.DropNone {
			return drop(reason)
		}
	}
	word, ok := t.wordTo6(to.rest, icmp, &in, s)
	if !ok {
		return drop(clat.DropICMPType)
	}
	payload := in.total - in.hlen
	six := header6{
		src: inner.Src, dst: inner.Dst, tclass: in.tos, hops: in.ttl, next: in.proto,
		fragment: in.isFragment(), mf: in.mf, offset: in.offset, id: uint32(in.id),
	}
	data := quote[in.hlen:]
	data = data[:min(len(data), payload)]
	if in.proto == protoICMP {
		six.next = protoICMPv6
		pseudo := checksum.Pseudo6(&inner.Src, &inner.Dst, uint32(payload), protoICMPv6)
		if !embeddedEcho(data, in.isFragment(), icmp4Echo, icmp4EchoReply, icmp6Echo, icmp6EchoReply, pseudo) {
			return drop(clat.DropICMPInner)
		}
	} else if in.offset == 0 {
		updateEmbedded(data, in.proto, inner.Delta)
	}

	m := message{quote: len6, at: h.hlen + lenICMP + in.hlen, data: data}
	if six.fragment {
		m.quote += lenFragment
	}
	m.head = len6 + lenICMP + m.quote
	if to.typ == icmp6Unreachable || to.typ == icmp6TimeExceeded { // the others have no place for a length attribute (RFC 4884, 4)
		m.ext = ext
	}
	attribute, ok := m.place(f, clat.MinMTU6, unit6) // RFC 4443, 2.4 (c)
	if !ok {
		return drop(clat.DropTooBig)
	}
	word |= attribute << 24
	p := f.Bytes()
	outer := header6{src: pair.Src, dst: pair.Dst, tclass: t.trafficClass(h.tos), hops: h.ttl - t.hop, next: protoICMPv6}
	write6(p, &outer, len(p)-len6)
	write6(p[len6+lenICMP:], &six, payload)
	writeICMP(p[len6:], to.typ, to.code, word, checksum.Pseudo6(&pair.Src, &pair.Dst, uint32(len(p)-len6), protoICMPv6))
	return s.one(Forward, f)
}

// icmpError4 translates an ICMPv6 error whose checksum was verified. unmapped says that pair's source stands for a router without an
// IPv4 address.
func (t *Translator) icmpError4(f *frame.Frame, h *header6, pair *eam.Pair4, s *Scratch, unmapped bool) Result {
	icmp := f.Bytes()[h.hlen:]
	to, ok := errorTo4(icmp[0], icmp[1])
	if !ok {
		return drop(clat.DropICMPType)
	}
	length, extensible := 0, icmp[0] == icmp6Unreachable || icmp[0] == icmp6TimeExceeded
	if extensible {
		length = int(icmp[4]) * unit6
	}
	quote, ext, ok := splitExtension(icmp[lenICMP:], length)
	if !ok {
		return drop(clat.DropICMPInner)
	}
	// An error goes to the source of the packet that it is about: what it quotes to one of us says nothing to another.
	var in header6
	if _, reason := in.read(quote); reason != clat.DropNone || in.next == protoICMP || in.src != h.dst {
		return drop(clat.DropICMPInner)
	}
	var inner eam.Pair4
	if t.m.To4(&inner, &in.src, &in.dst, true) != clat.DropNone {
		return drop(clat.DropICMPInner)
	}
	pair.Dst = inner.Src // of those who share the IPv6 address, the quote alone says who it was
	s.hairpin = inner.Hairpin && t.hairpin
	word, reason := t.wordTo4(to.rest, icmp, &in, s)
	if reason != clat.DropNone {
		return drop(reason)
	}
	if to.rest == restMTU {
		t.learn(int(binary.BigEndian.Uint32(icmp[4:])), &in, s)
	}
	payload := in.payload - (in.hlen - len6)
	total := payload + len4
	if total > 65535 {
		return drop(clat.DropICMPInner)
	}
	four := header4{src: inner.Src, dst: inner.Dst, tos: in.tclass, ttl: in.hops, proto: in.next}
	if in.fragment {
		four.id, four.mf, four.offset = uint16(in.id), in.mf, in.offset
	} else {
		four.df = total > maxUnfragmented4
	}
	data := quote[in.hlen:]
	data = data[:min(len(data), payload)]
	if in.next == protoICMPv6 {
		four.proto = protoICMP
		pseudo := checksum.Pseudo6(&in.src, &in.dst, uint32(payload), protoICMPv6)
		if !embeddedEcho(data, in.isFragment(), icmp6Echo, icmp6EchoReply, icmp4Echo, icmp4EchoReply, ^pseudo) {
			return drop(clat.DropICMPInner)
		}
	} else if in.offset == 0 {
		updateEmbedded(data, in.next, inner.Delta)
	}

	m := message{head: len4 + lenICMP + len4, quote: len4, at: h.hlen + lenICMP + in.hlen, data: data, ext: ext}
	if unmapped && extensible && t.nodeID && len(data) >= minQuoted {
		m.node = &h.src
	}
	attribute, ok := m.place(f, t.take4(s), unit4)
	if !ok {
		return drop(clat.DropTooBig)
	}
	word |= attribute << 16
	p := f.Bytes()
	outer := header4{src: pair.Src, dst: pair.Dst, tos: t.trafficClass(h.tclass), ttl: h.hops - t.hop, proto: protoICMP}
	if len(p) > maxUnfragmented4 {
		outer.df = true
	} else {
		outer.id = s.id.next()
	}
	write4(p, &outer, len(p))
	write4(p[len4+lenICMP:], &four, total)
	writeICMP(p[len4:], to.typ, to.code, word, 0)
	return s.one(Forward, f)
}

// learn keeps what a Packet Too Big says of the way to where the packet in it was going. One about a packet that was not too big says
// nothing (RFC 8201, 4), nor does one about a packet that never left here.
func (t *Translator) learn(mtu int, in *header6, s *Scratch) {
	if n := len6 + in.payload; mtu >= 0 && mtu < n && n <= t.mtu6 && len(s.Learned) < maxLearned {
		s.Learned = append(s.Learned, PTB{Dst: in.dst, MTU: mtu})
	}
}

// wordTo6 is the second word of an ICMPv6 error; false where a pointer has no counterpart.
func (t *Translator) wordTo6(r rest, icmp []byte, in *header4, s *Scratch) (uint32, bool) {
	switch r {
	case restMTU:
		return t.mtuTo6(int(binary.BigEndian.Uint16(icmp[6:])), in.total, s), true
	case restNextHdr:
		return 6, true
	case restPointer:
		if int(icmp[4]) >= len(pointerTo6) || pointerTo6[icmp[4]] == noPointer {
			return 0, false
		}
		return uint32(pointerTo6[icmp[4]]), true
	}
	return 0, true
}

// wordTo4 is the second word of an ICMPv4 error.
func (t *Translator) wordTo4(r rest, icmp []byte, in *header6, s *Scratch) (uint32, clat.DropReason) {
	word := binary.BigEndian.Uint32(icmp[4:])
	switch r {
	case restMTU:
		if word < clat.MinMTU6 {
			return 0, clat.DropPTBTooSmall
		}
		return t.mtuTo4(word, in.fragment, s), clat.DropNone
	case restPointer:
		if word >= uint32(len(pointerTo4)) || pointerTo4[word] == noPointer {
			return 0, clat.DropICMPType
		}
		return uint32(pointerTo4[word]) << 24, clat.DropNone
	}
	return 0, clat.DropNone
}

// embeddedEcho changes the type of a quoted echo message; false where the quote is no echo: an error about an error is not
// translated, and the rest is never answered by one.
func embeddedEcho(p []byte, fragment bool, echo, reply, toEcho, toReply uint8, delta uint16) bool {
	if fragment || len(p) < checksumAtICMP+2 {
		return false
	}
	switch p[0] {
	case echo:
		retypeEcho(p, toEcho, delta)
	case reply:
		retypeEcho(p, toReply, delta)
	default:
		return false
	}
	return true
}

// updateEmbedded adjusts the checksum of a quoted transport header if the quote reaches that far. It is neither verified nor made
// anew: what it covers is not there.
func updateEmbedded(p []byte, proto uint8, delta uint16) {
	if _, ok := transportLen(p, proto, true); !ok || hasZeroUDP(p, proto, frame.ChecksumUnknown) {
		return
	}
	updateTransport(p, proto, delta, frame.ChecksumUnknown)
}

// writeICMP writes an ICMP header at the start of p and its checksum over all of p; pseudo is the sum of the pseudo-header, 0 in IPv4.
func writeICMP(p []byte, typ, code uint8, word uint32, pseudo uint16) {
	p[0], p[1], p[2], p[3] = typ, code, 0, 0
	binary.BigEndian.PutUint32(p[4:], word)
	binary.BigEndian.PutUint16(p[checksumAtICMP:], ^checksum.Add(checksum.Sum(p), pseudo))
}
