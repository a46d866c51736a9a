package siit

import (
	"uclat/clat"
	"uclat/clat/frame"
)

const (
	// maxOut is the most frames that one packet becomes: a UDP super-packet whose datagrams are one octet too long for the least MTU
	// of IPv6, so that each leaves in two pieces. A single packet becomes 54 IPv6 packets at most; of one that was put together here and
	// would become more IPv4 packets, nothing is sent.
	maxOut = 2 * (65507/(clat.MinMTU6-len6-lenUDP+1) + 1)

	// spareLen is what the frames made of one packet take at most: the payload twice, where the packet itself was put together in one, and
	// for each piece, and that one, its headers and its room.
	spareLen = 2*65535 + (maxOut+1)*(len6+lenFragment+lenUDP+frame.Headroom+frame.Tailroom)

	// maxLearned is how many Packet Too Big messages are kept between two Resets.
	maxLearned = 64
)

// PathMTU knows the MTU of paths, in octets, by the IPv6 address where they end; false where nobody told it.
type PathMTU interface {
	MTU(dst [16]byte) (int, bool)
}

// PTB is what a Packet Too Big said that came to a host of ours, about a packet which that host may have sent: to Dst, the path takes no
// more than MTU octets. The message itself may still have been dropped, where what it quotes has no counterpart: a fragment of ICMP.
type PTB struct {
	Dst [16]byte
	MTU int
}

// Scratch is what one worker's translations need beside the packet: never shared, never copied.
type Scratch struct {
	// Errors is how many ICMP errors may still be sent, and TooBig how many more may be of those without which path MTU discovery fails:
	// Packet Too Big and Fragmentation Needed, which no flood of packets that draw others may use up. The worker refills both from their
	// rate limits (RFC 4443, 2.4 (f)).
	Errors, TooBig int

	// PathMTU is asked for packets that would leave with more than 1280 octets of IPv6. nil: nothing is known of any path.
	PathMTU PathMTU

	// Learned is what Packet Too Big messages said since the last Reset.
	Learned []PTB

	// Fragment is the fragment for which Translate said Reassemble. It lives as long as the frame that it came in, and until the next one.
	Fragment frame.Fragment

	head    [len6 + lenFragment]byte // of Fragment
	lowest  int                      // octets: the size to which the packet at hand is fragmented
	hairpin bool                     // the packet at hand goes back to where it came from

	id    idGenerator
	out   [maxOut]*frame.Frame
	spare []frame.Frame // fragments and errors are built in these,
	used  int           // of which the first so many are taken,
	arena []byte        // over this memory,
	taken int           // of which the first so many octets are taken
}

// NewScratch returns a Scratch that is good for several packets between two Resets. The seed makes IPv4 identifications hard to
// guess (RFC 7739); it should be random.
func NewScratch(seed uint64) *Scratch {
	return &Scratch{
		id: newIDGenerator(seed), spare: make([]frame.Frame, 2*(maxOut+1)), arena: make([]byte, 2*spareLen), Learned: make([]PTB, 0, maxLearned),
	}
}

// Reset gives all spare frames back, and forgets what was learned: once what was returned has been written.
func (s *Scratch) Reset() { s.used, s.taken, s.Learned = 0, 0, s.Learned[:0] }

// Ready says whether there is room for one more packet, whatever becomes of it. If not: write, then Reset.
func (s *Scratch) Ready() bool {
	return len(s.spare)-s.used > maxOut && len(s.arena)-s.taken >= spareLen && len(s.Learned) < maxLearned
}

// Take is a spare frame of n octets with room around it. A caller may take one, for a packet that it puts together of fragments.
func (s *Scratch) Take(n int) *frame.Frame {
	size := frame.Headroom + n + frame.Tailroom
	buf := s.arena[s.taken : s.taken+size : s.taken+size]
	f := &s.spare[s.used]
	s.used++
	s.taken += size
	f.Wrap(buf, frame.Headroom, n)
	return f
}

// mayReply says whether the budget has room for an error for reason, and spend takes it from there.
func (s *Scratch) mayReply(reason clat.DropReason) bool {
	return s.Errors > 0 || reason == clat.DropTooBig && s.TooBig > 0
}

func (s *Scratch) spend() {
	if s.Errors > 0 {
		s.Errors--
	} else {
		s.TooBig--
	}
}

func (s *Scratch) one(v Verdict, f *frame.Frame) Result {
	s.out[0] = f
	return Result{Verdict: v, Out: s.out[:1]}
}

// idGenerator makes IPv4 identifications: a permutation of all 65536 values that depends on a secret, so that none of one worker comes
// again soon (RFC 6864, 4.3) and the next cannot be told from the last (RFC 7739).
type idGenerator struct {
	key [4]uint8
	n   uint16
}

func newIDGenerator(seed uint64) idGenerator {
	// The counter starts anywhere, so that a restart does not repeat what was just sent.
	return idGenerator{key: [4]uint8{uint8(seed), uint8(seed >> 8), uint8(seed >> 16), uint8(seed >> 24)}, n: uint16(seed >> 32)}
}

// next returns the next identification: four Feistel rounds over the halves of a counter.
func (g *idGenerator) next() uint16 {
	l, r := uint8(g.n>>8), uint8(g.n)
	g.n++
	for _, k := range g.key {
		x := (r ^ k) * 0x9d
		x ^= x >> 3
		x *= 0xb5
		l, r = r, l^x^x>>5
	}
	return uint16(l)<<8 | uint16(r)
}
