package e2e

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// vpn is a device to which the laptop's IPv6 goes by default, and from which nothing comes back.
type vpn struct {
	received atomic.Int64 // packets of IPv6 that are not multicast
}

// vpnAddr is the laptop's address in the VPN.
var vpnAddr = netip.MustParsePrefix("fd00:7::2/64")

// addVPN makes the device vpn0, and no route to it but that of its own prefix.
func (top *topology) addVPN(t *testing.T) *vpn {
	t.Helper()
	v := &vpn{}
	tun := openTUN(t, top.laptop, "vpn0")
	var reading sync.WaitGroup
	reading.Go(func() {
		buf := make([]byte, 65536)
		for {
			n, err := tun.Read(buf)
			if errors.Is(err, os.ErrClosed) {
				return
			}
			if err == nil && n >= 40 && buf[0]>>4 == 6 && buf[24] != 0xff {
				v.received.Add(1)
			}
		}
	})
	t.Cleanup(func() {
		tun.Close()
		reading.Wait()
	})
	if err := errors.Join(top.laptop.AddAddr("vpn0", vpnAddr), top.laptop.SetUp("vpn0", true)); err != nil {
		t.Fatal(err)
	}
	for _, within := range []netip.Prefix{vpnAddr.Masked(), netip.MustParsePrefix("fe80::/10")} { // the state is still then
		if _, err := top.laptop.WaitAddr(t.Context(), "vpn0", within); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

// preferVPN has a default route by the VPN that is better than the router's.
func (top *topology) preferVPN(t *testing.T) {
	t.Helper()
	if err := top.laptop.AddRoute(netlab.Route{Dst: netip.MustParsePrefix("::/0"), Dev: "vpn0", Metric: 50}); err != nil {
		t.Fatal(err)
	}
}

// ruleVPN has rules that lead to the VPN, as wg-quick makes them.
func (top *topology) ruleVPN(t *testing.T) {
	t.Helper()
	ip := peers.Find(t, "ip")
	for _, args := range [][]string{
		{"route", "add", "default", "dev", "vpn0", "table", "51820"},
		{"rule", "add", "not", "fwmark", "51820", "table", "51820"},
		{"rule", "add", "table", "main", "suppress_prefixlength", "0"},
	} {
		must(t, top.laptop, ip, append([]string{"-6"}, args...)...)
	}
}

// defaultInTable moves the laptop's default route into a table of its own, to which a rule leads.
func (top *topology) defaultInTable(t *testing.T) {
	t.Helper()
	top.setSysctl(t, "net.ipv6.conf.eth0.accept_ra_defrtr", "0") // or the next advertisement brings it back
	ip := peers.Find(t, "ip")
	for _, args := range [][]string{
		{"route", "del", "default", "proto", "ra"},
		{"route", "add", "default", "via", routerLL.Addr().String(), "dev", "eth0", "table", "100"},
		{"rule", "add", "from", "all", "lookup", "100"},
	} {
		must(t, top.laptop, ip, append([]string{"-6"}, args...)...)
	}
}
