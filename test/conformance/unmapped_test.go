package conformance

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/config"
	"uclat/clat/eam"
	"uclat/clat/frame"
	"uclat/clat/siit"
)

// unmapped are sources of ICMPv6 errors that no IPv4 address stands for: routers between the client and the NAT64.
var unmapped = []net.IP{router6, native6, ip("fd00::1"), ip("fe80::1"), ip("64:ff9b:1::203.0.113.1"), ip("2001:db8:1:2::1")}

// mappedRouter6 is one behind the NAT64, and mappedRouter4 what it is in IPv4.
var (
	mappedRouter4 = ip("203.0.113.1")
	mappedRouter6 = ip("64:ff9b::203.0.113.1")
)

// withNodeID has the translator tell the IPv6 addresses of routers that have no other.
func withNodeID(o *siit.Options, _ *eam.Spec) { o.NodeID = true }

// nodeID is the object that does so: class 5, C-Type 4, and an IPv6 address (draft-ietf-intarea-extended-icmp-nodeid).
func nodeID(a net.IP) []byte { return object(5, 4, append([]byte{0, 2, 0, 0}, a...)...) }

// report is an ICMPv6 error that a router sends to the client.
func report(t testing.TB, from net.IP, typ, code uint8, word uint32, quote ...[]byte) []byte {
	t.Helper()
	return build(t, &layers.IPv6{SrcIP: from}, icmp6(typ, code, word), payload(quote...))
}

// reports are the ICMPv6 errors that are translated, and what they become. extensible ones have a place for extensions.
var reports = []struct {
	typ, code  uint8
	word       uint32
	to, code4  uint8
	word4      uint32
	extensible bool
}{
	{1, 0, 0, 3, 1, 0, true}, {1, 1, 0, 3, 10, 0, true}, {1, 2, 0, 3, 1, 0, true}, {1, 3, 0, 3, 1, 0, true}, {1, 4, 0, 3, 3, 0, true},
	{2, 0, 1400, 3, 4, 1380, false},
	{3, 0, 0, 11, 0, 0, true}, {3, 1, 0, 11, 1, 0, true},
	{4, 0, 7, 12, 0, 8 << 24, false}, {4, 1, 6, 3, 2, 0, false},
}

