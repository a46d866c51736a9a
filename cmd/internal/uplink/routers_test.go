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

const (
	by1 = "02:00:00:00:00:a1 from 02:00:00:00:00:05"
	by2 = "02:00:00:00:00:99 from 02:00:00:00:00:05"
	by3 = "02:00:00:00:00:a3 from 02:00:00:00:00:05"
)

// byRouteIs has the router that the host's routes lead to be in a state without a link-layer address.
func byRouteIs(s nexthop.State) func(*rig) {
	return func(r *rig) { r.hop = nexthop.Hop{Gateway: router, State: s} }
}

// Packets go to the router that the host's routes lead to if it announced the PREF64; else to one that did. Those that the kernel knows to be
// there come first, and where none is, all are asked.
func TestRouters(t *testing.T) {
	const nobody, at2, at3 = "nobody", "0s hop look at fe80::2", "0s hop look at fe80::3"
	const use1, use2, use3 = "0s hop use fe80::1", "0s hop use fe80::2", "0s hop use fe80::3"
	both := func(s nexthop.State) func(*rig) {
		return func(r *rig) {
			r.is(router2, s, nil)
			r.is(router3, s, nil)
		}
	}
	for _, tt := range []struct {
		name    string
		routers []netip.Addr
		change  []func(*rig)
		looks   []string // beside that by the routes
		via     string
	}{
		{"any", nil, nil, nil, by1},
		{"the host's own", []netip.Addr{router}, nil, nil, by1},
		{"the host's own is one of them", []netip.Addr{router2, router}, nil, nil, by1},
		{"the host's own is there, and was not checked for long", []netip.Addr{router2, router},
			[]func(*rig){func(r *rig) { r.hop.State = nexthop.Stale }}, nil, by1},
		{"the host's own is away", []netip.Addr{router, router2}, []func(*rig){byRouteIs(nexthop.Failed)}, []string{at2}, by2},
		{"the host's own is not known yet", []netip.Addr{router, router2},
			[]func(*rig){byRouteIs(nexthop.Unresolved), func(r *rig) { r.is(router2, nexthop.Stale, otherMAC) }}, []string{at2}, by2},
		{"the host's own is away, others are not known yet", []netip.Addr{router3, router, router2},
			[]func(*rig){byRouteIs(nexthop.Failed), both(nexthop.Unresolved)}, []string{at3, at2, use3, use2, use1}, nobody},
		{"none is known yet", []netip.Addr{router3, router, router2}, []func(*rig){byRouteIs(nexthop.Unresolved), both(nexthop.Unresolved)},
			[]string{at3, at2, use1, use3, use2}, nobody},
		{"the host's own and all others are away", []netip.Addr{router2, router, router3},
			[]func(*rig){byRouteIs(nexthop.Failed), both(nexthop.Failed)}, []string{at2, at3, use1, use2, use3}, nobody},
		{"another", []netip.Addr{router2}, nil, []string{at2}, by2},
		{"others", []netip.Addr{router2, router3}, nil, []string{at2, at3}, by2},
		{"one was not checked for long", []netip.Addr{router2, router3}, []func(*rig){func(r *rig) { r.is(router2, nexthop.Stale, otherMAC) }},
			[]string{at2, at3}, by2},
		{"the first of them is away", []netip.Addr{router2, router3}, []func(*rig){func(r *rig) { r.is(router2, nexthop.Failed, nil) }},
			[]string{at2, at3}, by3},
		{"the first of them is not known yet", []netip.Addr{router2, router3},
			[]func(*rig){func(r *rig) { r.is(router2, nexthop.Unresolved, nil) }}, []string{at2, at3}, by3},
		{"all are away", []netip.Addr{router2, router3}, []func(*rig){both(nexthop.Failed)}, []string{at2, at3, use2, use3}, nobody},
		{"no route", []netip.Addr{router2}, []func(*rig){func(r *rig) { r.fail["hop"] = nexthop.ErrNoRoute }}, []string{at2}, by2},
		{"a route without a router", []netip.Addr{router2}, []func(*rig){func(r *rig) { r.hop = nexthop.Hop{OnLink: true} }}, []string{at2}, by2},
		{"not to be looked up", []netip.Addr{router2}, []func(*rig){func(r *rig) { r.fail["router"] = errBroken }}, []string{at2}, nobody},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, ethernet)
				r.is(router2, nexthop.Reachable, otherMAC)
				r.is(router3, nexthop.Reachable, thirdMAC)
				announcedBy(tt.routers...)(r)
				for _, change := range tt.change {
					change(r)
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

// step is what the kernel says from a moment on, and where packets go then; empty: where they went before.
type step struct {
	name   string
	states map[netip.Addr]nexthop.State
	via    string
}

var macs = map[netip.Addr]net.HardwareAddr{router: routerMAC, router2: otherMAC, router3: thirdMAC}

// tell has the kernel say it, where byRoute is the router that the host's routes lead to, and knocks.
func (r *rig) tell(byRoute netip.Addr, states map[netip.Addr]nexthop.State) {
	for addr, s := range states {
		var hw net.HardwareAddr
		if s == nexthop.Reachable || s == nexthop.Stale {
			hw = macs[addr]
		}
		r.is(addr, s, hw)
	}
	r.knock(r.hops[byRoute])
}

// The next hop goes to another router where that is better, and stays where it is not.
func TestRouterFails(t *testing.T) {
	const reachable, stale, unresolved, failed = nexthop.Reachable, nexthop.Stale, nexthop.Unresolved, nexthop.Failed
	two := func(a, b nexthop.State) map[netip.Addr]nexthop.State {
		return map[netip.Addr]nexthop.State{router2: a, router3: b}
	}
	begin := step{"both are there", two(reachable, reachable), by2}
	for _, tt := range []struct {
		name    string
		byRoute netip.Addr
		steps   []step
	}{
		{"by none of the host's routes", router, []step{
			begin,
			{"not checked for long", two(stale, reachable), ""},
			{"it fails", two(failed, reachable), by3},
			{"its entry is gone", two(unresolved, reachable), ""},
			{"it is back", two(reachable, reachable), ""},
			{"the other one fails", two(reachable, failed), by2},
		}},
		{"asked anew while the other one is there", router, []step{
			begin,
			{"it is asked", two(unresolved, stale), by3},
		}},
		{"asked anew", router, []step{
			begin,
			{"the other one is not known", two(reachable, unresolved), ""},
			{"both are not", two(unresolved, unresolved), ""},
			{"the other one answers first", two(unresolved, reachable), by3},
			{"the entries are gone", two(unresolved, unresolved), ""},
		}},
		{"asked anew, beside the host's own", router3, []step{
			{"the host's own is not known", two(reachable, unresolved), by2},
			{"both are not", two(unresolved, unresolved), ""},
			{"the host's own answers", two(unresolved, reachable), by3},
		}},
		{"both fail in turn", router, []step{
			begin,
			{"it fails", two(failed, stale), by3},
			{"the other one fails, too", two(unresolved, failed), ""},
			{"both are asked", two(unresolved, unresolved), ""},
			{"it fails again", two(failed, unresolved), ""},
			{"the other one fails again", two(unresolved, failed), ""},
			{"it answers", two(reachable, failed), by2},
			{"and is asked anew", two(unresolved, unresolved), ""},
		}},
		{"both fail in turn, one by the host's routes", router2, []step{
			begin,
			{"it fails", two(failed, stale), by3},
			{"the other one fails, too", two(unresolved, failed), ""},
			{"it fails again", two(failed, unresolved), ""},
			{"the other one answers", two(failed, reachable), ""},
			{"it answers", two(reachable, reachable), by2},
		}},
		{"a router is heard, but does not answer", router2, []step{
			begin,
			{"it fails", two(failed, reachable), by3},
			{"it is heard", two(stale, reachable), ""},
			{"it is heard, and the other one not checked", two(stale, stale), ""},
			{"it does not answer", two(failed, stale), ""},
			{"it is heard again, and the other one fails", two(stale, failed), by2},
			{"it answers", two(reachable, failed), ""},
		}},
		{"the host's own comes", router3, []step{
			{"it is not known", two(reachable, unresolved), by2},
			{"it is there", two(reachable, stale), by3},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, announcedBy(router2, router3), func(r *rig) {
					r.is(router, reachable, routerMAC)
					r.is(router2, unresolved, nil)
					r.is(router3, unresolved, nil)
				})
				r.expect("via", "0s via nobody")
				for _, s := range tt.steps {
					r.tell(tt.byRoute, s.states)
					t.Log(s.name)
					if s.via == "" {
						r.expect("via")
					} else {
						r.expect("via", "0s via "+s.via)
					}
				}
				r.stop()
			})
		})
	}
}

