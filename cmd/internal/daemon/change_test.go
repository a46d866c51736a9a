package daemon

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"uclat/platform"
)

// lingers is for how long the TUN stays when IPv4 has gone.
const lingers = 30 * time.Second

// stays sees that the TUN and the uplink are those that they were before f.
func (r *rig) stays(f func()) {
	r.t.Helper()
	tun, link := r.tuns.current(), r.lan.current()
	f()
	if r.tuns.current() != tun || r.lan.current() != link || !tun.isOpen() {
		r.t.Error("the TUN or the uplink is another one")
	}
}

// A default route that goes and comes back, as some routers and programs do it, ends nothing: neither the TUN, nor what is bound to its
// addresses. Those on the uplink need not be tried anew.
func TestDefaultRouteBlinks(t *testing.T) {
	for _, tt := range []struct {
		name      string
		gone      time.Duration
		then, end []string // lines, when it has gone and when it is back
	}{
		{"at once", 2 * settle, nil, nil},
		{"soon", moment - settle, nil, nil},
		{"later", lingers - time.Second, []string{noUplink}, []string{onRAs(nsp, ofSecond)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := startLearned(t)
				looks := r.eyes.looked()
				for range 5 {
					r.stays(func() {
						r.eyes.change(laptop(slaac, withoutRouter), nil)
						r.after(tt.gone)
						r.expect(append([]string{kept(6, 4)}, tt.then...)...)
						if got := r.lan.accepted(); !slices.Equal(got, []string{first, ofSecond}) && !slices.Equal(got, []string{ofSecond, first}) {
							t.Errorf("holds %q", got)
						}
						r.eyes.change(laptop(slaac), nil)
						r.after(settle)
						r.expect(append([]string{hostOf(6, 4)}, tt.end...)...)
					})
					if got, want := r.through("100.64.46.4"), first+" 64:ff9b::c000:201"; got != want {
						t.Errorf("%s, want %s", got, want)
					}
					if got, want := r.through("100.64.46.6"), ofSecond+" 2001:db8:64::c000:201"; got != want {
						t.Errorf("%s, want %s", got, want)
					}
					r.after(2 * time.Second)
					r.expect()
				}
				if n := r.eyes.looked() - looks; n > 5*5 {
					t.Errorf("looked %d times", n)
				}
				if err := r.stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// On path kernel all of it goes, and is said to be back, though why it went is not.
func TestDefaultRouteBlinksOnPathKernel(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.forget()
		for range 3 {
			r.eyes.change(laptop(withoutRouter), nil)
			r.after(time.Second)
			r.expect(nothing, closeTUN, stopped)
			r.eyes.change(laptop(), nil)
			r.after(2 * time.Second)
			r.expect(openTUN, full, on, firewalls)
		}
		_ = r.stop()
	})
}

// What the router takes back, resolvers may tell as well, and they are asked at once. All of that is one line.
func TestResolversTakeOver(t *testing.T) {
	for _, tt := range []struct {
		name, toml string
		then       func(r *rig)
		want       []string
	}{
		{"the same", "", func(r *rig) { r.resolvers.find(time.Hour, wkp) },
			[]string{packetHost, change(onDNSs(wkp, first), byRA(wkp, "withdrawn"), byDNS(wkp, "appeared for 1h0m0s"))}},
		{"another", "", func(r *rig) { r.resolvers.find(time.Hour, nsp) },
			[]string{packetHost, flows(change(onDNSs(nsp, first), byRA(wkp, "withdrawn"), byDNS(nsp, "appeared for 1h0m0s")), lost(4, wkp))}},
		{"the router has thought better of it", "", func(r *rig) { r.routers.announce(announces(time.Hour, wkp)) },
			[]string{packetHost, info(byRA(wkp, "withdrawn")), info(byRA(wkp, "appeared for 1h0m0s"))}},
		{"the router has another one", "", func(r *rig) { r.routers.announce(announces(time.Hour, nsp)) },
			[]string{packetHost, flows(change(onRAs(nsp, first), byRA(wkp, "withdrawn"), byRA(nsp, "appeared for 1h0m0s")), lost(4, wkp))}},
		{"path kernel", discovered, func(r *rig) { r.resolvers.find(time.Hour, wkp) },
			[]string{openTUN, full, change(onDNS, byRA(wkp, "withdrawn"), byDNS(wkp, "appeared for 1h0m0s")), firewalls}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, tt.toml, laptop(slaac))
				r.routers.announce(announces(time.Hour, wkp))
				r.after(2 * time.Second)
				r.forget()
				follow := func() {
					r.routers.announce(announces(0, wkp))
					r.after(settle)
					if tt.toml == "" {
						r.expect(kept(4))
					} else {
						r.expect(nothing, closeTUN, stopped)
					}
					if got := r.resolvers.askedOn(); !slices.Equal(got, []string{"eth0"}) {
						t.Errorf("resolvers are asked on %q", got)
					}
					r.after(moment - 2*settle)
					tt.then(r)
					r.after(settle)
					r.expect(tt.want...)
				}
				if tt.toml == "" {
					r.stays(follow)
				} else {
					follow()
				}
				r.after(10 * time.Minute)
				r.expect()
				_ = r.stop()
			})
		})
	}
}

