package siit

import (
	"fmt"
	"net/netip"
	"testing"

	"uclat/clat/frame"
)

func TestIdentifications(t *testing.T) {
	t.Run("RFC 7915, 5.1/permutation", func(t *testing.T) {
		for _, seed := range []uint64{0, 1, 0x1234_5678_9abc_def0, 1<<64 - 1} {
			g := newIDGenerator(seed)
			var seen [1 << 16]bool
			for range 1 << 16 {
				id := g.next()
				if seen[id] {
					t.Fatalf("seed %#x: %#04x comes twice", seed, id)
				}
				seen[id] = true
			}
		}
	})
	t.Run("RFC 7915, 5.1/seeds differ", func(t *testing.T) {
		a, b := newIDGenerator(1), newIDGenerator(2)
		same := 0
		for range 1000 {
			if a.next() == b.next() {
				same++
			}
		}
		if same > 10 {
			t.Errorf("%d of 1000 are the same", same)
		}
	})
	t.Run("RFC 7915, 5.1/steps differ", func(t *testing.T) {
		g, steps := newIDGenerator(0x5eed), map[uint16]int{}
		last := g.next()
		for range 1000 {
			id := g.next()
			steps[id-last]++
			last = id
		}
		for step, n := range steps {
			if n > 50 {
				t.Errorf("%d of 1000 steps are %d: the next can be told from the last", n, step)
			}
		}
	})
	t.Run("RFC 7915, 5.1/in packets", func(t *testing.T) {
		tr, s, seen := newTranslator(t, hostOptions()), newScratch(), map[uint32]bool{}
		for range 1000 {
			r := tr.Translate(newFrame(ip6{next: 50}.packet(data(100))), s)
			id := parse(t, r.Out[0].Bytes()).id
			if seen[id] {
				t.Fatalf("%#04x comes twice", id)
			}
			seen[id] = true
		}
	})
}

// Whatever a packet becomes, there is room for it as long as Ready says so.
func TestScratchRoom(t *testing.T) {
	for _, lowest := range []int{1280, 1287, 1288, 1500, 9000, 65535} {
		t.Run(fmt.Sprint(lowest), func(t *testing.T) {
			tr := newTranslator(t, with(func(o *Options) { o.MTU6, o.LowestMTU6 = 65535, lowest }))
			s := newScratch()
			longest := ip4{proto: 50}.packet(data(65515))
			answered := ip6{next: 50, hops: 1}.packet(data(1400))
			for round := range 300 {
				p := longest
				if round%3 > 0 {
					p = answered
				}
				if !s.Ready() {
					s.Reset()
				}
				if r := tr.Translate(newFrame(p), s); r.Verdict == Drop {
					t.Fatalf("round %d: %+v", round, r)
				}
			}
		})
	}
	t.Run("several packets between two resets", func(t *testing.T) {
		tr, s := newTranslator(t, hostOptions()), newScratch()
		for i := range 2 {
			if !s.Ready() {
				t.Fatalf("not ready for packet %d", i)
			}
			tr.Translate(newFrame(ip4{proto: 50}.packet(data(65515))), s)
		}
	})
	t.Run("frames stay until Reset", func(t *testing.T) {
		tr, s := newTranslator(t, hostOptions()), newScratch()
		first := tr.Translate(newFrame(ip4{proto: 50, ttl: 1}.packet(data(8))), s).Out[0]
		before := string(first.Bytes())
		tr.Translate(newFrame(ip4{proto: 50}.packet(data(3000))), s)
		if string(first.Bytes()) != before {
			t.Error("another packet has overwritten it")
		}
		if front, behind := first.Room(); front < frame.Headroom || behind < frame.Tailroom {
			t.Errorf("%d octets in front, %d behind", front, behind)
		}
	})
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		edit func(*Options)
		want string
	}{
		{func(*Options) {}, ""},
		{func(o *Options) { o.MTU6 = 1279 }, "IPv6 MTU 1279 is not within 1280 to 65535"},
		{func(o *Options) { o.MTU6 = 65536 }, "IPv6 MTU 65536 is not within 1280 to 65535"},
		{func(o *Options) { o.MTU4 = 67 }, "IPv4 MTU 67 is not within 68 to 65535"},
		{func(o *Options) { o.MTU4 = 65536 }, "IPv4 MTU 65536 is not within 68 to 65535"},
		{func(o *Options) { o.LowestMTU6 = 1279 }, "lowest IPv6 MTU 1279 is not within 1280 to the IPv6 MTU 1500"},
		{func(o *Options) { o.LowestMTU6 = 1501 }, "lowest IPv6 MTU 1501 is not within 1280 to the IPv6 MTU 1500"},
		{func(o *Options) { o.Self4 = host6 }, "source of ICMPv4 errors 2001:db8:1:2::c1a7 is no IPv4 address"},
		{func(o *Options) { o.Self6 = host4 }, "source of ICMPv6 errors 192.0.0.1 is no IPv6 address"},
		{func(o *Options) { o.Self6 = netip.MustParseAddr("::ffff:192.0.2.1") }, "source of ICMPv6 errors ::ffff:192.0.2.1 is no IPv6 address"},
		{func(o *Options) { o.UnmappedSource = host6 }, "unmapped source 2001:db8:1:2::c1a7 is no IPv4 address"},
	} {
		t.Run("RFC 7915, 4.1/"+c.want, func(t *testing.T) {
			_, err := New(hostTable(t), with(c.edit))
			if got := fmt.Sprint(err); err == nil && c.want != "" || err != nil && got != c.want {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}
