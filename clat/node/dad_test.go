package node

import (
	"bytes"
	"net"
	"testing"
	"time"
)

func TestRFC4862Section54(t *testing.T) {
	for _, r := range []struct {
		name   string
		change func(*Options)
		while  Status
	}{
		{"tentative", func(*Options) {}, Tentative},
		{"optimistic", optimistic, Optimistic},
	} {
		t.Run(r.name, func(t *testing.T) {
			l := newLAN(t)
			s := l.join(ourMAC, firstNonce, r.change)
			l.status(s, r.while)
			first, then := []string{"0s " + detection}, []string{"2s " + announcement, "3s " + announcement}
			if r.while == Optimistic { // it is in use from the start
				first, then = append(first, "0s "+announcement), then[:1]
			}
			l.want(first...)
			l.pass(time.Second - 1)
			l.status(s, r.while)
			l.want()
			l.pass(1)
			l.status(s, Ready)
			l.want("1s " + announcement)
			l.pass(time.Minute)
			l.want(then...)
			if s.Holder() != nil {
				t.Errorf("held by %v", s.Holder())
			}
		})
	}
}

// What comes while the address may not be ours, and what becomes of it.
func TestRFC4862Section543And544(t *testing.T) {
	long := append(nonce(firstNonce), make([]byte, 8)...)
	long[1] = 2
	for _, r := range []struct {
		name   string
		packet []byte
		from   net.HardwareAddr
		after  [2]Status // of tentative, optimistic
		answer string    // of optimistic
		holder net.HardwareAddr
	}{
		{"5.4.4: an advertisement to all nodes", packet(na, flagO, ours, "ff02::1", ours, target(otherMAC)), thirdMAC,
			[2]Status{Duplicate, Duplicate}, "", otherMAC},
		{"5.4.4: without an option", packet(na, 0, ours, "ff02::1", ours), thirdMAC, [2]Status{Duplicate, Duplicate}, "", thirdMAC},
		{"5.4.4: of a router, and another source", packet(na, flagR|flagO, router6, "ff02::1", ours, target(otherMAC)), routerMAC,
			[2]Status{Duplicate, Duplicate}, "", otherMAC},
		{"of another address", packet(na, flagO, other6, "ff02::1", other6, target(otherMAC)), otherMAC,
			[2]Status{Tentative, Optimistic}, "", nil},
		{"our own, come back", packet(na, flagO, ours, "ff02::1", ours, target(ourMAC)), thirdMAC, [2]Status{Tentative, Optimistic}, "", nil},
		{"5.4.3: a solicitation from ::", packet(ns, 0, "::", group6, ours), otherMAC, [2]Status{Duplicate, Duplicate}, "", otherMAC},
		{"with a nonce", packet(ns, 0, "::", group6, ours, nonce(4711)), otherMAC, [2]Status{Duplicate, Duplicate}, "", otherMAC},
		{"with the nonce that would be our next", packet(ns, 0, "::", group6, ours, nonce(firstNonce+1)), otherMAC,
			[2]Status{Duplicate, Duplicate}, "", otherMAC},
		{"with a nonce that begins as ours", packet(ns, 0, "::", group6, ours, long), otherMAC,
			[2]Status{Duplicate, Duplicate}, "", otherMAC},
		{"with two nonces: the first counts, theirs", packet(ns, 0, "::", group6, ours, nonce(4711), nonce(firstNonce)), otherMAC,
			[2]Status{Duplicate, Duplicate}, "", otherMAC},
		{"or ours", packet(ns, 0, "::", group6, ours, nonce(firstNonce), nonce(4711)), otherMAC, [2]Status{Tentative, Optimistic}, "", nil},
		{"for another address", packet(ns, 0, "::", "ff02::1:ff00:2", other6), otherMAC, [2]Status{Tentative, Optimistic}, "", nil},
		{"from a unicast address", packet(ns, 0, other6, group6, ours, source(otherMAC)), thirdMAC, [2]Status{Tentative, Optimistic},
			"0.5s NA ours > other of ours rSo target our", nil},
		{"RFC 7527, 4.2: our own", packet(ns, 0, "::", group6, ours, nonce(firstNonce)), otherMAC, [2]Status{Tentative, Optimistic}, "", nil},
	} {
		for i, change := range []func(*Options){func(*Options) {}, optimistic} {
			t.Run(r.name+", "+Status(i).String(), func(t *testing.T) {
				l := newLAN(t)
				s := l.join(ourMAC, firstNonce, change)
				l.pass(500 * time.Millisecond)
				l.log = nil
				l.hear(r.packet, r.from)
				l.status(s, r.after[i])
				if !bytes.Equal(s.Holder(), r.holder) {
					t.Errorf("held by %v", s.Holder())
				}
				if i == 1 && r.answer != "" {
					l.want(r.answer)
				}
				l.want()
				if r.after[i] == Duplicate {
					if !s.wake.IsZero() {
						t.Errorf("wants to wake at %v", s.wake)
					}
					final(t, l, s)
					return
				}
				l.pass(10 * time.Second)
				l.status(s, Ready)
			})
		}
	}
}

