package link

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/platform/internal/nstest"
)

var routers = [...]net.HardwareAddr{{2, 0, 0, 0, 0, 0xa0}, {2, 0, 0, 0, 0, 0xa1}, {2, 0, 0, 0, 0, 0xa2}}

// ways are next hops by source: an index of routers, or -1 for one whose address is not known. "" is for all other sources.
func ways(to map[string]int) map[netip.Prefix]net.HardwareAddr {
	m := map[netip.Prefix]net.HardwareAddr{}
	for source, i := range to {
		var p netip.Prefix
		if source != "" {
			p = netip.MustParsePrefix(source)
		}
		m[p] = nil
		if i >= 0 {
			m[p] = routers[i]
		}
	}
	return m
}

// The next hop is by the source of the packet.
func TestHopBySource(t *testing.T) {
	const none = -1
	self := net.HardwareAddr{2, 0, 0, 0, 0, 5}
	for _, tt := range []struct {
		name string
		to   map[string]int
		want map[string]int // source: next hop
	}{
		{"nobody", nil, map[string]int{own: none}},
		{"one for all", map[string]int{"": 1}, map[string]int{own: 1, host: 1, "::": 1, "ff02::1": 1}},
		{"one for one", map[string]int{own + "/128": 1}, map[string]int{own: 1, host: none}},
		{"generations", map[string]int{"2001:db8::46/128": 1, "2001:db8::47/128": 2, "2001:db8:0:0:1::46/128": 0, "": 2},
			map[string]int{"2001:db8::46": 1, "2001:db8::47": 2, "2001:db8:0:0:1::46": 0, own: 2, "2001:db9::46": 2}},
		{"not known", map[string]int{own + "/128": none, "": 1}, map[string]int{own: none, host: 1}},
		{"not known for the others", map[string]int{own + "/128": 1, "": none}, map[string]int{own: 1, host: none}},
		{"longest first", map[string]int{"2001:db8::/32": 0, "2001:db8::/96": 1, "2001:db8::46/128": 2, "::/0": 0},
			map[string]int{"2001:db8::46": 2, "2001:db8::47": 1, "2001:db8:1::": 0, "2001:db8::1:0:0": 0, "::": 0}},
		{"the same again", map[string]int{"2001:db8::46/128": 1, "2001:db8::47/128": 1, "": 1}, map[string]int{"2001:db8::46": 1, host: 1}},
		{"the same but for what lies between", map[string]int{"2001:db8::46/128": 1, "2001:db8::/64": 0, "": 1},
			map[string]int{"2001:db8::46": 1, "2001:db8::47": 0, "2001:db8:1::": 1}},
		{"the same for two, and nobody for others", map[string]int{"2001:db8::46/128": 1, "2001:db8:1::/64": 1},
			map[string]int{"2001:db8::46": 1, "2001:db8:1::46": 1, "2001:db8:2::46": none}},
		{"bits behind the prefix", map[string]int{"2001:db8::ffff/96": 1}, map[string]int{"2001:db8::1": 1, "2001:db8:0:0:1::1": none}},
		{"eight", map[string]int{"2001:db8::0/128": 0, "2001:db8::1/128": 1, "2001:db8::2/128": 2, "2001:db8::3/128": 0, "2001:db8::4/128": 1,
			"2001:db8::5/128": 2, "2001:db8::6/128": 0, "2001:db8::7/128": 1}, map[string]int{"2001:db8::5": 2, "2001:db8::7": 1, "2001:db8::8": none}},
		{"IPv4", map[string]int{"192.0.2.0/24": 1}, map[string]int{"::ffff:192.0.2.1": none}},
	} {
		c := &Conn{shape: shape{link: etherLen}}
		c.Via(ways(tt.to), self)
		for source, i := range tt.want {
			got, err := c.hop(inFrame(udp6(source, away, nil)))
			if i == none {
				if !errors.Is(err, clat.ErrNextHop) {
					t.Errorf("%s: from %s: %x, %v; want no next hop", tt.name, source, got, err)
				}
				continue
			}
			if want := etherHeader(routers[i], self); err != nil || !bytes.Equal(got, want[:]) {
				t.Errorf("%s: from %s: %x, %v; want %x", tt.name, source, got, err, want)
			}
		}
	}
}

func TestHopNeedsAddresses(t *testing.T) {
	c := &Conn{shape: shape{link: etherLen}}
	p := inFrame(udp6(own, away, nil))
	if _, err := c.hop(p); !errors.Is(err, clat.ErrNextHop) {
		t.Errorf("before Via: %v", err)
	}
	c.Via(only(routers[0]), nil)
	if _, err := c.hop(p); !errors.Is(err, clat.ErrNextHop) {
		t.Errorf("without an address of the link: %v", err)
	}
	c.Via(only(routers[0]), routers[1])
	for n := range lenSource {
		if _, err := c.hop(inFrame(udp6(own, away, nil)[:n])); !errors.Is(err, ErrRefused) {
			t.Errorf("of %d octets: %v", n, err)
		}
	}
	if _, err := c.hop(inFrame(udp6(own, away, nil)[:lenSource])); err != nil {
		t.Errorf("with a whole source: %v", err)
	}
	if written := c.lostWritten.Load(); written != lenSource {
		t.Errorf("%d counted as lost", written)
	}
}

// What a source has not of its own goes where it goes without one, on the wire.
func TestTwoNextHops(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		near, other := openPair(t, newLab(t))
		data := hear(t, other)
		const second = "2001:db8::c1a8"
		for i := range byte(10) {
			near.Via(map[netip.Prefix]net.HardwareAddr{
				netip.MustParsePrefix(second + "/128"): routers[0], // nobody
				{}:                                     other.shape.own,
			}, near.shape.own)
			send(t, near, udp6(second, away, []byte{i, 1}))
			send(t, near, udp6(own, away, []byte{i, 2}))
			expect(t, data, udp6(own, away, []byte{i, 2}))
			near.Via(map[netip.Prefix]net.HardwareAddr{
				netip.MustParsePrefix(own + "/128"): routers[0],
				{}:                                  other.shape.own,
			}, near.shape.own)
			send(t, near, udp6(own, away, []byte{i, 3}))
			send(t, near, udp6(second, away, []byte{i, 4}))
			expect(t, data, udp6(second, away, []byte{i, 4}))
		}
	})
}

func TestHopAllocatesNothing(t *testing.T) {
	c := &Conn{shape: shape{link: etherLen}}
	c.Via(ways(map[string]int{"2001:db8::46/128": 1, "2001:db8::47/128": 2, "": 0}), routers[0])
	p := inFrame(udp6(own, away, nil))
	if n := testing.AllocsPerRun(1000, func() { _, _ = c.hop(p) }); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func BenchmarkHop(b *testing.B) {
	p := inFrame(udp6(own, away, nil))
	for _, bb := range []struct {
		name string
		to   map[string]int
	}{
		{"one", map[string]int{"": 0}},
		{"last of nine", map[string]int{"2001:db8::0/128": 0, "2001:db8::1/128": 1, "2001:db8::2/128": 2, "2001:db8::3/128": 0,
			"2001:db8::4/128": 1, "2001:db8::5/128": 2, "2001:db8::6/128": 0, "2001:db8::7/128": 1, "": 2}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			c := &Conn{shape: shape{link: etherLen}}
			c.Via(ways(bb.to), routers[0])
			for b.Loop() {
				if _, err := c.hop(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
