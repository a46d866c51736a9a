package tundev

import (
	"testing"

	"golang.org/x/sys/unix"

	"uclat/platform/internal/nstest"
)

// A second queue can be attached to the device.
func TestMoreQueuesCanBeAttached(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		d, err := Open("clat0", 1500)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		fd, err := unix.Open(clonePath, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		req, err := unix.NewIfreq("clat0")
		if err != nil {
			t.Fatal(err)
		}
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE)
		if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
			t.Errorf("a second queue: %v", err)
		}
	})
}
