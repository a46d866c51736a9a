package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"uclat/clat/frame"
)

// shape is a super-packet to be made.
type shape struct {
	v6, udp bool
	ipOpts  int // octets of IPv4 options, or of a Destination Options header
	tcpOpts int
	payload int
	size    uint16
	flags   uint8 // of TCP
	id      uint16
	seq     uint32
}

var src4, dst4 = netip.MustParseAddr("192.0.2.1").AsSlice(), netip.MustParseAddr("198.51.100.7").AsSlice()
var src6, dst6 = netip.MustParseAddr("2001:db8::1").AsSlice(), netip.MustParseAddr("64:ff9b::c633:6407").AsSlice()

// packet is what one packet of that shape is by gopacket's reckoning, checksums included: the octets from..to of the payload.
func (s shape) packet(t testing.TB, i, from, to int) []byte {
	t.Helper()
	network := []gopacket.SerializableLayer{}
	var pseudo gopacket.NetworkLayer
	proto := layers.IPProtocolTCP
	if s.udp {
		proto = layers.IPProtocolUDP
	}
	if s.v6 {
		ip := &layers.IPv6{Version: 6, TrafficClass: 2, FlowLabel: 0x12345, HopLimit: 9, NextHeader: proto, SrcIP: src6, DstIP: dst6}
		network, pseudo = append(network, ip), ip
		if s.ipOpts > 0 {
			ip.NextHeader = layers.IPProtocolIPv6Destination
			o := &layers.IPv6Destination{}
			o.NextHeader = proto
			o.Options = append(o.Options, &layers.IPv6DestinationOption{OptionType: 1, OptionLength: uint8(s.ipOpts - 4),
				OptionData: make([]byte, s.ipOpts-4), ActualLength: s.ipOpts - 2})
			network = append(network, o)
		}
	} else {
		ip := &layers.IPv4{Version: 4, TOS: 2, Id: s.id + uint16(i), Flags: layers.IPv4DontFragment, TTL: 9, Protocol: proto, SrcIP: src4,
			DstIP: dst4, Options: make([]layers.IPv4Option, s.ipOpts)}
		for i := range ip.Options {
			ip.Options[i].OptionType = 1
		}
		network, pseudo = append(network, ip), ip
	}
	if s.udp {
		u := &layers.UDP{SrcPort: 1000, DstPort: 2000}
		if err := u.SetNetworkLayerForChecksum(pseudo); err != nil {
			t.Fatal(err)
		}
		network = append(network, u)
	} else {
		flags := s.flags
		if i > 0 {
			flags &^= flagCWR
		}
		if to < s.payload {
			flags &^= flagFIN | flagPSH
		}
		tcp := &layers.TCP{SrcPort: 1000, DstPort: 2000, Seq: s.seq + uint32(from), Ack: 77, Window: 1234,
			FIN: flags&1 != 0, SYN: flags&2 != 0, RST: flags&4 != 0, PSH: flags&8 != 0, ACK: flags&16 != 0, URG: flags&32 != 0,
			ECE: flags&64 != 0, CWR: flags&128 != 0, Options: make([]layers.TCPOption, s.tcpOpts)}
		for i := range tcp.Options {
			tcp.Options[i].OptionType = layers.TCPOptionKindNop
		}
		if err := tcp.SetNetworkLayerForChecksum(pseudo); err != nil {
			t.Fatal(err)
		}
		network = append(network, tcp)
	}
	buf := gopacket.NewSerializeBuffer()
	opts := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(buf, opts, append(network, gopacket.Payload(payload(s.payload)[from:to]))...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func payload(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i*i>>3 + i)
	}
	return p
}

// frame is the super-packet, with a partial checksum.
func (s shape) frame(t *testing.T) *frame.Frame {
	t.Helper()
	p := bytes.Clone(s.packet(t, 0, 0, s.payload))
	f := new(frame.Frame)
	buf := append(append(make([]byte, frame.Headroom), p...), make([]byte, frame.Tailroom)...)
	f.Wrap(buf, frame.Headroom, len(p))
	f.Checksum, f.GSO, f.SegSize, f.ChecksumAt = frame.ChecksumPartial, frame.SegmentTCP, s.size, tcpSum
	if s.udp {
		f.GSO, f.ChecksumAt = frame.SegmentUDP, udpSum
	}
	f.L4 = uint16(lenIP4 + s.ipOpts)
	if s.v6 {
		f.L4 = uint16(lenIP6 + s.ipOpts)
	}
	partial(f)
	return f
}

