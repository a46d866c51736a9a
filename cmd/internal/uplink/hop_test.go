package uplink

import (
	"net/netip"
	"testing"
	"time"

	"uclat/clat/policy"
	"uclat/platform/nexthop"
)

const look = "hop look from 2001:db8:1::46 to 64:ff9b::c000:9"

// ready is a rig that has found out all that it can at once, and has nothing more to say.
func ready(t *testing.T, change ...func(*rig)) *rig {
	t.Helper()
	r := start(t, change...)
	r.after(4 * time.Second)
	r.expect("")
	return r
}

// As long as the kernel does not know the router's link-layer address, it is asked to find it, each second.
func TestUnresolved(t *testing.T) {
	for _, state := range []nexthop.State{nexthop.Unresolved, nexthop.Failed} {
		bubble(t, func(t *testing.T) {
			r := start(t, func(r *rig) { r.hop = nexthop.Hop{Gateway: router, State: state} })
			r.after(2500 * time.Millisecond)
			r.expect("hop via log",
				"0s via nobody", "0s "+look, "0s hop use fe80::1",
				"1s "+look, "1s hop use fe80::1",
				"2s "+look, "2s hop use fe80::1")
			// Neighbours changed: it is looked at once.
			r.knock(nexthop.Hop{Gateway: router, Hardware: routerMAC, State: nexthop.Reachable})
			r.after(time.Minute)
			r.expect("hop via log",
				"2.5s "+look, "2.5s via 02:00:00:00:00:a1 from 02:00:00:00:00:05",
				"2.5s log DEBUG next hop of 2001:db8:1::46 on eth0 is fe80::1 (02:00:00:00:00:a1)",
				"32.5s "+look, "1m2.5s "+look)
			r.stop()
		})
	}
}

// What the kernel does not use itself it does not check by itself: it is told to while we use it.
func TestStale(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := ready(t)
		r.knock(nexthop.Hop{Gateway: router, Hardware: routerMAC, State: nexthop.Stale})
		r.after(time.Minute)
		r.expect("hop via", "4s "+look, "34s "+look, "1m4s "+look) // not in use
		for range 3 {
			r.set(func(r *rig) { r.sent++ })
			r.after(10 * time.Second)
		}
		r.after(time.Minute)
		r.expect("hop via nd",
			"1m34s "+look, "1m34s hop use fe80::1",
			"1m39s "+look,
			"2m1s nd 2001:db8:1::46 asks for fe80::1, to 02:00:00:00:00:a1 from 02:00:00:00:00:05", // keeps the binding
			"2m9s "+look)
		// Now it sends all the time.
		for range 15 {
			r.set(func(r *rig) { r.sent++ })
			r.after(time.Second)
		}
		r.expect("hop via", "2m39s "+look, "2m39s hop use fe80::1", "2m44s "+look, "2m44s hop use fe80::1", "2m49s "+look, "2m49s hop use fe80::1")
		// A neighbour that is known to be there is left in peace.
		r.set(func(r *rig) { r.sent++ })
		r.knock(nexthop.Hop{Gateway: router, Hardware: routerMAC, State: nexthop.Reachable})
		r.after(6 * time.Second)
		r.expect("hop via", "2m49s "+look, "2m54s "+look)
		r.stop()
	})
}

// A knock right behind a look does not make a next hop idle that is in use; what was sent more than a while ago does.
func TestInUseThoughKnocked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := ready(t)
		r.set(func(r *rig) { r.sent++ })
		stale := nexthop.Hop{Gateway: router, Hardware: routerMAC, State: nexthop.Stale}
		r.after(26 * time.Second)
		r.expect("hop", "30s "+look)
		r.knock(stale)
		r.knock(stale)
		r.expect("hop", "30s "+look, "30s hop use fe80::1", "30s "+look, "30s hop use fe80::1")
		r.after(4 * time.Second)
		r.knock(stale)
		r.expect("hop", "34s "+look, "34s hop use fe80::1")
		r.after(time.Second)
		r.knock(stale)
		r.after(time.Minute)
		r.expect("hop", "35s "+look, "1m5s "+look, "1m35s "+look)
		r.stop()
	})
}

// A better router is taken when it is there, not when the old one is looked at again.
func TestAnotherRouterWhileIdle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := ready(t)
		r.after(3 * time.Second)
		r.knock(nexthop.Hop{Gateway: router2, Hardware: otherMAC, State: nexthop.Reachable})
		r.expect("hop via", "7s "+look, "7s via 02:00:00:00:00:99 from 02:00:00:00:00:05")
		r.stop()
	})
}

