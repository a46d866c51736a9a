package conformance

import (
	"testing"

	"uclat/clat"
)

// What routers tell in an extension structure: the labels (RFC 4950) and the interface (RFC 5837) that a packet came with.
var (
	labelStack    = object(1, 1, 0x00, 0x01, 0x01, 0x40)
	interfaceInfo = object(2, 0x0c, 0x00, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00, 0x00, 198, 51, 100, 1)
)

// carries fails t unless the ICMP error p quotes want, with as many zeros behind it as there must be, and then has that structure.
func (p packet) carries(t testing.TB, want, structure []byte) {
	t.Helper()
	unit := 8
	if p.v4 != nil {
		unit = 4
	}
	quote, got := p.extended(t)
	same(t, "quoted packet", quote, padded(withIdentification(t, want, quote), unit))
	same(t, "extension structure", got, structure)
}

// extensible are the rows whose messages have a length attribute in both families: Destination Unreachable and Time Exceeded.
func (w errorWay) extensible() (rows []icmpRow) {
	if w == errors64 {
		for _, r := range icmp64 {
			if r.silence == clat.DropNone && (r.types[0] == 1 || r.types[0] == 3) {
				rows = append(rows, r)
			}
		}
		return rows
	}
	for _, r := range icmp46 {
		if r.silence == clat.DropNone && (r.typ == 1 || r.typ == 3) {
			rows = append(rows, r)
		}
	}
	return rows
}

