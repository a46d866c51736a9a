package e2e

import (
	"fmt"
	"io"
	"net/netip"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"uclat/test/lab/netlab"
)

// fixed4 is the laptop to the IPv4 internet, where the PLAT has an address for it alone.
var fixed4 = netip.MustParseAddr("192.0.2.46")

// giveFixed4 has the PLAT know the laptop as fixed4.
func (top *topology) giveFixed4(t *testing.T) {
	t.Helper()
	top.restartTAYGA(t, 1500, platPool, fmt.Sprintf("map %s %s", fixed4, top.addr6))
	if err := top.plat.AddRoute(netlab.Route{Dst: host(fixed4), Dev: "nat64"}); err != nil {
		t.Fatal(err)
	}
}

// TestEverySize sends UDP of every size from 0 to 4000 octets, both ways, by whoever began: with DF as long as it fits, as programs do
// by default, and without DF.
func TestEverySize(t *testing.T) { eachPath(t, testEverySize) }

func testEverySize(t *testing.T, top *topology) {
	const largest = 4000
	top.giveFixed4(t)
	setMTU(t, top.plat, "wan0", 1480) // what the laptop's kernel takes, so that there is nothing to learn
	setMTU(t, top.server, "eth0", 1480)
	data, err := io.ReadAll(blob(largest))
	if err != nil {
		t.Fatal(err)
	}
	p := top.up(t, top.configured(passZeroChecksum, "--inbound", "all")...)
	for _, c := range []struct {
		name           string
		caller, callee *netlab.Node
		to             netip.Addr
		discover       int
	}{
		{"from the laptop, with DF", top.laptop, top.server, server4, unix.IP_PMTUDISC_WANT},
		{"from the laptop, without DF", top.laptop, top.server, server4, unix.IP_PMTUDISC_DONT},
		{"from outside, with DF", top.server, top.laptop, fixed4, unix.IP_PMTUDISC_WANT},
		{"from outside, without DF", top.server, top.laptop, fixed4, unix.IP_PMTUDISC_DONT},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWire(t, c.caller, c.callee, c.to, c.discover)
			for size := range largest + 1 {
				for _, way := range []struct{ from, to *socket }{{w.caller, w.callee}, {w.callee, w.caller}} {
					if err := way.from.send(data[:size]); err != nil {
						t.Fatalf("%d octets: %v", size, err)
					}
					if _, err := await(soon, way.to.delivers()); err != nil {
						t.Fatalf("%d octets: %v", size, err)
					}
					if err := way.to.takes(data[:size]); err != nil {
						t.Fatal(err)
					}
				}
			}
		})
	}
	down(t, p, syscall.SIGTERM)
}