// What is known of a router is forgotten when it does not announce the PREF64 any more.
func TestRouterComesBack(t *testing.T) {
	for _, tt := range []struct {
		name      string
		meanwhile []netip.Addr
		via       []string
	}{
		{"it stayed", []netip.Addr{router3, router2}, nil},
		{"it was away", []netip.Addr{router3}, []string{"0s via nobody"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t, ethernet)
				announcedBy(router2, router3)(r)
				r.is(router2, nexthop.Failed, nil)
				r.is(router3, nexthop.Reachable, thirdMAC)
				r.run()
				r.expect("via", "0s via nobody", "0s via "+by3)
				r.rewant(func(w *Want) { w.Hold[0].Routers = tt.meanwhile })
				r.is(router2, nexthop.Unresolved, nil) // its entry is gone
				r.rewant(func(w *Want) { w.Hold[0].Routers = []netip.Addr{router2, router3} })
				r.expect("via")
				r.is(router3, nexthop.Failed, nil)
				r.knock(r.hop)
				r.expect("via", tt.via...)
				r.stop()
			})
		})
	}
}

// Of several that were not checked for long, the one in use is.
func TestOneIsChecked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, ethernet)
		announcedBy(router2, router3)(r)
		r.is(router2, nexthop.Stale, otherMAC)
		r.is(router3, nexthop.Stale, thirdMAC)
		r.run()
		r.expect("hop", "0s "+look, "0s hop look at fe80::2", "0s hop look at fe80::3") // not in use
		r.set(func(r *rig) { r.sent++ })
		r.knock(r.hop)
		r.expect("hop", "0s "+look, "0s hop look at fe80::2", "0s hop look at fe80::3", "0s hop use fe80::2")
		r.stop()
	})
}

// While no router is there, all are asked each second, and what fails with that is said once.
func TestNoRouterIsThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, ethernet)
		announcedBy(router2, router3)(r)
		r.is(router2, nexthop.Failed, nil)
		r.is(router3, nexthop.Failed, nil)
		r.fail["use"] = errBroken
		r.run()
		r.after(1500 * time.Millisecond)
		var want []string
		for i, at := range []string{"0s", "1s"} {
			want = append(want, at+" "+look, at+" hop look at fe80::2", at+" hop look at fe80::3", at+" hop use fe80::2", at+" hop use fe80::3")
			if i == 0 {
				want = append(want, "0s log WARN finding the next hop on eth0 error=broken\nbroken")
			}
		}
		r.expect("hop log", want...)
		r.after(time.Minute)
		r.expect("log")
		r.is(router3, nexthop.Reachable, thirdMAC)
		r.knock(r.hop)
		r.expect("hop via", "1m1.5s "+look, "1m1.5s hop look at fe80::2", "1m1.5s hop look at fe80::3", "1m1.5s via "+by3)
		r.stop()
	})
}
