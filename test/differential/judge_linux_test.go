package differential

import (
	"encoding/binary"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// fault is what is wrong with a packet, whoever made it: its lengths, or a checksum. Empty: nothing.
func fault(p []byte) string {
	v := look(p)
	if !v.ok || v.total != len(p) {
		return "lengths"
	}
	if !v.six && sum(p[:v.head]) != 0 {
		return "IPv4 header checksum"
	}
	transport := p[v.head:]
	var l interface {
		gopacket.DecodingLayer
		gopacket.LayerWithChecksum
	}
	switch {
	case v.isFragment():
		return ""
	case v.protocol == icmpv4 && !v.six:
		l = new(layers.ICMPv4)
	case v.protocol == icmpv6 && v.six:
		l = new(layers.ICMPv6)
	case v.protocol == udp:
		l = new(layers.UDP)
	case v.protocol == tcp:
		l = new(layers.TCP)
	case v.protocol == udpLite || v.protocol == dccp:
		return faultOfPart(v, transport)
	default:
		return ""
	}
	if l, ok := l.(overAddresses); ok {
		if err := l.SetNetworkLayerForChecksum(network(v.src, v.dst, v.protocol)); err != nil {
			return err.Error()
		}
	}
	if err := l.DecodeFromBytes(transport, gopacket.NilDecodeFeedback); err != nil {
		return err.Error()
	}
	if err, is := l.VerifyChecksum(); err != nil || !is.Valid {
		return l.(gopacket.Layer).LayerType().String() + " checksum"
	}
	return ""
}

// faultOfOurs is the same of what the program sends, which never makes IPv6 of UDP without a checksum (RFC 8200, 8.1).
func faultOfOurs(p []byte) string {
	if v := look(p); v.ok && v.six && v.protocol == udp && !v.isFragment() && binary.BigEndian.Uint16(p[v.head+6:]) == 0 {
		return "UDP checksum of zero"
	}
	return fault(p)
}

// overAddresses is a layer whose checksum covers the pseudo-header.
type overAddresses interface {
	SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
}

// faultOfPart is the same of protocols that gopacket does not know enough of. Of UDP-Lite, the checksum may cover only a part.
func faultOfPart(v view, transport []byte) string {
	if len(transport) < 8 {
		return "length of the transport header"
	}
	covered := int(binary.BigEndian.Uint16(transport[4:]))
	if v.protocol == dccp || covered == 0 {
		covered = len(transport)
	}
	if covered > len(transport) || sumOf(pseudo(v.src, v.dst, v.protocol, len(transport)), transport[:covered]) != 0 {
		return "checksum of UDP-Lite or DCCP"
	}
	return ""
}
