package siit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"uclat/clat/frame"
)

// sample is a packet whose every mutilation is tried.
type sample struct {
	name    string
	in      []byte
	offload frame.Offload
}

// samples are the vectors, one packet of each kind, and what has most to go wrong inside.
func samples(t testing.TB) (all []sample) {
	t.Helper()
	add := func(name string, p []byte) { all = append(all, sample{name: name, in: p}) }
	for _, v := range vectors {
		add(v.name, unhex(t, v.in))
	}
	for _, k := range kinds() {
		if len(k.in) <= 1600 {
			all = append(all, sample{k.name, k.in, k.offload})
		}
	}
	for _, y := range families {
		for _, c := range segmented {
			all = append(all,
				sample{"partial " + c.name + " " + y.name, y.partial(c.proto, c.make(data(100))), y.offload(c.proto, frame.NotSegmented, 0)},
				sample{"super-packet " + c.name + " " + y.name, y.partial(c.proto, c.make(data(2600))), y.offload(c.proto, c.gso, 1300)})
		}
		long := append(synWith(bytes.Repeat([]byte{1}, 40)...), data(1600)...)
		all = append(all, sample{"super-packet with options " + y.name, y.partial(protoTCP, long), y.offload(protoTCP, frame.SegmentTCP, 800)})
	}
	all = append(all, sample{"datagrams without DF", ip4{proto: protoUDP, id: 0xffff}.packet(families[0].partialSegment(protoUDP, udp(data(2600)))),
		families[0].offload(protoUDP, frame.SegmentUDP, 1300)})
	add("last fragment 46", ip4{proto: protoUDP, offset: 65504}.packet(data(8)))
	add("last fragment 64", ip6{next: protoUDP, extensions: []extension{fragmentHeader(65504, false, 1)}}.packet(data(8)))
	add("source routed", ip4{proto: protoUDP, options: []byte{131, 7, 8, 1, 2, 3, 4, 0}}.packet(seal(host4, peer4, protoUDP, udp(data(40)))))
	add("options", ip4{proto: protoUDP, options: bytes.Repeat([]byte{1}, 20)}.packet(seal(host4, peer4, protoUDP, udp(data(40)))))
	chain := []extension{options8(protoHopByHop, 8), routing(0), options8(protoDestOpts, 16)}
	add("extension headers", ip6{next: protoUDP, extensions: chain}.packet(seal(peer6, host6, protoUDP, udp(data(40)))))
	add("SYN46", from4(protoTCP, synWith(1, 3, 3, 7, 2, 4, 5, 0xb4, 4, 2, 1, 0)))
	add("SYN64", from6(protoTCP, synWith(1, 3, 3, 7, 2, 4, 5, 0xb4, 4, 2, 1, 0)))
	add("SYN46 with half an option", from4(protoTCP, append(synWith(1, 1, 2, 4), 5, 0xb4)))
	add("TTL 1", ip4{proto: protoICMP, ttl: 1}.packet(seal(host4, peer4, protoICMP, icmp(8, 0, 1, data(8)))))
	add("hop limit 1", ip6{next: protoICMPv6, hops: 1}.packet(seal(peer6, host6, protoICMPv6, icmp(128, 0, 1, data(8)))))
	for _, proto := range []uint8{33, 132, 136} {
		for _, y := range families {
			add(fmt.Sprint("protocol ", proto, " ", y.name), y.build(proto, data(40)))
		}
	}
	for _, q := range quotes(60) {
		four := ip4{src: peer4, dst: host4, proto: q.proto[0]}.packet(sealed(peer4, host4, q.proto[0], q.seg[0]))
		six := ip6{src: host6, dst: peer6, next: q.proto[1]}.packet(sealed(host6, peer6, q.proto[1], q.seg[1]))
		add("quoted "+q.name+" 46", from4(protoICMP, icmp(11, 0, 0, four)))
		add("quoted "+q.name+" 64", from6(protoICMPv6, icmp(3, 0, 0, six)))
		if q.name == "UDP" {
			add("extended 46", from4(protoICMP, icmp(3, 1, 32<<16, extended(four, 128, structure(20)))))
			add("extended 64", from6(protoICMPv6, icmp(1, 0, 16<<24, extended(six, 128, structure(20)))))
			add("extended 64, of a router", ip6{src: router, next: protoICMPv6}.packet(
				seal(router, host6, protoICMPv6, icmp(1, 0, 16<<24, extended(six, 128, structure(20))))))
		}
	}
	add("quoted options", from4(protoICMP, icmp(3, 4, 1400, ip4{
		src: peer4, dst: host4, proto: protoUDP, mf: true, options: bytes.Repeat([]byte{1}, 40)}.packet(udp(data(40))))))
	add("quoted extension headers", from6(protoICMPv6, icmp(2, 0, 1400, ip6{
		src: host6, dst: peer6, next: protoUDP,
		extensions: []extension{options8(protoHopByHop, 8), routing(0), fragmentHeader(0, true, 1)}}.packet(udp(data(40))))))
	add("quoted destination options", from6(protoICMPv6, icmp(1, 0, 0, ip6{
		src: host6, dst: peer6, next: protoUDP, extensions: []extension{options8(protoDestOpts, 40)}}.packet(udp(data(40))))))
	return all
}

// strict are translators that do all they can, with the least and with usual MTUs.
func strict(t testing.TB) []*subject {
	t.Helper()
	all := func(o *Options) {
		o.NodeID, o.ClampMSS, o.Prohibited6, o.PassZeroUDP6, o.Reassemble, o.Hairpin = true, true, true, true, true, true
	}
	way := newSubject(t, network{router: true}, with(func(o *Options) { all(o); o.Self6, o.MTU4 = own6, 1300 }))
	way.paths = 1400
	return []*subject{
		newSubject(t, network{}, with(all)),
		newSubject(t, network{}, with(func(o *Options) { all(o); o.MTU6, o.MTU4 = 1280, MinMTU4 })),
		way,
	}
}

