package link

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"

	"uclat/clat/checksum"
	"uclat/clat/frame"
	"uclat/platform/internal/vnet"
)

const (
	protoTCP, protoUDP = 6, 17
	gsoTCP6            = unix.VIRTIO_NET_HDR_GSO_TCPV6
	gsoUDP             = unix.VIRTIO_NET_HDR_GSO_UDP_L4
	gsoECN             = unix.VIRTIO_NET_HDR_GSO_ECN
	valid              = unix.VIRTIO_NET_HDR_F_DATA_VALID
)

// listed is what the kernel gives for a super-packet that it has put together as a list: a virtio header, and an IPv6 packet of n octets
// behind its header.
func listed(flags, kind, proto byte, n int) (h, p []byte) {
	h = make([]byte, vnet.Len)
	h[0], h[1] = flags, kind
	binary.NativeEndian.PutUint16(h[4:], 100)
	p = make([]byte, 40+n)
	p[0], p[6], p[7] = 0x60, proto, 64
	binary.BigEndian.PutUint16(p[4:], uint16(n))
	for i := range p[8:40] {
		p[8+i] = byte(i)
	}
	if n >= 20 {
		p[40+12] = 5 << 4
	}
	return h, p
}

func TestUnlist(t *testing.T) {
	for _, tt := range []struct {
		name              string
		flags, kind, next byte
		n, link           int
		at                int // of the checksum, behind the IPv6 header; 0: it is left alone
	}{
		{"TCP", valid, gsoTCP6, protoTCP, 1000, 14, 16},
		{"TCP on a link without headers", valid, gsoTCP6, protoTCP, 1000, 0, 16},
		{"TCP with ECN", valid, gsoTCP6 | gsoECN, protoTCP, 1000, 14, 16},
		{"UDP", valid, gsoUDP, protoUDP, 1000, 14, 6},
		{"a checksum that is partial already", unix.VIRTIO_NET_HDR_F_NEEDS_CSUM, gsoTCP6, protoTCP, 1000, 14, 0},
		{"one that nobody looked at", 0, gsoTCP6, protoTCP, 1000, 14, 0},
		{"no super-packet", valid, 0, protoTCP, 1000, 14, 0},
		{"UDP that says TCP", valid, gsoTCP6, protoUDP, 1000, 14, 0},
		{"TCP that says UDP", valid, gsoUDP, protoTCP, 1000, 14, 0},
		{"behind an extension header", valid, gsoTCP6, 60, 1000, 14, 0},
		{"too short for the checksum", valid, gsoTCP6, protoTCP, 17, 14, 0},
		{"just long enough", valid, gsoUDP, protoUDP, 8, 14, 6},
		{"nothing behind the header", valid, gsoTCP6, protoTCP, 0, 14, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, p := listed(tt.flags, tt.kind, tt.next, tt.n)
			wantH, wantP := bytes.Clone(h), bytes.Clone(p)
			if tt.at > 0 {
				wantH[0] = unix.VIRTIO_NET_HDR_F_NEEDS_CSUM
				binary.NativeEndian.PutUint16(wantH[6:], uint16(tt.link+40))
				binary.NativeEndian.PutUint16(wantH[8:], uint16(tt.at))
				sum := checksum.Pseudo6((*[16]byte)(p[8:]), (*[16]byte)(p[24:]), uint32(tt.n), tt.next)
				binary.BigEndian.PutUint16(wantP[40+tt.at:], sum)
			}
			unlist(h, tt.link, p)
			if !bytes.Equal(h, wantH) || !bytes.Equal(p, wantP) {
				t.Errorf("header % x, want % x; packets equal: %v", h, wantH, bytes.Equal(p, wantP))
			}
			if tt.at > 0 && tt.n > 100 {
				o, err := vnet.Decode(h, tt.link, len(p))
				if err != nil || o.Checksum != frame.ChecksumPartial || o.SegSize != 100 || o.L4 != 40 || int(o.ChecksumAt) != tt.at {
					t.Errorf("%+v, %v", o, err)
				}
			}
		})
	}
}

// Whatever is in the packet, nothing outside of it is touched.
func FuzzUnlist(f *testing.F) {
	for _, seed := range [][3]byte{{valid, gsoTCP6, protoTCP}, {valid, gsoUDP, protoUDP}} {
		h, p := listed(seed[0], seed[1], seed[2], 60)
		f.Add(append(h, p...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < vnet.Len {
			return
		}
		h, p := b[:vnet.Len:vnet.Len], b[vnet.Len:]
		was := bytes.Clone(b)
		unlist(h, 14, p)
		changed := 0
		for i := range p {
			if p[i] != was[vnet.Len+i] {
				changed++
			}
		}
		if changed > 2 || len(p) < 42 && !bytes.Equal(b, was) {
			t.Errorf("%d octets changed of % x", changed, was)
		}
	})
}
