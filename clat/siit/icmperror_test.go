package siit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"uclat/clat"
)

// quote is a packet that an error is about, in both families: what is quoted, and what the quote becomes.
type quote struct {
	name  string
	proto [2]uint8 // in IPv4, in IPv6
	seg   [2][]byte
}

// quotes have the messages whole; tests cut them. The IPv6 one was sent by the host, the IPv4 one to it.
func quotes(n int) []quote {
	return []quote{
		{"TCP", [2]uint8{protoTCP, protoTCP}, [2][]byte{tcp(data(n)), tcp(data(n))}},
		{"UDP", [2]uint8{protoUDP, protoUDP}, [2][]byte{udp(data(n)), udp(data(n))}},
		{"echo request", [2]uint8{protoICMP, protoICMPv6}, [2][]byte{icmp(8, 0, 77, data(n)), icmp(128, 0, 77, data(n))}},
		{"echo reply", [2]uint8{protoICMP, protoICMPv6}, [2][]byte{icmp(0, 0, 77, data(n)), icmp(129, 0, 77, data(n))}},
		{"SCTP", [2]uint8{132, 132}, [2][]byte{data(n + 12), data(n + 12)}},
	}
}

// sealed is seg with its checksum, where its protocol has one that we look after.
func sealed(src, dst netip.Addr, proto uint8, seg []byte) []byte {
	if field(proto) < 0 {
		return bytes.Clone(seg)
	}
	return seal(src, dst, proto, bytes.Clone(seg))
}

// The quote becomes what the quoted packet would have been in the other family: the same message with the right checksum for the
// whole, though the quote may be cut; its TTL as it was.
func TestErrorQuotes(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, q := range quotes(300) {
		n := len(q.seg[0])
		for _, cut := range []int{n, n - 1, 64, 20, 8} {
			t.Run(fmt.Sprintf("RFC 7915, 4.3/46/%s/%d octets", q.name, cut), func(t *testing.T) {
				whole := ip4{src: peer4, dst: host4, ttl: 1, tos: 0xb8, proto: q.proto[0], df: true}.packet(sealed(peer4, host4, q.proto[0], q.seg[0]))
				out := forwarded(t, tr, from4(protoICMP, icmp(11, 0, 0, whole[:20+cut])))
				inner := out.payload[8:]
				checkInner6(t, inner, 1, 0xb8, q.proto[1], len(q.seg[1]))
				want := sealed(peer6, host6, q.proto[1], q.seg[1])[:cut]
				checkMessage(t, inner[40:], want, q.proto[1])
			})
			t.Run(fmt.Sprintf("RFC 7915, 4.3/64/%s/%d octets", q.name, cut), func(t *testing.T) {
				whole := ip6{src: host6, dst: peer6, hops: 1, tclass: 0xb8, next: q.proto[1]}.packet(sealed(host6, peer6, q.proto[1], q.seg[1]))
				out := forwarded(t, tr, from6(protoICMPv6, icmp(3, 0, 0, whole[:40+cut])))
				inner := out.payload[8:]
				checkInner4(t, inner, 1, 0xb8, q.proto[0], len(q.seg[0]))
				checkMessage(t, inner[20:], sealed(host4, peer4, q.proto[0], q.seg[0])[:cut], q.proto[0])
			})
		}
	}
}

// checkMessage compares a quoted message with what it should be.
func checkMessage(t *testing.T, got, want []byte, proto uint8) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("quoted message of protocol %d\ngot  %x\nwant %x", proto, got, want)
	}
}

func checkInner6(t *testing.T, p []byte, hops, tclass, next uint8, payload int) {
	t.Helper()
	if p[0]>>4 != 6 || p[0]<<4|p[1]>>4 != tclass || p[7] != hops || p[6] != next || int(binary.BigEndian.Uint16(p[4:])) != payload ||
		netip.AddrFrom16([16]byte(p[8:])) != peer6 || netip.AddrFrom16([16]byte(p[24:])) != host6 {
		t.Errorf("RFC 7915, 4.3: quoted header %x", p[:40])
	}
}

