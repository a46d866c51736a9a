package node

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"

	"github.com/mdlayher/ndp"

	"uclat/clat/checksum"
)

const (
	headerLen = 40  // of IPv6
	fixedLen  = 24  // of a solicitation or advertisement without options, ICMPv6 header included (RFC 4861, 4.3 and 4.4)
	icmpv6    = 58  // next header
	hopLimit  = 255 // shows that no router was on the way (RFC 4861, 7.1)

	optionNonce = 14 // RFC 3971, 5.3.2
)

var solicitedNode = netip.MustParsePrefix("ff02::1:ff00:0/104") // all groups of RFC 4291, 2.7.1

// message is what we want to know of a Neighbor Solicitation or Advertisement.
type message struct {
	advertisement    bool
	src, dst, target netip.Addr
	solicited        bool             // S, of an advertisement
	hardware         net.HardwareAddr // source (of an advertisement: target) link-layer address; nil: not told
	nonce            *ndp.Nonce       // of a solicitation; nil: none
}

// parse is the checks of RFC 4861, 7.1.1 and 7.1.2. A packet with an extension header in front does not pass: nobody sends it, and a
// Fragment Header is forbidden (RFC 6980, 5). An option that cannot be read is skipped; one that is longer than the packet ends them.
func parse(p []byte) (m message, ok bool) {
	if len(p) < headerLen+fixedLen || p[0]>>4 != 6 || p[6] != icmpv6 || p[7] != hopLimit {
		return m, false
	}
	n := int(binary.BigEndian.Uint16(p[4:]))
	if n < fixedLen || n > len(p)-headerLen {
		return m, false
	}
	src, dst, body := (*[16]byte)(p[8:]), (*[16]byte)(p[24:]), p[headerLen:headerLen+n]
	if body[1] != 0 || checksum.Add(checksum.Pseudo6(src, dst, uint32(n), icmpv6), checksum.Sum(body)) != 0xffff {
		return m, false
	}
	m.src, m.dst = netip.AddrFrom16(*src), netip.AddrFrom16(*dst)
	fixed, err := ndp.ParseMessage(body[:fixedLen])
	if err != nil {
		return m, false
	}
	switch f := fixed.(type) {
	case *ndp.NeighborSolicitation:
		m.target = f.TargetAddress
	case *ndp.NeighborAdvertisement:
		m.advertisement, m.target, m.solicited = true, f.TargetAddress, f.Solicited
	default:
		return m, false
	}
	hardware, ok := m.options(body)
	switch {
	case !ok || m.target.IsMulticast() || m.src.IsMulticast():
		return m, false
	case m.advertisement && m.solicited && m.dst.IsMulticast():
		return m, false
	case !m.advertisement && m.src.IsUnspecified() && (hardware || !solicitedNode.Contains(m.dst)):
		return m, false
	}
	return m, true
}

// options reads those of body that matter, the first of each kind; hardware says that there is a link-layer address, even one that cannot
// be read. A length of 0 spoils the whole packet.
func (m *message) options(body []byte) (hardware, ok bool) {
	kind := uint8(ndp.Source)
	if m.advertisement {
		kind = uint8(ndp.Target)
	}
	for rest := body[fixedLen:]; len(rest) >= 2; {
		n := int(rest[1]) * 8
		if n == 0 {
			return hardware, false
		}
		if n > len(rest) {
			break
		}
		if rest[0] == kind || rest[0] == optionNonce {
			hardware = hardware || rest[0] == kind
			m.option(body[:fixedLen], rest[:n])
		}
		rest = rest[n:]
	}
	return hardware, true
}

// option has ndp read one option behind the fixed part of its message, so that it spoils no other.
func (m *message) option(fixed, option []byte) {
	parsed, err := ndp.ParseMessage(slices.Concat(fixed, option))
	if err != nil {
		return
	}
	var options []ndp.Option
	switch p := parsed.(type) {
	case *ndp.NeighborSolicitation:
		options = p.Options
	case *ndp.NeighborAdvertisement:
		options = p.Options
	}
	for _, o := range options {
		switch o := o.(type) {
		case *ndp.LinkLayerAddress:
			if m.hardware == nil {
				m.hardware = unicast(o.Addr)
			}
		case *ndp.Nonce:
			if m.nonce == nil {
				m.nonce = o
			}
		}
	}
}
