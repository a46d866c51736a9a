package reasm

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"uclat/clat"
	"uclat/clat/frame"
)

// TestOldestMakesRoom begins 65 datagrams: the oldest makes room, not the one of the source of the last, which has less than its share.
func TestOldestMakesRoom(t *testing.T) {
	d := &desk{Reassembler: New(product)}
	for s := range 64 {
		d.add(t, piece(from(s, 0), 0, 16, true))
	}
	d.add(t, piece(from(63, 1), 0, 16, true))
	if got := d.dropped(); got != "46 fragment-room 1" {
		t.Fatalf("dropped %q", got)
	}
	for _, key := range append([]frame.Datagram{from(63, 1)}, keys(1, 64)...) {
		if got := d.add(t, piece(key, 16, 20, false)); got != "whole" {
			t.Fatalf("%v: %s", key, got)
		}
	}
	if got := d.add(t, piece(from(0, 0), 16, 20, false)); got != "held" {
		t.Errorf("the one that made room: %s", got)
	}
}

// keys is one datagram of each source from first up to but without last.
func keys(first, last int) (all []frame.Datagram) {
	for s := first; s < last; s++ {
		all = append(all, from(s, 0))
	}
	return all
}

// TestOneSourceFloods has one source begin datagrams without end, beside 56 others that have one each: none of these is dropped.
func TestOneSourceFloods(t *testing.T) {
	d := &desk{Reassembler: New(product)}
	for s := range 56 {
		d.add(t, piece(from(s, 0), 0, 16, true))
	}
	for id := range 1000 {
		d.add(t, piece(from(99, id), 0, 16, true))
	}
	for s := range 56 {
		if got := d.add(t, piece(from(s, 0), 16, 20, false)); got != "whole" {
			t.Fatalf("source %d: %s", s, got)
		}
	}
	for id := 992; id < 1000; id++ {
		if got := d.add(t, piece(from(99, id), 16, 20, false)); got != "whole" {
			t.Fatalf("one of its last eight: %s", got)
		}
	}
	if got := d.dropped(); got != "46 fragment-room 992" {
		t.Errorf("dropped %q", got)
	}
}

// TestOneSourceFloodsFirst has one source take everything before others come: they find room at its cost, and keep it.
func TestOneSourceFloodsFirst(t *testing.T) {
	d := &desk{Reassembler: New(product)}
	id := 0
	flood := func() {
		for range 100 {
			d.add(t, piece(from(99, id), 0, 16, true))
			id++
		}
	}
	flood()
	for s := range 56 {
		d.add(t, piece(from(s, 0), 0, 16, true))
		flood()
	}
	for s := range 56 {
		if got := d.add(t, piece(from(s, 0), 16, 20, false)); got != "whole" {
			t.Fatalf("source %d: %s", s, got)
		}
	}
}

// TestPages lets pages run short rather than datagrams.
func TestPages(t *testing.T) {
	t.Run("the oldest goes", func(t *testing.T) {
		d := &desk{Reassembler: withRoom(64, 100)}
		for s := range 3 { // 32 pages each
			d.add(t, piece(from(s, 0), 8, 65512, true))
		}
		d.add(t, piece(from(3, 0), 8, 8*pageLen, true)) // 8 pages, 4 are free
		if got := d.dropped(); got != "46 fragment-room 1" || d.held[0].Src == from(0, 0).Src {
			t.Fatalf("dropped %q", got)
		}
		for _, s := range []int{1, 2} {
			d.add(t, piece(from(s, 0), 65512, 65515, false))
			if got := d.add(t, piece(from(s, 0), 0, 8, true)); got != "whole" {
				t.Errorf("source %d: %s", s, got)
			}
		}
	})
	t.Run("all others go, the one that grows never", func(t *testing.T) {
		d := &desk{Reassembler: withRoom(64, maxPages)}
		d.add(t, piece(from(0, 0), 0, 8, true))
		for s := 1; s < maxPages; s++ {
			d.add(t, piece(from(s, 0), 0, 8, true))
		}
		d.add(t, piece(from(0, 0), 8, 65512, true))
		if got := d.dropped(); got != fmt.Sprintf("46 fragment-room %d", maxPages-1) {
			t.Errorf("dropped %q", got)
		}
		if got := d.add(t, piece(from(0, 0), 65512, 65515, false)); got != "whole" {
			t.Errorf("the largest: %s", got)
		}
	})
	t.Run("what is bad has no pages to give", func(t *testing.T) {
		d := &desk{Reassembler: withRoom(64, maxPages)}
		d.add(t, piece(from(0, 0), 0, 16, true))
		d.add(t, piece(from(0, 0), 8, 24, true))
		d.add(t, piece(from(1, 0), 0, 65512, true))
		d.add(t, piece(from(2, 0), 0, 65512, true))
		if got := d.add(t, piece(from(0, 0), 0, 16, true)); got != "fragment-overlap" {
			t.Errorf("a fragment of what was bad: %s", got)
		}
		if got := d.dropped(); got != "46 fragment-overlap 1, 46 fragment-room 1" {
			t.Errorf("dropped %q", got)
		}
	})
	t.Run("a source at its share goes before older ones", func(t *testing.T) {
		d := &desk{Reassembler: withRoom(64, maxPages)}
		d.add(t, piece(from(0, 0), 0, 8, true))
		for id := range 7 {
			d.add(t, piece(from(1, id), 0, 8, true))
		}
		d.add(t, piece(from(1, 7), 0, 24*pageLen, true))
		if got := d.dropped(); got != "" || len(d.free) != 0 {
			t.Fatalf("dropped %q, %d pages free", got, len(d.free))
		}
		d.add(t, piece(from(1, 0), pageLen, 2*pageLen, true))
		if got := d.dropped(); got != "46 fragment-room 1" {
			t.Errorf("dropped %q", got)
		}
		for _, key := range []frame.Datagram{from(0, 0), from(1, 0), from(1, 2)} {
			if d.find(&key) == nil {
				t.Errorf("%d of source %d made room", key.ID, key.Src[2])
			}
		}
	})
}

