package discovery

import (
	"net/netip"
	"time"
)

// Advertisement is what one Router Advertisement says that passed the checks of RFC 4861, 6.1.2.
type Advertisement struct {
	Link     int           // index of the interface that it came by
	Router   netip.Addr    // link-local, without a zone. Invalid: routers were solicited on this link, and none answers
	Hardware string        // the router's link-layer address, as it says itself (RFC 4861, 4.6.1), as in net.HardwareAddr.String; may be empty
	Lifetime time.Duration // as a default router; 0: it is none
	MTU      int           // octets, for IPv6 packets on the link (RFC 4861, 4.6.4); 0: it says nothing
	Prefixes []PrefixInfo
	PREF64   []Offer    // RFC 8781, as it stands there: whether a prefix is good for anything is not looked at
	Servers  []Resolver // recursive DNS servers (RFC 8106, 5.1), in their order
}

// Shortest is how long all of it holds that holds at all: the least of the lifetimes but for those of 0. It is 0 where nothing does.
func (ad Advertisement) Shortest() (least time.Duration) {
	count := func(d time.Duration) {
		if d > 0 && (least == 0 || d < least) {
			least = d
		}
	}
	count(ad.Lifetime)
	for _, p := range ad.Prefixes {
		count(p.Valid)
		count(p.Preferred)
	}
	for _, o := range ad.PREF64 {
		count(o.Lifetime)
	}
	for _, s := range ad.Servers {
		count(s.Lifetime)
	}
	return least
}

// Resolver is a recursive DNS server that a router names.
type Resolver struct {
	Addr     netip.Addr // link-local ones without a zone: they are on the link of the router
	Lifetime time.Duration
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

// Router is what holds now of a router, beside its prefixes, or that it was heard not long ago.
type Router struct {
	Link     int
	Addr     netip.Addr
	Hardware string       // its link-layer address, as it says itself; may be empty
	Default  bool         // it is a default router, by what it says
	Until    time.Time    // end of its lifetime as such, which may be over; zero: it has none
	MTU      int          // octets, of the last advertisement that said it; 0: none did
	Servers  []netip.Addr // recursive DNS servers, in the order of the last advertisement that named them
	Heard    int          // advertisements of it
}

// Observation is what the advertisement says of PREF64s, if anything.
func (ad Advertisement) Observation() (o Observation, ok bool) {
	return Observation{Source: RA, Link: ad.Link, Router: ad.Router, Hardware: ad.Hardware, Prefixes: ad.PREF64},
		ad.Router.IsValid() && len(ad.PREF64) > 0
}
