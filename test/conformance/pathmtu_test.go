package conformance

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/siit"
)

// tooBig is a Packet Too Big about a packet.
func tooBig(t testing.TB, from net.IP, mtu uint32, quote []byte) []byte {
	t.Helper()
	return build(t, &layers.IPv6{SrcIP: from}, icmp6(2, 0, mtu), payload(quote))
}

func TestPacketTooBig(t *testing.T) {
	// What the client sent: a segment that fills 1500 octets, which is quoted in part.
	sent := sentTo(t, peer6, 1500)
	reporters := []net.IP{peer6, router6, ip("fe80::1")}

	t.Run("PMTU-8201-4-1", func(t *testing.T) {
		tr := newTranslator(t)
		for _, from := range reporters {
			for _, mtu := range []uint32{0, 20, 68, 576, 1000, 1259, 1260, 1279} {
				dropped(t, tr, tooBig(t, from, mtu, sent), clat.DropPTBTooSmall)
			}
			forward(t, tr, tooBig(t, from, 1280, sent)).icmp(t).is(t, 3, 4, 1260)
		}
	})

	t.Run("PMTU-8201-4-2", func(t *testing.T) {
		for _, c := range []struct {
			mtu6, mtu4 int
			want       uint32
		}{
			{1500, 1500, 1480}, {1500, 1400, 1400}, {1280, 1500, 1260}, {9000, 9000, 8980},
		} {
			tr := newTranslator(t, func(o *siit.Options, _ *eam.Spec) { o.MTU6, o.MTU4 = c.mtu6, c.mtu4 })
			for _, from := range reporters {
				for _, mtu := range []uint32{9000, 9001, 65535, 65536, 65536 + 1300, 1<<32 - 1} {
					forward(t, tr, tooBig(t, from, mtu, sent)).icmp(t).is(t, 3, 4, c.want)
				}
			}
		}
	})

	t.Run("PMTU-CLAT-3", func(t *testing.T) {
		two := func(_ *siit.Options, s *eam.Spec) {
			s.Ours = append(s.Ours, mapping("192.0.0.2/32", "2001:db8:1:2::c1a8/128")) // a second client
		}
		tr, w := newTranslator(t, two), newWorker(t, auto, two)
		for _, forged := range []struct{ src, dst net.IP }{
			{native6, peer6},                    // another host's
			{ip("2001:db8:1:2::c1a8"), peer6},   // the other client's, who did not get the report
			{client6, native6},                  // native, beside the translator
			{client6, ip("2001:db8:1:2::c1a8")}, // to another client of ours
			{peer6, client6},                    // to us instead of from us
			{peer6, peer6},
			{router6, client6},
		} {
			quote := build(t, &layers.IPv6{SrcIP: forged.src, DstIP: forged.dst}, &layers.TCP{ACK: true}, data(1440))[:1232]
			for _, from := range reporters {
				dropped(t, tr, tooBig(t, from, 1400, quote), clat.DropICMPInner)
				w.swallows(t, tooBig(t, from, 1400, quote))
			}
		}
		for _, from := range reporters {
			got := forward(t, tr, tooBig(t, from, 1400, sent)).icmp(t)
			got.is(t, 3, 4, 1380)
			got.quoted(t).fromTo(t, client4, peer4)
		}

		// Nothing was learned of any of these, nor is it of what is damaged, or of another error.
		report := tooBig(t, router6, 1400, sent)
		for at := 40; at < len(report); at += 11 {
			w.swallows(t, edited(report, at, report[at]^0x10))
		}
		for _, other := range []*icmpv6{icmp6(1, 0, 1400), icmp6(3, 0, 1400), icmp6(4, 1, 1400)} {
			w.passes(t, build(t, &layers.IPv6{SrcIP: router6}, other, payload(sent)))
		}
		w.most(t, peer4, 1500)
		// A packet that was not longer than that had no need of it (RFC 8201, 4), and one that is longer than what leaves here never did.
		// One octet more, and it had.
		for _, octets := range []int{100, 1280, 1399, 1400, 1501} {
			w.passes(t, tooBig(t, router6, 1400, sentTo(t, peer6, octets)))
			w.most(t, peer4, 1500)
		}
		w.passes(t, tooBig(t, router6, 1400, sentTo(t, peer6, 1401)))
		w.most(t, peer4, 1400)
	})
}

// mss is the maximum segment size option.
func mss(octets uint16) layers.TCPOption {
	return layers.TCPOption{OptionType: layers.TCPOptionKindMSS, OptionData: binary.BigEndian.AppendUint16(nil, octets)}
}