// ICMPv6 errors of routers that have no IPv4 address (RFC 6791, draft-ietf-v6ops-icmpext-xlat-v6only-source).
func TestUnmappedRouters(t *testing.T) {
	quote, quoted := errors64.quoted(t, quotedUDP, 33)

	t.Run("XLAT-6791-3", func(t *testing.T) {
		for _, source := range []net.IP{ip("203.0.113.77"), ip("192.0.0.9"), dummy4} {
			tr := newTranslator(t, func(o *siit.Options, _ *eam.Spec) { o.UnmappedSource = addr(source) })
			for _, r := range reports {
				p := forward(t, tr, report(t, router6, r.typ, r.code, r.word, quote))
				p.fromTo(t, source, client4)
				p.icmp(t).is(t, r.to, r.code4, r.word4)
			}
			forward(t, tr, report(t, mappedRouter6, 3, 0, 0, quote)).fromTo(t, mappedRouter4, client4)
		}
		off := newTranslator(t, func(o *siit.Options, _ *eam.Spec) { o.UnmappedSource = netip.Addr{} })
		for _, r := range reports {
			dropped(t, off, report(t, router6, r.typ, r.code, r.word, quote), clat.DropNoMapping)
		}
		for setting, want := range map[string]string{
			"": "192.0.0.8", "translate.unmapped-source = '203.0.113.77'": "203.0.113.77", "translate.unmapped-source = ''": "invalid IP",
		} {
			c, err := config.Parse("test.toml", []byte(setting))
			if err != nil {
				t.Fatalf("%q: %v", setting, err)
			}
			a := c.Translate.UnmappedSource
			if a.String() != want || a.IsPrivate() || netip.MustParsePrefix("100.64.0.0/10").Contains(a) {
				t.Errorf("%q: %v, want %v", setting, a, want)
			}
		}
	})

	t.Run("XLAT-V6SRC-4.1", func(t *testing.T) {
		tr, without := newTranslator(t, withNodeID), newTranslator(t)
		for _, from := range unmapped {
			for _, r := range reports {
				if r.typ == 4 {
					continue // V6SRC-4
				}
				in := report(t, from, r.typ, r.code, r.word, quote)
				p := forward(t, tr, in)
				p.fromTo(t, dummy4, client4)
				if p.v4.TTL != 63 {
					t.Errorf("TTL %d, want 63", p.v4.TTL)
				}
				if r.extensible {
					p.icmp(t).is(t, r.to, r.code4, 32<<16)
					p.carries(t, quoted, structure(nodeID(from)))
				} else {
					p.icmp(t).is(t, r.to, r.code4, r.word4)
					p.quotes(t, quoted)
				}
				// Without the object it is a message like all others.
				p = forward(t, without, in)
				p.fromTo(t, dummy4, client4)
				p.icmp(t).is(t, r.to, r.code4, r.word4)
				p.quotes(t, quoted)
			}
			// It is errors only that come from nowhere.
			reason := clat.DropNoMapping
			if from.IsLinkLocalUnicast() {
				reason = clat.DropSource
			}
			for _, typ := range []uint8{128, 129, 130, 133, 134, 135, 136, 137, 143, 255} {
				dropped(t, tr, report(t, from, typ, 0, 0, quote), reason)
			}
			dropped(t, tr, build(t, &layers.IPv6{SrcIP: from}, &layers.UDP{}, data(33)), reason)
			dropped(t, tr, build(t, &layers.IPv6{SrcIP: from}, &layers.TCP{}, data(33)), reason)
		}
		// Sources that no packet has.
		for _, from := range []string{"::", "::1", "ff02::1", "ff0e::1"} {
			dropped(t, tr, report(t, ip(from), 3, 0, 0, quote), clat.DropSource)
		}
		// What holds for all errors holds for these: hops, fragments, types.
		for _, r := range reports {
			in := report(t, router6, r.typ, r.code, r.word, quote)
			for hops := range byte(2) {
				dropped(t, tr, edited(in, 7, hops), clat.DropTTL)
			}
			// What a device says of TCP and UDP, it cannot say of ICMPv6.
			for _, o := range []frame.Offload{offload(tcp, 40), offload(udp, 40), segmented(tcp, 40, 1200), {GSO: frame.SegmentUDP, SegSize: 1200}} {
				if got := tr.offloaded(in, o); got.Verdict != siit.Drop || got.Reason != clat.DropOffload {
					t.Errorf("%+v: verdict %d, reason %v", o, got.Verdict, got.Reason)
				}
			}
			forwardOffloaded(t, tr, in, frame.Offload{Checksum: frame.ChecksumVerified})
		}
		for _, fragment := range cut(t, report(t, router6, 3, 0, 0, quote), 1, 48) {
			dropped(t, tr, fragment, clat.DropFragmentedICMP)
		}
		for _, m := range []struct{ typ, code uint8 }{{0, 0}, {1, 5}, {1, 6}, {4, 2}, {4, 3}, {5, 0}, {100, 0}, {127, 0}} {
			dropped(t, tr, report(t, router6, m.typ, m.code, 0, quote), clat.DropICMPType)
		}
		c := config.Default()
		if !c.Translate.NodeIdentification {
			t.Error("by default there is no such object")
		}
	})

	t.Run("XLAT-V6SRC-4.1n", func(t *testing.T) {
		host4, host6 := ip("192.0.2.7"), ip("2001:db8:77::7")
		tr := newTranslator(t, withNodeID, func(_ *siit.Options, s *eam.Spec) {
			s.Map = []eam.Mapping{mapping(host4.String()+"/32", host6.String()+"/128")}
		})
		for _, from := range []struct{ v6, v4 net.IP }{
			{mappedRouter6, mappedRouter4}, {peer6, peer4}, {host6, host4}, {ip("64:ff9b::10.1.2.3"), ip("10.1.2.3")},
		} {
			for _, r := range reports {
				p := forward(t, tr, report(t, from.v6, r.typ, r.code, r.word, quote))
				p.fromTo(t, from.v4, client4)
				p.icmp(t).is(t, r.to, r.code4, r.word4)
				p.quotes(t, quoted)
			}
			// What the router tells itself stays, and nothing joins it.
			ext := structure(labelStack)
			forward(t, tr, report(t, from.v6, 3, 0, 16<<24, padded(quote, 8), ext)).carries(t, quoted, ext)
		}
		// A source that claims an IPv4 address which it cannot have is no router without one.
		for _, from := range []string{"64:ff9b::127.0.0.1", "64:ff9b::192.0.0.1", "64:ff9b::224.0.0.1", client6.String()} {
			for _, r := range reports {
				dropped(t, tr, report(t, ip(from), r.typ, r.code, r.word, quote), clat.DropSpoofed)
			}
		}
	})

	t.Run("XLAT-V6SRC-4.2", func(t *testing.T) {
		tr := newTranslator(t, withNodeID)
		whole, becomes := errors64.quoted(t, quotedTCP, 1440)
		for _, from := range unmapped {
			p := forward(t, tr, report(t, from, 2, 0, 1400, whole[:1232]))
			p.fromTo(t, dummy4, client4)
			p.icmp(t).is(t, 3, 4, 1380)
			p.quotes(t, becomes[:1212])
		}
	})

	t.Run("XLAT-V6SRC-4", func(t *testing.T) {
		tr := newTranslator(t, withNodeID)
		for _, from := range unmapped {
			for _, r := range reports {
				if r.typ != 4 {
					continue
				}
				p := forward(t, tr, report(t, from, r.typ, r.code, r.word, quote))
				p.fromTo(t, dummy4, client4)
				p.icmp(t).is(t, r.to, r.code4, r.word4)
				p.quotes(t, quoted)
			}
			dropped(t, tr, report(t, from, 4, 0, 2, quote), clat.DropICMPType) // a pointer to what IPv4 does not have
			dropped(t, tr, report(t, from, 4, 2, 6, quote), clat.DropICMPType)
		}
	})

	t.Run("XLAT-V6SRC-5", func(t *testing.T) {
		tr := newTranslator(t, withNodeID)
		about := func(src, dst net.IP) []byte {
			return build(t, &layers.IPv6{SrcIP: src, DstIP: dst}, &layers.TCP{}, data(100))
		}
		for _, from := range append(slices.Clone(unmapped), mappedRouter6) {
			for _, r := range reports {
				forward(t, tr, report(t, from, r.typ, r.code, r.word, about(client6, peer6)))
				// The host's own traffic from the same address, and that of others.
				for _, native := range [][]byte{
					about(client6, native6), about(client6, ip("64:ff9b:1::198.51.100.5")), about(client6, ip("64:ff9a::198.51.100.5")),
					about(client6, client6), about(native6, peer6), about(peer6, client6),
				} {
					dropped(t, tr, report(t, from, r.typ, r.code, r.word, native), clat.DropICMPInner)
				}
			}
		}
	})

	t.Run("XLAT-NODEID", nodeIdentification)
}

