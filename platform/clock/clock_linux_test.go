package clock

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// It goes as fast as time does, and never back.
func TestNow(t *testing.T) {
	real, now := time.Now(), Now()
	if d := now.Sub(real.Round(0)).Abs(); d > time.Minute { // nobody sets the clock meanwhile, but a little
		t.Errorf("now it is %v, by this clock %v", real, now)
	}
	if now != now.Round(0) {
		t.Errorf("%v carries a monotonic reading", now)
	}
	last := now
	for time.Since(real) < 100*time.Millisecond {
		next := Now()
		if next.Before(last) {
			t.Fatalf("from %v back to %v", last, next)
		}
		last = next
	}
	gone := Now().Sub(now)
	if d := time.Since(real) - gone; d < 0 || d > 10*time.Second { // it was read first and last
		t.Errorf("%v went by, and %v by this clock", time.Since(real), gone)
	}
}

// The kernel tells by /proc/uptime how long it is up, sleep and all.
func TestNowCountsSleep(t *testing.T) {
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	seconds, err := strconv.ParseFloat(strings.Fields(string(b))[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	uptime := time.Duration(seconds * float64(time.Second))
	if d := Now().Sub(origin) + started - uptime; d.Abs() > 5*time.Second {
		t.Errorf("%v from what the kernel says, %v", d, uptime)
	}
}

// Awake, it sleeps no more.
func TestSlept(t *testing.T) {
	before, start := Slept(), time.Now()
	for time.Since(start) < 50*time.Millisecond {
		// What one reading takes adds to it, as where the process does not run in between.
		began := time.Now()
		slept := Slept()
		if grown := slept - before; grown < -10*time.Second || grown > time.Since(began)+time.Millisecond {
			t.Fatalf("awake for %v, and slept for %v more", time.Since(start), grown)
		}
	}
}
