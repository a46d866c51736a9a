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

func prefix96(name string) pref64.Prefix { return pref64.MustParse("2001:db8:" + name + "::/96") }

// offers are prefixes, named by their third group, each of the same lifetime in seconds or of its own: "a b=30".
func offers(lifetime int, names string) (all []Offer) {
	for _, n := range strings.Fields(names) {
		name, own, _ := strings.Cut(n, "=")
		seconds := lifetime
		if own != "" {
			seconds = int(lifetimeOf(own) / time.Second)
		}
		all = append(all, Offer{prefix96(name), time.Duration(seconds) * time.Second})
	}
	return all
}

// dns, ra and configured are observations, on link 1 but for the last.
func dns(resolver string, lifetime int, names string) Observation {
	return Observation{Source: DNS, Link: 1, Resolver: resolver, Prefixes: offers(lifetime, names)}
}

func ra(router, lifetime int, names string) Observation {
	return Observation{Source: RA, Link: 1, Router: routerAddr(router), Prefixes: offers(lifetime, names)}
}

func configured(names string) Observation {
	return Observation{Source: Configured, Prefixes: offers(0, names)}
}

// seenOn is o on another link, and from is o of a router that says its link-layer address.
func seenOn(link int, o Observation) Observation {
	o.Link = link
	return o
}

func from(hardware string, o Observation) Observation {
	o.Hardware = hardware
	return o
}

// name is a statement as text: "a dns r1", "a ra 1", with "/2" behind the prefix if it is for link 2.
func name(k Known) string {
	s := strings.TrimSuffix(strings.TrimPrefix(k.Prefix.String(), "2001:db8:"), "::/96")
	if k.Link > 1 {
		s += fmt.Sprint("/", k.Link)
	}
	s += " " + k.Source.String()
	if k.Router.IsValid() {
		s += " " + strings.TrimPrefix(k.Router.String(), "fe80::")
	}
	if k.Resolver != "" {
		s += " " + k.Resolver
	}
	if k.Hardware != "" {
		s += " " + k.Hardware
	}
	return s
}

// state is what the Set says, as text: "a dns r1 60, b configured; next 60", times in seconds after start.
func state(s *Set, now time.Time) string {
	known, next := s.Valid(now)
	var lines []string
	for _, k := range known {
		lines = append(lines, strings.TrimSpace(name(k)+" "+after(k.Until)))
	}
	text := strings.Join(lines, ", ")
	if !next.IsZero() {
		text += "; next " + after(next)
	}
	return text
}

func after(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprint(t.Sub(start).Seconds())
}

// event is what is observed at a time, if anything, and what comes of it.
type event struct {
	at   int
	o    *Observation
	want string
}

func say(at int, o Observation, want string) event { return event{at, &o, want} }
func look(at int, want string) event               { return event{at, nil, want} }

type history struct {
	name   string
	events []event
}

// run has each history happen to a Set, of which see says after each event what came of it.
func run(t *testing.T, histories []history, see func(s *Set, now time.Time) string) {
	for _, tt := range histories {
		t.Run(tt.name, func(t *testing.T) {
			var s Set
			for i, e := range tt.events {
				if e.o != nil {
					s.Observe(at(e.at), *e.o)
				}
				if diff := cmp.Diff(e.want, see(&s, at(e.at))); diff != "" {
					t.Fatalf("event %d, at %d s (-want +got):\n%s", i, e.at, diff)
				}
			}
		})
	}
}

