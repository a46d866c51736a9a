package differential

import (
	"math/rand/v2"
	"slices"

	"github.com/gopacket/gopacket/layers"
)

// sample is what is sent at once: one packet, or all fragments of one.
type sample struct {
	number   int
	kind     string
	in       [][]byte
	answered bool // the program answers it with an ICMP error
}

// kind is a kind of packets.
type kind struct {
	name   string
	weight int // how many there are of it, beside the others
	only   int // 4 or 6: there are none of the other version
	make   func(g *gen) [][]byte
}

// plain are the packets that draw no ICMP error out of the program. With the few of answered they stay below its limit.
var plain = []kind{
	{"UDP", 12, 0, of(udp)},
	{"UDP without a checksum", 2, 0, one((*gen).udpWithout)},
	{"UDP whose checksum comes out as zero", 1, 0, one((*gen).udpToZero)},
	{"TCP", 12, 0, of(tcp)},
	{"ICMP echo", 10, 0, one((*gen).echo)},
	{"ICMP echo to the translator itself", 1, 0, one((*gen).itself)},
	{"ICMP neither echo nor error", 3, 0, one((*gen).informational)},
	{"ICMP error", 24, 0, one((*gen).anyError)},
	{"ICMP error: packet too big", 6, 0, one((*gen).tooBigError)},
	{"ICMP error of a router without IPv4", 3, 6, one((*gen).nativeError)},
	{"ICMP in fragments", 2, 0, (*gen).icmpFragments},
	{"SCTP", 4, 0, of(sctp)},
	{"GRE", 3, 0, of(gre)},
	{"ESP", 3, 0, of(esp)},
	{"UDP-Lite", 3, 0, of(udpLite)},
	{"DCCP", 3, 0, of(dccp)},
	{"protocol unknown", 4, 0, one(func(g *gen) []byte { return g.whole(g.unknown()) })},
	{"protocol number that is another's", 1, 0, one((*gen).foreign)},
	{"fragment", 12, 0, one(func(g *gen) []byte { return g.fragment(g.protocol()) })},
	{"fragment that is all", 3, 6, one((*gen).atomic)},
	{"extension header behind a Fragment Header", 1, 6, one((*gen).hidden)},
	{"DF, too big with its options alone", 1, 4, one((*gen).tooBigByOptions)},
	{"from a mapped address behind PREF64", 1, 6, one((*gen).spoofed)},
	{"to a mapped address behind PREF64", 2, 6, one((*gen).hairpin)},
}

// answered are those that do.
var answered = []kind{
	{"TTL of 1", 12, 0, one((*gen).spent)},
	{"DF, too big", 4, 4, one((*gen).tooBig)},
	{"DF, too big, a fragment", 3, 4, one((*gen).tooBigFragment)},
	{"source route", 3, 4, one((*gen).sourceRouted)},
	{"segments left", 2, 6, one((*gen).segmentsLeft)},
	{"no mapping", 3, 6, one((*gen).unmapped)},
	{"a protocol to the translator itself", 3, 0, one((*gen).protocolToItself)},
}

func one(f func(g *gen) []byte) func(g *gen) [][]byte {
	return func(g *gen) [][]byte { return [][]byte{f(g)} }
}

func of(protocol byte) func(g *gen) [][]byte {
	return one(func(g *gen) []byte { return g.whole(protocol) })
}

// generate is sample number n of a run: the same, whatever else there is.
func generate(kinds []kind, seed uint64, n int) sample {
	r := sequence(seed, n)
	six := r.IntN(2) == 1
	total := 0
	for _, k := range kinds {
		if k.of(six) {
			total += k.weight
		}
	}
	at := r.IntN(total)
	for _, k := range kinds {
		if !k.of(six) {
			continue
		}
		if at -= k.weight; at < 0 {
			name := "v4 " + k.name
			if six {
				name = "v6 " + k.name
			}
			return sample{number: n, kind: name, in: k.make(newGen(r, six))}
		}
	}
	panic("no kind left")
}

// sequence is the random numbers of sample n.
func sequence(seed uint64, n int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(n))) }

