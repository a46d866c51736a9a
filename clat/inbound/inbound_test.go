package inbound

import (
	"encoding/binary"
	"slices"
	"sync"
	"testing"
)

// packet is an IPv4 packet; word is flags and fragment offset. Nobody here looks at addresses or checksums.
func packet(proto byte, word uint16, transport ...byte) []byte {
	p := append(make([]byte, len4, len4+len(transport)), transport...)
	p[0], p[8], p[9] = 0x45, 64, proto
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[6:], word)
	return p
}

const more = 0x2000 // the more-fragments flag

// udp is a datagram with n octets of data.
func udp(src, dst uint16, n int) []byte {
	p := binary.BigEndian.AppendUint16(nil, src)
	p = binary.BigEndian.AppendUint16(p, dst)
	return append(binary.BigEndian.AppendUint16(p, uint16(lenUDP+n)), make([]byte, 2+n)...)
}

// tcp is a segment with these flags and n octets of data.
func tcp(flags byte, n int) []byte {
	return append(make([]byte, 13), slices.Concat([]byte{flags}, make([]byte, 6+n))...)
}

// options puts n octets of options into an IPv4 header.
func options(p []byte, n int) []byte {
	p = slices.Insert(p, len4, make([]byte, n)...)
	p[0] += byte(n / 4)
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	return p
}

func (f *Filter) sent(packets ...[]byte) *Filter {
	for _, p := range packets {
		f.Open(Opens(p))
	}
	return f
}

