package node

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// Steps of a fuzzed script: a step is one of these, an argument, and for a packet its length and its octets.
const (
	stepWait     = iota // argument sixteenths of a second; Tick is called when it is wanted, and at the end
	stepHardware        // the link-layer address of that number
	stepRouter          // so the next hop
	stepPacket          // with what of it is put right first
	steps
)

// What is put right of a fuzzed packet, which otherwise hardly ever passed the first check.
const (
	fixHeader = 1 << iota // of IPv6, but for the addresses
	fixTarget             // ours
	fixGroup              // to our group
	fixAddr               // to our address
	fixNobody             // from ::
	fixSolicitation
	fixAdvertisement
	fixChecksum
)

// FuzzInput runs a node through what a link and a host may do to it, beside a reading of the RFCs that shares no code with it.
func FuzzInput(f *testing.F) {
	script := func(steps ...[]byte) []byte { return bytes.Join(steps, nil) }
	send := func(p []byte) []byte { return append([]byte{stepPacket, 0, byte(len(p))}, p...) }
	wait := func(sixteenths byte) []byte { return []byte{stepWait, sixteenths} }
	claim := send(packet(na, flagO, ours, "ff02::1", ours, target(otherMAC)))
	for _, s := range [][]byte{
		nil,
		script(wait(8), claim),
		script(wait(8), send(packet(ns, 0, "::", group6, ours, nonce(firstNonce))), wait(40),
			send(packet(ns, 0, "::", group6, ours, nonce(firstNonce+1)))),
		script(wait(8), send(packet(ns, 0, "::", group6, ours, nonce(4711)))),
		script(wait(8), send(packet(ns, 0, "::", group6, ours, source(otherMAC)))),
		script(wait(8), send(packet(ns, 0, other6, group6, ours, source(otherMAC))), wait(40), send(packet(ns, 0, other6, ours, ours))),
		script(wait(20), claim, wait(20), claim, wait(20), claim),
		script(wait(20), claim, claim, wait(20), claim, wait(250), wait(250), claim, wait(20), claim),
		script(wait(8), []byte{stepHardware, 1}, wait(20), []byte{stepHardware, 2, stepRouter, 3}, wait(20),
			send(packet(na, 0, ours, "ff02::1", ours, target(ourMAC)))),
		script([]byte{stepRouter, 3}, wait(20), send(packet(na, flagR|flagS, router6, ours, router6, target(routerMAC))), wait(250)),
		script(wait(8), []byte{stepPacket, 0xff, 72}, make([]byte, 64), []byte{1, 0, 1, 2, 3, 4, 5, 6}),
		script(wait(8), []byte{stepPacket, 0xff, 80}, make([]byte, 64), append([]byte{14, 2}, make([]byte, 14)...)),
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, script []byte, optimistic bool) {
		newModel(t, optimistic).run(script)
	})
}

// model is what must hold of a node, whatever happens.
type model struct {
	t      *testing.T
	node   *Node
	now    time.Time
	wake   time.Time
	sent   int // since the last step
	nonces [][]byte
	had    []net.HardwareAddr // all link-layer addresses of ours
	claims []time.Time        // that were heard while the address was ours
	router netip.Addr
}

var stations = []net.HardwareAddr{ourMAC, newMAC, otherMAC, routerMAC, thirdMAC, nil, mac("33:33:00:00:00:01"), {2, 0, 0}}

func newModel(t *testing.T, optimistic bool) *model {
	m := &model{t: t, now: start, wake: start, had: []net.HardwareAddr{ourMAC}}
	m.node = New(Options{Addr: ourAddr, Hardware: ourMAC, Optimistic: optimistic, Nonce: testNonce, Send: m.send})
	return m
}

