package conformance

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"uclat/clat/config"
	"uclat/clat/eam"
	"uclat/clat/pref64"
	"uclat/discovery"
	"uclat/platform"
)

// identifier is the interface identifier of an address (RFC 4291, 2.5.1).
func identifier(a netip.Addr) uint64 {
	b := a.As16()
	return binary.BigEndian.Uint64(b[8:])
}

func TestAnnouncedPrefixes(t *testing.T) {
	t.Run("SRC-4862-2", func(t *testing.T) {
		newLaptop(t, "").uses("a prefix with A=1", lanA)

		l := bareLaptop(t, "")
		l.hears(fromRouter(lanA, notAutonomous))
		l.has("2001:db8:a::5/64", byHand)
		l.stops("a prefix with A=0, also where an address of it was set by hand", "one-address")
		l.hears(fromRouter(lanA, notAutonomous), fromRouter(lanB))
		l.uses("another one with A=1 beside it", lanB)
		for _, length := range []string{"/56", "/63", "/65", "/72", "/128"} {
			l := bareLaptop(t, "")
			l.hears(fromRouter("2001:db8:a::" + length))
			l.stops("a prefix of length "+length, "no-ipv6-address")
		}
		l = bareLaptop(t, "")
		l.Host.Routes[0].Via = addr(self6)
		l.hears(fromRouter(lanA))
		l.stops("a router that the host does not use", "no-ipv6-address")

		// The preferred lifetime ends by itself, or at a word of the router.
		for _, how := range []string{"it ends", "it is ended"} {
			l := newLaptop(t, "")
			old := l.uses("at first", lanA)
			later := fromRouter(lanB, func(i *discovery.PrefixInfo) { i.Valid, i.Preferred = 48*time.Hour, 48*time.Hour })
			l.hears(later)
			if got := l.uses("another one beside it", lanA); got != old {
				t.Errorf("%v is as good as %v, and taken instead", got, old)
			}
			if how == "it ends" {
				l.pass(12*time.Hour - 1)
				l.uses("until it is deprecated", lanA)
				l.pass(1)
			} else {
				l.hears(fromRouter(lanA, deprecated), later)
			}
			// Those who talk go on until its successor has been tried.
			if p := l.decide(); !p.On || used(p) != old || len(p.Try) != 2 {
				t.Errorf("%s: uses %v, tries %v", how, used(p), p.Try)
			}
			l.uses("once deprecated", lanB)
			// And then on, as long as nobody but they has to do with it.
			if p := l.decide(); len(p.Try) != 2 || p.Try[1].Addrs.Addr() != old {
				t.Errorf("%s: holds %v, and not %v any more", how, p.Try, old)
			}
			l.pass(10 * time.Minute)
			if p := l.decide(); len(p.Try) != 1 {
				t.Errorf("%s: still holds %v", how, p.Try)
			}
		}
		l = newLaptop(t, "")
		l.hears(fromRouter(lanA, deprecated))
		l.uses("deprecated, and nothing else there", lanA)

		// Its valid lifetime is the end. An advertisement that anybody could have sent shortens it to two hours.
		l = newLaptop(t, "")
		l.uses("at first", lanA)
		l.pass(24*time.Hour - 1)
		l.uses("until the end", lanA)
		l.pass(1)
		l.stops("after the end", "no-ipv6-address")
		l = newLaptop(t, "")
		l.hears(fromRouter(lanA, func(i *discovery.PrefixInfo) { i.Valid, i.Preferred = 0, 0 }))
		l.pass(2*time.Hour - 1)
		l.uses("shortened", lanA)
		l.pass(1)
		l.stops("two hours later", "no-ipv6-address")
	})
}

