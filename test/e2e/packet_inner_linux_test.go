package e2e

import (
	"strings"
	"syscall"
	"testing"

	"uclat/test/peers"
)

// TestServerOfVPN has a VPN that reaches a network, and its own server, which is in that network, by the CLAT: what the server answers is no
// packet that claims an address of the VPN's.
func TestServerOfVPN(t *testing.T) {
	eachPath(t, func(t *testing.T, top *topology) {
		p := top.up(t, top.discovering()...)
		ip := peers.Find(t, "ip")
		must(t, top.laptop, ip, "link", "add", "vpn0", "type", "bridge")
		must(t, top.laptop, ip, "link", "set", "vpn0", "up")
		must(t, top.laptop, ip, "route", "add", server4.String(), "dev", tunDev)
		must(t, top.laptop, ip, "route", "add", serverWAN.Masked().String(), "dev", "vpn0")
		// The program sees the routes within a second or two, and all this time answers come.
		out := must(t, top.laptop, peers.Find(t, "ping"), "-c", "16", "-i", "0.2", "-W", "2", server4.String())
		if !strings.Contains(out, " 0% packet loss") {
			t.Errorf("ping says\n%s", out)
		}
		down(t, p, syscall.SIGTERM)
	})
}
