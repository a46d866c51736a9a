package siit

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/frame"
)

// reassembling is hostOptions with reassembly.
func reassembling(edit func(*Options)) Options {
	return with(func(o *Options) {
		o.Reassemble = true
		edit(o)
	})
}

// piece is one fragment as the translator described it, copied.
type piece struct {
	frame.Datagram
	offset        int
	more          bool
	payload, head []byte
}

// described translates a fragment and wants a description of it.
func described(t testing.TB, tr *Translator, p []byte) piece {
	t.Helper()
	s := newScratch()
	r := tr.Translate(newFrame(p), s)
	if r.Verdict != Reassemble || r.Reason != clat.DropNone || len(r.Out) != 0 || s.Errors != 1000 {
		t.Fatalf("%+v, %d errors left", r, s.Errors)
	}
	f := s.Fragment
	return piece{f.Datagram, f.Offset, f.More, bytes.Clone(f.Payload), bytes.Clone(f.Head)}
}

// joined is the whole of pieces that lack nothing, in whatever order they are.
func joined(s *Scratch, pieces []piece) *frame.Frame {
	n, head := 0, []byte(nil)
	for _, p := range pieces {
		n += len(p.payload)
		if p.offset == 0 {
			head = p.head
		}
	}
	f := s.Take(len(head) + n)
	copy(f.Bytes(), head)
	for _, p := range pieces {
		copy(f.Bytes()[len(head)+p.offset:], p.payload)
	}
	f.Joined = true
	Complete(f)
	return f
}

// inPieces is a message of n octets, cut as a host cuts it.
func inPieces(version, n, cut int) (message []byte, all [][]byte) {
	src, dst, proto, typ := host4, peer4, uint8(protoICMP), uint8(8)
	if version == 6 {
		src, dst, proto, typ = peer6, host6, protoICMPv6, 129
	}
	message = seal(src, dst, proto, icmp(typ, 0, 0xabcd0007, data(n-8)))
	for at := 0; at < n; at += cut {
		part, more := message[at:min(n, at+cut)], at+cut < n
		if version == 4 {
			all = append(all, ip4{proto: proto, id: 0xfafb, df: true, mf: more, offset: at, tos: 0x28, ttl: 30}.packet(part))
		} else {
			all = append(all, ip6{next: proto, tclass: 0x28, hops: 30, extensions: []extension{fragmentHeader(at, more, 0x1234fafb)}}.packet(part))
		}
	}
	return message, all
}

