package siit

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/frame"
)

// The oracle: random packets of all kinds, made by gopacket and read again by gopacket, and what RFC 7915 says must become of them, from
// its tables of header fields. It shares no code with the translator.

// oracleSeed makes the packets. A failure names it and the packet's number, which make that packet again.
const oracleSeed = 7915

// dice makes random packets.
type dice struct {
	*rand.Rand
	network network
	o       Options
}

// roll is the dice of one packet.
func roll(n int) *dice {
	d := &dice{Rand: rand.New(rand.NewPCG(oracleSeed, uint64(n)))}
	d.network = network{clients: d.one(2), plat: d.one(3)}
	if d.one(2) {
		d.network.nat64 = netip.MustParsePrefix([]string{
			"2001:db9::/32", "2001:db9:1200::/40", "2001:db9:122::/48", "2001:db9:122:300::/56", "2001:db9:122:344::/64", "2001:db9:122:344::/96",
		}[d.IntN(6)])
	}
	mtu6 := d.among(1280, 1281, 1400, 1500, 9000)
	d.o = Options{
		MTU6: mtu6, MTU4: d.among(68, 75, 576, 1259, 1260, 1480, 1500, 9000), LowestMTU6: d.among(1280, 1280, min(mtu6, 1400), mtu6),
		Self4: self4, Self6: host6, UnmappedSource: netip.MustParseAddr("192.0.0.8"),
		NodeID: d.one(2), TTLTransparent: d.one(4), SetTOS: d.one(4), TOS: d.octet(), ClampMSS: d.one(2),
		DropZeroUDP4: d.one(4), PassZeroUDP6: d.one(2), Hairpin: d.one(2),
	}
	d.network.router = d.one(3)
	return d
}

func (d *dice) one(in int) bool      { return d.IntN(in) == 0 }
func (d *dice) octet() uint8         { return uint8(d.Uint32()) }
func (d *dice) among(all ...int) int { return all[d.IntN(len(all))] }
func (d *dice) octets(n int) []byte  { b := make([]byte, n); d.fill(b); return b }

type pair = [2]uint8

func (d *dice) fill(b []byte) {
	for i := range b {
		b[i] = d.octet()
	}
}

// ends are a random client of ours and a random remote host.
func (d *dice) ends() (ours, remote netip.Addr) {
	ours = host4
	if d.network.clients {
		ours = netip.AddrFrom4([4]byte{100, 64 | d.octet()&63, d.octet(), d.octet()})
	}
	// Not what no remote host has as its address, and not of our clients.
	first := []byte{1, 8, 9, 10, 100, 128, 169, 172, 192, 198, 203, 223}[d.IntN(12)]
	return ours, netip.AddrFrom4([4]byte{first, 200 | d.octet()&7, d.octet(), d.octet()})
}

// size is a number of octets with a liking for where rules change: MTUs, less the headers that may be in front.
func (d *dice) size() int {
	switch d.IntN(4) {
	case 0:
		return d.IntN(64)
	case 1:
		return max(0, min(10000, d.among(1232, 1260, 1280, d.o.LowestMTU6, d.o.MTU6, d.o.MTU4))-d.among(0, 8, 20, 28, 32, 40, 48, 60)+d.IntN(19)-9)
	case 2:
		return d.IntN(4500)
	}
	return d.IntN(1600)
}

// content is any but an ICMP error.
func (d *dice) content() (m content) {
	m.data = d.octets(d.size())
	m.ports = [2]uint16{30000 + uint16(d.IntN(30000)), 30000 + uint16(d.IntN(30000))} // into which gopacket does not look
	switch d.IntN(6) {
	case 0:
		m.proto = pair{protoTCP, protoTCP}
		m.tcp = d.tcp(m.ports)
	case 1:
		m.proto = pair{protoUDP, protoUDP}
		m.zero = d.one(8)
	case 2, 3:
		m.proto = pair{protoICMP, protoICMPv6}
		m.icmp = [2]pair{{8, 0}, {128, 0}}
		if d.one(2) {
			m.icmp = [2]pair{{0, 0}, {129, 0}}
		}
		word := d.Uint32()
		m.word, m.rest = [2]uint32{word, word}, [2][]byte{m.data, m.data}
	case 4:
		proto := []uint8{33, 136}[d.IntN(2)]
		m.proto = pair{proto, proto}
	case 5:
		proto := []uint8{50, 51, 88, 103, 132, 139, 253}[d.IntN(7)]
		m.proto = pair{proto, proto}
		m.data = append([]byte{253, 1, 14: 0}, m.data...) // an AH, where it is one, in front of what gopacket does not look into
	}
	return m
}

