package survey

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"uclat/clat/pref64"
	"uclat/discovery/dns"
	"uclat/platform"
)

// Where routers cannot be heard, nobody waits for them, and the view says so, unless nobody needs to know what they say.
func TestDeaf(t *testing.T) {
	const pinned = "pref64.prefixes = ['64:ff9b::/96']"
	for _, tt := range []struct {
		name, toml string
		everything bool
		host       platform.Snapshot
		code       string
		deaf       bool
	}{
		{name: "resolvers tell", host: laptop(), code: "on", deaf: true},
		{name: "resolvers are not asked", toml: "pref64.sources = ['ra']", host: laptop(), code: "no-pref64", deaf: true},
		{name: "all is asked", everything: true, host: laptop(), code: "on", deaf: true},
		{name: "it is configured", toml: pinned, host: laptop(), code: "on"},
		{name: "it is configured, and all is asked", toml: pinned, everything: true, host: laptop(), code: "on", deaf: true},
		{name: "there is nobody to be heard", everything: true, host: laptop(func(h *platform.Snapshot) { h.Links = h.Links[:1] }),
			code: "no-uplink"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{host: tt.host, deaf: errBroken, answer: server(0, wkp)}
				o := w.options(t, tt.toml)
				o.Everything = tt.everything
				v, err := Once(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				if got := time.Since(w.began); got != 0 {
					t.Errorf("it took %v", got)
				}
				if errors.Is(v.Deaf, errBroken) != tt.deaf || v.Plan.Code != tt.code {
					t.Errorf("deaf: %v; %s: %s", v.Deaf, v.Plan.Code, v.Plan.Why)
				}
			})
		})
	}
}

// However many others announce something, the router that the host has accepted is heard.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{host: laptop(), answer: server(0)}
		for n := range 60 {
			rogue := router(2, 0x100+n)
			for i := range 16 {
				rogue.PREF64 = append(rogue.PREF64, offers(fmt.Sprintf("2001:db8:%x:%x::/96", n, i))...)
			}
			w.says = append(w.says, saying{time.Duration(n) * time.Millisecond, rogue})
		}
		w.says = append(w.says, saying{time.Second, router(2, 1, wkp)})
		o := w.options(t, "pref64.sources = ['ra']")
		o.Everything = true
		v, err := Once(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if v.Plan.Code != "on" || v.Plan.PREF64[0] != pref64.WellKnown {
			t.Errorf("%s: %s", v.Plan.Code, v.Plan.Why)
		}
	})
}

// followed is a watch under way, and the views that it shows.
type followed struct {
	*world
	t    *testing.T
	view View
	last string
	seen []string // since the last look, each different from the one before
}

