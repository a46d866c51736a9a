package differential

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// allowErrors are about ICMP errors that are translated.
var allowErrors = []entry{
	{
		name:   "a long quote is passed on as it is",
		clause: "RFC 7915, 5.3; the 576 octets of RFC 1812, 4.3.2.3 bind who makes an error",
		then: each(func(x *trial, _, out []byte, _ int) []byte {
			at, end, inner, ok := isError(x.in[0])
			if !ok || !inner.six || isOwn(out) || len(out) != 576 {
				return out
			}
			data := x.in[0][at+inner.head : min(end, at+inner.total)]
			return sealed(append(slices.Clone(out), data[min(len(data), 576-48):]...))
		}),
	},
	{
		name:   "the Pointer of a Parameter Problem is translated, or the error dropped",
		clause: "RFC 7915, 4.2, figure 3, and 5.2, figure 6",
		as: single(func(x *trial, in []byte) []byte {
			if !hasPointer(x) {
				return in
			}
			if x.v.six {
				return sealed(with(in, x.v.head, 3, 0, 0, 0, 0, 0, 0, 0))
			}
			return sealed(with(in, x.v.head, 11, 0, 0, 0, 0)) // the length attribute stays
		}),
		then: each(func(x *trial, _, out []byte, _ int) []byte {
			if !hasPointer(x) || isOwn(out) {
				return out
			}
			word := binary.BigEndian.Uint32(x.in[0][x.v.head+4:])
			m := look(out).head
			if x.v.six {
				pointer, ok := figure6[word]
				if !ok {
					return nil
				}
				return sealed(with(out, m, 12, 0, 0, 0, pointer, 0, 0, 0))
			}
			pointer, ok := figure3[word>>24]
			if !ok {
				return nil
			}
			return sealed(with(out, m, 4, 0, 0, 0, 0, 0, 0, pointer))
		}),
	},
	{
		name:   "Address Unreachable becomes Host Unreachable",
		clause: "RFC 7915, 5.2",
		as: single(func(x *trial, in []byte) []byte {
			if x.v.six && x.v.isICMP() && in[x.v.head] == 1 && in[x.v.head+1] == 3 {
				return sealed(with(in, x.v.head+1, 0))
			}
			return in
		}),
	},
	{
		name:   "a Packet Too Big of less than 1280 is not believed",
		clause: "RFC 8201, 4",
		then:   nothing(func(x *trial) bool { return x.isTooBig6() && x.word() < 1280 }),
	},
	{
		name:   "the MTU of a Packet Too Big is less 28 where the quote has a Fragment Header",
		clause: "RFC 7915, 5.2",
		then: each(func(x *trial, _, out []byte, _ int) []byte {
			_, _, inner, ok := isError(x.in[0])
			if !ok || !x.isTooBig6() || inner.fragment == 0 || isOwn(out) {
				return out
			}
			m := look(out).head
			out = slices.Clone(out)
			binary.BigEndian.PutUint32(out[m+4:], binary.BigEndian.Uint32(out[m+4:])-8)
			return sealed(out)
		}),
	},
	{
		name:   "only an MTU of 0 is none",
		clause: "RFC 7915, 4.2; RFC 1191, 5",
		as: single(func(x *trial, in []byte) []byte {
			h := x.v.head
			if x.v.six || !x.v.isICMP() || in[h] != 3 || in[h+1] != 4 || x.word()&0xffff == 0 || x.word()&0xffff >= 68 {
				return in
			}
			return sealed(with(in, h+6, 0, 68))
		}),
	},
	{
		name:   "an error of a router without IPv4 address comes from 192.0.0.8",
		clause: "draft-ietf-v6ops-icmpext-xlat-v6only-source, 4.1",
		as: single(func(x *trial, in []byte) []byte {
			if x.isNative() {
				return sealed(with(in, 8, pickedRouter.six...))
			}
			return in
		}),
		then: each(func(x *trial, _, out []byte, _ int) []byte {
			if !x.isNative() || isOwn(out) {
				return out
			}
			return resized(with(out, 12, unmappedSource.AsSlice()...))
		}),
	},
	{
		name:   "an extension structure stays, and tells of a router without IPv4 address",
		clause: "RFC 7915, 4.2 and 5.2; RFC 4884, 3 to 5; draft-ietf-v6ops-icmpext-xlat-v6only-source, 4.1",
		then:   each(withExtension),
	},
}

// figure3 and figure6 are the tables of RFC 7915: pointers in one family, and what they are in the other.
var (
	figure3 = table([][3]byte{{0, 0, 0}, {1, 1, 1}, {2, 3, 4}, {8, 8, 7}, {9, 9, 6}, {12, 15, 8}, {16, 19, 24}})
	figure6 = table([][3]byte{{0, 0, 0}, {1, 1, 1}, {4, 5, 2}, {6, 6, 9}, {7, 7, 8}, {8, 23, 12}, {24, 39, 16}})
)

// table makes one of rows of first, last and what they become.
func table(rows [][3]byte) map[uint32]byte {
	t := map[uint32]byte{}
	for _, r := range rows {
		for p := r[0]; p <= r[1]; p++ {
			t[uint32(p)] = r[2]
		}
	}
	return t
}

var (
	unmappedSource = netip.MustParseAddr("192.0.0.8")
	pickedRouter   = singles[0] // stands in for routers that have no IPv4 address
)

// word is what follows the ICMP checksum.
func (x *trial) word() uint32 { return binary.BigEndian.Uint32(x.in[0][x.v.head+4:]) }

func (x *trial) isTooBig6() bool { return x.v.six && x.v.isICMP() && x.in[0][x.v.head] == 2 }

// isNative is whether the sample is an ICMPv6 error from a source without a mapping.
func (x *trial) isNative() bool {
	return x.v.six && x.v.isICMP() && x.in[0][x.v.head] < 128 && !hasMapping(x.v.src)
}

func hasPointer(x *trial) bool {
	if !x.v.isICMP() {
		return false
	}
	typ, code := x.in[0][x.v.head], x.in[0][x.v.head+1]
	return x.v.six && typ == 4 && code == 0 || !x.v.six && typ == 12 && (code == 0 || code == 2)
}

// withExtension gives the translation out of an ICMP error what stood behind the quote, and what tells of the router.
func withExtension(x *trial, _, out []byte, _ int) []byte {
	_, inEnd, _, ok := isError(x.in[0])
	if !ok || isOwn(out) {
		return out
	}
	ext := x.in[0][inEnd:]
	at, end, inner, ok := isError(out)
	if !ok {
		return out
	}
	m := at - 8
	limit, unit, attribute := linkMTU, 4, m+5
	if inner.six {
		limit, unit, attribute = 1280, 8, m+4
	}
	switch typ := out[m]; {
	case inner.six && typ != 1 && typ != 3:
		return out // RFC 4884, 4: it has no length attribute
	case x.isNative() && (x.in[0][x.v.head] == 1 || x.in[0][x.v.head] == 3) && len(out)-at-inner.head >= 8:
		node := object(5, 4, append([]byte{0, 2, 0, 0}, x.v.src...)...)
		if len(ext) > 0 {
			node = append(slices.Clone(ext[4:]), node...)
		}
		ext = structure(node)
	case len(ext) == 0:
		return out
	}
	quote := padded(out[at:end], unit)
	room := (limit - at - len(ext)) &^ (unit - 1)
	quote = quote[:min(len(quote), room, 255*unit)]
	p := slices.Concat(out[:at], quote, ext)
	p[attribute] = byte(len(quote) / unit)
	return sealed(p)
}
