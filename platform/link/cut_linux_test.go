package link

import (
	"bytes"
	"errors"
	"math"
	"net"
	"testing"
	"time"

	"github.com/mdlayher/packet"
	rt "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/clat"
	"uclat/clat/frame"
	"uclat/platform/internal/nstest"
)

func TestWhoCuts(t *testing.T) {
	own, router := net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}
	hop, self := etherHeader(router, own), etherHeader(own, own)
	for _, tt := range []struct {
		name   string
		hop    []byte
		mtus   [2]int // before and after
		answer error
		want   int32
		octets int // offered
	}{
		{"a header like ours", hop[:], [2]int{1500, 1500}, unix.EMSGSIZE, cutByKernel, 1515},
		{"a longer one", hop[:], [2]int{1500, 1500}, nil, cutHere, 1515},
		{"none", nil, [2]int{1400, 1400}, unix.EMSGSIZE, cutByKernel, 1401},
		{"one where none is known", nil, [2]int{1400, 1400}, nil, cutHere, 1401},
		{"down", hop[:], [2]int{1500, 1500}, unix.ENETDOWN, cutUnknown, 1515},
		{"no memory", hop[:], [2]int{1500, 1500}, unix.ENOBUFS, cutUnknown, 1515},
		{"taken since the MTU rose", hop[:], [2]int{1500, 9000}, nil, cutUnknown, 1515},
		{"refused since the MTU fell", hop[:], [2]int{1500, 1280}, unix.EMSGSIZE, cutUnknown, 1515},
		{"gone", hop[:], [2]int{0, 0}, nil, cutUnknown, 0},
		{"loopback", hop[:], [2]int{65536, 65536}, unix.EMSGSIZE, cutByKernel, 65551},
		{"no limit", hop[:], [2]int{math.MaxInt32, math.MaxInt32}, nil, cutHere, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked, octets := 0, 0
			who := whoCuts(tt.hop, func() int { asked++; return tt.mtus[min(asked, 2)-1] }, func(b []byte) error {
				octets = len(b)
				if h := self[:len(tt.hop)]; !bytes.Equal(b[:len(h)], h) || b[len(h)] != 0 {
					t.Errorf("offered %x, want %x and an octet 0", b[:20], h)
				}
				return tt.answer
			})
			if who != tt.want || octets != tt.octets {
				t.Errorf("%d with %d octets, want %d with %d", who, octets, tt.want, tt.octets)
			}
		})
	}
}

// What this kernel answers. A header that is longer than ours is that of a link whose header is as long as ours, when ours is shorter.
func TestOffer(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		far := newLab(t)
		c := open(t, "up0")
		var tap *packet.Conn
		far.Do(t, func() error {
			ifi, err := net.InterfaceByName("peer0")
			if err != nil {
				return err
			}
			tap, err = packet.Listen(ifi, packet.Raw, unix.ETH_P_ALL, nil)
			return err
		})
		defer tap.Close()
		self := etherHeader(c.shape.own, c.shape.own)
		l, err := rt.LinkByName("up0")
		must(t, err)
		must(t, rt.LinkSetDown(l))
		if who := whoCuts(self[:], c.currentMTU, c.offer); who != cutUnknown {
			t.Errorf("down: %d", who)
		}
		must(t, rt.LinkSetUp(l))
		await := func(what string, hop []byte, want int32) {
			t.Helper()
			for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // that it went down is said once more
				who := whoCuts(hop, c.currentMTU, c.offer)
				if who == want {
					return
				}
				if who != cutUnknown || time.Now().After(deadline) {
					t.Fatalf("%s: %d, want %d", what, who, want)
				}
			}
		}
		await("as long as ours", self[:], cutByKernel)
		await("longer", self[:etherLen-1], cutHere)

		must(t, tap.SetReadDeadline(time.Now().Add(patience)))
		buf := make([]byte, 2000)
		for {
			n, _, err := tap.ReadFrom(buf)
			must(t, err)
			if b := buf[:n]; bytes.HasPrefix(b, self[:]) {
				if n != 1500+etherLen || !bytes.Equal(b[etherLen:], make([]byte, 1500)) {
					t.Errorf("%d octets left: %x", n, b[:20])
				}
				return // the first one: nothing has left before
			}
		}
	})
}