func TestAllows(t *testing.T) {
	const fin, syn, rst, ack, urg, ece, cwr = 1, 2, 4, 16, 32, 64, 128
	const gre, esp, sctp, udpLite = 47, 50, 132, 136
	var (
		asked    = packet(protoUDP, 0, udp(5000, 53, 30)...)
		answered = packet(protoUDP, 0, udp(53, 5000, 30)...)
		unasked  = packet(protoUDP, 0, udp(5000, 53, 30)...)
	)
	for _, c := range []struct {
		name string
		sent []byte // by the host; nil: nothing
		p    []byte // for the host
		want bool
	}{
		{"TCP/SYN", nil, packet(protoTCP, 0, tcp(syn, 0)...), false},
		{"TCP/SYN behind options", nil, options(packet(protoTCP, 0, tcp(syn, 0)...), 40), false},
		{"TCP/SYN with ECN", nil, packet(protoTCP, 0, tcp(syn|ece|cwr, 0)...), false},
		{"TCP/SYN with data", nil, packet(protoTCP, 0, tcp(syn, 100)...), false},
		{"TCP/SYN with all others", nil, packet(protoTCP, 0, tcp(^byte(ack), 0)...), false},
		{"TCP/SYN to where something was sent", packet(protoTCP, 0, tcp(syn, 0)...), packet(protoTCP, 0, tcp(syn, 0)...), false},
		{"TCP/SYN and ACK", nil, packet(protoTCP, 0, tcp(syn|ack, 0)...), true},
		{"TCP/ACK", nil, packet(protoTCP, 0, tcp(ack, 1000)...), true},
		{"TCP/ACK behind options", nil, options(packet(protoTCP, 0, tcp(ack, 1000)...), 40), true},
		{"TCP/ACK in a super-packet", nil, packet(protoTCP, 0, tcp(ack, 60000)...), true},
		{"TCP/RST", nil, packet(protoTCP, 0, tcp(rst, 0)...), true},
		{"TCP/RST and ACK", nil, packet(protoTCP, 0, tcp(rst|ack, 0)...), true},
		{"TCP/FIN and ACK", nil, packet(protoTCP, 0, tcp(fin|ack|urg, 0)...), true},
		{"TCP/cut before its flags", nil, packet(protoTCP, 0, tcp(ack, 0)[:13]...), false},
		{"TCP/cut behind its flags", nil, packet(protoTCP, 0, tcp(ack, 0)[:14]...), true},
		{"TCP/without a header", nil, packet(protoTCP, 0), false},
		{"RFC 1858, 3/SYN in a first fragment", nil, packet(protoTCP, more, tcp(syn, 12)...), false},
		{"RFC 1858, 3/a first fragment without flags", nil, packet(protoTCP, more, tcp(syn, 0)[:8]...), false},
		{"RFC 1858, 3/ACK in a first fragment", nil, packet(protoTCP, more, tcp(ack, 12)...), true},
		{"RFC 3128/a fragment at offset 1", nil, packet(protoTCP, 1, make([]byte, 100)...), false},
		{"RFC 3128/a fragment at offset 1 with others to come", nil, packet(protoTCP, more|1, make([]byte, 96)...), false},
		{"RFC 3128/a fragment at offset 2", nil, packet(protoTCP, 2, make([]byte, 100)...), true},
		{"RFC 3128/a fragment at offset 4097", nil, packet(protoTCP, 4097, make([]byte, 100)...), true},
		{"TCP/a later fragment that looks like a SYN", nil, packet(protoTCP, more|185, tcp(syn, 12)...), true},

		{"UDP/nothing sent", nil, answered, false},
		{"UDP/sent", asked, answered, true},
		{"UDP/from another port", asked, packet(protoUDP, 0, udp(54, 5000, 0)...), true}, // RFC 4787, 5
		{"UDP/to another port", asked, packet(protoUDP, 0, udp(53, 5001, 30)...), false},
		{"UDP/to the port that was sent to", asked, unasked, false},
		{"UDP/behind options", options(asked, 8), options(answered, 40), true},
		{"UDP/in a super-packet", packet(protoUDP, 0, udp(5000, 53, 60000)...), packet(protoUDP, 0, udp(53, 5000, 60000)...), true},
		{"UDP/port 0", nil, packet(protoUDP, 0, udp(53, 0, 0)...), false},
		{"UDP/the last port", packet(protoUDP, 0, udp(65535, 53, 0)...), packet(protoUDP, 0, udp(53, 65535, 0)...), true},
		{"UDP/beside the last port", packet(protoUDP, 0, udp(65535, 53, 0)...), packet(protoUDP, 0, udp(53, 65534, 0)...), false},
		{"UDP/in a first fragment", packet(protoUDP, more, udp(5000, 53, 8)...), packet(protoUDP, more, udp(53, 5000, 8)...), true},
		{"UDP/in a first fragment, nothing sent", nil, packet(protoUDP, more, udp(53, 5000, 8)...), false},
		{"UDP/in a later fragment", nil, packet(protoUDP, 1, udp(53, 5000, 8)...), true},
		{"UDP/what a later fragment has is no port", packet(protoUDP, 1, udp(5000, 53, 8)...), answered, false},
		{"UDP/cut", packet(protoUDP, 0, udp(5000, 53, 0)[:7]...), answered, false},
		{"UDP/the answer is cut", asked, packet(protoUDP, 0, udp(53, 5000, 0)[:7]...), false},
		{"UDP/by TCP", packet(protoTCP, 0, udp(5000, 53, 30)...), answered, false},
		{"UDP/by another protocol", packet(udpLite, 0, udp(5000, 53, 30)...), answered, false},

		{"ICMP/echo", nil, packet(protoICMP, 0, 8, 0, 0, 0, 0, 1, 0, 1), false},
		{"ICMP/echo where something was sent", packet(protoICMP, 0, 8, 0, 0, 0, 0, 1, 0, 1), packet(protoICMP, 0, 8, 0, 0, 0, 0, 1, 0, 1), false},
		{"ICMP/echo in a first fragment", nil, packet(protoICMP, more, 8, 0, 0, 0, 0, 1, 0, 1), false},
		{"ICMP/echo reply", nil, packet(protoICMP, 0, 0, 0, 0, 0, 0, 1, 0, 1), true},
		{"ICMP/echo reply in a first fragment", nil, packet(protoICMP, more, 0, 0, 0, 0, 0, 1, 0, 1), true},
		{"ICMP/a later fragment", nil, packet(protoICMP, 1, 8, 0, 0, 0, 0, 1, 0, 1), true},
		{"ICMP/unreachable", nil, packet(protoICMP, 0, 3, 4, 0, 0, 0, 0, 0, 0), true},
		{"ICMP/time exceeded", nil, packet(protoICMP, 0, 11, 0, 0, 0, 0, 0, 0, 0), true},
		{"ICMP/parameter problem", nil, packet(protoICMP, 0, 12, 0, 0, 0, 0, 0, 0, 0), true},
		{"ICMP/source quench", nil, packet(protoICMP, 0, 4, 0, 0, 0, 0, 0, 0, 0), false},
		{"ICMP/redirect", nil, packet(protoICMP, 0, 5, 0, 0, 0, 0, 0, 0, 0), false},
		{"ICMP/router advertisement", nil, packet(protoICMP, 0, 9, 0, 0, 0, 0, 0, 0, 0), false},
		{"ICMP/timestamp", nil, packet(protoICMP, 0, 13, 0, 0, 0, 0, 0, 0, 0), false},
		{"ICMP/empty", nil, packet(protoICMP, 0), false},

		{"others/nothing sent", nil, packet(gre, 0, 1, 2, 3, 4), false},
		{"others/sent", packet(gre, 0, 1, 2, 3, 4), packet(gre, 0, 1, 2, 3, 4), true},
		{"others/sent without a word", packet(esp, 0), packet(esp, 0), true},
		{"others/another one sent", packet(gre, 0, 1, 2, 3, 4), packet(esp, 0, 1, 2, 3, 4), false},
		{"others/by a port of UDP", packet(protoUDP, 0, udp(sctp, 53, 0)...), packet(sctp, 0, 1, 2, 3, 4), false},
		{"others/a first fragment, nothing sent", nil, packet(sctp, more, make([]byte, 16)...), false},
		{"others/a later fragment, nothing sent", nil, packet(sctp, 2, make([]byte, 16)...), false},
		{"others/a later fragment", packet(sctp, more, make([]byte, 16)...), packet(sctp, 2, make([]byte, 16)...), true},
		{"others/sent in a later fragment", packet(sctp, 2, make([]byte, 16)...), packet(sctp, 0, make([]byte, 16)...), true},
		{"others/UDP-Lite", packet(udpLite, 0, udp(5000, 53, 0)...), packet(udpLite, 0, udp(53, 6000, 0)...), true},
		{"others/the last", packet(255, 0), packet(255, 0), true},
		{"others/protocol 0", packet(0, 0, 1), packet(0, 0, 1), false}, // which the translator does not let out

		{"no packet/empty", nil, nil, false},
		{"no packet/IPv6", nil, append([]byte{0x60, 0, 0, 0, 0, 0, protoTCP}, make([]byte, 60)...), false},
		{"no packet/header cut", nil, packet(protoTCP, 0, tcp(ack, 0)...)[:19], false},
		{"no packet/header too short", nil, append([]byte{0x44}, packet(protoTCP, 0, tcp(ack, 0)...)[1:]...), false},
		{"no packet/header longer than all", nil, append([]byte{0x4f}, packet(protoTCP, 0, tcp(ack, 0)...)[1:]...), false},
		{"no packet/cut", nil, packet(protoTCP, 0, tcp(ack, 9)...)[:len4+28], false},
		{"no packet/a header behind its end", nil, append(packet(protoTCP, 0), tcp(ack, 0)...), false},
		{"no packet/sent by a header behind its end", append(packet(protoUDP, 0), udp(5000, 53, 0)...), answered, false},
		{"no packet/sent cut", asked[:len(asked)-1], answered, false},
		{"no packet/sent as IPv6", append([]byte{0x65}, asked[1:]...), answered, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := New().sent(c.sent).Allows(c.p); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// RFC 4787, 4.3: a port stays open for one time between Turns at least, and for two at most.
func TestTurn(t *testing.T) {
	asked, answered := packet(protoUDP, 0, udp(5000, 53, 0)...), packet(protoUDP, 0, udp(53, 5000, 0)...)
	f := New().sent(packet(47, 0))
	for turns := range 5 {
		f.sent(asked)
		if !f.Allows(answered) {
			t.Errorf("turn %d: not open at once", turns)
		}
		f.Turn()
		if !f.Allows(answered) {
			t.Errorf("turn %d: not open after one", turns)
		}
	}
	f.sent(asked) // again, while it is known from before
	f.Turn()
	if !f.Allows(answered) {
		t.Error("what is used again does not stay open")
	}
	f.Turn()
	if f.Allows(answered) {
		t.Error("open after two turns without a packet")
	}
	if !f.Allows(packet(47, 0)) {
		t.Error("other protocols age")
	}
	f.sent(asked)
	if !f.Allows(answered) {
		t.Error("not open again")
	}
}

// Each port and each protocol is one of its own.
func TestEach(t *testing.T) {
	f := New()
	for port := range 1 << 16 {
		if f.Allows(packet(protoUDP, 0, udp(53, uint16(port), 0)...)) {
			t.Fatalf("port %d is open before it sent", port)
		}
		f.sent(packet(protoUDP, 0, udp(uint16(port), 53, 0)...))
		if !f.Allows(packet(protoUDP, 0, udp(53, uint16(port), 0)...)) {
			t.Fatalf("port %d is closed after it sent", port)
		}
	}
	for proto := byte(18); proto != 0; proto++ {
		if f.Allows(packet(proto, 0)) {
			t.Fatalf("protocol %d is open before it was sent", proto)
		}
		if f.sent(packet(proto, 0)); !f.Allows(packet(proto, 0)) {
			t.Fatalf("protocol %d is closed after it was sent", proto)
		}
	}
}

// Workers share a filter, and each word of it, and it turns meanwhile: what one of them notes, the others do not undo.
func TestConcurrent(t *testing.T) {
	const workers, rounds = 4, 20
	for range rounds {
		f, begin := New(), make(chan struct{})
		var all sync.WaitGroup
		for i := range workers {
			all.Go(func() {
				<-begin
				for n := range 1 << 16 / workers {
					f.Open(Opening{protoUDP, uint16(n*workers + i)})
					if i == 0 && n == 8000 {
						f.Turn()
					}
				}
			})
		}
		close(begin)
		all.Wait()
		for port := range 1 << 16 {
			if !f.Allows(packet(protoUDP, 0, udp(53, uint16(port), 0)...)) {
				t.Fatalf("port %d is closed", port)
			}
		}
	}
}

func TestAllocatesNothing(t *testing.T) {
	f := New()
	out, in := packet(protoUDP, 0, udp(5000, 53, 0)...), packet(protoUDP, 0, udp(53, 5000, 0)...)
	if n := testing.AllocsPerRun(1000, func() {
		f.Open(Opens(out))
		if !f.Allows(in) {
			t.Fatal("closed")
		}
		f.Turn()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
