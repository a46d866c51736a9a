package nstest

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NS is a second network namespace: the other end of a link.
type NS struct{ handle netns.NsHandle }

// New makes a namespace that is gone when t ends. The caller runs inside Run.
func New(t *testing.T) *NS {
	t.Helper()
	ns := &NS{handle: netns.None()}
	onThread(t, func() error {
		h, err := netns.New() // moves this thread into the new namespace
		if err != nil {
			return err
		}
		ns.handle = h
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	t.Cleanup(func() { ns.handle.Close() })
	return ns
}

// Do runs f on a thread inside the namespace. Sockets that f opens stay in the namespace; goroutines that it starts do not.
func (ns *NS) Do(t *testing.T, f func() error) {
	t.Helper()
	onThread(t, func() error {
		if err := netns.Set(ns.handle); err != nil {
			return err
		}
		return f()
	})
}

// onThread runs f on a thread that ends with it, so that what f did to the thread's namespace harms nobody.
func onThread(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the runtime ends the thread together with the goroutine
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// Veth joins the calling namespace to ns: here on this side, there on the other. Both ends are up and without duplicate address
// detection, so that addresses can be used at once.
func Veth(t *testing.T, here, there string, ns *NS) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = here
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: there, PeerNamespace: netlink.NsFd(int(ns.handle))}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatalf("add veth %s-%s: %v", here, there, err)
	}
	ns.Do(t, func() error { return up(there) })
	if err := up(here); err != nil {
		t.Fatal(err)
	}
	ns.Do(t, func() error { return running(there) })
	if err := running(here); err != nil {
		t.Fatal(err)
	}
}

// running waits until the kernel has noticed the carrier. It does so late, and resets the link's IPv6 MTU then.
func running(name string) error {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if link.Attrs().OperState == netlink.OperUp {
			return nil
		}
	}
	return fmt.Errorf("%s has no carrier after 5 s", name)
}

func up(name string) error {
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/accept_dad", []byte("0"), 0); err != nil {
		return err
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// AddAddr gives the interface of the calling thread's namespace an address.
func AddAddr(name, prefix string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	p := netip.MustParsePrefix(prefix)
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrAdd(link, a); err != nil {
		return fmt.Errorf("add %s to %s: %w", prefix, name, err)
	}
	return nil
}

// AddRoute adds a route by the interface to the main table of the calling thread's namespace. An empty via is on-link; a protocol
// of 0 is the kernel's usual one.
func AddRoute(name, dst, via string, protocol, metric int) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	p := netip.MustParsePrefix(dst)
	r := &netlink.Route{
		LinkIndex: link.Attrs().Index,
		Dst:       &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
		Protocol:  netlink.RouteProtocol(protocol),
		Priority:  metric,
	}
	if via != "" {
		r.Gw = net.ParseIP(via)
	} else if p.Addr().Is4() {
		r.Scope = netlink.SCOPE_LINK
	}
	if err := netlink.RouteAdd(r); err != nil {
		return fmt.Errorf("add route %s by %s: %w", dst, name, err)
	}
	return nil
}
