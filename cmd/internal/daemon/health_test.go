package daemon

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
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
