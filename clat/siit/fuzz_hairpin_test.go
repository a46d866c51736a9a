package siit

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/frame"
)

// Hairpins (RFC 7757, 4.2.2): packets that are translated to IPv4 and at once back.

// hairpin is whether in must be sent back if it is let through.
func (u *subject) hairpin(in received) bool {
	return u.o.Hairpin && in.version == 6 && u.network.detour(in.dst)
}

func (u *subject) hop() uint8 {
	if u.o.TTLTransparent {
		return 0
	}
	return 1
}

// turned is whether an answer to in is about what is IPv4 only in the translator.
func (u *subject) turned(in received, reason clat.DropReason) bool {
	return u.hairpin(in) && (reason == clat.DropTooBig || reason == clat.DropTTL && in.ttl > u.hop())
}

// checkTurnedHeader: the source stays behind the prefix, so that answers come back this way, and the destination is by its mapping.
func (u *subject) checkTurnedHeader(t testing.TB, in, out received) {
	want := in
	want.src, want.dst = embedded(u.network.prefix(), u.network.to4(in.src)), u.network.to6(u.network.to4(in.dst))
	want.ttl -= 2 * u.hop()
	if u.o.SetTOS {
		want.tos = u.o.TOS
	}
	want.fragmentHeader, want.head, want.id = in.isFragment() || out.joined, 40, 0
	if want.fragmentHeader {
		want.head, want.id = 48, in.id&0xffff
	}
	want.total = want.head + in.promised()
	if !equalHeaders(want, out) {
		t.Fatalf("%v\nbecame %v\nwant   %v", in, out, want)
	}
}

// checkTurnedReply looks at an error of our own about a packet that was already IPv4. Its sender gets it as IPv6.
func (u *subject) checkTurnedReply(t testing.TB, r Result, in received, o frame.Offload) {
	q := parse(t, r.Out[0].Bytes())
	if q.version != 6 || q.src != embedded(u.network.prefix(), u.o.Self4) || q.dst != u.network.to6(u.network.to4(in.src)) || q.fragment || !q.good() ||
		len(q.payload) > 1240 || in.isError() || in.offset > 0 {
		t.Fatalf("answer %+v to %v", q, in)
	}
	word, wire := int(binary.BigEndian.Uint32(q.payload[4:])), min(in.total, in.head+transportHeader(in)+int(o.SegSize))
	if o.GSO == frame.NotSegmented {
		wire = in.total
	}
	way := u.limit(u.network.to6(u.network.to4(in.dst)))
	switch got := [2]uint8(q.payload); {
	case r.Reason == clat.DropTTL && got == [2]uint8{3, 0} && word == 0 && in.ttl == u.hop()+1:
	case r.Reason == clat.DropTooBig && got == [2]uint8{2, 0} && word == way && word < wire && !in.fragmentHeader:
	default:
		t.Fatalf("%v: %x for %d octets, %d fit", r.Reason, q.payload[:8], wire, way)
	}
	about, ok := read(q.payload[8:])
	if !ok || about.src != in.src || about.dst != in.dst || about.proto != in.proto || about.ttl != in.ttl-u.hop() ||
		about.isFragment() != in.isFragment() {
		t.Fatalf("quotes %v\nof     %v", about, in)
	}
	for i := range min(len(about.payload), len(in.payload)) {
		if at := sumAt(in.proto); (at < 0 || i&^1 != at) && i&^1 != 4 && about.payload[i] != in.payload[i] && !(u.o.ClampMSS && in.proto == protoTCP) {
			t.Fatalf("quotes %x\nof     %x", about.payload, in.payload)
		}
	}
}

// checkTurnedError looks at an ICMPv6 error that came back: it took the way of what it is about, backward.
func (u *subject) checkTurnedError(t testing.TB, in, out received) {
	if out.total > 1280 || out.isFragment() || residue(out, out.payload, frame.ChecksumUnknown) != 0 ||
		residue(in, in.payload, frame.ChecksumUnknown) != 0 {
		t.Fatalf("%v became %v", in, out)
	}
	before, after := quotationOf(6, in.payload), quotationOf(6, out.payload)
	inner, okBefore := read(before.quote)
	outer, okAfter := read(after.quote)
	if !okBefore || !okAfter || before.beyond || after.beyond || outer.version != 6 {
		t.Fatalf("quote %x became %x", before.quote, after.quote)
	}
	n := u.network
	src4 := n.to4(in.src)
	if !src4.IsValid() {
		src4 = u.o.UnmappedSource
	}
	wantSrc := n.to6(src4)
	if src4 == n.to4(inner.dst) { // from the host that the packet was for
		wantSrc = embedded(n.prefix(), src4)
	}
	hops := in.ttl - 2*u.hop()
	if out.src != wantSrc || out.dst != n.to6(n.to4(in.dst)) || out.ttl != hops || out.proto != protoICMPv6 {
		t.Fatalf("%v\nbecame %v", in, out)
	}
	if outer.src != out.dst || outer.dst != embedded(n.prefix(), n.to4(inner.dst)) || outer.proto != inner.proto || outer.ttl != inner.ttl ||
		outer.tos != inner.tos || outer.isFragment() != inner.isFragment() || outer.offset != inner.offset || outer.mf != inner.mf ||
		outer.promised() != inner.promised() {
		t.Fatalf("quote %v\nbecame %v", inner, outer)
	}
	// Each table has its say.
	o := u.o
	o.MTU4 = 65535 // which nothing meets that goes back to IPv6
	four, ok := rfcError(o, 6, in.payload, inner)
	mid := inner
	mid.total = 20 + inner.promised()
	six, again := rfcError(o, 4, four[:], mid)
	got := [8]byte(out.payload)
	got[2], got[3] = 0, 0
	if after.length > 0 {
		got[4] = 0
	}
	if !ok || !again || got != six {
		t.Fatalf("%x became %x, want %x by way of %x", in.payload[:8], got, six, four)
	}
	size := min(len(inner.payload), len(outer.payload))
	if after.length > 0 {
		size = max(0, min(size, len(outer.payload)-7)) // the last may be padding
	}
	was, is := bytes.Clone(inner.payload[:size]), bytes.Clone(outer.payload[:size])
	if at := sumAt(inner.proto); at >= 0 && at+2 <= size && inner.offset == 0 {
		inner.payload, outer.payload = was, is
		zero := inner.proto == protoUDP && was[at]|was[at+1] == 0
		if a, b := residue(inner, was, frame.ChecksumUnknown), residue(outer, is, frame.ChecksumUnknown); a != b && !zero {
			t.Fatalf("quoted checksum was off by %#04x and is by %#04x", a, b)
		}
		copy(is[at:at+2], was[at:])
	}
	if !bytes.Equal(was, is) {
		t.Fatalf("quote %x became %x", was, is)
	}
}

