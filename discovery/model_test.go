package discovery

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"uclat/clat/pref64"
)

// model is a Set as one would write it without a thought for size or speed: who said what until when, and a place for each prefix of a
// source on a link that anybody stands by. It has no bounds.
type model struct {
	said     map[key]time.Time // zero: for ever
	places   map[place]int
	hardware map[key]string // of a router: without a prefix
	last     int
}

type key struct {
	speaker
	prefix pref64.Prefix
}

type place struct {
	source Source
	link   int
	prefix pref64.Prefix
}

func (k key) place() place { return place{k.source, k.link, k.prefix} }

func newModel() *model {
	return &model{said: map[key]time.Time{}, places: map[place]int{}, hardware: map[key]string{}}
}

// observe returns what changed: for each event its statements.
func (m *model) observe(now time.Time, o Observation) (changes map[Event][]string) {
	changes = map[Event][]string{}
	for k := range m.said {
		if !m.holds(k, now) {
			changes[Expired] = append(changes[Expired], m.name(k))
			delete(m.said, k)
		}
	}
	m.tidy()
	by := speaker{o.Source, o.Link, o.Router, o.Resolver}
	before := map[key]time.Time{}
	for k, until := range m.said {
		if k.speaker == by {
			before[k] = until
			if o.Source != RA {
				delete(m.said, k)
			}
		}
	}
	for _, offer := range o.Prefixes {
		k := key{by, offer.Prefix}
		switch {
		case o.Source == Configured:
			if _, twice := m.said[k]; !twice {
				m.last++
				m.places[k.place()] = m.last
			}
			m.said[k] = time.Time{}
		case offer.Lifetime <= 0:
			delete(m.said, k)
		default:
			m.said[k] = now.Add(min(offer.Lifetime, maxLifetime))
			if m.places[k.place()] == 0 {
				m.last++
				m.places[k.place()] = m.last
			}
		}
	}
	for k := range before {
		if _, still := m.said[k]; !still {
			changes[Withdrawn] = append(changes[Withdrawn], m.name(k))
		}
	}
	if o.Hardware != "" {
		m.hardware[key{speaker: by}] = o.Hardware
	}
	for k := range m.said {
		if _, was := before[k]; k.speaker == by && !was {
			changes[Appeared] = append(changes[Appeared], m.name(k))
		}
	}
	m.tidy()
	return changes
}

func (m *model) holds(k key, now time.Time) bool { return m.said[k].IsZero() || m.said[k].After(now) }

func (m *model) forget(link int) {
	for k := range m.said {
		if k.link == link && k.source != Configured {
			delete(m.said, k)
		}
	}
	m.tidy()
}

// tidy drops the places that nobody stands by, and what routers said of themselves that say nothing else.
func (m *model) tidy() {
	for p := range m.places {
		if !m.any(func(k key) bool { return k.place() == p }) {
			delete(m.places, p)
		}
	}
	for router := range m.hardware {
		if !m.any(func(k key) bool { return k.speaker == router.speaker }) {
			delete(m.hardware, router)
		}
	}
}

func (m *model) any(is func(key) bool) bool {
	for k := range m.said {
		if is(k) {
			return true
		}
	}
	return false
}

func (m *model) known(k key) Known {
	return Known{Source: k.source, Link: k.link, Router: k.router, Hardware: m.hardware[key{speaker: k.speaker}], Resolver: k.resolver,
		Prefix: k.prefix, Until: m.said[k]}
}

func (m *model) name(k key) string { return name(m.known(k)) }

// valid is what holds at now, best first, and when the next of it ends.
func (m *model) valid(now time.Time) (known []Known, next time.Time) {
	var keys []key
	for k := range m.said {
		if m.holds(k, now) {
			keys = append(keys, k)
		}
	}
	far := now.Add(2 * maxLifetime)
	end := func(k key) time.Time {
		if m.said[k].IsZero() {
			return far
		}
		return m.said[k]
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(int(a.source)-int(b.source), m.places[a.place()]-m.places[b.place()], end(b).Compare(end(a)), a.router.Compare(b.router),
			strings.Compare(a.resolver, b.resolver))
	})
	next = far
	for _, k := range keys {
		known = append(known, m.known(k))
		if end(k).Before(next) {
			next = end(k)
		}
	}
	if next == far {
		next = time.Time{}
	}
	return known, next
}

