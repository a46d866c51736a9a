package conformance

import (
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/config"
	"uclat/clat/eam"
	"uclat/clat/siit"
)

// reassembling is icmp-fragments = "reassemble", the default.
func reassembling(o *siit.Options, _ *eam.Spec) { o.Reassemble = true }

// echo is an echo message of one direction, and what is to come of it.
type echo struct {
	name     string
	in, want func(octets int) stack // of payload
}

// echoes have the TTL that is left in want, and of both the identification that the fragments are given.
var echoes = []echo{
	{
		"46 request",
		func(n int) stack { return stack{&layers.IPv4{TOS: 0xb9}, icmp4(8, 0, 0x42420001), data(n)} },
		func(n int) stack {
			return stack{&layers.IPv6{SrcIP: client6, DstIP: peer6, TrafficClass: 0xb9, HopLimit: 63}, icmp6(128, 0, 0x42420001), data(n)}
		},
	},
	{
		"46 reply",
		func(n int) stack { return stack{&layers.IPv4{}, icmp4(0, 0, 0x42420001), data(n)} },
		func(n int) stack {
			return stack{&layers.IPv6{SrcIP: client6, DstIP: peer6, HopLimit: 63}, icmp6(129, 0, 0x42420001), data(n)}
		},
	},
	{
		"64 request",
		func(n int) stack { return stack{&layers.IPv6{TrafficClass: 0xb9}, icmp6(128, 0, 0x42420001), data(n)} },
		func(n int) stack {
			return stack{&layers.IPv4{SrcIP: peer4, DstIP: client4, TOS: 0xb9, TTL: 63, Id: 0x1234}, icmp4(8, 0, 0x42420001), data(n)}
		},
	},
	{
		"64 reply",
		func(n int) stack { return stack{&layers.IPv6{}, icmp6(129, 0, 0x42420001), data(n)} },
		func(n int) stack {
			return stack{&layers.IPv4{SrcIP: peer4, DstIP: client4, TTL: 63, Id: 0x1234}, icmp4(0, 0, 0x42420001), data(n)}
		},
	},
}

// fragments are those of the message, with so many octets each.
func (e echo) fragments(t testing.TB, octets, size int) [][]byte {
	t.Helper()
	return cut(t, build(t, e.in(octets)...), 0x1234, size)
}

// arrives fails t unless out is the message, whole or in fragments that the other side takes.
func (e echo) arrives(t testing.TB, out []packet, octets int) {
	t.Helper()
	if len(out) == 0 {
		t.Errorf("%s: nothing left", e.name)
		return
	}
	whole := out[0]
	if len(out) > 1 {
		whole = joined(t, out)
	}
	same(t, e.name, whole.octets, build(t, e.want(octets)...))
	for _, p := range out {
		if limit := map[bool]int{true: 1280, false: 1500}[p.v6 != nil]; len(p.octets) > limit {
			t.Errorf("%s: a fragment of %d octets, want no more than %d", e.name, len(p.octets), limit)
		}
		if p.isFragment() && p.id() != 0x1234 {
			t.Errorf("%s: identification %#x, want 0x1234", e.name, p.id())
		}
	}
}

func TestFragmentedICMP(t *testing.T) {
	t.Run("XLAT-CK-7", func(t *testing.T) {
		tr := newTranslator(t)
		for _, whole := range [][]byte{
			build(t, &layers.IPv4{}, icmp4(8, 0, 0x42420001), data(2000)),
			build(t, &layers.IPv4{}, icmp4(0, 0, 0x42420001), data(2000)),
			build(t, &layers.IPv6{}, icmp6(128, 0, 0x42420001), data(2000)),
			build(t, &layers.IPv6{}, icmp6(129, 0, 0x42420001), data(2000)),
			build(t, &layers.IPv6{SrcIP: router6}, icmp6(3, 0, 0), data(2000)),
		} {
			for _, f := range cut(t, whole, 0x1234, 1024) {
				dropped(t, tr, f, clat.DropFragmentedICMP)
			}
		}
		for setting, want := range map[string]config.Action{
			"": config.ActionReassemble, "translate.icmp-fragments = 'reassemble'": config.ActionReassemble,
			"translate.icmp-fragments = 'drop'": config.ActionDrop,
		} {
			if c, err := config.Parse("test.toml", []byte(setting)); err != nil || c.Translate.ICMPFragments != want {
				t.Errorf("%q: %v, want %v", setting, err, want)
			}
		}
		for _, e := range echoes {
			t.Run(e.name, e.reassembled)
			t.Run(e.name+", not whole", e.notWhole)
			t.Run(e.name+", late", func(t *testing.T) { synctest.Test(t, e.late) })
		}
		fragmentsTooBig(t)
		fragmentedErrors(t)
	})
}

