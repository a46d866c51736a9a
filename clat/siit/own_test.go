package siit

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/frame"
)

// ping is an echo request to one of our own addresses.
func ping(src, dst netip.Addr, payload int) []byte {
	if dst.Is4() {
		return ip4{src: src, dst: dst, proto: protoICMP, tos: 0x28, df: true}.packet(seal(src, dst, protoICMP, icmp(8, 0, 0xabcd0001, data(payload))))
	}
	return ip6{src: src, dst: dst, next: protoICMPv6, tclass: 0x28}.packet(seal(src, dst, protoICMPv6, icmp(128, 0, 0xabcd0001, data(payload))))
}

// answered wants p to be answered by an echo reply, in place, and with nothing off the budget.
func answered(t testing.TB, tr *Translator, f *frame.Frame) packet {
	t.Helper()
	s := NewScratch(1) // without a budget for errors
	r := tr.Translate(f, s)
	if r.Verdict != Reply || r.Reason != clat.DropNone || len(r.Out) != 1 || r.Out[0] != f || f.Offload != (frame.Offload{}) || s.used != 0 {
		t.Fatalf("%+v, %+v", r, f.Offload)
	}
	q := parse(t, f.Bytes())
	if !q.good() || q.ttl != 64 || q.fragment {
		t.Errorf("%+v", q)
	}
	return q
}

var stranger6 = netip.MustParseAddr("2001:db8:99::1")

func TestOwnEcho(t *testing.T) {
	alone := newTranslator(t, with(func(o *Options) { o.Self6 = router }))
	plain := newRouter(t, network{}, func(*Options) {})
	plat, err := New(network{plat: true}.table(t), with(func(o *Options) { o.Self6 = router }))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		tr       *Translator
		src, dst netip.Addr
	}{
		{"CLAT, its host", alone, host4, self4},
		{"CLAT, a router", alone, stranger6, router},
		{"CLAT, behind the prefix", alone, peer6, router},
		{"PLAT, an IPv4 host", plat, peer4, self4},
		{"PLAT, its client", plat, host6, router},
		{"router, an IPv4 host", plain, peer4, self4},
		{"router, a mapped host by its IPv4 address", plain, alice4, self4},
		{"router, a mapped host", plain, alice6, own6},
		{"router, an IPv6 host", plain, stranger6, own6},
	} {
		for _, n := range []int{0, 1, 56, 1453, 60000} {
			t.Run(fmt.Sprintf("RFC 1812, 4.3.3.6/%s/%d", c.name, n), func(t *testing.T) {
				q := answered(t, c.tr, newFrame(ping(c.src, c.dst, n)))
				typ, df := uint8(0), true
				if q.version == 6 {
					typ, df = 129, false
				}
				want := icmp(typ, 0, 0xabcd0001, data(n))
				copy(want[2:], q.payload[2:4])
				if q.src != c.dst || q.dst != c.src || q.tos != 0x28 || q.df != df || !bytes.Equal(q.payload, want) {
					t.Errorf("%v to %v: %x", q.src, q.dst, q.payload[:8])
				}
			})
		}
	}
	t.Run("RFC 1812, 4.3.3.6/at its last hop", func(t *testing.T) {
		m := seal(host4, self4, protoICMP, icmp(8, 0, 1, data(8)))
		answered(t, alone, newFrame(ip4{dst: self4, proto: protoICMP, ttl: 1}.packet(m)))
		m = seal(stranger6, router, protoICMPv6, icmp(128, 0, 1, data(8)))
		answered(t, alone, newFrame(ip6{src: stranger6, dst: router, next: protoICMPv6, hops: 1}.packet(m)))
	})
	t.Run("RFC 791, 3.1/options are left out", func(t *testing.T) {
		m := seal(host4, self4, protoICMP, icmp(8, 0, 1, data(8)))
		q := answered(t, alone, newFrame(ip4{dst: self4, proto: protoICMP, options: bytes.Repeat([]byte{1}, 40)}.packet(m)))
		if len(q.payload) != 16 {
			t.Errorf("%+v", q)
		}
	})
	t.Run("RFC 8200, 4/extension headers are left out", func(t *testing.T) {
		m := seal(stranger6, router, protoICMPv6, icmp(128, 0, 1, data(8)))
		for _, chain := range [][]extension{{options8(protoHopByHop, 8), options8(protoDestOpts, 16)}, {routing(0)}, {fragmentHeader(0, false, 9)}} {
			q := answered(t, alone, newFrame(ip6{src: stranger6, dst: router, next: protoICMPv6, extensions: chain}.packet(m)))
			if len(q.payload) != 16 {
				t.Errorf("%+v", q)
			}
		}
	})
	t.Run("RFC 791, 3.1/padding is left out", func(t *testing.T) {
		if q := answered(t, alone, newFrame(append(ping(host4, self4, 8), 1, 2, 3))); len(q.payload) != 16 {
			t.Errorf("%+v", q)
		}
	})
	t.Run("what a device has verified", func(t *testing.T) {
		for _, p := range [][]byte{ping(host4, self4, 8), ping(stranger6, router, 8)} {
			f := newFrame(p)
			f.Offload = frame.Offload{Checksum: frame.ChecksumVerified, L4: 20}
			answered(t, alone, f)
		}
	})
	t.Run("RFC 6864, 4.3/identifications differ", func(t *testing.T) {
		s, seen := newScratch(), map[uint32]bool{}
		for range 100 {
			r := alone.Translate(newFrame(ping(host4, self4, 8)), s)
			seen[parse(t, r.Out[0].Bytes()).id] = true
		}
		if len(seen) != 100 {
			t.Errorf("%d of 100", len(seen))
		}
	})
	t.Run("without ICMP errors of our own", func(t *testing.T) {
		answered(t, newTranslator(t, with(func(o *Options) { o.NoErrors = true })), newFrame(ping(host4, self4, 8)))
	})
}