func TestIdentifier(t *testing.T) {
	// made is the address in a network.
	made := func(t *testing.T, edits ...func(*laptop)) netip.Addr {
		t.Helper()
		l := newLaptop(t, "")
		for _, edit := range edits {
			edit(l)
		}
		p := l.settle()
		if !p.On {
			t.Fatal(p.Why)
		}
		return used(p)
	}
	network := func(n int) func(*laptop) {
		return func(l *laptop) {
			l.said = discovery.Announcements{}
			l.hears(fromRouter(fmt.Sprintf("2001:db8:1:%x::/64", n)))
		}
	}

	t.Run("SRC-7217-1", func(t *testing.T) {
		home := made(t)
		mac := func(l *laptop) { l.Host.Links[1].Hardware = otherMAC.String() }
		router := func(l *laptop) {
			l.Host.Routes = append(l.Host.Routes, platform.Route{Dst: l.Host.Routes[0].Dst, Via: addr(self6), Link: uplink})
		}
		for what, edit := range map[string]func(*laptop){
			"again": func(*laptop) {}, "with another link-layer address": mac, "with another router": router,
			"a month later":         func(l *laptop) { l.Now = l.Now.Add(30 * 24 * time.Hour); l.hears(fromRouter(lanA)) },
			"by another link index": func(l *laptop) { l.Host.Links[0].Index = 7; l.Host.Addrs[0].Link = 7 },
		} {
			if got := made(t, edit); got != home {
				t.Errorf("the same network %s: %v, before %v", what, got, home)
			}
		}
		// Whatever tells a network, an interface, a host or a try from another makes another identifier.
		for what, edit := range map[string]func(*laptop){
			"network":   network(1),
			"secret":    func(l *laptop) { l.Secret[31] ^= 1 },
			"interface": func(l *laptop) { l.Host.Links[1].Name = "eth1" },
			"try":       func(l *laptop) { l.taken = 1 },
		} {
			if got := made(t, edit); unrelated(identifier(got), identifier(home)) != nil {
				t.Errorf("another %s: %v and %v: %v", what, got, home, unrelated(identifier(got), identifier(home)))
			}
		}

		// Over many networks each bit is a coin, and so is whether it changes from one network to the next: 1000 tosses come out between 400
		// and 600, but for once in 10^9 times. The secret is fixed, so that they come out the same each time.
		const networks = 1000
		var ones, changes [64]int
		var last uint64
		for n := range networks {
			id := identifier(made(t, network(n)))
			for bit := range 64 {
				ones[bit] += int(id >> bit & 1)
				changes[bit] += int((id ^ last) >> bit & 1)
			}
			last = id
			if id>>24&0xffff == 0xfffe || bytes.Contains(binary.BigEndian.AppendUint64(nil, id), ourMAC[3:]) {
				t.Errorf("network %d: %x is made of the link-layer address (EUI-64)", n, id)
			}
		}
		for bit := range 64 {
			if min(ones[bit], changes[bit]) < 400 || max(ones[bit], changes[bit]) > 600 {
				t.Errorf("bit %d is set in %d networks of %d, and changes in %d", bit, ones[bit], networks, changes[bit])
			}
		}
	})
}

// unrelated is an error unless the two have about as many bits in common as two random numbers.
func unrelated(a, b uint64) error {
	if n := bits.OnesCount64(a ^ b); n < 12 || n > 52 {
		return fmt.Errorf("they differ in %d bits of 64", n)
	}
	return nil
}

func TestSourceOutsidePREF64(t *testing.T) {
	t.Run("SRC-6146-3.5", func(t *testing.T) {
		const refused = "RFC 6146, 3.5"
		for _, c := range []struct {
			address, pref64 string
			ok              bool
		}{
			{"2001:db8:64::1", "2001:db8:64::/96", false},
			{"2001:db8:64::1", "2001:db8:64::/48", false},
			{"2001:db8:64:ffff:ffff:ffff:ffff:ffff", "2001:db8:64::/48", false},
			{"2001:db8:64:1::/64", "2001:db8:64::/48", false},
			{"2001:db8:64::/96", "2001:db8:64::/96", false},
			{"2001:db8:65::1", "2001:db8:64::/48", true},
			{"2001:db8:64::1:0:1", "2001:db8:64::/96", true},
		} {
			_, err := config.Parse("test.toml", []byte("address.ipv6 = '"+c.address+"'\npref64.prefixes = ['"+c.pref64+"']"))
			if (err == nil) != c.ok || !c.ok && !strings.Contains(err.Error(), refused) {
				t.Errorf("%s with %s, configured: %v", c.address, c.pref64, err)
			}
			if !strings.Contains(c.address, "/") {
				_, err := eam.New(eam.Spec{
					Ours: []eam.Mapping{mapping("192.0.0.1/32", c.address+"/128")}, PREF64: []pref64.Prefix{pref64.MustParse(c.pref64)},
				})
				if (err == nil) != c.ok {
					t.Errorf("%s with %s, translated: %v", c.address, c.pref64, err)
				}
			}
		}

		// What is learned cannot be refused when it is written down.
		l := newLaptop(t, "address.ipv6 = '2001:db8:a::46'")
		l.has("2001:db8:a::5/64")
		l.toldBehind("2001:db8::/32", "64:ff9b::/96")
		if p := l.settle(); !p.On || !slices.Equal(p.PREF64, []pref64.Prefix{pref64.WellKnown}) || len(p.Warnings) == 0 {
			t.Errorf("our address lies in one of two PREF64s: %v, %s, %q", p.PREF64, p.Why, p.Warnings)
		}
		l = newLaptop(t, "address.ipv6 = '2001:db8:a::46'")
		l.toldBehind("2001:db8::/32")
		l.stops("our address lies in the only one", "no-pref64")
		for _, order := range [][]string{{"2001:db8:a::/48", "64:ff9b::/96"}, {"64:ff9b::/96", "2001:db8:a::/48"}} {
			l = newLaptop(t, "")
			l.toldBehind(order...)
			if p := l.stops("the link's prefix lies in a PREF64", "one-address"); !strings.Contains(p.Why, lanA+" lies in the PREF64") {
				t.Errorf("it is not said why: %s", p.Why)
			}
			l.hears(fromRouter(lanA), fromRouter(lanB))
			l.uses("one of two does", lanB)
		}
	})
}
