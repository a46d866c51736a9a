package e2e

import (
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// TestNoFlags runs the program as most people do, on a network whose router announces a resolver. It makes itself an address, the same each time, and nothing else of the laptop changes or
// says a word about what is not the kernel's.
func TestNoFlags(t *testing.T) {
	t.Parallel()
	says := ordinary(lasting(lanPrefix))
	says.rdnss = routerLAN.Addr()
	top := newNetwork(t, network{path: onPacket, says: &says})
	top.resolver(t, nobody) // of somebody else
	before := dump(t, top.laptop)
	said := startCapture(t, top.laptop, "eth0", "icmp6 and ip6[40] < 128 or icmp6 and ip6[40] == 137 or tcp[tcpflags] & tcp-rst != 0")
	host := hostCase{path: onPacket}
	var first netip.Addr
	for range 2 {
		p := top.up(t)
		addr := p.addr6(t)
		switch {
		case !lanPrefix.Contains(addr) || addr == top.laptopAddr:
			t.Errorf("it takes %s", addr)
		case first.IsValid() && addr != first:
			t.Errorf("it takes %s, and before %s", addr, first)
		}
		first = addr
		on := "PREF64 2001:db8:64::/96 (from resolver 2001:db8:1::1 by RFC 7050), as " + addr.String() + ", path packet"
		for _, want := range []string{`msg="starting: `, on} {
			if !strings.Contains(p.said(), want) {
				t.Errorf("it does not say %s", want)
			}
		}
		host.hasExactly(t, top, before)
		top.ping4(t)
		top.curlBothWays(t, 5_000_000)
		if !top.reaches6(t) {
			t.Error("the laptop's own IPv6 does not work beside it")
		}
		host.hasExactly(t, top, before)
		down(t, p, syscall.SIGTERM)
		top.unchanged(t, before)
	}
	for _, f := range said.frames(t) {
		if source6(f) != first.String() {
			t.Errorf("the kernel says % x", f)
		}
	}
}

// TestDuplicateAddress has somebody else on the link who has the address already: another one is taken, until there is none left to be tried.
func TestDuplicateAddress(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket, lan: bridge})
	before := dump(t, top.laptop)
	printer := top.addNeighbour(t, "printer", netip.MustParseAddr("2001:db8:1::70"))
	var taken []netip.Addr
	take := func(addr netip.Addr) {
		if err := printer.AddAddr("eth0", netip.PrefixFrom(addr, 64)); err != nil {
			t.Fatal(err)
		}
		taken = append(taken, addr)
	}
	for range 4 {
		p := top.up(t)
		addr := p.addr6(t)
		if slices.Contains(taken, addr) {
			t.Fatalf("it takes %s, which is the printer's", addr)
		}
		top.ping4(t)
		for _, a := range taken {
			must(t, top.router, peers.Find(t, "ping"), "-c", "1", "-W", "2", a.String())
		}
		down(t, p, syscall.SIGTERM)
		take(addr)
	}
	t.Run("none is left", func(t *testing.T) {
		p := top.startUclat(t)
		p.wait(t, `msg="off: no address is free on eth0`)
		top.unchanged(t, before)
		down(t, p, syscall.SIGTERM)
	})
	t.Run("the one that was configured", func(t *testing.T) {
		mac, err := printer.HardwareAddr("eth0")
		if err != nil {
			t.Fatal(err)
		}
		p := top.startUclat(t, "--address.ipv6", taken[0].String())
		p.wait(t, " is in use on eth0 by "+mac.String()+": choose another")
		if !strings.Contains(p.said(), `msg="off: `+taken[0].String()) {
			t.Error("it does not say that it is off, or for which address")
		}
		top.unchanged(t, before)
		down(t, p, syscall.SIGTERM)
	})
	t.Run("who comes later does not get it", func(t *testing.T) {
		p := top.up(t, top.configured()...)
		if err := printer.SetSysctl("net.ipv6.conf.eth0.accept_dad", "1"); err != nil {
			t.Fatal(err)
		}
		ip := peers.Find(t, "ip")
		must(t, printer, ip, "address", "add", top.addr6+"/64", "dev", "eth0")
		eventually(t, "the printer sees that the address is taken", func() bool {
			return strings.Contains(must(t, printer, ip, "address", "show", "dev", "eth0", "to", top.addr6), "dadfailed")
		})
		top.ping4(t)
		down(t, p, syscall.SIGTERM)
	})
}

// TestOneAddress has networks that let nobody choose an address. The program is off, and nothing is half on.
func TestOneAddress(t *testing.T) {
	t.Parallel()
	closed := lasting(lanPrefix)
	closed.notAuto = true
	for _, c := range []struct {
		name string
		says advertised
		give netip.Prefix // by DHCPv6, or by hand
		why  string
	}{
		{"one of /128, where nothing is announced", ordinary(), host(oneAddress), "eth0 has " + oneAddress.String() + "/128"},
		{"one of /128, where a prefix is on-link", ordinary(closed), host(oneAddress), "eth0 has " + oneAddress.String() + "/128"},
		{"one in a /64 that is not for autoconfiguration", ordinary(closed), netip.PrefixFrom(oneAddress, 64),
			"routers announce 2001:db8:1::/64, but not for autoconfiguration (A=0)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			top := newNetwork(t, network{path: onPacket, says: &c.says})
			top.giveAddress(t, c.give)
			before := dump(t, top.laptop)
			p := top.startUclat(t)
			p.wait(t, `msg="off: this network gives one address only: `+c.why)
			top.unchanged(t, before)
			down(t, p, syscall.SIGTERM)
			top.unchanged(t, before)
			// What the line says to do helps.
			p = top.up(t, "--address.ipv6", clat46)
			top.ping4(t)
			down(t, p, syscall.SIGTERM)
			top.unchanged(t, before)
		})
	}
}

