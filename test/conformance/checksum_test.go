package conformance

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/datapath"
	"uclat/clat/eam"
	"uclat/clat/frame"
	"uclat/clat/siit"
)

// head makes a header: build changes what it gets, so each packet needs its own.
type head func() gopacket.SerializableLayer

// way is one direction, with the IP headers that a packet has before and behind the translator.
type way struct {
	name    string
	in, out head
	l4      int // octets of the IP header before
}

var ways = []way{
	{
		"46", func() gopacket.SerializableLayer { return &layers.IPv4{} },
		func() gopacket.SerializableLayer { return &layers.IPv6{SrcIP: client6, DstIP: peer6} }, 20,
	},
	{
		"64", func() gopacket.SerializableLayer { return &layers.IPv6{} },
		func() gopacket.SerializableLayer { return &layers.IPv4{SrcIP: peer4, DstIP: client4} }, 40,
	},
}

// upper is an upper-layer header, and at which of its octets the checksum is.
type upper struct {
	name     string
	protocol layers.IPProtocol
	at       int
	head     head
}

var (
	tcp = upper{"TCP", layers.IPProtocolTCP, 16, func() gopacket.SerializableLayer {
		return &layers.TCP{ACK: true, Seq: 0x01020304, Ack: 0x05060708, Window: 0xfff0, Options: []layers.TCPOption{
			{OptionType: layers.TCPOptionKindNop}, {OptionType: layers.TCPOptionKindNop},
			{OptionType: layers.TCPOptionKindTimestamps, OptionData: make([]byte, 8)},
		}}
	}}
	udp = upper{"UDP", layers.IPProtocolUDP, 6, func() gopacket.SerializableLayer { return &layers.UDP{} }}
)

// withoutChecksum is p, a packet of UDP in fragments or not, with a checksum of 0.
func withoutChecksum(p []byte, l4 int) []byte { return edited(p, l4+udp.at, 0, 0) }

func TestTransportChecksums(t *testing.T) {
	t.Run("XLAT-CK-1", func(t *testing.T) {
		tr := newTranslator(t)
		for _, w := range ways {
			for _, l := range []upper{tcp, udp} {
				for _, n := range []int{0, 1, 2, 9, 1200} {
					in, want := build(t, w.in(), l.head(), data(n)), decode(t, build(t, w.out(), l.head(), data(n)))
					same(t, w.name+" "+l.name, forward(t, tr, in).payload, want.payload)

					// What was wrong stays wrong by as much: the receiver would take a checksum made anew for right.
					at := w.l4 + l.at
					r := tr.translate(edited(in, at, in[at]^0x10))
					if r.verdict != siit.Forward {
						t.Fatalf("%s %s with a wrong checksum: %v", w.name, l.name, r.reason)
					}
					if decodeHeader(t, r.out[0]).wrongChecksum() == "" {
						t.Errorf("%s %s: a wrong checksum was made right", w.name, l.name)
					}
				}
			}
		}
		// Addresses that make no difference (RFC 6052, 4.1).
		tr = newTranslator(t, func(_ *siit.Options, s *eam.Spec) {
			s.Ours = []eam.Mapping{mapping("192.0.0.1/32", "2001:db8:1:2:aabb:ccac:2bdd:eeff/128")}
		})
		in := build(t, &layers.IPv4{}, &layers.UDP{}, data(9))
		same(t, "UDP between neutral addresses", forward(t, tr, in).payload, in[20:])
	})

	t.Run("XLAT-CK-2", func(t *testing.T) {
		tr := newTranslator(t)
		for _, w := range ways {
			for _, l := range []upper{tcp, udp} {
				var got []packet
				for i, f := range cut(t, build(t, w.in(), l.head(), data(4000)), 0x1234, 1024) {
					got = append(got, forward(t, tr, f))
					if i > 0 {
						same(t, w.name+" "+l.name+", later fragment", got[i].payload, decode(t, f).payload)
					}
				}
				joined(t, got) // and what the first says of the whole is right
			}
		}
	})

	t.Run("XLAT-CK-3", func(t *testing.T) {
		tr := newTranslator(t)
		// zero is a payload with which the checksum comes out as 0 behind that IP header: the checksum that there is with zeros instead.
		zero := func(ip head, l upper) gopacket.Payload {
			p := decode(t, build(t, ip(), l.head(), payload([]byte{0, 0}))).payload
			return payload(p[l.at : l.at+2])
		}
		checksum := func(p packet, l upper) uint16 { return binary.BigEndian.Uint16(p.payload[l.at:]) }
		echo4 := upper{"ICMPv4", layers.IPProtocolICMPv4, 2, func() gopacket.SerializableLayer { return icmp4(0, 0, 0x42420001) }}
		echo6 := upper{"ICMPv6", layers.IPProtocolICMPv6, 2, func() gopacket.SerializableLayer { return icmp6(129, 0, 0x42420001) }}
		for i, w := range ways {
			in, out := echo4, echo6
			if i == 1 {
				in, out = out, in
			}
			for _, c := range []struct {
				in, out upper
				want    uint16
			}{{udp, udp, 0xffff}, {tcp, tcp, 0}, {in, out, 0}} {
				got := checksum(forward(t, tr, build(t, w.in(), c.in.head(), zero(w.out, c.out))), c.out)
				if got != c.want {
					t.Errorf("%s %s: %#04x, want %#04x", w.name, c.out.name, got, c.want)
				}
			}
			// On the way in, 0xffff is a checksum as any other.
			before, behind := build(t, w.in(), udp.head(), zero(w.in, udp)), decode(t, build(t, w.out(), udp.head(), zero(w.in, udp)))
			if got := checksum(decode(t, before), udp); got != 0xffff {
				t.Fatalf("the packet is not what it should be: checksum %#04x", got)
			}
			same(t, w.name+" UDP of 0xffff", forward(t, tr, before).payload, behind.payload)
		}
	})
}

