package frame

// Datagram is what the fragments of one datagram have in common, and no others (RFC 791, 3.2; RFC 8200, 4.5). The protocol is not part of
// it: only ICMP is put together.
type Datagram struct {
	Src, Dst [16]byte // an IPv4 address is in the first four octets
	ID       uint32
	Version  uint8 // of IP
}

// Fragment is one piece of a datagram.
type Fragment struct {
	Datagram
	Offset  int    // octets, of Payload in the datagram's payload; a multiple of 8
	More    bool   // another one follows. Then Payload is a multiple of 8 octets, and not empty
	Payload []byte // Offset and Payload together are at most 65515 octets
	Head    []byte // the header of the whole, but for its lengths, if Offset is 0; at most 48 octets
}
