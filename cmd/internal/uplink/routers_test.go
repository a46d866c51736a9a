package uplink

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"uclat/platform/nexthop"
)

// announcedBy has the PREF64 be that of these routers.
func announcedBy(routers ...netip.Addr) func(*rig) {
	return func(r *rig) { r.want.Hold[0].Routers = routers }
}

// is has a router be in a state, with a link-layer address where it is known.
func (r *rig) is(router netip.Addr, s nexthop.State, hw net.HardwareAddr) {
	r.set(func(r *rig) { r.hops[router] = nexthop.Hop{Gateway: router, State: s, Hardware: hw} })
}

var (
	router3  = netip.MustParseAddr("fe80::3")
	thirdMAC = net.HardwareAddr{2, 0, 0, 0, 0, 0xa3}
)

// Packets go to the router that the host's routes lead to if it announced the PREF64; else to one that did.
func TestRouters(t *testing.T) {
	const nobody, byRoute, by2, by3 = "nobody", "02:00:00:00:00:a1 from 02:00:00:00:00:05", "02:00:00:00:00:99 from 02:00:00:00:00:05",
		"02:00:00:00:00:a3 from 02:00:00:00:00:05"
	const at2, at3 = "0s hop look at fe80::2", "0s hop look at fe80::3"
	for _, tt := range []struct {
		name    string
		routers []netip.Addr
		change  func(*rig)
		looks   []string // beside that by the routes
		via     string
	}{
		{"any", nil, nil, nil, byRoute},
		{"the host's own", []netip.Addr{router}, nil, nil, byRoute},
		{"the host's own is one of them", []netip.Addr{router2, router}, nil, nil, byRoute},
		{"though it is away", []netip.Addr{router2, router}, func(r *rig) { r.hop = nexthop.Hop{Gateway: router, State: nexthop.Failed} },
			[]string{"0s hop use fe80::1"}, nobody},
		{"another", []netip.Addr{router2}, nil, []string{at2}, by2},
		{"others", []netip.Addr{router2, router3}, nil, []string{at2}, by2},
		{"the first of them is away", []netip.Addr{router2, router3}, func(r *rig) { r.is(router2, nexthop.Failed, nil) },
			[]string{at2, at3}, by3},
		{"the first of them is not known yet", []netip.Addr{router2, router3}, func(r *rig) { r.is(router2, nexthop.Unresolved, nil) },
			[]string{at2, "0s hop use fe80::2"}, nobody},
		{"all are away", []netip.Addr{router2, router3}, func(r *rig) {
			r.is(router2, nexthop.Failed, nil)
			r.is(router3, nexthop.Failed, nil)
		}, []string{at2, at3, "0s hop use fe80::2"}, nobody},
		{"no route", []netip.Addr{router2}, func(r *rig) { r.fail["hop"] = nexthop.ErrNoRoute }, []string{at2}, by2},
		{"a route without a router", []netip.Addr{router2}, func(r *rig) { r.hop = nexthop.Hop{OnLink: true} }, []string{at2}, by2},
		{"not to be looked up", []netip.Addr{router2}, func(r *rig) { r.fail["router"] = errBroken }, []string{at2}, nobody},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, ethernet)
				r.is(router2, nexthop.Reachable, otherMAC)
				r.is(router3, nexthop.Reachable, thirdMAC)
				announcedBy(tt.routers...)(r)
				if tt.change != nil {
					tt.change(r)
				}
				r.run()
				want := append([]string{"0s via nobody", "0s " + look}, tt.looks...)
				if tt.via != nobody {
					want = append(want, "0s via "+tt.via)
				}
				r.expect("hop via", want...)
				r.stop()
			})
		})
	}
}

// The PREF64 moves to another router, and back; the address stays.
func TestRoutersChange(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := ready(t, announcedBy(router))
		r.is(router2, nexthop.Stale, otherMAC)
		r.set(func(r *rig) { r.sent++ })
		r.rewant(func(w *Want) { w.Hold[0].Routers = []netip.Addr{router2} })
		r.after(time.Second)
		r.expect("hop via nd link trials echo",
			"4s link accept [2001:db8:1::46/128]", "4s "+look, "4s hop look at fe80::2", "4s hop use fe80::2",
			"4s via 02:00:00:00:00:99 from 02:00:00:00:00:05",
			"4s nd 2001:db8:1::46 asks for fe80::2, to 02:00:00:00:00:99 from 02:00:00:00:00:05",
			"5s nd 2001:db8:1::46 asks for fe80::2, to 02:00:00:00:00:99 from 02:00:00:00:00:05")
		r.rewant(func(w *Want) { w.Hold[0].Routers = []netip.Addr{router2} }) // the same, said again
		r.expect("hop via")
		r.rewant(func(w *Want) { w.Hold[0].Routers = nil })
		r.expect("hop via trials", "5s "+look, "5s via 02:00:00:00:00:a1 from 02:00:00:00:00:05")
		r.stop()
	})
}

// While the router's link-layer address is asked for again, packets go where it was; when it is away, to the next one that announced the PREF64.
func TestRouterFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, ethernet)
		r.is(router2, nexthop.Reachable, otherMAC)
		r.is(router3, nexthop.Reachable, thirdMAC)
		announcedBy(router2, router3)(r)
		r.run()
		r.after(4 * time.Second)
		r.expect("via", "0s via nobody", "0s via 02:00:00:00:00:99 from 02:00:00:00:00:05")
		r.is(router2, nexthop.Unresolved, nil)
		r.knock(r.hop)
		r.expect("via")
		r.is(router2, nexthop.Failed, nil)
		r.knock(r.hop)
		r.after(time.Minute)
		r.expect("via", "4s via 02:00:00:00:00:a3 from 02:00:00:00:00:05")
		r.is(router2, nexthop.Stale, otherMAC)
		r.knock(r.hop)
		r.expect("via", "1m4s via 02:00:00:00:00:99 from 02:00:00:00:00:05")
		r.stop()
	})
}
