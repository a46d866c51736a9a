package datapath

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/eam"
	"uclat/clat/frame"
	"uclat/clat/inbound"
	"uclat/clat/pref64"
	"uclat/clat/siit"
)

// from6 is a datagram of the peer to a port of the host, and from4 one of the host from there.
func from6(port uint16, n int) []byte {
	p := udp6(8 + n)
	binary.BigEndian.PutUint16(p[42:], port)
	binary.BigEndian.PutUint16(p[44:], uint16(8+n))
	return p
}

func from4(port uint16) []byte {
	p := udp4(100, 64, true)
	binary.BigEndian.PutUint16(p[20:], port)
	return p
}

// tcp6 is a segment of the peer without data.
func tcp6(flags byte) []byte {
	p := append(six(6), make([]byte, 20)...)
	p[5], p[52], p[53] = 20, 5<<4, flags
	return p
}

// icmp6 is an ICMPv6 message of the peer to the host.
func icmp6(message ...byte) []byte {
	p := six(protoICMPv6, message)
	src, dst := [16]byte(p[8:24]), [16]byte(p[24:40])
	binary.BigEndian.PutUint16(p[42:], ^checksum.Add(checksum.Sum(p[40:]), checksum.Pseudo6(&src, &dst, uint32(len(message)), protoICMPv6)))
	return p
}

// readdressed is an IPv4 packet with another destination.
func readdressed(p []byte, dst string) []byte {
	copy(p[16:], addr(netip.MustParseAddr(dst)))
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], ^checksum.Sum(p[:20]))
	return p
}

func TestInbound(t *testing.T) {
	const syn, ack = 2, 16
	narrow := func(o *siit.Options) {
		o.MTU4, o.Reassemble, o.UnmappedSource = 576, true, netip.MustParseAddr("192.0.0.8")
	}
	ping, pong := make([]byte, 1208), make([]byte, 1208)
	ping[0], pong[0] = 128, 129
	ttl1 := udp4(100, 1, true)
	binary.BigEndian.PutUint16(ttl1[20:], 5000)
	for _, c := range []struct {
		name string
		sent []byte // by the host; nil: nothing
		p    []byte
		out  int             // packets that come out
		drop clat.DropReason // otherwise
	}{
		{"SYN", nil, tcp6(syn), 0, clat.DropInbound},
		{"SYN and ACK", nil, tcp6(syn | ack), 1, clat.DropNone},
		{"UDP", from4(5000), from6(5000, 30), 1, clat.DropNone},
		{"UDP to another port", from4(5000), from6(5001, 30), 0, clat.DropInbound},
		{"UDP that becomes fragments", from4(5000), from6(5000, 1200), 3, clat.DropNone},
		{"UDP that becomes fragments, to another port", from4(5000), from6(5001, 1200), 0, clat.DropInbound},
		{"UDP after what never left, to a group", readdressed(from4(5353), "224.0.0.251"), from6(5353, 30), 0, clat.DropInbound},
		{"UDP after what never left, with TTL 1", ttl1, from6(5000, 30), 0, clat.DropInbound},
		{"echo", nil, icmp6(128, 0, 0, 0, 0, 1, 0, 1), 0, clat.DropInbound},
		{"echo reply", nil, icmp6(129, 0, 0, 0, 0, 1, 0, 1), 1, clat.DropNone},
		{"echo that becomes fragments", nil, icmp6(ping...), 0, clat.DropInbound},
		{"echo reply that becomes fragments", nil, icmp6(pong...), 3, clat.DropNone},
		{"Packet Too Big of a router", nil, tooBig6(1400, 1500, "2001:db8:ffff::1"), 1, clat.DropNone},
		{"SCTP", nil, six(132, make([]byte, 12)), 0, clat.DropInbound},
		{"what is refused before", nil, six(17, zeroUDP), 0, clat.DropZeroChecksum},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := New(translator(t, "64:ff9b::/96", narrow))
			e.SetInbound(inbound.New())
			w := e.NewWorker()
			if c.sent != nil {
				process(t, w, c.sent)
			}
			before := e.Counters()
			out := process(t, w, c.p)
			after := e.Counters()
			want := before
			if c.drop != clat.DropNone {
				want.Drops[clat.To4][c.drop]++
			} else {
				want.Packets[clat.To4]++
				want.Bytes[clat.To4] += uint64(len(c.p))
			}
			if len(out) != c.out || after != want {
				t.Errorf("%d packets came out, want %d\n%+v, want\n%+v", len(out), c.out, after, want)
			}
			e.SetInbound(nil)
			if n := len(process(t, w, c.p)); c.drop == clat.DropInbound && n == 0 {
				t.Error("refused without a filter")
			}
		})
	}
}