// The extension structure behind the packet that an ICMP error quotes (RFC 4884).
func TestICMPExtensions(t *testing.T) {
	tr := newTranslator(t)
	ext := structure(labelStack, interfaceInfo)

	t.Run("XLAT-4884-1", func(t *testing.T) {
		for _, w := range errorWays {
			grown := w.toward - w.header
			before, after := w.quoted(t, quotedUDP, 3000)
			for _, r := range w.extensible() {
				for _, code := range r.codes {
					p := forward(t, tr, w.message(t, r.types[0], code, lengthAttribute(200, w.unit), before[:200], ext))
					p.carries(t, after[:200+grown], ext)
				}
			}
			for n := 128; n <= 1000; n += w.unit {
				p := forward(t, tr, w.timeExceededWith(t, before[:n], ext))
				p.carries(t, after[:n+grown], ext)
				m := p.icmp(t)
				m.is(t, m.typ, 0, lengthAttribute(max(128, (n+grown+w.toUnit-1)/w.toUnit*w.toUnit), w.toUnit)) // and zeros beside it
			}
			becomes := cut(t, after, 1, 400)
			for i, fragment := range cut(t, before, 1, 400) { // a Fragment header comes or goes, too
				p := forward(t, tr, w.timeExceededWith(t, fragment[:200], ext))
				p.carries(t, becomes[i][:200+grown/20*28], ext)
			}
		}
		// 32 words become 19 units: 128 octets, 148 with the larger header, 152 in all.
		before, _ := errors46.quoted(t, quotedUDP, 1000)
		forward(t, tr, errors46.message(t, 11, 0, 32<<16, before[:128], ext)).icmp(t).is(t, 3, 0, 19<<24)
		// An octet cannot say more than 1020 octets in IPv4.
		large := newTranslator(t, mtus(9000, 9000))
		before, after := errors64.quoted(t, quotedUDP, 3000)
		for _, n := range []int{1032, 1040, 1048, 1232, 2040} {
			p := forward(t, large, errors64.timeExceededWith(t, before[:n], ext))
			p.carries(t, after[:min(n-20, 1020)], ext)
		}
	})

	t.Run("XLAT-4884-2", func(t *testing.T) {
		for _, w := range errorWays {
			for n := range 300 {
				before, after := w.quoted(t, quotedUDP, n)
				forward(t, tr, w.timeExceededWith(t, padded(before, w.unit), ext)).carries(t, after, ext)
			}
		}
		// 16 units become 32 words: 128 octets, 108 with the smaller header, 128 with padding.
		before, after := errors64.quoted(t, quotedUDP, 1000)
		p := forward(t, tr, errors64.message(t, 3, 0, 16<<24, before[:128], ext))
		p.icmp(t).is(t, 11, 0, 32<<16)
		p.carries(t, after[:108], ext)
	})

	t.Run("XLAT-4884-3", func(t *testing.T) {
		for _, c := range []struct {
			typ, code uint8
			word      uint32
			to, code6 uint8
			word6     uint32
		}{
			{3, 2, 0, 4, 1, 6}, {3, 4, 1400, 2, 0, 1420}, {12, 0, 9 << 24, 4, 0, 6}, {12, 2, 16 << 24, 4, 0, 24},
		} {
			check := func(quote, want []byte) {
				t.Helper()
				p := forward(t, tr, errors46.message(t, c.typ, c.code, lengthAttribute(len(quote), 4)|c.word, quote, ext))
				p.icmp(t).is(t, c.to, c.code6, c.word6)
				p.quotes(t, want)
			}
			for n := 0; n < 300; n += 7 {
				before, after := errors46.quoted(t, quotedUDP, n)
				check(padded(before, 4), after)
			}
			before, after := errors46.quoted(t, quotedUDP, 1000)
			for n := 128; n <= 1000; n += 4 {
				check(before[:n], after[:n+20])
			}
		}
		// What is a length in others is the MTU or the Pointer in these, and all that follows is the packet.
		before, after := errors64.quoted(t, quotedUDP, 1000)
		for _, c := range []struct {
			typ, code uint8
			word      uint32
			to, code4 uint8
			word4     uint32
		}{
			{2, 0, 1400, 3, 4, 1380}, {2, 0, 6<<24 | 1400, 3, 4, 1480}, {2, 0, 16<<24 | 1400, 3, 4, 1480}, {2, 0, 255 << 24, 3, 4, 1480},
			{4, 0, 6, 12, 0, 9 << 24}, {4, 1, 16<<24 | 40, 3, 2, 0}, {4, 1, 255 << 24, 3, 2, 0},
		} {
			p := forward(t, tr, errors64.message(t, c.typ, c.code, c.word, before[:128], ext))
			p.icmp(t).is(t, c.to, c.code4, c.word4)
			p.quotes(t, append(after[:108:108], ext...))
		}
	})

	t.Run("XLAT-4884-4", func(t *testing.T) {
		// The quote gives way first, down to 128 octets.
		before, after := errors46.quoted(t, quotedUDP, 3000)
		for _, n := range []int{128, 160, 400, 1000} {
			for size := 12; size <= 1460-n; size += 4 {
				ext := structure(object(1, 1, data(size-8)...))
				p := forward(t, tr, errors46.timeExceededWith(t, before[:n], ext))
				if len(p.octets) > 1280 {
					t.Errorf("%d octets with a structure of %d", len(p.octets), size)
				}
				room := (1280 - 48 - size) / 8 * 8
				if room >= 128 {
					p.carries(t, after[:min(n+20, room)], ext)
					continue
				}
				p.icmp(t).is(t, 3, 0, 0)
				p.quotes(t, after[:n+20])
			}
		}
		// The same where IPv4 takes less than what comes.
		before, after = errors64.quoted(t, quotedUDP, 3000)
		small := newTranslator(t, mtus(1500, 576))
		for size := 12; size <= 576; size += 4 {
			ext := structure(object(1, 1, data(size-8)...))
			p := forward(t, small, errors64.timeExceededWith(t, before[:200], ext))
			if room := 576 - 28 - size; room >= 128 {
				p.carries(t, after[:min(180, room)], ext)
				continue
			}
			p.icmp(t).is(t, 11, 0, 0)
			p.quotes(t, after[:180])
		}
	})

	t.Run("XLAT-4884-5", func(t *testing.T) {
		for _, w := range errorWays {
			before, after := w.quoted(t, quotedUDP, 1000)
			// Whatever is in a structure is for its reader, and so is a checksum that is wrong, or 0: there is none.
			for _, ext := range [][]byte{
				structure(), structure(object(255, 255)), structure(labelStack, interfaceInfo, object(77, 3, data(200)...)), structure(data(8)),
				edited(ext, 2, 0, 0), edited(ext, 3, ext[3]^1), edited(ext, 0, 0x2f, 0xff), edited(ext, 4, 0xff, 0xff), ext[:len(ext)-3],
			} {
				p := forward(t, tr, w.timeExceededWith(t, before[:200], ext))
				m := p.icmp(t)
				want := padded(withIdentification(t, after[:200+w.toward-w.header], m.body), w.toUnit)
				m.is(t, m.typ, 0, lengthAttribute(len(want), w.toUnit))
				same(t, "body", m.body, append(want, ext...))
			}
			// Some routers quote less than RFC 4884 demands, and say so.
			for n := w.header + 8; n < 128; n += w.unit {
				forward(t, tr, w.timeExceededWith(t, before[:n], ext)).carries(t, after[:n+w.toward-w.header], ext)
			}
		}
		before, after := errors46.quoted(t, quotedUDP, 1000)
		forward(t, tr, errors46.message(t, 11, 0, 10<<16, before[:40], ext)).carries(t, after[:60], ext)
	})

	t.Run("XLAT-4884-6", func(t *testing.T) {
		for _, w := range errorWays {
			grown := w.toward - w.header
			before, after := w.quoted(t, quotedUDP, 1000)
			plain := func(in []byte, want []byte) {
				t.Helper()
				p := forward(t, tr, in)
				m := p.icmp(t)
				m.is(t, m.typ, m.code, 0)
				p.quotes(t, want)
			}
			for _, r := range w.extensible() {
				message := func(length int, body ...[]byte) []byte {
					return w.message(t, r.types[0], r.codes[0], lengthAttribute(length, w.unit), body...)
				}
				for _, n := range []int{w.header + 8, 128, 200} {
					dropped(t, tr, message(n+w.unit, before[:n]), clat.DropICMPInner)
					dropped(t, tr, message(n+w.unit, before[:n], make([]byte, w.unit-1)), clat.DropICMPInner)
					dropped(t, tr, message(255*w.unit, before[:n], ext), clat.DropICMPInner)
					plain(message(n, before[:n]), after[:n+grown]) // all that there is, and no structure
					plain(message(0, before[:n+32]), after[:n+32+grown])
					// This is no structure. What else it may be is not told, and it is left out.
					for _, behind := range [][]byte{
						ext[:1], ext[:2], ext[:3], edited(ext, 0, 0x00), edited(ext, 0, 0x10), edited(ext, 0, 0x30), edited(ext, 0, 0xf0),
					} {
						plain(message(n, before[:n], behind), after[:n+grown])
					}
				}
				// A structure that the attribute does not tell of (RFC 4884, 5.5) may as well be more of the packet.
				plain(message(0, before[:128], ext), append(after[:128+grown:128+grown], ext...))
			}
		}
		before, _ := errors46.quoted(t, quotedUDP, 1000)
		for _, m := range []struct{ typ, code uint8 }{{3, 2}, {3, 4}, {12, 0}} {
			dropped(t, tr, errors46.message(t, m.typ, m.code, lengthAttribute(132, 4), before[:128]), clat.DropICMPInner)
		}
		// What is left without the structure is too little (RFC 7915, 4.3 and 5.3).
		dropped(t, tr, errors46.message(t, 11, 0, lengthAttribute(24, 4), before[:24], ext), clat.DropICMPInner)
		sent, _ := errors64.quoted(t, quotedUDP, 1000)
		dropped(t, tr, errors64.message(t, 3, 0, lengthAttribute(32, 8), sent[:32], ext), clat.DropICMPInner)
	})
}
