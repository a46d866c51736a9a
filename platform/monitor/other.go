//go:build !linux

package monitor

import (
	"context"
	"log/slog"
	"net/netip"

	"uclat/platform"
)

// Monitor is not served on this system.
type Monitor struct{}

// New returns platform.ErrUnsupported.
func New(*slog.Logger) (*Monitor, error) { return nil, platform.Unsupported("watching the network") }

func (m *Monitor) Snapshot(context.Context, ...netip.Prefix) (platform.Snapshot, error) {
	return platform.Snapshot{}, platform.Unsupported("watching the network")
}

func (m *Monitor) Watch(context.Context, func()) error {
	return platform.Unsupported("watching the network")
}
