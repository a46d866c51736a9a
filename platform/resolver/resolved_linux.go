package resolver

import (
	"context"
	"net/netip"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"
)

const (
	resolve1        = "org.freedesktop.resolve1"
	resolve1Manager = resolve1 + ".Manager"
	resolve1Link    = resolve1 + ".Link"
)

// What org.freedesktop.resolve1(5) says of a resolver: of a link, the same before systemd 246, and of any link (0: the system as a whole).
type (
	linkServer struct {
		Family  int32
		Address []byte
		Port    uint16 // 0: the usual one
		Name    string // for TLS
	}
	linkServerOld struct {
		Family  int32
		Address []byte
	}
	anyServer struct {
		Link    int32
		Family  int32
		Address []byte
	}
)

// resolved asks systemd-resolved.
func resolved(ctx context.Context, conn *dbus.Conn, l link) known {
	manager := conn.Object(resolve1, "/org/freedesktop/resolve1")
	if path, ok := call[dbus.ObjectPath](ctx, manager, resolve1Manager+".GetLink", int32(l.index)); ok {
		if own := l.resolved(ctx, conn.Object(resolve1, path)); len(own) > 0 {
			return known{own: own}
		}
	}
	all, _ := property[[]anyServer](ctx, manager, resolve1Manager, "DNS")
	return known{others: l.unresolved(all)}
}

// resolved are the link's own resolvers.
func (l link) resolved(ctx context.Context, o dbus.BusObject) []netip.AddrPort {
	if list, ok := property[[]linkServer](ctx, o, resolve1Link, "DNSEx"); ok {
		return l.servers(list)
	}
	var list []linkServer
	old, _ := property[[]linkServerOld](ctx, o, resolve1Link, "DNS")
	for _, s := range old {
		list = append(list, linkServer{Family: s.Family, Address: s.Address})
	}
	return l.servers(list)
}

func (l link) servers(list []linkServer) (own []netip.AddrPort) {
	for _, s := range list {
		a, ok := ofFamily(s.Family, s.Address)
		if !ok {
			continue
		}
		if s.Port == 0 {
			s.Port = port
		}
		own = l.add(own, a, s.Port)
	}
	return own
}

// unresolved are the addresses of resolvers that are other links' alone.
func (l link) unresolved(all []anyServer) []netip.Addr {
	var others, common []netip.Addr
	for _, s := range all {
		a, ok := ofFamily(s.Family, s.Address)
		switch {
		case !ok:
		case s.Link == 0, s.Link == int32(l.index):
			common = append(common, a)
		default:
			others = append(others, a)
		}
	}
	return foreign(others, common)
}

func ofFamily(family int32, octets []byte) (netip.Addr, bool) {
	if family == unix.AF_INET && len(octets) == 4 || family == unix.AF_INET6 && len(octets) == 16 {
		return unicast(octets)
	}
	return netip.Addr{}, false
}
