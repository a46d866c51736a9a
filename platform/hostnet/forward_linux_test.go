package hostnet

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/ndp"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

const port = 4646

// udp6 is an IPv6 UDP packet to port.
func udp6(src, dst, payload string) []byte {
	p := make([]byte, 48+len(payload))
	s, d := netip.MustParseAddr(src).As16(), netip.MustParseAddr(dst).As16()
	p[0], p[6], p[7] = 0x60, 17, 64
	binary.BigEndian.PutUint16(p[4:], uint16(8+len(payload)))
	copy(p[8:], s[:])
	copy(p[24:], d[:])
	binary.BigEndian.PutUint16(p[40:], port)
	binary.BigEndian.PutUint16(p[42:], port)
	binary.BigEndian.PutUint16(p[44:], uint16(8+len(payload)))
	copy(p[48:], payload)
	sum := uint32(17 + 8 + len(payload))
	for i := 8; i < len(p); i += 2 {
		sum += uint32(p[i]) << 8
		if i+1 < len(p) {
			sum += uint32(p[i+1])
		}
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(p[46:], ^uint16(sum))
	return p
}

// traffic is sockets at all ends of the lab.
type traffic struct {
	*lab
	plat, foreign, lan net.PacketConn // UDP: on the PLAT's translated address, on another address there, in the LAN
	icmp               net.PacketConn // ICMPv6, in the PLAT's namespace
}

func newTraffic(t *testing.T) *traffic {
	t.Helper()
	l := newLab(t)
	tr := &traffic{lab: l}
	listen := func(ns *nstest.NS, network, address string) (conn net.PacketConn) {
		t.Helper()
		ns.Do(t, func() (err error) {
			conn, err = net.ListenPacket(network, address)
			return err
		})
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	tr.plat = listen(l.plat, "udp6", "["+server+"]:4646")
	tr.foreign = listen(l.plat, "udp6", "[2001:db8:ffff::1]:4646")
	tr.icmp = listen(l.plat, "ip6:58", "2001:db8:ffff::1")
	tr.lan = listen(l.lan, "udp6", "[2001:db8:2::2]:4646")
	return tr
}

// inject is a packet that comes out of the TUN.
func (tr *traffic) inject(t *testing.T, src, dst, payload string) {
	t.Helper()
	_, err := tr.tun.Write(udp6(src, dst, payload))
	must(t, err)
}

func send(t *testing.T, from net.PacketConn, dst, payload string) {
	t.Helper()
	_, err := from.WriteTo([]byte(payload), &net.UDPAddr{IP: net.ParseIP(dst), Port: port})
	must(t, err)
}

// quiet is how long nothing must come until all has come.
const quiet = 150 * time.Millisecond

// received is the payloads of the packets that come to a socket.
func received(t *testing.T, conn net.PacketConn) (payloads []string) {
	t.Helper()
	buf := make([]byte, 2000)
	for {
		conn.SetReadDeadline(time.Now().Add(quiet))
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			return payloads
		}
		payloads = append(payloads, string(buf[:n]))
	}
}

// intoTUN is the payloads of the packets that the kernel routes into the TUN.
func (tr *traffic) intoTUN() (payloads []string) {
	buf := make([]byte, 2000)
	for {
		tr.tun.SetReadDeadline(time.Now().Add(quiet))
		n, err := tr.tun.Read(buf)
		switch {
		case err != nil:
			return payloads
		case n < 48: // neither UDP nor ICMPv6 of ours
		case buf[6] == 58 && buf[40] == 135, buf[6] == 0: // the kernel's own: NS, MLD
		default:
			payloads = append(payloads, string(buf[48:n]))
		}
	}
}

// What is forwarded, and what is not, on each of the ways that forwarding is turned on.
func TestForwarding(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		tr := newTraffic(t)
		for _, tt := range []struct {
			name   string
			hide   string
			all    string // conf/all/forwarding beforehand
			router bool   // other traffic passes this host
		}{
			{name: "forced", all: "0"},
			{name: "global", all: "0", hide: "/force_forwarding"},
			{name: "already", all: "1", router: true},
		} {
			sysctl(t, "net/ipv6/conf/all/forwarding", tt.all)
			h := newHost(t)
			h.sys = &oldKernel{sysctls: h.sys, hide: tt.hide}
			must(t, h.Set(t.Context(), config()))

			tr.inject(t, clat6, server, "46")
			tr.inject(t, "2001:db8:2::99", server, "46, source is not the CLAT's")
			tr.inject(t, clat6, "2001:db8:ffff::1", "46, destination is not in PREF64")
			tr.inject(t, clat6, "2001:db8:2::2", "46, not to the uplink")
			send(t, tr.plat, clat6, "64")
			send(t, tr.foreign, clat6, "64, source is not in PREF64")
			send(t, tr.lan, clat6, "64, from the LAN")
			send(t, tr.foreign, "2001:db8:2::2", "uplink to LAN")
			send(t, tr.lan, "2001:db8:ffff::1", "LAN to uplink")
			for _, typ := range []byte{1, 2, 3, 4, 128, 129} {
				msg := append([]byte{typ, 0, 0, 0, 0, 0, 5, 0}, "ICMPv6 "+string('0'+typ%10)...)
				_, err := tr.icmp.WriteTo(msg, &net.IPAddr{IP: net.ParseIP(clat6)})
				must(t, err)
			}

			want := map[string][]string{
				"plat": {"46"}, "foreign": nil, "lan": nil,
				"tun": {"64", "ICMPv6 1", "ICMPv6 2", "ICMPv6 3", "ICMPv6 4"},
			}
			if tt.router {
				want["foreign"], want["lan"] = []string{"LAN to uplink"}, []string{"uplink to LAN"}
			}
			got := map[string][]string{
				"plat": received(t, tr.plat), "foreign": received(t, tr.foreign), "lan": received(t, tr.lan), "tun": tr.intoTUN(),
			}
			slices.Sort(got["tun"])
			slices.Sort(want["tun"])
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.name, diff)
			}
			must(t, h.Set(t.Context(), platform.HostConfig{}))
		}
	})
}

