//go:build !linux

package resolver

import (
	"errors"
	"testing"

	"uclat/platform"
)

func TestSystemUnsupported(t *testing.T) {
	if servers, err := System(t.Context()); servers != nil || !errors.Is(err, platform.ErrUnsupported) {
		t.Errorf("%v, error %v, want %v", servers, err, platform.ErrUnsupported)
	}
}