func checkInner4(t *testing.T, p []byte, ttl, tos, proto uint8, payload int) {
	t.Helper()
	if p[0] != 0x45 || p[1] != tos || p[8] != ttl || p[9] != proto || int(binary.BigEndian.Uint16(p[2:])) != 20+payload ||
		slowSum(p[:20]) != 0xffff || netip.AddrFrom4([4]byte(p[12:])) != host4 || netip.AddrFrom4([4]byte(p[16:])) != peer4 {
		t.Errorf("RFC 7915, 4.3: quoted header %x", p[:20])
	}
}

func TestErrorQuoteDetails(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	u4 := seal(peer4, host4, protoUDP, udp(data(40)))
	u6 := seal(host6, peer6, protoUDP, udp(data(40)))
	error4 := func(quote []byte) []byte { return from4(protoICMP, icmp(3, 3, 0, quote)) }
	error6 := func(quote []byte) []byte { return from6(protoICMPv6, icmp(1, 4, 0, quote)) }

	t.Run("RFC 7915, 4.3/options in the quote", func(t *testing.T) {
		q := ip4{src: peer4, dst: host4, proto: protoUDP, options: []byte{7, 7, 4, 0, 0, 0, 0, 0}}.packet(u4)
		inner := forwarded(t, tr, error4(q)).payload[8:]
		checkInner6(t, inner, 64, 0, protoUDP, 48)
		checkMessage(t, inner[40:], seal(peer6, host6, protoUDP, udp(data(40))), protoUDP)
	})
	t.Run("RFC 7915, 5.1/extension headers in the quote", func(t *testing.T) {
		q := ip6{src: host6, dst: peer6, next: protoUDP, extensions: []extension{options8(protoHopByHop, 8), routing(0)}}.packet(u6)
		inner := forwarded(t, tr, error6(q)).payload[8:]
		checkInner4(t, inner, 64, 0, protoUDP, 48)
		checkMessage(t, inner[20:], seal(host4, peer4, protoUDP, udp(data(40))), protoUDP)
	})
	t.Run("RFC 7915, 4.3/fragment in the quote/46", func(t *testing.T) {
		first := ip4{src: peer4, dst: host4, proto: protoUDP, id: 0xfafb, mf: true}.packet(u4)
		inner := forwarded(t, tr, error4(first)).payload[8:]
		if !bytes.Equal(inner[40:48], []byte{protoUDP, 0, 0, 1, 0, 0, 0xfa, 0xfb}) || inner[6] != protoFragment || inner[5] != 56 {
			t.Errorf("quote %x", inner)
		}
		checkMessage(t, inner[48:], seal(peer6, host6, protoUDP, udp(data(40))), protoUDP)
		later := ip4{src: peer4, dst: host4, proto: protoUDP, id: 0xfafb, offset: 800}.packet(data(48))
		inner = forwarded(t, tr, error4(later)).payload[8:]
		if !bytes.Equal(inner[40:44], []byte{protoUDP, 0, 3, 0x20}) || !bytes.Equal(inner[48:], data(48)) {
			t.Errorf("quote %x", inner)
		}
	})
	t.Run("RFC 7915, 4.3/fragment in the quote/64", func(t *testing.T) {
		first := ip6{src: host6, dst: peer6, next: protoUDP, extensions: []extension{fragmentHeader(0, true, 0xfafb)}}.packet(u6)
		inner := forwarded(t, tr, error6(first)).payload[8:]
		if !bytes.Equal(inner[4:8], []byte{0xfa, 0xfb, 0x20, 0}) || inner[3] != 68 {
			t.Errorf("quote %x", inner)
		}
		checkMessage(t, inner[20:], seal(host4, peer4, protoUDP, udp(data(40))), protoUDP)
		later := ip6{src: host6, dst: peer6, next: protoUDP, extensions: []extension{fragmentHeader(800, false, 0xfafb)}}.packet(data(48))
		inner = forwarded(t, tr, error6(later)).payload[8:]
		if !bytes.Equal(inner[4:8], []byte{0xfa, 0xfb, 0, 100}) || !bytes.Equal(inner[20:], data(48)) {
			t.Errorf("quote %x", inner)
		}
	})
	t.Run("RFC 7915, 4.3/UDP without a checksum", func(t *testing.T) {
		q := ip4{src: peer4, dst: host4, proto: protoUDP}.packet(udp(data(40)))
		if inner := forwarded(t, tr, error4(q)).payload[8:]; !bytes.Equal(inner[40:], udp(data(40))) {
			t.Errorf("quote %x", inner)
		}
	})
	t.Run("RFC 7915, 4.3/64 quotes of any length", func(t *testing.T) {
		whole := ip6{src: host6, dst: peer6, next: protoUDP}.packet(u6)
		for n := 40; n <= len(whole); n++ {
			inner := forwarded(t, tr, error6(whole[:n])).payload[8:]
			want := bytes.Clone(u6)
			if n >= 48 {
				seal(host4, peer4, protoUDP, want)
			}
			checkMessage(t, inner[20:], want[:n-40], protoUDP)
		}
	})
	t.Run("RFC 7915, 4.1/illegal addresses in the quote", func(t *testing.T) {
		q := ip4{src: netip.MustParseAddr("127.0.0.1"), dst: host4, proto: 50}.packet(data(8))
		if inner := forwarded(t, tr, error4(q)).payload[8:]; netip.AddrFrom16([16]byte(inner[8:])) != netip.MustParseAddr("64:ff9b::127.0.0.1") {
			t.Errorf("quote %x", inner)
		}
	})
	t.Run("RFC 7915, 4.3/padding behind the quote", func(t *testing.T) {
		q := append(ip4{src: peer4, dst: host4, proto: 50}.packet(data(30)), 0, 0, 0, 0)
		if out := forwarded(t, tr, error4(q)); len(out.payload) != 8+40+30 {
			t.Errorf("46: %d octets", len(out.payload))
		}
		q = append(ip6{src: host6, dst: peer6, next: 50}.packet(data(30)), 0, 0, 0, 0)
		if out := forwarded(t, tr, error6(q)); len(out.payload) != 8+20+30 {
			t.Errorf("64: %d octets", len(out.payload))
		}
	})
	t.Run("RFC 4443, 2.4 (c)", func(t *testing.T) {
		q := ip4{src: peer4, dst: host4, proto: 50, df: true}.packet(data(1400))
		if out := forwarded(t, tr, error4(q)); len(out.payload) != 1240 {
			t.Errorf("%d octets of ICMPv6, want 1240", len(out.payload))
		}
	})
	t.Run("RFC 4443, 2.4 (c)/64 keeps what fits", func(t *testing.T) {
		q := ip6{src: host6, dst: peer6, next: 50}.packet(data(1400))
		small := newTranslator(t, with(func(o *Options) { o.MTU4 = 1260 }))
		if out := forwarded(t, small, error6(q)); len(out.payload) != 1240 {
			t.Errorf("%d octets of ICMPv4, want 1240", len(out.payload))
		}
		if out := forwarded(t, tr, error6(q)); len(out.payload) != 8+20+1400 || !out.df {
			t.Errorf("%d octets of ICMPv4, want 1428; DF %v", len(out.payload), out.df)
		}
	})
	t.Run("RFC 7915, 5.1/small error", func(t *testing.T) {
		if out := forwarded(t, tr, error6(ip6{src: host6, dst: peer6, next: 50}.packet(data(40)))); out.df || out.id == 0 {
			t.Errorf("DF %v, identification %d", out.df, out.id)
		}
	})
}

