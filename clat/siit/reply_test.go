package siit

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"uclat/clat"
)

// The whole of what we send when a full-size packet does not fit.
func TestExactReply(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	p := ip4{proto: protoTCP, df: true, id: 0x1111, tos: 0x28}.packet(seal(host4, peer4, protoTCP, tcp(data(1448))))
	q := replied(t, tr, bytes.Clone(p), clat.DropTooBig)
	want := packet{version: 4, src: self4, dst: host4, tos: 0xc0, ttl: 64, proto: protoICMP, id: q.id, payload: q.payload}
	if fmt.Sprint(q) != fmt.Sprint(want) {
		t.Errorf("%+v, want %+v", q, want)
	}
	message := seal(self4, host4, protoICMP, icmp(3, 4, 1480, p[:548]))
	if !bytes.Equal(q.payload, message) {
		t.Errorf("RFC 7915, 4.1\ngot  %x\nwant %x", q.payload, message)
	}
	t.Run("RFC 7915, 1.4", func(t *testing.T) {
		small := newTranslator(t, with(func(o *Options) { o.MTU4 = 1300 }))
		p := from6(protoTCP, tcp(data(1400)))
		q := replied(t, small, bytes.Clone(p), clat.DropTooBig)
		message := seal(host6, peer6, protoICMPv6, icmp(2, 0, 1320, p[:1232]))
		if q.src != host6 || q.dst != peer6 || q.ttl != 64 || !bytes.Equal(q.payload, message) {
			t.Errorf("%v to %v: %x", q.src, q.dst, q.payload)
		}
	})
}

// Each error is as long as the packet allows, and not longer than its family does. It goes to the sender from our own address.
func TestReplySizes(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, n := range []int{0, 8, 500, 527, 528, 529, 1191, 1192, 1193, 1400, 20000} {
		t.Run(fmt.Sprintf("RFC 7915, 4.4/%d", n), func(t *testing.T) {
			p := ip4{proto: 50, ttl: 1}.packet(data(n))
			q := replied(t, tr, bytes.Clone(p), clat.DropTTL)
			if q.src != self4 || q.dst != host4 || !bytes.Equal(q.payload[8:], p[:min(len(p), 576-28)]) {
				t.Errorf("%v to %v, %d octets", q.src, q.dst, len(q.payload))
			}
		})
		t.Run(fmt.Sprintf("RFC 4443, 2.4 (c)/%d", n), func(t *testing.T) {
			p := ip6{next: 50, hops: 1}.packet(data(n))
			q := replied(t, tr, bytes.Clone(p), clat.DropTTL)
			if q.src != host6 || q.dst != peer6 || !bytes.Equal(q.payload[8:], p[:min(len(p), 1280-48)]) {
				t.Errorf("%v to %v, %d octets", q.src, q.dst, len(q.payload))
			}
		})
	}
}

// Padding behind the packet is not part of it, and not quoted.
func TestReplyWithoutPadding(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	p := append(ip4{proto: 50, ttl: 1}.packet(data(10)), 1, 2, 3)
	if q := replied(t, tr, p, clat.DropTTL); len(q.payload) != 8+30 {
		t.Errorf("%d octets", len(q.payload))
	}
	p = append(ip6{next: 50, hops: 1}.packet(data(10)), 1, 2, 3)
	if q := replied(t, tr, p, clat.DropTTL); len(q.payload) != 8+50 {
		t.Errorf("%d octets", len(q.payload))
	}
}

