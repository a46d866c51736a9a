package e2e

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// onlyInside are the IPv4 addresses that must not leave the host, in either family.
var onlyInside = []netip.Prefix{netip.MustParsePrefix("192.0.0.0/29"), netip.MustParsePrefix("100.64.0.0/10")}

// leak says what is in an Ethernet frame that must not be on the uplink of an IPv6-only host, or nothing.
func leak(frame []byte) string {
	const ethernet = 14
	if len(frame) < ethernet {
		return fmt.Sprintf("frame of %d octets", len(frame))
	}
	switch kind := binary.BigEndian.Uint16(frame[12:]); kind {
	case 0x86dd:
		return leak6(frame[ethernet:])
	default:
		return fmt.Sprintf("EtherType %#04x", kind) // IPv4 and ARP among them
	}
}

// source6 is the source of the IPv6 packet in an Ethernet frame; empty where there is none.
func source6(frame []byte) string {
	const src = 14 + 8
	if len(frame) < src+16 || frame[12] != 0x86 || frame[13] != 0xdd {
		return ""
	}
	return netip.AddrFrom16([16]byte(frame[src:])).String()
}

// leak6 looks at the addresses of an IPv6 packet, and of the packet in it if it is an ICMPv6 error.
func leak6(p []byte) string {
	const (
		header     = 40
		icmp6      = 58
		icmpHeader = 8
		firstEcho  = 128 // lower types are errors
	)
	if len(p) < header {
		return "" // what an error has no room for
	}
	for _, b := range [][]byte{p[8:24], p[24:40]} {
		addr := netip.AddrFrom16([16]byte(b))
		inner := netip.AddrFrom4([4]byte(b[12:])) // both embedded in a prefix of 96 bits and mapped
		if (pref64.Contains(addr) || addr.Is4In6()) && slices.ContainsFunc(onlyInside, func(p netip.Prefix) bool { return p.Contains(inner) }) {
			return fmt.Sprintf("address %s, which stands for %s", addr, inner)
		}
	}
	if p[6] == icmp6 && len(p) > header+icmpHeader && p[header] < firstEcho {
		return leak6(p[header+icmpHeader:])
	}
	return ""
}

func TestLeak(t *testing.T) {
	packet := func(next byte, src, dst string, payload ...byte) []byte {
		p := append(make([]byte, 40), payload...)
		p[0], p[6] = 6<<4, next
		copy(p[8:], netip.MustParseAddr(src).AsSlice())
		copy(p[24:], netip.MustParseAddr(dst).AsSlice())
		return p
	}
	frame := func(kind uint16, p []byte) []byte {
		return append(binary.BigEndian.AppendUint16(make([]byte, 12), kind), p...)
	}
	const here, good, bad = "2001:db8:c1a7::1", "2001:db8:64::c633:640a", "2001:db8:64::6440:2e04"
	icmp := func(kind byte, inner []byte) []byte { return append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, inner...) }
	for _, c := range []struct {
		name  string
		frame []byte
		leaks bool
	}{
		{"IPv4", frame(0x0800, make([]byte, 20)), true},
		{"ARP", frame(0x0806, make([]byte, 28)), true},
		{"short", make([]byte, 13), true},
		{"to the server", frame(0x86dd, packet(17, here, good)), false},
		{"to an address of the CLAT", frame(0x86dd, packet(17, here, bad)), true},
		{"from an address of the CLAT", frame(0x86dd, packet(17, bad, here)), true},
		{"from 192.0.0.2", frame(0x86dd, packet(17, "2001:db8:64::c000:2", here)), true},
		{"from 192.0.0.170", frame(0x86dd, packet(17, "2001:db8:64::c000:aa", here)), false},
		{"mapped", frame(0x86dd, packet(17, "::ffff:100.64.46.4", here)), true},
		{"alike, but not in the prefix", frame(0x86dd, packet(17, here, "2001:db8:1::6440:2e04")), false},
		{"error about a good packet", frame(0x86dd, packet(58, here, good, icmp(3, packet(17, good, here))...)), false},
		{"error about a bad packet", frame(0x86dd, packet(58, here, good, icmp(3, packet(17, bad, here))...)), true},
		{"error about half a packet", frame(0x86dd, packet(58, here, good, icmp(1, make([]byte, 20))...)), false},
		{"echo of what looks like a bad packet", frame(0x86dd, packet(58, here, good, icmp(128, packet(17, bad, here))...)), false},
	} {
		if got := leak(c.frame); (got != "") != c.leaks {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}
