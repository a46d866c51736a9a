//go:build !linux

package lab

import (
	"context"

	"uclat/platform"
	"uclat/test/lab/netlab"
)

// Run needs network namespaces, which only Linux has.
func Run(context.Context, Options) (bool, error) { return false, platform.Unsupported("the lab") }

// Roles are none.
func Roles() netlab.Roles { return nil }
