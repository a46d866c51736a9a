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

// refused translates f, and has the way out refuse what comes out.
func refused(t testing.TB, tr *Translator, f *frame.Frame, mtu, budget int) (Result, *Scratch) {
	t.Helper()
	s := newScratch()
	r := tr.Translate(f, s)
	if r.Verdict != Forward {
		t.Fatalf("%+v", r)
	}
	s.Errors = budget
	before := bytes.Clone(r.Out[0].Bytes())
	out := r.Out[0]
	r = tr.TooBig(out, mtu, s)
	if !bytes.Equal(out.Bytes(), before) {
		t.Error("the packet has changed")
	}
	return r, s
}

func TestTooBig(t *testing.T) {
	for _, c := range []struct {
		name                     string
		mtu, mtu4, told, learned int
		proto                    uint8
		seg                      []byte
	}{
		{name: "1400", mtu: 1400, told: 1380, learned: 1400},
		{name: "1280", mtu: 1280, told: 1260, learned: 1280},
		{name: "1499", mtu: 1499, told: 1479, learned: 1499},
		{name: "it did not say", mtu: 0, told: 1260, learned: 1280},
		{name: "less than the least", mtu: 576, told: 1260, learned: 1280},
		{name: "negative", mtu: -1, told: 1260, learned: 1280},
		{name: "IPv4 takes less", mtu: 1400, mtu4: 1300, told: 1300, learned: 1400},
		{name: "as much as we thought", mtu: 1500, told: 1480},
		{name: "more than we thought", mtu: 9000, told: 1480},
		{name: "TCP", mtu: 1400, told: 1380, learned: 1400, proto: protoTCP, seg: tcp(data(1428))},
		{name: "echo", mtu: 1400, told: 1380, learned: 1400, proto: protoICMP, seg: icmp(8, 0, 7, data(1452))},
		{name: "ESP", mtu: 1400, told: 1380, learned: 1400, proto: 50, seg: data(1460)},
	} {
		t.Run("RFC 8201, 4/"+c.name, func(t *testing.T) {
			if c.proto == 0 {
				c.proto, c.seg = protoUDP, udp(data(1452))
			}
			tr := newTranslator(t, with(func(o *Options) {
				if c.mtu4 > 0 {
					o.MTU4 = c.mtu4
				}
			}))
			seg := sealed(host4, peer4, c.proto, c.seg)
			p := ip4{proto: c.proto, df: true, tos: 0x28}.packet(seg)
			r, s := refused(t, tr, newFrame(p), c.mtu, 5)
			if r.Verdict != Reply || r.Reason != clat.DropTooBig || len(r.Out) != 1 || s.Errors != 4 {
				t.Fatalf("%+v, %d errors left", r, s.Errors)
			}
			q := parse(t, r.Out[0].Bytes())
			if q.version != 4 || q.src != self4 || q.dst != host4 || q.ttl != 64 || q.tos != 0xc0 || !q.good() || !bytes.Equal(q.payload[:2], []byte{3, 4}) ||
				int(binary.BigEndian.Uint32(q.payload[4:])) != c.told || r.Out[0].Offload != (frame.Offload{}) {
				t.Errorf("%+v", q)
			}
			p[8]-- // the hop that it has made
			resum(p)
			quote := bytes.Clone(q.payload[8:])
			anyID(quote)
			anyID(p)
			if len(quote) < 500 || !bytes.Equal(quote, p[:len(quote)]) {
				t.Errorf("quotes %x\nof     %x", quote[:60], p[:60])
			}
			want := []PTB{{peer6.As16(), c.learned}}
			if c.learned == 0 {
				want = want[:0]
			}
			if fmt.Sprint(s.Learned) != fmt.Sprint(want) {
				t.Errorf("learned %+v", s.Learned)
			}
		})
	}
}

