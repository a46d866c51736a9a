package pmtu

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// estimate and model are RFC 8201 in the plainest form: a map without a bound.
type estimate struct {
	mtu     int
	learned uint64
}

type model map[[16]byte]estimate

func (m model) learn(dst [16]byte, mtu int, now uint64) {
	old, known := m[dst]
	if mtu >= 1280 && mtu <= 65535 && (!known || mtu <= old.mtu) {
		m[dst] = estimate{mtu, now}
	}
}

func (m model) expire(now uint64) {
	for dst, e := range m {
		if now >= e.learned+600 {
			delete(m, dst)
		}
	}
}

// step does one thing to the cache and the model, and compares all that they know of dst.
func (m model) step(t *testing.T, c *Cache, dst []*[16]byte, op byte, which, mtu int, now uint64) {
	switch {
	case op < 200:
		m.learn(*dst[which], mtu, now)
		c.Learn(dst[which], mtu, uint32(now))
	default:
		m.expire(now)
		c.Expire(uint32(now))
	}
	if c.Len() != len(m) {
		t.Fatalf("second %d: %d destinations, want %d", now, c.Len(), len(m))
	}
	for i := range dst {
		e, known := m[*dst[i]]
		if mtu, ok := c.MTU(*dst[i]); mtu != e.mtu || ok != known {
			t.Fatalf("second %d: %v has %d, %v, want %d, %v", now, netip.AddrFrom16(*dst[i]), mtu, ok, e.mtu, known)
		}
	}
}

// FuzzModel reads 5 octets a step: what to do, to whom, the MTU, and by how much the clock goes on. It knows no more destinations than
// a set has room for, so that nothing goes but by age.
func FuzzModel(f *testing.F) {
	f.Add(uint32(0), []byte{0, 0, 0x05, 0x78, 0, 0, 0, 0x05, 0x14, 100, 0, 0, 0x05, 0xdc, 200, 255, 0, 0, 0, 255, 255, 0, 0, 0, 255})
	f.Add(^uint32(300), []byte{0, 1, 0x05, 0x00, 255, 0, 2, 0x04, 0xff, 255, 0, 3, 0xff, 0xff, 90, 255, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, start uint32, steps []byte) {
		dst := []*[16]byte{{}, {15: 1}, {0: 0x20, 1: 0x01}, {10: 0xff, 11: 0xff, 15: 1}}
		m, now := model{}, uint64(start)
		var c Cache
		for ; len(steps) >= 5; steps = steps[5:] {
			now += uint64(steps[4])
			m.step(t, &c, dst, steps[0], int(steps[1])%len(dst), int(binary.BigEndian.Uint16(steps[2:])), now)
		}
	})
}

// TestModel goes through long random lives of more destinations, no more than each set has room for.
func TestModel(t *testing.T) {
	r := rand.New(rand.NewPCG(8201, 4))
	for life := range 10 {
		var c Cache
		dst := roomy(&c, 100)
		m, now := model{}, uint64(life)<<30
		for range 1000 {
			now += r.Uint64N(20)
			m.step(t, &c, dst, byte(r.IntN(210)), r.IntN(len(dst)), 1270+r.IntN(200), now)
		}
	}
}
