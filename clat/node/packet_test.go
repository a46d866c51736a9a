package node

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// What the tests send is made by hand and what the node sends is read by gopacket, so nothing here shares code with it.

const (
	ours    = "2001:db8:1:1:a1b2:c3d4:e5f6:789a"
	group6  = "ff02::1:fff6:789a" // the solicited-node group of ours
	router6 = "fe80::1"
	other6  = "fe80::2"
)

var (
	ourMAC    = mac("02:00:00:00:00:11")
	newMAC    = mac("02:00:00:00:00:12")
	routerMAC = mac("02:00:00:00:00:01")
	otherMAC  = mac("02:00:00:00:00:02")
	thirdMAC  = mac("02:00:00:00:00:03")

	names = map[string]string{
		ours: "ours", group6: "group", router6: "router", other6: "other", "ff02::1": "nodes", "ff02::2": "routers",
		ourMAC.String(): "our", newMAC.String(): "new", routerMAC.String(): "router", otherMAC.String(): "other", thirdMAC.String(): "third",
		"33:33:ff:f6:78:9a": "group", "33:33:00:00:00:01": "nodes", "33:33:00:00:00:02": "routers",
	}
)

func mac(s string) net.HardwareAddr {
	a, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return a
}

func name(a fmt.Stringer) string {
	if n, ok := names[a.String()]; ok {
		return n
	}
	return a.String()
}

// Flags of an advertisement, and types.
const (
	flagR, flagS, flagO = 0x80, 0x40, 0x20

	ns, na = 135, 136
)

func source(a net.HardwareAddr) []byte { return append([]byte{1, 1}, a...) }
func target(a net.HardwareAddr) []byte { return append([]byte{2, 1}, a...) }
func nonce(n uint64) []byte {
	return append([]byte{14, 1}, binary.BigEndian.AppendUint64(nil, n)[2:]...)
}

// packet is a Neighbor Solicitation or Advertisement.
func packet(kind, flags byte, src, dst, target string, options ...[]byte) []byte {
	p := make([]byte, 64)
	p[0], p[6], p[7], p[40], p[44] = 0x60, 58, 255, kind, flags
	for at, a := range map[int]string{8: src, 24: dst, 48: target} {
		b := netip.MustParseAddr(a).As16()
		copy(p[at:], b[:])
	}
	p = append(p, bytes.Join(options, nil)...)
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-40))
	fix(p)
	return p
}

// fix makes the checksum right.
func fix(p []byte) {
	p[42], p[43] = 0, 0
	binary.BigEndian.PutUint16(p[42:], ^sum(p))
}

