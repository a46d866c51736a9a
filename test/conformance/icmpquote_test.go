package conformance

import (
	"encoding/binary"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// errorWay is the way of an ICMP error through the translator. The packet that it quotes went the other way: the client tells its peer
// about what it received, and is told about what it sent.
type errorWay struct {
	name           string
	header, toward int // octets of the IP header before and behind the translator
	unit, toUnit   int // octets that the length attribute counts in, before and behind (RFC 4884, 4 and 5)

	request, reply, exceeded uint8 // types of echo messages and Time Exceeded, before
}

var (
	errors46 = errorWay{name: "46", header: 20, toward: 40, unit: 4, toUnit: 8, request: 8, reply: 0, exceeded: 11}
	errors64 = errorWay{name: "64", header: 40, toward: 20, unit: 8, toUnit: 4, request: 128, reply: 129, exceeded: 3}

	errorWays = []errorWay{errors46, errors64}
)

// message is an ICMP message: from the client to its peer in IPv4, the other way in IPv6. body is what follows its head of 8 octets.
func (w errorWay) message(t testing.TB, typ, code uint8, word uint32, body ...[]byte) []byte {
	t.Helper()
	if w == errors46 {
		return build(t, &layers.IPv4{}, icmp4(typ, code, word), payload(body...))
	}
	return build(t, &layers.IPv6{}, icmp6(typ, code, word), payload(body...))
}

// timeExceeded is the ICMP error that has no more to say than what it quotes, in both families.
func (w errorWay) timeExceeded(t testing.TB, quote []byte) []byte {
	t.Helper()
	return w.message(t, w.exceeded, 0, 0, quote)
}

// timeExceededWith is the same with an extension structure behind the quote, whose length the length attribute tells.
func (w errorWay) timeExceededWith(t testing.TB, quote, structure []byte) []byte {
	t.Helper()
	return w.message(t, w.exceeded, 0, lengthAttribute(len(quote), w.unit), quote, structure)
}

// lengthAttribute is the second word of an ICMP error with a length attribute for so many octets. Its unit tells the family.
func lengthAttribute(octets, unit int) uint32 {
	if unit == 8 {
		return uint32(octets/8) << 24
	}
	return uint32(octets/4) << 16
}

// content is what a quoted packet carries, with n octets of data, in both families.
type content struct {
	name      string
	protocol  layers.IPProtocol // of what gopacket has no layer for
	four, six func(n int) []gopacket.SerializableLayer
}

var (
	quotedUDP = inBoth("UDP", 0, func() gopacket.SerializableLayer { return &layers.UDP{SrcPort: 53, DstPort: 4660} })
	quotedTCP = inBoth("TCP", 0, func() gopacket.SerializableLayer {
		return &layers.TCP{SrcPort: 443, DstPort: 50000, Seq: 0x12345678, Ack: 0x9abcdef0, ACK: true, PSH: true, Window: 0xfffe}
	})
	quotedSCTP    = inBoth("SCTP", 132, func() gopacket.SerializableLayer { return payload() })
	quotedESP     = inBoth("ESP", 50, func() gopacket.SerializableLayer { return payload() })
	quotedRequest = quotedEcho("echo request", 8, 128)
	quotedReply   = quotedEcho("echo reply", 0, 129)

	contents = []content{quotedUDP, quotedTCP, quotedSCTP, quotedESP, quotedRequest, quotedReply}
)

func inBoth(name string, protocol layers.IPProtocol, head func() gopacket.SerializableLayer) content {
	all := func(n int) []gopacket.SerializableLayer { return []gopacket.SerializableLayer{head(), data(n)} }
	return content{name, protocol, all, all}
}

func quotedEcho(name string, typ4, typ6 uint8) content {
	const word = 0xbeef0007
	return content{
		name: name,
		four: func(n int) []gopacket.SerializableLayer {
			return []gopacket.SerializableLayer{icmp4(typ4, 0, word), data(n)}
		},
		six: func(n int) []gopacket.SerializableLayer {
			return []gopacket.SerializableLayer{icmp6(typ6, 0, word), data(n)}
		},
	}
}

// quoted is a packet with n octets of data, as an error quotes it before the translator and behind it: from the peer to the client
// in 46, from the client to the peer in 64.
func (w errorWay) quoted(t testing.TB, c content, n int) (before, after []byte) {
	t.Helper()
	return w.quotedWith(t, c, n, 0, 64)
}

// quotedWith is the same with that TOS or traffic class, and TTL or hop limit.
func (w errorWay) quotedWith(t testing.TB, c content, n int, tos, hops uint8) (before, after []byte) {
	t.Helper()
	h4 := &layers.IPv4{SrcIP: peer4, DstIP: client4, TOS: tos, Protocol: c.protocol}
	h6 := &layers.IPv6{SrcIP: peer6, DstIP: client6, TrafficClass: tos, NextHeader: c.protocol}
	if w == errors64 {
		h4.SrcIP, h4.DstIP, h6.SrcIP, h6.DstIP = client4, peer4, client6, peer6
	}
	four := build(t, append([]gopacket.SerializableLayer{h4}, c.four(n)...)...)
	six := build(t, append([]gopacket.SerializableLayer{h6}, c.six(n)...)...)
	if len(four) > 1260 {
		const dontFragment = 0x40
		four = edited(four, 6, dontFragment) // as in the packet that became the IPv6 packet, and as by RFC 7915, 5.1
	}
	four, six = resealed(edited(four, 8, hops)), edited(six, 7, hops)
	if w == errors46 {
		return four, six
	}
	return six, four
}

// quotes fails t unless the ICMP error p quotes want, all of it and no more. An IPv4 packet that is no fragment may have any
// Identification in IPv4: IPv6 had none.
func (p packet) quotes(t testing.TB, want []byte) {
	t.Helper()
	got := p.icmp(t).body
	same(t, "quoted packet", got, withIdentification(t, want, got))
}

// withIdentification is the packet want with the Identification of got, where both are of IPv4 and no fragments.
func withIdentification(t testing.TB, want, got []byte) []byte {
	t.Helper()
	if w := decodeHeader(t, want); w.v4 == nil || w.isFragment() || len(got) < 6 {
		return want
	}
	return resealed(edited(want, 4, got[4:6]...))
}

// quotedLength is what the header of a packet says of the whole packet's length.
func quotedLength(p packet) int {
	if p.v4 != nil {
		return int(p.v4.Length)
	}
	return 40 + int(p.v6.Length)
}

// withLength is a packet whose header says that it has n octets, whatever there is.
func withLength(p []byte, n int) []byte {
	if p[0]>>4 == 4 {
		return resealed(edited(p, 2, binary.BigEndian.AppendUint16(nil, uint16(n))...))
	}
	return edited(p, 4, binary.BigEndian.AppendUint16(nil, uint16(n-40))...)
}