// The translator speaks no transport protocol.
func TestOwnProtocol(t *testing.T) {
	tr := newTranslator(t, with(func(o *Options) { o.Self6 = router }))
	for _, proto := range []uint8{protoUDP, protoTCP, 132} {
		t.Run(fmt.Sprintf("RFC 1812, 5.2.7.1/%d", proto), func(t *testing.T) {
			p := ip4{dst: self4, proto: proto}.packet(udp(data(56)))
			q := replied(t, tr, p, clat.DropHairpin)
			if q.src != self4 || q.dst != host4 || q.payload[0] != 3 || q.payload[1] != 2 || !bytes.Equal(q.payload[8:], p) {
				t.Errorf("%+v", q)
			}
		})
		t.Run(fmt.Sprintf("RFC 4443, 3.4/%d", proto), func(t *testing.T) {
			p := ip6{src: stranger6, dst: router, next: proto}.packet(udp(data(56)))
			q := replied(t, tr, p, clat.DropNoMapping)
			if q.src != router || q.dst != stranger6 || q.payload[0] != 4 || q.payload[1] != 1 || q.payload[7] != 6 || !bytes.Equal(q.payload[8:], p) {
				t.Errorf("%+v", q)
			}
		})
	}
}

func TestNotTheEnd(t *testing.T) {
	tr := newTranslator(t, with(func(o *Options) { o.Self6 = router }))
	t.Run("RFC 7915, 4.1/a source route that goes on", func(t *testing.T) {
		m := seal(host4, self4, protoICMP, icmp(8, 0, 1, data(8)))
		p := ip4{dst: self4, proto: protoICMP, options: []byte{131, 7, 4, 8, 8, 8, 8, 0}}.packet(m)
		if q := replied(t, tr, p, clat.DropSourceRoute); q.payload[0] != 3 || q.payload[1] != 5 {
			t.Errorf("%+v", q)
		}
		answered(t, tr, newFrame(ip4{dst: self4, proto: protoICMP, options: []byte{131, 7, 8, 8, 8, 8, 8, 0}}.packet(m))) // used up
	})
	t.Run("RFC 8200, 4.7/nothing follows", func(t *testing.T) {
		dropped(t, tr, ip6{src: stranger6, dst: router, next: protoNone}.packet(nil), clat.DropNoMapping)
	})
}

