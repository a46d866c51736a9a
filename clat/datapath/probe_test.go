package datapath

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"uclat/clat"
	"uclat/clat/frame"
)

var hostToPeer = Probe{Source: host6, Target: peer6, HopLimit: 3, Addresses: ours}

func TestProbe(t *testing.T) {
	for _, c := range answers {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, q := New(translator(t, "64:ff9b::/96")), newQueue()
				w := e.NewWorker()
				got := probeBy(t, e, q, time.Minute)
				request := q.out[0]
				time.Sleep(3 * time.Second)
				process(t, w, udp4(100, 64, true), from6(5000, 10)) // what is beside it passes
				beside := e.Counters()
				out := process(t, w, c.make(slices.Clone(request)))
				synctest.Wait()
				if c.what == "" {
					if c := e.Counters(); len(got) != 0 || c == beside {
						t.Errorf("it was taken: %+v", c)
					}
					time.Sleep(time.Minute)
					if r := <-got; !errors.Is(r.err, context.DeadlineExceeded) || r.answer != (Answer{}) {
						t.Errorf("%+v", r)
					}
					return
				}
				if want := (Answer{c.from, c.what, 3 * time.Second}); len(got) != 1 {
					t.Error("no answer")
				} else if r := <-got; r.err != nil || r.answer != want {
					t.Errorf("%+v, want %+v", r, want)
				}
				if c := e.Counters(); len(out) != 0 || c != beside {
					t.Errorf("%d packets went on, counters %+v", len(out), c)
				}
			})
		})
	}
}

type result struct {
	answer Answer
	err    error
}

// probeBy begins a probe by q, in a bubble, and returns where it ends.
func probeBy(t *testing.T, e *Engine, q *queue, timeout time.Duration) chan result {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	got := make(chan result, 1)
	go func() {
		defer cancel()
		p := hostToPeer
		p.Port = q
		a, err := e.Probe(ctx, p)
		got <- result{a, err}
	}()
	synctest.Wait()
	return got
}

// For an answer that is late, or is another, nobody waits any more, and it goes nowhere else.
func TestLateAnswers(t *testing.T) {
	for _, c := range answers {
		if c.what == "" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e, q := New(translator(t, "64:ff9b::/96")), newQueue()
				w := e.NewWorker()
				silent, other := probeBy(t, e, q, 3*time.Second), probeBy(t, e, q, 3*time.Second)
				if len(q.out) != 2 {
					t.Fatalf("%d sent", len(q.out))
				}
				process(t, w, c.make(slices.Clone(q.out[1])))
				time.Sleep(3 * time.Second)
				synctest.Wait()
				if a, b := <-silent, <-other; (a.err == nil) == (b.err == nil) { // which of them was sent first is not known
					t.Errorf("%+v, %+v", a, b)
				}
				time.Sleep(late - 4*time.Second)
				for _, request := range q.out {
					p := c.make(slices.Clone(request))
					if out := process(t, w, p, p); len(out) != 0 || e.Counters() != (clat.Totals{}) {
						t.Errorf("%d packets went on, counters %+v", len(out), e.Counters())
					}
				}
				time.Sleep(4 * time.Second)
				if synctest.Wait(); e.probes.Load() != nil || len(e.awaited)+len(e.ended) != 0 {
					t.Errorf("%d and %d are known still", len(e.awaited), len(e.ended))
				}
				p := c.make(slices.Clone(q.out[0]))
				process(t, w, p)
				if e.Counters() == (clat.Totals{}) {
					t.Error("what came a minute later was taken")
				}
			})
		})
	}
}

// Of those that have ended, no more are known than that, and they leave others room.
func TestLateAnswersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, q := New(translator(t, "64:ff9b::/96")), newQueue()
		w := e.NewWorker()
		for range maxEnded + 3 {
			<-probeBy(t, e, q, time.Millisecond)
		}
		for range maxProbes {
			probeBy(t, e, q, late/2)
		}
		if n := len(*e.probes.Load()); n != maxEnded+maxProbes || len(q.out) != maxEnded+3+maxProbes {
			t.Errorf("%d known, %d sent", n, len(q.out))
		}
		for n, request := range q.out {
			out := process(t, w, from(peer6, host6, []byte{129, 0, 0, 0}, request[44:]))
			if taken := len(out) == 0; taken != (n >= 3) {
				t.Errorf("the answer to probe %d: taken %v", n, taken)
			}
		}
		time.Sleep(2 * late)
		if synctest.Wait(); e.probes.Load() != nil {
			t.Error("they are known still")
		}
	})
}

