package netlab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// dump is Node.Dump, in the node.
func dump() (string, error) {
	names := map[int]string{}
	var lines []string
	for _, part := range []func(map[int]string) ([]string, error){
		dumpLinks, dumpAddrs, dumpRoutes, dumpRules, dumpNeighbours, dumpSysctls, dumpNFTables,
	} {
		more, err := part(names)
		if err != nil {
			return "", err
		}
		slices.Sort(more)
		lines = append(lines, more...)
	}
	return strings.Join(lines, "\n") + "\n", nil
}

// again repeats a listing that the kernel says was changed while it was read.
func again[T any](list func() ([]T, error)) ([]T, error) {
	const tries = 10
	for range tries - 1 {
		if all, err := list(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			return all, err
		}
	}
	return list()
}

func dumpLinks(names map[int]string) ([]string, error) {
	links, err := again(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	var lines []string
	for _, l := range links {
		a := l.Attrs()
		names[a.Index] = a.Name
		lines = append(lines, fmt.Sprintf("link %s type %s mtu %d address %s flags %s promisc %d", a.Name, l.Type(), a.MTU, a.HardwareAddr,
			a.Flags, a.Promisc))
	}
	return lines, nil
}

func dumpAddrs(names map[int]string) ([]string, error) {
	addrs, err := again(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("listing addresses: %w", err)
	}
	var lines []string
	for _, a := range addrs {
		lines = append(lines, fmt.Sprintf("address %s dev %s scope %s flags %#x", a.IPNet, names[a.LinkIndex], netlink.Scope(a.Scope), a.Flags))
	}
	return lines, nil
}

func dumpRoutes(names map[int]string) ([]string, error) {
	var lines []string
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		all := &netlink.Route{Table: unix.RT_TABLE_UNSPEC}
		routes, err := again(func() ([]netlink.Route, error) {
			return netlink.RouteListFiltered(family, all, netlink.RT_FILTER_TABLE)
		})
		if err != nil {
			return nil, fmt.Errorf("listing routes: %w", err)
		}
		for _, r := range routes {
			lines = append(lines, routeLine(r, names))
		}
	}
	return lines, nil
}

func routeLine(r netlink.Route, names map[int]string) string {
	var b strings.Builder
	// A default route comes with or without a destination, as the kernel's version has it.
	if r.Dst == nil {
		fmt.Fprintf(&b, "route default of family %d", r.Family)
	} else {
		fmt.Fprintf(&b, "route %s", r.Dst)
	}
	fmt.Fprintf(&b, " table %d type %d protocol %d metric %d scope %s", r.Table, r.Type, int(r.Protocol), r.Priority, r.Scope)
	if r.LinkIndex != 0 {
		fmt.Fprintf(&b, " dev %s", names[r.LinkIndex])
	}
	if r.Gw != nil {
		fmt.Fprintf(&b, " via %s", r.Gw)
	}
	if r.Src != nil {
		fmt.Fprintf(&b, " src %s", r.Src)
	}
	for _, n := range r.MultiPath {
		fmt.Fprintf(&b, " nexthop %s dev %s", n.Gw, names[n.LinkIndex])
	}
	if r.MTU != 0 {
		fmt.Fprintf(&b, " mtu %d", r.MTU)
	}
	if r.AdvMSS != 0 {
		fmt.Fprintf(&b, " advmss %d", r.AdvMSS)
	}
	return b.String()
}

func dumpRules(map[int]string) ([]string, error) {
	var lines []string
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		rules, err := again(func() ([]netlink.Rule, error) { return netlink.RuleList(family) })
		if err != nil {
			return nil, fmt.Errorf("listing rules: %w", err)
		}
		for _, r := range rules {
			lines = append(lines, fmt.Sprintf("rule family %d %s iif %q oif %q mark %#x protocol %d suppress %d", family, r, r.IifName, r.OifName,
				r.Mark, r.Protocol, r.SuppressPrefixlen))
		}
	}
	return lines, nil
}

