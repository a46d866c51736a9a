package siit

import (
	"encoding/binary"
	"math"
)

// The tables of RFC 7915 for ICMP errors once more, written down from the RFC and not from the code under test.

// rfcCode is type and code of an ICMP message; of the keys, anyCode stands for all codes without a row of their own.
type rfcCode struct{ typ, code uint8 }

const anyCode = 255

var rfcErrors = map[int]map[rfcCode]rfcCode{
	4: { // 4.2
		{3, 0}: {1, 0}, {3, 1}: {1, 0}, {3, 5}: {1, 0}, {3, 6}: {1, 0}, {3, 7}: {1, 0}, {3, 8}: {1, 0}, {3, 11}: {1, 0}, {3, 12}: {1, 0},
		{3, 9}: {1, 1}, {3, 10}: {1, 1}, {3, 13}: {1, 1}, {3, 15}: {1, 1},
		{3, 3}: {1, 4}, {3, 2}: {4, 1}, {3, 4}: {2, 0},
		{11, anyCode}: {3, anyCode},
		{12, 0}:       {4, 0}, {12, 2}: {4, 0},
	},
	6: { // 5.2
		{1, 0}: {3, 1}, {1, 2}: {3, 1}, {1, 3}: {3, 1}, {1, 1}: {3, 10}, {1, 4}: {3, 3},
		{2, anyCode}: {3, 4},
		{3, anyCode}: {11, anyCode},
		{4, 0}:       {12, 0}, {4, 1}: {3, 2},
	},
}

// rfcPointers are offsets of header fields: figures 3 and 6. An address begins at its first octet.
var rfcPointers = map[int]map[uint32]uint32{
	4: {0: 0, 1: 1, 2: 4, 3: 4, 8: 7, 9: 6, 12: 8, 13: 8, 14: 8, 15: 8, 16: 24, 17: 24, 18: 24, 19: 24},
	6: func() map[uint32]uint32 {
		m := map[uint32]uint32{0: 0, 1: 1, 4: 2, 5: 2, 6: 9, 7: 8}
		for i := uint32(8); i < 24; i++ {
			m[i], m[i+16] = 12, 16
		}
		return m
	}(),
}

// rfcPlateaus are those of RFC 1191, 7.1.
var rfcPlateaus = []int{65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68}

// rfcError is the first 8 octets, with the checksum left out, that the ICMP error m about the packet inner gets in the other family;
// false where it gets none.
func rfcError(o Options, version int, m []byte, inner received) (want [8]byte, ok bool) {
	rows := rfcErrors[version]
	to, ok := rows[rfcCode{m[0], m[1]}]
	if !ok {
		to, ok = rows[rfcCode{m[0], anyCode}]
	}
	if !ok {
		return want, false
	}
	if to.code == anyCode {
		to.code = m[1]
	}
	want[0], want[1] = to.typ, to.code
	word := uint32(0)
	switch {
	case version == 4 && to == rfcCode{2, 0}:
		mtu := int(binary.BigEndian.Uint16(m[6:]))
		for i := 0; mtu == 0 && i < len(rfcPlateaus); i++ {
			if p := rfcPlateaus[i]; p < inner.total && p >= 1280 {
				mtu = p
			}
		}
		word = uint32(max(1280, min(mtu+20, o.MTU6, o.MTU4+20)))
	case version == 6 && to == rfcCode{3, 4}:
		mtu := binary.BigEndian.Uint32(m[4:])
		if mtu < 1280 { // RFC 8201, 4
			return want, false
		}
		less := 20
		if inner.fragmentHeader {
			less = 28
		}
		word = uint32(min(int(mtu)-less, o.MTU6-less, o.MTU4, math.MaxUint16))
	case version == 4 && to == rfcCode{4, 0}:
		word, ok = rfcPointers[4][uint32(m[4])]
	case version == 6 && to == rfcCode{12, 0}:
		word, ok = rfcPointers[6][binary.BigEndian.Uint32(m[4:])]
		word <<= 24
	case version == 4 && to == rfcCode{4, 1}:
		word = 6 // Next Header
	}
	binary.BigEndian.PutUint32(want[4:], word)
	return want, ok
}
