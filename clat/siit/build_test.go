package siit

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/frame"
	"uclat/clat/pref64"
)

// ip4 and ip6 build packets, octet by octet and without the code under test. What is not set is usual.
type ip4 struct {
	src, dst        netip.Addr
	tos, ttl, proto uint8
	id              uint16
	df, mf          bool
	offset          int // octets
	options         []byte
	total           int // Total Length that is claimed; 0: the true one
}

type ip6 struct {
	src, dst           netip.Addr
	tclass, hops, next uint8
	extensions         []extension
	payload            int // Payload Length that is claimed; 0: the true one
}

// extension is an IPv6 extension header whose first octet, Next Header, is filled in by the builder.
type extension struct {
	typ  uint8
	body []byte
}

// fragmentHeader is one with its offset in octets.
func fragmentHeader(offset int, more bool, id uint32) extension {
	b := make([]byte, 8)
	binary.BigEndian.PutUint16(b[2:], uint16(offset))
	if more {
		b[3] |= 1
	}
	binary.BigEndian.PutUint32(b[4:], id)
	return extension{protoFragment, b}
}

func (h ip4) packet(payload []byte) []byte {
	hlen := 20 + len(h.options)
	p := make([]byte, hlen, hlen+len(payload))
	flags := uint16(h.offset / 8)
	if h.df {
		flags |= 1 << 14
	}
	if h.mf {
		flags |= 1 << 13
	}
	if h.ttl == 0 {
		h.ttl = 64
	}
	if h.total == 0 {
		h.total = hlen + len(payload)
	}
	if !h.src.IsValid() {
		h.src = host4
	}
	if !h.dst.IsValid() {
		h.dst = peer4
	}
	p[0], p[1], p[8], p[9] = 0x40|byte(hlen/4), h.tos, h.ttl, h.proto
	binary.BigEndian.PutUint16(p[2:], uint16(h.total))
	binary.BigEndian.PutUint16(p[4:], h.id)
	binary.BigEndian.PutUint16(p[6:], flags)
	copy(p[12:], h.src.AsSlice())
	copy(p[16:], h.dst.AsSlice())
	copy(p[20:], h.options)
	binary.BigEndian.PutUint16(p[10:], ^slowSum(p))
	return append(p, payload...)
}

func (h ip6) packet(payload []byte) []byte {
	if h.hops == 0 {
		h.hops = 64
	}
	if !h.src.IsValid() {
		h.src = peer6
	}
	if !h.dst.IsValid() {
		h.dst = host6
	}
	p := make([]byte, 40)
	binary.BigEndian.PutUint32(p, 6<<28|uint32(h.tclass)<<20|0xabcde) // the flow label is not kept
	p[7] = h.hops
	copy(p[8:], h.src.AsSlice())
	copy(p[24:], h.dst.AsSlice())
	next := 6
	for _, e := range h.extensions {
		p[next] = e.typ
		next = len(p)
		p = append(p, e.body...)
	}
	p[next] = h.next
	p = append(p, payload...)
	if h.payload == 0 {
		h.payload = len(p) - 40
	}
	binary.BigEndian.PutUint16(p[4:], uint16(h.payload))
	return p
}

// slowSum is RFC 1071, 1 as it is written, 16 bits at a time over all parts one after the other.
func slowSum(parts ...[]byte) uint16 {
	var sum uint32
	for _, b := range parts {
		for i := 0; i < len(b); i += 2 {
			w := uint32(b[i]) << 8
			if i+1 < len(b) {
				w |= uint32(b[i+1])
			}
			sum += w
			sum = sum&0xffff + sum>>16
		}
	}
	return uint16(sum)
}

// pseudo is the pseudo-header for n octets of proto between two addresses of either family; ICMPv4 has none.
func pseudo(src, dst netip.Addr, proto uint8, n int) []byte {
	if proto == protoICMP {
		return nil
	}
	return append(append(src.AsSlice(), dst.AsSlice()...), 0, byte(n>>16), byte(n>>8), byte(n), 0, proto)
}

