package siit

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/eam"
	"uclat/clat/frame"
	"uclat/clat/pref64"
)

// The addresses of all tests of this package.
var (
	host4  = netip.MustParseAddr("192.0.0.1")
	host6  = netip.MustParseAddr("2001:db8:1:2::c1a7")
	self4  = netip.MustParseAddr("192.0.0.6")
	peer4  = netip.MustParseAddr("198.51.100.5")
	peer6  = netip.MustParseAddr("64:ff9b::198.51.100.5")
	router = netip.MustParseAddr("2001:db8:ffff::1")
)

func hostSpec() eam.Spec {
	return eam.Spec{
		Ours:   []eam.Mapping{{IPv4: netip.PrefixFrom(host4, 32), IPv6: netip.PrefixFrom(host6, 128)}},
		PREF64: []pref64.Prefix{pref64.WellKnown},
		Self4:  self4,
	}
}

func hostTable(t testing.TB) *eam.Table {
	t.Helper()
	m, err := eam.New(hostSpec())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func hostOptions() Options {
	return Options{
		MTU6: 1500, MTU4: 1500, LowestMTU6: 1280, Self4: self4, Self6: host6,
		UnmappedSource: netip.MustParseAddr("192.0.0.8"),
	}
}

func newTranslator(t testing.TB, o Options) *Translator {
	t.Helper()
	tr, err := New(hostTable(t), o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// newFrame is p in a buffer with the room that a device gives it.
func newFrame(p []byte) *frame.Frame {
	f := new(frame.Frame)
	buf := make([]byte, frame.Headroom+len(p)+frame.Tailroom)
	copy(buf[frame.Headroom:], p)
	f.Wrap(buf, frame.Headroom, len(p))
	return f
}

func newScratch() *Scratch {
	s := NewScratch(0x1234_5678_9abc)
	s.Errors = 1000
	return s
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// anyID clears identification and header checksum of an IPv4 header, of which a translator may choose the first.
func anyID(p []byte) { p[4], p[5], p[10], p[11] = 0, 0, 0, 0 }

// vectors are whole packets, in and out.
var vectors = []struct{ name, in, out string }{
	{"V1 UDP 46",
		"45b800201234400040113da7c0000001c633640512340035000c1b5974657374",
		"6b800000000c113f20010db800010002000000000000c1a70064ff9b0000000000000000c633640512340035000cebf674657374"},
	{"V2 echo 46",
		"450000241234400040013e6bc0000001c633640508002427424200016162636465666768",
		"6000000000103a3f20010db800010002000000000000c1a70064ff9b0000000000000000c63364058000923f424200016162636465666768"},
	{"V3 echo reply 64",
		"6000000000103a370064ff9b0000000000000000c633640520010db800010002000000000000c1a78100913f424200016162636465666768",
		"450000240000000036019a9fc6336405c000000100002c27424200016162636465666768"},
	{"V5 PTB 64",
		"60000000004c3a3f20010db8ffff0000000000000000000120010db800010002000000000000c1a7020074ad000005786000000005a0063c20010db800010002000000000000c1a70064ff9b0000000000000000c6336405c000005000000001000000005010ffffd05a00000000000000000000",
		"4500004c000000003e01fca7c0000008c00000010304e77800000564450005b4000040003c064f0ac0000001c6336405c000005000000001000000005010ffffffbc00000000000000000000"},
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			tr, s := newTranslator(t, hostOptions()), newScratch()
			r := tr.Translate(newFrame(unhex(t, v.in)), s)
			if r.Verdict != Forward || len(r.Out) != 1 {
				t.Fatalf("verdict %d, reason %v, %d frames", r.Verdict, r.Reason, len(r.Out))
			}
			got, want := bytes.Clone(r.Out[0].Bytes()), unhex(t, v.out)
			if got[0]>>4 == 4 {
				if checksum.Sum(got[:20]) != 0xffff {
					t.Errorf("header checksum %x is wrong", got[10:12])
				}
				anyID(got)
				anyID(want)
				if got[9] == protoICMP && got[20] == icmp4Unreachable {
					anyID(got[28:])
					anyID(want[28:])
				}
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got  %x\nwant %x", got, want)
			}
		})
	}
}

// V4: with a checksum-neutral interface identifier, the transport checksum is the same in both families.
func TestVectorV4Neutral(t *testing.T) {
	m, err := eam.New(eam.Spec{
		Ours: []eam.Mapping{{
			IPv4: netip.MustParsePrefix("192.0.0.1/32"), IPv6: netip.MustParsePrefix("2001:db8:1:2:aabb:ccac:2bdd:eeff/128"),
		}},
		PREF64: []pref64.Prefix{pref64.WellKnown},
	})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := New(m, hostOptions())
	if err != nil {
		t.Fatal(err)
	}
	r := tr.Translate(newFrame(unhex(t, "45b800201234400040113da7c0000001c633640512340035000c1b5974657374")), newScratch())
	if r.Verdict != Forward {
		t.Fatal(r.Reason)
	}
	if got := r.Out[0].Bytes()[46:48]; !bytes.Equal(got, []byte{0x1b, 0x59}) {
		t.Errorf("checksum %x, want 1b59", got)
	}
}

// V6: an empty datagram whose IPv4 checksum comes out as 0 is sent with 0xffff.
func TestVectorV6ZeroChecksum(t *testing.T) {
	p := make([]byte, 48)
	h := header6{src: peer6.As16(), dst: host6.As16(), hops: 64, next: protoUDP}
	write6(p, &h, 8)
	u := p[40:]
	copy(u, []byte{4660 >> 8, 4660 & 0xff, 880 >> 8, 880 & 0xff, 0, 8, 0, 0})
	sum := ^checksum.Add(checksum.Pseudo6(&h.src, &h.dst, 8, protoUDP), checksum.Sum(u))
	u[6], u[7] = byte(sum>>8), byte(sum)

	four := []byte{4660 >> 8, 4660 & 0xff, 880 >> 8, 880 & 0xff, 0, 8, 0, 0}
	pseudo := append(append(peer4.AsSlice(), host4.AsSlice()...), 0, protoUDP, 0, 8)
	if c := ^checksum.Add(checksum.Sum(pseudo), checksum.Sum(four)); c != 0 {
		t.Fatalf("the vector is not what it says: computed checksum %#04x", c)
	}
	r := newTranslator(t, hostOptions()).Translate(newFrame(p), newScratch())
	if r.Verdict != Forward {
		t.Fatal(r.Reason)
	}
	if got := r.Out[0].Bytes()[26:28]; !bytes.Equal(got, []byte{0xff, 0xff}) {
		t.Errorf("checksum %x, want ffff", got)
	}
}

// V7: the sizes of fragments (RFC 7915, 4.1).
func TestVectorV7FragmentSizes(t *testing.T) {
	for _, c := range []struct {
		lowest int
		sizes  []int
		words  []uint16
	}{
		{1280, []int{1280, 296}, []uint16{0<<3 | 1, 154 << 3}},
		{1500, []int{1496, 80}, []uint16{0<<3 | 1, 181 << 3}},
	} {
		o := hostOptions()
		o.LowestMTU6 = c.lowest
		p := make([]byte, 1500)
		h := header4{src: host4.As4(), dst: peer4.As4(), id: 0xabcd, ttl: 64, proto: 132}
		write4(p, &h, len(p))
		r := newTranslator(t, o).Translate(newFrame(p), newScratch())
		if r.Verdict != Forward || len(r.Out) != len(c.sizes) {
			t.Fatalf("lowest %d: verdict %d, reason %v, %d frames", c.lowest, r.Verdict, r.Reason, len(r.Out))
		}
		for i, f := range r.Out {
			q := f.Bytes()
			word := uint16(q[42])<<8 | uint16(q[43])
			id := uint32(q[44])<<24 | uint32(q[45])<<16 | uint32(q[46])<<8 | uint32(q[47])
			if len(q) != c.sizes[i] || word != c.words[i] || id != 0xabcd {
				t.Errorf("lowest %d, fragment %d: %d octets, offset word %#x, id %#x", c.lowest, i, len(q), word, id)
			}
		}
	}
}

func TestVersions(t *testing.T) {
	tr, s := newTranslator(t, hostOptions()), newScratch()
	for _, p := range [][]byte{nil, {0x00}, {0x5f, 1, 2}, {0x45}, {0x60}} {
		if r := tr.Translate(newFrame(p), s); r.Verdict != Drop || r.Reason == clat.DropNone {
			t.Errorf("%x: %+v", p, r)
		}
	}
}
