package datapath

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"testing"

	"uclat/clat"
	"uclat/clat/checksum"
	"uclat/clat/eam"
	"uclat/clat/frame"
	"uclat/clat/pref64"
	"uclat/clat/siit"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// queue is a Port in memory: what is in `in` is read in batches, what is written is kept.
type queue struct {
	in     chan []byte
	closed chan struct{}
	once   sync.Once

	mu     sync.Mutex
	out    [][]byte
	refuse func(p []byte) error
	wrote  chan struct{}
}

func newQueue() *queue {
	return &queue{in: make(chan []byte, 1000), closed: make(chan struct{}), wrote: make(chan struct{}, 1000)}
}

func (q *queue) Batch() int { return 16 }

func (q *queue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

func (q *queue) Read(fs []*frame.Frame) (int, error) {
	n := 0
	take := func(p []byte) {
		buf := make([]byte, frame.Headroom+len(p)+frame.Tailroom)
		copy(buf[frame.Headroom:], p)
		fs[n].Wrap(buf, frame.Headroom, len(p))
		n++
	}
	select {
	case p := <-q.in:
		take(p)
	case <-q.closed:
		return 0, os.ErrClosed
	}
	for n < len(fs) && len(q.in) > 0 {
		take(<-q.in)
	}
	return n, nil
}

func (q *queue) Write(fs []*frame.Frame) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, f := range fs {
		if q.refuse != nil {
			if err := q.refuse(f.Bytes()); err != nil {
				return i, err
			}
		}
		q.out = append(q.out, append([]byte(nil), f.Bytes()...))
		q.wrote <- struct{}{}
	}
	return len(fs), nil
}

var (
	host4 = netip.MustParseAddr("100.64.46.4")
	host6 = netip.MustParseAddr("2001:db8:1:2::c1a7")
	peer4 = netip.MustParseAddr("198.51.100.5")
	peer6 = netip.MustParseAddr("64:ff9b::198.51.100.5")
)

func translator(t testing.TB, prefix string, edits ...func(*siit.Options)) *siit.Translator {
	t.Helper()
	m, err := eam.New(eam.Spec{
		Ours:   []eam.Mapping{{IPv4: netip.PrefixFrom(host4, 32), IPv6: netip.PrefixFrom(host6, 128)}},
		PREF64: []pref64.Prefix{pref64.MustParse(prefix)},
	})
	if err != nil {
		t.Fatal(err)
	}
	o := siit.Options{MTU6: 1500, MTU4: 1500, LowestMTU6: 1280, Self4: netip.MustParseAddr("100.64.46.5")}
	for _, edit := range edits {
		edit(&o)
	}
	tr, err := siit.New(m, o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// udp4 is an IPv4 datagram of the host, n octets long, whose TTL and DF flag are given. Its UDP checksum is a made-up one: nobody here
// verifies it.
func udp4(n int, ttl byte, df bool) []byte {
	p := make([]byte, n)
	p[0], p[2], p[3], p[8], p[9] = 0x45, byte(n>>8), byte(n), ttl, 17
	if df {
		p[6] = 0x40
	}
	s, d := host4.As4(), peer4.As4()
	copy(p[12:], s[:])
	copy(p[16:], d[:])
	sum := ^checksum.Sum(p[:20])
	p[10], p[11] = byte(sum>>8), byte(sum)
	p[26], p[27] = 0x12, 0x34
	return p
}

func udp6(n int) []byte {
	p := make([]byte, 40+n)
	p[0], p[4], p[5], p[6], p[7] = 0x60, byte(n>>8), byte(n), 17, 64
	s, d := peer6.As16(), host6.As16()
	copy(p[8:], s[:])
	copy(p[24:], d[:])
	p[46], p[47] = 0x12, 0x34
	return p
}

// start runs an engine over one queue and returns a function that stops it and returns its error.
func start(t *testing.T, e *Engine, l Lane) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx, []Lane{l}) }()
	return func() error {
		cancel()
		return <-done
	}
}