// The other prefixes that the router may announce.
var (
	otherPrefix = netip.MustParsePrefix("2001:db8:11::/64")
	ulaPrefix   = netip.MustParsePrefix("fd00:db8:1::/64")
)

// addPrefixes has the router be on-link with the other prefixes, and the PLAT know where they are.
func (top *topology) addPrefixes(t *testing.T) {
	t.Helper()
	for _, p := range []netip.Prefix{otherPrefix, ulaPrefix} {
		if err := top.router.AddAddr("lan0", netip.PrefixFrom(p.Addr().Next(), 64)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWhichPrefix has several prefixes on the link: a global one goes before a local one, and a preferred one before a deprecated one.
func TestWhichPrefix(t *testing.T) {
	t.Parallel()
	old := lasting(lanPrefix)
	old.preferred = 0
	for _, c := range []struct {
		name string
		says advertised
		want netip.Prefix
	}{
		{"ULA and GUA", ordinary(lasting(ulaPrefix), lasting(lanPrefix)), lanPrefix},
		{"a deprecated one and a preferred one", ordinary(old, lasting(otherPrefix)), otherPrefix},
		{"a deprecated one alone", ordinary(old), lanPrefix},
		{"a deprecated GUA and a ULA", ordinary(old, lasting(ulaPrefix)), ulaPrefix},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			top := newNetwork(t, network{path: onPacket, says: &c.says})
			top.addPrefixes(t)
			advertised := startCapture(t, top.laptop, "eth0", "icmp6 and ip6[40] == 134")
			p := top.up(t)
			eventually(t, "it takes one of "+c.want.String(), func() bool { return c.want.Contains(p.addr6(t)) })
			top.ping4(t)
			// Each advertisement makes the kernel think a deprecated address preferred, for a moment.
			eventually(t, "three Router Advertisements", func() bool { return advertised.seen(t) >= 3 })
			if n := strings.Count(p.said(), `msg="on: `); n > 2 || !c.want.Contains(p.addr6(t)) {
				t.Errorf("it is on with %d addresses, one after the other", n)
			}
			down(t, p, syscall.SIGTERM)
		})
	}
}

// TestRenumbering has the router announce another prefix while packets go: new flows have an address of that one, and the old one goes at the
// end of its lifetime at the latest.
func TestRenumbering(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket})
	top.addPrefixes(t)
	p := top.up(t)
	first := p.addr6(t)
	top.endlessDownload(t) // which may end with the address
	old := lasting(lanPrefix)
	old.preferred = 0
	top.radvd.say(t, ordinary(old, lasting(otherPrefix)))
	eventually(t, "it takes an address of the other prefix", func() bool { return otherPrefix.Contains(p.addr6(t)) })
	seen := startCapture(t, top.laptop, "eth0", "icmp6 and ip6[40] == 128 and dst host "+server6.String())
	top.ping4(t)
	for _, f := range seen.frames(t) {
		if got := source6(f); got != p.addr6(t).String() {
			t.Errorf("a new flow has %s (it was %s before), want %s", got, first, p.addr6(t))
		}
	}
	if a, b := first.As16(), p.addr6(t).As16(); [8]byte(a[8:]) == [8]byte(b[8:]) {
		t.Errorf("%s tells who was %s", p.addr6(t), first)
	}
	down(t, p, syscall.SIGTERM)
}

// TestPrefixEnds has the router announce no prefix any more: with the end of its lifetime the address is used no more.
func TestPrefixEnds(t *testing.T) {
	t.Parallel()
	const lifetime = 6
	short := advertisedPrefix{Prefix: lanPrefix, preferred: lifetime, valid: lifetime}
	says := ordinary(short)
	top := newNetwork(t, network{path: onPacket, says: &says})
	p := top.up(t, top.discovering("--pref64.prefixes", pref64.String())...)
	addr := p.addr6(t)
	top.ping4(t)
	top.radvd.say(t, ordinary())
	began := time.Now()
	p.wait(t, `msg="waiting: no interface has a global IPv6 address yet`)
	if took := time.Since(began); took > lifetime*time.Second+soon {
		t.Errorf("it used %s for another %v", addr, took)
	}
	if a := top.source(t); a.IsValid() {
		t.Errorf("there is a way to IPv4, from %v, without an address", a)
	}
	seen := startCapture(t, top.laptop, "eth0", "ip6 src host "+addr.String())
	top.radvd.say(t, says)
	eventually(t, "IPv4 is back", func() bool { return strings.Count(p.said(), `msg="on: `) == 2 })
	top.ping4(t)
	if len(seen.frames(t)) == 0 {
		t.Errorf("it is back as %s, want %s again", p.addr6(t), addr)
	}
	down(t, p, syscall.SIGTERM)
}

// TestStaticAddress has no router that announces anything: the prefix is that of an address that the laptop was given by hand.
func TestStaticAddress(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket, lan: static})
	p := top.up(t)
	if addr := p.addr6(t); !lanPrefix.Contains(addr) || addr == static.address.Addr() {
		t.Errorf("it takes %s", addr)
	}
	p.wait(t, "no router announces a prefix for autoconfiguration on eth0")
	top.ping4(t)
	down(t, p, syscall.SIGTERM)
}

// static is a cable on which nobody advertises anything.
var static = lan{uplink: "eth0", address: netip.MustParsePrefix("2001:db8:1::d/64"), lay: func(t *testing.T, top *topology) error {
	if err := cable.lay(t, top); err != nil {
		return err
	}
	return top.laptop.AddRoute(netlab.Route{Dst: netip.MustParsePrefix("::/0"), Via: routerLL.Addr(), Dev: "eth0"})
}}
