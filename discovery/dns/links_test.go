package dns

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestLinks(t *testing.T) {
	good, other := aaaa(3600, "64:ff9b::c000:aa"), aaaa(3600, "2001:db8::c000:aa")
	bubble(t, "a new one is asked at once, and the others are not for it", func(t *testing.T) {
		w := newWorld(t, r1)
		w.resolvers(wlan0, r3)
		w.answers(r1, good)
		w.answers(r3, other)
		w.f.Knock() // the first round is the answer
		w.f.KnockLink(eth0.Index)
		w.start()
		w.until(5 * time.Second)
		w.f.SetLinks([]Link{wlan0, eth0, wlan0})
		w.until(10 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			0s report dns 192.0.2.1 64:ff9b::/96 1h0m0s
			5s wlan0 query udp 2001:db8:3::53
			5s wlan0 report dns 2001:db8:3::53 2001:db8::/96 1h0m0s`)
	})
	bubble(t, "one that went and came back within a second is asked once that is over, whoever knocks", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, good)
		w.start()
		w.until(300 * time.Millisecond)
		w.f.SetLinks(nil)
		w.until(400 * time.Millisecond)
		w.f.SetLinks([]Link{eth0})
		w.until(500 * time.Millisecond)
		w.f.Knock()
		w.f.KnockLink(eth0.Index)
		w.until(5 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			0s report dns 192.0.2.1 64:ff9b::/96 1h0m0s
			1s query udp 192.0.2.1
			1s report dns 192.0.2.1 64:ff9b::/96 1h0m0s`)
	})
	bubble(t, "none at all, then one, then none", func(t *testing.T) {
		w := emptyWorld(t)
		w.resolvers(eth0, r1)
		w.answers(r1, aaaa(60, "64:ff9b::c000:aa"))
		w.f.Knock()
		w.start()
		w.f.Knock()
		w.until(10 * time.Second)
		w.f.SetLinks([]Link{eth0})
		w.until(70 * time.Second)
		w.f.SetLinks(nil)
		w.f.Knock()
		w.until(time.Hour)
		w.expect(`
			10s query udp 192.0.2.1
			10s report dns 192.0.2.1 64:ff9b::/96 1m0s
			1m0s query udp 192.0.2.1
			1m0s report dns 192.0.2.1 64:ff9b::/96 1m0s`)
	})
	bubble(t, "one that is gone is asked no more, and what it said is left to its lifetime", func(t *testing.T) {
		w := newWorld(t, r1, r2)
		w.resolvers(wlan0, r3)
		w.answers(r1, aaaa(60, "64:ff9b::c000:aa"))
		w.answers(r3, other)
		w.f.SetLinks([]Link{eth0, wlan0})
		w.start()
		w.until(51 * time.Second)
		w.silence(r1)
		w.forget()
		w.until(101 * time.Second)
		w.f.SetLinks([]Link{wlan0}) // in the midst of a query
		w.until(109 * time.Second)
		w.expect(`1m40s query udp 192.0.2.1`)
		if known := w.known(); len(known) != 2 {
			t.Errorf("known are %v", known)
		}
	})
	bubble(t, "each asks its own resolvers, and waits for those of no other", func(t *testing.T) {
		w := newWorld(t, r1)
		w.resolvers(wlan0, r3)
		w.answers(r3, other)
		w.f.SetLinks([]Link{eth0, wlan0})
		w.start()
		w.until(time.Second)
		w.forget() // two at once, in whatever order
		if known := w.known(); len(known) != 1 || known[0].Link != wlan0.Index {
			t.Errorf("known are %v", known)
		}
		w.until(3 * time.Second)
		w.expect(`2s query udp 192.0.2.1`)
	})
	bubble(t, "one is knocked at", func(t *testing.T) {
		w := newWorld(t, r1)
		w.resolvers(wlan0, r3)
		w.answers(r1, good)
		w.answers(r3, other)
		w.f.SetLinks([]Link{eth0, wlan0})
		w.start()
		w.until(10 * time.Second)
		w.forget()
		w.f.KnockLink(wlan0.Index)
		w.f.KnockLink(99)
		w.until(20 * time.Second)
		w.expect(`
			10s wlan0 query udp 2001:db8:3::53
			10s wlan0 report dns 2001:db8:3::53 2001:db8::/96 1h0m0s`)
	})
	bubble(t, "one that went and came back, or has another name, is new", func(t *testing.T) {
		w := emptyWorld(t)
		w.resolvers(eth0, r1)
		w.answers(r1, good)
		w.start()
		for _, links := range [][]Link{{eth0}, {eth0}, nil, {eth0}, {{Index: eth0.Index, Name: "lan"}}} {
			w.f.SetLinks(links)
			time.Sleep(2 * time.Second)
		}
		w.expect(`
			0s query udp 192.0.2.1
			0s report dns 192.0.2.1 64:ff9b::/96 1h0m0s
			6s query udp 192.0.2.1
			6s report dns 192.0.2.1 64:ff9b::/96 1h0m0s
			8s query udp 192.0.2.1
			8s report dns 192.0.2.1 64:ff9b::/96 1h0m0s`)
	})
	bubble(t, "one that comes and goes all the time is asked once a second", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, good)
		w.start()
		w.until(500 * time.Microsecond)
		for i := range 3000 {
			time.Sleep(time.Millisecond)
			w.f.SetLinks([]Link{eth0, wlan0}[i%2:])
		}
		w.until(5 * time.Second)
		w.f.SetLinks(nil) // nothing is remembered of those that are gone
		if len(w.f.asked) > 0 {
			t.Errorf("%d are remembered", len(w.f.asked))
		}
		w.until(10 * time.Second)
		w.f.SetLinks([]Link{eth0})
		w.until(11 * time.Second)
		w.expect(`
			0s query udp 192.0.2.1
			0s report dns 192.0.2.1 64:ff9b::/96 1h0m0s
			1s query udp 192.0.2.1
			1s report dns 192.0.2.1 64:ff9b::/96 1h0m0s
			2s query udp 192.0.2.1
			2s report dns 192.0.2.1 64:ff9b::/96 1h0m0s
			3s query udp 192.0.2.1
			3s report dns 192.0.2.1 64:ff9b::/96 1h0m0s
			10s query udp 192.0.2.1
			10s report dns 192.0.2.1 64:ff9b::/96 1h0m0s`)
	})
	bubble(t, "Run may run again", func(t *testing.T) {
		w := newWorld(t, r1)
		w.answers(r1, good)
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if err := w.f.Run(ctx, w.report); err != nil {
				t.Error(err)
			}
			cancel()
		}
		w.f.SetLinks([]Link{wlan0})
		w.f.Knock()
		w.expect(`
			0s query udp 192.0.2.1
			0s report dns 192.0.2.1 64:ff9b::/96 1h0m0s
			10s query udp 192.0.2.1
			10s report dns 192.0.2.1 64:ff9b::/96 1h0m0s`)
	})
}

