package daemon

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"uclat/platform"
)

// ups is a host whose uplink got carrier so often.
func ups(n int) func(*platform.Snapshot) {
	return func(s *platform.Snapshot) { s.Links[0].Ups = n }
}

// Carrier that was lost and came back between two looks may be that of another network: what was said there is forgotten, routers and resolvers
// are asked anew, and the address is tried anew. It is too late for what resolvers said before; an advertisement may be of the new one.
func TestCarrierComesBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "", laptop(slaac, ups(1)))
		r.routers.announce(announces(24*time.Hour, wkp))
		r.after(2 * time.Second)
		r.forget()
		r.routers.solicited()
		r.resolvers.knockedOn()

		r.resolvers.find(24*time.Hour, wkp) // of the old network: nobody has looked
		r.eyes.change(laptop(slaac, ups(2)), nil)
		r.after(settle)
		r.expect(closeLink, kept(4))
		if got := r.routers.solicited(); !slices.Equal(got, []int{2}) {
			t.Errorf("routers are solicited on %d", got)
		}
		if got := r.resolvers.knockedOn(); !slices.Equal(got, []int{2}) {
			t.Errorf("resolvers are asked anew on %d", got)
		}
		if got := r.routers.heardOn(); !slices.Equal(got, []string{"eth0"}) {
			t.Errorf("listens on %q", got)
		}
		r.routers.announce(announces(time.Hour, nsp))
		r.after(2 * time.Second)
		r.expect(openLink, change(checking(first), byRA(nsp, "appeared for 1h0m0s")), probing(first), packetHost,
			flows(onRAs(nsp, first), lost(4, wkp)))
		r.routers.announce(announces(time.Hour, wkp))
		r.eyes.change(laptop(slaac, ups(3)), nil)
		r.after(2 * time.Second)
		r.expect(closeLink, openLink, kept(4), change(checking(first), byRA(wkp, "appeared for 1h0m0s")), probing(first), packetHost,
			flows(onRAs(wkp, first), lost(4, nsp)))
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}

// A router that repeats itself is no news, and what it repeated on the old network is none of the new one. Its lifetime begins when it was heard.
func TestRouterRepeatsItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, discovered, laptop(ups(1)))
		r.forget()
		for range 10 {
			r.routers.announce(announces(time.Hour, wkp))
			r.after(time.Minute)
		}
		r.expect(openTUN, full, change(onRA(wkp), byRA(wkp, "appeared for 1h0m0s")), firewalls)
		looks := r.eyes.looked()
		for range 30 {
			r.routers.announce(announces(time.Hour, wkp))
			r.after(time.Minute)
		}
		if n := r.eyes.looked() - looks; n > 1 {
			t.Errorf("looked %d times though nothing changed", n)
		}
		r.after(59*time.Minute - time.Second) // since the last
		r.expect()
		r.after(time.Second + 2*moment)
		r.expect(nothing, closeTUN, stopped, change(noPREF64, byRA(wkp, "expired")))

		r.routers.announce(announces(time.Hour, wkp))
		r.after(time.Minute)
		r.forget()
		r.routers.announce(announces(time.Hour, wkp)) // again, and nobody looks
		r.after(time.Minute)
		r.eyes.change(laptop(ups(2)), nil)
		r.after(2 * time.Second)
		r.expect(nothing, closeTUN, stopped, noPREF64)
		r.routers.announce(announces(time.Hour, wkp)) // the same, and it is news
		r.after(settle)
		r.expect(openTUN, full, change(onRA(wkp), byRA(wkp, "appeared for 1h0m0s")), firewalls)
		_ = r.stop()
	})
}

// So it is when the loss was seen.
func TestCarrierIsLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, discovered, laptop(ups(1)))
		r.resolvers.find(24*time.Hour, wkp)
		r.after(time.Second)
		r.forget()
		r.eyes.change(laptop(down, ups(1)), nil)
		r.after(settle)
		r.expect(nothing, closeTUN, stopped)
		r.after(moment)
		r.expect(noUplink)
		r.routers.announce(announces(24*time.Hour, nsp)) // which was under way
		r.resolvers.find(24*time.Hour, wkp)
		r.after(time.Second)
		r.eyes.change(laptop(ups(2)), nil)
		r.after(2 * time.Second)
		r.expect(noPREF64)
		r.resolvers.find(24*time.Hour, nsp)
		r.after(time.Second)
		r.expect(openTUN, kernelOf(nsp, 4), change(strings.Replace(onDNS, wkp, nsp, 1), byDNS(nsp, "appeared for 24h0m0s")), firewalls)
		_ = r.stop()
	})
}

