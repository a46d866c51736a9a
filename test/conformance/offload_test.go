package conformance

import (
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/frame"
	"uclat/clat/siit"
)

// super is a packet whose checksum the sender leaves to the device: the field holds the sum of the pseudo-header, not inverted. With
// segmentation its header stands for all the segments, or datagrams, that the device makes of so many octets (virtio 1.2, 5.1.6.2).
func super(t testing.TB, ip gopacket.SerializableLayer, l upper, octets int) []byte {
	t.Helper()
	p := build(t, ip, l.head(), data(octets))
	q := decode(t, p)
	sum := ^gopacket.FoldChecksum(gopacket.ComputeChecksum(pseudoHeader(q), 0))
	return edited(p, len(p)-len(q.payload)+l.at, byte(sum>>8), byte(sum))
}

// offload is what the device says of a packet of super without segmentation.
func offload(l upper, l4 int) frame.Offload {
	return frame.Offload{Checksum: frame.ChecksumPartial, L4: uint16(l4), ChecksumAt: uint16(l.at)}
}

// segmented is what it says with segmentation.
func segmented(l upper, l4, size int) frame.Offload {
	o := offload(l, l4)
	o.GSO, o.SegSize = frame.SegmentTCP, uint16(size)
	if l.protocol == layers.IPProtocolUDP {
		o.GSO = frame.SegmentUDP
	}
	return o
}

// offloaded hands a packet to the translator together with what the device says of it.
func (tr *translator) offloaded(p []byte, o frame.Offload) siit.Result {
	f := newFrame(p)
	f.Offload = o
	tr.scratch.Reset()
	tr.scratch.Errors = 1000
	return tr.Translate(f, tr.scratch)
}

// forwardOffloaded wants one packet, with what is said of it.
func forwardOffloaded(t testing.TB, tr *translator, p []byte, o frame.Offload) (packet, frame.Offload) {
	t.Helper()
	r := tr.offloaded(p, o)
	if r.Verdict != siit.Forward || r.Reason != clat.DropNone || len(r.Out) != 1 {
		t.Fatalf("verdict %d, reason %v, %d packets, want one forwarded", r.Verdict, r.Reason, len(r.Out))
	}
	return decodeHeader(t, slices.Clone(r.Out[0].Bytes())), r.Out[0].Offload
}

// contradicts wants a packet dropped because what the device says of it cannot be.
func contradicts(t testing.TB, tr *translator, p []byte, o frame.Offload) {
	t.Helper()
	if r := tr.offloaded(p, o); r.Verdict != siit.Drop || r.Reason != clat.DropOffload {
		t.Errorf("%+v: verdict %d, reason %v, want %v", o, r.Verdict, r.Reason, clat.DropOffload)
	}
}

// contradicted says of packets what cannot be.
func (w way) contradicted(t *testing.T, tr *translator, l upper) {
	t.Helper()
	for _, o := range []frame.Offload{offload(l, w.l4), segmented(l, w.l4, 500)} {
		whole := super(t, w.in(), l, 1200)
		for _, at := range []int{-2, 2} {
			elsewhere := o
			elsewhere.ChecksumAt += uint16(at)
			contradicts(t, tr, whole, elsewhere)
			elsewhere = o
			elsewhere.L4 += uint16(at)
			contradicts(t, tr, whole, elsewhere)
		}
		nowhere := o
		nowhere.L4 = 0
		contradicts(t, tr, whole, nowhere)
		// Fragments and other protocols have neither partial checksums nor segments.
		for _, f := range cut(t, whole, 0x1234, 400) {
			there := o
			there.L4 = uint16(len(f) - len(decodeHeader(t, f).payload))
			contradicts(t, tr, f, there)
		}
		for _, proto := range []layers.IPProtocol{layers.IPProtocolICMPv4, layers.IPProtocolGRE, layers.IPProtocolUDPLite} {
			p := sized4(t, 1200, layers.IPv4{}, proto)
			if w.l4 == 40 {
				p = sized6(t, 1200, layers.IPv6{}, in6(proto))
			}
			contradicts(t, tr, p, o)
		}
		if o.GSO == frame.NotSegmented {
			continue
		}
		endless := o
		endless.SegSize = 0
		contradicts(t, tr, whole, endless)
		another := o
		another.GSO = frame.SegmentTCP + frame.SegmentUDP - o.GSO
		contradicts(t, tr, whole, another)
	}
}

