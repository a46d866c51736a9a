package conformance

import (
	"cmp"
	"math"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/siit"
)

// icmpRow is a row of the ICMP tables of RFC 7915, 4.2 and 5.2: messages of these types and codes, and what they become.
type icmpRow struct {
	id           string
	types, codes []uint8
	typ, code    uint8           // of the other family
	sameCode     bool            // the code stays instead
	echo         bool            // no error: what follows its head is data
	from, word   uint32          // the four octets behind the checksum, before and after; from 0 is unused
	silence      clat.DropReason // it becomes nothing, for this reason
	also         func(t *testing.T)
}

// only and through are the types or codes of a row.
func only(values ...uint8) []uint8 { return values }

func through(first, last uint8) (values []uint8) {
	for v := int(first); v <= int(last); v++ {
		values = append(values, uint8(v))
	}
	return values
}

var anyCode = through(0, 255)

// unused is in the second word of an error where its type has nothing to say there. It is not zero, and gets lost.
const unused = 0x0000_abcd

var icmp46 = []icmpRow{
	{id: "XLAT-ICMP46-0/0", types: only(0), codes: anyCode, typ: 129, sameCode: true, echo: true, from: 0xbeef0007, word: 0xbeef0007},
	{id: "XLAT-ICMP46-8/0", types: only(8), codes: anyCode, typ: 128, sameCode: true, echo: true, from: 0xbeef0007, word: 0xbeef0007},
	{id: "XLAT-ICMP46-3/0", types: only(3), codes: only(0), typ: 1, code: 0},
	{id: "XLAT-ICMP46-3/1", types: only(3), codes: only(1), typ: 1, code: 0},
	{id: "XLAT-ICMP46-3/2", types: only(3), codes: only(2), typ: 4, code: 1, word: 6},
	{id: "XLAT-ICMP46-3/3", types: only(3), codes: only(3), typ: 1, code: 4},
	{id: "XLAT-ICMP46-3/4", types: only(3), codes: only(4), typ: 2, code: 0, from: 1400, word: 1420, also: fragmentationNeeded},
	{id: "XLAT-ICMP46-3/5", types: only(3), codes: only(5), typ: 1, code: 0},
	{id: "XLAT-ICMP46-3/6", types: only(3), codes: only(6, 7, 8), typ: 1, code: 0},
	{id: "XLAT-ICMP46-3/9", types: only(3), codes: only(9, 10), typ: 1, code: 1},
	{id: "XLAT-ICMP46-3/11", types: only(3), codes: only(11, 12), typ: 1, code: 0},
	{id: "XLAT-ICMP46-3/13", types: only(3), codes: only(13), typ: 1, code: 1},
	{id: "XLAT-ICMP46-3/14", types: only(3), codes: only(14), silence: clat.DropICMPType},
	{id: "XLAT-ICMP46-3/15", types: only(3), codes: only(15), typ: 1, code: 1},
	{id: "XLAT-ICMP46-3/16", types: only(3), codes: through(16, 255), silence: clat.DropICMPType},
	{id: "XLAT-ICMP46-4/0", types: only(4), codes: anyCode, silence: clat.DropICMPType},
	{id: "XLAT-ICMP46-5/0", types: only(5), codes: anyCode, silence: clat.DropICMPType},
	{id: "XLAT-ICMP46-6/0", types: only(6), codes: anyCode, silence: clat.DropICMPType},
	{id: "XLAT-ICMP46-9/0", types: only(9, 10), codes: anyCode, silence: clat.DropICMPType},
	{id: "XLAT-ICMP46-11/0", types: only(11), codes: anyCode, typ: 3, sameCode: true},
	{id: "XLAT-ICMP46-12/0", types: only(12), codes: only(0), typ: 4, code: 0, from: 9<<24 | unused, word: 6, also: pointers46(0)},
	{id: "XLAT-ICMP46-12/1", types: only(12), codes: only(1), silence: clat.DropICMPType},
	{id: "XLAT-ICMP46-12/2", types: only(12), codes: only(2), typ: 4, code: 0, from: 9<<24 | unused, word: 6, also: pointers46(2)},
	{id: "XLAT-ICMP46-12/3", types: only(12), codes: through(3, 255), silence: clat.DropICMPType},
	{id: "XLAT-ICMP46-13/0", types: only(13, 14), codes: anyCode, silence: clat.DropICMPType},
	{id: "XLAT-ICMP46-15/0", types: only(15, 16), codes: anyCode, silence: clat.DropICMPType},
	{id: "XLAT-ICMP46-17/0", types: only(17, 18), codes: anyCode, silence: clat.DropICMPType},
	{id: "XLAT-ICMP46-others", types: append(only(1, 2, 7), through(19, 255)...), codes: anyCode, silence: clat.DropICMPType},
}