func (d *dice) tcp(ports [2]uint16) *layers.TCP {
	h := &layers.TCP{
		SrcPort: layers.TCPPort(ports[0]), DstPort: layers.TCPPort(ports[1]), Seq: d.Uint32(), Ack: d.Uint32(), Window: uint16(d.Uint32()),
		SYN: d.one(2), ACK: d.one(2), PSH: d.one(2), FIN: d.one(4), URG: d.one(4), ECE: d.one(4), CWR: d.one(4), Urgent: uint16(d.Uint32()),
	}
	for range d.IntN(4) {
		switch d.IntN(4) {
		case 0:
			h.Options = append(h.Options, layers.TCPOption{OptionType: layers.TCPOptionKindNop, OptionLength: 1})
		case 1:
			h.Options = append(h.Options, layers.TCPOption{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: d.octets(2)})
		case 2:
			h.Options = append(h.Options, layers.TCPOption{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: d.octets(1)})
		case 3:
			h.Options = append(h.Options, layers.TCPOption{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: d.octets(8)})
		}
	}
	return h
}

// datagram is a packet of one version that the translator takes, with or without what it does not let through.
func (d *dice) datagram(t testing.TB, version int) datagram {
	ours, remote := d.ends()
	p := datagram{src: ours, dst: remote, tos: d.octet(), ttl: d.octet(), id: d.Uint32(), df: d.one(2), content: d.content()}
	if (version == 6) != d.network.plat {
		p.src, p.dst = p.dst, p.src
	}
	if d.one(10) {
		p.ttl = uint8(d.IntN(3))
	}
	if d.one(4) {
		p.options = [][]byte{
			{1, 1, 1, 0}, {7, 7, 4, 0, 0, 0, 0, 1}, {131, 7, 8, 1, 2, 3, 4, 1}, {148, 4, 0, 0}, bytes.Repeat([]byte{1}, 40),
		}[d.IntN(5)]
	}
	for version == 6 && len(p.chain) < 3 && d.one(4) {
		e := options8([]uint8{protoHopByHop, protoRouting, protoDestOpts}[d.IntN(3)], 8*(1+d.IntN(3)))
		d.fill(e.body[4:])
		p.chain = append(p.chain, e)
	}
	whole := len(p.content.octets(t, 4, ours, remote))
	if version == 4 {
		p.id &= 0xffff
	}
	switch blocks := whole / 8; { // the checksum is in the first fragment: no other could be put right
	case blocks > 5 && d.one(6):
		p.size, p.mf = 24+8*d.IntN(blocks-3), true
	case blocks > 5 && d.one(3):
		p.offset = 24 + 8*d.IntN(blocks-4)
		p.size = whole - p.offset
		if p.size > 8 && d.one(2) {
			p.size, p.mf = 8*(1+d.IntN(p.size/8)), true
		}
	case version == 6 && d.one(8):
		p.atomic = true
	}
	return p
}

// outcome is what must become of a packet: frames, or an answer, or nothing.
type outcome struct {
	verdict   Verdict
	reason    clat.DropReason
	out       []seen
	typ, code uint8  // of an answer
	word      uint32 // of an answer
	anyID     bool   // of IPv4 frames, which are of one datagram all the same
}

func dropFor(r clat.DropReason) outcome { return outcome{reason: r} }

func answer(r clat.DropReason, typ, code uint8, word int) outcome {
	return outcome{verdict: Reply, reason: r, typ: typ, code: code, word: uint32(word)}
}

// hop is what a router takes off the TTL.
func (d *dice) hop() uint8 {
	if d.o.TTLTransparent {
		return 0
	}
	return 1
}

// header is what the tables of RFC 7915, 4.1 and 5.1 say of all packets.
func (d *dice) header(p datagram, to int) (f fields) {
	f = fields{
		version: to, src: p.src, dst: p.dst, tos: p.tos, ttl: p.ttl - d.hop(), proto: p.content.proto[family46(to)], mf: p.mf, offset: p.offset,
	}
	if d.o.SetTOS {
		f.tos = d.o.TOS
	}
	if to == 6 {
		f.src, f.dst = d.network.to6(p.src), d.network.to6(p.dst)
	} else if p.src6.IsValid() {
		f.src = d.o.UnmappedSource
	}
	return f
}

