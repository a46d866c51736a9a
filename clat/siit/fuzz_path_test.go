package siit

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/frame"
)

// paths is a PathMTU that knows all but a few, each by another MTU, whatever that may be; 0: none of them.
type paths int

func (p paths) MTU(dst [16]byte) (int, bool) {
	return int(p) + 16*int(dst[15]&7), p != 0 && dst[15] != 9
}

// limit is what the way to dst takes.
func (u *subject) limit(dst netip.Addr) int {
	if mtu, known := u.paths.MTU(dst.As16()); known {
		return min(max(mtu, 1280), u.o.MTU6)
	}
	return u.o.MTU6
}

// checkLearned: only a Packet Too Big that is right in all respects says something of a path, and whatever is let through has said it.
func (u *subject) checkLearned(t testing.TB, r Result, p []byte) {
	all := u.scratch[0].Learned
	in, ok := read(p)
	due := ok && in.version == 6 && in.proto == protoICMPv6 && !in.isFragment() && len(in.payload) >= 8 && in.payload[0] == 2
	if !due {
		if len(all) > 0 {
			t.Fatalf("learned %+v from %v", all, in)
		}
		return
	}
	mtu := binary.BigEndian.Uint32(in.payload[4:])
	inner, ok := read(in.payload[8:])
	due = ok && inner.version == 6 && inner.src == in.dst && mtu >= 1280 && mtu < uint32(u.o.MTU6) && int(mtu) < inner.total && inner.total <= u.o.MTU6 &&
		residue(in, in.payload, frame.ChecksumUnknown) == 0 && in.total <= len(p) && in.ttl > u.hop() && u.network.to4(inner.dst).IsValid()
	switch {
	case len(all) == 0 && due && r.Verdict == Forward:
		t.Fatalf("nothing was learned from %v", in)
	case len(all) == 0:
	case !due || len(all) > 1 || all[0] != (PTB{inner.dst.As16(), int(mtu)}) || r.Verdict == Reply:
		t.Fatalf("learned %+v from %v about %v", all, in, inner)
	}
}

// refuse has the way out refuse each IPv6 frame of r, which was made of p (RFC 8201, 4).
func (u *subject) refuse(t testing.TB, r Result, p []byte) {
	in, _ := read(p)
	for i, f := range r.Out[:min(len(r.Out), 3)] {
		out, _ := read(f.Bytes())
		if out.version == 4 {
			return
		}
		s := u.scratch[2]
		for _, mtu := range []int{0, 1200, out.total - 1, int(u.paths)} {
			s.Reset()
			s.Errors = u.budget
			before := bytes.Clone(f.Bytes())
			u.checkRefused(t, u.TooBig(f, mtu, s), s, in, out, f, max(mtu, 1280))
			if !bytes.Equal(f.Bytes(), before) {
				t.Fatalf("frame %d has changed", i)
			}
		}
	}
}

func (u *subject) checkRefused(t testing.TB, r Result, s *Scratch, in, out received, f *frame.Frame, mtu int) {
	wire := f.WireLen(out.head + transportHeader(out))
	if learned := mtu < min(u.o.MTU6, wire); len(s.Learned) > 1 || learned != (len(s.Learned) == 1) {
		t.Fatalf("%d refused %v, learned %+v", mtu, out, s.Learned)
	}
	for _, ptb := range s.Learned {
		if ptb != (PTB{out.dst.As16(), mtu}) {
			t.Fatalf("%d refused %v, learned %+v", mtu, out, ptb)
		}
	}
	silent := u.o.NoErrors || u.budget == 0 || out.fragmentHeader || out.isError()
	if r.Reason != clat.DropTooBig || silent && (r.Verdict != Drop || s.Errors != u.budget) {
		t.Fatalf("%d refused %v: %+v", mtu, out, r)
	}
	if r.Verdict != Reply {
		if len(r.Out) != 0 || s.Errors != u.budget || !silent && !u.untellable(out) {
			t.Fatalf("%d refused %v: nobody was told, %+v", mtu, out, r)
		}
		return
	}
	if len(r.Out) != 1 || s.Errors != u.budget-1 || r.Out[0].Offload != (frame.Offload{}) {
		t.Fatalf("%d refused %v: %+v", mtu, out, r)
	}
	q := parse(t, r.Out[0].Bytes())
	src, dst, want := u.o.Self4, in.src, []byte{3, 4, 0, 0, 0, 0}
	told := min(min(mtu, u.o.MTU6)-20, u.o.MTU4)
	version := 4
	if in.version == 6 && !u.network.mapped(in.src) { // with such a source it could have come as IPv4
		in.src, in.dst = u.network.to4(in.src), u.network.to4(in.dst)
		dst = in.src
		if in.proto == protoICMPv6 {
			in.proto = protoICMP
		}
	} else if in.version == 6 {
		version = 6
		src, dst, want = embedded(u.network.prefix(), src), u.network.to6(u.network.to4(in.src)), []byte{2, 0, 0, 0, 0, 0}
		told = max(1280, min(mtu, u.o.MTU6))
	}
	want = binary.BigEndian.AppendUint16(want, uint16(told))
	copy(want[2:4], q.payload[2:])
	quote, ok := read(q.payload[8:])
	if q.version != version || q.src != src || q.dst != dst || q.fragment || !q.good() || !bytes.Equal(q.payload[:8], want) || !ok {
		t.Fatalf("%d refused %v: answer %+v, want %x", mtu, out, q, want)
	}
	n := min(len(quote.payload), len(in.payload))
	if quote.src != dst || quote.dst != in.dst || quote.proto != in.proto || quote.promised() != wire-out.head ||
		sumAt(in.proto) < 0 && !bytes.Equal(quote.payload[:n], in.payload[:n]) {
		t.Fatalf("%v was refused: quotes %v", in, quote)
	}
}