func TestUDPWithoutChecksum(t *testing.T) {
	drop := func(o *siit.Options, _ *eam.Spec) { o.DropZeroUDP4 = true }
	pass := func(o *siit.Options, _ *eam.Spec) { o.PassZeroUDP6 = true }
	// told is what those hear of whom the datapath tells what it dropped.
	told := func(tr *translator, in []byte) (events []datapath.Event) {
		e := datapath.New(tr.Translator)
		e.OnEvent = func(ev datapath.Event) { events = append(events, ev) }
		e.NewWorker().Process([]*frame.Frame{newFrame(in)}, nil, nil)
		return events
	}
	event := datapath.Event{
		Reason: clat.DropZeroChecksum, Direction: clat.To6, Proto: 17,
		Src: netip.AddrPortFrom(addr(client4), 4660), Dst: netip.AddrPortFrom(addr(peer4), 53),
	}

	t.Run("XLAT-CK-4", func(t *testing.T) {
		for _, n := range []int{0, 1, 9, 1200} {
			in := withoutChecksum(build(t, &layers.IPv4{}, &layers.UDP{}, data(n)), 20)
			want := decode(t, build(t, ways[0].out(), &layers.UDP{}, data(n)))
			same(t, "UDP", forward(t, newTranslator(t), in).payload, want.payload)
			dropped(t, newTranslator(t, drop), in, clat.DropZeroChecksum)
		}
		// The UDP header says how much of the packet is the datagram.
		for n := range 13 {
			in := withoutChecksum(build(t, &layers.IPv4{}, &layers.UDP{}, data(9)), 20)
			in[25] = byte(n)
			dropped(t, newTranslator(t, drop), in, clat.DropZeroChecksum)
			if n < 8 {
				dropped(t, newTranslator(t), in, clat.DropTransport)
				continue
			}
			want := decode(t, build(t, ways[0].out(), &layers.UDP{}, data(n-8))).payload
			same(t, "UDP and what follows it", forward(t, newTranslator(t), in).payload, slices.Concat(want, data(9)[n-8:]))
		}
		for _, n := range []int{18, 19, 255, 256, 65535} { // where it has 17
			in := withoutChecksum(build(t, &layers.IPv4{}, &layers.UDP{}, data(9)), 20)
			binary.BigEndian.PutUint16(in[24:], uint16(n))
			dropped(t, newTranslator(t), in, clat.DropTransport)
		}
		in := withoutChecksum(build(t, &layers.IPv4{}, &layers.UDP{}, data(1400)), 20)
		joined(t, fragments(t, newTranslator(t), in)) // whose checksum is that of the whole
		if got := told(newTranslator(t, drop), in); !slices.Equal(got, []datapath.Event{event}) {
			t.Errorf("told %+v, want %+v", got, event)
		}
		if got := told(newTranslator(t), in); got != nil {
			t.Errorf("told %+v of what was not dropped", got)
		}
	})

	t.Run("XLAT-CK-5", func(t *testing.T) {
		whole := withoutChecksum(build(t, &layers.IPv4{}, &layers.UDP{}, data(3000)), 20)
		for _, tr := range []*translator{newTranslator(t), newTranslator(t, drop)} {
			for i, f := range cut(t, whole, 0x1234, 1024) {
				if i > 0 {
					forward(t, tr, f)
					continue
				}
				dropped(t, tr, f, clat.DropZeroChecksum)
				first := event
				first.Fragment = true
				if got := told(tr, f); !slices.Equal(got, []datapath.Event{first}) {
					t.Errorf("told %+v, want %+v", got, first)
				}
			}
		}
	})

	t.Run("XLAT-CK-6", func(t *testing.T) {
		in := withoutChecksum(build(t, &layers.IPv6{}, &layers.UDP{}, data(100)), 40)
		dropped(t, newTranslator(t), in, clat.DropZeroChecksum)
		same(t, "UDP", forward(t, newTranslator(t, pass), in).payload, in[40:])

		for i, f := range cut(t, withoutChecksum(build(t, &layers.IPv6{}, &layers.UDP{}, data(3000)), 40), 0x1234, 1024) {
			if i == 0 {
				dropped(t, newTranslator(t), f, clat.DropZeroChecksum)
			}
			same(t, "fragment", forward(t, newTranslator(t, pass), f).payload, decode(t, f).payload)
		}
	})
}

