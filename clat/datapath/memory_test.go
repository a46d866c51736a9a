package datapath

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/frame"
	"uclat/clat/siit"
)

const protoICMPv6 = 58

// frames are packets as a device hands them over.
func frames(packets ...[]byte) (fs []*frame.Frame) {
	for _, p := range packets {
		f := new(frame.Frame)
		f.Wrap(append(append(make([]byte, frame.Headroom), p...), make([]byte, frame.Tailroom)...), frame.Headroom, len(p))
		fs = append(fs, f)
	}
	return fs
}

// process gives packets to w in one batch, and returns what comes out.
func process(t *testing.T, w *Worker, packets ...[]byte) (out [][]byte) {
	t.Helper()
	for in := frames(packets...); len(in) > 0; {
		n, v6, v4 := w.Process(in, nil, nil)
		for _, f := range append(v6, v4...) {
			out = append(out, bytes.Clone(f.Bytes()))
		}
		in = in[n:]
		w.Done()
	}
	return out
}

// echo4 is an ICMP echo of the host with n octets of data, DF clear, in fragments of at most size octets of payload.
func echo4(n, size int, id byte) (all [][]byte) {
	m := make([]byte, 8+n)
	m[0] = 8
	for i := range n {
		m[8+i] = byte(i * 7)
	}
	binary.BigEndian.PutUint16(m[2:], ^checksum.Sum(m))
	for at := 0; at < len(m); at += size {
		part := m[at:min(at+size, len(m))]
		p := append(udp4(28, 64, false)[:20], part...)
		p[5], p[9] = id, 1
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
		flags := uint16(at / 8)
		if at+size < len(m) {
			flags |= 0x2000
		}
		binary.BigEndian.PutUint16(p[6:], flags)
		p[10], p[11] = 0, 0
		binary.BigEndian.PutUint16(p[10:], ^checksum.Sum(p[:20]))
		all = append(all, p)
	}
	return all
}

// tooBig6 is a Packet Too Big of a router about a UDP packet of the host, length octets long, to the peer.
func tooBig6(mtu uint32, length int, router string) []byte {
	quote := udp6(100)
	copy(quote[8:], addr(host6))
	copy(quote[24:], addr(peer6))
	binary.BigEndian.PutUint16(quote[4:], uint16(length-40))
	p := make([]byte, 48, 48+len(quote))
	p[0], p[6], p[7] = 0x60, protoICMPv6, 64
	copy(p[8:], addr(netip.MustParseAddr(router)))
	copy(p[24:], addr(host6))
	p[40] = 2
	binary.BigEndian.PutUint32(p[44:], mtu)
	p = append(p, quote...)
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	src, dst := [16]byte(p[8:24]), [16]byte(p[24:40])
	binary.BigEndian.PutUint16(p[42:], ^checksum.Add(checksum.Sum(p[40:]), checksum.Pseudo6(&src, &dst, uint32(len(p)-40), protoICMPv6)))
	return p
}

func addr(a netip.Addr) []byte { return a.AsSlice() }

func reassembling(o *siit.Options) { o.Reassemble = true }

func TestFragmentedICMP(t *testing.T) {
	e := New(translator(t, "64:ff9b::/96", reassembling))
	w := e.NewWorker()
	parts := echo4(4000, 1480, 1)
	if out := process(t, w, parts[0], parts[2]); len(out) != 0 {
		t.Fatalf("%d packets before all is there", len(out))
	}
	out := process(t, w, parts[1])
	var whole []byte
	for _, p := range out {
		if p[6] != 44 || p[40] != protoICMPv6 || len(p) > 1280 {
			t.Fatalf("% x", p[:48])
		}
		whole = append(whole, p[48:]...)
	}
	src, dst := [16]byte(addr(host6)), [16]byte(addr(peer6))
	if sum := checksum.Add(checksum.Sum(whole), checksum.Pseudo6(&src, &dst, uint32(len(whole)), protoICMPv6)); len(whole) != 4008 || sum != 0xffff {
		t.Errorf("%d octets with sum %#x", len(whole), sum)
	}
	want := clat.Totals{Packets: [2]uint64{1}, Bytes: [2]uint64{4028}}
	if c := e.Counters(); c != want {
		t.Errorf("counters %+v, want %+v", c, want)
	}
}

