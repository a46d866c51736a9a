package datapath

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"sync/atomic"
	"time"
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

	// Heard says that a packet was received since the last call. All else is zero then.
	Heard bool

	// Since is when the first packet was sent after the last one was received, or after Renew. Zero: none was.
	Since time.Time

	// Destinations is to how many packets were sent since then. It counts hashes, of which there are 64: fewer than there were, where two
	// have the same.
	Destinations int
}

// Health says what was seen up to now of some of our IPv4 addresses, which are given as the bits of Used: of them all together, so that what one
// received is a sign of health for all. It is for one caller. Its times are those of the calls that saw a packet first: whoever wants it to the
// second calls it every second. A packet that was sent between the same two calls as one was received does not count.
//
// Sent is what was translated to IPv6 and not refused by the device or for want of a next hop. Received is what was translated to IPv4, and
// echo replies to probes, but no ICMP error that came from elsewhere than behind a NAT64 prefix: that a router on this side of the NAT64 has
// no way is no sign of health.
func (e *Engine) Health(addresses uint8) Health {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	var h Health
	var last time.Time
	all := uint64(0)
	for i := range e.watch {
		if addresses>>i&1 == 0 {
			continue
		}
		w := &e.watch[i]
		sent, heard, destinations := e.signs(i)
		h.Heard = h.Heard || heard != w.heard
		if sent > w.sent {
			if w.sent, w.last = sent, now; w.first.IsZero() {
				w.first = now
			}
		}
		if w.first.IsZero() {
			continue
		}
		if h.Since.IsZero() || w.first.Before(h.Since) {
			h.Since = w.first
		}
		if w.last.After(last) {
			last = w.last
		}
		all |= destinations
	}
	if h.Heard {
		e.watchAnew(addresses)
		return Health{Heard: true}
	}
	h.Destinations = bits.OnesCount64(all)
	h.Suspect = h.Destinations >= suspectDestinations && last.Sub(h.Since) >= suspectAfter
	return h
}

// Renew has Health of some of our IPv4 addresses, given as the bits of Used, begin anew: they go by another way now, of which what was sent the old
// one says nothing.
func (e *Engine) Renew(addresses uint8) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.watchAnew(addresses)
}

// watch is what Health remembers from call to call, since a packet was received, of each bit of Used.
type watch [numSigns]struct {
	heard, sent uint64    // the engine's, when last looked at
	first, last time.Time // when packets were sent; zero: none was
}

// watchAnew forgets what was sent. The caller holds e.mu.
func (e *Engine) watchAnew(addresses uint8) {
	for i := range e.watch {
		if addresses>>i&1 == 0 {
			continue
		}
		for _, w := range e.workers {
			w.signs.of[i].destinations.Store(0)
		}
		w := &e.watch[i]
		w.first, w.last = time.Time{}, time.Time{}
		w.sent, w.heard, _ = e.signs(i)
	}
}

// signs are those of all workers, of a bit of Used. The caller holds e.mu.
func (e *Engine) signs(i int) (sent, heard, destinations uint64) {
	refused := uint64(0)
	for _, w := range e.workers {
		s := &w.signs.of[i]
		heard += s.heard.Load()
		destinations |= s.destinations.Load()
		sent += s.sent.Load()
		refused += s.refused.Load()
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

// numSigns is how many of our IPv4 addresses can be told apart.
const numSigns = 8

// signs of health and of use, of one worker.
type signs struct {
	of   [numSigns]sign // of each bit of Used
	used atomic.Uint32  // as Used says
}

// sign is what was seen of those of our addresses that have one bit.
type sign struct {
	sent, refused atomic.Uint64 // packets, as Health says
	heard         atomic.Uint64 // batches that had a packet that was received
	destinations  atomic.Uint64 // hashes of where packets were sent, as bits
}

// seen are the signs of one batch.
type seen struct {
	sent         [numSigns]uint32 // packets
	destinations [numSigns]uint64
	heard, used  uint8
}

// out takes in a packet of one of our addresses, given as a bit, that becomes p.
func (s *seen) out(address uint8, p []byte) {
	i := bits.TrailingZeros8(address) % numSigns
	s.sent[i]++
	s.destinations[i] |= destination(p)
	s.used |= address
}

// in takes in p, which the translator made of an IPv6 packet from src.
func (s *seen) in(p []byte, src *[16]byte) {
	address := use(p, lastOfDestination)
	s.used |= address
	if address&^s.heard != 0 && isHeard(p, src) {
		s.heard |= address
	}
}

// add is called once a batch, and writes only what is new.
func (s *signs) add(b *seen) {
	for rest := b.used | b.heard; rest != 0; rest &= rest - 1 {
		i := bits.TrailingZeros8(rest)
		to := &s.of[i]
		if b.sent[i] > 0 {
			to.sent.Add(uint64(b.sent[i]))
		}
		if b.heard>>i&1 != 0 {
			to.heard.Add(1)
		}
		if b.destinations[i]&^to.destinations.Load() != 0 {
			to.destinations.Or(b.destinations[i])
		}
	}
	if used := uint32(b.used); used&^s.used.Load() != 0 {
		s.used.Or(used)
	}
}

// refuse takes in that an IPv6 packet of one of our addresses, given as a bit, was not sent; 0: it was of none.
func (s *signs) refuse(address uint8) {
	if address != 0 {
		s.of[bits.TrailingZeros8(address)].refused.Add(1)
	}
}

// Where the last octet of an address is in an IPv4 header.
const (
	lastOfSource      = 15
	lastOfDestination = 19
)

// use is the bit of Used for the address of p, of which nothing is certain, whose last octet is there; 0 where p is not IPv4.
func use(p []byte, last int) uint8 {
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
