package daemon

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"uclat/clat/pref64"
	"uclat/discovery"
	"uclat/platform"
)

// place is a network that a laptop may be on.
type place struct {
	name   string
	router string   // that has the default route; empty: there is no network
	ra     []string // PREF64s that the router tells, the best first,
	dns    []string // and the resolver
	native bool     // it has IPv4 itself
}

var places = []place{
	{name: "home", router: "fe80::1", ra: []string{wkp}, dns: []string{wkp}},
	{name: "office", router: "fe80::2", ra: []string{nsp, six}},
	{name: "train", router: "fe80::1", dns: []string{wkp, nsp}},
	{name: "café", router: "fe80::1", dns: []string{nsp}, native: true},
	{name: "mountain", router: "fe80::3"},
	{name: "tunnel"},
}

// journey is the day of a laptop, which knows what the daemon has been told.
type journey struct {
	*rig
	random *rand.Rand
	at     place
	asleep time.Duration

	ups     int
	numbers []int                // of the /64s on the link; all but the last are deprecated
	told    map[string]time.Time // by routers and resolvers, until when: "ra 64:ff9b::/96"
	heard   map[string]time.Time // when the router and the resolver spoke last

	events   int
	on       int // ticks
	off      int // ticks, since it was on
	lingered int // ticks, in which the TUN was there and IPv4 was not
}

const tick = 30 * time.Second

func (j *journey) now() time.Time { return time.Now().Add(j.asleep) }

// see has the host be what it is now.
func (j *journey) see() {
	host := platform.Snapshot{Links: []platform.Link{
		{Index: 2, Name: "eth0", MTU: 1500, MTU6: 1500, Up: j.at.router != "", L2: true, Ups: j.ups, Hardware: "02:00:00:00:00:05"},
	}}
	if j.at.router != "" {
		host.Routes = []platform.Route{{Dst: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr(j.at.router), Link: 2, FromRA: true}}
		for i, n := range j.numbers {
			host.Addrs = append(host.Addrs, platform.Address{Link: 2, Prefix: netip.MustParsePrefix(fmt.Sprintf("2001:db8:%x::5/64", n)),
				Autoconf: true, Deprecated: i < len(j.numbers)-1})
		}
	}
	if j.at.native {
		withIPv4(&host)
	}
	j.eyes.change(host, nil)
}

// tell has the router and the resolver say what they say, where it is time.
func (j *journey) tell() {
	if len(j.routers.solicited()) > 0 {
		j.heard["ra"] = time.Time{}
	}
	if j.at.router != "" && j.now().Sub(j.heard["ra"]) >= 10*time.Minute {
		j.announce(30*time.Minute, j.at.ra...)
	}
	if len(j.resolvers.askedOn()) > 0 && len(j.at.dns) > 0 && j.now().Sub(j.heard["dns"]) >= 8*time.Minute {
		const ttl = 10 * time.Minute
		j.heard["dns"] = j.now()
		for _, p := range j.at.dns {
			j.told["dns "+p] = j.now().Add(ttl)
		}
		j.resolvers.find(ttl, j.at.dns...)
	}
}

func (j *journey) announce(lifetime time.Duration, prefixes ...string) {
	j.heard["ra"] = j.now()
	for _, p := range prefixes {
		j.told["ra "+p] = j.now().Add(lifetime)
	}
	a := by(j.at.router, discovery.Advertisement{Link: 2, Lifetime: 30 * time.Minute, PREF64: offers(lifetime, prefixes...)})
	j.routers.announce(a)
}

// happen has something happen, or not.
func (j *journey) happen() {
	switch j.random.IntN(60) {
	case 0, 1: // another place, or the same again
		j.at = places[j.random.IntN(len(places))]
		j.at.ra = slices.Clone(j.at.ra)
		j.ups++
		j.numbers = []int{j.random.IntN(0xfff)}
		clear(j.told)
		clear(j.heard)
		j.see()
	case 2: // sleep, there
		d := time.Duration(1+j.random.IntN(100)) * time.Minute
		j.asleep += d
		j.eyes.suspend(d)
	case 3: // the network is renumbered
		if j.numbers = append(j.numbers, j.random.IntN(0xfff)); len(j.numbers) > 3 {
			j.numbers = j.numbers[1:]
		}
		j.see()
	case 4: // the router takes a PREF64 back
		if len(j.at.ra) == 0 {
			return
		}
		j.announce(0, j.at.ra[0])
		j.at.ra = j.at.ra[1:]
	case 5: // or has a new one
		if j.at.router == "" {
			return
		}
		j.at.ra = append(j.at.ra, fmt.Sprintf("2001:db8:%x::/96", 0x6400+j.random.IntN(255)))
		j.announce(30*time.Minute, j.at.ra...)
	default:
		return
	}
	j.events++
}

