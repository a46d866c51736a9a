package uplink

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"uclat/clat"
	"uclat/clat/policy"
	"uclat/platform"
	"uclat/platform/nexthop"
)

// bubble runs a test in a bubble of its own, where seconds take no time.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

// The group is joined before somebody is asked: else no answer would come in. Nothing is sent by an address before it is known to be free.
func TestAddressIsTried(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t)
		r.after(time.Minute)
		r.expect("link nd trials via echo watch log",
			"0s via nobody",
			"0s link accept [2001:db8:1::46/128]",
			"0s link join for 2001:db8:1::46",
			"0s nd who has 2001:db8:1::46, to 33:33:ff:00:00:46 from 02:00:00:00:00:05",
			"0s via 02:00:00:00:00:a1 from 02:00:00:00:00:05",
			"0s log DEBUG next hop of 2001:db8:1::46 on eth0 is fe80::1 (02:00:00:00:00:a1)",
			"0s trials 2001:db8:1::46 checking",
			"0s watch link 2",
			"1s nd 2001:db8:1::46 is at 02:00:00:00:00:05, to 33:33:00:00:00:02 from 02:00:00:00:00:05",
			"1s nd 2001:db8:1::46 asks for fe80::1, to 02:00:00:00:00:a1 from 02:00:00:00:00:05",
			"1s trials 2001:db8:1::46 probing",
			"1s trials 2001:db8:1::46 seen",
			"1s echo 2001:db8:1::46 to 64:ff9b::c000:9",
			"2s nd 2001:db8:1::46 is at 02:00:00:00:00:05, to 33:33:00:00:00:02 from 02:00:00:00:00:05",
			"3s nd 2001:db8:1::46 is at 02:00:00:00:00:05, to 33:33:00:00:00:02 from 02:00:00:00:00:05")
		r.stop()
		r.expect("link nd echo log", "1m0s link leave for 2001:db8:1::46")
	})
}

// Three requests a second each go without an answer: then it is said what was not seen, and tried again soon, and less and less often.
func TestNothingAnswers(t *testing.T) {
	const asked, unsent = "4s trials 2001:db8:1::46 silent: no answer to 3 echo requests with hop limit 1 to 64:ff9b::c000:9",
		"4s trials 2001:db8:1::46 silent: nothing could be sent"
	refused := func(context.Context) (string, error) { return "", clat.ErrNextHop }
	for _, tt := range []struct {
		name   string
		change func(*rig)
		want   string
	}{
		{"the router answers us", func(*rig) {}, ", though the router fe80::1 answers neighbour solicitations"},
		{"the router is silent", func(r *rig) { r.mute = true },
			", and the router fe80::1 does not answer neighbour solicitations from 2001:db8:1::46"},
		{"the router's link-layer address is not known", func(r *rig) {
			r.echo, r.hop = refused, nexthop.Hop{Gateway: router, State: nexthop.Failed}
		}, ": the router fe80::1 does not tell its link-layer address"},
		{"there is no route", func(r *rig) { r.echo, r.fail["hop"] = refused, nexthop.ErrNoRoute }, ": there is no route to the PREF64"},
		{"the route has no router", func(r *rig) { r.echo, r.hop = refused, nexthop.Hop{OnLink: true} }, ": the route to the PREF64 has no router"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				text := asked
				if strings.HasPrefix(tt.want, ": ") {
					text = unsent
				}
				r := start(t, func(r *rig) { r.echo = nothing }, tt.change)
				r.after(2 * time.Minute)
				r.expect("trials echo",
					"0s trials 2001:db8:1::46 checking",
					"1s trials 2001:db8:1::46 probing",
					"1s echo 2001:db8:1::46 to 64:ff9b::c000:9",
					"2s echo 2001:db8:1::46 to 64:ff9b::c000:9",
					"3s echo 2001:db8:1::46 to 64:ff9b::c000:9",
					text+tt.want,
					"9s echo 2001:db8:1::46 to 64:ff9b::c000:9",
					"10s echo 2001:db8:1::46 to 64:ff9b::c000:9",
					"11s echo 2001:db8:1::46 to 64:ff9b::c000:9",
					"22s echo 2001:db8:1::46 to 64:ff9b::c000:9",
					"23s echo 2001:db8:1::46 to 64:ff9b::c000:9",
					"24s echo 2001:db8:1::46 to 64:ff9b::c000:9",
					"45s echo 2001:db8:1::46 to 64:ff9b::c000:9",
					"46s echo 2001:db8:1::46 to 64:ff9b::c000:9",
					"47s echo 2001:db8:1::46 to 64:ff9b::c000:9",
					"1m28s echo 2001:db8:1::46 to 64:ff9b::c000:9",
					"1m29s echo 2001:db8:1::46 to 64:ff9b::c000:9",
					"1m30s echo 2001:db8:1::46 to 64:ff9b::c000:9") // and the same is no news
				r.set(func(r *rig) { r.echo = answers })
				r.after(time.Minute)
				r.expect("trials echo", "2m31s trials 2001:db8:1::46 seen", "2m31s echo 2001:db8:1::46 to 64:ff9b::c000:9")
				r.after(time.Hour)
				r.expect("trials echo")
				r.stop()
			})
		})
	}
}

