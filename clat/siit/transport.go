package siit

import (
	"encoding/binary"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/frame"
)

// checkOffload says whether what the device said of f fits the packet: only plain TCP and UDP come segmented or with a partial
// checksum. l4 is the offset of the transport header, proto its protocol.
func checkOffload(f *frame.Frame, l4 int, proto uint8, fragment bool) clat.DropReason {
	if f.GSO == frame.NotSegmented && f.Checksum != frame.ChecksumPartial {
		return clat.DropNone
	}
	at, gso := checksumAtTCP, frame.SegmentTCP
	if proto == protoUDP {
		at, gso = checksumAtUDP, frame.SegmentUDP
	}
	switch {
	case proto != protoTCP && proto != protoUDP, fragment, int(f.L4) != l4, int(f.ChecksumAt) != at,
		f.GSO != frame.NotSegmented && (f.GSO != gso || f.SegSize == 0):
		return clat.DropOffload
	}
	return clat.DropNone
}

// transportLen is the length in octets of the transport header at the start of p, 0 where it does not matter; false where p is too
// short for it. Of protocols without a checksum over the addresses nothing is asked. Fragment is true for a first fragment, which may
// end within the header, but not before its checksum: that could not be kept right.
func transportLen(p []byte, proto uint8, fragment bool) (int, bool) {
	switch proto {
	case protoTCP:
		if fragment {
			return 0, len(p) >= checksumAtTCP+2
		}
		if len(p) < lenTCP {
			return 0, false
		}
		n := int(p[12]>>4) * 4
		return n, n >= lenTCP && n <= len(p)
	case protoUDP, protoUDPLite, protoDCCP:
		return 8, len(p) >= 8
	}
	return 0, true
}

// clampMSS lowers the maximum segment size that a SYN offers (RFC 9293, 3.7.1) to what fits both sides of the translator, and the way to
// remote. p is the TCP header, empty where a fragment has only a part of it. Options that make no sense end the search.
func (t *Translator) clampMSS(p []byte, state frame.Checksum, remote *[16]byte, s *Scratch) {
	const (
		flags, syn      = 13, 0x02
		kindEnd, kindNo = 0, 1
		kindMSS, lenMSS = 2, 4
	)
	if len(p) < lenTCP || p[flags]&syn == 0 {
		return
	}
	for at := lenTCP; at < len(p) && p[at] != kindEnd; {
		if p[at] == kindNo {
			at++
			continue
		}
		if at+1 >= len(p) || p[at+1] < 2 || at+int(p[at+1]) > len(p) {
			return
		}
		if p[at] != kindMSS || p[at+1] != lenMSS {
			at += int(p[at+1])
			continue
		}
		old, mss := binary.BigEndian.Uint16(p[at+2:]), min(t.mss, uint16(t.pathMTU(remote, s)-len6-lenTCP))
		if old <= mss {
			return
		}
		binary.BigEndian.PutUint16(p[at+2:], mss)
		if state != frame.ChecksumPartial { // a partial checksum does not cover it yet
			delta := checksum.Sub(mss, old)
			if at%2 != 0 {
				delta = delta<<8 | delta>>8 // at an odd place, the octets change their parts in the sum (RFC 1071, 2 (B))
			}
			putChecksum(p[checksumAtTCP:], checksum.Update(binary.BigEndian.Uint16(p[checksumAtTCP:]), delta), protoTCP)
		}
		return
	}
}