func TestOffloads(t *testing.T) {
	t.Run("XLAT-CK-9", func(t *testing.T) {
		tr := newTranslator(t)
		for i, w := range ways {
			for _, l := range []upper{tcp, udp} {
				outL4 := []int{40, 20}[i]
				t.Run(w.name+"/"+l.name, func(t *testing.T) {
					// The pseudo-header's sum changes with the addresses; where the upper header is, with the IP header.
					for _, o := range []frame.Offload{offload(l, w.l4), segmented(l, w.l4, 1200)} {
						for _, n := range []int{0, 1, 1200, 1201, 30000} {
							if n > 1200 && o.GSO == frame.NotSegmented {
								continue
							}
							got, said := forwardOffloaded(t, tr, super(t, w.in(), l, n), o)
							same(t, "partial checksum", got.payload, decodeHeader(t, super(t, w.out(), l, n)).payload)
							want := o
							want.L4 = uint16(outL4)
							if said != want {
								t.Errorf("said %+v, want %+v", said, want)
							}
						}
					}
					// What the device has verified already is right behind the translator, too.
					verified := frame.Offload{Checksum: frame.ChecksumVerified}
					got, said := forwardOffloaded(t, tr, build(t, w.in(), l.head(), data(9)), verified)
					if wrong := got.wrongChecksum(); wrong != "" || said.Checksum != frame.ChecksumVerified {
						t.Errorf("verified: %v, %s", said.Checksum, wrong)
					}
					w.contradicted(t, tr, l)
				})
			}
		}

		t.Run("MTU of IPv6", func(t *testing.T) {
			// 1500 is 40 of IPv6, 20 of TCP and 12 of its options, and 1428.
			big := super(t, &layers.IPv4{Flags: layers.IPv4DontFragment}, tcp, 30000)
			if _, said := forwardOffloaded(t, tr, big, segmented(tcp, 20, 1428)); said.SegSize != 1428 {
				t.Errorf("segments of %d octets, want 1428", said.SegSize)
			}
			r := tr.offloaded(big, segmented(tcp, 20, 1429))
			if r.Verdict != siit.Reply || r.Reason != clat.DropTooBig {
				t.Fatalf("verdict %d, reason %v, want an answer", r.Verdict, r.Reason)
			}
			decode(t, r.Out[0].Bytes()).icmp(t).is(t, 3, 4, 1480)
		})
		t.Run("MTU of IPv4", func(t *testing.T) {
			small := newTranslator(t, func(o *siit.Options, _ *eam.Spec) { o.MTU4 = 1400 })
			big := super(t, &layers.IPv6{}, tcp, 30000)
			forwardOffloaded(t, small, big, segmented(tcp, 40, 1400-52))
			r := small.offloaded(big, segmented(tcp, 40, 1400-51))
			if r.Verdict != siit.Reply || r.Reason != clat.DropTooBig {
				t.Fatalf("verdict %d, reason %v, want an answer", r.Verdict, r.Reason)
			}
			decode(t, r.Out[0].Bytes()).icmp(t).is(t, 2, 0, 1420)
		})
		t.Run("DF", func(t *testing.T) {
			// 1260 octets of IPv4 are 20, 32 of TCP, and 1208.
			for size, df := range map[int]layers.IPv4Flag{1208: 0, 1209: layers.IPv4DontFragment} {
				if got, _ := forwardOffloaded(t, tr, super(t, &layers.IPv6{}, tcp, 30000), segmented(tcp, 40, size)); got.v4.Flags != df {
					t.Errorf("segments of %d octets: flags %v, want %v", size, got.v4.Flags, df)
				}
			}
		})
		t.Run("lowest-ipv6-mtu", func(t *testing.T) {
			// Of TCP, the device can make smaller segments as well: 1280 octets of IPv6 are 40, 32 of TCP, and 1208.
			if _, said := forwardOffloaded(t, tr, super(t, &layers.IPv4{}, tcp, 30000), segmented(tcp, 20, 1400)); said.SegSize != 1208 {
				t.Errorf("segments of %d octets, want 1208", said.SegSize)
			}
			// Of UDP, each datagram leaves in fragments.
			r := tr.offloaded(super(t, &layers.IPv4{Id: 0xffff}, udp, 2*1400+100), segmented(udp, 20, 1400))
			var out []packet
			for _, f := range r.Out {
				if f.Offload != (frame.Offload{}) {
					t.Errorf("a fragment of which is said %+v", f.Offload)
				}
				out = append(out, decode(t, f.Bytes()))
			}
			if len(out) != 5 {
				t.Fatalf("%d packets, want two of each datagram but the last", len(out))
			}
			all := data(2*1400 + 100)
			same(t, "first datagram", joined(t, out[:2]).udp(t).Payload, all[:1400])
			same(t, "second datagram", joined(t, out[2:4]).udp(t).Payload, all[1400:2800])
			same(t, "third datagram", out[4].udp(t).Payload, all[2800:])
		})
		t.Run("Identification", identificationsOfEach)
		t.Run("MTU of IPv4 below 1260", segmentsBelow1260)
		t.Run("UDP without a checksum", func(t *testing.T) {
			pass := newTranslator(t, func(o *siit.Options, _ *eam.Spec) { o.PassZeroUDP6 = true })
			drop := newTranslator(t, func(o *siit.Options, _ *eam.Spec) { o.DropZeroUDP4 = true })
			for _, w := range ways {
				whole := withoutChecksum(build(t, w.in(), udp.head(), data(3000)), w.l4)
				for _, state := range []frame.Checksum{frame.ChecksumUnknown, frame.ChecksumVerified} {
					o := segmented(udp, w.l4, 1000)
					o.Checksum = state
					for _, tr := range []*translator{tr, pass, drop} {
						contradicts(t, tr, whole, o)
					}
				}
			}
			// Of fragments, somebody must make the checksum of each datagram, and knows nothing of it but that of the whole.
			o := segmented(udp, 20, 1400)
			o.Checksum = frame.ChecksumUnknown
			contradicts(t, tr, build(t, &layers.IPv4{}, udp.head(), data(3000)), o)
		})
		t.Run("quote", quotesOfSegments)
	})
}