// What waits is looked at no more often for it, and the TUN goes in time. Whatever was said comes first.
func TestWithdrawnForGood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "", laptop(slaac))
		r.routers.announce(announces(time.Hour, wkp))
		r.after(2 * time.Second)
		r.forget()
		looks, sets := r.eyes.looked(), r.host.asked()
		r.routers.announce(announces(0, wkp))
		r.after(settle)
		r.expect(kept(4))
		r.after(moment - time.Millisecond)
		r.expect()
		r.after(time.Millisecond)
		r.expect(change(noPREF64, byRA(wkp, "withdrawn")))
		r.after(lingers - moment - time.Millisecond)
		r.expect()
		r.after(time.Millisecond)
		r.expect(nothing, closeTUN, stopped)
		r.after(time.Second)
		if looks, sets := r.eyes.looked()-looks, r.host.asked()-sets; looks > 4 || sets > 4 {
			t.Errorf("looked %d times, and set the host %d times", looks, sets)
		}
		r.routers.announce(announces(time.Hour, wkp))
		r.after(settle)
		r.expect(openTUN4, packetHost, change(onRAs(wkp, first), byRA(wkp, "appeared for 1h0m0s")))
		r.routers.announce(announces(0, wkp))
		r.after(time.Minute)
		r.forget()
		looks = r.eyes.looked()
		r.after(24 * time.Hour)
		r.expect()
		if n := r.eyes.looked() - looks; n > 2 {
			t.Errorf("looked %d times in a day in which nothing happened", n)
		}
		_ = r.stop()
		r.expect(closeLink)
	})
}

// It ends in the meantime as it does at any other time.
func TestEndsWhileItWaits(t *testing.T) {
	for _, moment := range []time.Duration{settle, moment - 1, moment, lingers - 1, lingers} {
		bubble(t, func(t *testing.T) {
			r := startPacket(t, packetTOML, laptop(slaac))
			r.eyes.change(laptop(slaac, withoutRouter), nil)
			r.after(moment + settle)
			if err := r.stop(); err != nil {
				t.Errorf("%v: %v", moment, err)
			}
			if open := r.tuns.names(); len(open) > 0 || r.host.is != strings.TrimPrefix(nothing, "host: ") {
				t.Errorf("%v: %q stay open, and the host is left with %s", moment, open, r.host.is)
			}
		})
	}
}

// Carrier that comes back may be that of another network: the address is tried anew, and the TUN stays. Of the connections nothing is lost, if
// the network is the same.
func TestCarrierFlaps(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac, ups(1)))
		tun := r.tuns.current()
		for i := range 3 {
			r.eyes.change(laptop(slaac, down, ups(1+i)), nil)
			r.after(time.Second)
			r.expect(closeLink, kept(4))
			r.eyes.change(laptop(slaac, ups(2+i)), nil)
			r.after(settle + time.Second + 5*latency)
			r.expect(openLink, checking(first), probing(first), packetHost, onAs(first))
			if r.tuns.current() != tun || !tun.isOpen() {
				t.Error("the TUN is another one")
			}
			r.after(time.Minute)
		}
		// For so long nobody waits.
		r.eyes.change(laptop(slaac, down, ups(4)), nil)
		r.after(lingers + time.Second)
		r.expect(closeLink, kept(4), noUplink, nothing, closeTUN, stopped)
		r.eyes.change(laptop(slaac, ups(5)), nil)
		r.after(2 * time.Second)
		r.expect(comesUp(first)...)
		_ = r.stop()
	})
}

