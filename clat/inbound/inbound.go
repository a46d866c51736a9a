// Package inbound lets in what the host asked for, by a memory of ports instead of flows.
//
// It is no firewall: it keeps what translates packets from making reachable what was not reachable before, and leaves the rest to the rules
// that the host has for IPv4.
package inbound

import (
	"encoding/binary"
	"sync/atomic"
)

// Filter is the memory. All workers share one: its methods take no lock and allocate nothing, and but for Turn any goroutine may call them.
//
// Ports are local ones, whoever is at the other end: a socket hears from everybody while it is in use, as it does behind a NAT with an
// endpoint-independent filter (RFC 4787, 5).
type Filter struct {
	udp     [2][1 << 16 / 64]atomic.Uint64 // UDP ports: those that sent since the last Turn, and those that did in the time before it
	current atomic.Uint32                  // which of the two is since the last Turn

	// Other protocols, for as long as the filter is. They do not age: most are tunnels (ESP, GRE, IPv6), which may be silent for hours, have
	// no port that tells one from another, and stop working if it is the other end that breaks the silence.
	protocols [256 / 64]atomic.Uint64
}

// New returns a Filter that has seen nothing.
func New() *Filter { return new(Filter) }

// Opening is what a packet opens once the host has sent it: a UDP port, or a protocol. The zero Opening is nothing.
type Opening struct {
	proto uint8
	port  uint16
}

// Opens says what p opens, an IPv4 packet of the host, whole, a fragment or a super-packet. It may have any length and content.
func Opens(p []byte) (o Opening) {
	h, ok := read(p)
	switch {
	case !ok || h.proto == protoTCP || h.proto == protoICMP: // their packets say themselves whether they answer
	case h.proto != protoUDP:
		o.proto = h.proto
	case h.offset == 0 && len(h.transport) >= lenUDP:
		o = Opening{protoUDP, binary.BigEndian.Uint16(h.transport)}
	}
	return o
}

// Open notes that the host has sent a packet that opens o.
func (f *Filter) Open(o Opening) {
	switch o.proto {
	case 0:
	case protoUDP:
		set(f.udp[f.current.Load()&1][:], uint(o.port))
	default:
		set(f.protocols[:], uint(o.proto))
	}
}

// Allows says whether p may come in: an IPv4 packet for the host, whole, a fragment or a super-packet. It may have any length and content.
//
// TCP may unless it begins a connection. UDP may to a port that sent within the last two times between Turns. Of ICMP, echo replies may, and
// errors, whose quoted packet the translator has checked to be ours. Other protocols may that the host has sent.
//
// Fragments but the first may: without the first, which is asked for like a whole packet, they become nothing.
func (f *Filter) Allows(p []byte) bool {
	h, ok := read(p)
	if !ok {
		return false
	}
	switch h.proto {
	case protoTCP:
		const flags, syn, ack = 13, 0x02, 0x10
		if h.offset != 0 {
			return h.offset != 1 // where it could overwrite the flags of the first (RFC 3128)
		}
		return len(h.transport) > flags && h.transport[flags]&(syn|ack) != syn
	case protoUDP:
		if h.offset != 0 {
			return true
		}
		if len(h.transport) < lenUDP {
			return false
		}
		port := uint(binary.BigEndian.Uint16(h.transport[2:]))
		return has(f.udp[0][:], port) || has(f.udp[1][:], port)
	case protoICMP:
		return h.offset != 0 || len(h.transport) > 0 && isAnswer(h.transport[0])
	}
	return has(f.protocols[:], uint(h.proto))
}

// isAnswer is for ICMPv4 types that nobody gets who has sent nothing (RFC 792). Redirects are not among them: they are of the own link only.
func isAnswer(typ uint8) bool {
	const echoReply, unreachable, timeExceeded, parameterProblem = 0, 3, 11, 12
	return typ == echoReply || typ == unreachable || typ == timeExceeded || typ == parameterProblem
}

// Turn forgets the UDP ports that have sent nothing since the last Turn but one. Every five minutes (RFC 4787, 4.3), it makes a port stay open
// for five to ten. One goroutine calls it.
func (f *Filter) Turn() {
	next := f.current.Load()&1 ^ 1
	for i := range f.udp[next] {
		f.udp[next][i].Store(0)
	}
	f.current.Store(next)
}

func has(words []atomic.Uint64, n uint) bool { return words[n/64].Load()>>(n%64)&1 != 0 }

// set looks first: what is known already is not written again, so that workers on other processors keep their copy of the word.
func set(words []atomic.Uint64, n uint) {
	if !has(words, n) {
		words[n/64].Or(1 << (n % 64))
	}
}
