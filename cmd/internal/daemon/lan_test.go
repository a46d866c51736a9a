package daemon

import (
	"context"
	"encoding/binary"
	"maps"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/frame"
	"uclat/cmd/internal/uplink"
	"uclat/platform"
	"uclat/platform/nexthop"
)

var (
	routerAddr = netip.MustParseAddr("fe80::1")
	routerMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 0xa1}
	otherMAC   = net.HardwareAddr{2, 0, 0, 0, 0, 0x99}
)

// fakeLAN is what is on the links: a router that answers echo requests with hop limit 1, and whoever has addresses already.
type fakeLAN struct {
	*rig
	mu     sync.Mutex
	err    error // of opening a link
	table  error // of opening the neighbour table
	hop    nexthop.Hop
	taken  map[netip.Addr]bool // somebody has it
	all    bool                // so it is with any
	silent map[netip.Addr]bool // nothing comes back to it
	mute   bool                // nor to any other
	pong   bool                // hosts behind the NAT64 answer
	links  []*fakeLink
	tables int // that are open
}

func newLAN(r *rig) *fakeLAN {
	return &fakeLAN{rig: r, hop: nexthop.Hop{Gateway: routerAddr, Hardware: routerMAC, State: nexthop.Reachable},
		taken: map[netip.Addr]bool{}, silent: map[netip.Addr]bool{}}
}

func (l *fakeLAN) open(on platform.Link) (Link, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		l.say("link: %v", l.err)
		return nil, l.err
	}
	l.say("link: open %s", on.Name)
	k := &fakeLink{
		fakeLAN: l, name: on.Name, l2: on.L2, in: make(chan []byte, 64), out: make(chan []byte, 64), nd: make(chan []byte, 64),
		gone: make(chan error, 1), deaf: make(chan error, 1), blind: make(chan error, 1), closed: make(chan struct{}),
	}
	l.links = append(l.links, k)
	return k, nil
}

// set changes what is on the links.
func (l *fakeLAN) set(change func(*fakeLAN)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

// current is the link that was opened last.
func (l *fakeLAN) current() *fakeLink {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.links[len(l.links)-1]
}

// accepted are the addresses that are listened for on the current link.
func (l *fakeLAN) accepted() (all []string) {
	k := l.current()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range k.accept {
		all = append(all, p.Addr().String())
	}
	return all
}

// left sees that all links and neighbour tables are closed, and all groups left.
func (l *fakeLAN) left() {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tables != 0 {
		l.t.Errorf("%d neighbour tables stay open", l.tables)
	}
	for _, k := range l.links {
		if k.groups != 0 {
			l.t.Errorf("%s is in %d groups still", k.name, k.groups)
		}
		select {
		case <-k.closed:
		default:
			l.t.Errorf("%s stays open", k.name)
		}
	}
}

func (l *fakeLAN) neighbours() (Neighbours, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.table != nil {
		return nil, l.table
	}
	l.tables++
	return fakeNeighbours{l}, nil
}

func (l *fakeLAN) watch(ctx context.Context, _ int, knock func()) error {
	knock()
	select {
	case err := <-l.current().blind:
		return err
	case <-ctx.Done():
		return nil
	}
}

// fakeNeighbours are those of the LAN, which the kernel knows already.
type fakeNeighbours struct{ *fakeLAN }

func (n fakeNeighbours) Hop(platform.Link, netip.Addr, netip.Addr) (nexthop.Hop, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hop, nil
}

// Router is one of the LAN's, whose link-layer address ends as its own does.
func (n fakeNeighbours) Router(_ int, addr netip.Addr) (nexthop.Hop, error) {
	hardware := slices.Clone(routerMAC)
	hardware[5] += addr.As16()[15] - 1
	return nexthop.Hop{Gateway: addr, Hardware: hardware, State: nexthop.Reachable}, nil
}

func (n fakeNeighbours) Use(int, netip.Addr) error { return nil }

func (n fakeNeighbours) Close() error {
	n.set(func(l *fakeLAN) { l.tables-- })
	return nil
}

// fakeLink is an uplink of channels.
type fakeLink struct {
	*fakeLAN
	name   string
	l2     bool
	in     chan []byte // what comes from the network
	out    chan []byte // what goes there, but for echo requests
	nd     chan []byte // Neighbor Discovery from the network
	gone   chan error  // packets cannot be read any more
	deaf   chan error  // nor Neighbor Discovery
	blind  chan error  // nor neighbours be watched
	once   sync.Once
	closed chan struct{}

	// Of fakeLAN.mu.
	to                    map[netip.Prefix]net.HardwareAddr
	accept                []netip.Prefix
	groups                int
	lostRead, lostWritten uint64
}

func (k *fakeLink) Batch() int { return 4 }

func (k *fakeLink) Lost() (read, written uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lostRead, k.lostWritten
}

func (k *fakeLink) Read(fs []*frame.Frame) (int, error) {
	select {
	case p := <-k.in:
		buf := slices.Concat(make([]byte, frame.Headroom), p, make([]byte, frame.Tailroom))
		fs[0].Wrap(buf, frame.Headroom, len(p))
		return 1, nil
	case err := <-k.gone:
		return 0, err
	case <-k.closed:
		return 0, os.ErrClosed
	}
}

func (k *fakeLink) Write(fs []*frame.Frame) (int, error) {
	for i, f := range fs {
		if err := k.send(slices.Clone(f.Bytes())); err != nil {
			return i, err
		}
	}
	return len(fs), nil
}

func (k *fakeLink) send(p []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-k.closed:
		return os.ErrClosed
	default:
	}
	const echoRequest = 128
	src, dst := netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40]))
	if k.l2 && k.hop(src) == nil {
		return clat.ErrNextHop
	}
	switch {
	case p[6] != protoICMPv6 || p[40] != echoRequest:
		k.out <- p
	case p[7] == 1 && !k.mute && !k.silent[src]:
		k.later(timeExceeded(p))
	case p[7] > 1 && k.pong:
		k.later(icmpv6(dst, src, 64, slices.Concat([]byte{129, 0, 0, 0}, p[44:])))
	}
	return nil
}