func TestReassemble(t *testing.T) {
	tr, s := newTranslator(t, reassembling(func(*Options) {})), newScratch()
	for _, version := range []int{4, 6} {
		for _, n := range []int{64, 1241, 2000, 4008, 65515} {
			t.Run(fmt.Sprintf("RFC 7915, 1.2/IPv%d, %d octets", version, n), func(t *testing.T) {
				message, all := inPieces(version, n, min(1440, (n-8)&^7))
				var pieces []piece
				for i, p := range all {
					got := described(t, tr, p)
					if in, _ := read(p); got.offset != in.offset || got.more != in.mf || !bytes.Equal(got.payload, in.payload) || got.ID != in.id ||
						int(got.Version) != version || i > 0 && got.Datagram != pieces[0].Datagram {
						t.Fatalf("fragment %d is %+v", i, got)
					}
					pieces = append(pieces, got)
				}
				rng := rand.New(rand.NewPCG(1, uint64(n)))
				rng.Shuffle(len(pieces), func(i, k int) { pieces[i], pieces[k] = pieces[k], pieces[i] })
				s.Reset()
				whole := joined(s, pieces)
				// The whole as its sender would have sent it at once, but for DF: it may leave in fragments again.
				want := ip4{proto: protoICMP, id: 0xfafb, tos: 0x28, ttl: 30}.packet(message)
				if version == 6 {
					want = ip6{next: protoICMPv6, tclass: 0x28, hops: 30, extensions: []extension{fragmentHeader(0, false, 0x1234fafb)}}.packet(message)
					want[1], want[2], want[3] = want[1]&0xf0, 0, 0 // flow label
				}
				if !bytes.Equal(whole.Bytes(), want) {
					t.Fatalf("%x\nwant %x", whole.Bytes()[:60], want[:60])
				}
				r := tr.Translate(whole, s)
				if r.Verdict != Forward {
					t.Fatalf("%+v", r)
				}
				var got []byte
				limit, id, src, dst, proto := 1280, uint32(0xfafb), host6, peer6, uint8(protoICMPv6)
				if version == 6 {
					limit, id, src, dst, proto = 1500, 0xfafb, peer4, host4, protoICMP
				}
				for i, f := range r.Out {
					q := parse(t, f.Bytes())
					if q.version == version || q.src != src || q.dst != dst || q.proto != proto || q.tos != 0x28 || q.ttl != 29 || q.df || f.Len() > limit ||
						q.offset != len(got) || q.mf != (i < len(r.Out)-1) || q.fragment && q.id != id || version == 6 && q.id != id {
						t.Fatalf("frame %d: %+v", i, q)
					}
					got = append(got, q.payload...)
				}
				typ := uint8(128)
				if version == 6 {
					typ = 0
				}
				if !bytes.Equal(got, seal(src, dst, proto, icmp(typ, 0, 0xabcd0007, data(n-8)))) {
					t.Error("not the message that was sent")
				}
			})
		}
	}
	t.Run("RFC 5508, REQ-3/damaged", func(t *testing.T) {
		for _, version := range []int{4, 6} {
			_, all := inPieces(version, 4008, 1440)
			all[1][len(all[1])-5] ^= 4
			var pieces []piece
			for _, p := range all {
				pieces = append(pieces, described(t, tr, p))
			}
			s.Reset()
			if r := tr.Translate(joined(s, pieces), s); r.Verdict != Drop || r.Reason != clat.DropTransport {
				t.Errorf("IPv%d: %+v", version, r)
			}
		}
	})
	t.Run("RFC 7915, 4.1/options and extension headers are left out", func(t *testing.T) {
		m := seal(host4, peer4, protoICMP, icmp(8, 0, 7, data(56)))
		got := described(t, tr, ip4{proto: protoICMP, mf: true, options: bytes.Repeat([]byte{1}, 40)}.packet(m))
		if len(got.head) != 20 || got.head[0] != 0x45 || !bytes.Equal(got.payload, m) {
			t.Errorf("%+v", got)
		}
		chain := []extension{options8(protoHopByHop, 8), routing(0), fragmentHeader(0, true, 9)}
		got = described(t, tr, ip6{next: protoICMPv6, extensions: chain}.packet(m))
		if len(got.head) != 48 || got.head[6] != protoFragment || got.head[40] != protoICMPv6 || !bytes.Equal(got.payload, m) {
			t.Errorf("%+v", got)
		}
	})
	t.Run("RFC 791, 3.2/padding is left out", func(t *testing.T) {
		got := described(t, tr, append(ip4{proto: protoICMP, mf: true}.packet(data(64)), 1, 2, 3))
		if !bytes.Equal(got.payload, data(64)) {
			t.Errorf("%d octets", len(got.payload))
		}
	})
}

// What can be told of a fragment alone is told before it is kept.
func TestFragmentsThatAreNotKept(t *testing.T) {
	four := func(h ip4) []byte { h.proto = protoICMP; return h.packet(data(64)) }
	six := func(h ip6, offset int) []byte {
		h.next, h.extensions = protoICMPv6, append(h.extensions, fragmentHeader(offset, true, 7))
		return h.packet(data(64))
	}
	for _, c := range []struct {
		name    string
		edit    func(*Options)
		p       []byte
		verdict Verdict
		reason  clat.DropReason
	}{
		{"4, kept", func(*Options) {}, four(ip4{mf: true}), Reassemble, 0},
		{"6, kept", func(*Options) {}, six(ip6{}, 0), Reassemble, 0},
		{"4, off", func(o *Options) { o.Reassemble = false }, four(ip4{mf: true}), Drop, clat.DropFragmentedICMP},
		{"6, off", func(o *Options) { o.Reassemble = false }, six(ip6{}, 0), Drop, clat.DropFragmentedICMP},
		{"4, empty", func(*Options) {}, ip4{proto: protoICMP, offset: 80}.packet(nil), Drop, clat.DropFragment},
		{"4, empty and more", func(*Options) {}, ip4{proto: protoICMP, mf: true}.packet(nil), Drop, clat.DropFragment},
		{"6, empty", func(*Options) {}, ip6{next: protoICMPv6, extensions: []extension{fragmentHeader(80, false, 7)}}.packet(nil), Drop, clat.DropFragment},
		{"4, too long", func(*Options) {}, four(ip4{offset: 65504}), Drop, clat.DropFragment},
		{"6, too long", func(*Options) {}, six(ip6{}, 65504), Drop, clat.DropFragment},
		{"4, TTL of the first", func(*Options) {}, four(ip4{mf: true, ttl: 1}), Reply, clat.DropTTL},
		{"4, TTL of a later one", func(*Options) {}, four(ip4{mf: true, offset: 64, ttl: 1}), Drop, clat.DropTTL},
		{"6, hop limit of the first", func(*Options) {},
			ip6{next: protoICMPv6, hops: 1, extensions: []extension{fragmentHeader(0, true, 7)}}.packet(icmp(128, 0, 1, data(56))), Reply, clat.DropTTL},
		{"6, hop limit of a later one", func(*Options) {}, six(ip6{hops: 1}, 64), Drop, clat.DropTTL},
		{"4, from nobody of ours", func(*Options) {}, four(ip4{mf: true, src: peer4}), Drop, clat.DropSource},
		{"4, to the translator", func(*Options) {}, four(ip4{mf: true, dst: self4}), Drop, clat.DropHairpin},
		{"6, spoofed", func(*Options) {}, six(ip6{src: netip.MustParseAddr("64:ff9b::127.0.0.1")}, 0), Drop, clat.DropSpoofed},
		{"6, to nobody of ours", func(*Options) {}, six(ip6{dst: router}, 0), Drop, clat.DropNoMapping},
		{"6, of a router without an address", func(*Options) {}, six(ip6{src: router}, 64), Drop, clat.DropFragmentedICMP},
		{"6, source routed", func(*Options) {}, six(ip6{extensions: []extension{routing(1)}}, 64), Drop, clat.DropSourceRoute},
		{"ICMP of the other family", func(*Options) {}, ip4{proto: protoICMPv6, mf: true}.packet(data(64)), Drop, clat.DropProtocol},
	} {
		t.Run("RFC 7915, 1.2/"+c.name, func(t *testing.T) {
			if r := newTranslator(t, reassembling(c.edit)).Translate(newFrame(c.p), newScratch()); r.Verdict != c.verdict || r.Reason != c.reason {
				t.Errorf("%+v", r)
			}
		})
	}
	t.Run("an offload that lies", func(t *testing.T) {
		for _, p := range [][]byte{four(ip4{mf: true}), six(ip6{}, 0)} {
			f := newFrame(p)
			f.Checksum = frame.ChecksumPartial
			if r := newTranslator(t, reassembling(func(*Options) {})).Translate(f, newScratch()); r.Verdict != Drop || r.Reason != clat.DropOffload {
				t.Errorf("%+v", r)
			}
		}
	})
}

