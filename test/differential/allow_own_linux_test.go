package differential

import (
	"encoding/binary"
	"slices"
)

// allowOwnErrors are about ICMP errors of the translators' own. Where TAYGA finds nothing wrong with a packet, it is given one whose TTL
// is spent, for the headers of its answer.
var allowOwnErrors = []entry{
	{
		name:   "a source route that is not used up is answered with 3/5",
		clause: "RFC 7915, 4.1",
		as:     instead(unusedRoute, spentTwin),
		then:   answer(unusedRoute, func(x *trial) head { return head{3, 5, 0} }),
	},
	{
		name:   "a Routing header with segments left is answered with 4/0",
		clause: "RFC 7915, 5.1",
		as:     instead(segmentsLeft, spentTwin),
		then:   answer(segmentsLeft, func(x *trial) head { return head{4, 0, uint32(x.v.segments)} }),
	},
	{
		name:   "a fragment with DF that is too big is answered with 3/4",
		clause: "RFC 7915, 4, with the 8 octets of the Fragment Header",
		as:     instead(tooBigFragment, spentTwin),
		then:   answer(tooBigFragment, func(x *trial) head { return head{3, 4, linkMTU - 28} }),
	},
	{
		name:   "what has no mapping is answered with 1/1",
		clause: "RFC 7915, 5.4",
		then:   answer(func(x *trial) bool { return !hasMapping(x.v.src) || !hasMapping(x.v.dst) }, func(*trial) head { return head{1, 1, 0} }),
	},
	{
		name:   "ICMP messages that are no errors are answered",
		clause: "RFC 1812, 4.3.2.7; RFC 4443, 2.4 (e)",
		as: instead(informationalSpent, func(in []byte) []byte {
			v := look(in)
			return sealed(with(in, v.head, map[bool]byte{false: 8, true: 128}[v.six]))
		}),
		then: each(func(x *trial, _, out []byte, _ int) []byte {
			if !informationalSpent(x) || !isOwn(out) {
				return out
			}
			return requoted(out, x.in[0])
		}),
	},
	{
		name:   "a mapped address is not believed to be behind PREF64 as well",
		clause: "RFC 6052, 5.1",
		then:   nothing(func(x *trial) bool { return isTwin(x.v.src) }),
	},
	{
		name:   "an IPv4 fragment that is not the first is not answered",
		clause: "RFC 1812, 4.3.2.7",
		then: each(func(x *trial, _, out []byte, _ int) []byte {
			if !x.v.six && x.v.offset > 0 && isOwn(out) {
				return nil
			}
			return out
		}),
	},
	{
		name:   "ICMP errors of the translator's own have the precedence of control",
		clause: "RFC 1812, 4.3.2.5; RFC 2474, 4.2.2",
		then: each(func(x *trial, _, out []byte, _ int) []byte {
			switch {
			case !isOwnError(out):
				return out
			case out[0]>>4 == 6:
				return with(out, 0, 0x6c)
			}
			return resized(with(out, 1, 0xc0))
		}),
	},
	{
		name:   "what the translator sends itself has an Identification, and an echo reply the DF of its request",
		clause: "RFC 791, 3.1 and 3.2, and RFC 6864, 4, which leave both to the sender",
		then: each(func(x *trial, in, out []byte, i int) []byte {
			if !isOwn(out) || out[0]>>4 == 6 {
				return out
			}
			if !isOwnError(out) {
				out = resized(with(out, 6, in[6]&0x40))
			}
			return identified(x, out, i)
		}),
	},
}

func unusedRoute(x *trial) bool {
	if x.v.six || x.v.head == 20 {
		return false
	}
	o := x.in[0][20:x.v.head]
	return (o[0] == 131 || o[0] == 137) && o[2] <= o[1]
}

func segmentsLeft(x *trial) bool { return x.v.segments > 0 }

func tooBigFragment(x *trial) bool {
	return !x.v.six && x.v.df && x.v.isFragment() && len(x.in[0])-x.v.head+48 > linkMTU
}

func informationalSpent(x *trial) bool {
	if x.v.ttl > 1 || !x.v.isICMP() {
		return false
	}
	typ := x.in[0][x.v.head]
	if x.v.six {
		return typ >= 128
	}
	return !slices.Contains([]byte{3, 4, 5, 11, 12}, typ)
}

func instead(when func(x *trial) bool, other func(in []byte) []byte) func(*trial, [][]byte) [][]byte {
	return single(func(x *trial, in []byte) []byte {
		if !when(x) {
			return in
		}
		return other(in)
	})
}

// spentTwin is the same packet at the end of its TTL.
func spentTwin(in []byte) []byte {
	if in[0]>>4 == 6 {
		return with(in, 7, 1)
	}
	return resized(with(in, 8, 1))
}

// answer changes what an ICMP error of TAYGA's own says: h, about the packet as everybody got it.
func answer(when func(x *trial) bool, h func(x *trial) head) func(*trial, [][]byte, [][]byte) [][]byte {
	return each(func(x *trial, _, out []byte, _ int) []byte {
		if !when(x) || !isOwn(out) {
			return out
		}
		say, m := h(x), look(out).head
		out = with(out, m, say.typ, say.code)
		binary.BigEndian.PutUint32(out[m+4:], say.word)
		return requoted(out, x.in[0])
	})
}

// requoted is an ICMP error as long as out about the packet in.
func requoted(out, in []byte) []byte {
	at := look(out).head + 8
	return sealed(with(out, at, in[:len(out)-at]...))
}

// identified is the IPv4 packet p with the Identification that the program gave to its i-th packet. RFCs do not say which it is, only that
// it is not soon given again (RFC 6864, 4.3): one that was given before does not count.
func identified(x *trial, p []byte, i int) []byte {
	const many = 60000 // of 65536
	if i >= len(x.uclat) || x.uclat[i][0]>>4 != 4 {
		return p
	}
	id := binary.BigEndian.Uint16(x.uclat[i][4:])
	if x.given[id] && len(x.given) < many {
		return p
	}
	x.given[id] = true
	return resized(with(p, 4, byte(id>>8), byte(id)))
}

// hasMapping is whether an address of either family has a counterpart in the other one.
func hasMapping(a []byte) bool { return len(a) == 4 || !(a[4] == 0xff && a[5] == 0xff) }
