package tundev

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

	"uclat/platform/internal/fault"
	"uclat/platform/internal/vnet"
)

const clonePath = "/dev/net/tun"

// Kinds of TUN. A kernel may have no virtio headers (others than Linux that run its programs do).
const (
	// More queues can be attached only to a device that was made with IFF_MULTI_QUEUE.
	wholeFlags = plainFlags | unix.IFF_VNET_HDR | unix.IFF_MULTI_QUEUE
	plainFlags = unix.IFF_TUN | unix.IFF_NO_PI
)

// What the kernel may leave to us: partial checksums and super-packets.
const (
	offloadsTCP = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN
	offloadsUDP = unix.TUN_F_USO4 | unix.TUN_F_USO6 // since Linux 6.2
)

// errPlain is the kernel's refusal of what only a TUN with virtio headers needs.
var errPlain = errors.New("no virtio headers on TUN devices")

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
	d, err := openWhole(name, mtu)
	if errors.Is(err, errPlain) {
		return openPlain(name, mtu)
	}
	return d, err
}

// openWhole makes a TUN with virtio headers. Its error is errPlain where the kernel has none.
func openWhole(name string, mtu int) (*Device, error) {
	fd, err := create(name, wholeFlags)
	if errors.Is(err, unix.EINVAL) {
		return nil, errPlain // or the name is none for the kernel: a plain TUN will tell
	}
	if err != nil {
		return nil, err
	}
	if err := offload(fd, name); err != nil {
		unix.Close(fd)
		return nil, err
	}
	if err := setMTU(name, mtu); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("TUN device %s: set MTU %d: %w", name, mtu, err)
	}
	return &Device{name: name, queue: newWhole(name, fd)}, nil
}

// openPlain makes a TUN that carries plain packets.
func openPlain(name string, mtu int) (*Device, error) {
	fd, err := create(name, plainFlags)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), clonePath)
	dev, err := tun.CreateTUNFromFile(file, mtu)
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("TUN device %s: set up: %w", name, err)
	}
	return &Device{name: name, queue: newPlain(name, dev)}, nil
}

// create makes a new interface, never takes over a persistent TUN of that name, which belongs to somebody else.
func create(name string, flags uint16) (int, error) {
	fd, err := unix.Open(clonePath, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, explain(name, "open "+clonePath, err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(flags | unix.IFF_TUN_EXCL)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return -1, explain(name, "create it", err)
	}
	return fd, nil
}

// offload asks for partial checksums and super-packets on a TUN that was made with wholeFlags. Its error is errPlain where the kernel
// has none of that.
func offload(fd int, name string) error {
	req, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.TUNGETIFF, req)
	}
	if err != nil {
		return explain(name, "look at it", err)
	}
	if req.Uint16()&unix.IFF_VNET_HDR == 0 { // flags that the kernel does not know it ignores
		return errPlain
	}
	if unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, vnet.Len) != nil {
		return errPlain
	}
	if unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloadsTCP|offloadsUDP) == nil || unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloadsTCP) == nil {
		return nil
	}
	return errPlain
}

func setMTU(name string, mtu int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint32(uint32(mtu))
	return unix.IoctlIfreq(fd, unix.SIOCSIFMTU, req)
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
	return &fault.Error{Kind: kind, Cause: err, Line: fmt.Sprintf("TUN device %s: %s: %v: %s", name, step, err, advice)}
}
