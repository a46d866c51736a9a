package e2e

import (
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// rogueLL is who announces what is none of its business.
var rogueLL = netip.MustParsePrefix("fe80::bad/64")

// manual is a bridge on which the laptop believes no router, and has its address and its default route by hand.
var manual = lan{uplink: "eth0", address: netip.MustParsePrefix("2001:db8:1::d/64"), lay: func(t *testing.T, top *topology) error {
	return errors.Join(
		top.laptop.SetSysctl("net.ipv6.conf.default.accept_ra", "0"),
		layBridge(t, top),
		top.laptop.AddRoute(netlab.Route{Dst: netip.MustParsePrefix("::/0"), Via: routerLL.Addr(), Dev: "eth0"}),
	)
}}

// rogue is what somebody announces who would like to be the NAT64.
func rogue(lifetime int) announcement {
	return announcement{advertised: advertised{lifetime: lifetime}, pref64: []offered{lastingPREF64(otherPREF64)}}
}

// notTrusted finds in what `uclat discover` says that a prefix of the rogue was seen, and not believed.
func (top *topology) notTrusted(t *testing.T) {
	t.Helper()
	eventually(t, "discover shows it", func() bool {
		r := try(t, top.laptop, uclat(t), "discover")
		for line := range strings.Lines(r.stdout) {
			if strings.Contains(line, otherPREF64.String()) && strings.Contains(r.stdout, rogueLL.Addr().String()) {
				return strings.Contains(r.stdout, "not trusted")
			}
		}
		return false
	})
}

// TestRogueNeighbour has another host on the link announce a PREF64. It is no router that the laptop has accepted, and is not believed,
// unless the administrator says so.
func TestRogueNeighbour(t *testing.T) {
	t.Parallel()
	says := announcing(lastingPREF64(pref64))
	top := newNetwork(t, network{path: onPacket, lan: manual, announces: &says})
	printer := top.addNeighbour(t, "printer", rogueLL.Addr())
	if _, err := printer.WaitAddr(t.Context(), "eth0", host(rogueLL.Addr())); err != nil {
		t.Fatal(err)
	}
	// It would do, so that the packets go somewhere.
	if err := errors.Join(
		printer.SetSysctl("net.ipv6.conf.all.forwarding", "1"),
		printer.SetSysctl("net.ipv6.icmp.ratelimit", "0"),
		printer.AddRoute(netlab.Route{Dst: netip.MustParsePrefix("::/0"), Via: routerLL.Addr(), Dev: "eth0"}),
	); err != nil {
		t.Fatal(err)
	}
	startAnnouncer(t, printer, "eth0", rogueLL.Addr()).say(t, rogue(1800))
	top.addPREF64(t, otherPREF64)

	t.Run("beside the router", func(t *testing.T) {
		p := top.startUclat(t)
		p.onBy(t, pref64, byRouter)
		top.newFlowsBy(t, pref64, atRouter)
		top.notTrusted(t)
		top.announcer.say(t, announcing(withdrawn(pref64)))
		p.waits(t)
		heard := startCapture(t, top.laptop, "eth0", "icmp6 and ip6[40] == 134 and src host "+rogueLL.Addr().String())
		eventually(t, "it is heard", func() bool { return heard.seen(t) > 1 })
		if strings.Contains(p.said(), `msg="on: IPv4 through eth0, PREF64 `+otherPREF64.String()) {
			t.Error("it is believed")
		}
		down(t, p, syscall.SIGTERM)
	})
	t.Run("the administrator trusts it", func(t *testing.T) {
		p := top.startUclat(t, "--pref64.sources", "ra:eth0")
		p.onBy(t, otherPREF64, "router "+rogueLL.Addr().String())
		top.ping4(t)
		down(t, p, syscall.SIGTERM)
	})
	t.Run("pinned", func(t *testing.T) {
		top.announcer.say(t, announcing(lastingPREF64(pref64)))
		p := top.up(t, "--pref64.prefixes", pref64.String(), "--pref64.sources", "configured")
		if !strings.Contains(p.plan(), "(configured)") {
			t.Errorf("it says %s", p.plan())
		}
		down(t, p, syscall.SIGTERM)
	})
}

// TestRogueContainer has a container announce a PREF64 on a bridge of the laptop's, as the router that it is not.
func TestRogueContainer(t *testing.T) {
	t.Parallel()
	says := announcing()
	top := newNetwork(t, network{path: onPacket, announces: &says})
	c := top.addContainer(t)
	if err := errors.Join(c.SetSysctl("net.ipv6.conf.eth0.accept_dad", "0"), c.AddAddr("eth0", rogueLL)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WaitAddr(t.Context(), "eth0", host(rogueLL.Addr())); err != nil {
		t.Fatal(err)
	}
	startAnnouncer(t, c, "eth0", rogueLL.Addr()).say(t, rogue(0))
	p := top.startUclat(t)
	p.waits(t)
	top.notTrusted(t)
	top.announcer.say(t, announcing(lastingPREF64(pref64)))
	p.onBy(t, pref64, byRouter)
	top.newFlowsBy(t, pref64, atRouter)
	top.announcer.say(t, announcing(withdrawn(pref64)))
	p.waits(t)
	if strings.Contains(p.said(), "PREF64 "+otherPREF64.String()+" (") {
		t.Error("it is believed")
	}
	down(t, p, syscall.SIGTERM)
}

// TestAcceptRA has the kernel believe Router Advertisements or not: the program needs no more of it than a default route.
func TestAcceptRA(t *testing.T) {
	t.Parallel()
	says := announcing(lastingPREF64(pref64))
	for _, c := range []struct {
		name    string
		lan     lan
		prepare func(t *testing.T, top *topology)
	}{
		{"0, and a default route by hand", manual, func(*testing.T, *topology) {}},
		{"1", bridge, func(*testing.T, *topology) {}},
		{"2, on a host that forwards", bridge, func(t *testing.T, top *topology) {
			top.setSysctl(t, acceptRAEth0, "2")
			top.setSysctl(t, allForwarding, "1")
		}},
		{"1, on a host that forwards, and a default route by hand", bridge, func(t *testing.T, top *topology) {
			top.setSysctl(t, allForwarding, "1")
			must(t, top.laptop, peers.Find(t, "ip"), "-6", "route", "replace", "default", "via", routerLL.Addr().String(), "dev", "eth0")
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			top := newNetwork(t, network{path: onPacket, lan: c.lan, announces: &says})
			c.prepare(t, top)
			before := dump(t, top.laptop)
			p := top.startUclat(t)
			p.onBy(t, pref64, byRouter)
			top.newFlowsBy(t, pref64, atRouter)
			top.announcer.say(t, announcing(withdrawn(pref64)))
			p.waits(t)
			top.announcer.say(t, announcing(lastingPREF64(pref64)))
			p.onBy(t, pref64, byRouter)
			down(t, p, syscall.SIGTERM)
			top.unchanged(t, before)
		})
	}
}
