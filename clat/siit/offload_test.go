package siit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"uclat/clat"
	"uclat/clat/frame"
)

// family is what offload tests need to know of one direction.
type family struct {
	name      string
	head, out int // octets of IP header in and out
	build     func(proto uint8, seg []byte) []byte
	pseudo    func(proto uint8, n int) []byte
}

var families = []family{
	{"46", 20, 40,
		func(proto uint8, seg []byte) []byte { return ip4{proto: proto, df: true}.packet(seg) },
		func(proto uint8, n int) []byte { return pseudo(host4, peer4, proto, n) }},
	{"64", 40, 20,
		func(proto uint8, seg []byte) []byte { return ip6{next: proto}.packet(seg) },
		func(proto uint8, n int) []byte { return pseudo(peer6, host6, proto, n) }},
}

// partial leaves the sum of the pseudo-header in the checksum field, as a kernel does.
func (y family) partial(proto uint8, seg []byte) []byte {
	return y.build(proto, y.partialSegment(proto, seg))
}

func (y family) partialSegment(proto uint8, seg []byte) []byte {
	binary.BigEndian.PutUint16(seg[field(proto):], slowSum(y.pseudo(proto, len(seg))))
	return seg
}

func (y family) offload(proto uint8, gso frame.Segmentation, size uint16) frame.Offload {
	return frame.Offload{Checksum: frame.ChecksumPartial, GSO: gso, SegSize: size, L4: uint16(y.head), ChecksumAt: uint16(field(proto))}
}

// finish does what the device at the way out does with a partial checksum.
func finish(q packet) packet {
	q.payload = bytes.Clone(q.payload)
	at := field(q.proto)
	binary.BigEndian.PutUint16(q.payload[at:], ^slowSum(q.payload))
	return q
}

var segmented = []struct {
	name  string
	proto uint8
	gso   frame.Segmentation
	make  func([]byte) []byte
	head  int // octets of transport header
}{
	{"TCP", protoTCP, frame.SegmentTCP, tcp, 32},
	{"UDP", protoUDP, frame.SegmentUDP, udp, 8},
}

func TestPartialChecksum(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, y := range families {
		for _, c := range segmented {
			for _, n := range []int{0, 1, 1001, 1400} {
				t.Run(fmt.Sprintf("RFC 7915, 4.5/%s/%s/%d", y.name, c.name, n), func(t *testing.T) {
					f := newFrame(y.partial(c.proto, c.make(data(n))))
					f.Offload = y.offload(c.proto, frame.NotSegmented, 0)
					q := forwardedFrame(t, tr, f)
					if want := y.offload(c.proto, frame.NotSegmented, 0); f.Checksum != want.Checksum || int(f.L4) != y.out || f.ChecksumAt != want.ChecksumAt {
						t.Errorf("%+v", f.Offload)
					}
					at := field(c.proto)
					if got, want := binary.BigEndian.Uint16(q.payload[at:]), slowSum(pseudo(q.src, q.dst, c.proto, len(q.payload))); got != want {
						t.Errorf("field %#04x, sum of the pseudo-header %#04x", got, want)
					}
					if !finish(q).good() {
						t.Error("does not become a right checksum")
					}
				})
			}
		}
	}
}

// Zero is a sum like any other while the checksum is partial, not the absence of one.
func TestPartialZero(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, y := range families {
		t.Run("RFC 7915, 4.5/"+y.name, func(t *testing.T) {
			f := newFrame(y.build(protoUDP, udp(data(40))))
			f.Offload = y.offload(protoUDP, frame.NotSegmented, 0)
			q := forwardedFrame(t, tr, f)
			got := binary.BigEndian.Uint16(q.payload[6:])
			off := slowSum(pseudo(q.src, q.dst, protoUDP, 48)) // what the sum is short of, as before
			if before := slowSum(y.pseudo(protoUDP, 48)); (uint32(got)+uint32(before))%0xffff != uint32(off)%0xffff {
				t.Errorf("field %#04x", got)
			}
		})
	}
}

