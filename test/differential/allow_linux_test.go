package differential

import (
	"bytes"
	"slices"
)

// trial is one sample and what became of it.
type trial struct {
	sample
	v            view // of the first packet
	tayga, uclat [][]byte
	ask          func(in ...[]byte) [][]byte // what TAYGA makes of other packets
	given        map[uint16]bool             // the Identifications that the program gave until now
}

// entry explains a difference, by what an RFC says.
type entry struct {
	name, clause string

	// as is what TAYGA is given instead, because the RFC makes the same of it; nil: what everybody got.
	as func(x *trial, in [][]byte) [][]byte
	// then is what the RFC makes of what TAYGA answered to in; nil: the answer.
	then func(x *trial, in, outs [][]byte) [][]byte
}

// allow is in the order in which entries change things: first who is answered at all, then ICMP errors from the inside out, and last the
// headers, which follow from the length.
var allow = slices.Concat(allowPackets, allowOwnErrors, allowQuotes, allowErrors, allowHeaders)

// explain is what came out of TAYGA as the allow-list changes it, and the entries that changed it.
func (x *trial) explain() (outs [][]byte, used []string) {
	in, changed := x.in, make([]bool, len(allow))
	for i, e := range allow {
		if e.as != nil {
			now := e.as(x, in)
			changed[i] = !same(in, now)
			in = now
		}
	}
	outs = x.tayga
	if slices.Contains(changed, true) {
		outs = x.ask(in...)
	}
	for i, e := range allow {
		if e.then != nil {
			now := e.then(x, in, outs)
			changed[i] = changed[i] || !same(outs, now)
			outs = now
		}
	}
	for i, e := range allow {
		if changed[i] {
			used = append(used, e.name)
		}
	}
	return outs, used
}

func same(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

// single changes a packet that is sent alone.
func single(f func(x *trial, in []byte) []byte) func(*trial, [][]byte) [][]byte {
	return func(x *trial, in [][]byte) [][]byte {
		if len(in) != 1 {
			return in
		}
		return [][]byte{f(x, in[0])}
	}
}

// each changes packets one by one; those that become nil go away. i is the packet's place.
func each(f func(x *trial, in, out []byte, i int) []byte) func(*trial, [][]byte, [][]byte) [][]byte {
	return func(x *trial, in, outs [][]byte) (now [][]byte) {
		for i, out := range outs {
			if out = f(x, in[0], out, i); out != nil {
				now = append(now, out)
			}
		}
		return now
	}
}

// nothing is for packets that are dropped without an answer.
func nothing(when func(x *trial) bool) func(*trial, [][]byte, [][]byte) [][]byte {
	return func(x *trial, _, outs [][]byte) [][]byte {
		if when(x) {
			return nil
		}
		return outs
	}
}

// isOwn is whether a packet comes from the translator itself; isOwnError whether it is an ICMP error.
func isOwn(p []byte) bool {
	v := look(p)
	return bytes.Equal(v.src, self4.AsSlice()) || bytes.Equal(v.src, self6.AsSlice())
}

func isOwnError(p []byte) bool {
	at, _ := quoted(p)
	return at > 0 && isOwn(p)
}

// isError is whether a packet is an ICMP error that quotes another packet, and from where to where in p the quote is; inner are the
// quote's headers.
func isError(p []byte) (at, end int, inner view, ok bool) {
	at, end = quoted(p)
	if at == 0 || end > len(p) {
		return 0, 0, view{}, false
	}
	inner = look(p[at:end])
	return at, end, inner, inner.ok
}
