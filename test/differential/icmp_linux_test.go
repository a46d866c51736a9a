package differential

import (
	"encoding/binary"
	"slices"
)

// icmpProtocol is the number of the packet's family's ICMP.
func (g *gen) icmpProtocol() byte {
	if g.six {
		return icmpv6
	}
	return icmpv4
}

// message is an ICMP message in a packet.
func (g *gen) message(x extra, typ, code byte, word uint32, body ...[]byte) []byte {
	src, dst := g.ends()
	return g.packet(x, g.icmpProtocol(), icmp(src, dst, typ, code, word, body...))
}

// echoType is one of echo request and reply.
func (g *gen) echoType() byte {
	return echoes(g.six)[g.r.IntN(2)]
}

// informational is an ICMP message that stays in its family.
func (g *gen) informational() []byte {
	types := []byte{6, 9, 10, 13, 14, 15, 16, 17, 18, 30, 42, 253}
	if g.six {
		types = []byte{130, 131, 132, 133, 134, 135, 136, 138, 139, 143, 160, 200}
	}
	return g.message(extra{}, types[g.r.IntN(len(types))], 0, g.r.Uint32(), g.octets(12+g.r.IntN(100)))
}

// icmpFragments are all fragments of an echo message that would fit in one packet.
func (g *gen) icmpFragments() [][]byte {
	g.bare, g.df = true, false
	whole := g.sized(g.icmpProtocol(), 60+g.r.IntN(1100))
	size := 8 * (1 + g.r.IntN(len(whole)/8))
	return cut(whole, g.r.Uint32(), max(size, 48))
}

// cut is the packet whole, which has neither options nor extension headers, as fragments with at most size octets of it each, a
// multiple of 8.
func cut(whole []byte, id uint32, size int) (all [][]byte) {
	v := look(whole)
	for at := v.head; at < len(whole); at += size {
		end := min(at+size, len(whole))
		word := uint16(at - v.head)
		p := slices.Clone(whole[:v.head])
		if v.six {
			if end < len(whole) {
				word |= 1
			}
			p[6] = fragmentHeader
			p = append(p, v.protocol, 0, byte(word>>8), byte(word))
			p = binary.BigEndian.AppendUint32(p, id)
		} else {
			word >>= 3
			if end < len(whole) {
				word |= 0x2000
			}
			binary.BigEndian.PutUint16(p[4:], uint16(id))
			binary.BigEndian.PutUint16(p[6:], word)
		}
		all = append(all, sealed(append(p, whole[at:end]...)))
	}
	return all
}

// head is what an ICMP error says before the packet that it quotes.
type head struct {
	typ, code byte
	word      uint32
}

// errorHead is any error but that a packet is too big.
func (g *gen) errorHead() head {
	if g.six {
		switch g.r.IntN(8) {
		case 0, 1, 2:
			return head{1, byte(g.r.IntN(8)), 0}
		case 3, 4:
			return head{3, byte(g.r.IntN(2)), 0}
		case 5, 6:
			pointer := uint32(g.r.IntN(44))
			if g.chance(8) {
				pointer = g.r.Uint32()
			}
			return head{4, byte(g.r.IntN(8) / 4 * g.r.IntN(4)), pointer}
		}
		return head{[]byte{0, 5, 100, 101, 127}[g.r.IntN(5)], 0, 0}
	}
	switch g.r.IntN(16) {
	case 0:
		return head{[]byte{4, 5}[g.r.IntN(2)], 0, 0} // Source Quench, Redirect
	case 1, 2, 3, 4, 5, 6, 7, 8:
		code := g.r.IntN(17)
		if code == 4 {
			code = 3
		}
		return head{3, byte(code), 0}
	case 9, 10, 11:
		return head{11, byte(g.r.IntN(2)), 0}
	}
	return head{12, byte(g.r.IntN(8) / 4 * g.r.IntN(4)), uint32(g.r.IntN(24)) << 24}
}