// A device cannot finish the checksum of a datagram that leaves in pieces, so it must be finished before.
func TestPartialChecksumAndFragments(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, c := range segmented {
		t.Run("RFC 7915, 4.5/fragmented/"+c.name, func(t *testing.T) {
			seg := c.make(data(1300))
			binary.BigEndian.PutUint16(seg[field(c.proto):], slowSum(families[0].pseudo(c.proto, len(seg))))
			f := newFrame(ip4{proto: c.proto}.packet(seg))
			f.Offload = families[0].offload(c.proto, frame.NotSegmented, 0)
			whole := reassemble(t, pieces(t, tr, f), 1280, 0)
			if slowSum(pseudo(host6, peer6, c.proto, len(whole)), whole) != 0xffff {
				t.Error("checksum of the whole is wrong")
			}
		})
	}
}

func TestVerifiedChecksumIsKept(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, state := range []frame.Checksum{frame.ChecksumUnknown, frame.ChecksumVerified} {
		for _, p := range [][]byte{from4(protoTCP, tcp(data(9))), from6(protoUDP, udp(data(9))), from4(protoICMP, icmp(8, 0, 1, data(9)))} {
			f := newFrame(p)
			f.Checksum = state
			if q := forwardedFrame(t, tr, f); f.Checksum != state || !q.good() {
				t.Errorf("state %d became %d, right %v", state, f.Checksum, q.good())
			}
		}
	}
}

func TestSuperPackets(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, y := range families {
		for _, c := range segmented {
			for _, n := range []int{1, 1408, 40 << 10, 65535 - 40 - c.head} {
				for _, ecn := range []bool{false, true} {
					t.Run(fmt.Sprintf("RFC 7915, 4.5/%s/%s/%d octets, ECN %v", y.name, c.name, n, ecn), func(t *testing.T) {
						seg := c.make(data(n))
						f := newFrame(y.partial(c.proto, bytes.Clone(seg)))
						f.Offload = y.offload(c.proto, c.gso, 1408)
						f.ECN = ecn
						q := forwardedFrame(t, tr, f)
						want := y.offload(c.proto, c.gso, 1408)
						want.L4, want.ECN = uint16(y.out), ecn
						if f.Offload != want {
							t.Errorf("%+v, want %+v", f.Offload, want)
						}
						at := field(c.proto)
						copy(seg[at:], q.payload[at:at+2])
						if !finish(q).good() || !bytes.Equal(q.payload, seg) {
							t.Error("checksum or payload is wrong")
						}
						if y.name == "64" && q.df != (min(n, 1408)+c.head+20 > 1260) {
							t.Errorf("RFC 7915, 5.1: DF %v", q.df)
						}
					})
				}
			}
		}
	}
	t.Run("RFC 7915, 4.5/longer than IPv4 can say", func(t *testing.T) {
		y := families[1]
		for _, n := range []int{65515 - 32, 65516 - 32} {
			f := newFrame(y.partial(protoTCP, tcp(data(n))))
			f.Offload = y.offload(protoTCP, frame.SegmentTCP, 1400)
			r := tr.Translate(f, newScratch())
			if fits := n+32+20 <= 65535; fits != (r.Verdict == Forward) || !fits && r.Reason != clat.DropTooBig {
				t.Errorf("%d octets: %+v", n, r)
			}
		}
	})
}

// The MTU rules look at what will be on the wire.
func TestSuperPacketMTU(t *testing.T) {
	for _, y := range families {
		for _, c := range segmented {
			mtu := 1500 - y.out - c.head // octets of payload in the largest segment that fits
			for _, size := range []int{mtu - 1, mtu, mtu + 1} {
				t.Run(fmt.Sprintf("RFC 7915, 4.5/MTU/%s/%s/%d", y.name, c.name, size-mtu), func(t *testing.T) {
					f := newFrame(y.partial(c.proto, c.make(data(30000))))
					f.Offload = y.offload(c.proto, c.gso, uint16(size))
					segment := bytes.Clone(f.Bytes()[y.head:][:c.head+size]) // what an error quotes, as a wire would have had it
					if c.proto == protoUDP {
						binary.BigEndian.PutUint16(segment[4:], uint16(len(segment)))
					}
					first := y.build(c.proto, segment)
					r := newTranslator(t, hostOptions()).Translate(f, newScratch())
					if size <= mtu {
						if r.Verdict != Forward || f.SegSize != uint16(size) {
							t.Errorf("%+v, segments of %d", r, f.SegSize)
						}
						return
					}
					if r.Verdict != Reply || r.Reason != clat.DropTooBig {
						t.Fatalf("%+v", r)
					}
					q := parse(t, r.Out[0].Bytes())
					want := uint32(1480)
					if y.name == "64" {
						want = 1520
					}
					if binary.BigEndian.Uint32(q.payload[4:]) != want || !bytes.Equal(q.payload[8:], first[:min(len(first), len(q.payload)-8)]) || !q.good() {
						t.Errorf("answer %x", q.payload[:40])
					}
					if r.Out[0].Offload != (frame.Offload{}) {
						t.Errorf("an error with offload state %+v", r.Out[0].Offload)
					}
				})
			}
		}
	}
}

