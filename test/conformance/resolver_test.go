package conformance

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"uclat/discovery"
	"uclat/discovery/dns"
)

var (
	resolver1 = netip.MustParseAddrPort("[2001:db8::53]:53")
	resolver2 = netip.MustParseAddrPort("[2001:db8::54]:53")
	public    = netip.MustParseAddrPort("1.1.1.1:53")
)

// resolvers are those of the host's links, and a Finder that asks them, in a bubble of synctest.
type resolvers struct {
	t      *testing.T
	finder *dns.Finder
	began  time.Time

	mu      sync.Mutex
	says    map[netip.AddrPort]answer
	system  []netip.AddrPort // what the host goes by, where no router names any
	asked   []string         // when, by which link, how, and whom, since the last look
	queries [][]byte
	known   discovery.Set
	last    []discovery.Offer // of the last Observation
}

// answer makes a reply to a query, whose question it has already.
type answer func(reply *layers.DNS) []byte

func newResolvers(t *testing.T) *resolvers {
	w := &resolvers{t: t, began: time.Now(), says: map[netip.AddrPort]answer{}}
	w.finder = dns.New(dns.Options{
		Servers: func(context.Context, dns.Link) ([]netip.AddrPort, error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.system, nil
		},
		Dial: func(link dns.Link) func(context.Context, string, string) (net.Conn, error) {
			return func(_ context.Context, network, server string) (net.Conn, error) {
				client, conn := net.Pipe()
				go w.serve(conn, link, network, netip.MustParseAddrPort(server))
				return client, nil
			}
		},
	})
	return w
}

// onEth0 is the link whose routers name these resolvers.
func onEth0(servers ...netip.AddrPort) dns.Link {
	l := dns.Link{Index: uplink, Name: "eth0"}
	for _, s := range servers {
		l.Announced = append(l.Announced, s.Addr())
	}
	return l
}

// start runs the Finder on these links until the test ends.
func (w *resolvers) start(links ...dns.Link) {
	w.finder.SetLinks(links)
	ctx, stop := context.WithCancel(w.t.Context())
	ended := make(chan error)
	go func() { ended <- w.finder.Run(ctx, w.report) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
}

func (w *resolvers) report(o discovery.Observation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.known.Observe(time.Now(), o)
	w.last = o.Prefixes
}

// serve is a resolver that was dialled.
func (w *resolvers) serve(conn net.Conn, link dns.Link, network string, server netip.AddrPort) {
	defer conn.Close()
	size := 512
	if network == "tcp" {
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		size = int(binary.BigEndian.Uint16(length[:]))
	}
	query := make([]byte, size)
	n, err := conn.Read(query)
	if err != nil {
		return
	}
	query = query[:n]
	w.mu.Lock()
	w.asked = append(w.asked, fmt.Sprintf("%v %s %s %v", time.Since(w.began), link.Name, network, server))
	w.queries = append(w.queries, query)
	says := w.says[server]
	w.mu.Unlock()
	if says == nil {
		io.Copy(io.Discard, conn) // until the other side gives up
		return
	}
	q := decodeDNS(w.t, query)
	reply := says(&layers.DNS{ID: q.ID, QR: true, RD: q.RD, RA: true, Questions: q.Questions})
	if network == "tcp" {
		reply = append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...)
	}
	conn.Write(reply)
}

// pass lets time go by.
func (w *resolvers) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// wants compares who was asked since the last time.
func (w *resolvers) wants(what string, asked ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.asked, asked) {
		w.t.Errorf("%s (-want +got)\n%s", what, cmp.Diff(asked, w.asked))
	}
	w.asked = nil
}

// knows compares what holds now.
func (w *resolvers) knows(what string, prefixes ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	known, _ := w.known.Valid(time.Now())
	var got []string
	for _, k := range known {
		got = append(got, k.Prefix.String())
		if k.Source != discovery.DNS || k.Link != uplink {
			w.t.Errorf("%s: %+v", what, k)
		}
	}
	if !slices.Equal(got, prefixes) {
		w.t.Errorf("%s: known is %q, want %q", what, got, prefixes)
	}
}

// become sets what a resolver says from now on.
func (w *resolvers) become(server netip.AddrPort, says answer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.says[server] = says
}

func decodeDNS(t testing.TB, b []byte) *layers.DNS {
	t.Helper()
	d := new(layers.DNS)
	if err := d.DecodeFromBytes(b, gopacket.NilDecodeFeedback); err != nil {
		t.Errorf("%x is no DNS message: %v", b, err)
	}
	return d
}

func encodeDNS(d *layers.DNS) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, d); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func record(typ layers.DNSType, ttl time.Duration) layers.DNSResourceRecord {
	return layers.DNSResourceRecord{Name: []byte("ipv4only.arpa"), Type: typ, Class: layers.DNSClassIN, TTL: uint32(ttl / time.Second)}
}

// synthesised has AAAA records.
func synthesised(ttl time.Duration, addrs ...string) answer {
	return func(d *layers.DNS) []byte {
		for _, a := range addrs {
			r := record(layers.DNSTypeAAAA, ttl)
			r.IP = ip(a)
			d.Answers = append(d.Answers, r)
		}
		return encodeDNS(d)
	}
}

// negative says that there are none, for as long as the SOA does.
func negative(code layers.DNSResponseCode, ttl, minimum time.Duration) answer {
	return func(d *layers.DNS) []byte {
		r := record(layers.DNSTypeSOA, ttl)
		r.Name = []byte("arpa")
		r.SOA = layers.DNSSOA{MName: []byte("a.example"), RName: []byte("b.example"), Minimum: uint32(minimum / time.Second)}
		d.ResponseCode, d.Authorities = code, append(d.Authorities, r)
		return encodeDNS(d)
	}
}

