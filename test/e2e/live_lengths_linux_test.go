package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"uclat/test/peers"
)

// TestLengthsByRA has the router announce PREF64s of all lengths: each is the end of the one before it. Sockets that were bound meanwhile
// go on by the one that there is, and in the end none is left.
func TestLengthsByRA(t *testing.T) {
	says := announcing()
	eachPathIn(t, network{announces: &says}, testLengthsByRA)
}

func testLengthsByRA(t *testing.T, top *topology) {
	before := dump(t, top.laptop)
	for _, bits := range lengths64 {
		if pref64By[bits] != pref64 {
			top.addPREF64(t, pref64By[bits])
		}
	}
	p := top.startUclat(t, top.discovering("--address.dad", "optimistic")...)
	p.waits(t)
	var streams []*stream
	var last []offered
	for _, bits := range lengths64 {
		next := pref64By[bits]
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			for _, ended := range last {
				top.endPREF64(t, ended.Prefix)
			}
			top.announcer.say(t, announcing(append(last, lastingPREF64(next))...))
			p.onBy(t, next, byRouter)
			top.newFlowsBy(t, next, atRouter)
			top.curlBothWays(t, 200_000)
		})
		streams = append(streams, top.startStream(t, server4))
		last = []offered{withdrawn(next)}
	}
	if got := top.sources(t); len(got) > len(generations) {
		t.Errorf("the device has %v", got)
	}
	for _, s := range streams {
		s.recovers(t)
	}
	top.announcer.say(t, announcing(last...))
	p.waits(t)
	if n := len(p.plans()); n != len(lengths64)+2 {
		t.Errorf("%d lines say what it does, want one each time:\n%s", n, strings.Join(p.plans(), "\n"))
	}
	down(t, p, syscall.SIGTERM)
	top.unchanged(t, before)
}

// TestLengthsByDNS has the resolver tell PREF64s of all lengths.
func TestLengthsByDNS(t *testing.T) {
	says := announcing()
	eachPathIn(t, network{announces: &says}, testLengthsByDNS)
}

func testLengthsByDNS(t *testing.T, top *topology) {
	l := top.addLiar(t, lie{})
	for _, bits := range lengths64 {
		plat := pref64By[bits]
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			if plat != pref64 {
				top.addPREF64(t, plat)
			}
			l.tell(dns64(600, plat))
			p := top.startUclat(t, top.discovering("--address.dad", "optimistic")...)
			p.onBy(t, plat, "resolver "+liarAddr.String())
			top.newFlowsBy(t, plat, atRouter)
			top.curlBothWays(t, 200_000)
			down(t, p, syscall.SIGTERM)
		})
	}
}

// TestWithdrawn has the router withdraw the only PREF64 and announce it again. IPv4 is gone at once, its default route before all else, and
// comes back.
func TestWithdrawn(t *testing.T) {
	says := announcing(lastingPREF64(pref64))
	eachPathIn(t, network{announces: &says}, testWithdrawn)
}

func testWithdrawn(t *testing.T, top *topology) {
	before := dump(t, top.laptop)
	p := top.startUclat(t, top.discovering()...)
	p.onBy(t, pref64, byRouter)
	top.ping4(t)
	happens := start(t, top.laptop, peers.Find(t, "ip"), "-4", "monitor", "route", "address", "link")
	eventually(t, "it is watched", func() bool {
		must(t, top.laptop, peers.Find(t, "ip"), "link", "set", "lo", "alias", "watched")
		return strings.Contains(happens.said(), ": lo")
	})
	began := time.Now()
	top.announcer.say(t, announcing(withdrawn(pref64)))
	eventually(t, "there is no way to IPv4", func() bool { return !top.source(t).IsValid() })
	t.Logf("IPv4 was gone after %v", time.Since(began).Round(time.Millisecond))
	p.waits(t)
	unreachable := try(t, top.laptop, peers.Find(t, "ping"), "-c", "1", "-W", "1", server4.String())
	if !strings.Contains(unreachable.stderr, "Network is unreachable") {
		t.Errorf("a program is told %+v", unreachable)
	}
	eventually(t, "the end of the route is seen", func() bool { return strings.Contains(happens.said(), "Deleted") })
	var first string
	for line := range strings.Lines(happens.said()) {
		if strings.Contains(line, tunDev) && (strings.HasPrefix(line, "Deleted") || strings.Contains(line, "state DOWN")) {
			first = line
			break
		}
	}
	if !strings.HasPrefix(first, "Deleted default dev "+tunDev) {
		t.Errorf("the first to go is %q, want the default route, of\n%s", first, happens.said())
	}
	top.announcer.say(t, announcing(lastingPREF64(pref64)))
	p.onBy(t, pref64, byRouter)
	top.ping4(t)
	if n := len(p.plans()); n != 3 {
		t.Errorf("%d lines say what it does, want one each time:\n%s", n, strings.Join(p.plans(), "\n"))
	}
	down(t, p, syscall.SIGTERM)
	must(t, top.laptop, peers.Find(t, "ip"), "link", "set", "lo", "alias", "")
	top.unchanged(t, before)
}

// TestBadOptions has all that an option can be beside a good one: the good one counts. What ends an advertisement, ends all of it.
func TestBadOptions(t *testing.T) {
	t.Parallel()
	bad := pref64By[48].Addr().As16()
	option := func(kind, length byte, field ...byte) []byte {
		b := append([]byte{kind, length}, field...)
		b = append(b, bad[:]...)
		return append(b, make([]byte, 64)...)[:8*int(length)]
	}
	says := announcing(lastingPREF64(pref64))
	says.first = [][]byte{
		option(38, 1, 0xff, 0xf8), option(38, 3, 0xff, 0xf8), // RFC 8781, 4: the length is 2
		option(38, 2, 0xff, 0xf8|6), option(38, 2, 0xff, 0xf8|7), // and there are six prefix lengths
		{25, 1, 0, 0, 0, 0, 7, 8},  // a list of no resolver (RFC 8106, 5.1)
		option(25, 2, 0, 0),        // and of half a one
		option(3, 3, 200, 0xc0),    // a prefix of 200 bits in an option that is too short
		option(5, 2, 0, 0),         // an MTU that is too long
		option(253, 2, 1, 2, 3, 4), // who knows (RFC 4727)
	}
	top := newNetwork(t, network{path: onPacket, announces: &says})
	p := top.startUclat(t)
	p.onBy(t, pref64, byRouter)
	top.newFlowsBy(t, pref64, atRouter)

	ended := announcing(withdrawn(pref64), lastingPREF64(pref64By[48]))
	ended.last = []byte{253, 0, 0, 0, 0, 0, 0, 0} // RFC 4861, 4.6: nodes discard a message with an option of no length
	seen := startCapture(t, top.laptop, "eth0", "icmp6 and ip6[40] == 134")
	top.announcer.say(t, ended)
	eventually(t, "it is announced three times", func() bool { return seen.seen(t) >= 3 })
	if n := len(p.plans()); n != 1 {
		t.Errorf("it is believed:\n%s", strings.Join(p.plans(), "\n"))
	}
	top.ping4(t)
	down(t, p, syscall.SIGTERM)
}
