package monitor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fakeClock is a clock that does what the next of its errors says, and then nothing until it is closed.
type fakeClock struct {
	arms, reads chan error
	closed      chan struct{}
	log         []string // of the one who watches
}

func newFakeClock(arms, reads []error) *fakeClock {
	c := &fakeClock{arms: make(chan error, len(arms)), reads: make(chan error, len(reads)), closed: make(chan struct{}, 2)}
	for _, err := range arms {
		c.arms <- err
	}
	for _, err := range reads {
		c.reads <- err
	}
	return c
}

func (c *fakeClock) arm() error {
	c.log = append(c.log, "arm")
	select {
	case err := <-c.arms:
		return err
	default:
		return nil
	}
}

func (c *fakeClock) Read(b []byte) (int, error) {
	c.log = append(c.log, "read")
	select {
	case err := <-c.reads:
		return len(b), err
	default:
	}
	<-c.closed
	return 0, os.ErrClosed
}

func (c *fakeClock) Close() error {
	c.closed <- struct{}{}
	return nil
}

// Each jump is a knock, whether it is told when the timer is read or when it is armed, and the timer is armed anew.
func TestWatchClock(t *testing.T) {
	canceled := &os.PathError{Op: "read", Path: "timer", Err: unix.ECANCELED}
	broken := errors.New("broken")
	for _, tt := range []struct {
		name        string
		arms, reads []error
		knocks      int32
		want        string
		err         error
	}{
		{"never", nil, nil, 0, "arm read", nil},
		{"twice", nil, []error{canceled, canceled}, 2, "arm read arm read arm read", nil},
		{"the end of the timer", nil, []error{nil}, 1, "arm read arm read", nil},
		{"while it was armed", []error{os.NewSyscallError("timerfd_settime", unix.ECANCELED)}, nil, 1, "arm arm read", nil},
		{"failed", nil, []error{canceled, broken}, 1, "arm read arm read", broken},
		{"not to be armed", []error{nil, broken}, []error{canceled}, 1, "arm read arm", broken},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		clock := newFakeClock(tt.arms, tt.reads)
		var knocks atomic.Int32
		done := make(chan error, 1)
		go func() {
			done <- watchClock(ctx, func() (jumps, error) { return clock, nil }, func() { knocks.Add(1) })
		}()
		if tt.err == nil {
			for deadline := time.Now().Add(5 * time.Second); knocks.Load() < tt.knocks || len(clock.reads)+len(clock.arms) > 0; {
				if time.Now().After(deadline) {
					t.Fatalf("%s: %d knocks after 5 s", tt.name, knocks.Load())
				}
				time.Sleep(time.Millisecond)
			}
			cancel()
		}
		err := <-done
		cancel()
		log := strings.Join(clock.log, " ")
		if !errors.Is(err, tt.err) || knocks.Load() != tt.knocks || log != tt.want {
			t.Errorf("%s: %s, %d knocks, %v; want %s, %d, %v", tt.name, log, knocks.Load(), err, tt.want, tt.knocks, tt.err)
		}
	}
	if err := watchClock(t.Context(), func() (jumps, error) { return nil, broken }, nil); !errors.Is(err, broken) {
		t.Errorf("no timer: %v", err)
	}
}

// The kernel's timer is one that a jump of the clock cancels (a jump itself would be one for the whole machine), and its end is far away. To read
// it waits until it is closed.
func TestClockTimer(t *testing.T) {
	c, err := openClock()
	must(t, err)
	must(t, c.arm())
	var settings string
	raw, err := c.(timer).SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
		if err != nil {
			t.Error(err)
		}
		settings = string(b)
	}))
	for _, want := range []string{"clockid: 0\n", "ticks: 0\n", "settime flags: 03\n", "it_value: (31", "it_interval: (0, 0)\n"} { // 365 days
		if !strings.Contains(settings, want) {
			t.Errorf("no %q in\n%s", want, settings)
		}
	}
	read := make(chan error, 1)
	go func() {
		_, err := c.Read(make([]byte, 8))
		read <- err
	}()
	select {
	case err := <-read:
		t.Fatalf("read at once: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	must(t, c.Close())
	if err := <-read; !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if err := c.arm(); err == nil {
		t.Error("armed when closed")
	}
}