func TestQuery(t *testing.T) {
	t.Run("DISC-7050-3-1", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newResolvers(t)
			truncated := func(d *layers.DNS) []byte {
				d.TC = true
				return encodeDNS(d)
			}
			w.become(resolver1, truncated) // and so it is asked by TCP as well
			w.start(onEth0(resolver1))
			w.pass(10 * time.Minute)
			var byTCP bool
			ids := map[uint16]bool{}
			for i, query := range w.queries {
				byTCP = byTCP || strings.Contains(w.asked[i], " tcp ")
				q := decodeDNS(t, query)
				ids[q.ID] = true
				if q.QR || q.OpCode != 0 || q.AA || q.TC || !q.RD || q.RA || q.ResponseCode != 0 || query[3] != 0 { // Z, AD and CD among them
					t.Errorf("header %x", query[:12])
				}
				if len(q.Questions) != 1 || len(q.Answers)+len(q.Authorities)+len(q.Additionals) != 0 { // no EDNS, and so no DO
					t.Errorf("%+v", q)
					continue
				}
				if x := q.Questions[0]; string(x.Name) != "ipv4only.arpa" || x.Type != layers.DNSTypeAAAA || x.Class != layers.DNSClassIN {
					t.Errorf("question %s %v %v", x.Name, x.Type, x.Class)
				}
			}
			if len(w.queries) < 8 || !byTCP || len(ids) < len(w.queries)-1 {
				t.Errorf("%d queries, by TCP %v, %d IDs", len(w.queries), byTCP, len(ids))
			}
		})
	})

	t.Run("DISC-8880-7.1-1", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newResolvers(t)
			w.system = []netip.AddrPort{public}
			w.become(public, synthesised(time.Hour, "2001:db8:bad::c000:aa"))
			w.start(onEth0(netip.MustParseAddrPort("[fe80::1]:53")))
			w.pass(5 * time.Second)
			w.wants("silent, and no other is asked", "0s eth0 udp [fe80::1%2]:53", "2s eth0 udp [fe80::1%2]:53", "4s eth0 udp [fe80::1%2]:53")
			w.become(netip.MustParseAddrPort("[fe80::1%2]:53"), negative(layers.DNSResponseCodeNXDomain, time.Hour, time.Hour))
			w.pass(time.Minute)
			w.wants("none, and no other is asked", "7s eth0 udp [fe80::1%2]:53")
			w.knows("none")
			// One that the host itself would be is none of the link's.
			w.finder.SetLinks([]dns.Link{onEth0(netip.MustParseAddrPort("[::1]:53"), resolver2)})
			w.pass(5 * time.Second)
			w.wants("another", "1m5s eth0 udp [2001:db8::54]:53", "1m7s eth0 udp [2001:db8::54]:53", "1m9s eth0 udp [2001:db8::54]:53")
		})
		// Each link's are asked by that link.
		synctest.Test(t, func(t *testing.T) {
			w := newResolvers(t)
			wlan := dns.Link{Index: secondLink.Index, Name: secondLink.Name, Announced: []netip.Addr{addr(linkRouter)}}
			w.start(onEth0(resolver1), wlan)
			w.pass(time.Second)
			slices.Sort(w.asked)
			w.wants("two links", "0s eth0 udp [2001:db8::53]:53", "0s wlan0 udp [fe80::1%3]:53")
		})
		// The routers that name them are those of the host.
		l := newLearner(t, "")
		says := func(router net.IP, server netip.AddrPort) {
			l.said.Observe(l.Now, discovery.Advertisement{
				Link: uplink, Router: addr(router), Lifetime: time.Hour, Servers: []discovery.Resolver{{Addr: server.Addr(), Lifetime: time.Hour}},
			})
			l.Routers, _ = l.said.Routers(l.Now)
		}
		says(secondRouter, resolver2)
		if got := l.Resolvers(l.Host.Links[1]); len(got) != 0 {
			t.Errorf("named by a router that the host does not use: %v", got)
		}
		says(linkRouter, resolver1)
		if got := l.Resolvers(l.Host.Links[1]); !slices.Equal(got, []netip.Addr{resolver1.Addr()}) {
			t.Errorf("named by the host's router: %v", got)
		}
	})

	t.Run("DISC-8880-7.1-2", func(t *testing.T) {
		// A signature that is none, and data that was not validated: neither is looked at, nothing else is asked.
		signed := func(d *layers.DNS) []byte {
			b := synthesised(time.Hour, "64:ff9b::c000:aa")(d)
			binary.BigEndian.PutUint16(b[6:], 2)
			rrsig := slices.Concat([]byte{0xc0, 12, 0, 46, 0, 1, 0, 0, 14, 16, 0, 23, 0, 28, 13, 2}, make([]byte, 16), []byte{0}, []byte("none"))
			return append(b, rrsig...)
		}
		authentic := func(d *layers.DNS) []byte {
			b := synthesised(time.Hour, "64:ff9b::c000:aa")(d)
			b[3] |= 0x20
			return b
		}
		for what, says := range map[string]answer{
			"unsigned": synthesised(time.Hour, "64:ff9b::c000:aa"), "with a signature": signed, "said to be validated": authentic,
		} {
			synctest.Test(t, func(t *testing.T) {
				w := newResolvers(t)
				w.become(resolver1, says)
				w.start(onEth0(resolver1))
				w.pass(time.Minute)
				w.knows(what, "64:ff9b::/96")
				w.wants(what, "0s eth0 udp [2001:db8::53]:53")
			})
		}
	})
}