// The second and the third request count as much as the first.
func TestLateAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		tries := 0
		r := start(t, func(r *rig) {
			r.echo = func(ctx context.Context) (string, error) {
				if tries++; tries < 3 {
					return nothing(ctx)
				}
				time.Sleep(probeWait - 1)
				return "echo reply", nil
			}
		})
		r.after(time.Minute)
		r.expect("trials", "0s trials 2001:db8:1::46 checking", "1s trials 2001:db8:1::46 probing", "3.999999999s trials 2001:db8:1::46 seen")
		r.stop()
	})
}

func TestDuplicate(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t)
		r.after(time.Second / 2)
		r.hear(advertise(first, allNodes, otherMAC, false), otherMAC)
		r.after(time.Hour)
		r.expect("nd trials echo",
			"0s nd who has 2001:db8:1::46, to 33:33:ff:00:00:46 from 02:00:00:00:00:05",
			"0s trials 2001:db8:1::46 checking",
			"500ms trials 2001:db8:1::46 duplicate: by 02:00:00:00:00:99")
		r.stop()
	})
}

var allNodes = netip.MustParseAddr("ff02::1")

// Who claims the address again and again gets it, also while it is seen whether answers come back to it.
func TestDuplicateLater(t *testing.T) {
	for _, tt := range []struct {
		name string
		echo func(context.Context) (string, error)
		at   time.Duration
		want []string
	}{
		{"in use", answers, time.Minute, []string{
			"1m0s nd 2001:db8:1::46 is at 02:00:00:00:00:05, to 33:33:00:00:00:01 from 02:00:00:00:00:05",
			"1m1s nd 2001:db8:1::46 is at 02:00:00:00:00:05, to 33:33:00:00:00:01 from 02:00:00:00:00:05",
			"1m2s trials 2001:db8:1::46 duplicate: by 02:00:00:00:00:99",
		}},
		{"while a probe is under way", nothing, 87 * time.Second, []string{
			"1m27s nd 2001:db8:1::46 is at 02:00:00:00:00:05, to 33:33:00:00:00:01 from 02:00:00:00:00:05",
			"1m28s nd 2001:db8:1::46 is at 02:00:00:00:00:05, to 33:33:00:00:00:01 from 02:00:00:00:00:05",
			"1m28s echo 2001:db8:1::46 to 64:ff9b::c000:9",
			"1m29s trials 2001:db8:1::46 duplicate: by 02:00:00:00:00:99",
			"1m29s echo 2001:db8:1::46 to 64:ff9b::c000:9",
			"1m29s echo 2001:db8:1::46 to 64:ff9b::c000:9 given up",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, func(r *rig) { r.echo = tt.echo })
				r.after(tt.at)
				r.expect("")
				for range 3 {
					r.hear(advertise(first, allNodes, otherMAC, false), otherMAC)
					r.after(time.Second)
				}
				r.after(time.Hour)
				r.expect("nd trials echo", tt.want...)
				r.stop()
			})
		})
	}
}

