package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// TestOrder sends numbered packets of many flows at once through three lanes over a TUN with three queues, one lane each, from real
// sockets and to them.
//
// What keeps the order is that a flow stays in one lane, and that a lane is one goroutine that hands packets to no other: it writes
// what it read, in order, into the queue that it reads. The kernel chooses the queue, by a hash over addresses and ports; over the
// addresses alone for a fragment, the first included, so that all fragments between two hosts go one way. Nothing is promised between
// a datagram in fragments and one that is not, as nowhere where ports tell the way. Rather than by the hash, Linux chooses the queue
// into which the other direction of the flow was written, if that was less than three seconds ago: a flow may change its queue once
// after its other direction fell silent. So here each flow has one direction.
func TestOrder(t *testing.T) {
	t.Run("XLAT-7915-4-10", func(t *testing.T) {
		n := newNetwork(t, 3)
		n.translate(t)
		for _, c := range []struct {
			name          string
			count, octets int
		}{{"packets", 10_000, 100}, {"fragments", 500, 4000}} {
			t.Run("46 "+c.name, func(t *testing.T) {
				flows := n.newFlows(t, 100, c.count)
				var sending sync.WaitGroup
				defer sending.Wait()
				for _, f := range flows {
					sending.Go(func() { f.send4(t, c.octets) })
				}
				n.leaveInOrder(t, flows, c.octets)
				n.usedSeveral(t)
			})
			t.Run("64 "+c.name, func(t *testing.T) {
				flows := n.newFlows(t, 150, c.count)
				var receiving sync.WaitGroup
				defer receiving.Wait()
				for _, f := range flows {
					receiving.Go(func() { f.arriveInOrder(t, c.octets) })
				}
				n.send6(t, flows, c.octets)
				receiving.Wait()
				n.usedSeveral(t)
			})
		}
	})
}

// flow is numbered datagrams between a socket and a peer.
type flow struct {
	socket *net.UDPConn
	port   uint16 // of the socket
	peer   net.IP
	count  int // datagrams
}

// newFlows are flows with as many peers, whose addresses end with first and what follows: one of so many datagrams, and shorter ones
// that keep the other lanes busy meanwhile.
func (n *network) newFlows(t *testing.T, first byte, count int) []flow {
	t.Helper()
	const others, patience = 24, 30 * time.Second
	flows := make([]flow, 1+others)
	for i := range flows {
		f := flow{port: 40000 + uint16(i), peer: net.IP{198, 51, 100, first + byte(i)}, count: count / 20}
		if i == 0 {
			f.count = count
		}
		f.socket = n.socket(t, f.port, netip.AddrPortFrom(addr(f.peer), 53))
		fragmenting(t, f.socket)
		if err := f.socket.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		flows[i] = f
	}
	if err := n.uplink.file.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for _, q := range n.clat {
		q.reads.Store(0)
	}
	return flows
}

// fragmenting makes a socket send without DF, and receive much at once.
func fragmenting(t testing.TB, c *net.UDPConn) {
	t.Helper()
	control(t, c, func(fd int) error {
		return errors.Join(
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20),
		)
	})
}

// usedSeveral wants the packets of newFlows to have come by more than one queue.
func (n *network) usedSeveral(t *testing.T) {
	t.Helper()
	var reads []uint64
	busy := 0
	for _, q := range n.clat {
		reads = append(reads, q.reads.Load())
		if q.reads.Load() > 0 {
			busy++
		}
	}
	if busy < 2 {
		t.Errorf("the queues had %d packets, which shows nothing", reads)
	}
}

// numbered is a datagram of so many octets that says which one it is.
func numbered(number, octets int) []byte {
	p := data(octets)
	binary.BigEndian.PutUint32(p, uint32(number))
	return p
}

// send4 sends the flow's datagrams from its socket. Those that do not fit the link leave it in fragments.
func (f flow) send4(t *testing.T, octets int) {
	for i := range f.count {
		if _, err := f.socket.Write(numbered(i, octets)); err != nil {
			t.Errorf("to %v: datagram %d: %v", f.peer, i, err)
			return
		}
	}
}

// send6 sends the datagrams of all flows from their peers in turn.
func (n *network) send6(t *testing.T, flows []flow, octets int) {
	t.Helper()
	for i := range flows[0].count {
		for _, f := range flows {
			if i >= f.count {
				continue
			}
			ports := &layers.UDP{SrcPort: 53, DstPort: layers.UDPPort(f.port)}
			whole := build(t, &layers.IPv6{SrcIP: wellKnown(f.peer)}, ports, payload(numbered(i, octets)))
			if len(whole) <= linkMTU {
				n.uplink.send(t, whole)
				continue
			}
			for _, fragment := range cut(t, whole, uint32(i), 1232) {
				n.uplink.send(t, fragment)
			}
		}
	}
}

// leaveInOrder wants all datagrams of all flows on the uplink: those of a flow one after the other, and the fragments of each likewise.
func (n *network) leaveInOrder(t *testing.T, flows []flow, octets int) {
	t.Helper()
	left := 0
	byPeer := map[string]*flow{}
	for i := range flows {
		byPeer[string(flows[i].peer)] = &flows[i]
		left += flows[i].count
	}
	next := map[*flow]int{}        // number of the datagram that has to come
	pieces := map[*flow][]packet{} // those of it that came
	for left > 0 {
		p := decode(t, n.uplink.receive(t).octets)
		f := byPeer[string(p.dst()[12:])]
		if f == nil {
			t.Fatalf("something to %v", p.dst())
		}
		if p.isFragment() {
			pieces[f] = append(pieces[f], p)
			if _, more := p.offset(); more {
				continue
			}
			p, pieces[f] = joined(t, pieces[f]), nil // fails unless they came in order, with none of another between them
		}
		same(t, fmt.Sprintf("datagram of the flow to %v", f.peer), p.udp(t).Payload, numbered(next[f], octets))
		if t.Failed() {
			return
		}
		next[f]++
		left--
	}
}

// arriveInOrder wants all datagrams of the flow at its socket.
func (f flow) arriveInOrder(t *testing.T, octets int) {
	buf := make([]byte, 1<<16)
	for want := range f.count {
		size, err := f.socket.Read(buf)
		if err != nil {
			t.Errorf("from %v: datagram %d: %v", f.peer, want, err)
			return
		}
		if got := int(binary.BigEndian.Uint32(buf)); got != want || size != octets {
			t.Errorf("from %v: datagram %d of %d octets, want %d of %d", f.peer, got, size, want, octets)
			return
		}
	}
}
