package discovery

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// changed is what became different, as text: "a ra 1 appeared, b ra 1 withdrawn".
func changed(s *Set, now time.Time) string {
	var lines []string
	for _, c := range s.Changes(now) {
		lines = append(lines, fmt.Sprint(name(c.Known), " ", c.What))
	}
	return strings.Join(lines, ", ")
}

func TestChanges(t *testing.T) {
	run(t, []history{
		{"none", []event{look(0, "")}},
		{"asked for once", []event{
			say(0, ra(1, 60, "b a"), "b ra 1 appeared, a ra 1 appeared"),
			look(0, ""),
		}},
		{"renewal is none, whatever the lifetime and the link-layer address", []event{
			say(0, from("x", ra(1, 60, "a")), "a ra 1 x appeared"),
			say(10, from("y", ra(1, 600, "a")), ""),
			say(20, ra(1, 8, "a"), ""),
			say(21, dns("r1", 60, "a b"), "a dns r1 appeared, b dns r1 appeared"),
			say(22, dns("r1", 90, "b a"), ""),
		}},
		{"each origin for itself", []event{
			say(0, ra(1, 60, "a"), "a ra 1 appeared"),
			say(1, ra(2, 60, "a"), "a ra 2 appeared"),
			say(2, seenOn(2, ra(1, 60, "a")), "a/2 ra 1 appeared"),
			say(3, ra(1, 0, "a"), "a ra 1 withdrawn"),
		}},
		{"withdrawn by lifetime 0, once", []event{
			say(0, ra(1, 60, "a b"), "a ra 1 appeared, b ra 1 appeared"),
			say(1, ra(1, 60, "a=0 c"), "a ra 1 withdrawn, c ra 1 appeared"),
			say(2, ra(1, 60, "a=0 d=0"), ""),
			look(1000, "b ra 1 expired, c ra 1 expired"),
		}},
		{"withdrawn by omission, where all is said", []event{
			say(0, dns("r1", 60, "a b"), "a dns r1 appeared, b dns r1 appeared"),
			say(1, dns("r1", 60, "c b"), "a dns r1 withdrawn, c dns r1 appeared"),
			say(2, dns("r1", 60, ""), "b dns r1 withdrawn, c dns r1 withdrawn"),
			say(3, configured("a b"), "a configured appeared, b configured appeared"),
			say(4, configured("b"), "a configured withdrawn"),
		}},
		{"expired in the order of the ends", []event{
			say(0, ra(1, 0, "a=90 b=60"), "a ra 1 appeared, b ra 1 appeared"),
			say(0, dns("r1", 90, "a"), "a dns r1 appeared"),
			look(59, ""),
			look(60, "b ra 1 expired"),
			look(200, "a ra 1 expired, a dns r1 expired"),
			look(300, ""),
		}},
		{"expired in the order of the ends, seen late", []event{
			say(0, ra(1, 0, "a=90 b=60 c=90"), "a ra 1 appeared, b ra 1 appeared, c ra 1 appeared"),
			look(1000, "b ra 1 expired, a ra 1 expired, c ra 1 expired"),
		}},
		{"expired before it was said again", []event{
			say(0, ra(1, 60, "a"), "a ra 1 appeared"),
			say(60, ra(1, 60, "a"), "a ra 1 expired, a ra 1 appeared"),
		}},
		{"in one advertisement only what it comes to", []event{
			say(0, ra(1, 60, "a a=0"), ""),
			say(1, ra(1, 60, "b"), "b ra 1 appeared"),
			say(2, ra(1, 60, "b=0 b"), ""),
		}},
	}, changed)
}

func TestChangesWait(t *testing.T) {
	var s Set
	s.Observe(at(0), ra(1, 60, "a"))
	s.Observe(at(1), ra(1, 60, "a=0"))
	s.Observe(at(2), dns("r1", 5, "b"))
	s.Observe(at(3), ra(1, 60, "a"))
	copied := s
	for _, s := range []*Set{&s, &copied} {
		if got, want := changed(s, at(10)), "a ra 1 appeared, a ra 1 withdrawn, b dns r1 appeared, a ra 1 appeared, "+
			"b dns r1 expired"; got != want {
			t.Errorf("got %s\nwant %s", got, want)
		}
	}
}

func TestChangesAreBounded(t *testing.T) {
	var s Set
	for i := range 1000 {
		s.Observe(at(i), ra(1, 1, fmt.Sprintf("%x", i)))
	}
	c := s.Changes(at(1000))
	if last := c[len(c)-1]; len(c) != maxChanges || last.What != Expired || last.Prefix != prefix96("3e7") {
		t.Errorf("%d changes, the last: %v", len(c), last)
	}
}

// A copy goes its own way, whoever changes first.
func TestSetCopies(t *testing.T) {
	said := func() (s Set) {
		s.Observe(at(0), configured("a"))
		s.Observe(at(0), ra(1, 10, "b"))
		s.Observe(at(0), ra(1, 60, "c d"))
		s.Observe(at(0), dns("r1", 60, "e"))
		return s
	}
	original := said()
	before, changes := state(&original, at(1)), changed(new(said()), at(1))
	for name, change := range map[string]func(s *Set){
		"expired":   func(s *Set) { s.Observe(at(20), dns("r2", 60, "f")) },
		"withdrawn": func(s *Set) { s.Observe(at(1), ra(1, 60, "c=0 b=0")) },
		"renewed":   func(s *Set) { s.Observe(at(1), from("x", ra(1, 600, "b c"))) },
		"changes":   func(s *Set) { s.Changes(at(20)) },
		"forgotten": func(s *Set) { s.Forget(1) },
		"limited":   func(s *Set) { s.Limit(func(Known) bool { return false }) },
		"added":     func(s *Set) { s.Observe(at(1), configured("f")); s.Observe(at(1), dns("r3", 60, "f")) },
	} {
		t.Run(name, func(t *testing.T) {
			kept := said()
			other := kept
			change(&other)
			if got := state(&kept, at(1)); got != before {
				t.Errorf("what is valid: %s, want %s", got, before)
			}
			if got := changed(&kept, at(1)); got != changes {
				t.Errorf("what changed: %s, want %s", got, changes)
			}
		})
	}
}

// What waits is each one's own too, after both have gone on.
func TestChangesOfCopies(t *testing.T) {
	var s Set
	want := ""
	for i := range 20 {
		prefix := fmt.Sprintf("%x", 0x10+i)
		want += prefix + " ra 1 appeared, "
		s.Observe(start, ra(1, 60, prefix))
		one, two := s, s
		one.Observe(start, ra(1, 60, "a"))
		two.Observe(start, ra(2, 60, "b"))
		if got := changed(&one, start); got != want+"a ra 1 appeared" {
			t.Fatalf("%s after %d", got, i)
		}
		if got := changed(&two, start); got != want+"b ra 2 appeared" {
			t.Fatalf("%s after %d", got, i)
		}
	}
}

func TestEventNames(t *testing.T) {
	if got, want := fmt.Sprint(Appeared, Withdrawn, Expired), "appeared withdrawn expired"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