// reassembled: all fragments come, in whatever order and company.
func (e echo) reassembled(t *testing.T) {
	// With three fragments, all orders that there are, in one batch and one after the other, through two lanes.
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		w := newWorker(t, reassembling)
		var batch [][]byte
		for _, i := range order {
			batch = append(batch, e.fragments(t, 4000, 1480)[i])
		}
		e.arrives(t, w.pass(t, batch...), 4000)
		w.swallows(t, batch[:2]...)
		e.arrives(t, w.beside().pass(t, batch[2]), 4000)
	}
	// From what a single packet carries to what the most do, in pieces down to 8 octets.
	w := newWorker(t, reassembling)
	for octets, size := range map[int]int{0: 8, 1: 8, 9: 8, 1000: 104, 1472: 1400, 1473: 1480, 9000: 1448, 30000: 1024, 65507: 1480} {
		if len(e.fragments(t, octets, size)) > 1 {
			e.arrives(t, w.pass(t, e.fragments(t, octets, size)...), octets)
		}
	}
	// The TTL that counts is that of the first fragment, and is as that of any packet.
	late := e.fragments(t, 2000, 1480)
	late[1] = withHops(late[1], 5)
	e.arrives(t, w.pass(t, late...), 2000)
	if p := w.passes(t, withHops(late[0], 1)); !p.dst().Equal(decodeHeader(t, late[0]).src()) {
		t.Errorf("a TTL of 1 was answered to %v", p.dst())
	}
	// Fragments of others belong to them: other addresses, other identifications.
	var mixed [][]byte
	for i, f := range e.fragments(t, 2000, 1480) {
		mixed = append(mixed, f, cut(t, build(t, e.in(3000)...), 0x1235, 1480)[i], e.fromAnother(t, 4000)[i])
	}
	e.arrives(t, w.pass(t, mixed...), 2000)
	// The exact copy of a fragment does no harm.
	twice := e.fragments(t, 4000, 1480)
	e.arrives(t, w.pass(t, twice[0], twice[1], twice[0], twice[1], twice[2]), 4000)
}

// withHops is a packet with another TTL or Hop Limit.
func withHops(p []byte, hops uint8) []byte {
	if p[0]>>4 == 4 {
		return withTTL(p, hops)
	}
	return edited(p, 7, hops)
}

// fromAnother are fragments with the same identification between another peer and the client.
func (e echo) fromAnother(t testing.TB, octets int) [][]byte {
	t.Helper()
	headers := e.in(octets)
	switch h := headers[0].(type) {
	case *layers.IPv4:
		h.DstIP = net.IP{198, 51, 100, 6}
	case *layers.IPv6:
		h.SrcIP = wellKnown(net.IP{198, 51, 100, 6})
	}
	return cut(t, build(t, headers...), 0x1234, 1480)
}

// notWhole: something is wrong with the fragments, and nothing leaves, whatever comes then.
func (e echo) notWhole(t *testing.T) {
	whole := e.fragments(t, 4000, 1480)
	without := func(i int) [][]byte { return slices.Delete(slices.Clone(whole), i, i+1) }
	// overlapping covers so many octets at an offset, with other contents.
	overlapping := func(offset, octets int, more bool) []byte {
		id := uint16(0x1234)
		body := payload(slices.Repeat([]byte{0xee}, octets))
		switch h := e.in(0)[0].(type) {
		case *layers.IPv4:
			h.Protocol, h.Id, h.FragOffset = layers.IPProtocolICMPv4, id, uint16(offset/8)
			if more {
				h.Flags = layers.IPv4MoreFragments
			}
			return build(t, h, body)
		case *layers.IPv6:
			f := &layers.IPv6Fragment{
				NextHeader: layers.IPProtocolICMPv6, Identification: uint32(id), FragmentOffset: uint16(offset / 8), MoreFragments: more,
			}
			return build(t, gopacket.SerializableLayer(h).(*layers.IPv6), f, body)
		}
		panic("no IP header")
	}
	for i := range whole {
		newWorker(t, reassembling).swallows(t, without(i)...)

		// One bit of one fragment: the checksum of the whole tells.
		last := len(whole[i]) - 1
		damaged := slices.Clone(whole)
		damaged[i] = edited(whole[i], last, whole[i][last]^1)
		w := newWorker(t, reassembling)
		w.swallows(t, damaged...)
		if n := w.drops(clat.DropTransport); n != 1 {
			t.Errorf("damaged: %d dropped for %v, want the whole", n, clat.DropTransport)
		}
	}
	for name, bad := range map[string][]byte{
		"across two":           overlapping(1400, 160, true),
		"within one":           overlapping(1480, 8, true),
		"the first, otherwise": overlapping(0, 1480, true),
		"the last, otherwise":  overlapping(2960, 1048, false),
	} {
		for at := 1; at < len(whole); at++ {
			w := newWorker(t, reassembling)
			w.swallows(t, slices.Insert([][]byte{whole[2], whole[0], whole[1]}, at, bad)...)
			w.swallows(t, whole...) // the datagram stays what it is, also for fragments that are yet to come (RFC 8200, 4.5)
			if n := w.drops(clat.DropFragmentOverlap); n != 7 {
				t.Errorf("%s: %d fragments counted as overlapping, want all 7", name, n)
			}
		}
	}
	// A datagram that would end beyond what there is, as the ping of death.
	w := newWorker(t, reassembling)
	w.swallows(t, slices.Insert(without(2), 1, overlapping(65504, 104, false))...)
	if w.drops(clat.DropFragment) == 0 {
		t.Error("beyond 65535 octets: nothing counted")
	}
}

