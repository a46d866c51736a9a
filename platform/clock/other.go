//go:build !linux

package clock

import "time"

// Now is the time.
func Now() time.Time { return time.Now() }

// Slept is how long the machine has been suspended since it was started, as far as that is known: not at all.
func Slept() time.Duration { return 0 }