// Without DF a single packet would be fragmented. A stream is cut smaller instead.
func TestStreamWithoutDF(t *testing.T) {
	tr, y := newTranslator(t, hostOptions()), families[0]
	for _, c := range []struct {
		name       string
		size, want uint16
	}{
		{"fits", 1208, 1208},
		{"above the lowest MTU", 1209, 1208},
		{"above the MTU", 8000, 1208},
	} {
		t.Run("RFC 7915, 4.1/"+c.name, func(t *testing.T) {
			f := newFrame(ip4{proto: protoTCP}.packet(y.partialSegment(protoTCP, tcp(data(30000)))))
			f.Offload = y.offload(protoTCP, frame.SegmentTCP, c.size)
			r := tr.Translate(f, newScratch())
			if r.Verdict != Forward || f.SegSize != c.want {
				t.Fatalf("%+v, segments of %d", r, f.SegSize)
			}
			if q := parse(t, r.Out[0].Bytes()); q.fragment || !finish(q).good() {
				t.Errorf("%+v", q)
			}
		})
	}
}

// Each datagram of a super-packet is what it would be if the host had sent it by itself: whole, or in fragments where it is too long.
func TestDatagramsWithoutDF(t *testing.T) {
	y := families[0]
	for _, lowest := range []int{1280, 1400} {
		tr := newTranslator(t, with(func(o *Options) { o.LowestMTU6 = lowest }))
		for _, size := range slices.Compact([]int{1, 1000, lowest - 48, lowest - 47, 1233, 1452, 1453, 2456, 2457, 8000, 40000}) {
			for _, n := range slices.Compact([]int{size + 1, 3*size - 1, 3 * size, 65507}) {
				if n > 65507 || n <= size {
					continue
				}
				t.Run(fmt.Sprintf("RFC 7915, 4.1/%d of %d for %d", n, size, lowest), func(t *testing.T) {
					super := data(n)
					f := newFrame(ip4{proto: protoUDP, id: 0xfffe}.packet(y.partialSegment(protoUDP, udp(super))))
					f.Offload = y.offload(protoUDP, frame.SegmentUDP, uint16(size))
					r := tr.Translate(f, newScratch())
					if size+48 <= lowest {
						if r.Verdict != Forward || len(r.Out) != 1 || f.GSO != frame.SegmentUDP || int(f.SegSize) != size {
							t.Fatalf("%d frames", len(r.Out))
						}
						return
					}
					out := r.Out
					for i := 0; len(super) > 0; i++ {
						d := super[:min(size, len(super))]
						super = super[len(d):]
						alone := ip4{proto: protoUDP, id: uint16(0xfffe + i)}.packet(seal(host4, peer4, protoUDP, udp(d)))
						for _, want := range tr.Translate(newFrame(alone), newScratch()).Out {
							if len(out) == 0 {
								t.Fatalf("too few frames for datagram %d", i)
							}
							if !bytes.Equal(out[0].Bytes(), want.Bytes()) || out[0].Offload != (frame.Offload{}) {
								t.Fatalf("datagram %d is not what it is alone", i)
							}
							out = out[1:]
						}
					}
					if len(out) != 0 {
						t.Errorf("%d frames too many", len(out))
					}
				})
			}
		}
	}
	t.Run("whose checksums nobody can tell", func(t *testing.T) {
		f := newFrame(ip4{proto: protoUDP}.packet(seal(host4, peer4, protoUDP, udp(data(3000)))))
		f.Offload = y.offload(protoUDP, frame.SegmentUDP, 1400)
		f.Checksum = frame.ChecksumVerified
		if r := newTranslator(t, hostOptions()).Translate(f, newScratch()); r.Verdict != Drop || r.Reason != clat.DropOffload {
			t.Errorf("%+v", r)
		}
	})
}

