package daemon

import (
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"uclat/discovery"
	"uclat/platform"
)

// What a router says that the host has not accepted changes nothing, and is a line for who looks for a fault.
func TestRouterThatIsNotTrusted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, discovered, laptop())
		o.Log = slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: without3}))
		r.run(o)
		r.resolvers.find(time.Hour, wkp)
		r.after(time.Second)
		r.forget()
		r.routers.announce(by("fe80::666", announces(time.Hour, nsp)))
		r.after(time.Second)
		const why = "no IPv6 default route on eth0 leads to it, but to fe80::1; pref64.sources with \\\"ra:eth0\\\" trusts it all the same"
		const debug = `level=DEBUG msg="PREF64 2001:db8:64::/96 on eth0, from router fe80::666 by RA: `
		r.expect(debug + `appeared for 1h0m0s, and is not used: ` + why + `"`)
		if got := r.resolvers.askedOn(); !slices.Equal(got, []string{"eth0"}) {
			t.Errorf("resolvers are asked on %q", got)
		}
		r.routers.announce(by("fe80::666", announces(0, nsp)))
		r.after(time.Second)
		r.expect(debug + `withdrawn, and is not used: ` + why + `"`)
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}

// without3 leaves out what is the same in all lines.
func without3(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey || a.Key == "path" || a.Key == "because" {
		return slog.Attr{}
	}
	return a
}

// It is heard all the same: as soon as the host accepts the router, its word counts, and as long as it does.
func TestRouterIsTrustedLater(t *testing.T) {
	const from2 = "from router fe80::2 by RA"
	accepted := func(s *platform.Snapshot) { s.Routes[0].Via = netip.MustParseAddr("fe80::2") }
	for _, tt := range []struct {
		name string
		host platform.Snapshot
		toml string // empty: the same
	}{
		{"a default route leads to it", laptop(accepted), ""},
		{"one of another table", laptop(func(s *platform.Snapshot) {
			s.OtherRoutes = []platform.Route{{Dst: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("fe80::2"), Link: 2}}
		}), ""},
		{"one leads to its link-layer address", laptop(func(s *platform.Snapshot) {
			s.Neighbours = []platform.Neighbour{{Link: 2, Addr: routerAddr, Hardware: "02:00:00:00:00:a2"}}
		}), ""},
		{"the configuration says so", laptop(), "pref64.sources = ['ra:eth0', 'dns']\n" + discovered},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, discovered, laptop())
				r.routers.announce(by("fe80::2", announces(time.Hour, wkp)))
				r.after(time.Minute)
				r.expect(append(slices.Clone(triedTUN), noPREF64)...)
				var said []string
				become := func(host platform.Snapshot, toml string) {
					r.eyes.become(host, nil)
					if tt.toml == "" {
						r.eyes.change(host, nil)
					} else {
						r.hangUp(toml)
						said = []string{reloaded + `pref64.sources"`}
					}
				}
				become(tt.host, tt.toml)
				r.after(settle)
				r.expect(append(said, openTUN, full, strings.Replace(onRA(wkp), "from router fe80::1 by RA", from2, 1), firewalls)...)
				become(laptop(), discovered)
				r.after(2 * time.Second)
				r.expect(append(said, nothing, closeTUN, stopped, noPREF64)...)
				_ = r.stop()
			})
		})
	}
}

