package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"reflect"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform"
)

// forwarding is what we did so that the kernel forwards. The table stands before the first sysctl is set and falls after the last
// one is put back: there is no moment in which more is forwarded than we want.
//
// What the kernel does (net/ipv6/ip6_output.c, ip6_forward; measured on 6.18): a packet is forwarded where conf/all/forwarding is 1,
// or force_forwarding (Linux 6.17) of the interface that it came in by. An interface's own conf/IFACE/forwarding does not matter to that:
// it makes the host a router toward the neighbours on that link, which does not believe Router Advertisements.
type forwarding struct {
	table   filterTable
	rules   ruleset // what the table holds
	journal journal // force_forwarding

	global bool    // we set conf/all/forwarding
	dflt   string  // with global: conf/default/forwarding as it was, and as we left it
	own    journal // each interface's forwarding, while conf/all/forwarding changes
	guard  journal // accept_ra, until conf/all/forwarding is off again
}

const forwardKey = "net/ipv6/conf/all/forwarding"

// setForward makes the kernel forward what want says and, as far as that is up to us, nothing else; nil is nothing.
func (h *Host) setForward(nl *netlink.Handle, tun string, want *platform.Forward) error {
	if want == nil {
		return h.clearForward(nl)
	}
	if err := checkForward(nl, tun, want); err != nil {
		return err
	}
	if h.fwd == nil {
		table, err := h.openTable()
		if err != nil {
			return fmt.Errorf("IPv6 forwarding is not turned on without a filter: %w", err)
		}
		j := journal{sys: h.sys}
		h.fwd = &forwarding{table: table, journal: j, own: j, guard: j}
	}
	f := h.fwd
	how, err := f.choose(h.sys, tun, want.Uplink)
	if err != nil {
		return fmt.Errorf("IPv6 forwarding: %w", err)
	}
	// What is no longer needed goes while the old rules still guard it.
	wanted := func(key string) bool { return how == forced && (key == forceKey(tun) || key == forceKey(want.Uplink)) }
	if err := f.journal.undo(wanted); err != nil {
		return fmt.Errorf("IPv6 forwarding: %w", err)
	}
	if how != global {
		if err := h.globalOff(nl); err != nil {
			return fmt.Errorf("IPv6 forwarding: %w", err)
		}
	}
	rules := ruleset{TUN: tun, Uplink: want.Uplink, CLAT: ranges(want.CLAT), PREF64: ranges(want.PREF64), RepliesOnly: want.RepliesOnly}
	switch how {
	case forced:
		if rules.Close, err = f.uplinkWasOff(h.sys, want.Uplink); err != nil {
			return fmt.Errorf("IPv6 forwarding: %w", err)
		}
	case global:
		rules.Close = closeAll
	}
	if !reflect.DeepEqual(rules, f.rules) {
		if err := f.table.replace(rules); err != nil {
			return fmt.Errorf("IPv6 forwarding is not turned on without a filter: %w", err)
		}
		f.rules = rules
	}
	switch how {
	case forced:
		for _, key := range []string{forceKey(tun), forceKey(want.Uplink)} {
			if err := f.journal.set(key, "1"); err != nil {
				return fmt.Errorf("IPv6 forwarding: %w", err)
			}
		}
	case global:
		if !f.global {
			if err := h.globalOn(nl); err != nil {
				return fmt.Errorf("IPv6 forwarding: %w", err)
			}
		}
	}
	return nil
}

// clearForward puts back the sysctls, then the filter.
func (h *Host) clearForward(nl *netlink.Handle) error {
	f := h.fwd
	if f == nil {
		return nil
	}
	err := errors.Join(f.journal.undo(nil), h.globalOff(nl), f.guard.undo(nil))
	if err != nil {
		return fmt.Errorf("IPv6 forwarding: put back: %w", err) // the filter stays, to guard what is left on
	}
	if err := f.table.close(); err != nil {
		return fmt.Errorf("IPv6 forwarding: remove nftables table %s: %w", Table, err)
	}
	h.fwd = nil
	return nil
}

func checkForward(nl *netlink.Handle, tun string, want *platform.Forward) error {
	if want.Uplink == tun {
		return fmt.Errorf("IPv6 forwarding: uplink and TUN are both %s", tun)
	}
	if _, err := nl.LinkByName(want.Uplink); err != nil {
		return fmt.Errorf("IPv6 forwarding: uplink %s: %w", want.Uplink, err)
	}
	for _, list := range [][]netip.Prefix{want.CLAT, want.PREF64} {
		if len(list) == 0 {
			return errors.New("IPv6 forwarding: CLAT and PREF64 need at least one prefix each")
		}
		for _, p := range list {
			if !p.Addr().Is6() || p.Addr().Is4In6() || !p.IsValid() {
				return fmt.Errorf("IPv6 forwarding: %v is not an IPv6 prefix", p)
			}
		}
	}
	return nil
}

// The ways to have IPv6 forwarded.
type way uint8

const (
	already way = iota // somebody turned it on for the whole host: it is theirs, and we touch nothing
	forced             // on the two interfaces concerned
	global             // on the whole host, where the kernel has no other way
)

