package daemon

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"uclat/discovery"
	"uclat/platform"
)

// withLinkLocal is a link on which routers can be asked.
func withLinkLocal(s *platform.Snapshot) {
	s.Addrs = append(s.Addrs, platform.Address{Link: 2, Prefix: netip.MustParsePrefix("fe80::5/64"), Permanent: true})
}

// byHand is a host whose address somebody has set.
func byHand(s *platform.Snapshot) {
	slaac(s)
	s.Addrs[0].Autoconf, s.Addrs[0].Permanent = false, true
	withLinkLocal(s)
}

const askingRouters = `level=INFO msg="starting: asking the routers on eth0 whether hosts may choose their addresses there" code=asking-routers`

// advertisement is what the router on the link says of a prefix.
func advertisement(prefix string, autonomous bool) discovery.Advertisement {
	return discovery.Advertisement{Link: 2, Router: routerAddr, Lifetime: time.Hour, Prefixes: []discovery.PrefixInfo{
		{Prefix: netip.MustParsePrefix(prefix), OnLink: true, Autonomous: autonomous, Valid: time.Hour, Preferred: time.Hour},
	}}
}

// Whether hosts may choose addresses is the routers' to say; where none speaks, an address that was set by hand shows the way.
func TestRoutersAreAsked(t *testing.T) {
	for _, tt := range []struct {
		name string
		said discovery.Advertisement
		want []string
	}{
		{"A=1", advertisement("2001:db8:1::/64", true), comesUp(first)},
		{"A=0", advertisement("2001:db8:1::/64", false), []string{
			`level=INFO msg="off: this network gives one address only: routers announce 2001:db8:1::/64, but not for autoconfiguration (A=0); have the ` +
				`network announce a /64 for autoconfiguration, or route an address to this host and set address.ipv6" code=one-address`}},
		{"no router", discovery.Advertisement{Link: 2}, append(comesUp(first),
			`level=INFO msg="no router announces a prefix for autoconfiguration on eth0: the address is one of 2001:db8:1::/64, which an address of `+
				`this host has that was set by hand"`)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, packetTOML, laptop(byHand))
				r.after(time.Minute)
				r.expect(append(slices.Clone(triedTUN), askingRouters)...)
				r.routers.announce(tt.said)
				r.after(3 * time.Second)
				r.expect(tt.want...)
				if err := r.stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A prefix that a router announces is enough, and it ends when the router said it would, on the moment.
func TestAnnouncedPrefix(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac, withLinkLocal))
		r.eyes.change(laptop(slaac, withLinkLocal, func(s *platform.Snapshot) { s.Addrs[0].Deprecated = true }), nil)
		r.routers.announce(advertisement("2001:db8:2::/64", true))
		r.after(5 * time.Second)
		r.expect(movedHost, movedOn)
		r.after(time.Hour - 6*time.Second)
		const only = "host: clat0 mtu 1480 [100.64.46.6/32], route 0.0.0.0/0 src 100.64.46.6 metric 2000000 mtu 1480"
		r.expect(only, info("connections: 100.64.46.4 is no longer an address of this host: it was old"))
		r.after(5 * time.Second)
		const back = "2001:db8:1:0:a5ab:3703:ab18:bcd1" // of 100.64.46.6, which stays
		r.expect(kept(6), checking(back), probing(back), only, flows(onAs(back), lost(6, wkp)))
		_ = r.stop()
	})
}