var icmp64 = []icmpRow{
	{id: "XLAT-ICMP64-128/0", types: only(128), codes: anyCode, typ: 8, sameCode: true, echo: true, from: 0xbeef0007, word: 0xbeef0007},
	{id: "XLAT-ICMP64-129/0", types: only(129), codes: anyCode, typ: 0, sameCode: true, echo: true, from: 0xbeef0007, word: 0xbeef0007},
	{id: "XLAT-ICMP64-130/0", types: only(130, 131, 132, 143), codes: anyCode, silence: clat.DropIGMP},
	{id: "XLAT-ICMP64-133/0", types: through(133, 137), codes: anyCode, silence: clat.DropICMPType},
	{id: "XLAT-ICMP64-138/0", types: append(through(138, 142), through(144, 255)...), codes: anyCode, silence: clat.DropICMPType},
	{id: "XLAT-ICMP64-1/0", types: only(1), codes: only(0), typ: 3, code: 1},
	{id: "XLAT-ICMP64-1/1", types: only(1), codes: only(1), typ: 3, code: 10},
	{id: "XLAT-ICMP64-1/2", types: only(1), codes: only(2), typ: 3, code: 1},
	{id: "XLAT-ICMP64-1/3", types: only(1), codes: only(3), typ: 3, code: 1},
	{id: "XLAT-ICMP64-1/4", types: only(1), codes: only(4), typ: 3, code: 3},
	{id: "XLAT-ICMP64-1/5", types: only(1), codes: through(5, 255), silence: clat.DropICMPType},
	{id: "XLAT-ICMP64-2/0", types: only(2), codes: anyCode, typ: 3, code: 4, from: 1400, word: 1380, also: packetTooBig},
	{id: "XLAT-ICMP64-3/0", types: only(3), codes: anyCode, typ: 11, sameCode: true},
	{id: "XLAT-ICMP64-4/0", types: only(4), codes: only(0), typ: 12, code: 0, from: 6, word: 9 << 24, also: pointers64},
	{id: "XLAT-ICMP64-4/1", types: only(4), codes: only(1), typ: 3, code: 2, from: 6, word: 0, also: unrecognizedNextHeader},
	{id: "XLAT-ICMP64-4/2", types: only(4), codes: only(2), silence: clat.DropICMPType},
	{id: "XLAT-ICMP64-4/3", types: only(4), codes: through(3, 255), silence: clat.DropICMPType},
	{id: "XLAT-ICMP64-others", types: append(only(0), through(5, 127)...), codes: anyCode, silence: clat.DropICMPType},
}

func TestICMPv4Messages(t *testing.T) {
	for _, r := range icmp46 {
		t.Run(r.id, func(t *testing.T) { r.test(t, errors46, client6, peer6) })
	}
}

func TestICMPv6Messages(t *testing.T) {
	for _, r := range icmp64 {
		t.Run(r.id, func(t *testing.T) { r.test(t, errors64, peer4, client4) })
	}
}

// test translates a message of each type and code of the row.
func (r icmpRow) test(t *testing.T, w errorWay, src, dst []byte) {
	tr := newTranslator(t)
	body, want := w.quoted(t, quotedUDP, 33)
	if r.echo {
		body, want = data(33), data(33)
	}
	for _, typ := range r.types {
		for _, code := range r.codes {
			if r.silence != clat.DropNone {
				const pointer = 6 // which would be right, if the message were taken for a Parameter Problem
				dropped(t, tr, w.message(t, typ, code, pointer, body), r.silence)
				continue
			}
			p := forward(t, tr, w.message(t, typ, code, cmp.Or(r.from, unused), body))
			p.fromTo(t, src, dst)
			if r.sameCode {
				p.icmp(t).is(t, r.typ, code, r.word)
			} else {
				p.icmp(t).is(t, r.typ, r.code, r.word)
			}
			if r.echo {
				same(t, "data", p.icmp(t).body, want)
			} else {
				p.quotes(t, want)
			}
			if t.Failed() {
				t.Fatalf("which was %d/%d", typ, code)
			}
		}
	}
	if r.also != nil {
		r.also(t)
	}
}

