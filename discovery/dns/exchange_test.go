package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

// loopback is a resolver on 127.0.0.1, over UDP and TCP on one port.
type loopback struct {
	addr netip.AddrPort
	mu   sync.Mutex
	from []netip.AddrPort // of each UDP query
}

// udpQuery is the n-th query that came over UDP.
type udpQuery struct {
	n    int
	from netip.AddrPort
	msg  []byte
}

// serve runs a resolver until the test ends. What udp returns for a query is sent; nil is silence.
func serve(t *testing.T, udp func(udpQuery) [][]byte, tcp func(net.Conn)) *loopback {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(l.Addr().String())
	u, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	s := &loopback{addr: addr}
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 65535)
		for n := 0; ; n++ {
			size, from, err := u.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.from = append(s.from, from)
			s.mu.Unlock()
			for _, msg := range udp(udpQuery{n, from, buf[:size]}) {
				if _, err := u.WriteToUDPAddrPort(msg, from); err != nil {
					t.Errorf("answering %v: %v", from, err)
				}
			}
		}
	})
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if tcp != nil {
				tcp(conn)
			}
			conn.Close()
		}
	})
	t.Cleanup(func() {
		u.Close()
		l.Close()
		wg.Wait()
	})
	return s
}

func (s *loopback) sources() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]netip.AddrPort(nil), s.from...)
}

// always answers each UDP query the same way.
func always(edits ...edit) func(udpQuery) [][]byte {
	return func(q udpQuery) [][]byte { return [][]byte{respond(q.msg, edits...)} }
}

// overTCP answers one query, changed by edits, in pieces of the given size.
func overTCP(t *testing.T, piece int, edits ...edit) func(net.Conn) {
	return func(conn net.Conn) {
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			t.Errorf("length of the query: %v", err)
			return
		}
		q := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, q); err != nil {
			t.Errorf("query: %v", err)
			return
		}
		answer := respond(q, edits...)
		msg := append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)
		for len(msg) > 0 {
			n, err := conn.Write(msg[:min(piece, len(msg))])
			if err != nil {
				t.Errorf("answer: %v", err)
				return
			}
			msg = msg[n:]
		}
	}
}

func truncated(m *dnsmessage.Message) { m.Truncated = true }

func finderFor(servers ...netip.AddrPort) *Finder {
	return New(Options{Servers: func(context.Context, Link) ([]netip.AddrPort, error) { return servers, nil }})
}

// text is an Answer without its server, with the error up to its first colon.
func text(a Answer) string {
	if a.Err == nil {
		return strings.Join([]string{names(a.Prefixes), a.TTL.String(), a.Lifetime.String()}, " ")
	}
	why, _, _ := strings.Cut(a.Err.Error(), ":")
	return why
}

func TestTransport(t *testing.T) {
	const found = "64:ff9b::/96 1m0s 1m0s"
	good := aaaa(60, "64:ff9b::c000:aa")
	for _, tt := range []struct {
		name string
		udp  func(udpQuery) [][]byte
		tcp  func(net.Conn)
		want string
	}{
		{"UDP", always(good), nil, found},
		{"lost once", func(q udpQuery) [][]byte {
			if q.n == 0 {
				return nil
			}
			return [][]byte{respond(q.msg, good)}
		}, nil, found},
		{"forged answers before the right one", func(q udpQuery) [][]byte {
			forged := aaaa(60, "2001:db8::c000:aa")
			return [][]byte{
				respond(q.msg, forged, func(m *dnsmessage.Message) { m.ID ^= 1 }),
				respond(q.msg, forged, func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("example.") }),
				{},
				[]byte("no DNS"),
				respond(q.msg, good),
			}
		}, nil, found},
		{"UDP answer of more than 512 octets", always(aaaa(60, strings.Repeat("64:ff9b::c000:aa ", 100))), nil, found},
		{"malformed", func(q udpQuery) [][]byte { m := respond(q.msg, good); return [][]byte{m[:len(m)-1]} }, nil, "the answer is malformed"},
		{"TC, then TCP", always(truncated), overTCP(t, 1<<16, good), found},
		{"TCP octet by octet", always(truncated), overTCP(t, 1, good), found},
		{"TCP as long as it gets", always(truncated), overTCP(t, 1000, aaaa(60, strings.Repeat("64:ff9b::c000:aa ", 2330))), found},
		{"TC over TCP too", always(truncated), overTCP(t, 1<<16, truncated), "the answer is too long for UDP, and asking over TCP failed"},
		{"TCP closed at once", always(truncated), func(net.Conn) {}, "the answer is too long for UDP, and asking over TCP failed"},
		{"TCP closed within the answer", always(truncated), func(c net.Conn) {
			io.ReadFull(c, make([]byte, 2+31))
			c.Write([]byte{0, 200, 1, 2, 3})
		}, "the answer is too long for UDP, and asking over TCP failed"},
		{"TCP with an empty answer", always(truncated), func(c net.Conn) {
			io.ReadFull(c, make([]byte, 2+31))
			c.Write([]byte{0, 0})
		}, "the answer is too long for UDP, and asking over TCP failed"},
		{"NODATA", always(), nil, "this resolver does no DNS64"},
		{"SERVFAIL", always(withRCode(dnsmessage.RCodeServerFailure)), nil, "the resolver answers SERVFAIL, which is no answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, tt.udp, tt.tcp)
			answers, err := finderFor(s.addr).Lookup(t.Context(), eth0)
			if err != nil || len(answers) != 1 {
				t.Fatalf("%v, %v", answers, err)
			}
			if answers[0].Server != s.addr {
				t.Errorf("answer is of %v, want %v", answers[0].Server, s.addr)
			}
			if diff := cmp.Diff(tt.want, text(answers[0])); diff != "" {
				t.Errorf("-want +got:\n%s(%v)", diff, answers[0].Err)
			}
		})
	}
}