func TestFramesLeaveByVersion(t *testing.T) {
	in, v6, v4 := newQueue(), newQueue(), newQueue()
	e := New(translator(t, "64:ff9b::/96"))
	stop := start(t, e, Lane{In: in, V6: v6, V4: v4})
	in.in <- udp4(100, 64, true)  // forwarded as IPv6
	in.in <- udp6(80)             // forwarded as IPv4
	in.in <- udp4(100, 1, true)   // answered with an ICMPv4 error
	in.in <- udp4(1480, 9, false) // becomes two IPv6 fragments
	in.in <- []byte{0x50}         // dropped
	for range 3 {
		<-v6.wrote
	}
	for range 2 {
		<-v4.wrote
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, p := range v6.out {
		if p[0]>>4 != 6 {
			t.Errorf("IPv%d to the IPv6 side", p[0]>>4)
		}
	}
	for _, p := range v4.out {
		if p[0]>>4 != 4 {
			t.Errorf("IPv%d to the IPv4 side", p[0]>>4)
		}
	}
	c := e.Counters()
	want := clat.Totals{Packets: [2]uint64{2, 1}, Bytes: [2]uint64{1580, 120}, Replies: [2]uint64{1, 0}}
	want.Drops[clat.To6][clat.DropTTL] = 1
	want.Drops[clat.To6][clat.DropVersion] = 1
	if c != want {
		t.Errorf("counters %+v\nwant %+v", c, want)
	}
}

func TestRefusedFramesAreCountedAndTheRestGoesOn(t *testing.T) {
	q := newQueue()
	n := 0
	q.refuse = func([]byte) error {
		if n++; n%2 == 1 {
			return errors.New("refused")
		}
		return nil
	}
	e := New(translator(t, "64:ff9b::/96"))
	stop := start(t, e, Lane{In: q, V6: q, V4: q})
	for range 10 {
		q.in <- udp4(100, 64, true)
	}
	for range 5 {
		<-q.wrote
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got := e.Counters().Drops[clat.To6][clat.DropWrite]; got != 5 {
		t.Errorf("%d write drops, want 5", got)
	}
}

func TestGoneDeviceIsAnError(t *testing.T) {
	q := newQueue()
	e := New(translator(t, "64:ff9b::/96"))
	done := make(chan error, 1)
	go func() { done <- e.Run(t.Context(), []Lane{{In: q, V6: q, V4: q}}) }()
	_ = q.Close()
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("error %v, want os.ErrClosed", err)
	}
}

// RFC 4443, 2.4 (f): whatever arrives, errors are bounded.
func TestErrorBudget(t *testing.T) {
	e := New(translator(t, "64:ff9b::/96"))
	w := e.NewWorker()
	for range 5000 {
		p := udp4(100, 1, true)
		buf := make([]byte, frame.Headroom+len(p)+frame.Tailroom)
		copy(buf[frame.Headroom:], p)
		f := new(frame.Frame)
		f.Wrap(buf, frame.Headroom, len(p))
		if n, _, _ := w.Process([]*frame.Frame{f}, nil, nil); n != 1 {
			t.Fatal("nothing taken")
		}
		w.Done()
	}
	c := e.Counters()
	// The bucket's burst, and what flows in within the second or so that this takes.
	if got := c.Replies[clat.To6]; got < errorBurst/2 || got > errorBurst+3*errorsPerSecond {
		t.Errorf("%d errors for 5000 packets", got)
	}
	if got := c.Drops[clat.To6][clat.DropTTL]; got != 5000 {
		t.Errorf("%d drops, want 5000", got)
	}
}

func TestSwap(t *testing.T) {
	q := newQueue()
	e := New(translator(t, "64:ff9b::/96"))
	stop := start(t, e, Lane{In: q, V6: q, V4: q})
	q.in <- udp4(100, 64, true)
	<-q.wrote
	e.Swap(translator(t, "2001:db8:64::/96"))
	q.in <- udp4(100, 64, true)
	<-q.wrote
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"64:ff9b::c633:6405", "2001:db8:64::c633:6405"} {
		if got := netip.AddrFrom16([16]byte(q.out[i][24:40])).String(); got != want {
			t.Errorf("packet %d to %s, want %s", i, got, want)
		}
	}
}

// A batch that becomes more fragments than the scratch holds is done in parts, in order.
func TestProcessInParts(t *testing.T) {
	e := New(translator(t, "64:ff9b::/96"))
	w := e.NewWorker()
	var in []*frame.Frame
	for range 16 {
		p := udp4(60000, 64, false)
		buf := make([]byte, frame.Headroom+len(p)+frame.Tailroom)
		copy(buf[frame.Headroom:], p)
		f := new(frame.Frame)
		f.Wrap(buf, frame.Headroom, len(p))
		in = append(in, f)
	}
	rounds, frames := 0, 0
	for len(in) > 0 {
		n, v6, v4 := w.Process(in, nil, nil)
		if n == 0 || len(v4) != 0 {
			t.Fatalf("%d taken, %d IPv4 frames", n, len(v4))
		}
		in, frames = in[n:], frames+len(v6)
		rounds++
		w.Done()
	}
	if frames != 16*49 || rounds < 2 {
		t.Errorf("%d frames in %d rounds, want %d", frames, rounds, 16*49)
	}
}

func TestProcessAllocatesNothing(t *testing.T) {
	e := New(translator(t, "64:ff9b::/96"))
	w := e.NewWorker()
	p := udp4(100, 64, true)
	buf := make([]byte, frame.BufLen)
	fs := []*frame.Frame{new(frame.Frame)}
	v6, v4 := make([]*frame.Frame, 0, 8), make([]*frame.Frame, 0, 8)
	if n := testing.AllocsPerRun(1000, func() {
		copy(buf[frame.Headroom:], p)
		fs[0].Wrap(buf, frame.Headroom, len(p))
		_, v6, v4 = w.Process(fs, v6[:0], v4[:0])
		w.Done()
	}); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
}
