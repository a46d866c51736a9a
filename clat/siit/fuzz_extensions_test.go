package siit

import (
	"testing"

	"uclat/clat/frame"
)

// Knobs of FuzzExtensions beside those of all targets.
const (
	knobQuoted   = 1 << (iota + 20) // the packet is quoted in an ICMPv6 error
	knobRouter                      // which a router without an IPv4 address sends
	knobLastNext                    // the chain's last Next Header is that of another extension header
)

// FuzzExtensions translates IPv6 packets with chains of extension headers: of each, type, what it says of its length, and its octets 2
// and 3, where routing headers have the segments left and fragment headers offset and M.
func FuzzExtensions(f *testing.F) {
	add := func(types, lengths, words string, next uint8, knobs uint32) {
		for _, k := range []uint32{0, knobQuoted, knobQuoted | knobRouter | knobNodeID} {
			f.Add([]byte(types), []byte(lengths), []byte(words), next, udp(data(40)), k|knobs, uint16(0), uint16(1500))
			f.Add([]byte(types), []byte(lengths), []byte(words), next, udp(data(1200)), k|knobs, uint16(100), uint16(68))
		}
	}
	const hop, route, frag, dest = "\x00", "\x2b", "\x2c", "\x3c"
	add("", "", "", protoUDP, 0)
	add(hop+dest+route+dest, "\x00\x01\x02\x00", "", protoUDP, 0)
	add(hop+route+frag, "\x00\x02\x00", "\x00\x00\x00\x01\x00\x01", protoTCP, 0)
	add(frag, "\x00", "\x00\x00", protoUDP, 0)
	add(frag, "\x00", "\x00\x01", protoUDP, 0)
	add(frag, "\x00", "\xff\xe9", protoTCP, 0)
	add(frag+dest, "\x00\x00", "", protoUDP, 0)
	add(dest+dest+dest+dest+dest+dest+dest+dest, "", "", 50, 0)
	add(dest+dest+dest+dest+dest+dest+dest+dest+dest, "", "", 50, 0)
	add(dest+dest, "\x80\xff", "", protoUDP, 0)
	add(dest, "\x85", "", protoICMPv6, 0)
	add(route, "\x02", "\x04\x01", protoICMPv6, knobLastNext)
	add("\x33\x87", "\x00\x00", "", protoUDP, 0) // AH and mobility, which are not walked
	z := newFuzzer(f)
	f.Fuzz(func(t *testing.T, types, lengths, words []byte, next uint8, message []byte, knobs uint32, cut, mtu4 uint16) {
		if len(types) > 16 || len(message) > 3000 {
			return
		}
		octet := func(b []byte, i int) byte {
			if i < len(b) {
				return b[i]
			}
			return 0
		}
		var chain []extension
		for i, typ := range types {
			length := octet(lengths, i)
			e := options8(typ, 8*(int(length&15)+1))
			if typ == protoFragment {
				e = fragmentHeader(0, false, 0x01020304)
			}
			if length&0x80 != 0 {
				e.body[1] = length // a lie
			}
			if typ == protoFragment || typ == protoRouting {
				e.body[2], e.body[3] = octet(words, 2*i), octet(words, 2*i+1)
			}
			chain = append(chain, e)
		}
		if knobs&knobLastNext != 0 {
			next = [...]uint8{protoHopByHop, protoRouting, protoFragment, protoDestOpts}[next%4]
		}
		var o frame.Offload
		src, dst := knobNetwork(knobs).ends(6)
		if knobs&knobQuoted == 0 {
			p := ip6{src: src, dst: dst, next: next, extensions: chain}.packet(message)
			p = p[:max(40, len(p)-int(cut%2048))]
			mend(p, &o, knobs|knobRawAddresses)
			z.check(t, p, o, knobs, 1500, mtu4, 1280)
			return
		}
		quote := ip6{src: dst, dst: src, next: next, extensions: chain}.packet(message)
		quote = quote[:max(40, len(quote)-int(cut%2048))]
		if knobs&knobRouter != 0 {
			src = router
		}
		m := seal(src, dst, protoICMPv6, icmp(3, 0, 0, quote))
		z.check(t, ip6{src: src, dst: dst, next: protoICMPv6}.packet(m), o, knobs, 1500, mtu4, 1280)
	})
}
