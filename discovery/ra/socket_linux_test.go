package ra

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uclat/discovery"
	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// cable is a host and a router with a cable between them, eth0 at each end.
type cable struct{ host, router *netlab.Node }

// connected makes one, in a lab of its own. The host's kernel does not solicit routers. It detects duplicate addresses in so many rounds of
// a second; 0: not at all.
func connected(t *testing.T, dad int) cable {
	t.Helper()
	peers.NeedRoot(t)
	t.Parallel()
	lab, err := netlab.New()
	must(t, err)
	t.Cleanup(func() { must(t, lab.Close()) })
	host, err := lab.Node("host", netlab.NodeOptions{NoDAD: dad == 0})
	must(t, err)
	must(t, host.SetSysctl("net/ipv6/conf/default/accept_ra", "0"))
	must(t, host.SetSysctl("net/ipv6/conf/default/dad_transmits", fmt.Sprint(dad)))
	router, err := lab.Node("router", netlab.NodeOptions{NoDAD: true})
	must(t, err)
	must(t, router.SetSysctl("net/ipv6/conf/all/forwarding", "1"))
	must(t, netlab.Connect(host, "eth0", router, "eth0", netlab.LinkOptions{}))
	return cable{host, router}
}

// listening starts a Listener on the host that solicits on these interfaces, and waits until it listens.
func listening(t *testing.T, host *netlab.Node, names ...string) *netlab.RunningRole {
	t.Helper()
	r := start(t, host, "listen", names)
	if got := next[discovery.Advertisement](t, r); got.Link != ready.Link {
		t.Fatalf("before it listens: %+v", got)
	}
	return r
}

