// Package nexthop sees who is next on a link toward a destination, as the kernel's routes say, and at which link-layer address, as its
// neighbour table says.
//
// Routes are looked up as for a socket that is bound to the link: what leads elsewhere does not count, however good it is, and neither do reject
// routes. So the answer is the one under a VPN that took over the default route.
package nexthop

import (
	"errors"
	"net"
	"net/netip"
)

// ErrNoRoute is the error where no route by the link leads to the destination.
var ErrNoRoute = errors.New("no route by this link")

// State is what the kernel knows of a neighbour (RFC 4861, 7.3.2).
type State uint8

const (
	Unresolved State = iota // nobody asked for it yet, or the answer is awaited
	Reachable               // confirmed not long ago, or just being checked, or set by somebody
	Stale                   // was there; the kernel checks when something is sent, which Use stands for
	Failed                  // did not answer
)

func (s State) String() string {
	switch s {
	case Reachable:
		return "reachable"
	case Stale:
		return "stale"
	case Failed:
		return "failed"
	default:
		return "unresolved"
	}
}

// Hop is who is next on a link. On a link without neighbours it is the zero value: there, a packet needs no address but its own.
type Hop struct {
	Gateway  netip.Addr       // link-local usually, without zone; invalid: the link has no neighbours, or the destination is on the link itself
	OnLink   bool             // the route has no gateway though the link has neighbours
	Hardware net.HardwareAddr // of the gateway; nil: not resolved
	State    State            // of the gateway
}
