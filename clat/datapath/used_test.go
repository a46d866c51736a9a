package datapath

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"

	"uclat/clat/checksum"
	"uclat/clat/eam"
	"uclat/clat/frame"
	"uclat/clat/inbound"
	"uclat/clat/pref64"
	"uclat/clat/siit"
)

// hosts is a translator for those IPv4 addresses, which have the IPv6 addresses 2001:db8:1:2::c1a7 and so on.
func hosts(t testing.TB, all ...string) *siit.Translator {
	t.Helper()
	s := eam.Spec{PREF64: []pref64.Prefix{pref64.WellKnown}}
	six := host6
	for _, a := range all {
		s.Ours = append(s.Ours, eam.Mapping{IPv4: netip.PrefixFrom(netip.MustParseAddr(a), 32), IPv6: netip.PrefixFrom(six, 128)})
		six = six.Next()
	}
	m, err := eam.New(s)
	if err != nil {
		t.Fatal(err)
	}
	tr, err := siit.New(m, siit.Options{MTU6: 1500, MTU4: 1500, LowestMTU6: 1280, Self4: netip.MustParseAddr("100.64.46.5"), Reassemble: true})
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// by is an IPv4 packet with another source.
func by(p []byte, src string) []byte {
	copy(p[12:], addr(netip.MustParseAddr(src)))
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], ^checksum.Sum(p[:20]))
	return p
}

// toward is a datagram that came to the nth of hosts.
func toward(n int) []byte {
	p := udp6(80)
	p[39] += byte(n)
	return p
}

func TestUsed(t *testing.T) {
	fragments := echo4(4000, 1480, 1)
	short := udp4(28, 64, false)[:15]
	for _, c := range []struct {
		name string
		in   [][]byte
		want uint8
	}{
		{"nothing", nil, 0},
		{"out", [][]byte{udp4(100, 64, true)}, 1 << 4},
		{"in", [][]byte{toward(0)}, 1 << 4},
		{"out from another", [][]byte{by(udp4(100, 64, true), "100.64.46.6")}, 1 << 6},
		{"in to another", [][]byte{toward(2)}, 1 << 7},
		{"beyond the first eight", [][]byte{by(udp4(100, 64, true), "100.64.46.9"), toward(3)}, 1 << 1},
		{"the first and the last", [][]byte{by(udp4(100, 64, true), "100.64.46.0"), toward(2)}, 1<<0 | 1<<7},
		{"several", [][]byte{toward(1), udp4(100, 64, true), udp4(100, 64, true), toward(1)}, 1<<4 | 1<<6},
		{"an error, in", [][]byte{tooBig6(1400, 1500, peer6.String())}, 1 << 4},
		{"in fragments of ours", [][]byte{udp4(1480, 64, false)}, 1 << 4},
		{"not all fragments yet", fragments[:1], 0},
		{"all fragments", fragments, 1 << 4},
		{"dropped, out", [][]byte{by(udp4(100, 64, true), "100.64.46.1")}, 0},
		{"dropped, in", [][]byte{toward(9)}, 0},
		{"answered", [][]byte{udp4(100, 1, true)}, 0},
		{"no packet", [][]byte{{0x45}, {0x60}, {0x45, 19: 4}, short, {}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := New(hosts(t, "100.64.46.4", "100.64.46.6", "100.64.46.7", "100.64.46.9", "100.64.46.0"))
			w := e.NewWorker()
			process(t, w, c.in...)
			if got := e.Used(); got != c.want {
				t.Errorf("%08b, want %08b", got, c.want)
			}
			if got := e.Used(); got != 0 {
				t.Errorf("%08b once more", got)
			}
			process(t, w, c.in...)
			if got := e.Used(); got&c.want != c.want {
				t.Errorf("%08b the second time, want %08b", got, c.want)
			}
		})
	}
}

// What is not admitted, or sent back as IPv6, or an answer to a probe, is no use.
func TestNotUsed(t *testing.T) {
	t.Run("not admitted", func(t *testing.T) {
		e := New(translator(t, "64:ff9b::/96"))
		e.SetInbound(inbound.New())
		w := e.NewWorker()
		if out := process(t, w, from6(5000, 10)); len(out) != 0 || e.Used() != 0 {
			t.Errorf("%d packets, or use", len(out))
		}
		if out := process(t, w, from4(5000), from6(5000, 10)); len(out) != 2 || e.Used() != 1<<4 {
			t.Errorf("%d packets, or no use", len(out))
		}
	})
	t.Run("an answer to a probe", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			x := newTraffic(t)
			x.answers(0, icmp6(echoReply, 0, 0, 0))
			if got := x.e.Used(); got != 0 {
				t.Errorf("%08b", got)
			}
		})
	})
	t.Run("sent back as IPv6", func(t *testing.T) {
		e := New(hairpinTranslator(t))
		p := udp6(100)
		copy(p[8:], addr(host6))
		copy(p[24:], addr(peer6))
		if out := process(t, e.NewWorker(), p); len(out) != 1 || out[0][0]>>4 != 6 || e.Used() != 0 {
			t.Errorf("%d packets, or use", len(out))
		}
	})
}

func TestUsedOfAllWorkersAndAcrossSwap(t *testing.T) {
	e := New(hosts(t, "100.64.46.4", "100.64.46.6"))
	out, in := e.NewWorker(), e.NewWorker()
	process(t, out, udp4(100, 64, true))
	process(t, in, toward(1))
	e.Swap(hosts(t, "100.64.46.7", "100.64.46.6"))
	process(t, in, toward(0))
	e.Health(ours)
	if got := e.Used(); got != 1<<4|1<<6|1<<7 {
		t.Errorf("%08b", got)
	}
}

// No use is lost between workers and those who ask.
func TestUsedAtOnce(t *testing.T) {
	e := New(hosts(t, "100.64.46.4", "100.64.46.6", "100.64.46.7"))
	const rounds = 200
	for range rounds {
		var all sync.WaitGroup
		for i, src := range []string{"100.64.46.4", "100.64.46.6", "100.64.46.7"} {
			w := e.worker()
			all.Go(func() {
				w.Process(frames(by(udp4(100, 64, true), src), toward(i)), nil, nil)
				e.rest(w)
			})
		}
		got := e.Used()
		all.Wait()
		if got |= e.Used(); got != 1<<4|1<<6|1<<7 {
			t.Fatalf("%08b", got)
		}
	}
}

func TestUsedAllocatesNothing(t *testing.T) {
	e := New(hosts(t, "100.64.46.4", "100.64.46.6"))
	w := e.NewWorker()
	packets := [][]byte{by(udp4(100, 64, true), "100.64.46.6"), toward(1), udp4(100, 64, true), toward(0)}
	fs, bufs := make([]*frame.Frame, len(packets)), make([][]byte, len(packets))
	for i := range fs {
		fs[i], bufs[i] = new(frame.Frame), make([]byte, frame.Headroom+200+frame.Tailroom)
	}
	v6, v4 := make([]*frame.Frame, 0, 8), make([]*frame.Frame, 0, 8)
	if n := testing.AllocsPerRun(1000, func() {
		for i, p := range packets {
			copy(bufs[i][frame.Headroom:], p)
			fs[i].Wrap(bufs[i], frame.Headroom, len(p))
		}
		_, v6, v4 = w.Process(fs, v6[:0], v4[:0])
		w.Done()
		if e.Used() != 1<<4|1<<6 {
			t.Fatal("not used")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
