package e2e

import (
	"strings"
	"syscall"
	"testing"

	"uclat/test/peers"
)

// TestSecondAddressUnwanted has a network that lets nothing pass of an address that it has not given. The program says that it hears nothing
// of the router, and the laptop has its IPv4 route all the same.
func TestSecondAddressUnwanted(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket, lan: bridge})
	rules := "table bridge savi { chain forward { type filter hook forward priority 0; iifname laptop0 ip6 saddr " + lanPrefix.String() +
		" ip6 saddr != " + top.laptopAddr.String() + " drop; }; }\n"
	if r := tryInput(t, top.bridge, rules, peers.Find(t, "nft"), "-f", "-"); r.code != 0 {
		t.Fatalf("nft: %+v", r)
	}
	p := top.startUclat(t)
	p.wait(t, `msg="on, degraded: IPv4 through eth0`)
	_, why, _ := strings.Cut(p.said(), "on, degraded: ")
	if !strings.Contains(why, "the router fe80::1 does not answer neighbour solicitations from ") {
		t.Errorf("it does not say what was not seen: %s", why)
	}
	down(t, p, syscall.SIGTERM)
}