// What may be fragmented, and what must not be answered, is only learned from.
func TestTooBigIsNotTold(t *testing.T) {
	none := func(*Options) {}
	about := ip4{src: peer4, dst: host4, proto: 50}.packet(data(1240))
	long := from4(protoUDP, udp(data(1452)))
	for _, c := range []struct {
		name   string
		edit   func(*Options)
		p      []byte
		budget int
		want   int
	}{
		{"fragments", func(o *Options) { o.LowestMTU6 = 1500 }, ip4{proto: 50}.packet(data(3000)), 5, 1400},
		{"a fragment that came as one", none, ip4{proto: 50, df: true, mf: true}.packet(data(1448)), 5, 1400},
		{"a later fragment", none, ip4{proto: 50, df: true, offset: 1480}.packet(data(1448)), 5, 1400},
		{"no budget", none, long, 0, 1400},
		{"no errors", func(o *Options) { o.NoErrors = true }, long, 5, 1400},
		{"no address", func(o *Options) { o.Self4 = netip.Addr{} }, long, 5, 1400},
		{"an ICMP error", none, from4(protoICMP, icmp(3, 1, 0, about)), 5, 0},
	} {
		t.Run("RFC 8201, 4/"+c.name, func(t *testing.T) {
			r, s := refused(t, newTranslator(t, with(c.edit)), newFrame(c.p), 1400, c.budget)
			if r.Verdict != Drop || r.Reason != clat.DropTooBig || len(r.Out) != 0 || s.Errors != c.budget {
				t.Errorf("%+v, %d errors left", r, s.Errors)
			}
			want := []PTB{{peer6.As16(), c.want}}
			if c.want == 0 {
				want = want[:0]
			}
			if fmt.Sprint(s.Learned) != fmt.Sprint(want) {
				t.Errorf("learned %+v", s.Learned)
			}
		})
	}
	for name, p := range map[string][]byte{
		"IPv4": from4(protoUDP, udp(data(1400))), "empty": {}, "half a header": from6(protoUDP, udp(nil))[:39],
		"extension headers that are cut": ip6{next: 50, extensions: []extension{options8(protoDestOpts, 8)}}.packet(nil)[:44],
	} {
		t.Run("no packet of ours/"+name, func(t *testing.T) {
			s := newScratch()
			if r := newTranslator(t, hostOptions()).TooBig(newFrame(p), 1400, s); r.Verdict != Drop || r.Reason != clat.DropTooBig || len(s.Learned) > 0 {
				t.Errorf("%+v, %+v", r, s.Learned)
			}
		})
	}
	t.Run("RFC 4443, 2.4 (e)/our own message", func(t *testing.T) {
		tr, s := newRouter(t, network{}, func(*Options) {}), newScratch()
		m := seal(router, own6, protoICMPv6, icmp(128, 0, 7, data(1452)))
		r := tr.Translate(newFrame(ip6{src: router, dst: own6, next: protoICMPv6}.packet(m)), s)
		if r.Verdict != Reply || r.Reason != clat.DropNone {
			t.Fatalf("%+v", r)
		}
		if r = tr.TooBig(r.Out[0], 1400, s); r.Verdict != Drop || s.Errors != 1000 || len(s.Learned) != 1 || s.Learned[0] != (PTB{router.As16(), 1400}) {
			t.Errorf("%+v, learned %+v", r, s.Learned)
		}
	})
}

