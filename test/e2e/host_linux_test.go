package e2e

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// keys of the kernel's forwarding.
const (
	allForwarding = "net/ipv6/conf/all/forwarding"
	forceEth0     = "net/ipv6/conf/eth0/force_forwarding"
	acceptRAEth0  = "net/ipv6/conf/eth0/accept_ra"
)

// TestHost holds what the program changes on the host, to the line, in all the ways in which a host can be made to forward IPv6. And
// it must not lose its IPv6 default route, which is from radvd: the kernel deletes such routes when a host becomes a router.
func TestHost(t *testing.T) {
	t.Parallel()
	forward := func(t *testing.T, top *topology) {
		top.setSysctl(t, acceptRAEth0, "2")
		top.setSysctl(t, allForwarding, "1")
	}
	for _, c := range []hostCase{
		{path: onKernel, name: "kernel with force_forwarding", set: []string{forceEth0 + " = 1"}},
		{
			path: onKernel, name: "kernel without force_forwarding",
			prepare: func(t *testing.T, top *topology) { top.withoutForceForwarding(t) },
			set:     []string{allForwarding + " = 1", acceptRAEth0 + " = 2"},
			global:  true,
		},
		{path: onKernel, name: "a host that forwards already", prepare: forward, global: true},
		{path: onPacket, name: "on path packet"},
		{
			path: onPacket, name: "on path packet, a host that forwards already", prepare: forward, global: true,
			silent: "route " + onPacket.addr6 + "/128 table 254 type 6 protocol 46 metric 1024 scope universe dev lo",
		},
	} {
		if _, err := os.Stat("/proc/sys/net/ipv6/conf/all/force_forwarding"); err != nil && c.path.forwards && !c.global {
			t.Logf("not tried: %s: %v", c.name, err) // an older kernel is a good one too
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, newNetwork(t, network{path: c.path}))
		})
	}
}

// hostCase is a host, and what the program may change of it.
type hostCase struct {
	path    path
	name    string
	prepare func(t *testing.T, top *topology) // may be nil
	set     []string                          // sysctls that are otherwise while the program runs, and what SIGKILL leaves behind
	silent  string                            // a route that keeps the kernel silent, and is left behind as well; may be empty
	global  bool                              // the host forwards IPv6
}

func (c hostCase) test(t *testing.T, top *topology) {
	if c.prepare != nil {
		c.prepare(t, top)
	}
	routes := top.watchRoutes(t)
	before := dump(t, top.laptop)

	p := top.up(t, top.configured()...)
	c.hasExactly(t, top, before)
	if on := top.sysctl(t, allForwarding) == "1"; on != c.global {
		t.Errorf("IPv6 forwarding of the whole host: %v", on)
	}
	if top.forwards {
		if table := must(t, top.laptop, peers.Find(t, "nft"), "list", "table", "inet", "uclat"); !strings.Contains(table, "flags owner") {
			t.Errorf("the table is not the process's:\n%s", table)
		}
	}
	top.outliveAdvertisements(t)
	top.ping4(t)
	top.curlBothWays(t, 1_000_000)
	c.hasExactly(t, top, before)
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)

	// Killed, it cannot put anything back. What belongs to the process goes with it, and this is left:
	p = top.up(t, top.configured()...)
	p.stop(t, syscall.SIGKILL)
	left := dump(t, top.laptop)
	want := sysctlLines(c.set)
	if c.silent != "" {
		want = append(want, c.silent)
	}
	if _, added := changes(before, left); !slices.Equal(added, want) {
		t.Errorf("after SIGKILL there is\n%s\nwant %q", strings.Join(added, "\n"), want)
	}
	if !top.forwards {
		left = before // the next one finds what is written down, and puts it back
	}
	p = top.up(t, top.configured()...)
	top.ping4(t)
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, left)

	if said := routes.said(); strings.Contains(said, "Deleted default") {
		t.Errorf("the IPv6 default route was gone for a moment:\n%s", said)
	}
}