// final checks that nothing brings an address back.
func final(t *testing.T, l *lan, s *station) {
	t.Helper()
	l.log = nil
	for range 3 {
		l.hear(packet(ns, 0, other6, group6, ours, source(otherMAC)), otherMAC)
		l.hear(packet(ns, 0, "::", group6, ours), otherMAC)
		l.hear(packet(na, flagO, ours, "ff02::1", ours, target(otherMAC)), otherMAC)
		if !s.SetHardware(newMAC, l.now).IsZero() || !s.SetRouter(routerAddr, routerMAC, l.now).IsZero() || !s.Tick(l.now).IsZero() {
			t.Error("wants to be woken")
		}
		s.SetHardware(ourMAC, l.now)
		l.pass(time.Hour)
	}
	l.status(s, Duplicate)
	l.want()
}

func TestSomebodyElseDetectsBeforeWeBegin(t *testing.T) {
	n := New(Options{Addr: ourAddr, Hardware: ourMAC, Send: func([]byte, net.HardwareAddr) { t.Error("sent") }})
	n.Input(packet(ns, 0, "::", group6, ours), otherMAC, start)
	if n.Status() != Duplicate || !n.Tick(start).IsZero() {
		t.Errorf("%v", n.Status())
	}
}

func TestRFC7527Section41(t *testing.T) {
	t.Run("a link that sends everything back", func(t *testing.T) {
		l := newLAN(t)
		l.loops = true
		s := l.join(ourMAC, 0xffffffffffff)
		l.pass(4*time.Second - 1)
		l.status(s, Tentative)
		const first = "NS :: > group for ours option 14 "
		l.want("0s "+first+"ffffffffffff", "1s "+first+"000000000000", "2s "+first+"000000000001", "3s "+first+"000000000002")
		l.pass(time.Minute)
		l.status(s, Ready)
		l.want("4s "+announcement, "5s "+announcement, "6s "+announcement)
		// What we say with another link-layer address is no conflict either, nor is what we said with this one.
		l.hardware(s, newMAC)
		l.pass(time.Minute)
		l.hear(packet(na, flagO, ours, "ff02::1", ours, target(ourMAC)), ourMAC)
		if len(l.log) != maxAdvertisements {
			t.Errorf("%d packets: %v", len(l.log), l.log)
		}
		l.status(s, Ready)
	})
	t.Run("a solicitation that comes back late", func(t *testing.T) {
		l, s := ready(t)
		l.hear(packet(ns, 0, "::", group6, ours, nonce(firstNonce)), ourMAC)
		l.want()
		l.status(s, Ready)
	})
	t.Run("and somebody has the address", func(t *testing.T) {
		l := newLAN(t)
		l.loops = true
		s := l.join(ourMAC, firstNonce)
		l.pass(3500 * time.Millisecond)
		l.hear(packet(na, flagO, ours, "ff02::1", ours, target(otherMAC)), otherMAC)
		l.status(s, Duplicate)
	})
}

func TestTwoHosts(t *testing.T) {
	for _, latency := range []time.Duration{time.Nanosecond, time.Millisecond, 300 * time.Millisecond} {
		t.Run("at the same moment, "+latency.String(), func(t *testing.T) {
			l := newLAN(t)
			l.latency = latency
			a, b := l.join(ourMAC, 1), l.join(otherMAC, 2)
			l.pass(time.Minute)
			l.status(a, Duplicate)
			l.status(b, Duplicate)
			if !bytes.Equal(a.Holder(), otherMAC) || !bytes.Equal(b.Holder(), ourMAC) {
				t.Errorf("held by %v, %v", a.Holder(), b.Holder())
			}
		})
	}
	t.Run("half a second apart", func(t *testing.T) {
		l := newLAN(t)
		a := l.join(ourMAC, 1)
		l.pass(500 * time.Millisecond)
		b := l.join(otherMAC, 2)
		l.pass(time.Minute)
		l.status(a, Duplicate) // which heard the other
		l.status(b, Ready)     // which heard nothing: who is a duplicate says nothing
	})
	t.Run("the first is ready", func(t *testing.T) {
		l, a := ready(t)
		b := l.join(otherMAC, 2)
		l.pass(time.Minute)
		l.status(a, Ready)
		l.status(b, Duplicate)
		if !bytes.Equal(b.Holder(), ourMAC) {
			t.Errorf("held by %v", b.Holder())
		}
		l.want("10s NS :: > group for ours option 14 000000000002", "10s "+defence)
	})
	t.Run("the first is ready, the second optimistic", func(t *testing.T) {
		l, a := ready(t)
		b := l.join(otherMAC, 2, optimistic)
		l.pass(time.Minute)
		l.status(a, Ready)
		l.status(b, Duplicate)
	})
}

// Two halves of a link grew together. Nobody knows before one of them speaks; then one of the two has to go.
func TestPartitionThatHeals(t *testing.T) {
	for _, latency := range []time.Duration{0, time.Millisecond, 400 * time.Millisecond} {
		t.Run(latency.String(), func(t *testing.T) {
			l := newLAN(t)
			l.latency, l.cut = latency, true
			a, b := l.join(ourMAC, 1), l.join(otherMAC, 2)
			l.pass(time.Minute)
			l.status(a, Ready)
			l.status(b, Ready)
			l.cut = false
			l.pass(time.Minute)
			l.status(a, Ready)
			l.status(b, Ready)
			l.hardware(a, newMAC)
			l.pass(10 * time.Second)
			if (a.Status() == Ready) == (b.Status() == Ready) {
				t.Errorf("%v and %v", a.Status(), b.Status())
			}
		})
	}
}
