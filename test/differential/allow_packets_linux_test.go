package differential

import (
	"encoding/binary"
	"slices"
)

// allowPackets are about packets that are no ICMP errors.
var allowPackets = []entry{
	{
		name:   "UDP over IPv4 without a checksum gets one",
		clause: "RFC 7915, 4.5",
		as: single(func(x *trial, in []byte) []byte {
			if x.v.six || x.v.isFragment() || !isZeroUDP(in, x.v) {
				return in
			}
			d := in[x.v.head:]
			in = slices.Clone(in)
			binary.BigEndian.PutUint16(in[x.v.head+6:], notZero(sumOf(pseudo(x.v.src, x.v.dst, udp, len(d)), d)))
			return in
		}),
	},
	{
		name:   "ICMP in fragments is put together",
		clause: "RFC 7915, 1.2, which leaves it out for want of the whole that the checksum covers; RFC 791, 3.2; RFC 8200, 4.5",
		as: func(x *trial, in [][]byte) [][]byte {
			if len(in) == 1 {
				return in
			}
			// In IPv6 it still has its Fragment Header, for the Identification, as the one fragment that is all.
			whole := slices.Clone(in[0][:x.v.head])
			if x.v.six {
				whole[x.v.fragment+3] &^= 1
			} else {
				whole[6], whole[7] = 0, 0
			}
			for _, p := range in {
				whole = append(whole, p[look(p).head:]...)
			}
			return [][]byte{resized(whole)}
		},
	},
	{
		name:   "a size counts without IPv4 options, which IPv6 does not get",
		clause: "RFC 7915, 4 and 4.1",
		as: single(func(x *trial, in []byte) []byte {
			v := x.v
			if v.six || !v.df || v.isFragment() || v.head == 20 || len(in) <= linkMTU-20 || len(in)-v.head+40 > linkMTU {
				return in
			}
			in = append(slices.Clone(in[:20]), in[v.head:]...)
			in[0] = 0x45
			return resized(in)
		}),
	},
	{
		name:   "a fragment with DF that fits is not cut into more",
		clause: "RFC 7915, 4 and 4.1; RFC 791, 3.1",
		then: func(x *trial, _, outs [][]byte) [][]byte {
			v := x.v
			if v.six || !v.df || !v.isFragment() || len(x.in[0])-v.head+48 > linkMTU || len(outs) < 2 {
				return outs
			}
			whole := slices.Clone(outs[0])
			for _, p := range outs[1:] {
				whole = append(whole, p[48:]...)
			}
			whole[43] = whole[43]&^1 | outs[len(outs)-1][43]&1
			return [][]byte{resized(whole)}
		},
	},
	{
		name:   "IPv6 hosts reach each other by their IPv4 addresses",
		clause: "RFC 7757, 4",
		as: single(func(x *trial, in []byte) []byte {
			if !hairpinned(x) {
				return in
			}
			return readdress(in, 24, mappedTo(in[36:40]).six)
		}),
		then: func(x *trial, _, outs [][]byte) [][]byte {
			if !hairpinned(x) || len(outs) != 1 || outs[0][0]>>4 == 6 {
				return outs
			}
			four := outs[0]
			if outs = x.ask(four); len(outs) != 1 {
				return outs
			}
			return [][]byte{readdress(outs[0], 8, append(prefix.Addr().AsSlice()[:12], four[12:16]...))}
		},
	},
	{
		name:   "a UDP checksum that comes out as zero is sent as 0xffff",
		clause: "RFC 768; RFC 8200, 8.1",
		then: each(func(x *trial, _, out []byte, _ int) []byte {
			if v := look(out); isZeroUDP(out, v) {
				return with(out, v.head+6, 0xff, 0xff)
			}
			return out
		}),
	},
	{
		name:   "the checksums of DCCP and UDP-Lite cover addresses",
		clause: "RFC 7915, 4.5 and 5.5; RFC 4340, 9.1; RFC 3828, 3.2",
		then: each(func(x *trial, _, out []byte, _ int) []byte {
			if v := look(out); v.offset == 0 {
				return readdressed(out, v.head, x.v, v)
			}
			return out
		}),
	},
	{
		name:   "an extension header behind a Fragment Header has the packet dropped, unless it is ESP",
		clause: "RFC 7915, 5.1.1",
		then:   nothing(func(x *trial) bool { return x.v.hidesExtension() || x.quoteHidesExtension() }),
	},
	{
		name:   "IGMP stays where it is",
		clause: "RFC 7915, 4.2",
		then:   nothing(func(x *trial) bool { return x.v.protocol == igmp }),
	},
	{
		name:   "a protocol number that means something else in the other family is not passed on",
		clause: "RFC 7915, 4.1 and 5.1, which change the number of ICMP alone; RFC 8200, 4",
		then: nothing(func(x *trial) bool {
			if x.v.six {
				return x.v.protocol == icmpv4
			}
			return slices.Contains([]byte{hopByHop, routing, fragmentHeader, icmpv6, destinationOptions}, x.v.protocol)
		}),
	},
}

// resized is p with right lengths and IPv4 header checksum; what follows the headers stays.
func resized(p []byte) []byte {
	q := slices.Clone(p)
	if q[0]>>4 == 6 {
		binary.BigEndian.PutUint16(q[4:], uint16(len(q)-40))
		return q
	}
	binary.BigEndian.PutUint16(q[2:], uint16(len(q)))
	seal4(q[:look(q).head])
	return q
}

// readdressed is p with the checksum of the DCCP or UDP-Lite at an offset changed by the difference of the addresses.
func readdressed(p []byte, at int, from, to view) []byte {
	if to.protocol != dccp && to.protocol != udpLite || at+8 > len(p) {
		return p
	}
	q := slices.Clone(p)
	checksum := changed(binary.BigEndian.Uint16(q[at+6:]), slices.Concat(from.src, from.dst), slices.Concat(to.src, to.dst))
	if to.protocol == udpLite {
		checksum = notZero(checksum)
	}
	binary.BigEndian.PutUint16(q[at+6:], checksum)
	return q
}

// isZeroUDP is whether a packet or quote has a UDP header without a checksum.
func isZeroUDP(p []byte, v view) bool {
	return v.protocol == udp && v.offset == 0 && v.head+8 <= len(p) && binary.BigEndian.Uint16(p[v.head+6:]) == 0
}

// hairpinned is whether the sample goes back to where it came from.
func hairpinned(x *trial) bool { return isTwin(x.v.dst) && !isTwin(x.v.src) }

// readdress is the IPv6 packet p with another address at an offset, and the checksum of its TCP or UDP right for it.
func readdress(p []byte, at int, address []byte) []byte {
	q := with(p, at, address...)
	v := look(q)
	switch v.protocol {
	case tcp:
		at = v.head + 16
	case udp:
		at = v.head + 6
	default:
		return q
	}
	binary.BigEndian.PutUint16(q[at:], changed(binary.BigEndian.Uint16(q[at:]), slices.Concat(p[8:40]), slices.Concat(q[8:40])))
	return q
}

// hidesExtension is whether an extension header follows the Fragment Header: one that every node walks over, or AH, Mobility, HIP, Shim6.
func (v view) hidesExtension() bool {
	return v.fragment > 0 && (v.hidden || slices.Contains([]byte{51, 135, 139, 140}, v.protocol))
}

func (x *trial) quoteHidesExtension() bool {
	_, _, inner, ok := isError(x.in[0])
	return ok && inner.hidesExtension()
}
