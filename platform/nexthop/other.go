//go:build !linux

package nexthop

import (
	"context"
	"net/netip"

	"uclat/platform"
)

// Table is not served on this system.
type Table struct{}

// Open returns platform.ErrUnsupported.
func Open() (*Table, error) { return nil, platform.Unsupported("looking up the next hop") }

func (t *Table) Close() error { return nil }

func (t *Table) Hop(platform.Link, netip.Addr, netip.Addr) (Hop, error) {
	return Hop{}, platform.Unsupported("looking up the next hop")
}

func (t *Table) Router(int, netip.Addr) (Hop, error) {
	return Hop{}, platform.Unsupported("looking up the next hop")
}

func (t *Table) Use(int, netip.Addr) error { return platform.Unsupported("looking up the next hop") }

// Watch returns platform.ErrUnsupported.
func Watch(context.Context, int, func()) error {
	return platform.Unsupported("watching the next hop")
}
