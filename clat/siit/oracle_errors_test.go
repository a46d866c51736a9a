package siit

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"uclat/clat"
)

// icmpError is an ICMP error about a packet that went the other way.
type icmpError struct {
	datagram  // whose content is still to be made
	typ, code uint8
	word      uint32
	about     datagram
	quoted    int    // octets of about's payload that are quoted
	ext       []byte // extension structure
}

// icmpError is one that the translator takes, for the most part.
func (d *dice) icmpError(t testing.TB, version int) (e icmpError) {
	e.datagram = datagram{tos: d.octet(), ttl: 2 + d.octet()&127, id: d.Uint32() & 0xffff}
	e.src, e.dst = d.ends()
	bystander, other := d.ends() // of the side of dst, and of that of src
	if (version == 6) != d.network.plat {
		e.src, e.dst = e.dst, e.src
	} else {
		other, bystander = bystander, other
	}
	i := family46(version)
	e.typ, e.code = [...]pair{{3, 1}, {3, 1}, {3, 2}, {11, 3}, {12, 4}}[d.IntN(5)][i], uint8(d.IntN(17))
	if version == 4 && d.one(4) {
		e.code = 4
	}
	if e.typ != 3 || version == 6 {
		e.code = uint8(d.IntN(6)) & uint8(d.Uint32()) // most of them are low
	}
	if d.one(16) {
		e.typ = [...]uint8{d.octet() | 1, d.octet() & 127}[i]
	}
	switch {
	case e.typ == 3 && version == 4 && e.code == 4:
		e.word = uint32(d.among(0, 0, 0, 1, 68, 296, 552, 1259, 1260, 1261, 1400, 1460, 1480, 1500, 9000, 65535))
	case e.typ == 2 && version == 6:
		e.word = uint32(d.among(0, 68, 1279, 1280, 1281, 1400, 1480, 1500, 9000, 65535, 65556, 1<<32-1))
	case e.typ == 12 && version == 4:
		e.word = uint32(d.IntN(24)) << 24
	case e.typ == 4 && version == 6:
		e.word = uint32(d.IntN(44))
		if d.one(10) {
			e.word |= 1 << 24
		}
	}
	e.about = d.datagram(t, version)
	e.about.src, e.about.dst = e.dst, e.src
	switch d.IntN(12) {
	case 0, 1, 2, 3:
		e.about.dst = other // which a router on the way to it could not reach
	case 4:
		if version == 6 {
			e.about.src = bystander
		}
	}
	if version == 6 && !d.network.plat && d.one(2) {
		e.src6 = []netip.Addr{router, netip.MustParseAddr("fe80::1:2")}[d.IntN(2)]
	}
	if e.typ == 3 && e.code == 4 && e.word == 0 && version == 4 { // its MTU follows from how long the packet was
		e.about.options, e.about.offset, e.about.size, e.about.mf = nil, 0, 0, false
		e.about.content = content{proto: pair{253, 253}, data: d.octets(d.among(1006, 1492, 2002, 4352, 8166) - 20 - 1 + d.IntN(3))}
	}
	e.quoted = d.among(8, 8, 20, 28, 64, 107, 108, 109, 128, 500, 1200, 5000)
	extensible := version == 4 && (e.typ == 3 || e.typ == 11 || e.typ == 12) || version == 6 && (e.typ == 1 || e.typ == 3)
	if extensible && d.one(2) {
		e.ext = structure(4 * d.among(0, 1, 5, 25, 100, 270, 300))
		if d.one(4) {
			e.ext[2], e.ext[3] = 0, 0 // without a checksum (RFC 4884, 7)
		}
	}
	return e
}

// packet makes the error. region is what it quotes, and padding behind a packet that is shorter than 128 octets or no multiple of the
// unit (RFC 4884, 3). A packet that is longer than what is quoted is cut where no padding is needed, since nobody could tell that from it.
func (e icmpError) packet(t testing.TB, n network, version int) (p, region []byte) {
	about := e.about.packet(t, n, version)
	r, _ := read(about)
	region = bytes.Clone(about[:min(len(about), r.head+e.quoted)])
	word := e.word
	if e.ext != nil {
		unit, shift := 4, 16
		if version == 6 {
			unit, shift = 8, 24
		}
		size := min(max(128, len(region)), 255*unit)
		size += (unit - size%unit) % unit
		region = append(bytes.Clone(about[:min(len(about), size)]), make([]byte, max(0, size-len(about)))...)
		word |= uint32(size/unit) << shift
	}
	i := family46(version)
	e.content = content{proto: pair{protoICMP, protoICMPv6}}
	e.content.icmp[i], e.content.word[i], e.content.rest[i] = pair{e.typ, e.code}, word, append(bytes.Clone(region), e.ext...)
	return e.datagram.packet(t, n, version), region
}

