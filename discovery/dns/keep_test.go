package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// holding fails unless these resolvers' PREF64s are known at each second until then.
func (w *world) holding(until time.Duration, resolvers ...string) {
	w.t.Helper()
	for time.Since(w.began) < until {
		w.until(time.Since(w.began) + time.Second)
		var got []string
		for _, k := range w.known() {
			got = append(got, k.Resolver)
		}
		for _, r := range resolvers {
			if !strings.Contains(fmt.Sprint(got), r) {
				w.t.Fatalf("after %v: known is what %v said, and not that of %s", time.Since(w.began), got, r)
			}
		}
	}
}

// text is what happened since it was last forgotten.
func (w *world) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.lines, "\n")
}

// RFC 7050, 3: what is in use is asked for again before it ends, also where another resolver has answered meanwhile. Traffic may
// depend on any of them.
func TestKeep(t *testing.T) {
	one, other := aaaa(60, "64:ff9b::c000:aa"), aaaa(60, "2001:db8:1::c000:aa")
	both := []string{"192.0.2.1", "2001:db8:3::53"}
	bubble(t, "one that was silent for once", func(t *testing.T) {
		w := newWorld(t, r1, r3)
		w.answers(r1, one)
		w.answers(r3, other)
		w.start()
		w.until(48 * time.Second)
		w.silence(r1)
		w.until(55 * time.Second)
		w.answers(r1, one)
		w.until(60 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			0s report dns 192.0.2.1 64:ff9b::/96 1m0s
			50s query udp 192.0.2.1
			52s query udp 2001:db8:3::53
			52s report dns 2001:db8:3::53 2001:db8:1::/96 1m0s
			56s query udp 192.0.2.1
			56s report dns 192.0.2.1 64:ff9b::/96 1m0s`)
		w.holding(200*time.Second, both...)
		w.expect(`
			1m42s query udp 192.0.2.1
			1m42s report dns 192.0.2.1 64:ff9b::/96 1m0s
			1m42s query udp 2001:db8:3::53
			1m42s report dns 2001:db8:3::53 2001:db8:1::/96 1m0s
			2m32s query udp 192.0.2.1
			2m32s report dns 192.0.2.1 64:ff9b::/96 1m0s
			2m32s query udp 2001:db8:3::53
			2m32s report dns 2001:db8:3::53 2001:db8:1::/96 1m0s`)
	})
	bubble(t, "one that stays silent is left alone when its lifetime is over", func(t *testing.T) {
		w := newWorld(t, r1, r3)
		w.answers(r1, one)
		w.answers(r3, other)
		w.start()
		w.until(48 * time.Second)
		w.silence(r1)
		w.forget()
		w.until(2 * time.Minute)
		w.expect(`
			50s query udp 192.0.2.1
			52s query udp 2001:db8:3::53
			52s report dns 2001:db8:3::53 2001:db8:1::/96 1m0s
			56s query udp 192.0.2.1
			59s query udp 192.0.2.1
			1m42s query udp 2001:db8:3::53
			1m42s report dns 2001:db8:3::53 2001:db8:1::/96 1m0s`)
	})
	for _, tt := range []struct {
		name string
		says edit
		want string
	}{
		{"fails", withRCode(dnsmessage.RCodeServerFailure), `
			50s query udp 192.0.2.1
			50s query udp 2001:db8:3::53
			50s report dns 2001:db8:3::53 2001:db8:1::/96 1m0s
			55s query udp 192.0.2.1
			57.5s query udp 192.0.2.1
			58.75s query udp 192.0.2.1
			59.75s query udp 192.0.2.1`},
		{"offers none any more", soa(600, 600), `
			50s query udp 192.0.2.1
			50s withdraw dns 192.0.2.1
			50s query udp 2001:db8:3::53
			50s report dns 2001:db8:3::53 2001:db8:1::/96 1m0s`},
	} {
		bubble(t, "one that "+tt.name, func(t *testing.T) {
			w := newWorld(t, r1, r3)
			w.answers(r1, one)
			w.answers(r3, other)
			w.start()
			w.until(48 * time.Second)
			w.answers(r1, tt.says)
			w.forget()
			w.until(99 * time.Second)
			w.expect(tt.want)
		})
	}
	bubble(t, "one that another is put before", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, one)
		w.answers(r3, aaaa(3600, "2001:db8:1::c000:aa"))
		w.start()
		w.until(10 * time.Second)
		w.resolvers(eth0, r3, r1)
		w.f.Knock()
		w.holding(190*time.Second, both...)
		w.answers(r1, soa(600, 600))
		w.until(30 * time.Minute)
		w.expect(`
			0s query udp 192.0.2.1
			0s report dns 192.0.2.1 64:ff9b::/96 1m0s
			10s query udp 2001:db8:3::53
			10s report dns 2001:db8:3::53 2001:db8:1::/96 1h0m0s
			50s query udp 192.0.2.1
			50s report dns 192.0.2.1 64:ff9b::/96 1m0s
			1m40s query udp 192.0.2.1
			1m40s report dns 192.0.2.1 64:ff9b::/96 1m0s
			2m30s query udp 192.0.2.1
			2m30s report dns 192.0.2.1 64:ff9b::/96 1m0s
			3m20s query udp 192.0.2.1
			3m20s withdraw dns 192.0.2.1`)
	})
	bubble(t, "a knock is answered meanwhile, and others are not forgotten for it", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, one)
		w.answers(r3, aaaa(3600, "2001:db8:1::c000:aa"))
		w.start()
		w.until(10 * time.Second)
		w.resolvers(eth0, r3, r1)
		w.f.Knock()
		w.until(49 * time.Second)
		w.silence(r1)
		w.until(51 * time.Second)
		w.forget()
		w.f.Knock()
		w.until(53 * time.Second)
		w.answers(r1, one)
		w.until(60 * time.Second)
		w.expect(`
			52s query udp 2001:db8:3::53
			52s report dns 2001:db8:3::53 2001:db8:1::/96 1h0m0s
			56s query udp 192.0.2.1
			56s report dns 192.0.2.1 64:ff9b::/96 1m0s`)
	})
	for _, tt := range []struct {
		name  string
		knock time.Duration // when somebody does; 0: nobody
		asked time.Duration // until when the first one is
	}{{"as ever", 0, 67 * time.Second}, {"when somebody knocks", 51 * time.Second, 52 * time.Second}} {
		bubble(t, "however many are silent, the one that was first is asked "+tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.start()
			var servers []netip.AddrPort
			for i := range maxResolvers {
				s := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}), port)
				w.answers(s, one)
				servers = slices.Insert(servers, 0, s)
				w.resolvers(eth0, servers...)
				w.f.Knock()
				w.until(time.Duration(i+1) * time.Second)
			}
			if known := w.known(); len(known) != maxResolvers {
				t.Fatalf("known are %v", known)
			}
			for _, s := range servers[1:] {
				w.silence(s)
			}
			w.forget()
			if tt.knock > 0 {
				w.until(tt.knock)
				w.f.Knock()
			}
			w.until(tt.asked)
			if got := w.text(); !strings.Contains(got, "query udp "+servers[0].Addr().String()) {
				t.Errorf("until %v:\n%s", tt.asked, got)
			}
			w.holding(10*time.Minute, servers[0].Addr().String())
			if known := w.known(); len(known) != 1 {
				t.Errorf("known are %v", known)
			}
		})
	}
}