// While the kernel asks again where the router is, packets go where it was.
func TestKnownWhileAsked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := ready(t)
		r.knock(nexthop.Hop{Gateway: router, State: nexthop.Unresolved})
		r.expect("via hop", "4s "+look, "4s hop use fe80::1")
		r.knock(nexthop.Hop{Gateway: router, Hardware: otherMAC, State: nexthop.Reachable})
		r.expect("via nd log", "4s via 02:00:00:00:00:99 from 02:00:00:00:00:05",
			"4s log DEBUG next hop of 2001:db8:1::46 on eth0 is fe80::1 (02:00:00:00:00:99)",
			"4s nd 2001:db8:1::46 asks for fe80::1, to 02:00:00:00:00:99 from 02:00:00:00:00:05")
		r.stop()
	})
}

var router2 = netip.MustParseAddr("fe80::2")

// Another router, and one that went without a successor: nothing is sent to the old one any more.
func TestAnotherRouter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := ready(t)
		r.knock(nexthop.Hop{Gateway: router2, State: nexthop.Unresolved})
		r.expect("hop via log", "4s "+look, "4s hop use fe80::2", "4s via nobody")
		r.after(500 * time.Millisecond)
		r.knock(nexthop.Hop{Gateway: router2, Hardware: otherMAC, State: nexthop.Reachable})
		r.expect("hop via nd log", "4.5s "+look, "4.5s via 02:00:00:00:00:99 from 02:00:00:00:00:05",
			"4.5s log DEBUG next hop of 2001:db8:1::46 on eth0 is fe80::2 (02:00:00:00:00:99)",
			"4.5s nd 2001:db8:1::46 asks for fe80::2, to 02:00:00:00:00:99 from 02:00:00:00:00:05")
		r.set(func(r *rig) { r.fail["hop"] = nexthop.ErrNoRoute })
		r.knock(nexthop.Hop{})
		r.expect("hop via log", "4.5s "+look, "4.5s via nobody") // and the plan says that
		r.after(time.Minute)
		r.set(func(r *rig) { delete(r.fail, "hop") })
		r.knock(nexthop.Hop{Gateway: router, Hardware: routerMAC, State: nexthop.Reachable})
		r.expect("via log", "1m4.5s via 02:00:00:00:00:a1 from 02:00:00:00:00:05",
			"1m4.5s log DEBUG next hop of 2001:db8:1::46 on eth0 is fe80::1 (02:00:00:00:00:a1)")
		r.stop()
	})
}

// Without a next hop it is looked for now and then, and the kernel, which may say nothing, is asked nothing.
func TestNoNextHop(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*rig)
	}{
		{"no route", func(r *rig) { r.fail["hop"] = nexthop.ErrNoRoute }},
		{"a route without a router", func(r *rig) { r.hop = nexthop.Hop{OnLink: true} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, tt.change)
				r.after(12 * time.Second)
				r.expect("hop via log", "0s via nobody", "0s "+look, "5s "+look, "10s "+look)
				r.stop()
			})
		})
	}
}

// What keeps us from finding the next hop is said once, and again when it was found meanwhile.
func TestHopFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const failed = " log WARN finding the next hop on eth0 error=broken"
		const found = " log DEBUG next hop of 2001:db8:1::46 on eth0 is fe80::1 (02:00:00:00:00:a1)"
		r := start(t, func(r *rig) { r.fail["hop"] = errBroken })
		r.after(21 * time.Second)
		r.expect("log", "0s"+failed)
		r.set(func(r *rig) { delete(r.fail, "hop") })
		r.after(5 * time.Second)
		r.expect("log", "25s"+found)
		r.set(func(r *rig) { r.fail["hop"] = errBroken })
		r.after(time.Minute)
		r.expect("via log", "55s"+failed, "55s via nobody")
		r.stop()
	})
	bubble(t, func(t *testing.T) {
		r := start(t, func(r *rig) {
			r.hop = nexthop.Hop{Gateway: router, State: nexthop.Unresolved}
			r.fail["use"] = errBroken
		})
		r.after(time.Minute)
		r.expect("log", "0s log WARN finding the next hop on eth0 error=broken")
		r.stop()
	})
}

// Each holding has its own next hop, toward its own PLAT, and goes on with it whichever is in use.
func TestLookedUpFor(t *testing.T) {
	const looks, otherPLAT = " hop look from 2001:db8:1::47 to 64:ff9b::c000:9", " hop look from 2001:db8:1::46 to 64:ff9b:1::c000:9"
	bubble(t, func(t *testing.T) {
		r := start(t, func(r *rig) { r.want.Hold = []policy.Hold{hold(second), hold(first)} })
		r.expect("hop", "0s"+looks, "0s "+look)
		r.rewant(func(w *Want) { w.Use = first })
		r.expect("hop")
		r.rewant(func(w *Want) { w.Hold[1].PREF64 = other })
		r.expect("hop", "0s"+looks, "0s"+otherPLAT)
		r.rewant(func(w *Want) { w.Optimistic = []netip.Addr{first} }) // which changes nothing
		r.expect("hop")
		r.rewant(func(w *Want) { w.Hold = nil })
		r.after(time.Hour)
		r.expect("hop")
		r.stop()
	})
}