// nodeIdentification looks at the object octet by octet, and at what gives way to it.
func nodeIdentification(t *testing.T) {
	tr := newTranslator(t, withNodeID)
	whole, becomes := errors64.quoted(t, quotedUDP, 3000)
	for _, typ := range []uint8{1, 3} {
		for n := range 300 {
			quote, quoted := errors64.quoted(t, quotedUDP, n)
			p := forward(t, tr, report(t, router6, typ, 0, 0, quote))
			p.carries(t, quoted, unhex(t, "2000ad27"+"00180504"+"00020000"+"20010db8ffff00000000000000000001"))
			want := max(128, (len(quoted)+3)/4*4)
			if m := p.icmp(t); m.word != uint32(want/4)<<16 || len(p.octets) != 28+want+28 {
				t.Errorf("%d octets with %#08x about %d", len(p.octets), m.word, len(quoted))
			}
		}
	}
	// In a structure that is there already it is the last, and the checksum counts it.
	for _, objects := range [][][]byte{{}, {labelStack}, {labelStack, interfaceInfo}, {object(200, 9, data(240)...)}} {
		for n := 48; n <= 640; n += 8 {
			p := forward(t, tr, report(t, router6, 3, 0, uint32(n/8)<<24, whole[:n], structure(objects...)))
			p.carries(t, becomes[:n-20], structure(append(objects[:len(objects):len(objects)], nodeID(router6))...))
		}
	}
	// A checksum that comes out as 0 is sent as 0xffff: 0 is none.
	sum := structure(object(1, 1, 0, 0, 0, 0), nodeID(router6))[2:4]
	label := object(1, 1, sum[0], sum[1], 0, 0) // with which the sum of all is 0xffff
	p := forward(t, tr, report(t, router6, 3, 0, 16<<24, whole[:128], structure(label)))
	p.carries(t, becomes[:108], edited(structure(label, nodeID(router6)), 2, 0xff, 0xff))
	// None stays none, and a wrong one stays wrong.
	for _, sum := range []uint16{0, 0x1234} {
		ext := structure(labelStack)
		correct := structure(labelStack, nodeID(router6))
		m := forward(t, tr, report(t, router6, 3, 0, 16<<24, whole[:128], edited(ext, 2, byte(sum>>8), byte(sum)))).icmp(t)
		switch got := m.body[128:]; {
		case len(got) != len(correct) || sum == 0 && (got[2] != 0 || got[3] != 0):
			t.Errorf("extension structure %x", got)
		case got[2] == correct[2] && got[3] == correct[3]:
			t.Errorf("the checksum %#04x was made right", sum)
		}
	}
	// Behind a structure that does not end where an object can begin, there is no place for one.
	for n := range 9 {
		ext := structure(labelStack, data(n))
		p := forward(t, tr, report(t, router6, 3, 0, 16<<24, whole[:128], ext))
		if n%4 == 0 {
			p.carries(t, becomes[:108], structure(labelStack, data(n), nodeID(router6)))
		} else {
			p.carries(t, becomes[:108], ext)
		}
	}
	// Hosts read 8 octets behind the header to know what a message is about (RFC 792). With fewer, the padding would be taken for them.
	for keep := range 12 {
		p := forward(t, tr, report(t, router6, 3, 0, 0, whole[:40+keep]))
		if want := append(slices.Clone(becomes[:20:20]), whole[40:40+keep]...); keep < 8 {
			p.icmp(t).is(t, 11, 0, 0)
			p.quotes(t, want)
		} else {
			p.carries(t, becomes[:20+keep], structure(nodeID(router6)))
		}
	}
	makesRoom(t, whole, becomes)
}

