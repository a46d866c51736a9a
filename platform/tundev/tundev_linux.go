package tundev

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"golang.zx2c4.com/wireguard/tun"

	"uclat/clat/frame"
)

// vnetHeader is the room in octets that wireguard/tun wants before a packet to be written: a virtio-net header.
const vnetHeader = 10

// Device is an open TUN. One goroutine reads; any number may write.
type Device struct {
	name string
	dev  tun.Device

	// Owned by the reader.
	slots [][]byte // each of frame.BufLen
	into  [][]byte // the same as wireguard/tun wants them: with the room behind cut off
	sizes []int

	writing sync.Mutex
	out     [][]byte // guarded by writing

	lostRead, lostWritten atomic.Uint64

	closing   atomic.Bool
	closeOnce sync.Once
	closeErr  error
	drained   chan struct{} // closed when the events' channel is
}

func newDevice(name string, dev tun.Device) *Device {
	batch := dev.BatchSize()
	d := &Device{
		name:    name,
		dev:     dev,
		slots:   make([][]byte, batch),
		into:    make([][]byte, batch),
		sizes:   make([]int, batch),
		out:     make([][]byte, 0, batch),
		drained: make(chan struct{}),
	}
	// One arena: the kernel backs only what is touched, which for all slots but the first is a packet of one MTU.
	arena := make([]byte, batch*frame.BufLen)
	for i := range d.slots {
		d.slots[i] = arena[i*frame.BufLen : (i+1)*frame.BufLen : (i+1)*frame.BufLen]
		d.into[i] = d.slots[i][:frame.BufLen-frame.Tailroom]
	}
	go func() {
		defer close(d.drained)
		for range dev.Events() { // wireguard/tun stops when nobody takes them; what they say is not reliable on Linux
		}
	}()
	return d
}

// Name is the interface's name.
func (d *Device) Name() string { return d.name }

// Batch is how many frames Read may fill. A super-packet has up to that many segments: with fewer frames, the rest is lost.
func (d *Device) Batch() int { return len(d.slots) }

// Lost is how many times Read met a super-packet of more segments than frames or one that contradicts itself, and how many packets
// Write could not hand to the kernel (packets that were put together count once).
func (d *Device) Lost() (read, written uint64) { return d.lostRead.Load(), d.lostWritten.Load() }

// Read waits for a packet and returns how many of fs it filled: one, or the segments of one super-packet. Each frame lies in a
// buffer of the device, with frame.Headroom before and at least frame.Tailroom behind it, until the next Read.
//
// It returns os.ErrClosed after Close, and ErrGone where the interface was deleted.
func (d *Device) Read(fs []*frame.Frame) (int, error) {
	batch := min(len(fs), len(d.slots))
	if batch == 0 {
		return 0, errors.New("read of a TUN device into no frames")
	}
	for {
		n, err := d.dev.Read(d.into[:batch], d.sizes[:batch], frame.Headroom)
		if err != nil {
			if ended(err) {
				return 0, d.end(err)
			}
			// A super-packet that does not fit or does not make sense, or wireguard/tun's own netlink socket overflowed. What came
			// before the error is good, and the next packet is not affected.
			d.lostRead.Add(1)
		}
		filled := 0
		for i := range n {
			if d.sizes[i] == 0 {
				continue
			}
			fs[filled].Wrap(d.slots[i], frame.Headroom, d.sizes[i])
			filled++
		}
		if filled > 0 {
			return filled, nil
		}
	}
}

// Write sends fs in order; it may change what lies before and behind them. Frames that belong together leave as one super-packet.
//
// On error fs[n] is the one refused, and the caller goes on at n+1. That is exact for a frame that the device cannot take at all
// (empty, with offloads, or without room for a virtio header). What the kernel refuses is known only for the batch: then n is the last
// frame, all others have been tried, and Lost has counted each packet that was refused; sending them again would send
// others twice. Such errors are ErrRefused. After Close the error is os.ErrClosed, and ErrGone where the interface was deleted.
func (d *Device) Write(fs []*frame.Frame) (int, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	d.out = d.out[:0]
	var bad error
	for _, f := range fs {
		var b []byte
		if b, bad = rebase(f); bad != nil {
			break
		}
		d.out = append(d.out, b)
	}
	n := len(d.out)
	if n > 0 {
		_, err := d.dev.Write(d.out, vnetHeader)
		clear(d.out) // do not keep the callers' buffers
		if err != nil {
			if errors.Is(err, os.ErrClosed) { // the kernel's EBADFD too; its other errors are about one packet
				return 0, d.end(err)
			}
			lost := refusals(err)
			d.lostWritten.Add(uint64(lost))
			if bad == nil {
				return n - 1, fmt.Errorf("%s: %w: %d of %d packets: %w", d.name, ErrRefused, lost, n, firstOf(err))
			}
		}
	}
	if bad != nil {
		d.lostWritten.Add(1)
		return n, fmt.Errorf("%s: %w: %w", d.name, ErrRefused, bad)
	}
	return n, nil
}

var (
	errEmpty   = errors.New("empty frame")
	errOffload = errors.New("frame with offloads, which this device cannot express")
	errRoom    = errors.New("no room for a virtio header before the packet")
)

// rebase is the frame as wireguard/tun wants it: the virtio header's room first, and no more capacity than the frame has room.
func rebase(f *frame.Frame) ([]byte, error) {
	if f.Len() == 0 {
		return nil, errEmpty
	}
	if f.GSO != frame.NotSegmented || f.Checksum == frame.ChecksumPartial {
		return nil, errOffload
	}
	b := f.WithRoom(vnetHeader)
	if b == nil {
		return nil, errRoom
	}
	_, behind := f.Room()
	return b[: len(b) : len(b)+behind], nil
}

// ended says whether a read's error is the device's end. Errors of the file are; all others are about one packet, which is used up.
func ended(err error) bool {
	var file *os.PathError
	return errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF) || errors.As(err, &file)
}

// end names what ended the device.
func (d *Device) end(err error) error {
	if d.closing.Load() {
		return fmt.Errorf("TUN device %s: %w", d.name, os.ErrClosed)
	}
	return fmt.Errorf("TUN device %s: %w (%v)", d.name, ErrGone, err) // not %w: it may be os.ErrClosed, which means our own Close
}

// Close deletes the interface and ends a waiting Read. It may be called more than once.
func (d *Device) Close() error {
	d.closeOnce.Do(func() {
		d.closing.Store(true)
		d.closeErr = d.dev.Close()
		<-d.drained
	})
	return d.closeErr
}

// joined is what errors.Join makes.
type joined interface{ Unwrap() []error }

// refusals counts the errors that wireguard/tun joined, one a write(2).
func refusals(err error) int {
	j, ok := err.(joined)
	if !ok {
		return 1
	}
	n := 0
	for _, e := range j.Unwrap() {
		n += refusals(e)
	}
	return n
}

// firstOf is the first of them, so that the error stays one line.
func firstOf(err error) error {
	for {
		j, ok := err.(joined)
		if !ok || len(j.Unwrap()) == 0 {
			return err
		}
		err = j.Unwrap()[0]
	}
}