func (k kind) of(six bool) bool { return k.only == 0 || six == (k.only == 6) }

// gen makes one sample.
type gen struct {
	r        *rand.Rand
	six      bool
	pick     func(*rand.Rand) host // where to and from
	src, dst host
	ttl      byte
	df       bool

	bare        bool // add neither options nor extension headers, and of these:
	sourceRoute bool // add a source route that is not used up
	segments    byte // add a Routing header with so many segments left
}

func newGen(r *rand.Rand, six bool) *gen {
	g := &gen{r: r, six: six, pick: pick, ttl: []byte{2, 64, 255, byte(2 + r.IntN(254))}[r.IntN(4)], df: !six && r.IntN(2) == 0}
	g.src, g.dst = pair(r, pick)
	return g
}

// chance is true once in n times.
func (g *gen) chance(n int) bool { return g.r.IntN(n) == 0 }

// octets are n random ones.
func (g *gen) octets(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.r.Uint32())
	}
	return b
}

// protocol is one of those that have nothing special.
func (g *gen) protocol() byte {
	return []byte{udp, tcp, sctp, gre, esp, udpLite, dccp, g.unknown()}[g.r.IntN(8)]
}

// unknown is a number that no translator knows, and that means the same in both families: 51, 135, 139 and 140 are skipped in neither.
func (g *gen) unknown() byte {
	return []byte{4, 41, 46, 51, noNext, 89, 112, 115, 135, 139, 140, 253, 254}[g.r.IntN(13)]
}

// size is how long a packet is to be: without payload, short, anything, or about where translators begin to do something else.
func (g *gen) size() int {
	borders := []int{1259, 1260, 1261, 1262, 1268, 1269, 1280, 1281, 1288, 1300, 1472, 1473, 1479, 1480, 1500}
	if g.six {
		borders = []int{1272, 1279, 1280, 1281, 1288, 1289, 1296, 1300, 1492, 1499, 1500}
	}
	switch g.r.IntN(6) {
	case 0:
		return 0
	case 1, 2:
		return g.r.IntN(160)
	case 3:
		return g.r.IntN(linkMTU + 1)
	}
	return borders[g.r.IntN(len(borders))] - g.r.IntN(2)*g.r.IntN(24)
}

// whole is a packet of a protocol that is no fragment, of any size that fits.
func (g *gen) whole(protocol byte) []byte {
	octets := g.size()
	if g.df {
		octets = min(octets, linkMTU-20)
	}
	return g.sized(protocol, octets)
}

// sized is a packet of a protocol of so many octets, or as few as its headers take.
func (g *gen) sized(protocol byte, octets int) []byte {
	x := g.extra()
	head := 20 + len(x.bytes)
	if g.six {
		head += 20
	}
	return g.packet(x, protocol, g.transport(protocol, octets-head))
}

// extra is what an IP header has beyond its fixed part: IPv4 options, or IPv6 extension headers.
type extra struct {
	bytes []byte
	first byte            // number of the first extension header
	link  func(next byte) // makes the last of them name what follows; nil: there is none
}

func (g *gen) extra() extra {
	switch {
	case g.sourceRoute:
		// Type, length, pointer and two addresses, of which the last at least is still to be visited; then the end of options.
		return extra{bytes: append([]byte{[]byte{131, 137}[g.r.IntN(2)], 11, 4 + 4*byte(g.r.IntN(2))}, append(g.octets(8), 0)...)}
	case g.segments > 0:
		return g.extensions([]byte{routing})
	case g.bare:
		return extra{}
	case g.six && g.chance(8):
		all := []byte{hopByHop, destinationOptions, routing, destinationOptions}
		some := [][]byte{{hopByHop}, {destinationOptions}, {routing}, {hopByHop, routing}, all}
		return g.extensions(some[g.r.IntN(len(some))])
	case !g.six && g.chance(10):
		return extra{bytes: g.someOptions()}
	}
	return extra{}
}

