package conformance

import (
	"bytes"
	"encoding/binary"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// packet is a packet that gopacket has read.
type packet struct {
	octets   []byte               // all of it
	v4       *layers.IPv4         // nil in IPv6
	v6       *layers.IPv6         // nil in IPv4
	fragment *layers.IPv6Fragment // nil without a Fragment header
	protocol layers.IPProtocol    // of the payload
	payload  []byte               // what follows the IP headers
}

// decode reads a whole packet, and fails unless everything in it is as its family wants it: lengths, reserved bits, header checksum,
// and the checksum of its TCP, UDP or ICMP unless it is a fragment. All translations and errors of our own pass through it, so it
// also knows what they never have: IPv4 options, a flow label, and fragment headers on what is no fragment.
func decode(t testing.TB, octets []byte) packet {
	t.Helper()
	p := decodeHeader(t, octets)
	if p.v4 != nil {
		if p.v4.IHL != 5 || int(binary.BigEndian.Uint16(octets[2:])) != len(octets) || p.v4.Flags&layers.IPv4EvilBit != 0 {
			t.Fatalf("IPv4 packet of %d octets with header %x", len(octets), octets[:20])
		}
	} else {
		if int(p.v6.Length) != len(octets)-40 || p.v6.FlowLabel != 0 {
			t.Fatalf("IPv6 packet of %d octets with header %x", len(octets), octets[:40])
		}
		if f := p.fragment; f != nil && (f.Reserved1 != 0 || f.Reserved2 != 0 || !p.isFragment()) {
			t.Fatalf("fragment header %x", f.Contents)
		}
	}
	if !p.isFragment() {
		if wrong := p.wrongChecksum(); wrong != "" {
			t.Fatalf("%s in %x", wrong, octets)
		}
	}
	return p
}

// decodeHeader reads a packet of which only the beginning may be there: its IP header, with a right checksum, and a Fragment header.
// Only the IP headers are left to gopacket's choice: it would take what follows for whatever protocol the ports remind it of.
func decodeHeader(t testing.TB, octets []byte) packet {
	t.Helper()
	p := packet{octets: octets}
	if len(octets) == 0 {
		t.Fatal("an empty packet")
	}
	if octets[0]>>4 == 4 {
		p.v4 = new(layers.IPv4)
		if err := p.v4.DecodeFromBytes(octets, gopacket.NilDecodeFeedback); err != nil {
			t.Fatalf("%v: %x", err, octets)
		}
		if err, sum := p.v4.VerifyChecksum(); err != nil || !sum.Valid {
			t.Fatalf("IPv4 header checksum is %#04x, want %#04x: %x", sum.Actual, sum.Correct, octets)
		}
		p.protocol, p.payload = p.v4.Protocol, p.v4.Payload
		return p
	}
	p.v6 = new(layers.IPv6)
	if err := p.v6.DecodeFromBytes(octets, gopacket.NilDecodeFeedback); err != nil || p.v6.Version != 6 {
		t.Fatalf("version %d, %v: %x", p.v6.Version, err, octets)
	}
	p.protocol, p.payload = p.v6.NextHeader, p.v6.Payload
	if p.protocol == layers.IPProtocolIPv6Fragment {
		p.fragment = new(layers.IPv6Fragment)
		if err := p.fragment.DecodeFromBytes(p.payload, gopacket.NilDecodeFeedback); err != nil {
			t.Fatalf("%v: %x", err, octets)
		}
		p.protocol, p.payload = p.fragment.NextHeader, p.fragment.Payload
	}
	return p
}

func (p packet) network() gopacket.NetworkLayer {
	if p.v4 != nil {
		return p.v4
	}
	return p.v6
}

func (p packet) src() net.IP {
	if p.v4 != nil {
		return p.v4.SrcIP
	}
	return p.v6.SrcIP
}

func (p packet) dst() net.IP {
	if p.v4 != nil {
		return p.v4.DstIP
	}
	return p.v6.DstIP
}

// fromTo fails t unless the packet's addresses are these.
func (p packet) fromTo(t testing.TB, src, dst net.IP) {
	t.Helper()
	if !p.src().Equal(src) || !p.dst().Equal(dst) || (p.v4 != nil) != (dst.To4() != nil) {
		t.Errorf("from %v to %v, want from %v to %v", p.src(), p.dst(), src, dst)
	}
}

// isFragment is whether the packet is less than a whole datagram.
func (p packet) isFragment() bool {
	if p.v4 != nil {
		return p.v4.Flags&layers.IPv4MoreFragments != 0 || p.v4.FragOffset != 0
	}
	return p.fragment != nil && (p.fragment.MoreFragments || p.fragment.FragmentOffset != 0)
}

// offset is where the fragment's payload belongs in the datagram, in octets; more whether others follow it.
func (p packet) offset() (octets int, more bool) {
	switch {
	case p.v4 != nil:
		return int(p.v4.FragOffset) * 8, p.v4.Flags&layers.IPv4MoreFragments != 0
	case p.fragment != nil:
		return int(p.fragment.FragmentOffset) * 8, p.fragment.MoreFragments
	}
	return 0, false
}

// wrongChecksum says what is wrong with the checksum of the TCP, UDP or ICMP in the packet; empty where nothing is.
func (p packet) wrongChecksum() string {
	var l interface {
		gopacket.DecodingLayer
		gopacket.LayerWithChecksum
	}
	var err error
	switch p.protocol {
	case layers.IPProtocolTCP:
		tcp := new(layers.TCP)
		l, err = tcp, tcp.SetNetworkLayerForChecksum(p.network())
	case layers.IPProtocolUDP:
		udp := new(layers.UDP)
		l, err = udp, udp.SetNetworkLayerForChecksum(p.network())
	case layers.IPProtocolICMPv4:
		l = new(layers.ICMPv4)
	case layers.IPProtocolICMPv6:
		icmp := new(layers.ICMPv6)
		l, err = icmp, icmp.SetNetworkLayerForChecksum(p.network())
	default:
		return ""
	}
	if err != nil {
		return err.Error()
	}
	if err := l.DecodeFromBytes(p.payload, gopacket.NilDecodeFeedback); err != nil {
		return err.Error()
	}
	if udp, ok := l.(*layers.UDP); ok && p.v6 != nil && udp.Checksum == 0 {
		return "UDP over IPv6 without a checksum" // which gopacket finds right
	}
	err, sum := l.VerifyChecksum()
	switch {
	case err != nil:
		return err.Error()
	case !sum.Valid:
		return l.(gopacket.Layer).LayerType().String() + " checksum is wrong"
	}
	return ""
}

// udp reads the packet's payload as UDP.
func (p packet) udp(t testing.TB) *layers.UDP {
	t.Helper()
	udp := new(layers.UDP)
	if err := udp.DecodeFromBytes(p.payload, gopacket.NilDecodeFeedback); err != nil || p.protocol != layers.IPProtocolUDP {
		t.Fatalf("no UDP: protocol %d, %v", p.protocol, err)
	}
	return udp
}

// message is an ICMP message of either family.
type message struct {
	typ, code uint8
	word      uint32 // the four octets behind the checksum
	body      []byte
}

// icmp reads the packet's payload as the ICMP of its family.
func (p packet) icmp(t testing.TB) message {
	t.Helper()
	want := layers.IPProtocolICMPv6
	if p.v4 != nil {
		want = layers.IPProtocolICMPv4
	}
	if p.protocol != want || len(p.payload) < 8 {
		t.Fatalf("no ICMP: protocol %d, %d octets", p.protocol, len(p.payload))
	}
	return message{typ: p.payload[0], code: p.payload[1], word: binary.BigEndian.Uint32(p.payload[4:]), body: p.payload[8:]}
}

// is fails t unless the message has this head.
func (m message) is(t testing.TB, typ, code uint8, word uint32) {
	t.Helper()
	if m.typ != typ || m.code != code || m.word != word {
		t.Errorf("ICMP %d/%d with %#08x, want %d/%d with %#08x", m.typ, m.code, m.word, typ, code, word)
	}
}

// quoted reads the packet that an ICMP error is about. Its payload is as much of it as there is.
func (m message) quoted(t testing.TB) packet {
	t.Helper()
	return decodeHeader(t, m.body)
}

// extended splits the body of an ICMP error by its length attribute (RFC 4884, 4 and 5) into the packet quoted and the extension
// structure, whose version and checksum it verifies. Without the attribute all of it is the packet, and the structure nil.
func (p packet) extended(t testing.TB) (datagram, structure []byte) {
	t.Helper()
	m := p.icmp(t)
	length := int(m.word>>24) * 8
	if p.v4 != nil {
		length = int(m.word>>16&0xff) * 4
	}
	if length == 0 {
		return m.body, nil
	}
	if length < 128 || length+4 > len(m.body) {
		t.Fatalf("length attribute of %d octets, where %d follow the head", length, len(m.body))
	}
	datagram, structure = m.body[:length], m.body[length:]
	if structure[0]>>4 != 2 || gopacket.FoldChecksum(gopacket.ComputeChecksum(structure, 0)) != 0 {
		t.Fatalf("extension structure %x has another version than 2, or a wrong checksum", structure)
	}
	return datagram, structure
}

// joined puts all fragments of one datagram together, as a receiver does, and decodes it. They come in order.
func joined(t testing.TB, fragments []packet) packet {
	t.Helper()
	var whole []byte
	for i, f := range fragments {
		offset, more := f.offset()
		first := fragments[0]
		same := f.src().Equal(first.src()) && f.dst().Equal(first.dst()) && f.protocol == first.protocol && f.id() == first.id()
		if !same || !f.isFragment() || offset != len(whole) || more != (i < len(fragments)-1) || more && len(f.payload)%8 != 0 {
			t.Fatalf("fragment %d of %d does not follow: %x", i, len(fragments), f.octets)
		}
		whole = append(whole, f.payload...)
	}
	if v4 := fragments[0].v4; v4 != nil {
		header := *v4
		header.Flags = 0
		return decode(t, build(t, &header, payload(whole)))
	}
	header := *fragments[0].v6
	header.NextHeader = fragments[0].protocol
	return decode(t, build(t, &header, payload(whole)))
}

// id is the identification of the datagram that a fragment belongs to.
func (p packet) id() uint32 {
	switch {
	case p.v4 != nil:
		return uint32(p.v4.Id)
	case p.fragment != nil:
		return p.fragment.Identification
	}
	return 0
}

// same fails t unless got is want, and shows where they differ.
func same(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < min(len(got), len(want)) && got[at] == want[at] {
		at++
	}
	t.Errorf("%s differs at octet %d:\ngot  %x\nwant %x", what, at, got, want)
}