// A link whose routers the configuration trusts is listened on, and is the uplink if packets can go there.
func TestTrustedLink(t *testing.T) {
	onSecond := func(s *platform.Snapshot) {
		s.Links = append(s.Links, platform.Link{Index: 7, Name: "eth1", MTU: 1500, MTU6: 1500, Up: true, L2: true, Hardware: "02:00:00:00:00:07"})
		s.Addrs = append(s.Addrs, platform.Address{Link: 7, Prefix: netip.MustParsePrefix("2001:db8:7::5/64"), Autoconf: true})
	}
	bubble(t, func(t *testing.T) {
		r := start(t, "pref64.sources = ['ra:eth1']", laptop(slaac, onSecond))
		r.forget()
		if got := r.routers.heardOn(); !slices.Equal(got, []string{"eth0", "eth1"}) || r.resolvers.wereAsked() {
			t.Errorf("listens on %q; resolvers asked: %v", got, r.resolvers.wereAsked())
		}
		r.routers.announce(announces(time.Hour, wkp)) // on eth0
		r.after(time.Second)
		r.expect()
		a := announces(time.Hour, nsp)
		a.Link = 7
		r.routers.announce(a)
		r.after(time.Second)
		const seen = `level=INFO msg="PREF64 2001:db8:64::/96 on eth1, from router fe80::1 by RA: appeared for 1h0m0s"`
		r.expect(seen) // and no route leads there
		r.eyes.change(laptop(slaac, onSecond, func(s *platform.Snapshot) {
			s.Routes = append(s.Routes, platform.Route{Dst: netip.MustParsePrefix("2001:db8:64::/64"), Via: routerAddr, Link: 7, Metric: 2000})
		}), nil)
		r.after(2 * time.Second)
		const there = "2001:db8:7:0:91c8:fffb:5fe5:453b"
		var comes []string
		for _, line := range append(comesUp(there)[:5], onRAs(nsp, there)) {
			comes = append(comes, strings.Replace(line, "eth0", "eth1", 1))
		}
		r.expect(comes...)
		_ = r.stop()
	})
}

// Whom the administrator does not ask, or no more.
func TestSources(t *testing.T) {
	for _, tt := range []struct {
		name, toml string
		want       string // where resolvers are asked
		use        string // of what the router and the resolver told
	}{
		{"all", "", "", nsp},
		{"routers", "pref64.sources = ['ra']\n", "", nsp},
		{"resolvers", "pref64.sources = ['dns']\n", "eth0", wkp},
		{"the configuration", "pref64.prefixes = ['2001:db8:c0::/96']\n", "", "2001:db8:c0::/96"},
		{"another link's routers", "pref64.sources = ['ra:eth9']\n", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, discovered, laptop())
				r.resolvers.find(24*time.Hour, wkp)
				r.routers.announce(announces(24*time.Hour, nsp))
				r.after(time.Second)
				r.forget()
				r.reload(tt.toml + discovered)
				r.after(firstAnswer)
				got := strings.Join(r.resolvers.askedOn(), " ")
				if got != tt.want {
					t.Errorf("resolvers are asked on %q", got)
				}
				to := "nothing"
				if len(r.tuns.names()) > 0 {
					to = destination(r.send(udp4("100.64.46.4", "192.0.2.1")))
				}
				want := "nothing"
				if tt.use != "" {
					want = netip.MustParsePrefix(tt.use).Addr().String()
					want = strings.TrimSuffix(want, "::") + "::c000:201"
				}
				if to != want {
					t.Errorf("goes to %s, want %s\n%s", to, want, strings.Join(r.forget(), "\n"))
				}
				_ = r.stop()
			})
		})
	}
}

// What the uplink takes is also the routers' to say, those that are trusted.
func TestMTUOfRouters(t *testing.T) {
	bubble(t, func(t *testing.T) {
		narrow := strings.NewReplacer("1500", "1400", "1480", "1380")
		r := start(t, pinned, laptop())
		r.forget()
		says := func(router string, mtu int) {
			r.routers.announce(by(router, discovery.Advertisement{Link: 2, Lifetime: time.Hour, MTU: mtu}))
			r.after(time.Second)
		}
		says("fe80::2", 1300)
		r.expect()
		says("fe80::1", 1400)
		r.expect(narrow.Replace(full))
		says("fe80::1", 0) // says nothing of it
		r.expect()
		says("fe80::1", 9000)
		r.expect(full)
		_ = r.stop()
	})
}
