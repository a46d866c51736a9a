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
	edit    func(*Options) // what this kind needs beside the host's options
	verdict Verdict
	frames  int // how many come out
}

func kinds() []kind {
	way46, way64 := families[0], families[1]
	none, same := frame.Offload{}, func(*Options) {}
	clamp := func(o *Options) { o.ClampMSS = true }
	syn := synWith(2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 1, 1) // MSS 1460, window scale, SACK permitted
	fromRouter := func(next uint8, seg []byte) []byte {
		return ip6{src: router, next: next}.packet(seal(router, host6, next, seg))
	}
	nowhere := netip.MustParseAddr("169.254.1.1")
	return []kind{
		{"TCP46", from4(protoTCP, tcp(data(1400))), none, same, Forward, 1},
		{"TCP64", from6(protoTCP, tcp(data(1400))), none, same, Forward, 1},
		{"UDP46", from4(protoUDP, udp(data(100))), none, same, Forward, 1},
		{"UDP64", from6(protoUDP, udp(data(100))), none, same, Forward, 1},
		{"UDPLite46", way46.build(protoUDPLite, udpLite(way46, 100)), none, same, Forward, 1},
		{"UDPLite64", way64.build(protoUDPLite, udpLite(way64, 100)), none, same, Forward, 1},
		{"SuperTCP46", way46.partial(protoTCP, tcp(data(60000))), way46.offload(protoTCP, frame.SegmentTCP, 1400), same, Forward, 1},
		{"SuperTCP64", way64.partial(protoTCP, tcp(data(60000))), way64.offload(protoTCP, frame.SegmentTCP, 1400), same, Forward, 1},
		{"ClampMSS46", from4(protoTCP, syn), none, clamp, Forward, 1},
		{"ClampMSS64", from6(protoTCP, syn), none, clamp, Forward, 1},
		{"Echo46", from4(protoICMP, icmp(8, 0, 1, data(56))), none, same, Forward, 1},
		{"Echo64", from6(protoICMPv6, icmp(129, 0, 1, data(56))), none, same, Forward, 1},
		{"PortUnreachable46", from4(protoICMP, icmp(3, 3, 0, quoted4())), none, same, Forward, 1},
		{"PortUnreachable64", from6(protoICMPv6, icmp(1, 4, 0, quoted6())), none, same, Forward, 1},
		{"FullSizeError46", from4(protoICMP, icmp(3, 3, 0, // 1280 octets
			ip4{src: peer4, dst: host4, proto: protoUDP}.packet(seal(peer4, host4, protoUDP, udp(data(1224)))))), none, same, Forward, 1},
		{"FullSizeError64", from6(protoICMPv6, icmp(1, 4, 0, // 1280 octets
			ip6{src: host6, dst: peer6, next: protoUDP}.packet(seal(host6, peer6, protoUDP, udp(data(1184)))))), none, same, Forward, 1},
		{"PacketTooBig64", fromRouter(protoICMPv6, icmp(2, 0, 1400, quoted6())), none, same, Forward, 1},
		{"UnmappedTimeExceeded64", fromRouter(protoICMPv6, icmp(3, 0, 0, quoted6())), // gets a Node Identification object
			none, func(o *Options) { o.NodeID = true }, Forward, 1},
		{"ExtendedTimeExceeded46", from4(protoICMP, icmp(11, 0, 32<<16, extended(quoted4(), 128, structure(8)))), none, same, Forward, 1},
		{"ExtendedTimeExceeded64", from6(protoICMPv6, icmp(3, 0, 16<<24, extended(quoted6(), 128, structure(8)))), none, same, Forward, 1},
		{"Fragment46", ip4{proto: protoUDP, offset: 800, mf: true}.packet(data(800)), none, same, Forward, 1},
		{"Fragment64", ip6{next: protoUDP, extensions: []extension{fragmentHeader(800, true, 1)}}.packet(data(800)), none, same, Forward, 1},
		{"Fragmenting46", ip4{proto: protoUDP}.packet(seal(host4, peer4, protoUDP, udp(data(1472)))), none, same, Forward, 2},
		{"Fragmenting46Longest", ip4{proto: 50}.packet(data(65515)), none, same, Forward, 54},
		{"Fragmenting46Each", ip4{proto: protoUDP}.packet(way46.partialSegment(protoUDP, udp(data(60000)))), // 43 datagrams, the last fits
			way46.offload(protoUDP, frame.SegmentUDP, 1400), same, Forward, 2*42 + 1},
		{"Fragmenting64", from6(protoUDP, udp(data(1232))), none, func(o *Options) { o.MTU4 = 576 }, Forward, 3},
		{"ZeroUDP46", ip4{proto: protoUDP}.packet(udp(data(100))), none, same, Forward, 1},
		{"FragNeeded46", ip4{proto: 50, df: true}.packet(data(1480)), none, same, Reply, 1},
		{"TooBig64", ip6{next: 50}.packet(data(1400)), none, func(o *Options) { o.MTU4 = 1400 }, Reply, 1},
		{"HopLimit64", ip6{next: 50, hops: 1}.packet(data(1400)), none, same, Reply, 1},
		{"Prohibited46", ip4{dst: nowhere, proto: protoUDP}.packet(seal(host4, nowhere, protoUDP, udp(data(100)))), none, same, Reply, 1},
		{"Prohibited64", fromRouter(protoUDP, udp(data(100))), none, func(o *Options) { o.Prohibited6 = true }, Reply, 1},
		{"Spoofed64", ip6{src: netip.MustParseAddr("64:ff9b::127.0.0.1"), next: 50}.packet(data(100)), none, same, Drop, 0},
	}
}

