//go:build !unix

package ra

import "uclat/platform"

func system() (func() (Socket, error), error) {
	return nil, platform.Unsupported("listening for Router Advertisements")
}
