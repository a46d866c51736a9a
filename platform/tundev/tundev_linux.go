package tundev

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"uclat/clat/frame"
)

// Device is an open TUN. One goroutine reads; any number may write.
type Device struct {
	name  string
	queue queue
}

// queue is how packets get from the kernel and to it. Its methods are those of Device.
type queue interface {
	batch() int
	read(fs []*frame.Frame) (int, error)
	write(fs []*frame.Frame) (int, error)
	lost() (read, written uint64)
	close() error
}

// Name is the interface's name.
func (d *Device) Name() string { return d.name }

// Batch is how many frames Read may fill.
func (d *Device) Batch() int { return d.queue.batch() }

// Lost is how many packets Read could not make sense of, and how many Write could not hand to the kernel. A super-packet counts once where
// it is not cut by the device.
func (d *Device) Lost() (read, written uint64) { return d.queue.lost() }

// Read waits for a packet and returns how many of fs it filled. A frame is a packet or a super-packet, with the offloads that the kernel
// left to be done. It lies in a buffer of the device, with frame.Headroom before and at least frame.Tailroom behind it, until the
// next Read.
//
// It returns os.ErrClosed after Close, and ErrGone where the interface was deleted.
func (d *Device) Read(fs []*frame.Frame) (int, error) {
	if len(fs) == 0 {
		return 0, errors.New("read of a TUN device into no frames")
	}
	return d.queue.read(fs)
}

// Write sends fs in order, each with its offloads; it uses them up: the packets, and what lies before and behind them, may be changed.
//
// On error fs[n] is the one refused, all before it have been sent, and the caller goes on at n+1. The error is ErrRefused for a frame that
// the device or the kernel does not take, os.ErrClosed after Close, and ErrGone where the interface was deleted.
func (d *Device) Write(fs []*frame.Frame) (int, error) { return d.queue.write(fs) }

// Close deletes the interface and ends a waiting Read. It may be called more than once.
func (d *Device) Close() error { return d.queue.close() }

// tally is what both kinds of queue count, and how they say that a frame is refused or that the device has ended.
type tally struct {
	name                  string
	closing               atomic.Bool
	lostRead, lostWritten atomic.Uint64
}

func (t *tally) lost() (read, written uint64) { return t.lostRead.Load(), t.lostWritten.Load() }

// end names what ended the device.
func (t *tally) end(err error) error {
	if t.closing.Load() {
		return fmt.Errorf("TUN device %s: %w", t.name, os.ErrClosed)
	}
	return fmt.Errorf("TUN device %s: %w (%v)", t.name, ErrGone, err) // not %w: it may be os.ErrClosed, which means our own Close
}

// refuse counts lost packets of a frame, and names why they are.
func (t *tally) refuse(lost uint64, err error) error {
	t.lostWritten.Add(lost)
	return fmt.Errorf("%s: %w: %w", t.name, ErrRefused, err)
}

var (
	errEmpty = errors.New("empty frame")
	errRoom  = errors.New("no room for a virtio header before the packet")
)
