//go:build !linux

package hostnet

import (
	"context"

	"uclat/platform"
)

const what = "configuring addresses and routes"

// Host is not served on this system.
type Host struct{}

// New returns platform.ErrUnsupported.
func New(Options) (*Host, error) { return nil, platform.Unsupported(what) }

func (h *Host) Set(context.Context, platform.HostConfig) error { return platform.Unsupported(what) }

func (h *Host) Recover(context.Context) error { return platform.Unsupported(what) }

// ForwardObstacles returns platform.ErrUnsupported.
func ForwardObstacles(_ context.Context, _, _ string) ([]Obstacle, error) {
	return nil, platform.Unsupported("looking for firewalls")
}
