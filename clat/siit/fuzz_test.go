package siit

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"uclat/clat/eam"
	"uclat/clat/frame"
)

// The knobs of a fuzz target: settings of the translator, and what is not made right. With all of them off, a mutated packet gets past
// the checks that would stop nearly all of them: lengths, addresses, checksums and offload state agree with it.
const (
	knobPLAT = 1 << iota
	knobClients
	knobRejectNonGlobal
	knobTransparent
	knobDropZero4
	knobPassZero6
	knobNoErrors
	knobNoBudget
	knobNoUnmapped
	knobNodeID
	knobSetTOS
	knobClampMSS
	knobProhibited6
	knobRawLengths
	knobRawAddresses
	knobRawSums
	knobRawOffload
	knobSIIT     // a plain router, where knobPLAT is for packets from one mapped host to another
	knobStraight // without hairpins
	knobPieces   // without reassembly

	// Three bits are the targets' own. The others say what is known of paths, and what the way out takes.
	knobsPath = 24
)

// fuzzer holds what is made once for all inputs of a target.
type fuzzer struct {
	tables  map[network]*eam.Table
	scratch [3]*Scratch
	buf     [2][]byte
}

func newFuzzer(t testing.TB) *fuzzer {
	z := &fuzzer{tables: map[network]*eam.Table{}, scratch: [3]*Scratch{NewScratch(7), NewScratch(7), NewScratch(7)}}
	for i := range uint32(8) {
		for _, siit := range []uint32{0, knobSIIT} {
			n := knobNetwork(i | siit)
			z.tables[n] = n.table(t)
		}
	}
	return z
}

func knobNetwork(knobs uint32) network {
	return network{
		plat: knobs&knobPLAT != 0, clients: knobs&knobClients != 0, rejectNonGlobal: knobs&knobRejectNonGlobal != 0, router: knobs&knobSIIT != 0,
	}
}

// check runs one input. MTUs out of bounds are brought within.
func (z *fuzzer) check(t *testing.T, p []byte, offload frame.Offload, knobs uint32, mtu6, mtu4, lowest uint16) {
	t.Helper()
	o := Options{
		MTU6: max(1280, int(mtu6)), MTU4: max(MinMTU4, int(mtu4)), LowestMTU6: max(1280, int(lowest)), Self4: self4, Self6: host6,
		UnmappedSource: netip.MustParseAddr("192.0.0.8"), TOS: uint8(mtu6),
		TTLTransparent: knobs&knobTransparent != 0, DropZeroUDP4: knobs&knobDropZero4 != 0, PassZeroUDP6: knobs&knobPassZero6 != 0,
		NoErrors: knobs&knobNoErrors != 0, NodeID: knobs&knobNodeID != 0, SetTOS: knobs&knobSetTOS != 0,
		ClampMSS: knobs&knobClampMSS != 0, Prohibited6: knobs&knobProhibited6 != 0,
		Hairpin: knobs&knobStraight == 0, Reassemble: knobs&knobPieces == 0,
	}
	o.LowestMTU6 = min(o.LowestMTU6, o.MTU6)
	if knobs&knobNoUnmapped != 0 {
		o.UnmappedSource = netip.Addr{}
	}
	n := knobNetwork(knobs)
	if n.router {
		o.Self6 = n.to6(self4)
	}
	tr, err := New(z.tables[n], o)
	if err != nil {
		t.Fatal(err)
	}
	u := &subject{Translator: tr, o: o, network: n, budget: 1, scratch: z.scratch, buf: z.buf}
	if path := knobs >> knobsPath; path > 0 {
		u.paths = paths(1200 + 8*path)
	}
	if knobs&knobNoBudget != 0 {
		u.budget = 0
	}
	u.check(t, p, offload)
	z.buf = u.buf
}

// ends are the addresses of a packet that goes through the translator.
func (n network) ends(version int) (src, dst netip.Addr) {
	ours, peer := host4, netip.MustParseAddr("9.9.9.9")
	if n.clients {
		ours = netip.MustParseAddr("100.64.1.2")
	}
	if n.router && n.plat {
		if version == 4 {
			return alice4, bob4
		}
		return alice6, embedded(n.prefix(), bob4)
	}
	src, dst = ours, peer
	if version == 6 {
		src, dst = n.to6(peer), n.to6(ours)
	}
	if n.plat {
		src, dst = dst, src
	}
	return src, dst
}

