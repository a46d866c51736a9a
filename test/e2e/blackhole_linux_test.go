package e2e

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// unlucky are sizes of UDP payloads, in octets, around those at which something begins to be cut: by the translator into IPv6 packets of
// 1280, by the hop at 1300, by the kernel at the route's 1480 and at 1500.
var unlucky = []int{1, 500, 1200, 1223, 1224, 1231, 1232, 1233, 1252, 1253, 1271, 1272, 1273, 1452, 1453, 1472, 1473, 2000, 4000}

// TestNarrowPath has a hop behind the PLAT that takes less than all links do, and says so: the programs on both sides learn it.
func TestNarrowPath(t *testing.T) { eachPath(t, testNarrowPath) }

func testNarrowPath(t *testing.T, top *topology) {
	top.addHop(t)
	p := top.up(t, top.configured()...)
	for _, mtu := range []int{1400, 1300} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			top.narrowHop(t, mtu)
			learned := func(t *testing.T, n *netlab.Node, to netip.Addr) {
				t.Helper()
				if got := top.pathMTU(t, n, to); got != mtu {
					t.Errorf("the %s believes that the path takes %d octets, want %d", n.Name(), got, mtu)
				}
			}
			t.Run("TCP", func(t *testing.T) {
				// Who knows it offers the other side no larger segments, so that there is nothing to learn.
				top.forget(t)
				top.download(t, top.laptop, 2_000_000)
				learned(t, top.server, platHop.Addr())
				top.forget(t)
				top.upload(t, top.laptop, 2_000_000)
				learned(t, top.laptop, server4)
			})
			t.Run("UDP", func(t *testing.T) {
				top.forget(t)
				top.refusedWithDF(t, 1480, mtu+1)
				if lost := top.echoes(t, echoOptions{DF: true, Sizes: []int{1, mtu - 28}}); len(lost) > 0 {
					t.Errorf("what fits: %s", strings.Join(lost, ", "))
				}
				top.echo(t, mtu-28, mtu-27, 4000)
				learned(t, top.laptop, server4)
				learned(t, top.server, platHop.Addr())
			})
			t.Run("tracepath", func(t *testing.T) {
				top.forget(t)
				out := must(t, top.laptop, peers.Find(t, "tracepath"), "-n", server4.String())
				checkTracepath(t, out, mtu)
			})
			top.forget(t)
			top.tooBig(t, mtu+1, mtu)
		})
	}
	down(t, p, syscall.SIGTERM)
}

// TestBlackHole has a router on the way that takes less than all links do, and of which no error is ever heard. Datagrams without DF arrive
// nevertheless, and so does TCP that finds out by itself how much arrives.
func TestBlackHole(t *testing.T) { eachPath(t, testBlackHole) }