func TestNoReply(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for typ := range 256 {
		isError := typ == 3 || typ == 4 || typ == 5 || typ == 11 || typ == 12
		t.Run(fmt.Sprintf("RFC 7915, 4.4/ICMPv4 type %d", typ), func(t *testing.T) {
			p := ip4{proto: protoICMP, ttl: 1}.packet(seal(host4, peer4, protoICMP, icmp(uint8(typ), 0, 0, quoted4())))
			if isError {
				dropped(t, tr, p, clat.DropTTL)
			} else {
				replied(t, tr, p, clat.DropTTL)
			}
		})
		t.Run(fmt.Sprintf("RFC 7915, 5.1/ICMPv6 type %d", typ), func(t *testing.T) {
			p := ip6{next: protoICMPv6, hops: 1}.packet(seal(peer6, host6, protoICMPv6, icmp(uint8(typ), 0, 0, quoted6())))
			if typ < 128 || typ == 137 {
				dropped(t, tr, p, clat.DropTTL)
			} else {
				replied(t, tr, p, clat.DropTTL)
			}
		})
	}
	t.Run("RFC 7915, 4.4/empty ICMP", func(t *testing.T) {
		dropped(t, tr, ip4{proto: protoICMP, ttl: 1}.packet(nil), clat.DropTTL)
		dropped(t, tr, ip6{next: protoICMPv6, hops: 1}.packet(nil), clat.DropTTL)
	})
	for _, offset := range []int{0, 8, 800} {
		t.Run(fmt.Sprintf("RFC 7915, 4.4/fragment at %d", offset), func(t *testing.T) {
			four := ip4{proto: 50, ttl: 1, mf: true, offset: offset}.packet(data(80))
			if offset == 0 {
				replied(t, tr, four, clat.DropTTL)
			} else {
				dropped(t, tr, four, clat.DropTTL)
			}
		})
		t.Run(fmt.Sprintf("RFC 4443, 3.3/fragment at %d", offset), func(t *testing.T) {
			h := ip6{next: 50, hops: 1, extensions: []extension{fragmentHeader(offset, true, 1)}}
			replied(t, tr, h.packet(data(80)), clat.DropTTL)
			if h.next = protoICMPv6; offset != 0 {
				dropped(t, tr, h.packet(data(80)), clat.DropTTL) // it may be an error
			}
		})
	}
	t.Run("RFC 7915, 4.4/multicast", func(t *testing.T) {
		dropped(t, tr, ip4{dst: netip.MustParseAddr("224.0.0.9"), proto: protoUDP, ttl: 1}.packet(udp(nil)), clat.DropMulticast)
		dropped(t, tr, ip6{dst: netip.MustParseAddr("ff0e::9"), next: protoUDP, hops: 1}.packet(udp(nil)), clat.DropMulticast)
	})
}

func TestReplyBudget(t *testing.T) {
	four := ip4{proto: 50, ttl: 1}.packet(data(8))
	six := ip6{next: 50, hops: 1}.packet(data(8))
	t.Run("RFC 7915, 4.4/budget", func(t *testing.T) {
		tr, s := newTranslator(t, hostOptions()), newScratch()
		s.Errors = 3
		replies := 0
		for i := range 1000 {
			p := four
			if i%2 == 0 {
				p = six
			}
			r := tr.Translate(newFrame(p), s)
			if r.Verdict == Reply {
				replies++
			} else if r.Verdict != Drop || r.Reason != clat.DropTTL {
				t.Fatalf("%+v", r)
			}
		}
		if replies != 3 || s.Errors != 0 {
			t.Errorf("%d replies, %d left", replies, s.Errors)
		}
	})
	for _, c := range []struct {
		name     string
		edit     func(*Options)
		r4, r6   Verdict
		wantLeft int
	}{
		{"both", func(*Options) {}, Reply, Reply, 998},
		{"no errors", func(o *Options) { o.NoErrors = true }, Drop, Drop, 1000},
		{"no address of IPv4", func(o *Options) { o.Self4 = netip.Addr{} }, Drop, Reply, 999},
		{"no address of IPv6", func(o *Options) { o.Self6 = netip.Addr{} }, Reply, Drop, 999},
	} {
		t.Run("RFC 7915, 4.4/"+c.name, func(t *testing.T) {
			tr, s := newTranslator(t, with(c.edit)), newScratch()
			if r := tr.Translate(newFrame(four), s); r.Verdict != c.r4 || r.Reason != clat.DropTTL {
				t.Errorf("46: %+v", r)
			}
			if r := tr.Translate(newFrame(six), s); r.Verdict != c.r6 || r.Reason != clat.DropTTL {
				t.Errorf("64: %+v", r)
			}
			if s.Errors != c.wantLeft {
				t.Errorf("%d left of 1000", s.Errors)
			}
		})
	}
}
