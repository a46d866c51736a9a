//go:build unix

package ra

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
)

// ownAge is for how long the host's addresses are remembered: a flood of messages must not have them read for each.
const ownAge = 100 * time.Millisecond

var allRouters = &net.IPAddr{IP: net.IPv6linklocalallrouters}

// socket is a raw ICMPv6 socket that is bound to nothing.
type socket struct {
	raw  *net.IPConn
	conn *ipv6.PacketConn
	oob  [256]byte

	own     []address // as they were at ownRead
	ownRead time.Time
}

// address is a link-local address of this host.
type address struct {
	link int
	addr netip.Addr
	// tentative ones are not verified yet, or optimistic, and nothing should be sent from them that has others remember them (RFC 4429, 3.2).
	tentative bool
}

func system() (func() (Socket, error), error) { return listen, nil }

func listen() (Socket, error) {
	raw, err := net.ListenIP("ip6:ipv6-icmp", &net.IPAddr{IP: net.IPv6unspecified})
	if err != nil {
		return nil, fmt.Errorf("open a raw ICMPv6 socket: %w", err)
	}
	s := &socket{raw: raw, conn: ipv6.NewPacketConn(raw)}
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeRouterAdvertisement)
	err = errors.Join(
		s.conn.SetICMPFilter(&only),
		s.conn.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true),
		tellFragments(raw),
	)
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("prepare a raw ICMPv6 socket: %w", err)
	}
	return s, nil
}

// Receive leaves out what came before the socket was prepared, what came in fragments (RFC 6980), and what this host sent itself, of which
// a raw socket gets a copy.
func (s *socket) Receive(b []byte) (n, hopLimit, link int, from netip.Addr, err error) {
	for {
		n, oob, _, source, err := s.raw.ReadMsgIP(b, s.oob[:])
		if err != nil {
			return 0, 0, 0, netip.Addr{}, err
		}
		var cm ipv6.ControlMessage
		if cm.Parse(s.oob[:oob]) != nil || cm.IfIndex == 0 || wasFragmented(s.oob[:oob]) {
			continue
		}
		from, ok := netip.AddrFromSlice(source.IP)
		if ok && !s.isOwn(cm.IfIndex, from) {
			return n, cm.HopLimit, cm.IfIndex, from, nil
		}
	}
}

// Solicit sends from an address that is verified, else from none, as RFC 4861, 4.1 has it of a host that has no address yet: routers hear
// of it a second or more before its address is ready, and answer to all nodes. Where there is no link-local address at all, IPv6 is off on
// the link, or whoever configures it has not begun.
func (s *socket) Solicit(link Link) error {
	if err := s.join(link); err != nil {
		return fmt.Errorf("join the group of all nodes on %s: %w", link.Name, err)
	}
	own, err := ownAddresses()
	if err != nil {
		return err
	}
	own = slices.DeleteFunc(own, func(a address) bool { return a.link != link.Index })
	if len(own) == 0 {
		return fmt.Errorf("%s has no link-local address", link.Name)
	}
	verified := slices.DeleteFunc(slices.Clone(own), func(a address) bool { return a.tentative })
	if len(verified) == 0 {
		return solicitFromNone(link)
	}
	for _, a := range verified {
		if err = s.solicitFrom(link, a.addr); err == nil {
			break
		}
	}
	return err
}

func (s *socket) solicitFrom(link Link, addr netip.Addr) error {
	ifi, err := net.InterfaceByIndex(link.Index)
	if err != nil {
		return fmt.Errorf("find the interface %s: %w", link.Name, err)
	}
	message := new(ndp.RouterSolicitation)
	if len(ifi.HardwareAddr) == 6 { // octets: Ethernet
		message.Options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: ifi.HardwareAddr}}
	}
	rs, err := ndp.MarshalMessage(message) // the kernel fills in the checksum
	if err != nil {
		return fmt.Errorf("make a Router Solicitation for %s: %w", link.Name, err)
	}
	cm := &ipv6.ControlMessage{IfIndex: link.Index, HopLimit: hopLimitOnLink, Src: addr.AsSlice()}
	if _, err := s.conn.WriteTo(rs, cm, allRouters); err != nil {
		return fmt.Errorf("send a Router Solicitation on %s from %v: %w", link.Name, addr, err)
	}
	return nil
}

func (s *socket) Close() error { return s.conn.Close() }

// isOwn is false where the host's addresses cannot be told.
func (s *socket) isOwn(link int, addr netip.Addr) bool {
	if time.Since(s.ownRead) > ownAge {
		s.own, _ = ownAddresses()
		s.ownRead = time.Now()
	}
	for _, a := range s.own {
		if a.link == link && a.addr == addr && !a.tentative { // one that is tentative may be another's
			return true
		}
	}
	return false
}