// choose looks at the host as it is now: another program may have turned forwarding on or off since the last time.
func (f *forwarding) choose(sys sysctls, tun, uplink string) (way, error) {
	all, err := sys.read(forwardKey)
	if err != nil {
		return 0, err
	}
	if f.global {
		theirs, err := f.theirs(sys, all)
		if err != nil {
			return 0, err
		}
		if !theirs {
			return global, nil
		}
		f.global = false // and what they chose stays
	}
	if all != "0" {
		return already, nil
	}
	for _, iface := range []string{tun, uplink} {
		_, err := sys.read(forceKey(iface))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return global, nil
		case err != nil:
			return 0, err
		}
	}
	return forced, nil
}

// theirs says whether another program has set conf/all/forwarding since we did: to 0, or to 1 once more. The latter shows in the
// default for new interfaces, which the kernel then sets too and which we had put back.
func (f *forwarding) theirs(sys sysctls, all string) (bool, error) {
	key := confKey("default", "forwarding")
	dflt, err := sys.read(key)
	if err != nil {
		return false, err
	}
	return all == "0" || dflt != f.dflt && !f.own.holds(key), nil
}

// uplinkWasOff says what our filter has to close: what comes in by the uplink, where that is forwarded because of us only.
func (f *forwarding) uplinkWasOff(sys sysctls, uplink string) (closing, error) {
	v, err := sys.read(forceKey(uplink))
	if err != nil {
		return 0, err
	}
	if v == "0" || f.journal.holds(forceKey(uplink)) {
		return closeUplink, nil
	}
	return closeNothing, nil
}

func forceKey(iface string) string { return confKey(iface, "force_forwarding") }

func (h *Host) globalOn(nl *netlink.Handle) error {
	dflt, err := h.sys.read(confKey("default", "forwarding"))
	if err != nil {
		return err
	}
	h.fwd.global, h.fwd.dflt = true, dflt
	return h.setGlobal(nl, "1")
}

// globalOff undoes globalOn, also one that failed half way. Without one it does nothing.
func (h *Host) globalOff(nl *netlink.Handle) error {
	f := h.fwd
	if f.global {
		all, err := h.sys.read(forwardKey)
		if err != nil {
			return err
		}
		theirs, err := f.theirs(h.sys, all)
		if err != nil {
			return err
		}
		if !theirs {
			if err := h.setGlobal(nl, "0"); err != nil {
				return err
			}
		} else if all != "0" {
			h.log.Warn("IPv6 forwarding was turned on by another program too, and stays on", "sysctl", forwardKey)
		}
		f.global = false
	}
	if err := f.own.undo(nil); err != nil {
		return err
	}
	if all, err := h.sys.read(forwardKey); err != nil || all != "0" {
		return err // another program's forwarding would cost the host its default route: the guard stays as long as we do
	}
	return f.guard.undo(nil)
}

// setGlobal sets conf/all/forwarding, and nothing besides. The kernel would copy the value to every interface and to the default for
// new ones, which makes them routers; and it deletes default routes learned from Router Advertisements while an interface becomes
// one, unless its accept_ra is 2 (net/ipv6/addrconf.c, addrconf_fixup_forwarding; route.c, rt6_purge_dflt_routers). So these interfaces
// get accept_ra 2 for as long as it is on, and every interface's own forwarding is set back at once: the host stays a host on its links.
func (h *Host) setGlobal(nl *netlink.Handle, value string) (err error) {
	own, guard := &h.fwd.own, &h.fwd.guard
	defer func() {
		err = errors.Join(err, own.undo(nil))
		if err != nil || value == "0" {
			err = errors.Join(err, guard.undo(nil))
		}
	}()
	learned, err := raLinks(nl)
	if err != nil {
		return fmt.Errorf("list IPv6 default routes: %w", err)
	}
	for _, name := range learned {
		// Where it is 0 the kernel did not learn the route: a program did, and the kernel leaves it alone.
		key := confKey(name, "accept_ra")
		if v, err := h.sys.read(key); err != nil || v != "1" {
			continue
		}
		if err := guard.set(key, "2"); err != nil {
			return err
		}
	}
	names, err := h.sys.list("net/ipv6/conf")
	if err != nil {
		return err
	}
	for _, name := range names {
		key := confKey(name, "forwarding")
		if name == "all" || own.holds(key) {
			continue
		}
		v, err := h.sys.read(key)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the interface went
		}
		if err != nil {
			return err
		}
		if v != value { // the kernel is about to make this change
			own.done = append(own.done, change{key: key, old: v, new: value})
		}
	}
	return h.sys.write(forwardKey, value)
}

// raLinks are the interfaces that have a default route from a Router Advertisement, in any table.
func raLinks(nl *netlink.Handle) ([]string, error) {
	indexes := make(map[int]bool)
	filter := &netlink.Route{Table: unix.RT_TABLE_UNSPEC, Protocol: unix.RTPROT_RA}
	err := nl.RouteListFilteredIter(netlink.FAMILY_V6, filter, netlink.RT_FILTER_TABLE|netlink.RT_FILTER_PROTOCOL, func(r netlink.Route) bool {
		if bits, _ := r.Dst.Mask.Size(); bits == 0 {
			indexes[r.LinkIndex] = true
			for _, hop := range r.MultiPath {
				indexes[hop.LinkIndex] = true
			}
		}
		return true
	})
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, err
	}
	var names []string
	for index := range indexes {
		link, err := nl.LinkByIndex(index)
		if err != nil {
			continue // 0 for several hops, or gone meanwhile with its routes
		}
		names = append(names, link.Attrs().Name)
	}
	return names, nil
}
