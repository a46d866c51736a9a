package translation

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/eam"
)

func to6(m func(*eam.Pair6, [4]byte, [4]byte, bool) clat.DropReason, src, dst netip.Addr) ([2][16]byte, clat.DropReason) {
	var p eam.Pair6
	reason := m(&p, src.As4(), dst.As4(), false)
	return [2][16]byte{p.Src, p.Dst}, reason
}

func to4(m func(*eam.Pair4, *[16]byte, *[16]byte, bool) clat.DropReason, src, dst netip.Addr) ([2][4]byte, clat.DropReason) {
	var p eam.Pair4
	s, d := src.As16(), dst.As16()
	reason := m(&p, &s, &d, false)
	return [2][4]byte{p.Src, p.Dst}, reason
}

// host4 is a packet of the host to 198.51.100.10 with TOS 0x2e and n octets of zeros behind the IPv4 header.
func host4(ttl, proto byte, n int, df bool) []byte {
	p := make([]byte, 20+n)
	p[0], p[1], p[8], p[9] = 0x45, 0x2e, ttl, proto
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	if df {
		p[6] = 0x40
	}
	copy(p[12:], []byte{100, 64, 46, 4, 198, 51, 100, 10})
	binary.BigEndian.PutUint16(p[10:], ^checksum.Sum(p[:20]))
	return p
}

// udp4 is a datagram of the host without a checksum; n is the octets behind the IPv4 header.
func udp4(t *testing.T, ttl byte, n int, df bool) []byte {
	t.Helper()
	p := host4(ttl, 17, n, df)
	binary.BigEndian.PutUint16(p[24:], uint16(n))
	return p
}

// syn4 offers an MSS to 198.51.100.10. Nobody here verifies its checksum.
func syn4(t *testing.T, mss uint16) []byte {
	t.Helper()
	p := host4(64, 6, 24, true)
	p[32], p[33], p[40], p[41] = 6<<4, 0x02, 2, 4
	binary.BigEndian.PutUint16(p[42:], mss)
	return p
}

// mss6 says whether a SYN over IPv6 offers that MSS.
func mss6(want uint16) func(out []byte) bool {
	return func(out []byte) bool { return binary.BigEndian.Uint16(out[40+22:]) == want }
}

// from says whether an IPv4 packet has that source.
func from(source ...byte) func(out []byte) bool {
	return func(out []byte) bool { return out[0]>>4 == 4 && bytes.Equal(out[12:16], source) }
}

func addr6(s string) []byte {
	a := netip.MustParseAddr(s).As16()
	return a[:]
}

// ipv6 is a packet with hop limit 64.
func ipv6(next byte, src, dst string, payload []byte) []byte {
	p := make([]byte, 40, 40+len(payload))
	p[0], p[6], p[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(p[4:], uint16(len(payload)))
	copy(p[8:], addr6(src))
	copy(p[24:], addr6(dst))
	return append(p, payload...)
}

// udp6 is a datagram to the host without a checksum.
func udp6(src string) []byte {
	return ipv6(17, src, "2001:db8:c1a7::46", []byte{0, 53, 0x13, 0x88, 0, 8, 0, 0})
}

// timeExceeded6 comes from a router without an IPv4 address, about a datagram of the host.
func timeExceeded6(t *testing.T) []byte {
	t.Helper()
	quote := ipv6(17, "2001:db8:c1a7::46", "64:ff9b::198.51.100.10", []byte{0x13, 0x88, 0, 53, 0, 8, 0, 1})
	p := ipv6(58, "2001:db8:ffff::1", "2001:db8:c1a7::46", append([]byte{3, 0, 7: 0}, quote...))
	src, dst := [16]byte(p[8:24]), [16]byte(p[24:40])
	sum := checksum.Add(checksum.Sum(p[40:]), checksum.Pseudo6(&src, &dst, uint32(len(p)-40), 58))
	binary.BigEndian.PutUint16(p[42:], ^sum)
	return p
}

// fragment4 is the first piece of an ICMP message of the host.
func fragment4() []byte {
	p := host4(64, 1, 1000, false)
	p[6] = 0x20
	p[10], p[11] = 0, 0
	binary.BigEndian.PutUint16(p[10:], ^checksum.Sum(p[:20]))
	return p
}