// TestNoRoomForOne wants limits that take at least one datagram of the largest size.
func TestNoRoomForOne(t *testing.T) {
	for _, l := range []Limits{{}, {Datagrams: 64}, {Datagrams: -1, Octets: 1 << 20}, {Datagrams: 0, Octets: 1 << 20}, {Datagrams: 1000, Octets: 1 << 20}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v: no panic", l)
				}
			}()
			New(l)
		}()
	}
}

// TestMemory measures what is allocated in all, whatever comes, and that nothing is without the first fragment.
func TestMemory(t *testing.T) {
	const roundedUp = 32 << 10 // by the allocator, in all
	for _, l := range []Limits{product, {Datagrams: 1, Octets: 1 << 17}, {Datagrams: 1000, Octets: 8 << 20}} {
		var fragments []*frame.Fragment
		for id := range 2 * l.Datagrams {
			fragments = append(fragments, piece(from(id, id), 8, 65512, true))
		}
		var r *Reassembler
		if idle := allocated(func() { r = New(l); r.Expire(0) }); idle > 4<<10 {
			t.Errorf("%+v: %d octets without a fragment", l, idle)
		}
		full := allocated(func() {
			for _, fr := range fragments {
				r.Add(fr, 0, nil)
			}
		})
		if full > l.Octets+roundedUp || full < l.Octets-roundedUp {
			t.Errorf("%+v: %d octets", l, full)
		}
	}
}

// allocated is how many octets f allocates.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

func TestNoAllocation(t *testing.T) {
	r, take := New(product), reuse()
	r.Add(piece(four, 0, 8, true), 0, take)
	id := uint32(0)
	first, middle, last, bad := piece(four, 0, 1448, true), piece(four, 1448, 2896, true), piece(four, 2896, 4000, false), piece(four, 8, 16, true)
	if n := testing.AllocsPerRun(1000, func() {
		id++
		first.ID, middle.ID, last.ID, bad.ID = id, id, id, id
		for _, fr := range []*frame.Fragment{last, middle, first, first, middle, bad} {
			r.Add(fr, id/100, take)
		}
	}); n != 0 {
		t.Errorf("%v allocations for six fragments", n)
	}
}

// TestConcurrency lets goroutines share a Reassembler, two of which hold each other's other half.
func TestConcurrency(t *testing.T) {
	r := New(Limits{Datagrams: 256, Octets: 4 << 20})
	var wholes [4]int
	var g sync.WaitGroup
	for n := range wholes {
		g.Go(func() {
			for id := range 1000 {
				k := from(n/2, id)
				fr := piece(k, 0, 16, true)
				if n%2 == 1 {
					fr = piece(k, 16, 20, false)
				}
				if whole, _ := r.Add(fr, uint32(id/100), take); whole != nil {
					wholes[n]++
				}
				r.AddTo(new(clat.Totals))
				r.Expire(uint32(id / 100))
			}
		})
	}
	g.Wait()
	var totals clat.Totals
	r.AddTo(&totals)
	held, dropped := 0, 0
	for _, d := range r.held {
		held += d.kept
	}
	for _, n := range totals.Drops[clat.To6] {
		dropped += int(n)
	}
	completed := 0
	for _, n := range wholes {
		completed += 2 * n
	}
	if completed+held+dropped != 4000 {
		t.Errorf("of 4000 fragments %d completed, %d are held, %d were dropped", completed, held, dropped)
	}
}
