package differential

import (
	"testing"
)

// TestSamples shows that what is sent is valid, fits the device, and is the same again for the same seed.
func TestSamples(t *testing.T) {
	for _, kinds := range [][]kind{plain, answered} {
		for n := range 3000 {
			s := generate(kinds, 3, n)
			if again := generate(kinds, 3, n); !same(s.in, again.in) || s.kind != again.kind {
				t.Fatalf("packet %d (%s) is another one the second time", n, s.kind)
			}
			for _, p := range s.in {
				if wrong := fault(p); wrong != "" || len(p) > linkMTU {
					t.Fatalf("packet %d: %s of %d octets: %s\n%x", n, s.kind, len(p), wrong, p)
				}
			}
		}
	}
}

// TestFault shows that a fault is found in packets of each protocol that has a checksum, wherever an octet is wrong.
func TestFault(t *testing.T) {
	for n := range 300 {
		for _, six := range []bool{false, true} {
			g := newGen(sequence(4, n), six)
			g.bare = true
			for _, protocol := range []byte{g.icmpProtocol(), udp, tcp, udpLite, dccp} {
				p := g.sized(protocol, 100+n)
				v := look(p)
				at := v.head + 6 + g.r.IntN(2) // in UDP-Lite, what is not covered by the checksum may be anything
				if q := with(p, at, p[at]^1); fault(p) != "" || fault(q) == "" {
					t.Fatalf("protocol %d: fault %q, and %q with octet %d changed: %x", protocol, fault(p), fault(q), at, p)
				}
			}
			if p := g.sized(esp, 100+n); fault(p[:len(p)-1]) == "" {
				t.Fatal("no fault in a packet that ends too early")
			}
		}
	}
	if p := newGen(sequence(4, 0), false).sized(esp, 100); fault(with(p, 8, p[8]^1)) == "" {
		t.Fatal("no fault where the IPv4 header checksum is wrong")
	}
}
