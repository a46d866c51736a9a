package node

import (
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var ourAddr, routerAddr = netip.MustParseAddr(ours), netip.MustParseAddr(router6)

func TestRFC4861Section724(t *testing.T) {
	for _, r := range []struct {
		name   string
		packet []byte
		from   net.HardwareAddr
		answer string // empty: none
	}{
		{"multicast", packet(ns, 0, other6, group6, ours, source(otherMAC)), otherMAC, "NA ours > other of ours rSO target our"},
		{"unicast", packet(ns, 0, router6, ours, ours, source(routerMAC)), routerMAC, "NA ours > router of ours rSO target our"},
		{"unicast without an option, as a controller asks", packet(ns, 0, router6, ours, ours), routerMAC,
			"NA ours > router of ours rSO target our"},
		{"on behalf of another: to whom the option names", packet(ns, 0, router6, group6, ours, source(routerMAC)), thirdMAC,
			"NA ours > router of ours rSO target our"},
		{"the option names no station", packet(ns, 0, router6, group6, ours, source(mac("33:33:00:00:00:01"))), routerMAC,
			"NA ours > router of ours rSO target our"},
		{"nor does the link", packet(ns, 0, router6, group6, ours), mac("ff:ff:ff:ff:ff:ff"), ""},
		{"detection of another host", packet(ns, 0, "::", group6, ours), otherMAC, "NA ours > nodes of ours rsO target our"},
		{"with a nonce", packet(ns, 0, "::", group6, ours, nonce(4711)), otherMAC, "NA ours > nodes of ours rsO target our"},
		{"as ours", packet(ns, 0, ours, group6, ours, source(otherMAC)), otherMAC, ""},
		{"from this host", packet(ns, 0, "::1", group6, ours, source(otherMAC)), otherMAC, ""},
		{"another's address in our group", packet(ns, 0, other6, group6, "2001:db8:1:1::fff6:789a", source(otherMAC)), otherMAC, ""},
		{"to another", packet(ns, 0, router6, other6, ours, source(routerMAC)), routerMAC, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			l, s := ready(t)
			l.hear(r.packet, r.from)
			l.status(s, Ready)
			if r.answer == "" {
				l.want()
			} else {
				l.want("10s " + r.answer)
			}
		})
	}
}

