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

const (
	suspect = `level=WARN msg="PREF64 64:ff9b::/96 is suspect: packets went through it to 3 destinations or more since %s, and nothing came back: ` +
		`if this stays so, its NAT64 does not work, or does not know the way back to us"`
	noLonger  = `level=INFO msg="PREF64 64:ff9b::/96 is no longer suspect"`
	noTarget  = `level=WARN msg="PREF64 64:ff9b::/96 is suspect: none of probe.targets ([192.0.2.1 192.0.2.2]) answered 3 times in a row"`
	someAgain = `level=INFO msg="PREF64 64:ff9b::/96: a host of probe.targets answers again"`
)

// What programs send and receive tells whether the NAT64 works.
func TestSuspect(t *testing.T) {
	for _, toml := range []string{packetTOML, pinned} {
		bubble(t, func(t *testing.T) {
			r := start(t, toml, laptop(slaac))
			r.after(time.Second)
			r.forget()
			out := func() []byte {
				if toml == pinned {
					return <-r.tuns.current().out
				}
				return <-r.lan.current().out
			}
			in := func(p []byte) {
				if toml == pinned {
					r.tuns.current().in <- p
				} else {
					r.lan.current().in <- p
				}
				<-r.tuns.current().out
			}
			var sent []byte
			send := func() {
				for n := range byte(3) {
					r.tuns.current().in <- udp4("100.64.46.4", fmt.Sprintf("198.51.100.%d", n))
					sent = out()
				}
			}
			for range 2 {
				begin := time.Now()
				for range 15 {
					send()
					r.after(time.Second)
				}
				r.after(healthPeriod)
				if said := r.forget(); len(said) != 1 || !isSuspect(said[0], begin) {
					t.Errorf("%q, want once %s", said, fmt.Sprintf(suspect, begin.Format(time.TimeOnly)))
				}
				for range 30 {
					send()
					r.after(time.Second)
				}
				r.expect() // it was said
				in(answer(sent))
				r.after(healthPeriod)
				r.expect(noLonger)
			}
			_ = r.stop()
		})
	}
}

// Where hosts can be asked, it is suspect when none of them answers either.
func TestSuspectAsksTargets(t *testing.T) {
	for _, c := range []struct {
		name string
		pong bool
		then func(r *rig) // while they are asked
		want bool
	}{
		{"one answers", true, func(*rig) {}, false},
		{"none answers", false, func(*rig) {}, true},
		{"the second answers", false, func(r *rig) { r.lan.set(func(l *fakeLAN) { l.pong = true }) }, false},
		{"something else came in", false, func(r *rig) {
			r.tuns.current().in <- udp4("100.64.46.4", "198.51.100.0")
			r.lan.current().in <- answer(<-r.lan.current().out)
			<-r.tuns.current().out
		}, false},
		{"the end", false, func(r *rig) { r.cancel() }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := startPacket(t, packetTOML+"\nprobe.targets = ['192.0.2.1', '192.0.2.2']", laptop(slaac))
				r.after(targetPeriod + 2*targetWait) // long before they are asked again
				r.lan.set(func(l *fakeLAN) { l.pong = c.pong })
				begin := time.Now()
				for range 12 { // until a look after ten seconds
					for n := range byte(3) {
						r.tuns.current().in <- udp4("100.64.46.4", fmt.Sprintf("198.51.100.%d", n))
						<-r.lan.current().out
					}
					r.after(time.Second)
				}
				r.expect()
				c.then(r)
				r.after(2 * targetWait)
				said := slices.DeleteFunc(r.forget(), func(line string) bool { return !strings.Contains(line, "suspect") })
				if got := len(said) == 1 && isSuspect(said[0], begin); got != c.want || !got && len(said) > 0 {
					t.Errorf("%q", said)
				}
				_ = r.stop()
			})
		})
	}
}

// isSuspect says whether a line says that nothing came back since begin, or since the first look after it.
func isSuspect(line string, begin time.Time) bool {
	for late := time.Duration(0); late <= healthPeriod+time.Second; late += time.Second {
		if line == fmt.Sprintf(suspect, begin.Add(late).Format(time.TimeOnly)) {
			return true
		}
	}
	return false
}

// Hosts that are asked need not all answer, nor always.
func TestTargets(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML+"\nprobe.targets = ['192.0.2.1', '192.0.2.2']", laptop(slaac))
		r.after(2 * targetPeriod) // the first were asked at once
		r.expect()
		r.after(targetPeriod)
		r.expect(noTarget)
		r.after(10 * targetPeriod)
		r.expect()
		r.lan.set(func(l *fakeLAN) { l.pong = true })
		r.after(targetPeriod + targetWait)
		r.expect(someAgain)
		for range 5 {
			r.lan.set(func(l *fakeLAN) { l.pong = false })
			r.after(2 * targetPeriod)
			r.lan.set(func(l *fakeLAN) { l.pong = true })
			r.after(2 * targetPeriod)
		}
		r.expect()
		// Who is not asked any more is not missed.
		r.lan.set(func(l *fakeLAN) { l.pong = false })
		r.after(2 * targetPeriod)
		r.reload(packetTOML)
		r.expect(reloaded + `probe.targets"`)
		r.after(10 * targetPeriod)
		r.expect()
		_ = r.stop()
	})
}

