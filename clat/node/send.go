package node

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net"
	"net/netip"

	"github.com/mdlayher/ndp"
)

const (
	nonceLen  = 6 // octets; the least of RFC 3971, 5.3.2, and what the Linux kernel takes
	nonceMask = 1<<(8*nonceLen) - 1
)

var (
	allNodes   = netip.IPv6LinkLocalAllNodes()
	allRouters = netip.IPv6LinkLocalAllRouters()
)

// solicitDuplicate asks whether somebody has our address (RFC 4862, 5.4.2), with a nonce that we know again (RFC 7527, 4.1).
func (n *Node) solicitDuplicate() {
	nonce := binary.BigEndian.AppendUint64(nil, n.nonce+n.sent)
	n.sent++
	dst, err := ndp.SolicitedNodeMulticast(n.addr)
	if err != nil {
		return // n.addr is no IPv6 address, which New excludes
	}
	n.sendFrom(netip.IPv6Unspecified(), dst, group(dst), &ndp.NeighborSolicitation{
		TargetAddress: n.addr,
		Options:       []ndp.Option{&ndp.RawOption{Type: optionNonce, Length: 1, Value: nonce[8-nonceLen:]}}, // ndp.Nonce takes none of ours
	})
}

// solicitRouter asks the next hop whether it is there.
func (n *Node) solicitRouter() {
	n.sendFrom(n.addr, n.router, n.routerHW, &ndp.NeighborSolicitation{
		TargetAddress: n.router,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: n.hw}},
	})
}

// advertise tells dst our link-layer address, always: also who has one for us may have forgotten it (RFC 4861, 7.2.4).
func (n *Node) advertise(dst netip.Addr, to net.HardwareAddr, solicited, override bool) {
	n.sendFrom(n.addr, dst, to, &ndp.NeighborAdvertisement{
		Solicited:     solicited,
		Override:      override,
		TargetAddress: n.addr,
		Options:       []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: n.hw}},
	})
}

func (n *Node) sendFrom(src, dst netip.Addr, to net.HardwareAddr, m ndp.Message) {
	body, err := ndp.MarshalMessageChecksum(m, src, dst)
	if err != nil {
		return // an address that is none, which New, SetHardware and SetRouter exclude
	}
	p := make([]byte, headerLen, headerLen+len(body))
	p[0], p[6], p[7] = 6<<4, icmpv6, hopLimit
	binary.BigEndian.PutUint16(p[4:], uint16(len(body)))
	copy(p[8:], src.AsSlice())
	copy(p[24:], dst.AsSlice())
	n.send(append(p, body...), to)
}

// ownNonce says whether a nonce is of one of our solicitations.
func (n *Node) ownNonce(nonce *ndp.Nonce) bool {
	if nonce == nil {
		return false
	}
	b, err := hex.DecodeString(nonce.String())
	if err != nil || len(b) != nonceLen {
		return false
	}
	number := binary.BigEndian.Uint64(append([]byte{0, 0}, b...))
	return (number-n.nonce)&nonceMask < n.sent
}

// group is the Ethernet address of an IPv6 multicast address (RFC 2464, 7).
func group(a netip.Addr) net.HardwareAddr {
	b := a.As16()
	return net.HardwareAddr{0x33, 0x33, b[12], b[13], b[14], b[15]}
}

// isUnicast says whether a is an IPv6 address that one node can have.
func isUnicast(a netip.Addr) bool {
	return a.Is6() && !a.Is4In6() && !a.IsMulticast() && !a.IsUnspecified() && !a.IsLoopback()
}

// unicast is a copy of hw, nil if it is no Ethernet address that one station can have.
func unicast(hw net.HardwareAddr) net.HardwareAddr {
	if len(hw) != 6 || hw[0]&1 != 0 || bytes.Equal(hw, make([]byte, 6)) {
		return nil
	}
	return bytes.Clone(hw)
}