// Each row is a solicitation and an advertisement for our address that must not be heard.
func TestRFC4861Section711And712(t *testing.T) {
	change := func(at int, b ...byte) func([]byte) []byte {
		return func(p []byte) []byte {
			copy(p[at:], b)
			return p
		}
	}
	fixed := func(f func([]byte) []byte) func([]byte) []byte {
		return func(p []byte) []byte {
			p = f(p)
			fix(p)
			return p
		}
	}
	multicast := netip.MustParseAddr("ff02::9").AsSlice()
	for _, r := range []struct {
		name string
		make func([]byte) []byte
		bad  bool
	}{
		{"as it should be", change(0, 0x60), false},
		{"with padding of the link", func(p []byte) []byte { return append(p, 1, 2, 3) }, false},
		{"hop limit 254", change(7, 254), true},
		{"wrong checksum", change(71, 77), true},
		{"code 1", fixed(change(41, 1)), true},
		{"less than 24 octets", func(p []byte) []byte {
			p[5] = 23
			fix(p[:63])
			return p
		}, true},
		{"longer than it is", func(p []byte) []byte { return p[:len(p)-1] }, true},
		{"target multicast", fixed(change(48, multicast...)), true},
		{"source multicast", fixed(change(8, multicast...)), true},
		{"an option of length 0", fixed(change(65, 0)), true},
		{"another type of ICMPv6", fixed(change(40, 134)), true},
		{"IPv4", change(0, 0x45), true},
		{"an extension header", change(6, 0), true},
		{"UDP", change(6, 17), true},
		{"empty", func([]byte) []byte { return nil }, true},
		{"a header and no more", func(p []byte) []byte { return p[:40] }, true},
	} {
		t.Run(r.name, func(t *testing.T) {
			l, _ := ready(t)
			l.hear(r.make(packet(ns, 0, other6, group6, ours, source(otherMAC))), otherMAC)
			if len(l.log) != 0 == r.bad {
				t.Errorf("solicitation: %v", l.log)
			}
			l, _ = ready(t)
			l.hear(r.make(packet(na, flagO, ours, "ff02::1", ours, target(otherMAC))), otherMAC)
			if len(l.log) != 0 == r.bad {
				t.Errorf("advertisement: %v", l.log)
			}
		})
	}
	for name, p := range map[string][]byte{
		"7.1.1: from :: to a unicast address":                   packet(ns, 0, "::", ours, ours),
		"7.1.1: from :: to all nodes":                           packet(ns, 0, "::", "ff02::1", ours),
		"7.1.1: from :: with a source address":                  packet(ns, 0, "::", group6, ours, source(otherMAC)),
		"7.1.1: from :: with one that cannot be read":           packet(ns, 0, "::", group6, ours, append([]byte{1, 2}, make([]byte, 14)...)),
		"7.1.2: solicited to all nodes":                         packet(na, flagS, ours, "ff02::1", ours, target(otherMAC)),
		"7.1.2: solicited to our group":                         packet(na, flagS|flagO, ours, group6, ours, target(otherMAC)),
		"an address of IPv4, which is in no packet on the link": packet(na, flagO, ours, "ff02::1", "::ffff:192.0.2.1", target(otherMAC)),
	} {
		t.Run(name, func(t *testing.T) {
			l := newLAN(t)
			s := l.join(ourMAC, firstNonce)
			l.pass(500 * time.Millisecond)
			l.hear(p, otherMAC)
			l.status(s, Tentative)
			l.pass(10 * time.Second)
			l.log = nil
			l.hear(p, otherMAC)
			l.want()
		})
	}
}

func TestBadOptionsHideNothing(t *testing.T) {
	ignored := append([]byte{200, 2}, make([]byte, 14)...)
	for name, options := range map[string][][]byte{
		"unknown":                       {ignored, source(otherMAC)},
		"a link-layer address too long": {append([]byte{1, 2}, make([]byte, 14)...), source(otherMAC)},
		"a target address":              {target(thirdMAC), source(otherMAC)},
		"two: the first counts":         {source(otherMAC), source(thirdMAC)},
		"a broken DNS server, RFC 8106": {append([]byte{25, 1}, make([]byte, 6)...), source(otherMAC)},
		"one longer than 255 octets":    {append([]byte{14, 33}, make([]byte, 33*8-2)...), source(otherMAC)},
		"one longer than what is left":  {source(otherMAC), append([]byte{1, 9}, make([]byte, 6)...)},
		"half of one":                   {source(otherMAC), {1}},
		"a hundred of them":             {make100(), source(otherMAC)},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := ready(t)
			l.hear(packet(ns, 0, other6, group6, ours, options...), thirdMAC)
			l.want("10s NA ours > other of ours rSO target our")
		})
	}
}

func make100() (b []byte) {
	for range 100 {
		b = append(b, append([]byte{1, 2}, make([]byte, 14)...)...)
	}
	return b
}

