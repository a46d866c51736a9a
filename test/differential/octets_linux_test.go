package differential

import (
	"encoding/binary"
	"slices"

	"github.com/gopacket/gopacket"
)

// Protocol numbers and next headers.
const (
	hopByHop, icmpv4, igmp, tcp, udp = 0, 1, 2, 6, 17
	dccp, routing, fragmentHeader    = 33, 43, 44
	gre, esp, icmpv6, noNext         = 47, 50, 58, 59
	destinationOptions, sctp         = 60, 132
	udpLite                          = 136
)

// view is where things are in a packet. Its offsets and lengths are octets.
type view struct {
	ok       bool // the headers are all there
	six      bool
	src, dst []byte
	ttl      byte
	protocol byte // of the transport
	head     int  // the IP headers', options and extension headers included
	total    int  // as the header says it, which is more than there is where a quote is cut
	df, mf   bool
	offset   int  // of a fragment
	fragment int  // where the Fragment Header is, 0: none
	segments int  // where a Routing header has segments left, 0: nowhere
	hidden   bool // an extension header follows the Fragment Header
}

// isFragment is whether the packet is less than a whole datagram.
func (v view) isFragment() bool { return v.mf || v.offset > 0 }

// isICMP is whether the packet is a whole ICMP message of its family.
func (v view) isICMP() bool {
	return !v.isFragment() && (v.six && v.protocol == icmpv6 || !v.six && v.protocol == icmpv4)
}

// look reads the headers of a packet, or of what an ICMP error quotes of one.
func look(p []byte) (v view) {
	if len(p) < 20 || p[0]>>4 == 6 && len(p) < 40 {
		return view{}
	}
	if p[0]>>4 != 6 {
		word := binary.BigEndian.Uint16(p[6:])
		v = view{
			src: p[12:16], dst: p[16:20], ttl: p[8], protocol: p[9], head: int(p[0]&15) * 4, total: int(binary.BigEndian.Uint16(p[2:])),
			df: word&0x4000 != 0, mf: word&0x2000 != 0, offset: int(word&0x1fff) * 8,
		}
		v.ok = v.head <= len(p)
		return v
	}
	v = view{six: true, src: p[8:24], dst: p[24:40], ttl: p[7], protocol: p[6], head: 40, total: 40 + int(binary.BigEndian.Uint16(p[4:]))}
	for {
		extension := v.protocol == hopByHop || v.protocol == routing || v.protocol == destinationOptions || v.protocol == fragmentHeader
		if !extension || v.fragment > 0 {
			v.ok, v.hidden = v.head <= len(p), extension
			return v
		}
		if v.head+8 > len(p) {
			return v
		}
		h := p[v.head:]
		switch v.protocol {
		case fragmentHeader:
			v.fragment = v.head
			v.offset, v.mf = int(binary.BigEndian.Uint16(h[2:])&^7), h[3]&1 != 0
			v.head += 8
		case routing:
			if h[3] > 0 {
				v.segments = v.head + 3
			}
			fallthrough
		default:
			v.head += 8 + int(h[1])*8
		}
		v.protocol = h[0]
	}
}

// quoted is where the packet begins that an ICMP error is about, 0 where p is no ICMP error. end is where it ends: where the length
// attribute says, else with p (RFC 4884, 4 and 5).
func quoted(p []byte) (at, end int) {
	v := look(p)
	if !v.ok || !v.isICMP() || len(p) < v.head+8 {
		return 0, 0
	}
	typ, length := p[v.head], 0
	switch {
	case v.six && (typ == 1 || typ == 3):
		length = int(p[v.head+4]) * 8
	case v.six && (typ == 2 || typ == 4):
	case !v.six && (typ == 3 || typ == 11 || typ == 12):
		length = int(p[v.head+5]) * 4
	default:
		return 0, 0
	}
	at, end = v.head+8, len(p)
	if length > 0 {
		end = at + length
	}
	return at, end
}

// with is p with the octets from at on replaced.
func with(p []byte, at int, octets ...byte) []byte {
	q := slices.Clone(p)
	copy(q[at:at+len(octets)], octets)
	return q
}

// sealed is p with its lengths, its IPv4 header checksum and the checksum of its ICMP made right.
func sealed(p []byte) []byte {
	q := slices.Clone(p)
	v := look(q)
	if v.six {
		binary.BigEndian.PutUint16(q[4:], uint16(len(q)-40))
	} else {
		binary.BigEndian.PutUint16(q[2:], uint16(len(q)))
		seal4(q[:v.head])
	}
	if m := q[v.head:]; v.isICMP() && len(m) >= 4 {
		m[2], m[3] = 0, 0
		sum := sum(m)
		if v.six {
			sum = sumOf(pseudo(v.src, v.dst, icmpv6, len(m)), m)
		}
		binary.BigEndian.PutUint16(m[2:], sum)
	}
	return q
}

// seal4 makes the checksum of an IPv4 header right.
func seal4(header []byte) {
	header[10], header[11] = 0, 0
	binary.BigEndian.PutUint16(header[10:], sum(header))
}

// sum is the Internet checksum (RFC 1071) of p as it is.
func sum(p []byte) uint16 { return gopacket.FoldChecksum(gopacket.ComputeChecksum(p, 0)) }

func sumOf(parts ...[]byte) uint16 { return sum(slices.Concat(parts...)) }

// notZero is the checksum of UDP or UDP-Lite as it is sent: zero would say that there is none.
func notZero(checksum uint16) uint16 {
	if checksum == 0 {
		return 0xffff
	}
	return checksum
}

// pseudo is the pseudo-header of a transport checksum (RFC 9293, 3.1; RFC 8200, 8.1).
func pseudo(src, dst []byte, protocol byte, length int) []byte {
	p := slices.Concat(src, dst)
	if len(src) == 4 {
		return append(p, 0, protocol, byte(length>>8), byte(length))
	}
	return append(p, 0, 0, byte(length>>8), byte(length), 0, 0, 0, protocol)
}

// changed is a checksum after the octets that it covers have changed from old to now (RFC 1624, eqn 3).
func changed(checksum uint16, old, now []byte) uint16 {
	s := uint32(^checksum) + uint32(sum(old)) + uint32(^sum(now))
	s = s&0xffff + s>>16
	return ^uint16(s&0xffff + s>>16)
}
