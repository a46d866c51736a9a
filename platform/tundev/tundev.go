// Package tundev is a TUN: an IP interface of the host whose packets this process reads and writes. One queue. On Linux the kernel's
// super-packets pass whole, one frame each, and partial checksums stay partial: a frame says with its Offload what was left to be done, and
// the kernel does it for what is written (virtio-net headers). Where the kernel does not offer that, frames that are read have no offloads,
// and those that are written are finished and cut here (clat/segment).
package tundev

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"uclat/platform/internal/fault"
)

// What Open fails with. They are faults of the caller or of the machine's set-up that waiting does not mend.
var (
	ErrName       = errors.New("not a name for an interface")
	ErrTaken      = errors.New("name of the interface is taken")
	ErrPermission = errors.New("no permission to make a TUN device")
	ErrNoTUN      = errors.New("no TUN driver")
)

// ErrGone is what Read and Write return once the interface was deleted by somebody else. Close the device and open another.
var ErrGone = errors.New("TUN device was deleted")

// ErrRefused is what Write returns for a frame that the device does not take, or for packets that the kernel did not take.
var ErrRefused = errors.New("refused by the TUN device")

// The kernel's bounds of the MTU of a TUN, in octets (drivers/net/tun.c: ETH_MIN_MTU and MAX_MTU).
const (
	minMTU = 68
	maxMTU = 65535
)

// maxName is the most octets of an interface's name (IFNAMSIZ less its closing zero).
const maxName = 15

// checkName says whether the kernel would take the name as it is (net/core/dev.c, dev_valid_name), and refuses "%", with which it
// would choose another.
func checkName(name string) error {
	why := ""
	switch {
	case name == "":
		why = "is empty"
	case name == "." || name == "..":
		why = "is a folder's"
	case len(name) > maxName:
		why = fmt.Sprintf("has %d octets, at most %d are allowed", len(name), maxName)
	case strings.ContainsAny(name, "/:%"):
		why = `contains one of "/:%"`
	case strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
		why = "contains white space or control characters"
	default:
		return nil
	}
	return &fault.Error{Kind: ErrName, Line: fmt.Sprintf("TUN device %q: the name %s: choose another, such as clat0", name, why)}
}