func TestSet(t *testing.T) {
	run(t, []history{
		{"empty", []event{look(0, "")}},
		{"a lifetime ends at its end", []event{
			say(0, dns("r1", 60, "a"), "a dns r1 60; next 60"),
			look(59, "a dns r1 60; next 60"),
			look(60, ""),
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
		{"each prefix has a lifetime of its own", []event{
			say(0, dns("r1", 0, "a=60 b=30"), "a dns r1 60, b dns r1 30; next 30"),
			look(30, "a dns r1 60; next 60"),
		}},

		// RFC 7050, 3
		{"RFC 7050, 3/what a resolver says replaces what it said, and what no other said", []event{
			say(0, dns("r1", 60, "a b"), "a dns r1 60, b dns r1 60; next 60"),
			say(0, dns("r2", 90, "c"), "a dns r1 60, b dns r1 60, c dns r2 90; next 60"),
			say(1, dns("r1", 60, "d"), "c dns r2 90, d dns r1 61; next 61"),
		}},
		{"RFC 7050, 3/no prefixes withdraw", []event{
			say(0, dns("r1", 60, "a"), "a dns r1 60; next 60"),
			say(1, dns("r2", 60, ""), "a dns r1 60; next 60"),
			say(2, dns("r1", 60, ""), ""),
		}},
		{"RFC 7050, 3/lifetime 0 withdraws", []event{
			say(0, dns("r1", 60, "a"), "a dns r1 60; next 60"),
			say(1, dns("r1", 0, "a"), ""),
		}},
		{"RFC 7050, 3/so does less than that", []event{
			say(0, dns("r1", 60, "a"), "a dns r1 60; next 60"),
			say(1, dns("r1", -5, "a"), ""),
		}},
		{"RFC 7050, 3/an RRset in another order moves nothing", []event{
			say(0, dns("r1", 60, "a b c"), "a dns r1 60, b dns r1 60, c dns r1 60; next 60"),
			say(50, dns("r1", 60, "c a b"), "a dns r1 110, b dns r1 110, c dns r1 110; next 110"),
			say(60, dns("r1", 60, "d b a"), "a dns r1 120, b dns r1 120, d dns r1 120; next 120"),
		}},
		{"RFC 7050, 3/the one in use stays first when another resolver goes on to offer it", []event{
			say(0, dns("r1", 60, "a"), "a dns r1 60; next 60"),
			say(1, dns("r2", 90, "b a"), "a dns r2 91, a dns r1 60, b dns r2 91; next 60"),
			look(60, "a dns r2 91, b dns r2 91; next 91"),
			say(70, dns("r1", 0, ""), "a dns r2 91, b dns r2 91; next 91"),
		}},
		{"a prefix said twice and the zero prefix count once and never", []event{
			say(0, Observation{Source: DNS, Link: 1, Resolver: "r1",
				Prefixes: append([]Offer{{Lifetime: time.Minute}}, offers(60, "a a b a=30")...)},
				"a dns r1 30, b dns r1 60; next 30"),
		}},

		// RFC 8781, 4.1 and 5
		{"RFC 8781, 5/what a router does not repeat stays", []event{
			say(0, ra(1, 1800, "a b"), "a ra 1 1800, b ra 1 1800; next 1800"),
			say(100, ra(1, 1800, "b"), "a ra 1 1800, b ra 1 1900; next 1800"),
			say(200, ra(1, 1800, ""), "a ra 1 1800, b ra 1 1900; next 1800"),
			say(300, ra(1, 1800, "c"), "a ra 1 1800, b ra 1 1900, c ra 1 2100; next 1800"),
			look(1800, "b ra 1 1900, c ra 1 2100; next 1900"),
		}},
		{"RFC 8781, 4.1/lifetime 0 ends that one at once, without two hours", []event{
			say(0, ra(1, 65528, "a b"), "a ra 1 65528, b ra 1 65528; next 65528"),
			say(1, ra(1, 0, "a"), "b ra 1 65528; next 65528"),
			say(2, ra(1, 0, "c"), "b ra 1 65528; next 65528"),
		}},
		{"RFC 8781, 4.1/a shorter lifetime holds", []event{
			say(0, ra(1, 65528, "a"), "a ra 1 65528; next 65528"),
			say(1, ra(1, 8, "a"), "a ra 1 9; next 9"),
		}},
		{"RFC 8781, 5/each router speaks for itself", []event{
			say(0, ra(1, 600, "a"), "a ra 1 600; next 600"),
			say(1, ra(2, 900, "b a"), "a ra 2 901, a ra 1 600, b ra 2 901; next 600"),
			say(2, ra(1, 0, "a b"), "a ra 2 901, b ra 2 901; next 901"),
			say(3, ra(2, 0, "a"), "b ra 2 901; next 901"),
		}},
		{"RFC 8781, 5/in one advertisement the last option counts", []event{
			say(0, ra(1, 600, "a b=0 a=0 b"), "b ra 1 600; next 600"),
			say(1, ra(1, 600, "a b=0 b"), "b ra 1 601, a ra 1 601; next 601"),
		}},
		{"RFC 8781, 5.1/the best source first, the others behind", []event{
			say(0, dns("r1", 60, "a"), "a dns r1 60; next 60"),
			say(1, ra(1, 60, "b"), "b ra 1 61, a dns r1 60; next 60"),
			say(1, configured("c"), "c configured, b ra 1 61, a dns r1 60; next 60"),
			say(2, configured(""), "b ra 1 61, a dns r1 60; next 60"),
			say(3, ra(1, 0, "b"), "a dns r1 60; next 60"),
		}},
		{"RFC 8781, 5.1/one prefix from two sources is there twice", []event{
			say(0, dns("r1", 60, "a b"), "a dns r1 60, b dns r1 60; next 60"),
			say(1, ra(1, 30, "b"), "b ra 1 31, a dns r1 60, b dns r1 60; next 31"),
			look(31, "a dns r1 60, b dns r1 60; next 60"),
		}},
		{"RFC 8781, 5.1/each link for itself", []event{
			say(0, ra(1, 600, "a"), "a ra 1 600; next 600"),
			say(0, seenOn(2, ra(1, 300, "b a")), "a ra 1 600, b/2 ra 1 300, a/2 ra 1 300; next 300"),
			say(1, seenOn(2, ra(1, 0, "a")), "a ra 1 600, b/2 ra 1 300; next 300"),
			say(2, seenOn(2, dns("r1", 60, "a")), "a ra 1 600, b/2 ra 1 300, a/2 dns r1 62; next 62"),
			say(3, dns("r1", 0, "a"), "a ra 1 600, b/2 ra 1 300, a/2 dns r1 62; next 62"),
		}},

		{"what comes back after its end comes last", []event{
			say(0, ra(1, 60, "a"), "a ra 1 60; next 60"),
			say(0, ra(2, 600, "b"), "a ra 1 60, b ra 2 600; next 60"),
			say(60, ra(1, 60, "a"), "b ra 2 600, a ra 1 120; next 120"),
		}},
		{"what somebody stood by all the time does not", []event{
			say(0, ra(1, 60, "a"), "a ra 1 60; next 60"),
			say(0, ra(2, 600, "b"), "a ra 1 60, b ra 2 600; next 60"),
			say(59, ra(3, 60, "a"), "a ra 3 119, a ra 1 60, b ra 2 600; next 60"),
			say(60, ra(1, 10, "a"), "a ra 3 119, a ra 1 70, b ra 2 600; next 70"),
		}},
		{"equals stand in the order of their addresses", []event{
			say(0, ra(2, 60, "a"), "a ra 2 60; next 60"),
			say(0, ra(1, 60, "a"), "a ra 1 60, a ra 2 60; next 60"),
			say(0, dns("r2", 60, "a"), "a ra 1 60, a ra 2 60, a dns r2 60; next 60"),
			say(0, dns("r1", 60, "a"), "a ra 1 60, a ra 2 60, a dns r1 60, a dns r2 60; next 60"),
		}},

		{"RFC 4861, 6.3.4/the link-layer address is the last one said, for all that the router says", []event{
			say(0, from("x", ra(1, 60, "a")), "a ra 1 x 60; next 60"),
			say(0, from("y", ra(2, 60, "a")), "a ra 1 x 60, a ra 2 y 60; next 60"),
			say(1, from("z", ra(1, 60, "b")), "a ra 1 z 60, a ra 2 y 60, b ra 1 z 61; next 60"),
			say(2, ra(1, 60, "c"), "a ra 1 z 60, a ra 2 y 60, b ra 1 z 61, c ra 1 z 62; next 60"),
			say(3, from("x", ra(1, 60, "")), "a ra 1 x 60, a ra 2 y 60, b ra 1 x 61, c ra 1 x 62; next 60"),
			say(4, seenOn(2, ra(1, 60, "a")), "a ra 1 x 60, a ra 2 y 60, b ra 1 x 61, c ra 1 x 62, a/2 ra 1 64; next 60"),
		}},

		{"configured holds for ever, whatever its lifetime says", []event{
			say(0, configured("a"), "a configured"),
			look(1<<30, "a configured"),
			say(1<<30, configured("a=0 b"), "a configured, b configured"),
			say(1<<30, configured(""), ""),
		}},
		{"the configuration's order is its author's", []event{
			say(0, configured("a b a"), "a configured, b configured"),
			say(1, configured("b a b"), "b configured, a configured"),
		}},
		{"which does not count for another source", []event{
			say(0, configured("a b"), "a configured, b configured"),
			say(1, dns("r1", 60, "b a"), "a configured, b configured, b dns r1 61, a dns r1 61; next 61"),
			say(2, configured(""), "b dns r1 61, a dns r1 61; next 61"),
		}},
	}, state)
}

func TestSetForget(t *testing.T) {
	var s Set
	s.Forget(1) // of which nothing was said
	for _, o := range []Observation{configured("a"), ra(1, 60, "b"), dns("r1", 60, "c"), seenOn(2, ra(1, 60, "b")),
		seenOn(2, dns("r1", 60, "c"))} {
		s.Observe(start, o)
	}
	s.Changes(start)
	s.Forget(2)
	if got, want := state(&s, start), "a configured, b ra 1 60, c dns r1 60; next 60"; got != want {
		t.Errorf("without link 2: %s, want %s", got, want)
	}
	s.Forget(1)
	s.Forget(0)
	if got, want := state(&s, start), "a configured"; got != want {
		t.Errorf("without any link: %s, want %s", got, want)
	}
	if c := s.Changes(at(60)); len(c) > 0 {
		t.Errorf("what is forgotten is no change: %v", c)
	}
}

func TestSetValidChangesNothing(t *testing.T) {
	var s Set
	s.Observe(at(0), dns("r1", 60, "a"))
	if got := state(&s, at(100)); got != "" {
		t.Errorf("at 100 s: %s", got)
	}
	if got, want := state(&s, at(10)), "a dns r1 60; next 60"; got != want {
		t.Errorf("at 10 s, after asking for 100 s: %s, want %s", got, want)
	}
	known, _ := s.Valid(at(10))
	known[0].Resolver = "changed by the caller"
	if got, want := state(&s, at(10)), "a dns r1 60; next 60"; got != want {
		t.Errorf("after the caller changed what it got: %s, want %s", got, want)
	}
}

func TestSetLifetimeSaturates(t *testing.T) {
	for _, source := range []Source{RA, DNS} {
		var s Set
		now := time.Now() // with a monotonic reading, which must not overflow either
		s.Observe(now, Observation{Source: source, Link: 1, Prefixes: []Offer{{prefix96("a"), math.MaxInt64}}})
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
}
