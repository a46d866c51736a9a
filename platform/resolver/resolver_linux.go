package resolver

import (
	"context"
	"net/netip"
	"slices"
	"strconv"
)

// most is how many resolvers of a link are taken; more than three are rare.
const most = 8

// Of is the resolvers that the system has for a link, as they are now. The first that names any wins: systemd-resolved and NetworkManager,
// which know them by link, and then /etc/resolv.conf, less what is known to be another link's: what one of these services says so of,
// and that to which the host has a route by another interface, more specific than a default route or half of one.
//
// A service is not started for this, and one that is silent, or may not be asked, counts as absent; both together take at most a second. The
// error, which says what to do, is that nothing names a resolver of the link; it wraps fs.ErrNotExist and fs.ErrPermission where that is the cause.
func Of(ctx context.Context, index int, name string) (Servers, error) {
	l := link{index, name}
	own, others := managed(ctx, l)
	if err := ctx.Err(); err != nil {
		return Servers{}, err
	}
	if len(own.List) > 0 {
		return own, nil
	}
	return usual.of(l, others)
}

// link is an interface.
type link struct {
	index int
	name  string
}

// add appends a resolver of the link, once, while there is room.
func (l link) add(list []netip.AddrPort, a netip.Addr, port uint16) []netip.AddrPort {
	if a.Is6() && a.IsLinkLocalUnicast() {
		// A number, as names are remembered by package net for a minute, in which they can become another link's.
		a = a.WithZone(strconv.Itoa(l.index))
	}
	s := netip.AddrPortFrom(a, port)
	if len(list) >= most || slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// hasZone says whether an address can be one on the link, by its zone.
func (l link) hasZone(a netip.Addr) bool {
	return a.Zone() == "" || a.Zone() == l.name || a.Zone() == strconv.Itoa(l.index)
}