// What is bound to an IPv4 address keeps it on another uplink, and so do new connections: with other IPv6 addresses.
func TestAnotherUplinkKeepsIPv4(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startLearned(t)
		tun := r.tuns.current()
		r.eyes.change(laptop(slaac, withEth1(func(*platform.Link) {}), func(s *platform.Snapshot) {
			s.Addrs = append(s.Addrs, platform.Address{Link: 7, Prefix: netip.MustParsePrefix("2001:db8:7::5/64"), Autoconf: true})
			s.Routes[0].Link = 7
		}), nil)
		r.after(settle)
		r.expect(closeLink, kept(6, 4))
		a := announces(time.Hour, nsp)
		a.Link = 7
		r.routers.announce(a)
		r.after(3 * time.Second)
		const there, thereOf4 = "2001:db8:7:0:5f1d:b212:b112:c97f", "2001:db8:7:0:91c8:fffb:5fe5:453b"
		eth1 := strings.NewReplacer("eth0", "eth1")
		r.expect(eth1.Replace(openLink), eth1.Replace(change(checking(there), byRA(nsp, "appeared for 1h0m0s"))), eth1.Replace(probing(there)),
			hostOf(6, 4), flows(eth1.Replace(onRAs(nsp, there)), lost(6, nsp)+"; "+lost(4, wkp)))
		if r.tuns.current() != tun || !tun.isOpen() {
			t.Error("the TUN is another one")
		}
		for from, want := range map[string]string{"100.64.46.6": there, "100.64.46.4": thereOf4} {
			if got := r.through(from); got != want+" 2001:db8:64::c000:201" {
				t.Errorf("%s leaves as %s", from, got)
			}
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}

// A network whose PREF64 changes in whatever way is one line each time, also where that makes another address worth a try.
func TestOneLineForEachChange(t *testing.T) {
	const longer, shorter = "64:ff9b:1::/96", "2001:db8:6464::/48"
	withSecondRouter := withRoute("::/0", "fe80::2")
	host := laptop(slaac, withSecondRouter)
	for _, toml := range []string{"", discovered} {
		bubble(t, func(t *testing.T) {
			r := start(t, toml, host)
			r.routers.announce(announces(24*time.Hour, wkp))
			r.after(5 * time.Second)
			r.forget()
			second := func(lifetime time.Duration, prefixes ...string) {
				r.routers.announce(by("fe80::2", announces(lifetime, prefixes...)))
			}
			for _, step := range []struct {
				name   string
				happen func()
				after  time.Duration
				want   string // a part of the line
			}{
				{"disappears", func() { r.routers.announce(announces(0, wkp)) }, lingers / 2, "waiting: no PREF64"},
				{"comes back", func() { r.routers.announce(announces(24*time.Hour, wkp)) }, time.Minute, "on: IPv4 through eth0, PREF64 " + wkp},
				{"changes length", func() {
					a := announces(24*time.Hour, shorter)
					a.PREF64 = append(a.PREF64, offers(0, wkp)...)
					r.routers.announce(a)
				}, time.Minute, lost(4, wkp)},
				{"changes length again, in two steps", func() {
					r.routers.announce(announces(0, shorter))
					r.after(moment / 2)
					r.routers.announce(announces(24*time.Hour, longer))
				}, time.Minute, "PREF64 " + longer + " (from router fe80::1 by RA)"},
				{"another router tells it as well", func() { second(24*time.Hour, longer) }, time.Minute, "from router fe80::2 by RA: appeared"},
				{"it moves there", func() { r.routers.announce(announces(0, longer)) }, time.Minute, "(from router fe80::2 by RA)"},
				{"it moves back at once", func() {
					second(0, longer)
					r.routers.announce(announces(24*time.Hour, longer))
				}, time.Minute, "(from router fe80::1 by RA)"},
				{"another one comes beside it", func() { second(24*time.Hour, nsp) }, time.Minute, nsp + " on eth0, from router fe80::2 by RA: appeared"},
				{"which goes", func() { second(0, nsp) }, time.Minute, nsp + " on eth0, from router fe80::2 by RA: withdrawn"},
				{"a resolver takes over", func() {
					r.routers.announce(announces(0, longer))
					r.after(moment / 2)
					r.resolvers.find(24*time.Hour, nsp)
				}, time.Minute, "(from resolver 2001:db8::53 by RFC 7050)"},
				{"the router knows better", func() { r.routers.announce(announces(24*time.Hour, wkp)) }, time.Minute, "those of 100.64.46.4 go on"},
			} {
				step.happen()
				r.after(step.after)
				said := r.forget()
				lines := slices.DeleteFunc(slices.Clone(said), func(s string) bool { return !strings.HasPrefix(s, "level=") || s == stopped })
				if len(lines) != 1 || !strings.Contains(lines[0], step.want) {
					t.Errorf("%q: %s: want one line with %s, got\n%s", toml, step.name, step.want, strings.Join(said, "\n"))
				}
			}
			_ = r.stop()
		})
	}
}

// What becomes of connections is said also where it came about while it was too early to say anything: here, an address is tried for what lost
// its PREF64, because that which it has is deprecated.
func TestLossIsToldLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startLearned(t)
		r.eyes.change(laptop(slaac, renumbered), nil)
		r.after(5 * time.Second)
		r.forget()
		r.resolvers.find(0, wkp)
		r.after(settle + time.Second/2)
		r.expect()
		r.after(5 * time.Second)
		r.expect(info(byDNS(wkp, "withdrawn")) + ` connections="` + lost(4, wkp) + `"`)
		_ = r.stop()
	})
}

