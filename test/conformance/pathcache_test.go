package conformance

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/frame"
	"uclat/clat/siit"
)

// auto is what lowest-ipv6-mtu = "auto" makes of an IPv6 MTU of 1500.
var auto = sizes6(1500, 1500)

// sentTo is what the client sent to a peer: as IPv6, a segment of so many octets, and as much of it as a Packet Too Big quotes.
func sentTo(t testing.TB, dst net.IP, octets int) []byte {
	t.Helper()
	p := build(t, &layers.IPv6{SrcIP: client6, DstIP: dst}, &layers.TCP{ACK: true}, data(octets-60))
	return p[:min(len(p), clat.MinMTU6-48)]
}

// most fails t unless the largest packet with DF that passes to peer4 makes so many octets of IPv6, and the next is answered so.
func (w *worker) most(t testing.TB, dst net.IP, octets int) {
	t.Helper()
	df := func(n int) []byte {
		return build(t, &layers.IPv4{Flags: layers.IPv4DontFragment, DstIP: dst}, &layers.UDP{}, data(n-28))
	}
	if p := w.passes(t, df(octets-20)); p.v6 == nil || len(p.octets) != octets {
		t.Errorf("to %v: %x, want %d octets of IPv6", dst, p.octets, octets)
	}
	p := w.passes(t, df(octets-19))
	p.fromTo(t, self4, client4)
	p.icmp(t).is(t, 3, 4, uint32(octets-20))
}

func TestPathMTU(t *testing.T) {
	t.Run("PMTU-CLAT-1", func(t *testing.T) {
		report := func(mtu uint32) []byte { return tooBig(t, router6, mtu, sentTo(t, peer6, 1500)) }
		for _, from := range []net.IP{router6, peer6, ip("fe80::1")} {
			for _, proto := range transports {
				w := newWorker(t, auto)
				fill := sized4(t, 1480, layers.IPv4{Id: 7}, proto)
				if p := w.passes(t, fill); p.fragment != nil || len(p.octets) != 1500 {
					t.Fatalf("before: %d octets with fragment header %v, want 1500 without", len(p.octets), p.fragment)
				}
				w.passes(t, tooBig(t, from, 1400, sentTo(t, peer6, 1500))).icmp(t).is(t, 3, 4, 1380)

				// Without DF, the very next one leaves in fragments that fit.
				got := w.pass(t, fill)
				arePieces(t, got, 7, piece{0, 1352, true}, piece{1352, 108, false})
				want := sized6(t, 1500, layers.IPv6{SrcIP: client6, DstIP: peer6, HopLimit: 63}, in6(proto))
				same(t, "packet put together", joined(t, got).octets, want)
				for _, df := range []layers.IPv4Flag{0, layers.IPv4DontFragment} {
					if p := w.passes(t, sized4(t, 1380, layers.IPv4{Flags: df}, proto)); p.fragment != nil || len(p.octets) != 1400 {
						t.Errorf("%d octets with fragment header %v, want 1400 without", len(p.octets), p.fragment)
					}
				}
				if n := len(w.pass(t, sized4(t, 1381, layers.IPv4{}, proto))); n != 2 {
					t.Errorf("%d packets, want 2", n)
				}

				// With DF, the very next one is answered, and a fragment with DF takes 8 octets more.
				p := w.passes(t, sized4(t, 1381, dontFragment, proto))
				p.fromTo(t, self4, client4)
				p.icmp(t).is(t, 3, 4, 1380)
				if proto == layers.IPProtocolICMPv4 {
					continue // of which no fragment leaves as such
				}
				first := layers.IPv4{Flags: layers.IPv4DontFragment | layers.IPv4MoreFragments}
				w.passes(t, sized4(t, 20+1360, first, proto)).icmp(t).is(t, 3, 4, 1372)
				if p := w.passes(t, sized4(t, 20+1352, first, proto)); len(p.octets) != 1400 {
					t.Errorf("%d octets, want 1400", len(p.octets))
				}
			}
		}

		// Each destination has its own, and all lanes know all of them.
		other4 := ip("198.51.100.6")
		w := newWorker(t, auto)
		w.passes(t, report(1400))
		w.beside().passes(t, tooBig(t, router6, 1300, sentTo(t, wellKnown(other4), 1500)))
		for _, lane := range []*worker{w, w.beside()} {
			lane.most(t, peer4, 1400)
			lane.most(t, other4, 1300)
			lane.most(t, ip("198.51.100.7"), 1500)
		}
		// One that has an explicit mapping is no different.
		w = newWorker(t, auto, func(_ *siit.Options, s *eam.Spec) {
			s.Map = []eam.Mapping{mapping("203.0.113.7/32", "2001:db8:77::1/128")}
		})
		w.passes(t, tooBig(t, router6, 1400, sentTo(t, ip("2001:db8:77::1"), 1500))).icmp(t).is(t, 3, 4, 1380)
		w.most(t, ip("203.0.113.7"), 1400)
		// Another translator takes over what the one before learned.
		w.engine.Swap(newTranslator(t, auto).Translator)
		w.passes(t, tooBig(t, router6, 1400, sentTo(t, peer6, 1500)))
		w.engine.Swap(newTranslator(t, auto).Translator)
		w.most(t, peer4, 1400)

		// lowest-ipv6-mtu and the path MTU: the lesser of them.
		for _, c := range []struct{ lowest, path, want int }{
			{1280, 1400, 1280}, {1400, 1300, 1300}, {1300, 1400, 1300}, {1500, 1280, 1280}, {1500, 1499, 1499},
		} {
			w := newWorker(t, sizes6(1500, c.lowest))
			w.passes(t, report(uint32(c.path)))
			w.most(t, peer4, c.path)
			if p := w.passes(t, sized4(t, c.want-20, layers.IPv4{}, layers.IPProtocolUDP)); p.fragment != nil {
				t.Errorf("%+v: fragment header %v in a packet that fits", c, p.fragment)
			}
			got := w.pass(t, sized4(t, 1480, layers.IPv4{}, layers.IPProtocolUDP))
			joined(t, got)
			if want := 48 + (c.want-48)&^7; len(got[0].octets) != want {
				t.Errorf("%+v: first fragment of %d octets, want %d", c, len(got[0].octets), want)
			}
		}

		// It gets lower and never higher (RFC 8201, 4), and never below 1280.
		w = newWorker(t, auto)
		for _, c := range []struct {
			mtu  uint32
			want int
		}{
			{1500, 1500}, {1501, 1500}, {65536 + 1300, 1500}, {1<<32 - 1, 1500}, // more than the first link takes says nothing
			{1400, 1400}, {1450, 1400}, {1499, 1400}, {9000, 1400}, {1399, 1399}, {1279, 1399}, {0, 1399}, {1280, 1280}, {1400, 1280},
		} {
			w.pass(t, report(c.mtu))
			w.most(t, peer4, c.want)
		}

		superPackets(t, report(1400))
		synctest.Test(t, forgotten)
	})
}

