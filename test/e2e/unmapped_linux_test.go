package e2e

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"uclat/test/peers"
)

// TestUnmapped connects from the IPv4 internet to an address in our prefix that stands for nobody. The default is silence.
func TestUnmapped(t *testing.T) {
	t.Parallel()
	top := newTopology(t)
	sender := netip.MustParseAddr("2001:db8:64::c633:640b") // 198.51.100.11, played by the router
	if err := top.router.AddAddr("lo", host(sender)); err != nil {
		t.Fatal(err)
	}
	if _, err := top.router.WaitAddr(t.Context(), "lo", host(sender)); err != nil {
		t.Fatal(err)
	}
	const unassigned = "2001:db8:c1a7::dead"
	for _, c := range []struct {
		name, flag, want string
	}{
		{"silence", "--translate.icmpv6-prohibited=false", "timed out"},
		{"prohibited", "--translate.icmpv6-prohibited", "Permission denied"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := top.up(t, "--interface.ipv4", "100.64.0.0/10", "--address.ipv6", "2001:db8:c1a7::/64", c.flag)
			arrived := startCapture(t, top.laptop, tunDev, "dst host "+unassigned)
			r := try(t, top.router, peers.Find(t, "nc"), "-v", "-w", "1", "-s", sender.String(), unassigned, "80")
			if r.code != 1 || !strings.Contains(r.stderr, c.want) {
				t.Errorf("nc: %+v", r)
			}
			if len(arrived.frames(t)) == 0 {
				t.Error("nothing came as far as to us")
			}
			down(t, p, syscall.SIGTERM)
		})
	}
}
