//go:build !linux

package resolver

import (
	"errors"
	"testing"

	"uclat/platform"
)

func TestUnsupported(t *testing.T) {
	if servers, err := Of(t.Context(), 1, "eth0"); servers.List != nil || !errors.Is(err, platform.ErrUnsupported) {
		t.Errorf("%v, error %v, want %v", servers, err, platform.ErrUnsupported)
	}
	if _, err := Dial(1)(t.Context(), "udp", "[2001:db8::53]:53"); !errors.Is(err, platform.ErrUnsupported) {
		t.Errorf("error %v, want %v", err, platform.ErrUnsupported)
	}
}