// RFC 8880, 7.1: the resolvers that the link's routers announce, whatever the system is configured with.
func TestAnnounced(t *testing.T) {
	public := netip.MustParseAddrPort("1.1.1.1:53")
	addr := netip.MustParseAddr
	announcing := func(as ...netip.Addr) []Link { return []Link{{Index: eth0.Index, Name: eth0.Name, Announced: as}} }
	good, other := aaaa(3600, "64:ff9b::c000:aa"), aaaa(3600, "2001:db8::c000:aa")

	bubble(t, "they alone are asked", func(t *testing.T) {
		w := newWorld(t, public)
		w.answers(public, other)
		w.answers(r2, nodata)
		w.f.SetLinks(announcing(addr("fe80::2")))
		w.start()
		w.until(60 * time.Second)
		w.expect(`
			0s query udp fe80::2%2
			1m0s query udp fe80::2%2`)
	})
	bubble(t, "the host itself, and what is no address of a host, is none", func(t *testing.T) {
		w := newWorld(t, r1)
		w.f.SetLinks(announcing(netip.Addr{}, addr("::1"), addr("::"), addr("ff02::fb"), addr("::ffff:127.0.0.1"), addr("127.0.0.53")))
		w.start()
		w.until(0)
		w.expect(`0s query udp 192.0.2.1`)
	})
	bubble(t, "heard of while the link is left alone", func(t *testing.T) {
		w := newWorld(t, public)
		w.answers(public, nodata)
		w.answers(r2, nodata)
		w.answers(r3, good)
		w.start()
		w.until(300 * time.Millisecond)
		w.f.SetLinks(nil)
		w.f.SetLinks([]Link{eth0})
		w.until(500 * time.Millisecond)
		w.f.SetLinks(announcing(addr("fe80::2"), r3.Addr()))
		w.until(10 * time.Second)
		w.expect(`
			0s query udp 1.1.1.1
			1s query udp fe80::2%2
			1s query udp 2001:db8:3::53
			1s report dns 2001:db8:3::53 64:ff9b::/96 1h0m0s`)
	})
	bubble(t, "others are asked at once, in another order they are the same", func(t *testing.T) {
		w := emptyWorld(t)
		w.answers(r2, good)
		w.answers(r3, good)
		w.f.SetLinks(announcing(addr("fe80::2")))
		w.start()
		w.until(10 * time.Second)
		w.f.SetLinks(announcing(addr("fe80::2"), r3.Addr()))
		w.until(20 * time.Second)
		w.f.SetLinks(announcing(r3.Addr(), addr("fe80::2")))
		w.until(30 * time.Second)
		w.f.SetLinks(announcing(addr("fe80::2")))
		w.until(40 * time.Second)
		w.f.SetLinks(announcing(r3.Addr()))
		w.until(50 * time.Second)
		w.expect(`
			0s query udp fe80::2%2
			0s report dns fe80::2%eth0 64:ff9b::/96 1h0m0s
			10s query udp fe80::2%2
			10s report dns fe80::2%eth0 64:ff9b::/96 1h0m0s
			30s query udp fe80::2%2
			30s report dns fe80::2%eth0 64:ff9b::/96 1h0m0s
			40s query udp 2001:db8:3::53
			40s report dns 2001:db8:3::53 64:ff9b::/96 1h0m0s
			40s withdraw dns fe80::2%eth0`)
	})
	bubble(t, "those that the system has named already are not asked again", func(t *testing.T) {
		w := newWorld(t, r2)
		w.answers(r2, good)
		w.start()
		for i, links := range [][]Link{announcing(addr("fe80::2")), {eth0}, announcing(addr("fe80::2"))} {
			w.until(time.Duration(i+1) * 10 * time.Second)
			w.f.SetLinks(links)
		}
		w.until(time.Hour - 10*time.Second)
		w.expect(`
			0s query udp fe80::2%2
			0s report dns fe80::2%eth0 64:ff9b::/96 1h0m0s
			59m50s query udp fe80::2%2
			59m50s report dns fe80::2%eth0 64:ff9b::/96 1h0m0s`)
	})
	bubble(t, "what a former one said holds until others have answered", func(t *testing.T) {
		w := emptyWorld(t)
		w.answers(r2, good)
		w.f.SetLinks(announcing(addr("fe80::2")))
		w.start()
		w.until(10 * time.Second)
		w.f.SetLinks(announcing(r3.Addr()))
		w.until(20 * time.Second)
		w.answers(r3, nodata)
		w.until(30 * time.Second)
		w.expect(`
			0s query udp fe80::2%2
			0s report dns fe80::2%eth0 64:ff9b::/96 1h0m0s
			10s query udp 2001:db8:3::53
			12s query udp 2001:db8:3::53
			14s query udp 2001:db8:3::53
			17s query udp 2001:db8:3::53
			19s query udp 2001:db8:3::53
			21s query udp 2001:db8:3::53
			21s withdraw dns fe80::2%eth0`)
	})
	bubble(t, "in the midst of a round", func(t *testing.T) {
		w := emptyWorld(t)
		w.answers(r3, good)
		w.f.SetLinks(announcing(addr("fe80::2")))
		w.start()
		w.until(time.Second)
		w.f.SetLinks(announcing(r3.Addr()))
		w.f.SetLinks(announcing(addr("fe80::2"))) // and back: the round is cut all the same
		w.until(3 * time.Second)
		w.f.SetLinks(announcing(r3.Addr()))
		w.until(10 * time.Second)
		w.expect(`
			0s query udp fe80::2%2
			2s query udp fe80::2%2
			4s query udp 2001:db8:3::53
			4s report dns 2001:db8:3::53 64:ff9b::/96 1h0m0s`)
	})
	bubble(t, "others all the time are asked once a second", func(t *testing.T) {
		w := emptyWorld(t)
		w.f.SetLinks(announcing(r3.Addr()))
		w.answers(r2, good)
		w.answers(r3, good)
		w.start()
		for i := range 1000 {
			time.Sleep(10 * time.Millisecond)
			w.f.SetLinks(announcing([]netip.Addr{addr("fe80::2"), r3.Addr()}[i%2]))
		}
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if n := strings.Count(strings.Join(w.lines, "\n"), "query"); n < 5 || n > 11 {
			t.Errorf("%d queries in 10 seconds:\n%s", n, strings.Join(w.lines, "\n"))
		}
	})
	bubble(t, "the resolvers are gone, and come back", func(t *testing.T) {
		w := emptyWorld(t)
		w.answers(r2, aaaa(60, "64:ff9b::c000:aa"))
		w.f.SetLinks(announcing(addr("fe80::2")))
		w.start()
		w.until(10 * time.Second)
		w.f.SetLinks([]Link{eth0})
		w.until(100 * time.Second)
		w.f.SetLinks(announcing(addr("fe80::2")))
		w.until(101 * time.Second)
		w.expect(`
			0s query udp fe80::2%2
			0s report dns fe80::2%eth0 64:ff9b::/96 1m0s
			1m40s query udp fe80::2%2
			1m40s report dns fe80::2%eth0 64:ff9b::/96 1m0s`)
	})
}