// The tables say of each type and code once what becomes of it.
func TestICMPTablesAreComplete(t *testing.T) {
	for _, rows := range [][]icmpRow{icmp46, icmp64} {
		var of [256][256][]string
		for _, r := range rows {
			for _, typ := range r.types {
				for _, code := range r.codes {
					of[typ][code] = append(of[typ][code], r.id)
				}
			}
		}
		for typ := range of {
			for code, ids := range of[typ] {
				if len(ids) != 1 {
					t.Errorf("%d/%d is in the rows %v, beside %s", typ, code, ids, rows[0].id)
				}
			}
		}
	}
}

// pointerColumn is a column of the pointer tables of RFC 7915, 4.2 and 5.2 (figures 3 and 6): offsets into the header of one family, and
// the offset of the same field in the other.
type pointerColumn struct {
	id          string
	first, last uint32
	to          int // or none
}

// none is the offset of a field that the other family does not have.
const none = -1

var pointer46 = []pointerColumn{
	{"XLAT-PTR46-0", 0, 0, 0},       // version, header length: version, traffic class
	{"XLAT-PTR46-1", 1, 1, 1},       // TOS: traffic class, flow label
	{"XLAT-PTR46-2", 2, 3, 4},       // Total Length: Payload Length
	{"XLAT-PTR46-4", 4, 5, none},    // Identification
	{"XLAT-PTR46-6", 6, 6, none},    // flags, Fragment Offset
	{"XLAT-PTR46-7", 7, 7, none},    // Fragment Offset
	{"XLAT-PTR46-8", 8, 8, 7},       // TTL: Hop Limit
	{"XLAT-PTR46-9", 9, 9, 6},       // Protocol: Next Header
	{"XLAT-PTR46-10", 10, 11, none}, // header checksum
	{"XLAT-PTR46-12", 12, 15, 8},    // source
	{"XLAT-PTR46-16", 16, 19, 24},   // destination
	{"XLAT-PTR46-20", 20, math.MaxUint8, none},
}

var pointer64 = []pointerColumn{
	{"XLAT-PTR64-0", 0, 0, 0},     // version, traffic class: version, header length
	{"XLAT-PTR64-1", 1, 1, 1},     // traffic class, flow label: TOS
	{"XLAT-PTR64-2", 2, 3, none},  // flow label
	{"XLAT-PTR64-4", 4, 5, 2},     // Payload Length: Total Length
	{"XLAT-PTR64-6", 6, 6, 9},     // Next Header: Protocol
	{"XLAT-PTR64-7", 7, 7, 8},     // Hop Limit: TTL
	{"XLAT-PTR64-8", 8, 23, 12},   // source
	{"XLAT-PTR64-24", 24, 39, 16}, // destination
	{"XLAT-PTR64-40", 40, math.MaxUint32, none},
}

func TestICMPv4Pointers(t *testing.T) {
	for _, c := range pointer46 {
		t.Run(c.id, func(t *testing.T) {
			c.test46(t, newTranslator(t), 0)
			c.test46(t, newTranslator(t), 2)
		})
	}
}

func TestICMPv6Pointers(t *testing.T) {
	for _, c := range pointer64 {
		t.Run(c.id, func(t *testing.T) { c.test64(t, newTranslator(t)) })
	}
}

// test46 translates a Parameter Problem of that code with each pointer of the column. In ICMPv4 it is the first octet of the word.
func (c pointerColumn) test46(t *testing.T, tr *translator, code uint8) {
	t.Helper()
	before, after := errors46.quoted(t, quotedUDP, 33)
	for pointer := c.first; pointer <= c.last; pointer++ {
		in := errors46.message(t, 12, code, pointer<<24|unused, before)
		if c.to == none {
			dropped(t, tr, in, clat.DropICMPType)
			continue
		}
		p := forward(t, tr, in)
		p.icmp(t).is(t, 4, 0, uint32(c.to))
		p.quotes(t, after)
		if t.Failed() {
			t.Fatalf("which was pointer %d", pointer)
		}
	}
}

