package siit

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/frame"
)

// What FuzzTranslate makes of its knobs. The mends let a mutated packet get past the checks that would stop nearly all of them.
const (
	knobPLAT = 1 << iota
	knobTransparent
	knobDropZero4
	knobPassZero6
	knobNoErrors
	knobMendAddresses
	knobMendHeader
	knobMendICMP
	knobMTU // two bits
	_
	knobLowest
	knobMTU4
)

func fuzzTables(t testing.TB) [2]*eam.Table {
	t.Helper()
	s := hostSpec()
	var tables [2]*eam.Table
	for i := range tables {
		s.PLAT = i == 1
		m, err := eam.New(s)
		if err != nil {
			t.Fatal(err)
		}
		tables[i] = m
	}
	return tables
}

func fuzzOptions(knobs uint16) Options {
	return with(func(o *Options) {
		o.MTU6 = []int{1280, 1500, 9000, 65535}[knobs/knobMTU&3]
		o.LowestMTU6, o.MTU4 = 1280, 1260
		if knobs&knobLowest != 0 {
			o.LowestMTU6 = o.MTU6
		}
		if knobs&knobMTU4 != 0 {
			o.MTU4 = o.MTU6
		}
		o.TTLTransparent, o.NoErrors = knobs&knobTransparent != 0, knobs&knobNoErrors != 0
		o.DropZeroUDP4, o.PassZeroUDP6 = knobs&knobDropZero4 != 0, knobs&knobPassZero6 != 0
	})
}

// mend makes right what random changes cannot.
func mend(p []byte, knobs uint16) {
	if len(p) == 0 {
		return
	}
	plat := knobs&knobPLAT != 0
	switch p[0] >> 4 {
	case 4:
		hlen := int(p[0]&15) * 4
		if hlen < 20 || len(p) < hlen {
			return
		}
		if knobs&knobMendAddresses != 0 {
			src, dst := host4, peer4
			if plat {
				src, dst = dst, src
			}
			copy(p[12:], src.AsSlice())
			copy(p[16:], dst.AsSlice())
		}
		total := int(binary.BigEndian.Uint16(p[2:]))
		if knobs&knobMendHeader != 0 {
			resum(p)
		}
		if knobs&knobMendICMP != 0 && p[9] == protoICMP && total >= hlen+4 && total <= len(p) {
			seal(host4, peer4, protoICMP, p[hlen:total])
		}
	case 6:
		var h header6
		if _, reason := h.read(p); reason == clat.DropHeader {
			return
		}
		if knobs&knobMendAddresses != 0 {
			src, dst := peer6, host6
			if plat {
				src, dst = dst, src
			}
			copy(p[8:], src.AsSlice())
			copy(p[24:], dst.AsSlice())
		}
		if end := 40 + h.payload; knobs&knobMendICMP != 0 && h.next == protoICMPv6 && end >= h.hlen+4 && end <= len(p) {
			seal(netip.AddrFrom16([16]byte(p[8:])), netip.AddrFrom16([16]byte(p[24:])), protoICMPv6, p[h.hlen:end])
		}
	}
}

