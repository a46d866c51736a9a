package e2e

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"uclat/test/lab/netlab"
)

// tunDev is the IPv4 interface.
const tunDev = "clat0"

// startUclat starts the program under test on the laptop.
func (top *topology) startUclat(t *testing.T, flags ...string) *process {
	t.Helper()
	return start(t, top.laptop, uclat(t), append([]string{"run"}, flags...)...)
}

// up starts it and waits until the laptop has IPv4.
func (top *topology) up(t *testing.T, flags ...string) *process {
	t.Helper()
	p := top.startUclat(t, flags...)
	p.wait(t, `msg="on: IPv4 through `+top.uplink)
	return p
}

// down ends it as a user would, which must go well.
func down(t *testing.T, p *process, signal syscall.Signal) {
	t.Helper()
	if code := p.stop(t, signal); code != 0 {
		t.Fatalf("exit code %d after %s", code, signal)
	}
}

// dump is the network state of a node.
func dump(t *testing.T, n *netlab.Node) string {
	t.Helper()
	s, err := n.Dump()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// changes are the lines of two dumps that only one of them has.
func changes(before, after string) (lost, added []string) {
	was, is := strings.Split(before, "\n"), strings.Split(after, "\n")
	lost = slices.DeleteFunc(slices.Clone(was), func(s string) bool { return slices.Contains(is, s) })
	added = slices.DeleteFunc(is, func(s string) bool { return slices.Contains(was, s) })
	return lost, added
}

// unchanged fails the test where the laptop is not as it was.
func (top *topology) unchanged(t *testing.T, before string) {
	t.Helper()
	if after := dump(t, top.laptop); after != before {
		lost, added := changes(before, after)
		t.Fatalf("the laptop is not as it was:\n- %s\n+ %s", strings.Join(lost, "\n- "), strings.Join(added, "\n+ "))
	}
}

// sysctl is a kernel parameter of the laptop.
func (top *topology) sysctl(t *testing.T, key string) string {
	t.Helper()
	v, err := top.laptop.Sysctl(key)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// setSysctl gives the laptop a kernel parameter that the test needs.
func (top *topology) setSysctl(t *testing.T, key, value string) {
	t.Helper()
	if err := top.laptop.SetSysctl(key, value); err != nil {
		t.Fatal(err)
	}
}

// hide makes a file of the laptop disappear.
func (top *topology) hide(t *testing.T, path string) {
	t.Helper()
	if err := top.laptop.Hide(path); err != nil {
		t.Fatal(err)
	}
}

// nobody is an address on the laptop's link that nobody has.
const nobody = "2001:db8:1::53"

// resolver names the laptop's resolver.
func (top *topology) resolver(t *testing.T, addr string) {
	t.Helper()
	if err := top.laptop.WriteFile("/etc/resolv.conf", fmt.Appendf(nil, "nameserver %s\n", addr)); err != nil {
		t.Fatal(err)
	}
}