// withEth1 is a host with a second interface that leads nowhere, yet.
func withEth1(change func(*platform.Link)) func(*platform.Snapshot) {
	return func(s *platform.Snapshot) {
		l := platform.Link{Index: 7, Name: "eth1", MTU: 1500, MTU6: 1500, Up: true, L2: true, Hardware: "02:00:00:00:00:07"}
		change(&l)
		s.Links = append(s.Links, l)
	}
}

// Routers of a link that comes up are solicited for a while though there is no default route by it: they give it. Those of a link that was
// there before are not, nor of one where no uplink can be.
func TestLinkComesUp(t *testing.T) {
	none := func(*platform.Link) {}
	for _, tt := range []struct {
		name          string
		before, after platform.Snapshot
		solicited     bool
	}{
		{"it was there", laptop(withEth1(none)), laptop(withEth1(none), withIPv4), false},
		{"it is new", laptop(), laptop(withEth1(none)), true},
		{"it got carrier", laptop(withEth1(func(l *platform.Link) { l.Up = false })), laptop(withEth1(none)), true},
		{"it lost carrier in between", laptop(withEth1(func(l *platform.Link) { l.Ups = 1 })), laptop(withEth1(func(l *platform.Link) { l.Ups = 2 })),
			true},
		{"a port of a bridge", laptop(), laptop(withEth1(func(l *platform.Link) { l.Port = true })), false},
		{"a tunnel", laptop(), laptop(withEth1(func(l *platform.Link) { l.L2 = false })), false},
		{"our own", laptop(), laptop(withEth1(func(l *platform.Link) { l.Name = "clat0" })), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, "mode = 'on'\n"+pinned, tt.before)
				r.after(time.Minute)
				is := func(want bool, when string) {
					t.Helper()
					if got := slices.Contains(r.routers.heardOn(), "eth1"); got != want {
						t.Errorf("%s: solicited is %v", when, got)
					}
				}
				is(false, "before")
				r.eyes.change(tt.after, nil)
				r.after(settle)
				is(tt.solicited, "at once")
				r.after(upTime - settle)
				is(tt.solicited, "for a while")
				looks := r.eyes.looked()
				r.after(settle)
				is(false, "later")
				r.after(time.Hour)
				is(false, "later")
				if n := r.eyes.looked() - looks; n > 1 {
					t.Errorf("looked %d times in an hour in which nothing happened", n)
				}
				_ = r.stop()
			})
		})
	}
}

// What comes of it: the first advertisement brings the default route, the address and the PREF64, and all of it is there.
func TestLinkComesUpWithAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "", laptop(slaac, down))
		r.expect(append(slices.Clone(triedTUN), noUplink)...)
		r.eyes.change(laptop(slaac, withoutRouter, func(s *platform.Snapshot) { s.Addrs = nil }), nil)
		r.after(settle)
		if got := r.routers.heardOn(); !slices.Equal(got, []string{"eth0"}) {
			t.Fatalf("listens on %q", got)
		}
		r.routers.announce(announces(time.Hour, wkp)) // before the kernel has made of it what it makes
		r.after(100 * time.Millisecond)
		r.expect()
		r.eyes.change(laptop(slaac), nil)
		r.after(settle + time.Second + 5*latency)
		r.expect(openLink, checking(first), probing(first), openTUN4, packetHost, onRAs(wkp, first))
		if r.resolvers.wereAsked() {
			t.Error("resolvers were asked")
		}
		_ = r.stop()
	})
}

