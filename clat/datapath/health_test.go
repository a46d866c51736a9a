package datapath

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/frame"
	"uclat/clat/inbound"
	"uclat/clat/pref64"
	"uclat/clat/siit"
)

// three destinations, whose hashes differ.
var three = []string{"198.51.100.5", "203.0.113.9", "192.0.2.78"}

// ours is the bit of the host's address.
const ours uint8 = 1 << 4

// heard stands in for when the first packet was sent.
const heard time.Duration = -1

// to is a packet of the host.
func to(dst string) []byte { return readdressed(udp4(100, 64, true), dst) }

// traffic is an engine whose health is asked for every second.
type traffic struct {
	t       *testing.T
	e       *Engine
	out, in *Worker // one reads what goes out, the other what comes in
	way     *queue  // out
}

func newTraffic(t *testing.T, edits ...func(*siit.Options)) *traffic {
	e := New(translator(t, "64:ff9b::/96", edits...))
	return &traffic{t, e, e.NewWorker(), e.NewWorker(), newQueue()}
}

// send sends a packet to each of the destinations.
func (x *traffic) send(destinations ...string) {
	for _, dst := range destinations {
		_, v6, v4 := x.out.Process(frames(to(dst)), nil, nil)
		if err := x.out.send(Lane{V6: x.way, V4: x.way}, v6, v4); err != nil {
			x.t.Fatal(err)
		}
		x.out.Done()
	}
}

// seconds sends to destinations at the begin of each of n seconds, and returns what the health was last.
func (x *traffic) seconds(n int, destinations ...string) (h Health) {
	for range n {
		x.send(destinations...)
		h = x.e.Health(ours)
		time.Sleep(time.Second)
	}
	return h
}

// answers has a probe run for timeout, and then its answer come in: what is given, with what of the request belongs behind it.
func (x *traffic) answers(timeout time.Duration, answer []byte) {
	q := newQueue()
	got := probeBy(x.t, x.e, q, timeout)
	request := q.out[0]
	if answer[40] == echoReply {
		request = request[44:]
	}
	if timeout == 0 {
		<-got
	}
	if out := process(x.t, x.in, from(netip.AddrFrom16([16]byte(answer[8:])), host6, answer[40:], request)); len(out) != 0 {
		x.t.Errorf("% x", out)
	}
	synctest.Wait()
}

