package conformance

import (
	"context"
	"os"
	"slices"
	"testing"
	"testing/synctest"

	"uclat/clat"
	"uclat/clat/datapath"
	"uclat/clat/eam"
	"uclat/clat/frame"
	"uclat/clat/siit"
)

// worker is a lane of a datapath without its queues: what it keeps from packet to packet is that of all lanes.
type worker struct {
	*datapath.Worker
	engine *datapath.Engine
}

// newWorker has a datapath translate as newTranslator says.
func newWorker(t testing.TB, edits ...func(*siit.Options, *eam.Spec)) *worker {
	t.Helper()
	e := datapath.New(newTranslator(t, edits...).Translator)
	return &worker{e.NewWorker(), e}
}

// beside is another lane of the same datapath.
func (w *worker) beside() *worker { return &worker{w.engine.NewWorker(), w.engine} }

// pass hands packets over as one batch, and returns those that leave: the IPv6 ones, and then the others.
func (w *worker) pass(t testing.TB, in ...[]byte) (out []packet) {
	t.Helper()
	for _, f := range w.passFrames(t, frames(in...)...) {
		out = append(out, decode(t, f.Bytes()))
	}
	return out
}

// passFrames is the same for what a device says something of.
func (w *worker) passFrames(t testing.TB, in ...*frame.Frame) (out []*frame.Frame) {
	t.Helper()
	for len(in) > 0 {
		n, v6, v4 := w.Process(in, nil, nil)
		for _, f := range slices.Concat(v6, v4) {
			left := newFrame(f.Bytes()) // which stays what it is after Done
			left.Offload = f.Offload
			out = append(out, left)
		}
		w.Done()
		in = in[n:]
	}
	return out
}

func frames(in ...[]byte) (fs []*frame.Frame) {
	for _, p := range in {
		fs = append(fs, newFrame(p))
	}
	return fs
}

// passes wants one packet to leave for one that comes.
func (w *worker) passes(t testing.TB, in []byte) packet {
	t.Helper()
	out := w.pass(t, in)
	if len(out) != 1 {
		t.Fatalf("%d packets, want one: %x", len(out), in)
	}
	return out[0]
}

// swallows wants nothing to leave.
func (w *worker) swallows(t testing.TB, in ...[]byte) {
	t.Helper()
	if out := w.pass(t, in...); len(out) > 0 {
		t.Errorf("%d packets left, the first %x", len(out), out[0].octets)
	}
}

// drops are the packets that were dropped for a reason, in both directions, over all lanes.
func (w *worker) drops(reason clat.DropReason) (n uint64) {
	total := w.engine.Counters()
	for d := range clat.NumDirections {
		n += total.Drops[d][reason]
	}
	return n
}

// device is a datapath.Port for a bubble of testing/synctest.
type device struct {
	in     chan [][]byte // batches
	closed chan struct{}
	accept func(p []byte) error // what Write says to a packet; nil: nothing
	out    [][]byte             // what was written, and not taken yet
}

var _ datapath.Port = (*device)(nil)

// run has a datapath serve a lane of one device until the test ends.
func run(t *testing.T, engine *datapath.Engine, accept func(p []byte) error) *device {
	t.Helper()
	d := &device{in: make(chan [][]byte), closed: make(chan struct{}), accept: accept}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx, []datapath.Lane{{In: d, V6: d, V4: d}}) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return d
}

// send hands packets over as one batch, and returns what was written once nothing more comes.
func (d *device) send(t testing.TB, batch ...[]byte) (out []packet) {
	t.Helper()
	select {
	case d.in <- batch:
	case <-d.closed:
		t.Fatal("nobody reads the device any more")
	}
	synctest.Wait()
	for _, p := range d.out {
		out = append(out, decode(t, p))
	}
	d.out = nil
	return out
}

func (d *device) Batch() int { return 16 }

func (d *device) Close() error {
	close(d.closed)
	return nil
}

func (d *device) Read(fs []*frame.Frame) (int, error) {
	select {
	case batch := <-d.in:
		for i, p := range batch {
			fs[i] = newFrame(p)
		}
		return len(batch), nil
	case <-d.closed:
		return 0, os.ErrClosed
	}
}

func (d *device) Write(fs []*frame.Frame) (int, error) {
	for i, f := range fs {
		if d.accept != nil {
			if err := d.accept(f.Bytes()); err != nil {
				return i, err
			}
		}
		d.out = append(d.out, slices.Clone(f.Bytes()))
	}
	return len(fs), nil
}
