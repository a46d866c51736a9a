package tundev

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"uclat/clat/frame"
	"uclat/platform/internal/vnet"
)

// whole is a TUN with virtio headers: every read(2) and write(2) is one packet or one super-packet.
type whole struct {
	tally
	file *os.File // for reads, which wait in the runtime's poller
	buf  []byte   // of frame.BufLen; owned by the reader

	// Writes do not wait, and not for one another, which those of an os.File do: they take the descriptor itself. Whoever holds mu for
	// reading keeps it from being closed, and its number from becoming another file's.
	mu sync.RWMutex
	fd int

	closeOnce sync.Once
	closeErr  error
}

// newWhole takes over fd, which is non-blocking.
func newWhole(name string, fd int) *whole {
	return &whole{tally: tally{name: name}, fd: fd, file: os.NewFile(uintptr(fd), clonePath), buf: make([]byte, frame.BufLen)}
}

func (w *whole) batch() int { return 1 }

func (w *whole) read(fs []*frame.Frame) (int, error) {
	into := w.buf[frame.Headroom-vnet.Len : frame.BufLen-frame.Tailroom]
	for {
		n, err := w.file.Read(into)
		switch {
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EFAULT): // a packet that the kernel could not express or copy; it is gone
			w.lostRead.Add(1)
			continue
		case err != nil:
			return 0, w.end(err)
		case n <= vnet.Len:
			w.lostRead.Add(1)
			continue
		}
		n -= vnet.Len
		offload, err := vnet.Decode(into[:vnet.Len], 0, n)
		if err != nil {
			w.lostRead.Add(1)
			continue
		}
		fs[0].Wrap(w.buf, frame.Headroom, n)
		fs[0].Offload = offload
		return 1, nil
	}
}

func (w *whole) write(fs []*frame.Frame) (int, error) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	for i, f := range fs {
		if w.closing.Load() {
			return i, w.end(nil)
		}
		if err := w.writeOne(f); errors.Is(err, unix.EBADFD) {
			return i, w.end(err)
		} else if err != nil {
			return i, w.refuse(1, err)
		}
	}
	return len(fs), nil
}

func (w *whole) writeOne(f *frame.Frame) error {
	if f.Len() == 0 {
		return errEmpty
	}
	b := f.WithRoom(vnet.Len)
	if b == nil {
		return errRoom
	}
	if err := vnet.Encode(b, f, 0); err != nil {
		return err
	}
	for {
		if _, err := unix.Write(w.fd, b); err != unix.EINTR {
			return err
		}
	}
}

func (w *whole) close() error {
	w.closeOnce.Do(func() {
		w.closing.Store(true)
		w.mu.Lock() // after this no write uses the descriptor
		defer w.mu.Unlock()
		if err := w.file.Close(); err != nil {
			w.closeErr = fmt.Errorf("TUN device %s: close: %w", w.name, err)
		}
	})
	return w.closeErr
}
