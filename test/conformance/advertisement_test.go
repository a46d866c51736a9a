package conformance

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"

	"uclat/clat/pref64"
	"uclat/discovery"
	"uclat/discovery/ra"
	"uclat/platform"
)

// Options of a Router Advertisement (RFC 8781, 4; RFC 8801, 3.1).
const (
	optPREF64 = 38
	optPvD    = 21
)

var typeRA = layers.CreateICMPv6TypeCode(layers.ICMPv6TypeRouterAdvertisement, 0)

// routerPacket is a Router Advertisement of a default router, as a packet to all nodes.
func routerPacket(t testing.TB, router net.IP, lifetime time.Duration, options ...layers.ICMPv6Option) []byte {
	t.Helper()
	options = slices.Clone(options)
	slices.Reverse(options) // gopacket writes the last one first
	return neighbourPacket(t, router, allNodes, typeRA, &layers.ICMPv6RouterAdvertisement{
		HopLimit: 64, RouterLifetime: uint16(lifetime / time.Second), Options: options,
	})
}

// lengthCodes are the prefix length codes of RFC 8781, 4, by prefix length.
var lengthCodes = map[int]uint16{96: 0, 64: 1, 56: 2, 48: 3, 40: 4, 32: 5}

// announcing is the PREF64 option for a prefix, whose lifetime is a multiple of 8 seconds.
func announcing(prefix string, lifetime time.Duration) layers.ICMPv6Option {
	p := netip.MustParsePrefix(prefix)
	return pref64Option(uint16(lifetime/time.Second)|lengthCodes[p.Bits()], p.Addr())
}

// pref64Option is the same by its first field, lifetime and length code, and the address of which it has the highest 96 bits.
func pref64Option(field uint16, a netip.Addr) layers.ICMPv6Option {
	b := a.As16()
	return layers.ICMPv6Option{Type: optPREF64, Data: append(binary.BigEndian.AppendUint16(nil, field), b[:12]...)}
}

// offered is that option as the program reads it.
func offered(prefix string, lifetime time.Duration) discovery.Offer {
	return discovery.Offer{Prefix: pref64.MustParse(prefix), Lifetime: lifetime}
}

// air is what a Listener hears and sends by, on one link.
type air struct {
	packets chan []byte
	closed  chan struct{}
	began   time.Time
	asked   []time.Duration // when routers were solicited, since it began
}

func newAir() *air {
	return &air{packets: make(chan []byte), closed: make(chan struct{}), began: time.Now()}
}

// Receive hands over a packet as a raw socket does: without its IPv6 header.
func (a *air) Receive(b []byte) (n, hopLimit, link int, from netip.Addr, err error) {
	select {
	case p := <-a.packets:
		from, _ := netip.AddrFromSlice(p[8:24])
		return copy(b, p[40:]), int(p[7]), uplink, from, nil
	case <-a.closed:
		return 0, 0, 0, netip.Addr{}, errors.New("closed")
	}
}

func (a *air) Solicit(ra.Link) error {
	a.asked = append(a.asked, time.Since(a.began))
	return nil
}

func (a *air) Close() error {
	close(a.closed)
	return nil
}

// listens runs a Listener on the link for so long, while play sends packets; it returns what was reported, but silence.
func listens(t *testing.T, a *air, duration time.Duration, play func()) (heard []discovery.Advertisement) {
	t.Helper()
	l := ra.New(ra.Options{Listen: func() (ra.Socket, error) { return a, nil }})
	l.SetLinks([]ra.Link{{Index: uplink, Name: "eth0"}})
	ctx, stop := context.WithTimeout(t.Context(), duration)
	defer stop()
	ended := make(chan error)
	go func() {
		ended <- l.Run(ctx, func(ad discovery.Advertisement) {
			if ad.Router.IsValid() {
				heard = append(heard, ad)
			}
		})
	}()
	play()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	return heard
}

