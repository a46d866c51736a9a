package link

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rt "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/clat"
	"uclat/clat/frame"
	"uclat/platform/internal/nstest"
)

// numbered is a UDP packet to dst with a number in it.
func numbered(dst string, n uint32) []byte {
	return udp6(away, dst, binary.BigEndian.AppendUint32(nil, n))
}

// What the filter lets in changes in one step: what was never let in is never read, and what always was is always read.
func TestAcceptUnderTraffic(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		near, other := openPair(t, newLab(t))
		const changing, never, always = "2001:db8::a", "2001:db8::b", own
		data := hear(t, near)
		var done atomic.Bool
		var sent uint32
		var wg sync.WaitGroup
		wg.Go(func() {
			for ; !done.Load(); sent++ {
				for _, dst := range []string{always, changing, never} {
					if _, err := other.Write([]*frame.Frame{inFrame(numbered(dst, sent))}); err != nil {
						t.Errorf("Write: %v", err)
						return
					}
				}
			}
		})
		var want, seen uint32
		check := func(p packetRead) {
			switch dst := netip.AddrFrom16([16]byte(p.b[24:40])).String(); dst {
			case always:
				if n := binary.BigEndian.Uint32(p.b[48:]); n != want {
					t.Fatalf("packet %d, want %d", n, want)
				}
				want++
			case changing:
				seen++
			default:
				t.Fatalf("packet to %s", dst)
			}
		}
		for i := range 200 {
			to := prefixes(always + "/128")
			if i%2 == 0 {
				to = prefixes(changing+"/127", always+"/128")[:2] // never is the other half of the /127 but for what is masked
				to[0] = netip.PrefixFrom(to[0].Addr(), 128)
			}
			must(t, near.Accept(to))
			for range 5 {
				check(next(t, data))
			}
		}
		done.Store(true)
		wg.Wait()
		for want < sent {
			check(next(t, data))
		}
		if seen == 0 || seen >= sent {
			t.Errorf("of %d packets to an address that was let in at times, %d came", sent, seen)
		}
		if read, written := near.Lost(); read != 0 || written != 0 {
			t.Errorf("lost %d, %d", read, written)
		}
	})
}

// Any number of goroutines write and change the next hop, and what each sends stays in order.
func TestConcurrentWriters(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		near, other := openPair(t, newLab(t))
		const writers, each = 4, 500
		data := hear(t, other)
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					p := udp6(own, away, []byte{byte(w), byte(i >> 8), byte(i)})
					if _, err := near.Write([]*frame.Frame{inFrame(p)}); err != nil {
						t.Errorf("Write: %v", err)
					}
					if i%50 == 0 {
						near.Via(only(other.shape.own), near.shape.own)
						near.Lost()
					}
				}
			})
		}
		var want [writers]int
		for range writers * each {
			p := next(t, data)
			w, n := p.b[48], int(p.b[49])<<8|int(p.b[50])
			if n != want[w] {
				t.Fatalf("of writer %d: packet %d, want %d", w, n, want[w])
			}
			want[w]++
		}
		wg.Wait()
	})
}

// bigTCP is a TCP super-packet of segments of size.
func bigTCP(src, dst string, octets int, size uint16) *frame.Frame {
	payload := make([]byte, octets)
	for i := range payload {
		payload[i] = byte(i * i >> 3)
	}
	f := inFrame(tcp6(src, dst, payload))
	f.Offload = frame.Offload{Checksum: frame.ChecksumPartial, GSO: frame.SegmentTCP, SegSize: size, L4: 40, ChecksumAt: 16}
	return f
}

// bigUDP is the same for UDP.
func bigUDP(src, dst string, octets int, size uint16) *frame.Frame {
	p := udp6(src, dst, bytes.Repeat([]byte("0123456789abcdef"), octets/16))
	binary.BigEndian.PutUint16(p[46:], pseudoSum(p))
	f := inFrame(p)
	f.Offload = frame.Offload{Checksum: frame.ChecksumPartial, GSO: frame.SegmentUDP, SegSize: size, L4: 40, ChecksumAt: 6}
	return f
}