func (m *model) send(p []byte, to net.HardwareAddr) {
	m.sent++
	describe(m.t, p, to)
	if m.node.Status() == Duplicate {
		m.t.Fatal("sent what is not ours any more")
	}
	own := m.had[len(m.had)-1]
	switch src := netip.AddrFrom16([16]byte(p[8:])); {
	case src.IsUnspecified():
		if p[40] != ns || m.node.Status() == Ready || len(p) != 72 || !bytes.Equal(p[64:66], []byte{14, 1}) {
			m.t.Fatalf("detection %x", p)
		}
		if len(m.nonces) > 0 && slices.ContainsFunc(m.nonces, func(n []byte) bool { return bytes.Equal(n, p[66:]) }) {
			m.t.Fatalf("a nonce twice: %x", p)
		}
		m.nonces = append(m.nonces, slices.Clone(p[66:]))
	case src != ourAddr || len(p) != 72 || !bytes.Equal(p[66:], own) || m.node.Status() == Tentative:
		m.t.Fatalf("%x while %v", p, m.node.Status())
	case p[40] == ns:
		if m.node.Status() != Ready || p[64] != 1 || netip.AddrFrom16([16]byte(p[48:])) != m.router {
			m.t.Fatalf("solicitation %x", p)
		}
	case p[64] != 2 || netip.AddrFrom16([16]byte(p[48:])) != ourAddr || p[44]&flagR != 0 || p[44]&flagO != 0 && m.node.Status() == Optimistic:
		m.t.Fatalf("advertisement %x while %v", p, m.node.Status())
	}
}

func (m *model) run(script []byte) {
	for len(script) >= 2 {
		step, arg := script[0]%steps, script[1]
		script = script[2:]
		before, others := m.node.Status(), 0
		m.sent = 0
		switch step {
		case stepWait:
			m.wait(time.Duration(arg) * time.Second / 16)
			if m.node.Status() != before && (before == Duplicate || m.node.Status() != Ready) {
				m.t.Fatalf("%v after %v, with time alone", m.node.Status(), before)
			}
			continue
		case stepHardware:
			hw := stations[int(arg)%len(stations)]
			if len(hw) == 6 && hw[0]&1 == 0 {
				m.had = append(m.had, hw)
			}
			m.wake = m.node.SetHardware(hw, m.now)
		case stepRouter:
			m.router = []netip.Addr{routerAddr, {}, netip.MustParseAddr(other6), ourAddr}[arg>>4&3]
			m.wake = m.node.SetRouter(m.router, stations[int(arg)%len(stations)], m.now)
			if m.router == ourAddr { // nobody is his own router
				m.router = netip.Addr{}
			}
		case stepPacket:
			if len(script) == 0 {
				return
			}
			n := min(int(script[0]), len(script)-1)
			p := slices.Clone(script[1 : 1+n])
			script = script[1+n:]
			repair(p, arg)
			from := stations[n%len(stations)]
			others = 1
			want := m.expect(p, from)
			m.wake = m.node.Input(p, from, m.now)
			if got := m.node.Status(); got != want {
				m.t.Fatalf("%v after %v, want %v: %x from %v", got, before, want, p, from)
			}
		}
		if step != stepPacket && m.node.Status() != before {
			m.t.Fatalf("%v after %v", m.node.Status(), before)
		}
		if m.sent > others {
			m.t.Fatalf("%d packets", m.sent)
		}
		m.check()
	}
}

func (m *model) wait(d time.Duration) {
	end := m.now.Add(d)
	for !m.wake.IsZero() && !m.wake.After(end) {
		m.now = m.wake
		m.sent = 0
		m.wake = m.node.Tick(m.now)
		if m.sent > 4 || !m.wake.IsZero() && !m.wake.After(m.now) {
			m.t.Fatalf("%d packets at %v, and again at %v", m.sent, m.now, m.wake)
		}
		m.check()
	}
	m.now = end
}

func (m *model) check() {
	switch n := m.node; {
	case !m.wake.IsZero() && m.wake.Before(m.now):
		m.t.Fatalf("wants %v at %v", m.wake, m.now)
	case m.wake.IsZero() && n.Status() < Ready, !m.wake.IsZero() && n.Status() == Duplicate:
		m.t.Fatalf("wants %v while %v", m.wake, n.Status())
	case len(n.former) > maxFormer || n.Status() != Duplicate && n.Holder() != nil:
		m.t.Fatalf("former %v, holder %v", n.former, n.Holder())
	}
}

