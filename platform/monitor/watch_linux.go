package monitor

import (
	"context"

	"golang.org/x/sys/unix"

	"uclat/platform/internal/rtnl"
)

// groups are what the kernel tells of links, addresses, routes and rules. IFINFO is about the IPv6 side of a link, NETCONF about forwarding.
var groups = [...]uint32{
	unix.RTNLGRP_LINK,
	unix.RTNLGRP_IPV4_IFADDR,
	unix.RTNLGRP_IPV6_IFADDR,
	unix.RTNLGRP_IPV4_ROUTE,
	unix.RTNLGRP_IPV6_ROUTE,
	unix.RTNLGRP_IPV4_RULE,
	unix.RTNLGRP_IPV6_RULE,
	unix.RTNLGRP_IPV6_IFINFO,
	unix.RTNLGRP_IPV4_NETCONF,
	unix.RTNLGRP_IPV6_NETCONF,
}

// Watch calls knock when a link, an address, a route, a rule or forwarding changed, and once as soon as it listens: a snapshot taken from then on
// misses nothing. knock must not block; many changes at once are as many knocks, which the caller puts together.
//
// It returns nil when ctx ends, and an error where the kernel no longer tells.
func (m *Monitor) Watch(ctx context.Context, knock func()) error {
	return rtnl.Watch(ctx, "watch the network", groups[:], nil, knock)
}
