package uplink

import (
	"net/netip"
	"testing"
	"time"

	"uclat/clat/policy"
	"uclat/clat/pref64"
	"uclat/platform/nexthop"
)

var unknown pref64.Prefix

// The echo requests are for 192.0.0.9, wherever a PREF64 has it (RFC 6052, 2.2).
func TestPLAT(t *testing.T) {
	for p, want := range map[string]string{
		"64:ff9b::/96":          "64:ff9b::c000:9",
		"2001:db8:1:2:0:3::/96": "2001:db8:1:2:0:3:c000:9",
		"2001:db8:1:2::/64":     "2001:db8:1:2:c0:0:900:0",
		"2001:db8:1::/48":       "2001:db8:1:c000:0:900::",
		"2001:db8::/32":         "2001:db8:c000:9::",
	} {
		if got := plat(pref64.MustParse(p)); got != netip.MustParseAddr(want) {
			t.Errorf("behind %s: %v, want %s", p, got, want)
		}
	}
}

// Another PLAT: what was seen holds, and what is to be seen is asked toward the new one, at once.
func TestAnotherPLAT(t *testing.T) {
	const asksOther = "s echo 2001:db8:1::46 to 64:ff9b:1::c000:9"
	bubble(t, func(t *testing.T) {
		r := ready(t)
		r.rewant(func(w *Want) { w.Hold[0].PREF64 = other })
		r.after(time.Hour)
		r.expect("trials echo")
		r.stop()
	})
	// Nothing had answered yet.
	bubble(t, func(t *testing.T) {
		r := start(t, func(r *rig) { r.echo = nothing })
		r.after(30 * time.Second)
		r.expect("")
		r.rewant(func(w *Want) { w.Hold[0].PREF64 = other })
		r.after(10 * time.Second)
		r.expect("trials echo", "30"+asksOther, "31"+asksOther, "32"+asksOther,
			"33s trials 2001:db8:1::46 silent: no answer to 3 echo requests with hop limit 1 to 64:ff9b:1::c000:9, though the router fe80::1 "+
				"answers neighbour solicitations",
			"38"+asksOther, "39"+asksOther, "40"+asksOther)
		r.stop()
	})
	// The old one was being asked.
	bubble(t, func(t *testing.T) {
		r := start(t, func(r *rig) { r.echo = nothing })
		r.after(2500 * time.Millisecond)
		r.expect("")
		r.set(func(r *rig) { r.echo = answers })
		r.rewant(func(w *Want) { w.Hold[0].PREF64 = other })
		r.after(time.Hour)
		r.expect("trials echo", "2.5s trials 2001:db8:1::46 seen",
			"2.5s echo 2001:db8:1::46 to 64:ff9b::c000:9 given up", "2.5"+asksOther)
		r.stop()
	})
	// Again and again, each time before anything came of it.
	bubble(t, func(t *testing.T) {
		r := start(t, func(r *rig) { r.echo = nothing })
		r.after(time.Second)
		for i := range 20 {
			r.rewant(func(w *Want) { w.Hold[0].PREF64 = []pref64.Prefix{other, nat64}[i%2] })
			r.after(time.Millisecond)
		}
		r.set(func(r *rig) { r.echo = answers })
		r.after(time.Second)
		r.expect("trials", "0s trials 2001:db8:1::46 checking", "1s trials 2001:db8:1::46 probing", "2.019s trials 2001:db8:1::46 seen")
		r.stop()
	})
}