// A fragment with DF that is too long is not kept, but answered: the fragment header takes eight octets more.
func TestLongFragmentsOfICMP(t *testing.T) {
	for _, c := range []struct {
		name    string
		n       int
		df      bool
		path    int
		offset  int
		verdict Verdict
	}{
		{"fits", 1448, true, 0, 0, Reassemble}, {"too long", 1456, true, 0, 0, Reply}, {"without DF", 1456, false, 0, 0, Reassemble},
		{"fits the path", 1344, true, 1400, 0, Reassemble}, {"too long for the path", 1360, true, 1400, 0, Reply},
		{"too long, a later one", 1456, true, 0, 1480, Drop},
	} {
		t.Run("RFC 7915, 4.1/"+c.name, func(t *testing.T) {
			tr := newTranslator(t, reassembling(func(*Options) {}))
			paths, limit := known{}, 1500
			if c.path > 0 {
				paths[peer6], limit = c.path, c.path
			}
			p := ip4{proto: protoICMP, df: c.df, mf: true, offset: c.offset}.packet(icmp(8, 0, 7, data(c.n-8)))
			r, _ := translateOver(tr, paths, newFrame(p))
			if r.Verdict != c.verdict || c.verdict != Reassemble && r.Reason != clat.DropTooBig {
				t.Fatalf("%+v", r)
			}
			if c.verdict == Reply {
				q := parse(t, r.Out[0].Bytes())
				want := icmp(3, 4, uint32(limit-28), p[:548])
				copy(want[2:], q.payload[2:4])
				if !bytes.Equal(q.payload, want) {
					t.Errorf("%x, want %x", q.payload[:8], want[:8])
				}
			}
		})
	}
	t.Run("RFC 7915, 1.4/6, longer than IPv4 takes", func(t *testing.T) {
		tr := newTranslator(t, reassembling(func(o *Options) { o.MTU4 = 1300 }))
		for n, want := range map[int]Verdict{1232: Reassemble, 1280: Reassemble, 1288: Reply} {
			p := ip6{next: protoICMPv6, extensions: []extension{fragmentHeader(0, true, 7)}}.packet(icmp(128, 0, 7, data(n-8)))
			r := tr.Translate(newFrame(p), newScratch())
			if r.Verdict != want {
				t.Errorf("%d octets: %+v", n, r)
			}
		}
	})
}

