package siit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// datagram is what a packet says, whatever its family. Its addresses are those of IPv4, and network says what stands for them.
type datagram struct {
	src, dst netip.Addr
	src6     netip.Addr // instead of what stands for src: a router without an IPv4 address
	dst6     netip.Addr // instead of what stands for dst: the prefix's way to a mapped host
	tos, ttl uint8
	id       uint32
	df       bool   // IPv4
	options  []byte // IPv4, a multiple of 4 octets
	chain    []extension
	offset   int // octets; of a fragment
	size     int // octets of a fragment, 0: the whole datagram
	mf       bool
	atomic   bool // IPv6: a fragment header on a whole datagram
	content  content
}

func (d datagram) isFragment() bool { return d.size > 0 }

// content is a transport message. The pairs are for IPv4 and IPv6.
type content struct {
	proto [2]uint8
	tcp   *layers.TCP
	zero  bool // UDP without a checksum
	ports [2]uint16
	icmp  [2][2]uint8 // type and code
	word  [2]uint32   // second word of ICMP
	rest  [2][]byte   // what follows it
	data  []byte
}

// family46 is the index of a version in pairs.
func family46(version int) int { return (version - 4) / 2 }

// packet makes the packet of one version, with all lengths and checksums right.
func (d datagram) packet(t testing.TB, n network, version int) []byte {
	src, dst := d.src, d.dst
	if version == 6 {
		src, dst = n.to6(src), n.to6(dst)
		if d.src6.IsValid() {
			src = d.src6
		}
		if d.dst6.IsValid() {
			dst = d.dst6
		}
	}
	whole := d.content.octets(t, version, src, dst)
	part := whole
	if d.isFragment() {
		part = whole[d.offset : d.offset+d.size]
	}
	proto := layers.IPProtocol(d.content.proto[family46(version)])
	if version == 4 {
		ip := &layers.IPv4{
			Version: 4, TOS: d.tos, TTL: d.ttl, Id: uint16(d.id), FragOffset: uint16(d.offset / 8), Protocol: proto,
			SrcIP: src.AsSlice(), DstIP: dst.AsSlice(),
		}
		if d.df {
			ip.Flags |= layers.IPv4DontFragment
		}
		if d.mf {
			ip.Flags |= layers.IPv4MoreFragments
		}
		for o := d.options; len(o) > 0; {
			size := 1
			option := layers.IPv4Option{OptionType: o[0], OptionLength: 1}
			if o[0] > 1 {
				size = int(o[1])
				option.OptionLength, option.OptionData = o[1], o[2:size]
			}
			ip.Options = append(ip.Options, option)
			o = o[size:]
		}
		return serialize(t, ip, gopacket.Payload(part))
	}
	ip := &layers.IPv6{
		Version: 6, TrafficClass: d.tos, FlowLabel: 0xabcde, HopLimit: d.ttl, NextHeader: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice(),
	}
	all := []gopacket.SerializableLayer{ip}
	next := &ip.NextHeader
	for _, e := range d.chain { // of any type, and with any octets in it: as it is
		body := gopacket.Payload(slices.Clone(e.body))
		*next, body[0] = layers.IPProtocol(e.typ), byte(proto)
		next = (*layers.IPProtocol)(&body[0])
		all = append(all, body)
	}
	if d.isFragment() || d.atomic {
		*next = layers.IPProtocolIPv6Fragment
		all = append(all, &layers.IPv6Fragment{NextHeader: proto, FragmentOffset: uint16(d.offset / 8), MoreFragments: d.mf, Identification: d.id})
	}
	return serialize(t, append(all, gopacket.Payload(part))...)
}

