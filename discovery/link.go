package discovery

import (
	"net/netip"
	"time"
)

// Advertisement is what one Router Advertisement says that passed the checks of RFC 4861, 6.1.2.
type Advertisement struct {
	Link     int           // index of the interface that it came by
	Router   netip.Addr    // link-local, without a zone. Invalid: routers were solicited on this link, and none answers
	Lifetime time.Duration // as a default router; 0: it is none
	Prefixes []PrefixInfo
}

// PrefixInfo is a Prefix Information option (RFC 4861, 4.6.2).
type PrefixInfo struct {
	Prefix           netip.Prefix // masked
	OnLink           bool         // L
	Autonomous       bool         // A
	Valid, Preferred time.Duration
}

// Announced is a prefix that holds on a link now, as a router announced it.
type Announced struct {
	Link       int
	Router     netip.Addr
	Prefix     netip.Prefix
	OnLink     bool
	Autonomous bool
	Until      time.Time // end of the valid lifetime; zero: never
	Preferred  time.Time // end of the preferred lifetime; zero: never
}
