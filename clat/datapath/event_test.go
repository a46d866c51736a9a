package datapath

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/frame"
	"uclat/clat/siit"

	"golang.org/x/time/rate"
)

// dropZeroUDP4 is translate.udp-zero-checksum = "drop"; the rest is what changes packets early, and must not change those.
func dropZeroUDP4(o *siit.Options) {
	o.DropZeroUDP4, o.SetTOS, o.ClampMSS, o.Prohibited6 = true, true, true, true
}

// zero4 is a UDP datagram of the host, from port 5000 to port 53, without a checksum. word is flags and offset, options come in octets.
func zero4(word uint16, options int) []byte {
	p := slices.Concat(udp4(28, 64, false)[:20], make([]byte, options), []byte{0x13, 0x88, 0, 53, 0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8})
	p[0] += byte(options / 4)
	p[3], p[10], p[11] = byte(len(p)), 0, 0
	binary.BigEndian.PutUint16(p[6:], word)
	binary.BigEndian.PutUint16(p[10:], ^checksum.Sum(p[:20+options]))
	return p
}

// six is an IPv6 packet of the peer: next says what rest begins with.
func six(next byte, rest ...[]byte) []byte {
	p := slices.Concat(udp6(8)[:40], slices.Concat(rest...))
	p[6] = next
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	return p
}

// fragment is a Fragment Header; word is offset and the more-fragments flag.
func fragment(next byte, word uint16) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16([]byte{next, 0}, word), 0x12345)
}

// options are Hop-by-Hop or Destination Options of 8 octets that do nothing.
func options(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }

var zeroUDP = []byte{0, 53, 0x13, 0x88, 0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8}

func toFrame(p []byte) *frame.Frame {
	buf := make([]byte, frame.Headroom+len(p)+frame.Tailroom)
	copy(buf[frame.Headroom:], p)
	f := new(frame.Frame)
	f.Wrap(buf, frame.Headroom, len(p))
	return f
}

