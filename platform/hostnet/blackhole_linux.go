package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform/durable"
)

// blackholes are routes of the type blackhole in the main table, which silence the kernel about packets to addresses of ours that it does
// not know to be ours. They are of no interface, and outlive the process: so each is in the journal before it is in the kernel.
type blackholes struct {
	file    string         // the journal; empty: none
	want    []netip.Prefix // of the last Set
	ours    []netip.Prefix // in the kernel, or perhaps: what the journal should name
	written []netip.Prefix // what the journal names
	warned  bool           // that it cannot be written
}

// addBlackholes adds the routes that are missing. It removes none.
func (h *Host) addBlackholes(nl *netlink.Handle, want []netip.Prefix) error {
	b := &h.holes
	b.want = want
	if len(want) == 0 {
		return nil
	}
	have, err := routesTo(nl, want)
	if err != nil {
		return err
	}
	var missing []netip.Prefix
	for _, p := range want {
		if !prefix6(p) {
			return fmt.Errorf("blackhole route %s: not an IPv6 prefix", p)
		}
		there, err := blackholed(p, have[p])
		if err != nil {
			return err
		}
		if !there && !slices.Contains(missing, p) {
			missing = append(missing, p)
		}
		// One that is there with our protocol is of a run that was killed, where it is not of this one.
		if (!there || slices.ContainsFunc(have[p], ourBlackhole)) && !slices.Contains(b.ours, p) {
			b.ours = append(b.ours, p)
		}
	}
	h.writeJournal()
	for _, p := range missing {
		h.step()
		if err := nl.RouteAdd(blackhole(p)); err != nil {
			return fmt.Errorf("blackhole route %s: add: %w", p, err)
		}
	}
	return nil
}

// dropBlackholes removes the routes of ours that are no longer wanted.
func (h *Host) dropBlackholes(nl *netlink.Handle) error {
	if !h.leftover() {
		return nil
	}
	b := &h.holes
	have, err := routesTo(nl, b.ours)
	if err != nil {
		return err
	}
	var errs error
	b.ours = slices.DeleteFunc(b.ours, func(p netip.Prefix) bool {
		if slices.Contains(b.want, p) {
			return false
		}
		for _, r := range have[p] {
			if !ourBlackhole(r) {
				continue
			}
			h.step()
			if err := nl.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				errs = errors.Join(errs, fmt.Errorf("blackhole route %s: remove: %w", p, err))
				return false
			}
		}
		return true
	})
	h.step()
	h.writeJournal()
	return errs
}

// leftover says whether there is a route to remove, or the journal has to be written.
func (h *Host) leftover() bool {
	b := &h.holes
	return !slices.Equal(b.ours, b.written) || slices.ContainsFunc(b.ours, func(p netip.Prefix) bool { return !slices.Contains(b.want, p) })
}

// blackholed says whether there, the routes to exactly p, have one of type blackhole that does what ours would. It is an error where
// another one of somebody else wins, and his it stays.
func blackholed(p netip.Prefix, there []netlink.Route) (bool, error) {
	found := false
	for _, r := range there {
		switch {
		case ourBlackhole(r):
			found = true
		case r.Priority > defaultMetric6: // ours wins
		case r.Type != unix.RTN_BLACKHOLE:
			return false, fmt.Errorf("blackhole route %s: somebody else has a route there, of protocol %d and metric %d: "+
				"remove it or choose another address", p, r.Protocol, r.Priority)
		default:
			found = true
		}
	}
	return found, nil
}

func ourBlackhole(r netlink.Route) bool {
	return r.Type == unix.RTN_BLACKHOLE && r.Protocol == Protocol
}

func blackhole(p netip.Prefix) *netlink.Route {
	return &netlink.Route{Dst: ipNet(p), Type: unix.RTN_BLACKHOLE, Protocol: Protocol, Priority: defaultMetric6, Table: unix.RT_TABLE_MAIN}
}

// routesTo is the routes of the main table to exactly these prefixes.
func routesTo(nl *netlink.Handle, prefixes []netip.Prefix) (map[netip.Prefix][]netlink.Route, error) {
	have := make(map[netip.Prefix][]netlink.Route)
	filter := &netlink.Route{Table: unix.RT_TABLE_MAIN}
	err := nl.RouteListFilteredIter(netlink.FAMILY_V6, filter, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
		if a, ok := netip.AddrFromSlice(r.Dst.IP); ok { // vishvananda/netlink shows a default route as ::/0
			bits, _ := r.Dst.Mask.Size()
			if p := netip.PrefixFrom(a, bits); slices.Contains(prefixes, p) {
				have[p] = append(have[p], r)
			}
		}
		return true
	})
	// An interrupted dump may lack routes that others changed meanwhile, not ours.
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("routes: list: %w", err)
	}
	return have, nil
}

// writeJournal makes the journal name what is ours. Where it cannot, the work goes on: a journal that names too much does no harm, and of
// routes that it does not name, there is one warning.
func (h *Host) writeJournal() {
	b := &h.holes
	if slices.Equal(b.ours, b.written) {
		return
	}
	var err error
	switch {
	case b.file == "":
		err = errors.New("there is no journal")
	case len(b.ours) == 0:
		err = durable.Remove(b.file)
	default:
		var data []byte
		if data, err = formatJournal(b.ours); err == nil {
			err = durable.Write(b.file, data, 0o600)
		}
	}
	if err == nil {
		b.written, b.warned = slices.Clone(b.ours), false
		return
	}
	unnamed := slices.ContainsFunc(b.ours, func(p netip.Prefix) bool { return !slices.Contains(b.written, p) })
	if unnamed && !b.warned {
		b.warned = true
		h.log.Warn("the journal cannot be written: if this program is killed by SIGKILL, its blackhole routes stay until somebody removes them",
			"journal", b.file, "error", err, "routes", b.ours, "remove", fmt.Sprintf("ip -6 route flush type blackhole proto %d", Protocol))
	}
}

// readJournal takes what the journal names for ours.
func (h *Host) readJournal() {
	b := &h.holes
	if b.file == "" {
		return
	}
	data, err := durable.Read(b.file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var names []netip.Prefix
	if err == nil {
		names, err = parseJournal(data)
	}
	for _, p := range names {
		if !slices.Contains(b.ours, p) {
			b.ours = append(b.ours, p)
		}
	}
	b.written = names
	if err == nil {
		return
	}
	b.written = nil
	to, aside := durable.SetAside(b.file)
	if aside != nil {
		h.log.Warn("the journal cannot be understood, nor put aside", "journal", b.file, "error", errors.Join(err, aside), "found", names)
		return
	}
	h.log.Warn("the journal cannot be understood, and was put aside", "journal", b.file, "to", to, "error", err, "found", names)
}
