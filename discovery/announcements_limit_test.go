package discovery

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// flood is an advertisement of forged router N, 0 to 7, with as many prefixes as are taken of one, and for ever.
func flood(n, lifetime int) Advertisement {
	var options []string
	for i := range maxPrefixes {
		options = append(options, fmt.Sprintf("%x LA ever ever", 0xf000+maxPrefixes*n+i))
	}
	return says(0x28+0x10*n, lifetime, strings.Join(options, ","))
}

// noRouter trusts nobody.
func noRouter(int, netip.Addr, string) bool { return false }

// saidBy is the prefixes of a router as text.
func saidBy(a *Announcements, now time.Time, router int) string {
	var names []string
	known, _ := a.Valid(now)
	for _, k := range known {
		if k.Router == routerAddr(router) {
			names = append(names, strings.TrimSuffix(strings.TrimPrefix(k.Prefix.String(), "2001:db8:"), "::/64"))
		}
	}
	return strings.Join(names, " ")
}

// Whoever makes up routers, with as many prefixes as it likes and for ever, takes nothing away from those that there are.
func TestForgedRouters(t *testing.T) {
	const router, border = 0x50, 0x51 // in the midst of the others. The latter is no default router, as those of Thread networks
	genuine := func(a *Announcements) {
		a.Observe(start, says(router, 1800, "a LA 600 300, b L 600 300, c . 600 300"))
		a.Observe(start, says(border, 0, "d LA 600 300"))
	}
	for _, tt := range []struct {
		name     string
		forged   int
		lifetime int
		first    bool   // the forger was
		border   string // what is kept of it
	}{
		{"one", 1, 0, false, "d"},
		{"one default router", 1, 9000, false, "d"},
		{"eight", 8, 0, false, "d"},
		{"eight default routers", 8, 9000, false, ""}, // who is none yields
		{"one, before", 1, 0, true, "d"},
		{"one default router, before", 1, 9000, true, "d"},
		{"eight, before", 8, 0, true, ""}, // and so does who comes late
	} {
		t.Run(tt.name, func(t *testing.T) {
			var a Announcements
			forge := func(a *Announcements) {
				for n := range tt.forged {
					a.Observe(start, flood(n, tt.lifetime))
				}
			}
			turns := [2]func(*Announcements){genuine, forge}
			if tt.first {
				turns = [2]func(*Announcements){forge, genuine}
			}
			for range 2 {
				turns[0](&a)
				turns[1](&a)
				a.Limit(noRouter)
				if got := saidBy(&a, start, router); got != "a b c" {
					t.Errorf("of the router: %q", got)
				}
				if got := saidBy(&a, start, border); got != tt.border {
					t.Errorf("of the one that is no default router: %q, want %q", got, tt.border)
				}
			}
		})
	}
}

// A default router whose lifetime is over is none any more.
func TestFormerDefaultRouterYields(t *testing.T) {
	var a Announcements
	for n := range maxRouters {
		a.Observe(start, says(n+1, 600, "a A 86400 86400"))
	}
	a.Observe(at(599), says(0xff, 1800, "b A 86400 86400"))
	a.Limit(noRouter)
	if got := saidBy(&a, at(599), 0xff); got != "" {
		t.Errorf("one router too much, the last: %q", got)
	}
	a.Observe(at(600), says(0xff, 1800, "b A 86400 86400"))
	a.Limit(noRouter)
	if got := saidBy(&a, at(600), 0xff); got != "b" {
		t.Errorf("the only default router: %q", got)
	}
}

// Of the prefixes of one router, what it has not said for longest is of the least use, however long it holds.
func TestRouterSaysAgain(t *testing.T) {
	t.Run("forged in its name", func(t *testing.T) {
		var a Announcements
		forged := flood(0, 1800)
		forged.Router = routerAddr(1)
		for i := range 3 {
			a.Observe(at(i), says(1, 1800, "a LA 600 300, b . ever ever"))
			if got := saidBy(&a, at(i), 1); !strings.HasPrefix(got, "a") {
				t.Errorf("turn %d: %q", i, got)
			}
			a.Observe(at(i), forged)
		}
	})
	t.Run("renumbered again and again", func(t *testing.T) {
		var a Announcements
		for i := range 100 {
			a.Observe(at(i*hour), says(1, 1800, fmt.Sprintf("%x LA 2592000 604800", 0x100+i)))
			if got, want := saidBy(&a, at(i*hour), 1), fmt.Sprintf("%x", 0x100+i); !strings.HasSuffix(got, want) {
				t.Fatalf("%s is not in %q", want, got)
			}
		}
	})
	t.Run("without flags", func(t *testing.T) {
		var a Announcements
		a.Observe(start, says(1, 1800, "a L 600 300, b A 600 300"))
		for i := range 100 {
			a.Observe(at(i), says(1, 1800, fmt.Sprintf("%x . ever ever", 0x100+i)))
		}
		if got := saidBy(&a, at(100), 1); !strings.HasPrefix(got, "a b ") {
			t.Errorf("got %q", got)
		}
	})
}

