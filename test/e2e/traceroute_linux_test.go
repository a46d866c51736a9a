package e2e

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"uclat/test/peers"
)

// The addresses by which the hosts on the way are seen from the laptop.
const (
	translator = "100.64.46.5" // the program under test
	unmapped   = "192.0.0.8"   // any IPv6 router
)

// probes are the kinds of packets that traceroute sends.
var probes = []struct {
	name string
	args []string
}{{"UDP", nil}, {"ICMP", []string{"-I"}}, {"TCP", []string{"-T", "-p", fmt.Sprint(portHTTP)}}}

// hop is a line of traceroute.
type hop struct {
	addr       string
	extensions string // as traceroute prints them (RFC 4884), empty where there are none
}

// TestTraceroute goes all the way to the server: by the translator, two IPv6 routers, before which the laptop itself may be one, the PLAT's
// translator, the PLAT and the hop as IPv4 routers.
func TestTraceroute(t *testing.T) { eachPath(t, testTraceroute) }

func testTraceroute(t *testing.T, top *topology) {
	top.addHop(t)
	top.setSysctl(t, "net.ipv6.icmp.ratelimit", "0") // the laptop is a hop as well
	routers := []netip.Addr{routerLAN.Addr(), platLAN.Addr()}
	if top.forwards {
		routers = slices.Insert(routers, 0, top.laptopAddr)
	}
	behind := []hop{{addr: platSelf.String()}, {addr: platHop.Addr().String()}, {addr: hopPLAT.Addr().String()}, {addr: server4.String()}}
	way := func(router func(netip.Addr) hop) []hop {
		hops := []hop{{addr: translator}}
		for _, r := range routers {
			hops = append(hops, router(r))
		}
		return append(hops, behind...)
	}
	t.Run("as it is", func(t *testing.T) {
		p := top.up(t, top.configured()...)
		want := way(func(r netip.Addr) hop { return hop{unmapped, nodeID(r)} })
		for _, probe := range probes {
			t.Run(probe.name, func(t *testing.T) {
				if got := top.hops(t, probe.args...); !slices.Equal(got, want) {
					t.Errorf("the way is\n%+v, want\n%+v", got, want)
				}
			})
		}
		t.Run("tracepath", func(t *testing.T) {
			out := must(t, top.laptop, peers.Find(t, "tracepath"), "-n", server4.String())
			checkTracepath(t, out, 1480)
		})
		down(t, p, syscall.SIGTERM)
	})
	for _, c := range []struct {
		name, flag string
		want       hop // for each IPv6 router
	}{
		{"routers without their IPv6 address", "--translate.node-identification=false", hop{addr: unmapped}},
		{"routers that are not heard of", "--translate.unmapped-source=", hop{addr: "*"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := top.up(t, top.configured(c.flag)...)
			want := way(func(netip.Addr) hop { return c.want })
			if got := top.hops(t, "-w", "1"); !slices.Equal(got, want) {
				t.Errorf("the way is\n%+v, want\n%+v", got, want)
			}
			down(t, p, syscall.SIGTERM)
		})
	}
}

// nodeID is how traceroute prints the object that names an IPv6 router (draft-ietf-intarea-extended-icmp-nodeid: class 5, type 4): the
// address family 2, then the address.
func nodeID(router netip.Addr) string {
	text := "<5/4:00020000"
	for b := range slices.Chunk(router.AsSlice(), 4) {
		text += fmt.Sprintf(",%x", b)
	}
	return text + ">"
}

var hopLine = regexp.MustCompile(`(?m)^ *\d+  (\S+)(?: (<.*>))?`)

// hops runs traceroute to the server.
func (top *topology) hops(t *testing.T, args ...string) (hops []hop) {
	t.Helper()
	args = append([]string{"-4", "-e", "-n", "-q", "1", "-w", "2", server4.String()}, args...)
	// About one time in a hundred the PLAT's masquerade loses all probes that go beyond it, with and without the program under test:
	// the next attempt has other ports and identifiers.
	for attempt := 0; attempt < 3 && !slices.Contains(hops, hop{addr: server4.String()}); attempt++ {
		hops = nil
		for _, m := range hopLine.FindAllStringSubmatch(must(t, top.laptop, peers.Find(t, "traceroute"), args...), -1) {
			hops = append(hops, hop{m[1], m[2]})
		}
	}
	return hops
}

// checkTracepath looks at what tracepath prints: every hop, in order, and in the end a path of so many octets, after the route's.
func checkTracepath(t *testing.T, out string, mtu int) {
	t.Helper()
	var hops []string
	for _, m := range regexp.MustCompile(`(?m)^ *\d+:  (\S+)`).FindAllStringSubmatch(out, -1) {
		hops = append(hops, m[1])
	}
	hops = slices.Compact(hops) // who is late, or says that the path has become smaller, is asked again
	want := []string{translator, unmapped, platSelf.String(), platHop.Addr().String(), hopPLAT.Addr().String(), server4.String()}
	if !slices.Equal(hops, want) || !strings.Contains(out, "[LOCALHOST]                      pmtu 1480\n") ||
		!strings.Contains(out, fmt.Sprintf("Resume: pmtu %d hops ", mtu)) {
		t.Errorf("tracepath finds %q:\n%s", hops, out)
	}
}