func FuzzTranslate(f *testing.F) {
	const mends = knobMendAddresses | knobMendHeader | knobMendICMP
	add := func(p []byte, o frame.Offload, knobs uint16) {
		f.Add(p, knobs, uint8(o.Checksum), uint8(o.GSO), o.SegSize, o.L4, o.ChecksumAt)
	}
	for _, k := range kinds() {
		if len(k.in) <= 4000 { // longer ones only slow the fuzzer down
			add(k.in, k.offload, mends|1<<8)
			add(k.in, k.offload, mends|knobPLAT|knobPassZero6)
		}
	}
	for i, y := range families {
		seg := tcp(data(2000))
		add(y.partial(protoTCP, seg), y.offload(protoTCP, frame.SegmentTCP, 700), mends|1<<8)
		add(y.partial(protoUDP, udp(data(1400))), y.offload(protoUDP, frame.NotSegmented, 0), mends|uint16(i)<<8)
	}
	add(ip4{proto: protoUDP}.packet(udp(data(1400))), families[0].offload(protoUDP, frame.NotSegmented, 0), mends|1<<8)
	add(ip6{next: protoUDP, extensions: []extension{options8(protoHopByHop, 8), routing(1), fragmentHeader(0, true, 1)}}.packet(udp(data(48))), frame.Offload{}, mends)
	add(ip4{proto: protoUDP, options: []byte{131, 7, 4, 1, 2, 3, 4, 0}}.packet(udp(nil)), frame.Offload{}, mends)
	for _, s := range vectors {
		p, err := hex.DecodeString(s.in)
		if err != nil {
			f.Fatal(err)
		}
		add(p, frame.Offload{}, 0)
	}
	tables := fuzzTables(f)
	s := newScratch()
	f.Fuzz(func(t *testing.T, p []byte, knobs uint16, sum, gso uint8, size, l4, at uint16) {
		if len(p) > frame.MaxLen {
			return
		}
		p = bytes.Clone(p)
		mend(p, knobs)
		o := frame.Offload{Checksum: frame.Checksum(sum % 3), GSO: frame.Segmentation(gso % 4), SegSize: size, L4: l4, ChecksumAt: at}
		tr, err := New(tables[knobs&knobPLAT], fuzzOptions(knobs))
		if err != nil {
			t.Fatal(err)
		}
		s.Reset()
		s.Errors = 1
		checkTranslation(t, tr, s, p, o)
	})
}

// checkTranslation translates p and checks what must hold for whatever p is.
func checkTranslation(t testing.TB, tr *Translator, s *Scratch, p []byte, o frame.Offload) {
	t.Helper()
	const guard = 64
	buf := bytes.Repeat([]byte{0xc5}, guard+frame.Headroom+len(p)+frame.Tailroom+guard)
	copy(buf[guard+frame.Headroom:], p)
	f := new(frame.Frame)
	f.Wrap(buf[guard:len(buf)-guard:len(buf)-guard], frame.Headroom, len(p))
	f.Offload = o
	if !s.Ready() {
		t.Fatal("the scratch is not ready after a Reset")
	}
	r := tr.Translate(f, s)
	edge := bytes.Repeat([]byte{0xc5}, guard)
	if !bytes.Equal(buf[:guard], edge) || !bytes.Equal(buf[len(buf)-guard:], edge) {
		t.Fatal("written outside the frame's buffer")
	}
	switch r.Verdict {
	case Drop:
		if r.Reason == clat.DropNone || r.Reason >= clat.NumDropReasons || len(r.Out) != 0 {
			t.Fatalf("%+v", r)
		}
	case Reply:
		if r.Reason == clat.DropNone || len(r.Out) != 1 || r.Out[0].Offload != (frame.Offload{}) {
			t.Fatalf("%+v", r)
		}
		q := parse(t, r.Out[0].Bytes())
		limit := 576
		if q.version == 6 {
			limit = 1280
		}
		if q.version != int(p[0]>>4) || r.Out[0].Len() > limit || !q.good() || !bytes.HasPrefix(p, q.payload[8:]) {
			t.Fatalf("answer %+v", q)
		}
	case Forward:
		checkForwarded(t, tr, r, p, o)
	default:
		t.Fatalf("verdict %d", r.Verdict)
	}
}

