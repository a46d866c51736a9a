package conformance

import (
	"encoding/binary"
	"net"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// The addresses of all tests.
var (
	client4 = ip("192.0.0.1") // the host whose IPv4 we translate
	client6 = ip("2001:db8:1:2::c1a7")
	peer4   = ip("198.51.100.5") // whom it talks to
	peer6   = ip("64:ff9b::198.51.100.5")
	self4   = ip("192.0.0.6")           // the translator: source of its ICMPv4 errors
	self6   = ip("2001:db8:1:2::5e1f")  // and of its ICMPv6 errors
	router6 = ip("2001:db8:ffff::1")    // on the way to the peer, without an IPv4 address
	dummy4  = ip("192.0.0.8")           // what stands for it in IPv4
	native6 = ip("2001:db8:dead::beef") // some IPv6 host that is not behind the PREF64
)

// ip is an address of either family, for gopacket: in 4 octets or in 16.
func ip(s string) net.IP {
	a := net.ParseIP(s)
	if four := a.To4(); four != nil {
		return four
	}
	return a
}

// build is the packet that the layers make, from the outside in, with all lengths and checksums right.
//
// What a layer leaves empty has a default: IPv4 goes from client4 to peer4 and IPv6 from peer6 to client6, both with 64 hops to live,
// UDP from port 4660 to 53, TCP from port 50000 to 443. Protocol and next header numbers follow from the next layer where they are 0.
// A later change (edited) makes what build does not: wrong lengths, wrong checksums, a TTL of 0.
func build(t testing.TB, all ...gopacket.SerializableLayer) []byte {
	t.Helper()
	var network gopacket.NetworkLayer
	for i, l := range all {
		var next gopacket.SerializableLayer
		if i+1 < len(all) {
			next = all[i+1]
		}
		complete(l, next)
		if n, ok := l.(gopacket.NetworkLayer); ok {
			network = n
		}
		if sum, ok := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			if err := sum.SetNetworkLayerForChecksum(network); err != nil {
				t.Fatal(err)
			}
		}
	}
	out := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(out, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return slices.Clone(out.Bytes())
}

// complete puts the defaults of build into a layer.
func complete(l, next gopacket.SerializableLayer) {
	switch l := l.(type) {
	case *layers.IPv4:
		l.Version = 4
		number(&l.Protocol, next)
		fill(&l.SrcIP, client4)
		fill(&l.DstIP, peer4)
		if l.TTL == 0 {
			l.TTL = 64
		}
	case *layers.IPv6:
		l.Version = 6
		number(&l.NextHeader, next)
		fill(&l.SrcIP, peer6)
		fill(&l.DstIP, client6)
		if l.HopLimit == 0 {
			l.HopLimit = 64
		}
	case *layers.IPv6Fragment:
		number(&l.NextHeader, next)
	case *layers.IPv6HopByHop:
		number(&l.NextHeader, next)
	case *layers.IPv6Destination:
		number(&l.NextHeader, next)
	case *layers.IPv6Routing:
		number(&l.NextHeader, next)
	case *layers.UDP:
		if l.SrcPort == 0 && l.DstPort == 0 {
			l.SrcPort, l.DstPort = 4660, 53
		}
	case *layers.TCP:
		if l.SrcPort == 0 && l.DstPort == 0 {
			l.SrcPort, l.DstPort = 50000, 443
		}
	}
}

func fill(a *net.IP, otherwise net.IP) {
	if *a == nil {
		*a = otherwise
	}
}

// number sets a protocol or next header number that is 0 to that of the next layer. For a payload it stays what it is.
func number(p *layers.IPProtocol, next gopacket.SerializableLayer) {
	if *p != 0 {
		return
	}
	switch next.(type) {
	case *layers.IPv4:
		*p = layers.IPProtocolIPv4
	case *layers.IPv6:
		*p = layers.IPProtocolIPv6
	case *layers.IPv6Fragment:
		*p = layers.IPProtocolIPv6Fragment
	case *layers.IPv6Destination:
		*p = layers.IPProtocolIPv6Destination
	case *layers.IPv6Routing:
		*p = layers.IPProtocolIPv6Routing
	case *layers.UDP:
		*p = layers.IPProtocolUDP
	case *layers.TCP:
		*p = layers.IPProtocolTCP
	case *layers.ICMPv4:
		*p = layers.IPProtocolICMPv4
	case *icmpv6:
		*p = layers.IPProtocolICMPv6
	}
}

// payload is the parts one after the other.
func payload(parts ...[]byte) gopacket.Payload { return slices.Concat(parts...) }

// data is n octets of payload of which no two neighbours are equal.
func data(n int) gopacket.Payload {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// edited is p with the octets from at on replaced.
func edited(p []byte, at int, octets ...byte) []byte {
	q := slices.Clone(p)
	copy(q[at:at+len(octets)], octets)
	return q
}

// resealed is the IPv4 packet p with a right header checksum, after edited.
func resealed(p []byte) []byte {
	q := edited(p, 10, 0, 0)
	header := q[:min(len(q), int(q[0]&15)*4)]
	binary.BigEndian.PutUint16(q[10:], gopacket.FoldChecksum(gopacket.ComputeChecksum(header, 0)))
	return q
}

// hopByHop and destinationOptions are extension headers of so many octets, with nothing in them but padding. It is explicit: gopacket
// pads by what is left over instead of by what is missing.
func hopByHop(octets int) *layers.IPv6HopByHop {
	return &layers.IPv6HopByHop{Options: []*layers.IPv6HopByHopOption{{OptionType: 1, OptionData: make([]byte, octets-4)}}}
}

func destinationOptions(octets int) *layers.IPv6Destination {
	return &layers.IPv6Destination{Options: []*layers.IPv6DestinationOption{{OptionType: 1, OptionData: make([]byte, octets-4)}}}
}

// routing is a source route by one router (RFC 8200, 4.4), of 24 octets.
func routing(segmentsLeft uint8) *layers.IPv6Routing {
	return &layers.IPv6Routing{SegmentsLeft: segmentsLeft, SourceRoutingIPs: []net.IP{router6}}
}

// icmp4 is the head of an ICMPv4 message. word is what follows the checksum: identifier and sequence number, or what an error has
// there, as 32 bits.
func icmp4(typ, code uint8, word uint32) *layers.ICMPv4 {
	return &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(typ, code), Id: uint16(word >> 16), Seq: uint16(word)}
}

// icmp6 is the same of an ICMPv6 message.
func icmp6(typ, code uint8, word uint32) *icmpv6 {
	return &icmpv6{ICMPv6: layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(typ, code)}, word: word}
}