// Resolvers are not asked where IPv4 is native: nobody would use what they say.
func TestNativeIPv4AsksNoResolver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, discovered, laptop(withIPv4))
		r.after(time.Hour)
		if r.resolvers.wereAsked() {
			t.Error("resolvers were asked")
		}
		for range 2 {
			r.eyes.change(laptop(), nil)
			r.after(headStart + settle)
			if got := r.resolvers.askedOn(); !slices.Equal(got, []string{"eth0"}) {
				t.Errorf("IPv6 only: resolvers are asked on %q", got)
			}
			r.resolvers.find(time.Hour, wkp)
			r.after(time.Second)
			r.eyes.change(laptop(withIPv4), nil)
			r.after(time.Second)
			if got := r.resolvers.askedOn(); len(got) > 0 {
				t.Errorf("IPv4 is native: resolvers are asked on %q", got)
			}
			r.after(time.Hour)
		}
		_ = r.stop()
	})
	bubble(t, func(t *testing.T) { // it is not used
		r := start(t, "mode = 'on'\n"+discovered, laptop(withIPv4))
		if got := r.resolvers.askedOn(); !slices.Equal(got, []string{"eth0"}) {
			t.Errorf("mode on: resolvers are asked on %q", got)
		}
		_ = r.stop()
	})
}

// What the administrator asks for while it is too early to say something is applied in its time, and waiting for that takes no more than one
// look.
func TestReloadWhileItIsTooEarly(t *testing.T) {
	for _, toml := range []string{"", discovered} {
		bubble(t, func(t *testing.T) {
			r := start(t, toml, laptop(slaac))
			r.routers.announce(announces(time.Hour, wkp))
			r.after(2 * time.Second)
			r.routers.announce(announces(0, wkp))
			r.after(time.Second)
			r.forget()
			looks := r.eyes.looked()
			r.hangUp("pref64.sources = ['ra']\n" + toml)
			r.after(time.Minute)
			got := r.forget()
			if len(got) < 2 || got[0] != reloaded+`pref64.sources"` || !strings.Contains(got[1], "no router announces one (RFC 8781);") {
				t.Errorf("%q", got)
			}
			if n := r.eyes.looked() - looks; n > 6 {
				t.Errorf("looked %d times", n)
			}
			_ = r.stop()
		})
	}
}
