package conformance

import (
	"bytes"
	"encoding/binary"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"uclat/clat/node"
)

// Who is on the link.
var (
	ourMAC    = net.HardwareAddr{2, 0, 0x5e, 0x10, 0, 1}
	otherMAC  = net.HardwareAddr{2, 0, 0x5e, 0x10, 0, 2}
	routerMAC = net.HardwareAddr{2, 0, 0x5e, 0x10, 0, 3}

	linkRouter = ip("fe80::1")
	other6     = ip("2001:db8:1:2::07e6")
	nobody     = ip("::")
	allNodes   = ip("ff02::1")
	allRouters = ip("ff02::2")
)

// solicitedNode is the group of all addresses that end like a (RFC 4291, 2.7.1).
func solicitedNode(a net.IP) net.IP { return append(ip("ff02::1:ff00:0")[:13:13], a[13:]...) }

// onEthernet is where packets to a group go (RFC 2464, 7).
func onEthernet(group net.IP) net.HardwareAddr {
	return append(net.HardwareAddr{0x33, 0x33}, group[12:]...)
}

// Flags of an advertisement (RFC 4861, 4.4).
const (
	flagSolicited = 0x40
	flagOverride  = 0x20
)

// neighbourMessage is what a Neighbor Solicitation or Advertisement says. Two of them compare by ==.
type neighbourMessage struct {
	typ              layers.ICMPv6TypeCode
	src, dst, target string
	flags            uint8  // of an advertisement
	source, mine     string // link-layer addresses: of the sender of a solicitation, of the target of an advertisement; empty: not told
	to               string // link-layer address that the packet goes to
}

var (
	typeNS = layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborSolicitation, 0)
	typeNA = layers.CreateICMPv6TypeCode(layers.ICMPv6TypeNeighborAdvertisement, 0)
)

// solicits is a solicitation for target; source is nil where the sender does not tell it.
func solicits(src, dst, target net.IP, source, to net.HardwareAddr) neighbourMessage {
	return neighbourMessage{
		typ: typeNS, src: src.String(), dst: dst.String(), target: target.String(), source: source.String(), to: to.String(),
	}
}

// advertises is an advertisement of client6.
func advertises(dst net.IP, flags uint8, mine, to net.HardwareAddr) neighbourMessage {
	return neighbourMessage{
		typ: typeNA, src: client6.String(), dst: dst.String(), target: client6.String(), flags: flags, mine: mine.String(), to: to.String(),
	}
}

// Options of a message.
func sourceIs(a net.HardwareAddr) layers.ICMPv6Option {
	return layers.ICMPv6Option{Type: layers.ICMPv6OptSourceAddress, Data: a}
}

func targetIs(a net.HardwareAddr) layers.ICMPv6Option {
	return layers.ICMPv6Option{Type: layers.ICMPv6OptTargetAddress, Data: a}
}

// solicitation is a packet that asks who has target.
func solicitation(t testing.TB, src, dst, target net.IP, options ...layers.ICMPv6Option) []byte {
	t.Helper()
	return neighbourPacket(t, src, dst, typeNS, &layers.ICMPv6NeighborSolicitation{TargetAddress: target, Options: options})
}

// advertisement is a packet that says who has target.
func advertisement(t testing.TB, src, dst, target net.IP, flags uint8, options ...layers.ICMPv6Option) []byte {
	t.Helper()
	return neighbourPacket(t, src, dst, typeNA, &layers.ICMPv6NeighborAdvertisement{TargetAddress: target, Flags: flags, Options: options})
}

func neighbourPacket(t testing.TB, src, dst net.IP, typ layers.ICMPv6TypeCode, body gopacket.SerializableLayer) []byte {
	t.Helper()
	header := &layers.IPv6{SrcIP: src, DstIP: dst, HopLimit: 255, NextHeader: layers.IPProtocolICMPv6}
	return build(t, header, &layers.ICMPv6{TypeCode: typ}, body)
}

