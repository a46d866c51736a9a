package hostnet

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

// From one configuration to another, only what differs changes; what is not ours stays.
func TestSetChanges(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		newLab(t)
		before := dump(t)
		h := newHost(t)
		must(t, h.Set(t.Context(), config()))

		// Somebody adds his own to our TUN.
		must(t, nstest.AddAddr("clat0", "198.51.100.1/32"))
		must(t, nstest.AddRoute("clat0", "198.51.100.0/24", "", unix.RTPROT_STATIC, 0))
		// Another program, or another uclat, uses our number.
		must(t, nstest.AddRoute("lan", "203.0.113.0/24", "", Protocol, 0))

		c := config()
		c.Addrs = []netip.Prefix{netip.MustParsePrefix("100.64.46.6/32"), netip.MustParsePrefix("2001:db8:46::1/128")}
		c.Routes[0].MTU = 1300
		c.Routes = append(c.Routes, platform.Route{Dst: netip.MustParsePrefix("2001:db8:5::/64"), Via: netip.MustParseAddr("2001:db8:2::2"),
			Link: mustIndex(t, "lan"), Metric: 5})
		c.Forward.Uplink = "lan"
		must(t, h.Set(t.Context(), c))
		tun := mustIndex(t, "clat0")
		got := dump(t)
		for _, want := range []string{
			"addr clat0 198.51.100.1/32",
			"203.0.113.0/24",
			"addr clat0 100.64.46.6/32",
			"addr clat0 2001:db8:46::1/128",
			fmt.Sprintf("route table 254 198.51.100.0/24 via <nil> dev %d type 1 protocol 4 ", tun),
			fmt.Sprintf("route table 254 0.0.0.0/0 via <nil> dev %d type 1 protocol 46 metric 2000000 mtu 1300\n", tun),
			fmt.Sprintf("route table 254 2001:db8:5::/64 via 2001:db8:2::2 dev %d type 1 protocol 46 metric 5 mtu 0\n", mustIndex(t, "lan")),
			"sysctl net/ipv6/conf/clat0/force_forwarding = 1",
			"sysctl net/ipv6/conf/lan/force_forwarding = 1",
			"sysctl net/ipv6/conf/eth0/force_forwarding = 0",
			"iifname clat0 oifname lan ",
		} {
			if !strings.Contains(got, want) {
				t.Errorf("missing: %s", want)
			}
		}
		for _, gone := range []string{"100.64.46.4", "mtu 1472", "oifname eth0"} {
			if strings.Contains(got, gone) {
				t.Errorf("still there: %s", gone)
			}
		}
		// The whole host is forwarded by somebody else now: our own flags are not needed, and his traffic is not stopped.
		sysctl(t, "net/ipv6/conf/all/forwarding", "1")
		must(t, h.Set(t.Context(), c))
		if got := dump(t); strings.Contains(got, "force_forwarding = 1") || strings.Contains(got, "iifname lan counter drop") {
			t.Error("forwarding by somebody else is not left to him")
		}
		sysctl(t, "net/ipv6/conf/all/forwarding", "0")
		must(t, h.Set(t.Context(), c))
		if got := dump(t); !strings.Contains(got, "lan/force_forwarding = 1") || !strings.Contains(got, "iifname lan counter drop") {
			t.Error("forwarding is off again, and was not turned on")
		}
		// Without forwarding, the filter goes too.
		c.Forward, c.IPv6 = nil, true
		must(t, h.Set(t.Context(), c))
		if got := dump(t); strings.Contains(got, "force_forwarding = 1") || strings.Contains(got, "table family") {
			t.Error("forwarding is still on")
		}
		must(t, h.Set(t.Context(), platform.HostConfig{}))
		left := changed(before, dump(t))
		left = strings.Join(slices.DeleteFunc(strings.SplitAfter(left, "\n"), func(l string) bool {
			return strings.Contains(l, " 203.0.113.0/24 ") && strings.Contains(l, " protocol 46 ")
		}), "")
		if left != "addr clat0 198.51.100.1/32 scope 0 flags 0x80\n" { // his; his route went when the link went down
			t.Errorf("left behind:\n%s", left)
		}
	})
}

// A program that turns forwarding on for the whole host, while we hold it on, keeps it.
func TestGlobalOfOthers(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		newLab(t)
		h := newHost(t)
		h.sys = &oldKernel{sysctls: h.sys, hide: "/force_forwarding"}
		must(t, h.Set(t.Context(), config()))
		sysctl(t, "net/ipv6/conf/all/forwarding", "1")
		theirs := nstest.Dump(t)
		must(t, h.Set(t.Context(), config()))
		if strings.Contains(nftText(t), "\n  nfproto [10] counter drop") {
			t.Error("their forwarding is stopped")
		}
		if diff := cmp.Diff(theirs, nstest.Dump(t)); diff != "" {
			t.Errorf("their sysctls changed:\n%s", diff)
		}
		must(t, h.Set(t.Context(), platform.HostConfig{}))
		if !strings.Contains(dump(t), "net/ipv6/conf/all/forwarding = 1") {
			t.Error("their forwarding was turned off")
		}
	})
}

// A TUN that was deleted and made anew is set up again; one that is gone is no error.
func TestTUNRecreated(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		l := newLab(t)
		h := newHost(t)
		must(t, h.Set(t.Context(), config()))
		want := nftText(t)
		must(t, l.tun.Close())
		if err := h.Set(t.Context(), config()); err == nil {
			t.Error("set without the TUN")
		}
		tun := openTUN(t, "clat0")
		must(t, h.Set(t.Context(), config()))
		must(t, tun.Close())
		tun = openTUN(t, "clat0")
		must(t, h.Set(t.Context(), config()))
		got := dump(t)
		if !strings.HasSuffix(got, want) || !strings.Contains(got, "addr clat0 100.64.46.4/32") ||
			!strings.Contains(got, "clat0/force_forwarding = 1") || strings.Contains(got, "addr clat0 fe80") {
			t.Errorf("not set up again:\n%s", got)
		}
		must(t, tun.Close())
		must(t, h.Set(t.Context(), platform.HostConfig{}))
		if got := dump(t); strings.Contains(got, "force_forwarding = 1") || strings.Contains(got, "table family") {
			t.Error("left behind")
		}
	})
}