// In one batch, each packet opens what it opens itself.
func TestInboundBatch(t *testing.T) {
	e := New(translator(t, "64:ff9b::/96"))
	e.SetInbound(inbound.New())
	out := process(t, e.NewWorker(), from6(5001, 0), from4(5000), from6(5000, 0), from4(5001), from4(5002), from6(5001, 0), tcp6(2), from6(5002, 0))
	want := clat.Totals{Packets: [2]uint64{3, 3}, Bytes: [2]uint64{300, 3 * 48}}
	want.Drops[clat.To4][clat.DropInbound] = 2
	if c := e.Counters(); c != want || len(out) != 6 {
		t.Errorf("%d packets, %+v\nwant %+v", len(out), c, want)
	}
}

// An echo in fragments is refused as one that came whole.
func TestInboundFragments(t *testing.T) {
	e := New(translator(t, "64:ff9b::/96", reassembling))
	e.SetInbound(inbound.New())
	m := make([]byte, 2008)
	for _, c := range []struct {
		typ  byte
		want int
	}{{128, 0}, {129, 1}} {
		m[0] = c.typ
		p := icmp6(m...)
		first := six(44, fragment(protoICMPv6, 1), p[40:40+1000])
		rest := six(44, fragment(protoICMPv6, 1000), p[40+1000:])
		out := process(t, e.NewWorker(), first, rest)
		if wholes := len(out); c.want == 0 && wholes != 0 || c.want != 0 && wholes == 0 {
			t.Errorf("type %d: %d packets", c.typ, wholes)
		}
	}
	want := clat.Totals{Packets: [2]uint64{0, 1}, Bytes: [2]uint64{0, 40 + 8 + 2008}}
	want.Drops[clat.To4][clat.DropInbound] = 1
	if c := e.Counters(); c != want {
		t.Errorf("%+v\nwant %+v", c, want)
	}
}

// What goes back to another IPv6 host does not come in.
func TestInboundHairpin(t *testing.T) {
	e := New(hairpinTranslator(t))
	e.SetInbound(inbound.New())
	p := udp6(100)
	copy(p[8:], addr(host6))
	copy(p[24:], addr(peer6))
	if out := process(t, e.NewWorker(), p); len(out) != 1 || out[0][0]>>4 != 6 {
		t.Errorf("%d packets, counters %+v", len(out), e.Counters())
	}
}