// translated is what must become of the error p that quotes region (RFC 7915, 4.2, 4.3, 5.2 and 5.3; RFC 4884). got is only asked for
// what the translator may choose.
func (d *dice) translated(t testing.TB, e icmpError, p, region []byte, version int, got []byte) outcome {
	in, _ := read(p)
	inner, _ := read(region)
	word, ok := rfcError(d.o, version, in.payload, inner)
	if _, known := rfcErrors[version][rfcCode{e.typ, e.code}]; !known {
		if _, known = rfcErrors[version][rfcCode{e.typ, anyCode}]; !known {
			return dropFor(clat.DropICMPType)
		}
	}
	switch {
	case version == 6 && e.about.src != e.dst: // an error goes to who has sent what it is about
		return dropFor(clat.DropICMPInner)
	case version == 6 && (e.about.isFragment() || e.about.atomic) && bytes.Contains([]byte{51, 135, 139, 140}, e.about.content.proto[1:]):
		return dropFor(clat.DropICMPInner)
	case !ok && version == 6 && e.typ == 2:
		return dropFor(clat.DropPTBTooSmall)
	case !ok:
		return dropFor(clat.DropICMPType)
	case e.about.content.proto[0] == protoICMP && e.about.isFragment():
		return dropFor(clat.DropICMPInner)
	}
	to := 10 - version
	i := family46(to)
	front, unit, limit, shift, keeps := 48, 8, 1280, 24, word[0] == 1 || word[0] == 3
	if to == 4 {
		front, unit, limit, shift, keeps = 28, 4, d.o.MTU4, 16, e.typ == 1 || e.typ == 3
	}
	q := d.quote(t, e.about, to, got)
	r, _ := read(q)
	q = q[:min(len(q), r.head+len(inner.payload))]
	ext := e.ext
	if !keeps {
		ext = nil
	}
	if to == 4 && keeps && d.o.NodeID && e.src6.IsValid() && len(inner.payload) >= 8 {
		if with := withNode(ext, e.src6); front+128+len(with) <= limit {
			ext = with
		}
	}
	attribute := 0
	if ext != nil && front+128+len(ext) <= limit {
		n := min(max(128, (len(q)+unit-1)/unit*unit), (limit-front-len(ext))/unit*unit, 255*unit)
		q = append(q[:min(len(q), n):min(len(q), n)], make([]byte, max(0, n-len(q)))...)
		attribute = n / unit
		q = append(q, ext...)
	}
	q = q[:min(len(q), limit-front)]
	e.content = content{proto: pair{protoICMP, protoICMPv6}}
	e.content.icmp[i], e.content.rest[i] = pair{word[0], word[1]}, q
	e.content.word[i] = binary.BigEndian.Uint32(word[4:]) | uint32(attribute)<<shift
	f := d.header(e.datagram, to)
	f.df = to == 4 && front+len(q) > 1260
	return outcome{verdict: Forward, anyID: to == 4, out: []seen{{f, e.content.octets(t, to, f.src, f.dst)}}}
}

// quote is what about must be in the version to: whole, with its TTL and TOS as they were.
func (d *dice) quote(t testing.TB, about datagram, to int, got []byte) []byte {
	about.options, about.chain = nil, nil
	if to == 6 {
		about.atomic = false
		p := about.packet(t, d.network, 6)
		p[1], p[2], p[3] = p[1]&0xf0, 0, 0 // flow label
		return p
	}
	about.df = false
	if !about.isFragment() && !about.atomic {
		about.df = len(about.packet(t, d.network, 4)) > 1260
		if len(got) > 28+6 {
			about.id = uint32(binary.BigEndian.Uint16(got[28+4:]))
		}
	}
	return about.packet(t, d.network, 4)
}

// withNode is ext, or a structure without objects, with a Node Identification object for a behind it.
func withNode(ext []byte, a netip.Addr) []byte {
	if ext == nil {
		ext = []byte{0x20, 0, 0, 0}
	}
	b := append(append(bytes.Clone(ext), 0, 24, 5, 4, 0, 2, 0, 0), a.AsSlice()...)
	if len(ext) > 4 && b[2] == 0 && b[3] == 0 {
		return b // it had no checksum
	}
	b[2], b[3] = 0, 0
	binary.BigEndian.PutUint16(b[2:], ^slowSum(b))
	return b
}

// TestOracleErrors holds ICMP errors to the tables, with what they quote and with their extension structures.
func TestOracleErrors(t *testing.T) {
	s := newScratch()
	verdicts := map[Verdict]int{}
	for n := range 10000 {
		d, t := roll(n), named{t, n}
		version := 4 + n%2*2
		e := d.icmpError(t, version)
		p, region := e.packet(t, d.network, version)
		tr, err := New(d.network.table(t), d.o)
		if err != nil {
			t.Fatal(err)
		}
		s.Reset()
		var got []byte
		if r := tr.Translate(newFrame(p), s); len(r.Out) > 0 {
			got = bytes.Clone(r.Out[0].Bytes())
		}
		want := d.translated(t, e, p, region, version, got)
		verdicts[want.verdict]++
		judge(t, tr, s, p, want, d.o)
	}
	if verdicts[Forward] < 5000 {
		t.Errorf("of 10000, %d are to be forwarded: too few to tell", verdicts[Forward])
	}
}
