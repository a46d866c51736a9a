package differential

import (
	"encoding/binary"
	"math/rand/v2"

	"github.com/gopacket/gopacket/layers"
)

// echo is an ICMP echo request or reply.
func (g *gen) echo() []byte { return g.whole(g.icmpProtocol()) }

// itself is for the translator, and has no other way than to it.
func (g *gen) itself() []byte {
	g.dst = host{self4.AsSlice(), self6.AsSlice()}
	return g.echo()
}

// protocolToItself is for the translator, which speaks none.
func (g *gen) protocolToItself() []byte {
	g.dst, g.bare = host{self4.AsSlice(), self6.AsSlice()}, true
	return g.whole(g.protocol())
}

// udpWithout is UDP without a checksum, which over IPv6 only tunnels have (RFC 6935), sometimes in a first fragment.
func (g *gen) udpWithout() []byte {
	p := g.whole(udp)
	if !g.six && g.chance(4) {
		p = g.fragment(udp)
	}
	v := look(p)
	if v.offset > 0 {
		return p
	}
	return with(p, v.head+6, 0, 0)
}

// udpToZero is UDP whose checksum in the other family comes out as zero, which means that there is none.
func (g *gen) udpToZero() []byte {
	g.bare = true
	p := g.sized(udp, 600+g.r.IntN(200))
	d := p[look(p).head:]
	from, to := g.ends()
	src, dst := g.src.six, g.dst.six
	if g.six {
		src, dst = g.src.four, g.dst.four
	}
	// What is left to sum up to zero goes where there is payload.
	clear(d[6:10])
	binary.BigEndian.PutUint16(d[8:], sumOf(pseudo(src, dst, udp, len(d)), d))
	binary.BigEndian.PutUint16(d[6:], notZero(sumOf(pseudo(from, to, udp, len(d)), d)))
	return p
}

// foreign has a protocol number that means something else in the other family: an extension header, the other ICMP, or IGMP.
func (g *gen) foreign() []byte {
	if g.six {
		return g.whole([]byte{icmpv4, igmp}[g.r.IntN(2)])
	}
	return g.whole([]byte{igmp, hopByHop, routing, fragmentHeader, icmpv6, destinationOptions}[g.r.IntN(6)])
}

// fragment is one fragment of a longer packet: the first, the last or another one.
func (g *gen) fragment(protocol byte) []byte {
	x := g.extra()
	head, most := 20+len(x.bytes), linkMTU
	switch {
	case g.six:
		head += 28
	case g.df: // no larger than what fits as IPv6
		most -= 28
	}
	room := (most - head) / 8
	size := 8 * (3 + g.r.IntN(room-2)) // a first fragment has at least the transport header's fixed part
	if g.chance(2) {
		size = 8 * min(room, 150+g.r.IntN(8)) // about 1232
	}
	return g.piece(x, protocol, size)
}

// piece is a fragment of so many octets behind its headers, a multiple of 8, or a bit less where it is the last.
func (g *gen) piece(x extra, protocol byte, size int) []byte {
	at, more, octets := 8*(1+g.r.IntN(400)), true, g.octets(size)
	switch g.r.IntN(3) {
	case 0: // the first
		at, octets = 0, g.transport(protocol, size+8+g.r.IntN(1500))[:size]
	case 1: // the last
		more, octets = false, octets[g.r.IntN(8):]
	}
	if g.six {
		return g.packet6(x.behindFragment(at, more, g.r.Uint32()), protocol, octets)
	}
	flags := g.dontFragment()
	if more {
		flags |= layers.IPv4MoreFragments
	}
	return g.packet4(x, protocol, octets, layers.IPv4{Flags: flags, FragOffset: uint16(at / 8)})
}

// atomic has a Fragment Header though it is no fragment (RFC 6946).
func (g *gen) atomic() []byte {
	protocol := g.protocol()
	if g.chance(4) {
		protocol = icmpv6
	}
	x := g.extra().behindFragment(0, false, g.r.Uint32())
	return g.packet6(x, protocol, g.transport(protocol, g.size()-40-len(x.bytes)))
}

// hidden is a first fragment, or an atomic one, that begins with an extension header.
func (g *gen) hidden() []byte {
	first := []byte{destinationOptions, routing, hopByHop, 51, 135, 139, 140}[g.r.IntN(7)]
	h := append([]byte{udp, 0, 1, 4, 0, 0, 0, 0}, g.octets(8*(1+g.r.IntN(100)))...)
	return g.packet6(extra{}.behindFragment(0, g.chance(2), g.r.Uint32()), first, h)
}

// tooBig has DF and does not fit as IPv6.
func (g *gen) tooBig() []byte {
	g.df, g.bare = true, true
	return g.sized(g.protocol(), linkMTU-g.r.IntN(20))
}

// tooBigFragment is the same as a fragment, which gets a Fragment Header as well.
func (g *gen) tooBigFragment() []byte {
	g.df = true
	return g.piece(extra{}, g.protocol(), 1480-8*g.r.IntN(3))
}

// tooBigByOptions has DF, and fits as IPv6 because that has no options.
func (g *gen) tooBigByOptions() []byte {
	g.df = true
	x := extra{bytes: g.someOptions()}
	protocol, octets := g.protocol(), linkMTU-19+g.r.IntN(min(len(x.bytes), 20))
	return g.packet4(x, protocol, g.transport(protocol, octets-20-len(x.bytes)), layers.IPv4{Flags: layers.IPv4DontFragment})
}

// sourceRouted has an IPv4 source route that is not used up.
func (g *gen) sourceRouted() []byte {
	g.sourceRoute = true
	return g.whole(g.protocol())
}

// segmentsLeft has a Routing header that is not used up.
func (g *gen) segmentsLeft() []byte {
	g.segments = 1 + byte(g.r.IntN(3))
	return g.whole(g.protocol())
}

// spent is a packet of any kind whose TTL or hop limit is at its end.
func (g *gen) spent() []byte {
	g.ttl = 1
	switch g.r.IntN(8) {
	case 0:
		return g.echo()
	case 1:
		return g.fragment(g.protocol())
	case 2:
		return g.anyError()
	case 3:
		return g.informational()
	}
	return g.whole(g.protocol())
}

// spoofed comes from an address behind PREF64 that stands for a mapped host.
func (g *gen) spoofed() []byte {
	g.src = twin(g.r)
	return g.whole(g.protocol())
}

// hairpin goes to an IPv6 host by its IPv4 address behind PREF64, through the translator twice.
func (g *gen) hairpin() []byte {
	g.dst, g.ttl = twin(g.r), max(g.ttl, 3)
	return g.whole(g.protocol())
}

// twin is an address behind PREF64 whose IPv4 address is mapped to another one.
func twin(r *rand.Rand) host { return behind(binary.BigEndian.Uint32(pickMapped(r).four)) }

// unmapped goes to or comes from an address that has no mapping.
func (g *gen) unmapped() []byte {
	if g.chance(2) {
		g.src = native(g)
	} else {
		g.dst = native(g)
	}
	return g.whole(g.protocol())
}

// native is an IPv6 host that has no mapping.
func native(g *gen) host {
	return host{six: append([]byte{0x20, 0x01, 0x0d, 0xb8, 0xff, 0xff}, g.octets(10)...)}
}