// An address whose PREF64 is not known yet is held, and known to be free when it comes.
func TestPREF64IsKnownLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, func(r *rig) { r.want.Hold[0].PREF64 = unknown })
		r.after(time.Hour)
		r.expect("trials nd hop echo via",
			"0s via nobody",
			"0s nd who has 2001:db8:1::46, to 33:33:ff:00:00:46 from 02:00:00:00:00:05",
			"0s trials 2001:db8:1::46 checking",
			"1s nd 2001:db8:1::46 is at 02:00:00:00:00:05, to 33:33:00:00:00:02 from 02:00:00:00:00:05",
			"1s trials 2001:db8:1::46 probing",
			"2s nd 2001:db8:1::46 is at 02:00:00:00:00:05, to 33:33:00:00:00:02 from 02:00:00:00:00:05",
			"3s nd 2001:db8:1::46 is at 02:00:00:00:00:05, to 33:33:00:00:00:02 from 02:00:00:00:00:05")
		r.rewant(func(w *Want) { w.Hold[0].PREF64 = nat64 })
		r.expect("trials nd hop echo via",
			"1h0m0s "+look,
			"1h0m0s via 02:00:00:00:00:a1 from 02:00:00:00:00:05",
			"1h0m0s nd 2001:db8:1::46 asks for fe80::1, to 02:00:00:00:00:a1 from 02:00:00:00:00:05",
			"1h0m0s trials 2001:db8:1::46 seen",
			"1h0m0s echo 2001:db8:1::46 to 64:ff9b::c000:9")
		// It goes, and what was seen holds. Nobody is the next hop to nowhere.
		r.rewant(func(w *Want) { w.Hold[0].PREF64 = unknown })
		r.after(time.Hour)
		r.expect("trials hop echo via", "1h0m0s via nobody")
		r.rewant(func(w *Want) { w.Hold[0].PREF64 = other })
		r.expect("trials echo via", "2h0m0s via 02:00:00:00:00:a1 from 02:00:00:00:00:05")
		r.stop()
	})
	// Where nothing answered, it is asked again when there is whom to ask.
	bubble(t, func(t *testing.T) {
		r := start(t, func(r *rig) { r.echo = nothing })
		r.after(5 * time.Second)
		r.rewant(func(w *Want) { w.Hold[0].PREF64 = unknown })
		r.expect("")
		r.after(time.Hour)
		r.expect("trials echo")
		r.set(func(r *rig) { r.echo = answers })
		r.rewant(func(w *Want) { w.Hold[0].PREF64 = nat64 })
		r.expect("trials echo", "1h0m5s trials 2001:db8:1::46 seen", "1h0m5s echo 2001:db8:1::46 to 64:ff9b::c000:9")
		r.stop()
	})
	// While it is being asked.
	bubble(t, func(t *testing.T) {
		r := start(t, func(r *rig) { r.echo = nothing })
		r.after(1500 * time.Millisecond)
		r.expect("")
		r.rewant(func(w *Want) { w.Hold[0].PREF64 = unknown })
		r.after(time.Hour)
		r.expect("trials echo", "1.5s echo 2001:db8:1::46 to 64:ff9b::c000:9 given up")
		r.stop()
	})
}

