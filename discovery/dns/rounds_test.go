package dns

import (
	"testing"
	"time"
)

// RFC 7050, 3: what is known is asked for again 10 s before its end, and whatever its lifetime, not at once.
func TestUntilRefresh(t *testing.T) {
	for lifetime, want := range map[time.Duration]time.Duration{
		time.Hour:                time.Hour - 10*time.Second,
		30 * time.Second:         20 * time.Second,
		11500 * time.Millisecond: 1500 * time.Millisecond,
		11 * time.Second:         time.Second,
		10 * time.Second:         time.Second,
		time.Second:              time.Second,
		0:                        time.Second,
	} {
		if got := untilRefresh(lifetime); got != want {
			t.Errorf("a lifetime of %v: again after %v, want %v", lifetime, got, want)
		}
	}
}