// untellable is whether an error about out cannot be told to its sender: what an ICMP error must quote is not there.
func (u *subject) untellable(out received) bool {
	return out.version == 6 && (out.promised() < 8 || u.network.rejectNonGlobal)
}

// checkFragment: what is described is the fragment that came in, and a whole of just that is translated like the packet that it says.
func (u *subject) checkFragment(t testing.TB, r Result, p []byte) {
	in, ok := read(p)
	s := u.scratch[0]
	d := s.Fragment
	same := [2]netip.Addr{netip.AddrFrom16(d.Src), netip.AddrFrom16(d.Dst)} == [2]netip.Addr{in.src, in.dst}
	if d.Version == 4 {
		same = netip.AddrFrom4([4]byte(d.Src[:])) == in.src && netip.AddrFrom4([4]byte(d.Dst[:])) == in.dst &&
			bytes.Equal(d.Src[4:], make([]byte, 12)) && bytes.Equal(d.Dst[4:], make([]byte, 12))
	}
	if !ok || r.Reason != clat.DropNone || len(r.Out) > 0 || !u.o.Reassemble || !in.isICMP() || !in.isFragment() || in.ttl <= u.hop() ||
		in.total > len(p) || !same || int(d.Version) != in.version || d.ID != in.id || d.Offset != in.offset || d.More != in.mf ||
		!bytes.Equal(d.Payload, in.payload) ||
		len(d.Payload) == 0 || d.More && len(d.Payload)%8 != 0 || d.Offset+len(d.Payload) > 65515 || len(d.Head) > 48 {
		t.Fatalf("%+v, %+v of %v", r, d, in)
	}
	head := bytes.Clone(d.Head)
	whole := s.Take(len(head) + len(d.Payload))
	whole.Joined = true
	copy(whole.Bytes(), head)
	copy(whole.Bytes()[len(head):], d.Payload)
	Complete(whole)
	all := whole.Bytes()
	is, ok := read(all)
	want := in
	want.offset, want.mf, want.df, want.head, want.routing, want.total = 0, false, false, len(head), 0, len(all)
	if !ok || !equalHeaders(want, is) || is.version == 4 && slowSum(all[:20]) != 0xffff {
		t.Fatalf("%v\nbecame %v", in, is)
	}
	if at := 2; len(is.payload) >= at+2 {
		seal(is.src, is.dst, is.proto, is.payload)
		if is.version == 4 {
			resum(all)
		}
	}
	w := *u
	w.whole, w.buf = true, [2][]byte{}
	if r := w.check(t, bytes.Clone(all), frame.Offload{}); r.Verdict == Drop && r.Reason == clat.DropTooBig && !is.isError() {
		if fit := 108 * ((u.o.MTU4 - 20) &^ 7); len(is.payload) <= fit || u.hairpin(is) {
			t.Fatalf("%d octets are too many for %d", len(is.payload), fit)
		}
	}
}

// checkEcho looks at the answer to an echo that was for the translator (RFC 792; RFC 4443, 4.2).
func (u *subject) checkEcho(t testing.TB, r Result, p []byte, o frame.Offload) {
	in, ok := read(p)
	if !ok || len(r.Out) != 1 || r.Out[0].Offload != (frame.Offload{}) || o.GSO != frame.NotSegmented || o.Checksum == frame.ChecksumPartial {
		t.Fatalf("%+v to %v with %+v", r, in, o)
	}
	q := parse(t, r.Out[0].Bytes())
	self, want := u.o.Self4, []byte{8, 0}
	if in.version == 6 {
		self, want = u.o.Self6, []byte{128, 129}
	}
	if in.dst != self || !in.isICMP() || in.isFragment() || in.payload[0] != want[0] || residue(in, in.payload, frame.ChecksumUnknown) != 0 ||
		in.src.IsMulticast() || in.src.IsUnspecified() || in.src.IsLoopback() || in.src.IsLinkLocalUnicast() || in.total > len(p) || in.routing > 0 {
		t.Fatalf("an answer to %v", in)
	}
	message := append([]byte{want[1], 0}, q.payload[2:4]...)
	message[1] = in.payload[1]
	message = append(message, in.payload[4:]...)
	if q.version != in.version || q.src != in.dst || q.dst != in.src || q.ttl != 64 || q.tos != in.tos || q.fragment || q.df != in.df || !q.good() ||
		!bytes.Equal(q.payload, message) {
		t.Fatalf("answer %+v to %v", q, in)
	}
}
