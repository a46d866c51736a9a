package datapath

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	"uclat/clat"
	"uclat/clat/frame"
	"uclat/clat/inbound"
	"uclat/clat/siit"

	"golang.org/x/time/rate"
)

// Worker is the state of one lane. Its methods belong to one goroutine.
type Worker struct {
	e        *Engine
	scratch  *siit.Scratch
	take     func(n int) *frame.Frame // scratch.Take
	counters clat.Counters
	signs    signs
	senders  []uint8 // of the IPv6 packets that Process returned last: which of our addresses they are of, as the bits of Used; 0: none
}

// NewWorker returns a Worker whose counters are part of the engine's.
func (e *Engine) NewWorker() *Worker {
	w := &Worker{e: e, scratch: siit.NewScratch(rand.Uint64())}
	w.scratch.PathMTU, w.take = &e.paths, w.scratch.Take
	e.mu.Lock()
	e.workers = append(e.workers, w)
	e.mu.Unlock()
	return w
}

// serve reads, translates and writes until a queue fails.
func (w *Worker) serve(l Lane) error {
	batch := l.In.Batch()
	in := make([]*frame.Frame, batch)
	for i := range in {
		in[i] = new(frame.Frame)
	}
	v6, v4 := make([]*frame.Frame, 0, 2*batch), make([]*frame.Frame, 0, 2*batch)
	for {
		n, err := l.In.Read(in)
		for rest := in[:n]; len(rest) > 0; {
			var done int
			done, v6, v4 = w.Process(rest, v6[:0], v4[:0])
			rest = rest[done:]
			if err := w.send(l, v6, v4); err != nil {
				return err
			}
			w.Done()
		}
		if err != nil {
			return fmt.Errorf("reading packets: %w", err)
		}
	}
}

// send writes what goes each way, and then what is to be said to the senders of IPv6 packets that were too big: an IPv4 packet, or an IPv6
// one to a host that the packet was sent back for.
func (w *Worker) send(l Lane, v6, v4 []*frame.Frame) error {
	replies, err := w.write(l.V6, v6, w.senders, clat.To6)
	if err != nil {
		return err
	}
	var back []*frame.Frame
	for _, f := range replies {
		if f.Version() == 6 {
			back = append(back, f)
		} else {
			v4 = append(v4, f)
		}
	}
	if _, err = w.write(l.V6, back, nil, clat.To6); err != nil {
		return err
	}
	_, err = w.write(l.V4, v4, nil, clat.To4)
	return err
}

// write sends frames that went d, of senders, as far as these are known, and counts those that the device refused. It returns what is to be said
// to the senders of those that were too big, and an error only when the device is gone.
func (w *Worker) write(p Writer, fs []*frame.Frame, senders []uint8, d clat.Direction) (replies []*frame.Frame, _ error) {
	for len(fs) > 0 {
		n, err := p.Write(fs)
		switch {
		case err == nil:
			return replies, nil
		case errors.Is(err, os.ErrClosed):
			return replies, fmt.Errorf("writing packets: %w", err)
		}
		refused := min(n, len(fs)-1)
		var tooBig clat.TooBig
		switch {
		case d == clat.To6 && errors.As(err, &tooBig):
			replies = append(replies, w.TooBig(fs[refused], tooBig.MTU)...)
		case errors.Is(err, clat.ErrNextHop):
			w.counters.Drops[d][clat.DropNextHop].Add(1)
			w.signs.refuse(senderOf(senders, refused))
		default:
			w.counters.Drops[d][clat.DropWrite].Add(1)
			w.signs.refuse(senderOf(senders, refused))
		}
		fs, senders = fs[refused+1:], senders[min(refused+1, len(senders)):]
	}
	return replies, nil
}

// senderOf is the ith of senders, where it is known.
func senderOf(senders []uint8, i int) uint8 {
	if i >= len(senders) {
		return 0
	}
	return senders[i]
}

// TooBig is for an IPv6 packet that the way out refused as longer than mtu octets; 0: it did not say. It returns what is to be said to the
// sender.
func (w *Worker) TooBig(f *frame.Frame, mtu int) []*frame.Frame {
	w.counters.Drops[clat.To6][clat.DropTooBig].Add(1)
	if !w.scratch.Ready() {
		return nil
	}
	r := w.e.translator.Load().TooBig(f, mtu, w.scratch)
	if r.Verdict == siit.Reply {
		w.counters.Replies[clat.To6].Add(1)
	}
	return r.Out
}