// someOptions are IPv4 options.
func (g *gen) someOptions() []byte {
	some := [][]byte{
		{1, 1, 1, 0},                                    // no operation, end
		{148, 4, 0, 0},                                  // router alert
		{7, 7, 4, 0, 0, 0, 0, 0},                        // record route, empty
		{68, 8, 5, 0, 1, 2, 3, 4},                       // timestamp
		{131, 7, 8, 8, 8, 8, 8, 0},                      // loose source route that is used up
		append([]byte{1, 137, 39, 40}, g.octets(36)...), // strict source route that is used up, of all the room
		{136, 4, 0, 5, 1, 1, 1, 1},                      // stream identifier
	}
	return some[g.r.IntN(len(some))]
}

// extensions are extension headers of these types.
func (g *gen) extensions(types []byte) extra {
	x := extra{first: types[0]}
	last := 0
	for i, t := range types {
		last = len(x.bytes)
		h := []byte{noNext, 0, 1, 4, 0, 0, 0, 0} // with one PadN option
		switch {
		case t == routing:
			h = append([]byte{noNext, 2, 0, g.segments, 0, 0, 0, 0}, g.octets(16)...)
		case t == destinationOptions && g.chance(2):
			h = append([]byte{noNext, 1, 0x1e, 12}, g.octets(12)...) // an experiment's (RFC 4727)
		case t == hopByHop && g.chance(2):
			h = []byte{noNext, 0, 5, 2, 0, 0, 1, 0} // router alert
		}
		if i+1 < len(types) {
			h[0] = types[i+1]
		}
		x.bytes = append(x.bytes, h...)
	}
	x.link = func(next byte) { x.bytes[last] = next }
	return x
}

// packet is an IP packet that is no fragment.
func (g *gen) packet(x extra, protocol byte, payload []byte) []byte {
	if !g.six {
		return g.packet4(x, protocol, payload, layers.IPv4{Flags: g.dontFragment()})
	}
	return g.packet6(x, protocol, payload)
}

func (g *gen) dontFragment() layers.IPv4Flag {
	if g.df {
		return layers.IPv4DontFragment
	}
	return 0
}

// packet4 is an IPv4 packet that takes flags and offset from h.
func (g *gen) packet4(x extra, protocol byte, payload []byte, h layers.IPv4) []byte {
	h.Version, h.TOS, h.Id, h.TTL, h.Protocol = 4, byte(g.r.Uint32()), uint16(g.r.Uint32()), g.ttl, layers.IPProtocol(protocol)
	h.SrcIP, h.DstIP = g.src.four, g.dst.four
	p := serialize(&h, raw(payload))
	if len(x.bytes) == 0 {
		return p
	}
	p = slices.Concat(p[:20], x.bytes, p[20:])
	p[0] = 0x45 + byte(len(x.bytes)/4)
	p[2], p[3] = byte(len(p)>>8), byte(len(p))
	seal4(p[:20+len(x.bytes)])
	return p
}

func (g *gen) packet6(x extra, protocol byte, payload []byte) []byte {
	h := layers.IPv6{Version: 6, TrafficClass: byte(g.r.Uint32()), HopLimit: g.ttl, NextHeader: layers.IPProtocol(protocol)}
	h.SrcIP, h.DstIP = g.src.six, g.dst.six
	if g.chance(2) {
		h.FlowLabel = g.r.Uint32() & (1<<20 - 1)
	}
	if x.link != nil {
		x.link(protocol)
		h.NextHeader = layers.IPProtocol(x.first)
	}
	return serialize(&h, raw(slices.Concat(x.bytes, payload)))
}

// behindFragment is a Fragment Header as the last of extension headers.
func (x extra) behindFragment(offset int, more bool, id uint32) extra {
	h := []byte{noNext, 0, byte(offset >> 8), byte(offset), byte(id >> 24), byte(id >> 16), byte(id >> 8), byte(id)}
	if more {
		h[3] |= 1
	}
	if x.link != nil {
		x.link(fragmentHeader)
	} else {
		x.first = fragmentHeader
	}
	x.bytes = append(slices.Clone(x.bytes), h...)
	return extra{x.bytes, x.first, func(next byte) { x.bytes[len(x.bytes)-8] = next }}
}