func TestEvents(t *testing.T) {
	to6 := Event{Reason: clat.DropZeroChecksum, Direction: clat.To6, Proto: 17,
		Src: netip.AddrPortFrom(host4, 5000), Dst: netip.AddrPortFrom(peer4, 53)}
	to4 := Event{Reason: clat.DropZeroChecksum, Direction: clat.To4, Proto: 17,
		Src: netip.AddrPortFrom(peer6, 53), Dst: netip.AddrPortFrom(host6, 5000)}
	chained := func(proto uint8, fragment bool) *Event {
		return &Event{Reason: clat.DropExtension, Direction: clat.To4, Fragment: fragment, Proto: proto,
			Src: netip.AddrPortFrom(peer6, 0), Dst: netip.AddrPortFrom(host6, 0)}
	}
	inFragments := func(ev Event) *Event {
		ev.Fragment = true
		return &ev
	}
	for _, tt := range []struct {
		name    string
		packet  []byte
		padding int // octets behind the packet, which is cut
		reason  clat.DropReason
		want    *Event // nil: none
	}{
		{"RFC 7915, 4.5/UDP without a checksum", zero4(0, 0), 0, clat.DropZeroChecksum, &to6},
		{"RFC 7915, 4.5/with DF", zero4(0x4000, 0), 0, clat.DropZeroChecksum, &to6},
		{"RFC 7915, 4.5/behind options", zero4(0, 40), 0, clat.DropZeroChecksum, &to6},
		{"RFC 7915, 4.5/in front of padding", zero4(0, 0), 6, clat.DropZeroChecksum, &to6},
		{"RFC 7915, 4.5/in a first fragment", zero4(0x2000, 0), 0, clat.DropZeroChecksum, inFragments(to6)},
		{"RFC 7915, 4.5/in a first fragment with options", zero4(0x2000, 8), 0, clat.DropZeroChecksum, inFragments(to6)},

		{"UDP over IPv6 without a checksum", six(17, zeroUDP), 0, clat.DropZeroChecksum, &to4},
		{"in front of padding", six(17, zeroUDP), 6, clat.DropZeroChecksum, &to4},
		{"behind extension headers", six(0, options(60), options(17), zeroUDP), 0, clat.DropZeroChecksum, &to4},
		{"behind long extension headers", six(0, []byte{17, 2, 1, 20, 21: 0, 23: 0}, zeroUDP), 0, clat.DropZeroChecksum, &to4},
		{"in a first fragment", six(44, fragment(17, 1), zeroUDP), 0, clat.DropZeroChecksum, inFragments(to4)},
		{"in an atomic fragment", six(44, fragment(17, 0), zeroUDP), 0, clat.DropZeroChecksum, &to4},

		{"RFC 7915, 5.1.1/destination options behind a fragment header", six(44, fragment(60, 1), options(17), zeroUDP), 0, clat.DropExtension,
			chained(60, true)},
		{"RFC 7915, 5.1.1/in a later fragment", six(44, fragment(60, 8), zeroUDP), 0, clat.DropExtension, chained(60, true)},
		{"RFC 7915, 5.1.1/in an atomic fragment", six(44, fragment(43, 0), options(17), zeroUDP), 0, clat.DropExtension, chained(43, false)},
		{"RFC 7915, 5.1.1/the reserved bits are no offset", six(44, fragment(43, 6), options(17), zeroUDP), 0, clat.DropExtension, chained(43, false)},
		{"RFC 7915, 5.1.1/behind others", six(0, options(60), options(44), fragment(51, 1), zeroUDP), 0, clat.DropExtension, chained(51, true)},
		{"RFC 7915, 5.1.1/a second fragment header", six(44, fragment(44, 1), fragment(17, 1), zeroUDP), 6, clat.DropExtension, chained(44, true)},

		{"extension headers that are cut", six(60, options(17)[:7]), 0, clat.DropExtension, nil},
		{"that reach out of the packet", six(60, []byte{17, 255, 1, 4, 7: 0}, zeroUDP), 0, clat.DropExtension, nil},
		{"whose rest is padding", six(60, options(44)), 16, clat.DropExtension, nil},
		{"a fragment header that is cut", six(44, fragment(60, 1)[:7]), 0, clat.DropExtension, nil},
		{"too many of them", six(60, slices.Concat(bytes.Repeat(options(60), 7), options(44)), fragment(60, 1)), 0, clat.DropExtension, nil},
		{"as many as there may be", six(60, slices.Concat(bytes.Repeat(options(60), 6), options(44)), fragment(60, 1)), 0, clat.DropExtension,
			chained(60, true)},
		{"as many as there may be, and UDP", six(60, slices.Concat(bytes.Repeat(options(60), 7), options(17)), zeroUDP), 0, clat.DropZeroChecksum, &to4},
		{"what is dropped for something else", six(44, fragment(17, 9), zeroUDP[:15]), 0, clat.DropFragment, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := New(translator(t, "64:ff9b::/96", dropZeroUDP4))
			var got []Event
			e.OnEvent = func(ev Event) { got = append(got, ev) }
			f := toFrame(append(slices.Clone(tt.packet), make([]byte, tt.padding)...))
			w := e.NewWorker()
			if n, v6, v4 := w.Process([]*frame.Frame{f}, nil, nil); n != 1 || len(v6)+len(v4) != 0 {
				t.Fatalf("%d taken, %d and %d came out", n, len(v6), len(v4))
			}
			d := clat.To6
			if tt.packet[0]>>4 == 6 {
				d = clat.To4
			}
			if c := e.Counters(); c.Drops[d][tt.reason] != 1 {
				t.Errorf("dropped for another reason than %v: %v", tt.reason, c.Drops[d])
			}
			var want []Event
			if tt.want != nil {
				want = []Event{*tt.want}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
			if !bytes.HasPrefix(f.Bytes(), tt.packet) {
				t.Errorf("the packet is not as it came any more:\ngot  % x\nwant % x", f.Bytes(), tt.packet)
			}
		})
	}
}

func TestNobodyIsTold(t *testing.T) {
	e := New(translator(t, "64:ff9b::/96", dropZeroUDP4))
	e.NewWorker().Process([]*frame.Frame{toFrame(zero4(0, 0))}, nil, nil)
	if got := e.Counters().Drops[clat.To6][clat.DropZeroChecksum]; got != 1 {
		t.Errorf("%d drops, want 1", got)
	}
}

// Whatever arrives, on however many queues, a few events a second say it.
func TestEventsAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := New(translator(t, "64:ff9b::/96", dropZeroUDP4))
		events := 0
		e.OnEvent = func(Event) { events++ }
		workers := []*Worker{e.NewWorker(), e.NewWorker()}
		flood := func() {
			for range 1000 {
				for _, w := range workers {
					w.Process([]*frame.Frame{toFrame(zero4(0, 0)), toFrame(six(44, fragment(60, 1), options(17)))}, nil, nil)
				}
			}
		}
		flood()
		if events != eventBurst {
			t.Errorf("%d events at once, want %d", events, eventBurst)
		}
		for range 10 {
			time.Sleep(time.Second)
			flood()
		}
		if want := eventBurst + 10*eventsPerSecond; events != want {
			t.Errorf("%d events in ten seconds, want %d", events, want)
		}
		// What is no event takes nothing from the others.
		time.Sleep(time.Minute)
		events = 0
		for range 1000 {
			workers[0].Process([]*frame.Frame{toFrame(six(60, options(17)[:7]))}, nil, nil)
		}
		flood()
		if events != eventBurst {
			t.Errorf("%d events, want %d", events, eventBurst)
		}
		c := e.Counters()
		if got := c.Drops[clat.To6][clat.DropZeroChecksum]; got != 12*2000 {
			t.Errorf("%d drops counted, want %d", got, 12*2000)
		}
	})
}

