//go:build !linux

package netlab

import (
	"fmt"
	"os"

	"uclat/platform"
)

// Lab is a set of nodes.
type Lab struct{}

// New returns platform.ErrUnsupported: nodes are made of Linux namespaces.
func New() (*Lab, error) {
	return nil, platform.Unsupported("a lab of network namespaces")
}

// Close does nothing.
func (l *Lab) Close() error { return nil }

// Main is what a program does that was started with Command as its first argument. It returns the exit code.
func Main(_ []string, _ Roles) int {
	fmt.Fprintln(os.Stderr, "netlab:", platform.Unsupported("a lab of network namespaces"))
	return 2
}