// Two generations: each goes by the router that announced its PREF64, and all else by that of the one in use.
func TestTwoPLATs(t *testing.T) {
	const looks = " hop look from 2001:db8:1::47 to 64:ff9b:1::c000:9"
	bubble(t, func(t *testing.T) {
		r := ready(t, func(r *rig) { r.want.Use = first })
		r.set(func(r *rig) { r.hops[plat(other)] = nexthop.Hop{Gateway: router2, State: nexthop.Unresolved} })
		r.rewant(func(w *Want) {
			next := hold(second)
			next.PREF64 = other
			w.Hold = append(w.Hold, next)
		})
		r.expect("hop ways", "4s "+look, "4s"+looks, "4s hop use fe80::2",
			"4s ways 2001:db8:1::46/128: 02:00:00:00:00:a1, 2001:db8:1::47/128: , others: 02:00:00:00:00:a1, from 02:00:00:00:00:05")
		r.set(func(r *rig) {
			r.hops[plat(other)] = nexthop.Hop{Gateway: router2, Hardware: otherMAC, State: nexthop.Reachable}
		})
		r.knock(r.hop)
		r.expect("hop ways log", "4s "+look, "4s"+looks,
			"4s ways 2001:db8:1::46/128: 02:00:00:00:00:a1, 2001:db8:1::47/128: 02:00:00:00:00:99, others: 02:00:00:00:00:a1, from 02:00:00:00:00:05",
			"4s log DEBUG next hop of 2001:db8:1::47 on eth0 is fe80::2 (02:00:00:00:00:99)")
		r.after(4 * time.Second)
		r.expect("nd echo trials",
			"5s nd 2001:db8:1::47 is at 02:00:00:00:00:05, to 33:33:00:00:00:02 from 02:00:00:00:00:05",
			"5s nd 2001:db8:1::47 asks for fe80::2, to 02:00:00:00:00:99 from 02:00:00:00:00:05",
			"5s trials 2001:db8:1::46 seen, 2001:db8:1::47 probing",
			"5s trials 2001:db8:1::46 seen, 2001:db8:1::47 seen",
			"5s echo 2001:db8:1::47 to 64:ff9b:1::c000:9",
			"6s nd 2001:db8:1::47 is at 02:00:00:00:00:05, to 33:33:00:00:00:02 from 02:00:00:00:00:05",
			"6s nd 2001:db8:1::47 asks for fe80::2, to 02:00:00:00:00:99 from 02:00:00:00:00:05",
			"7s nd 2001:db8:1::47 is at 02:00:00:00:00:05, to 33:33:00:00:00:02 from 02:00:00:00:00:05",
			"7s nd 2001:db8:1::47 asks for fe80::2, to 02:00:00:00:00:99 from 02:00:00:00:00:05")
		r.rewant(func(w *Want) { w.Use = second })
		r.expect("hop ways",
			"8s ways 2001:db8:1::46/128: 02:00:00:00:00:a1, 2001:db8:1::47/128: 02:00:00:00:00:99, others: 02:00:00:00:00:99, from 02:00:00:00:00:05")
		r.rewant(func(w *Want) { w.Link.Hardware = newMAC.String() })
		r.expect("ways",
			"8s ways 2001:db8:1::46/128: 02:00:00:00:00:a1, 2001:db8:1::47/128: 02:00:00:00:00:99, others: 02:00:00:00:00:99, from 02:00:00:00:00:06")
		r.rewant(func(w *Want) { w.Hold = w.Hold[1:] })
		r.expect("ways", "8s ways 2001:db8:1::47/128: 02:00:00:00:00:99, others: 02:00:00:00:00:99, from 02:00:00:00:00:06")
		r.rewant(func(w *Want) { w.Hold = nil })
		r.expect("ways", "8s ways , from 02:00:00:00:00:06")
		r.stop()
	})
}

// A router that several go by is asked for once at a look.
func TestOneRouterForSeveral(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := ready(t)
		r.rewant(func(w *Want) {
			next := hold(second)
			next.PREF64 = other
			w.Hold = append(w.Hold, next)
		})
		r.after(4 * time.Second)
		r.set(func(r *rig) { r.sent++ })
		r.expect("")
		r.knock(nexthop.Hop{Gateway: router, Hardware: routerMAC, State: nexthop.Stale})
		r.expect("hop ways", "8s "+look, "8s hop use fe80::1", "8s hop look from 2001:db8:1::47 to 64:ff9b:1::c000:9")
		r.stop()
	})
}

// How soon it is looked again is by the one that has to be looked at first, whichever that is.
func TestPaceOfSeveral(t *testing.T) {
	for i := range 2 {
		bubble(t, func(t *testing.T) {
			r := newRig(t, ethernet)
			r.want.Hold = []policy.Hold{hold(first), hold(second)}
			r.want.Hold[i].PREF64 = other
			r.hops[plat(other)] = nexthop.Hop{Gateway: router2, State: nexthop.Unresolved}
			r.run()
			r.after(1500 * time.Millisecond)
			const use = "s hop use fe80::2"
			looks := []string{"hop look from 2001:db8:1::46 to 64:ff9b::c000:9", "hop look from 2001:db8:1::47 to 64:ff9b:1::c000:9"}
			want := []string{"0s " + looks[0], "0s " + looks[1], "0" + use, "1s " + looks[0], "1s " + looks[1], "1" + use}
			if i == 0 {
				looks = []string{"hop look from 2001:db8:1::46 to 64:ff9b:1::c000:9", "hop look from 2001:db8:1::47 to 64:ff9b::c000:9"}
				want = []string{"0s " + looks[0], "0" + use, "0s " + looks[1], "1s " + looks[0], "1" + use, "1s " + looks[1]}
			}
			r.expect("hop", want...)
			r.stop()
		})
	}
}
