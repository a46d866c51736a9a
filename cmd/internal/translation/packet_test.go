package translation

import (
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

// udp4 is a datagram of the host to 198.51.100.10 without a checksum; n is the octets behind the IPv4 header.
func udp4(t *testing.T, ttl byte, n int, df bool) []byte {
	t.Helper()
	p := make([]byte, 20+n)
	p[0], p[8], p[9] = 0x45, ttl, 17
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	if df {
		p[6] = 0x40
	}
	copy(p[12:], []byte{100, 64, 46, 4, 198, 51, 100, 10})
	binary.BigEndian.PutUint16(p[10:], ^checksum.Sum(p[:20]))
	binary.BigEndian.PutUint16(p[24:], uint16(n))
	return p
}