// samples are those of the host, or of a router.
func (u *subject) samples(t testing.TB) []sample {
	if u.network.router {
		return routerSamples()
	}
	return samples(t)
}

// routerSamples are hairpins, fragments of ICMP, and what is for the translator itself.
func routerSamples() (all []sample) {
	add := func(name string, p []byte) { all = append(all, sample{name: name, in: p}) }
	add("hairpin UDP", toBob(protoUDP, udp(data(60))))
	add("hairpin TCP", toBob(protoTCP, synWith(1, 3, 3, 7, 2, 4, 5, 0xb4, 4, 2, 1, 0)))
	add("hairpin echo", toBob(protoICMPv6, icmp(128, 0, 7, data(60))))
	add("hairpin, too long", toBob(protoUDP, udp(data(1440))))
	add("hairpin fragment", toBob(50, data(1440), options8(protoDestOpts, 8), fragmentHeader(800, true, 7)))
	add("hairpin fragment of an echo", toBob(protoICMPv6, icmp(128, 0, 7, data(56)), fragmentHeader(0, true, 7)))
	for _, from := range []netip.Addr{bob6, host6, router} {
		about := ip6{src: near, dst: bob6, next: protoUDP}.packet(seal(near, bob6, protoUDP, udp(data(100))))
		m := icmp(1, 4, 16<<24, extended(about[:100], 128, structure(8)))
		add("hairpin error of "+from.String(), ip6{src: from, dst: near, next: protoICMPv6}.packet(seal(from, near, protoICMPv6, m)))
		about = ip6{src: near, dst: bob6, next: protoICMPv6, payload: 1460}.packet(icmp(128, 0, 7, data(64)))
		m = icmp(2, 0, 1400, about)
		add("hairpin Packet Too Big of "+from.String(), ip6{src: from, dst: near, next: protoICMPv6}.packet(seal(from, near, protoICMPv6, m)))
	}
	add("fragment of an echo 46", ip4{src: alice4, proto: protoICMP, mf: true, options: []byte{7, 7, 4, 0, 0, 0, 0, 0}}.packet(icmp(8, 0, 7, data(64))))
	last := []extension{fragmentHeader(65504, false, 7)}
	add("last fragment of an echo 64", ip6{src: peer6, dst: alice6, next: protoICMPv6, extensions: last}.packet(data(11)))
	add("echo 4", ping(peer4, self4, 56))
	add("echo 6", ping(stranger6, own6, 56))
	seg := tcp(data(2600))
	binary.BigEndian.PutUint16(seg[16:], slowSum(pseudo(alice6, far, protoTCP, len(seg))))
	return append(all, sample{"hairpin super-packet", ip6{src: alice6, dst: far, next: protoTCP}.packet(seg),
		families[1].offload(protoTCP, frame.SegmentTCP, 1300)})
}

// whole makes lengths and checksums of a mutilated packet agree with it again, so that the damage is seen deeper inside.
func whole(p []byte, o frame.Offload) []byte {
	p = bytes.Clone(p)
	mend(p, &o, knobRawAddresses)
	return p
}

// Every packet may end anywhere, by accident or by malice. Its first octets come alone, and all but its last.
func TestTruncations(t *testing.T) {
	for _, u := range strict(t) {
		for _, c := range u.samples(t) {
			t.Run(fmt.Sprintf("MTU %d/%s", u.o.MTU4, c.name), func(t *testing.T) {
				for n := range min(len(c.in), 128) + 1 {
					for _, p := range [][]byte{c.in[:n], c.in[:len(c.in)-n]} {
						u.check(t, p, c.offload)
						u.check(t, whole(p, c.offload), c.offload)
					}
				}
			})
		}
	}
}

// A frame needs no more room in front than a device is asked to leave, and the most any translation takes is known.
func TestHeadroom(t *testing.T) {
	tr := newTranslator(t, hostOptions())
	quote := ip4{src: peer4, dst: host4, proto: protoUDP, mf: true}.packet(udp(data(40)))
	p := from4(protoICMP, icmp(3, 3, 0, quote))
	for _, room := range []int{frame.Headroom, 48, 47, 0} {
		t.Run(fmt.Sprint(room), func(t *testing.T) {
			buf := make([]byte, room+len(p))
			copy(buf[room:], p)
			f := new(frame.Frame)
			f.Wrap(buf, room, len(p))
			r := tr.Translate(f, newScratch())
			if fits := room >= 48; fits != (r.Verdict == Forward) {
				t.Errorf("%+v", r)
			}
			if before, _ := f.Room(); room == frame.Headroom && before < 12+22 {
				t.Errorf("%d octets left in front, a virtio header and an Ethernet header with two tags take 34", before)
			}
		})
	}
}

// Where there is less room than is asked for, the packet is dropped at worst.
func TestTightRoom(t *testing.T) {
	u := strict(t)[0]
	for _, c := range samples(t) {
		t.Run(c.name, func(t *testing.T) {
			for front := range frame.Headroom {
				buf := make([]byte, front+len(c.in)+32)
				copy(buf[front:], c.in)
				f := new(frame.Frame)
				f.Wrap(buf[:front+len(c.in):front+len(c.in)], front, len(c.in))
				f.Offload = c.offload
				s := u.scratch[0]
				s.Reset()
				u.Translate(f, s)
				if !bytes.Equal(buf[front+len(c.in):], make([]byte, 32)) {
					t.Fatalf("written behind the buffer with %d octets in front", front)
				}
			}
		})
	}
}
