//go:build !linux

package nstest

import (
	"runtime"
	"testing"
)

// Run skips t: there are no network namespaces on this system.
func Run(t *testing.T, _ func(t *testing.T)) {
	t.Helper()
	skip(t, "no network namespaces on "+runtime.GOOS)
}
