//go:build !linux

package resolver

import (
	"context"
	"net"

	"uclat/platform"
)

// Of wraps platform.ErrUnsupported.
func Of(context.Context, int, string) (Servers, error) {
	return Servers{}, platform.Unsupported("learning a link's resolvers")
}

// Dial returns a function that wraps platform.ErrUnsupported.
func Dial(int) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		return nil, platform.Unsupported("asking a link's resolvers")
	}
}
