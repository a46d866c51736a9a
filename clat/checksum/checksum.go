// Package checksum is the Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//
// Sums are 16-bit ones' complement numbers in host order of a big-endian reading, not inverted. A header field holds the inverted
// sum, except for a partial checksum, which holds the sum of the pseudo-header as it is.
package checksum

import (
	"encoding/binary"
	"math/bits"
)

// Sum is the ones' complement sum of b; an odd last octet counts as the high half of a word.
func Sum(b []byte) uint16 {
	var sum, carry uint64
	for len(b) >= 32 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[8:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[16:]), carry)
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	// The rest counts as words of their own: where a 16-bit word stands in a larger one does not matter.
	if len(b) >= 4 {
		sum, carry = bits.Add64(sum, uint64(binary.BigEndian.Uint32(b)), carry)
		b = b[4:]
	}
	if len(b) >= 2 {
		sum, carry = bits.Add64(sum, uint64(binary.BigEndian.Uint16(b)), carry)
		b = b[2:]
	}
	if len(b) == 1 {
		sum, carry = bits.Add64(sum, uint64(b[0])<<8, carry)
	}
	sum, carry = bits.Add64(sum, 0, carry)
	return Fold(sum>>32 + sum&0xffffffff + carry)
}

// Fold brings a sum of 16-bit or 32-bit words down to 16 bits. sum is below 2^48.
func Fold(sum uint64) uint16 {
	sum = sum>>32 + sum&0xffffffff
	sum = sum>>16 + sum&0xffff
	sum = sum>>16 + sum&0xffff
	return uint16(sum>>16 + sum&0xffff)
}

// Add is the ones' complement sum of two sums.
func Add(a, b uint16) uint16 {
	s := uint32(a) + uint32(b)
	return uint16(s>>16 + s)
}

// Sub is a without b.
func Sub(a, b uint16) uint16 { return Add(a, ^b) }

// Update is a header field whose packet's sum changed by delta: HC' = ~(~HC + delta) (RFC 1624, eqn 3). A wrong checksum stays
// as wrong as it was.
func Update(field, delta uint16) uint16 { return ^Add(^field, delta) }

// Addr4 and Addr6 are the sums of an address.
func Addr4(a *[4]byte) uint16 { return Fold(uint64(binary.BigEndian.Uint32(a[:]))) }

// Addr6: see Addr4.
func Addr6(a *[16]byte) uint16 {
	hi, lo := binary.BigEndian.Uint64(a[:8]), binary.BigEndian.Uint64(a[8:])
	return Fold(hi>>32 + hi&0xffffffff + lo>>32 + lo&0xffffffff)
}

// Pseudo6 is the sum of an IPv6 pseudo-header (RFC 8200, 8.1) whose upper-layer packet has length octets.
func Pseudo6(src, dst *[16]byte, length uint32, nextHeader uint8) uint16 {
	return Fold(uint64(Addr6(src)) + uint64(Addr6(dst)) + uint64(length) + uint64(nextHeader))
}
