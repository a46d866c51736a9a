package daemon

import (
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"uclat/clat/frame"
)

// fakeTUNs makes devices, and knows those that it made.
type fakeTUNs struct {
	*rig
	mu      sync.Mutex
	err     error
	devices []*fakeTUN
}

func (d *fakeTUNs) open(name string, mtu int) (TUN, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		d.say("tun: %v", d.err)
		return nil, d.err
	}
	d.say("tun: open %s mtu %d", name, mtu)
	device := &fakeTUN{
		rig: d.rig, name: name,
		in: make(chan []byte), out: make(chan []byte, 16), gone: make(chan error, 1), closed: make(chan struct{}),
	}
	d.devices = append(d.devices, device)
	return device, nil
}

func (d *fakeTUNs) failWith(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

// current is the last one that is open, else the last one that was.
func (d *fakeTUNs) current() *fakeTUN {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, device := range slices.Backward(d.devices) {
		if device.isOpen() {
			return device
		}
	}
	return d.devices[len(d.devices)-1]
}

// names are those of the open ones.
func (d *fakeTUNs) names() (open []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, device := range d.devices {
		if device.isOpen() {
			open = append(open, device.name)
		}
	}
	return open
}

// fakeTUN is a device of channels.
type fakeTUN struct {
	*rig
	name   string
	in     chan []byte // what the host sends
	out    chan []byte // what it gets
	gone   chan error  // somebody deleted the device
	once   sync.Once
	closed chan struct{}
	lost   atomic.Uint64
}

func (d *fakeTUN) isOpen() bool {
	select {
	case <-d.closed:
		return false
	default:
		return true
	}
}

func (d *fakeTUN) Name() string { return d.name }

func (d *fakeTUN) Lost() (read, written uint64) { return 0, d.lost.Load() }
func (d *fakeTUN) Batch() int                   { return 4 }

func (d *fakeTUN) Read(fs []*frame.Frame) (int, error) {
	select {
	case p := <-d.in:
		buf := slices.Concat(make([]byte, frame.Headroom), p, make([]byte, frame.Tailroom))
		fs[0].Wrap(buf, frame.Headroom, len(p))
		return 1, nil
	case err := <-d.gone:
		return 0, err
	case <-d.closed:
		return 0, os.ErrClosed
	}
}

func (d *fakeTUN) Write(fs []*frame.Frame) (int, error) {
	for _, f := range fs {
		d.out <- slices.Clone(f.Bytes())
	}
	return len(fs), nil
}

func (d *fakeTUN) Close() error {
	d.once.Do(func() {
		d.say("tun: close %s", d.name)
		close(d.closed)
	})
	return nil
}
