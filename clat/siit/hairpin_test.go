package siit

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"uclat/clat"
	"uclat/clat/frame"
)

// The addresses of a hairpin: by far, Alice reaches Bob, who takes her for who is at near.
var (
	far  = netip.MustParseAddr("64:ff9b::185.0.2.2")
	near = netip.MustParseAddr("64:ff9b::185.0.2.1")
	own6 = netip.MustParseAddr("64:ff9b::192.0.0.6") // self4 for IPv6 hosts
)

// newRouter is a plain SIIT router that knows Alice, Bob, and host4.
func newRouter(t testing.TB, n network, edit func(*Options)) *Translator {
	t.Helper()
	n.router = true
	tr, err := New(n.table(t), with(func(o *Options) {
		o.Self6, o.Hairpin, o.Reassemble = own6, true, true
		edit(o)
	}))
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// toBob is a packet of Alice's that goes to Bob by his IPv4 address.
func toBob(next uint8, seg []byte, extensions ...extension) []byte {
	if field(next) >= 0 {
		seg = seal(alice6, far, next, seg)
	}
	return ip6{src: alice6, dst: far, next: next, extensions: extensions}.packet(seg)
}

// known is a PathMTU of a few paths.
type known map[netip.Addr]int

func (k known) MTU(dst [16]byte) (int, bool) {
	mtu, ok := k[netip.AddrFrom16(dst)]
	return mtu, ok
}

// translateOver translates p with what is known of paths.
func translateOver(tr *Translator, paths PathMTU, f *frame.Frame) (Result, *Scratch) {
	s := newScratch()
	s.PathMTU = paths
	return tr.Translate(f, s), s
}

func TestHairpin(t *testing.T) {
	for _, mtu4 := range []int{MinMTU4, 1500} { // which no hairpin ever sees
		tr := newRouter(t, network{}, func(o *Options) { o.MTU4 = mtu4 })
		for _, c := range []struct {
			name string
			next uint8
			seg  func(n int) []byte
		}{
			{"TCP", protoTCP, func(n int) []byte { return tcp(data(n)) }},
			{"UDP", protoUDP, func(n int) []byte { return udp(data(n)) }},
			{"echo", protoICMPv6, func(n int) []byte { return icmp(128, 0, 7, data(n)) }},
			{"echo reply", protoICMPv6, func(n int) []byte { return icmp(129, 0, 7, data(n)) }},
			{"ESP", 50, data},
		} {
			for _, n := range []int{8, 60, 1200, 1201, 1220, 1240, 1428} {
				t.Run(fmt.Sprintf("RFC 7757, 4.2.2 (A)/%s/%d/%d", c.name, mtu4, n), func(t *testing.T) {
					want := c.seg(n)
					if field(c.next) >= 0 {
						seal(near, bob6, c.next, want)
					}
					q := forwarded(t, tr, toBob(c.next, c.seg(n)))
					if q.src != near || q.dst != bob6 || q.ttl != 62 || q.proto != c.next || q.fragment || !bytes.Equal(q.payload, want) {
						t.Errorf("%+v", q)
					}
					answer := c.seg(n)
					if field(c.next) >= 0 {
						seal(bob6, near, c.next, answer)
					}
					q = forwarded(t, tr, ip6{src: bob6, dst: near, next: c.next}.packet(answer))
					if q.src != far || q.dst != alice6 {
						t.Errorf("the answer goes from %v to %v", q.src, q.dst)
					}
				})
			}
		}
	}
	t.Run("RFC 7757, 4.2.2 (A)/to herself", func(t *testing.T) {
		q := forwarded(t, newRouter(t, network{}, func(*Options) {}), ip6{src: alice6, dst: near, next: 50}.packet(data(8)))
		if q.src != near || q.dst != alice6 {
			t.Errorf("%v to %v", q.src, q.dst)
		}
	})
	t.Run("RFC 7757, 4.2.2 (A)/among the hosts of one mapping", func(t *testing.T) {
		tr := newRouter(t, network{clients: true}, func(*Options) {})
		one, two := netip.MustParseAddr("100.64.0.1"), netip.MustParseAddr("100.127.3.4")
		n := network{clients: true, router: true}
		q := forwarded(t, tr, ip6{src: n.to6(one), dst: embedded(n.prefix(), two), next: 50}.packet(data(8)))
		if q.src != embedded(n.prefix(), one) || q.dst != n.to6(two) {
			t.Errorf("%v to %v", q.src, q.dst)
		}
	})
	t.Run("RFC 7757, 4.2.2 (A)/from an IPv4-translatable address", func(t *testing.T) {
		src := netip.MustParseAddr("64:ff9b::9.9.9.9")
		q := forwarded(t, newRouter(t, network{}, func(*Options) {}), ip6{src: src, dst: far, next: 50}.packet(data(8)))
		if q.src != src || q.dst != bob6 {
			t.Errorf("%v to %v", q.src, q.dst)
		}
	})
	for _, c := range []struct {
		name         string
		edit         func(*Options)
		src, dst     netip.Addr
		src4, dst4   netip.Addr
		wantedReason clat.DropReason
	}{
		{"off", func(o *Options) { o.Hairpin = false }, alice6, far, alice4, bob4, 0},
		{"to a host without a mapping", func(*Options) {}, alice6, peer6, alice4, peer4, 0},
		{"between mapped addresses", func(*Options) {}, alice6, bob6, alice4, bob4, 0},
		{"posing as Alice", func(*Options) {}, near, far, netip.Addr{}, netip.Addr{}, clat.DropSpoofed},
		{"from no host of ours", func(*Options) {}, router, far, netip.Addr{}, netip.Addr{}, clat.DropNoMapping},
	} {
		t.Run("RFC 7757, 4.2.2 (A)/"+c.name, func(t *testing.T) {
			tr, p := newRouter(t, network{}, c.edit), ip6{src: c.src, dst: c.dst, next: 50}.packet(data(8))
			if c.wantedReason != clat.DropNone {
				dropped(t, tr, p, c.wantedReason)
				return
			}
			if q := forwarded(t, tr, p); q.version != 4 || q.src != c.src4 || q.dst != c.dst4 || q.ttl != 63 {
				t.Errorf("%+v", q)
			}
		})
	}
	t.Run("RFC 6052, 3.1/a source that may not be behind the prefix", func(t *testing.T) {
		n := network{clients: true, rejectNonGlobal: true, router: true}
		tr, s := newRouter(t, n, func(*Options) {}), newScratch()
		r := tr.Translate(newFrame(ip6{src: n.to6(netip.MustParseAddr("100.64.0.1")), dst: far, next: 50}.packet(data(8))), s)
		if r.Verdict != Drop || r.Reason != clat.DropNonGlobal || s.Errors != 1000 {
			t.Errorf("%+v, %d errors left", r, s.Errors)
		}
	})
}

// Everything that is told of a packet on its way back is told to an IPv6 host, about the packet that it has sent.
func TestHairpinReplies(t *testing.T) {
	tr := newRouter(t, network{}, func(*Options) {})
	reply := func(t *testing.T, r Result, s *Scratch, reason clat.DropReason, typ uint8, word uint32, p []byte) {
		t.Helper()
		if r.Verdict != Reply || r.Reason != reason || len(r.Out) != 1 || s.Errors != 999 {
			t.Fatalf("%+v, %d errors left", r, s.Errors)
		}
		q := parse(t, r.Out[0].Bytes())
		if q.src != own6 || q.dst != alice6 || !q.good() || q.payload[0] != typ || q.payload[1] != 0 || binary.BigEndian.Uint32(q.payload[4:]) != word {
			t.Errorf("%v to %v: %x", q.src, q.dst, q.payload[:8])
		}
		sent := bytes.Clone(p[:min(len(p), len(q.payload)-8)])
		sent[1], sent[2], sent[3], sent[7] = sent[1]&0xf0, 0, 0, sent[7]-1 // flow label, and the hop it has made
		if quote := q.payload[8:]; len(sent) < 100 || !bytes.Equal(quote[:len(sent)], sent) {
			t.Errorf("quotes %x\nof     %x", q.payload[8:], sent)
		}
	}
	for _, hops := range []uint8{1, 2, 3} {
		t.Run(fmt.Sprintf("RFC 7757, 4.2.2/hop limit %d", hops), func(t *testing.T) {
			p := ip6{src: alice6, dst: far, next: protoUDP, hops: hops}.packet(seal(alice6, far, protoUDP, udp(data(80))))
			r, s := translateOver(tr, nil, newFrame(p))
			switch hops {
			case 1:
				q := parse(t, r.Out[0].Bytes())
				if r.Verdict != Reply || q.src != own6 || q.dst != alice6 || q.payload[0] != 3 || !bytes.Equal(q.payload[8:], p) {
					t.Errorf("%+v", q)
				}
			case 2:
				reply(t, r, s, clat.DropTTL, 3, 0, p)
			default:
				if r.Verdict != Forward {
					t.Errorf("%+v", r)
				}
			}
		})
	}
	paths := known{bob6: 1400, alice6: 1280, far: 1300}
	for _, c := range []struct {
		name string
		next uint8
		head int
		seg  func(n int) []byte
	}{
		{"TCP", protoTCP, 32, func(n int) []byte { return tcp(data(n)) }},
		{"UDP", protoUDP, 8, func(n int) []byte { return udp(data(n)) }},
		{"echo", protoICMPv6, 8, func(n int) []byte { return icmp(128, 0, 7, data(n)) }},
	} {
		t.Run("RFC 8201, 4/path of 1400/"+c.name, func(t *testing.T) {
			fits := 1400 - 40 - c.head
			if r, _ := translateOver(tr, paths, newFrame(toBob(c.next, c.seg(fits)))); r.Verdict != Forward || len(r.Out) != 1 || r.Out[0].Len() != 1400 {
				t.Errorf("%+v", r)
			}
			p := toBob(c.next, c.seg(fits+1))
			r, s := translateOver(tr, paths, newFrame(bytes.Clone(p)))
			reply(t, r, s, clat.DropTooBig, 2, 1400, p)
		})
	}
	t.Run("RFC 8201, 4/path of less than 1280", func(t *testing.T) {
		r, _ := translateOver(tr, known{bob6: 576}, newFrame(toBob(50, data(1240))))
		if r.Verdict != Forward {
			t.Errorf("%+v", r)
		}
		p := toBob(50, data(1241))
		r, s := translateOver(tr, known{bob6: 576}, newFrame(bytes.Clone(p)))
		reply(t, r, s, clat.DropTooBig, 2, 1280, p)
	})
	t.Run("RFC 8201, 4/to an IPv4-translatable address", func(t *testing.T) {
		src := netip.MustParseAddr("64:ff9b::9.9.9.9")
		r, _ := translateOver(tr, paths, newFrame(ip6{src: src, dst: far, next: 50}.packet(data(1400))))
		if q := parse(t, r.Out[0].Bytes()); r.Verdict != Reply || q.src != own6 || q.dst != src || q.payload[0] != 2 {
			t.Errorf("%+v", q)
		}
	})
	t.Run("RFC 4443, 2.4 (f)/no budget", func(t *testing.T) {
		s := NewScratch(1)
		s.PathMTU = paths
		if r := tr.Translate(newFrame(toBob(50, data(1400))), s); r.Verdict != Drop || r.Reason != clat.DropTooBig || s.Errors != 0 {
			t.Errorf("%+v, %d errors left", r, s.Errors)
		}
	})
}

func TestHairpinSuperPackets(t *testing.T) {
	tr, y := newRouter(t, network{}, func(o *Options) { o.MTU4 = 576 }), families[1]
	for _, c := range segmented {
		for _, size := range []int{1000, 1400 - 40 - c.head, 1400 - 40 - c.head + 1} {
			t.Run(fmt.Sprintf("RFC 7757, 4.2.2/%s/%d", c.name, size), func(t *testing.T) {
				seg := c.make(data(30000))
				binary.BigEndian.PutUint16(seg[field(c.proto):], slowSum(pseudo(alice6, far, c.proto, len(seg))))
				f := newFrame(ip6{src: alice6, dst: far, next: c.proto}.packet(seg))
				f.Offload = y.offload(c.proto, c.gso, uint16(size))
				r, _ := translateOver(tr, known{bob6: 1400}, f)
				if size > 1400-40-c.head {
					if q := parse(t, r.Out[0].Bytes()); r.Verdict != Reply || q.dst != alice6 || binary.BigEndian.Uint32(q.payload[4:]) != 1400 {
						t.Errorf("%+v", q) // whatever IPv4 takes
					}
					return
				}
				if r.Verdict != Forward || len(r.Out) != 1 || f.Offload != y.offload(c.proto, c.gso, uint16(size)) {
					t.Fatalf("%+v, %+v", r, f.Offload)
				}
				q := parse(t, r.Out[0].Bytes())
				if q.src != near || q.dst != bob6 || len(q.payload) != len(seg) || !finish(q).good() {
					t.Errorf("%v to %v", q.src, q.dst)
				}
			})
		}
	}
	t.Run("RFC 7757, 4.2.2/longer than IPv4 can say", func(t *testing.T) {
		f := newFrame(toBob(protoTCP, tcp(data(65535-32))))
		f.Offload = y.offload(protoTCP, frame.SegmentTCP, 1000)
		if r, _ := translateOver(tr, nil, f); r.Verdict != Drop || r.Reason != clat.DropTooBig {
			t.Errorf("%+v", r)
		}
	})
}

func TestHairpinFragments(t *testing.T) {
	whole := seal(alice6, far, protoUDP, udp(data(2992)))
	want := seal(near, bob6, protoUDP, udp(data(2992)))
	for _, c := range []struct {
		name         string
		lowest, path int
		cut, limit   int
	}{
		{"as they came", 1500, 1500, 1448, 1500},
		{"to the lowest MTU", 1280, 1500, 1448, 1280},
		{"to what the path takes", 1500, 1400, 1448, 1400},
		{"small ones", 1280, 1280, 800, 1280},
	} {
		t.Run("RFC 7757, 4.2.2/"+c.name, func(t *testing.T) {
			tr := newRouter(t, network{}, func(o *Options) { o.LowestMTU6, o.MTU4 = c.lowest, MinMTU4 })
			var all []byte
			for at := 0; at < len(whole); at += c.cut {
				end := min(at+c.cut, len(whole))
				h := fragmentHeader(at, end < len(whole), 0xabcd1234)
				p := ip6{src: alice6, dst: far, next: protoUDP, extensions: []extension{h}}.packet(whole[at:end])
				r, _ := translateOver(tr, known{bob6: c.path}, newFrame(p))
				if r.Verdict != Forward {
					t.Fatalf("%+v", r)
				}
				for i, f := range r.Out {
					q := parse(t, f.Bytes())
					last := end == len(whole) && i == len(r.Out)-1
					if q.src != near || q.dst != bob6 || q.id != 0x1234 || q.offset != len(all) || q.mf == last || f.Len() > c.limit {
						t.Fatalf("%+v of %d octets", q, f.Len())
					}
					all = append(all, q.payload...)
				}
			}
			if !bytes.Equal(all, want) {
				t.Error("not the datagram that was sent")
			}
		})
	}
	t.Run("RFC 7757, 4.2.2/ICMPv6, which IPv4 does not take", func(t *testing.T) {
		tr := newRouter(t, network{}, func(o *Options) { o.MTU4 = 1280 })
		p := ip6{src: alice6, dst: far, next: protoICMPv6, extensions: []extension{fragmentHeader(0, true, 7)}}.packet(data(1448))
		if r, s := translateOver(tr, nil, newFrame(p)); r.Verdict != Reassemble || len(s.Fragment.Payload) != 1448 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("RFC 7757, 4.2.2/ICMPv6, put together", func(t *testing.T) {
		for _, n := range []int{8, 1232, 1233, 4000, 65515} {
			m := seal(alice6, far, protoICMPv6, icmp(128, 0, 7, data(n-8)))
			f := newFrame(ip6{src: alice6, dst: far, next: protoICMPv6, extensions: []extension{fragmentHeader(0, false, 0x12345678)}}.packet(m))
			f.Joined = true
			r, _ := translateOver(newRouter(t, network{}, func(o *Options) { o.MTU4 = MinMTU4 }), nil, f)
			var all []byte
			for _, f := range r.Out {
				q := parse(t, f.Bytes())
				if q.src != near || q.dst != bob6 || q.offset != len(all) || f.Len() > 1280 || q.fragment && q.id != 0x5678 {
					t.Fatalf("%d octets: %+v", n, q)
				}
				all = append(all, q.payload...)
			}
			if !bytes.Equal(all, seal(near, bob6, protoICMPv6, icmp(128, 0, 7, data(n-8)))) {
				t.Errorf("%d octets: not the message that was sent: %+v", n, r)
			}
		}
	})
}

func TestHairpinZeroUDP(t *testing.T) {
	for _, c := range []struct {
		pass, drop bool
		want       Verdict
	}{{false, false, Drop}, {true, true, Drop}, {true, false, Forward}} {
		t.Run(fmt.Sprintf("RFC 7915, 4.5/%+v", c), func(t *testing.T) {
			tr := newRouter(t, network{}, func(o *Options) { o.PassZeroUDP6, o.DropZeroUDP4 = c.pass, c.drop })
			r, _ := translateOver(tr, nil, newFrame(ip6{src: alice6, dst: far, next: protoUDP}.packet(udp(data(33)))))
			if r.Verdict != c.want || c.want == Drop && r.Reason != clat.DropZeroChecksum {
				t.Fatalf("%+v", r)
			}
			if c.want == Forward && !parse(t, r.Out[0].Bytes()).good() {
				t.Error("wrong checksum")
			}
		})
	}
}

// An error about what Alice sent to Bob came to near, where Bob, and all on the way to him, believe her to be.
func TestHairpinErrors(t *testing.T) {
	mapped := host6 // of a router that has an address in both families
	for _, c := range []struct {
		name      string
		from, src netip.Addr
		edit      func(*Options)
		reason    clat.DropReason
	}{
		{"the host", bob6, far, func(*Options) {}, 0},
		{"a router with a mapping", mapped, mapped, func(*Options) {}, 0},
		{"a router behind the prefix", netip.MustParseAddr("64:ff9b::9.9.9.9"), netip.MustParseAddr("64:ff9b::9.9.9.9"), func(*Options) {}, 0},
		{"a router without a mapping", router, netip.MustParseAddr("64:ff9b::192.0.0.8"), func(*Options) {}, 0},
		{"a router with a link-local address", netip.MustParseAddr("fe80::1"), netip.MustParseAddr("64:ff9b::192.0.0.8"), func(*Options) {}, 0},
		{"a router, where nothing stands for it", router, netip.Addr{}, func(o *Options) { o.UnmappedSource = netip.Addr{} }, clat.DropNoMapping},
		{"who poses as Alice", near, netip.Addr{}, func(*Options) {}, clat.DropSpoofed},
		{"who poses as us", own6, netip.Addr{}, func(*Options) {}, clat.DropSpoofed},
	} {
		for _, row := range []struct {
			typ, code uint8
			word      uint32
			want      [2]uint8
			told      uint32
		}{
			{1, 4, 0, [2]uint8{1, 4}, 0}, {1, 1, 0, [2]uint8{1, 1}, 0}, {3, 0, 0, [2]uint8{3, 0}, 0}, {2, 0, 1400, [2]uint8{2, 0}, 1400},
			{2, 0, 1280, [2]uint8{2, 0}, 1280}, {2, 0, 9000, [2]uint8{2, 0}, 1500}, {4, 0, 24, [2]uint8{4, 0}, 24}, {4, 1, 6, [2]uint8{4, 1}, 6},
		} {
			t.Run(fmt.Sprintf("RFC 7757, 4.2.2 (B)/from %s/%d %d %d", c.name, row.typ, row.code, row.word), func(t *testing.T) {
				tr := newRouter(t, network{}, c.edit)
				about := ip6{src: near, dst: bob6, next: protoUDP, hops: 9, tclass: 0xb8}.packet(seal(near, bob6, protoUDP, udp(data(1440))))[:600]
				p := ip6{src: c.from, dst: near, next: protoICMPv6}.packet(seal(c.from, near, protoICMPv6, icmp(row.typ, row.code, row.word, about)))
				if c.reason != clat.DropNone {
					dropped(t, tr, p, c.reason)
					return
				}
				r, s := translateOver(tr, nil, newFrame(p))
				if r.Verdict != Forward || len(r.Out) != 1 {
					t.Fatalf("%+v", r)
				}
				q := parse(t, r.Out[0].Bytes())
				if q.src != c.src || q.dst != alice6 || q.ttl != 62 || !q.good() || [2]uint8(q.payload) != row.want ||
					binary.BigEndian.Uint32(q.payload[4:]) != row.told {
					t.Errorf("%v to %v: %x", q.src, q.dst, q.payload[:8])
				}
				sent := ip6{src: alice6, dst: far, next: protoUDP, hops: 9, tclass: 0xb8}.packet(seal(alice6, far, protoUDP, udp(data(1440))))[:600]
				sent[1], sent[2], sent[3] = sent[1]&0xf0, 0, 0
				if !bytes.Equal(q.payload[8:], sent) {
					t.Errorf("quotes %x\nwant   %x", q.payload[8:], sent)
				}
				learned := row.typ == 2 && row.word < 1500
				if learned != (len(s.Learned) == 1) || learned && s.Learned[0] != (PTB{bob6.As16(), int(row.word)}) {
					t.Errorf("learned %+v", s.Learned)
				}
			})
		}
	}
	about := ip6{src: near, dst: bob6, next: protoUDP}.packet(udp(data(80)))
	t.Run("RFC 7757, 4.2.2 (B)/off", func(t *testing.T) {
		tr := newRouter(t, network{}, func(o *Options) { o.Hairpin = false })
		q := forwarded(t, tr, ip6{src: bob6, dst: near, next: protoICMPv6}.packet(seal(bob6, near, protoICMPv6, icmp(1, 4, 0, about))))
		if q.version != 4 || q.src != bob4 || q.dst != alice4 {
			t.Errorf("%+v", q)
		}
	})
	t.Run("RFC 7757, 4.2.2 (B)/about what an IPv4 host has sent", func(t *testing.T) {
		about := ip6{src: peer6, dst: bob6, next: protoUDP}.packet(udp(data(80)))
		tr := newRouter(t, network{}, func(*Options) {})
		q := forwarded(t, tr, ip6{src: bob6, dst: peer6, next: protoICMPv6}.packet(seal(bob6, peer6, protoICMPv6, icmp(1, 4, 0, about))))
		if q.version != 4 || q.src != bob4 || q.dst != peer4 {
			t.Errorf("%+v", q)
		}
	})
	t.Run("RFC 7757, 4.2.2 (B)/to another than the sender", func(t *testing.T) {
		tr := newRouter(t, network{}, func(*Options) {})
		dropped(t, tr, ip6{src: bob6, dst: far, next: protoICMPv6}.packet(seal(bob6, far, protoICMPv6, icmp(1, 4, 0, about))), clat.DropICMPInner)
	})
	t.Run("RFC 7757, 4.2.2 (B)/hop limit", func(t *testing.T) {
		tr := newRouter(t, network{}, func(*Options) {})
		for hops := range uint8(4) {
			m := seal(bob6, near, protoICMPv6, icmp(1, 4, 0, about))
			r, _ := translateOver(tr, nil, newFrame(ip6{src: bob6, dst: near, next: protoICMPv6, hops: max(1, hops)}.packet(m)))
			if passes := hops > 2; passes != (r.Verdict == Forward) || !passes && (r.Verdict != Drop || r.Reason != clat.DropTTL) {
				t.Errorf("%d: %+v", hops, r)
			}
		}
	})
	t.Run("RFC 4884/Node Identification and extensions stay", func(t *testing.T) {
		tr := newRouter(t, network{}, func(o *Options) { o.NodeID = true })
		m := icmp(3, 0, 16<<24, extended(about, 128, structure(8)))
		q := forwarded(t, tr, ip6{src: router, dst: near, next: protoICMPv6}.packet(seal(router, near, protoICMPv6, m)))
		got := quotationOf(6, q.payload)
		if want := withNode(structure(8), router); !bytes.Equal(got.ext, want) || got.length != 128 {
			t.Errorf("structure %x behind %d octets, want %x", got.ext, got.length, want)
		}
	})
}

// What has come back leaves nothing behind for the next packet.
func TestHairpinIsForgotten(t *testing.T) {
	tr, s := newRouter(t, network{}, func(*Options) {}), newScratch()
	s.PathMTU = known{bob6: 1400}
	about := ip6{src: near, dst: bob6, next: protoUDP}.packet(udp(data(80)))
	for name, p := range map[string][]byte{
		"forwarded": toBob(50, data(8)), "answered": toBob(50, data(1400)), "hop limit": ip6{src: alice6, dst: far, next: 50, hops: 1}.packet(data(8)),
		"dropped": toBob(protoTCP, tcp(nil))[:45], "IGMP": toBob(protoIGMP, data(8)),
		"damaged":  ip6{src: alice6, dst: far, next: protoICMPv6}.packet(icmp(128, 0, 1, nil)),
		"fragment": toBob(protoICMPv6, icmp(128, 0, 1, data(8)), fragmentHeader(0, true, 1)),
		"error":    ip6{src: bob6, dst: near, next: protoICMPv6}.packet(seal(bob6, near, protoICMPv6, icmp(1, 4, 0, about))),
	} {
		t.Run(name, func(t *testing.T) {
			s.Reset()
			tr.Translate(newFrame(p), s)
			r := tr.Translate(newFrame(ip4{src: alice4, dst: bob4, proto: 50}.packet(data(8))), s)
			if q := parse(t, r.Out[0].Bytes()); r.Verdict != Forward || q.src != alice6 || q.dst != bob6 {
				t.Errorf("%v to %v", q.src, q.dst)
			}
		})
	}
}