func TestNoOwnEcho(t *testing.T) {
	alone := func(o *Options) { o.Self6, o.Reassemble = router, true }
	four, six := ip4{dst: self4, proto: protoICMP}, ip6{src: stranger6, dst: router, next: protoICMPv6}
	request4 := seal(host4, self4, protoICMP, icmp(8, 0, 1, data(56)))
	request6 := seal(stranger6, router, protoICMPv6, icmp(128, 0, 1, data(56)))
	from := func(h ip6, src string) []byte {
		h.src = netip.MustParseAddr(src)
		return h.packet(seal(h.src, router, protoICMPv6, icmp(128, 0, 1, data(56))))
	}
	behind := func(e extension) []byte { h := six; h.extensions = []extension{e}; return h.packet(request6) }
	flip := func(p []byte) []byte { p[len(p)-1] ^= 1; return p }
	for _, c := range []struct {
		name    string
		p       []byte
		offload frame.Offload
		reason  clat.DropReason
	}{
		{"4, first fragment", ip4{dst: self4, proto: protoICMP, mf: true}.packet(request4), frame.Offload{}, clat.DropHairpin},
		{"4, last fragment", ip4{dst: self4, proto: protoICMP, offset: 64}.packet(request4), frame.Offload{}, clat.DropHairpin},
		{"6, first fragment", behind(fragmentHeader(0, true, 1)), frame.Offload{}, clat.DropNoMapping},
		{"6, last fragment", behind(fragmentHeader(64, false, 1)), frame.Offload{}, clat.DropNoMapping},
		{"4, a reply", four.packet(seal(host4, self4, protoICMP, icmp(0, 0, 1, data(56)))), frame.Offload{}, clat.DropHairpin},
		{"6, a reply", six.packet(seal(stranger6, router, protoICMPv6, icmp(129, 0, 1, data(56)))), frame.Offload{}, clat.DropNoMapping},
		{"4, an error", four.packet(seal(host4, self4, protoICMP, icmp(3, 1, 0, quoted4()))), frame.Offload{}, clat.DropHairpin},
		{"6, an error", six.packet(seal(stranger6, router, protoICMPv6, icmp(1, 0, 0, quoted6()))), frame.Offload{}, clat.DropNoMapping},
		{"4, damaged", flip(four.packet(request4)), frame.Offload{}, clat.DropHairpin},
		{"6, damaged", flip(six.packet(request6)), frame.Offload{}, clat.DropNoMapping},
		{"4, half a header", four.packet(request4[:7]), frame.Offload{}, clat.DropHairpin},
		{"6, half a header", six.packet(request6[:7]), frame.Offload{}, clat.DropNoMapping},
		{"6, UDP behind an extension header", ip6{src: stranger6, dst: router, next: protoUDP, extensions: []extension{options8(protoDestOpts, 8)}}.packet(request6),
			frame.Offload{}, clat.DropNoMapping},
		{"4, a super-packet", four.packet(request4), frame.Offload{GSO: frame.SegmentUDP, SegSize: 20, L4: 20}, clat.DropHairpin},
		{"6, a super-packet", six.packet(request6), frame.Offload{GSO: frame.SegmentTCP, SegSize: 20, L4: 40}, clat.DropNoMapping},
		{"4, a partial checksum", four.packet(request4), frame.Offload{Checksum: frame.ChecksumPartial, L4: 20, ChecksumAt: 2}, clat.DropHairpin},
		{"6, a partial checksum", six.packet(request6), frame.Offload{Checksum: frame.ChecksumPartial, L4: 40, ChecksumAt: 2}, clat.DropNoMapping},
		{"4, from no host of ours", ping(peer4, self4, 8), frame.Offload{}, clat.DropSource},
		{"4, from nowhere", ping(netip.MustParseAddr("0.0.0.1"), self4, 8), frame.Offload{}, clat.DropSource},
		{"4, from a group", ping(netip.MustParseAddr("224.0.0.1"), self4, 8), frame.Offload{}, clat.DropSource},
		{"4, from our host to itself", ping(host4, host4, 8), frame.Offload{}, clat.DropHairpin},
		{"4, from ourselves", ping(self4, self4, 8), frame.Offload{}, clat.DropSource},
		{"6, from nowhere", from(six, "::"), frame.Offload{}, clat.DropSource},
		{"6, from a group", from(six, "ff0e::1"), frame.Offload{}, clat.DropSource},
		{"6, from loopback", from(six, "::1"), frame.Offload{}, clat.DropSource},
		{"6, from another link", from(six, "fe80::1"), frame.Offload{}, clat.DropSource},
		{"6, from loopback behind the prefix", from(six, "64:ff9b::127.0.0.1"), frame.Offload{}, clat.DropSpoofed},
		{"6, from our client's address", from(six, host6.String()), frame.Offload{}, clat.DropSpoofed},
		{"6, source routed", behind(routing(1)), frame.Offload{}, clat.DropNoMapping},
	} {
		t.Run("RFC 1812, 4.3.3.6/"+c.name, func(t *testing.T) {
			f := newFrame(c.p)
			f.Offload = c.offload
			if r := newTranslator(t, with(alone)).Translate(f, newScratch()); r.Verdict != Drop || r.Reason != c.reason {
				t.Errorf("%+v", r)
			}
		})
	}
	t.Run("RFC 4443, 4.1/the one IPv6 address is the client's", func(t *testing.T) {
		tr := newTranslator(t, hostOptions()) // whose Self6 is host6
		q := forwarded(t, tr, ip6{dst: host6, next: protoICMPv6}.packet(seal(peer6, host6, protoICMPv6, icmp(128, 0, 1, data(8)))))
		if q.version != 4 || q.dst != host4 {
			t.Errorf("%+v", q)
		}
		dropped(t, tr, ping(stranger6, host6, 8), clat.DropNoMapping)
	})
	t.Run("RFC 4443, 4.1/one of a mapping's", func(t *testing.T) {
		mapped := network{clients: true}.to6(netip.MustParseAddr("100.64.7.7"))
		tr, err := New(network{clients: true}.table(t), with(func(o *Options) { o.Self6 = mapped }))
		if err != nil {
			t.Fatal(err)
		}
		dropped(t, tr, ping(stranger6, mapped, 8), clat.DropNoMapping)
	})
	t.Run("RFC 1812, 4.3.3.6/no address", func(t *testing.T) {
		tr := newTranslator(t, with(func(o *Options) { o.Self4, o.Self6 = netip.Addr{}, netip.Addr{} }))
		dropped(t, tr, ping(host4, self4, 8), clat.DropHairpin)
		dropped(t, tr, ping(stranger6, router, 8), clat.DropNoMapping)
	})
}
