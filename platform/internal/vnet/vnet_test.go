package vnet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"uclat/clat/frame"
)

// header is a virtio-net header in this machine's order.
func header(flags, kind uint8, headers, size, start, at uint16) []byte {
	h := []byte{flags, kind}
	for _, v := range []uint16{headers, size, start, at} {
		h = binary.NativeEndian.AppendUint16(h, v)
	}
	return h
}

// packet is n octets that begin like IP of that version, with a TCP header of the given length at l4; l4 0: none.
func packet(version, n, l4, tcp int) []byte {
	p := make([]byte, n)
	p[0] = byte(version << 4)
	if l4 > 0 {
		p[l4+12] = byte(tcp / 4 << 4)
	}
	return p
}

func wrap(p []byte, o frame.Offload) *frame.Frame {
	f := new(frame.Frame)
	f.Wrap(p, 0, len(p))
	f.Offload = o
	return f
}

func tcpOffload(l4, size uint16) frame.Offload {
	return frame.Offload{Checksum: frame.ChecksumPartial, GSO: frame.SegmentTCP, SegSize: size, L4: l4, ChecksumAt: 16}
}

func udpOffload(l4, size uint16) frame.Offload {
	return frame.Offload{Checksum: frame.ChecksumPartial, GSO: frame.SegmentUDP, SegSize: size, L4: l4, ChecksumAt: 6}
}