// RFC 4443, 4.1: the request.
func TestProbeRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, q := New(translator(t, "64:ff9b::/96")), newQueue()
		for range 2 {
			probeBy(t, e, q, time.Second)
		}
		for _, p := range q.out {
			if len(p) != 56 || !bytes.Equal(p[:8], []byte{0x60, 0, 0, 0, 0, 16, 58, 3}) || p[40] != 128 || p[41] != 0 ||
				!bytes.Equal(p[8:24], addr(host6)) || !bytes.Equal(p[24:40], addr(peer6)) || !bytes.Equal(p, sealed(slices.Clone(p), 40)) {
				t.Errorf("% x", p)
			}
		}
		if len(q.out) != 2 || bytes.Equal(q.out[0][44:48], q.out[1][44:48]) || bytes.Equal(q.out[0][48:], q.out[1][48:]) {
			t.Errorf("% x", q.out)
		}
	})
}

// What the device knows of a super-packet or of a checksum to be finished is not in the packet: such are no answers.
func TestProbeOffload(t *testing.T) {
	w := &probe{src: host6.As16(), dst: peer6.As16(), addresses: 1 << 4, answer: make(chan answer, 1)}
	reply := from(peer6, host6, []byte{129, 0, 0, 0}, w.echo[:])
	for _, o := range []frame.Offload{{GSO: frame.SegmentUDP, SegSize: 8}, {GSO: frame.SegmentTCP, SegSize: 8}, {Checksum: frame.ChecksumPartial}} {
		f := toFrame(reply)
		f.Offload = o
		if taken, _ := (&probes{w}).take(f); taken {
			t.Errorf("taken with %+v", o)
		}
	}
	f := toFrame(reply)
	f.Checksum = frame.ChecksumVerified
	if taken, heard := (&probes{w}).take(f); !taken || heard != 1<<4 {
		t.Error("not taken with a verified checksum")
	}
}

// Several probes at once have an answer each, and only the first of it; what answers again is taken all the same.
func TestProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, q := New(translator(t, "64:ff9b::/96")), newQueue()
		w := e.NewWorker()
		var all []chan result
		for range maxProbes {
			all = append(all, probeBy(t, e, q, time.Minute))
		}
		r := <-probeBy(t, e, q, time.Minute)
		if r.err == nil || r.err.Error() != "probe to 64:ff9b::c633:6405: 16 others are under way, which is the most" || len(q.out) != maxProbes {
			t.Errorf("%v, %d sent", r.err, len(q.out))
		}
		for i := range all {
			reply := from(peer6, host6, []byte{129, 0, 0, 0}, q.out[i][44:])
			late := from(router6, host6, []byte{3, 0, 0, 0, 0, 0, 0, 0}, q.out[i])
			process(t, w, reply, late, reply)
			if r := <-all[i]; r.err != nil || r.answer.What != "echo reply" {
				t.Errorf("%d: %+v", i, r)
			}
			synctest.Wait()
			if i+1 < len(all) && len(all[i+1]) != 0 {
				t.Errorf("%d: the next one has an answer, too", i)
			}
		}
		if c := e.Counters(); c != (clat.Totals{}) || len(e.awaited) != 0 {
			t.Errorf("%+v", c)
		}
		<-probeBy(t, e, q, time.Second) // there is room again
		if len(q.out) != maxProbes+1 {
			t.Errorf("%d sent", len(q.out))
		}
	})
}

func TestProbeErrors(t *testing.T) {
	e, q := New(translator(t, "64:ff9b::/96")), newQueue()
	q.refuse = func([]byte) error { return clat.ErrNextHop }
	for _, c := range []struct {
		edit func(*Probe)
		want string
	}{
		{func(*Probe) {}, "probe to 64:ff9b::c633:6405: the next hop's link-layer address is not known"},
		{func(p *Probe) { p.Source = host4 },
			"probe from 100.64.46.4 to 64:ff9b::c633:6405 with hop limit 3: want two IPv6 addresses, and at least 1"},
		{func(p *Probe) { p.Target = netip.MustParseAddr("::ffff:1.2.3.4") },
			"probe from 2001:db8:1:2::c1a7 to ::ffff:1.2.3.4 with hop limit 3: want two IPv6 addresses, and at least 1"},
		{func(p *Probe) { p.HopLimit = 0 },
			"probe from 2001:db8:1:2::c1a7 to 64:ff9b::c633:6405 with hop limit 0: want two IPv6 addresses, and at least 1"},
	} {
		p := hostToPeer
		p.Port = q
		c.edit(&p)
		if _, err := e.Probe(t.Context(), p); err == nil || err.Error() != c.want {
			t.Errorf("%v\nwant %s", err, c.want)
		} else if strings.Contains(c.want, "next hop") != errors.Is(err, clat.ErrNextHop) {
			t.Error(err)
		}
		if e.probes.Load() != nil {
			t.Error("it goes on")
		}
	}
}