// mend makes right what random changes cannot, in a packet of the version that its first octet says.
func mend(p []byte, o *frame.Offload, knobs uint32) {
	if len(p) < 20 || p[0]>>4 == 6 && len(p) < 40 {
		return
	}
	version := int(p[0] >> 4)
	if knobs&knobRawLengths == 0 {
		if version == 4 {
			if int(p[0]&15)*4 < 20 || int(p[0]&15)*4 > len(p) {
				p[0] = 0x45
			}
			binary.BigEndian.PutUint16(p[2:], uint16(min(len(p), 65535)))
		} else {
			binary.BigEndian.PutUint16(p[4:], uint16(min(len(p)-40, 65535)))
		}
	}
	if knobs&knobRawAddresses == 0 {
		src, dst := knobNetwork(knobs).ends(version)
		setAddresses(p, src, dst)
	}
	r, ok := read(p)
	if !ok {
		return
	}
	if knobs&knobRawOffload == 0 {
		o.L4, o.ChecksumAt = uint16(r.head), uint16(max(0, field(r.proto)))
	}
	if at := sumAt(r.proto); knobs&knobRawSums == 0 && !r.isFragment() && at >= 0 && at+2 <= len(r.payload) && r.total <= len(p) {
		if o.Checksum == frame.ChecksumPartial && !r.isICMP() {
			binary.BigEndian.PutUint16(r.payload[at:], slowSum(pseudo(r.src, r.dst, r.proto, len(r.payload))))
		} else if field(r.proto) >= 0 && (r.proto != protoUDP || r.payload[at]|r.payload[at+1] != 0) {
			seal(r.src, r.dst, r.proto, r.payload)
		}
	}
	if version == 4 && knobs&knobRawSums == 0 {
		resum(p)
	}
}

func setAddresses(p []byte, src, dst netip.Addr) {
	if p[0]>>4 == 4 {
		copy(p[12:], src.AsSlice())
		copy(p[16:], dst.AsSlice())
	} else {
		copy(p[8:], src.AsSlice())
		copy(p[24:], dst.AsSlice())
	}
}

// synWith is a TCP SYN with options, a multiple of 4 octets.
func synWith(options ...byte) []byte {
	s := []byte{0x12, 0x34, 0x01, 0xbb, 1, 2, 3, 4, 0, 0, 0, 0, byte(5+len(options)/4) << 4, 2, 0xff, 0xff, 0, 0, 0, 0}
	return append(s, options...)
}

// fuzzSeeds are whole packets of one version, each with its offload state.
func fuzzSeeds(f *testing.F, version int, add func(p []byte, o frame.Offload, knobs uint32)) {
	for _, v := range vectors {
		add(unhex(f, v.in), frame.Offload{}, knobRawAddresses)
	}
	for _, k := range kinds() {
		if len(k.in) <= 4000 { // longer ones only slow the fuzzer down
			add(k.in, k.offload, 0)
			add(k.in, k.offload, knobPLAT|knobClients|knobPassZero6|knobSetTOS)
			add(k.in, k.offload, knobRawAddresses|knobNodeID|knobProhibited6)
			add(k.in, k.offload, knobSIIT|20<<knobsPath)
			add(k.in, k.offload, knobSIIT|knobPLAT|knobClampMSS|knobPassZero6|14<<knobsPath)
		}
	}
	for _, p := range ownSeeds() {
		add(p, frame.Offload{}, knobRawAddresses|knobClients)
		add(p, frame.Offload{}, knobRawAddresses|knobSIIT|20<<knobsPath)
	}
	y := families[(version-4)/2]
	add(y.partial(protoTCP, tcp(data(2000))), y.offload(protoTCP, frame.SegmentTCP, 700), knobClampMSS)
	add(y.partial(protoUDP, udp(data(1400))), y.offload(protoUDP, frame.NotSegmented, 0), 0)
	add(y.partial(protoUDP, udp(data(2400))), y.offload(protoUDP, frame.SegmentUDP, 1200), 0)
	for _, s := range [][]byte{
		synWith(2, 4, 0xff, 0xff), synWith(1, 2, 4, 5, 0xb4, 0, 0, 0), synWith(1, 3, 3, 7, 2, 4, 0, 28, 4, 2, 1, 0),
		synWith(2, 4, 5, 2), synWith(5, 0, 2, 4),
	} {
		add(y.build(protoTCP, s), frame.Offload{}, knobClampMSS)
		add(y.build(protoTCP, s), frame.Offload{Checksum: frame.ChecksumPartial}, knobClampMSS)
	}
	for _, proto := range []uint8{33, 47, 50, 51, 132, 136} {
		add(y.build(proto, data(40)), frame.Offload{}, 0)
	}
	if version == 4 {
		for _, options := range [][]byte{
			{131, 7, 4, 1, 2, 3, 4, 0}, {1, 137, 3, 4}, {131, 7, 8, 1, 2, 3, 4, 0}, {7, 7, 4, 0, 0, 0, 0, 0}, bytes.Repeat([]byte{1}, 40),
		} {
			add(ip4{proto: protoUDP, options: options}.packet(udp(nil)), frame.Offload{}, 0)
		}
		add(ip4{proto: protoTCP, mf: true, id: 77}.packet(tcp(data(1400))[:1400]), frame.Offload{}, 0)
		add(ip4{proto: protoUDP, mf: true, offset: 65504}.packet(data(8)), frame.Offload{}, 0)
		add(ip4{proto: protoUDP}.packet(udp(data(1400))), y.offload(protoUDP, frame.NotSegmented, 0), 0)
		add(ip4{proto: protoUDP, id: 0xffff}.packet(udp(data(3000))), y.offload(protoUDP, frame.SegmentUDP, 1300), 0)
		add(ip4{proto: protoUDP, ttl: 1}.packet(udp(data(1200))), y.offload(protoUDP, frame.SegmentUDP, 500), 0)
		add(ip4{proto: protoTCP, ttl: 1}.packet(tcp(data(1200))), y.offload(protoTCP, frame.SegmentTCP, 500), 0)
		return
	}
	add(ip6{next: protoUDP, hops: 1}.packet(udp(data(1200))), y.offload(protoUDP, frame.SegmentUDP, 500), 0)
	add(ip6{next: protoTCP, hops: 1}.packet(tcp(data(1200))), y.offload(protoTCP, frame.SegmentTCP, 500), 0)
	for _, chain := range [][]extension{
		{options8(protoHopByHop, 8), routing(0), options8(protoDestOpts, 16)}, {options8(protoHopByHop, 8), routing(1), fragmentHeader(0, true, 1)},
		{fragmentHeader(0, false, 0xfafb0001)}, {fragmentHeader(0, true, 3)}, {fragmentHeader(65504, true, 3)}, {fragmentHeader(1400, false, 3)},
	} {
		add(ip6{next: protoUDP, extensions: chain}.packet(udp(data(48))), frame.Offload{}, 0)
	}
	group, neighbour := netip.MustParseAddr("ff02::1"), netip.MustParseAddr("fe80::1")
	add(ip6{src: router, dst: group, next: protoUDP}.packet(udp(data(48))), frame.Offload{}, knobRawAddresses|knobProhibited6)
	add(ip6{src: neighbour, next: protoICMPv6}.packet(icmp(3, 0, 0, quoted6())), frame.Offload{}, knobRawAddresses)
}