// What a device says and the packet does not bear out is dropped: nobody could finish it.
func TestOffloadContradictions(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	for _, y := range families {
		good := y.offload(protoTCP, frame.SegmentTCP, 1400)
		with := func(edit func(o *frame.Offload)) frame.Offload { o := good; edit(&o); return o }
		stream := y.partial(protoTCP, tcp(data(3000)))
		later := ip4{proto: protoTCP, offset: 800}.packet(tcp(data(800)))
		first := ip4{proto: protoTCP, mf: true}.packet(tcp(data(800)))
		echo := from4(protoICMP, icmp(8, 0, 1, data(800)))
		if y.name == "64" {
			later = ip6{next: protoTCP, extensions: []extension{fragmentHeader(800, false, 1)}}.packet(tcp(data(800)))
			first = ip6{next: protoTCP, extensions: []extension{fragmentHeader(0, true, 1)}}.packet(tcp(data(800)))
			echo = from6(protoICMPv6, icmp(128, 0, 1, data(800)))
		}
		at := func(n int) frame.Offload { return with(func(o *frame.Offload) { o.L4 = uint16(n) }) }
		for _, c := range []struct {
			name string
			p    []byte
			o    frame.Offload
		}{
			{"L4 before", stream, at(y.head - 1)},
			{"L4 behind", stream, at(y.head + 4)},
			{"L4 0", stream, at(0)},
			{"L4 beyond the packet", stream, at(65535)},
			{"ChecksumAt of UDP", stream, with(func(o *frame.Offload) { o.ChecksumAt = 6 })},
			{"ChecksumAt beyond the packet", stream, with(func(o *frame.Offload) { o.ChecksumAt = 65535 })},
			{"SegSize 0", stream, with(func(o *frame.Offload) { o.SegSize = 0 })},
			{"TCP cut as UDP", stream, with(func(o *frame.Offload) { o.GSO = frame.SegmentUDP })},
			{"unknown segmentation", stream, with(func(o *frame.Offload) { o.GSO = 9 })},
			{"UDP cut as TCP", y.partial(protoUDP, udp(data(3000))), with(func(o *frame.Offload) { o.ChecksumAt = 6 })},
			{"UDP without a checksum", y.build(protoUDP, udp(data(3000))), frame.Offload{GSO: frame.SegmentUDP, SegSize: 1400, L4: uint16(y.head), ChecksumAt: 6}},
			{"SCTP", y.build(132, data(3000)), good},
			{"SCTP, partial", y.build(132, data(300)), y.offload(protoTCP, frame.NotSegmented, 0)},
			{"ESP", y.build(50, data(3000)), good},
			{"ICMP", echo, good},
			{"ICMP, partial", echo, frame.Offload{Checksum: frame.ChecksumPartial, L4: uint16(y.head), ChecksumAt: 2}},
			{"first fragment", first, with(func(o *frame.Offload) { o.L4 += uint16(len(first) - len(tcp(data(800))) - y.head) })},
			{"later fragment", later, with(func(o *frame.Offload) { o.L4 += uint16(len(later) - len(tcp(data(800))) - y.head) })},
			{"partial fragment", first, frame.Offload{Checksum: frame.ChecksumPartial, L4: uint16(len(first) - len(tcp(data(800)))), ChecksumAt: 16}},
		} {
			t.Run("RFC 7915, 4.5/"+y.name+"/"+c.name, func(t *testing.T) {
				f := newFrame(c.p)
				f.Offload = c.o
				if r := tr.Translate(f, newScratch()); r.Verdict != Drop || r.Reason != clat.DropOffload {
					t.Errorf("verdict %d, reason %v", r.Verdict, r.Reason)
				}
			})
		}
	}
	t.Run("RFC 7915, 4.5/64/error of a router", func(t *testing.T) {
		f := newFrame(ip6{src: router, next: protoICMPv6}.packet(seal(router, host6, protoICMPv6, icmp(3, 0, 0, quoted6()))))
		f.Offload = families[1].offload(protoICMPv6, frame.NotSegmented, 0)
		if r := tr.Translate(f, newScratch()); r.Reason != clat.DropOffload {
			t.Errorf("%+v", r)
		}
	})
}
