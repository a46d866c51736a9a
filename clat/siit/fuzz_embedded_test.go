package siit

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"uclat/clat/frame"
)

// Knobs of FuzzEmbedded beside those of all targets.
const (
	knobRawQuote     = 1 << (iota + 20) // addresses and header checksum of the quote stay as they are
	knobRawLength                       // the length attribute stays as the second word says
	knobRawStructure                    // the extension structure stays as it is
	knobUnpadded                        // the quote is not padded to 128 octets before a structure
)

// FuzzEmbedded translates ICMP errors. The packet around the message is right, so that all changes go into what it says and quotes.
func FuzzEmbedded(f *testing.F) {
	add := func(version, from uint8, knobs uint32, typ, code uint8, word uint32, quote, ext []byte) {
		f.Add(version, from, knobs, uint16(1500), uint16(1500), typ, code, word, quote, ext)
		f.Add(version, from, knobs|knobNodeID|knobClients, uint16(1280), uint16(212), typ, code, word, quote, ext)
	}
	for _, q := range quotes(300) {
		for _, n := range []int{8, 64} {
			four := ip4{src: peer4, dst: host4, proto: q.proto[0]}.packet(sealed(peer4, host4, q.proto[0], q.seg[0]))[:20+n]
			six := ip6{src: host6, dst: peer6, next: q.proto[1]}.packet(sealed(host6, peer6, q.proto[1], q.seg[1]))[:40+n]
			add(4, 0, 0, 3, 1, 0, four, nil)
			add(4, 0, 0, 11, 0, 0, four, structure(20))
			add(4, 0, knobRawLength, 3, 4, 10<<16|1400, four, structure(4))
			add(4, 0, 0, 12, 0, 8<<24, four, structure(4))
			for from := range uint8(4) {
				add(6, from, 0, 1, 4, 0, six, nil)
				add(6, from, knobNodeID, 3, 0, 0, six, structure(20))
				add(6, from, knobRawLength, 1, 0, 7<<24, six, structure(4))
				add(6, from, 0, 2, 0, 1400, six, nil)
				add(6, from, 0, 4, 0, 24, six, nil)
			}
		}
	}
	add(4, 0, 0, 3, 2, 0, ip4{proto: protoUDP, mf: true, id: 0xfafb, options: bytes.Repeat([]byte{1}, 40)}.packet(udp(data(100))), structure(0))
	add(4, 0, 0, 3, 4, 0, ip4{proto: protoTCP, offset: 800, total: 1500}.packet(data(100)), structure(1100))
	chain := []extension{options8(protoHopByHop, 8), routing(0), fragmentHeader(0, true, 9)}
	add(6, 1, knobNodeID, 4, 1, 40, ip6{next: protoUDP, extensions: chain}.packet(udp(data(100))), nil)
	later := []extension{fragmentHeader(800, false, 9)}
	add(6, 1, 0, 2, 0, 0xffffffff, ip6{next: protoTCP, payload: 65515, extensions: later}.packet(data(100)), nil)
	z := newFuzzer(f)
	f.Fuzz(func(t *testing.T, version, from uint8, knobs uint32, mtu6, mtu4 uint16, typ, code uint8, word uint32, quote, ext []byte) {
		if len(quote)+len(ext) > 60000 {
			return
		}
		n := knobNetwork(knobs)
		v := 4 + int(version)&2
		src, dst := n.ends(v)
		quote, ext = bytes.Clone(quote), bytes.Clone(ext)
		if len(quote) > 0 && knobs&knobRawQuote == 0 {
			quote[0] = byte(v)<<4 | quote[0]&15
			if v == 4 && len(quote) >= 20 {
				setAddresses(quote, dst, src)
				resum(quote)
			} else if len(quote) >= 40 {
				setAddresses(quote, dst, src)
			}
		}
		unit, shift := 4, 16
		if v == 6 {
			unit, shift = 8, 24
		}
		if len(ext) > 0 {
			if knobs&knobUnpadded == 0 {
				quote = append(quote, make([]byte, max(0, 128-len(quote)))...)
			}
			for len(quote)%unit != 0 {
				quote = append(quote, 0)
			}
			if knobs&knobRawLength == 0 {
				word = word&^(0xff<<shift) | uint32(min(255, len(quote)/unit))<<shift
			}
			if len(ext) >= 4 && knobs&knobRawStructure == 0 {
				ext[0], ext[2], ext[3] = 0x20|ext[0]&15, 0, 0
				binary.BigEndian.PutUint16(ext[2:], ^slowSum(ext))
			}
		}
		m := icmp(typ, code, word, append(quote, ext...))
		p := ip4{src: src, dst: dst, proto: protoICMP}.packet(seal(src, dst, protoICMP, m))
		if v == 6 {
			src = [...]netip.Addr{src, router, netip.MustParseAddr("fe80::1"), netip.MustParseAddr("::1")}[from%4]
			p = ip6{src: src, dst: dst, next: protoICMPv6}.packet(seal(src, dst, protoICMPv6, m))
		}
		z.check(t, p, frame.Offload{}, knobs, mtu6, mtu4, 1280)
	})
}