// anyError is an error about a packet of any host.
func (g *gen) anyError() []byte { return g.errorMessage(g.errorHead()) }

// tooBigError says that a packet to one of those hosts was too big that nothing else is sent to.
func (g *gen) tooBigError() []byte {
	g.pick = pickNarrow
	g.src, g.dst = pair(g.r, g.pick)
	if g.six {
		mtus := []uint32{0, 68, 576, 1279, 1280, 1281, 1300, 1308, 1400, 1480, 1492, 1499, 1500, 1501, 9000, 65535, 65556, 1 << 20, 1<<32 - 1}
		return g.errorMessage(head{2, byte(g.r.IntN(16) / 15), mtus[g.r.IntN(len(mtus))]})
	}
	mtus := []uint32{0, 0, 0, 1, 60, 67, 68, 296, 1000, 1259, 1260, 1261, 1280, 1400, 1472, 1480, 1481, 1492, 1500, 9000, 65535}
	return g.errorMessage(head{3, 4, mtus[g.r.IntN(len(mtus))]})
}

// nativeError is an error of a router that no IPv4 address stands for.
func (g *gen) nativeError() []byte {
	g.src = native(g)
	return g.errorMessage(g.errorHead())
}

// errorMessage is an ICMP error about a packet that went the other way.
func (g *gen) errorMessage(h head) []byte {
	// What there is room for: an IPv6 error has at most 1280 octets, an IPv4 error mostly 576.
	room, unit := 576-28, 4
	switch {
	case g.six:
		room, unit = 1280-48, 8
	case g.chance(4):
		room = linkMTU - 28
	}
	x := extra{}
	if g.chance(16) {
		x = g.extra()
		room -= len(x.bytes)
	}
	quote := g.quote(room)
	extensible := !g.six && (h.typ == 3 || h.typ == 11 || h.typ == 12) || g.six && (h.typ == 1 || h.typ == 3)
	if !extensible || !g.chance(4) {
		return g.message(x, h.typ, h.code, h.word, quote)
	}
	// A label stack (RFC 4950) or an interface (RFC 5837), or both.
	objects := [][]byte{object(1, 1, g.octets(4*(1+g.r.IntN(3)))...), object(2, 2, g.octets(4)...)}[g.r.IntN(2):]
	if g.chance(4) {
		objects = [][]byte{object(3, 1, g.octets(4*g.r.IntN(40))...)} // a large one
	}
	ext := structure(objects...)
	quote = quote[:min(len(quote), (room-len(ext))/unit*unit, 255*unit)]
	quote = padded(quote, unit)
	word := h.word | uint32(len(quote)/4)<<16
	if g.six {
		word = uint32(len(quote)/8) << 24
	}
	return g.message(x, h.typ, h.code, word, quote, ext)
}

// quote is the start of a packet that an error is about, of at most room octets: as much as there is, or cut, at the earliest behind
// the 8 octets of its transport that every error quotes (RFC 792).
func (g *gen) quote(room int) []byte {
	q := newGen(g.r, g.six)
	q.src, q.ttl = g.dst, byte(g.r.Uint32())
	for q.dst = g.pick(g.r); q.dst.is(q.src.four); q.dst = g.pick(g.r) {
	}
	if g.chance(2) && g.src.four != nil {
		q.dst = g.src
	}
	p := q.quotable()
	least := look(p).head + 8
	switch g.r.IntN(4) {
	case 0:
		room = least
	case 1:
		room = least + g.r.IntN(64)
	}
	return slices.Clone(p[:min(len(p), max(room, least))])
}

// quotable is a packet that an error may be about.
func (g *gen) quotable() []byte {
	switch g.r.IntN(8) {
	case 0, 1:
		return g.echo()
	case 2:
		return g.fragment(g.protocol())
	case 3:
		if g.six {
			return g.atomic()
		}
		return g.udpWithout()
	}
	for {
		if p := g.whole(g.protocol()); len(p) >= look(p).head+8 {
			return p
		}
	}
}