// play has happen to a Set and to the model what the steps say, four octets each, and compares the two.
func play(t *testing.T, steps []byte) {
	var s Set
	m, now := newModel(), start
	for ; len(steps) >= 4; steps = steps[4:] {
		what, pause, which, lifetimes := steps[0], steps[1], steps[2], steps[3]
		now = now.Add(time.Duration(pause) * time.Second / 2)
		switch link := 1 + int(what>>2&1); what >> 6 {
		case 0:
			other := s
			disturb(&other, now)
		case 1:
			if which%8 == 0 {
				s.Forget(link)
				m.forget(link)
			}
		default:
			o := step(what, link, which, lifetimes)
			s.Observe(now, o)
			want := m.observe(now, o)
			got, last := map[Event][]string{}, Expired
			for _, c := range s.Changes(now) {
				if order := [...]int{Expired: 0, Withdrawn: 1, Appeared: 2}; order[c.What] < order[last] {
					t.Fatalf("at %s: %v after %v", after(now), c.What, last)
				}
				last = c.What
				got[c.What] = append(got[c.What], name(c.Known))
			}
			for _, e := range []Event{Expired, Withdrawn, Appeared} {
				slices.Sort(got[e])
				slices.Sort(want[e])
				if !slices.Equal(got[e], want[e]) {
					t.Fatalf("at %s after %+v\n%v %v\nwant %v", after(now), o, e, got[e], want[e])
				}
			}
		}
		compare(t, &s, m, now)
	}
}

// step is an Observation.
func step(what byte, link int, which, lifetimes byte) (o Observation) {
	o.Link = link
	switch who := int(what & 3); what >> 3 & 3 {
	case 0:
		o.Source, o.Link = Configured, 0
	case 1:
		o.Source, o.Resolver = DNS, fmt.Sprint("r", who)
	default:
		o.Source, o.Router = RA, routerAddr(1+who)
		if what&32 != 0 {
			o.Hardware = string(rune('w' + lifetimes>>6))
		}
	}
	for i := range 4 {
		if which>>i&1 != 0 {
			lifetime := [...]time.Duration{0, 7 * time.Second, time.Minute, math.MaxInt64}[lifetimes>>(2*i)&3]
			o.Prefixes = append(o.Prefixes, Offer{prefix96(string(rune('a' + i))), lifetime})
		}
	}
	if which&16 != 0 {
		slices.Reverse(o.Prefixes)
	}
	if which&32 != 0 && len(o.Prefixes) > 1 {
		o.Prefixes = append(o.Prefixes, Offer{o.Prefixes[0].Prefix, o.Prefixes[1].Lifetime})
	}
	return o
}

// disturb does to a copy what there is to do.
func disturb(s *Set, now time.Time) {
	now = now.Add(time.Second)
	s.Observe(now, configured("d a"))
	s.Observe(now, from("disturbed", ra(1, 9, "d c=0 b")))
	s.Observe(now, dns("r1", 9, "d"))
	s.Limit(func(k Known) bool { return k.Source == DNS })
	s.Observe(now.Add(time.Hour), dns("r2", 9, "d"))
	s.Forget(1)
	s.Changes(now)
}

// compare looks at now and at the moments around the next end.
func compare(t *testing.T, s *Set, m *model, now time.Time) {
	t.Helper()
	known, next := s.Valid(now)
	want, wantNext := m.valid(now)
	if !slices.Equal(known, want) || !next.Equal(wantNext) {
		t.Fatalf("at %s: %v; next %s\nwant %v; next %s", after(now), known, after(next), want, after(wantNext))
	}
	if next.IsZero() {
		return
	}
	if !next.After(now) {
		t.Fatalf("at %s: the next change is at %s", after(now), after(next))
	}
	before, _ := s.Valid(next.Add(-1))
	then, _ := s.Valid(next)
	if !slices.Equal(before, known) || len(then) >= len(known) {
		t.Fatalf("at %s: %v; just before %s: %v; then: %v", after(now), known, after(next), before, then)
	}
}

func FuzzSet(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0x90, 0, 0x0f, 0xff, 0x91, 10, 0x13, 0x05, 0x90, 200, 0x01, 0x00, 0x40, 0, 0, 0, 0x80, 0, 0x2f, 0})
	random := rand.NewChaCha8([32]byte{1})
	for range 8 {
		steps := make([]byte, 4*64)
		random.Read(steps)
		f.Add(steps)
	}
	f.Fuzz(play)
}

func TestSetAsModel(t *testing.T) {
	random := rand.NewChaCha8([32]byte{2})
	for range 100 {
		steps := make([]byte, 4*100)
		random.Read(steps)
		for i := range len(steps) / 4 {
			steps[4*i+1] &= 0x1f // so that more holds at a time
		}
		play(t, steps)
	}
}
