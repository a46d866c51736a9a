package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"uclat/clat/pref64"
	"uclat/platform"
)

// known are the suspects on the uplink, which is no link while index is 0, in their order.
func (d *daemon) known(uplink int) string {
	d.plan.Uplink.Index = uplink
	var all []string
	for _, p := range d.suspected(d.Now()) {
		all = append(all, p.String())
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), " ")
}

// What is suspect on one link is not so on another, and not for ever.
func TestSuspects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &daemon{Options: Options{Now: time.Now}, knocked: make(chan struct{}, 1)}
		n := func(link int, p string) nat64 { return nat64{link, pref64.MustParse(p)} }
		step := func(what string, news, want bool, knocks int, known ...string) {
			t.Helper()
			if news != want {
				t.Errorf("%s: news %v, want %v", what, news, want)
			}
			if got := len(d.knocked); got != knocks {
				t.Errorf("%s: %d knocks, want %d", what, got, knocks)
			}
			for i, want := range known {
				if got := d.known(i); got != want {
					t.Errorf("%s: %q on link %d, want %q", what, got, i, want)
				}
			}
			if len(d.knocked) > 0 {
				<-d.knocked
			}
		}
		step("a guess", d.clear(n(1, wkp)), false, 0, "", "", "")
		step("another", d.isSuspect(n(1, wkp)), false, 0, "", "", "")
		step("one", d.suspect(n(1, wkp)), true, 1, wkp, wkp, "")
		step("once more", d.suspect(n(1, wkp)), false, 0, wkp, wkp, "")
		step("another PREF64", d.suspect(n(1, nsp)), true, 1, nsp+" "+wkp, nsp+" "+wkp, "")
		step("another link", d.suspect(n(2, wkp)), true, 1, nsp+" "+wkp, nsp+" "+wkp, wkp)
		step("it works", d.clear(n(1, wkp)), true, 1, nsp+" "+wkp, nsp, wkp)
		step("which is known", d.clear(n(1, wkp)), false, 0, nsp+" "+wkp, nsp, wkp)
		time.Sleep(suspicion - time.Second)
		step("one is still so", d.isSuspect(n(1, nsp)), true, 0, nsp+" "+wkp, nsp, wkp)
		time.Sleep(time.Second)
		step("the other is not in use", false, false, 0, nsp, nsp, "")
		time.Sleep(suspicion - 2*time.Second)
		step("nor is this one", false, false, 0, nsp, nsp, "")
		time.Sleep(time.Second)
		step("now", false, false, 0, "", "", "")
		step("again", d.suspect(n(1, nsp)), true, 1, nsp, nsp, "")
		d.suspect(n(1, wkp))
		d.suspect(n(2, wkp))
		d.forgive(1)
		step("a network was left", false, false, 1, wkp, "", wkp)
		d.forgive(3)
		step("another link", false, false, 0, wkp, "", wkp)
		step("the next one", d.suspect(n(1, nsp)), true, 1, nsp+" "+wkp, nsp, wkp)
	})
}

// talks sends a packet each second for a while from an IPv4 address of the host to each of three others, on path packet. Where it is answered, answers
// come back to the last one.
func (r *rig) talks(seconds int, from string, answered bool) {
	for range seconds {
		r.sends(from, answered)
		r.after(time.Second)
	}
}

func (r *rig) sends(from string, answered bool) {
	var sent []byte
	for n := range byte(3) {
		r.tuns.current().in <- udp4(from, fmt.Sprintf("198.51.100.%d", n))
		sent = <-r.lan.current().out
	}
	if answered {
		r.lan.current().in <- answer(sent)
		<-r.tuns.current().out
	}
}

// suspected are the PREF64s that were said to be suspect since the last time, and others (with a minus) that are not any more.
func (r *rig) suspected() (all []string) {
	for _, line := range r.forget() {
		p, is := strings.CutPrefix(line, `level=WARN msg="PREF64 `)
		q, isNot := strings.CutPrefix(line, `level=INFO msg="PREF64 `)
		switch {
		case is && strings.Contains(line, " is suspect: "):
			all = append(all, strings.Fields(p)[0])
		case isNot && strings.HasSuffix(line, ` is no longer suspect"`):
			all = append(all, "-"+strings.Fields(q)[0])
		}
	}
	return all
}

// Of two PREF64s in use, that one is suspect through which nothing comes back.
func TestSuspectOfTwo(t *testing.T) {
	for _, c := range []struct {
		name, dead, alive string
		want              string
		through           map[string]string // how packets leave then
	}{
		{"the old one", "100.64.46.4", "100.64.46.6", wkp, map[string]string{"100.64.46.4": nsp, "100.64.46.6": nsp}},
		{"the new one", "100.64.46.6", "100.64.46.4", nsp, map[string]string{"100.64.46.4": wkp, "100.64.46.6": wkp}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := startLearned(t)
				for range 15 {
					r.sends(c.alive, true)
					r.talks(1, c.dead, false)
				}
				if got := r.suspected(); !slices.Equal(got, []string{c.want}) {
					t.Errorf("suspect: %q, want %s", got, c.want)
				}
				for from, prefix := range c.through {
					if got := r.through(from); !strings.HasSuffix(got, " "+strings.TrimSuffix(prefix, "/96")+"c000:201") {
						t.Errorf("%s leaves as %s, want through %s", from, got, prefix)
					}
				}
				r.talks(60, c.alive, true)
				if got := r.suspected(); len(got) != 0 {
					t.Errorf("then: %q", got)
				}
				_ = r.stop()
			})
		})
	}
}

