package node

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// lan is a link on which time passes only when a test says so.
type lan struct {
	t        testing.TB
	now      time.Time
	latency  time.Duration
	loops    bool // sends back what comes
	cut      bool // carries nothing
	repeats  int  // how often it delivers a packet more than once
	stations []*station
	flying   []flight
	log      []string // what was sent, with the seconds since the start
}

type station struct {
	*Node
	hw   net.HardwareAddr
	wake time.Time
}

type flight struct {
	at       time.Time
	packet   []byte
	from, to net.HardwareAddr
	by       *station
}

func newLAN(t testing.TB) *lan { return &lan{t: t, now: start} }

// join connects a node, and wakes it at once.
func (l *lan) join(hw net.HardwareAddr, number uint64, change ...func(*Options)) *station {
	s := &station{hw: hw, wake: l.now}
	o := Options{Addr: ourAddr, Hardware: hw, Nonce: [6]byte(nonce(number)[2:]), Send: func(p []byte, to net.HardwareAddr) {
		l.log = append(l.log, seconds(l.now.Sub(start).Seconds())+describe(l.t, p, to))
		l.flying = append(l.flying, flight{l.now.Add(l.latency), slices.Clone(p), slices.Clone(s.hw), slices.Clone(to), s})
	}}
	for _, c := range change {
		c(&o)
	}
	s.Node = New(o)
	l.stations = append(l.stations, s)
	return s
}

func optimistic(o *Options) { o.Optimistic = true }

// pass lets time go by.
func (l *lan) pass(d time.Duration) {
	end := l.now.Add(d)
	for range 100_000 {
		at, event := end.Add(1), func() {}
		if len(l.flying) > 0 && l.flying[0].at.Before(at) {
			at, event = l.flying[0].at, l.deliver
		}
		for _, s := range l.stations {
			if !s.wake.IsZero() && s.wake.Before(at) {
				at, event = s.wake, func() { s.awake(s.Tick(l.now), l.now) }
			}
		}
		if at.After(end) {
			l.now = end
			return
		}
		l.now = at
		event()
	}
	l.t.Fatal("no end to what happens")
}

func (s *station) awake(next, now time.Time) {
	if !next.IsZero() && next.Before(now) {
		panic("a time that is over")
	}
	s.wake = next
}

func (l *lan) deliver() {
	f := l.flying[0]
	l.flying = l.flying[1:]
	if l.cut {
		return
	}
	for _, s := range l.stations {
		if (s != f.by || l.loops) && (f.to[0]&1 != 0 || bytes.Equal(f.to, s.hw)) {
			for range 1 + l.repeats {
				s.awake(s.Input(f.packet, f.from, l.now), l.now)
			}
		}
	}
}

// hear has all stations hear a packet now.
func (l *lan) hear(p []byte, from net.HardwareAddr) {
	for _, s := range l.stations {
		s.awake(s.Input(p, from, l.now), l.now)
	}
	l.pass(0)
}

func (l *lan) hardware(s *station, hw net.HardwareAddr) {
	s.hw = hw
	s.awake(s.SetHardware(hw, l.now), l.now)
}

func (l *lan) router(s *station, addr netip.Addr, hw net.HardwareAddr) {
	s.awake(s.SetRouter(addr, hw, l.now), l.now)
}

// want checks what was sent since the last call.
func (l *lan) want(lines ...string) {
	l.t.Helper()
	l.pass(0)
	if !slices.Equal(l.log, lines) {
		l.t.Errorf("sent:")
		for _, s := range l.log {
			l.t.Errorf("  %s", s)
		}
		l.t.Errorf("want:")
		for _, s := range lines {
			l.t.Errorf("  %s", s)
		}
	}
	l.log = nil
}

func (l *lan) status(s *station, want Status) {
	l.t.Helper()
	if got := s.Status(); got != want {
		l.t.Errorf("%v after %v, want %v", got, l.now.Sub(start), want)
	}
}

// ready is a node alone on a link, past all that it says in the beginning.
func ready(t testing.TB) (*lan, *station) {
	l := newLAN(t)
	s := l.join(ourMAC, firstNonce)
	l.pass(10 * time.Second)
	l.status(s, Ready)
	l.log = nil
	return l, s
}

func seconds(s float64) string { return fmt.Sprintf("%gs ", s) }