// Whatever is said in whatever order, the bounds hold, and a default router loses nothing to one that is none.
func TestBoundsHold(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		var a Announcements
		for range 60 {
			held, names := 0, map[int]string{} // of default routers
			if l := a.links[1]; l != nil {
				for _, r := range l.routers {
					if n := int(r.addr.As16()[15]); r.lifetime.known {
						held, names[n] = held+len(r.prefixes), saidBy(&a, start, n)
					}
				}
			}
			speaker, lifetime := 1+random.IntN(12), 1800*random.IntN(2)
			var options []string
			for range random.IntN(20) {
				flags := []string{".", "L", "A", "LA"}[random.IntN(4)]
				options = append(options, fmt.Sprintf("%x %s %d 60", random.IntN(100), flags, 60+random.IntN(1000)))
			}
			a.Observe(start, says(speaker, lifetime, strings.Join(options, ",")))
			a.Limit(noRouter)
			if known, _ := a.Valid(start); len(known) > maxPrefixes || len(a.links[1].routers) > maxRouters {
				t.Fatalf("%d prefixes of %d routers", len(known), len(a.links[1].routers))
			}
			if lifetime > 0 || held > maxPrefixes-assured*(maxRouters-1) {
				continue
			}
			delete(names, speaker)
			for n, before := range names {
				if after := saidBy(&a, start, n); after != before {
					t.Fatalf("router %d takes away from %d, which had %q and has %q", speaker, n, before, after)
				}
			}
		}
	}
}

// However much is forged, only so much is kept.
func TestAnnouncementsAreBounded(t *testing.T) {
	t.Run("prefixes of one advertisement", func(t *testing.T) {
		var a Announcements
		var options []string
		for i := range 1000 {
			options = append(options, fmt.Sprintf("%x A %d 60", i, 60+i))
		}
		a.Observe(start, says(1, 1800, strings.Join(options, ",")))
		if known, _ := a.Valid(start); len(known) != maxPrefixes {
			t.Errorf("%d prefixes", len(known))
		}
	})
	t.Run("prefixes of a link", func(t *testing.T) {
		var a Announcements
		for i := range 1000 {
			a.Observe(start, says(1+i%3, 1800, fmt.Sprintf("%x A %d 60", i, 100+i*7%1000)))
			if n := a.links[1].prefixes(); n > 2*maxPrefixes {
				t.Fatalf("%d prefixes until Limit", n)
			}
		}
		a.Limit(noRouter)
		known, _ := a.Valid(start)
		of := map[netip.Addr]int{}
		for _, k := range known {
			of[k.Router]++
		}
		if n := min(of[routerAddr(1)], of[routerAddr(2)], of[routerAddr(3)]); len(known) != maxPrefixes || n != maxPrefixes/3 {
			t.Errorf("%d prefixes, by router %v", len(known), of)
		}
	})
	t.Run("routers", func(t *testing.T) {
		var a Announcements
		a.Observe(start, says(0xffff, 9000, "f A 3600 3600"))
		for i := range 1000 {
			a.Observe(start, says(1+i, 1800, fmt.Sprintf("a A %d 60", 100+i)))
			if n := len(a.links[1].routers); n > maxRouters+maxNewcomers {
				t.Fatalf("%d routers until Limit", n)
			}
		}
		a.Limit(noRouter)
		if n := len(a.links[1].routers); n != maxRouters {
			t.Errorf("%d routers", n)
		}
		known, _ := a.Valid(start)
		if len(known) != maxRouters || known[len(known)-1].Router != routerAddr(0xffff) {
			t.Errorf("%d announcements, and not that of the router that was there first: %v", len(known), known)
		}
	})
	t.Run("links", func(t *testing.T) {
		var a Announcements
		for i := range 1000 {
			a.Observe(start, onLink(1000+i, says(1, 1800, "a A 600 600")))
			a.Observe(start, Advertisement{Link: 1 + i})
			if len(a.links) > 2*maxLinks {
				t.Fatalf("%d links until Limit", len(a.links))
			}
		}
		a.Limit(noRouter)
		known, _ := a.Valid(start)
		if len(a.links) != maxLinks || len(known) != maxLinks {
			t.Errorf("%d links, %d announcements; silent ones should go first", len(a.links), len(known))
		}
	})
}
