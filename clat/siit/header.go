package siit

import (
	"net/netip"

	"uclat/clat"
)

// Header is what the headers of a packet say, for whoever tells people of it.
type Header struct {
	Src, Dst       netip.Addr
	Proto          uint8  // transport protocol by the number of its family, or the extension header behind a Fragment Header
	Fragment       bool   // the packet is a part of a datagram
	FragmentHeader bool   // it has the Fragment Header of IPv6
	Transport      []byte // what follows the headers
}

// ReadHeader reads a packet of either version, of which nothing is certain; false where its headers are not all there.
func ReadHeader(p []byte) (Header, bool) {
	var four header4
	if four.read(p) {
		return Header{
			Src: netip.AddrFrom4(four.src), Dst: netip.AddrFrom4(four.dst), Proto: four.proto,
			Fragment: four.isFragment(), Transport: p[four.hlen:min(four.total, len(p))],
		}, true
	}
	var six header6
	_, reason := six.read(p)
	if reason == clat.DropHeader || reason == clat.DropExtension && !six.fragment {
		return Header{}, false
	}
	return Header{
		Src: netip.AddrFrom16(six.src), Dst: netip.AddrFrom16(six.dst), Proto: six.next,
		Fragment: six.isFragment(), FragmentHeader: six.fragment, Transport: p[six.hlen:min(len6+six.payload, len(p))],
	}, true
}