// dumpNeighbours lists what was set by hand; the kernel learns and forgets the others by itself.
func dumpNeighbours(names map[int]string) ([]string, error) {
	var lines []string
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := again(func() ([]netlink.Neigh, error) { return netlink.NeighList(0, family) })
		if err != nil {
			return nil, fmt.Errorf("listing neighbours: %w", err)
		}
		for _, n := range list {
			if n.State&unix.NUD_PERMANENT != 0 {
				lines = append(lines, fmt.Sprintf("neighbour %s dev %s address %s", n.IP, names[n.LinkIndex], n.HardwareAddr))
			}
		}
		list, err = again(func() ([]netlink.Neigh, error) { return netlink.NeighProxyList(0, family) })
		if err != nil {
			return nil, fmt.Errorf("listing proxied neighbours: %w", err)
		}
		for _, n := range list {
			lines = append(lines, fmt.Sprintf("proxy %s dev %s", n.IP, names[n.LinkIndex]))
		}
	}
	return lines, nil
}

func dumpSysctls(map[int]string) ([]string, error) {
	const root = "/proc/sys/net"
	var lines []string
	read := func(path string) {
		// Some cannot be read while they are not set (stable_secret).
		if value, err := os.ReadFile(path); err == nil {
			key := strings.TrimPrefix(path, "/proc/sys/")
			lines = append(lines, fmt.Sprintf("sysctl %s = %s", key, strings.Join(strings.Fields(string(value)), " ")))
		}
	}
	for _, dir := range []string{root + "/ipv4", root + "/ipv6"} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist): // an interface that is just going
				return nil
			case err == nil && !e.IsDir():
				read(path)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return lines, nil
}

// dumpNFTables lists what `nft list ruleset` would, in the terms of the kernel.
func dumpNFTables(map[int]string) ([]string, error) {
	conn, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	tables, err := conn.ListTables()
	if err != nil {
		return nil, fmt.Errorf("listing nftables tables: %w", err)
	}
	var lines []string
	for _, t := range tables {
		lines = append(lines, fmt.Sprintf("nft table %s flags %#x", tableName(t), t.Flags))
		sets, err := conn.GetSets(t)
		if err != nil {
			return nil, fmt.Errorf("listing nftables sets: %w", err)
		}
		for _, s := range sets {
			elements, err := conn.GetSetElements(s)
			if err != nil {
				return nil, fmt.Errorf("listing nftables elements: %w", err)
			}
			lines = append(lines, fmt.Sprintf("nft set %s %s elements %d", tableName(t), s.Name, len(elements)))
			for _, e := range elements {
				lines = append(lines, fmt.Sprintf("nft element %s %s %x %x", tableName(t), s.Name, e.Key, e.Val))
			}
		}
	}
	chains, err := conn.ListChains()
	if err != nil {
		return nil, fmt.Errorf("listing nftables chains: %w", err)
	}
	for _, c := range chains {
		line := fmt.Sprintf("nft chain %s %s", tableName(c.Table), c.Name)
		if c.Hooknum != nil && c.Priority != nil {
			line += fmt.Sprintf(" type %s hook %d priority %d", c.Type, *c.Hooknum, *c.Priority)
		}
		if c.Policy != nil {
			line += fmt.Sprintf(" policy %d", *c.Policy)
		}
		lines = append(lines, line)
		rules, err := conn.GetRules(c.Table, c)
		if err != nil {
			return nil, fmt.Errorf("listing nftables rules: %w", err)
		}
		for i, r := range rules {
			lines = append(lines, fmt.Sprintf("nft rule %s %s %d:%s", tableName(c.Table), c.Name, i, ruleText(r)))
		}
	}
	return lines, nil
}

func tableName(t *nftables.Table) string {
	families := map[nftables.TableFamily]string{
		nftables.TableFamilyINet: "inet", nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyARP: "arp",
		nftables.TableFamilyNetdev: "netdev", nftables.TableFamilyBridge: "bridge",
	}
	return families[t.Family] + " " + t.Name
}

func ruleText(r *nftables.Rule) string {
	var b strings.Builder
	for _, e := range r.Exprs {
		name := strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", e), "*expr."))
		b.WriteString(" " + name)
		if _, counts := e.(*expr.Counter); counts {
			continue // its values change by themselves
		}
		text, err := json.Marshal(e)
		if err != nil {
			text = fmt.Appendf(nil, "%+v", e)
		}
		b.Write(text)
	}
	return b.String()
}