func TestRouterIsKeptAware(t *testing.T) {
	answer := packet(na, flagR|flagS, router6, ours, router6, target(routerMAC))
	begin := func(t *testing.T) (*lan, *station) {
		l, s := ready(t)
		l.router(s, routerAddr.WithZone("eth0"), routerMAC)
		return l, s
	}
	t.Run("when the address is ours", func(t *testing.T) {
		for _, change := range []func(*Options){func(*Options) {}, optimistic} {
			l := newLAN(t)
			s := l.join(ourMAC, firstNonce, change)
			isOptimistic := s.Status() == Optimistic
			l.router(s, routerAddr, routerMAC)
			l.pass(time.Second)
			want := []string{"0s " + detection, "1s " + announcement, "1s " + probing}
			if isOptimistic { // which may be announced, but not ask
				want = slices.Insert(want, 1, "0s "+announcement)
			}
			l.want(want...)
		}
	})
	t.Run("answered", func(t *testing.T) {
		l, s := begin(t)
		l.want("10s " + probing)
		l.pass(100 * time.Millisecond)
		if !s.RouterHeard().IsZero() {
			t.Errorf("heard at %v", s.RouterHeard())
		}
		l.hear(answer, routerMAC)
		if !s.RouterHeard().Equal(l.now) {
			t.Errorf("heard at %v", s.RouterHeard())
		}
		heard := l.now
		l.pass(2*time.Minute - 1)
		l.hear(answer, routerMAC) // to no question
		if !s.RouterHeard().Equal(heard) {
			t.Errorf("heard at %v", s.RouterHeard())
		}
		l.want()
		l.pass(10 * time.Second)
		l.want("130.1s "+probing, "131.1s "+probing, "132.1s "+probing)
	})
	t.Run("not answered", func(t *testing.T) {
		l, s := begin(t)
		l.pass(3 * time.Minute)
		l.want("10s "+probing, "11s "+probing, "12s "+probing, "132s "+probing, "133s "+probing, "134s "+probing)
		if !s.RouterHeard().IsZero() {
			t.Errorf("heard at %v", s.RouterHeard())
		}
	})
	t.Run("what is no answer", func(t *testing.T) {
		for name, p := range map[string][]byte{
			"not solicited":    packet(na, flagR|flagO, router6, ours, router6, target(routerMAC)),
			"to all nodes":     packet(na, flagR|flagO, router6, "ff02::1", router6, target(routerMAC)),
			"to another":       packet(na, flagR|flagS, router6, other6, router6, target(routerMAC)),
			"of another":       packet(na, flagR|flagS, other6, ours, other6, target(routerMAC)),
			"a wrong checksum": append(packet(na, flagR|flagS, router6, ours, router6)[:63], 77),
		} {
			l, s := begin(t)
			l.pass(0)
			l.hear(p, routerMAC)
			if !s.RouterHeard().IsZero() {
				t.Errorf("%s: heard", name)
			}
		}
	})
	t.Run("half an hour of silence", func(t *testing.T) {
		l, s := begin(t)
		l.log = nil
		for range 30 * 60 * 10 {
			sent := len(l.log)
			l.pass(100 * time.Millisecond)
			if len(l.log) > sent {
				l.hear(answer, routerMAC)
			}
		}
		if len(l.log) != 15 || l.now.Sub(s.RouterHeard()) > 2*time.Minute {
			t.Errorf("%d packets, heard at %v: %v", len(l.log), s.RouterHeard(), l.log)
		}
	})
	t.Run("another router", func(t *testing.T) {
		l, s := begin(t)
		l.pass(5 * time.Second)
		l.hear(answer, routerMAC)
		l.log = nil
		l.router(s, routerAddr, routerMAC) // the same
		l.want()
		if s.RouterHeard().IsZero() {
			t.Error("forgotten")
		}
		l.router(s, routerAddr, thirdMAC)
		l.want("15s NS ours > router@third for router source our")
		if !s.RouterHeard().IsZero() {
			t.Error("not forgotten")
		}
		l.pass(10 * time.Second)
		l.log = nil
		l.router(s, netip.MustParseAddr(other6), otherMAC)
		l.want("25s NS ours > other for other source our")
		l.router(s, routerAddr, nil)
		l.hear(answer, routerMAC) // to what the other was asked
		if !s.RouterHeard().IsZero() {
			t.Error("another's answer counts")
		}
	})
	t.Run("none, or one that is not resolved", func(t *testing.T) {
		l, s := begin(t)
		l.log = nil
		for _, text := range []string{"", router6, "192.0.2.1", "ff02::2", "::", ours} {
			a, _ := netip.ParseAddr(text)
			hw := routerMAC
			if a == routerAddr {
				hw = nil
			}
			l.router(s, a, hw)
			l.pass(time.Hour)
			l.want()
		}
	})
	t.Run("however often it changes", func(t *testing.T) {
		l, s := begin(t)
		l.log = nil
		for i := range 1000 {
			l.router(s, routerAddr, []net.HardwareAddr{thirdMAC, routerMAC}[i%2])
			l.pass(10 * time.Millisecond)
		}
		if len(l.log) > 11 {
			t.Errorf("%d probes in 10 s", len(l.log))
		}
	})
}