// Several wholes of one batch do not share memory.
func TestFragmentedICMPInOneBatch(t *testing.T) {
	w := New(translator(t, "64:ff9b::/96", reassembling)).NewWorker()
	var in [][]byte
	for id := range byte(50) {
		in = append(in, echo4(1000+int(id), 504, id)...)
	}
	out := process(t, w, in...)
	if len(out) != 50 {
		t.Fatalf("%d packets, want 50", len(out))
	}
	src, dst := [16]byte(addr(host6)), [16]byte(addr(peer6))
	for i, p := range out {
		n := uint32(len(p) - 40)
		if sum := checksum.Add(checksum.Sum(p[40:]), checksum.Pseudo6(&src, &dst, n, protoICMPv6)); n != uint32(1008+i) || sum != 0xffff {
			t.Errorf("packet %d: %d octets with sum %#x", i, n, sum)
		}
	}
}

// RFC 8200, 4.5: what does not become whole in a minute is given up, and counted.
func TestFragmentsAreGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		e := New(translator(t, "64:ff9b::/96", reassembling))
		stop := start(t, e, Lane{In: q, V6: q, V4: q})
		parts := echo4(4000, 1480, 1)
		q.in <- parts[0]
		q.in <- parts[1]
		time.Sleep(59 * time.Second)
		if c := e.Counters(); c != (clat.Totals{}) {
			t.Errorf("after 59 s: %+v", c)
		}
		time.Sleep(expiry + time.Second)
		want := clat.Totals{}
		want.Drops[clat.To6][clat.DropFragmentTimeout] = 2
		if c := e.Counters(); c != want {
			t.Errorf("after a minute: %+v", c)
		}
		q.in <- parts[2]
		synctest.Wait()
		if len(q.out) != 0 {
			t.Error("it became whole after all")
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// RFC 8201, 4: what a Packet Too Big says holds for ten minutes, with and without DF, and for that destination only.
func TestPathMTU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		e := New(translator(t, "64:ff9b::/96", func(o *siit.Options) {
			o.LowestMTU6, o.UnmappedSource = o.MTU6, netip.MustParseAddr("192.0.0.8")
		}))
		stop := start(t, e, Lane{In: q, V6: q, V4: q})
		send := func(p []byte) [][]byte {
			q.mu.Lock()
			q.out = nil
			q.mu.Unlock()
			q.in <- p
			synctest.Wait()
			return q.out
		}
		whole := func(when string) {
			t.Helper()
			if out := send(udp4(1480, 64, false)); len(out) != 1 || len(out[0]) != 1500 {
				t.Errorf("%s: %d packets of %d octets", when, len(out), len(out[0]))
			}
		}
		narrow := func(when string) {
			t.Helper()
			for _, p := range send(udp4(1480, 64, false)) {
				if len(p) > 1400 || p[6] != 44 {
					t.Errorf("%s: %d octets", when, len(p))
				}
			}
			out := send(udp4(1480, 64, true))
			if len(out) != 1 || out[0][20] != 3 || out[0][21] != 4 || binary.BigEndian.Uint16(out[0][26:]) != 1380 {
				t.Errorf("%s, with DF: % .64x", when, out)
			}
		}
		whole("at first")
		send(tooBig6(1400, 1400, "2001:db8:ffff::1")) // about a packet that fits
		whole("after a Packet Too Big about a packet that was not")
		send(tooBig6(1400, 1500, "2001:db8:ffff::1"))
		narrow("after a Packet Too Big")
		time.Sleep(9 * time.Minute)
		narrow("nine minutes later")
		time.Sleep(time.Minute + expiry)
		whole("ten minutes later")
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	})
}

