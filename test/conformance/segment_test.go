package conformance

import (
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/frame"
	"uclat/clat/siit"
)

// What becomes of a super-packet depends on the packets that it is on the wire. These are parts of XLAT-CK-9.

// identificationsOfEach: where the datagrams of a UDP super-packet leave in fragments, each has the identification that a device would
// have given it in IPv4, where they count up in 16 bits.
func identificationsOfEach(t *testing.T) {
	tr := newTranslator(t)
	const datagrams = 4
	for _, first := range []uint16{0, 1, 0x7ffe, 0xff00, 0xfffd, 0xfffe, 0xffff} {
		r := tr.offloaded(super(t, &layers.IPv4{Id: first}, udp, datagrams*1400), segmented(udp, 20, 1400))
		if r.Verdict != siit.Forward || len(r.Out) != 2*datagrams {
			t.Fatalf("verdict %d, reason %v, %d packets, want two of each datagram", r.Verdict, r.Reason, len(r.Out))
		}
		for i := range uint16(datagrams) {
			pair := []packet{decode(t, r.Out[2*i].Bytes()), decode(t, r.Out[2*i+1].Bytes())}
			if got, want := joined(t, pair).udp(t).Length, uint16(8+1400); got != want {
				t.Errorf("datagram of %d octets, want %d", got, want)
			}
			if got, want := pair[0].id(), uint32(first+i); got != want {
				t.Errorf("datagram %d from %#x on: identification %#x, want %#x", i, first, got, want)
			}
		}
	}
}

// segmentsBelow1260: what would have to be fragmented in IPv4. Of TCP, the device makes smaller segments instead; of UDP, there may be
// more fragments than can be sent at once.
func segmentsBelow1260(t *testing.T) {
	tr := newTranslator(t, sizes4(1000))
	const header = 32 // of tcp: 1280 octets of IPv6 are 40, these, and 1208
	for _, options := range []int{0, 16, 128} {
		headers := func() stack {
			if options == 0 {
				return stack{&layers.IPv6{}}
			}
			return stack{&layers.IPv6{}, longOptions(options)}
		}
		whole := build(t, append(headers(), tcp.head(), data(20000))...)
		const fits = 1000 - 20 - header
		for _, size := range []int{1, 500, fits - 1, fits, fits + 1, 1208 - options} {
			got, said := forwardOffloaded(t, tr, whole, segmented(tcp, 40+options, size))
			if want := uint16(min(size, fits)); said.SegSize != want || said.L4 != 20 || said.GSO != frame.SegmentTCP {
				t.Errorf("segments of %d octets: said %+v, want %d", size, said, want)
			}
			if len(got.payload) != header+20000 || got.v4.Flags != 0 {
				t.Errorf("segments of %d octets: %d octets of payload, %q", size, len(got.payload), got.v4.Flags)
			}
		}
		r := tr.offloaded(whole, segmented(tcp, 40+options, 1208-options+1))
		if r.Verdict != siit.Reply || r.Reason != clat.DropTooBig {
			t.Fatalf("1281 octets: verdict %d, reason %v, want an answer", r.Verdict, r.Reason)
		}
		decode(t, r.Out[0].Bytes()).icmp(t).is(t, 2, 0, 1280)
	}

	whole := super(t, &layers.IPv6{}, udp, 20000)
	_, said := forwardOffloaded(t, tr, whole, segmented(udp, 40, 1000-28))
	if said.SegSize != 1000-28 {
		t.Errorf("datagrams of %d octets, want %d", said.SegSize, 1000-28)
	}
	for _, size := range []int{1000 - 28 + 1, 1280 - 48} {
		if r := tr.offloaded(whole, segmented(udp, 40, size)); r.Verdict != siit.Drop || r.Reason != clat.DropTooBig {
			t.Errorf("datagrams of %d octets: verdict %d, reason %v, want %v", size, r.Verdict, r.Reason, clat.DropTooBig)
		}
	}

	// A segment has 8 octets at least: with more options than leave room for that, there is none.
	least := newTranslator(t, sizes4(68))
	for options, want := range map[int]uint16{0: 28, 12: 16, 20: 8, 24: 0, 40: 0} {
		nops := slices.Repeat([]layers.TCPOption{{OptionType: layers.TCPOptionKindNop}}, options)
		segment := &layers.TCP{ACK: true, Options: nops}
		p := build(t, &layers.IPv6{}, segment, data(2000))
		if want > 0 {
			if _, said := forwardOffloaded(t, least, p, segmented(tcp, 40, 1000)); said.SegSize != want {
				t.Errorf("segments of %d octets behind %d of options, want %d", said.SegSize, options, want)
			}
		} else if r := least.offloaded(p, segmented(tcp, 40, 1000)); r.Verdict != siit.Drop || r.Reason != clat.DropTooBig {
			t.Errorf("%d octets of options: verdict %d, reason %v, want %v", options, r.Verdict, r.Reason, clat.DropTooBig)
		}
	}
}