// Only links that may be the uplink are listened on, and what was heard of one goes when it is down.
func TestWhereRoutersAreHeard(t *testing.T) {
	second := func(s *platform.Snapshot) {
		s.Links = append(s.Links,
			platform.Link{Index: 3, Name: "clat0", MTU: 1500, MTU6: 1500, Up: true},
			platform.Link{Index: 7, Name: "eth1", MTU: 1500, MTU6: 1500, Up: true, L2: true},
			platform.Link{Index: 8, Name: "eth2", MTU: 1500, MTU6: 1500, L2: true},
			platform.Link{Index: 9, Name: "eth3", MTU: 1500, MTU6: 1500, Up: true, L2: true})
		for _, link := range []int{3, 7, 8} {
			s.Routes = append(s.Routes, platform.Route{Dst: netip.MustParsePrefix("::/0"), Via: routerAddr, Link: link, Metric: 2000})
		}
		s.Routes = append(s.Routes, platform.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Link: 9},
			platform.Route{Dst: netip.MustParsePrefix("2001:db8:9::/48"), Link: 9})
	}
	bubble(t, func(t *testing.T) {
		r := start(t, "mode = 'on'\n"+packetTOML, laptop(byHand))
		for _, step := range []struct {
			name string
			host platform.Snapshot
			want []string
		}{
			{"one", laptop(byHand), []string{"eth0"}},
			{"more", laptop(byHand, second), []string{"eth0", "eth1", "eth3"}}, // the last one for a while, because it came up
			{"none", laptop(byHand, withoutRouter), nil},
			{"one again", laptop(byHand), []string{"eth0"}},
		} {
			r.eyes.change(step.host, nil)
			r.after(time.Second)
			if got := r.routers.heardOn(); !slices.Equal(got, step.want) {
				t.Errorf("%s: listens on %q, want %q", step.name, got, step.want)
			}
		}
		r.expect(append(slices.Clone(triedTUN), askingRouters, noUplink, askingRouters)...)
		r.routers.announce(discovery.Advertisement{Link: 2})
		r.after(3 * time.Second)
		r.forget()
		r.eyes.change(laptop(byHand, down), nil)
		r.after(2 * time.Second)
		r.routers.announce(discovery.Advertisement{Link: 2}) // which was under way, and comes too late
		r.after(2 * time.Second)
		r.eyes.change(laptop(byHand), nil)
		r.after(2 * time.Second)
		r.expect(closeLink, kept(4), noUplink, askingRouters)
		r.reload("mode = 'off'")
		if got := r.routers.heardOn(); len(got) > 0 {
			t.Errorf("off: listens on %q", got)
		}
		_ = r.stop()
	})
}

// The uplink need not have a default route.
func TestRoutersOfUplinkAreHeard(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, packetTOML, laptop(slaac, withoutRouter, withRoute("64:ff9b::/96", "fe80::1"), func(s *platform.Snapshot) {
			s.Links = append(s.Links, platform.Link{Index: 7, Name: "eth1", MTU: 1500, MTU6: 1500, Up: true, L2: true})
		}))
		if got := r.routers.heardOn(); !slices.Equal(got, []string{"eth0"}) {
			t.Errorf("listens on %q", got)
		}
		_ = r.stop()
	})
}

// Other default routes may mean another network: its routers are asked at once.
func TestRoutersAreSolicited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac))
		r.routers.solicited()
		r.eyes.change(laptop(slaac, withUs4), nil)
		r.after(time.Second)
		if got := r.routers.solicited(); len(got) > 0 {
			t.Errorf("solicited on %d, though nothing changed", got)
		}
		r.eyes.change(laptop(slaac, withUs4, withRoute("::/0", "fe80::2")), nil)
		r.after(time.Second)
		if got := r.routers.solicited(); !slices.Equal(got, []int{2}) {
			t.Errorf("solicited on %d, want 2", got)
		}
		_ = r.stop()
	})
}

// Whoever sends too much of it fills nothing.
func TestManyAdvertisements(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac))
		for range 10 * maxReports {
			r.routers.announce(advertisement("2001:db8:1::/64", true))
		}
		r.after(time.Minute)
		r.expect()
		r.routers.announce(advertisement("2001:db8:2::/64", true))
		r.eyes.change(laptop(slaac, func(s *platform.Snapshot) { s.Addrs[0].Deprecated = true }), nil)
		r.after(5 * time.Second)
		_ = r.forget()
		_ = r.stop()
	})
}

// While they cannot be heard, nobody waits for what they say: it is as if they said nothing.
func TestRoutersCannotBeHeard(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, packetTOML, laptop(byHand))
		r.routers.deaf = errBroken
		r.run(o)
		r.after(time.Second)
		r.expect(slices.Concat(triedTUN, comesUp(first), []string{`level=INFO msg="no router announces a prefix for autoconfiguration on eth0: the ` +
			`address is one of 2001:db8:1::/64, which an address of this host has that was set by hand"`})...)
		_ = r.stop()
	})
}

// Who cannot listen to routers cannot know what addresses there are: whoever started the daemon starts it again.
func TestListeningToRoutersFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac))
		r.routers.failed <- errBroken
		if err := <-r.ended; err == nil || err.Error() != "listening to routers: broken" {
			t.Error(err)
		}
		r.expect(goesDown...)
		r.lan.left()
	})
}
