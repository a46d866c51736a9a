//go:build !linux

package resolver

import (
	"context"
	"net/netip"

	"uclat/platform"
)

// System wraps platform.ErrUnsupported.
func System(context.Context) ([]netip.AddrPort, error) {
	return nil, platform.Unsupported("learning the system's resolvers")
}