// What must not be translated.
func TestErrorQuotesRefused(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	stranger4, stranger6 := netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("2001:db8::77")
	u := udp(data(40))
	v4 := func(h ip4, seg []byte) []byte {
		if !h.src.IsValid() {
			h.src = peer4
		}
		if !h.dst.IsValid() || h.dst == peer4 {
			h.dst = host4
		}
		return h.packet(seg)
	}
	v6 := func(h ip6, seg []byte) []byte {
		if !h.src.IsValid() {
			h.src = host6
		}
		if !h.dst.IsValid() {
			h.dst = peer6
		}
		return h.packet(seg)
	}
	for _, c := range []struct {
		id    string
		quote []byte
	}{
		{"RFC 7915, 4.3/error in an error", v4(ip4{proto: protoICMP}, icmp(3, 3, 0, data(28)))},
		{"RFC 7915, 4.3/redirect", v4(ip4{proto: protoICMP}, icmp(5, 0, 0, data(28)))},
		{"RFC 7915, 4.3/timestamp", v4(ip4{proto: protoICMP}, icmp(13, 0, 0, data(28)))},
		{"RFC 7915, 1.2/fragment of an echo", v4(ip4{proto: protoICMP, mf: true}, icmp(8, 0, 0, data(40)))},
		{"RFC 7915, 4.3/19 octets", v4(ip4{proto: protoUDP}, u)[:19]},
		{"RFC 7915, 4.3/27 octets", v4(ip4{proto: protoUDP}, u)[:27]},
		{"RFC 7915, 4.3/options and 7 octets", v4(ip4{proto: protoUDP, options: []byte{1, 1, 1, 0}}, u)[:31]},
		{"RFC 7915, 4.3/nothing", nil},
		{"hostile input/another version", v6(ip6{next: protoUDP}, u)},
		{"hostile input/Total Length below IHL", v4(ip4{proto: protoUDP, total: 19}, u)},
		{"hostile input/hop-by-hop as protocol", v4(ip4{proto: 0}, u)},
		{"hostile input/ICMPv6 as protocol", v4(ip4{proto: protoICMPv6}, icmp(128, 0, 0, data(8)))},
		{"RFC 7915, 4.3/not to us", ip4{src: peer4, dst: stranger4, proto: protoUDP}.packet(u)},
	} {
		t.Run("46/"+c.id, func(t *testing.T) { dropped(t, tr, from4(protoICMP, icmp(3, 3, 0, c.quote)), clat.DropICMPInner) })
	}
	for _, c := range []struct {
		id    string
		quote []byte
	}{
		{"RFC 7915, 4.3/error in an error", v6(ip6{next: protoICMPv6}, icmp(1, 4, 0, data(48)))},
		{"RFC 7915, 4.3/neighbour solicitation", v6(ip6{next: protoICMPv6}, icmp(135, 0, 0, data(16)))},
		{"RFC 7915, 1.2/fragment of an echo", v6(ip6{next: protoICMPv6, extensions: []extension{fragmentHeader(0, true, 1)}}, icmp(128, 0, 0, data(40)))},
		{"RFC 7915, 4.3/not from us", v6(ip6{src: stranger6, next: protoUDP}, u)},
		{"RFC 7915, 4.3/not through the prefix", v6(ip6{dst: stranger6, next: protoUDP}, u)},
		{"RFC 8201/the packet of the peer", v6(ip6{src: peer6, dst: host6, next: protoUDP}, u)},
		{"hostile input/39 octets", v6(ip6{next: protoUDP}, u)[:39]},
		{"hostile input/nothing", nil},
		{"hostile input/another version", v4(ip4{proto: protoUDP}, data(60))},
		{"hostile input/cut in an extension header", v6(ip6{next: protoUDP, extensions: []extension{options8(protoDestOpts, 64)}}, u)[:90]},
		{"hostile input/ICMPv4 as next header", v6(ip6{next: protoICMP}, icmp(8, 0, 0, data(8)))},
		{"hostile input/more than IPv4 can say", v6(ip6{next: 50, payload: 65516}, data(40))},
		{"hostile input/3 octets of ICMPv6", v6(ip6{next: protoICMPv6}, icmp(128, 0, 0, data(8)))[:43]},
	} {
		t.Run("64/"+c.id, func(t *testing.T) {
			dropped(t, tr, from6(protoICMPv6, icmp(1, 4, 0, c.quote)), clat.DropICMPInner)
			m := seal(router, host6, protoICMPv6, icmp(3, 0, 0, c.quote))
			dropped(t, tr, ip6{src: router, next: protoICMPv6}.packet(m), clat.DropICMPInner)
		})
	}
}