// withoutForceForwarding makes the laptop's kernel look like one before 6.17.
func (top *topology) withoutForceForwarding(t *testing.T) {
	t.Helper()
	if _, err := top.laptop.Sysctl(forceEth0); err == nil {
		top.hide(t, "/proc/sys/"+forceEth0)
	}
}

func sysctlLines(settings []string) (lines []string) {
	for _, s := range settings {
		lines = append(lines, "sysctl "+s)
	}
	return lines
}

// hasExactly compares what the laptop has more than before with what it should. The parameters of the device itself, which come and go with
// it, and the rules of our table are left out: other tests show what they do.
func (c hostCase) hasExactly(t *testing.T, top *topology, before string) {
	t.Helper()
	want := []string{
		fmt.Sprintf("link clat0 type tuntap mtu %d address  flags up|pointtopoint|running promisc 0", 1500-top.spare),
		"address 100.64.46.4/32 dev clat0 scope universe flags 0x280",
		"route 0.0.0.0/0 table 254 type 1 protocol 46 metric 2000000 scope link dev clat0 src 100.64.46.4 mtu 1480",
		"route 100.64.46.4/32 table 255 type 2 protocol 2 metric 0 scope host dev clat0 src 100.64.46.4", // the kernel's
	}
	if top.forwards {
		want = append(want, "route 2001:db8:c1a7::46/128 table 254 type 1 protocol 46 metric 1024 scope universe dev clat0",
			"route ff00::/8 table 255 type 5 protocol 2 metric 256 scope universe dev clat0") // the kernel's
	}
	if c.silent != "" {
		want = append(want, c.silent)
	}
	want = append(want, sysctlLines(c.set)...)
	lost, added := changes(before, dump(t, top.laptop))
	added = slices.DeleteFunc(added, func(s string) bool {
		return top.forwards && strings.HasPrefix(s, "nft ") && strings.Contains(s, " inet uclat ") ||
			strings.HasPrefix(s, "sysctl ") && (strings.Contains(s, "/conf/clat0/") || strings.Contains(s, "/neigh/clat0/"))
	})
	if !slices.Equal(added, want) {
		t.Errorf("the laptop has\n%s\nwant\n%s", strings.Join(added, "\n"), strings.Join(want, "\n"))
	}
	if len(lost) != len(c.set) { // the old values
		t.Errorf("the laptop lacks\n%s", strings.Join(lost, "\n"))
	}
}

// watchRoutes prints what happens to the laptop's IPv6 routes, from when it returns.
func (top *topology) watchRoutes(t *testing.T) *process {
	t.Helper()
	marker := netlab.Route{Dst: routedPrefix, Dev: "lo"}
	p := start(t, top.laptop, peers.Find(t, "ip"), "-6", "monitor", "route")
	eventually(t, "routes are watched", func() bool {
		if err := top.laptop.AddRoute(marker); err != nil {
			t.Fatal(err)
		}
		if err := top.laptop.DelRoute(marker); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(p.said(), "Deleted "+routedPrefix.String())
	})
	return p
}

// outliveAdvertisements waits for three Router Advertisements. The laptop must believe them all the time, or its default route would end.
func (top *topology) outliveAdvertisements(t *testing.T) {
	t.Helper()
	const lifetime = 1800 // seconds, as radvd has it
	advertised := startCapture(t, top.laptop, "eth0", "icmp6 and ip6[40] == 134")
	eventually(t, "three Router Advertisements", func() bool { return advertised.seen(t) >= 3 })
	out := must(t, top.laptop, peers.Find(t, "ip"), "-6", "route", "show", "default", "proto", "ra")
	left := regexp.MustCompile(`expires (\d+)sec`).FindStringSubmatch(out)
	if left == nil {
		t.Fatalf("the default route from radvd is gone: %q", out)
	}
	if n, _ := strconv.Atoi(left[1]); n < lifetime-6 {
		t.Errorf("the default route ends in %d s: the last advertisement was not believed", n)
	}
}
