package tundev

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"
)

const clonePath = "/dev/net/tun"

// Open makes the TUN device name with that MTU (octets). The interface lives as long as the device is open; it is down and has no
// address yet.
//
// Errors are one line each, and one of ErrName, ErrTaken, ErrPermission and ErrNoTUN where it is one of these.
func Open(name string, mtu int) (*Device, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if mtu < minMTU || mtu > maxMTU {
		return nil, fmt.Errorf("TUN device %s: MTU %d: choose one from %d to %d", name, mtu, minMTU, maxMTU)
	}
	file, err := create(name)
	if err != nil {
		return nil, err
	}
	dev, err := tun.CreateTUNFromFile(file, mtu)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("TUN device %s: set up: %w", name, err)
	}
	return newDevice(name, dev), nil
}

// create does what tun.CreateTUN does, but insists on a new interface: CreateTUN would attach to a persistent TUN of that name, which
// belongs to somebody else. It also tells apart why the kernel refused.
func create(name string) (*os.File, error) {
	fd, err := unix.Open(clonePath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, explain(name, "open "+clonePath, err)
	}
	req, err := unix.NewIfreq(name)
	if err != nil {
		unix.Close(fd)
		return nil, explain(name, "name it", err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		unix.Close(fd)
		return nil, explain(name, "create it", err)
	}
	return os.NewFile(uintptr(fd), clonePath), nil
}

// explain turns the kernel's errno into what it means here and what to do.
func explain(name, step string, err error) error {
	kind, advice := error(nil), ""
	switch {
	case errors.Is(err, unix.EBUSY):
		kind, advice = ErrTaken, "an interface with this name exists already: choose another name, or remove it if it is left from an earlier time"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		kind, advice = ErrPermission, "run as root, or give the program CAP_NET_ADMIN (in a container: --cap-add=NET_ADMIN --device="+clonePath+")"
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		kind, advice = ErrNoTUN, "the TUN driver is missing: load it (modprobe tun), or give the container the device (--device="+clonePath+")"
	case errors.Is(err, unix.EINVAL):
		kind, advice = ErrName, "the kernel does not take this name: choose another"
	default:
		return fmt.Errorf("TUN device %s: %s: %w", name, step, err)
	}
	return &openError{kind: kind, cause: err, line: fmt.Sprintf("TUN device %s: %s: %v: %s", name, step, err, advice)}
}
