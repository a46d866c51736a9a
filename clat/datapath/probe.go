package datapath

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"uclat/clat/checksum"
	"uclat/clat/frame"
	"uclat/clat/siit"
)

// maxProbes is how many probes may be under way at once.
const maxProbes = 16

// Probe is one ICMPv6 echo request (RFC 4443, 4.1).
type Probe struct {
	Source, Target netip.Addr // of IPv6
	HopLimit       uint8      // 1 to 255
	Port           Port       // it is written to this queue directly
}

// Answer is what came back.
type Answer struct {
	From  netip.Addr    // the target, or who sent the error
	What  string        // "echo reply", "time exceeded", "packet too big", "unreachable, code 3", "parameter problem, code 0"
	After time.Duration // the request was written
}

// Probe sends one echo request, and waits until ctx ends for what answers it: an echo reply of the target, or an ICMPv6 error about the
// request (RFC 4443, 3). Whoever tries more than once does so at the same time, so that a late answer to the first try is one.
//
// While a probe is under way, all answers to it are taken from what the engine reads, and appear in no counter. They are told by an
// identifier, a sequence number and 8 octets of data, all random, as far as an error quotes them.
//
// It is an error if the request could not be written, which is the Port's, such as clat.ErrNextHop; if there was no answer, which is the
// context's; and if 16 probes are under way.
func (e *Engine) Probe(ctx context.Context, p Probe) (Answer, error) {
	if !is6(p.Source) || !is6(p.Target) || p.HopLimit == 0 {
		return Answer{}, fmt.Errorf("probe from %v to %v with hop limit %d: want two IPv6 addresses, and at least 1", p.Source, p.Target, p.HopLimit)
	}
	w := &probe{src: p.Source.As16(), dst: p.Target.As16(), answer: make(chan answer, 1)}
	_, _ = rand.Read(w.echo[:]) // which never fails
	if !e.await(w) {
		return Answer{}, fmt.Errorf("probe to %v: %d others are under way, which is the most", p.Target, maxProbes)
	}
	defer e.forget(w)
	start := time.Now()
	if _, err := p.Port.Write([]*frame.Frame{w.request(p.HopLimit)}); err != nil {
		return Answer{}, fmt.Errorf("probe to %v: %w", p.Target, err)
	}
	select {
	case a := <-w.answer:
		return Answer{From: a.from, What: what(a.typ, a.code), After: time.Since(start)}, nil
	case <-ctx.Done():
		return Answer{}, fmt.Errorf("probe to %v: no answer: %w", p.Target, context.Cause(ctx))
	}
}

func is6(a netip.Addr) bool { return a.Is6() && !a.Is4In6() }

// await makes workers look for w's answers; false: there are too many already.
func (e *Engine) await(w *probe) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := probes{w}
	if others := e.probes.Load(); others != nil {
		if len(*others) == maxProbes {
			return false
		}
		all = append(all, *others...)
	}
	e.probes.Store(&all)
	return true
}

// forget undoes await.
func (e *Engine) forget(w *probe) {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(*e.probes.Load()), func(o *probe) bool { return o == w })
	if len(all) == 0 {
		e.probes.Store(nil)
		return
	}
	e.probes.Store(&all)
}

// probe is one that is under way.
type probe struct {
	src, dst [16]byte
	echo     [12]byte // identifier, sequence number, and data
	answer   chan answer
}

// answer is what answered.
type answer struct {
	from      netip.Addr
	typ, code uint8
}

const (
	len6       = 40 // IPv6 header
	lenICMP    = 8
	protoICMP6 = 58

	unreachable, packetTooBig, timeExceeded, parameterProblem = 1, 2, 3, 4
	echoRequest, echoReply                                    = 128, 129
)

// request is the packet that is sent.
func (w *probe) request(hops uint8) *frame.Frame {
	const size = len6 + 4 + len(w.echo)
	f := new(frame.Frame)
	f.Wrap(make([]byte, frame.Headroom+size+frame.Tailroom), frame.Headroom, size)
	p := f.Bytes()
	p[0], p[6], p[7], p[len6] = 6<<4, protoICMP6, hops, echoRequest
	binary.BigEndian.PutUint16(p[4:], uint16(size-len6))
	copy(p[8:], w.src[:])
	copy(p[24:], w.dst[:])
	copy(p[len6+4:], w.echo[:])
	binary.BigEndian.PutUint16(p[len6+2:], ^icmpSum(&w.src, &w.dst, p[len6:]))
	return f
}

// icmpSum is the sum of an ICMPv6 message and its pseudo-header: 0xffff where the message has a checksum, and a right one.
func icmpSum(src, dst *[16]byte, message []byte) uint16 {
	return checksum.Add(checksum.Sum(message), checksum.Pseudo6(src, dst, uint32(len(message)), protoICMP6))
}

// probes are all that are under way.
type probes []*probe

// take says whether f, of which nothing is certain, answers a probe, and if so, tells who waits for it.
func (all probes) take(f *frame.Frame) bool {
	if f.GSO != frame.NotSegmented || f.Checksum == frame.ChecksumPartial {
		return false
	}
	h, ok := siit.ReadHeader(f.Bytes())
	if !ok || h.Proto != protoICMP6 || h.Fragment || len(h.Transport) < lenICMP {
		return false
	}
	src, dst := h.Src.As16(), h.Dst.As16()
	for _, w := range all {
		if !w.isAnswer(&src, &dst, h.Transport) || icmpSum(&src, &dst, h.Transport) != 0xffff {
			continue
		}
		select {
		case w.answer <- answer{h.Src, h.Transport[0], h.Transport[1]}:
		default: // it has one
		}
		return true
	}
	return false
}

// isAnswer says whether m, an ICMPv6 message with a header, answers the probe.
func (w *probe) isAnswer(src, dst *[16]byte, m []byte) bool {
	switch {
	case *dst != w.src:
		return false
	case m[0] == echoReply:
		return m[1] == 0 && *src == w.dst && bytes.Equal(m[4:], w.echo[:])
	case m[0] < unreachable || m[0] > parameterProblem:
		return false
	}
	// A quote has as many octets as whoever quotes likes, or as ICMPv4 had on the other side of the NAT64: 8 of the request are the least.
	q, ok := siit.ReadHeader(m[lenICMP:])
	return ok && q.Proto == protoICMP6 && !q.Fragment && q.Src.As16() == w.src && q.Dst.As16() == w.dst &&
		len(q.Transport) >= lenICMP && q.Transport[0] == echoRequest && q.Transport[1] == 0 && bytes.HasPrefix(w.echo[:], q.Transport[4:])
}

// what is an answer's type, and the code of those where it matters, in words.
func what(typ, code uint8) string {
	switch typ {
	case unreachable:
		return fmt.Sprintf("unreachable, code %d", code)
	case packetTooBig:
		return "packet too big"
	case timeExceeded:
		return "time exceeded"
	case parameterProblem:
		return fmt.Sprintf("parameter problem, code %d", code)
	}
	return "echo reply"
}