func TestHealth(t *testing.T) {
	reply := icmp6(129, 0, 0, 0, 0, 1, 0, 1)
	unreachable := tooBig6(0, 1500, "2001:db8:ffff::1") // of a router; as far as it is a Packet Too Big, it is not one
	unreachable[40], unreachable[41] = 1, 0
	sealed(unreachable, 40)
	behind64 := tooBig6(1400, 1500, far6.String())
	atomic := behind(tooBig6(1400, 1500, far6.String()), 44, fragment(protoICMP6, 0))
	dummy := tooBig6(1400, 1500, "64:ff9b::192.0.0.8")
	unmapped := func(o *siit.Options) { o.UnmappedSource = netip.MustParseAddr("192.0.0.8") }
	for _, c := range []struct {
		name    string
		do      func(x *traffic) Health
		since   time.Duration // after the begin; with destinations 0: never; heard: the last call heard something
		to      int
		suspect bool
	}{
		{"nothing sent", func(x *traffic) Health { return x.seconds(60) }, 0, 0, false},
		{"for nine seconds", func(x *traffic) Health { return x.seconds(10, three...) }, 0, 3, false},
		{"for ten seconds", func(x *traffic) Health { return x.seconds(11, three...) }, 0, 3, true},
		{"to two destinations", func(x *traffic) Health { return x.seconds(60, three[:2]...) }, 0, 2, false},
		{"to one after the other", func(x *traffic) Health {
			for _, dst := range three {
				x.seconds(4, dst)
			}
			return x.seconds(1, three[0])
		}, 0, 3, true},
		{"all at once, and nothing more", func(x *traffic) Health {
			x.seconds(1, three...)
			return x.seconds(60)
		}, 0, 3, false},
		{"twice, far apart", func(x *traffic) Health {
			x.seconds(1, three...)
			x.seconds(30)
			return x.seconds(1, three[0])
		}, 0, 3, true},
		{"it stays", func(x *traffic) Health {
			x.seconds(11, three...)
			return x.seconds(60)
		}, 0, 3, true},

		{"one received", func(x *traffic) Health {
			x.seconds(9, three...)
			process(x.t, x.in, udp6(80))
			x.seconds(1)
			return x.seconds(10, three...)
		}, 10 * time.Second, 3, false},
		{"one received, and long after it none", func(x *traffic) Health {
			x.seconds(9, three...)
			process(x.t, x.in, udp6(80))
			x.seconds(1)
			return x.seconds(11, three...)
		}, 10 * time.Second, 3, true},
		{"one received after it was suspect", func(x *traffic) Health {
			x.seconds(60, three...)
			process(x.t, x.in, reply)
			return x.e.Health(ours)
		}, heard, 0, false},
		{"one received, and other destinations", func(x *traffic) Health {
			x.seconds(9, three...)
			process(x.t, x.in, reply)
			x.seconds(1)
			return x.seconds(60, three[0])
		}, 10 * time.Second, 1, false},
		{"one received by who sends", func(x *traffic) Health {
			x.seconds(60, three...)
			process(x.t, x.out, udp6(80))
			return x.e.Health(ours)
		}, heard, 0, false},
		{"one received, in one batch with an ICMP error", func(x *traffic) Health {
			x.seconds(60, three...)
			process(x.t, x.in, unreachable, udp6(80), unreachable)
			return x.e.Health(ours)
		}, heard, 0, false},
		{"all in one batch", func(x *traffic) Health {
			for range 11 {
				process(x.t, x.out, to(three[0]), to(three[1]), to(three[2]), to(three[0]))
				x.seconds(1)
			}
			return x.e.Health(ours)
		}, 0, 3, true},
		{"ICMP errors are no sign", func(x *traffic) Health {
			for range 10 {
				x.seconds(1, three...)
				if out := process(x.t, x.in, unreachable); len(out) != 1 || out[0][9] != 1 {
					x.t.Fatalf("% x", out)
				}
			}
			return x.seconds(1, three...)
		}, 0, 3, true},
		{"one ICMP error from behind the NAT64", func(x *traffic) Health {
			x.seconds(60, three...)
			process(x.t, x.in, unreachable, behind64)
			return x.e.Health(ours)
		}, heard, 0, false},
		{"one in an atomic fragment", func(x *traffic) Health {
			x.seconds(60, three...)
			process(x.t, x.in, atomic)
			return x.e.Health(ours)
		}, heard, 0, false},
		{"one of a router behind the NAT64 that has no address", func(x *traffic) Health {
			x.seconds(60, three...)
			process(x.t, x.in, dummy, unreachable)
			return x.e.Health(ours)
		}, heard, 0, false},
		{"an echo request", func(x *traffic) Health {
			x.seconds(60, three...)
			process(x.t, x.in, icmp6(128, 0, 0, 0, 0, 1, 0, 1))
			return x.e.Health(ours)
		}, heard, 0, false},
		{"a probe's echo reply", func(x *traffic) Health {
			x.seconds(60, three...)
			x.answers(time.Second, from(peer6, host6, []byte{129, 0, 0, 0}))
			return x.e.Health(ours)
		}, heard, 0, false},
		{"one that was late", func(x *traffic) Health {
			x.seconds(60, three...)
			x.answers(0, from(peer6, host6, []byte{129, 0, 0, 0}))
			return x.e.Health(ours)
		}, heard, 0, false},
		{"a router's error about a probe is no sign", func(x *traffic) Health {
			x.seconds(60, three...)
			x.answers(time.Second, from(router6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}))
			return x.e.Health(ours)
		}, 0, 3, true},
		{"what is dropped is no sign", func(x *traffic) Health {
			x.e.SetInbound(inbound.New())
			for range 10 {
				x.seconds(1, three...)
				process(x.t, x.in, tcp6(2), six(17, zeroUDP))
			}
			return x.seconds(1, three...)
		}, 0, 3, true},

		{"without a next hop", func(x *traffic) Health {
			x.way.refuse = func([]byte) error { return clat.ErrNextHop }
			return x.seconds(60, three...)
		}, 0, 0, false},
		{"refused by the device", func(x *traffic) Health {
			x.way.refuse = func([]byte) error { return errors.New("refused") }
			return x.seconds(60, three...)
		}, 0, 0, false},
		{"without a next hop, and then with one", func(x *traffic) Health {
			x.way.refuse = func([]byte) error { return clat.ErrNextHop }
			x.seconds(60, three...)
			x.way.refuse = nil
			return x.seconds(11, three...)
		}, time.Minute, 3, true},
		{"what is dropped was not sent", func(x *traffic) Health {
			for range 60 {
				process(x.t, x.out, udp4(100, 1, true), to("224.0.0.1"))
				x.seconds(1)
			}
			return x.e.Health(ours)
		}, 0, 0, false},
		{"another translator", func(x *traffic) Health {
			x.seconds(5, three...)
			x.e.Swap(translator(x.t, "64:ff9b::/96"))
			return x.seconds(6, three...)
		}, 0, 3, true},
		{"another way", func(x *traffic) Health {
			x.seconds(60, three...)
			x.e.Renew(ours)
			return x.e.Health(ours)
		}, 0, 0, false},
		{"another way, and sent again", func(x *traffic) Health {
			x.seconds(60, three...)
			x.e.Renew(ours)
			return x.seconds(11, three...)
		}, time.Minute, 3, true},
		{"others have another way", func(x *traffic) Health {
			x.seconds(5, three...)
			x.e.Renew(^ours)
			return x.seconds(6, three...)
		}, 0, 3, true},
		{"another way hears nothing by itself", func(x *traffic) Health {
			process(x.t, x.in, reply)
			x.e.Renew(ours)
			return x.e.Health(ours)
		}, 0, 0, false},
		{"heard once", func(x *traffic) Health {
			process(x.t, x.in, reply)
			x.e.Health(ours)
			return x.e.Health(ours)
		}, 0, 0, false},
		{"who asks more often changes nothing", func(x *traffic) Health {
			x.send(three...)
			for range 105 {
				x.e.Health(ours)
				time.Sleep(100 * time.Millisecond)
			}
			x.send(three...)
			return x.e.Health(ours)
		}, 0, 3, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				got := c.do(newTraffic(t, unmapped))
				want := Health{Suspect: c.suspect, Destinations: c.to}
				if want.Heard = c.since == heard; c.to > 0 {
					want.Since = begin.Add(c.since)
				}
				if got != want {
					t.Errorf("%+v\nwant %+v", got, want)
				}
			})
		})
	}
}