// follow watches a laptop for as long as f takes.
func follow(t *testing.T, w *world, f func(s *followed)) {
	synctest.Test(t, func(t *testing.T) {
		s := &followed{world: w, t: t, last: "not shown yet"}
		o := w.options(t, "")
		o.Everything = true
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- Watch(ctx, o, func(v View) {
				w.set(func() {
					s.view = v
					if now := found(v); s.last != now {
						s.last, s.seen = now, append(s.seen, now)
					}
				})
			})
		}()
		f(s)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// after lets time pass, and sees that what is shown then, and was not before, is want.
func (s *followed) after(d time.Duration, want ...string) {
	s.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	s.set(func() {
		if !slices.Equal(s.seen, want) {
			s.t.Errorf("%v: %q, want %q", time.Since(s.began), s.seen, want)
		}
		s.seen = nil
	})
}

// What was said does not hold in another network, whether the link was seen to be down or has carrier again already.
func TestNetworkIsLeft(t *testing.T) {
	const (
		both   = "ra 64:ff9b::/96 on eth0 trusted, dns 64:ff9b::/96 on eth0 trusted"
		byDNS  = "dns 2001:db8:64::/96 on eth0 trusted"
		others = "ra 2001:db8:64::/96 on eth0 trusted, dns 2001:db8:64::/96 on eth0 trusted"
	)
	w := &world{host: laptop(), says: []saying{{200 * time.Millisecond, router(2, 1, wkp)}}, answer: server(0, wkp)}
	follow(t, w, func(s *followed) {
		s.after(3*time.Second+time.Millisecond, both)
		s.set(func() { w.answer = server(0, nsp) })

		s.set(func() { w.host = laptop(func(h *platform.Snapshot) { h.Links[1].Ups++ }) })
		s.after(time.Second, "")
		s.after(time.Second, byDNS) // routers have their head start anew
		if !slices.Equal(w.anew, []int{2}) {
			t.Errorf("solicited anew on %v", w.anew)
		}
		w.report(router(2, 1, nsp))
		s.after(0, others)

		s.set(func() { w.host = laptop(func(h *platform.Snapshot) { h.Links[1].Ups, h.Links[1].Up = 1, false }) })
		s.after(2*time.Second, "")
		s.set(func() { w.host = laptop(func(h *platform.Snapshot) { h.Links[1].Ups = 2 }) })
		s.after(time.Second)
		s.after(2*time.Second, byDNS)

		// The router of the new network is heard before the host is seen to be there.
		s.set(func() { w.host = laptop(func(h *platform.Snapshot) { h.Links[1].Ups = 3 }) })
		w.report(router(2, 1, wkp))
		s.after(0, "ra 64:ff9b::/96 on eth0 trusted", "ra 64:ff9b::/96 on eth0 trusted, dns 2001:db8:64::/96 on eth0 trusted")
	})
}

// An answer that comes from a network that the host has left counts for nothing, and is waited for at the end.
func TestAnswerIsLate(t *testing.T) {
	w := &world{host: laptop(), says: []saying{{0, router(2, 1)}}, answer: server(5*time.Second, wkp)}
	follow(t, w, func(s *followed) {
		s.after(4 * time.Second)
		s.set(func() {
			w.host = laptop(func(h *platform.Snapshot) { h.Links[1].Ups++ })
			w.answer = server(20*time.Second, nsp)
		})
		s.after(15*time.Second, "")
		s.after(10*time.Second, "dns 2001:db8:64::/96 on eth0 trusted")
		s.set(func() {
			w.host = laptop(func(h *platform.Snapshot) { h.Links[1].Ups = 2 })
			w.answer = server(never, nsp)
		})
		s.after(2*time.Second, "")
	})
}

// Who has the shortest lifetime is asked again before its end, by which all that hold stay as they are. Who fails is asked soon.
func TestResolversAreAskedInTime(t *testing.T) {
	lasting := func(ttl time.Duration, prefixes ...string) func(context.Context, dns.Link) ([]dns.Answer, error) {
		return func(ctx context.Context, link dns.Link) ([]dns.Answer, error) {
			answers, err := server(time.Second, prefixes...)(ctx, link)
			answers[0].TTL, answers[0].Lifetime = ttl, max(ttl, 30*time.Second)
			return answers, err
		}
	}
	const byDNS = "dns 64:ff9b::/96 on eth0 trusted"
	for _, ttl := range []time.Duration{time.Second, 30 * time.Second, 45 * time.Second} {
		w := &world{host: laptop(), says: []saying{{0, router(2, 1)}}, answer: lasting(ttl, wkp)}
		follow(t, w, func(s *followed) {
			s.after(10*time.Minute, byDNS) // nothing else in between
			if n, most := len(w.asked), int(10*time.Minute/(max(ttl, 30*time.Second)-refreshBefore))+1; n > most {
				t.Errorf("TTL %v: asked %d times, want at most %d", ttl, n, most)
			}
			if s.view.Asked[0].From != "whom you know" {
				t.Errorf("named by %q", s.view.Asked[0].From)
			}
		})
	}

	day := dns.Answer{Prefixes: []pref64.Prefix{pref64.WellKnown}, Lifetime: 24 * time.Hour}
	minute := dns.Answer{Prefixes: []pref64.Prefix{pref64.WellKnown}, Lifetime: time.Minute}
	none := dns.Answer{Err: fmt.Errorf("%w: it knows none", dns.ErrNoDNS64), Lifetime: 5 * time.Minute}
	for _, tt := range []struct {
		answers []dns.Answer
		want    time.Duration
	}{
		{nil, again},
		{[]dns.Answer{day}, 24*time.Hour - refreshBefore},
		{[]dns.Answer{minute, day}, time.Minute - refreshBefore},
		{[]dns.Answer{day, minute}, time.Minute - refreshBefore},
		{[]dns.Answer{none}, 5 * time.Minute},
		{[]dns.Answer{day, none}, 5 * time.Minute},
		{[]dns.Answer{{Err: errBroken}}, again},
		{[]dns.Answer{{Err: errBroken}, day}, again},
		{[]dns.Answer{{Lifetime: time.Second}}, time.Second},
	} {
		if got := untilNext(tt.answers); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.answers, got, tt.want)
		}
	}
}
