package monitor

import (
	"encoding/binary"
	"net/netip"
	"reflect"
	"testing"

	"uclat/platform"
)

func TestReach(t *testing.T) {
	prefix := netip.MustParsePrefix
	var r reach
	for _, in := range []platform.Route4{
		{Dst: prefix("192.0.2.0/24"), Link: 3},
		{Dst: prefix("192.0.2.0/24"), Link: 2}, // by two links
		{Dst: prefix("192.0.2.0/24"), Link: 3}, // in two tables
		{Dst: prefix("192.0.2.1/32"), Link: 2},
		{Dst: prefix("0.0.0.0/0"), Link: 2},
		{Dst: prefix("0.0.0.0/1"), Link: 2},
		{Dst: prefix("128.0.0.0/1"), Link: 2},
		{Dst: prefix("64.0.0.0/2"), Link: 2}, // takes in the loopback's, and more
		{Dst: prefix("127.0.0.0/8"), Link: 1},
		{Dst: prefix("127.0.0.1/32"), Link: 1},
	} {
		r.add(in.Dst, in.Link)
	}
	want := []platform.Route4{
		{Dst: prefix("64.0.0.0/2"), Link: 2},
		{Dst: prefix("192.0.2.0/24"), Link: 2},
		{Dst: prefix("192.0.2.1/32"), Link: 2},
		{Dst: prefix("192.0.2.0/24"), Link: 3},
	}
	if got := r.routes(); !reflect.DeepEqual(got, want) || r.over {
		t.Errorf("%v, over %t; want %v", got, r.over, want)
	}
	if got := new(reach).routes(); got != nil {
		t.Errorf("of nothing: %v, want nil", got)
	}
}

// Of a full table the short prefixes stay, in whatever order the kernel tells it, with a bounded memory.
func TestReachBound(t *testing.T) {
	const many = 5 * maxReach
	short := platform.Route4{Dst: netip.MustParsePrefix("203.0.113.0/24"), Link: 9}
	var readings [2][]platform.Route4
	for i := range readings {
		var r reach
		for n := range uint32(many) {
			if n == many/2 {
				r.add(short.Dst, short.Link)
			}
			if i == 1 {
				n = many - 1 - n
			}
			var a [4]byte
			binary.BigEndian.PutUint32(a[:], 10<<24+n)
			r.add(netip.PrefixFrom(netip.AddrFrom4(a), 32), 2)
			if len(r.all) >= 2*maxReach {
				t.Fatalf("%d routes in memory", len(r.all))
			}
		}
		readings[i] = r.routes()
		if n := len(readings[i]); n != maxReach || readings[i][n-1] != short || !r.over {
			t.Errorf("%d routes, the last %v, over %t", n, readings[i][n-1], r.over)
		}
	}
	if !reflect.DeepEqual(readings[0], readings[1]) {
		t.Error("what is kept depends on the order")
	}

	var r reach
	for range many { // the same again and again
		r.add(short.Dst, short.Link)
	}
	if got := r.routes(); len(got) != 1 || r.over {
		t.Errorf("one route often: %d routes, over %t", len(got), r.over)
	}
}
