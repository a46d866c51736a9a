package nexthop

import (
	"context"

	nl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform/internal/rtnl"
)

// groups are what a Hop is made of: a router that ends, or a better one, need not change any neighbour.
var groups = [...]uint32{unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE}

// Watch calls knock when something about the link's IPv6 neighbours or the host's IPv6 routes and rules changed, and once as soon as it listens: a
// Hop looked up from then on misses nothing. knock must not block; many changes at once are as many knocks, which the caller puts together.
//
// It returns nil when ctx ends, and an error where the kernel no longer tells.
func Watch(ctx context.Context, link int, knock func()) error {
	return rtnl.Watch(ctx, "watch the next hop", groups[:], func(m nl.Message) bool { return matters(m, link) }, knock)
}

// matters says whether a Hop by the link may be another one after this change. Routes of all links count: one with several next hops has its links
// further in.
func matters(m nl.Message, link int) bool {
	switch m.Header.Type {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE, unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return true // of IPv6, as the groups are
	}
	n, ok := parse(m)
	return ok && n.link == link
}
