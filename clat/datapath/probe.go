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

// Of probes.
const (
	maxProbes = 16          // may be under way at once
	maxEnded  = 64          // that have ended are known at most: the oldest go
	late      = time.Minute // is how long they are
)

// Probe is one ICMPv6 echo request (RFC 4443, 4.1).
type Probe struct {
	Source, Target netip.Addr // of IPv6
	HopLimit       uint8      // 1 to 255
	Port           Writer     // it is written here directly
	Addresses      uint8      // those of our IPv4 addresses that have this way, as the bits of Used: Health says that they heard an echo reply
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
// While a probe is under way, and for a minute after it, all answers to it are taken from what the engine reads, and appear in no counter. They
// are told by an identifier, a sequence number and 8 octets of data, all random, as far as an error quotes them.
//
// It is an error if the request could not be written, which is the Port's, such as clat.ErrNextHop; if there was no answer, which is the
// context's; and if 16 probes are under way.
func (e *Engine) Probe(ctx context.Context, p Probe) (Answer, error) {
	if !is6(p.Source) || !is6(p.Target) || p.HopLimit == 0 {
		return Answer{}, fmt.Errorf("probe from %v to %v with hop limit %d: want two IPv6 addresses, and at least 1", p.Source, p.Target, p.HopLimit)
	}
	w := &probe{src: p.Source.As16(), dst: p.Target.As16(), addresses: p.Addresses, answer: make(chan answer, 1)}
	_, _ = rand.Read(w.echo[:]) // which never fails
	if !e.await(w) {
		return Answer{}, fmt.Errorf("probe to %v: %d others are under way, which is the most", p.Target, maxProbes)
	}
	start := time.Now()
	if _, err := p.Port.Write([]*frame.Frame{w.request(p.HopLimit)}); err != nil {
		e.forget(w)
		return Answer{}, fmt.Errorf("probe to %v: %w", p.Target, err)
	}
	defer e.end(w)
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
	if len(e.awaited) == maxProbes {
		return false
	}
	e.awaited = append(e.awaited, w)
	e.listProbes()
	return true
}

// end has answers to w told to nobody, and taken still, until they are too late to come.
func (e *Engine) end(w *probe) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.awaited = without(e.awaited, w)
	if len(e.ended) == maxEnded {
		e.ended = slices.Delete(e.ended, 0, 1)
	}
	e.ended = append(e.ended, w)
	e.listProbes()
	time.AfterFunc(late, func() { e.forget(w) })
}

// forget undoes await and end.
func (e *Engine) forget(w *probe) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.awaited, e.ended = without(e.awaited, w), without(e.ended, w)
	e.listProbes()
}

func without(all []*probe, w *probe) []*probe {
	return slices.DeleteFunc(all, func(o *probe) bool { return o == w })
}

// listProbes tells the workers. The caller holds e.mu.
func (e *Engine) listProbes() {
	if len(e.awaited)+len(e.ended) == 0 {
		e.probes.Store(nil)
		return
	}
	all := probes(slices.Concat(e.awaited, e.ended))
	e.probes.Store(&all)
}

// probe is one whose answers are taken.
type probe struct {
	src, dst  [16]byte
	addresses uint8
	echo      [lenEcho]byte
	answer    chan answer
}

// answer is what answered.
type answer struct {
	from      netip.Addr
	typ, code uint8
}

const (
	len6       = 40 // IPv6 header
	lenICMP    = 8
	lenEcho    = 12 // of a request's identifier, sequence number, and data
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

// mayBeICMP is false where p, of which nothing is certain, is no IPv6 packet, or one whose first header is that of TCP or UDP.
func mayBeICMP(p []byte) bool {
	const tcp, udp = 6, 17
	return len(p) >= len6 && p[6] != tcp && p[6] != udp
}

// probes are all whose answers are taken.
type probes []*probe

// take says whether f, of which nothing is certain, answers a probe, and if so, tells who waits for it; and if it is a reply, which came from
// the probe's target, which of our addresses heard it.
func (all *probes) take(f *frame.Frame) (taken bool, heard uint8) {
	if all == nil || f.GSO != frame.NotSegmented || f.Checksum == frame.ChecksumPartial {
		return false, 0
	}
	h, ok := siit.ReadHeader(f.Bytes())
	if !ok || h.Proto != protoICMP6 || h.Fragment || len(h.Transport) < lenICMP {
		return false, 0
	}
	src, dst := h.Src.As16(), h.Dst.As16()
	to, ok := readAnswer(&src, &dst, h.Transport)
	if !ok {
		return false, 0
	}
	for _, w := range *all {
		if to.src != w.src || to.dst != w.dst || !bytes.HasPrefix(w.echo[:], to.echo) {
			continue
		}
		if icmpSum(&src, &dst, h.Transport) != 0xffff {
			return false, 0
		}
		select {
		case w.answer <- answer{h.Src, h.Transport[0], h.Transport[1]}:
		default: // it has one
		}
		if h.Transport[0] == echoReply {
			heard = w.addresses
		}
		return true, heard
	}
	return false, 0
}

// asked is what an answer has of the echo request that it is for.
type asked struct {
	src, dst [16]byte
	echo     []byte // at least the identifier and the sequence number; of a reply, all
}

// readAnswer reads m, an ICMPv6 message with a header; false: it is neither an echo reply, nor an error about an echo request of its receiver.
func readAnswer(src, dst *[16]byte, m []byte) (asked, bool) {
	switch {
	case m[0] == echoReply:
		return asked{*dst, *src, m[4:]}, m[1] == 0 && len(m) == 4+lenEcho
	case m[0] < unreachable || m[0] > parameterProblem:
		return asked{}, false
	}
	// A quote has as many octets as whoever quotes likes, or as ICMPv4 had on the other side of the NAT64: 8 of the request are the least.
	q, ok := siit.ReadHeader(m[lenICMP:])
	if !ok || q.Proto != protoICMP6 || q.Fragment || len(q.Transport) < lenICMP || q.Transport[0] != echoRequest || q.Transport[1] != 0 {
		return asked{}, false
	}
	to := asked{q.Src.As16(), q.Dst.As16(), q.Transport[4:]}
	return to, to.src == *dst
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
