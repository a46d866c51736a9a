package tundev

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/tun"

	"uclat/clat/frame"
	"uclat/platform/internal/vnet"
)

// fakeTUN is a wireguard/tun device that plays back reads and counts writes.
type fakeTUN struct {
	reads  []fakeRead
	wrote  int
	refuse map[int]error // by the number of the write
	events chan tun.Event
}

type fakeRead struct {
	size int
	err  error
}

func newFakeTUN() *fakeTUN { return &fakeTUN{events: make(chan tun.Event)} }

func (f *fakeTUN) Read(_ [][]byte, sizes []int, _ int) (int, error) {
	if len(f.reads) == 0 {
		return 0, os.ErrClosed
	}
	r := f.reads[0]
	f.reads = f.reads[1:]
	sizes[0] = r.size
	return min(r.size, 1), r.err
}

func (f *fakeTUN) Write(bufs [][]byte, _ int) (int, error) {
	f.wrote += len(bufs)
	return 0, f.refuse[f.wrote]
}

func (f *fakeTUN) File() *os.File           { return nil }
func (f *fakeTUN) MTU() (int, error)        { return 1500, nil }
func (f *fakeTUN) Name() (string, error)    { return "clat0", nil }
func (f *fakeTUN) Events() <-chan tun.Event { return f.events }
func (f *fakeTUN) BatchSize() int           { return 1 }

func (f *fakeTUN) Close() error {
	close(f.events)
	return nil
}

// fakeKernel is a device with virtio headers whose other side the test is: a socket that keeps the bounds of packets.
func fakeKernel(t *testing.T) (d *Device, kernel int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	d = &Device{name: "clat0", queue: newWhole("clat0", fds[0])}
	t.Cleanup(func() { _ = d.Close() })
	return d, fds[1]
}

func fakePlain(t *testing.T, f *fakeTUN) *Device {
	t.Helper()
	d := &Device{name: "clat0", queue: newPlain("clat0", f)}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// What the device cannot take is named exactly, and what stands before it has been sent.
func TestWriteRefuses(t *testing.T) {
	good := func() *frame.Frame { return udp("192.0.2.2", "192.0.2.1", 1, 2, "x") }
	segmented, partial, empty, version, noRoom := good(), good(), new(frame.Frame), good(), new(frame.Frame)
	segmented.GSO, segmented.SegSize = frame.SegmentUDP, 1
	partial.Checksum, partial.L4, partial.ChecksumAt = frame.ChecksumPartial, 20, 8
	version.Offload = frame.Offload{GSO: frame.SegmentUDP, SegSize: 1, Checksum: frame.ChecksumPartial, L4: 20, ChecksumAt: 6}
	version.Bytes()[0] = 0x55
	bad := map[string]*frame.Frame{"segmented without a partial checksum": segmented, "partial checksum outside": partial, "empty": empty,
		"version": version}
	check := func(t *testing.T, d *Device, f *frame.Frame, wrote func() int) {
		t.Helper()
		n, err := d.Write([]*frame.Frame{good(), good(), f, good()})
		if _, lost := d.Lost(); n != 2 || !errors.Is(err, ErrRefused) || lost != 1 || wrote() != 2 {
			t.Errorf("%d, %v; lost %d", n, err, lost)
		}
	}
	for name, f := range bad {
		t.Run("plain/"+name, func(t *testing.T) {
			fake := newFakeTUN()
			check(t, fakePlain(t, fake), f, func() int { return fake.wrote })
		})
	}
	noRoom.Wrap(good().Bytes(), 0, 29)
	bad["no room"] = noRoom
	for name, f := range bad {
		t.Run("whole/"+name, func(t *testing.T) {
			d, kernel := fakeKernel(t)
			check(t, d, f, func() (n int) {
				for buf := make([]byte, 100); ; n++ {
					if m, err := unix.Read(kernel, buf); err != nil || m != vnet.Len+29 {
						return n
					}
				}
			})
		})
	}
}

// Of a super-packet that is cut, every segment is tried, and those that were not taken are counted.
func TestSegmentsRefused(t *testing.T) {
	fake := newFakeTUN()
	fake.refuse = map[int]error{2: unix.ENOMEM, 4: unix.ENOMEM}
	d := fakePlain(t, fake)
	n, err := d.Write([]*frame.Frame{superPacket(false, true, 500, 100, 0), udp("192.0.2.2", "192.0.2.1", 1, 2, "x")})
	if _, lost := d.Lost(); n != 0 || !errors.Is(err, ErrRefused) || !errors.Is(err, unix.ENOMEM) || fake.wrote != 5 || lost != 2 {
		t.Errorf("%d, %v; wrote %d, lost %d", n, err, fake.wrote, lost)
	}
}

// Errors about one packet do not end the device.
func TestReadGoesOn(t *testing.T) {
	t.Run("plain", func(t *testing.T) {
		fake := newFakeTUN()
		fake.reads = []fakeRead{{err: errors.New("netlink socket overflowed")}, {size: 0}, {size: 20}}
		d, fs := fakePlain(t, fake), frames(1)
		if n, err := d.Read(fs); n != 1 || err != nil || fs[0].Len() != 20 {
			t.Errorf("%d, %v", n, err)
		}
		if lost, _ := d.Lost(); lost != 1 {
			t.Errorf("lost %d, want 1", lost)
		}
	})
	t.Run("whole", func(t *testing.T) {
		d, kernel := fakeKernel(t)
		good := udp("192.0.2.2", "192.0.2.1", 1, 2, "x")
		for _, b := range [][]byte{
			{1, 2, 3},              // no header
			make([]byte, vnet.Len), // no packet
			append([]byte{0, 3}, good.WithRoom(8)...), // UFO
			good.WithRoom(vnet.Len),
		} {
			if _, err := unix.Write(kernel, b); err != nil {
				t.Fatal(err)
			}
		}
		fs := frames(1)
		if n, err := d.Read(fs); n != 1 || err != nil || fs[0].Len() != 29 {
			t.Errorf("%d, %v", n, err)
		}
		if lost, _ := d.Lost(); lost != 3 {
			t.Errorf("lost %d, want 3", lost)
		}
		if n, err := d.Read(nil); n != 0 || err == nil {
			t.Errorf("into nothing: %d, %v", n, err)
		}
	})
}