// payload is the part of the message that the packet carries, as it must be in the version to.
func (d *dice) payload(t testing.TB, p datagram, to int) []byte {
	m := p.content
	if d.o.ClampMSS && m.tcp != nil && m.tcp.SYN && !p.isFragment() {
		m.tcp = clamped(m.tcp, uint16(min(d.o.MTU6-60, d.o.MTU4-40)))
	}
	m.zero = m.zero && to == 4 // in IPv6 it is computed
	src, dst := p.src, p.dst
	if to == 6 {
		src, dst = d.network.to6(src), d.network.to6(dst)
	}
	b := m.octets(t, to, src, dst)
	if p.isFragment() {
		b = b[p.offset : p.offset+p.size]
	}
	return b
}

// clamped lowers the first MSS option to most.
func clamped(h *layers.TCP, most uint16) *layers.TCP {
	c := *h
	c.Options = append([]layers.TCPOption(nil), h.Options...)
	for i, o := range c.Options {
		if o.OptionType == layers.TCPOptionKindMSS {
			if binary.BigEndian.Uint16(o.OptionData) > most {
				c.Options[i].OptionData = binary.BigEndian.AppendUint16(nil, most)
			}
			break
		}
	}
	return &c
}

// to6 is RFC 7915, 4 and 4.1.
func (d *dice) to6(t testing.TB, p datagram) outcome {
	isICMP, first := p.content.proto[0] == protoICMP, p.offset == 0
	size := len(d.payload(t, p, 4))
	head := 40
	if p.isFragment() {
		head = 48
	}
	switch {
	case p.ttl <= d.hop():
		if !first || isICMP && rfcIsError(4, p.content.icmp[0][0]) {
			return dropFor(clat.DropTTL)
		}
		return answer(clat.DropTTL, 11, 0, 0)
	case isICMP && p.isFragment():
		return dropFor(clat.DropFragmentedICMP)
	case p.df && head+size > d.o.MTU6:
		if !first {
			return dropFor(clat.DropTooBig)
		}
		return answer(clat.DropTooBig, 3, 4, d.o.MTU6-head+20)
	case p.content.zero && first && (p.isFragment() || d.o.DropZeroUDP4):
		return dropFor(clat.DropZeroChecksum)
	}
	f := d.header(p, 6)
	f.fragmentHeader = p.isFragment()
	pieces := !p.df && head+size > d.o.LowestMTU6
	if pieces || f.fragmentHeader {
		f.id = p.id
	}
	if !pieces {
		return outcome{verdict: Forward, out: []seen{{f, d.payload(t, p, 6)}}}
	}
	f.fragmentHeader = true
	return outcome{verdict: Forward, out: cut(f, d.payload(t, p, 6), d.o.LowestMTU6-48)}
}

// cut is payload in pieces of at most room octets, which continue the fragment f.
func cut(f fields, payload []byte, room int) (all []seen) {
	room -= room % 8
	more := f.mf
	for len(payload) > 0 {
		n := min(room, len(payload))
		f.mf = more || n < len(payload)
		all = append(all, seen{f, payload[:n]})
		f.offset += n
		payload = payload[n:]
	}
	return all
}

// to4 is RFC 7915, 5 and 5.1.
func (d *dice) to4(t testing.TB, p datagram) outcome {
	isICMP, first := p.content.proto[0] == protoICMP, p.offset == 0
	payload := d.payload(t, p, 4)
	wire, six := 20+len(payload), 40+len(payload)
	for _, e := range p.chain {
		six += len(e.body)
	}
	if p.isFragment() || p.atomic {
		six += 8
	}
	isError := isICMP && rfcIsError(6, p.content.icmp[1][0])
	switch {
	case (p.isFragment() || p.atomic) && bytes.Contains([]byte{51, 135, 139, 140}, p.content.proto[1:]):
		return dropFor(clat.DropExtension) // 5.1.1
	case p.ttl <= d.hop():
		if isICMP && !first || isError {
			return dropFor(clat.DropTTL)
		}
		return answer(clat.DropTTL, 3, 0, 0)
	case isICMP && p.isFragment():
		return dropFor(clat.DropFragmentedICMP)
	case wire > d.o.MTU4 && six > 1280:
		return answer(clat.DropTooBig, 2, 0, max(1280, d.o.MTU4+20))
	case p.content.zero && first && !d.o.PassZeroUDP6:
		return dropFor(clat.DropZeroChecksum)
	}
	f := d.header(p, 4)
	out := outcome{verdict: Forward, anyID: true}
	if p.isFragment() || p.atomic {
		f.id, out.anyID = p.id&0xffff, false
	} else {
		f.df = wire > 1260
	}
	out.out = []seen{{f, payload}}
	if wire > d.o.MTU4 {
		out.out = cut(f, payload, d.o.MTU4-20)
	}
	return out
}