// RFC 4787, 4.3: a running engine closes a port five to ten minutes after the last packet from there.
func TestInboundTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		e := New(translator(t, "64:ff9b::/96"))
		e.SetInbound(inbound.New())
		stop := start(t, e, Lane{In: q, V6: q, V4: q})
		send := func(p []byte) int {
			q.mu.Lock()
			q.out = nil
			q.mu.Unlock()
			q.in <- p
			synctest.Wait()
			return len(q.out)
		}
		send(from4(4000)) // right after the engine began
		time.Sleep(4*time.Minute + 59*time.Second)
		send(from4(5000)) // right before it turns
		for range 2 {     // what comes in does not keep it open
			time.Sleep(2*time.Minute + 29*time.Second)
			if send(from6(5000, 0)) != 1 {
				t.Error("closed in the first five minutes")
			}
		}
		if send(from6(4000, 0)) != 1 {
			t.Error("closed after less than ten minutes, though it was forgotten once only")
		}
		time.Sleep(2*time.Minute + 32*time.Second)
		if send(from6(5000, 0)) != 0 {
			t.Error("open after it was forgotten twice")
		}
		e.SetInbound(nil)
		time.Sleep(15 * time.Minute)
		if send(from6(5000, 0)) != 1 {
			t.Error("closed without a filter")
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A filter comes, goes and is shared while workers run.
func TestInboundConcurrent(t *testing.T) {
	e := New(translator(t, "64:ff9b::/96"))
	e.SetInbound(inbound.New())
	var all sync.WaitGroup
	for i := range 3 {
		all.Go(func() {
			w := e.NewWorker()
			for n := range 2000 {
				port := uint16(n*3 + i)
				w.Process(frames(from4(port), from6(port, 0)), nil, nil)
				w.Done()
			}
		})
	}
	for range 100 {
		e.SetInbound(nil)
		e.SetInbound(inbound.New())
		e.Health(ours)
	}
	all.Wait()
	c := e.Counters()
	if got := c.Packets[clat.To4] + c.Drops[clat.To4][clat.DropInbound]; c.Packets[clat.To6] != 6000 || got != 6000 {
		t.Errorf("%+v", c)
	}
}

// RFC 3704, 2.2: what comes from an address that the host would look for elsewhere is forged, also an ICMP error, but not what that is about.
func TestLocalSource(t *testing.T) {
	m, err := eam.New(eam.Spec{
		Ours:      []eam.Mapping{{IPv4: netip.PrefixFrom(host4, 32), IPv6: netip.PrefixFrom(host6, 128)}},
		PREF64:    []pref64.Prefix{pref64.WellKnown},
		Elsewhere: []netip.Prefix{netip.PrefixFrom(peer4, 24).Masked()},
	})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := siit.New(m, siit.Options{MTU6: 1500, MTU4: 1500, LowestMTU6: 1280, UnmappedSource: netip.MustParseAddr("192.0.0.8")})
	if err != nil {
		t.Fatal(err)
	}
	e := New(tr)
	w := e.NewWorker()
	for _, p := range [][]byte{from6(5000, 10), tcp6(16), icmp6(129, 0, 0, 0, 0, 1, 0, 1), tooBig6(1400, 1500, peer6.String())} {
		if out := process(t, w, p); len(out) != 0 {
			t.Errorf("% x\nbecame % x", p, out)
		}
	}
	if got := e.Counters().Drops[clat.To4][clat.DropLocalSource]; got != 4 {
		t.Errorf("%d dropped, want 4", got)
	}
	for _, router := range []string{"2001:db8:ffff::1", "64:ff9b::192.0.2.1"} {
		if out := process(t, w, tooBig6(1400, 1500, router)); len(out) != 1 {
			t.Errorf("an error of %s about a packet to there: %d packets", router, len(out))
		}
	}
}

func TestInboundAllocatesNothing(t *testing.T) {
	e := New(translator(t, "64:ff9b::/96"))
	e.SetInbound(inbound.New())
	w := e.NewWorker()
	fs := []*frame.Frame{new(frame.Frame)}
	v6, v4 := make([]*frame.Frame, 0, 8), make([]*frame.Frame, 0, 8)
	buf := make([]byte, frame.BufLen)
	for _, p := range [][]byte{from4(5000), from6(5000, 10), from6(5001, 10), tcp6(2)} {
		if n := testing.AllocsPerRun(1000, func() {
			copy(buf[frame.Headroom:], p)
			fs[0].Wrap(buf, frame.Headroom, len(p))
			_, v6, v4 = w.Process(fs, v6[:0], v4[:0])
			w.Done()
			e.Health(ours)
		}); n != 0 {
			t.Errorf("%v allocations for % x", n, p)
		}
	}
}