func TestTooBigSuperPackets(t *testing.T) {
	y := families[0]
	for _, c := range segmented {
		size := 1460 - c.head
		for _, budget := range []int{5, 0} {
			t.Run(fmt.Sprintf("RFC 8201, 4/%s/budget %d", c.name, budget), func(t *testing.T) {
				f := newFrame(y.partial(c.proto, c.make(data(20000))))
				f.Offload = y.offload(c.proto, c.gso, uint16(size))
				r, s := refused(t, newTranslator(t, hostOptions()), f, 1400, budget)
				if len(s.Learned) != 1 || s.Learned[0] != (PTB{peer6.As16(), 1400}) || r.Reason != clat.DropTooBig {
					t.Errorf("%+v, learned %+v", r, s.Learned)
				}
				if budget == 0 {
					if r.Verdict != Drop {
						t.Errorf("%+v", r)
					}
					return
				}
				q := parse(t, r.Out[0].Bytes())
				quote, ok := read(q.payload[8:])
				if r.Verdict != Reply || q.dst != host4 || !q.good() || binary.BigEndian.Uint32(q.payload[4:]) != 1380 || r.Out[0].Offload != (frame.Offload{}) ||
					!ok || quote.total != 1480 || quote.src != host4 || quote.dst != peer4 || !quote.df ||
					c.proto == protoUDP && binary.BigEndian.Uint16(quote.payload[4:]) != 1460 {
					t.Errorf("%+v, quotes %v", q, quote)
				}
			})
			t.Run(fmt.Sprintf("RFC 8201, 4/%s/segments that fit, budget %d", c.name, budget), func(t *testing.T) {
				f := newFrame(y.partial(c.proto, c.make(data(20000))))
				f.Offload = y.offload(c.proto, c.gso, 1000)
				if _, s := refused(t, newTranslator(t, hostOptions()), f, 1400, budget); len(s.Learned) > 0 {
					t.Errorf("learned %+v", s.Learned)
				}
			})
		}
	}
}

// What has come back was sent by an IPv6 host, and that is told.
func TestTooBigHairpin(t *testing.T) {
	for _, seg := range []struct {
		next uint8
		m    []byte
	}{{protoUDP, udp(data(1452))}, {protoTCP, tcp(data(1428))}, {protoICMPv6, icmp(128, 0, 7, data(1452))}, {50, data(1460)}} {
		t.Run(fmt.Sprintf("RFC 7757, 4.2.2/protocol %d", seg.next), func(t *testing.T) {
			p := toBob(seg.next, seg.m)
			r, s := refused(t, newRouter(t, network{}, func(*Options) {}), newFrame(bytes.Clone(p)), 1400, 5)
			if r.Verdict != Reply || r.Reason != clat.DropTooBig || s.Errors != 4 || len(s.Learned) != 1 || s.Learned[0] != (PTB{bob6.As16(), 1400}) {
				t.Fatalf("%+v, learned %+v, %d errors left", r, s.Learned, s.Errors)
			}
			q := parse(t, r.Out[0].Bytes())
			if q.src != own6 || q.dst != alice6 || !q.good() || q.payload[0] != 2 || binary.BigEndian.Uint32(q.payload[4:]) != 1400 {
				t.Errorf("%v to %v: %x", q.src, q.dst, q.payload[:8])
			}
			p[1], p[2], p[3], p[7] = p[1]&0xf0, 0, 0, p[7]-2
			if quote := q.payload[8:]; len(quote) < 1000 || !bytes.Equal(quote, p[:len(quote)]) {
				t.Errorf("quotes %x\nof     %x", quote[:60], p[:60])
			}
		})
	}
	t.Run("RFC 7757, 4.2.2/from the IPv4 side", func(t *testing.T) {
		tr := newRouter(t, network{}, func(*Options) {})
		r, _ := refused(t, tr, newFrame(ip4{src: peer4, dst: bob4, proto: 50, df: true}.packet(data(1460))), 1400, 5)
		if q := parse(t, r.Out[0].Bytes()); r.Verdict != Reply || q.version != 4 || q.src != self4 || q.dst != peer4 {
			t.Errorf("%+v", q)
		}
	})
	t.Run("RFC 4443, 2.4 (f)/no budget", func(t *testing.T) {
		r, s := refused(t, newRouter(t, network{}, func(*Options) {}), newFrame(toBob(50, data(1460))), 1400, 0)
		if r.Verdict != Drop || s.Errors != 0 || len(s.Learned) != 1 {
			t.Errorf("%+v, learned %+v", r, s.Learned)
		}
	})
}
