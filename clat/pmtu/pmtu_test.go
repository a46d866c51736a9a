package pmtu

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
)

func addr(s string) *[16]byte {
	a := netip.MustParseAddr(s).As16()
	return &a
}

// nth is a destination for each i.
func nth(i int) *[16]byte {
	a := [16]byte{0x20, 0x01, 0x0d, 0xb8}
	binary.BigEndian.PutUint64(a[8:], uint64(i))
	return &a
}

// crowd is n destinations that share one set of c.
func crowd(c *Cache, n int) (dst []*[16]byte) {
	c.Learn(nth(0), 1500, 0)
	c.Expire(lifetime)
	for i := 0; len(dst) < n; i++ {
		if c.table.set(nth(i)) == &c.table.sets[0] {
			dst = append(dst, nth(i))
		}
	}
	return dst
}

// roomy is n destinations of which no set of c gets more than it has room for.
func roomy(c *Cache, n int) (dst []*[16]byte) {
	crowd(c, 0)
	taken := map[*set]int{}
	for i := 0; len(dst) < n; i++ {
		if s := c.table.set(nth(i)); taken[s] < ways {
			taken[s]++
			dst = append(dst, nth(i))
		}
	}
	return dst
}

// want checks that c knows dst by this MTU; 0: that it does not know it.
func want(t *testing.T, c *Cache, dst *[16]byte, mtu int) {
	t.Helper()
	if got, known := c.MTU(*dst); got != mtu || known != (mtu != 0) {
		t.Errorf("%v: %d, %v, want %d", netip.AddrFrom16(*dst), got, known, mtu)
	}
}

func TestRFC8201Section4(t *testing.T) {
	for _, r := range []struct {
		name    string
		learned []int
		mtu     int
	}{
		{"nothing learned", nil, 0},
		{"the first is taken", []int{1400}, 1400},
		{"as it is, at the least", []int{1280}, 1280},
		{"and at the most", []int{65535}, 65535},
		{"a lower one lowers", []int{1400, 1300}, 1300},
		{"step by step", []int{65535, 9000, 1500, 1492, 1280}, 1280},
		{"a higher one raises nothing", []int{1300, 1400}, 1300},
		{"by 1", []int{1300, 1301}, 1300},
		{"nor later", []int{1400, 1300, 65535, 1400}, 1300},
		{"less than 1280 is ignored", []int{1279}, 0},
		{"and leaves what is known", []int{1400, 1279}, 1400},
		{"as do 0, less than 0, and what is 1300 in 16 bits", []int{1400, 0, -1, math.MinInt, 1300 - 65536, 1300 + 65536}, 1400},
		{"more than 65535 is ignored", []int{65536}, 0},
		{"however much", []int{math.MaxInt, math.MaxInt32, 1300 + 65536}, 0},
	} {
		t.Run(r.name, func(t *testing.T) {
			var c Cache
			dst, known := addr("64:ff9b::c000:221"), 0
			for i, mtu := range r.learned {
				c.Learn(dst, mtu, uint32(i))
			}
			want(t, &c, dst, r.mtu)
			want(t, &c, addr("64:ff9b::c000:222"), 0)
			if r.mtu != 0 {
				known = 1
			}
			if c.Len() != known {
				t.Errorf("%d destinations", c.Len())
			}
		})
	}
}

