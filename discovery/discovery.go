// Package discovery keeps what is known of PREF64s, the NAT64 prefixes of the networks that the host is attached to. It reads no
// network itself: discovery/ra and discovery/dns report to it.
package discovery

import (
	"fmt"
	"net/netip"
	"time"

	"uclat/clat/pref64"
)

// Source is how a PREF64 became known. A lower value outranks a higher one (RFC 9872, 3).
type Source uint8

const (
	Configured Source = iota
	RA                // RFC 8781
	DNS               // RFC 7050
)

// String is the source's name in logs, in output and in the configuration.
func (s Source) String() string {
	return [...]string{Configured: "configured", RA: "ra", DNS: "dns"}[s]
}

// Offer is a PREF64, and for how long whoever named it stands by that.
type Offer struct {
	Prefix   pref64.Prefix
	Lifetime time.Duration // 0 or less: it is withdrawn
}

// Observation is one thing that was seen: what one origin says of PREF64s. What a resolver says, or the configuration, is all that it offers
// now, in this order, and replaces what it said before; without Prefixes it offers nothing any more. What a router says is of the prefixes
// that it names: another one that it does not repeat stays as it is (RFC 8781, 5). What is Configured has no lifetime: it holds until the
// next such Observation, and Lifetime is not looked at.
type Observation struct {
	Source   Source
	Link     int        // index of the interface whose network has the NAT64; 0: any, with Configured
	Router   netip.Addr // with RA, who said so: link-local, without a zone
	Hardware string     // with RA, the router's link-layer address as it says itself; may be empty
	Resolver string     // with DNS, who said so: an address, with a port where that is not the usual one
	Prefixes []Offer
}

// Known is one PREF64 that holds now, as one origin said it. A prefix that several name is there several times.
type Known struct {
	Source   Source
	Link     int        // index of the interface whose network has the NAT64; 0: any
	Router   netip.Addr // with RA: link-local, without a zone
	Hardware string     // with RA, the router's link-layer address as it says itself; may be empty
	Resolver string     // with DNS
	Prefix   pref64.Prefix
	Until    time.Time // zero: for ever
}

// Origin says who named the prefix and how, as people read it.
func (k Known) Origin() string {
	switch k.Source {
	case RA:
		return fmt.Sprintf("from router %v by RA", k.Router)
	case DNS:
		return fmt.Sprintf("from resolver %s by RFC 7050", k.Resolver)
	}
	return "configured"
}
