package hostnet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

var errKilled = errors.New("killed")

// Killed between any two steps of its life, a run leaves nothing that the next one does not find. And at each of them, where packets
// can flow, a blackhole route is there.
func TestKilled(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		l := newLab(t)
		must(t, l.tun.Close())
		before := dump(t)
		moved := packetConfig()
		moved.Blackhole = blackholes6(other6)
		// life says whether it came to its end.
		life := func(h *Host) (ended bool) {
			tun := openTUN(t, "clat0")
			defer tun.Close() // with the process
			defer func() {
				if r := recover(); r != nil && r != errKilled {
					panic(r)
				}
			}()
			for _, c := range []platform.HostConfig{packetConfig(), moved, packetConfig(), {}} {
				must(t, h.Set(t.Context(), c))
			}
			return true
		}
		steps := 0
		for ended := false; !ended; {
			steps++
			h, file, _ := journalled(t)
			left := steps
			h.step = func() {
				if now := dump(t); strings.Contains(now, "addr clat0 100.64.46.4/32") && !strings.Contains(now, " type 6 protocol 46 ") {
					t.Errorf("step %d: packets can flow without the route", steps-left)
				}
				if left--; left == 0 {
					panic(errKilled)
				}
			}
			ended = life(h)
			next, err := New(Options{Journal: file})
			must(t, err)
			for range 2 {
				must(t, next.Recover(t.Context()))
				if diff := cmp.Diff(before, dump(t)); diff != "" {
					t.Errorf("killed at step %d: left behind:\n%s", steps, diff)
				}
				hasJournal(t, file, "")
			}
		}
		if steps < 20 {
			t.Errorf("only %d steps to be killed at", steps)
		}
	})
}

// A recovery that is killed is made up for by the next.
func TestRecoverKilled(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		before := dump(t)
		for at := range 4 {
			file := filepath.Join(t.TempDir(), "journal.json")
			must(t, os.WriteFile(file, []byte(`{"schema":1,"blackhole":["2001:db8:1::46/128","2001:db8:1::47/128"]}`), 0o600))
			for _, p := range blackholes6(clat6, other6) {
				must(t, netlink.RouteAdd(blackhole(p)))
			}
			h, err := New(Options{Journal: file})
			must(t, err)
			steps := 0
			h.step = func() {
				if steps++; steps > at {
					panic(errKilled)
				}
			}
			func() {
				defer func() { _ = recover() }()
				must(t, h.Recover(t.Context()))
			}()
			if killed := steps > at; killed != (at < 3) {
				t.Errorf("%d: %d steps", at, steps)
			}
			h, err = New(Options{Journal: file})
			must(t, err)
			must(t, h.Recover(t.Context()))
			if diff := cmp.Diff(before, dump(t)); diff != "" {
				t.Errorf("killed at %d: left behind:\n%s", at, diff)
			}
			hasJournal(t, file, "")
		}
	})
}

// A damaged journal keeps nobody from starting: what can be read is done, and the file is kept for whoever wants to know.
func TestRecoverDamaged(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		for _, tt := range []struct {
			content string
			removed bool
		}{
			{"", false},
			{"\x00\x00\x00", false},
			{`{"schema":1,"blackhole":["2001:db8:1::46/12`, false},
			{`{"schema":1,"blackhole":["2001:db8:1::46/128","2001:db8:1::4`, true},
			{`{"schema":1,"blackhole":["clat0","2001:db8:1::46/128"]}`, true},
			{`{"schema":1,"blackhole":["192.0.2.1/32","2001:db8:1::46/128"]}`, true},
			{`{"schema":2,"routes":[{"blackhole":"2001:db8:1::46/128"}]}`, true},
			{`{"schema":2,"blackhole":"2001:db8:1::46/128"}`, true},
			{`{"blackhole":["2001:db8:1::46/128"]}`, true},
			{`{"schema":1,"blackhole":["2001:db8:1::46/128"]}` + strings.Repeat(" ", 1<<20), false},
		} {
			clean := dump(t)
			must(t, netlink.RouteAdd(blackhole(packetConfig().Blackhole[0])))
			h, file, logged := journalled(t)
			must(t, os.WriteFile(file, []byte(tt.content), 0o600))
			for range 2 {
				must(t, h.Recover(t.Context()))
			}
			name := fmt.Sprintf("%.80q", tt.content)
			if got := dump(t) == clean; got != tt.removed {
				t.Errorf("%s: removed: %v", name, got)
			}
			hasJournal(t, file, "")
			if got, err := os.ReadFile(file + ".unreadable"); err != nil || string(got) != tt.content {
				t.Errorf("%s: put aside: %q, %v", name, got, err)
			}
			if strings.Count(logged.String(), "\n") != 1 || !strings.Contains(logged.String(), "put aside") {
				t.Errorf("%s: logged: %s", name, logged)
			}
			if !tt.removed {
				must(t, netlink.RouteDel(blackhole(packetConfig().Blackhole[0])))
			}
		}
	})
}

// Without a journal that can be written, the route is added all the same, and one line says what that means.
func TestJournalUnwritable(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		newLab(t)
		before := dump(t)
		for _, none := range []bool{true, false} {
			h, file, logged := journalled(t)
			if none {
				h.holes.file = ""
			} else {
				must(t, os.MkdirAll(filepath.Join(file+".new", "blocked"), 0o700))
			}
			c := packetConfig()
			must(t, h.Recover(t.Context()))
			for range 2 {
				must(t, h.Set(t.Context(), c))
				if got := dump(t); !strings.Contains(got, " type 6 protocol 46 ") {
					t.Errorf("no route:\n%s", got)
				}
				c.Blackhole = blackholes6(other6)
			}
			must(t, h.Set(t.Context(), platform.HostConfig{}))
			if diff := cmp.Diff(before, dump(t)); diff != "" {
				t.Errorf("left behind:\n%s", diff)
			}
			if got := logged.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=WARN") || !strings.Contains(got, "SIGKILL") ||
				!strings.Contains(got, "ip -6 route flush type blackhole proto 46") {
				t.Errorf("logged: %s", got)
			}
		}
	})
}
