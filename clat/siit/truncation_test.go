package siit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"uclat/clat/frame"
)

// samples are packets whose every mutilation is tried: the vectors, and one of each kind.
func samples(t testing.TB) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for _, v := range vectors {
		all[v.name] = unhex(t, v.in)
	}
	for _, k := range kinds() {
		all[k.name] = k.in[:min(len(k.in), 1600)]
	}
	options := ip4{proto: protoUDP, options: bytes.Repeat([]byte{1}, 20)}
	all["options"] = options.packet(seal(host4, peer4, protoUDP, udp(data(40))))
	all["extensions"] = ip6{next: protoUDP, extensions: []extension{options8(protoHopByHop, 8), routing(0), options8(protoDestOpts, 16)}}.packet(
		seal(peer6, host6, protoUDP, udp(data(40))))
	all["quoted options"] = from4(protoICMP, icmp(3, 3, 0, ip4{src: peer4, dst: host4, proto: protoUDP, options: bytes.Repeat([]byte{1}, 40)}.packet(udp(data(40)))))
	all["quoted extensions"] = from6(protoICMPv6, icmp(1, 4, 0, ip6{
		src: host6, dst: peer6, next: protoUDP, extensions: []extension{options8(protoHopByHop, 8), fragmentHeader(0, true, 1)}}.packet(udp(data(40)))))
	return all
}

// restore makes the lengths of a cut packet agree with it again, and its checksums, so that the cut is seen deeper inside.
func restore(p []byte) []byte {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	case len(p) >= 40 && p[0]>>4 == 6:
		binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	}
	mend(p, knobMendHeader|knobMendICMP)
	return p
}

func TestTruncations(t *testing.T) {
	tr, s := newTranslator(t, hostOptions()), newScratch()
	offloads := []frame.Offload{{}, families[0].offload(protoTCP, frame.SegmentTCP, 1), families[1].offload(protoUDP, frame.NotSegmented, 0)}
	for name, whole := range samples(t) {
		t.Run("SEC-6/"+name, func(t *testing.T) {
			for n := range min(len(whole), 129) {
				for _, o := range offloads {
					for _, p := range [][]byte{bytes.Clone(whole[:n]), restore(bytes.Clone(whole[:n])), restore(bytes.Clone(whole[:len(whole)-n]))} {
						s.Reset()
						checkTranslation(t, tr, s, p, o)
					}
				}
			}
		})
	}
}

// Each octet of the headers takes values that lie about lengths, versions and types.
func TestLies(t *testing.T) {
	tr, s := newTranslator(t, hostOptions()), newScratch()
	for name, whole := range samples(t) {
		t.Run("SEC-6/"+name, func(t *testing.T) {
			for at := range min(len(whole), 140) {
				for _, value := range []byte{0, 1, 4, 7, 8, 0x0f, 0x2c, 0x3a, 0x45, 0x4f, 0x60, 0x7f, 0x80, 0xfe, 0xff} {
					p := bytes.Clone(whole)
					p[at] = value
					for _, knobs := range []uint16{0, knobMendHeader | knobMendICMP} {
						s.Reset()
						mend(p, knobs)
						checkTranslation(t, tr, s, p, frame.Offload{})
					}
				}
			}
		})
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
