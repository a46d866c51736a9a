package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// TestForgedDatagrams sends a program on the laptop datagrams that claim to come from a network of the laptop's own. They arrive as little
// when the laptop lets in all, or has used the port itself; and as soon as there is such a network, also if it comes while the program runs.
func TestForgedDatagrams(t *testing.T) { eachPath(t, testForgedDatagrams) }

func testForgedDatagrams(t *testing.T, top *topology) {
	claimed := netip.MustParseAddr("172.17.0.5")
	forged := behindPREF64(claimed)
	if err := top.plat.AddAddr("lo", host(forged)); err != nil {
		t.Fatal(err)
	}
	if _, err := top.plat.WaitAddr(t.Context(), "lo", host(forged)); err != nil {
		t.Fatal(err)
	}
	ip := peers.Find(t, "ip")
	// A laptop that checks sources by its routes would refuse them itself.
	top.setSysctl(t, "net/ipv4/conf/all/rp_filter", "0")
	for _, inbound := range []string{"replies", "all"} {
		if inbound == "replies" && top.forwards {
			continue // it is the kernel that lets in what was asked for, by whom
		}
		t.Run(inbound, func(t *testing.T) {
			p := top.up(t, top.configured("--inbound", inbound)...)
			conn := top.listenUDP(t, netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
			use(t, conn)
			to := netip.AddrPortFrom(netip.MustParseAddr(top.addr6), conn.LocalAddr().(*net.UDPAddr).AddrPort().Port())
			arrived := startCapture(t, top.laptop, tunDev, "ip src host "+claimed.String())
			send := func() (came bool) {
				t.Helper()
				before := arrived.seen(t)
				sendUDP6(t, top.plat, forged, to)
				top.ping4(t) // behind it
				return arrived.seen(t) > before
			}
			eventually(t, "without such a network, it is one of many addresses", send)
			must(t, top.laptop, ip, "link", "add", "docker0", "type", "bridge")
			if err := top.laptop.AddAddr("docker0", docker0); err != nil {
				t.Fatal(err)
			}
			if err := top.laptop.SetUp("docker0", true); err != nil {
				t.Fatal(err)
			}
			eventually(t, "with it, nothing arrives", func() bool { return !send() })
			const more = 5
			before := arrived.seen(t)
			for range more {
				sendUDP6(t, top.plat, forged, to)
			}
			top.ping4(t)
			if n := arrived.seen(t) - before; n > 0 {
				t.Errorf("%d of %d packets arrive as from %s", n, more, claimed)
			}
			must(t, top.laptop, ip, "link", "delete", "docker0")
			eventually(t, "without it, it does again", send)
			down(t, p, syscall.SIGTERM)
			if !strings.Contains(p.said(), " drop-64-source-is-local=") {
				t.Error("it does not count what it has dropped")
			}
		})
	}
}

// sendUDP6 sends a datagram from an address that a node has.
func sendUDP6(t *testing.T, n *netlab.Node, from netip.Addr, to netip.AddrPort) {
	t.Helper()
	inside(t, n, func() error {
		conn, err := net.DialUDP("udp6", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), net.UDPAddrFromAddrPort(to))
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("forged"))
		return err
	})
}

// TestForgedSources has networks of the laptop's in all the ways in which it can have some. Nothing that claims to come from there arrives, nor
// what nobody on the internet can be.
func TestForgedSources(t *testing.T) { eachPath(t, testForgedSources) }

func testForgedSources(t *testing.T, top *topology) {
	ip := peers.Find(t, "ip")
	for _, args := range []string{
		"addr add 10.9.9.9/32 dev lo",
		"link add lan9 type bridge", "link set lan9 up",
		"addr add 10.10.0.1/24 dev lan9",
		"route add 10.11.0.0/16 via 10.10.0.2",
		"route add 10.12.0.0/16 dev lan9 table 100", "rule add to 10.12.0.0/16 lookup 100",
	} {
		must(t, top.laptop, ip, strings.Fields(args)...)
	}
	for _, check := range []string{"all", "default"} {
		top.setSysctl(t, "net/ipv4/conf/"+check+"/rp_filter", "0")
	}
	others := []string{"10.9.9.9", "10.10.0.1", "10.10.0.5", "10.11.0.5", "10.12.0.5"}
	nobody4 := []string{"127.0.0.1", self4.String(), translator, "224.0.0.1", "255.255.255.255", "0.0.0.0", "169.254.1.1"}
	const stranger = "203.0.113.7"
	p := top.up(t, top.configured("--inbound", "all")...)
	arrived := startCapture(t, top.laptop, tunDev, "ip and udp")
	for _, source := range slices.Concat(others, nobody4, []string{stranger}) {
		from := behindPREF64(netip.MustParseAddr(source))
		if err := top.plat.AddAddr("lo", host(from)); err != nil {
			t.Fatal(err)
		}
		if _, err := top.plat.WaitAddr(t.Context(), "lo", host(from)); err != nil {
			t.Fatal(err)
		}
		sendUDP6(t, top.plat, from, netip.AddrPortFrom(netip.MustParseAddr(top.addr6), 5555))
	}
	top.ping4(t) // behind them
	var sources []string
	for _, f := range arrived.frames(t) {
		sources = append(sources, source4(f).String())
	}
	if !slices.Equal(sources, []string{stranger}) {
		t.Errorf("packets arrive as from %q, want one of %s", sources, stranger)
	}
	down(t, p, syscall.SIGTERM)
	p.wait(t, fmt.Sprintf(" drop-64-source-is-local=%d", len(others)))
	p.wait(t, fmt.Sprintf(" drop-64-spoofed-source=%d", len(nobody4)))
}
