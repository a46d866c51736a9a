package uplink

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"uclat/clat/policy"
	"uclat/clat/pref64"
	"uclat/platform/nexthop"
)

// Another address comes, and then the old one goes: the new one is made known to the router as the first was.
func TestAddressComesAndGoes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := ready(t)
		r.rewant(func(w *Want) { w.Hold = append(w.Hold, hold(second)) })
		r.after(1500 * time.Millisecond)
		r.expect("link nd trials echo",
			"4s link accept [2001:db8:1::46/128 2001:db8:1::47/128]",
			"4s link join for 2001:db8:1::47",
			"4s nd who has 2001:db8:1::47, to 33:33:ff:00:00:47 from 02:00:00:00:00:05",
			"4s trials 2001:db8:1::46 seen, 2001:db8:1::47 checking",
			"5s nd 2001:db8:1::47 is at 02:00:00:00:00:05, to 33:33:00:00:00:02 from 02:00:00:00:00:05",
			"5s nd 2001:db8:1::47 asks for fe80::1, to 02:00:00:00:00:a1 from 02:00:00:00:00:05",
			"5s trials 2001:db8:1::46 seen, 2001:db8:1::47 probing",
			"5s trials 2001:db8:1::46 seen, 2001:db8:1::47 seen",
			"5s echo 2001:db8:1::47 to 64:ff9b::c000:9")
		r.rewant(func(w *Want) { w.Hold, w.Use = w.Hold[1:], second })
		r.expect("link trials",
			"5.5s link leave for 2001:db8:1::46",
			"5.5s link accept [2001:db8:1::47/128]",
			"5.5s trials 2001:db8:1::47 seen")
		// It answers for the first no more.
		r.hear(neighbour(solicitation, 0, router, first, first, append([]byte{1, 1}, routerMAC...)), routerMAC)
		r.expect("nd")
		r.rewant(func(w *Want) { w.Hold = nil })
		r.after(time.Hour)
		r.expect("link nd trials", "5.5s link leave for 2001:db8:1::47", "5.5s link accept []", "5.5s trials ")
		r.stop()
	})
}

// What is given up while it is tried leaves nothing, and comes back as if it had never been there.
func TestGivenUpWhileTried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, func(r *rig) { r.echo = nothing })
		r.after(time.Second / 2)
		r.rewant(func(w *Want) { w.Hold[0] = hold(second) })
		r.after(1500 * time.Millisecond)
		r.expect("link trials echo",
			"0s link accept [2001:db8:1::46/128]", "0s link join for 2001:db8:1::46", "0s trials 2001:db8:1::46 checking",
			"500ms link leave for 2001:db8:1::46", "500ms link accept [2001:db8:1::47/128]", "500ms link join for 2001:db8:1::47",
			"500ms trials 2001:db8:1::47 checking",
			"1.5s trials 2001:db8:1::47 probing",
			"1.5s echo 2001:db8:1::47 to 64:ff9b::c000:9")
		r.set(func(r *rig) { r.echo = answers })
		r.rewant(func(w *Want) { w.Hold[0] = hold(first) })
		r.after(2 * time.Second)
		r.expect("trials echo",
			"2s trials 2001:db8:1::46 checking",
			"2s echo 2001:db8:1::47 to 64:ff9b::c000:9 given up",
			"3s trials 2001:db8:1::46 probing", "3s trials 2001:db8:1::46 seen",
			"3s echo 2001:db8:1::46 to 64:ff9b::c000:9")
		r.stop()
	})
}

// A link that takes another link-layer address sends by that one from then on, and says so to everybody.
func TestLinkLayerAddressChanges(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := ready(t)
		r.rewant(func(w *Want) { w.Link.Hardware = newMAC.String() })
		r.after(time.Second / 2)
		r.expect("via nd trials log",
			"4s via 02:00:00:00:00:a1 from 02:00:00:00:00:06",
			"4s nd 2001:db8:1::46 is at 02:00:00:00:00:06, to 33:33:00:00:00:01 from 02:00:00:00:00:06",
			"4s nd 2001:db8:1::46 asks for fe80::1, to 02:00:00:00:00:a1 from 02:00:00:00:00:06")
		r.stop()
	})
	// The same, told again or spelled otherwise, is none.
	bubble(t, func(t *testing.T) {
		r := ready(t)
		r.rewant(func(w *Want) { w.Link.Hardware = strings.ReplaceAll(w.Link.Hardware, ":", "-") })
		r.rewant(func(w *Want) { w.Link.MTU = 1280 })
		r.after(time.Second)
		r.expect("via nd hop trials log")
		r.stop()
	})
	// While the address is being checked, that begins anew.
	bubble(t, func(t *testing.T) {
		r := start(t)
		r.after(time.Second / 2)
		r.expect("")
		r.rewant(func(w *Want) { w.Link.Hardware = newMAC.String() })
		r.after(1500 * time.Millisecond)
		r.expect("trials", "2s trials 2001:db8:1::46 probing", "2s trials 2001:db8:1::46 seen")
		r.stop()
	})
}

