// Package link is an interface of the host seen from below: IPv6 packets for addresses that the host itself does not have.
//
// The host's own stack knows nothing of these packets, and nothing of the host is changed: no promiscuous mode, no sysctl, no offload is
// turned off. Super-packets and partial checksums pass through whole, both ways, where the link can (kernelCuts). What is read is what the
// filter lets in for this host (another host's packets are never looked at), before the host's firewall; what is written passes the link's
// queueing discipline, but neither routing nor firewall.
package link

import (
	"errors"
	"log/slog"

	"uclat/platform"
)

// What Open fails with. They are faults of the set-up that waiting does not mend.
var (
	ErrPermission = errors.New("no permission to open packet sockets")
	ErrUnsuited   = errors.New("packet sockets do not serve this interface or this kernel")
)

// ErrRefused is what Write returns for a frame that it does not take, or that the kernel did not take.
var ErrRefused = errors.New("refused by the link")

// Options say what is opened, and how.
type Options struct {
	Link platform.Link // as it is now. Other link-layer addresses (Via), names, MTUs, and going down and up again do no harm later
	Log  *slog.Logger  // nil: nothing is logged
}