func TestOtherTransports(t *testing.T) {
	t.Run("XLAT-CK-8", func(t *testing.T) {
		tr := newTranslator(t)
		// sealed is p with the checksum of l over so many of its first octets, and over the pseudo-header of p:
		// gopacket cannot build any of these.
		sealed := func(p []byte, l upper, coverage int) []byte {
			q := decodeHeader(t, p)
			body := edited(q.payload, l.at, 0, 0)
			sum := gopacket.FoldChecksum(gopacket.ComputeChecksum(body[:coverage], gopacket.ComputeChecksum(pseudoHeader(q), 0)))
			return edited(p, len(p)-len(body)+l.at, byte(sum>>8), byte(sum))
		}
		dccp := upper{name: "DCCP", protocol: 33, at: 6}
		lite := upper{name: "UDP-Lite", protocol: layers.IPProtocolUDPLite, at: 6}
		for _, w := range ways {
			with := func(ip head, l upper, body []byte) []byte {
				switch h := ip().(type) {
				case *layers.IPv4:
					h.Protocol = l.protocol
					return build(t, h, payload(body))
				case *layers.IPv6:
					h.NextHeader = l.protocol
					return build(t, h, payload(body))
				}
				panic("no IP header")
			}
			check := func(l upper, body []byte, coverage int) {
				t.Helper()
				in, want := sealed(with(w.in, l, body), l, coverage), sealed(with(w.out, l, body), l, coverage)
				same(t, w.name+" "+l.name, forward(t, tr, in).payload, decode(t, want).payload)
			}
			// A DCCP-Request (RFC 4340, 5.1 and 6): ports, data offset 5, coverage of all, type 0 with long sequence numbers.
			request := append([]byte{0x12, 0x34, 0x00, 0x35, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 42}, data(33)...)
			check(dccp, request, len(request))
			// DCCP-Data that covers only header and 4 octets (9.2).
			request[5] = 2
			check(dccp, request, 20+4)
			// UDP-Lite (RFC 3828): of 0 all is covered, else that many octets.
			datagram := append([]byte{0x12, 0x34, 0x00, 0x35, 0, 0, 0, 0}, data(33)...)
			check(lite, datagram, len(datagram))
			datagram[5] = 8
			check(lite, datagram, 8)
			// What is computed to be 0 is sent as 0xffff, as there must be a checksum (RFC 3828, 3.1).
			zero := edited(datagram, 0, 0, 0)
			sum := decodeHeader(t, sealed(with(w.out, lite, zero), lite, 8)).payload[lite.at:]
			zero = edited(zero, 0, sum[:2]...)
			got := forward(t, tr, sealed(with(w.in, lite, zero), lite, 8))
			same(t, w.name+" UDP-Lite of 0", got.payload[lite.at:][:2], []byte{0xff, 0xff})

			// SCTP: an INIT, whose CRC32c covers no addresses.
			sctp := build(t, &layers.SCTP{SrcPort: 36412, DstPort: 36412}, &layers.SCTPInit{
				SCTPChunk:   layers.SCTPChunk{Type: layers.SCTPChunkTypeInit},
				InitiateTag: 0x01020304, AdvertisedReceiverWindowCredit: 65535, OutboundStreams: 1, InboundStreams: 1, InitialTSN: 7,
			})
			same(t, w.name+" SCTP", forward(t, tr, with(w.in, upper{protocol: layers.IPProtocolSCTP}, sctp)).payload, sctp)
		}
	})
}

// pseudoHeader is what an upper-layer checksum covers beside the message (RFC 9293, 3.1; RFC 8200, 8.1).
func pseudoHeader(p packet) []byte {
	if p.v4 != nil {
		return slices.Concat(p.v4.SrcIP, p.v4.DstIP, []byte{0, byte(p.protocol), byte(len(p.payload) >> 8), byte(len(p.payload))})
	}
	n := len(p.payload)
	return slices.Concat(p.v6.SrcIP, p.v6.DstIP, []byte{0, 0, byte(n >> 8), byte(n), 0, 0, 0, byte(p.protocol)})
}