// hairpinTranslator sends what one of two IPv6 hosts sends to the IPv4 address of the other, peer4, back as IPv6.
func hairpinTranslator(t *testing.T) *siit.Translator {
	t.Helper()
	m, err := eam.New(eam.Spec{
		Role: eam.Router, PREF64: []pref64.Prefix{pref64.WellKnown},
		Map: []eam.Mapping{
			{IPv4: netip.MustParsePrefix("192.0.2.1/32"), IPv6: netip.PrefixFrom(host6, 128)},
			{IPv4: netip.PrefixFrom(peer4, 32), IPv6: netip.MustParsePrefix("2001:db8:9::9/128")},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := siit.New(m, siit.Options{MTU6: 1500, MTU4: 1500, LowestMTU6: 1280, Self4: netip.MustParseAddr("100.64.46.5"), Hairpin: true})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// What goes back to an IPv6 host came from no NAT64, and went to none.
func TestHealthHairpin(t *testing.T) {
	e := New(hairpinTranslator(t))
	p := udp6(100)
	copy(p[8:], addr(host6))
	copy(p[24:], addr(peer6))
	if out := process(t, e.NewWorker(), p); len(out) != 1 || out[0][0]>>4 != 6 {
		t.Fatalf("%d packets", len(out))
	}
	for i := range e.watch {
		if sent, heard, destinations := e.signs(i); sent+heard+destinations != 0 {
			t.Errorf("%d: sent %d, heard %d, to %b", i, sent, heard, destinations)
		}
	}
}

// Many destinations have many hashes, whatever the length of the prefix.
func TestDestinations(t *testing.T) {
	for _, prefix := range []string{"64:ff9b::/96", "2001:db8:64:1::/64", "2001:db8:64::/48", "2001:db9::/32"} {
		e := New(translator(t, prefix))
		w := e.NewWorker()
		for n := range 256 {
			w.Process([]*frame.Frame{toFrame(to(netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}).String()))}, nil, nil)
			w.Done()
		}
		if got := e.Health(ours).Destinations; got < 48 {
			t.Errorf("%s: %d of 64 for 256 destinations", prefix, got)
		}
	}
}

// Where an IPv6 address has its IPv4 address is what RFC 6052 says.
func TestCarries(t *testing.T) {
	for _, s := range []string{"64:ff9b::/96", "2001:db8:64:1::/64", "2001:db8:64:100::/56", "2001:db8:64::/48", "2001:db8:100::/40", "2001:db9::/32"} {
		v4 := peer4.As4()
		a := pref64.MustParse(s).Embed(v4)
		if !carries(&a, v4[:]) {
			t.Errorf("%s: not seen", s)
		}
		for i, octet := range a {
			if b := a; octet == v4[0] {
				if b[i]++; carries(&b, v4[:]) {
					t.Errorf("%s: %v", s, netip.AddrFrom16(b))
				}
			}
		}
		if a[8] = 1; carries(&a, v4[:]) {
			t.Errorf("%s: %v", s, netip.AddrFrom16(a))
		}
	}
}

// A host with an explicit mapping, whose address carries none, is heard but for its errors.
func TestMappedHostIsHeard(t *testing.T) {
	src := router6.As16()
	for typ, want := range map[byte]bool{0: true, 3: false, 8: true, 11: false, 12: false} {
		p := append(udp4(28, 64, false)[:20], typ, 0, 0, 0, 0, 0, 0, 0)
		if p[9] = 1; isHeard(p, &src) != want {
			t.Errorf("type %d: not %v", typ, want)
		}
	}
	if !isHeard(udp4(28, 64, false), &src) {
		t.Error("UDP is not heard")
	}
}
