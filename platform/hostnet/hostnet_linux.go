package hostnet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform"
)

// netlinkTimeout is for one answer of the kernel, which has it ready.
const netlinkTimeout = 10 * time.Second

// Host is the network namespace that its methods are called in. Its methods may be called from several goroutines.
type Host struct {
	log       *slog.Logger
	sys       sysctls
	openTable func() (filterTable, error)
	step      func() // between any two things that a process may be killed between

	mu     sync.Mutex
	tun    *device     // nil: no TUN is set up
	fwd    *forwarding // nil: we forward nothing
	routes routes
	holes  blackholes
}

// New is a Host on which nothing is set yet.
func New(o Options) (*Host, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Host{log: o.Log, sys: procSys{"/proc/sys"}, openTable: openTable, step: func() {}, routes: routes{},
		holes: blackholes{file: o.Journal}}, nil
}

// Set makes the host as want says, and changes only what differs: twice is once. The zero value takes all of ours away and puts
// everything back as it was, but for the TUN's addr_gen_mode; a context that has ended does not keep it from that. Without a TUN there
// can be nothing but Blackhole.
//
// Where Set fails, it takes all of ours away as well: there is no half. Of what could not be taken away the error tells, and
// Set with the zero value tries again. Errors are one line, joined by "; " where there are several.
func (h *Host) Set(ctx context.Context, want platform.HostConfig) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	nl, err := open()
	if err != nil {
		return err
	}
	defer nl.Close()
	if want.TUN == "" {
		if want.MTU != 0 || len(want.Addrs) > 0 || len(want.Routes) > 0 || want.IPv6 || want.Forward != nil {
			return oneLine(errors.New("configure the network: addresses, routes, IPv6 or forwarding asked for without a TUN"), h.clear(nl))
		}
		if len(want.Blackhole) == 0 || ctx.Err() != nil {
			return oneLine(h.clear(nl))
		}
		if err := errors.Join(h.addBlackholes(nl, want.Blackhole), h.clearTUN(nl), h.dropBlackholes(nl)); err != nil {
			return oneLine(err, h.clear(nl))
		}
		return nil
	}
	if err := h.apply(ctx, nl, want); err != nil {
		return oneLine(err, h.clear(nl))
	}
	return nil
}

// Recover takes away what a run that was killed has left, by the journal: the routes that it names, as far as the kernel has them with
// the type blackhole and our Protocol. Then the journal is empty. It comes before the first Set; again does no harm. A journal that
// cannot be understood is renamed to NAME.unreadable with a line in the log, after all that looks like a prefix was taken from it.
//
// An error is about a route that could not be removed: the next Set or Recover tries again.
func (h *Host) Recover(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("configure the network: %w", err)
	}
	h.readJournal()
	if !h.leftover() {
		return nil
	}
	nl, err := open()
	if err != nil {
		return err
	}
	defer nl.Close()
	return oneLine(h.dropBlackholes(nl))
}

func open() (*netlink.Handle, error) {
	nl, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("configure the network: open a netlink socket: %w", err)
	}
	if err := nl.SetSocketTimeout(netlinkTimeout); err != nil {
		nl.Close()
		return nil, fmt.Errorf("configure the network: set netlink timeout: %w", err)
	}
	return nl, nil
}

// apply goes from what others notice least to what they notice most: an address before the routes that would use it, and packets
// are forwarded, or kept from being forwarded, before anything is routed to where they go. An address goes when no route uses it any more.
func (h *Host) apply(ctx context.Context, nl *netlink.Handle, want platform.HostConfig) error {
	// Another path: the same IPv6 address may be routed to the TUN on one and a blackhole on the other, and the kernel takes one of them.
	if h.tun != nil && h.tun.ipv6 != carriesIPv6(want) {
		if err := h.clear(nl); err != nil {
			return err
		}
	}
	for _, step := range []func() error{
		func() error { return h.addBlackholes(nl, want.Blackhole) },
		func() error { return h.setDevice(nl, want) },
		func() error { return h.setForward(nl, want.TUN, want.Forward) },
		func() error { return h.routes.set(nl, h.tun.index, want.Routes) },
		func() error { return h.tun.dropAddrs(nl, want.Addrs) },
		func() error { return h.dropBlackholes(nl) },
	} {
		h.step()
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("configure the network: %w", err)
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// clear takes all away in reverse. It goes on after an error: better one thing left than all that come after it.
func (h *Host) clear(nl *netlink.Handle) error {
	errs := h.clearTUN(nl)
	h.step()
	h.holes.want = nil
	return errors.Join(errs, h.dropBlackholes(nl))
}

// clearTUN takes away all that has to do with the TUN.
func (h *Host) clearTUN(nl *netlink.Handle) error {
	tun := -1 // of no interface
	if h.tun != nil {
		tun = h.tun.index
	}
	errs := h.routes.set(nl, tun, nil)
	h.step()
	return errors.Join(errs, h.clearForward(nl), h.clearDevice(nl))
}

// line is several errors in one line.
type line struct{ error }

func (l line) Error() string { return strings.ReplaceAll(l.error.Error(), "\n", "; ") }
func (l line) Unwrap() error { return l.error }

func oneLine(errs ...error) error {
	if err := errors.Join(errs...); err != nil {
		return line{err}
	}
	return nil
}