// superPackets: with segments too long for the path, super-packets of TCP get smaller ones, and the datagrams of UDP leave in fragments;
// with DF, the sender is told.
func superPackets(t *testing.T, report []byte) {
	t.Helper()
	offered := func(l upper, flags layers.IPv4Flag, size int) *frame.Frame {
		f := newFrame(super(t, &layers.IPv4{Flags: flags}, l, 3*size))
		f.Offload = segmented(l, 20, size)
		return f
	}
	const header = 32 // of tcp
	w := newWorker(t, auto)
	w.pass(t, report)
	for size, want := range map[int]uint16{1428: 1400 - 40 - header, 1400 - 40 - header + 1: 1400 - 40 - header, 1000: 1000} {
		got := w.passFrames(t, offered(tcp, 0, size))
		if len(got) != 1 || got[0].SegSize != want {
			t.Fatalf("segments of %d octets: %+v, want %d", size, got, want)
		}
	}
	if n := len(w.passFrames(t, offered(udp, 0, 1400-48+1))); n != 6 {
		t.Errorf("three datagrams of 1401 octets of IPv6 became %d packets, want 6 fragments", n)
	}
	for l, size := range map[*upper]int{&tcp: 1400 - 40 - header, &udp: 1400 - 48} {
		if got := w.passFrames(t, offered(*l, layers.IPv4DontFragment, size)); len(got) != 1 || int(got[0].SegSize) != size {
			t.Errorf("%s: segments that fit: %+v", l.name, got)
		}
		got := w.passFrames(t, offered(*l, layers.IPv4DontFragment, size+1))
		decode(t, got[0].Bytes()).icmp(t).is(t, 3, 4, 1380)
	}
}

// forgotten: 10 minutes after it was said last, a path MTU is forgotten, not before, so that a path that got wider is found out (RFC 8201,
// 4, where 5 minutes are the least). Somebody else's way and time change nothing of that.
func forgotten(t *testing.T) {
	report := tooBig(t, router6, 1400, sentTo(t, peer6, 1500))
	fill := sized4(t, 1480, dontFragment, layers.IPProtocolUDP)
	other := tooBig(t, router6, 1400, sentTo(t, wellKnown(ip("198.51.100.6")), 1500))
	w := newWorker(t, auto)
	lane := run(t, w.engine, nil)
	known := func(want bool) {
		t.Helper()
		out := lane.send(t, fill)
		if len(out) != 1 || (out[0].v4 != nil) != want {
			t.Errorf("%d packets, the first %x; want an answer: %v", len(out), out[0].octets, want)
		}
	}
	known(false)
	lane.send(t, report)
	known(true)
	for range 9 {
		time.Sleep(time.Minute)
		lane.send(t, other)
		known(true)
	}
	time.Sleep(59 * time.Second)
	known(true)
	time.Sleep(time.Minute)
	known(false)

	// What is said once more holds for another 10 minutes.
	lane.send(t, report)
	time.Sleep(9 * time.Minute)
	lane.send(t, report)
	time.Sleep(9*time.Minute + 59*time.Second)
	known(true)
	time.Sleep(time.Minute)
	known(false)
}
