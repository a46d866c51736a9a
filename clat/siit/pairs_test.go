package siit

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/eam"
	"uclat/clat/pref64"
)

// A host may have several IPv4 addresses, each with a PREF64 of its own, and all of them behind one IPv6 address.
var (
	second4    = netip.MustParseAddr("100.64.46.6")
	secondPeer = netip.MustParseAddr("2001:db8:64::198.51.100.5") // peer4 behind the second PREF64
)

// pairsTranslator is that of a host with two such addresses.
func pairsTranslator(t testing.TB, edit func(o *Options)) *Translator {
	t.Helper()
	second := pref64.MustParse("2001:db8:64::/96")
	m, err := eam.New(eam.Spec{
		Ours: []eam.Mapping{
			{IPv4: netip.PrefixFrom(host4, 32), IPv6: netip.PrefixFrom(host6, 128)},
			{IPv4: netip.PrefixFrom(second4, 32), IPv6: netip.PrefixFrom(host6, 128), PREF64: second},
		},
		PREF64: []pref64.Prefix{pref64.WellKnown, second},
		Self4:  self4,
	})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := New(m, with(edit))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// onePair is an IPv4 address of the host, and what its packets to peer4 are sent to.
type onePair struct {
	name       string
	ours, peer netip.Addr
}

var bothPairs = []onePair{{"the first", host4, peer6}, {"the second", second4, secondPeer}}

func TestPairs(t *testing.T) {
	tr := pairsTranslator(t, func(*Options) {})
	for _, c := range bothPairs {
		t.Run(c.name, func(t *testing.T) {
			for _, proto := range []uint8{protoTCP, protoUDP} {
				seg := map[uint8][]byte{protoTCP: tcp(data(99)), protoUDP: udp(data(99))}[proto]
				out := forwarded(t, tr, ip4{src: c.ours, proto: proto}.packet(sealed(c.ours, peer4, proto, seg)))
				if out.src != host6 || out.dst != c.peer {
					t.Errorf("%v to %v", out.src, out.dst)
				}
				back := forwarded(t, tr, ip6{src: c.peer, next: proto}.packet(sealed(c.peer, host6, proto, seg)))
				if back.src != peer4 || back.dst != c.ours {
					t.Errorf("back as %v to %v", back.src, back.dst)
				}
			}
			about := ip4{src: peer4, dst: c.ours, proto: protoUDP}.packet(sealed(peer4, c.ours, protoUDP, udp(data(99))))
			e := forwarded(t, tr, ip4{src: c.ours, proto: protoICMP}.packet(sealed(c.ours, peer4, protoICMP, icmp(3, 3, 0, about))))
			inner := e.payload[8:]
			if src, dst := netip.AddrFrom16([16]byte(inner[8:])), netip.AddrFrom16([16]byte(inner[24:])); e.dst != c.peer || src != c.peer || dst != host6 {
				t.Errorf("an error to %v about what %v sent to %v", e.dst, src, dst)
			}
			checkMessage(t, inner[40:], sealed(c.peer, host6, protoUDP, udp(data(99))), protoUDP)
		})
	}
}

// An error is for the address that the quoted packet came from, whoever sends it.
func TestPairsErrors(t *testing.T) {
	tr := pairsTranslator(t, func(*Options) {})
	seg := udp(data(1400))
	for _, c := range bothPairs {
		about := ip6{src: host6, dst: c.peer, next: protoUDP}.packet(sealed(host6, c.peer, protoUDP, seg))
		for _, from := range []netip.Addr{router, netip.MustParseAddr("fe80::1"), peer6, secondPeer, netip.MustParseAddr("2001:db8:64::203.0.113.1")} {
			for _, m := range [][]byte{icmp(2, 0, 1300, about), icmp(3, 0, 0, about), icmp(1, 4, 0, about)} {
				t.Run(c.name+"/from "+from.String(), func(t *testing.T) {
					out := forwarded(t, tr, ip6{src: from, next: protoICMPv6}.packet(sealed(from, host6, protoICMPv6, m)))
					inner := out.payload[8:]
					src, dst := netip.AddrFrom4([4]byte(inner[12:])), netip.AddrFrom4([4]byte(inner[16:]))
					if out.dst != c.ours || src != c.ours || dst != peer4 {
						t.Errorf("to %v about what %v sent to %v", out.dst, src, dst)
					}
					if want := sealed(c.ours, peer4, protoUDP, seg); binary.BigEndian.Uint16(inner[20+6:]) != binary.BigEndian.Uint16(want[6:]) {
						t.Errorf("quotes %x, want %x", inner[20:28], want[:8])
					}
				})
			}
		}
	}
	t.Run("about what nobody sent", func(t *testing.T) {
		nobody := netip.MustParseAddr("2001:db8:65::198.51.100.5")
		about := ip6{src: host6, dst: nobody, next: protoUDP}.packet(sealed(host6, nobody, protoUDP, seg))
		dropped(t, tr, ip6{src: router, next: protoICMPv6}.packet(sealed(router, host6, protoICMPv6, icmp(2, 0, 1300, about))), clat.DropICMPInner)
	})
}

// What the way out refuses is answered to the address that sent it.
func TestPairsTooBig(t *testing.T) {
	for _, c := range bothPairs {
		t.Run("RFC 8201, 4/"+c.name, func(t *testing.T) {
			tr := pairsTranslator(t, func(*Options) {})
			p := ip4{src: c.ours, proto: protoUDP, df: true}.packet(sealed(c.ours, peer4, protoUDP, udp(data(1452))))
			r, s := refused(t, tr, newFrame(p), 1400, 5)
			if r.Verdict != Reply || len(r.Out) != 1 {
				t.Fatalf("%+v", r)
			}
			q := parse(t, r.Out[0].Bytes())
			if src := netip.AddrFrom4([4]byte(q.payload[8+12:])); q.src != self4 || q.dst != c.ours || src != c.ours || !q.good() {
				t.Errorf("%v to %v about what %v sent", q.src, q.dst, src)
			}
			if len(s.Learned) != 1 || s.Learned[0] != (PTB{c.peer.As16(), 1400}) {
				t.Errorf("learned %+v", s.Learned)
			}
		})
	}
}

// ICMP in fragments goes the same ways.
func TestPairsFragmentedICMP(t *testing.T) {
	tr := pairsTranslator(t, func(o *Options) { o.Reassemble = true })
	for _, c := range bothPairs {
		t.Run(c.name, func(t *testing.T) {
			m := sealed(c.peer, host6, protoICMPv6, icmp(129, 0, 7, data(2000)))
			whole := newFrame(ip6{src: c.peer, next: protoICMPv6, extensions: []extension{fragmentHeader(0, false, 7)}}.packet(m))
			whole.Joined = true
			for _, q := range pieces(t, tr, whole) {
				if q.src != peer4 || q.dst != c.ours {
					t.Errorf("%v to %v", q.src, q.dst)
				}
			}
		})
	}
}
