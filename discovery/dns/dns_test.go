package dns

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

func TestRefresh(t *testing.T) {
	bubble(t, "RFC 7050, 3: TTL 60 is asked again at 50 s", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, aaaa(60, "64:ff9b::c000:aa"))
		w.start()
		w.until(100 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			0s report dns 192.0.2.1 64:ff9b::/96 1m0s
			50s query udp 192.0.2.1
			50s report dns 192.0.2.1 64:ff9b::/96 1m0s
			1m40s query udp 192.0.2.1
			1m40s report dns 192.0.2.1 64:ff9b::/96 1m0s`)
	})
	bubble(t, "RFC 7050, 3: a TTL below 30 s counts as 30 s", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, aaaa(0, "64:ff9b::c000:aa"))
		w.start()
		w.until(20 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			0s report dns 192.0.2.1 64:ff9b::/96 30s
			20s query udp 192.0.2.1
			20s report dns 192.0.2.1 64:ff9b::/96 30s`)
	})
	bubble(t, "RFC 7050, 3: a TTL above a day counts as a day", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, aaaa(604800, "64:ff9b::c000:aa"))
		w.start()
		w.until(24*time.Hour - 10*time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			0s report dns 192.0.2.1 64:ff9b::/96 24h0m0s
			23h59m50s query udp 192.0.2.1
			23h59m50s report dns 192.0.2.1 64:ff9b::/96 24h0m0s`)
	})
	bubble(t, "a refresh that fails leaves the rest of the lifetime, and is tried with back-off", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, aaaa(60, "64:ff9b::c000:aa"))
		w.start()
		w.until(time.Second)
		w.answers(r1, withRCode(dnsmessage.RCodeServerFailure))
		w.until(59 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			0s report dns 192.0.2.1 64:ff9b::/96 1m0s
			50s query udp 192.0.2.1
			51s query udp 192.0.2.1
			53s query udp 192.0.2.1
			57s query udp 192.0.2.1`)
		if known, next := w.set.Valid(time.Now()); len(known) != 1 || next.Sub(w.began) != time.Minute {
			t.Errorf("at 59 s: %v until %v", known, next.Sub(w.began))
		}
		w.until(60 * time.Second)
		if known, _ := w.set.Valid(time.Now()); len(known) != 0 {
			t.Errorf("at 60 s: %v", known)
		}
		w.answers(r1, aaaa(60, "64:ff9b::c000:aa"))
		w.until(66 * time.Second)
		w.expect(`
			1m5s query udp 192.0.2.1
			1m5s report dns 192.0.2.1 64:ff9b::/96 1m0s`)
	})
	bubble(t, "what is no longer offered is withdrawn, once", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, aaaa(60, "64:ff9b::c000:aa"))
		w.start()
		w.until(time.Second)
		w.answers(r1, nodata)
		w.until(111 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			0s report dns 192.0.2.1 64:ff9b::/96 1m0s
			50s query udp 192.0.2.1
			50s withdraw dns 192.0.2.1
			1m50s query udp 192.0.2.1`)
	})
	bubble(t, "another prefix replaces the first", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, aaaa(60, "64:ff9b::c000:aa"))
		w.start()
		w.until(time.Second)
		w.answers(r1, aaaa(60, "2001:db8:122:344::c000:aa"))
		w.until(51 * time.Second)
		if known, _ := w.set.Valid(time.Now()); len(known) != 1 || known[0].Prefix.String() != "2001:db8:122:344::/96" {
			t.Errorf("at 51 s: %v", known)
		}
	})
}

func TestNegative(t *testing.T) {
	for _, tt := range []struct {
		name  string
		edits []edit
		again time.Duration
	}{
		{"NODATA, the SOA's MINIMUM", []edit{soa(900, 300)}, 300 * time.Second},
		{"NODATA, the SOA's TTL", []edit{soa(300, 900)}, 300 * time.Second},
		{"NODATA for less than 30 s", []edit{soa(10, 10)}, 30 * time.Second},
		{"NODATA for more than a day", []edit{soa(1<<30, 1<<30)}, 24 * time.Hour},
		{"NODATA without SOA", []edit{nodata}, time.Minute},
		{"NXDOMAIN", []edit{withRCode(dnsmessage.RCodeNameError), soa(600, 600)}, 600 * time.Second},
		{"NXDOMAIN without SOA", []edit{withRCode(dnsmessage.RCodeNameError)}, time.Minute},
		{"captive portal", []edit{aaaa(7200, "2001:db8::1")}, time.Minute},
	} {
		bubble(t, "RFC 7050, 3: "+tt.name, func(t *testing.T) {
			w := newWorld(t, r1)
			w.answers(r1, tt.edits...)
			w.start()
			w.until(tt.again)
			w.expect(fmt.Sprintf("0s query udp 192.0.2.1\n%v query udp 192.0.2.1", tt.again))
		})
	}
}

func TestFailures(t *testing.T) {
	bubble(t, "RFC 7050, 3: SERVFAIL is asked again after 1 s, doubling to 60 s", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, withRCode(dnsmessage.RCodeServerFailure))
		w.start()
		w.until(190 * time.Second)
		var want []string
		for _, s := range []int{0, 1, 3, 7, 15, 31, 63, 123, 183} {
			want = append(want, fmt.Sprint(time.Duration(s)*time.Second, " query udp 192.0.2.1"))
		}
		w.expect(strings.Join(want, "\n"))
	})
	for _, tt := range []struct {
		name string
		says edit
	}{{"a PREF64", aaaa(60, "64:ff9b::c000:aa")}, {"none", soa(50, 50)}} {
		bubble(t, "an answer that offers "+tt.name+" starts the back-off anew", func(t *testing.T) {
			w := newWorld(t, r1)
			w.answers(r1, withRCode(dnsmessage.RCodeServerFailure))
			w.start()
			w.until(10 * time.Second)
			w.answers(r1, tt.says)
			w.until(16 * time.Second) // answered at 15 s, and to be asked at 65 s
			w.answers(r1, withRCode(dnsmessage.RCodeServerFailure))
			w.forget()
			w.until(69 * time.Second)
			w.expect(`
				1m5s query udp 192.0.2.1
				1m6s query udp 192.0.2.1
				1m8s query udp 192.0.2.1`)
		})
	}
	bubble(t, "RFC 7050, 3: silence: three queries of 2 s, then back-off", func(t *testing.T) {
		w := newWorld(t, r1)
		w.start()
		w.until(16 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			2s query udp 192.0.2.1
			4s query udp 192.0.2.1
			7s query udp 192.0.2.1
			9s query udp 192.0.2.1
			11s query udp 192.0.2.1
			15s query udp 192.0.2.1`)
	})
	bubble(t, "a failure is one line in the log, however long it lasts", func(t *testing.T) {
		w := newWorld(t, r1)
		w.start()
		w.until(time.Hour)
		w.answers(r1, aaaa(60, "64:ff9b::c000:aa"))
		w.until(2 * time.Hour)
		want := `level=DEBUG msg="cannot ask a resolver for the PREF64" link=eth0 resolver=192.0.2.1 ` +
			`error="no answer to 3 queries, each given 2s: is the resolver reachable from here, and its UDP port open"
level=DEBUG msg="PREF64 found by DNS" link=eth0 resolver=192.0.2.1 prefixes=[64:ff9b::/96] lifetime=1m0s
`
		if diff := cmp.Diff(want, w.log.String()); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	})
	bubble(t, "resolvers unknown", func(t *testing.T) {
		w := newWorld(t)
		w.mu.Lock()
		w.broken = errors.New("resolv.conf is a directory")
		w.mu.Unlock()
		w.start()
		w.until(2 * time.Second)
		w.mu.Lock()
		w.broken = nil
		w.mu.Unlock()
		w.resolvers(eth0, r1)
		w.answers(r1, aaaa(60, "64:ff9b::c000:aa"))
		w.until(4 * time.Second)
		w.expect(`
			3s query udp 192.0.2.1
			3s report dns 192.0.2.1 64:ff9b::/96 1m0s`)
		if n := strings.Count(w.log.String(), "resolv.conf is a directory"); n != 1 {
			t.Errorf("%d lines in the log, want 1:\n%s", n, &w.log)
		}
	})
}