// It is found out at the first Write, and again when the MTU is asked for, until this package cuts.
func TestWhenCutIsFoundOut(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		near, other := openPair(t, newLab(t))
		data, offers := hear(t, other), 0
		answer := error(unix.ENETDOWN)
		near.cutter.offer = func([]byte) error { offers++; return answer }
		try := func(what string, want int32, wantOffers int, whole bool) {
			t.Helper()
			offers = 0
			f := bigUDP(own, away, 4800, 1200)
			payload := bytes.Clone(f.Bytes()[48:])
			if _, err := near.Write([]*frame.Frame{f}); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			if whole {
				if p := next(t, data); p.GSO != frame.SegmentUDP {
					t.Errorf("%s: %+v", what, p.Offload)
				}
			} else {
				collect(t, data, 48, 1200, payload)
			}
			if who := near.cutter.who.Load(); who != want || offers != wantOffers {
				t.Errorf("%s: %d with %d offers", what, who, offers)
			}
		}
		try("not found out", cutUnknown, 1, false)
		answer = unix.EMSGSIZE
		try("by the kernel", cutByKernel, 1, true)
		near.mtu.asked.Store(int64(time.Since(near.mtu.start)))
		try("known", cutByKernel, 0, true)
		near.currentMTU()
		try("asked again", cutByKernel, 1, true)
		near.currentMTU()
		answer = nil
		try("here", cutHere, 1, false)
		near.currentMTU()
		try("for good", cutHere, 0, false)
	})
}

// What is cut here arrives as what the kernel cuts does, and is compared with the link's MTU.
func TestCutHere(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		far := newLab(t)
		near, other := openPair(t, far)
		near.cutter.who.Store(cutHere)
		data := hear(t, other)
		for _, f := range []*frame.Frame{bigTCP(own, away, 60000, 1440), bigUDP(own, away, 48000, 1200), bigTCP(own, away, 65535-20, 1440)} {
			head := map[frame.Segmentation]int{frame.SegmentTCP: 60, frame.SegmentUDP: 48}[f.GSO]
			size, want := int(f.SegSize), bytes.Clone(f.Bytes()[head:])
			if _, err := near.Write([]*frame.Frame{f}); err != nil {
				t.Fatal(err)
			}
			collect(t, data, head, size, want)
		}
		partial := bigUDP(own, away, 800, 0)
		partial.GSO = frame.NotSegmented
		want := bytes.Clone(partial.Bytes()[48:])
		if _, err := near.Write([]*frame.Frame{partial}); err != nil {
			t.Fatal(err)
		}
		collect(t, data, 48, 800, want)

		var tooBig clat.TooBig
		long := []*frame.Frame{inFrame(udp6(own, away, make([]byte, 1453))), bigTCP(own, away, 30000, 1441)}
		for _, f := range long {
			if n, err := near.Write([]*frame.Frame{f}); n != 0 || !errors.As(err, &tooBig) || tooBig.MTU != 1500 || f.Len() != 1501 {
				t.Errorf("%d, %v, %d octets", n, err, f.Len())
			}
		}
		bare := new(frame.Frame)
		p := udp6(own, away, nil)
		bare.Wrap(p, 0, len(p))
		if _, err := near.Write([]*frame.Frame{bare}); !errors.Is(err, errRoom) {
			t.Errorf("without room: %v", err)
		}
		if _, lost := near.Lost(); lost != 1 {
			t.Errorf("%d lost", lost)
		}
		one := []*frame.Frame{inFrame(udp6(own, away, nil))}
		if n := testing.AllocsPerRun(200, func() {
			if _, err := near.Write(one); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("Write allocates %v times", n)
		}
	})
}

// Where the link's header is longer than ours, the kernel takes packets that are longer than the MTU. Here ours is one octet shorter than the
// link's instead.
func TestCutHereComparesLengths(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		near, other := openPair(t, newLab(t))
		hop := etherHeader(other.shape.own, near.shape.own)
		near.shape.link = etherLen - 1
		for _, f := range []*frame.Frame{inFrame(udp6(own, away, make([]byte, 1453))), bigTCP(own, away, 30000, 1441)} {
			var tooBig clat.TooBig
			if err := near.writeCut(newSender(), f, hop[:etherLen-1]); !errors.As(err, &tooBig) || tooBig.MTU != 1500 {
				t.Errorf("%v", err)
			}
		}
	})
}
