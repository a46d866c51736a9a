//go:build unix

package ra

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
)

// socket is a raw ICMPv6 socket that is bound to a link by a link-local address.
type socket struct {
	conn  *ndp.Conn
	index int
	own   netip.Addr
	rs    *ndp.RouterSolicitation
}

func system() (func(Link) (Socket, error), error) { return listen, nil }

// listen opens a socket on the first link-local address of the link that can be bound to: while duplicate address detection goes on,
// none can.
func listen(link Link) (Socket, error) {
	ifi, err := net.InterfaceByIndex(link.Index)
	if err != nil {
		return nil, fmt.Errorf("find the interface %s: %w", link.Name, err)
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return nil, fmt.Errorf("list the addresses of %s: %w", link.Name, err)
	}
	err = fmt.Errorf("%s has no link-local address", link.Name)
	for _, a := range addrs {
		p, notPrefix := netip.ParsePrefix(a.String())
		if notPrefix != nil || !p.Addr().Is6() || !p.Addr().IsLinkLocalUnicast() {
			continue
		}
		var s *socket
		if s, err = listenOn(ifi, p.Addr()); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func listenOn(ifi *net.Interface, addr netip.Addr) (*socket, error) {
	// By its index, because package net remembers the indices of names for a minute, though another interface has the name by then.
	byIndex := *ifi
	byIndex.Name = strconv.Itoa(ifi.Index)
	conn, own, err := ndp.Listen(&byIndex, ndp.Addr(addr.String()))
	if err != nil {
		return nil, fmt.Errorf("open a raw ICMPv6 socket on %s: %w", ifi.Name, err)
	}
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeRouterAdvertisement)
	err = errors.Join(
		conn.SetICMPFilter(&only),
		conn.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagInterface, true),
		conn.JoinGroup(netip.IPv6LinkLocalAllNodes()), // without which only Linux would hear them
	)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("prepare a raw ICMPv6 socket on %s: %w", ifi.Name, err)
	}
	s := &socket{conn: conn, index: ifi.Index, own: own, rs: new(ndp.RouterSolicitation)}
	if len(ifi.HardwareAddr) == 6 {
		s.rs.Options = []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: ifi.HardwareAddr}}
	}
	return s, nil
}

// Receive leaves out what came before the socket was prepared, and what this host sent itself.
func (s *socket) Receive(b []byte) (n, hopLimit int, from netip.Addr, err error) {
	for {
		n, cm, from, err := s.conn.ReadRaw(b)
		if err != nil {
			return 0, 0, netip.Addr{}, err
		}
		if cm != nil && cm.IfIndex == s.index && from != s.own {
			return n, cm.HopLimit, from, nil
		}
	}
}

func (s *socket) Solicit() error { return s.conn.WriteTo(s.rs, nil, netip.IPv6LinkLocalAllRouters()) }

func (s *socket) Close() error { return s.conn.Close() }
