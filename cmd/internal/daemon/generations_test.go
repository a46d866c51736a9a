package daemon

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"uclat/clat/policy"
	"uclat/clat/pref64"
	"uclat/platform"
)

// through sends a packet from an IPv4 address of the host, and says how it left on path packet.
func (r *rig) through(from string) string {
	r.tuns.current().in <- udp4(from, "192.0.2.1")
	select {
	case out := <-r.lan.current().out:
		return source(out) + " " + destination(out)
	case <-time.After(time.Second):
		return "nothing"
	}
}

// startLearned is a daemon on path packet that is on with what a resolver told, whose router then tells another PREF64: new connections
// use 100.64.46.6.
func startLearned(t *testing.T) *rig {
	t.Helper()
	r := start(t, "", laptop(slaac))
	r.resolvers.find(24*time.Hour, wkp)
	r.after(2 * time.Second)
	r.forget()
	r.routers.announce(announces(24*time.Hour, nsp))
	r.after(2 * time.Second)
	r.expect(hostOf(6, 4), flows(change(onRAs(nsp, ofSecond), byRA(nsp, "appeared for 24h0m0s")),
		"those of 100.64.46.4 go on through 64:ff9b::/96; new ones are of 100.64.46.6"))
	return r
}

// Each IPv4 address goes by the pair that it began with, until nobody uses it any more.
func TestOldGenerationGoesWhenUnused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startLearned(t)
		link := r.lan.current()
		for range 5 {
			r.after(9 * time.Minute)
			if got, want := r.through("100.64.46.4"), first+" 64:ff9b::c000:201"; got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if got, want := r.through("100.64.46.6"), ofSecond+" 2001:db8:64::c000:201"; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		r.expect()
		if got := r.lan.accepted(); !slices.Equal(got, []string{first, ofSecond}) {
			t.Errorf("listens for %q", got)
		}
		r.after(9 * time.Minute)
		r.expect()
		r.after(2 * usePeriod)
		r.expect(hostOf(6), info("connections: 100.64.46.4 is no longer an address of this host: it was old"))
		if got := r.lan.accepted(); !slices.Equal(got, []string{ofSecond}) || r.lan.current() != link {
			t.Errorf("listens for %q", got)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}

// So does one that is always in use, at last.
func TestOldGenerationGoesAfterTwoHours(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startLearned(t)
		for range 14 {
			r.after(8*time.Minute + 30*time.Second)
			if got, want := r.through("100.64.46.4"), first+" 64:ff9b::c000:201"; got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		r.expect()
		r.after(2 * time.Minute)
		r.expect(hostOf(6), info("connections: 100.64.46.4 is no longer an address of this host: it was old"))
		_ = r.stop()
	})
}

// What a router takes back is over at once. Where something else was in use before, that is what new connections use, and the others live on
// through it from the addresses that they have.
func TestRouterTakesBackOnPacketPath(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startLearned(t)
		r.routers.announce(announces(0, nsp))
		r.after(settle)
		r.expect(hostOf(4, 6), flows(change(onDNSs(wkp, first), byRA(nsp, "withdrawn")),
			"those of 100.64.46.6 through 2001:db8:64::/96 are lost; new ones are of 100.64.46.4"))
		for from, want := range map[string]string{"100.64.46.4": first, "100.64.46.6": ofSecond} {
			if got := r.through(from); got != want+" 64:ff9b::c000:201" {
				t.Errorf("%s leaves as %s", from, got)
			}
		}
		_ = r.stop()
	})
}

// Of two that one router tells, the other one takes over at once: the address stays, and sockets that are bound to it.
func TestLifetimeZeroWithAnAlternative(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "", laptop(slaac))
		r.routers.announce(announces(time.Hour, wkp, nsp))
		r.after(2 * time.Second)
		r.forget()
		r.routers.announce(announces(0, wkp))
		r.after(settle)
		r.expect(flows(change(onRAs(nsp, first), byRA(wkp, "withdrawn")), "those of 100.64.46.4 through 64:ff9b::/96 are lost"))
		if got := r.through("100.64.46.4"); got != first+" 2001:db8:64::c000:201" {
			t.Errorf("leaves as %s", got)
		}
		_ = r.stop()
	})
}

// Without an alternative IPv4 goes, the default route first, and a while later the TUN. The address stays ours, so that IPv4 is back at the next
// look.
func TestLifetimeZeroWithout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "", laptop(slaac))
		r.routers.announce(announces(time.Hour, wkp))
		r.after(2 * time.Second)
		r.forget()
		for range 3 {
			r.routers.announce(announces(0, wkp))
			r.after(settle)
			r.expect(kept(4))
			r.after(moment)
			r.expect(change(noPREF64, byRA(wkp, "withdrawn")))
			r.after(time.Minute)
			r.expect(nothing, closeTUN, stopped)
			if got := r.lan.accepted(); !slices.Equal(got, []string{first}) {
				t.Errorf("holds %q", got)
			}
			if got := r.resolvers.askedOn(); !slices.Equal(got, []string{"eth0"}) {
				t.Errorf("resolvers are asked on %q", got)
			}
			r.routers.announce(announces(time.Hour, nsp))
			r.after(settle)
			r.expect(openTUN4, packetHost, change(onRAs(nsp, first), byRA(nsp, "appeared for 1h0m0s")))
			r.routers.announce(announces(time.Hour, wkp))
			r.routers.announce(announces(0, nsp))
			r.after(time.Minute)
			r.forget()
		}
		_ = r.stop()
		r.expect(goesDown...)
	})
}

