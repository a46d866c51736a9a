package e2e

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// firewall6 is what most distributions bring: from outside comes nothing that was not asked for.
const firewall6 = `table ip6 firewall {
	chain input {
		type filter hook input priority filter; policy drop
		iifname lo accept
		ct state established,related accept
		icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
	}
}
`

// TestBehindFirewall has programs that listen on a laptop whose firewall knows of IPv6 only, and a server that can send to it all that it
// likes, as the PLAT has an address for the laptop alone. The firewall sees nothing of that, and still nobody is reached who was not before.
func TestBehindFirewall(t *testing.T) { eachPath(t, testBehindFirewall) }

func testBehindFirewall(t *testing.T, top *topology) {
	top.giveFixed4(t)
	nft := peers.Find(t, "nft")
	if r := tryInput(t, top.laptop, firewall6, nft, "-f", "-"); r.code != 0 {
		t.Fatalf("nft: %+v", r)
	}
	before := dump(t, top.laptop)
	none, all := []string(nil), []string{"TCP 0.0.0.0:5001", "TCP 100.64.46.4:5002", "UDP 0.0.0.0:5003", "UDP 100.64.46.4:5004", "ping"}

	t.Run("replies", func(t *testing.T) {
		p := top.up(t, top.configured()...)
		if got := top.reached(t, none); len(got) > 0 {
			t.Errorf("reached: %q", got)
		}
		t.Run("what was asked for comes", func(t *testing.T) {
			top.ping4(t)
			top.curlBothWays(t, 1_000_000)
			top.echo(t, 10, 1400, 4000)
			refused := try(t, top.laptop, peers.Find(t, "dig"), "+time=5", "+tries=1", "-p", fmt.Sprint(portClosed), "@"+server4.String(), "a.test")
			if !strings.Contains(refused.stdout, "connection refused") {
				t.Errorf("a closed port: %+v", refused)
			}
		})
		if !top.forwards { // where the kernel's connection tracking looks at who has asked
			t.Run("a UDP port that is in use hears from others too", func(t *testing.T) {
				asking, other := top.listenUDP(t, netip.AddrPortFrom(self4, 0)), top.listenUDP(t, netip.AddrPortFrom(self4, 0))
				use(t, asking)
				if !top.hears(t, asking, patience) {
					t.Error("it hears nothing")
				}
				if top.hears(t, other, silence) {
					t.Error("another, which has sent nothing, hears as much")
				}
			})
		}
		down(t, p, syscall.SIGTERM)
		top.unchanged(t, before)
		if counted := strings.Contains(p.said(), " drop-64-inbound="); counted == top.forwards {
			t.Errorf("counted: %v", counted)
		}
	})
	t.Run("all", func(t *testing.T) {
		p := top.up(t, top.configured("--inbound", "all")...)
		if got := top.reached(t, all); !slices.Equal(got, all) {
			t.Errorf("reached: %q, want %q", got, all)
		}
		const mine = "table ip mine { chain input { type filter hook input priority filter; iifname " + tunDev + " ct state new drop; }; }\n"
		if r := tryInput(t, top.laptop, mine, nft, "-f", "-"); r.code != 0 {
			t.Fatalf("nft: %+v", r)
		}
		if got := top.reached(t, none); len(got) > 0 {
			t.Errorf("reached through a firewall for IPv4: %q", got)
		}
		must(t, top.laptop, nft, "delete", "table", "ip", "mine")
		down(t, p, syscall.SIGTERM)
		top.unchanged(t, before)
	})
}

// silence is for how long nothing is taken for never, where an answer takes a few milliseconds.
const silence = 700 * time.Millisecond

// reached has the server try all ways to the programs of the laptop, and returns those that lead there, in order. It waits for those that
// should.
func (top *topology) reached(t *testing.T, want []string) (ways []string) {
	t.Helper()
	patient := func(way string) time.Duration {
		if slices.Contains(want, way) {
			return patience
		}
		return silence
	}
	var mu sync.Mutex
	found := map[string]bool{}
	var trying sync.WaitGroup
	attempt := func(way string, reaches func(wait time.Duration) bool) {
		trying.Go(func() {
			if reaches(patient(way)) {
				mu.Lock()
				defer mu.Unlock()
				found[way] = true
			}
		})
	}
	anywhere := netip.IPv4Unspecified()
	for _, at := range []netip.AddrPort{netip.AddrPortFrom(anywhere, 5001), netip.AddrPortFrom(self4, 5002)} {
		defer top.listenTCP(t, at).Close()
		attempt("TCP "+at.String(), func(wait time.Duration) bool {
			return connects(t, top.server, netip.AddrPortFrom(fixed4, at.Port()), wait)
		})
	}
	for _, at := range []netip.AddrPort{netip.AddrPortFrom(anywhere, 5003), netip.AddrPortFrom(self4, 5004)} {
		conn := top.listenUDP(t, at)
		defer conn.Close() // twice does no harm
		attempt("UDP "+at.String(), func(wait time.Duration) bool { return top.hears(t, conn, wait) })
	}
	attempt("ping", func(wait time.Duration) bool {
		return try(t, top.server, peers.Find(t, "ping"), "-c", "1", "-W", fmt.Sprint(wait.Seconds()), fixed4.String()).code == 0
	})
	trying.Wait()
	return slices.Sorted(maps.Keys(found))
}

// listenTCP has the laptop accept connections.
func (top *topology) listenTCP(t *testing.T, at netip.AddrPort) (listener net.Listener) {
	t.Helper()
	inside(t, top.laptop, func() (err error) {
		listener, err = net.Listen("tcp4", at.String())
		return err
	})
	return listener
}

// connects says whether a node has a connection to an address within that time.
func connects(t *testing.T, n *netlab.Node, to netip.AddrPort, wait time.Duration) (connected bool) {
	t.Helper()
	inside(t, n, func() error {
		conn, err := net.DialTimeout("tcp4", to.String(), wait)
		if err == nil {
			connected = true
			return conn.Close()
		}
		return nil
	})
	return connected
}

// listenUDP has the laptop hear at an address, until the end of the test. Port 0 is the kernel's choice.
func (top *topology) listenUDP(t *testing.T, at netip.AddrPort) (conn *net.UDPConn) {
	t.Helper()
	inside(t, top.laptop, func() (err error) {
		conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at))
		return err
	})
	t.Cleanup(func() { conn.Close() })
	return conn
}

// use has the server's echo answer a socket.
func use(t *testing.T, conn *net.UDPConn) {
	t.Helper()
	_, err := conn.WriteToUDPAddrPort([]byte("asked"), netip.AddrPortFrom(server4, portEcho))
	if err == nil {
		err = conn.SetReadDeadline(time.Now().Add(patience))
	}
	if err == nil {
		_, err = conn.Read(make([]byte, 100))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// hears has the server send to a socket of the laptop's from a port of which nobody has heard, and says whether that arrives in time.
func (top *topology) hears(t *testing.T, conn *net.UDPConn, wait time.Duration) bool {
	t.Helper()
	to := netip.AddrPortFrom(fixed4, conn.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	inside(t, top.server, func() error {
		from, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(to))
		if err != nil {
			return err
		}
		defer from.Close()
		_, err = from.Write([]byte("unasked"))
		return err
	})
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Error(err)
	}
	_, _, err := conn.ReadFromUDPAddrPort(make([]byte, 100))
	return err == nil
}
