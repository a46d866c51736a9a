package monitor

import (
	"context"
	"errors"
	"fmt"
	"time"

	nl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
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
	conn, err := nl.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return fmt.Errorf("watch the network: open a netlink socket: %w", err)
	}
	defer conn.Close()
	for _, g := range groups {
		if err := conn.JoinGroup(g); err != nil {
			return fmt.Errorf("watch the network: join netlink group %d: %w", g, err)
		}
	}
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) }) // a deadline in the past ends Receive
	defer stop()
	knock()
	for {
		_, err := conn.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS): // messages were lost: something changed
		case err != nil:
			return fmt.Errorf("watch the network: receive from netlink: %w", err)
		}
		knock()
	}
}