// udpLite is a message with n octets of data, all of them covered by its checksum (RFC 3828, 3.1).
func udpLite(y family, n int) []byte {
	u := udp(data(n))
	binary.BigEndian.PutUint16(u[6:], ^slowSum(y.pseudo(protoUDPLite, len(u)), u))
	return u
}

// special is a kind that needs more than the host's translator.
type special struct {
	kind
	router  bool
	path    PathMTU
	joined  bool
	refused bool // the way out refuses what comes out
}

// onePath is a PathMTU that knows one.
type onePath struct {
	dst [16]byte
	mtu int
}

func (p *onePath) MTU(dst [16]byte) (int, bool) { return p.mtu, dst == p.dst }

func specials() (all []special) {
	for _, k := range kinds() {
		all = append(all, special{kind: k})
	}
	none, same, keep := frame.Offload{}, func(*Options) {}, func(o *Options) { o.Reassemble = true }
	wide := func(o *Options) { o.LowestMTU6 = 1500 }
	path := &onePath{peer6.As16(), 1400}
	full := &onePath{peer6.As16(), 1500}
	far1400 := &onePath{bob6.As16(), 1400}
	y := families[1]
	super := tcp(data(60000))
	binary.BigEndian.PutUint16(super[16:], slowSum(pseudo(alice6, far, protoTCP, len(super))))
	atomic, first := []extension{fragmentHeader(0, false, 7)}, []extension{fragmentHeader(0, true, 7)}
	about := ip6{src: near, dst: bob6, next: protoUDP}.packet(seal(near, bob6, protoUDP, udp(data(1400))))[:600]
	ptb := ip6{src: router, dst: near, next: protoICMPv6}.packet(seal(router, near, protoICMPv6, icmp(2, 0, 1400, about)))
	return append(all,
		special{kind: kind{"PathMTU46", from4(protoTCP, tcp(data(1428))), none, same, Forward, 1}, path: full},
		special{kind: kind{"PathMTUExceeded46", from4(protoTCP, tcp(data(1428))), none, same, Reply, 1}, path: path},
		special{kind: kind{"PathMTUFragmenting46", ip4{proto: 50}.packet(data(1460)), none, wide, Forward, 2}, path: path},
		special{kind: kind{"Refused46", from4(protoUDP, udp(data(1452))), none, same, Reply, 1}, refused: true},
		special{kind: kind{"Hairpin66", toBob(protoTCP, tcp(data(1400))), none, same, Forward, 1}, router: true},
		special{kind: kind{"HairpinEcho66", toBob(protoICMPv6, icmp(128, 0, 7, data(56))), none, same, Forward, 1}, router: true},
		special{kind: kind{"HairpinSuperTCP66", ip6{src: alice6, dst: far, next: protoTCP}.packet(super),
			y.offload(protoTCP, frame.SegmentTCP, 1400), same, Forward, 1}, router: true},
		special{kind: kind{"HairpinPacketTooBig66", ptb, none, same, Forward, 1}, router: true},
		special{kind: kind{"HairpinExceeded66", toBob(50, data(1400)), none, same, Reply, 1}, router: true, path: far1400},
		special{kind: kind{"HairpinRefused66", toBob(50, data(1400)), none, same, Reply, 1}, router: true, refused: true},
		special{kind: kind{"HairpinJoined66", toBob(protoICMPv6, icmp(128, 0, 7, data(3992)), atomic...), none, same, Forward, 4},
			router: true, joined: true},
		special{kind: kind{"EchoFragment46", ip4{proto: protoICMP, mf: true}.packet(icmp(8, 0, 7, data(1440))), none, keep, Reassemble, 0}},
		special{kind: kind{"EchoFragment64", ip6{next: protoICMPv6, extensions: first}.packet(icmp(129, 0, 7, data(1440))),
			none, keep, Reassemble, 0}},
		special{kind: kind{"Joined46", ip4{proto: protoICMP}.packet(seal(host4, peer4, protoICMP, icmp(8, 0, 7, data(3992)))),
			none, same, Forward, 4}, joined: true},
		special{kind: kind{"Joined64", ip6{next: protoICMPv6, extensions: atomic}.packet(seal(peer6, host6, protoICMPv6, icmp(129, 0, 7, data(3992)))),
			none, same, Forward, 3}, joined: true},
		special{kind: kind{"OwnEcho4", ping(host4, self4, 56), none, same, Reply, 1}},
		special{kind: kind{"OwnEcho6", ping(stranger6, own6, 56), none, same, Reply, 1}, router: true},
	)
}