// expect is the status that a packet leads to: the only way to Duplicate.
func (m *model) expect(p []byte, from net.HardwareAddr) Status {
	was := m.node.Status()
	lla, nonce, ok := read(p)
	if was == Duplicate || !ok || !bytes.Equal(p[48:64], ourAddr.AsSlice()) || p[24] != 0xff && !bytes.Equal(p[24:40], ourAddr.AsSlice()) {
		return was
	}
	if p[40] == ns {
		unspecified := bytes.Equal(p[8:24], make([]byte, 16))
		own := slices.ContainsFunc(m.nonces, func(n []byte) bool { return bytes.Equal(n, nonce) })
		if unspecified && !own && was != Ready {
			return Duplicate
		}
		return was
	}
	// Those that were ours long ago may be forgotten.
	for _, own := range m.had {
		if bytes.Equal(own, from) || bytes.Equal(own, lla) {
			return was
		}
	}
	if was != Ready {
		return Duplicate
	}
	if len(m.claims) == 0 || m.now.Sub(m.claims[len(m.claims)-1]) >= time.Second {
		m.claims = append(m.claims, m.now)
	}
	if n := len(m.claims); n >= 3 && m.claims[n-1].Equal(m.now) && m.now.Sub(m.claims[n-3]) <= 30*time.Second {
		return Duplicate
	}
	return was
}

// repair makes a packet out of octets, as much as fixes says.
func repair(p []byte, fixes byte) {
	if len(p) < 64 {
		return
	}
	if fixes&fixHeader != 0 {
		p[0], p[4], p[5], p[6], p[7], p[41] = 0x60, 0, byte(len(p)-40), 58, 255, 0
	}
	if fixes&fixTarget != 0 {
		copy(p[48:], ourAddr.AsSlice())
	}
	if fixes&fixGroup != 0 {
		copy(p[24:], netip.MustParseAddr(group6).AsSlice())
	}
	if fixes&fixAddr != 0 {
		copy(p[24:], ourAddr.AsSlice())
	}
	if fixes&fixNobody != 0 {
		clear(p[8:24])
	}
	if fixes&fixSolicitation != 0 {
		p[40] = ns
	}
	if fixes&fixAdvertisement != 0 {
		p[40] = na
	}
	if fixes&fixChecksum != 0 {
		fix(p)
	}
}

// read is the checks of RFC 4861, 7.1.1 and 7.1.2, with the first link-layer address and the first nonce of the options.
func read(p []byte) (lla, nonce []byte, ok bool) {
	if len(p) < 64 || p[0]>>4 != 6 || p[6] != 58 || p[7] != 255 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(p[4:]))
	if n < 24 || 40+n > len(p) || sum(p[:40+n]) != 0xffff || p[40] != ns && p[40] != na || p[41] != 0 {
		return nil, nil, false
	}
	mapped := append(make([]byte, 10), 0xff, 0xff)
	if p[48] == 0xff || p[8] == 0xff || p[40] == na && p[44]&flagS != 0 && p[24] == 0xff || bytes.HasPrefix(p[48:], mapped) {
		return nil, nil, false
	}
	told := false
	for o := p[64 : 40+n]; len(o) > 1; o = o[8*int(o[1]):] {
		if o[1] == 0 {
			return nil, nil, false
		}
		if 8*int(o[1]) > len(o) {
			break
		}
		value := o[2 : 8*int(o[1])]
		switch {
		case o[0] == 1 && p[40] == ns, o[0] == 2 && p[40] == na:
			told = true
			if lla == nil && len(value) == 6 && value[0]&1 == 0 && !bytes.Equal(value, make([]byte, 6)) {
				lla = value
			}
		case o[0] == 14 && nonce == nil:
			nonce = value
		}
	}
	if p[40] == ns && bytes.Equal(p[8:24], make([]byte, 16)) {
		group := append(append([]byte{0xff, 2}, make([]byte, 9)...), 1, 0xff)
		if told || !bytes.Equal(p[24:37], group) {
			return nil, nil, false
		}
	}
	return lla, nonce, true
}
