package link

import (
	"fmt"
	"math"
	"net/netip"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/bpf"
)

// maxPrefixes keeps the programs short: the kernel runs them for every IPv6 packet of the link.
const maxPrefixes = 8

// Where the fields are that the programs look at, in octets from the IPv6 header.
const (
	atNext = 6  // next header
	atHops = 7  // hop limit
	atDst  = 24 // destination
	atType = 40 // ICMPv6 type, where ICMPv6 follows directly
)

// Values of these fields, and of the kernel's packet type (include/uapi/linux/if_packet.h).
const (
	toHost, toMulticast = 0, 2

	icmpv6            = 58
	ndHops            = 255 // RFC 4861, 7.1: from this link, for nobody forwards a packet without taking one off
	solicitation      = 135
	advertisement     = 136
	ndFirst, ndLast   = 133, 137 // Router Solicitation to Redirect (RFC 4861, 4)
	versionMask, six6 = 0xf0, 0x60
)

var (
	reject = bpf.RetConstant{}
	accept = bpf.RetConstant{Val: math.MaxUint32} // all octets of it

	allNodes = netip.MustParseAddr("ff02::1")
)

// checkPrefixes says whether programs can be made for these.
func checkPrefixes(to []netip.Prefix) error {
	if len(to) > maxPrefixes {
		return fmt.Errorf("%d prefixes, at most %d can be let in", len(to), maxPrefixes)
	}
	for _, p := range to {
		if !p.IsValid() || !p.Addr().Is6() || p.Addr().Is4In6() {
			return fmt.Errorf("%v is not an IPv6 prefix", p)
		}
	}
	return nil
}

// dataFilter lets in what is for to, but for Neighbor Discovery; the IPv6 header is at octets from the start. Where to is empty, it lets
// nothing in.
func dataFilter(to []netip.Prefix, at uint32) []bpf.Instruction {
	ins := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: toHost, SkipTrue: 1}, reject,
	}
	ins = append(ins, untaggedIPv6(at)...)
	ins = append(ins,
		bpf.LoadAbsolute{Off: at + atNext, Size: 1}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: icmpv6, SkipFalse: 6},
		bpf.LoadAbsolute{Off: at + atHops, Size: 1}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: ndHops, SkipFalse: 4},
		bpf.LoadAbsolute{Off: at + atType, Size: 1}, bpf.JumpIf{Cond: bpf.JumpLessThan, Val: ndFirst, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: ndLast, SkipTrue: 1}, reject,
	)
	for _, p := range to {
		ins = append(ins, toward(p, at)...)
	}
	return append(ins, reject)
}

// ndFilter lets in Neighbor Solicitations and Advertisements for the single addresses of to and for their solicited-node groups, and
// Advertisements for all nodes; the IPv6 header is at octets from the start. Where to has no single address, it lets nothing in.
func ndFilter(to []netip.Prefix, at uint32) []bpf.Instruction {
	ins := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: toHost, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: toMulticast, SkipTrue: 1}, reject,
	}
	ins = append(ins, untaggedIPv6(at)...)
	ins = append(ins,
		bpf.LoadAbsolute{Off: at + atNext, Size: 1}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: icmpv6, SkipTrue: 1}, reject,
		bpf.LoadAbsolute{Off: at + atHops, Size: 1}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: ndHops, SkipTrue: 1}, reject,
		bpf.LoadAbsolute{Off: at + atType, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: solicitation, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: advertisement, SkipTrue: 1}, reject,
	)
	single := false
	for _, p := range to {
		if group, err := ndp.SolicitedNodeMulticast(p.Addr()); err == nil && p.IsSingleIP() {
			single = true
			ins = append(ins, toward(p, at)...)
			ins = append(ins, toward(netip.PrefixFrom(group, group.BitLen()), at)...)
		}
	}
	if single {
		ins = append(ins,
			bpf.LoadAbsolute{Off: at + atType, Size: 1}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: advertisement, SkipTrue: 1}, reject)
		ins = append(ins, toward(netip.PrefixFrom(allNodes, allNodes.BitLen()), at)...)
	}
	return append(ins, reject)
}

// untaggedIPv6 rejects what belongs to a VLAN, which is another link, and what is no IPv6 packet.
func untaggedIPv6(at uint32) []bpf.Instruction {
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtVLANTagPresent}, bpf.JumpIf{Cond: bpf.JumpEqual, Val: 0, SkipTrue: 1}, reject,
		bpf.LoadAbsolute{Off: at, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: versionMask},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: six6, SkipTrue: 1}, reject,
	}
}

// toward accepts a packet whose destination lies in p, and lets the program go on for all others.
func toward(p netip.Prefix, at uint32) (ins []bpf.Instruction) {
	addr := p.Masked().Addr().As16()
	for bit := 0; bit < p.Bits(); bit += 32 {
		i := bit / 8
		word := uint32(addr[i])<<24 | uint32(addr[i+1])<<16 | uint32(addr[i+2])<<8 | uint32(addr[i+3])
		ins = append(ins, bpf.LoadAbsolute{Off: at + atDst + uint32(i), Size: 4})
		if rest := p.Bits() - bit; rest < 32 {
			ins = append(ins, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ^(math.MaxUint32 >> uint32(rest))})
		}
		ins = append(ins, bpf.JumpIf{Cond: bpf.JumpEqual, Val: word})
	}
	ins = append(ins, accept)
	for i, in := range ins {
		if jump, ok := in.(bpf.JumpIf); ok {
			jump.SkipFalse = uint8(len(ins) - 1 - i)
			ins[i] = jump
		}
	}
	return ins
}
