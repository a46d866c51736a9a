package discovery

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// host is who has a Set: it wakes when something is observed and when Valid says, never else, and what it knows is what Valid said then.
type host struct {
	set   Set
	model *model
	known []Known
	hears chan Observation
	asked chan func()
	alarm *time.Timer

	began       time.Time
	wakes, idle int // by the alarm, and those that were for nothing
	log         []string
	milestones  int // that were passed
}

// The laptop's lid is shut for some hours: it hears nothing, and its alarm comes late.
const shut, opened = 19 * time.Hour, 22*time.Hour + 50*time.Minute

func (h *host) sleeps() bool { return time.Since(h.began) >= shut && time.Since(h.began) < opened }

// run is the host's day.
func (h *host) run(t *testing.T, end <-chan struct{}) {
	for {
		select {
		case o := <-h.hears:
			now := time.Now()
			h.set.Observe(now, o)
			h.model.observe(now, o)
			h.look(t, now)
		case <-h.alarm.C:
			if h.sleeps() {
				time.Sleep(time.Until(h.began.Add(opened)))
			}
			h.wakes++
			before := h.known
			if h.look(t, time.Now()); slices.Equal(before, h.known) {
				h.idle++
			}
		case answer := <-h.asked:
			answer()
		case <-end:
			return
		}
	}
}

func (h *host) look(t *testing.T, now time.Time) {
	h.set.Limit(func(k Known) bool { return k.Source == DNS || k.Router != routerAddr(9) })
	for _, c := range h.set.Changes(now) {
		h.log = append(h.log, now.Format("15:04 ")+name(c.Known)+" "+c.What.String())
	}
	var next time.Time
	if h.known, next = h.set.Valid(now); !next.IsZero() {
		if !next.After(now) {
			t.Errorf("at %v the next look is at %v", now, next)
		}
		h.alarm.Reset(next.Sub(now))
	} else {
		h.alarm.Stop()
	}
}

// best is the PREF64 that the host would use and its source, as text.
func (h *host) best() string {
	if len(h.known) == 0 {
		return ""
	}
	return strings.Join(strings.Fields(name(h.known[0]))[:2], " ")
}

// milestones are what is best after so many hours, but for which of the resolver's two.
var milestones = []struct {
	hour float64
	best string
}{
	{0.03, "dns"}, {0.25, "a ra"}, {5.99, "a ra"}, {6.25, "b ra"}, {9.99, "b ra"},
	{10.7, "b ra"}, // the first router has gone, and the other one said the same
	{11.99, "b ra"}, {12.7, "dns"}, {13.25, "b ra"}, {15.75, "b ra"}, {18.99, "b ra"}, {23.2, "b ra"},
}

// check compares what the host knows, since it looked last, with what is so now.
func (h *host) check(t *testing.T) {
	now := time.Now()
	if want, _ := h.model.valid(now); !slices.Equal(h.known, want) {
		t.Errorf("after %v the host knows %v, and %v is so\n%s", now.Sub(h.began), h.known, want, strings.Join(h.log, "\n"))
	}
	if h.milestones < len(milestones) && now.Sub(h.began).Hours() >= milestones[h.milestones].hour {
		if best := h.best(); !strings.HasSuffix(best, milestones[h.milestones].best) {
			t.Errorf("after %v %q is best, want %q", now.Sub(h.began), best, milestones[h.milestones].best)
		}
		h.milestones++
	}
}

// network says things to a host while it does not sleep.
type network struct {
	host   *host
	random *rand.Rand
}

func (n network) hour() float64 { return time.Since(n.host.began).Hours() }

func (n network) say(o Observation) {
	if !n.host.sleeps() {
		n.host.hears <- o
	}
}

// pause waits for so many seconds at least and at most, and says whether the day goes on.
func (n network) pause(least, most int) bool {
	time.Sleep(time.Duration(least+n.random.IntN(most-least+1)) * time.Second)
	return n.hour() < 24
}

// router advertises every 200 to 600 s (RFC 4861, 6.2.1) what it has to say at that hour: no prefixes at all, and it is silent.
func (n network) router(router int, says func(hour float64) string) {
	for n.pause(200, 600) {
		if names := says(n.hour()); names != "" {
			n.say(ra(router, 1800, names))
		}
	}
}

// resolver is asked again 10 s before its answer ends. "-" is a timeout.
func (n network) resolver(says func(hour float64) string) {
	for n.pause(50, 50) {
		if names := says(n.hour()); names != "-" {
			n.say(dns("r1", 60, names))
		}
	}
}

// A network's day: lifetimes and refreshes, a renumbering, routers that come and go, a resolver that fails, a laptop that sleeps. Each
// second somebody asks the host what it knows, and it knows what is so, though it looks only when Valid says.
func TestDayOfLifetimes(t *testing.T) {
	for seed := range uint64(2) {
		synctest.Test(t, func(t *testing.T) {
			h := &host{model: newModel(), hears: make(chan Observation), asked: make(chan func()), began: time.Now()}
			h.alarm = time.NewTimer(time.Hour)
			h.alarm.Stop()
			end := make(chan struct{})
			part := func(i uint64) network { return network{h, rand.New(rand.NewPCG(seed, i))} }
			go h.run(t, end)
			go part(1).router(1, func(hour float64) string {
				switch {
				case hour < 6:
					return "a"
				case hour < 7:
					return "a=0 b" // renumbered
				case hour < 10, hour >= 13:
					return "b"
				}
				return "" // it is gone
			})
			go part(2).router(2, func(hour float64) string {
				switch {
				case hour >= 9 && hour < 12:
					return "b c"
				case hour >= 14 && hour < 14.5:
					return "b=0 c=8"
				}
				return ""
			})
			go part(3).resolver(func(hour float64) string {
				switch {
				case hour >= 15 && hour < 15.5:
					return "-"
				case hour >= 15.5 && hour < 16:
					return ""
				case int(hour*60)%2 == 0:
					return "d a"
				}
				return "a d"
			})
			time.Sleep(500 * time.Millisecond) // so that nothing happens while it is asked
			for time.Since(h.began) < 24*time.Hour && !t.Failed() {
				if time.Sleep(time.Second); !h.sleeps() {
					h.asked <- func() { h.check(t) }
				}
			}
			close(end)
			time.Sleep(time.Hour) // until all have seen the end
			if h.milestones < len(milestones) || h.wakes == 0 || h.idle > 0 {
				t.Errorf("%d of %d milestones; %d wakes, %d for nothing", h.milestones, len(milestones), h.wakes, h.idle)
			}
		})
	}
}
