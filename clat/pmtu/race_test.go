package pmtu

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// TestReadersNeverSeeAnother has a writer that pushes destinations out of a full set all the time, while readers ask for them. The MTU
// tells whose it is. The destinations are made of few halves, so that half of one with half of another is asked for as well.
func TestReadersNeverSeeAnother(t *testing.T) {
	const halves = 3
	mtu := func(hi, lo uint64) uint16 { return uint16(1300 + 16*(halves*hi+lo)) }
	// Not aligned as in a table: that the parts of an entry are in two cache lines gives a writer the time to come between.
	var own struct {
		_ [7]uint64
		set
	}
	var done atomic.Bool
	var writer, readers sync.WaitGroup
	writer.Go(func() {
		for now := uint32(0); !done.Load(); now++ {
			hi, lo := uint64(now)%halves, uint64(now)/halves%halves
			own.learn(hi, lo, mtu(hi, lo)-uint16(now%8), now)
			if now%64 == 0 {
				own.expire(now + lifetime - 1)
			}
		}
	})
	for range 2 {
		readers.Go(func() {
			hits := 0
			for n := uint64(0); n < 1000000 || hits == 0; n++ {
				hi, lo := n%halves, n/halves%halves
				got, known := own.mtu(hi, lo)
				if !known {
					continue
				}
				hits++
				if most := int(mtu(hi, lo)); got > most || got < most-7 {
					t.Errorf("%d/%d has %d, want %d or a little less", hi, lo, got, most)
					return
				}
			}
		})
	}
	readers.Wait()
	done.Store(true)
	writer.Wait()
}

// TestConcurrentUse is all methods at once, from the first Learn to a cache that is empty again.
func TestConcurrentUse(t *testing.T) {
	const destinations = 20000
	var c Cache
	var writers, readers sync.WaitGroup
	var done atomic.Bool
	for i := range uint64(2) {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(i, 0))
			for !done.Load() {
				n := r.IntN(destinations)
				if mtu, known := c.MTU(*nth(n)); known && mtu != 1280+n || !known && mtu != 0 {
					t.Errorf("%d has %d, %v", n, mtu, known)
					return
				}
			}
		})
		writers.Go(func() {
			r := rand.New(rand.NewPCG(i, 1))
			for now := range uint32(5 * destinations) {
				n := r.IntN(destinations)
				c.Learn(nth(n), 1280+n, now/100)
				if now%1000 == 0 {
					c.Expire(now/100 + lifetime/2)
					if n := c.Len(); n > sets*ways {
						t.Errorf("%d destinations", n)
					}
				}
			}
		})
	}
	writers.Wait()
	done.Store(true)
	readers.Wait()
	c.Expire(destinations + lifetime)
	if c.Len() != 0 || c.known.Load() != nil {
		t.Errorf("%d destinations are left", c.Len())
	}
}

// What readers rely on: an entry that has left a state with an MTU never comes back to it, so that the state tells whose the MTU is.
func TestStateIsNeverSeenAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(0, 0))
	var s set
	var last [ways]uint64
	seen := map[[2]uint64]bool{}
	for now := range uint32(20000) {
		if r.UintN(4) == 0 {
			s.expire(now + lifetime - 2)
		} else {
			s.learn(0, r.Uint64N(ways+2), 1400-uint16(r.UintN(2)), now)
		}
		for i := range s {
			state := s[i].state.Load()
			if state == last[i] || s[i].mtu() == 0 {
				continue
			}
			if last[i] = state; seen[[2]uint64{uint64(i), state}] {
				t.Fatalf("second %d: entry %d has the state %#x again", now, i, state)
			}
			seen[[2]uint64{uint64(i), state}] = true
		}
	}
}
