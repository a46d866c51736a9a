package nstest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Dump is the configuration of the calling namespace as text, a line a fact: links, addresses, routes of all tables, and every
// sysctl under net/ipv4/conf and net/ipv6/conf. Two dumps are equal where nothing was left changed.
func Dump(t *testing.T) string {
	t.Helper()
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }

	links, err := netlink.LinkList()
	if err != nil {
		t.Fatalf("list links: %v", err)
	}
	for _, l := range links {
		a := l.Attrs()
		add("link %d %s mtu %d flags %s", a.Index, a.Name, a.MTU, a.Flags)
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			t.Fatalf("list addresses of %s: %v", a.Name, err)
		}
		for _, addr := range addrs {
			add("addr %s %s scope %d flags %#x", a.Name, addr.IPNet, addr.Scope, addr.Flags)
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
		if err != nil {
			t.Fatalf("list routes: %v", err)
		}
		for _, r := range routes {
			add("route table %d %s via %v dev %d type %d protocol %d metric %d mtu %d", r.Table, r.Dst, r.Gw, r.LinkIndex, r.Type,
				r.Protocol, r.Priority, r.MTU)
		}
	}
	for _, dir := range []string{"/proc/sys/net/ipv4/conf", "/proc/sys/net/ipv6/conf"} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				b = []byte("unreadable") // stable_secret that was never set
			}
			add("sysctl %s = %s", strings.TrimPrefix(path, "/proc/sys/"), strings.TrimSpace(string(b)))
			return nil
		})
		if err != nil {
			t.Fatalf("read %s: %v", dir, err)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n") + "\n"
}

// Settle waits until the kernel has done what it does late to a new link: carrier, addresses and their routes.
func Settle(t *testing.T) {
	t.Helper()
	for last, deadline := "", time.Now().Add(5*time.Second); ; time.Sleep(100 * time.Millisecond) {
		now := Dump(t)
		if now == last {
			return
		}
		if last = now; time.Now().After(deadline) {
			t.Fatal("the network does not come to rest")
		}
	}
}