// Headers as kernels make them, both ways: with these lengths of headers, which are exact for TUN devices.
func TestBothWays(t *testing.T) {
	ecn := tcpOffload(40, 1428)
	ecn.ECN = true
	for _, c := range []struct {
		name   string
		h      []byte
		link   int
		packet []byte
		want   frame.Offload
	}{
		{"nothing known", header(0, 0, 0, 0, 0, 0), 0, packet(4, 100, 0, 0), frame.Offload{}},
		{"nothing known, with a link-layer header", header(0, 0, 0, 0, 0, 0), 14, packet(6, 100, 0, 0), frame.Offload{}},
		{"verified", header(2, 0, 0, 0, 0, 0), 14, packet(6, 100, 0, 0), frame.Offload{Checksum: frame.ChecksumVerified}},
		{"partial UDP", header(1, 0, 0, 0, 20, 6), 0, packet(4, 28, 0, 0),
			frame.Offload{Checksum: frame.ChecksumPartial, L4: 20, ChecksumAt: 6}},
		{"partial TCP behind Ethernet", header(1, 0, 0, 0, 54, 16), 14, packet(6, 60, 0, 0),
			frame.Offload{Checksum: frame.ChecksumPartial, L4: 40, ChecksumAt: 16}},
		{"TCPv4", header(1, 1, 52, 1448, 20, 16), 0, packet(4, 60000, 20, 32), tcpOffload(20, 1448)},
		{"TCPv6", header(1, 4, 72, 1428, 40, 16), 0, packet(6, 60000, 40, 32), tcpOffload(40, 1428)},
		{"TCPv6 behind Ethernet", header(1, 4, 86, 1428, 54, 16), 14, packet(6, 60000, 40, 32), tcpOffload(40, 1428)},
		{"TCPv6 with CWR", header(1, 0x84, 60, 1428, 40, 16), 0, packet(6, 60000, 40, 20), ecn},
		{"UDPv4", header(1, 5, 28, 1200, 20, 6), 0, packet(4, 60000, 0, 0), udpOffload(20, 1200)},
		{"UDPv6 behind Ethernet", header(1, 5, 62, 1452, 54, 6), 14, packet(6, 60000, 0, 0), udpOffload(40, 1452)},
		{"the longest headers", header(1, 1, 120, 1, 60, 16), 0, packet(4, 122, 60, 60), tcpOffload(60, 1)},
	} {
		got, err := Decode(c.h, c.link, len(c.packet))
		if err != nil || got != c.want {
			t.Errorf("%s: decoded %+v, %v; want %+v", c.name, got, err, c.want)
		}
		h := bytes.Repeat([]byte{0xff}, Len+1)
		if err := Encode(h, wrap(c.packet, c.want), c.link); err != nil || !bytes.Equal(h[:Len], c.h) || h[Len] != 0xff {
			t.Errorf("%s: encoded % x, %v; want % x", c.name, h, err, c.h)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		h       []byte
		link, n int
		want    error
	}{
		{"cut off", header(0, 0, 0, 0, 0, 0)[:9], 0, 100, errShort},
		{"UFO", header(1, 3, 28, 1200, 20, 6), 0, 5000, errType},
		{"UDP tunnel", header(1, 1|0x20, 28, 1200, 20, 6), 0, 5000, errType},
		{"CWR without segmentation", header(1, 0x80, 28, 1200, 20, 6), 0, 5000, errType},
		{"CWR of UDP", header(1, 0x85, 28, 1200, 20, 6), 0, 5000, errType},
		{"segments of nothing", header(1, 1, 40, 0, 20, 16), 0, 5000, errSegSize},
		{"segmented and not partial", header(0, 1, 40, 1400, 20, 16), 0, 5000, errNoSum},
		{"segmented and verified", header(2, 4, 40, 1400, 20, 16), 0, 5000, errNoSum},
		{"checksum in the link-layer header", header(1, 0, 0, 0, 13, 6), 14, 5000, errChecksum},
		{"checksum behind the packet", header(1, 0, 0, 0, 20, 7), 0, 28, errChecksum},
		{"checksum behind the packet, with a link-layer header", header(1, 0, 0, 0, 34, 7), 14, 28, errChecksum},
		{"checksum as far as can be", header(1, 0, 0, 0, 0xffff, 0xffff), 0, 65535, errChecksum},
		{"no packet", header(1, 0, 0, 0, 0, 0), 0, 0, errChecksum},
	} {
		if got, err := Decode(c.h, c.link, c.n); !errors.Is(err, c.want) || got != (frame.Offload{}) {
			t.Errorf("%s: %+v, %v; want %v", c.name, got, err, c.want)
		}
	}
}

// What the kernel says of the length of headers is not believed, and of the segments of a packet without segmentation not read.
func TestDecodeIgnores(t *testing.T) {
	if got, err := Decode(header(1, 1, 60000, 1448, 20, 16), 0, 60000); err != nil || got != tcpOffload(20, 1448) {
		t.Errorf("%+v, %v", got, err)
	}
	want := frame.Offload{Checksum: frame.ChecksumPartial, L4: 20, ChecksumAt: 6}
	if got, err := Decode(header(7, 0, 60000, 1448, 20, 6), 0, 1000); err != nil || got != want { // 4 is RSC_INFO
		t.Errorf("%+v, %v", got, err)
	}
}

// One segment is no super-packet: linux/virtio_net.h takes TCP options for payload there, and tcp_gso_segment drops what is left.
func TestOneSegment(t *testing.T) {
	for _, c := range []struct {
		n    int
		o    frame.Offload
		want []byte
	}{
		{20 + 32 + 1400, tcpOffload(20, 1400), header(1, 0, 0, 0, 20, 16)},
		{20 + 32 + 1401, tcpOffload(20, 1400), header(1, 1, 52, 1400, 20, 16)},
		{20 + 32, tcpOffload(20, 1400), header(1, 0, 0, 0, 20, 16)},
		{20 + 8 + 1200, udpOffload(20, 1200), header(1, 0, 0, 0, 20, 6)},
		{20 + 8 + 1201, udpOffload(20, 1200), header(1, 5, 28, 1200, 20, 6)},
	} {
		var h [Len]byte
		if err := Encode(h[:], wrap(packet(4, c.n, 20, 32), c.o), 0); err != nil || !bytes.Equal(h[:], c.want) {
			t.Errorf("%d octets, %+v: % x, %v; want % x", c.n, c.o, h, err, c.want)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	full, verified := tcpOffload(20, 1400), tcpOffload(20, 1400)
	full.Checksum, verified.Checksum = frame.ChecksumUnknown, frame.ChecksumVerified
	partial := func(l4, at uint16) frame.Offload {
		return frame.Offload{Checksum: frame.ChecksumPartial, L4: l4, ChecksumAt: at}
	}
	for _, c := range []struct {
		name   string
		packet []byte
		o      frame.Offload
		link   int
		want   error
	}{
		{"segments of nothing", packet(4, 5000, 20, 20), tcpOffload(20, 0), 0, errSegSize},
		{"segmented and not partial", packet(4, 5000, 20, 20), full, 0, errNoSum},
		{"segmented and verified", packet(4, 5000, 20, 20), verified, 0, errNoSum},
		{"neither IPv4 nor IPv6", packet(5, 5000, 20, 20), tcpOffload(20, 1400), 0, errVersion},
		{"empty", nil, tcpOffload(20, 1400), 0, errChecksum},
		{"empty and partial", nil, partial(0, 0), 0, errChecksum},
		{"checksum behind the packet", packet(4, 28, 0, 0), partial(20, 7), 0, errChecksum},
		{"checksum beyond the field", packet(6, 65575, 0, 0), partial(65530, 6), 14, errChecksum},
		{"cut off in the TCP header", packet(4, 39, 20, 20), tcpOffload(20, 1400), 0, errHeader},
		{"TCP header too short", packet(4, 5000, 20, 16), tcpOffload(20, 1400), 0, errHeader},
		{"TCP options cut off", packet(4, 59, 20, 40), tcpOffload(20, 1400), 0, errHeader},
		{"cut off in the UDP header", packet(4, 27, 0, 0), frame.Offload{Checksum: frame.ChecksumPartial, GSO: frame.SegmentUDP, SegSize: 9,
			L4: 20, ChecksumAt: 5}, 0, errHeader},
		{"headers beyond the field", packet(6, 65575, 65500, 40), tcpOffload(65500, 1400), 0, errHeader},
	} {
		var h [Len]byte
		if err := Encode(h[:], wrap(c.packet, c.o), c.link); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := Encode(make([]byte, Len-1), wrap(packet(4, 50, 0, 0), frame.Offload{}), 0); !errors.Is(err, errShort) {
		t.Errorf("no room for the header: %v", err)
	}
}

func TestAllocations(t *testing.T) {
	h, f := make([]byte, Len), wrap(packet(6, 60000, 40, 32), tcpOffload(40, 1428))
	bad := wrap(packet(6, 60000, 40, 0), tcpOffload(40, 1428))
	if n := testing.AllocsPerRun(100, func() {
		if err := Encode(h, f, 14); err != nil {
			t.Fatal(err)
		}
		if o, err := Decode(h, 14, f.Len()); err != nil || o != f.Offload {
			t.Fatal(o, err)
		}
		if Encode(h, bad, 14) == nil {
			t.Fatal("taken")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever a header says, what is made of it lies in the packet, and goes back into the same header.
func FuzzDecode(f *testing.F) {
	f.Add(header(1, 4, 86, 1428, 54, 16), packet(6, 300, 40, 32), true)
	f.Add(header(1, 0x81, 40, 1448, 20, 16), packet(4, 300, 20, 20), false)
	f.Add(header(1, 5, 28, 100, 20, 6), packet(4, 300, 0, 0), false)
	f.Add(header(2, 0, 0, 0, 0, 0), packet(4, 30, 0, 0), true)
	f.Add(header(1, 3, 28, 100, 20, 6), packet(4, 300, 0, 0), false)
	f.Add(header(1, 0, 0, 0, 0xffff, 0xffff), []byte{}, false)
	f.Fuzz(func(t *testing.T, h, p []byte, ethernet bool) {
		link := 0
		if ethernet {
			link = 14
		}
		o, err := Decode(h, link, len(p))
		if err != nil {
			if o != (frame.Offload{}) {
				t.Errorf("%+v with %v", o, err)
			}
			return
		}
		if o.Checksum == frame.ChecksumPartial && int(o.L4)+int(o.ChecksumAt)+2 > len(p) {
			t.Errorf("%+v of %d octets", o, len(p))
		}
		if o.GSO != frame.NotSegmented && (o.SegSize == 0 || o.Checksum != frame.ChecksumPartial) {
			t.Errorf("%+v", o)
		}
		var again [Len]byte
		if err := Encode(again[:], wrap(p, o), link); err != nil {
			if o.GSO == frame.NotSegmented {
				t.Errorf("not encoded: %v", err)
			}
			return
		}
		if o.GSO != frame.NotSegmented && again[atType] == gsoNone { // one segment
			if headers, err := headersLen(wrap(p, o)); err != nil || len(p)-headers > int(o.SegSize) {
				t.Errorf("%+v is not one segment of %d octets", o, len(p))
			}
			o = frame.Offload{Checksum: o.Checksum, L4: o.L4, ChecksumAt: o.ChecksumAt}
		}
		back, err := Decode(again[:], link, len(p))
		if err != nil || back != o {
			t.Errorf("%+v, then %+v, %v", o, back, err)
		}
		if n := int(binary.NativeEndian.Uint16(again[atHeaderLen:])); n > link+len(p) {
			t.Errorf("%d octets of headers", n)
		}
	})
}