// Packets go to the router that announced their PREF64.
func TestTwoRouters(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "", laptop(slaac, withRoute("::/0", "fe80::2")))
		r.routers.announce(announces(time.Hour, wkp))
		r.after(2 * time.Second)
		r.routers.announce(by("fe80::2", announces(time.Hour, nsp)))
		r.after(2 * time.Second)
		if got := r.lan.hopOf(first); got != "02:00:00:00:00:a1" {
			t.Errorf("goes to %s", got)
		}
		r.forget()
		r.routers.announce(announces(0, wkp))
		r.after(settle)
		r.expect(flows(change(strings.Replace(onRAs(nsp, first), "fe80::1", "fe80::2", 1), byRA(wkp, "withdrawn")),
			"those of 100.64.46.4 through 64:ff9b::/96 are lost"))
		if got := r.lan.hopOf(first); got != "02:00:00:00:00:a2" {
			t.Errorf("goes to %s", got)
		}
		// The router is gone, and with it what it told: a default route that is not there leads nowhere.
		r.eyes.change(laptop(slaac), nil)
		r.after(2 * time.Second)
		r.expect(kept(4), noPREF64)
		_ = r.stop()
	})
}

// There are never more than four, and the one that goes is the oldest.
func TestFourGenerations(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac))
		host := laptop(slaac)
		for i, want := range []string{"6 4", "7 6 4", "1 7 6 4", "4 1 7 6", "6 4 1 7"} {
			host.Addrs = slices.Clone(host.Addrs)
			host.Addrs[i].Deprecated = true
			host.Addrs = append(host.Addrs, platform.Address{Link: 2, Prefix: netip.MustParsePrefix(fmt.Sprintf("2001:db8:%d::5/64", 2+i)),
				Autoconf: true})
			r.eyes.change(host, nil)
			r.after(time.Minute)
			if got := r.host.addrs(); got != want {
				t.Errorf("%d: %s, want %s", i, got, want)
			}
			if held := r.lan.accepted(); len(held) != len(strings.Fields(want)) {
				t.Errorf("%d: listens for %q", i, held)
			}
		}
		said := r.forget()
		if last, want := said[len(said)-1], "those of 100.64.46.6 through 64:ff9b::/96 are lost; new ones are of 100.64.46.6"; !strings.Contains(last, want) {
			t.Errorf("%s: not %s", last, want)
		}
		_ = r.stop()
	})
}

// What is said of connections, for each that something becomes of.
func TestConnections(t *testing.T) {
	old := time.Now()
	gen := func(last int, six, plat string, since time.Time) policy.Generation {
		g := policy.Generation{IPv4: netip.MustParsePrefix(fmt.Sprintf("100.64.46.%d/32", last)), PREF64: pref64.MustParse(plat), Old: since}
		if six != "" {
			g.IPv6 = netip.MustParsePrefix(six + "/128")
		}
		return g
	}
	on := func(all ...policy.Generation) policy.Plan { return policy.Plan{On: true, Generations: all} }
	now := time.Time{}
	one, two := gen(4, first, wkp, now), gen(6, ofSecond, nsp, now)
	for _, tt := range []struct {
		name    string
		was, is policy.Plan
		want    string
	}{
		{"it comes up", policy.Plan{}, on(one), ""},
		{"it goes down", on(one), policy.Plan{Generations: []policy.Generation{one}}, ""},
		{"nothing", on(one), on(one), ""},
		{"routers have none", policy.Plan{On: true}, on(one), ""},
		{"nor here", on(one), policy.Plan{On: true}, ""},
		{"another", on(one), on(two, gen(4, first, wkp, old)), "those of 100.64.46.4 go on through 64:ff9b::/96; new ones are of 100.64.46.6"},
		{"another pair", on(one), on(gen(4, first, nsp, now)), "those of 100.64.46.4 through 64:ff9b::/96 are lost"},
		{"another source", on(one), on(gen(4, second, wkp, now)), "those of 100.64.46.4 through 64:ff9b::/96 are lost"},
		{"another source is being tried", on(two, gen(4, first, wkp, old)), on(two, gen(4, "", wkp, old)),
			"those of 100.64.46.4 through 64:ff9b::/96 are lost"},
		{"which is found", on(two, gen(4, "", wkp, old)), on(two, gen(4, second, wkp, old)), ""},
		{"an old one goes", on(two, gen(4, first, wkp, old)), on(two), "100.64.46.4 is no longer an address of this host: it was old"},
		{"the current one is gone", on(two, gen(4, first, wkp, old)), on(one),
			"those of 100.64.46.6 are lost; new ones are of 100.64.46.4"},
	} {
		if got := connections(tt.was, tt.is); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// routed says whether the host has a default route of ours.
func (h *fakeHost) routed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Contains(h.is, "route 0.0.0.0/0")
}

// addrs are the last octets of the addresses that the host has, in their order.
func (h *fakeHost) addrs() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, list, _ := strings.Cut(h.is, "[")
	list, _, _ = strings.Cut(list, "]")
	return strings.NewReplacer("100.64.46.", "", "/32", "").Replace(list)
}