// indexOf is the index of an interface.
func indexOf(t *testing.T, n *netlab.Node, name string) int {
	t.Helper()
	l, err := n.Netlink().LinkByName(name)
	must(t, err)
	return l.Attrs().Index
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start starts a role, which ends with the test.
func start(t *testing.T, n *netlab.Node, role string, arg any) *netlab.RunningRole {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // far more than any of these tests takes
	r, err := n.Role(ctx, role, arg)
	must(t, err)
	t.Cleanup(func() {
		must(t, r.Stop())
		cancel()
	})
	return r
}

// send has a node send advertisements, and waits until it has.
func send(t *testing.T, n *netlab.Node, messages ...sent) {
	t.Helper()
	r, err := n.Role(t.Context(), "send", map[string]any{"Interface": "eth0", "Messages": messages})
	must(t, err)
	var nothing struct{}
	if err := r.Next(&nothing); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	must(t, r.Stop())
}

func next[T any](t *testing.T, r *netlab.RunningRole) (v T) {
	t.Helper()
	if err := r.Next(&v); err != nil {
		t.Fatalf("waiting for a report: %v", err)
	}
	return v
}

// heard is the next advertisement of a router. Silence before it is none: the machine may be slow.
func heard(t *testing.T, listener *netlab.RunningRole) discovery.Advertisement {
	t.Helper()
	for {
		if ad := next[discovery.Advertisement](t, listener); ad.Router.IsValid() {
			return ad
		}
	}
}

func linkLocalOf(t *testing.T, n *netlab.Node) netip.Addr {
	t.Helper()
	a, err := n.WaitAddr(t.Context(), "eth0", linkLocal)
	must(t, err)
	return a
}

// good is an advertisement with these options.
func good(t *testing.T, lifetime int, options ...string) sent {
	t.Helper()
	s := sent{HopLimit: 255, Lifetime: lifetime}
	for _, o := range options {
		s.Options = append(s.Options, octets(t, o))
	}
	return s
}

// host listens on eth0 --- router sends all sorts of advertisements. The last of each is a good one, so that no test waits for nothing.
func TestReceive(t *testing.T) {
	c := connected(t, 0)
	must(t, c.router.AddAddr("eth0", netip.MustParsePrefix("2001:db8::1/64")))
	from := linkLocalOf(t, c.router)
	listener := listening(t, c.host)

	infoLA := discovery.PrefixInfo{Prefix: netip.MustParsePrefix("2001:db8:a::/64"), OnLink: true, Autonomous: true,
		Valid: 24 * time.Hour, Preferred: 4 * time.Hour}
	infoL := discovery.PrefixInfo{Prefix: netip.MustParsePrefix("2001:db8:b::/48"), OnLink: true,
		Valid: discovery.Infinity, Preferred: discovery.Infinity}
	full := discovery.Advertisement{Hardware: "02:00:00:00:00:01", MTU: 1400, Prefixes: []discovery.PrefixInfo{infoLA, infoL},
		PREF64: []discovery.Offer{offer("64:ff9b::/96", 1800), offer("2001:db8:122:300::/56", 1800)}}
	for _, addr := range []string{"2001:db8::53", "fe80::53"} {
		full.Servers = append(full.Servers, discovery.Resolver{Addr: netip.MustParseAddr(addr), Lifetime: time.Hour})
	}
	big := good(t, 1)
	for range 250 {
		big.Options = append(big.Options, octets(t, unknown))
	}

	lifetime := 1000
	for _, setting := range []struct{ key, value string }{
		{"accept_ra", "1"}, {"accept_ra", "0"}, {"accept_ra", "2"}, {"autoconf", "0"}, {"forwarding", "1"}, {"accept_ra", "1"},
	} {
		must(t, c.host.SetSysctl("net/ipv6/conf/eth0/"+setting.key, setting.value))
		for _, tt := range []struct {
			name    string
			refused sent // no matter
			heard   sent
			want    discovery.Advertisement
		}{
			{"all options", sent{}, good(t, 0, source, mtu, prefixLA, wellKnown, servers, prefixL, "26 02 070a 20010db8 0122 03ff ffff ffff"), full},
			{"bad options among good ones", sent{}, good(t, 0, "19 01 0000 00000e10", "26 02 070f 0064ff9b0000000000000000", wellKnown,
				"05 01 0000 00000000", prefixL, "01 02 0200000000010000000000000000"),
				discovery.Advertisement{Prefixes: []discovery.PrefixInfo{infoL}, PREF64: []discovery.Offer{offer("64:ff9b::/96", 1800)}}},
			{"hop limit 254", sent{HopLimit: 254, Lifetime: 1}, good(t, 0, withdrawn),
				discovery.Advertisement{PREF64: []discovery.Offer{offer("64:ff9b::/96", 0)}}},
			{"global source", sent{HopLimit: 255, Lifetime: 1, From: "2001:db8::1"}, good(t, 0), discovery.Advertisement{}},
			{"in fragments (RFC 6980)", big, good(t, 0), discovery.Advertisement{}},
		} {
			t.Run(fmt.Sprint(setting.key, "=", setting.value, " ", tt.name), func(t *testing.T) {
				if tt.refused.HopLimit != 0 {
					send(t, c.router, tt.refused)
				}
				lifetime++
				tt.heard.Lifetime = lifetime
				send(t, c.router, tt.heard)
				tt.want.Link, tt.want.Router, tt.want.Lifetime = indexOf(t, c.host, "eth0"), from, time.Duration(lifetime)*time.Second
				if diff := cmp.Diff(tt.want, heard(t, listener), addresses); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
	t.Run("lifetime 0", func(t *testing.T) {
		send(t, c.router, good(t, 0, prefixL))
		got := heard(t, listener)
		if got.Lifetime != 0 || got.Router != from || len(got.Prefixes) != 1 {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("of this host itself", func(t *testing.T) {
		send(t, c.host, good(t, 1))
		send(t, c.router, good(t, 7))
		if got := heard(t, listener); got.Lifetime != 7*time.Second {
			t.Errorf("got %+v", got)
		}
	})
}

// What comes by links that nobody set is heard: by one whose address is tentative, by one without any, by one that is there only now.
func TestEveryLink(t *testing.T) {
	c := connected(t, 60)
	listener := listening(t, c.host)
	comes := func(by string, lifetime int) {
		t.Helper()
		send(t, c.router, good(t, lifetime, wellKnown))
		want := discovery.Advertisement{Link: indexOf(t, c.host, by), Router: linkLocalOf(t, c.router),
			Lifetime: time.Duration(lifetime) * time.Second, PREF64: []discovery.Offer{offer("64:ff9b::/96", 1800)}}
		if diff := cmp.Diff(want, heard(t, listener), addresses); diff != "" {
			t.Errorf("by %s (-want +got):\n%s", by, diff)
		}
	}
	comes("eth0", 1)
	if usable, err := c.host.Addrs("eth0"); err != nil || len(usable) > 0 {
		t.Fatalf("the address was to be tentative: %v, %v", usable, err)
	}
	old, err := c.host.Netlink().LinkByName("eth0")
	must(t, err)
	addrs, err := c.host.Netlink().AddrList(old, syscall.AF_INET6)
	must(t, err)
	for _, a := range addrs {
		must(t, c.host.Netlink().AddrDel(old, &a))
	}
	comes("eth0", 2)
	must(t, c.host.Netlink().LinkDel(old))
	for i, name := range []string{"eth0", "eth1"} {
		must(t, netlab.Connect(c.host, name, c.router, "eth0", netlab.LinkOptions{}))
		comes(name, 3+i)
		made, err := c.host.Netlink().LinkByName(name)
		must(t, err)
		must(t, c.host.Netlink().LinkDel(made))
	}
}

// host solicits from its address. Then it has another one, and then another interface of that name.
func TestSolicit(t *testing.T) {
	c := connected(t, 0)
	router := start(t, c.router, "router", "eth0")
	next[string](t, router) // ready
	listener := listening(t, c.host, "eth0")
	solicited := func(step string) {
		t.Helper()
		hardware, err := c.host.HardwareAddr("eth0")
		must(t, err)
		t.Log(step)
		for want := asked(255, linkLocalOf(t, c.host), hardware); want != next[string](t, router); {
			t.Log("which was not ", want) // it asks more than once where the answer is late
		}
		for want := linkLocalOf(t, c.router); want != heard(t, listener).Router; {
			t.Log("which was not ", want)
		}
	}
	solicited("at start")

	before := linkLocalOf(t, c.host)
	must(t, c.host.AddAddr("eth0", netip.MustParsePrefix("fe80::5/64")))
	must(t, c.host.DelAddr("eth0", netip.PrefixFrom(before, 64)))
	must(t, syscall.Kill(listener.PID(), syscall.SIGHUP))
	solicited("another address")
	if linkLocalOf(t, c.host) == before {
		t.Error("the address is the old one")
	}

	must(t, c.host.SetUp("eth0", false))
	must(t, c.host.SetUp("eth0", true))
	must(t, syscall.Kill(listener.PID(), syscall.SIGHUP))
	solicited("down and up")

	old, err := c.host.Netlink().LinkByName("eth0")
	must(t, err)
	must(t, c.host.Netlink().LinkDel(old))
	must(t, syscall.Kill(listener.PID(), syscall.SIGHUP))
	must(t, router.Stop())
	must(t, netlab.Connect(c.host, "eth0", c.router, "eth0", netlab.LinkOptions{MACA: net.HardwareAddr{2, 0, 0, 0, 0, 9}}))
	router = start(t, c.router, "router", "eth0")
	next[string](t, router)
	must(t, syscall.Kill(listener.PID(), syscall.SIGHUP))
	solicited("another interface")
}

// While the host's address is tentative, it solicits from ::, without an option (RFC 4861, 4.1), and hears the answer.
func TestSolicitBeforeDAD(t *testing.T) {
	c := connected(t, 60)
	router := start(t, c.router, "router", "eth0")
	next[string](t, router)
	capture := start(t, c.router, "capture", "eth0")
	next[string](t, capture)
	listener := listening(t, c.host, "eth0")
	if got, want := next[string](t, router), asked(255, netip.IPv6Unspecified(), nil); got != want {
		t.Errorf("the router was asked %s, want %s", got, want)
	}
	if got, want := heard(t, listener).Router, linkLocalOf(t, c.router); got != want {
		t.Errorf("it heard %v, want %v", got, want)
	}
	if usable, err := c.host.Addrs("eth0"); err != nil || len(usable) > 0 {
		t.Errorf("the address was to be tentative: %v, %v", usable, err)
	}
	hardware, err := c.host.HardwareAddr("eth0")
	must(t, err)
	frame := octets(t, next[string](t, capture))
	want := slices.Concat(octets(t, "333300000002"), hardware, octets(t, "86dd 60000000 0008 3a ff"), make([]byte, 16),
		octets(t, "ff020000000000000000000000000002 8500 7bb8 00000000"))
	if !bytes.Equal(frame, want) {
		t.Errorf("the frame is\n%x, want\n%x", frame, want)
	}
}

// An optimistic address could be another's: nothing is sent that would have the router remember it (RFC 4429, 3.2).
func TestSolicitOptimistic(t *testing.T) {
	c := connected(t, 60)
	if err := c.host.SetSysctl("net/ipv6/conf/eth0/optimistic_dad", "1"); err != nil {
		t.Skip("this kernel has no optimistic DAD: ", err)
	}
	must(t, c.host.SetUp("eth0", false))
	must(t, c.host.SetUp("eth0", true))
	router := start(t, c.router, "router", "eth0")
	next[string](t, router)
	listening(t, c.host, "eth0")
	if got, want := next[string](t, router), asked(255, netip.IPv6Unspecified(), nil); got != want {
		t.Errorf("the router was asked %s, want %s", got, want)
	}
}

// Nothing of the host is changed: neither while it listens nor after.
func TestChangesNothing(t *testing.T) {
	c := connected(t, 1)
	linkLocalOf(t, c.host)
	before, err := c.host.Dump()
	must(t, err)
	listener := listening(t, c.host, "eth0")
	send(t, c.router, good(t, 9, prefixLA))
	heard(t, listener)
	during, err := c.host.Dump()
	must(t, err)
	must(t, listener.Stop())
	after, err := c.host.Dump()
	must(t, err)
	if diff := cmp.Diff(before, during) + cmp.Diff(before, after); diff != "" {
		t.Error(diff)
	}
}