// sum is the ones' complement sum of the ICMPv6 message, which reaches to the end of p, and its pseudo-header: 0xffff where the checksum
// is right.
func sum(p []byte) uint16 {
	s := uint32(len(p)-40) + 58
	for i, b := range p[8:] {
		s += uint32(b) << (8 * (1 - i%2))
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// describe is what a packet of the node says, in one line; it fails where the packet is not as RFC 4861 wants it.
func describe(t testing.TB, p []byte, to net.HardwareAddr) string {
	t.Helper()
	g := gopacket.NewPacket(p, layers.LayerTypeIPv6, gopacket.Default)
	ip, _ := g.NetworkLayer().(*layers.IPv6)
	if g.ErrorLayer() != nil || ip == nil || int(ip.Length) != len(p)-40 || ip.HopLimit != 255 || ip.TrafficClass != 0 || ip.FlowLabel != 0 {
		t.Fatalf("not an IPv6 packet of Neighbor Discovery: %x", p)
	}
	if sum(p) != 0xffff || p[41] != 0 {
		t.Fatalf("wrong checksum or code: %x", p)
	}
	src, dst := netip.MustParseAddr(ip.SrcIP.String()), netip.MustParseAddr(ip.DstIP.String())
	if b := dst.As16(); dst.IsMulticast() != (to[0]&1 != 0) || dst.IsMulticast() && !bytes.Equal(to, append([]byte{0x33, 0x33}, b[12:]...)) {
		t.Fatalf("%v is not for %v", dst, to)
	}
	words := []string{"", name(src), ">", name(dst)}
	if s := name(to); s != words[3] {
		words[3] += "@" + s
	}
	var options layers.ICMPv6Options
	switch m := g.Layers()[len(g.Layers())-1].(type) {
	case *layers.ICMPv6NeighborSolicitation:
		words[0] = "NS"
		words = append(words, "for", name(m.TargetAddress))
		options = m.Options
	case *layers.ICMPv6NeighborAdvertisement:
		words[0] = "NA"
		words = append(words, "of", name(m.TargetAddress), flags(m.Flags))
		options = m.Options
		if m.Flags&flagS != 0 && dst.IsMulticast() || src.IsUnspecified() {
			t.Fatalf("an advertisement that nobody may believe: %x", p)
		}
	default:
		t.Fatalf("neither solicitation nor advertisement: %x", p)
	}
	for _, o := range options {
		switch o.Type {
		case layers.ICMPv6OptSourceAddress:
			words = append(words, "source", name(net.HardwareAddr(o.Data)))
		case layers.ICMPv6OptTargetAddress:
			words = append(words, "target", name(net.HardwareAddr(o.Data)))
		default:
			words = append(words, fmt.Sprintf("option %d %s", o.Type, hex.EncodeToString(o.Data)))
		}
	}
	return strings.Join(words, " ")
}

func flags(b uint8) string {
	s := []byte("rso")
	for i, f := range []uint8{flagR, flagS, flagO} {
		if b&f != 0 {
			s[i] -= 'a' - 'A'
		}
	}
	return string(s)
}

// What a node says often.
const (
	detection    = "NS :: > group for ours option 14 a0a0a0a0a0a0"
	announcement = "NA ours > routers of ours rso target our"
	probing      = "NS ours > router for router source our"
	defence      = "NA ours > nodes of ours rsO target our"
)

var testNonce = [6]byte{0xa0, 0xa0, 0xa0, 0xa0, 0xa0, 0xa0}

const firstNonce = 0xa0a0a0a0a0a0

func TestPacketsOctetByOctet(t *testing.T) {
	const header, o = "60000000 0020 3a ff", "20010db800010001a1b2c3d4e5f6789a"
	const all, fe80, any = "ff020000000000000000000000000001", "fe800000000000000000000000000001", "00000000000000000000000000000000"
	want := []string{
		// RFC 4862, 5.4.2 and RFC 7527, 4.1
		header + any + "ff0200000000000000000001fff6789a" + "87 00 cccc 00000000" + o + "0e01 a0a0a0a0a0a0",
		// RFC 9131, 6.1.2
		header + o + "ff020000000000000000000000000002" + "88 00 cccc 00000000" + o + "0201 020000000011",
		// RFC 4861, 7.3.3
		header + o + fe80 + "87 00 cccc 00000000" + fe80 + "0101 020000000011",
		// RFC 4861, 7.2.4: to the source; to all nodes where there is none
		header + o + fe80 + "88 00 cccc 60000000" + o + "0201 020000000011",
		header + o + all + "88 00 cccc 20000000" + o + "0201 020000000011",
	}
	var got [][]byte
	now := start
	n := New(Options{Addr: netip.MustParseAddr(ours), Hardware: ourMAC, Nonce: testNonce, Send: func(p []byte, _ net.HardwareAddr) {
		got = append(got, slices.Clone(p))
	}})
	n.SetRouter(netip.MustParseAddr(router6), routerMAC, now)
	n.Tick(n.Tick(now))
	n.Input(packet(ns, 0, router6, ours, ours), routerMAC, now)
	n.Input(packet(ns, 0, "::", group6, ours), otherMAC, now)
	if len(got) != len(want) {
		t.Fatalf("%d packets", len(got))
	}
	for i, w := range want {
		// The checksum is the one thing that is not written down: it must come to 0xffff with all else.
		w = strings.ReplaceAll(strings.ReplaceAll(w, " ", ""), "cccc", hex.EncodeToString(got[i][42:44]))
		if g := hex.EncodeToString(got[i]); g != w || sum(got[i]) != 0xffff {
			t.Errorf("%d:\n%s\n%s", i, g, w)
		}
	}
}
