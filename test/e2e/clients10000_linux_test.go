package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// TestTenThousandClients has as many clients behind the laptop, each with an IPv6 address that only its mapping tells.
func TestTenThousandClients(t *testing.T) {
	t.Parallel()
	count := 10_000
	if withRace() {
		count = 1000 // to read more of them takes too long
	}
	clients := netip.MustParsePrefix("100.70.0.0/16")
	top := newTopology(t)
	top.restartTAYGA(t, 1500, netip.MustParsePrefix("10.64.0.0/16")) // room for all of them
	node := top.addClients(t, clients)
	var maps strings.Builder
	var addrs4 []netip.Addr
	addrs6 := map[netip.Addr]bool{}
	standsFor := map[netip.Addr]netip.Addr{} // the IPv6 address for each IPv4 address
	random := rand.NewChaCha8([32]byte{})
	for addr4 := clients.Addr().Next(); len(addrs4) < count; addr4 = addr4.Next() {
		a := routedPrefix.Addr().As16()
		binary.BigEndian.PutUint64(a[8:], random.Uint64()|1<<63)
		addr6 := netip.AddrFrom16(a)
		addrs4, addrs6[addr6], standsFor[addr4] = append(addrs4, addr4), true, addr6
		fmt.Fprintf(&maps, "[[map]]\nipv4 = '%s'\nipv6 = '%s'\n", addr4, addr6)
	}
	if len(addrs6) != count {
		t.Fatalf("%d IPv6 addresses for %d clients", len(addrs6), count)
	}

	for _, c := range []struct {
		name, config, on string
		prepare          func(t *testing.T) // once it is on
	}{
		{"CLAT", "interface.ipv4 = '100.64.0.0/10'\naddress.ipv6 = '2001:db8:c1a7::/96'\n", "on: IPv4 through eth0", func(*testing.T) {}},
		{"SIIT router", "interface.ipv4 = ''\ninterface.default-route = false\n", "on: SIIT router on " + tunDev, func(t *testing.T) {
			top.setSysctl(t, acceptRAEth0, "2")
			top.setSysctl(t, allForwarding, "1")
			for _, dst := range []netip.Prefix{host(server4), routedPrefix} {
				if err := top.laptop.AddRoute(netlab.Route{Dst: dst, Dev: tunDev}); err != nil {
					t.Fatal(err)
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := config(t, "uclat.toml", fmt.Sprintf("%spref64.prefixes = ['%s']\n%s", c.config, pref64, &maps))
			began := time.Now()
			p := top.startUclat(t, "--config", file, passZeroChecksum)
			p.wait(t, c.on)
			took := time.Since(began)
			now, most := memory(t, p)
			t.Logf("on after %v; %d KiB of memory, at most %d", took.Round(time.Millisecond), now, most)
			c.prepare(t)

			seen := startCapture(t, top.laptop, "eth0", "udp and dst host "+server6.String())
			for round := range 2 { // the second time, everybody is known to everybody
				began = time.Now()
				answered := askAll(t, node, addrs4)
				if len(answered) != count {
					t.Errorf("round %d: %d clients were answered", round, len(answered))
				}
				took := time.Since(began)
				now, most := memory(t, p)
				t.Logf("answered in %v; %d KiB of memory, at most %d", took.Round(time.Millisecond), now, most)
			}
			left := map[netip.Addr]bool{}
			for _, f := range seen.frames(t) {
				const source, payload = 14 + 8, 14 + 40 + 8
				addr4 := netip.AddrFrom4([4]byte(f[payload:]))
				addr6 := netip.AddrFrom16([16]byte(f[source:]))
				if standsFor[addr4] != addr6 {
					t.Fatalf("%s left as %s, want %s", addr4, addr6, standsFor[addr4])
				}
				left[addr4] = true
			}
			if len(left) != count {
				t.Errorf("%d clients were seen on the uplink", len(left))
			}
			down(t, p, syscall.SIGTERM)
		})
	}
}

// addClients puts a host behind the laptop that has all the addresses of a prefix.
func (top *topology) addClients(t *testing.T, addrs netip.Prefix) *netlab.Node {
	t.Helper()
	clients, err := top.lab.Node("clients", netlab.NodeOptions{NoDAD: true})
	if err != nil {
		t.Fatal(err)
	}
	laptop, host4 := netip.MustParsePrefix("169.254.1.1/30"), netip.MustParsePrefix("169.254.1.2/30")
	if err := errors.Join(
		netlab.Connect(clients, "eth0", top.laptop, "lan0", netlab.LinkOptions{}),
		top.laptop.SetSysctl("net.ipv4.ip_forward", "1"),
		top.laptop.AddAddr("lan0", laptop),
		clients.AddAddr("eth0", host4),
		clients.AddRoute(netlab.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Via: laptop.Addr()}),
		top.laptop.AddRoute(netlab.Route{Dst: addrs, Via: host4.Addr()}),
	); err != nil {
		t.Fatal(err)
	}
	must(t, clients, peers.Find(t, "ip"), "route", "add", "local", addrs.String(), "dev", "lo")
	// The laptop's state is still once this address is no longer being checked.
	if _, err := top.laptop.WaitAddr(t.Context(), "lan0", netip.MustParsePrefix("fe80::/10")); err != nil {
		t.Fatal(err)
	}
	return clients
}

// askAll sends a datagram to the server's echo from each address, and returns those that were answered.
func askAll(t *testing.T, n *netlab.Node, addrs []netip.Addr) map[netip.Addr]bool {
	t.Helper()
	s := newUDP(t, n, unix.IP_PMTUDISC_DONT)
	defer s.close()
	s.set(t, unix.IP_PKTINFO, 1)
	s.bind(t, 0)       // connected, it would have one address
	const atATime = 64 // fewer than any queue on the way can hold
	answered := map[netip.Addr]bool{}
	open := 0
	take := func() bool {
		to, said, err := s.receiveTo(soon)
		if err != nil {
			return false
		}
		if said != to {
			t.Fatalf("the answer to %s came to %s", said, to)
		}
		answered[to] = true
		open--
		return true
	}
	for _, addr := range addrs {
		if open == atATime && !take() {
			break // who is not answered now will not be
		}
		if err := s.sendFrom(addr, netip.AddrPortFrom(server4, portEcho)); err != nil {
			t.Fatalf("from %s: %v", addr, err)
		}
		open++
	}
	for open > 0 && take() {
	}
	return answered
}

// sendFrom sends an address, and has it as source.
func (s *socket) sendFrom(addr netip.Addr, to netip.AddrPort) error {
	a := addr.As4()
	info := append(make([]byte, 4), a[:]...) // struct in_pktinfo: interface, source, destination
	return unix.Sendmsg(s.fd, a[:], control(unix.IP_PKTINFO, append(info, 0, 0, 0, 0)), sockaddr(to), 0)
}

// receiveTo waits for what came of an address that was sent, and returns where it came to as well.
func (s *socket) receiveTo(wait time.Duration) (to, said netip.Addr, err error) {
	if _, err := await(wait, s.delivers()); err != nil {
		return to, said, err
	}
	var b [4]byte
	oob := make([]byte, 256)
	_, n, _, _, err := unix.Recvmsg(s.fd, b[:], oob, unix.MSG_DONTWAIT)
	if err != nil {
		return to, said, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil {
		return to, said, err
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO {
			return netip.AddrFrom4([4]byte(m.Data[8:])), netip.AddrFrom4(b), nil
		}
	}
	return to, said, errors.New("a datagram without IP_PKTINFO")
}