func TestHardwareChanges(t *testing.T) {
	t.Run("RFC 4861, 7.2.6: while ready", func(t *testing.T) {
		l, s := ready(t)
		l.router(s, routerAddr, routerMAC)
		l.pass(time.Minute)
		l.log = nil
		l.hardware(s, newMAC)
		l.pass(10 * time.Second)
		const told, asked = "NA ours > nodes of ours rsO target new", "NS ours > router for router source new"
		l.want("70s "+told, "70s "+asked, "71s "+told, "71s "+asked, "72s "+told, "72s "+asked)
		l.hardware(s, newMAC)
		l.pass(10 * time.Second)
		l.want()
	})
	t.Run("while tentative", func(t *testing.T) {
		l := newLAN(t)
		s := l.join(ourMAC, firstNonce)
		l.pass(750 * time.Millisecond)
		l.hardware(s, newMAC)
		l.pass(1250*time.Millisecond - 1)
		l.want("0s "+detection, "1s NS :: > group for ours option 14 a0a0a0a0a0a1")
		l.status(s, Tentative)
		l.pass(1)
		l.status(s, Ready)
		l.want("2s NA ours > routers of ours rso target new")
	})
	t.Run("however often", func(t *testing.T) {
		l, s := ready(t)
		for i := range 1000 {
			l.hardware(s, net.HardwareAddr{2, 0, 0, 1, byte(i >> 8), byte(i)})
			l.pass(10 * time.Millisecond)
		}
		if len(l.log) > 11 || len(s.former) != maxFormer {
			t.Errorf("%d packets in 10 s, %d addresses kept", len(l.log), len(s.former))
		}
	})
	t.Run("to what is none", func(t *testing.T) {
		l, s := ready(t)
		for _, a := range []net.HardwareAddr{nil, {}, {2, 0, 0, 0, 1}, {2, 0, 0, 0, 0, 0, 0, 1}, mac("33:33:00:00:00:01"),
			make([]byte, 6), ourMAC} {
			l.hardware(s, a)
			l.pass(time.Minute)
		}
		l.want()
		l.hear(packet(ns, 0, other6, group6, ours, source(otherMAC)), otherMAC)
		l.want("430s NA ours > other of ours rSO target our")
	})
	t.Run("from none", func(t *testing.T) {
		l := newLAN(t)
		s := l.join(nil, firstNonce)
		l.router(s, routerAddr, routerMAC)
		l.pass(time.Minute)
		l.hear(packet(ns, 0, "::", group6, ours), otherMAC)
		l.want()
		l.status(s, Tentative)
		l.hardware(s, ourMAC)
		l.pass(time.Second)
		l.want("60s "+detection, "61s "+announcement, "61s "+probing)
	})
}

// What is no address of a node is never used.
func TestNoAddress(t *testing.T) {
	for _, a := range []string{"", "192.0.2.1", "::", "::1", "ff02::1", "::ffff:192.0.2.1"} {
		addr, _ := netip.ParseAddr(a)
		n := New(Options{Addr: addr, Hardware: ourMAC, Optimistic: true, Send: func([]byte, net.HardwareAddr) { t.Errorf("%s: sent", a) }})
		n.SetRouter(routerAddr, routerMAC, start)
		wakes := !n.Tick(start).IsZero() || !n.SetHardware(newMAC, start).IsZero() || !n.Tick(start.Add(time.Hour)).IsZero()
		if wakes || n.Status() != Tentative {
			t.Errorf("%s: %v", a, n.Status())
		}
	}
}