// later has a packet come in when it was under way for a while.
func (k *fakeLink) later(p []byte) { time.AfterFunc(latency, func() { k.in <- p }) }

const latency = 10 * time.Millisecond

func (k *fakeLink) Close() error {
	k.once.Do(func() {
		k.say("link: close %s", k.name)
		close(k.closed)
	})
	return nil
}

func (k *fakeLink) Accept(to []netip.Prefix) error {
	k.set(func(*fakeLAN) { k.accept = to })
	return nil
}

func (k *fakeLink) Via(to map[netip.Prefix]net.HardwareAddr, _ net.HardwareAddr) {
	k.set(func(*fakeLAN) { k.to = maps.Clone(to) })
}

// hop is where packets from an address go. It is for who holds fakeLAN.mu.
func (k *fakeLink) hop(src netip.Addr) net.HardwareAddr {
	if to, ours := k.to[netip.PrefixFrom(src, 128)]; ours {
		return to
	}
	return k.to[netip.Prefix{}]
}

// hopOf is where packets from an address go, by the current link.
func (l *fakeLAN) hopOf(src string) string {
	k := l.current()
	l.mu.Lock()
	defer l.mu.Unlock()
	return k.hop(netip.MustParseAddr(src)).String()
}

func (k *fakeLink) Join(netip.Addr) (func() error, error) {
	k.set(func(*fakeLAN) { k.groups++ })
	return func() error {
		k.set(func(*fakeLAN) { k.groups-- })
		return nil
	}, nil
}

func (k *fakeLink) ReadND(buf []byte) (int, net.HardwareAddr, error) {
	select {
	case p := <-k.nd:
		return copy(buf, p), otherMAC, nil
	case err := <-k.deaf:
		return 0, nil, err
	case <-k.closed:
		return 0, nil, os.ErrClosed
	}
}

// SendND has whoever has the address say so.
func (k *fakeLink) SendND(p []byte, _, _ net.HardwareAddr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	const solicitation = 135
	if target := netip.AddrFrom16([16]byte(p[48:64])); p[40] == solicitation && (k.all || k.taken[target]) {
		k.nd <- claim(target)
	}
	return nil
}

const protoICMPv6 = 58

// claim is somebody else's Neighbor Advertisement for an address.
func claim(a netip.Addr) []byte {
	const advertisement, override = 136, 0x20
	return icmpv6(a, netip.MustParseAddr("ff02::1"), 255,
		slices.Concat([]byte{advertisement, 0, 0, 0, override, 0, 0, 0}, a.AsSlice(), []byte{2, 1}, otherMAC))
}

// timeExceeded is what a router says of a packet whose hop limit was 1.
func timeExceeded(p []byte) []byte {
	return icmpv6(netip.MustParseAddr("2001:db8:1::1"), netip.AddrFrom16([16]byte(p[8:24])), 64, slices.Concat([]byte{3, 0, 0, 0, 0, 0, 0, 0}, p))
}

// icmpv6 is a packet with an ICMPv6 message, whose checksum it computes.
func icmpv6(src, dst netip.Addr, hops byte, message []byte) []byte {
	p := slices.Concat([]byte{0x60, 0, 0, 0, 0, 0, protoICMPv6, hops}, src.AsSlice(), dst.AsSlice(), message)
	binary.BigEndian.PutUint16(p[4:], uint16(len(message)))
	sum := checksum.Pseudo6((*[16]byte)(p[8:]), (*[16]byte)(p[24:]), uint32(len(message)), protoICMPv6)
	binary.BigEndian.PutUint16(p[42:], ^checksum.Add(sum, checksum.Sum(p[40:])))
	return p
}

// fakeMemory remembers.
type fakeMemory struct {
	mu   sync.Mutex
	used map[netip.Addr]time.Time // when it was ours last
	new  map[netip.Addr]time.Time // when it was noted first
	err  error
}

func (m *fakeMemory) Secret() [32]byte { return [32]byte{46, 64} }

func (m *fakeMemory) UsedSince(a netip.Addr, since time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used[a].After(since)
}

// firstUse is when it was noted first that an address is ours.
func (m *fakeMemory) firstUse(a string) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.new[netip.MustParseAddr(a)]
}

func (m *fakeMemory) NoteUse(a netip.Addr, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.used[a] = now; m.new[a].IsZero() {
		m.new[a] = now
	}
	return m.err
}

var (
	_ Link        = (*fakeLink)(nil)
	_ uplink.Conn = (*fakeLink)(nil)
	_ Neighbours  = fakeNeighbours{}
	_ Routers     = (*fakeRouters)(nil)
	_ Memory      = (*fakeMemory)(nil)
)