// quotesOfSegments: an error of our own is about the first segment. It quotes what that would have been on the wire, with its lengths
// and no more than that, but for the transport checksum, which nobody has made yet.
func quotesOfSegments(t *testing.T) {
	df := func() stack { return stack{&layers.IPv4{Id: 0x1234, Flags: layers.IPv4DontFragment}} }
	expired4 := func() stack { return stack{&layers.IPv4{Id: 0x1234, TTL: 1}} }
	options4 := func() stack {
		nops := slices.Repeat([]layers.IPv4Option{{OptionType: 1}}, 12)
		return stack{&layers.IPv4{Id: 0x1234, TTL: 1, Options: nops}}
	}
	plain6 := func() stack { return stack{&layers.IPv6{TrafficClass: 0xb8, FlowLabel: 0x12345}} }
	behind6 := func(octets int) func() stack {
		return func() stack { return stack{&layers.IPv6{HopLimit: 1}, longOptions(octets)} }
	}
	expired6 := func() stack { return stack{&layers.IPv6{HopLimit: 1}} }
	narrow := newTranslator(t, sizes4(1400))
	tr := newTranslator(t)
	for _, c := range []struct {
		name      string
		tr        *translator
		headers   func() stack
		reason    clat.DropReason
		typ, code uint8
		word      uint32
		sizes     []int // octets of payload in each segment
	}{
		{"3/4", tr, df, clat.DropTooBig, 3, 4, 1480, []int{1453, 1460, 8000}},
		{"11/0", tr, expired4, clat.DropTTL, 11, 0, 0, []int{1, 2, 499, 507, 508, 509, 519, 520, 521, 1400, 2999, 3000, 4000}},
		{"11/0 with options", tr, options4, clat.DropTTL, 11, 0, 0, []int{1, 495, 496, 497, 508, 1400}},
		{"3/0", tr, expired6, clat.DropTTL, 3, 0, 0, []int{1, 2, 499, 1159, 1160, 1161, 1183, 1184, 1185, 1400, 2999, 3000, 4000}},
		{"3/0 with options", tr, behind6(16), clat.DropTTL, 3, 0, 0, []int{1, 499, 1168, 1400}},
		{"3/0 with the UDP header at the end", tr, behind6(1184), clat.DropTTL, 3, 0, 0, []int{1, 1400}},
		{"3/0 with options only", tr, behind6(1192), clat.DropTTL, 3, 0, 0, []int{1, 1400}},
		{"3/0 with options that are cut", tr, behind6(1400), clat.DropTTL, 3, 0, 0, []int{1, 1400}},
		{"2/0", narrow, plain6, clat.DropTooBig, 2, 0, 1420, []int{1373, 1400, 2000}},
	} {
		for _, l := range []upper{tcp, udp} {
			t.Run(c.name+"/"+l.name, func(t *testing.T) {
				l4 := len(build(t, c.headers()...))
				// segment is a packet with so much payload, and the checksum field of the whole.
				segment := func(octets int) []byte {
					p := build(t, append(c.headers(), l.head(), data(octets))...)
					return edited(p, l4+l.at, 0xab, 0xcd)
				}
				whole := segment(3000)
				for _, size := range c.sizes {
					r := c.tr.offloaded(whole, segmented(l, l4, size))
					if r.Verdict != siit.Reply || r.Reason != c.reason || len(r.Out) != 1 {
						t.Fatalf("segments of %d octets: verdict %d, reason %v, want an answer for %v", size, r.Verdict, r.Reason, c.reason)
					}
					p := decode(t, r.Out[0].Bytes())
					room := 576 - 20 - 8
					if p.v4 != nil {
						p.fromTo(t, self4, client4)
					} else {
						p.fromTo(t, self6, peer6)
						room = 1280 - 40 - 8
					}
					m := p.icmp(t)
					m.is(t, c.typ, c.code, c.word)
					want := segment(min(size, 3000))
					same(t, "quote", m.body, want[:min(len(want), room)])
				}
			})
		}
	}
}
