package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// jumps is a clock that tells when it jumps.
type jumps interface {
	io.ReadCloser
	arm() error // has the next Read wait for the next jump
}

// watchClock calls knock when the machine's clock jumps: it was set, or stood still while the machine was suspended. It returns nil when ctx ends.
func watchClock(ctx context.Context, open func() (jumps, error), knock func()) error {
	clock, err := open()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { clock.Close() })()
	defer clock.Close()
	var expirations [8]byte
	for {
		err := clock.arm()
		if err == nil {
			_, err = clock.Read(expirations[:])
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, unix.ECANCELED): // ECANCELED: it jumped
			return fmt.Errorf("watch the clock: %w", err)
		}
		knock()
	}
}

// timer is a timerfd(2) that is far from its end, and canceled where the time of day jumps.
type timer struct{ *os.File }

func openClock() (jumps, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_REALTIME, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch the clock: open a timer: %w", err)
	}
	return timer{os.NewFile(uintptr(fd), "timer")}, nil
}

// arm fails with ECANCELED where the clock has jumped since the last Read.
func (t timer) arm() error {
	raw, err := t.SyscallConn()
	if err != nil {
		return err
	}
	end := unix.ItimerSpec{Value: unix.NsecToTimespec(time.Now().AddDate(1, 0, 0).UnixNano())} // what comes before the end or with it, is a knock
	closed := raw.Control(func(fd uintptr) {
		err = unix.TimerfdSettime(int(fd), unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET, &end, nil)
	})
	if closed != nil {
		return closed
	}
	return os.NewSyscallError("timerfd_settime", err)
}