// FuzzHairpin translates what one host with a mapping sends to another, or quotes to it in an error, with all that may be on the way.
func FuzzHairpin(f *testing.F) {
	add := func(typ uint8, word uint32, next uint8, chain string, body []byte, quoted uint8, knobs uint32) {
		for _, k := range []uint32{0, 25 << knobsPath, knobTransparent | 1<<knobsPath, knobClampMSS | knobPassZero6 | 40<<knobsPath, knobStraight} {
			f.Add(typ, word, next, []byte(chain), body, quoted, k|knobs, uint16(1500), uint16(1280), uint16(1280), uint8(64), uint16(0))
			f.Add(typ, word, next, []byte(chain), body, quoted, k|knobs, uint16(9000), uint16(68), uint16(9000), uint8(2), uint16(1200))
		}
	}
	const frag, dest, route = "\x2c", "\x3c", "\x2b"
	for _, n := range []int{8, 1200, 1232, 1233, 1400, 3000} {
		add(0, 0, protoUDP, "", seal(alice6, far, protoUDP, udp(data(n))), 0, 0)
		add(0, 0, protoTCP, dest, seal(alice6, far, protoTCP, tcp(data(n))), 0, 0)
		add(0, 0, protoICMPv6, frag, seal(alice6, far, protoICMPv6, icmp(128, 0, 7, data(n))), 0, 0)
		add(0, 0, 50, route, data(n), 0, 0)
	}
	add(0, 0, protoTCP, "", synWith(2, 4, 0xff, 0xff), 0, 0)
	add(0, 0, protoUDP, "", udp(data(40)), 0, 0)
	for source := range uint8(6) {
		for _, typ := range []uint8{1, 2, 3, 4} {
			add(typ, 1400, protoUDP, "", udp(data(300)), 1+source, 0)
			add(typ, 1280, protoICMPv6, frag, icmp(128, 0, 7, data(1400)), 1+source, knobNodeID)
		}
	}
	z := newFuzzer(f)
	f.Fuzz(func(t *testing.T, typ uint8, word uint32, next uint8, chain, body []byte, quoted uint8, knobs uint32, mtu6, mtu4, lowest uint16,
		hops uint8, segment uint16) {
		if len(chain) > 10 || len(body) > 4000 {
			return
		}
		knobs |= knobSIIT | knobPLAT
		var headers []extension
		for i, octet := range chain {
			e := options8(octet, 8)
			if octet == protoFragment {
				e = fragmentHeader(int(word>>8)&0x1ff8*int(typ&1), typ&2 != 0, word)
			}
			if octet == protoRouting {
				e.body[3] = byte(i) & typ & 1
			}
			headers = append(headers, e)
		}
		src, dst := knobNetwork(knobs).ends(6)
		if quoted == 0 {
			p := ip6{src: src, dst: dst, next: next, extensions: headers, hops: hops}.packet(body)
			var o frame.Offload
			if segment > 0 {
				o = frame.Offload{Checksum: frame.ChecksumPartial, GSO: frame.SegmentTCP, SegSize: segment}
				if next == protoUDP {
					o.GSO = frame.SegmentUDP
				}
			}
			mend(p, &o, knobs)
			z.check(t, p, o, knobs, mtu6, mtu4, lowest)
			return
		}
		quote := ip6{src: dst, dst: src, next: next, extensions: headers, hops: hops}.packet(body)
		src = [...]netip.Addr{src, router, host6, netip.MustParseAddr("fe80::1"), netip.MustParseAddr("64:ff9b::9.9.9.9"), bob6}[quoted%6]
		m := seal(src, dst, protoICMPv6, icmp(typ, 0, word, quote))
		z.check(t, ip6{src: src, dst: dst, next: protoICMPv6, hops: hops}.packet(m), frame.Offload{}, knobs, mtu6, mtu4, lowest)
	})
}
