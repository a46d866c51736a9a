package ra

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
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

// connected makes one, in a lab of its own. The host detects duplicate addresses as usual; its kernel does not solicit routers.
func connected(t *testing.T) cable {
	t.Helper()
	peers.NeedRoot(t)
	t.Parallel()
	lab, err := netlab.New()
	must(t, err)
	t.Cleanup(func() { must(t, lab.Close()) })
	host, err := lab.Node("host", netlab.NodeOptions{})
	must(t, err)
	must(t, host.SetSysctl("net/ipv6/conf/default/accept_ra", "0"))
	router, err := lab.Node("router", netlab.NodeOptions{NoDAD: true})
	must(t, err)
	must(t, router.SetSysctl("net/ipv6/conf/all/forwarding", "1"))
	must(t, netlab.Connect(host, "eth0", router, "eth0", netlab.LinkOptions{}))
	return cable{host, router}
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

// host listens on eth0 --- router sends all sorts of advertisements. The last of each is a good one, so that no test waits for nothing.
func TestReceive(t *testing.T) {
	c := connected(t)
	must(t, c.router.AddAddr("eth0", netip.MustParsePrefix("2001:db8::1/64")))
	from := linkLocalOf(t, c.router)
	linkLocalOf(t, c.host)
	listener := start(t, c.host, "listen", "eth0")
	if ad := next[discovery.Advertisement](t, listener); ad.Router.IsValid() {
		t.Fatalf("a router that nobody made: %+v", ad)
	}

	good := func(lifetime int, options ...string) sent {
		s := sent{HopLimit: 255, Lifetime: lifetime}
		for _, o := range options {
			s.Options = append(s.Options, octets(t, o))
		}
		return s
	}
	infoLA := discovery.PrefixInfo{Prefix: netip.MustParsePrefix("2001:db8:a::/64"), OnLink: true, Autonomous: true,
		Valid: 24 * time.Hour, Preferred: 4 * time.Hour}
	infoL := discovery.PrefixInfo{Prefix: netip.MustParsePrefix("2001:db8:b::/48"), OnLink: true,
		Valid: discovery.Infinity, Preferred: discovery.Infinity}

	lifetime := 1000
	for _, setting := range []struct{ key, value string }{
		{"accept_ra", "1"}, {"accept_ra", "0"}, {"accept_ra", "2"}, {"autoconf", "0"}, {"forwarding", "1"}, {"accept_ra", "1"},
	} {
		must(t, c.host.SetSysctl("net/ipv6/conf/eth0/"+setting.key, setting.value))
		for _, tt := range []struct {
			name    string
			refused sent // no matter
			heard   sent
			want    []discovery.PrefixInfo
		}{
			{"A=1 and A=0", sent{}, good(0, prefixLA, prefixL), []discovery.PrefixInfo{infoLA, infoL}},
			{"one bad option among good ones", sent{}, good(0, prefixLA, "19 01 0000 00000e10", "26 02 0707 0064ff9b0000000000000000", prefixL),
				[]discovery.PrefixInfo{infoLA, infoL}},
			{"hop limit 254", sent{HopLimit: 254, Lifetime: 1}, good(0, prefixL), []discovery.PrefixInfo{infoL}},
			{"global source", sent{HopLimit: 255, Lifetime: 1, From: "2001:db8::1"}, good(0), nil},
		} {
			t.Run(fmt.Sprint(setting.key, "=", setting.value, " ", tt.name), func(t *testing.T) {
				if tt.refused.HopLimit != 0 {
					send(t, c.router, tt.refused)
				}
				lifetime++
				tt.heard.Lifetime = lifetime
				send(t, c.router, tt.heard)
				got := heard(t, listener)
				want := discovery.Advertisement{Link: got.Link, Router: from, Lifetime: time.Duration(lifetime) * time.Second, Prefixes: tt.want}
				if diff := cmp.Diff(want, got, addresses); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		}
	}
	t.Run("lifetime 0", func(t *testing.T) {
		send(t, c.router, good(0, prefixL))
		got := heard(t, listener)
		if got.Lifetime != 0 || got.Router != from || len(got.Prefixes) != 1 {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("of this host itself", func(t *testing.T) {
		send(t, c.host, good(1))
		send(t, c.router, good(7))
		if got := heard(t, listener); got.Lifetime != 7*time.Second {
			t.Errorf("got %+v", got)
		}
	})
}

// The listener starts while the host's address is tentative. Then it solicits, and hears the answer; and again with another address, and
// on another interface of that name.
func TestSolicit(t *testing.T) {
	c := connected(t)
	router := start(t, c.router, "router", "eth0")
	next[string](t, router) // ready
	listener := start(t, c.host, "listen", "eth0")
	solicited := func(step string) {
		t.Helper()
		hardware, err := c.host.HardwareAddr("eth0")
		must(t, err)
		t.Log(step)
		for want := solicitation(255, linkLocalOf(t, c.host), hardware); want != next[string](t, router); {
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

// Nothing of the host is changed: neither while it listens nor after.
func TestChangesNothing(t *testing.T) {
	c := connected(t)
	linkLocalOf(t, c.host)
	before, err := c.host.Dump()
	must(t, err)
	listener := start(t, c.host, "listen", "eth0")
	next[discovery.Advertisement](t, listener) // silence: it listens
	send(t, c.router, sent{HopLimit: 255, Lifetime: 9, Options: [][]byte{octets(t, prefixLA)}})
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
