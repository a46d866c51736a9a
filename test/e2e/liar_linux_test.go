package e2e

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"uclat/test/lab/netlab"
)

// liarAddr is the address of a name server on the router that says what the test wants.
var liarAddr = netip.MustParseAddr("2001:db8:1::5353")

// arpa is the name that tells the PREF64 (RFC 7050).
const arpa = "ipv4only.arpa."

// lie is what a name server answers to questions for AAAA of arpa. The zero value is a resolver without DNS64.
type lie struct {
	addrs     []netip.Addr
	ttl       uint32 // seconds, of the addresses and of what is not there
	rcode     dnsmessage.RCode
	silent    bool // no answer at all
	truncated bool // over UDP: the answer is for TCP
	noSOA     bool // nobody says how long what is not there is not there
}

// dns64 is the truth as a DNS64 with these prefixes has it.
func dns64(ttl uint32, prefixes ...netip.Prefix) lie {
	l := lie{ttl: ttl}
	for _, p := range prefixes {
		for _, last := range []byte{170, 171} {
			l.addrs = append(l.addrs, embed(p, netip.AddrFrom4([4]byte{192, 0, 0, last})))
		}
	}
	return l
}

// embed is RFC 6052, 2.2, on its own: octets 8 stays zero.
func embed(p netip.Prefix, a netip.Addr) netip.Addr {
	b, at := p.Addr().As16(), p.Bits()/8
	for _, octet := range a.As4() {
		if at == 8 {
			at++
		}
		b[at] = octet
		at++
	}
	return netip.AddrFrom16(b)
}

// liar is such a name server, over UDP and TCP.
type liar struct {
	mu      sync.Mutex
	tells   lie
	asked   []time.Time           // for AAAA of arpa
	overTCP int                   // of these
	others  []dnsmessage.Question // with another name or type
}

// startLiar has one answer at an address of a node.
func startLiar(t *testing.T, n *netlab.Node, addr netip.Addr, tells lie) *liar {
	t.Helper()
	l := &liar{tells: tells}
	var udp net.PacketConn
	var tcp net.Listener
	at := netip.AddrPortFrom(addr, portDNS).String()
	inside(t, n, func() (err error) {
		if udp, err = net.ListenPacket("udp", at); err != nil {
			return err
		}
		tcp, err = net.Listen("tcp", at)
		return err
	})
	var running sync.WaitGroup
	running.Go(func() { answerPackets(udp, func(q []byte) []byte { return l.answer(q, false) }) })
	running.Go(func() { l.serveTCP(tcp, &running) })
	t.Cleanup(func() {
		udp.Close()
		tcp.Close()
		running.Wait()
	})
	return l
}

// addLiar puts one on the router, and has the laptop ask nobody else.
func (top *topology) addLiar(t *testing.T, tells lie) *liar {
	t.Helper()
	if err := top.router.AddAddr("lan0", netip.PrefixFrom(liarAddr, 64)); err != nil {
		t.Fatal(err)
	}
	if _, err := top.router.WaitAddr(t.Context(), "lan0", host(liarAddr)); err != nil {
		t.Fatal(err)
	}
	l := startLiar(t, top.router, liarAddr, tells)
	top.resolver(t, liarAddr.String())
	return l
}

// tell has it say something else from now on.
func (l *liar) tell(tells lie) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tells = tells
}

// questions is how often it was asked for AAAA of arpa.
func (l *liar) questions() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.asked)
}

func (l *liar) serveTCP(listener net.Listener, running *sync.WaitGroup) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		running.Go(func() {
			defer conn.Close()
			var size [2]byte
			if conn.SetDeadline(time.Now().Add(soon)) != nil {
				return
			}
			if _, err := io.ReadFull(conn, size[:]); err != nil {
				return
			}
			query := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(conn, query); err != nil {
				return
			}
			if b := l.answer(query, true); b != nil {
				_, _ = conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)) // the client sees what is missing
			}
		})
	}
}

// answer is the answer to a query; nil is none.
func (l *liar) answer(query []byte, overTCP bool) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	l.mu.Lock()
	tells := l.tells
	asked := strings.EqualFold(q.Name.String(), arpa) && q.Type == dnsmessage.TypeAAAA
	if asked {
		l.asked = append(l.asked, time.Now())
		if overTCP {
			l.overTCP++
		}
	} else {
		l.others = append(l.others, q)
	}
	l.mu.Unlock()
	if tells.silent {
		return nil
	}
	m = dnsmessage.Message{
		Header:    dnsmessage.Header{ID: m.ID, Response: true, RecursionDesired: m.RecursionDesired, RecursionAvailable: true},
		Questions: m.Questions,
	}
	rr := func(ttl uint32) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: ttl}
	}
	switch {
	case asked && tells.truncated && !overTCP:
		m.Truncated = true
	case asked && tells.rcode == dnsmessage.RCodeSuccess && len(tells.addrs) > 0:
		for _, a := range tells.addrs {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: rr(tells.ttl), Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	case asked:
		if m.RCode = tells.rcode; !tells.noSOA && m.RCode != dnsmessage.RCodeServerFailure {
			m.Authorities = []dnsmessage.Resource{{Header: rr(tells.ttl), Body: &dnsmessage.SOAResource{
				NS: q.Name, MBox: q.Name, Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, MinTTL: tells.ttl,
			}}}
		}
	case q.Type == dnsmessage.TypeA && strings.EqualFold(q.Name.String(), "server.lab.test."):
		m.Answers = []dnsmessage.Resource{{Header: rr(60), Body: &dnsmessage.AResource{A: server4.As4()}}}
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}