// With RepliesOnly, what comes in has to answer something that went out, or be an error about it.
func TestRepliesOnly(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		tr := newTraffic(t)
		c := config()
		c.Forward.RepliesOnly = true
		must(t, newHost(t).Set(t.Context(), c))
		sendError := func(quote []byte) {
			t.Helper()
			_, err := tr.icmp.WriteTo(append([]byte{2, 0, 0, 0, 0, 0, 5, 0}, quote...), &net.IPAddr{IP: net.ParseIP(clat6)})
			must(t, err)
		}
		send(t, tr.plat, clat6, "unasked")
		sendError(udp6(clat6, server, "never sent"))
		if got := tr.intoTUN(); got != nil {
			t.Errorf("unasked: %q", got)
		}
		tr.inject(t, clat6, server, "question")
		if got := received(t, tr.plat); !slices.Equal(got, []string{"question"}) {
			t.Fatalf("PLAT got %q", got)
		}
		send(t, tr.plat, clat6, "answer")
		if got := tr.intoTUN(); !slices.Equal(got, []string{"answer"}) {
			t.Errorf("answer: %q", got)
		}
		sendError(udp6(clat6, server, "question"))
		if got := tr.intoTUN(); len(got) != 1 {
			t.Errorf("error: %q", got)
		}
	})
}

// What TestForwarding sees dropped would arrive without our filter: the drops are its doing.
func TestForwardingControl(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		tr := newTraffic(t)
		sysctl(t, "net/ipv6/conf/all/forwarding", "1")
		c := config()
		c.Forward, c.IPv6 = nil, true
		must(t, newHost(t).Set(t.Context(), c))
		tr.inject(t, "2001:db8:1::99", server, "spoofed")
		tr.inject(t, clat6, "2001:db8:2::2", "to the LAN")
		send(t, tr.foreign, clat6, "foreign")
		send(t, tr.lan, clat6, "from the LAN")
		if got := received(t, tr.plat); !slices.Equal(got, []string{"spoofed"}) {
			t.Errorf("PLAT got %q", got)
		}
		if got := received(t, tr.lan); !slices.Equal(got, []string{"to the LAN"}) {
			t.Errorf("LAN got %q", got)
		}
		got := tr.intoTUN()
		slices.Sort(got)
		if !slices.Equal(got, []string{"foreign", "from the LAN"}) {
			t.Errorf("TUN got %q", got)
		}
	})
}

