package conformance

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"uclat/clat/node"
)

// retransTimer is how long others have to object (RFC 4861, 10).
const retransTimer = time.Second

func TestNode(t *testing.T) {
	group := solicitedNode(client6)

	t.Run("SRC-4862-1", func(t *testing.T) {
		asks := solicits(nobody, group, client6, nil, onEthernet(group))
		s := newStation(t)
		s.is(node.Tentative)
		s.pass(0)
		s.says("at first", asks)
		// Nobody hears of an address that is not ours yet.
		s.hear(solicitation(t, other6, group, client6, sourceIs(otherMAC)), otherMAC)
		s.says("asked for it too early")
		s.pass(retransTimer - 1)
		s.is(node.Tentative)
		s.says("while others may object")
		s.pass(1)
		s.is(node.Ready)

		// They object by having the address, or by asking for it as we do.
		for what, objection := range map[string][]byte{
			"an advertisement to all":        advertisement(t, client6, allNodes, client6, flagOverride, targetIs(otherMAC)),
			"without Override":               advertisement(t, client6, allNodes, client6, 0, targetIs(otherMAC)),
			"without a link-layer address":   advertisement(t, client6, allNodes, client6, flagOverride),
			"somebody else wants it as well": solicitation(t, nobody, group, client6),
		} {
			for _, at := range []time.Duration{0, retransTimer / 2, retransTimer - 1} {
				t.Run(fmt.Sprintf("%s after %v", what, at), func(t *testing.T) {
					s := newStation(t)
					s.pass(at)
					s.hear(objection, otherMAC)
					s.is(node.Duplicate)
					s.pass(time.Hour)
					s.hear(solicitation(t, other6, group, client6, sourceIs(otherMAC)), otherMAC)
					s.is(node.Duplicate)
					s.says("of somebody else's address", asks)
				})
			}
		}
		s = newStation(t)
		s.pass(0)
		s.hear(advertisement(t, other6, allNodes, other6, flagOverride, targetIs(otherMAC)), otherMAC)
		s.hear(solicitation(t, nobody, solicitedNode(other6), other6), otherMAC)
		s.pass(retransTimer)
		s.is(node.Ready) // that was about another address

		// Then there are four in all.
		for taken := range 5 {
			l := newLaptop(t, "")
			l.taken = taken
			p := l.settle()
			switch {
			case len(l.tried) != min(taken+1, 4):
				t.Errorf("%d are taken: tried %v", taken, l.tried)
			case taken == 4 && (p.On || len(p.Try) > 0 || p.Code != "duplicate-address"):
				t.Errorf("all are taken: %s, holds %v", p.Why, p.Try)
			case taken < 4 && (!p.On || used(p) != l.tried[taken]):
				t.Errorf("%d are taken: %s, uses %v of %v", taken, p.Why, used(p), l.tried)
			}
			for i, a := range l.tried {
				if slices.Contains(l.tried[:i], a) {
					t.Errorf("%v was tried twice", a)
				}
			}
		}
	})

	t.Run("SRC-4861-1", func(t *testing.T) {
		s := newOwner(t)
		answer := advertises(other6, flagSolicited|flagOverride, ourMAC, otherMAC)
		asked := func(what string, want neighbourMessage) {
			t.Helper()
			s.hear(solicitation(t, other6, group, client6, sourceIs(otherMAC)), otherMAC)
			s.says(what, want)
		}
		asked("asked by the group", answer)
		s.hear(solicitation(t, other6, client6, client6, sourceIs(otherMAC)), otherMAC)
		s.says("asked directly", answer)
		s.hear(solicitation(t, other6, client6, client6), otherMAC)
		s.says("seeing whether we are still there", answer)
		s.hear(solicitation(t, linkRouter, group, client6, sourceIs(routerMAC)), routerMAC)
		s.says("by the router", advertises(linkRouter, flagSolicited|flagOverride, ourMAC, routerMAC))
		s.hear(solicitation(t, nobody, group, client6), otherMAC)
		s.says("somebody else wants it", advertises(allNodes, flagOverride, ourMAC, onEthernet(allNodes)))
		for _, wait := range []time.Duration{time.Hour, 24 * time.Hour, 30 * 24 * time.Hour} {
			s.pass(wait)
			asked(fmt.Sprintf("after %v", wait), answer)
		}

		// Who claims it is contradicted.
		s.hear(advertisement(t, client6, allNodes, client6, flagOverride, targetIs(otherMAC)), otherMAC)
		s.says("somebody else says that it is his", advertises(allNodes, flagOverride, ourMAC, onEthernet(allNodes)))
		s.is(node.Ready)
		asked("after that", answer)

		// What is not for us, or did not come as RFC 4861, 7.1.1 wants it.
		good := solicitation(t, other6, group, client6, sourceIs(otherMAC))
		for what, p := range map[string][]byte{
			"another target":                         solicitation(t, other6, group, other6, sourceIs(otherMAC)),
			"a target of the same group":             solicitation(t, other6, group, net.IP(edited(client6, 8, 1)), sourceIs(otherMAC)),
			"the group as target":                    solicitation(t, other6, group, group, sourceIs(otherMAC)),
			"a hop limit of 254, from off the link":  edited(good, 7, 254),
			"a wrong checksum":                       edited(good, 42, good[42]^1),
			"code 1":                                 ndSealed(t, edited(good, 41, 1)),
			"an option without a length":             ndSealed(t, edited(good, 65, 0)),
			"half a target":                          good[:56],
			"from nobody, to us alone":               solicitation(t, nobody, client6, client6),
			"from nobody, with a link-layer address": solicitation(t, nobody, group, client6, sourceIs(otherMAC)),
			"a Router Solicitation":                  ndSealed(t, edited(good, 40, 133)),
			"another next header":                    edited(good, 6, 17),
			"to another, which the link let us have": solicitation(t, other6, self6, client6, sourceIs(otherMAC)),
		} {
			s.hear(p, otherMAC)
			s.says(what)
		}
		if again := ndSealed(t, edited(good, 40, good[40])); !slices.Equal(again, good) {
			t.Errorf("the test's own checksum: %x, want %x", again, good)
		}

		// The card has another address now, as Wi-Fi does it.
		s.next = s.SetHardware(routerMAC, s.now)
		s.pass(time.Minute)
		s.sent = nil
		asked("from another link-layer address", advertises(other6, flagSolicited|flagOverride, routerMAC, otherMAC))

		// As long as it may be somebody else's, nobody is to forget that one (RFC 4429, 2.2).
		s = newStation(t, func(o *node.Options) { o.Optimistic = true })
		s.pass(0)
		s.sent = nil
		asked("optimistic", advertises(other6, flagSolicited, ourMAC, otherMAC))
	})

	t.Run("SRC-9131-1", func(t *testing.T) {
		s := newStation(t)
		s.pass(retransTimer - 1)
		s.sent = nil
		s.pass(1)
		s.is(node.Ready)
		tells := advertises(allRouters, 0, ourMAC, onEthernet(allRouters))
		s.says("at once", tells)
		// Packets get lost; but three are enough, a second apart (RFC 4861, 7.2.6).
		s.pass(retransTimer - 1)
		s.says("in the first second")
		s.pass(1)
		s.says("after a second", tells)
		s.pass(time.Hour)
		s.says("after that", tells)

		// It is the first thing that is sent from the address.
		s = newStation(t)
		s.next = s.SetRouter(addr(linkRouter), routerMAC, s.now)
		s.pass(retransTimer)
		s.says("where the router is known",
			solicits(nobody, group, client6, nil, onEthernet(group)), tells, solicits(client6, linkRouter, linkRouter, ourMAC, routerMAC))
	})
}
