package differential

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// raw is what gopacket builds nothing of.
type raw = gopacket.Payload

// serialize is the packet of these layers, from the outside in, with its lengths and checksums. It is all made from what we say, so an
// error is one of ours.
func serialize(all ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		panic(fmt.Sprintf("building a packet: %v", err))
	}
	return slices.Clone(b.Bytes())
}

// network is an IP layer between two addresses, for the pseudo-header.
func network(src, dst net.IP, protocol byte) gopacket.NetworkLayer {
	if len(src) == 4 {
		return &layers.IPv4{SrcIP: src, DstIP: dst, Protocol: layers.IPProtocol(protocol)}
	}
	return &layers.IPv6{SrcIP: src, DstIP: dst, NextHeader: layers.IPProtocol(protocol)}
}

// icmp4 is an ICMPv4 message. word is the four octets behind the checksum.
func icmp4(typ, code uint8, word uint32, body ...[]byte) []byte {
	return serialize(&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code), Id: uint16(word >> 16), Seq: uint16(word)},
		raw(slices.Concat(body...)))
}

// icmp6 is the same of ICMPv6.
func icmp6(src, dst net.IP, typ, code uint8, word uint32, body ...[]byte) []byte {
	m := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, code)}
	if err := m.SetNetworkLayerForChecksum(network(src, dst, icmpv6)); err != nil {
		panic(err)
	}
	return serialize(m, raw(slices.Concat(append([][]byte{binary.BigEndian.AppendUint32(nil, word)}, body...)...)))
}

// icmp is the message of the family of src.
func icmp(src, dst net.IP, typ, code uint8, word uint32, body ...[]byte) []byte {
	if len(src) == 4 {
		return icmp4(typ, code, word, body...)
	}
	return icmp6(src, dst, typ, code, word, body...)
}

// structure is an RFC 4884 extension structure of version 2 with its checksum (7).
func structure(objects ...[]byte) []byte {
	s := slices.Concat(append([][]byte{{0x20, 0, 0, 0}}, objects...)...)
	binary.BigEndian.PutUint16(s[2:], sum(s))
	return s
}

// object is one object of an extension structure (RFC 4884, 8). Its data is a multiple of 4 octets.
func object(class, ctype uint8, data ...byte) []byte {
	n := 4 + len(data)
	return append([]byte{byte(n >> 8), byte(n), class, ctype}, data...)
}

// padded is a quote as long as an extension structure behind it demands: at least 128 octets, and a multiple of unit (RFC 4884, 3 to 5).
func padded(quote []byte, unit int) []byte {
	n := max(128, (len(quote)+unit-1)/unit*unit)
	return append(slices.Clone(quote), make([]byte, n-len(quote))...)
}