// What comes back to one of two that have the same PREF64 shows that its NAT64 works.
func TestSuspectOfTwoWithOnePREF64(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac))
		host := laptop(slaac)
		host.Addrs = slices.Clone(host.Addrs)
		host.Addrs[0].Deprecated = true
		host.Addrs = append(host.Addrs, platform.Address{Link: 2, Prefix: netip.MustParsePrefix("2001:db8:2::5/64"), Autoconf: true})
		r.eyes.change(host, nil)
		r.after(time.Minute)
		if got, want := r.host.addrs(), "6 4"; got != want {
			t.Fatalf("%s, want %s", got, want)
		}
		r.forget()
		for range 30 {
			r.sends("100.64.46.6", true)
			r.talks(1, "100.64.46.4", false)
		}
		r.expect()
		r.talks(15, "100.64.46.4", false)
		if got := r.suspected(); !slices.Equal(got, []string{wkp}) {
			t.Errorf("suspect: %q, want %s", got, wkp)
		}
		_ = r.stop()
	})
}

// A suspicion lasts for as long as nothing comes back, however long that is, and whatever else changes; and ten minutes more, where something else is
// in use.
func TestSuspicionLasts(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "", laptop(slaac))
		r.routers.announce(announces(24*time.Hour, wkp))
		r.after(2 * time.Second)
		r.forget()
		r.talks(15, "100.64.46.4", false)
		if got := r.suspected(); !slices.Equal(got, []string{wkp}) {
			t.Fatalf("suspect: %q", got)
		}
		looks := r.eyes.looked()
		r.after(3 * suspicion) // without anything sent
		if n := r.eyes.looked() - looks; n > 10 {
			t.Errorf("looked %d times", n)
		}
		r.reload("translate.clamp-mss = true")
		r.after(3 * suspicion)
		r.talks(15, "100.64.46.4", false)
		r.expect(reloaded + `translate.clamp-mss"`)
		r.resolvers.find(24*time.Hour, nsp)
		r.after(2 * time.Second)
		if got, want := r.through("100.64.46.4"), first+" 2001:db8:64::c000:201"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		r.forget()
		r.after(suspicion - time.Minute)
		r.expect()
		r.after(time.Minute)
		if got := r.forget(); len(got) == 0 || !strings.Contains(got[len(got)-1], "PREF64 "+wkp) {
			t.Errorf("after ten minutes: %q", got)
		}
		_ = r.stop()
	})
}

// A change of what has nothing to do with the way is no reason to begin anew; another way is.
func TestSuspectAcrossChanges(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(r *rig)
		want   []string
	}{
		{"an option", func(r *rig) { r.hangUp("translate.clamp-mss = true\n" + packetTOML) }, []string{wkp}},
		{"the PREF64", func(r *rig) { r.hangUp("pref64.prefixes = ['2001:db8:64::/96']") }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := startPacket(t, packetTOML, laptop(slaac))
				r.talks(7, "100.64.46.4", false)
				c.change(r)
				r.talks(7, "100.64.46.4", false)
				if got := r.suspected(); !slices.Equal(got, c.want) {
					t.Errorf("suspect: %q, want %q", got, c.want)
				}
				_ = r.stop()
			})
		})
	}
}

// A suspicion outlives the path: what comes back over a new one ends it.
func TestSuspicionAcrossPaths(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac))
		r.talks(15, "100.64.46.4", false)
		r.suspected()
		r.tuns.current().gone <- errors.New("deleted")
		r.after(2 * suspicion)
		r.talks(15, "100.64.46.4", false)
		if got := r.suspected(); len(got) != 0 {
			t.Errorf("it is said again: %q", got)
		}
		r.sends("100.64.46.4", true)
		r.after(healthPeriod)
		if got := r.suspected(); !slices.Equal(got, []string{"-" + wkp}) {
			t.Errorf("%q", got)
		}
		_ = r.stop()
	})
}

// What was said of a network is not true of the next one on the same link.
func TestSuspicionIsOfANetwork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := startPacket(t, packetTOML, laptop(slaac, ups(1)))
		r.talks(15, "100.64.46.4", false)
		r.suspected()
		r.eyes.change(laptop(slaac, ups(2)), nil)
		r.after(time.Minute)
		if got := r.suspected(); len(got) != 0 {
			t.Errorf("at once: %q", got)
		}
		r.talks(7, "100.64.46.4", false)
		if got := r.suspected(); len(got) != 0 {
			t.Errorf("too early: %q", got)
		}
		r.talks(7, "100.64.46.4", false)
		if got := r.suspected(); !slices.Equal(got, []string{wkp}) {
			t.Errorf("not again: %q", got)
		}
		_ = r.stop()
	})
}