// field is where proto keeps its checksum; -1 if that is not our business.
func field(proto uint8) int {
	switch proto {
	case protoTCP:
		return 16
	case protoUDP:
		return 6
	case protoICMP, protoICMPv6:
		return 2
	}
	return -1
}

// seal writes the checksum of seg.
func seal(src, dst netip.Addr, proto uint8, seg []byte) []byte {
	at := field(proto)
	seg[at], seg[at+1] = 0, 0
	sum := ^slowSum(pseudo(src, dst, proto, len(seg)), seg)
	if sum == 0 && proto == protoUDP {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(seg[at:], sum)
	return seg
}

func data(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// udp, tcp and icmp are messages without a checksum.
func udp(payload []byte) []byte {
	u := []byte{0x12, 0x34, 0x00, 0x35, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(u[4:], uint16(8+len(payload)))
	return append(u, payload...)
}

func tcp(payload []byte) []byte {
	s := []byte{0x12, 0x34, 0x01, 0xbb, 1, 2, 3, 4, 5, 6, 7, 8, 0x80, 0x10, 0xff, 0xff, 0, 0, 0, 0}
	s = append(s, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2) // timestamps
	return append(s, payload...)
}

func icmp(typ, code uint8, word uint32, payload []byte) []byte {
	m := []byte{typ, code, 0, 0, byte(word >> 24), byte(word >> 16), byte(word >> 8), byte(word)}
	return append(m, payload...)
}

// from4 is a whole packet of the host, from6 one that came to it.
func from4(proto uint8, seg []byte) []byte {
	return ip4{proto: proto, df: true}.packet(seal(host4, peer4, proto, seg))
}

func from6(next uint8, seg []byte) []byte {
	return ip6{next: next}.packet(seal(peer6, host6, next, seg))
}

// packet is what came out, checked by parse.
type packet struct {
	version         int
	src, dst        netip.Addr
	tos, ttl, proto uint8
	id              uint32
	df, mf          bool
	fragment        bool // IPv4: MF or an offset; IPv6: a fragment header
	offset          int  // octets
	payload         []byte
}

// parse reads a packet made by the translator, in which everything must be as its family wants it.
func parse(t testing.TB, p []byte) (q packet) {
	t.Helper()
	if len(p) < 20 || p[0]>>4 == 6 && len(p) < 40 {
		t.Fatalf("no packet: %x", p)
	}
	if p[0]>>4 == 4 {
		flags := binary.BigEndian.Uint16(p[6:])
		q = packet{
			version: 4, src: netip.AddrFrom4([4]byte(p[12:])), dst: netip.AddrFrom4([4]byte(p[16:])),
			tos: p[1], ttl: p[8], proto: p[9], id: uint32(binary.BigEndian.Uint16(p[4:])),
			df: flags&(1<<14) != 0, mf: flags&(1<<13) != 0, offset: int(flags&0x1fff) * 8, payload: p[20:],
		}
		q.fragment = q.mf || q.offset > 0
		if p[0] != 0x45 || int(binary.BigEndian.Uint16(p[2:])) != len(p) || flags>>15 != 0 || slowSum(p[:20]) != 0xffff {
			t.Fatalf("wrong IPv4 header %x of %d octets", p[:20], len(p))
		}
		return q
	}
	q = packet{
		version: 6, src: netip.AddrFrom16([16]byte(p[8:])), dst: netip.AddrFrom16([16]byte(p[24:])),
		tos: p[0]<<4 | p[1]>>4, ttl: p[7], proto: p[6], payload: p[40:],
	}
	if p[0]>>4 != 6 || int(binary.BigEndian.Uint16(p[4:])) != len(p)-40 || p[1]&0x0f != 0 || p[2] != 0 || p[3] != 0 {
		t.Fatalf("wrong IPv6 header %x of %d octets", p[:40], len(p))
	}
	if q.proto == protoFragment {
		if len(p) < 48 || p[41] != 0 || p[43]&6 != 0 {
			t.Fatalf("wrong fragment header: %x", p[40:])
		}
		word := binary.BigEndian.Uint16(p[42:])
		q.proto, q.fragment, q.offset, q.mf = p[40], true, int(word&^7), word&1 != 0
		q.id, q.payload = binary.BigEndian.Uint32(p[44:]), p[48:]
	}
	return q
}

// good says whether the checksum of q's message is right.
func (q packet) good() bool {
	return slowSum(pseudo(q.src, q.dst, q.proto, len(q.payload)), q.payload) == 0xffff
}

// forwarded translates p and wants one packet with a right checksum, if its protocol has one.
func forwarded(t testing.TB, tr *Translator, p []byte) packet {
	t.Helper()
	q := forwardedFrame(t, tr, newFrame(p))
	if field(q.proto) >= 0 && !q.fragment && !q.good() {
		t.Errorf("checksum of %x is wrong", q.payload)
	}
	return q
}

func forwardedFrame(t testing.TB, tr *Translator, f *frame.Frame) packet {
	t.Helper()
	r := tr.Translate(f, newScratch())
	if r.Verdict != Forward || r.Reason != clat.DropNone || len(r.Out) != 1 {
		t.Fatalf("verdict %d, reason %v, %d frames, want one forwarded", r.Verdict, r.Reason, len(r.Out))
	}
	return parse(t, r.Out[0].Bytes())
}

// dropped translates p and wants nothing but the reason.
func dropped(t testing.TB, tr *Translator, p []byte, want clat.DropReason) {
	t.Helper()
	r := tr.Translate(newFrame(p), newScratch())
	if r.Verdict != Drop || r.Reason != want || len(r.Out) != 0 {
		t.Errorf("verdict %d, reason %v, %d frames, want a drop for %v", r.Verdict, r.Reason, len(r.Out), want)
	}
}

// replied translates p and wants an ICMP error with a right checksum.
func replied(t testing.TB, tr *Translator, p []byte, want clat.DropReason) packet {
	t.Helper()
	r := tr.Translate(newFrame(p), newScratch())
	if r.Verdict != Reply || r.Reason != want || len(r.Out) != 1 {
		t.Fatalf("verdict %d, reason %v, %d frames, want a reply for %v", r.Verdict, r.Reason, len(r.Out), want)
	}
	q := parse(t, r.Out[0].Bytes())
	if !q.good() {
		t.Errorf("checksum of %x is wrong", q.payload)
	}
	return q
}

// pieces translates p and wants at least two fragments.
func pieces(t testing.TB, tr *Translator, f *frame.Frame) (all []packet) {
	t.Helper()
	r := tr.Translate(f, newScratch())
	if r.Verdict != Forward || len(r.Out) < 2 {
		t.Fatalf("verdict %d, reason %v, %d frames, want fragments", r.Verdict, r.Reason, len(r.Out))
	}
	for _, f := range r.Out {
		if f.Offload != (frame.Offload{}) {
			t.Errorf("a fragment with offload state %+v", f.Offload)
		}
		all = append(all, parse(t, f.Bytes()))
	}
	return all
}

// with is hostOptions changed by edit.
func with(edit func(o *Options)) Options {
	o := hostOptions()
	edit(&o)
	return o
}

// customTranslator is that of a host with another IPv6 address or behind another prefix.
func customTranslator(t testing.TB, own, prefix string) *Translator {
	t.Helper()
	m, err := eam.New(eam.Spec{
		Ours:   []eam.Mapping{{IPv4: netip.PrefixFrom(host4, 32), IPv6: netip.PrefixFrom(netip.MustParseAddr(own), 128)}},
		PREF64: []pref64.Prefix{pref64.MustParse(prefix)},
	})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := New(m, hostOptions())
	if err != nil {
		t.Fatal(err)
	}
	return tr
}