// A device that takes less than was thought is a path that does: the sender is told, and the next packet is known to be too big.
func TestRefusedAsTooBig(t *testing.T) {
	q := newQueue()
	q.refuse = func(p []byte) error {
		if p[0]>>4 == 6 && len(p) > 1400 {
			return clat.TooBig{MTU: 1400}
		}
		return nil
	}
	e := New(translator(t, "64:ff9b::/96"))
	stop := start(t, e, Lane{In: q, V6: q, V4: q})
	for range 2 {
		q.in <- udp4(1480, 64, true)
		<-q.wrote
	}
	q.in <- udp4(1380, 64, true)
	<-q.wrote
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, p := range q.out[:2] {
		if p[20] != 3 || p[21] != 4 || binary.BigEndian.Uint16(p[26:]) != 1380 || !bytes.Equal(p[12:16], []byte{100, 64, 46, 5}) {
			t.Errorf("% x", p)
		}
	}
	if n := len(q.out[2]); n != 1400 {
		t.Errorf("the packet that fits has %d octets", n)
	}
	want := clat.Totals{Packets: [2]uint64{2}, Bytes: [2]uint64{1480 + 1380}, Replies: [2]uint64{2}} // the first was translated
	want.Drops[clat.To6][clat.DropTooBig] = 2
	if c := e.Counters(); c != want {
		t.Errorf("counters %+v, want %+v", c, want)
	}
	var tooBig clat.TooBig
	if err := error(clat.TooBig{MTU: 1400}); !errors.As(err, &tooBig) || tooBig.MTU != 1400 {
		t.Error("not found by errors.As")
	}
}

// What goes back to an IPv6 host that sent to the IPv4 address of another, leaves by the IPv6 side.
func TestRefusedHairpin(t *testing.T) {
	in, v6, v4 := newQueue(), newQueue(), newQueue()
	v6.refuse = func(p []byte) error {
		if len(p) > 1400 {
			return clat.TooBig{MTU: 1400}
		}
		return nil
	}
	stop := start(t, New(hairpinTranslator(t)), Lane{In: in, V6: v6, V4: v4})
	p := udp6(1460)
	copy(p[8:], addr(host6))
	copy(p[24:], addr(peer6))
	in.in <- p
	<-v6.wrote
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if len(v4.out) != 0 || len(v6.out) != 1 || v6.out[0][40] != 2 || !bytes.Equal(v6.out[0][24:40], addr(host6)) {
		t.Errorf("to IPv4 %.64x, to IPv6 %.64x", v4.out, v6.out)
	}
}

func TestFragmentsAllocateNothing(t *testing.T) {
	w := New(translator(t, "64:ff9b::/96", reassembling)).NewWorker()
	parts := echo4(4000, 1480, 1)
	fs := frames(parts...)
	v6, v4 := make([]*frame.Frame, 0, 8), make([]*frame.Frame, 0, 8)
	if n := testing.AllocsPerRun(1000, func() {
		for i, p := range parts {
			buf := fs[i].WithRoom(frame.Headroom)
			copy(buf[frame.Headroom:], p)
		}
		_, v6, v4 = w.Process(fs, v6[:0], v4[:0])
		w.Done()
	}); n != 0 || len(v6) != 4 {
		t.Errorf("%v allocations a batch, %d packets", n, len(v6))
	}
}

// Whoever provokes other errors does not keep those from being sent that path MTU discovery needs (RFC 4443, 2.4 (f); RFC 8201, 3).
func TestTooBigHasItsOwnBudget(t *testing.T) {
	e := New(translator(t, "64:ff9b::/96"))
	w := e.NewWorker()
	for range 1000 {
		process(t, w, udp4(100, 1, true))
	}
	if n := e.Counters().Replies[clat.To6]; n < errorBurst || n > errorBurst+3*errorsPerSecond {
		t.Fatalf("%d errors for 1000 packets with TTL 1", n)
	}
	for i := range 50 {
		process(t, w, udp4(100, 1, true))
		if out := process(t, w, udp4(1481, 64, true)); len(out) != 1 || out[0][20] != 3 || out[0][21] != 4 {
			t.Fatalf("packet %d that is too big: %d answers", i, len(out))
		}
	}
	for range 1000 {
		process(t, w, udp4(1481, 64, true))
	}
	if n := e.Counters().Replies[clat.To6]; n > 2*(errorBurst+3*errorsPerSecond) {
		t.Errorf("%d errors in all", n)
	}
}