func testBlackHole(t *testing.T, top *topology) {
	top.addHop(t)
	for _, n := range []*netlab.Node{top.laptop, top.server} {
		for key, value := range map[string]string{
			"net.ipv4.tcp_mtu_probing": "1", // smaller segments where none is acknowledged (RFC 4821)
			"net.ipv4.tcp_retries1":    "0", // after a second instead of the usual six
		} {
			if err := n.SetSysctl(key, value); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := top.up(t, top.configured()...)
	for _, c := range []struct {
		name string
		make func(t *testing.T) (heard func() int)
		mtu  int // octets of IPv4 that arrive
	}{
		{"behind the PLAT", top.holeBehindPLAT, hole4},
		{"before the PLAT", top.holeBeforePLAT, 1280 - 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			heard := c.make(t)
			t.Run("it is one", func(t *testing.T) { top.blackHole(t, c.mtu) })
			t.Run("UDP without DF", func(t *testing.T) { top.echoInFragments(t, c.mtu) })
			if heard() == 0 {
				t.Error("no router had anything to say")
			}
			for way, transfer := range map[string]func(*testing.T, *netlab.Node, int64){"download": top.download, "upload": top.upload} {
				t.Run("TCP that probes: "+way, func(t *testing.T) {
					before := heard()
					transfer(t, top.laptop, 3_000_000)
					if heard() == before {
						t.Error("TCP met no black hole")
					}
				})
			}
		})
	}
	down(t, p, syscall.SIGTERM)
}

// TestClampMSS shows what a black hole does to programs that do not look for one, and what helps: the MTU of the way, given as that of the
// uplink. The host itself needs no more. The clients behind it have an MTU of their own, and for their TCP there is translate.clamp-mss.
func TestClampMSS(t *testing.T) { eachPath(t, testClampMSS) }

func testClampMSS(t *testing.T, top *topology) {
	top.addHop(t)
	var client *netlab.Node // which only path kernel serves
	if top.forwards {
		client = top.addClient(t)
	}
	heard := top.holeBehindPLAT(t)
	clients := []string{"--interface.ipv4", "100.64.0.0/10", "--address.ipv6", "2001:db8:c1a7::/96"}
	known := []string{"--interface.mtu", fmt.Sprint(hole4 + 20)}
	const clamp = "--translate.clamp-mss"
	for _, c := range []struct {
		name   string
		node   *netlab.Node
		flags  []string
		there  int // MSS that the server sees
		back   int // MSS that the server's 1460 becomes
		passes bool
	}{
		{"host, MTU known", top.laptop, top.configured(known...), hole4 - 40, 1460, true},
		{"client, clamped to the MTU known", client, slices.Concat(clients, known, []string{clamp}), hole4 - 40, hole4 - 40, true},
		// The server goes on sending what nobody hears: from here on, the black hole is met.
		{"client, MTU known", client, slices.Concat(clients, known), 1460, 1460, false},
		{"host, clamped to what the uplink takes", top.laptop, top.configured(clamp), 1440, 1440, false},
	} {
		if c.node == nil {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			p := top.up(t, c.flags...)
			there := startCapture(t, top.server, "eth0", "dst host "+server4.String()+" and tcp[tcpflags] & tcp-syn != 0")
			back := startCapture(t, top.laptop, tunDev, "src host "+server4.String()+" and tcp[tcpflags] & tcp-syn != 0")
			before := heard()
			if c.passes {
				top.download(t, c.node, 2_000_000)
				top.upload(t, c.node, 2_000_000)
				if n := heard() - before; n > 0 {
					t.Errorf("%d packets were too big", n)
				}
			} else {
				const timeout = 28 // curl's exit code
				r := try(t, c.node, peers.Find(t, "curl"), "-sS", "--fail", "--max-time", "1", top.url(100_000))
				if r.code != timeout || heard() == before {
					t.Errorf("the black hole let a download pass, or was not met: exit code %d, %d octets, %s", r.code, len(r.stdout), r.stderr)
				}
			}
			const ethernet = 14
			offers(t, "the server", there, ethernet, c.there)
			offers(t, c.node.Name(), back, 0, c.back)
			down(t, p, syscall.SIGTERM)
		})
	}
}

// offers ends a capture of SYNs behind a link-layer header of so many octets, and compares the MSS that they offer.
func offers(t *testing.T, to string, c *capture, header, want int) {
	t.Helper()
	frames := c.frames(t)
	for _, f := range frames {
		const option = 20 + 20 + 2 // behind IPv4, TCP and the option's kind and length
		if got := int(binary.BigEndian.Uint16(f[header+option:])); got != want {
			t.Errorf("%s is offered segments of %d octets, want %d", to, got, want)
		}
	}
	if len(frames) == 0 {
		t.Errorf("%s is offered nothing", to)
	}
}

// hole4 is what passes the black hole behind the PLAT, in octets of IPv4.
const hole4 = 1300

// holeBehindPLAT makes the hop one, for both directions. heard counts the errors that nobody heard.
func (top *topology) holeBehindPLAT(t *testing.T) (heard func() int) {
	t.Helper()
	top.narrowHop(t, hole4)
	return top.silence(t, "ip protocol icmp icmp type destination-unreachable icmp code frag-needed", top.hop)
}

