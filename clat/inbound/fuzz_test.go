package inbound

import (
	"testing"
)

// model is a Filter as it would be written from the list of what may come in, for packets that the translator let through.
type model struct {
	ports     map[[2]byte]bool
	protocols map[byte]bool
}

func (m *model) sent(p []byte) {
	if h, data, fragment := split(p); h != nil && h[9] == 17 && fragment == 0 && len(data) >= 8 {
		m.ports[[2]byte(data)] = true
	} else if h != nil && h[9] != 17 {
		m.protocols[h[9]] = h[9] != 0
	}
}

func (m *model) allows(p []byte) bool {
	h, data, fragment := split(p)
	switch {
	case h == nil:
		return false
	case h[9] == 6 && fragment == 0:
		return len(data) >= 14 && (data[13]&0x02 == 0 || data[13]&0x10 != 0)
	case h[9] == 6:
		return fragment > 1
	case h[9] == 17 && fragment == 0:
		return len(data) >= 8 && m.ports[[2]byte(data[2:])]
	case h[9] == 1 && fragment == 0:
		return len(data) > 0 && (data[0] == 0 || data[0] == 3 || data[0] == 11 || data[0] == 12)
	case h[9] == 1 || h[9] == 17:
		return true
	}
	return m.protocols[h[9]]
}

// split divides an IPv4 packet; no header where it is none.
func split(p []byte) (header, data []byte, fragment int) {
	if len(p) < 20 || p[0] < 0x45 || p[0] > 0x4f {
		return nil, nil, 0
	}
	n, total := 4*int(p[0]-0x40), int(p[2])<<8+int(p[3])
	if total > len(p) || n > total {
		return nil, nil, 0
	}
	return p[:n], p[n:total], int(p[6]%32)<<8 + int(p[7])
}

// FuzzAllows holds what may come in after something was sent against the model.
func FuzzAllows(f *testing.F) {
	for _, p := range [][2][]byte{
		{packet(protoUDP, 0, udp(5000, 53, 3)...), packet(protoUDP, 0, udp(53, 5000, 3)...)},
		{packet(protoUDP, more, udp(5000, 53, 8)...), options(packet(protoUDP, more, udp(53, 5000, 8)...), 8)},
		{packet(protoTCP, 0, tcp(2, 0)...), packet(protoTCP, 0, tcp(18, 0)...)},
		{options(packet(protoTCP, 0, tcp(16, 4)...), 40), packet(protoTCP, 0, tcp(2, 0)...)},
		{packet(protoTCP, more, tcp(2, 4)...), packet(protoTCP, 1, tcp(2, 0)...)},
		{packet(protoICMP, 0, 8, 0, 0, 0, 0, 1, 0, 1), packet(protoICMP, 0, 0, 0, 0, 0, 0, 1, 0, 1)},
		{packet(47, 0, 1, 2), packet(47, more|3, 1, 2, 3, 4, 5, 6, 7, 8)},
	} {
		f.Add(p[0], p[1])
	}
	f.Fuzz(func(t *testing.T, sent, p []byte) {
		f, m := New(), model{map[[2]byte]bool{}, map[byte]bool{}}
		if got, want := f.Allows(p), m.allows(p); got != want {
			t.Fatalf("% x with nothing sent: %v, want %v", p, got, want)
		}
		f.sent(sent)
		m.sent(sent)
		for _, p := range [][]byte{p, sent} {
			if got, want := f.Allows(p), m.allows(p); got != want {
				t.Fatalf("% x after % x: %v, want %v", p, sent, got, want)
			}
		}
	})
}