func TestRFC8201Section5_3Age(t *testing.T) {
	type learn struct {
		mtu int
		at  uint32
	}
	for _, r := range []struct {
		name    string
		learned []learn
		expire  uint32
		mtu     int
	}{
		{"no age at all", []learn{{1400, 7}}, 7, 1400},
		{"a second less than 10 minutes", []learn{{1400, 0}}, 599, 1400},
		{"10 minutes", []learn{{1400, 0}}, 600, 0},
		{"more", []learn{{1400, 0}}, 100000, 0},
		{"lower: young again", []learn{{1400, 0}, {1300, 500}}, 1099, 1300},
		{"and old again", []learn{{1400, 0}, {1300, 500}}, 1100, 0},
		{"equal: young again", []learn{{1400, 0}, {1400, 500}}, 1099, 1400},
		{"and as old", []learn{{1400, 0}, {1400, 500}}, 1100, 0},
		{"higher: as old as before", []learn{{1400, 0}, {1401, 500}}, 600, 0},
		{"ignored: as old as before", []learn{{1400, 0}, {1279, 500}, {65536, 500}}, 600, 0},
		{"the second wraps around", []learn{{1400, math.MaxUint32 - 99}}, 499, 1400},
		{"and 10 minutes are over", []learn{{1400, math.MaxUint32 - 99}}, 500, 0},
		{"learned a second after what Expire takes for now", []learn{{1400, 8}}, 7, 1400},
	} {
		t.Run(r.name, func(t *testing.T) {
			var c Cache
			dst := addr("2001:db8::1")
			for _, l := range r.learned {
				c.Learn(dst, l.mtu, l.at)
			}
			c.Expire(r.expire)
			want(t, &c, dst, r.mtu)
			if r.mtu != 0 {
				return
			}
			if c.Len() != 0 {
				t.Errorf("%d destinations", c.Len())
			}
			c.Learn(dst, 9000, r.expire)
			want(t, &c, dst, 9000)
		})
	}
}

func TestExpireTakesTheOldOnly(t *testing.T) {
	var c Cache
	c.Expire(0)
	dst := roomy(&c, 100)
	for i := range dst {
		c.Learn(dst[i], 1400, uint32(i))
	}
	c.Expire(lifetime + 49)
	for i := range dst {
		mtu := 1400
		if i < 50 {
			mtu = 0
		}
		want(t, &c, dst[i], mtu)
	}
	if c.Len() != 50 {
		t.Errorf("%d destinations", c.Len())
	}
	c.Expire(lifetime + 99)
	if c.Len() != 0 || c.known.Load() != nil {
		t.Errorf("%d destinations; readers still look into the table: %v", c.Len(), c.known.Load() != nil)
	}
}

// A destination is all of its 16 octets, and no form of address is special.
func TestEveryOctetCounts(t *testing.T) {
	var c Cache
	c.Learn(addr("::ffff:192.0.2.1"), 1300, 0)
	want(t, &c, addr("::ffff:192.0.2.1"), 1300)
	for i := range 16 {
		dst := *addr("::ffff:192.0.2.1")
		dst[i] ^= 0x80
		want(t, &c, &dst, 0)
	}
	c.Learn(addr("::"), 1301, 0)
	want(t, &c, addr("::"), 1301)
}

func TestFullSetForgetsTheOneLearnedLongestAgo(t *testing.T) {
	for _, start := range []uint32{1000, math.MaxUint32 - 2} {
		var c Cache
		dst := crowd(&c, ways+3)
		for i, second := range []uint32{2, 0, 3, 1} {
			c.Learn(dst[i], 1400, start+second)
		}
		c.Learn(dst[1], 1300, start+4) // lower: no longer the oldest, which now is 3
		c.Learn(dst[3], 1500, start+5) // higher: as old as before
		for i, forgotten := range []int{3, 0, 2} {
			c.Learn(dst[ways+i], 1600, start+6)
			want(t, &c, dst[ways+i], 1600)
			want(t, &c, dst[forgotten], 0)
			if c.Len() != ways {
				t.Errorf("%d destinations", c.Len())
			}
		}
		want(t, &c, dst[1], 1300)
		// A free place comes before any other.
		c.Expire(start + 4 + lifetime)
		want(t, &c, dst[1], 0)
		c.Learn(dst[0], 1700, start+lifetime)
		for i, mtu := range []int{1700, 0, 0, 0, 1600, 1600, 1600} {
			want(t, &c, dst[i], mtu)
		}
	}
}

