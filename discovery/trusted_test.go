package discovery

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// only trusts one router, on link 1, if it has its link-layer address.
func only(n int, hardware string) func(int, netip.Addr, string) bool {
	return func(link int, router netip.Addr, hw string) bool {
		return link == 1 && router == routerAddr(n) && hw == hardware
	}
}

// Those who speak first, are many, and promise most keep out no router that is trusted, once a look has told whom to trust, nor take
// anything away from it afterwards.
func TestTrustedRouter(t *testing.T) {
	const router, forged = 0x7fff, 15
	genuine := with(says(router, 1800, "a LA 600 300, b L 600 300, c LA 600 300, d LA 600 300, e LA 600 300"), "hw=x mtu=1400 dns=1=600")
	for _, looks := range []int{0, 1, 5} {
		t.Run(fmt.Sprint("after ", looks, " looks"), func(t *testing.T) {
			var a Announcements
			n := 0
			forge := func() {
				for range forged {
					ad := flood(0, 9000)
					n++
					ad.Router = routerAddr(n)
					a.Observe(start, ad)
				}
			}
			for range looks {
				forge()
				a.Limit(only(router, "x"))
			}
			for turn := range 5 {
				forge()
				a.Observe(start, genuine)
				forge()
				want := "a b c d e"
				if got := saidBy(&a, start, router); turn > 0 && got != want || len(got) < 3 { // two of them at first
					t.Errorf("turn %d, before the look: %q", turn, got)
				}
				if a.Limit(only(router, "x")); turn > 0 && saidBy(&a, start, router) != want {
					t.Errorf("turn %d: %q", turn, saidBy(&a, start, router))
				}
				if got := routersText(&a, start); !strings.Contains(got, "1 7fff default 1800 hw x mtu 1400 dns 1 ") {
					t.Errorf("turn %d: %s", turn, got)
				}
			}
			if got := len(a.links[1].routers); got != maxRouters {
				t.Errorf("%d routers are left", got)
			}
			// It is trusted no more, and the others are default routers.
			a.Limit(noRouter)
			a.Observe(start, says(router, 0, ""))
			forge()
			a.Limit(noRouter)
			if got := routersText(&a, start); strings.Contains(got, "7fff ") {
				t.Errorf("who was trusted once stays: %s", got)
			}
		})
	}
}

// What is trusted on one link is not given up for whatever is forged on others.
func TestTrustedLink(t *testing.T) {
	var a Announcements
	a.Observe(start, with(says(1, 60, "a LA 60 60"), "hw=x"))
	for i := range 1000 {
		if i%maxLinks == 0 {
			a.Limit(only(1, "x"))
		}
		a.Observe(start, onLink(2+i, flood(0, 9000)))
	}
	a.Limit(only(1, "x"))
	if got := saidBy(&a, start, 1); got != "a" || len(a.links) != maxLinks {
		t.Errorf("%q on the link, %d links", got, len(a.links))
	}
}

func TestLimitOfNothing(t *testing.T) {
	var a Announcements
	a.Limit(noRouter)
	a.Observe(start, Advertisement{Link: 1})
	a.Limit(noRouter)
	if a.Heard(1) != Silent {
		t.Error("what is known is lost")
	}
}