// icmpv6 is an ICMPv6 head of 8 octets. That of gopacket has 4, and of what follows gopacket can build echo and neighbour discovery
// only, not errors.
type icmpv6 struct {
	layers.ICMPv6
	word uint32
}

func (m *icmpv6) SerializeTo(b gopacket.SerializeBuffer, opts gopacket.SerializeOptions) error {
	word, err := b.PrependBytes(4)
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint32(word, m.word)
	return m.ICMPv6.SerializeTo(b, opts)
}

// cut is the packet whole as fragments with at most size octets each, a multiple of 8, behind their IP headers (RFC 791, 3.2;
// RFC 8200, 4.5). whole has no extension headers; IPv4 takes the lower half of the identification.
func cut(t testing.TB, whole []byte, id uint32, size int) (fragments [][]byte) {
	t.Helper()
	p := decodeHeader(t, whole)
	for at := 0; at < len(p.payload); at += size {
		piece, more := p.payload[at:], false
		if len(piece) > size {
			piece, more = piece[:size], true
		}
		if p.v4 != nil {
			header := *p.v4
			header.Id, header.FragOffset, header.Flags = uint16(id), uint16(at/8), 0
			if more {
				header.Flags = layers.IPv4MoreFragments
			}
			fragments = append(fragments, build(t, &header, payload(piece)))
			continue
		}
		header := *p.v6
		header.NextHeader = layers.IPProtocolIPv6Fragment
		fragment := &layers.IPv6Fragment{NextHeader: p.protocol, FragmentOffset: uint16(at / 8), MoreFragments: more, Identification: id}
		fragments = append(fragments, build(t, &header, fragment, payload(piece)))
	}
	return fragments
}

// padded is the quoted packet of an ICMP error as an extension structure behind it demands: at least 128 octets, and a multiple of
// unit, with zeros at its end (RFC 4884, 3 to 5). unit is 4 in ICMPv4 and 8 in ICMPv6, and the length attribute counts in it.
func padded(quote []byte, unit int) []byte {
	n := max(128, (len(quote)+unit-1)/unit*unit)
	return append(slices.Clone(quote), make([]byte, n-len(quote))...)
}

// structure is an RFC 4884 extension structure of version 2 with its checksum (7).
func structure(objects ...[]byte) []byte {
	s := slices.Concat(append([][]byte{{0x20, 0, 0, 0}}, objects...)...)
	binary.BigEndian.PutUint16(s[2:], gopacket.FoldChecksum(gopacket.ComputeChecksum(s, 0)))
	return s
}

// object is one object of an extension structure (RFC 4884, 8). Its data is a multiple of 4 octets.
func object(class, ctype uint8, data ...byte) []byte {
	n := 4 + len(data)
	return append([]byte{byte(n >> 8), byte(n), class, ctype}, data...)
}
