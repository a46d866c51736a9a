package rtnl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	nl "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Watch calls knock when the kernel tells in one of the groups of what concerns the caller (nil: everything does), and once as soon as it listens: what is read
// from then on misses nothing. Messages that were lost are a knock too. knock must not block.
//
// It returns nil when ctx ends, and an error, which begins with what, where the kernel no longer tells.
func Watch(ctx context.Context, what string, groups []uint32, concerns func(nl.Message) bool, knock func()) error {
	conn, err := nl.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return fmt.Errorf("%s: open a netlink socket: %w", what, err)
	}
	defer conn.Close()
	for _, g := range groups {
		if err := conn.JoinGroup(g); err != nil {
			return fmt.Errorf("%s: join netlink group %d: %w", what, g, err)
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
			return fmt.Errorf("%s: receive from netlink: %w", what, err)
		case concerns != nil && !slices.ContainsFunc(messages, concerns):
			continue
		}
		knock()
	}
}
