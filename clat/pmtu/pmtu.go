// Package pmtu is the path MTU cache of RFC 8201: how large an IPv6 packet may be on its way to a destination, where a Packet Too
// Big has told.
//
// It keeps one estimate for each destination, which stands for the path (RFC 8201, 5.2), and at most 4096 of them in 128 KiB. Readers
// are the packet workers: they take no lock and allocate nothing. Whether a Packet Too Big may be believed is decided before it
// comes here. There is no clock: now is a monotonic second, which may wrap around.
package pmtu

import (
	"encoding/binary"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"

	"uclat/clat"
)

const (
	lifetime = 600 // seconds that an estimate holds (RFC 8201, 4: at least 5 minutes, 10 are recommended)
	sets     = 1024
	ways     = 4
)

// Cache is ready for use as its zero value, by any number of goroutines. Its memory is allocated at the first Learn, and kept.
type Cache struct {
	known atomic.Pointer[table] // what readers see: nil while nothing is known

	mu    sync.Mutex // held by who writes, and over all that follows
	table *table
	len   int
}

// MTU is the path MTU to dst in octets, 1280 to 65535, if one was learned. It takes no lock; if it runs into the very moment in which
// this estimate changes, it may say that none is known, but it never returns that of another destination. While nothing is known at
// all, it costs one atomic load.
func (c *Cache) MTU(dst [16]byte) (mtu int, known bool) {
	t := c.known.Load()
	if t == nil {
		return 0, false
	}
	hi, lo := halves(&dst)
	return t.set(&dst).mtu(hi, lo)
}

// Learn takes what a checked Packet Too Big says of the path to dst: at most mtu octets. An estimate gets lower and never higher until
// Expire forgets it; the same value again makes it young again (RFC 8201, 4 and 5.3). Values below 1280 are ignored, as RFC 8201, 4
// demands, and those above 65535, which no packet reaches. Where there is no room, the estimate learned longest ago of the few that
// share dst's place goes: its path has to be discovered again, no more.
func (c *Cache) Learn(dst *[16]byte, mtu int, now uint32) {
	if mtu < clat.MinMTU6 || mtu > math.MaxUint16 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.table == nil {
		c.table = &table{seed: maphash.MakeSeed()}
	}
	hi, lo := halves(dst)
	if c.table.set(dst).learn(hi, lo, uint16(mtu), now) {
		c.len++
		c.known.Store(c.table)
	}
}

// Expire forgets what was learned 10 minutes ago or more, so that a path that got wider is found out (RFC 8201, 4). It is meant to be
// called about once a minute (RFC 8201, 5.3), and goes through the whole cache.
func (c *Cache) Expire(now uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.len == 0 {
		return
	}
	for i := range c.table.sets {
		c.len -= c.table.sets[i].expire(now)
	}
	if c.len == 0 {
		c.known.Store(nil)
	}
}

// Len is how many destinations have an estimate.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.len
}

type table struct {
	sets [sets]set    // first, so that a set is two cache lines
	seed maphash.Seed // nobody outside can choose destinations that share a set
}

func (t *table) set(dst *[16]byte) *set {
	return &t.sets[maphash.Bytes(t.seed, dst[:])%sets]
}

func halves(dst *[16]byte) (hi, lo uint64) {
	return binary.BigEndian.Uint64(dst[:8]), binary.BigEndian.Uint64(dst[8:])
}

// set is where a destination is kept, if it is kept: in any one of its entries.
type set [ways]entry

// entry is read without a lock, and written under the cache's. Its state holds the MTU in the low 16 bits, 0 for an entry that is free,
// and above them a number that grows with each new destination. So a state with an MTU is never seen again once it is gone, and
// before the address changes the MTU is 0. Who reads the same state before and after the address therefore has the address that
// this MTU was learned for.
type entry struct {
	state   atomic.Uint64
	hi, lo  atomic.Uint64 // the destination
	learned uint32        // second; readers do not look at it
}

const mtuBits = 16

func (e *entry) mtu() uint16 { return uint16(e.state.Load()) }

func (s *set) mtu(hi, lo uint64) (mtu int, known bool) {
	for i := range s {
		e := &s[i]
		state := e.state.Load()
		if uint16(state) != 0 && e.hi.Load() == hi && e.lo.Load() == lo && e.state.Load() == state {
			return int(uint16(state)), true
		}
	}
	return 0, false
}

// learn reports whether the set holds one destination more than before: not if it was there, or took the place of another.
func (s *set) learn(hi, lo uint64, mtu uint16, now uint32) (added bool) {
	place := &s[0] // free, or the one learned longest ago
	for i := range s {
		e := &s[i]
		if e.mtu() != 0 && e.hi.Load() == hi && e.lo.Load() == lo {
			e.lower(mtu, now)
			return false
		}
		if place.mtu() != 0 && (e.mtu() == 0 || since(place.learned, e.learned) > 0) {
			place = e
		}
	}
	added = place.mtu() == 0
	number := place.state.Load()>>mtuBits + 1
	place.state.Store(number << mtuBits)
	place.hi.Store(hi)
	place.lo.Store(lo)
	place.learned = now
	place.state.Store(number<<mtuBits | uint64(mtu))
	return added
}

func (e *entry) lower(mtu uint16, now uint32) {
	if mtu > e.mtu() {
		return
	}
	e.learned = now
	e.state.Store(e.state.Load()>>mtuBits<<mtuBits | uint64(mtu))
}

// expire returns how many destinations it forgot.
func (s *set) expire(now uint32) (forgotten int) {
	for i := range s {
		if e := &s[i]; e.mtu() != 0 && since(now, e.learned) >= lifetime {
			e.state.Store(e.state.Load() >> mtuBits << mtuBits)
			forgotten++
		}
	}
	return forgotten
}

// since is the seconds from then to now; negative if now is the earlier one, as writers do not look at the clock together.
func since(now, then uint32) int32 { return int32(now - then) }