// Nobody waits for it: of two that were told before it had time for one, the last counts.
func TestLastWantCounts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, ethernet)
		for range 3 {
			r.uplink.Want(Want{Link: ethernet, Hold: []policy.Hold{hold(second)}})
		}
		r.run()
		r.expect("link", "0s link accept [2001:db8:1::46/128]", "0s link join for 2001:db8:1::46")
		r.stop()
	})
}

// Whatever fails for good ends it, and nothing of ours stays.
func TestRunFails(t *testing.T) {
	for _, moment := range []time.Duration{0, 500 * time.Millisecond, 1500 * time.Millisecond, time.Minute, 89 * time.Second} {
		for _, tt := range []struct {
			name  string
			spoil func(*rig)
		}{
			{"the link", func(r *rig) { r.broken <- errBroken }},
			{"watching the next hop", func(r *rig) { r.blinded <- errBroken }},
		} {
			t.Run(tt.name+" after "+moment.String(), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := start(t, func(r *rig) { r.echo = nothing })
					r.after(moment)
					tt.spoil(r)
					if err := <-r.ended; !errors.Is(err, errBroken) {
						t.Error(err)
					}
					r.left()
				})
			})
		}
	}
}

// The end of the link is none of Run's errors when Run was to end anyway.
func TestLinkIsClosedBeforeTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t)
		r.cancel()
		close(r.closed)
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
		r.closed = make(chan struct{})
		r.left()
	})
	bubble(t, func(t *testing.T) {
		r := start(t)
		close(r.closed)
		if err := <-r.ended; !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
		r.closed = make(chan struct{})
		r.left()
	})
}

// It may end in every state; a request that is under way is given up.
func TestEnds(t *testing.T) {
	for _, moment := range []time.Duration{0, 500 * time.Millisecond, time.Second, 1500 * time.Millisecond, 3 * time.Second, 4 * time.Second,
		time.Minute, 88 * time.Second, 89500 * time.Millisecond} {
		for _, hop := range []nexthop.Hop{{}, {Gateway: router}, {Gateway: router, Hardware: routerMAC, State: nexthop.Reachable}} {
			bubble(t, func(t *testing.T) {
				var under int
				r := start(t, func(r *rig) {
					r.hop = hop
					r.echo = func(ctx context.Context) (string, error) {
						r.set(func(*rig) { under++ })
						defer r.set(func(*rig) { under-- })
						return nothing(ctx)
					}
				})
				r.after(moment)
				r.stop()
				if under != 0 {
					t.Errorf("%v: %d echo requests are under way", moment, under)
				}
			})
		}
	}
}

// What a probe came to may be on its way in the moment in which it does not matter any more.
func TestAnsweredTooLate(t *testing.T) {
	for _, tt := range []struct {
		name   string
		state  policy.TrialState
		probe  bool
		toward pref64.Prefix
	}{
		{"somebody else has the address", policy.Duplicate, true, nat64},
		{"nobody asks any more", policy.Seen, false, nat64},
		{"another PREF64 is to be asked", policy.Probing, true, other},
	} {
		for _, answer := range []string{"", "time exceeded"} {
			s := newStation(New(Options{Link: ethernet}))
			s.is.Probe, s.probes = tt.probe, 1
			h := &holding{Hold: hold(first), state: tt.state, probe: func() {}}
			s.answered(probe{of: h, toward: tt.toward, answer: answer})
			if h.state != tt.state || h.detail != "" || !h.again.IsZero() || h.probe != nil || s.probes != 0 {
				t.Errorf("%s, %q: %+v, %d probes", tt.name, answer, h, s.probes)
			}
		}
	}
}
