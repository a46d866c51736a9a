package dns

import (
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A day with a resolver that says another TTL each time and is silent for 4 seconds now and then, which also meets queries: the PREF64 is
// known all the time, and what that takes is bounded by the shortest lifetime.
func TestDay(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		random := rand.New(rand.NewPCG(7050, 8880))
		ttls := []uint32{0, 1, 29, 30, 31, 40, 300, 3600, 1 << 31}
		w := newWorld(t, r1)
		w.answers(r1, aaaa(0, "64:ff9b::c000:aa"))
		w.start()
		w.until(time.Second)
		for time.Since(w.began) < 24*time.Hour {
			w.silence(r1)
			time.Sleep(4 * time.Second)
			w.answers(r1, aaaa(ttls[random.IntN(len(ttls))], "64:ff9b::c000:aa"))
			for range 10 + random.IntN(100) {
				synctest.Wait()
				if known := w.known(); len(known) != 1 {
					t.Fatalf("after %v: %v", time.Since(w.began), known)
				}
				time.Sleep(time.Second)
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		lines := strings.Join(w.lines, "\n")
		queries, reports := strings.Count(lines, "query"), strings.Count(lines, "report")
		most := int(24 * time.Hour / (minLifetime - refreshBefore))
		if reports < 100 || reports > most || queries <= reports || queries > 3*most {
			t.Errorf("%d queries and %d reports", queries, reports)
		}
	})
}