func TestFloodCostsItsBound(t *testing.T) {
	var c Cache
	victim := addr("2001:db8::ffff")
	for i := range 20 * sets * ways {
		c.Learn(nth(i), 1280+i%1000, 0)
	}
	if size := reflect.TypeFor[table]().Size(); c.Len() != 4096 || size > 128<<10+8 {
		t.Errorf("%d destinations in %d octets, want 4096 in 128 KiB and the seed", c.Len(), size)
	}
	known := 0
	for i := range 20 * sets * ways {
		if mtu, ok := c.MTU(*nth(i)); ok {
			known++
			if mtu != 1280+i%1000 {
				t.Fatalf("%d has %d", i, mtu)
			}
		}
	}
	if known != sets*ways {
		t.Errorf("%d destinations are found, want %d", known, sets*ways)
	}
	c.Learn(victim, 1400, 1)
	want(t, &c, victim, 1400)
	c.Expire(lifetime)
	want(t, &c, victim, 1400)
	if c.Len() != 1 {
		t.Errorf("%d destinations after the flood", c.Len())
	}
}

// Nobody outside knows which destinations share a set: another cache sorts them in another way.
func TestSetsAreRandom(t *testing.T) {
	var a, b Cache
	dst := crowd(&a, 64)
	crowd(&b, 0)
	first, same := b.table.set(dst[0]), 0
	for _, d := range dst {
		if b.table.set(d) == first {
			same++
		}
	}
	if same > 8 {
		t.Errorf("%d of %d destinations that share a set share another as well", same, len(dst))
	}
}

func TestNoAllocation(t *testing.T) {
	var c Cache
	dst, i := [16]byte{}, uint64(0)
	next := func() *[16]byte {
		i++
		binary.BigEndian.PutUint64(dst[:], i)
		return &dst
	}
	if n := testing.AllocsPerRun(100, func() { c.MTU(*next()) }); n != 0 || c.table != nil {
		t.Errorf("%v allocations to read the empty cache", n)
	}
	c.Learn(next(), 1400, 0)
	if n := testing.AllocsPerRun(3*sets*ways, func() {
		c.Learn(next(), 1400, uint32(i))
		if mtu, known := c.MTU(dst); mtu != 1400 || !known {
			t.Fatal(mtu, known)
		}
	}); n != 0 {
		t.Errorf("%v allocations to learn and read", n)
	}
	if n := testing.AllocsPerRun(10, func() {
		c.Expire(uint32(i) + lifetime)
		c.Learn(&dst, 1400, uint32(i))
	}); n != 0 {
		t.Errorf("%v allocations to expire", n)
	}
}

func full() *Cache {
	var c Cache
	for i := 0; c.Len() < sets*ways; i++ {
		c.Learn(nth(i), 1400, 0)
	}
	return &c
}

func BenchmarkMTU(b *testing.B) {
	var present, absent [][16]byte
	c := full()
	for i := range 1 << 20 {
		d := *nth(i)
		if _, known := c.MTU(d); known {
			present = append(present, d)
		} else if len(absent) < sets*ways {
			absent = append(absent, d)
		}
	}
	for _, r := range []struct {
		name string
		c    *Cache
		dst  [][16]byte
	}{
		{"empty", &Cache{}, present},
		{"hit/one", c, present[:1]},
		{"hit/all", c, present},
		{"miss", c, absent},
	} {
		b.Run(r.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i == len(r.dst) {
					i = 0
				}
				r.c.MTU(r.dst[i])
			}
		})
	}
	b.Run("hit/parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for i := rand.IntN(len(present)); pb.Next(); i++ {
				c.MTU(present[i%len(present)])
			}
		})
	})
}

// BenchmarkLearn is what a flood costs: each destination is new, and its set is full.
func BenchmarkLearn(b *testing.B) {
	c := full()
	var dst [16]byte
	b.Run("flood", func(b *testing.B) {
		b.ReportAllocs()
		for i := uint64(0); b.Loop(); i++ {
			binary.BigEndian.PutUint64(dst[:], i)
			c.Learn(&dst, 1300, uint32(i>>20))
		}
	})
	b.Run("same", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.Learn(&dst, 1300, 0)
		}
	})
}

func BenchmarkExpire(b *testing.B) {
	c := full()
	for b.Loop() {
		c.Expire(0)
	}
}