func TestMaximumSegmentSize(t *testing.T) {
	t.Run("PMTU-4821/8899", func(t *testing.T) {
		// A tunnel of 1420 octets: 1420 less 40 of IPv6 and 20 of TCP is 1360.
		tunnel := func(o *siit.Options, _ *eam.Spec) { o.MTU6, o.MTU4 = 1420, 1420 }
		clamp := func(o *siit.Options, _ *eam.Spec) { o.ClampMSS = true }
		narrow4 := func(o *siit.Options, _ *eam.Spec) { o.MTU4 = 1300 } // less 20 of IPv4 and 20 of TCP: 1260
		nop, sack := layers.TCPOption{OptionType: layers.TCPOptionKindNop}, layers.TCPOption{OptionType: layers.TCPOptionKindSACKPermitted}
		end := layers.TCPOption{OptionType: layers.TCPOptionKindEndList}
		type options []layers.TCPOption
		for _, c := range []struct {
			name         string
			tr           *translator
			syn, ack     bool
			before, want options
		}{
			{"SYN", newTranslator(t, tunnel, clamp), true, false, options{mss(1460)}, options{mss(1360)}},
			{"SYN-ACK", newTranslator(t, tunnel, clamp), true, true, options{mss(1460)}, options{mss(1360)}},
			{"one octet too many", newTranslator(t, tunnel, clamp), true, false, options{mss(1361)}, options{mss(1360)}},
			{"as much as fits", newTranslator(t, tunnel, clamp), true, false, options{mss(1360)}, options{mss(1360)}},
			{"less", newTranslator(t, tunnel, clamp), true, false, options{mss(536)}, options{mss(536)}},
			{"the most that there is", newTranslator(t, tunnel, clamp), true, false, options{mss(65535)}, options{mss(1360)}},
			{"behind others", newTranslator(t, tunnel, clamp), true, false, options{sack, nop, nop, mss(1460)}, options{sack, nop, nop, mss(1360)}},
			{"at an odd octet", newTranslator(t, tunnel, clamp), true, false, options{nop, mss(1460)}, options{nop, mss(1360)}},
			{"IPv4 takes less", newTranslator(t, tunnel, clamp, narrow4), true, false, options{mss(1460)}, options{mss(1260)}},
			{"no SYN", newTranslator(t, tunnel, clamp), false, true, options{mss(1460)}, options{mss(1460)}},
			{"no such option", newTranslator(t, tunnel, clamp), true, false, options{sack, nop, nop}, options{sack, nop, nop}},
			{"behind the end of options", newTranslator(t, tunnel, clamp), true, false, options{end, mss(1460)}, options{end, mss(1460)}},
			{"off, the default", newTranslator(t, tunnel), true, false, options{mss(1460)}, options{mss(1460)}},
		} {
			for _, w := range ways {
				segment := func(o options) *layers.TCP { return &layers.TCP{SYN: c.syn, ACK: c.ack, Options: slices.Clone(o)} }
				want := decode(t, build(t, w.out(), segment(c.want)))
				got := forward(t, c.tr, build(t, w.in(), segment(c.before))) // which verifies the checksum
				same(t, w.name+": "+c.name, got.payload, want.payload)

				// Where the device is to make the checksum, there is only the pseudo-header's sum.
				partial := func(o options) upper {
					return upper{"SYN", layers.IPProtocolTCP, tcp.at, func() gopacket.SerializableLayer { return segment(o) }}
				}
				before, after := super(t, w.in(), partial(c.before), 5), super(t, w.out(), partial(c.want), 5)
				got, _ = forwardOffloaded(t, c.tr, before, offload(tcp, w.l4))
				same(t, w.name+": "+c.name+", partial checksum", got.payload, decodeHeader(t, after).payload)
			}
		}
		clampToPath(t, tunnel, clamp)
		// Options that are cut off, or say nonsense, stay, and so does what follows the header.
		tr := newTranslator(t, tunnel, clamp)
		for _, bad := range [][]byte{
			{1, 1, 2, 4}, {1, 2, 4, 0xff}, {1, 1, 1, 2}, {1, 2, 3, 0xff}, {2, 0, 0xff, 0xff}, {2, 1, 0xff, 0xff}, {3, 0, 1, 1}, {1, 1, 3, 3},
		} {
			for _, w := range ways {
				for _, content := range []gopacket.Payload{nil, {0xff}, {0xff, 0xff, 0xff, 0xff}, data(33)} {
					syn := func(ip head) []byte { // with the checksum of four octets of no operation, on both sides
						p := build(t, ip(), &layers.TCP{SYN: true, Options: options{nop, nop, nop, nop}}, content)
						return edited(p, len(p)-len(content)-4, bad...)
					}
					r := tr.translate(syn(w.in))
					if r.verdict != siit.Forward || len(r.out) != 1 {
						t.Fatalf("%s: options %x: %v", w.name, bad, r.reason)
					}
					same(t, w.name+": cut off", decodeHeader(t, r.out[0]).payload, decodeHeader(t, syn(w.out)).payload)
				}
			}
		}
	})
}

// clampToPath: what was learned of the path to the remote host counts in both directions, and what was learned of another does not.
func clampToPath(t *testing.T, edits ...func(*siit.Options, *eam.Spec)) {
	t.Helper()
	w := newWorker(t, edits...)
	offers := func(w *worker, remote net.IP, before, want uint16) {
		t.Helper()
		for _, in := range [][]byte{
			build(t, &layers.IPv4{DstIP: remote}, &layers.TCP{SYN: true, Options: []layers.TCPOption{mss(before)}}),
			build(t, &layers.IPv6{SrcIP: wellKnown(remote)}, &layers.TCP{SYN: true, ACK: true, Options: []layers.TCPOption{mss(before)}}),
		} {
			if got := binary.BigEndian.Uint16(w.passes(t, in).payload[22:]); got != want {
				t.Errorf("with %v, %d became %d, want %d", remote, before, got, want)
			}
		}
	}
	other4 := ip("198.51.100.6")
	offers(w, peer4, 1460, 1360)
	w.passes(t, tooBig(t, router6, 1300, sentTo(t, peer6, 1420)))
	for _, lane := range []*worker{w, w.beside()} {
		offers(lane, peer4, 1460, 1240)
		offers(lane, peer4, 1241, 1240)
		offers(lane, peer4, 1240, 1240)
		offers(lane, peer4, 536, 536)
		offers(lane, other4, 1460, 1360)
	}
	narrow4 := newWorker(t, append(edits, func(o *siit.Options, _ *eam.Spec) { o.MTU4 = 1270 })...)
	narrow4.passes(t, tooBig(t, router6, 1300, sentTo(t, peer6, 1420)))
	offers(narrow4, peer4, 1460, 1230)
}