// test64 is the same of an ICMPv6 Parameter Problem, where the pointer takes the whole word.
func (c pointerColumn) test64(t *testing.T, tr *translator) {
	t.Helper()
	before, after := errors64.quoted(t, quotedUDP, 33)
	pointers := []uint32{}
	for pointer := c.first; pointer <= min(c.last, 300); pointer++ {
		pointers = append(pointers, pointer)
	}
	if c.last == math.MaxUint32 { // also what is small in some of its octets only
		for shift := 8; shift < 32; shift += 8 {
			pointers = append(pointers, 1<<shift, 1<<shift|6, 6<<shift, 6<<shift|1, 0x80<<(shift-8))
		}
		pointers = append(pointers, math.MaxInt32, math.MaxInt32+1, math.MaxUint32-39, math.MaxUint32)
	}
	for _, pointer := range pointers {
		in := errors64.message(t, 4, 0, pointer, before)
		if c.to == none {
			dropped(t, tr, in, clat.DropICMPType)
			continue
		}
		p := forward(t, tr, in)
		p.icmp(t).is(t, 12, 0, uint32(c.to)<<24)
		p.quotes(t, after)
		if t.Failed() {
			t.Fatalf("which was pointer %d", pointer)
		}
	}
}

// pointers46 is what the rows of Parameter Problem say besides: all pointers.
func pointers46(code uint8) func(t *testing.T) {
	return func(t *testing.T) {
		tr := newTranslator(t)
		for _, c := range pointer46 {
			c.test46(t, tr, code)
		}
	}
}

func pointers64(t *testing.T) {
	tr := newTranslator(t)
	for _, c := range pointer64 {
		c.test64(t, tr)
	}
}

// unrecognizedNextHeader is what the row of 4/1 says besides: whatever the pointer was, it is none in Protocol Unreachable.
func unrecognizedNextHeader(t *testing.T) {
	tr := newTranslator(t)
	before, after := errors64.quoted(t, quotedUDP, 33)
	for _, pointer := range []uint32{0, 5, 6, 39, 40, 41, 46, 255, 256, 1280, 1 << 24, math.MaxUint32} {
		p := forward(t, tr, errors64.message(t, 4, 1, pointer, before))
		p.icmp(t).is(t, 3, 2, 0)
		p.quotes(t, after)
	}
}

func TestPointerTablesAreComplete(t *testing.T) {
	for _, columns := range [][]pointerColumn{pointer46, pointer64} {
		next := uint64(0)
		for _, c := range columns {
			if uint64(c.first) != next || c.last < c.first {
				t.Errorf("%s begins at %d, want %d", c.id, c.first, next)
			}
			next = uint64(c.last) + 1
		}
		if next != 1<<8 && next != 1<<32 {
			t.Errorf("%s: the last column ends before %d", columns[0].id, next)
		}
	}
}

// mtus are what both sides take.
func mtus(six, four int) func(*siit.Options, *eam.Spec) {
	return func(o *siit.Options, _ *eam.Spec) { o.MTU6, o.MTU4 = six, four }
}

var bothMTUs = []struct{ six, four int }{
	{1500, 1500}, {1280, 1500}, {1280, 1280}, {1500, 1280}, {1500, 1400}, {1400, 1500}, {9000, 1500}, {1500, 9000}, {65535, 65535},
	{65535, 1260}, {1500, 576}, {1500, 68},
}