// checkForwarded compares what was forwarded with what came in.
func checkForwarded(t testing.TB, tr *Translator, r Result, p []byte, o frame.Offload) {
	t.Helper()
	if r.Reason != clat.DropNone || len(r.Out) == 0 {
		t.Fatalf("%+v", r)
	}
	in := parseInput(p)
	out := parse(t, r.Out[0].Bytes())
	if out.version == in.version || len(r.Out) > 1 && in.version == 6 {
		t.Fatalf("%d frames of version %d", len(r.Out), out.version)
	}
	for i, f := range r.Out[1:] {
		q := parse(t, f.Bytes())
		if q.offset != out.offset+len(out.payload) || q.id != out.id || !q.fragment {
			t.Fatalf("piece %d: %+v", i+1, q)
		}
		out.payload = append(out.payload[:len(out.payload):len(out.payload)], q.payload...)
	}
	for _, f := range r.Out {
		size, limit := f.Len(), 65535
		switch {
		case len(r.Out) > 1:
			limit = tr.lowest
		case o.GSO == frame.NotSegmented && out.version == 6:
			limit = tr.mtu6
		case o.GSO == frame.NotSegmented:
			limit = tr.mtu4
		}
		if size > limit && (o.GSO == frame.NotSegmented || size > 65535+len6) {
			t.Fatalf("%d octets, at most %d may leave", size, limit)
		}
	}
	if single := r.Out[0]; len(r.Out) == 1 {
		want := o
		want.L4, want.SegSize = single.L4, single.SegSize
		if single.Offload != want || single.SegSize > o.SegSize || (o.Checksum == frame.ChecksumPartial || o.GSO != 0) && int(single.L4) != single.Len()-len(out.payload) {
			t.Fatalf("%+v became %+v", o, single.Offload)
		}
	}
	if in.proto == protoICMP || in.proto == protoICMPv6 {
		checkForwardedICMP(t, in, out)
		return
	}
	if out.proto != in.proto || out.offset != in.offset || len(out.payload) != len(in.payload) {
		t.Fatalf("%+v became %+v", in, out)
	}
	if in.offset != 0 || field(in.proto) < 0 {
		if !bytes.Equal(out.payload, in.payload) {
			t.Fatal("payload has changed")
		}
		return
	}
	at := field(in.proto)
	zero := in.proto == protoUDP && o.Checksum != frame.ChecksumPartial && in.payload[6] == 0 && in.payload[7] == 0
	switch before, after := in.residue(o), out.residue(o); {
	case zero && in.version == 6 && (out.payload[6] != 0 || out.payload[7] != 0):
		t.Fatal("a checksum where there was none")
	case zero && in.version == 4 && int(binary.BigEndian.Uint16(in.payload[4:])) == len(in.payload) && after != 0:
		t.Fatalf("computed checksum is off by %#04x", after)
	case !zero && len(r.Out) == 1 && before != after:
		t.Fatalf("checksum was off by %#04x and is by %#04x", before, after)
	case !zero && len(r.Out) > 1 && o.Checksum != frame.ChecksumPartial && before != after:
		t.Fatalf("checksum was off by %#04x and is by %#04x in pieces", before, after)
	}
	if !bytes.Equal(out.payload[:at], in.payload[:at]) || !bytes.Equal(out.payload[at+2:], in.payload[at+2:]) {
		t.Fatal("more than the checksum has changed")
	}
}

// checkForwardedICMP checks sizes and sums of an ICMP message.
func checkForwardedICMP(t testing.TB, in, out packet) {
	t.Helper()
	echo := out.payload[0] == 0 || out.payload[0] == 8 || out.payload[0] >= 128
	switch whole := slowSum(pseudo(out.src, out.dst, out.proto, len(out.payload)), out.payload); {
	case whole != 0xffff:
		t.Fatalf("sum of the message is %#04x", whole)
	case echo && (len(out.payload) != len(in.payload) || !bytes.Equal(out.payload[4:], in.payload[4:])):
		t.Fatal("more than type and checksum has changed")
	case !echo && out.version == 6 && len(out.payload) > 1240:
		t.Fatalf("error of %d octets", len(out.payload))
	}
}

// parseInput is parse for a packet that the translator has accepted.
func parseInput(p []byte) packet {
	if p[0]>>4 == 4 {
		var h header4
		h.read(p)
		return packet{
			version: 4, src: netip.AddrFrom4(h.src), dst: netip.AddrFrom4(h.dst), proto: h.proto, fragment: h.isFragment(),
			mf: h.mf, offset: int(h.offset) * 8, payload: p[h.hlen:h.total],
		}
	}
	var h header6
	_, _ = h.read(p)
	return packet{
		version: 6, src: netip.AddrFrom16(h.src), dst: netip.AddrFrom16(h.dst), proto: h.next, fragment: h.isFragment(),
		mf: h.mf, offset: int(h.offset) * 8, payload: p[h.hlen : 40+h.payload],
	}
}

// residue is by how much the transport checksum is wrong: 0 for a right one. Of a partial one, by how much it is wrong as it stands.
func (q packet) residue(o frame.Offload) uint16 {
	header := pseudo(q.src, q.dst, q.proto, len(q.payload))
	if o.Checksum == frame.ChecksumPartial {
		is, should := binary.BigEndian.Uint16(q.payload[field(q.proto):]), slowSum(header)
		return uint16((uint32(is) + 0xffff - uint32(should)) % 0xffff)
	}
	return ^slowSum(header, q.payload) % 0xffff
}
