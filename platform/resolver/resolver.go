// Package resolver reaches the DNS resolvers that the system has for a link. A link's resolvers are asked by the link itself, whatever
// else the system would ask, or route elsewhere (RFC 8880, 7.1).
package resolver

import "net/netip"

// Servers are the resolvers of a link, at most 8, in the order in which they are to be asked. Link-local ones have the link's index as zone.
type Servers struct {
	List []netip.AddrPort
	From string // who named them, for people: "systemd-resolved", "NetworkManager", or a file
}

// port is what a resolver has unless another one is named.
const port = 53