// fragmentationNeeded is what the row of 3/4 says besides: the MTU.
func fragmentationNeeded(t *testing.T) {
	// quote is the beginning of a packet of so many octets.
	quote := func(total int) []byte {
		whole, _ := errors46.quoted(t, quotedUDP, 33)
		return withLength(whole, total)
	}
	report := func(tr *translator, total int, mtu uint32) uint32 {
		m := forward(t, tr, errors46.message(t, 3, 4, mtu, quote(total))).icmp(t)
		m.is(t, 2, 0, m.word)
		return m.word
	}
	// IPv6 headers are 20 octets longer; what either side takes is the limit; and no IPv6 link takes less than 1280 octets.
	for _, sides := range bothMTUs {
		tr := newTranslator(t, mtus(sides.six, sides.four))
		for _, mtu := range []int{
			1, 19, 20, 68, 576, 1259, 1260, 1261, 1279, 1280, 1379, 1380, 1400, 1479, 1480, 1481, 1500, 8979, 8980, 8981, 65515, 65516, 65535,
		} {
			want := max(1280, min(mtu+20, sides.six, sides.four+20))
			for _, beside := range []uint32{0, 0xff000000} { // the first octet of the word is unused
				if got := report(tr, 1500, beside|uint32(mtu)); got != uint32(want) {
					t.Errorf("MTU %d between %d of IPv6 and %d of IPv4 became %d, want %d", mtu, sides.six, sides.four, got, want)
				}
			}
		}
	}
	// Where an old router tells no MTU, it is the largest plateau below the length of the packet (RFC 1191, 7.1).
	tr := newTranslator(t, mtus(65535, 65535))
	for total, mtu := range map[int]uint32{
		65535: 32000, 32001: 32000, 32000: 17914, 17915: 17914, 17914: 8166, 8167: 8166, 8166: 4352, 4353: 4352, 4352: 2002,
		2003: 2002, 2002: 1492, 1500: 1492, 1493: 1492,
		1492: 1260, 1400: 1260, 1281: 1260, 1007: 1260, 576: 1260, 61: 1260, // no plateau is left that IPv6 could go down to
	} {
		if got := report(tr, total, 0); got != mtu+20 {
			t.Errorf("no MTU for a packet of %d octets became %d, want %d", total, got, mtu+20)
		}
	}
	for _, c := range []struct {
		six, four, total int
		want             uint32
	}{
		{1500, 1500, 1500, 1500}, {1500, 1500, 65535, 1500}, {9000, 1500, 9000, 1520},
		{1280, 1500, 1500, 1280}, {9000, 1500, 1500, 1512}, {1500, 1500, 1400, 1280},
	} {
		if got := report(newTranslator(t, mtus(c.six, c.four)), c.total, 0); got != c.want {
			t.Errorf("no MTU between %d of IPv6 and %d of IPv4 for %d octets became %d, want %d", c.six, c.four, c.total, got, c.want)
		}
	}
}

// packetTooBig is what the row of 2/0 says besides: the MTU.
func packetTooBig(t *testing.T) {
	whole, _ := errors64.quoted(t, quotedUDP, 1392)
	fragment := cut(t, whole, 0x12345678, 1240)[0]
	atomic := build(t, &layers.IPv6{SrcIP: client6, DstIP: peer6}, &layers.IPv6Fragment{Identification: 7}, &layers.UDP{}, data(1384))
	for _, quoted := range []struct {
		packet []byte
		less   int // IPv4 headers are 20 octets shorter; an IPv6 fragment has 8 more
	}{{whole, 20}, {whole[:48], 20}, {fragment, 28}, {atomic, 28}} {
		for _, sides := range bothMTUs {
			tr := newTranslator(t, mtus(sides.six, sides.four))
			for _, mtu := range []int{
				1280, 1281, 1288, 1300, 1399, 1400, 1401, 1420, 1499, 1500, 1501, 1520, 9000, 9020, 65535, // and what is more than 16 bits:
				65536, 65556, 65536 + 1280, 65536 + 1400, 1 << 24, 1<<24 | 1400, 1 << 31, 1<<31 | 1400, math.MaxUint32 - 19, math.MaxUint32,
			} {
				want := min(mtu-quoted.less, sides.six-quoted.less, sides.four)
				m := forward(t, tr, errors64.message(t, 2, 0, uint32(mtu), quoted.packet[:min(len(quoted.packet), 1232)])).icmp(t)
				if m.is(t, 3, 4, m.word); m.word != uint32(want) {
					t.Errorf("MTU %d less %d between %d and %d became %d, want %d", mtu, quoted.less, sides.six, sides.four, m.word, want)
				}
			}
			for _, mtu := range []uint32{0, 1, 68, 1279} {
				dropped(t, tr, errors64.message(t, 2, 0, mtu, quoted.packet[:48]), clat.DropPTBTooSmall) // RFC 8201, 4
			}
		}
	}
}
