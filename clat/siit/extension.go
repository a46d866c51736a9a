package siit

import (
	"encoding/binary"

	"uclat/clat/checksum"
	"uclat/clat/frame"
)

// An ICMP error may carry an extension structure behind the packet that it quotes (RFC 4884). A length attribute in the ICMP header
// says where: in IPv4 the second octet of the second word, in units of 4 octets, in IPv6 the first, in units of 8. The quote is then
// padded with zeros to at least 128 octets. What is in the structure is not translated.
const (
	unit4, unit6 = 4, 8 // of the length attribute, in octets

	minExtended  = 128 // octets of a quote that has an extension structure behind it (RFC 4884, 3)
	lenExtension = 4   // header of an extension structure
	lenNodeID    = 24  // Node Identification object with one IPv6 address

	classNodeID = 5      // class of the object
	withAddress = 1 << 2 // its C-Type: an address follows,
	afIPv6      = 2      // of this family
)

// splitExtension divides what follows the header of an ICMP error. length is the length attribute in octets, 0: none. It returns false
// where that is more than there is. What comes behind the quote and is no extension structure is left out.
func splitExtension(p []byte, length int) (quote, ext []byte, ok bool) {
	switch {
	case length == 0:
		return p, nil, true
	case length > len(p):
		return nil, nil, false
	}
	quote, ext = p[:length], p[length:]
	if len(ext) < lenExtension || ext[0]>>4 != 2 {
		ext = nil
	}
	return quote, ext, true
}

// message is what an ICMP error has behind the headers that are written anew, and where it lies in the packet that came in.
type message struct {
	head  int       // octets of all headers to come: IP, ICMP, and those of the quoted packet
	quote int       // of these, the octets of the quoted packet
	at    int       // offset of data
	data  []byte    // what the quoted packet has behind its headers
	ext   []byte    // extension structure, nil: none
	node  *[16]byte // address for a Node Identification object, nil: none
}

// place makes f the new error, of at most limit octets: room for the headers, then data where it is, and behind it, at its new place,
// the extension structure. It returns the new length attribute, and false where f has no room.
//
// What must give way where limit does not allow for all: the end of the quote down to 128 octets, the Node Identification object, the
// extension structure (RFC 4884, 5.3).
func (m *message) place(f *frame.Frame, limit, unit int) (attribute uint32, ok bool) {
	if m.ext == nil && m.node == nil {
		return 0, f.Reshape(m.at-m.head, m.head+min(len(m.data), limit-m.head))
	}
	quote, node := 0, 0
	if m.node != nil && len(m.ext)%4 == 0 { // where objects are aligned as they should be
		node = lenNodeID
		if m.ext == nil {
			node += lenExtension
		}
		quote = m.extended(len(m.ext)+node, limit, unit)
	}
	if quote == 0 && m.ext != nil {
		node = 0
		quote = m.extended(len(m.ext), limit, unit)
	}
	if quote == 0 {
		m.ext, m.node = nil, nil
		return m.place(f, limit, unit)
	}
	data := min(len(m.data), quote-m.quote)
	behind := m.head - m.quote + quote // where the extension structure begins
	if !f.Reshape(m.at-m.head, behind+len(m.ext)+node) {
		return 0, false
	}
	p := f.Bytes()
	copy(p[behind:], m.ext) // before the padding, which may come to lie where it was
	clear(p[m.head+data : behind])
	if node > 0 {
		writeNodeID(p[behind:], len(m.ext), m.node)
	}
	return uint32(quote / unit), true
}

// extended is how many octets the quoted packet gets where an extension structure of size octets follows it: 128 or more, a multiple
// of unit, and no more than fits beside it or than the length attribute can say; 0 where that cannot be.
func (m *message) extended(size, limit, unit int) int {
	room := limit - (m.head - m.quote) - size
	n := min(max(m.quote+len(m.data), minExtended)+unit-1, room, 255*unit) &^ (unit - 1)
	if n < minExtended {
		return 0
	}
	return n
}

// writeNodeID writes a Node Identification object (draft-ietf-intarea-extended-icmp-nodeid: class 5, with an IPv6 address) behind the
// n octets of extension structure at the start of p, or a structure with only that where n is 0. A checksum that was wrong stays so.
func writeNodeID(p []byte, n int, node *[16]byte) {
	if n == 0 {
		const version = 2 << 12
		binary.BigEndian.PutUint16(p, version)
		binary.BigEndian.PutUint16(p[2:], ^uint16(version))
		n = lenExtension
	}
	o := p[n : n+lenNodeID]
	binary.BigEndian.PutUint64(o, lenNodeID<<48|classNodeID<<40|withAddress<<32|afIPv6<<16)
	copy(o[8:], node[:])
	if sum := binary.BigEndian.Uint16(p[2:]); sum != 0 { // 0: it has none
		sum = checksum.Update(sum, checksum.Sum(o))
		if sum == 0 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(p[2:], sum)
	}
}