// One of the two flags of the kernel alone is not enough: each counts for what comes in by its interface.
func TestForceForwardingIsOfTheInput(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		tr := newTraffic(t)
		c := config()
		c.Forward, c.IPv6 = nil, true
		must(t, newHost(t).Set(t.Context(), c))
		for _, iface := range []string{"clat0", "eth0"} {
			sysctl(t, forceKey(iface), "1")
			tr.inject(t, clat6, server, "46")
			send(t, tr.plat, clat6, "64")
			plat, tun := len(received(t, tr.plat)) > 0, len(tr.intoTUN()) > 0
			if plat != (iface == "clat0") || tun != (iface == "eth0") {
				t.Errorf("%s: 46 arrives: %t, 64 arrives: %t", iface, plat, tun)
			}
			sysctl(t, forceKey(iface), "0")
		}
	})
}

// A default route that the kernel learned from a Router Advertisement survives forwarding, on and off, and goes on to follow what
// the router says.
func TestGlobalKeepsRARoute(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		plat := nstest.New(t)
		nstest.Veth(t, "eth0", "plat0", plat)
		openTUN(t, "clat0")
		nstest.Settle(t)
		var router *ndp.Conn
		plat.Do(t, func() error {
			iface, err := net.InterfaceByName("plat0")
			if err != nil {
				return err
			}
			router, _, err = ndp.Listen(iface, ndp.LinkLocal)
			return err
		})
		defer router.Close()
		advertise := func(lifetime time.Duration) {
			t.Helper()
			must(t, router.WriteTo(&ndp.RouterAdvertisement{RouterLifetime: lifetime, Options: []ndp.Option{&ndp.PrefixInformation{
				PrefixLength: 64, OnLink: true, AutonomousAddressConfiguration: true, ValidLifetime: time.Hour, PreferredLifetime: time.Hour,
				Prefix: netip.MustParseAddr("2001:db8:1::")}}}, nil, netip.IPv6LinkLocalAllNodes()))
		}
		hasRoute := func() bool { return strings.Contains(dump(t), "type 1 protocol 9 metric 1024") }
		await := func(want bool, what string) {
			t.Helper()
			for deadline := time.Now().Add(5 * time.Second); hasRoute() != want; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal(what)
				}
			}
		}
		advertise(30 * time.Minute)
		await(true, "the kernel learned no default route")
		nstest.Settle(t)
		before := dump(t)

		// That the danger is real.
		sysctl(t, forwardKey, "1")
		if hasRoute() {
			t.Fatal("this kernel keeps the route anyway: the test proves nothing")
		}
		sysctl(t, forwardKey, "0")
		advertise(30 * time.Minute)
		await(true, "the kernel did not learn the default route again")

		for _, hide := range []string{"/force_forwarding", ""} {
			h := newHost(t)
			h.sys = &oldKernel{sysctls: h.sys, hide: hide}
			must(t, h.Set(t.Context(), config()))
			if !hasRoute() {
				t.Fatalf("%q: route is gone", hide)
			}
			for _, line := range strings.Split(changed(dump(t), before), "\n") {
				if line != "" && !strings.Contains(line, "clat0") && !strings.Contains(line, "orwarding") && !strings.Contains(line, "eth0/accept_ra") {
					t.Errorf("%q: lost: %s", hide, line)
				}
			}
			advertise(0)
			await(false, "the router's farewell was not heard")
			advertise(30 * time.Minute)
			await(true, "the router's return was not heard")
			must(t, h.Set(t.Context(), platform.HostConfig{}))
			if diff := cmp.Diff(before, dump(t)); diff != "" {
				t.Errorf("%q: left behind:\n%s", hide, diff)
			}
		}
	})
}