// hears is what a Listener makes of these packets.
func hears(t *testing.T, packets ...[]byte) (heard []discovery.Advertisement) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := newAir()
		heard = listens(t, a, time.Minute, func() {
			for _, p := range packets {
				a.packets <- p
			}
		})
	})
	return heard
}

// offers wants one Router Advertisement to be heard, with these PREF64s.
func offers(t *testing.T, what string, packet []byte, want ...discovery.Offer) {
	t.Helper()
	heard := hears(t, packet)
	if len(heard) != 1 {
		t.Errorf("%s: %d advertisements are heard", what, len(heard))
		return
	}
	if got := heard[0].PREF64; !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestPREF64Option(t *testing.T) {
	good := announcing("2001:db8:64::/96", 30*time.Minute)
	kept := offered("2001:db8:64::/96", 30*time.Minute)

	t.Run("DISC-8781-4-1", func(t *testing.T) {
		a := netip.MustParseAddr("2001:db8:1:2::")
		for length, code := range lengthCodes {
			p := netip.PrefixFrom(a, length).Masked().String()
			offers(t, p, routerPacket(t, linkRouter, time.Hour, pref64Option(1800|code, a)), offered(p, 30*time.Minute))
		}
		// A bad one stands beside a good one, before it or behind it.
		for what, bad := range map[string]layers.ICMPv6Option{
			"code 6":   pref64Option(1800|6, a),
			"code 7":   pref64Option(1800|7, a),
			"length 1": {Type: optPREF64, Data: good.Data[:6]},
			"length 3": {Type: optPREF64, Data: append(slices.Clone(good.Data), make([]byte, 8)...)},
		} {
			offers(t, what, routerPacket(t, linkRouter, time.Hour, bad, good), kept)
			offers(t, what, routerPacket(t, linkRouter, time.Hour, good, bad), kept)
			offers(t, what+" alone", routerPacket(t, linkRouter, time.Hour, bad))
		}
	})

	t.Run("DISC-8781-4.1-1", func(t *testing.T) {
		wkp := netip.MustParseAddr("64:ff9b::")
		for field, want := range map[uint16]time.Duration{
			0x0708: 1800 * time.Second, 0xfff8: 65528 * time.Second, 0x0008: 8 * time.Second, 0x0000: 0, 0x8000: 32768 * time.Second,
		} {
			offers(t, want.String(), routerPacket(t, linkRouter, time.Hour, pref64Option(field, wkp)), offered("64:ff9b::/96", want))
		}
		// The code is none of it.
		offers(t, "/32", routerPacket(t, linkRouter, time.Hour, pref64Option(0x0708|5, netip.MustParseAddr("2001:db8::"))),
			offered("2001:db8::/32", 1800*time.Second))
		// The example of the RFC, octet by octet.
		plain := routerPacket(t, linkRouter, time.Hour, layers.ICMPv6Option{Type: optPREF64, Data: make([]byte, 14)})
		example := edited(plain, len(plain)-16, 0x26, 2, 7, 8, 0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0)
		offers(t, "example", ndSealed(t, example), offered("64:ff9b::/96", 1800*time.Second))
	})

	t.Run("DISC-8781-D1", func(t *testing.T) {
		garbage := netip.MustParseAddr("2001:db8:1:2:3:4:5:6")
		for prefix, code := range map[string]uint16{"2001:db8:1:2::/64": 1, "2001:db8::/32": 5} {
			offers(t, "bits behind "+prefix, routerPacket(t, linkRouter, time.Hour, pref64Option(1800|code, garbage)), offered(prefix, 30*time.Minute))
		}
		for _, prefix := range []string{
			"ff0e::/96", "ff02:0:0:1::/64", "fe80::/96", "fe80::/64", "::/96", "::/64", "0:0:1::/64", "::ffff:0:0/96", "64:ff9b::/64", "64:ff9b::/32",
		} {
			offers(t, prefix, routerPacket(t, linkRouter, time.Hour, announcing(prefix, time.Hour), good), kept)
		}
		// One that holds an address of the host's own is heard, and not used.
		l := newLearner(t, "")
		l.has("2001:db8:a::5/64", autoconf)
		l.router(linkRouter, time.Hour, announcing("2001:db8:a::/48", time.Hour))
		if p := l.stops("the host is in it", "no-pref64"); len(p.Warnings) != 1 {
			t.Errorf("it is not said: %q", p.Warnings)
		}
		l.router(linkRouter, time.Hour, announcing("2001:db8:64::/96", time.Hour))
		l.goesThrough("another beside it", "2001:db8:64::/96")
	})
}

func TestPREF64IsOfItsNetwork(t *testing.T) {
	t.Run("DISC-8781-5.1-2", func(t *testing.T) {
		both := func(settings string) *learner {
			l := newLearner(t, settings)
			l.Host.Links = append(l.Host.Links, secondLink)
			l.Host.Routes = append([]platform.Route{defaultBy(linkRouter, secondLink.Index)}, l.Host.Routes...)
			l.has("2001:db8:c::5/64", autoconf, func(a *platform.Address) { a.Link = secondLink.Index })
			l.router(linkRouter, time.Hour, announcing("2001:db8:64::/96", time.Hour))
			return l
		}
		if p := both("").goesThrough("eth0 has one, wlan0 has not", "2001:db8:64::/96"); p.Uplink.Name != "eth0" {
			t.Errorf("%s", p.Why)
		}
		both("uplink = 'wlan0'").stops("on wlan0", "no-pref64")
		l := both("uplink = 'wlan0'")
		l.observe(discovery.Observation{Source: discovery.DNS, Link: uplink, Resolver: "2001:db8::53", Prefixes: []discovery.Offer{
			offered("2001:db8:65::/96", time.Hour),
		}})
		l.stops("on wlan0, and eth0's resolver tells one, too", "no-pref64")

		// What stands in a PvD option is of that Provisioning Domain. We know none, and so use nothing of it.
		inner := slices.Concat([]byte{optPREF64, 2}, announcing("2001:db8:65::/96", time.Hour).Data)
		pvd := slices.Concat([]byte{0, 0, 0, 1}, []byte("\x03pvd\x07example\x00\x00"), make([]byte, 4), inner)
		packet := routerPacket(t, linkRouter, time.Hour, layers.ICMPv6Option{Type: optPvD, Data: pvd}, announcing("2001:db8:64::/96", time.Hour))
		offers(t, "a PvD beside it", packet, offered("2001:db8:64::/96", time.Hour))
	})
}

func TestSolicitation(t *testing.T) {
	t.Run("DISC-9872-1", func(t *testing.T) {
		// Routers are asked at once, and three times.
		synctest.Test(t, func(t *testing.T) {
			a := newAir()
			listens(t, a, time.Hour, func() {})
			if diff := cmp.Diff([]time.Duration{0, 4 * time.Second, 8 * time.Second}, a.asked); diff != "" {
				t.Errorf("nobody answers (-want +got)\n%s", diff)
			}
			a = newAir()
			listens(t, a, time.Hour, func() {
				time.Sleep(5 * time.Second)
				a.packets <- routerPacket(t, linkRouter, time.Hour)
			})
			if len(a.asked) != 2 {
				t.Errorf("answered after five seconds: asked at %v", a.asked)
			}
		})
		// What a router says goes before what resolvers say, whoever was first.
		l := newLearner(t, "")
		l.resolver(time.Hour, "2001:db8:65::/96")
		l.goesThrough("by DNS", "2001:db8:65::/96")
		l.pass(time.Second)
		l.router(linkRouter, time.Hour, announcing("2001:db8:64::/96", time.Hour))
		if p := l.goesThrough("by RA, a second later", "2001:db8:64::/96", "2001:db8:65::/96"); p.Source != discovery.RA {
			t.Errorf("%s", p.Why)
		}
		// The other is what is left where there is none by RA.
		l.router(linkRouter, time.Hour, announcing("2001:db8:64::/96", 0))
		l.goesThrough("withdrawn", "2001:db8:65::/96")
	})
}