// makesRoom wants as many octets less of the quote as the object takes, where IPv4 does not take the whole message.
func makesRoom(t *testing.T, whole, becomes []byte) {
	t.Helper()
	const head = 20 + 8
	ext := structure(labelStack, interfaceInfo)
	for _, mtu := range []int{68, 100, 156, 180, 183, 184, 185, 188, 196, 207, 208, 212, 400, 576, 1000, 1076, 1280, 1500} {
		limit := func(o *siit.Options, _ *eam.Spec) { o.MTU4 = mtu }
		with, without := newTranslator(t, withNodeID, limit), newTranslator(t, limit)

		// Alone it takes 28 octets with its structure, and leaves 128 to the quote, or is left out. An octet can say 1020.
		in := report(t, router6, 3, 0, 0, whole[:1232])
		full := min(1212, mtu-head)
		forward(t, without, in).quotes(t, becomes[:full])
		if room := (mtu - head - 28) / 4 * 4; room >= 128 {
			forward(t, with, in).carries(t, becomes[:min(1020, room)], structure(nodeID(router6)))
		} else {
			p := forward(t, with, in)
			p.icmp(t).is(t, 11, 0, 0)
			p.quotes(t, becomes[:full])
		}

		// With others before it, it takes 24 octets. It is the first to be left out.
		in = report(t, router6, 3, 0, 100<<24, whole[:800], ext)
		others := (mtu - head - len(ext)) / 4 * 4
		switch p := forward(t, with, in); {
		case others-24 >= 128:
			p.carries(t, becomes[:min(780, others-24)], structure(labelStack, interfaceInfo, nodeID(router6)))
			forward(t, without, in).carries(t, becomes[:min(780, others)], ext)
		case others >= 128:
			p.carries(t, becomes[:others], ext)
		default:
			p.icmp(t).is(t, 11, 0, 0)
			p.quotes(t, becomes[:min(780, mtu-head)])
		}
	}
}