// holds says whether a PREF64 holds of those that were told here.
func (j *journey) holds() bool {
	for _, until := range j.told {
		if j.now().Before(until) {
			return true
		}
	}
	return false
}

// check sees that IPv4 is there when it can be, and that what leaves goes to a PREF64 that holds.
func (j *journey) check(ticks int) {
	on := j.host.routed()
	can := j.at.router != "" && !j.at.native && j.holds()
	if on != can {
		j.t.Fatalf("tick %d in %s: on is %v, should be %v\n%v\n%s", ticks, j.at.name, on, can, j.told, strings.Join(j.forget(), "\n"))
	}
	open := len(j.tuns.names()) > 0
	if j.off++; on {
		j.off = 0
	}
	if open && time.Duration(j.off-2)*tick > lingers {
		j.t.Fatalf("tick %d in %s: the TUN is there, %d ticks after IPv4 was\n%s", ticks, j.at.name, j.off, strings.Join(j.forget(), "\n"))
	}
	if open && !on {
		j.lingered++
	}
	if !on {
		return
	}
	j.on++
	ours := strings.Fields(j.host.addrs())
	if len(ours) == 0 || len(ours) > 4 {
		j.t.Fatalf("tick %d in %s: the host has %q", ticks, j.at.name, ours)
	}
	for _, n := range ours[:1+j.random.IntN(len(ours))] {
		out := j.through("100.64.46." + n)
		_, dst, ok := strings.Cut(out, " ")
		known := slices.ContainsFunc(slices.Collect(j.valid()), func(p pref64.Prefix) bool {
			return ok && p.Prefix().Contains(netip.MustParseAddr(dst))
		})
		if !known && (ok || n == ours[0]) { // an old one may have lost its address, until it has another
			j.t.Fatalf("tick %d in %s: from .%s leaves %s\n%v\n%s", ticks, j.at.name, n, out, j.told, strings.Join(j.forget(), "\n"))
		}
	}
}

// valid are the PREF64s that hold.
func (j *journey) valid() func(yield func(pref64.Prefix) bool) {
	return func(yield func(pref64.Prefix) bool) {
		for name, until := range j.told {
			if _, p, _ := strings.Cut(name, " "); j.now().Before(until) && !yield(pref64.MustParse(p)) {
				return
			}
		}
	}
}

// A day of a laptop that goes from network to network, sleeps, and is renumbered: IPv4 is there whenever it can be, and nothing grows.
func TestDayOfALaptop(t *testing.T) {
	for seed := range uint64(5) {
		bubble(t, func(t *testing.T) {
			j := &journey{random: rand.New(rand.NewPCG(46, seed)), at: places[0], ups: 1, numbers: []int{1}, told: map[string]time.Time{},
				heard: map[string]time.Time{}}
			r, o := newRig(t, "", laptop(slaac, ups(1)))
			j.rig = r
			o.Now = j.now
			r.run(o)
			const ticks = int(24 * time.Hour / tick)
			lines := 0
			for i := range ticks {
				j.happen()
				r.after(2 * time.Second) // who is solicited answers
				j.tell()
				r.after(tick - 2*time.Second)
				j.check(i)
				lines += len(r.forget())
			}
			looks := r.eyes.looked()
			t.Logf("%d events, %d looks, %d lines, on for %d of %d ticks", j.events, looks, lines, j.on, ticks)
			if j.events < 100 || j.lingered == 0 || j.on < ticks/5 || j.on > ticks-ticks/5 {
				t.Error("this was no day")
			}
			if looks > 8*j.events || lines > 6*j.events {
				t.Error("too many looks or lines")
			}
			if err := r.stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