func TestResolversAreBounded(t *testing.T) {
	link := eth0
	for i := range 100 {
		link.Announced = append(link.Announced, netip.AddrFrom16([16]byte{0x20, 0x01, 15: byte(i)}))
	}
	servers, err := finderFor().resolvers(t.Context(), link)
	if err != nil || len(servers) != maxResolvers || servers[0].String() != "[2001::]:53" {
		t.Errorf("%v, %v", servers, err)
	}
}

// A link-local resolver is on the link, also where whoever names it does not say so.
func TestResolverWithoutZone(t *testing.T) {
	servers, err := finderFor(netip.MustParseAddrPort("[fe80::1]:53"), netip.MustParseAddrPort("[fe80::1%2]:53")).resolvers(t.Context(), eth0)
	if err != nil || fmt.Sprint(servers) != "[[fe80::1%2]:53]" {
		t.Errorf("%v, %v", servers, err)
	}
}

// A socket that is bound to a link without IPv4 reaches no IPv4 resolver. That is said, and not tried all the time.
func TestNoRoute(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		w := newWorld(t, r1, r3)
		w.unable[r1], w.unable[r3] = syscall.ENETUNREACH, syscall.EHOSTUNREACH
		answers, err := w.f.Lookup(t.Context(), eth0)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{
			"the resolver has an IPv4 address, and eth0 has no IPv4 of its own that leads there: " + syscall.ENETUNREACH.Error(),
			"eth0 has no route to the resolver: " + syscall.EHOSTUNREACH.Error(),
		} {
			if got := fmt.Sprint(answers[i].Err); got != want {
				t.Errorf("%v: %s, want %s", answers[i].Server, got, want)
			}
		}
		w.resolvers(eth0, r1)
		w.forget()
		w.start()
		w.until(10 * time.Minute)
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.lines) > 16 {
			t.Errorf("%d tries in 10 minutes", len(w.lines))
		}
		if n := strings.Count(w.log.String(), "\n"); n != 1 || !strings.Contains(w.log.String(), "no IPv4 of its own") {
			t.Errorf("log is\n%s", &w.log)
		}
	})
}