// partial replaces the checksum of f by the sum of its pseudo-header, computed the slow way.
func partial(f *frame.Frame) {
	p := f.Bytes()
	addrs, proto := p[12:20], uint32(p[9])
	if f.Version() == 6 {
		addrs, proto = p[8:40], 6
		if f.ChecksumAt == udpSum {
			proto = 17
		}
	}
	sum := proto + uint32(len(p)-int(f.L4))
	for ; len(addrs) > 0; addrs = addrs[2:] {
		sum += uint32(binary.BigEndian.Uint16(addrs))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(p[f.L4+f.ChecksumAt:], uint16(sum))
}

func TestCut(t *testing.T) {
	const allFlags = 0xff &^ 0x06 // neither SYN nor RST
	for name, s := range map[string]shape{
		"TCPv4":                          {payload: 60000, size: 1448, flags: 0x10, id: 7, seq: 1},
		"TCPv4 with options":             {payload: 6000, size: 1448, flags: 0x18, ipOpts: 40, tcpOpts: 40},
		"TCPv6":                          {v6: true, payload: 60000, size: 1428, flags: 0x11},
		"TCPv6 behind a header":          {v6: true, payload: 5000, size: 1428, flags: 0x18, ipOpts: 24, tcpOpts: 12},
		"all flags":                      {payload: 4000, size: 1000, flags: allFlags},
		"all flags, two segments":        {v6: true, payload: 1001, size: 1000, flags: allFlags, tcpOpts: 12},
		"one segment":                    {payload: 1000, size: 1000, flags: allFlags},
		"one small segment":              {v6: true, payload: 3, size: 1000, flags: allFlags},
		"nothing":                        {payload: 0, size: 1000, flags: allFlags},
		"the last segment has one octet": {v6: true, payload: 2801, size: 1400, flags: 0x18},
		"segments shorter than headers":  {payload: 50, size: 1, flags: allFlags, tcpOpts: 40},
		"odd segments":                   {v6: true, payload: 5001, size: 333, flags: 0x10},
		"numbers wrap":                   {payload: 5000, size: 1000, flags: 0x10, id: 65533, seq: 0xfffffc00},
		"UDPv4":                          {udp: true, payload: 60000, size: 1200, id: 9},
		"UDPv6":                          {udp: true, v6: true, payload: 60000, size: 1452},
		"UDPv4 of one octet":             {udp: true, payload: 20, size: 1},
		"UDPv6, the last of one octet":   {udp: true, v6: true, payload: 2401, size: 1200},
		"the longest of IPv4":            {payload: 65535 - 40, size: 65535, flags: 0x10},
		"the longest of IPv6":            {v6: true, udp: true, payload: 65535 - 8, size: 65535},
	} {
		t.Run(name, func(t *testing.T) {
			var c Cutter
			if err := c.Start(s.frame(t)); err != nil {
				t.Fatal(err)
			}
			i, from := 0, 0
			for ; c.Next(); i++ {
				to := min(from+int(s.size), s.payload)
				if diff := cmp.Diff(s.packet(t, i, from, to), c.f.Bytes()); diff != "" {
					t.Fatalf("segment %d (-want +got):\n%s", i, diff)
				}
				if c.f.Offload != (frame.Offload{}) {
					t.Fatalf("segment %d has %+v", i, c.f.Offload)
				}
				from = to
			}
			if want := max(1, (s.payload+int(s.size)-1)/int(s.size)); i != want || from != s.payload {
				t.Errorf("%d segments with %d octets, want %d with %d", i, from, want, s.payload)
			}
			if c.Next() {
				t.Error("one more behind the last")
			}
		})
	}
}

func TestSinglePackets(t *testing.T) {
	var c Cutter
	for name, s := range map[string]shape{
		"TCPv4": {payload: 1000, flags: 0xff, id: 5}, "TCPv6": {v6: true, payload: 1, flags: 0x18}, "UDPv4": {udp: true, payload: 999},
		"UDPv6": {udp: true, v6: true},
	} {
		for _, state := range []frame.Checksum{frame.ChecksumPartial, frame.ChecksumUnknown, frame.ChecksumVerified} {
			want := s.packet(t, 0, 0, s.payload)
			f := s.frame(t)
			f.GSO, f.Checksum = frame.NotSegmented, state
			if state != frame.ChecksumPartial {
				copy(f.Bytes(), want)
			}
			if err := c.Start(f); err != nil || !c.Next() {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(want, f.Bytes()); diff != "" || f.Offload != (frame.Offload{}) {
				t.Errorf("%s, %d: %+v (-want +got):\n%s", name, state, f.Offload, diff)
			}
			if c.Next() {
				t.Errorf("%s: one more", name)
			}
		}
	}
}

// A UDP checksum that comes out as 0 is sent as 0xffff (RFC 768).
func TestZeroChecksum(t *testing.T) {
	s := shape{udp: true, payload: 4, size: 2}
	for i := range 2 { // in a single packet, and in the last of two
		f := s.frame(t)
		if i == 0 {
			f.Offload = frame.Offload{Checksum: frame.ChecksumPartial, L4: f.L4, ChecksumAt: f.ChecksumAt}
		}
		// With 0 for the payload's last word the checksum is what that word has to be.
		var c Cutter
		probe := new(frame.Frame)
		b := bytes.Clone(f.Bytes())
		binary.BigEndian.PutUint16(b[len(b)-2:], 0)
		probe.Wrap(b, 0, len(b))
		probe.Offload = f.Offload
		last := cutAll(t, &c, probe)
		copy(f.Bytes()[f.Len()-2:], last[f.L4+udpSum:][:2])
		if got := binary.BigEndian.Uint16(cutAll(t, &c, f)[lenIP4+udpSum:]); got != 0xffff {
			t.Errorf("%d: %#x", i, got)
		}
	}
}

// cutAll returns the last packet of f.
func cutAll(t *testing.T, c *Cutter, f *frame.Frame) (last []byte) {
	t.Helper()
	if err := c.Start(f); err != nil {
		t.Fatal(err)
	}
	for c.Next() {
		last = bytes.Clone(f.Bytes())
	}
	return last
}

func TestRefuses(t *testing.T) {
	tcp := shape{payload: 3000, size: 1000}
	udp := shape{udp: true, v6: true, payload: 3000, size: 1000}
	for _, c := range []struct {
		name string
		s    shape
		edit func(f *frame.Frame)
		want error
	}{
		{"version", tcp, func(f *frame.Frame) { f.Bytes()[0] = 0x55 }, errVersion},
		{"empty", tcp, func(f *frame.Frame) { f.Reshape(0, 0) }, errVersion},
		{"transport within IPv4", tcp, func(f *frame.Frame) { f.L4 = 16 }, errHeaders},
		{"transport not behind IPv4", tcp, func(f *frame.Frame) { f.L4 = 24 }, errHeaders},
		{"IPv4 header of 4 words", tcp, func(f *frame.Frame) { f.Bytes()[0], f.L4 = 0x44, 16 }, errHeaders},
		{"transport within IPv6", udp, func(f *frame.Frame) { f.L4 = 32 }, errHeaders},
		{"transport behind the packet", udp, func(f *frame.Frame) { f.L4 = 65535 }, errHeaders},
		{"TCP cut off", tcp, func(f *frame.Frame) { f.Reshape(0, 39) }, errHeaders},
		{"TCP options cut off", tcp, func(f *frame.Frame) { f.Bytes()[32] = 0xf0; f.Reshape(0, 60) }, errHeaders},
		{"TCP header too short", tcp, func(f *frame.Frame) { f.Bytes()[32] = 0x40 }, errHeaders},
		{"UDP cut off", udp, func(f *frame.Frame) { f.Reshape(0, 47) }, errHeaders},
		{"headers too long", shape{v6: true, udp: true, payload: 3000, ipOpts: 256, size: 9}, func(*frame.Frame) {}, errHeaders},
		{"segments of nothing", tcp, func(f *frame.Frame) { f.SegSize = 0 }, errSize},
		{"not partial", tcp, func(f *frame.Frame) { f.Checksum = frame.ChecksumVerified }, errOffload},
		{"checksum of UDP in TCP", tcp, func(f *frame.Frame) { f.ChecksumAt = udpSum }, errOffload},
		{"checksum of TCP in UDP", udp, func(f *frame.Frame) { f.ChecksumAt = tcpSum }, errOffload},
		{"partial checksum outside", udp, func(f *frame.Frame) { f.GSO, f.L4 = frame.NotSegmented, uint16(f.Len()-7) }, errChecksum},
	} {
		f := c.s.frame(t)
		c.edit(f)
		before, offload := bytes.Clone(f.Bytes()), f.Offload
		var cut Cutter
		if err := cut.Start(f); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		if cut.Next() || !bytes.Equal(before, f.Bytes()) || f.Offload != offload {
			t.Errorf("%s: changed", c.name)
		}
	}
	long := make([]byte, 65536+20)
	long[0], long[32] = 0x45, 0x50
	f := new(frame.Frame)
	f.Wrap(long, 0, len(long))
	f.Offload = frame.Offload{Checksum: frame.ChecksumPartial, GSO: frame.SegmentTCP, SegSize: 65535, L4: 20, ChecksumAt: tcpSum}
	if err := new(Cutter).Start(f); !errors.Is(err, errSize) {
		t.Errorf("segment longer than IPv4 has room for: %v", err)
	}
}

func TestAllocations(t *testing.T) {
	s := shape{payload: 60000, size: 1448}
	f := s.frame(t)
	fresh, offload := bytes.Clone(f.WithRoom(0)), f.Offload
	buf := make([]byte, len(fresh))
	c := new(Cutter)
	if n := testing.AllocsPerRun(20, func() {
		copy(buf, fresh)
		f.Wrap(buf, 0, len(buf))
		f.Offload = offload
		if err := c.Start(f); err != nil {
			t.Fatal(err)
		}
		for c.Next() {
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever a super-packet looks like, its segments hold its payload, once and in order, have lengths that fit, and right checksums.
func FuzzCut(f *testing.F) {
	f.Add(shape{payload: 300, size: 100, flags: 0xff}.packet(f, 0, 0, 300), uint16(100), uint16(20), false)
	f.Add(shape{v6: true, payload: 301, size: 7, flags: 0xff}.packet(f, 0, 0, 301), uint16(7), uint16(40), false)
	f.Add(shape{v6: true, udp: true, payload: 30}.packet(f, 0, 0, 30), uint16(9), uint16(40), true)
	f.Add([]byte{0x45}, uint16(1), uint16(0xffff), true)
	f.Fuzz(func(t *testing.T, p []byte, size, l4 uint16, udp bool) {
		p = bytes.Clone(p)
		g := new(frame.Frame)
		g.Wrap(p, 0, len(p))
		g.Offload = frame.Offload{Checksum: frame.ChecksumPartial, GSO: frame.SegmentTCP, SegSize: size, L4: l4, ChecksumAt: tcpSum}
		if udp {
			g.GSO, g.ChecksumAt = frame.SegmentUDP, udpSum
		}
		var c Cutter
		if c.Start(g) != nil {
			return
		}
		pseudo := binary.BigEndian.Uint16(c.template[int(l4)+int(g.ChecksumAt):])
		want, got := bytes.Clone(p[c.headers:]), []byte{}
		for n := 0; c.Next(); n++ {
			b := g.Bytes()
			if len(b) > c.headers+int(size) || n > len(p) {
				t.Fatalf("segment %d of %d octets", n, len(b))
			}
			length := int(binary.BigEndian.Uint16(b[2:]))
			if b[0]>>4 == 6 {
				length = 40 + int(binary.BigEndian.Uint16(b[4:]))
			}
			if length != len(b) {
				t.Fatalf("length field %d, segment of %d octets", length, len(b))
			}
			sum := uint32(pseudo) + uint32(len(b)-int(l4))
			for i, x := range b[l4:] {
				sum += uint32(x) << (8 * (1 - i%2))
			}
			for sum > 0xffff {
				sum = sum&0xffff + sum>>16
			}
			if sum != 0xffff {
				t.Fatalf("sum %#x", sum)
			}
			got = append(got, b[c.headers:]...)
		}
		if !bytes.Equal(got, want) {
			t.Error("payload changed")
		}
	})
}
