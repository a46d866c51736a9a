package discovery

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uclat/clat/pref64"
)

var start = time.Date(2026, 3, 6, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func prefixes(names string) (ps []pref64.Prefix) {
	for _, n := range strings.Fields(names) {
		ps = append(ps, pref64.MustParse("2001:db8:"+n+"::/96"))
	}
	return ps
}

// dns and configured are observations; prefixes are named by their third group.
func dns(origin string, lifetime int, names string) Observation {
	return Observation{Source: DNS, Origin: origin, Prefixes: prefixes(names), Lifetime: time.Duration(lifetime) * time.Second}
}

func configured(names string) Observation {
	return Observation{Source: Configured, Prefixes: prefixes(names)}
}

// state is what the Set says, as text: "a dns r1 60, b configured; next 60", times in seconds after start.
func state(s *Set, now time.Time) string {
	known, next := s.Valid(now)
	var b strings.Builder
	for i, k := range known {
		if i > 0 {
			b.WriteString(", ")
		}
		name := strings.TrimSuffix(strings.TrimPrefix(k.Prefix.String(), "2001:db8:"), "::/96")
		b.WriteString(strings.Join(strings.Fields(fmt.Sprint(name, " ", k.Source, " ", k.Origin, " ", after(k.Until))), " "))
	}
	if b.Len() == 0 {
		b.WriteString("nothing")
	}
	if !next.IsZero() {
		fmt.Fprint(&b, "; next ", after(next))
	}
	return b.String()
}

func after(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprint(t.Sub(start).Seconds())
}

func TestSet(t *testing.T) {
	type event struct {
		at   int
		o    *Observation // nil: only time passes
		want string
	}
	say := func(at int, o Observation, want string) event { return event{at, &o, want} }
	look := func(at int, want string) event { return event{at, nil, want} }

	for _, tt := range []struct {
		name   string
		events []event
	}{
		{"empty", []event{look(0, "nothing")}},
		{"a lifetime ends at its end", []event{
			say(0, dns("r1", 60, "a"), "a dns r1 60; next 60"),
			look(59, "a dns r1 60; next 60"),
			look(60, "nothing"),
		}},
		{"a refresh extends", []event{
			say(0, dns("r1", 60, "a"), "a dns r1 60; next 60"),
			say(50, dns("r1", 60, "a"), "a dns r1 110; next 110"),
			look(109, "a dns r1 110; next 110"),
		}},
		{"a refresh may also shorten", []event{
			say(0, dns("r1", 600, "a"), "a dns r1 600; next 600"),
			say(10, dns("r1", 30, "a"), "a dns r1 40; next 40"),
		}},
		{"an observation replaces what its origin said, and no other's", []event{
			say(0, dns("r1", 60, "a b"), "a dns r1 60, b dns r1 60; next 60"),
			say(0, dns("r2", 90, "c"), "a dns r1 60, b dns r1 60, c dns r2 90; next 60"),
			say(1, dns("r1", 60, "d"), "c dns r2 90, d dns r1 61; next 61"),
		}},
		{"no prefixes withdraw", []event{
			say(0, dns("r1", 60, "a"), "a dns r1 60; next 60"),
			say(1, dns("r2", 60, ""), "a dns r1 60; next 60"),
			say(2, dns("r1", 60, ""), "nothing"),
		}},
		{"lifetime 0 withdraws", []event{
			say(0, dns("r1", 60, "a"), "a dns r1 60; next 60"),
			say(1, dns("r1", 0, "a"), "nothing"),
		}},
		{"negative lifetime withdraws", []event{
			say(0, dns("r1", 60, "a"), "a dns r1 60; next 60"),
			say(1, dns("r1", -5, "a"), "nothing"),
		}},
		{"configured holds for ever, whatever its lifetime says", []event{
			say(0, configured("a"), "a configured"),
			look(1<<30, "a configured"),
			say(1<<30, Observation{Source: Configured, Prefixes: prefixes("a"), Lifetime: -1}, "a configured"),
			say(1<<30, configured(""), "nothing"),
		}},
		{"DISC-8781-5.1-1 the best source first, the others behind", []event{
			say(0, dns("r1", 60, "a"), "a dns r1 60; next 60"),
			say(1, configured("b"), "b configured, a dns r1 60; next 60"),
			say(2, configured(""), "a dns r1 60; next 60"),
		}},
		{"one prefix from two sources is the better source's", []event{
			say(0, dns("r1", 60, "a b"), "a dns r1 60, b dns r1 60; next 60"),
			say(1, configured("b"), "b configured, a dns r1 60; next 60"),
			look(60, "b configured"),
		}},
		{"one prefix from two origins lasts as long as either", []event{
			say(0, dns("r1", 60, "a"), "a dns r1 60; next 60"),
			say(0, dns("r2", 90, "a"), "a dns r2 90; next 90"),
			say(1, dns("r3", 30, "a"), "a dns r2 90; next 90"),
			say(2, dns("r2", 0, ""), "a dns r1 60; next 60"),
		}},
		{"DISC-7050-3-3 an RRset in another order moves nothing", []event{
			say(0, dns("r1", 60, "a b c"), "a dns r1 60, b dns r1 60, c dns r1 60; next 60"),
			say(50, dns("r1", 60, "c a b"), "a dns r1 110, b dns r1 110, c dns r1 110; next 110"),
			say(60, dns("r1", 60, "d b a"), "a dns r1 120, b dns r1 120, d dns r1 120; next 120"),
		}},
		{"DISC-7050-3-3 the one in use stays first when another origin goes on to offer it", []event{
			say(0, dns("r1", 60, "a"), "a dns r1 60; next 60"),
			say(1, dns("r2", 90, "b a"), "a dns r2 91, b dns r2 91; next 91"),
			look(60, "a dns r2 91, b dns r2 91; next 91"),
			say(70, dns("r1", 0, ""), "a dns r2 91, b dns r2 91; next 91"),
		}},
		{"what comes back after its end comes last", []event{
			say(0, dns("r1", 60, "a"), "a dns r1 60; next 60"),
			say(0, dns("r2", 600, "b"), "a dns r1 60, b dns r2 600; next 60"),
			say(60, dns("r1", 60, "a"), "b dns r2 600, a dns r1 120; next 120"),
		}},
		{"the configuration's order is its author's", []event{
			say(0, configured("a b"), "a configured, b configured"),
			say(1, configured("b a"), "b configured, a configured"),
		}},
		{"which does not count for another source", []event{
			say(0, configured("a b"), "a configured, b configured"),
			say(1, dns("r1", 60, "b a"), "a configured, b configured"),
			say(2, configured(""), "b dns r1 61, a dns r1 61; next 61"),
		}},
		{"a prefix said twice and the zero prefix count once and never", []event{
			say(0, Observation{Source: DNS, Origin: "r1", Lifetime: time.Minute,
				Prefixes: append(append([]pref64.Prefix{{}}, prefixes("a a")...), prefixes("b a")...)},
				"a dns r1 60, b dns r1 60; next 60"),
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s Set
			for i, e := range tt.events {
				if e.o != nil {
					s.Observe(at(e.at), *e.o)
				}
				if diff := cmp.Diff(e.want, state(&s, at(e.at))); diff != "" {
					t.Fatalf("event %d, at %d s (-want +got):\n%s", i, e.at, diff)
				}
			}
		})
	}
}

func TestSetValidChangesNothing(t *testing.T) {
	var s Set
	s.Observe(at(0), dns("r1", 60, "a"))
	if got := state(&s, at(100)); got != "nothing" {
		t.Errorf("at 100 s: %s", got)
	}
	if got, want := state(&s, at(10)), "a dns r1 60; next 60"; got != want {
		t.Errorf("at 10 s, after asking for 100 s: %s, want %s", got, want)
	}
	known, _ := s.Valid(at(10))
	known[0].Origin = "changed by the caller"
	if got, want := state(&s, at(10)), "a dns r1 60; next 60"; got != want {
		t.Errorf("after the caller changed what it got: %s, want %s", got, want)
	}
}

func TestSetLifetimeSaturates(t *testing.T) {
	var s Set
	now := time.Now() // with a monotonic reading, which must not overflow either
	s.Observe(now, Observation{Source: DNS, Prefixes: prefixes("a"), Lifetime: math.MaxInt64})
	known, next := s.Valid(now.AddDate(90, 0, 0))
	if len(known) != 1 || !next.Equal(known[0].Until) {
		t.Fatalf("after 90 years: %v, next %v", known, next)
	}
	if d := next.Sub(now); d != maxLifetime {
		t.Errorf("lifetime is %v, want %v", d, maxLifetime)
	}
	if next.UnixNano() < now.UnixNano() {
		t.Errorf("%v overflows as nanoseconds", next)
	}
}
