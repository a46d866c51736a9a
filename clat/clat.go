// Package clat is the vocabulary of the translator: the two directions, the reasons for which a packet is dropped, and the
// counters of one worker. It knows only the standard library and does nothing beyond naming things.
package clat

import "sync/atomic"

// MinMTU6 is the least MTU that IPv6 allows (RFC 8200, 5), in octets.
const MinMTU6 = 1280

// Direction is one of the two ways through the translator.
type Direction uint8

const (
	To6 Direction = iota // IPv4 in, IPv6 out; written "46"
	To4                  // IPv6 in, IPv4 out; written "64"
	NumDirections
)

// String is the field's short form: "46" or "64".
func (d Direction) String() string {
	if d == To6 {
		return "46"
	}
	return "64"
}

// Counters belong to one worker, which alone writes them. Others add what they hold to Totals.
type Counters struct {
	Packets [NumDirections]atomic.Uint64 // packets (super-packets count once) read and forwarded, by the way they went in
	Bytes   [NumDirections]atomic.Uint64 // octets of those packets as they were read, IP header included
	Replies [NumDirections]atomic.Uint64 // ICMP errors and echo replies of our own, by the way of the packet they answer
	Drops   [NumDirections][NumDropReasons]atomic.Uint64
}

// Totals is a copy of Counters that does not change any more.
type Totals struct {
	Packets, Bytes, Replies [NumDirections]uint64
	Drops                   [NumDirections][NumDropReasons]uint64
}

// AddTo adds what c holds now to t.
func (c *Counters) AddTo(t *Totals) {
	for d := range NumDirections {
		t.Packets[d] += c.Packets[d].Load()
		t.Bytes[d] += c.Bytes[d].Load()
		t.Replies[d] += c.Replies[d].Load()
		for r := range NumDropReasons {
			t.Drops[d][r] += c.Drops[d][r].Load()
		}
	}
}
