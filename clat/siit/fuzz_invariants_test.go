package siit

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/frame"
)

// subject is a Translator with what it was made of, to be held to what must be true of any packet. What is expected is worked out here,
// without the code under test.
type subject struct {
	*Translator
	o       Options
	network network
	budget  int         // ICMP errors that may be sent about a packet
	paths   paths       // what is known of them
	whole   bool        // what comes in was put together of fragments
	scratch [3]*Scratch // the first two in step: whatever one has been through, the other has. The third is for what is refused
	buf     [2][]byte
}

func newSubject(t testing.TB, n network, o Options) *subject {
	t.Helper()
	tr, err := New(n.table(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return &subject{Translator: tr, o: o, network: n, budget: 1, scratch: [3]*Scratch{NewScratch(7), NewScratch(7), NewScratch(7)}}
}

// check translates p twice, over different garbage around it and at different places of the scratch, and looks at what becomes of it.
// Here, the line that an error names is that of the rule that was broken; t.Helper would cost more than all the rest.
func (u *subject) check(t testing.TB, p []byte, o frame.Offload) Result {
	checkReadHeader(t, p)
	u.scratch[0].Reset()
	if !u.scratch[1].Ready() {
		u.scratch[1].Reset()
	}
	var results [2]Result
	for i, s := range u.scratch[:2] {
		results[i] = u.translate(t, i, p, o, s)
	}
	r, again := results[0], results[1]
	if r.Verdict != again.Verdict || r.Reason != again.Reason || len(r.Out) != len(again.Out) {
		t.Fatalf("verdict %d, %v, %d frames, and the second time %d, %v, %d", r.Verdict, r.Reason, len(r.Out),
			again.Verdict, again.Reason, len(again.Out))
	}
	for i, f := range r.Out {
		if !bytes.Equal(f.Bytes(), again.Out[i].Bytes()) || f.Offload != again.Out[i].Offload {
			t.Fatalf("frame %d is another the second time\n%x %+v\n%x %+v", i, f.Bytes(), f.Offload, again.Out[i].Bytes(), again.Out[i].Offload)
		}
	}
	spent := u.budget - u.scratch[0].Errors
	if reply := r.Verdict == Reply && r.Reason != clat.DropNone; spent != 0 && !reply || spent != 1 && reply {
		t.Fatalf("verdict %d, and %d errors off the budget", r.Verdict, spent)
	}
	u.checkLearned(t, r, p)
	switch r.Verdict {
	case Drop:
		if r.Reason == clat.DropNone || r.Reason >= clat.NumDropReasons || len(r.Out) != 0 {
			t.Fatalf("%+v", r)
		}
	case Reply:
		if r.Reason == clat.DropNone {
			u.checkEcho(t, r, p, o)
		} else {
			u.checkReply(t, r, p, o)
		}
	case Forward:
		u.checkForwarded(t, r, p, o)
		u.refuse(t, r, p)
	case Reassemble:
		u.checkFragment(t, r, p)
	default:
		t.Fatalf("verdict %d", r.Verdict)
	}
	return r
}

// checkReadHeader compares what is told of a packet with what it says.
func checkReadHeader(t testing.TB, p []byte) {
	h, ok := ReadHeader(p)
	r, readable := read(p)
	if ok && (!readable || h.Src != r.src || h.Dst != r.dst || h.Proto != r.proto || h.Fragment != r.isFragment() ||
		h.FragmentHeader != r.fragmentHeader || !bytes.Equal(h.Transport, r.payload)) {
		t.Fatalf("%+v of %v", h, r)
	}
	if tooMany := r.version == 6 && r.head >= 40+8*9; readable && !ok && !tooMany {
		t.Fatalf("nothing is told of %v", r)
	}
}

// guard is the octets around a frame's buffer that must stay as they are.
const guard = 64

// garbage is what stands around the packets of each run.
var garbage = func() (all [2][]byte) {
	for i, octet := range []byte{0xc5, 0x3a} {
		all[i] = bytes.Repeat([]byte{octet}, guard+frame.Headroom+frame.Tailroom)
	}
	return all
}()

// translate is one of the two runs.
func (u *subject) translate(t testing.TB, run int, p []byte, o frame.Offload, s *Scratch) Result {
	front, behind := garbage[run][:guard+frame.Headroom], garbage[run][:frame.Tailroom+guard]
	buf := append(append(append(u.buf[run][:0], front...), p...), behind...)
	u.buf[run] = buf
	f := new(frame.Frame)
	f.Wrap(buf[guard:len(buf)-guard:len(buf)-guard], frame.Headroom, len(p))
	f.Offload, f.Joined = o, u.whole
	s.Errors, s.PathMTU = u.budget, u.paths
	if !s.Ready() {
		t.Fatal("the scratch is not ready after a Reset")
	}
	s.Learned = s.Learned[:0]
	r := u.Translate(f, s)
	if s.hairpin {
		t.Fatal("the next packet would be taken for a hairpin")
	}
	if len(r.Out) > maxOut || o.GSO == frame.NotSegmented && !u.whole && len(r.Out) > 64 {
		t.Fatalf("%d frames", len(r.Out))
	}
	if !bytes.Equal(buf[:guard], front[:guard]) || !bytes.Equal(buf[len(buf)-guard:], behind[:guard]) {
		t.Fatal("written outside the frame's buffer")
	}
	return r
}

// quoted is what an error of our own about p has of it: the packet, or the first segment of a super-packet as a wire would have had it.
func quoted(in received, p []byte, o frame.Offload, room int) []byte {
	segmented := o.GSO == frame.SegmentTCP && in.proto == protoTCP || o.GSO == frame.SegmentUDP && in.proto == protoUDP
	head, least := transportHeader(in), 20
	if in.proto == protoUDP {
		least = 8
	}
	n := in.head + head + int(o.SegSize)
	if !segmented || o.SegSize == 0 || head < least || head > len(in.payload) || n >= in.total {
		return p[:min(in.total, room)]
	}
	q := bytes.Clone(p[:min(n, room)])
	if in.version == 4 {
		binary.BigEndian.PutUint16(q[2:], uint16(n))
		resum(q)
	} else {
		binary.BigEndian.PutUint16(q[4:], uint16(n-40))
	}
	if in.proto == protoUDP && in.head+8 <= len(q) {
		binary.BigEndian.PutUint16(q[in.head+4:], uint16(n-in.head))
	}
	return q
}

// checkReply looks at an ICMP error of our own (RFC 7915, 4.4 and 5.4; RFC 1812, 4.3.2; RFC 4443, 2.4).
func (u *subject) checkReply(t testing.TB, r Result, p []byte, o frame.Offload) {
	if r.Reason == clat.DropNone || len(r.Out) != 1 || r.Out[0].Offload != (frame.Offload{}) || u.o.NoErrors || u.budget == 0 {
		t.Fatalf("%+v", r)
	}
	in, ok := read(p)
	if !ok {
		t.Fatalf("an answer to what cannot be read: %v", r.Reason)
	}
	if u.turned(in, r.Reason) {
		u.checkTurnedReply(t, r, in, o)
		return
	}
	q := parse(t, r.Out[0].Bytes())
	self, limit, room := u.o.Self4, 576, 20+8
	if in.version == 6 {
		self, limit, room = u.o.Self6, 1280, 40+8
	}
	if q.version != in.version || q.src != self || q.dst != in.src || q.fragment || q.df || !q.good() {
		t.Fatalf("answer %+v", q)
	}
	if want := quoted(in, p, o, limit-room); !bytes.Equal(q.payload[8:], want) {
		t.Fatalf("quotes %x, want %x", q.payload[8:], want)
	}
	if in.isError() || in.offset > 0 && (in.version == 4 || in.isICMP()) || in.dst.IsMulticast() || in.dst == netip.MustParseAddr("255.255.255.255") ||
		in.src.IsMulticast() || in.src.IsUnspecified() || in.src.IsLoopback() || in.src.IsLinkLocalUnicast() {
		t.Fatalf("an answer to %v", in)
	}
	word := int(binary.BigEndian.Uint32(q.payload[4:]))
	type answer struct {
		reason    clat.DropReason
		typ, code uint8
	}
	wire := min(in.total, in.head+transportHeader(in)+int(o.SegSize))
	if o.GSO == frame.NotSegmented {
		wire = in.total
	}
	switch got := (answer{r.Reason, q.payload[0], q.payload[1]}); {
	case in.version == 4 && got == answer{clat.DropTooBig, 3, 4}:
		way := u.limit(u.network.to6(in.dst)) - 20
		if in.isFragment() {
			way -= 8
		}
		if !in.df || word >= wire || word != way {
			t.Fatalf("MTU %d for a packet of %d", word, wire)
		}
	case in.version == 6 && got == answer{clat.DropTooBig, 2, 0}:
		if word >= wire || word < 1280 || word > max(1280, u.o.MTU4+20) || u.whole {
			t.Fatalf("MTU %d for a packet of %d", word, wire)
		}
	case in.version == 6 && got == answer{clat.DropSourceRoute, 4, 0}:
		if in.routing == 0 || word != in.routing {
			t.Fatalf("pointer %d, want %d", word, in.routing)
		}
	case in.version == 6 && q.payload[0] == 4 && q.payload[1] == 1:
		if in.dst != u.o.Self6 || in.isICMP() || in.head != 40 || word != 6 {
			t.Fatalf("pointer %d, %v", word, in)
		}
	case word != 0:
		t.Fatalf("second word %#x of %+v", word, got)
	case in.version == 4 && (got == answer{clat.DropTTL, 11, 0} || got == answer{clat.DropSourceRoute, 3, 5} ||
		got == answer{clat.DropNoMapping, 3, 13} || got == answer{clat.DropNonGlobal, 3, 13}):
	case in.version == 4 && got == answer{clat.DropHairpin, 3, 2}:
		if in.dst != u.o.Self4 || in.isICMP() {
			t.Fatalf("%+v to %v", got, in.dst)
		}
	case in.version == 6 && got == answer{clat.DropTTL, 3, 0}:
	case in.version == 6 && got == answer{clat.DropNoMapping, 1, 1}:
		if !u.o.Prohibited6 || in.isICMP() {
			t.Fatalf("%+v", got)
		}
	default:
		t.Fatalf("%+v", got)
	}
}

// checkForwarded compares what was forwarded with what came in.
func (u *subject) checkForwarded(t testing.TB, r Result, p []byte, o frame.Offload) {
	if r.Reason != clat.DropNone || len(r.Out) == 0 {
		t.Fatalf("%v, %d frames", r.Reason, len(r.Out))
	}
	in, ok := read(p)
	if !ok {
		t.Fatal("forwarded what cannot be read")
	}
	u.checkMayPass(t, in, p, o)
	if o.GSO == frame.SegmentUDP && r.Out[0].GSO == frame.NotSegmented {
		u.checkDatagrams(t, in, r.Out, int(o.SegSize))
		return
	}
	out := u.join(t, in, r.Out)
	turned := u.hairpin(in)
	if (out.version == in.version) != turned {
		t.Fatalf("IPv%d became IPv%d: %v", in.version, out.version, in)
	}
	if in.isICMP() && in.isError() {
		if turned {
			u.checkTurnedError(t, in, out)
		} else {
			u.checkError(t, in, out)
		}
		return
	}
	if limit := in.total + 28*(out.version-4)/2; len(r.Out) == 1 && out.total > limit {
		t.Fatalf("%d octets became %d", in.total, out.total)
	}
	u.checkSizes(t, in, r.Out, o)
	wire := r.Out[0].WireLen(out.head + transportHeader(out))
	if len(r.Out) > 1 {
		wire = out.total
	}
	if turned {
		u.checkTurnedHeader(t, in, out)
	} else {
		u.checkHeader(t, in, out, u.network.to4(in.src), wire)
	}
	if out.promised() != in.promised() {
		t.Fatalf("%d octets of payload became %d", in.promised(), out.promised())
	}
	state := o.Checksum
	if len(r.Out) == 1 {
		u.checkOffload(t, r.Out[0].Offload, o, out)
	} else {
		state = frame.ChecksumUnknown // nobody finishes that of a packet in pieces
	}
	u.checkMessage(t, in, out, o.Checksum, state)
}

// checkMayPass holds against in what must never be forwarded, whatever its addresses.
func (u *subject) checkMayPass(t testing.TB, in received, p []byte, o frame.Offload) {
	hop := uint8(1)
	if u.o.TTLTransparent {
		hop = 0
	}
	gso := frame.SegmentTCP
	if in.proto == protoUDP {
		gso = frame.SegmentUDP
	}
	segmented := o.GSO != frame.NotSegmented
	used := segmented || o.Checksum == frame.ChecksumPartial
	cut := in.offset == 0 && (in.proto == protoUDP && len(in.payload) < 8 || in.proto == protoTCP && len(in.payload) < 18)
	for _, c := range [...]struct {
		is   bool
		what string
	}{
		{in.total > len(p), "truncated"},
		{in.ttl <= hop || in.ttl <= 2*hop && u.hairpin(in), "TTL"},
		{in.version == 6 && u.network.detour(in.src), "a source that poses as a host with a mapping"},
		{in.src == u.o.Self4 || in.dst == u.o.Self4 || u.network.to4(in.src) == u.o.Self4 || u.network.to4(in.dst) == u.o.Self4, "our own address"},
		{in.proto == 2, "IGMP"},
		{in.isICMP() && in.isFragment(), "fragmented ICMP"},
		{in.version == 4 && in.proto == protoICMPv6 || in.version == 6 && in.proto == protoICMP, "ICMP of the other family"},
		{in.version == 4 && bytes.Contains([]byte{0, 43, 44, 60}, []byte{in.proto}), "extension header as IPv4"},
		{in.version == 4 && slowSum(p[:in.head]) != 0xffff, "header checksum"},
		{in.version == 4 && unexpired(in.options) || in.routing > 0, "source route"},
		{in.beyond, "header behind fragment"},
		{in.mf && in.promised()%8 != 0 || in.isFragment() && in.offset+in.promised() > 65515, "length of a fragment"},
		{used && (in.isFragment() || in.fragmentHeader || in.proto != protoTCP && in.proto != protoUDP), "offload of no transport"},
		{used && (int(o.L4) != in.head || int(o.ChecksumAt) != field(in.proto)), "offsets that lie"},
		{segmented && (o.GSO != gso || o.SegSize == 0), "segmentation that lies"},
		{cut, "transport header"},
		{in.dst.IsMulticast() || in.src.IsMulticast(), "multicast"},
		{in.dst.IsLoopback() || in.src.IsLoopback(), "loopback"},
	} {
		if c.is {
			t.Fatalf("forwarded in spite of %s: %v", c.what, in)
		}
	}
}

// unexpired is a source route that is not used up (RFC 7915, 4.1), among options that are in order as far as it.
func unexpired(options []byte) bool {
	for len(options) >= 2 && options[0] != 0 {
		n := int(options[1])
		switch {
		case options[0] == 1:
			n = 1
		case n < 2 || n > len(options):
			return false
		case (options[0] == 131 || options[0] == 137) && n >= 3 && int(options[2]) <= n:
			return true
		}
		options = options[n:]
	}
	return false
}

// transportHeader is the octets of a TCP or UDP header, 0 of all others.
func transportHeader(r received) int {
	switch {
	case r.offset > 0:
	case r.proto == protoTCP && len(r.payload) > 12:
		return int(r.payload[12]>>4) * 4
	case r.proto == protoUDP:
		return 8
	}
	return 0
}

// join reads what came out, and puts fragments together again. Each must continue the last.
func (u *subject) join(t testing.TB, in received, frames []*frame.Frame) received {
	parse(t, frames[0].Bytes())
	out, _ := read(frames[0].Bytes())
	if len(frames) == 1 {
		return out
	}
	if in.version == 4 && in.df || in.version == 6 && (out.version == 4 && in.total > 1280 && !u.whole || out.version == 6 && !in.fragmentHeader) {
		t.Fatalf("fragments of %v", in)
	}
	whole, limit := 20+in.promised(), u.o.MTU4
	if out.version == 6 {
		whole, limit = 40+in.promised(), min(u.o.LowestMTU6, u.limit(out.dst))
		if in.isFragment() {
			whole += 8
		}
	}
	if whole <= limit || len(frames) > 64 && !u.whole {
		t.Fatalf("%d pieces of %d octets, where %d may leave at once", len(frames), whole, limit)
	}
	out.joined, out.payload = true, nil
	for i, f := range frames {
		parse(t, f.Bytes())
		q, _ := read(f.Bytes())
		last := i == len(frames)-1
		switch {
		case f.Offload != (frame.Offload{}):
			t.Fatalf("piece %d has offload state %+v", i, f.Offload)
		case q.offset != in.offset+len(out.payload) || q.mf != (in.mf || !last) || !last && q.promised()%8 != 0 || q.promised() == 0:
			t.Fatalf("piece %d is at %d with MF %v and %d octets, behind %d octets", i, q.offset, q.mf, q.promised(), len(out.payload))
		case q.version != out.version || q.src != out.src || q.dst != out.dst || q.tos != out.tos || q.ttl != out.ttl || q.proto != out.proto ||
			q.id != out.id || q.df || q.head != out.head:
			t.Fatalf("piece %d is of another datagram: %v and %v", i, q, out)
		}
		out.payload = append(out.payload, q.payload...)
	}
	out.offset, out.mf, out.total = in.offset, in.mf, out.head+len(out.payload)
	return out
}

// checkDatagrams looks at the datagrams of a super-packet that went by themselves, because they had to be fragmented. Each is as if it
// had come by itself.
func (u *subject) checkDatagrams(t testing.TB, in received, frames []*frame.Frame, size int) {
	super := in.payload[8:]
	for i := 0; len(super) > 0; i++ {
		d := super[:min(size, len(super))]
		super = super[len(d):]
		alone := in
		alone.total, alone.id = in.head+8+len(d), uint32(uint16(in.id+uint32(i)))
		n := 0
		for more := true; more; n++ {
			if n == len(frames) {
				t.Fatalf("datagram %d of %d octets has no end", i, len(d))
			}
			q := parse(t, frames[n].Bytes())
			more = q.mf
		}
		out := u.join(t, alone, frames[:n])
		u.checkSizes(t, alone, frames[:n], frame.Offload{})
		u.checkHeader(t, alone, out, netip.Addr{}, 0)
		length := binary.BigEndian.AppendUint16(bytes.Clone(in.payload[:4]), uint16(8+len(d)))
		if out.version != 6 || frames[0].Offload != (frame.Offload{}) || !bytes.Equal(out.payload[:6], length) || !bytes.Equal(out.payload[8:], d) ||
			residue(out, out.payload, frame.ChecksumUnknown) != 0 || out.payload[6]|out.payload[7] == 0 {
			t.Fatalf("datagram %d is %v", i, out)
		}
		frames = frames[n:]
	}
	if len(frames) != 0 {
		t.Fatalf("%d frames too many", len(frames))
	}
}

// checkSizes holds each frame to its MTU.
func (u *subject) checkSizes(t testing.TB, in received, frames []*frame.Frame, o frame.Offload) {
	for _, f := range frames {
		out, _ := read(f.Bytes())
		limit := u.o.MTU4
		switch {
		case out.version == 4:
		case in.df, in.version == 6 && !in.fragmentHeader: // what had no fragment header in 1280 octets or less is not too long at all
			limit = u.limit(out.dst)
		default:
			limit = min(u.o.LowestMTU6, u.limit(out.dst))
		}
		if wire := f.WireLen(out.head + transportHeader(out)); wire > limit {
			t.Fatalf("%d octets, at most %d may leave", wire, limit)
		}
	}
}

// checkHeader compares the header of out with in, from which it was made. src is what in's source stands for in IPv4. wire is the
// length of the largest packet that out becomes.
func (u *subject) checkHeader(t testing.TB, in, out received, src netip.Addr, wire int) {
	want := in
	want.version = 10 - in.version
	want.head, want.total = out.head, out.total
	if u.o.SetTOS {
		want.tos = u.o.TOS
	}
	if !u.o.TTLTransparent {
		want.ttl--
	}
	u.checkFields(t, want, out, in, src, wire)
}

// checkQuotedHeader is checkHeader for a packet that an ICMP error quotes: it keeps its TTL and TOS, and the length of the whole.
func (u *subject) checkQuotedHeader(t testing.TB, in, out received) {
	want := in
	want.version = 10 - in.version
	want.head, want.total = out.head, out.head+in.promised()
	u.checkFields(t, want, out, in, u.network.to4(in.src), out.total)
}

// checkFields completes want by what is the same for all packets, and compares.
func (u *subject) checkFields(t testing.TB, want, out, in received, src netip.Addr, wire int) {
	if in.version == 4 {
		want.src, want.dst = u.network.to6(in.src), u.network.to6(in.dst)
		want.df, want.fragmentHeader, want.head = false, in.isFragment() || out.joined, 40 // never an atomic fragment (RFC 8200, 4.5)
		if want.fragmentHeader {
			want.head = 48
		} else {
			want.id = 0
		}
		if in.proto == protoICMP {
			want.proto = protoICMPv6
		}
	} else {
		want.src, want.dst = src, u.network.to4(in.dst)
		want.df, want.fragmentHeader, want.head = !in.fragmentHeader && wire > 1260, false, 20
		want.id &= 0xffff
		if !in.fragmentHeader {
			want.id = out.id // whatever the generator says
		}
		if in.proto == protoICMPv6 {
			want.proto = protoICMP
		}
	}
	want.total += want.head - out.head
	if !equalHeaders(want, out) {
		t.Fatalf("%v\nbecame %v\nwant   %v", in, out, want)
	}
}

func equalHeaders(a, b received) bool {
	return a.version == b.version && a.src == b.src && a.dst == b.dst && a.tos == b.tos && a.ttl == b.ttl && a.proto == b.proto && a.id == b.id &&
		a.df == b.df && a.mf == b.mf && a.offset == b.offset && a.fragmentHeader == b.fragmentHeader && a.head == b.head && a.total == b.total &&
		b.routing == 0
}

// checkOffload compares what goes to the device with what came from one.
func (u *subject) checkOffload(t testing.TB, got, was frame.Offload, out received) {
	want := was
	want.L4, want.SegSize = got.L4, got.SegSize
	used := was.Checksum == frame.ChecksumPartial || was.GSO != frame.NotSegmented
	if got != want || got.SegSize > was.SegSize || was.GSO != frame.NotSegmented && got.SegSize == 0 || used && int(got.L4) != out.head {
		t.Fatalf("%+v became %+v", was, got)
	}
	if used && (out.isFragment() || out.proto != protoTCP && out.proto != protoUDP) {
		t.Fatalf("%+v for %v", got, out)
	}
}
