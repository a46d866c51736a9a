package e2e

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/sys/unix"

	"uclat/test/lab/netlab"
)

// announcement is what an announcer says: what radvd can say as well, and what it cannot.
type announcement struct {
	advertised
	pref64 []offered
	mtu    int      // octets; 0: no word of it
	first  [][]byte // options as they stand, before all others
	last   []byte   // octets behind all options
}

// offered is a PREF64 that a router announces. Its lifetime is a multiple of 8 s (RFC 8781, 4).
type offered struct {
	netip.Prefix
	lifetime time.Duration
}

// lastingPREF64 is an ordinary one.
func lastingPREF64(p netip.Prefix) offered { return offered{p, 1800 * time.Second} }

// withdrawn is one that is no longer there.
func withdrawn(p netip.Prefix) offered { return offered{p, 0} }

// announcing is what the router of the topology says where it announces PREF64s, and no resolver.
func announcing(offers ...offered) announcement {
	return announcement{advertised: ordinary(lasting(lanPrefix)), pref64: offers}
}

// announcer is a router's voice, which says what the test wants, when it wants it. The test's own process speaks, by a socket in the
// router.
type announcer struct {
	socket *os.File
	all    *unix.SockaddrInet6 // nodes of the link
	mac    net.HardwareAddr

	mu     sync.Mutex
	says   *announcement // nil: nothing
	mute   bool          // to who solicits
	failed error

	solicited atomic.Int64 // Router Solicitations that came
	ended     atomic.Bool
}

// announcePeriod is how often an announcer says all again (far more often than a real one, as tests are short).
const announcePeriod = time.Second

// startAnnouncer has a node announce, from one of its link-local addresses, when a first announcement is given and when somebody asks for
// it.
func startAnnouncer(t *testing.T, n *netlab.Node, dev string, source netip.Addr) *announcer {
	t.Helper()
	a := &announcer{}
	inside(t, n, func() error {
		ifi, err := net.InterfaceByName(dev)
		if err != nil {
			return err
		}
		a.mac = ifi.HardwareAddr
		a.all = &unix.SockaddrInet6{Addr: netip.IPv6LinkLocalAllNodes().As16(), ZoneId: uint32(ifi.Index)}
		a.socket, err = listenSolicitations(ifi.Index, source)
		return err
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(a.hear)
	running.Go(func() { a.repeat(ctx) })
	t.Cleanup(func() {
		cancel()
		a.ended.Store(true)
		a.socket.Close()
		running.Wait()
		if a.failed != nil {
			t.Errorf("the announcer of %s: %v", n.Name(), a.failed)
		}
	})
	return a
}

// listenSolicitations opens a socket for ICMPv6 at a link-local address. It is none of package net's, which would ask for the name of the
// interface in the wrong node, and remember that.
func listenSolicitations(index int, source netip.Addr) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMPV6)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	err = unix.Bind(fd, &unix.SockaddrInet6{Addr: source.As16(), ZoneId: uint32(index)})
	for _, o := range [][2]int{
		{unix.IPV6_MULTICAST_HOPS, ndp.HopLimit}, {unix.IPV6_MULTICAST_IF, index}, {unix.IPV6_MULTICAST_LOOP, 0},
	} {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, o[0], o[1]))
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "icmp6"), nil
}

// say has it announce this, at once and from now on.
func (a *announcer) say(t *testing.T, says announcement) {
	t.Helper()
	a.mu.Lock()
	a.says = &says
	a.mu.Unlock()
	if err := a.send(); err != nil {
		t.Fatalf("an announcement: %v", err)
	}
}

// silence has it say nothing any more, not even that it is gone.
func (a *announcer) silence() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.says = nil
}

// ignore has it answer nobody who solicits, and speak now and then alone.
func (a *announcer) ignore() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mute = true
}

// send announces what there is to be said.
func (a *announcer) send() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.says == nil {
		return nil
	}
	b, err := a.says.message(a.mac)
	if err != nil {
		return err
	}
	raw, err := a.socket.SyscallConn()
	if err != nil {
		return err
	}
	called := raw.Control(func(fd uintptr) { err = unix.Sendto(int(fd), b, 0, a.all) })
	return errors.Join(called, err)
}

func (a *announcer) repeat(ctx context.Context) {
	again := time.NewTicker(announcePeriod)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
		a.note(a.send())
	}
}

// hear answers solicitations.
func (a *announcer) hear() {
	buf := make([]byte, 2000)
	for {
		n, err := a.socket.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		const solicitation = 133
		if err != nil || n == 0 || buf[0] != solicitation {
			continue
		}
		a.solicited.Add(1)
		a.mu.Lock()
		mute := a.mute
		a.mu.Unlock()
		if !mute {
			a.note(a.send())
		}
	}
}

// note keeps the first error, but those of a link that is down, or of the end of the test.
func (a *announcer) note(err error) {
	if err == nil || a.ended.Load() || errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.EADDRNOTAVAIL) ||
		errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EINVAL) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.failed == nil {
		a.failed = err
	}
}

// message is the announcement as ICMPv6, for a checksum that the kernel makes.
func (says announcement) message(mac net.HardwareAddr) ([]byte, error) {
	seconds := func(n int) time.Duration { return time.Duration(n) * time.Second }
	ra := &ndp.RouterAdvertisement{
		CurrentHopLimit: 64, RouterLifetime: seconds(says.lifetime), ReachableTime: time.Duration(says.reachable) * time.Millisecond,
	}
	if !says.silent {
		ra.Options = append(ra.Options, &ndp.LinkLayerAddress{Direction: ndp.Source, Addr: mac})
	}
	if says.mtu > 0 {
		ra.Options = append(ra.Options, ndp.NewMTU(uint32(says.mtu)))
	}
	for _, p := range says.prefixes {
		ra.Options = append(ra.Options, &ndp.PrefixInformation{
			Prefix: p.Addr(), PrefixLength: uint8(p.Bits()), OnLink: !p.offLink, AutonomousAddressConfiguration: !p.notAuto,
			PreferredLifetime: seconds(p.preferred), ValidLifetime: seconds(p.valid),
		})
	}
	if says.rdnss.IsValid() {
		ra.Options = append(ra.Options, &ndp.RecursiveDNSServer{Lifetime: seconds(1800), Servers: []netip.Addr{says.rdnss}})
	}
	for _, o := range says.pref64 {
		ra.Options = append(ra.Options, &ndp.PREF64{Lifetime: o.lifetime, Prefix: o.Prefix})
	}
	b, err := ndp.MarshalMessage(ra)
	if err != nil {
		return nil, err
	}
	const header = 16 // octets before the options
	m := append([]byte(nil), b[:header]...)
	for _, option := range says.first {
		m = append(m, option...)
	}
	return append(append(m, b[header:]...), says.last...), nil
}
