package uplink

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

var errBroken = errors.New("broken")

// What fails at a neighbour's is said, and what can go on goes on.
func TestLinkRefuses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, func(r *rig) {
			r.fail["accept"], r.fail["join"] = errBroken, errBroken
		})
		r.after(1500 * time.Millisecond)
		r.set(func(r *rig) { r.fail["send"] = errBroken })
		r.after(time.Second)
		r.expect("log trials",
			"0s log WARN listening for our addresses on eth0 error=broken",
			"0s log WARN joining the multicast group of 2001:db8:1::46 on eth0: neighbours may not find us error=broken",
			"0s log DEBUG next hop of 2001:db8:1::46 on eth0 is fe80::1 (02:00:00:00:00:a1)",
			"0s trials 2001:db8:1::46 checking",
			"1s trials 2001:db8:1::46 probing",
			"1s trials 2001:db8:1::46 seen",
			"2s log DEBUG sending neighbour discovery on eth0 error=broken")
		r.stop()
	})
	bubble(t, func(t *testing.T) {
		r := start(t, func(r *rig) { r.fail["leave"] = errBroken })
		r.expect("")
		r.stop()
		r.expect("log", "0s log DEBUG leaving a multicast group on eth0 error=broken")
	})
}

// An address that nobody could be asked for is not free: it is asked until that leaves, and then the answer is waited for.
func TestNobodyWasAsked(t *testing.T) {
	const asks = " nd who has 2001:db8:1::46, to 33:33:ff:00:00:46 from 02:00:00:00:00:05"
	const failed = "0s log WARN asking whether somebody has 2001:db8:1::46 on eth0: it is tried each second error=broken"
	fails := func(r *rig) { r.fail["send"] = errBroken }
	works := func(r *rig) { delete(r.fail, "send") }
	bubble(t, func(t *testing.T) {
		r := start(t, fails)
		r.after(2500 * time.Millisecond)
		r.set(works)
		r.after(1500*time.Millisecond - 1)
		r.expect("nd trials log", "0s"+asks, failed, "0s log DEBUG next hop of 2001:db8:1::46 on eth0 is fe80::1 (02:00:00:00:00:a1)",
			"0s trials 2001:db8:1::46 checking", "1s"+asks, "2s"+asks, "3s"+asks)
		r.after(1)
		r.expect("trials", "4s trials 2001:db8:1::46 probing", "4s trials 2001:db8:1::46 seen")
		r.after(time.Minute)
		r.expect("log")
		r.stop()
	})
	// What comes in meanwhile does not cut it short, and counts.
	bubble(t, func(t *testing.T) {
		r := start(t, fails)
		for range 50 {
			r.hear(neighbour(solicitation, 0, router, first, first, append([]byte{1, 1}, routerMAC...)), routerMAC)
			r.after(100 * time.Millisecond)
		}
		r.expect("nd trials", "0s"+asks, "0s trials 2001:db8:1::46 checking", "1s"+asks, "2s"+asks, "3s"+asks, "4s"+asks, "5s"+asks)
		r.hear(advertise(first, allNodes, otherMAC, false), otherMAC)
		r.after(time.Minute)
		r.expect("nd trials", "5s trials 2001:db8:1::46 duplicate: by 02:00:00:00:00:99")
		r.stop()
	})
	// One that is used meanwhile is given up, should the first who could be asked have it.
	bubble(t, func(t *testing.T) {
		r := start(t, fails, func(r *rig) { r.want.Optimistic = []netip.Addr{first} })
		r.after(9500 * time.Millisecond)
		r.expect("trials", "0s trials 2001:db8:1::46 probing", "0s trials 2001:db8:1::46 seen")
		r.set(works)
		r.after(time.Second)
		r.expect("nd", "10s"+asks)
		r.hear(advertise(first, allNodes, otherMAC, false), otherMAC)
		r.expect("trials", "10.5s trials 2001:db8:1::46 duplicate: by 02:00:00:00:00:99")
		r.stop()
	})
	// However much could not be sent, it takes one solicitation.
	bubble(t, func(t *testing.T) {
		r := start(t, fails, func(r *rig) { r.want.Optimistic = []netip.Addr{first} })
		for range 100 {
			r.hear(neighbour(solicitation, 0, router, first, first, append([]byte{1, 1}, routerMAC...)), routerMAC)
		}
		r.after(9500 * time.Millisecond)
		r.expect("")
		r.set(works)
		r.after(30 * time.Second)
		r.expect("nd", "10s"+asks, "11s nd 2001:db8:1::46 asks for fe80::1, to 02:00:00:00:00:a1 from 02:00:00:00:00:05")
		r.stop()
	})
}

// A group that cannot be joined is tried again as long as the address is held, and that is said once.
func TestJoinedLater(t *testing.T) {
	const join = " link join for 2001:db8:1::46"
	fails := func(r *rig) { r.fail["join"] = errBroken }
	works := func(r *rig) { delete(r.fail, "join") }
	bubble(t, func(t *testing.T) {
		r := start(t, fails)
		r.expect("log", "0s log WARN joining the multicast group of 2001:db8:1::46 on eth0: neighbours may not find us error=broken",
			"0s log DEBUG next hop of 2001:db8:1::46 on eth0 is fe80::1 (02:00:00:00:00:a1)")
		r.after(7 * time.Second)
		r.knock(r.hop) // the next hop's pace is another one
		r.after(73 * time.Second)
		r.expect("link log", "30s"+join, "1m0s"+join)
		r.set(works)
		r.after(time.Hour)
		r.expect("link log", "1m30s"+join, "1m30s log INFO joined the multicast group of 2001:db8:1::46 on eth0")
		r.stop()
		r.expect("link", "1h1m20s link leave for 2001:db8:1::46")
	})
	bubble(t, func(t *testing.T) {
		r := start(t, fails)
		r.after(40 * time.Second)
		r.expect("")
		r.rewant(func(w *Want) { w.Hold = nil })
		r.after(time.Hour)
		r.expect("link", "40s link accept []")
		r.stop()
	})
}
