package siit

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"uclat/clat"
)

// hairpin is RFC 7757, 4.2.2: RFC 7915, 5 and then at once 4, of a packet that comes to no IPv4 side. far says that the answer is about what
// is IPv4 only.
func (d *dice) hairpin(t testing.TB, p datagram) (want outcome, far bool) {
	isICMP, first, fragment := p.content.proto[1] == protoICMPv6, p.offset == 0, p.isFragment() || p.atomic
	size, head := len(d.payload(t, p, 4)), 40
	if p.isFragment() {
		head = 48
	}
	switch {
	case fragment && bytes.Contains([]byte{51, 135, 139, 140}, p.content.proto[1:]):
		return dropFor(clat.DropExtension), false
	case p.ttl <= d.hop() && isICMP && !first:
		return dropFor(clat.DropTTL), false
	case p.ttl <= d.hop():
		return answer(clat.DropTTL, 3, 0, 0), false
	case isICMP && p.isFragment():
		return dropFor(clat.DropFragmentedICMP), false
	case p.content.zero && first && !d.o.PassZeroUDP6:
		return dropFor(clat.DropZeroChecksum), false
	case p.ttl <= 2*d.hop() && !first:
		return dropFor(clat.DropTTL), false
	case p.ttl <= 2*d.hop():
		return answer(clat.DropTTL, 3, 0, 0), true
	case !fragment && head+size > d.o.MTU6:
		return answer(clat.DropTooBig, 2, 0, d.o.MTU6), true
	case p.content.zero && first && (p.isFragment() || d.o.DropZeroUDP4):
		return dropFor(clat.DropZeroChecksum), false
	}
	f := d.header(p, 6)
	f.src, f.ttl = embedded(d.network.prefix(), p.src), f.ttl-d.hop()
	pieces := fragment && head+size > d.o.LowestMTU6
	if f.fragmentHeader = p.isFragment() || pieces; f.fragmentHeader {
		f.id = p.id & 0xffff
	}
	payload := d.back(t, p, f.src, f.dst)
	if pieces {
		return outcome{verdict: Forward, out: cut(f, payload, d.o.LowestMTU6-48)}, false
	}
	return outcome{verdict: Forward, out: []seen{{f, payload}}}, false
}

// back is the payload between the ends that it has after both translations.
func (d *dice) back(t testing.TB, p datagram, src, dst netip.Addr) []byte {
	m := p.content
	if d.o.ClampMSS && m.tcp != nil && m.tcp.SYN && !p.isFragment() {
		m.tcp = clamped(m.tcp, uint16(min(d.o.MTU6-60, d.o.MTU4-40)))
	}
	m.zero = false
	b := m.octets(t, 6, src, dst)
	if p.isFragment() {
		b = b[p.offset : p.offset+p.size]
	}
	return b
}

// TestOracleHairpin holds hairpins to the tables of both directions.
func TestOracleHairpin(t *testing.T) {
	s, verdicts := newScratch(), map[Verdict]int{}
	for n := range 10000 {
		d, t := roll(n), named{t, n}
		d.network.router, d.o.Hairpin = true, true
		p := d.datagram(t, 6)
		p.src, p.dst = alice4, bob4
		if d.network.clients && d.one(2) {
			p.src, _ = d.ends()
		}
		if d.one(2) {
			p.src, p.dst = p.dst, p.src
		}
		p.dst6 = embedded(d.network.prefix(), p.dst)
		want, far := d.hairpin(t, p)
		verdicts[want.verdict]++
		tr, err := New(d.network.table(t), d.o)
		if err != nil {
			t.Fatal(err)
		}
		in := p.packet(t, d.network, 6)
		// The checksum that the sender made is for the addresses that it knows.
		whole := p.content.octets(t, 6, d.network.to6(p.src), p.dst6)
		if p.isFragment() {
			whole = whole[p.offset : p.offset+p.size]
		}
		copy(in[len(in)-len(whole):], whole)
		if !far {
			judge(t, tr, s, in, want, d.o)
			continue
		}
		s.Reset()
		s.Errors = 1
		r := tr.Translate(newFrame(in), s)
		if r.Verdict != Reply || r.Reason != want.reason || len(r.Out) != 1 || s.Errors != 0 {
			t.Fatalf("verdict %d, %v, want %v", r.Verdict, r.Reason, want.reason)
		}
		got := decode(t, r.Out[0].Bytes())
		word := binary.BigEndian.Uint32(got.payload[4:])
		if got.src != embedded(d.network.prefix(), self4) || got.dst != d.network.to6(p.src) || got.payload[0] != want.typ ||
			got.payload[1] != want.code || word != want.word {
			t.Fatalf("answer %v, want %+v", got, want)
		}
	}
	if verdicts[Forward] < 5000 || verdicts[Reply] < 1000 {
		t.Errorf("of 10000, %d are to be forwarded and %d to be answered: too few to tell", verdicts[Forward], verdicts[Reply])
	}
}