// It answers who asks for its address.
func TestSolicited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t)
		r.after(time.Minute)
		r.expect("")
		r.hear(neighbour(solicitation, 0, router, first, first, append([]byte{1, 1}, routerMAC...)), routerMAC)
		r.hear(neighbour(solicitation, 0, router, second, second, append([]byte{1, 1}, routerMAC...)), routerMAC)
		r.hear([]byte("not a packet"), nil)
		r.expect("nd log trials", "1m0s nd 2001:db8:1::46 is at 02:00:00:00:00:05, to 02:00:00:00:00:a1 from 02:00:00:00:00:05")
		r.stop()
	})
}

// An address that was ours is used, and probed, at once; others are not.
func TestOptimistic(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, func(r *rig) {
			r.want.Hold = []policy.Hold{hold(first), hold(second)}
			r.want.Optimistic = []netip.Addr{second}
		})
		r.after(time.Second / 2)
		r.expect("trials echo",
			"0s trials 2001:db8:1::46 checking, 2001:db8:1::47 probing",
			"0s trials 2001:db8:1::46 checking, 2001:db8:1::47 seen",
			"0s echo 2001:db8:1::47 to 64:ff9b::c000:9")
		r.hear(advertise(second, allNodes, otherMAC, false), otherMAC)
		r.expect("trials", "500ms trials 2001:db8:1::46 checking, 2001:db8:1::47 duplicate: by 02:00:00:00:00:99")
		r.stop()
	})
}

// Without probes, an address that is free is as good as one that was seen, and what was not seen is no matter any more.
func TestWithoutProbes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, func(r *rig) { r.want.Probe = false })
		r.after(time.Hour)
		r.expect("trials echo", "0s trials 2001:db8:1::46 checking", "1s trials 2001:db8:1::46 seen")
		r.stop()
	})
	for _, at := range []struct {
		moment time.Duration
		want   []string
	}{
		{1500 * time.Millisecond, []string{"1.5s echo 2001:db8:1::46 to 64:ff9b::c000:9 given up"}},
		{30 * time.Second, nil},
		{89500 * time.Millisecond, []string{"1m29.5s echo 2001:db8:1::46 to 64:ff9b::c000:9 given up"}},
	} {
		bubble(t, func(t *testing.T) {
			r := start(t, func(r *rig) { r.echo = nothing })
			r.after(at.moment)
			r.expect("")
			r.rewant(func(w *Want) { w.Probe = false })
			r.after(time.Hour)
			r.expect("trials echo", append([]string{at.moment.String() + " trials 2001:db8:1::46 seen"}, at.want...)...)
			r.rewant(func(w *Want) { w.Probe = true })
			r.after(time.Hour)
			r.expect("trials echo")
			r.stop()
		})
	}
}

// A prefix that is routed here is nobody else's, and nobody asks for it.
func TestRoutedAddress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, func(r *rig) {
			r.want.Hold = []policy.Hold{{Addrs: netip.MustParsePrefix("2001:db8:c1a7::/96"), PREF64: nat64}}
		})
		r.hear(advertise(netip.MustParseAddr("2001:db8:c1a7::"), allNodes, otherMAC, false), otherMAC)
		r.after(time.Hour)
		r.expect("link nd trials via echo",
			"0s via nobody",
			"0s link accept [2001:db8:c1a7::/96]",
			"0s via 02:00:00:00:00:a1 from 02:00:00:00:00:05",
			"0s trials 2001:db8:c1a7:: probing",
			"0s trials 2001:db8:c1a7:: seen",
			"0s echo 2001:db8:c1a7:: to 64:ff9b::c000:9")
		r.stop()
	})
}

// A link without neighbours has nobody who asks, and no next hop.
func TestLinkWithoutNeighbours(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, platform.Link{Index: 4, Name: "wwan0", MTU: 1500, MTU6: 1500, Up: true})
		r.want.Hold = []policy.Hold{{Addrs: netip.PrefixFrom(first, 128), PREF64: nat64}}
		r.echo = nothing
		r.run()
		r.after(62 * time.Second)
		r.set(func(r *rig) { r.echo = answers })
		r.after(time.Hour)
		const unseen = "no answer to 3 echo requests with hop limit 1 to 64:ff9b::c000:9"
		r.expect("link nd trials via hop watch log",
			"0s link accept [2001:db8:1::46/128]",
			"0s trials 2001:db8:1::46 probing",
			"3s trials 2001:db8:1::46 silent: "+unseen,
			"1m27s trials 2001:db8:1::46 seen")
		r.stop()
	})
}
