package datapath

import (
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
// Sent is what was translated to IPv6 and not refused by the device or for want of a next hop. Received is what was translated to IPv4, but
// for ICMP errors: a router that says that it has no way is no sign of health.
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

// signs of health, of one worker.
type signs struct {
	heard        atomic.Uint64 // batches that had a packet which was translated to IPv4 and is no ICMP error
	destinations atomic.Uint64 // hashes of where packets were sent, as bits
}

// add is called once a batch, and writes only what is new.
func (s *signs) add(heard bool, destinations uint64) {
	if heard {
		s.heard.Add(1)
	}
	if destinations&^s.destinations.Load() != 0 {
		s.destinations.Or(destinations)
	}
}

// destination is the hash, as a bit, of where an IPv6 packet goes.
func destination(p []byte) uint64 {
	const odd = 0x9e3779b97f4a7c15 // 2^64 divided by the golden ratio
	dst := binary.BigEndian.Uint64(p[24:])*odd ^ binary.BigEndian.Uint64(p[32:])
	return 1 << (dst * odd >> 58)
}

// isHeard says whether p, which the translator made of an IPv6 packet, is a sign of health: neither an ICMP error, nor IPv6 again, which is
// for another host and came from no NAT64.
func isHeard(p []byte) bool {
	const version4, icmp, echoReply = 0x45, 1, 0 // what the translator makes has no options
	return p[0] == version4 && (p[9] != icmp || p[20] == echoReply)
}
