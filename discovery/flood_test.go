package discovery

import "testing"

// Between any two looks, newcomers on other links, and not too many on its own, keep no router from being heard.
func TestFlood(t *testing.T) {
	const router = 0x7fff
	for _, tt := range []struct {
		name  string
		links []int // with 16 forged routers each, all of them others at each look
		says  string
	}{
		{"on two other links", []int{2, 3}, "a b c d"},
		{"on very many others", []int{2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, "a b c d"},
		{"on its own", []int{1}, "a b"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, again := range []bool{false, true} {
				var s Set
				for look := range 4 {
					for _, link := range tt.links {
						for n := range 16 {
							s.Observe(at(look), seenOn(link, forged(1+look*16+n)))
						}
					}
					if look == 0 || again {
						s.Observe(at(look), ra(router, 600, tt.says))
					}
					if got := saidOf(&s, at(look), router); got != tt.says {
						t.Fatalf("look %d: %q", look, got)
					}
					s.Limit(routersOf(router))
				}
			}
		})
	}
}

// What is kept of others takes no room from a newcomer, and those that come after it take none of what it has.
func TestNewcomer(t *testing.T) {
	const router, all = 0x7fff, "a b c d e f"
	var s Set
	for n := range maxSpeakers {
		s.Observe(start, forged(1+n))
	}
	s.Limit(nobody)
	s.Observe(start, ra(router, 600, all))
	for range 2 {
		if got := saidOf(&s, start, router); got != all {
			t.Fatalf("got %q", got)
		}
		for n := range 300 {
			s.Observe(start, forged(100+n))
		}
		s.Observe(start, ra(router, 600, all))
	}
}