// Neither a packet that passes nor a flood of those that do not allocates anything, events included.
func TestEventsAllocateNothing(t *testing.T) {
	e := New(translator(t, "64:ff9b::/96", dropZeroUDP4))
	e.events = rate.NewLimiter(rate.Inf, 0)
	events := 0
	e.OnEvent = func(ev Event) {
		if ev.Src.IsValid() {
			events++
		}
	}
	w := e.NewWorker()
	fs := []*frame.Frame{new(frame.Frame)}
	v6, v4 := make([]*frame.Frame, 0, 8), make([]*frame.Frame, 0, 8)
	buf := make([]byte, frame.BufLen)
	for _, p := range [][]byte{udp4(100, 64, true), udp6(80), zero4(0, 0), six(17, zeroUDP), six(0, options(44), fragment(60, 1), zeroUDP)} {
		if n := testing.AllocsPerRun(1000, func() {
			copy(buf[frame.Headroom:], p)
			fs[0].Wrap(buf, frame.Headroom, len(p))
			_, v6, v4 = w.Process(fs, v6[:0], v4[:0])
			w.Done()
		}); n != 0 {
			t.Errorf("%v allocations for % x", n, p)
		}
	}
	if events < 3000 {
		t.Errorf("%d events", events)
	}
}

// FuzzEvents holds every event to the packet that it is about, and the packet to how it came.
func FuzzEvents(f *testing.F) {
	e := New(translator(f, "64:ff9b::/96", dropZeroUDP4))
	e.events = rate.NewLimiter(rate.Inf, 0)
	var ev *Event
	e.OnEvent = func(got Event) { ev = &got }
	w := e.NewWorker()
	for _, p := range [][]byte{
		zero4(0, 0), zero4(0x2000, 40), six(17, zeroUDP), six(44, fragment(17, 1), zeroUDP), six(0, options(60), options(44), fragment(51, 1)),
		six(60, slices.Concat(bytes.Repeat(options(60), 7), options(44)), fragment(60, 1)), six(60, options(17)[:7]), udp4(100, 64, true), udp6(80),
	} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > frame.MaxLen {
			return
		}
		// Whoever read the packet, it is safe to read it again.
		for d := range clat.NumDirections {
			newEvent(clat.DropZeroChecksum, d, p)
			newEvent(clat.DropExtension, d, p)
		}
		ev = nil
		before := e.Counters()
		in := toFrame(p)
		w.Process([]*frame.Frame{in}, nil, nil)
		w.Done()
		after := e.Counters()
		for d := range clat.NumDirections {
			zero := after.Drops[d][clat.DropZeroChecksum] - before.Drops[d][clat.DropZeroChecksum]
			if zero > 0 && ev == nil {
				t.Errorf("no event for UDP without a checksum: % x", p)
			}
			if ev != nil && ev.Direction == d && after.Drops[d][ev.Reason] != before.Drops[d][ev.Reason]+1 {
				t.Errorf("an event for what was not dropped: %+v: % x", *ev, p)
			}
		}
		if ev == nil {
			return
		}
		if !bytes.HasPrefix(p, in.Bytes()) {
			t.Errorf("the packet is not as it came:\ngot  % x\nwant % x", in.Bytes(), p)
		}
		src, dst := p[12:16], p[16:20]
		if ev.Direction == clat.To4 {
			src, dst = p[8:24], p[24:40]
		}
		if !bytes.Equal(ev.Src.Addr().AsSlice(), src) || !bytes.Equal(ev.Dst.Addr().AsSlice(), dst) {
			t.Errorf("%v to %v: % x", ev.Src, ev.Dst, p)
		}
		if ev.Reason != clat.DropZeroChecksum {
			if ev.Reason != clat.DropExtension || ev.Direction != clat.To4 || ev.Src.Port() != 0 || ev.Dst.Port() != 0 {
				t.Errorf("%+v: % x", *ev, p)
			}
			return
		}
		// UDP headers are where the ports are followed by a length and by no checksum.
		udp := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, ev.Src.Port()), ev.Dst.Port())
		found := false
		for at := 20; at+8 <= len(p); at += 4 {
			found = found || bytes.Equal(p[at:at+4], udp) && p[at+6] == 0 && p[at+7] == 0
		}
		if !found || ev.Proto != 17 {
			t.Errorf("%+v: % x", *ev, p)
		}
	})
}