// Wholes of all sizes, for all that IPv4 may take: in order, without a gap, and never more frames than there is room for.
func TestJoinedSizes(t *testing.T) {
	for _, mtu4 := range []int{68, 75, 76, 576, 624, 625, 1260, 1500} {
		tr, s := newTranslator(t, reassembling(func(o *Options) { o.MTU4 = mtu4 })), NewScratch(3)
		room := (mtu4 - 20) &^ 7
		step := func(n int) int {
			if borders := n%room < 2 || n%room > room-2; n < 200 || n > 65500 || borders && n < 120*room || n > 108*room-20 && n < 108*room+20 {
				return 1
			}
			return min(97, max(1, room-n%room-1))
		}
		buf := make([]byte, frame.BufLen)
		for n := 8; n <= 65515; n += step(n) {
			p := buf[frame.Headroom : frame.Headroom+48+n]
			clear(p)
			copy(p, ip6{next: protoICMPv6, payload: 8 + n, extensions: []extension{fragmentHeader(0, false, 0xfafb)}}.packet(icmp(129, 0, uint32(n), nil)))
			sum := ^slowSum(pseudo(peer6, host6, protoICMPv6, n), p[48:56])
			p[50], p[51] = byte(sum>>8), byte(sum)
			f := new(frame.Frame)
			f.Wrap(buf, frame.Headroom, len(p))
			f.Joined = true
			if !s.Ready() {
				s.Reset()
			}
			r := tr.Translate(f, s)
			if n > 108*room {
				if r.Verdict != Drop || r.Reason != clat.DropTooBig {
					t.Fatalf("%d octets for %d: %+v", n, mtu4, r)
				}
				continue
			}
			want := 1
			if n+20 > mtu4 {
				want = (n + room - 1) / room
			}
			if r.Verdict != Forward || len(r.Out) != want {
				t.Fatalf("%d octets for %d: %+v, want %d frames", n, mtu4, r, want)
			}
			at := 0
			for i, f := range r.Out {
				q := f.Bytes()
				size, word := len(q)-20, int(q[6])<<8|int(q[7])
				if len(q) > mtu4 || int(q[2])<<8|int(q[3]) != len(q) || word&0x1fff*8 != at || word&0x4000 != 0 || (word&0x2000 != 0) != (i < want-1) ||
					q[4] != 0xfa || q[5] != 0xfb || slowSum(q[:20]) != 0xffff {
					t.Fatalf("%d octets for %d, frame %d: %x", n, mtu4, i, q[:20])
				}
				at += size
			}
			if at != n {
				t.Fatalf("%d of %d octets for %d", at, n, mtu4)
			}
		}
	}
}

// Complete makes the lengths right, whatever they are.
func TestComplete(t *testing.T) {
	for _, n := range []int{1, 8, 1480, 65515} {
		t.Run(fmt.Sprintf("RFC 791, 3.1/%d", n), func(t *testing.T) {
			four := newFrame(ip4{proto: protoICMP, total: 20, id: 9}.packet(data(n)))
			Complete(four)
			if want := (ip4{proto: protoICMP, id: 9}).packet(data(n)); !bytes.Equal(four.Bytes(), want) {
				t.Errorf("%x, want %x", four.Bytes()[:20], want[:20])
			}
		})
		t.Run(fmt.Sprintf("RFC 8200, 3/%d", n), func(t *testing.T) {
			six := newFrame(ip6{next: protoICMPv6, payload: 8, extensions: []extension{fragmentHeader(0, false, 9)}}.packet(data(n)))
			Complete(six)
			if want := (ip6{next: protoICMPv6, extensions: []extension{fragmentHeader(0, false, 9)}}).packet(data(n)); !bytes.Equal(six.Bytes(), want) {
				t.Errorf("%x, want %x", six.Bytes()[:48], want[:48])
			}
		})
	}
}

// Whatever the whole becomes, there is room for it beside the whole.
func TestScratchRoomForWholes(t *testing.T) {
	for _, mtu4 := range []int{68, 624, 628, 1500} {
		t.Run(fmt.Sprint(mtu4), func(t *testing.T) {
			tr, s := newTranslator(t, reassembling(func(o *Options) { o.MTU4 = mtu4 })), newScratch()
			room := (mtu4 - 20) &^ 7
			message := seal(peer6, host6, protoICMPv6, icmp(129, 0, 7, data(min(65515, 108*room)-8)))
			six := ip6{next: protoICMPv6, extensions: []extension{fragmentHeader(0, false, 9)}}.packet(message)
			four := ip4{proto: protoICMP}.packet(seal(host4, peer4, protoICMP, icmp(8, 0, 7, data(65507))))
			short := ip6{next: protoICMPv6, extensions: []extension{fragmentHeader(0, false, 9)}}.packet(
				seal(peer6, host6, protoICMPv6, icmp(129, 0, 7, data(min(len(message), 20000)-8))))
			for round := range 50 {
				if !s.Ready() {
					s.Reset()
				}
				p := [][]byte{short, six, four}[round%3]
				f := s.Take(len(p))
				copy(f.Bytes(), p)
				f.Joined = true
				if r := tr.Translate(f, s); r.Verdict != Forward || len(r.Out) < 14 {
					t.Fatalf("%+v", r)
				}
			}
		})
	}
}