// ndSealed is a message with a right checksum, after edited.
func ndSealed(t testing.TB, p []byte) []byte {
	t.Helper()
	q := edited(p, 42, 0, 0)
	header := decodeHeader(t, q).v6
	pseudo := slices.Concat(header.SrcIP, header.DstIP, []byte{0, 0, 0, byte(len(q) - 40), 0, 0, 0, 58}, q[40:])
	binary.BigEndian.PutUint16(q[42:], gopacket.FoldChecksum(gopacket.ComputeChecksum(pseudo, 0)))
	return q
}

// station is a node with its address on a link where time passes when a test says so.
type station struct {
	*node.Node
	t    testing.TB
	now  time.Time
	next time.Time // when it wants to be woken; zero: never
	sent []neighbourMessage
}

// newStation is client6 on a link. It has not begun yet. The edits change it.
func newStation(t testing.TB, edits ...func(*node.Options)) *station {
	s := &station{t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	o := node.Options{Addr: addr(client6), Hardware: ourMAC, Nonce: [6]byte{1, 2, 3, 4, 5, 6}, Send: s.send}
	for _, edit := range edits {
		edit(&o)
	}
	s.Node, s.next = node.New(o), s.now
	return s
}

// newOwner is client6 on a link, known to be its owner for a minute.
func newOwner(t testing.TB) *station {
	t.Helper()
	s := newStation(t)
	s.pass(time.Minute)
	s.is(node.Ready)
	s.sent = nil
	return s
}

// send is called by the node.
func (s *station) send(octets []byte, to net.HardwareAddr) {
	s.t.Helper()
	p := decode(s.t, bytes.Clone(octets))
	if p.v6 == nil || p.protocol != layers.IPProtocolICMPv6 || p.v6.HopLimit != 255 || len(p.payload) < 24 {
		s.t.Fatalf("no Neighbor Discovery: %x", octets)
	}
	m := neighbourMessage{src: p.src().String(), dst: p.dst().String(), to: to.String()}
	var options layers.ICMPv6Options
	switch m.typ = layers.CreateICMPv6TypeCode(p.payload[0], p.payload[1]); m.typ {
	case typeNS:
		var l layers.ICMPv6NeighborSolicitation
		if err := l.DecodeFromBytes(p.payload[4:], gopacket.NilDecodeFeedback); err != nil {
			s.t.Fatal(err)
		}
		m.target, options = l.TargetAddress.String(), l.Options
	case typeNA:
		var l layers.ICMPv6NeighborAdvertisement
		if err := l.DecodeFromBytes(p.payload[4:], gopacket.NilDecodeFeedback); err != nil {
			s.t.Fatal(err)
		}
		m.target, m.flags, options = l.TargetAddress.String(), l.Flags, l.Options
	default:
		s.t.Fatalf("neither solicitation nor advertisement: %x", octets)
	}
	for _, o := range options {
		switch o.Type {
		case layers.ICMPv6OptSourceAddress:
			m.source = net.HardwareAddr(o.Data).String()
		case layers.ICMPv6OptTargetAddress:
			m.mine = net.HardwareAddr(o.Data).String()
		}
	}
	s.sent = append(s.sent, m)
}

// pass lets time go by.
func (s *station) pass(d time.Duration) {
	s.t.Helper()
	end := s.now.Add(d)
	for range 10_000 {
		if s.next.IsZero() || s.next.After(end) {
			s.now = end
			return
		}
		s.now = s.next
		s.next = s.Tick(s.now)
	}
	s.t.Fatal("it does not come to rest")
}

// hear is a packet that comes.
func (s *station) hear(p []byte, from net.HardwareAddr) {
	s.t.Helper()
	s.next = s.Input(p, from, s.now)
	s.pass(0)
}

// says wants just these messages to have been sent since the last call.
func (s *station) says(what string, want ...neighbourMessage) {
	s.t.Helper()
	if !slices.Equal(s.sent, want) {
		s.t.Errorf("%s: sent\n%+v\nwant\n%+v", what, s.sent, want)
	}
	s.sent = nil
}

func (s *station) is(want node.Status) {
	s.t.Helper()
	if got := s.Status(); got != want {
		s.t.Errorf("the address is %v, want %v", got, want)
	}
}