// octets is the whole message between two addresses.
func (m content) octets(t testing.TB, version int, src, dst netip.Addr) []byte {
	i := family46(version)
	var ip gopacket.NetworkLayer = &layers.IPv4{SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	if version == 6 {
		ip = &layers.IPv6{SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	}
	data := gopacket.Payload(m.data)
	var head gopacket.SerializableLayer
	switch m.proto[i] {
	case protoTCP:
		tcp := *m.tcp
		head = &tcp
	case protoUDP:
		head = &layers.UDP{SrcPort: layers.UDPPort(m.ports[0]), DstPort: layers.UDPPort(m.ports[1])}
	case protoICMP:
		head = &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(m.icmp[i][0], m.icmp[i][1]), Id: uint16(m.word[i] >> 16), Seq: uint16(m.word[i])}
		data = gopacket.Payload(m.rest[i])
	case protoICMPv6:
		head = &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(m.icmp[i][0], m.icmp[i][1])}
		data = append(binary.BigEndian.AppendUint32(nil, m.word[i]), m.rest[i]...)
	case 33, 136: // which gopacket does not make: their checksum covers all, and stands where that of UDP does
		b := append([]byte{byte(m.ports[0] >> 8), byte(m.ports[0]), byte(m.ports[1] >> 8), byte(m.ports[1]), 0, 0, 0, 0}, m.data...)
		sum := ^slowSum(pseudo(src, dst, m.proto[i], len(b)), b)
		if sum == 0 && m.proto[i] == 136 {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(b[6:], sum)
		return b
	default:
		return m.data
	}
	if h, ok := head.(interface {
		SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
	}); ok {
		if err := h.SetNetworkLayerForChecksum(ip); err != nil {
			t.Fatal(err)
		}
	}
	b := serialize(t, head, data)
	if m.zero {
		b[6], b[7] = 0, 0
	}
	return b
}

func serialize(t testing.TB, all ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// seen is what gopacket finds in a packet.
type seen struct {
	fields
	payload []byte
}

type fields struct {
	version        int
	src, dst       netip.Addr
	tos, ttl       uint8
	proto          uint8
	id             uint32
	df, mf         bool
	fragmentHeader bool
	offset         int // octets
}

func (s seen) String() string {
	return fmt.Sprintf("IPv%d %v to %v, protocol %d, TOS %#02x, TTL %d, id %#x, DF %v, MF %v at %d (header %v), %d octets %.200x",
		s.version, s.src, s.dst, s.proto, s.tos, s.ttl, s.id, s.df, s.mf, s.offset, s.fragmentHeader, len(s.payload), s.payload)
}

func (s seen) equal(o seen) bool { return s.fields == o.fields && bytes.Equal(s.payload, o.payload) }

// decode reads a packet that was translated, in which all must be right that gopacket can judge.
func decode(t testing.TB, p []byte) (s seen) {
	first := gopacket.LayerType(layers.LayerTypeIPv4)
	if p[0]>>4 == 6 {
		first = layers.LayerTypeIPv6
	}
	q := gopacket.NewPacket(p, first, gopacket.NoCopy)
	for _, l := range q.Layers() {
		if l, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			if err := l.SetNetworkLayerForChecksum(q.NetworkLayer()); err != nil {
				t.Fatal(err)
			}
		}
	}
	err, wrong := q.VerifyChecksums()
	if err != nil || len(wrong) > 0 {
		t.Fatalf("gopacket finds a wrong checksum: %v, %v: %x", err, wrong, p)
	}
	switch ip := q.NetworkLayer().(type) {
	case *layers.IPv4:
		src, _ := netip.AddrFromSlice(ip.SrcIP)
		dst, _ := netip.AddrFromSlice(ip.DstIP)
		s.payload, s.fields = ip.Payload, fields{
			version: 4, src: src, dst: dst, tos: ip.TOS, ttl: ip.TTL, proto: uint8(ip.Protocol), id: uint32(ip.Id), offset: int(ip.FragOffset) * 8,
			df: ip.Flags&layers.IPv4DontFragment != 0, mf: ip.Flags&layers.IPv4MoreFragments != 0,
		}
		if ip.IHL != 5 || int(ip.Length) != len(p) || ip.Flags&layers.IPv4EvilBit != 0 {
			t.Fatalf("wrong IPv4 header: %x", p[:20])
		}
	case *layers.IPv6:
		src, _ := netip.AddrFromSlice(ip.SrcIP)
		dst, _ := netip.AddrFromSlice(ip.DstIP)
		s.payload, s.fields = ip.Payload, fields{version: 6, src: src, dst: dst, tos: ip.TrafficClass, ttl: ip.HopLimit, proto: uint8(ip.NextHeader)}
		if ip.FlowLabel != 0 || int(ip.Length) != len(p)-40 || ip.HopByHop != nil {
			t.Fatalf("wrong IPv6 header: %x", p[:40])
		}
		if h, ok := q.Layer(layers.LayerTypeIPv6Fragment).(*layers.IPv6Fragment); ok {
			s.proto, s.id, s.offset, s.mf, s.payload = uint8(h.NextHeader), h.Identification, int(h.FragmentOffset)*8, h.MoreFragments, h.Payload
			s.fragmentHeader = true
			if h.Reserved1 != 0 || h.Reserved2 != 0 {
				t.Fatalf("wrong fragment header: %x", p[40:48])
			}
		}
	default:
		t.Fatalf("gopacket cannot read %x", p)
	}
	return s
}
