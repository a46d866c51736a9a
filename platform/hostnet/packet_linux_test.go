package hostnet

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

// packetConfig is the host of path packet: the daemon speaks IPv6 on the uplink itself, and the TUN is for IPv4 alone.
func packetConfig() platform.HostConfig {
	return platform.HostConfig{
		TUN:       "clat0",
		MTU:       1480,
		Addrs:     []netip.Prefix{netip.MustParsePrefix("100.64.46.4/32")},
		Routes:    []platform.Route{{Dst: netip.MustParsePrefix("0.0.0.0/0"), Metric: 2000000, MTU: 1480}},
		Blackhole: blackholes6(clat6),
	}
}

// blackholes6 are the prefixes of single addresses.
func blackholes6(addrs ...string) (p []netip.Prefix) {
	for _, a := range addrs {
		p = append(p, netip.PrefixFrom(netip.MustParseAddr(a), 128))
	}
	return p
}

// On path packet, nothing of the host is new but what belongs to the TUN: no IPv6, no multicast, no sysctl of another interface, no
// nftables table. It is the same for a TUN that came with IPv6 and for one that has none.
func TestPacketPath(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		newLab(t)
		const routed = `addr clat0 100.64.46.4/32 scope 0 flags 0x280
link 2 clat0 mtu 1480 flags up|pointtopoint|running
route table 254 0.0.0.0/0 via <nil> dev 2 type 1 protocol 46 metric 2000000 mtu 1480
`
		const accept = "sysctl net/ipv6/conf/clat0/accept_ra = 0\n"
		const disable = "sysctl net/ipv6/conf/clat0/disable_ipv6 = 1\n"
		const mtu = "sysctl net/ipv6/conf/clat0/mtu = 1480\n"
		for _, tt := range []struct {
			name string
			mtu  int
			prep func()
			want string
		}{
			{name: "as it comes", mtu: 1480, prep: func() {}, want: routed + accept + disable + mtu},
			{name: "without IPv6 before", mtu: 1480, prep: func() { sysctl(t, "net/ipv6/conf/clat0/disable_ipv6", "1") },
				want: routed + accept + mtu},
			{name: "strict rp_filter", mtu: 1480, prep: func() { sysctl(t, "net/ipv4/conf/all/rp_filter", "1") },
				want: routed + "sysctl net/ipv4/conf/clat0/rp_filter = 2\n" + accept + mtu},
			{name: "MTU below IPv6", mtu: 1260, prep: func() { sysctl(t, "net/ipv4/conf/all/rp_filter", "0"); setMTU(t, 1260) },
				want: strings.Replace(routed, "mtu 1480 flags", "mtu 1260 flags", 1)},
			{name: "MTU to below IPv6", mtu: 1260, prep: func() { setMTU(t, 1500) },
				want: strings.Replace(routed, "mtu 1480 flags", "mtu 1260 flags", 1)},
		} {
			tt.prep()
			before := dump(t)
			h := newHost(t)
			want := packetConfig()
			want.MTU, want.Blackhole = tt.mtu, nil
			must(t, h.Set(t.Context(), want))
			once := dump(t)
			if diff := cmp.Diff(tt.want, changed(before, once)); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.name, diff)
			}
			for line := range strings.Lines(changed(once, before)) {
				if line != "\n" && !strings.Contains(line, "clat0") {
					t.Errorf("%s: gone: %s", tt.name, line)
				}
			}
			must(t, h.Set(t.Context(), want))
			if diff := cmp.Diff(once, dump(t)); diff != "" {
				t.Errorf("%s: twice is not once:\n%s", tt.name, diff)
			}
			must(t, h.Set(t.Context(), platform.HostConfig{}))
			if tt.name == "MTU to below IPv6" {
				continue // the kernel gives an interface new IPv6 settings when its MTU gets large enough again
			}
			if diff := cmp.Diff(before, dump(t)); diff != "" {
				t.Errorf("%s: left behind:\n%s", tt.name, diff)
			}
		}
	})
}

func setMTU(t *testing.T, mtu int) {
	t.Helper()
	link, err := netlink.LinkByName("clat0")
	must(t, err)
	must(t, netlink.LinkSetMTU(link, mtu))
}

// From one path to the other with the same TUN, and what others turn on at it is turned off again.
func TestPacketAndKernel(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		newLab(t)
		before := dump(t)
		h := newHost(t)
		for range 2 {
			must(t, h.Set(t.Context(), packetConfig()))
			if got := dump(t); !strings.Contains(got, "clat0/disable_ipv6 = 1") || strings.Contains(got, "table family") {
				t.Errorf("path packet:\n%s", got)
			}
			sysctl(t, "net/ipv6/conf/clat0/disable_ipv6", "0")
			link, err := netlink.LinkByName("clat0")
			must(t, err)
			must(t, netlink.LinkSetMulticastOn(link))
			must(t, h.Set(t.Context(), packetConfig()))
			if got := dump(t); !strings.Contains(got, "clat0/disable_ipv6 = 1") || !strings.Contains(got, "clat0 mtu 1480 flags up|pointtopoint|running") {
				t.Errorf("path packet, after somebody else:\n%s", got)
			}
			must(t, h.Set(t.Context(), config()))
			got := dump(t)
			if !strings.Contains(got, "clat0/disable_ipv6 = 0") || !strings.Contains(got, "table family") || strings.Contains(got, "type 6") {
				t.Errorf("path kernel:\n%s", got)
			}
		}
		must(t, h.Set(t.Context(), platform.HostConfig{}))
		if diff := cmp.Diff(before, dump(t)); diff != "" {
			t.Errorf("left behind:\n%s", diff)
		}
	})
}

// The kernel puts no packet of its own into the TUN, whatever programs send to groups.
func TestPacketQuiet(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		l := newLab(t)
		h := newHost(t)
		must(t, h.Set(t.Context(), packetConfig()))
		// The first packet to be read is the last one that is sent.
		_, err := sendUDP(t, "[ff02::fb%clat0]:5353")
		if err == nil {
			t.Error("a multicast packet could be sent by IPv6")
		}
		_, err = sendUDP(t, "192.0.2.7:4646")
		must(t, err)
		buf := make([]byte, 2000)
		l.tun.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := l.tun.Read(buf)
		must(t, err)
		if n < 20 || buf[0]>>4 != 4 || netip.AddrFrom4([4]byte(buf[16:20])) != netip.MustParseAddr("192.0.2.7") {
			t.Errorf("not quiet: % x", buf[:n])
		}
	})
}

// sendUDP sends one packet from this host.
func sendUDP(t *testing.T, to string) (int, error) {
	t.Helper()
	conn, err := net.Dial("udp", to)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	return conn.Write([]byte("hello"))
}