func TestSeveralResolvers(t *testing.T) {
	bubble(t, "one without DNS64 before one with it is left alone for as long as it said", func(t *testing.T) {
		w := newWorld(t, r1, r2)
		w.answers(r1, soa(120, 120))
		w.answers(r2, aaaa(60, "64:ff9b::c000:aa"))
		w.start()
		w.until(150 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			0s query udp fe80::2%2
			0s report dns fe80::2%eth0 64:ff9b::/96 1m0s
			50s query udp fe80::2%2
			50s report dns fe80::2%eth0 64:ff9b::/96 1m0s
			1m40s query udp fe80::2%2
			1m40s report dns fe80::2%eth0 64:ff9b::/96 1m0s
			2m30s query udp 192.0.2.1
			2m30s query udp fe80::2%2
			2m30s report dns fe80::2%eth0 64:ff9b::/96 1m0s`)
	})
	bubble(t, "the first with a PREF64 decides", func(t *testing.T) {
		w := newWorld(t, r1, r2)
		w.answers(r1, aaaa(60, "64:ff9b::c000:aa"))
		w.answers(r2, aaaa(60, "2001:db8::c000:aa"))
		w.start()
		w.until(time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			0s report dns 192.0.2.1 64:ff9b::/96 1m0s`)
	})
	bubble(t, "a silent one holds up the next for one query only", func(t *testing.T) {
		w := newWorld(t, r1, r2)
		w.answers(r2, aaaa(60, "64:ff9b::c000:aa"))
		w.start()
		w.until(10 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			2s query udp fe80::2%2
			2s report dns fe80::2%eth0 64:ff9b::/96 1m0s`)
	})
	bubble(t, "on refresh, one that was silent comes last", func(t *testing.T) {
		w := newWorld(t, r1, r2)
		w.answers(r2, aaaa(60, "64:ff9b::c000:aa"))
		w.start()
		w.until(3 * time.Second)
		w.answers(r1, aaaa(60, "2001:db8::c000:aa"))
		w.until(53 * time.Second)
		w.answers(r2, nodata)
		w.until(102 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			2s query udp fe80::2%2
			2s report dns fe80::2%eth0 64:ff9b::/96 1m0s
			52s query udp fe80::2%2
			52s report dns fe80::2%eth0 64:ff9b::/96 1m0s
			1m42s query udp fe80::2%2
			1m42s withdraw dns fe80::2%eth0
			1m42s query udp 192.0.2.1
			1m42s report dns 192.0.2.1 2001:db8::/96 1m0s`)
	})
	bubble(t, "none beside a failure: only the failing one is asked again", func(t *testing.T) {
		w := newWorld(t, r1, r2)
		w.answers(r1, soa(40, 40))
		w.answers(r2, withRCode(dnsmessage.RCodeServerFailure))
		w.start()
		w.until(41 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			0s query udp fe80::2%2
			1s query udp fe80::2%2
			3s query udp fe80::2%2
			7s query udp fe80::2%2
			15s query udp fe80::2%2
			31s query udp fe80::2%2
			40s query udp 192.0.2.1
			40s query udp fe80::2%2`)
	})
	bubble(t, "one that offered none and then fails does not make the Finder spin", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, nodata)
		w.start()
		w.until(time.Second)
		w.answers(r1, withRCode(dnsmessage.RCodeServerFailure))
		w.until(64 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			1m0s query udp 192.0.2.1
			1m1s query udp 192.0.2.1
			1m3s query udp 192.0.2.1`)
	})
	bubble(t, "what a resolver of a network left behind said is withdrawn when the new one has answered", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, aaaa(600, "64:ff9b::c000:aa"))
		w.answers(r2, aaaa(600, "2001:db8::c000:aa"))
		w.start()
		w.until(10 * time.Second)
		w.resolvers(eth0, r2)
		w.f.Knock()
		w.until(11 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			0s report dns 192.0.2.1 64:ff9b::/96 10m0s
			10s query udp fe80::2%2
			10s report dns fe80::2%eth0 2001:db8::/96 10m0s
			10s withdraw dns 192.0.2.1`)
	})
}

func TestKnock(t *testing.T) {
	bubble(t, "asks now, also one that offered none", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, soa(3600, 3600))
		w.start()
		w.until(10 * time.Second)
		w.answers(r1, aaaa(60, "64:ff9b::c000:aa"))
		w.f.Knock()
		w.until(10 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			10s query udp 192.0.2.1
			10s report dns 192.0.2.1 64:ff9b::/96 1m0s`)
	})
	bubble(t, "many at once are one, and a second passes between two", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, aaaa(3600, "64:ff9b::c000:aa"))
		for range 100 {
			w.f.Knock() // before Run: must not block either
		}
		w.start()
		for range 25 {
			time.Sleep(100 * time.Millisecond)
			w.f.Knock()
		}
		w.until(10 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			0s report dns 192.0.2.1 64:ff9b::/96 1h0m0s
			1s query udp 192.0.2.1
			1s report dns 192.0.2.1 64:ff9b::/96 1h0m0s
			2s query udp 192.0.2.1
			2s report dns 192.0.2.1 64:ff9b::/96 1h0m0s
			3s query udp 192.0.2.1
			3s report dns 192.0.2.1 64:ff9b::/96 1h0m0s`)
	})
	bubble(t, "starts the back-off anew", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, withRCode(dnsmessage.RCodeServerFailure))
		w.start()
		w.until(100 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			1s query udp 192.0.2.1
			3s query udp 192.0.2.1
			7s query udp 192.0.2.1
			15s query udp 192.0.2.1
			31s query udp 192.0.2.1
			1m3s query udp 192.0.2.1`)
		w.f.Knock()
		w.until(104 * time.Second)
		w.expect(`
			1m40s query udp 192.0.2.1
			1m41s query udp 192.0.2.1
			1m43s query udp 192.0.2.1`)
	})
	bubble(t, "ends a round with silent resolvers of a network left behind", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r2, aaaa(60, "64:ff9b::c000:aa"))
		w.start()
		w.until(time.Second)
		w.resolvers(eth0, r2)
		w.f.Knock()
		w.until(3 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			2s query udp fe80::2%2
			2s report dns fe80::2%eth0 64:ff9b::/96 1m0s`)
	})
}
