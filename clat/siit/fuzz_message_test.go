package siit

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"uclat/clat/frame"
)

// sumAt is where proto has its checksum over the addresses; -1: nowhere.
func sumAt(proto uint8) int {
	if proto == 33 || proto == 136 { // DCCP, UDP-Lite
		return 6
	}
	return field(proto)
}

// checkMessage compares a message with what was made of it. was and is say whether the checksum is finished.
func (u *subject) checkMessage(t testing.TB, in, out received, was, is frame.Checksum) {
	at := sumAt(in.proto)
	if in.offset > 0 || at < 0 {
		if !bytes.Equal(out.payload, in.payload) {
			t.Fatalf("payload %x became %x", in.payload, out.payload)
		}
		return
	}
	want := bytes.Clone(in.payload)
	if in.isICMP() && in.version != out.version {
		want[0] = map[uint8]uint8{8: 128, 0: 129, 128: 8, 129: 0}[want[0]]
	}
	mss := min(u.o.MTU6-60, u.o.MTU4-40)
	for _, r := range []netip.Addr{in.src, out.dst} { // the far ends of the way through IPv6
		if r.Is6() {
			mss = min(mss, u.limit(r)-60)
		}
	}
	if in.proto == protoTCP && u.o.ClampMSS && !in.isFragment() {
		if o := offeredMSS(want); o != nil && int(binary.BigEndian.Uint16(o)) > mss {
			binary.BigEndian.PutUint16(o, uint16(mss))
		}
	}
	copy(want[at:at+2], out.payload[at:])
	if !bytes.Equal(out.payload, want) {
		t.Fatalf("more has changed than may: %x\nbecame %x\nwant   %x", in.payload, out.payload, want)
	}
	if in.proto == protoUDP && was != frame.ChecksumPartial && binary.BigEndian.Uint16(in.payload[at:]) == 0 {
		u.checkZeroUDP(t, in, out)
		return
	}
	if before, after := residue(in, in.payload, was), residue(out, out.payload, is); before != after {
		t.Fatalf("checksum was off by %#04x and is by %#04x", before, after)
	}
	if sum := binary.BigEndian.Uint16(out.payload[at:]); sum == 0 && (in.proto == protoUDP || in.proto == 136) && is != frame.ChecksumPartial {
		t.Fatal("a checksum became none")
	}
	if in.isICMP() && residue(out, out.payload, is) != 0 {
		t.Fatal("a damaged ICMP message was let through")
	}
}

// checkZeroUDP: a datagram that came without a checksum gets one in IPv6, and stays without in IPv4.
func (u *subject) checkZeroUDP(t testing.TB, in, out received) {
	n := int(binary.BigEndian.Uint16(in.payload[4:]))
	switch sum := binary.BigEndian.Uint16(out.payload[6:]); {
	case in.version == 6 && out.version == 6:
		if !u.o.PassZeroUDP6 || u.o.DropZeroUDP4 || in.isFragment() || n < 8 || n > len(in.payload) {
			t.Fatalf("forwarded without a checksum: %v", in)
		}
		if slowSum(pseudo(out.src, out.dst, protoUDP, n), out.payload[:n]) != 0xffff {
			t.Fatalf("computed checksum %#04x is wrong", sum)
		}
	case in.version == 6 && (sum != 0 || !u.o.PassZeroUDP6):
		t.Fatalf("checksum %#04x where there was none", sum)
	case in.version == 4 && (u.o.DropZeroUDP4 || in.isFragment() || n < 8 || n > len(in.payload)):
		t.Fatalf("forwarded without a checksum: %v", in)
	case in.version == 4 && slowSum(pseudo(out.src, out.dst, protoUDP, n), out.payload[:n]) != 0xffff:
		t.Fatalf("computed checksum %#04x is wrong", sum)
	}
}

// offeredMSS is the value of the MSS option of a SYN (RFC 9293, 3.2), nil where there is none among options that are in order.
func offeredMSS(p []byte) []byte {
	if p[13]&2 == 0 {
		return nil
	}
	for o := p[20 : p[12]>>4*4]; len(o) > 0 && o[0] != 0; {
		switch {
		case o[0] == 1:
			o = o[1:]
			continue
		case len(o) < 2 || o[1] < 2 || int(o[1]) > len(o):
			return nil
		case o[0] == 2 && o[1] == 4:
			return o[2:4]
		}
		o = o[o[1]:]
	}
	return nil
}

// residue is by how much the checksum of a message is wrong: 0 for a right one. What is the same before and after cancels out, so it
// may be taken over a part of the message.
func residue(r received, message []byte, state frame.Checksum) uint16 {
	header := pseudo(r.src, r.dst, r.proto, r.promised())
	if state == frame.ChecksumPartial {
		is, should := binary.BigEndian.Uint16(message[field(r.proto):]), slowSum(header)
		return uint16((uint32(is) + 0xffff - uint32(should)) % 0xffff)
	}
	return ^slowSum(header, message) % 0xffff
}