// A super-packet crosses a link that can do so whole, and any other in segments whose checksums are right.
func TestSuperPackets(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		far := newLab(t)
		near, other := openPair(t, far)
		data := hear(t, other)
		for _, f := range []*frame.Frame{bigTCP(own, away, 60000, 1440), bigUDP(own, away, 48000, 1200)} {
			want := bytes.Clone(f.Bytes())
			if _, err := near.Write([]*frame.Frame{f}); err != nil {
				t.Fatal(err)
			}
			if p := expect(t, data, want); p.Offload != f.Offload {
				t.Errorf("%+v, want %+v", p.Offload, f.Offload)
			}
		}
		longest := bigTCP(own, away, 65535-20, 1440) // more than the kernel hands to a device at once
		want := bytes.Clone(longest.Bytes()[60:])
		if _, err := near.Write([]*frame.Frame{longest}); err != nil {
			t.Fatal(err)
		}
		collect(t, data, 60, 1440, want)

		must(t, setFeatures("up0", false, "tx-tcp6-segmentation", "tx-udp-segmentation", "tx-checksum-ip-generic"))
		for _, f := range []*frame.Frame{bigTCP(own, away, 60000, 1440), bigUDP(own, away, 48000, 1200)} {
			head := map[frame.Segmentation]int{frame.SegmentTCP: 60, frame.SegmentUDP: 48}[f.GSO]
			want := bytes.Clone(f.Bytes()[head:])
			if _, err := near.Write([]*frame.Frame{f}); err != nil {
				t.Fatal(err)
			}
			collect(t, data, head, int(f.SegSize), want)
		}
		single := bigUDP(own, away, 800, 0)
		single.GSO = frame.NotSegmented
		if _, err := near.Write([]*frame.Frame{single}); err != nil {
			t.Fatal(err)
		}
		if p := next(t, data); p.Checksum == frame.ChecksumPartial || len(p.b) != 848 {
			t.Errorf("%d octets, %+v", len(p.b), p.Offload)
		} else {
			checkSum(t, p)
		}
	})
}

// collect reads the segments of a super-packet whose payload is want.
func collect(t *testing.T, data <-chan packetRead, head, size int, want []byte) {
	t.Helper()
	for len(want) > 0 {
		p := next(t, data)
		n := min(size, len(want))
		if p.Offload.GSO != frame.NotSegmented || !bytes.Equal(p.b[head:], want[:n]) {
			t.Fatalf("segment of %d octets, want %d, or its payload is wrong (%+v)", len(p.b)-head, n, p.Offload)
		}
		checkSum(t, p)
		want = want[n:]
	}
}

// checkSum looks whether a packet's checksum is right, as it is or as the part of one that it says to be.
func checkSum(t *testing.T, p packetRead) {
	t.Helper()
	at := 40 + map[byte]int{unix.IPPROTO_TCP: 16, unix.IPPROTO_UDP: 6}[p.b[6]]
	if p.Checksum == frame.ChecksumPartial && (int(p.L4+p.ChecksumAt) != at || binary.BigEndian.Uint16(p.b[at:]) != pseudoSum(p.b)) ||
		p.Checksum != frame.ChecksumPartial && transportSum(p.b) != 0xffff {
		t.Errorf("the checksum of a packet of %d octets is wrong (%+v)", len(p.b), p.Offload)
	}
}

// What is longer than the link takes now is refused with what it takes, in segments too, which the kernel would not do.
func TestTooBig(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		far := newLab(t)
		near, other := openPair(t, far)
		data := hear(t, other)
		l, err := rt.LinkByName("up0")
		must(t, err)
		must(t, rt.LinkSetName(l, "renamed0")) // the name is not what it is known by
		single := func(n int) *frame.Frame { return inFrame(udp6(own, away, make([]byte, n-48))) }
		try := func(what string, f *frame.Frame, mtu int) {
			t.Helper()
			n, err := near.Write([]*frame.Frame{f})
			var tooBig clat.TooBig
			switch {
			case mtu == 0 && err != nil:
				t.Errorf("%s: %v", what, err)
			case mtu == 0:
				next(t, data)
			case n != 0 || !errors.As(err, &tooBig) || tooBig.MTU != mtu:
				t.Errorf("%s: %d, %v, want an MTU of %d", what, n, err, mtu)
			}
		}
		try("1500", single(1500), 0)
		try("1501", single(1501), 1500)
		try("segments of 1500", bigTCP(own, away, 30000, 1440), 0)
		try("segments of 1501", bigTCP(own, away, 30000, 1441), 1500)
		try("a last segment only", bigTCP(own, away, 1440, 2000), 0)
		far.Do(t, func() error {
			p, err := rt.LinkByName("peer0")
			if err != nil {
				return err
			}
			return rt.LinkSetMTU(p, 9000)
		})
		must(t, rt.LinkSetMTU(l, 9000))
		try("segments of 1501 after a rise", bigTCP(own, away, 30000, 1441), 0)
		try("9000", single(9000), 0)
		try("9001", single(9001), 9000)
		must(t, rt.LinkSetMTU(l, 1280))
		near.mtu.asked.Store(-int64(staleMTU)) // as if it was long ago
		try("segments of 1500 after a fall", bigTCP(own, away, 30000, 1440), 1280)
		try("segments of 1280", bigUDP(own, away, 24000, 1232), 0)
		if _, lost := near.Lost(); lost != 0 {
			t.Errorf("%d lost", lost)
		}
	})
}

