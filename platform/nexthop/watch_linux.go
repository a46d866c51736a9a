package nexthop

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	nl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// groups are what a Hop is made of: a router that ends, or a better one, need not change any neighbour.
var groups = [...]uint32{unix.RTNLGRP_NEIGH, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE}

// Watch calls knock when something about the link's IPv6 neighbours or the host's IPv6 routes and rules changed, and once as soon as it listens: a
// Hop looked up from then on misses nothing. knock must not block; many changes at once are as many knocks, which the caller puts together.
//
// It returns nil when ctx ends, and an error where the kernel no longer tells.
func Watch(ctx context.Context, link int, knock func()) error {
	conn, err := nl.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return fmt.Errorf("watch the next hop: open a netlink socket: %w", err)
	}
	defer conn.Close()
	for _, g := range groups {
		if err := conn.JoinGroup(g); err != nil {
			return fmt.Errorf("watch the next hop: join netlink group %d: %w", g, err)
		}
	}
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) }) // a deadline in the past ends Receive
	defer stop()
	knock()
	for {
		messages, err := conn.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS): // messages were lost: something changed
		case err != nil:
			return fmt.Errorf("watch the next hop: receive from netlink: %w", err)
		case !slices.ContainsFunc(messages, func(m nl.Message) bool { return matters(m, link) }):
			continue
		}
		knock()
	}
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