// run is one translation as often as it is called. What it changes in place is put back each time, and no more: that counts, too.
func (k special) run(t testing.TB) func() {
	t.Helper()
	tr, s := newTranslator(t, with(k.edit)), newScratch()
	if k.router {
		tr = newRouter(t, network{}, k.edit)
	}
	s.PathMTU = k.path
	buf := make([]byte, frame.BufLen)
	p := buf[frame.Headroom : frame.Headroom+len(k.in)]
	copy(p, k.in)
	var restore []span
	f := new(frame.Frame)
	step := func() {
		for _, c := range restore {
			copy(p[c.from:c.to], k.in[c.from:c.to])
		}
		f.Wrap(buf, frame.Headroom, len(p))
		f.Offload, f.Joined = k.offload, k.joined
		s.Errors = 1
		r := tr.Translate(f, s)
		if k.refused {
			r = tr.TooBig(r.Out[0], 1300, s)
		}
		if r.Verdict != k.verdict || len(r.Out) != k.frames {
			t.Fatalf("verdict %d, reason %v, %d frames", r.Verdict, r.Reason, len(r.Out))
		}
		s.Reset()
	}
	step()
	restore = changes(k.in, p)
	return step
}

// span is the octets of a packet from one offset to before another.
type span struct{ from, to int }

// changes are where two packets of one length differ. Places with a few equal octets between them are one.
func changes(a, b []byte) (all []span) {
	const few = 16
	for i := range a {
		switch last := len(all) - 1; {
		case a[i] == b[i]:
		case last >= 0 && i-all[last].to < few:
			all[last].to = i + 1
		default:
			all = append(all, span{i, i + 1})
		}
	}
	return all
}

func BenchmarkTranslate(b *testing.B) {
	for _, k := range specials() {
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
	for _, k := range specials() {
		t.Run(k.name, func(t *testing.T) {
			if n := testing.AllocsPerRun(100, k.run(t)); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}
