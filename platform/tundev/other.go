//go:build !linux

package tundev

import (
	"uclat/clat/frame"
	"uclat/platform"
)

// Device is not served on this system.
type Device struct{}

// Open returns platform.ErrUnsupported.
func Open(string, int) (*Device, error) { return nil, platform.Unsupported("TUN devices") }

func (d *Device) Name() string                      { return "" }
func (d *Device) Batch() int                        { return 0 }
func (d *Device) Read([]*frame.Frame) (int, error)  { return 0, platform.Unsupported("TUN devices") }
func (d *Device) Write([]*frame.Frame) (int, error) { return 0, platform.Unsupported("TUN devices") }
func (d *Device) Lost() (read, written uint64)      { return 0, 0 }
func (d *Device) Close() error                      { return nil }
