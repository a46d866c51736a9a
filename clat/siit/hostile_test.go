package siit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"uclat/clat"
	"uclat/clat/frame"
)

// What mutilations are made of must not be what is dropped anyway.
func TestSamplesPass(t *testing.T) {
	for i := range strict(t) {
		for _, c := range strict(t)[i].samples(t) {
			t.Run(c.name, func(t *testing.T) {
				u := strict(t)[i]
				if r := u.check(t, c.in, c.offload); r.Verdict == Drop && c.name != "Spoofed64" && i != 1 {
					t.Errorf("dropped: %v", r.Reason)
				}
				u.budget = 0
				if r := u.check(t, c.in, c.offload); r.Verdict == Reply && r.Reason != clat.DropNone {
					t.Error("an answer beyond the budget")
				}
			})
		}
	}
}

// Each octet of the headers takes values that lie about lengths, versions and types, with checksums that notice and that do not.
func TestLies(t *testing.T) {
	for _, u := range []*subject{strict(t)[0], strict(t)[2]} {
		for _, c := range u.samples(t) {
			t.Run(c.name, func(t *testing.T) {
				for at := range c.in {
					if at == 140 && len(c.in) > 1000 {
						break // the rest is payload
					}
					for _, value := range []byte{0, 1, 7, 8, 0x2c, 0x3a, 0x4f, 0x80, 0xff} {
						p := bytes.Clone(c.in)
						p[at] = value
						u.check(t, p, c.offload)
						u.check(t, sums(p, c.offload), c.offload)
					}
				}
			})
		}
	}
}

// sums makes the checksums of a mutilated packet right, and leaves everything else as it is.
func sums(p []byte, o frame.Offload) []byte {
	p = bytes.Clone(p)
	mend(p, &o, knobRawAddresses|knobRawLengths|knobRawOffload)
	return p
}

// lengthField is a field of a packet that says how long something is.
type lengthField struct {
	name string
	at   int
	bits int // 4: the low half of the octet; 8; 16; 6: an octet of an option, which may be its length
}

// lengthFields finds them, in a quoted packet as well.
func lengthFields(p []byte) (all []lengthField) {
	r, ok := read(p)
	if !ok {
		return nil
	}
	add := func(name string, at, bits int) {
		if at+bits/16 < len(p) {
			all = append(all, lengthField{name, at, bits})
		}
	}
	if r.version == 4 {
		add("IHL", 0, 4)
		add("Total Length", 2, 16)
		for at := 20; at < r.head; at++ {
			add(fmt.Sprint("IPv4 option octet ", at), at, 6)
		}
	} else {
		add("Payload Length", 4, 16)
		next := p[6]
		for at := 40; at < r.head && next != protoFragment; at += 8 + int(p[at+1])*8 {
			add(fmt.Sprintf("length of extension header %d at %d", next, at), at+1, 8)
			next = p[at]
		}
	}
	if r.offset > 0 {
		return all
	}
	switch r.proto {
	case protoUDP:
		add("UDP length", r.head+4, 16)
	case 136:
		add("UDP-Lite coverage", r.head+4, 16)
	case 33:
		add("DCCP data offset", r.head+4, 8)
	case protoTCP:
		add("TCP data offset", r.head+12, 8)
		for at := 20; at < min(transportHeader(r), len(r.payload)); at++ {
			add(fmt.Sprint("TCP option octet ", at), r.head+at, 6)
		}
	}
	if !r.isICMP() || !r.isError() || len(r.payload) < 8 {
		return all
	}
	add("ICMP octet 4", r.head+4, 8)
	add("ICMP octet 5", r.head+5, 8)
	q := quotationOf(r.version, r.payload)
	for _, f := range lengthFields(q.quote) {
		add("quoted "+f.name, r.head+8+f.at, f.bits)
	}
	if q.ext != nil {
		add("version of the extension structure", len(p)-len(q.ext), 8)
		add("object length", len(p)-len(q.ext)+4, 16)
	}
	return all
}

// lies are p with other values in the field: all of them, or with few only the most promising. Of 16 bits there are only these.
func (f lengthField) lies(p []byte, few bool) (all [][]byte) {
	with := func(edit func(p []byte)) {
		p := bytes.Clone(p)
		edit(p[f.at:])
		all = append(all, p)
	}
	switch f.bits {
	case 4:
		for v := range byte(16) {
			with(func(p []byte) { p[0] = p[0]&0xf0 | v })
		}
	case 6, 8:
		n := int(p[f.at])
		for v := range 1 << f.bits {
			if !few || v == n-1 || v == n+1 || bytes.IndexByte([]byte{0, 1, 4, 5, 16, 32, 64, 127, 128, 255}, byte(v)) >= 0 {
				with(func(p []byte) { p[0] = byte(v) })
			}
		}
	case 16:
		for _, v := range nasty(int(binary.BigEndian.Uint16(p[f.at:]))) {
			with(func(p []byte) { binary.BigEndian.PutUint16(p, v) })
		}
	}
	return all
}

// nasty are values of 16 bits where true ones are n.
func nasty(n int) (all []uint16) {
	for _, v := range []int{
		0, 1, 7, 8, 19, 20, 21, 27, 28, 39, 40, 41, n - 1, n, n + 1, n - 8, n + 8, 576, 1279, 1280, 1281, 0x7fff, 0x8000, 0xfff8, 0xffff,
	} {
		all = append(all, uint16(v))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Every length lies, alone and in a packet that ends early.
func TestLengthLies(t *testing.T) {
	for _, u := range strict(t) {
		for _, c := range u.samples(t) {
			t.Run(fmt.Sprintf("MTU %d/%s", u.o.MTU4, c.name), func(t *testing.T) {
				for _, f := range lengthFields(c.in) {
					for _, p := range f.lies(c.in, u.o.MTU4 == MinMTU4) {
						u.check(t, sums(p, c.offload), c.offload)
						u.check(t, whole(p, c.offload), c.offload) // where the lie is not in what this makes right
					}
					for _, p := range f.lies(c.in, true) {
						for _, cut := range []int{1, 8, 29, len(c.in) - f.at - 2} {
							p := p[:min(len(p), max(f.at, len(p)-cut))]
							u.check(t, sums(p, c.offload), c.offload)
							u.check(t, whole(p, c.offload), c.offload)
						}
					}
				}
			})
		}
	}
}

// What a device says of a frame lies: sizes, offsets, and what there is to do.
func TestOffloadLies(t *testing.T) {
	u := strict(t)[0]
	for _, c := range samples(t) {
		r, ok := read(c.in)
		if !ok || r.isICMP() && r.isError() && c.name != "extended 46" && c.name != "extended 64" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			n := len(r.payload)
			for _, size := range []int{0, 1, 8, n - 1, n, n + 1, 1460, 0x8000, 0xffff} {
				for _, gso := range []frame.Segmentation{frame.NotSegmented, frame.SegmentTCP, frame.SegmentUDP, 9} {
					for _, l4 := range []int{0, 20, 40, r.head - 1, r.head, r.head + 1, len(c.in), 0xffff} {
						for _, at := range []uint16{0, 2, 6, 16, 17, 0xffff} {
							for _, state := range []frame.Checksum{frame.ChecksumVerified, frame.ChecksumPartial} {
								u.check(t, c.in, frame.Offload{Checksum: state, GSO: gso, SegSize: uint16(size), L4: uint16(l4), ChecksumAt: at})
							}
						}
					}
				}
			}
		})
	}
}
