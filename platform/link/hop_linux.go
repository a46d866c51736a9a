package link

import (
	"cmp"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"uclat/clat"
	"uclat/clat/frame"
)

// hops are the link-layer headers of what Write sends, by the source of the packet: the first that matches counts. They never change.
type hops []hop

// hop is one of them.
type hop struct {
	high, low         uint64 // of the source, masked
	maskHigh, maskLow uint64
	header            [etherLen]byte
	known             bool // there is such a header
}

// Via sets the link-layer headers of what Write sends, all at once: from the link's own address to the next hop, six octets each. The next hop is
// that of the longest prefix, of the few in to, that the packet's IPv6 source lies in; the zero prefix is for all other sources. Where there is
// none, or its address is not known (not six octets), Write fails with clat.ErrNextHop, as it does before the first call. On a link
// that has no neighbours nothing changes.
func (c *Conn) Via(to map[netip.Prefix]net.HardwareAddr, from net.HardwareAddr) {
	if c.fixed {
		return
	}
	if len(from) != etherAddrLen {
		to = nil
	}
	list := makeHops(to, from)
	c.hops.Store(&list)
}

func makeHops(to map[netip.Prefix]net.HardwareAddr, from net.HardwareAddr) hops {
	list := make(hops, 0, len(to))
	prefixes := make([]netip.Prefix, 0, len(to))
	for p := range to {
		prefixes = append(prefixes, p)
	}
	slices.SortFunc(prefixes, func(a, b netip.Prefix) int { return cmp.Compare(b.Bits(), a.Bits()) })
	for _, p := range prefixes {
		if p.IsValid() && !p.Addr().Is6() {
			continue
		}
		h := hop{known: len(to[p]) == etherAddrLen}
		if h.known {
			h.header = etherHeader(to[p], from)
		}
		if p.IsValid() {
			h.high, h.low = halves(p.Masked().Addr().AsSlice())
			h.maskHigh, h.maskLow = halves(net.CIDRMask(p.Bits(), 128))
		}
		list = append(list, h)
	}
	return list.short()
}

// short is the list without what the last one says too, where that is for all sources and no other way is there: packets are written by it.
func (list hops) short() hops {
	if len(list) == 0 {
		return list
	}
	last := list[len(list)-1]
	if last.maskHigh != 0 {
		return list
	}
	for _, h := range list {
		if h.known != last.known || h.header != last.header {
			return list
		}
	}
	return list[len(list)-1:]
}

// hop is the header for an IPv6 packet; empty on a link that has none.
func (c *Conn) hop(f *frame.Frame) ([]byte, error) {
	if c.shape.link == 0 {
		return nil, nil
	}
	b := f.Bytes()
	if len(b) < lenSource {
		return nil, c.refuse(errVersion)
	}
	list := c.hops.Load()
	if list == nil {
		return nil, clat.ErrNextHop
	}
	high, low := halves(b[offSource:lenSource])
	for i := range *list {
		h := &(*list)[i]
		if (high^h.high)&h.maskHigh|(low^h.low)&h.maskLow == 0 {
			if !h.known {
				return nil, clat.ErrNextHop
			}
			return h.header[:], nil
		}
	}
	return nil, clat.ErrNextHop
}

// Where an IPv6 packet has its source, in octets.
const (
	offSource = 8
	lenSource = 24 // up to its end
)

func halves(a []byte) (high, low uint64) {
	return binary.BigEndian.Uint64(a), binary.BigEndian.Uint64(a[8:])
}