// Process translates packets of in until all are done, or until the scratch has less room than one packet may need, and appends what
// is to be sent to v6 and v4. It returns how many of in it took, at least one. The caller writes v6 and v4, calls Done, and comes back
// with the rest.
func (w *Worker) Process(in, v6, v4 []*frame.Frame) (int, []*frame.Frame, []*frame.Frame) {
	w.refill()
	t, filter, probes := w.e.translator.Load(), w.e.inbound.Load(), w.e.probes.Load()
	var packets, bytes [clat.NumDirections]uint64
	var saw seen
	w.senders = append(w.senders[:0], make([]uint8, len(v6))...)
	var from [16]byte // the source of an IPv6 packet that may be ICMP, which translation forgets
	n := 0
	for ; n < len(in) && w.scratch.Ready(); n++ {
		d := clat.To6
		if in[n].Version() == 6 {
			d = clat.To4
		}
		f, came := in[n], in[n].Bytes()
		if d == clat.To4 && mayBeICMP(came) {
			if taken, by := probes.take(f); taken {
				saw.heard |= by
				continue
			}
			from = [16]byte(came[8:])
		}
		var opens inbound.Opening // what a packet that goes out opens
		if filter != nil && d == clat.To6 {
			opens = inbound.Opens(came)
		}
		size, from4, sender := len(came), use(came, lastOfSource), uint8(0)
		r := t.Translate(f, w.scratch)
		if r.Verdict == siit.Reassemble {
			var reason clat.DropReason
			if f, reason = w.e.fragments.Add(&w.scratch.Fragment, w.e.now(), w.take); f == nil {
				if reason != clat.DropNone {
					w.counters.Drops[d][reason].Add(1)
				}
				continue
			}
			siit.Complete(f)
			size = f.Len()
			r = t.Translate(f, w.scratch)
		}
		if filter != nil && r.Verdict == siit.Forward && !admits(filter, d, opens, r.Out) {
			r = siit.Result{Reason: clat.DropInbound}
		}
		switch r.Verdict {
		case siit.Forward:
			packets[d]++
			bytes[d] += uint64(size)
			if p := r.Out[0].Bytes(); d == clat.To6 {
				saw.out(from4, p)
				sender = from4
			} else {
				saw.in(p, &from)
			}
		case siit.Reply:
			w.counters.Replies[d].Add(1)
			if r.Reason != clat.DropNone {
				w.counters.Drops[d][r.Reason].Add(1)
			}
		default:
			w.counters.Drops[d][r.Reason].Add(1)
			w.e.report(r.Reason, d, f.Bytes())
		}
		for _, f := range r.Out {
			if f.Version() == 6 {
				v6, w.senders = append(v6, f), append(w.senders, sender)
			} else {
				v4 = append(v4, f)
			}
		}
	}
	for d := range packets {
		if packets[d] > 0 {
			w.counters.Packets[d].Add(packets[d])
			w.counters.Bytes[d].Add(bytes[d])
		}
	}
	w.signs.add(&saw)
	return n, v6, v4
}

// admits asks filter for what became of a packet that came in, and notes what one that goes out opens, now that it is known to leave. Of what
// becomes several fragments, none is worth anything without the others.
func admits(filter *inbound.Filter, d clat.Direction, opens inbound.Opening, out []*frame.Frame) bool {
	if d == clat.To6 {
		filter.Open(opens)
		return true
	}
	for _, f := range out {
		if f.Version() == 4 && !filter.Allows(f.Bytes()) { // what goes back as IPv6 does not come in
			return false
		}
	}
	return true
}

// Done says that what Process and TooBig returned has been written.
func (w *Worker) Done() {
	for i := range w.scratch.Learned {
		ptb := &w.scratch.Learned[i]
		w.e.paths.Learn(&ptb.Dst, ptb.MTU, w.e.now())
	}
	w.scratch.Reset()
}

// refill brings the worker's shares of the error budgets up to a tenth of a second's worth, as far as the common buckets have that much.
func (w *Worker) refill() {
	refill(&w.scratch.Errors, w.e.errors)
	refill(&w.scratch.TooBig, w.e.tooBig)
}

func refill(share *int, from *rate.Limiter) {
	want := errorsPerSecond/10 - *share
	if want <= 0 {
		return
	}
	now := time.Now()
	if want = min(want, int(from.TokensAt(now))); want > 0 && from.AllowN(now, want) {
		*share += want
	}
}