// ownSeeds are for the translator itself, or to be put together by it.
func ownSeeds() [][]byte {
	client := netip.MustParseAddr("100.64.1.2")
	long := seal(client, peer4, protoICMP, icmp(8, 0, 1, data(2000)))
	return [][]byte{
		ip4{src: client, dst: self4, proto: protoICMP}.packet(seal(client, self4, protoICMP, icmp(8, 0, 1, data(56)))),
		ip6{src: router, dst: host6, next: protoICMPv6}.packet(seal(router, host6, protoICMPv6, icmp(128, 0, 1, data(56)))),
		ip6{src: alice6, dst: own6, next: protoICMPv6}.packet(seal(alice6, own6, protoICMPv6, icmp(128, 0, 1, data(56)))),
		ip4{src: client, proto: protoICMP, mf: true, df: true, id: 9}.packet(long[:1480]),
		ip4{src: client, proto: protoICMP, offset: 1480, id: 9}.packet(long[1480:]),
		ip6{dst: clients6.Addr().Next(), next: protoICMPv6, extensions: []extension{fragmentHeader(0, true, 9)}}.packet(long[:1448]),
		ip6{src: alice6, dst: far, next: protoICMPv6, extensions: []extension{fragmentHeader(1448, false, 9)}}.packet(long[1448:]),
	}
}

// FuzzTo6 translates IPv4 packets.
func FuzzTo6(f *testing.F) { fuzzPackets(f, 4) }

// FuzzTo4 translates IPv6 packets.
func FuzzTo4(f *testing.F) { fuzzPackets(f, 6) }

func fuzzPackets(f *testing.F, version int) {
	fuzzSeeds(f, version, func(p []byte, o frame.Offload, knobs uint32) {
		if p[0]>>4 == byte(version) {
			f.Add(p, knobs, uint16(1500), uint16(1500), uint16(1280), uint8(o.Checksum), uint8(o.GSO), o.SegSize, o.L4, o.ChecksumAt)
			f.Add(p, knobs, uint16(1280), uint16(68), uint16(1280), uint8(o.Checksum), uint8(o.GSO), o.SegSize, o.L4, o.ChecksumAt)
		}
	})
	z := newFuzzer(f)
	f.Fuzz(func(t *testing.T, p []byte, knobs uint32, mtu6, mtu4, lowest uint16, sum, gso uint8, size, l4, at uint16) {
		if len(p) > frame.MaxLen {
			return
		}
		p = bytes.Clone(p)
		if len(p) > 0 {
			p[0] = byte(version)<<4 | p[0]&15
		}
		o := frame.Offload{Checksum: frame.Checksum(sum % 3), GSO: frame.Segmentation(gso % 4), ECN: gso&4 != 0, SegSize: size, L4: l4, ChecksumAt: at}
		mend(p, &o, knobs)
		z.check(t, p, o, knobs, mtu6, mtu4, lowest)
	})
}
