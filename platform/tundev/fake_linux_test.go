package tundev

import (
	"os"
	"runtime"
	"unsafe"

	"golang.zx2c4.com/wireguard/tun"
)

// fakeTUN is a wireguard/tun device that plays back reads and counts writes.
type fakeTUN struct {
	reads  []fakeRead
	wrote  int
	events chan tun.Event
}

type fakeRead struct {
	sizes []int
	err   error
}

func (f *fakeTUN) Read(_ [][]byte, sizes []int, _ int) (int, error) {
	if len(f.reads) == 0 {
		return 0, os.ErrClosed
	}
	r := f.reads[0]
	f.reads = f.reads[1:]
	return copy(sizes, r.sizes), r.err
}

func (f *fakeTUN) Write(bufs [][]byte, _ int) (int, error) {
	f.wrote += len(bufs)
	return 0, nil
}

func (f *fakeTUN) File() *os.File           { return nil }
func (f *fakeTUN) MTU() (int, error)        { return 1500, nil }
func (f *fakeTUN) Name() (string, error)    { return "clat0", nil }
func (f *fakeTUN) Events() <-chan tun.Event { return f.events }
func (f *fakeTUN) BatchSize() int           { return 128 }

func (f *fakeTUN) Close() error {
	close(f.events)
	return nil
}

func bytesPointer(b []byte) unsafe.Pointer { return unsafe.Pointer(&b[0]) }

// lockThreadForGood makes the runtime end the thread together with the calling goroutine.
func lockThreadForGood() { runtime.LockOSThread() }
