package siit

import (
	"bytes"
	"encoding/binary"
	"testing"

	"uclat/clat/frame"
)

// quotation is what an ICMP error carries behind its header (RFC 4884).
type quotation struct {
	quote, ext []byte
	length     int // of the quote in octets, as the length attribute says; 0: it does not say
	beyond     bool
}

// quotationOf reads the message m.
func quotationOf(version int, m []byte) (q quotation) {
	switch {
	case version == 4 && (m[0] == 3 || m[0] == 11 || m[0] == 12):
		q.length = int(m[5]) * 4
	case version == 6 && (m[0] == 1 || m[0] == 3):
		q.length = int(m[4]) * 8
	}
	q.quote = m[8:]
	if q.length > len(m)-8 {
		q.beyond = true
	} else if q.length > 0 {
		q.quote, q.ext = m[8:8+q.length], m[8+q.length:]
	}
	if len(q.ext) < 4 || q.ext[0]>>4 != 2 {
		q.ext = nil
	}
	return q
}

// checkError looks at a translated ICMP error (RFC 7915, 4.2, 4.3, 5.2 and 5.3; RFC 4884).
func (u *subject) checkError(t testing.TB, in, out received) {
	src, limit, most := u.network.to4(in.src), 1280, in.total+120
	if in.version == 6 {
		limit, most = u.o.MTU4, in.total+88
		if !src.IsValid() {
			src = u.o.UnmappedSource
		}
	}
	if out.total > limit || out.total > most {
		t.Fatalf("an error of %d octets became one of %d, at most %d", in.total, out.total, min(limit, most))
	}
	u.checkHeader(t, in, out, src, out.total)
	was, is := residue(in, in.payload, frame.ChecksumUnknown), residue(out, out.payload, frame.ChecksumUnknown)
	if was != 0 || is != 0 || len(out.payload) < 8 {
		t.Fatalf("checksum of the error was off by %#04x and is by %#04x", was, is)
	}
	before, after := quotationOf(in.version, in.payload), quotationOf(out.version, out.payload)
	inner, okBefore := read(before.quote)
	outer, okAfter := read(after.quote)
	if before.beyond || after.beyond || !okBefore || !okAfter || inner.version != in.version || outer.version != out.version {
		t.Fatalf("quote %x became %x", before.quote, after.quote)
	}
	if out.version == 4 && out.dst != outer.src {
		t.Fatalf("an error to %v about a packet of %v", out.dst, outer.src)
	}
	want, ok := rfcError(u.o, in.version, in.payload, inner)
	got := [8]byte(out.payload)
	got[2], got[3] = 0, 0
	if after.length > 0 {
		got[9-out.version] = 0 // the length attribute: octet 5 in IPv4, 4 in IPv6
		if out.version == 6 {
			got[4] = 0
		}
	}
	if !ok || got != want {
		t.Fatalf("%x became %x, want %x", in.payload[:8], got, want)
	}
	u.checkQuote(t, inner, outer, before, after, out.total, limit)
	u.checkExtensions(t, in, inner, src != u.network.to4(in.src), before, after, limit)
}

