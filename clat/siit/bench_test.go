package siit

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"uclat/clat/frame"
)

// kind is one kind of packet for the tests of speed and allocation.
type kind struct {
	name    string
	in      []byte
	offload frame.Offload
	verdict Verdict
}

func kinds() []kind {
	super4, super6 := tcp(data(60000)), tcp(data(60000))
	for i, seg := range [][]byte{super4, super6} {
		binary.BigEndian.PutUint16(seg[16:], slowSum(families[i].pseudo(protoTCP, len(seg))))
	}
	return []kind{
		{"TCP46", from4(protoTCP, tcp(data(1400))), frame.Offload{}, Forward},
		{"TCP64", from6(protoTCP, tcp(data(1400))), frame.Offload{}, Forward},
		{"UDP46", from4(protoUDP, udp(data(100))), frame.Offload{}, Forward},
		{"UDP64", from6(protoUDP, udp(data(100))), frame.Offload{}, Forward},
		{"SuperTCP46", ip4{proto: protoTCP, df: true}.packet(super4), families[0].offload(protoTCP, frame.SegmentTCP, 1400), Forward},
		{"SuperTCP64", ip6{next: protoTCP}.packet(super6), families[1].offload(protoTCP, frame.SegmentTCP, 1400), Forward},
		{"Echo46", from4(protoICMP, icmp(8, 0, 1, data(56))), frame.Offload{}, Forward},
		{"Echo64", from6(protoICMPv6, icmp(129, 0, 1, data(56))), frame.Offload{}, Forward},
		{"PortUnreachable46", from4(protoICMP, icmp(3, 3, 0, quoted4())), frame.Offload{}, Forward},
		{"PortUnreachable64", from6(protoICMPv6, icmp(1, 4, 0, quoted6())), frame.Offload{}, Forward},
		{"PacketTooBig64", ip6{src: router, next: protoICMPv6}.packet(
			seal(router, host6, protoICMPv6, icmp(2, 0, 1400, quoted6()))), frame.Offload{}, Forward},
		{"UnmappedTimeExceeded64", ip6{src: router, next: protoICMPv6}.packet( // gets a Node Identification object
			seal(router, host6, protoICMPv6, icmp(3, 0, 0, quoted6()))), frame.Offload{}, Forward},
		{"ExtendedTimeExceeded46", from4(protoICMP, icmp(11, 0, 32<<16, extended(quoted4(), 128, structure(8)))), frame.Offload{}, Forward},
		{"ExtendedTimeExceeded64", from6(protoICMPv6, icmp(3, 0, 16<<24, extended(quoted6(), 128, structure(8)))), frame.Offload{}, Forward},
		{"Fragment46", ip4{proto: protoUDP, offset: 800, mf: true}.packet(data(800)), frame.Offload{}, Forward},
		{"Fragment64", ip6{next: protoUDP, extensions: []extension{fragmentHeader(800, true, 1)}}.packet(data(800)), frame.Offload{}, Forward},
		{"Fragmenting46", ip4{proto: protoUDP}.packet(seal(host4, peer4, protoUDP, udp(data(1472)))), frame.Offload{}, Forward},
		{"Fragmenting46Longest", ip4{proto: 50}.packet(data(65515)), frame.Offload{}, Forward},
		{"ZeroUDP46", ip4{proto: protoUDP}.packet(udp(data(100))), frame.Offload{}, Forward},
		{"FragNeeded46", ip4{proto: 50, df: true}.packet(data(1480)), frame.Offload{}, Reply},
		{"HopLimit64", ip6{next: 50, hops: 1}.packet(data(1400)), frame.Offload{}, Reply},
		{"Spoofed64", ip6{src: netip.MustParseAddr("64:ff9b::127.0.0.1"), next: 50}.packet(data(100)), frame.Offload{}, Drop},
	}
}

// run is one translation as often as it is called. What is changed in place is put back each time: the headers, and all of a small
// packet.
func (k kind) run(t testing.TB) func() {
	t.Helper()
	tr, s := newTranslator(t, with(func(o *Options) { o.NodeID = true })), newScratch()
	buf := make([]byte, frame.BufLen)
	copy(buf[frame.Headroom:], k.in)
	head := k.in[:min(len(k.in), 200)]
	f := new(frame.Frame)
	step := func() {
		copy(buf[frame.Headroom:], head)
		f.Wrap(buf, frame.Headroom, len(k.in))
		f.Offload = k.offload
		s.Errors = 1
		if r := tr.Translate(f, s); r.Verdict != k.verdict {
			t.Fatalf("verdict %d, reason %v", r.Verdict, r.Reason)
		}
		s.Reset()
	}
	step()
	return step
}

func BenchmarkTranslate(b *testing.B) {
	for _, k := range kinds() {
		b.Run(k.name, func(b *testing.B) {
			step := k.run(b)
			b.ReportAllocs()
			for b.Loop() {
				step()
			}
		})
	}
}

func TestNoAllocation(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, k.run(t)); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}