// An answer that comes from elsewhere, though to the right port and with the right ID, is not taken.
func TestTransportForeignSource(t *testing.T) {
	other, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	s := serve(t, func(q udpQuery) [][]byte {
		forged := respond(q.msg, aaaa(60, "2001:db8::c000:aa"))
		if _, err := other.WriteTo(forged, net.UDPAddrFromAddrPort(q.from)); err != nil {
			t.Errorf("forging: %v", err)
		}
		return [][]byte{respond(q.msg, aaaa(60, "64:ff9b::c000:aa"))}
	}, nil)
	a := finderFor(s.addr).try(t.Context(), eth0, s.addr)
	if got := names(a.Prefixes); got != "64:ff9b::/96" {
		t.Errorf("found %q, %v", got, a.Err)
	}
}

func TestTransportFreshPorts(t *testing.T) {
	s := serve(t, always(), nil)
	f := finderFor(s.addr)
	ports := map[uint16]bool{}
	for range 16 {
		f.try(t.Context(), eth0, s.addr)
	}
	for _, from := range s.sources() {
		ports[from.Port()] = true
	}
	if len(ports) < 8 { // the system may hand out one again by chance
		t.Errorf("16 queries came from %d ports", len(ports))
	}
}

func TestTransportRefused(t *testing.T) {
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(l.LocalAddr().String())
	l.Close()
	began := time.Now()
	answers, err := finderFor(addr).Lookup(t.Context(), eth0)
	if err != nil {
		t.Fatal(err)
	}
	if answers[0].Err == nil || strings.Contains(answers[0].Err.Error(), "127.0.0.1") {
		t.Errorf("error is %v, want one that names no addresses", answers[0].Err)
	}
	if d := time.Since(began); answers[0].Err != nil && strings.Contains(answers[0].Err.Error(), "refused") && d > time.Second {
		t.Errorf("refused at once, but it took %v", d)
	}
}

func TestLookupByServer(t *testing.T) {
	dns64 := serve(t, always(aaaa(600, "64:ff9b::c000:aa 2001:db8:122:344::c000:aa")), nil)
	plain := serve(t, always(soa(900, 300)), nil)
	gone := serve(t, always(withRCode(dnsmessage.RCodeNameError)), nil)
	portal := serve(t, always(aaaa(7200, "2001:db8::1")), nil)
	refused := serve(t, always(withRCode(dnsmessage.RCodeRefused)), nil)
	short := serve(t, always(aaaa(1, "64:ff9b::c000:aa")), nil)

	// One resolver twice is asked once; an invalid one is none.
	f := finderFor(plain.addr, dns64.addr, plain.addr, netip.AddrPort{}, gone.addr, portal.addr, refused.addr, short.addr)
	answers, err := f.Lookup(t.Context(), eth0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range answers {
		if a.Err == nil {
			got = append(got, text(a))
			continue
		}
		got = append(got, strings.Join([]string{a.Err.Error(), a.TTL.String(), a.Lifetime.String()}, " "))
	}
	want := []string{
		"this resolver does no DNS64: it knows no AAAA record of ipv4only.arpa 5m0s 5m0s",
		"64:ff9b::/96 2001:db8:122:344::/96 10m0s 10m0s",
		"this resolver does no DNS64: it says that ipv4only.arpa does not exist (NXDOMAIN) 0s 1m0s",
		"this resolver does no DNS64: it answers ipv4only.arpa with 2001:db8::1, which tells no PREF64 (neither 192.0.0.170 nor " +
			"192.0.0.171 is in it behind a valid prefix): does a captive portal or a filter answer in its place? 2h0m0s 1m0s",
		"the resolver answers REFUSED, which is no answer 0s 0s",
		"64:ff9b::/96 1s 30s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, i := range []int{0, 2, 3} {
		if !errors.Is(answers[i].Err, ErrNoDNS64) {
			t.Errorf("%v is no ErrNoDNS64", answers[i].Err)
		}
	}
}

func TestLookupWithoutResolvers(t *testing.T) {
	if a, err := finderFor().Lookup(t.Context(), eth0); err == nil || !strings.Contains(err.Error(), "configure") {
		t.Errorf("%v, error %v, want one that says what to do", a, err)
	}
	cause := errors.New("unreadable")
	f := New(Options{Servers: func(context.Context, Link) ([]netip.AddrPort, error) { return nil, cause }})
	if _, err := f.Lookup(t.Context(), eth0); !errors.Is(err, cause) {
		t.Errorf("error is %v, want one that wraps %v", err, cause)
	}
}

func TestLookupEndsWithContext(t *testing.T) {
	s := serve(t, func(udpQuery) [][]byte { return nil }, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	answers, err := finderFor(s.addr).Lookup(ctx, eth0)
	if err != nil || len(answers) != 1 || !errors.Is(answers[0].Err, context.DeadlineExceeded) {
		t.Errorf("%v, %v", answers, err)
	}
	if d := time.Since(began); d > time.Second {
		t.Errorf("it took %v", d)
	}
}

func TestManyPrefixesAreBounded(t *testing.T) {
	var as []netip.Addr
	for i := range 100 {
		as = append(as, netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, byte(i), 12: 192, 15: 170}))
	}
	a := reply{aaaa: as, ttl: time.Minute}.judge()
	if len(a.Prefixes) != maxPrefixes || a.Prefixes[0].String() != "2001:db8::/96" {
		t.Errorf("%d prefixes, the first is %v", len(a.Prefixes), a.Prefixes[0])
	}
}
