// Package frame is one IP packet, or one super-packet, in a buffer with room around it, together with what the device said about
// its checksum and its segmentation.
package frame

// Room around a packet, in octets.
const (
	Headroom = 96  // kept free before a packet that was read: virtio header 12, Ethernet and two tags 22, growth of both headers of an ICMP error 48, rounded
	Tailroom = 192 // kept free behind it: padding of an ICMP extension to 128 (RFC 4884), a Node Identification object 28
	MaxLen   = 65535 + 40
	BufLen   = Headroom + MaxLen + Tailroom
)

// Checksum says what the device knows of the transport checksum.
type Checksum uint8

const (
	ChecksumUnknown  Checksum = iota // the field is as the sender made it; nobody looked at it
	ChecksumVerified                 // the field is as the sender made it, and the device found it right
	ChecksumPartial                  // the field holds the sum of the pseudo-header only, not inverted; the device at the way out finishes it
)

// Segmentation says whether the frame is a super-packet, to be cut by the device at the way out.
type Segmentation uint8

const (
	NotSegmented Segmentation = iota
	SegmentTCP
	SegmentUDP
)

// Offload is what a device says of a frame: a virtio-net header without its address family, which follows from the packet.
type Offload struct {
	Checksum   Checksum
	GSO        Segmentation
	ECN        bool   // the TCP super-packet carries CWR, which only its first segment may keep
	SegSize    uint16 // octets of transport payload in each segment but the last; 0 without segmentation
	L4         uint16 // offset of the transport header from the IP header; valid with ChecksumPartial or segmentation
	ChecksumAt uint16 // offset of the checksum field from L4; valid with ChecksumPartial or segmentation
}

// Frame is the packet buf[off:off+n].
type Frame struct {
	buf    []byte
	off, n int
	Offload

	// Joined says that the packet was put together of fragments: whatever its length and flags say, it may leave in fragments again.
	Joined bool
}

// Wrap makes f the packet buf[off:off+n], without offloads and not joined. The rest of buf is room that f may use.
func (f *Frame) Wrap(buf []byte, off, n int) {
	f.buf, f.off, f.n = buf, off, n
	f.Offload, f.Joined = Offload{}, false
}

// Bytes is the packet. It is valid until the frame is wrapped anew or reshaped.
func (f *Frame) Bytes() []byte { return f.buf[f.off : f.off+f.n] }

// Len is the packet's length in octets.
func (f *Frame) Len() int { return f.n }

// Version is the IP version in the first octet, 0 for an empty frame.
func (f *Frame) Version() int {
	if f.n == 0 {
		return 0
	}
	return int(f.buf[f.off] >> 4)
}

// Reshape moves the start of the packet by head octets (negative: grows to the left) and sets its length. It returns false, and
// changes nothing, where the buffer has no room for that.
func (f *Frame) Reshape(head, n int) bool {
	off := f.off + head
	if off < 0 || n < 0 || off+n > len(f.buf) {
		return false
	}
	f.off, f.n = off, n
	return true
}

// Room is how many octets the buffer has before and behind the packet.
func (f *Frame) Room() (before, behind int) { return f.off, len(f.buf) - f.off - f.n }

// WithRoom is the packet with head octets of its room in front, and all the room behind it as spare capacity; nil where there are
// not that many octets in front.
func (f *Frame) WithRoom(head int) []byte {
	if head > f.off {
		return nil
	}
	return f.buf[f.off-head : f.off+f.n]
}

// WireLen is the length in octets of the largest packet that the frame becomes on a wire: its own without segmentation, else
// headers (IP and transport, octets) and one segment.
func (f *Frame) WireLen(headers int) int {
	if f.GSO == NotSegmented {
		return f.n
	}
	return min(headers+int(f.SegSize), f.n)
}
