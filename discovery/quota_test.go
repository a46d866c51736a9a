package discovery

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func nobody(Known) bool { return false }

// routersOf trusts these routers.
func routersOf(trusted ...int) func(Known) bool {
	return func(k Known) bool {
		return slices.ContainsFunc(trusted, func(n int) bool { return k.Router == routerAddr(n) })
	}
}

// forged is what a router says that was made up, with as many prefixes as there may be, and for as long as can be said.
func forged(router int) Observation {
	o := Observation{Source: RA, Link: 1, Router: routerAddr(router)}
	for i := range maxOffers {
		o.Prefixes = append(o.Prefixes, Offer{prefix96(fmt.Sprintf("%x:%x", router, i)), 65528 * time.Second})
	}
	return o
}

// sizes counts what there is of each link and source, of each origin and in all.
func sizes(s *Set, now time.Time) (speakers map[string]int, offers map[string]int, links, total int) {
	known, _ := s.Valid(now)
	speakers, offers = map[string]int{}, map[string]int{}
	of := map[int]bool{}
	for _, k := range known {
		if k.Source == Configured {
			continue
		}
		place := fmt.Sprint(k.Link, k.Source)
		origin := place + k.Router.String() + k.Resolver
		if offers[origin] == 0 {
			speakers[place]++
		}
		offers[origin]++
		of[k.Link] = true
		total++
	}
	return speakers, offers, len(of), total
}

// saidOf is the names of a router's PREF64s, in order.
func saidOf(s *Set, now time.Time, router int) string {
	known, _ := s.Valid(now)
	var of []string
	for _, k := range known {
		if k.Router == routerAddr(router) {
			of = append(of, strings.Fields(name(k))[0])
		}
	}
	slices.Sort(of)
	return strings.Join(of, " ")
}

// Whoever makes up routers, as many as it likes and between any two looks, takes nothing away from one that is trusted.
func TestForgedPREF64(t *testing.T) {
	const router = 0x7fff
	trusted := routersOf(router)
	for _, tt := range []struct {
		name   string
		happen func(s *Set)
	}{
		{"afterwards, in one flood", func(s *Set) {
			s.Observe(start, ra(router, 1800, "a b"))
			for n := range 300 {
				s.Observe(start, forged(1+n))
			}
			s.Limit(trusted)
		}},
		{"afterwards, with looks", func(s *Set) {
			s.Observe(start, ra(router, 1800, "a b"))
			for n := range 300 {
				s.Observe(start, forged(1+n))
				s.Limit(trusted)
			}
		}},
		{"before, with a look", func(s *Set) {
			for n := range 300 {
				s.Observe(start, forged(1+n))
			}
			s.Limit(trusted)
			s.Observe(start, ra(router, 1800, "a b"))
			s.Limit(trusted)
		}},
		{"on all links, with looks", func(s *Set) {
			for n := range 300 {
				s.Observe(start, seenOn(2+n%100, forged(1+n)))
				s.Limit(trusted)
			}
			s.Observe(start, ra(router, 1800, "a b"))
			s.Limit(trusted)
		}},
		{"around what it says bit by bit", func(s *Set) {
			s.Observe(start, ra(router, 1800, "a"))
			for n := range 300 {
				s.Observe(start, forged(1+n))
			}
			s.Limit(trusted)
			s.Observe(start, ra(router, 1800, "b"))
			for n := range 300 {
				s.Observe(start, forged(1+n))
			}
			s.Limit(trusted)
		}},
		{"and trusted only after it was said", func(s *Set) {
			for n := range 5 {
				s.Observe(start, forged(1+n))
			}
			s.Observe(start, ra(router, 1800, "a b"))
			s.Limit(nobody)
			for n := range 300 {
				s.Observe(start, forged(1+n))
			}
			s.Limit(trusted)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s Set
			tt.happen(&s)
			if got := saidOf(&s, start, router); got != "a b" {
				t.Errorf("of the router: %q", got)
			}
		})
	}
}