// holeBeforePLAT makes the link between the router and the PLAT one. heard counts the errors that nobody heard.
func (top *topology) holeBeforePLAT(t *testing.T) (heard func() int) {
	t.Helper()
	const mtu = 1280
	anywhere := netip.MustParsePrefix("::/0")
	for _, r := range []struct {
		node *netlab.Node
		netlab.Route
	}{
		{top.router, netlab.Route{Dst: pref64, Via: platLAN.Addr()}},
		{top.plat, netlab.Route{Dst: anywhere, Via: routerUp.Addr()}},
	} {
		r.Metric = 1 // before the route that is there already
		top.narrow(t, r.node, mtu, r.Route)
	}
	return top.silence(t, "icmpv6 type packet-too-big", top.router, top.plat)
}

// blackHole finds that datagrams of so many octets arrive with DF, and that of what is larger nothing is heard.
func (top *topology) blackHole(t *testing.T, mtu int) {
	t.Helper()
	const headers = 20 + 8 // IPv4, and UDP or ICMP
	if lost := top.echoes(t, echoOptions{DF: true, Sizes: []int{mtu - headers}}); len(lost) > 0 {
		t.Errorf("lost: %s", strings.Join(lost, ", "))
	}
	for _, size := range []int{mtu + 1, 1480} {
		args := []string{"-M", "do", "-c", "2", "-i", "0.1", "-W", "0.3", "-s", fmt.Sprint(size - headers), server4.String()}
		r := try(t, top.laptop, peers.Find(t, "ping"), args...)
		if r.code != 1 || !strings.Contains(r.stdout, " 0 received, 100% packet loss") {
			t.Errorf("%d octets with DF, where %d pass: %+v", size, mtu, r)
		}
	}
}

// echoInFragments sends datagrams without DF to the server, which sends them back, in pieces where they are larger than so many octets.
func (top *topology) echoInFragments(t *testing.T, mtu int) {
	t.Helper()
	seen := startCapture(t, top.server, "eth0", "udp or ip[6:2] & 0x1fff != 0")
	if lost := top.echoes(t, echoOptions{NoDF: true, Sizes: unlucky}); len(lost) > 0 {
		t.Errorf("lost: %s", strings.Join(lost, ", "))
	}
	fragments := 0
	for _, f := range seen.frames(t) {
		ip := f[14:]
		total, fragment := int(binary.BigEndian.Uint16(ip[2:])), binary.BigEndian.Uint16(ip[6:])
		toServer := [4]byte(ip[16:20]) == server4.As4()
		if toServer && fragment&0x3fff != 0 {
			fragments++
		}
		if toServer && total > mtu {
			t.Errorf("%d octets came to the server, where %d pass", total, mtu)
		}
	}
	if fragments == 0 {
		t.Error("no fragment came to the server")
	}
}

// refusedWithDF sends datagrams of so many octets of IPv4 with DF, and finds that the kernel refuses them once it knows the path.
func (top *topology) refusedWithDF(t *testing.T, lengths ...int) {
	t.Helper()
	const headers = 20 + 8 // IPv4, UDP
	for _, n := range lengths {
		lost := top.echoes(t, echoOptions{DF: true, Sizes: []int{n - headers}})
		if len(lost) != 1 || !strings.Contains(lost[0], syscall.EMSGSIZE.Error()) {
			t.Errorf("%d octets with DF: %q", n, lost)
		}
	}
}

// pathMTU is what a node believes that the path to an IPv4 address takes, in octets.
func (top *topology) pathMTU(t *testing.T, n *netlab.Node, to netip.Addr) int {
	t.Helper()
	out := must(t, n, peers.Find(t, "ip"), "-4", "route", "get", to.String())
	mtu := regexp.MustCompile(`\bmtu (\d+)`).FindStringSubmatch(out)
	if mtu == nil {
		return 0
	}
	i, _ := strconv.Atoi(mtu[1]) // digits
	return i
}