// rfcIsError: RFC 1122, 3.2.2, and RFC 4443, 2.1.
func rfcIsError(version int, typ uint8) bool {
	if version == 6 {
		return typ < 128
	}
	return bytes.Contains([]byte{3, 4, 5, 11, 12}, []byte{typ})
}

// judge translates in and compares what becomes of it with what must.
func judge(t testing.TB, tr *Translator, s *Scratch, in []byte, want outcome, o Options) []seen {
	s.Reset()
	s.Errors = 1
	f := newFrame(in)
	r := tr.Translate(f, s)
	if r.Verdict != want.verdict || r.Reason != want.reason {
		t.Fatalf("verdict %d, %v, want %d, %v", r.Verdict, r.Reason, want.verdict, want.reason)
	}
	if want.verdict == Reply {
		judgeAnswer(t, decode(t, r.Out[0].Bytes()), in, want, o)
		return nil
	}
	if len(r.Out) != len(want.out) {
		t.Fatalf("%d frames, want %d", len(r.Out), len(want.out))
	}
	var all []seen
	for i, f := range r.Out {
		got := decode(t, f.Bytes())
		all = append(all, got)
		expected := want.out[i]
		if want.anyID {
			expected.id = got.id
			if got.id != all[0].id || len(r.Out) > 1 && got.df {
				t.Fatalf("frame %d is of another datagram: %v", i, got)
			}
		}
		if !got.equal(expected) || f.Offload.GSO != frame.NotSegmented || f.Offload.Checksum == frame.ChecksumPartial {
			t.Fatalf("frame %d\ngot  %v\nwant %v", i, got, expected)
		}
	}
	return all
}

func judgeAnswer(t testing.TB, got seen, in []byte, want outcome, o Options) {
	src, limit, proto := o.Self4, 576-28, uint8(protoICMP)
	if got.version == 6 {
		src, limit, proto = o.Self6, 1280-48, protoICMPv6
	}
	var head [8]byte
	head[0], head[1] = want.typ, want.code
	copy(head[2:4], got.payload[2:4])
	binary.BigEndian.PutUint32(head[4:], want.word)
	r, _ := read(in)
	f := fields{version: r.version, src: src, dst: r.src, tos: 0xc0, ttl: 64, proto: proto, id: got.id}
	expected := seen{f, append(head[:], in[:min(len(in), limit)]...)}
	if !got.equal(expected) {
		t.Fatalf("answer\ngot  %v\nwant %v", got, expected)
	}
}

// TestOracle holds both directions to the tables of RFC 7915.
func TestOracle(t *testing.T) {
	s := newScratch()
	verdicts := map[Verdict]int{}
	for n := range 10000 {
		d, t := roll(n), named{t, n}
		version := 4 + n%2*2
		p := d.datagram(t, version)
		want := d.to6
		if version == 6 {
			want = d.to4
		}
		expected := want(t, p)
		verdicts[expected.verdict]++
		tr, err := New(d.network.table(t), d.o)
		if err != nil {
			t.Fatal(err)
		}
		judge(t, tr, s, p.packet(t, d.network, version), expected, d.o)
	}
	if verdicts[Forward] < 5000 || verdicts[Reply] < 1000 {
		t.Errorf("of 10000, %d are to be forwarded and %d to be answered: too few to tell", verdicts[Forward], verdicts[Reply])
	}
}

// named says in each failure which packet it is about.
type named struct {
	testing.TB
	n int
}

func (n named) Fatalf(format string, args ...interface{}) {
	n.TB.Helper()
	n.TB.Fatalf("packet %d of seed %d: "+format, append([]interface{}{n.n, oracleSeed}, args...)...)
}
