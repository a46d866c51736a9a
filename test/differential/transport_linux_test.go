package differential

import (
	"encoding/binary"
	"net"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// ends are the addresses of the packet in its own family.
func (g *gen) ends() (src, dst net.IP) {
	if g.six {
		return g.src.six, g.dst.six
	}
	return g.src.four, g.dst.four
}

// transport is a transport header of a protocol and its payload, with right checksums: n octets, or as few as the header takes.
func (g *gen) transport(protocol byte, n int) []byte {
	src, dst := g.ends()
	switch protocol {
	case g.icmpProtocol():
		return icmp(src, dst, g.echoType(), byte(g.r.IntN(16)/15), g.r.Uint32(), g.octets(max(0, n-8)))
	case udp:
		h := &layers.UDP{SrcPort: layers.UDPPort(g.r.Uint32()), DstPort: layers.UDPPort(g.r.Uint32())}
		return g.summed(h, src, dst, udp, g.octets(max(0, n-8)))
	case tcp:
		return g.tcp(src, dst, n)
	case sctp:
		h := &layers.SCTP{SrcPort: layers.SCTPPort(g.r.Uint32()), DstPort: layers.SCTPPort(g.r.Uint32()), VerificationTag: g.r.Uint32()}
		chunk := max(4, n-12)
		return serialize(h, raw(append([]byte{0, 3, byte(chunk >> 8), byte(chunk)}, g.octets(chunk-4)...))) // DATA
	case gre:
		return append([]byte{0, 0, 8, 0}, g.octets(max(0, n-4))...)
	case udpLite:
		return g.udpLite(src, dst, n)
	case dccp:
		// ports, data offset of 4 words, checksum of all; a Data packet with an extended sequence number (RFC 4340, 5.1)
		p := append(g.octets(4), 4, 0, 0, 0, 2<<1|1, 0)
		p = append(p, g.octets(6+max(0, n-16))...)
		binary.BigEndian.PutUint16(p[6:], sumOf(pseudo(src, dst, dccp, len(p)), p))
		return p
	}
	return g.octets(max(0, n))
}

// summed is a layer whose checksum covers the pseudo-header.
func (g *gen) summed(l interface {
	gopacket.SerializableLayer
	overAddresses
}, src, dst net.IP, protocol byte, payload []byte) []byte {
	if err := l.SetNetworkLayerForChecksum(network(src, dst, protocol)); err != nil {
		panic(err)
	}
	return serialize(l, raw(payload))
}

// tcp is a segment: a SYN, which offers an MSS, or one with any flags and some options.
func (g *gen) tcp(src, dst net.IP, n int) []byte {
	h := &layers.TCP{
		SrcPort: layers.TCPPort(g.r.Uint32()), DstPort: layers.TCPPort(g.r.Uint32()),
		Seq: g.r.Uint32(), Ack: g.r.Uint32(), Window: uint16(g.r.Uint32()),
		ACK: g.chance(2), PSH: g.chance(2), FIN: g.chance(4), RST: g.chance(8), URG: g.chance(8), ECE: g.chance(4), CWR: g.chance(4),
	}
	if h.URG {
		h.Urgent = uint16(g.r.Uint32())
	}
	length := 20
	option := func(kind layers.TCPOptionKind, data ...byte) {
		h.Options = append(h.Options, layers.TCPOption{OptionType: kind, OptionLength: uint8(2 + len(data)), OptionData: data})
		length += 2 + len(data)
	}
	if g.chance(4) {
		h.SYN, h.FIN, h.RST = true, false, false
		mss := []uint16{536, 1220, 1440, 1460, 8960, uint16(g.r.Uint32())}[g.r.IntN(6)]
		if g.chance(2) {
			option(layers.TCPOptionKindWindowScale, 7)
		}
		option(layers.TCPOptionKindMSS, byte(mss>>8), byte(mss))
		if g.chance(2) {
			option(layers.TCPOptionKindSACKPermitted)
		}
	}
	if g.chance(2) {
		option(layers.TCPOptionKindTimestamps, g.octets(8)...)
	}
	return g.summed(h, src, dst, tcp, g.octets(max(0, n-(length+3)&^3)))
}

// udpLite covers all with its checksum, or less (RFC 3828, 3.1).
func (g *gen) udpLite(src, dst net.IP, n int) []byte {
	p := append(g.octets(4), 0, 0, 0, 0)
	p = append(p, g.octets(max(0, n-8))...)
	covered := len(p)
	if g.chance(2) {
		covered = 8 + g.r.IntN(len(p)-7)
		binary.BigEndian.PutUint16(p[4:], uint16(covered))
	}
	binary.BigEndian.PutUint16(p[6:], notZero(sumOf(pseudo(src, dst, udpLite, len(p)), p[:covered])))
	return p
}
