package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// origin is the time of day at which the process started, and what the machine's clock said then.
var origin, started = time.Now().Round(0), since(unix.CLOCK_BOOTTIME)

// Now is the time that it was when the process started, and what has gone by since, suspended or not. It carries no monotonic reading (which
// stands still meanwhile), so that differences and comparisons are by what it shows. It never goes back.
func Now() time.Time { return origin.Add(since(unix.CLOCK_BOOTTIME) - started) }

// Slept is how long the machine has been suspended since it was started, all times together. In a time namespace it is off by a constant.
func Slept() time.Duration {
	awake := since(unix.CLOCK_MONOTONIC) // first: Slept is never less than it was but for the time between the two
	return since(unix.CLOCK_BOOTTIME) - awake
}

// since is what a clock of the machine says. All kernels that Go runs on have them.
func since(id int32) time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(id, &t)
	return time.Duration(t.Nano())
}