// While the host was suspended, anything may have changed: all are asked anew. Whose lifetime is over meanwhile, is no more.
func TestSuspend(t *testing.T) {
	const awake = `level=INFO msg="the host was suspended, asking routers and resolvers anew" for=`
	bubble(t, func(t *testing.T) {
		r := start(t, discovered, laptop())
		r.resolvers.find(24*time.Hour, wkp)
		r.after(time.Second)
		r.forget()
		r.routers.solicited()
		knocked := r.resolvers.knocked()
		for _, d := range []time.Duration{8 * time.Hour, 90 * time.Second, time.Second} {
			r.eyes.suspend(d)
			r.after(time.Second)
			r.expect(awake + d.String())
			if got := r.routers.solicited(); !slices.Equal(got, []int{2}) {
				t.Errorf("routers are solicited on %d", got)
			}
			if knocked++; r.resolvers.knocked() != knocked {
				t.Error("resolvers are not asked anew")
			}
		}
		r.eyes.suspend(500 * time.Millisecond) // of which the clocks differ anyway
		r.after(time.Second)
		r.expect()
		_ = r.stop()
	})
	bubble(t, func(t *testing.T) { // who wakes up and finds another network
		r, o := newRig(t, discovered, laptop(ups(1)))
		asleep := time.Duration(0)
		o.Now = func() time.Time { return time.Now().Add(asleep) }
		r.run(o)
		r.resolvers.find(time.Hour, wkp)
		r.after(time.Second)
		r.forget()
		asleep = 2 * time.Hour
		r.eyes.suspend(asleep)
		r.after(2 * time.Second)
		r.expect(awake+"2h0m0s", nothing, closeTUN, stopped, change(noPREF64, byDNS(wkp, "expired")))
		_ = r.stop()
	})
}

// A PREF64 through which nothing comes back is not used for ten minutes where there is another one. Where there is none, it is better than nothing.
func TestSuspectIsLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "probe.targets = ['192.0.2.1']", laptop(slaac))
		r.routers.announce(announces(24*time.Hour, wkp))
		r.resolvers.find(24*time.Hour, nsp)
		r.after(2 * time.Minute)
		suspect := func(prefix string) string {
			return fmt.Sprintf(`level=WARN msg="PREF64 %s is suspect: none of probe.targets ([192.0.2.1]) answered 3 times in a row"`, prefix)
		}
		if said := r.forget(); !slices.Equal(said[len(said)-2:], []string{suspect(wkp),
			flows(onDNSs(nsp, first), "those of 100.64.46.4 through 64:ff9b::/96 are lost")}) {
			t.Errorf("%q", said)
		}
		if got := r.through("100.64.46.4"); got != first+" 2001:db8:64::c000:201" {
			t.Errorf("leaves as %s", got)
		}
		r.lan.set(func(l *fakeLAN) { l.pong = true })
		r.after(suspicion)
		got := r.forget()
		if last := got[len(got)-1]; !strings.Contains(last, "PREF64 "+wkp) {
			t.Errorf("after ten minutes: %q", got)
		}
		_ = r.stop()
	})
}

// Whoever sends too many advertisements keeps nobody on other links from being heard, and the daemon from nothing.
func TestFloodOfAdvertisements(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, discovered, laptop(withEth1(func(*platform.Link) {})))
		r.resolvers.find(24*time.Hour, wkp)
		r.after(time.Minute)
		r.forget()
		looks := r.eyes.looked()
		for i := range 6000 { // in a minute
			a := by(fmt.Sprintf("fe80::%x", 2+i), announces(time.Hour, fmt.Sprintf("2001:db8:%x::/96", i)))
			a.Link = 7
			r.routers.announce(a)
			if i == 5500 {
				r.routers.announce(announces(time.Hour, nsp))
			}
			r.after(10 * time.Millisecond)
		}
		if n := r.eyes.looked() - looks; n > swarm+61 {
			t.Errorf("looked %d times in a minute", n)
		}
		r.after(time.Second)
		r.expect(kernelOf(nsp+" "+wkp, 6, 4), flows(change(onRA(nsp), byRA(nsp, "appeared for 1h0m0s")),
			"those of 100.64.46.4 go on through 64:ff9b::/96; new ones are of 100.64.46.6"))
		for i := range 10 * maxReports { // all at once
			a := by(fmt.Sprintf("fe80::%x", 2+i), announces(time.Hour, nsp))
			a.Link = 7
			r.routers.announce(a)
		}
		r.routers.announce(announces(0, nsp))
		r.after(time.Second)
		r.expect(kernelOf(wkp, 4), flows(change(onDNS, byRA(nsp, "withdrawn")), "those of 100.64.46.6 are lost; new ones are of 100.64.46.4"))
		r.routers.announce(announces(time.Hour, nsp))
		r.after(time.Second)
		r.forget()
		if got := r.resolvers.askedOn(); len(got) > 0 {
			t.Errorf("resolvers are asked on %q", got)
		}
		_ = r.stop()
	})
}
