//go:build unix && !linux

package ra

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"uclat/platform"
)

var allNodes = &net.IPAddr{IP: net.IPv6linklocalallnodes}

// join joins the group of all nodes, without which nothing is heard.
func (s *socket) join(link Link) error {
	err := s.conn.JoinGroup(&net.Interface{Index: link.Index, Name: link.Name}, allNodes)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil // joined before
	}
	return err
}

// ownAddresses are the host's link-local ones. Whether they are tentative is not told.
func ownAddresses() (own []address, err error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list the interfaces: %w", err)
	}
	for _, l := range links {
		addrs, err := l.Addrs()
		if err != nil {
			return nil, fmt.Errorf("list the addresses of %s: %w", l.Name, err)
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() {
				own = append(own, address{link: l.Index, addr: p.Addr().WithZone("")})
			}
		}
	}
	return own, nil
}

func solicitFromNone(Link) error {
	return platform.Unsupported("sending a Router Solicitation without an address")
}

func tellFragments(*net.IPConn) error { return nil }

func wasFragmented([]byte) bool { return false }