// checkQuote compares quoted packets.
func (u *subject) checkQuote(t testing.TB, in, out received, before, after quotation, total, limit int) {
	if out.version == 4 && (out.head != 20 || slowSum(after.quote[:20]) != 0xffff || after.quote[6]&0x80 != 0) ||
		out.version == 6 && (after.quote[1]&15 != 0 || after.quote[2] != 0 || after.quote[3] != 0) {
		t.Fatalf("quoted header %x", after.quote[:out.head])
	}
	if in.version == 4 && len(before.quote)-in.head < 8 {
		t.Fatalf("an error about a packet of which only %d octets are quoted (RFC 792)", len(before.quote)-in.head)
	}
	u.checkQuotedHeader(t, in, out)
	rest := after.quote[out.head:] // and padding
	n := min(len(in.payload), len(rest))
	if pad := rest[n:]; len(pad) > 0 && (after.length == 0 || !bytes.Equal(pad, make([]byte, len(pad)))) {
		t.Fatalf("padding %x behind the quote", pad)
	}
	// Only what does not fit is left out: 8 octets are the coarsest unit, and a length attribute can say no more than 255 of them.
	if n < len(in.payload) && total+8 <= limit && (after.length == 0 || after.length < 255*(2*out.version-4)) {
		t.Fatalf("%d of %d quoted octets left in an error of %d", n, len(in.payload), total)
	}
	in.payload, out.payload = in.payload[:n], rest[:n]
	at := sumAt(in.proto)
	echo := map[int]string{4: "\x00\x08", 6: "\x80\x81"}[in.version]
	switch {
	case in.isICMP() && (in.isFragment() || at+2 > n || !bytes.Contains([]byte(echo), in.payload[:1])):
		t.Fatalf("quoted ICMP that is no echo: %x", in.payload)
	case in.offset > 0 || at < 0 || at+2 > n:
		if !bytes.Equal(in.payload, out.payload) {
			t.Fatalf("quote %x became %x", in.payload, out.payload)
		}
		return
	}
	want := bytes.Clone(in.payload)
	if in.isICMP() {
		want[0] = map[uint8]uint8{8: 128, 0: 129, 128: 8, 129: 0}[want[0]]
	}
	copy(want[at:at+2], out.payload[at:])
	if !bytes.Equal(out.payload, want) {
		t.Fatalf("quote %x became %x", in.payload, out.payload)
	}
	if none := in.proto == protoUDP && binary.BigEndian.Uint16(in.payload[at:]) == 0; none {
		if binary.BigEndian.Uint16(out.payload[at:]) != 0 {
			t.Fatal("a quoted checksum where there was none")
		}
		return
	}
	if was, is := residue(in, in.payload, frame.ChecksumUnknown), residue(out, out.payload, frame.ChecksumUnknown); was != is {
		t.Fatalf("quoted checksum was off by %#04x and is by %#04x", was, is)
	}
}

// checkExtensions compares extension structures. inner is the packet that in quotes. unmapped says that in's source had to be replaced.
func (u *subject) checkExtensions(t testing.TB, in, inner received, unmapped bool, before, after quotation, limit int) {
	typ := in.payload[0]
	head, unit, keeps, node := 48, 8, typ == 3 && in.payload[1] != 2 && in.payload[1] != 4 || typ == 11, []byte(nil)
	if in.version == 6 {
		head, unit, keeps = 28, 4, typ == 1 || typ == 3
		if quoted := len(before.quote) - inner.head; u.o.NodeID && unmapped && keeps && min(quoted, inner.promised()) >= 8 {
			node = append([]byte{0, 24, 5, 4, 0, 2, 0, 0}, in.src.AsSlice()...)
		}
	}
	ext := before.ext
	if !keeps {
		ext = nil
	}
	fits := func(n int) bool { return head+128+n <= limit }
	var want []byte
	switch {
	case len(ext)%4 == 0 && node != nil && ext == nil && fits(4+len(node)):
		want = append([]byte{0x20, 0, 0, 0}, node...)
	case len(ext)%4 == 0 && node != nil && ext != nil && fits(len(ext)+len(node)):
		want = append(bytes.Clone(ext), node...)
	case ext != nil && fits(len(ext)):
		want = ext
	}
	if want == nil {
		if after.length != 0 {
			t.Fatalf("length attribute for %d octets, and no structure is due", after.length)
		}
		return
	}
	if after.length < 128 || after.length%unit != 0 || len(after.ext) != len(want) {
		t.Fatalf("a quote of %d octets and a structure %x, want %x", after.length, after.ext, want)
	}
	got := bytes.Clone(after.ext)
	sum := binary.BigEndian.Uint16(got[2:])
	copy(got[2:4], want[2:4])
	if !bytes.Equal(got, want) {
		t.Fatalf("structure %x, want %x", got, want)
	}
	switch old := binary.BigEndian.Uint16(want[2:]); {
	case ext == nil && slowSum(after.ext) != 0xffff:
		t.Fatalf("checksum of the structure %x", after.ext)
	case ext != nil && (old == 0) != (sum == 0):
		t.Fatalf("checksum of the structure was %#04x and is %#04x", old, sum)
	case ext != nil && old != 0 && ^slowSum(ext)%0xffff != ^slowSum(after.ext)%0xffff:
		t.Fatalf("checksum of the structure %x is not as right or wrong as it was in %x", after.ext, ext)
	}
}