// Write waits a moment while the socket's buffer is full, and says what the queue behind it drops.
func TestBackPressure(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		near, other := openPair(t, newLab(t))
		data := hear(t, other)
		slow(t, near.index, 1<<20, 1<<20)
		must(t, control(near.raw, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8192) }))
		const packets = 100 // of 1 KB each, at 1 MB a second
		for i := range packets {
			send(t, near, udp6(own, away, append(make([]byte, 1000), byte(i))))
		}
		for i := range packets {
			if p := next(t, data); p.b[len(p.b)-1] != byte(i) {
				t.Fatalf("packet %d, want %d", p.b[len(p.b)-1], i)
			}
		}
		must(t, control(near.raw, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, buffers) }))
		slow(t, near.index, 1<<20, 3000)
		_, before := near.Lost()
		refused := uint64(0)
		for range packets {
			if n, err := near.Write([]*frame.Frame{inFrame(udp6(own, away, make([]byte, 1000)))}); err != nil {
				if n != 0 || !errors.Is(err, ErrRefused) || !errors.Is(err, unix.ENOBUFS) {
					t.Fatalf("%d, %v", n, err)
				}
				refused++
			}
		}
		if _, lost := near.Lost(); refused == 0 || lost-before != refused {
			t.Errorf("%d refused, %d lost", refused, lost-before)
		}
	})
}

// What the receive buffer has no room for is counted.
func TestLost(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		near, other := openPair(t, newLab(t))
		must(t, control(near.raw, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096) }))
		const packets = 100
		for i := range packets {
			send(t, other, numbered(own, uint32(i)))
		}
		before, _ := near.Lost() // lost here for good, whatever is read now
		data := hear(t, near)
		for range packets - int(before) {
			next(t, data)
		}
		if read, written := near.Lost(); read == 0 || read != before || written != 0 {
			t.Errorf("lost %d and then %d, written %d", before, read, written)
		}
	})
}

// Neither what the kernel cannot express nor what this package cannot ends Read, and each is counted.
func TestUnreadable(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		newLab(t)
		for name, file := range map[string]func() (int, error){
			"EINVAL":              func() (int, error) { return unix.Eventfd(0, unix.EFD_NONBLOCK) }, // as long as in is short
			"an error of no kind": func() (int, error) { return unix.Open("/", unix.O_RDONLY, 0) },
		} {
			c := open(t, "up0", own+"/128")
			fd, err := file()
			must(t, err)
			must(t, c.data.Close())
			c.data, c.in = os.NewFile(uintptr(fd), name), c.in[:4]
			data := hear(t, c)
			for deadline := time.Now().Add(patience); c.lostRead.Load() < 2; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%s: %d counted", name, c.lostRead.Load())
				}
			}
			must(t, c.Close())
			if p, ok := <-data; ok {
				t.Errorf("%s: read %+v", name, p)
			}
		}
		c, f := open(t, "up0", own+"/128"), new(frame.Frame)
		for _, tt := range []struct {
			n, kind int
			want    bool
		}{{-1, 0, false}, {0, 0, false}, {1, 0, true}, {frame.MaxLen, 0, true}, {frame.MaxLen + 1, 0, false}, {100, 3, false}} {
			c.in[1] = byte(tt.kind) // gso_type; 3 is UFO
			if c.wrap(f, tt.n) != tt.want || tt.want && (f.Len() != tt.n || cap(f.WithRoom(frame.Headroom)) < frame.Headroom+tt.n+frame.Tailroom) {
				t.Errorf("%+v", tt)
			}
		}
	})
}

func TestNoAllocations(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		near, other := openPair(t, newLab(t))
		const runs = 200
		big, one, in := []*frame.Frame{bigTCP(own, away, 9000, 1440)}, []*frame.Frame{inFrame(numbered(away, 1))}, []*frame.Frame{new(frame.Frame)}
		for name, fs := range map[string][]*frame.Frame{"packet": one, "super-packet": big} {
			if n := testing.AllocsPerRun(runs, func() {
				if _, err := near.Write(fs); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("Write of a %s allocates %v times", name, n)
			}
		}
		if n := testing.AllocsPerRun(runs, func() {
			if _, err := other.Read(in); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("Read allocates %v times", n)
		}
		slow(t, near.index, 1000, 3000)
		var err error
		for ; err == nil; _, err = near.Write(one) {
		}
		if n := testing.AllocsPerRun(runs, func() { _, err = near.Write(one) }); n != 0 || !errors.Is(err, ErrRefused) {
			t.Errorf("a Write that is refused allocates %v times (%v)", n, err)
		}
	})
}
