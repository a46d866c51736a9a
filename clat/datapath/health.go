package datapath

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"time"

	"uclat/clat"
)

// A prefix is suspect when packets went out for so long, to so many, and nothing came back.
const (
	suspectAfter        = 10 * time.Second
	suspectDestinations = 3
)

// Health is what traffic says of the way to the NAT64 and back, without a packet of our own.
type Health struct {
	// Suspect says that packets were sent to three destinations or more, the first and the last at least ten seconds apart, and that none was
	// received since the first.
	Suspect bool

	// Since is when the first packet was sent after the last one was received, or after Swap. Zero: none was.
	Since time.Time

	// Destinations is to how many packets were sent since then. It counts hashes, of which there are 64: fewer than there were, where two
	// have the same.
	Destinations int
}

// Health says what was seen up to now. Its times are those of the calls that saw a packet first: whoever wants it to the second calls it
// every second, and how often others do does not matter. A packet that was sent between the same two calls as one was received does not count.
//
// Sent is what was translated to IPv6 and not refused by the device or for want of a next hop. Received is what was translated to IPv4, and
// echo replies to probes, but no ICMP error that came from elsewhere than behind a NAT64 prefix: that a router on this side of the NAT64 has
// no way is no sign of health.
func (e *Engine) Health() Health {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	sent, heard, destinations := e.signs()
	if heard != e.watch.heard {
		e.watchAnew()
		return Health{}
	}
	if sent > e.watch.sent {
		if e.watch.sent, e.watch.last = sent, now; e.watch.first.IsZero() {
			e.watch.first = now
		}
	}
	if e.watch.first.IsZero() {
		return Health{}
	}
	h := Health{Since: e.watch.first, Destinations: bits.OnesCount64(destinations)}
	h.Suspect = h.Destinations >= suspectDestinations && e.watch.last.Sub(e.watch.first) >= suspectAfter
	return h
}

// watch is what Health remembers from call to call, since a packet was received.
type watch struct {
	heard, sent uint64    // the engine's, when last looked at
	first, last time.Time // when packets were sent; zero: none was
}

// watchAnew forgets what was sent. The caller holds e.mu.
func (e *Engine) watchAnew() {
	for _, w := range e.workers {
		w.signs.destinations.Store(0)
	}
	e.watch = watch{}
	e.watch.sent, e.watch.heard, _ = e.signs()
}

// signs are those of all workers. The caller holds e.mu.
func (e *Engine) signs() (sent, heard, destinations uint64) {
	refused := uint64(0)
	for _, w := range e.workers {
		heard += w.signs.heard.Load()
		destinations |= w.signs.destinations.Load()
		sent += w.counters.Packets[clat.To6].Load()
		refused += w.counters.Drops[clat.To6][clat.DropNextHop].Load() + w.counters.Drops[clat.To6][clat.DropWrite].Load()
	}
	return sent - min(sent, refused), heard, destinations // a packet may be refused in fragments
}

// Used says which of our IPv4 addresses packets were translated from or to since the last call, as bits: bit i is for those whose last octet
// is i modulo 8, so that those of a /29 can be told apart. Swap changes nothing of that.
func (e *Engine) Used() (addresses uint8) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, w := range e.workers {
		addresses |= uint8(w.signs.used.Swap(0))
	}
	return addresses
}

// signs of health and of use, of one worker.
type signs struct {
	heard        atomic.Uint64 // batches that had a packet that was received, as Health says
	destinations atomic.Uint64 // hashes of where packets were sent, as bits
	used         atomic.Uint32 // as Used says
}

// add is called once a batch, and writes only what is new.
func (s *signs) add(heard bool, destinations uint64, used uint32) {
	if heard {
		s.heard.Add(1)
	}
	if destinations&^s.destinations.Load() != 0 {
		s.destinations.Or(destinations)
	}
	if used&^s.used.Load() != 0 {
		s.used.Or(used)
	}
}

// Where the last octet of an address is in an IPv4 header.
const (
	lastOfSource      = 15
	lastOfDestination = 19
)

// use is the bit of Used for the address of p, of which nothing is certain, whose last octet is there; 0 where p is not IPv4.
func use(p []byte, last int) uint32 {
	if len(p) <= last || p[0]>>4 != 4 {
		return 0
	}
	return 1 << (p[last] & 7)
}

// destination is the hash, as a bit, of where an IPv6 packet goes.
func destination(p []byte) uint64 {
	const odd = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	dst := binary.BigEndian.Uint64(p[24:])*odd ^ binary.BigEndian.Uint64(p[32:])
	return 1 << (dst * odd >> 58)
}

// isHeard says whether p, which the translator made of an IPv6 packet from src, is a sign of health: neither an ICMP error of a host on this
// side of the NAT64, nor IPv6 again, which is for another host and came from no NAT64.
func isHeard(p []byte, src *[16]byte) bool {
	const version4, icmp, echoReply, echo = 0x45, 1, 0, 8 // what the translator makes has no options
	switch {
	case p[0] != version4:
		return false
	case p[9] != icmp || p[20] == echoReply || p[20] == echo:
		return true
	}
	return carries(src, p[12:16])
}

// carries says whether a has v4 where a NAT64 prefix, of whatever length, would have it (RFC 6052, 2.2): octet 8 is zero and not a part of it.
// The source of errors that have none of their own (siit.Options.UnmappedSource) stands there by a rare accident only.
func carries(a *[16]byte, v4 []byte) bool {
	octets := append(append(make([]byte, 0, 15), a[:8]...), a[9:]...)
	for _, at := range [...]int{4, 5, 6, 7, 8, 11} { // behind a /32, /40, /48, /56, /64 and /96
		if a[8] == 0 && bytes.Equal(octets[at:at+4], v4) {
			return true
		}
	}
	return false
}