// late: what is missing for a minute is not waited for any more (RFC 8200, 4.5; RFC 1122, 3.3.2).
func (e echo) late(t *testing.T) {
	whole := e.fragments(t, 4000, 1480)
	w := newWorker(t, reassembling)
	lane := run(t, w.engine, nil)
	for _, c := range []struct {
		wait    time.Duration
		arrives bool
	}{{59 * time.Second, true}, {61 * time.Second, false}} {
		if out := lane.send(t, whole[0], whole[2]); len(out) > 0 {
			t.Errorf("%d packets left before the whole was there", len(out))
		}
		time.Sleep(c.wait)
		out := lane.send(t, whole[1])
		if c.arrives {
			e.arrives(t, out, 4000)
		} else if len(out) > 0 {
			t.Errorf("%d packets left after %v", len(out), c.wait)
		}
	}
	if n := w.drops(clat.DropFragmentTimeout); n != 2 {
		t.Errorf("%d fragments counted as given up, want 2", n)
	}
	// Nobody needs to send anything for that.
	time.Sleep(2 * time.Minute)
	if n := w.drops(clat.DropFragmentTimeout); n != 3 {
		t.Errorf("%d fragments counted as given up, want 3", n)
	}
}

// fragmentsTooBig: fragments with DF are too big or not as those of any protocol are, and what is put together may be fragmented again.
func fragmentsTooBig(t *testing.T) {
	w := newWorker(t, reassembling)
	first := layers.IPv4{Flags: layers.IPv4DontFragment | layers.IPv4MoreFragments, Protocol: layers.IPProtocolICMPv4}
	fits, tooLong := first, first
	w.swallows(t, build(t, &fits, data(1448))) // 1496 octets of IPv6
	w.passes(t, build(t, &tooLong, edited4(8, 1456))).icmp(t).is(t, 3, 4, 1472)

	narrow := newWorker(t, reassembling, sizes4(576))
	e := echoes[2]
	out := narrow.pass(t, e.fragments(t, 4000, 1024)...)
	same(t, "the whole, in fragments of IPv4", joined(t, out).octets, build(t, e.want(4000)...))
	for _, p := range out {
		if len(p.octets) > 576 {
			t.Errorf("a fragment of %d octets, want no more than 576", len(p.octets))
		}
	}
	p := narrow.passes(t, e.fragments(t, 4000, 1400)[0]) // longer than 1280, and nobody may fragment IPv6
	p.fromTo(t, self6, peer6)
	p.icmp(t).is(t, 2, 0, 1280)
}

// edited4 is the beginning of an ICMP message, of a type.
func edited4(typ byte, octets int) gopacket.Payload { return payload(edited(data(octets), 0, typ, 0)) }

// fragmentedErrors: ICMP errors in fragments are put together as well, from whom they may come; those of a router without an IPv4 address
// are not.
func fragmentedErrors(t *testing.T) {
	quote := build(t, &layers.IPv6{SrcIP: client6, DstIP: peer6}, &layers.UDP{}, data(1100))
	report := func(from net.IP) [][]byte {
		return cut(t, build(t, &layers.IPv6{SrcIP: from}, icmp6(3, 0, 0), payload(quote)), 7, 800)
	}
	w := newWorker(t, reassembling)
	p := w.pass(t, report(wellKnown(ip("198.51.100.77")))...)
	if len(p) != 1 {
		t.Fatalf("%d packets, want the error", len(p))
	}
	p[0].fromTo(t, ip("198.51.100.77"), client4)
	m := p[0].icmp(t)
	m.is(t, 11, 0, 0)
	m.quoted(t).fromTo(t, client4, peer4)
	w.swallows(t, report(router6)...)
	if n := w.drops(clat.DropFragmentedICMP); n != 2 {
		t.Errorf("%d fragments from %v were dropped for %v, want 2", n, router6, clat.DropFragmentedICMP)
	}
}
