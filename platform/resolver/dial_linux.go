package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Dial returns a function like net.Dialer.DialContext, for "udp" and "tcp" and for addresses in figures, whose connections are bound to the link with
// that index: their packets leave by it or not at all, whatever routes and VPNs there are. Those to the host itself (loopback) are not bound.
//
// The function's error wraps unix.ENETUNREACH where the address is one of IPv4 and the link has none.
func Dial(index int) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return nil, fmt.Errorf("connect to a resolver: %w", err)
		}
		var d net.Dialer
		if a := to.Addr().Unmap(); !a.IsLoopback() {
			if a.Is4() {
				if err := speaksIPv4(index); err != nil {
					return nil, fmt.Errorf("connect to resolver %s: %w", to, err)
				}
			}
			d.Control = func(_, _ string, c syscall.RawConn) error { return bind(c, index) }
		}
		return d.DialContext(ctx, network, address)
	}
}

// bind has all packets of a socket leave and come by the link.
func bind(c syscall.RawConn, index int) error {
	var err error
	if controlErr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, index)
		if errors.Is(err, unix.ENOPROTOOPT) {
			err = bindByName(int(fd), index) // Linux before 5.0
		}
	}); controlErr != nil {
		return controlErr
	}
	if err != nil {
		return fmt.Errorf("bind the socket to link %d: %w", index, err)
	}
	return nil
}

func bindByName(fd, index int) error {
	l, err := net.InterfaceByIndex(index)
	if err != nil {
		return err
	}
	return unix.BindToDevice(fd, l.Name)
}

// speaksIPv4 fails for a link without IPv4. The kernel would not: for a socket that is bound to it, every address is on the link where no route says
// better, and another link's address will do as source.
func speaksIPv4(index int) error {
	l, err := net.InterfaceByIndex(index)
	if err != nil {
		return fmt.Errorf("link %d: %w", index, err)
	}
	addrs, err := l.Addrs()
	if err != nil {
		return fmt.Errorf("addresses of %s: %w", l.Name, err)
	}
	for _, a := range addrs {
		// An address that a host takes for want of another one (RFC 3927) leads nowhere but to others of this kind.
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return nil
		}
	}
	return fmt.Errorf("%s has no IPv4 of its own: %w", l.Name, unix.ENETUNREACH)
}
