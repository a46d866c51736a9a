package monitor

import (
	"context"
	"sync"

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

// Watch calls knock when a link, an address, a route, a rule or forwarding changed, when the machine resumes from suspend or somebody sets its
// clock, and once as soon as it listens: a snapshot taken from then on misses nothing. knock must not block, and two goroutines call it; many
// changes at once are as many knocks, which the caller puts together.
//
// The kernel does not tell of an IPv6 MTU that somebody writes (net.ipv6.conf.IF.mtu), as programs do that hear Router Advertisements in its place.
//
// It returns nil when ctx ends, and an error where the kernel no longer tells of the network.
func (m *Monitor) Watch(ctx context.Context, knock func()) error {
	ctx, cancel := context.WithCancel(ctx)
	var clock sync.WaitGroup
	defer clock.Wait()
	defer cancel()
	clock.Go(func() {
		if err := watchClock(ctx, openClock, knock); err != nil {
			m.log.Debug("resuming from suspend goes unnoticed until the network changes", "error", err)
		}
	})
	return rtnl.Watch(ctx, "watch the network", groups[:], nil, knock)
}