// Probes begin and end while workers run.
func TestProbeConcurrent(t *testing.T) {
	e := New(translator(t, "64:ff9b::/96"))
	in, out := newQueue(), newQueue()
	stop := start(t, e, Lane{In: in, V6: out, V4: out})
	out.refuse = func(p []byte) error { // which answers what is probed
		in.in <- from(peer6, host6, []byte{129, 0, 0, 0}, p[44:])
		return nil
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				p := hostToPeer
				p.Port = out
				if a, err := e.Probe(ctx, p); err != nil || a.From != peer6 {
					t.Error(a, err)
				}
			}
		})
	}
	all.Wait()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if c := e.Counters(); c != (clat.Totals{}) {
		t.Errorf("%+v", c)
	}
}

func TestProbeAllocatesNothing(t *testing.T) {
	e := New(translator(t, "64:ff9b::/96"))
	w := &probe{src: host6.As16(), dst: peer6.As16(), answer: make(chan answer, 1)}
	e.await(w)
	worker := e.NewWorker()
	fs := []*frame.Frame{new(frame.Frame)}
	v6, v4 := make([]*frame.Frame, 0, 8), make([]*frame.Frame, 0, 8)
	buf := make([]byte, frame.BufLen)
	for _, p := range [][]byte{
		udp4(100, 64, true), udp6(80), icmp6(129, 0, 0, 0, 0, 1, 0, 1), tooBig6(1400, 1500, "2001:db8:ffff::1"), tooBig6(1400, 1500, far6.String()),
		from(peer6, host6, []byte{129, 0, 0, 0}, w.echo[:]),
	} {
		if n := testing.AllocsPerRun(1000, func() {
			copy(buf[frame.Headroom:], p)
			fs[0].Wrap(buf, frame.Headroom, len(p))
			_, v6, v4 = worker.Process(fs, v6[:0], v4[:0])
			worker.Done()
		}); n != 0 {
			t.Errorf("%v allocations for % x", n, p)
		}
	}
}

// FuzzProbe holds what is taken as an answer to what an answer has.
func FuzzProbe(f *testing.F) {
	w := &probe{src: host6.As16(), dst: peer6.As16(), addresses: 1 << 4, echo: [12]byte([]byte("idsqnonce678")), answer: make(chan answer, 1)}
	for _, a := range answers {
		f.Add(a.make(slices.Clone(w.request(3).Bytes())))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) > frame.MaxLen {
			return
		}
		in := toFrame(p)
		taken, heard := (&probes{w}).take(in)
		if !bytes.Equal(in.Bytes(), p) {
			t.Fatalf("the packet is not as it came:\ngot  % x\nwant % x", in.Bytes(), p)
		}
		if len(w.answer) > 0 != taken {
			t.Fatalf("taken %v, answered %v", taken, !taken)
		}
		if !taken {
			return
		}
		a := <-w.answer
		if heard != 0 != (a.typ == 129) || !mayBeICMP(p) {
			t.Fatalf("heard by %b: % x", heard, p)
		}
		if p[0]>>4 != 6 || !bytes.Equal(p[24:40], w.src[:]) || !bytes.Equal(p[8:24], addr(a.from)) {
			t.Fatalf("from %v: % x", a.from, p)
		}
		if m := p[40:min(len(p), 40+int(p[4])<<8+int(p[5]))]; p[6] == protoICMP6 && !bytes.Equal(m, sealed(slices.Clone(p[:40+len(m)]), 40)[40:]) {
			t.Fatalf("the checksum is wrong: % x", p)
		}
		switch {
		case a.typ == 129 && a.code == 0:
			if a.from != peer6 || !bytes.Contains(p[40:], w.echo[:]) {
				t.Fatalf("from %v: % x", a.from, p)
			}
		case a.typ >= 1 && a.typ <= 4:
			at := bytes.Index(p[40:], slices.Concat(w.src[:], w.dst[:]))
			if at < 0 || !bytes.Contains(p[40+at+32:], w.echo[:4]) {
				t.Fatalf("a quote of something else: % x", p)
			}
		default:
			t.Fatalf("type %d, code %d", a.typ, a.code)
		}
	})
}
