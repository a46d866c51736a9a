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

// Watch calls knock when something about IPv6 neighbours of the link changed, and once as soon as it listens: a Hop looked up from then on misses
// nothing. knock must not block; many changes at once are as many knocks, which the caller puts together.
//
// It returns nil when ctx ends, and an error where the kernel no longer tells.
func Watch(ctx context.Context, link int, knock func()) error {
	conn, err := nl.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return fmt.Errorf("watch neighbours: open a netlink socket: %w", err)
	}
	defer conn.Close()
	if err := conn.JoinGroup(unix.RTNLGRP_NEIGH); err != nil {
		return fmt.Errorf("watch neighbours: join the netlink group: %w", err)
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
			return fmt.Errorf("watch neighbours: receive from netlink: %w", err)
		case !slices.ContainsFunc(messages, func(m nl.Message) bool { n, ok := parse(m); return ok && n.link == link }):
			continue
		}
		knock()
	}
}
