package tundev

import (
	"errors"
	"io"
	"os"
	"sync"

	"golang.zx2c4.com/wireguard/tun"

	"uclat/clat/frame"
	"uclat/clat/segment"
)

// plain is a TUN without virtio headers, by golang.zx2c4.com/wireguard/tun: the kernel finishes and cuts packets before they are read, and
// we do before they are written.
type plain struct {
	tally
	dev tun.Device

	// Owned by the reader.
	buf  []byte    // of frame.BufLen
	into [1][]byte // the same without the room behind
	size [1]int

	mu  sync.Mutex // held by the writer
	cut segment.Cutter
	out [1][]byte

	closeOnce sync.Once
	closeErr  error
	drained   chan struct{} // closed when the events' channel is
}

func newPlain(name string, dev tun.Device) *plain {
	p := &plain{tally: tally{name: name}, dev: dev, buf: make([]byte, frame.BufLen), drained: make(chan struct{})}
	p.into[0] = p.buf[:frame.BufLen-frame.Tailroom]
	go func() {
		defer close(p.drained)
		for range dev.Events() { // wireguard/tun stops when nobody takes them; what they say is not reliable on Linux
		}
	}()
	return p
}

func (p *plain) batch() int { return 1 }

func (p *plain) read(fs []*frame.Frame) (int, error) {
	for {
		n, err := p.dev.Read(p.into[:], p.size[:], frame.Headroom)
		switch {
		case err != nil && ended(err):
			return 0, p.end(err)
		case err != nil: // about one packet, or wireguard/tun's own netlink socket overflowed
			p.lostRead.Add(1)
		case n > 0 && p.size[0] > 0:
			fs[0].Wrap(p.buf, frame.Headroom, p.size[0])
			return 1, nil
		}
	}
}

func (p *plain) write(fs []*frame.Frame) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, f := range fs {
		if f.Len() == 0 {
			return i, p.refuse(1, errEmpty)
		}
		if err := p.cut.Start(f); err != nil {
			return i, p.refuse(1, err)
		}
		lost, why := uint64(0), error(nil)
		for p.cut.Next() {
			p.out[0] = f.Bytes()
			_, err := p.dev.Write(p.out[:], 0)
			if errors.Is(err, os.ErrClosed) { // the kernel's EBADFD too; its other errors are about one packet
				return i, p.end(err)
			}
			if err != nil {
				lost, why = lost+1, err
			}
		}
		if lost > 0 {
			return i, p.refuse(lost, why)
		}
	}
	return len(fs), nil
}

// ended says whether a read's error is the device's end. Errors of the file are; all others are about one packet, which is used up.
func ended(err error) bool {
	var file *os.PathError
	return errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF) || errors.As(err, &file)
}

func (p *plain) close() error {
	p.closeOnce.Do(func() {
		p.closing.Store(true)
		p.closeErr = p.dev.Close()
		<-p.drained
	})
	return p.closeErr
}
