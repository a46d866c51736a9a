package differential

import (
	"encoding/binary"
	"slices"
)

// allowQuotes are about the packets that ICMP errors quote. What TAYGA drops because of its quote, it is given with another quote, of
// which its answer has as much as of the original one.
var allowQuotes = []entry{
	{
		name:   "a quote may end within the TCP header, or cut a fragment anywhere",
		clause: "RFC 7915, 4.3 and 5.3; RFC 792; RFC 4443, 2.4 (c)",
		as: quoteAs(func(quote []byte, inner view) []byte {
			n := takenQuote(inner, len(quote)-inner.head)
			return append(slices.Clone(quote), make([]byte, 24)...)[:inner.head+n]
		}),
		then: quoteThen(func(x *trial, quote []byte, inner, original view, octets int) []byte {
			n := octets - original.head
			taken := takenQuote(original, n)
			at, _, _, _ := isError(x.in[0])
			data := x.in[0][at+original.head:][:n]
			switch {
			case taken > n && n < 18: // what there is of the checksum alone cannot be changed
				return append(slices.Clone(quote[:inner.head]), data...)
			case taken > n:
				return quote[:inner.head+n]
			case len(quote)-inner.head == taken: // nor was it cut because it is long
				return append(slices.Clone(quote), data[taken:]...)
			}
			return quote
		}),
	},
	{
		name:   "an error about an echo reply is translated",
		clause: "RFC 7915, 4.3 and 5.3, which stop at ICMP errors",
		as: quoteAs(func(quote []byte, inner view) []byte {
			if inner.isICMP() && quote[inner.head] == echoes(inner.six)[1] {
				return with(quote, inner.head, echoes(inner.six)[0])
			}
			return quote
		}),
		then: quoteThen(func(x *trial, quote []byte, inner, original view, _ int) []byte {
			in, _, _, _ := isError(x.in[0])
			if !inner.isICMP() || !original.isICMP() || x.in[0][in+original.head] != echoes(original.six)[1] {
				return quote
			}
			from, to := echoes(original.six), echoes(inner.six)
			quote = with(quote, inner.head, to[1])
			m := quote[inner.head:]
			checksum := changed(binary.BigEndian.Uint16(m[2:]), []byte{to[0], m[1]}, []byte{from[0], m[1]})
			binary.BigEndian.PutUint16(m[2:], changed(checksum, []byte{from[1], m[1]}, []byte{to[1], m[1]}))
			return quote
		}),
	},
	{
		name:   "an error about UDP without a checksum is translated, and the quote has none",
		clause: "RFC 7915, 4.3 and 5.3; RFC 768",
		as: quoteAs(func(quote []byte, inner view) []byte {
			if isZeroUDP(quote, inner) {
				return with(quote, inner.head+6, 0x12, 0x34)
			}
			return quote
		}),
		then: quoteThen(func(x *trial, quote []byte, inner, original view, _ int) []byte {
			in, end, _, _ := isError(x.in[0])
			if isZeroUDP(x.in[0][in:end], original) {
				return with(quote, inner.head+6, 0, 0)
			}
			return quote
		}),
	},
	{
		name:   "the checksums of quoted DCCP and UDP-Lite cover addresses as well",
		clause: "RFC 7915, 4.3, 4.5, 5.3 and 5.5",
		then: quoteThen(func(x *trial, quote []byte, inner, original view, _ int) []byte {
			if original.offset > 0 {
				return quote
			}
			return readdressed(quote, inner.head, original, inner)
		}),
	},
	{
		name:   "a quoted fragment gets a Fragment Header",
		clause: "RFC 7915, 4.1 and 4.3",
		then: quoteThen(func(x *trial, quote []byte, inner, original view, _ int) []byte {
			if original.six || !original.isFragment() {
				return quote
			}
			in, _, _, _ := isError(x.in[0])
			word := uint16(original.offset)
			if original.mf {
				word |= 1
			}
			h := append([]byte{quote[6], 0, byte(word >> 8), byte(word), 0, 0}, x.in[0][in+4:in+6]...)
			quote = with(quote, 6, fragmentHeader)
			binary.BigEndian.PutUint16(quote[4:], binary.BigEndian.Uint16(quote[4:])+8)
			quote = slices.Concat(quote[:40], h, quote[40:])
			return quote[:min(len(quote), 1280-48)]
		}),
	},
	{
		name:   "a quoted packet has DF where it is longer than 1260 octets",
		clause: "RFC 7915, 5.1 and 5.3",
		then: quoteThen(func(x *trial, quote []byte, inner, original view, _ int) []byte {
			if inner.six || original.fragment > 0 || inner.total > 1260 {
				return quote
			}
			quote = with(quote, 6, 0)
			seal4(quote[:20])
			return quote
		}),
	},
}

// quoteAs changes what an ICMP error quotes, and the length attribute.
func quoteAs(f func(quote []byte, inner view) []byte) func(*trial, [][]byte) [][]byte {
	return single(func(x *trial, in []byte) []byte {
		at, end, inner, ok := isError(in)
		if !ok {
			return in
		}
		quote := f(in[at:end], inner)
		p := slices.Concat(in[:at], quote, in[end:])
		if end < len(in) && !inner.six { // that of IPv6 is in units which need no padding
			p[at-3] += byte((len(quote) - (end - at)) / 4)
		}
		return sealed(p)
	})
}

// quoteThen changes what a translated ICMP error quotes: all that it has behind its head, since TAYGA passes on nothing else. original
// and octets are the headers and the length of the quote that came in.
func quoteThen(f func(x *trial, quote []byte, inner, original view, octets int) []byte) func(*trial, [][]byte, [][]byte) [][]byte {
	return each(func(x *trial, _, out []byte, _ int) []byte {
		in, inEnd, original, ok := isError(x.in[0])
		if !ok || isOwn(out) {
			return out
		}
		at, end, inner, ok := isError(out)
		if !ok {
			return out
		}
		return sealed(slices.Concat(out[:at], f(x, out[at:end], inner, original, inEnd-in)))
	})
}

// takenQuote is how many octets behind the quoted headers TAYGA takes, of n: all of the TCP header, and of a fragment that others follow
// a multiple of 8.
func takenQuote(inner view, n int) int {
	cut := inner.mf && n < inner.total-inner.head
	switch {
	case inner.protocol == tcp && inner.offset == 0 && cut && n < 24:
		return 24
	case inner.protocol == tcp && inner.offset == 0 && n < 20:
		return 20
	case cut:
		return n &^ 7
	}
	return n
}

// echoes are the types of echo request and reply.
func echoes(six bool) [2]byte {
	if six {
		return [2]byte{128, 129}
	}
	return [2]byte{8, 0}
}