// Hosts that do not answer say nothing of a NAT64 through which other packets come back: that is seen once.
func TestTargetsThatNeverAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML+"\nprobe.targets = ['192.0.2.1', '192.0.2.2']", laptop(slaac))
		for range 10 {
			r.sends("100.64.46.4", true)
			r.after(targetPeriod)
		}
		r.expect()
		r.after(10 * targetPeriod)
		r.expect()
		r.talks(30, "100.64.46.4", false) // what is sent tells all the same
		if got := r.suspected(); !slices.Equal(got, []string{wkp}) {
			t.Errorf("suspect: %q", got)
		}
		_ = r.stop()
	})
	bubble(t, func(t *testing.T) { // the host was idle until now
		r := startPacket(t, packetTOML+"\nprobe.targets = ['192.0.2.1', '192.0.2.2']", laptop(slaac))
		r.after(4 * targetPeriod)
		r.expect(noTarget)
		for range 3 {
			r.sends("100.64.46.4", true)
			r.after(4 * targetPeriod)
		}
		r.expect(noLonger)
		_ = r.stop()
	})
}

// A PREF64 that is suspect has one line for that, whatever was seen first.
func TestOneSuspicion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML+"\nprobe.targets = ['192.0.2.1', '192.0.2.2']", laptop(slaac))
		r.talks(30, "100.64.46.4", false)
		r.after(10 * targetPeriod)
		if got := r.forget(); len(got) != 1 || !strings.Contains(got[0], "PREF64 64:ff9b::/96 is suspect: packets went") {
			t.Errorf("%q", got)
		}
		r.lan.set(func(l *fakeLAN) { l.pong = true })
		r.after(targetPeriod + healthPeriod)
		r.expect(noLonger)
		_ = r.stop()
	})
}

// Each of our IPv4 addresses belongs to one way, and what is of none to that of new connections.
func TestWatched(t *testing.T) {
	gen := func(ipv4, ipv6, p string, routers ...string) policy.Generation {
		g := policy.Generation{IPv4: netip.MustParsePrefix(ipv4), PREF64: pref64.MustParse(p)}
		if ipv6 != "" {
			g.IPv6 = netip.MustParsePrefix(ipv6)
		}
		for _, r := range routers {
			g.Routers = append(g.Routers, netip.MustParseAddr(r))
		}
		return g
	}
	on := func(link int, all ...policy.Generation) policy.Plan {
		return policy.Plan{On: true, Uplink: platform.Link{Index: link}, Generations: all, Self6: netip.MustParseAddr("2001:db8::46")}
	}
	four, six := gen("100.64.46.4/32", first+"/128", wkp), gen("100.64.46.6/32", ofSecond+"/128", nsp)
	for _, c := range []struct {
		name      string
		was, is   policy.Plan
		want      []string
		different uint8
	}{
		{"nothing", policy.Plan{}, policy.Plan{}, nil, 0},
		{"a Router", policy.Plan{}, policy.Plan{On: true}, nil, 0},
		{"one", on(2), on(2, four), []string{"2 64:ff9b::/96 11111111 " + first}, 0b11111111},
		{"the same", on(2, four), on(2, four), []string{"2 64:ff9b::/96 11111111 " + first}, 0},
		{"on another link", on(2, four), on(3, four), []string{"3 64:ff9b::/96 11111111 " + first}, 0b11111111},
		{"another one before it", on(2, four), on(2, six, four),
			[]string{"2 2001:db8:64::/96 11101111 " + ofSecond, "2 64:ff9b::/96 00010000 " + first}, 0b11101111},
		{"which goes", on(2, six, four), on(2, six), []string{"2 2001:db8:64::/96 11111111 " + ofSecond}, 0b00010000},
		{"both the same PREF64", on(2, six, four), on(2, six, gen("100.64.46.4/32", first+"/128", nsp)),
			[]string{"2 2001:db8:64::/96 11111111 " + ofSecond}, 0b00010000},
		{"not of one after the other", on(2, six, four, gen("100.64.46.7/32", second+"/128", nsp)),
			on(2, six, four, gen("100.64.46.7/32", second+"/128", nsp)),
			[]string{"2 2001:db8:64::/96 11101111 " + ofSecond, "2 64:ff9b::/96 00010000 " + first}, 0},
		{"another IPv6 address", on(2, six, four), on(2, six, gen("100.64.46.4/32", second+"/128", wkp)),
			[]string{"2 2001:db8:64::/96 11101111 " + ofSecond, "2 64:ff9b::/96 00010000 " + second}, 0b00010000},
		{"none for now", on(2, six, four), on(2, six, gen("100.64.46.4/32", "", wkp)),
			[]string{"2 2001:db8:64::/96 11101111 " + ofSecond, "2 64:ff9b::/96 00010000 2001:db8::46"}, 0b00010000},
		{"another router", on(2, six, four), on(2, six, gen("100.64.46.4/32", first+"/128", wkp, "fe80::2")),
			[]string{"2 2001:db8:64::/96 11101111 " + ofSecond, "2 64:ff9b::/96 00010000 " + first}, 0b00010000},
		{"clients", on(2), on(2, gen("192.0.2.0/24", "2001:db8:c::/64", wkp)), []string{"2 64:ff9b::/96 11111111 2001:db8::46"}, 0b11111111},
		{"it is off", on(2, four), policy.Plan{Uplink: platform.Link{Index: 2}, Generations: []policy.Generation{four}}, nil, 0b11111111},
	} {
		w := newWatched(c.is)
		var got []string
		for _, way := range w.ways {
			got = append(got, fmt.Sprintf("%d %v %08b %v", way.link, way.pref64, way.addresses, way.source))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
		if got := w.changed(newWatched(c.was)); got != c.different {
			t.Errorf("%s: %08b changed, want %08b", c.name, got, c.different)
		}
	}
	if got := newWatched(on(2, four)).changed(nil); got != allAddresses {
		t.Errorf("at first %08b changed", got)
	}
}