func TestLimit(t *testing.T) {
	t.Run("of one link 8 routers and 8 resolvers, the last that spoke", func(t *testing.T) {
		var s Set
		for i := range 20 {
			s.Observe(start, ra(1+i, 600, "a"))
			s.Observe(start, dns(fmt.Sprint("r", 10+i), 600, "a"))
		}
		s.Observe(start, ra(5, 600, "a")) // again
		s.Limit(nobody)
		want := "a ra 5, a ra e, a ra f, a ra 10, a ra 11, a ra 12, a ra 13, a ra 14"
		for i := range 8 {
			want += fmt.Sprint(", a dns r", 22+i)
		}
		known, _ := s.Valid(start)
		var got []string
		for _, k := range known {
			got = append(got, name(k))
		}
		if got := strings.Join(got, ", "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
	t.Run("whoever is trusted in one thing goes with all", func(t *testing.T) {
		var s Set
		s.Observe(start, ra(0x50, 600, "a b"))
		for i := range 20 {
			s.Observe(start, ra(1+i, 600, "a"))
		}
		for _, one := range []string{"a", "b"} {
			s := s
			s.Limit(func(k Known) bool { return k.Router == routerAddr(0x50) && k.Prefix == prefix96(one) })
			if got := saidOf(&s, start, 0x50); got != "a b" {
				t.Errorf("trusted in %s, it has %q", one, got)
			}
		}
	})
	t.Run("whoever says one thing again goes with all", func(t *testing.T) {
		var s Set
		s.Observe(start, ra(0x50, 600, "a b"))
		for i := range maxSpeakers {
			s.Observe(start, ra(1+i, 600, "a"))
		}
		s.Observe(start, ra(0x50, 600, "a"))
		s.Limit(nobody)
		if got := saidOf(&s, start, 0x50); got != "a b" {
			t.Errorf("got %q", got)
		}
	})
	t.Run("64 links, those that are trusted first", func(t *testing.T) {
		var s Set
		s.Observe(start, seenOn(1000, ra(0x50, 600, "a")))
		for i := range 100 {
			s.Observe(start, seenOn(1+i, ra(1, 600, "a")))
		}
		s.Limit(routersOf(0x50))
		if _, _, links, _ := sizes(&s, start); links != maxLinks || saidOf(&s, start, 0x50) != "a/1000" {
			t.Errorf("%d links: %s", links, state(&s, start))
		}
	})
	t.Run("what is configured stays and does not count", func(t *testing.T) {
		var s Set
		var names []string
		for i := range 1000 {
			names = append(names, fmt.Sprintf("%x", i))
		}
		s.Observe(start, configured(strings.Join(names, " ")))
		s.Observe(start, ra(1, 600, "a"))
		s.Limit(nobody)
		if known, _ := s.Valid(start); len(known) != 1001 {
			t.Errorf("%d are known", len(known))
		}
	})
	t.Run("no change is said", func(t *testing.T) {
		var s Set
		for i := range 20 {
			s.Observe(start, ra(1+i, 600, "a"))
		}
		s.Changes(start)
		s.Limit(nobody)
		if c := s.Changes(start); len(c) > 0 {
			t.Errorf("%v", c)
		}
	})
	t.Run("nothing of nothing", func(t *testing.T) {
		var s Set
		s.Limit(nobody)
		if got := state(&s, start); got != "" {
			t.Error(got)
		}
	})
}

func TestSetIsBounded(t *testing.T) {
	t.Run("16 prefixes of a router, the last that it said", func(t *testing.T) {
		var s Set
		for i := range 100 {
			s.Observe(start, ra(1, 600, fmt.Sprintf("%x a", 0x100+i)))
		}
		want := []string{"a"}
		for i := 100 - (maxOffers - 1); i < 100; i++ {
			want = append(want, fmt.Sprintf("%x", 0x100+i))
		}
		slices.Sort(want)
		if got := saidOf(&s, start, 1); got != strings.Join(want, " ") {
			t.Errorf("got %q, want %q", got, want)
		}
	})
	t.Run("16 prefixes of a resolver, the one in use among them", func(t *testing.T) {
		var s Set
		s.Observe(start, dns("r1", 60, "a"))
		var names []string
		for i := range 40 {
			names = append(names, fmt.Sprintf("%x", 0x100+i))
		}
		s.Observe(start, dns("r1", 60, strings.Join(names, " ")+" a"))
		known, _ := s.Valid(start)
		if len(known) != maxOffers || known[0].Prefix != prefix96("a") || known[maxOffers-1].Prefix != prefix96("10e") {
			t.Errorf("got %s", state(&s, start))
		}
	})
	t.Run("without end in one observation", func(t *testing.T) {
		var s Set
		o := Observation{Source: DNS, Link: 1}
		for i := range 100_000 {
			o.Prefixes = append(o.Prefixes, Offer{prefix96(fmt.Sprintf("%x:%x", i>>16, i&0xffff)), time.Minute})
		}
		s.Observe(start, o)
		if known, _ := s.Valid(start); len(known) != maxOffers {
			t.Errorf("%d are known", len(known))
		}
	})
	t.Run("where all is used up, an origin gets what it gives up", func(t *testing.T) {
		var s Set
		s.Observe(start, ra(0x50, 600, "a b"))
		for i := range 1000 {
			s.Observe(start, forged(1+i))
		}
		if _, _, _, total := sizes(&s, start); total != maxNewOfLink {
			t.Fatalf("%d in all", total)
		}
		s.Changes(start)
		s.Observe(start, ra(0x51, 600, "c"))
		if got := saidOf(&s, start, 0x51); got != "" {
			t.Errorf("a new one got %q", got)
		}
		if got := changed(&s, start); got != "" {
			t.Errorf("which is said to be a change: %s", got)
		}
		s.Observe(at(1), ra(0x50, 600, "b c"))
		if got := saidOf(&s, start, 0x50); got != "b c" {
			t.Errorf("one that was there got %q", got)
		}
		s.Observe(at(2), ra(0x50, 600, "b=0"))
		s.Observe(at(2), ra(0x51, 600, "d"))
		if got := saidOf(&s, start, 0x51); got != "d" {
			t.Errorf("the room that was given up is not there: %q", got)
		}
		s.Observe(at(2), configured("a b c"))
		if known, _ := s.Valid(start); len(known) != maxNewOfLink+3 {
			t.Errorf("%d are known with the configuration", len(known))
		}
		s.Observe(at(2), dns("r1", 600, "e"))
		if got := state(&s, at(2)); !strings.Contains(got, "e dns r1") {
			t.Errorf("routers keep a resolver out: %s", got)
		}
	})
	t.Run("whoever the last call has left has room for all", func(t *testing.T) {
		var s Set
		s.Observe(start, ra(0x7fff, 600, "a"))
		s.Limit(nobody)
		for i := range 1000 {
			s.Observe(start, forged(1+i))
		}
		var names []string
		for i := range maxOffers {
			names = append(names, fmt.Sprintf("%x", 0x100+i))
		}
		s.Observe(start, ra(0x7fff, 600, names[0]+" a=0"))
		s.Observe(start, ra(0x7fff, 600, strings.Join(names, " ")))
		if got := saidOf(&s, start, 0x7fff); got != strings.Join(names, " ") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("of all links", func(t *testing.T) {
		var s Set
		for link := range 2 * maxLinks {
			for i := range 6 {
				s.Observe(start, seenOn(1+link, forged(1+i)))
			}
		}
		if _, _, _, total := sizes(&s, start); total != maxNew {
			t.Errorf("%d in all", total)
		}
	})
}

// Whatever is said in whatever order, the bounds hold, and what is trusted is not lost for what is not.
func TestSetBoundsHold(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for range 6 {
		var s Set
		trust := map[netip.Addr]bool{}
		for range 4 {
			trust[routerAddr(1+random.IntN(40))] = true // few enough to fit
		}
		trusted := func(k Known) bool { return k.Source == RA && k.Link == 1 && trust[k.Router] }
		for turn := range 20 {
			for range random.IntN(40) {
				o := ra(1+random.IntN(40), 600, "")
				o.Link = 1 + random.IntN(1+random.IntN(80))
				if random.IntN(4) == 0 {
					o.Source, o.Router, o.Resolver = DNS, netip.Addr{}, fmt.Sprint("r", random.IntN(20))
				}
				for range random.IntN(6) {
					o.Prefixes = append(o.Prefixes, Offer{prefix96(fmt.Sprintf("%x", random.IntN(60))), time.Duration(random.IntN(10)) * time.Minute})
				}
				s.Observe(at(turn), o)
				if known, _ := s.Valid(at(turn)); len(known) > maxLimited*maxOffers+maxNew {
					t.Fatalf("%d in all", len(known))
				}
			}
			if _, offers, _, _ := sizes(&s, at(turn)); offers[most(offers)] > maxOffers {
				t.Fatalf("%d of %s", offers[most(offers)], most(offers))
			}
			before, _ := s.Valid(at(turn))
			s.Limit(trusted)
			after, _ := s.Valid(at(turn))
			speakers, _, links, total := sizes(&s, at(turn))
			if total > maxLimited || links > maxLinks || speakers[most(speakers)] > maxSpeakers {
				t.Fatalf("%d in all, %d links, %d of %s", total, links, speakers[most(speakers)], most(speakers))
			}
			for _, k := range before {
				if trusted(k) && !slices.Contains(after, k) {
					t.Fatalf("turn %d: %s is lost", turn, name(k))
				}
			}
			again := state(&s, at(turn))
			if s.Limit(trusted); state(&s, at(turn)) != again {
				t.Fatal("a second call changes something")
			}
		}
	}
}

// most is the name with the highest count.
func most(counts map[string]int) (name string) {
	for n, c := range counts {
		if c > counts[name] {
			name = n
		}
	}
	return name
}
