package ra

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"uclat/discovery"
)

const (
	second    = time.Second
	noDefault = "86 00 0000  40 00 0000  00000000 00000000" // lifetime 0
)

var errFake = errors.New("fake")

func TestNobodyAnswers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.SetLinks([]Link{eth0})
		w.expect(24*time.Hour, "0s rs 1; 4s rs 1; 4s silence 1; 8s rs 1; 9s silence 1")
		w.hear(eth0, header)
		w.expect(25*time.Hour, "24h0m0s ra 1 30m0s")
	})
}

func TestRouterAnswers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.SetLinks([]Link{eth0})
		w.expect(second, "0s rs 1")
		w.hear(eth0, header+prefixLA)
		w.expect(time.Hour, "1s ra 1 30m0s")
	})
}

func TestRouterAnswersLate(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.SetLinks([]Link{eth0})
		w.expect(5*second, "0s rs 1; 4s rs 1; 4s silence 1")
		w.hear(eth0, header)
		w.expect(time.Hour, "5s ra 1 30m0s")
	})
}

// Who is no default router ends no round (RFC 4861, 6.3.7), but it is somebody.
func TestNoDefaultRouterAnswers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.SetLinks([]Link{eth0})
		w.expect(second, "0s rs 1")
		w.hear(eth0, noDefault)
		w.expect(time.Hour, "1s ra 1 0s; 4s rs 1; 8s rs 1")
	})
}

func TestBadAdvertisementIsNone(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.SetLinks([]Link{eth0})
		w.expect(second, "0s rs 1")
		w.hear(eth0, header+"fd 00")
		w.expect(time.Hour, "4s rs 1; 4s silence 1; 8s rs 1; 9s silence 1")
	})
}

// A link that comes later has come up just now, and so has one that Solicit names: the first question comes after a random time.
func TestDelay(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.SetLinks(nil)
		for name, ask := range map[string]func(){
			"new link": func() { w.SetLinks(nil); w.SetLinks([]Link{eth0}) },
			"Solicit":  func() { w.Solicit(eth0.Index) },
		} {
			w.SetLinks([]Link{eth0})
			w.told(time.Since(w.start) + 20*second)
			var delays []time.Duration
			for range 20 {
				ask()
				asked := time.Since(w.start)
				events := strings.Split(w.told(asked+20*second), "; ")
				at, what, _ := strings.Cut(events[0], " ")
				d, err := time.ParseDuration(at)
				if err != nil || what != "rs 1" || len(events) != 5 {
					t.Fatalf("%s: %q", name, events)
				}
				delays = append(delays, d-asked)
			}
			if slices.Min(delays) < 0 || slices.Max(delays) >= maxDelay || slices.Max(delays)-slices.Min(delays) < maxDelay/5 {
				t.Errorf("%s: delays %v", name, delays)
			}
		}
	})
}

// What a router says unasked may be less than all: it is asked all the same, once.
func TestHeardDuringDelay(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.SetLinks([]Link{eth0})
		w.hear(eth0, header)
		w.told(10 * second)
		w.Solicit(eth0.Index)
		synctest.Wait()
		w.hear(eth0, header)
		got := w.told(time.Hour)
		if !strings.HasPrefix(got, "10s ra 1 30m0s; ") || strings.Count(got, "rs 1") != 3 || strings.Contains(got, "silence") {
			t.Errorf("got %s", got)
		}
	})
}

// However often Solicit is called, routers are asked, and not much more often than each second.
func TestSolicitOften(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.SetLinks([]Link{eth0})
		for i := range 1000 {
			w.Solicit(eth0.Index)
			w.Solicit(eth1.Index) // which is not set
			time.Sleep(time.Duration(i%20) * time.Millisecond)
		}
		n := strings.Count(w.told(10*second), "rs 1")
		if n < 8 || n > 13 {
			t.Errorf("%d solicitations in 10 s", n)
		}
	})
}

// A link that is not ready is tried until it is.
func TestNotReady(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.set(&w.cannotSend, errFake)
		w.SetLinks([]Link{eth0})
		const ready = 1600 * time.Millisecond
		w.expect(ready, "")
		w.set(&w.cannotSend, nil)
		at, what, _ := strings.Cut(w.told(3*second), " ")
		asked, err := time.ParseDuration(at)
		if err != nil || what != "rs 1" || asked > ready*5/4+minBackoff {
			t.Fatalf("%s %s", at, what)
		}
		// Silence counts from there.
		w.expect(asked+3*second, "")
		w.expect(time.Hour, fmt.Sprintf("%v rs 1; %[1]v silence 1; %v rs 1; %v silence 1", asked+4*second, asked+8*second, asked+9*second))
	})
}

// Where nothing can be sent for long, what routers say unasked is heard, and news of the link make it try soon.
func TestCannotSend(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.set(&w.cannotSend, errFake)
		w.SetLinks([]Link{eth0})
		w.expect(time.Hour, "4s silence 1")
		if w.tries < 60 || w.tries > 100 || w.opened != 1 {
			t.Errorf("%d tries to solicit in an hour, by %d sockets", w.tries, w.opened)
		}
		w.hear(eth0, header)
		w.expect(time.Hour, "1h0m0s ra 1 30m0s")
		w.set(&w.cannotSend, nil)
		w.Solicit(eth0.Index)
		w.expect(time.Hour+second, "1h0m0.25s rs 1")
		w.expect(time.Hour+5*second, "1h0m4.25s rs 1") // nobody has answered that
		w.hear(eth0, header)
		w.expect(2*time.Hour, "1h0m5s ra 1 30m0s")
	})
}

// While it cannot listen it says so, and not that nobody answers. Then routers are solicited.
func TestCannotListen(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.set(&w.cannotOpen, errFake)
		w.SetLinks([]Link{eth0})
		w.expect(time.Hour, "")
		if w.opened < 100 || w.opened > 1000 {
			t.Errorf("%d tries to open a socket in an hour", w.opened)
		}
		if err := w.Err(); !errors.Is(err, errFake) {
			t.Errorf("Err: %v", err)
		}
		w.set(&w.cannotOpen, nil)
		at, what, _ := strings.Cut(w.told(time.Hour+maxOpenBackoff), " ")
		asked, err := time.ParseDuration(at)
		if err != nil || !strings.HasPrefix(what, "rs 1") {
			t.Fatalf("%s %s", at, what)
		}
		if err := w.Err(); err != nil {
			t.Errorf("Err of one that listens: %v", err)
		}
		w.told(asked + 8*second)
		w.expect(2*time.Hour, fmt.Sprintf("%v silence 1", asked+9*second))
	})
}

// Who can listen at last but not ask waits for what routers say unasked, as long as for an answer.
func TestCannotListenNorSend(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.set(&w.cannotSend, errFake)
		w.SetLinks([]Link{eth0})
		w.current().failures <- errFake
		w.set(&w.cannotOpen, errFake)
		w.expect(10*second, "")
		w.set(&w.cannotOpen, nil)
		for w.Err() != nil && time.Since(w.start) < time.Minute {
			time.Sleep(time.Millisecond)
		}
		listens := time.Since(w.start)
		w.expect(listens+3*second, "")
		if got := w.told(listens + time.Hour); strings.Count(got, "silence 1") != 1 || strings.Contains(got, ";") {
			t.Errorf("got %q", got)
		}
	})
}

// What is heard on links that nobody set is told, and answers nothing on those that are.
func TestLinksThatAreNotSet(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.hear(eth1, header+prefixLA) // before SetLinks was called at all
		w.SetLinks([]Link{eth0})
		w.expect(second, "0s ra 2 30m0s; 0s rs 1")
		w.hear(eth1, header)
		w.expect(time.Hour, "1s ra 2 30m0s; 4s rs 1; 4s silence 1; 8s rs 1; 9s silence 1")
	})
}

func TestSocketFails(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.SetLinks([]Link{eth0})
		w.expect(second, "0s rs 1")
		w.hear(eth0, header)
		w.expect(10*second, "1s ra 1 30m0s")
		w.current().failures <- errFake
		synctest.Wait()
		if err := w.Err(); !errors.Is(err, errFake) {
			t.Errorf("Err: %v", err)
		}
		w.expect(11*second, "")
		if err := w.Err(); err != nil {
			t.Errorf("Err when it listens again: %v", err)
		}
		w.hear(eth0, header)
		w.expect(20*second, "11s ra 1 30m0s")
		if w.opened != 2 {
			t.Errorf("%d sockets were opened, want 2", w.opened)
		}
	})
}

// A socket that opens and fails again and again is opened less and less often; what was not sent meanwhile is sent.
func TestSocketKeepsFailing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.SetLinks([]Link{eth0})
		for range 20 {
			w.current().failures <- errFake
			w.told(time.Since(w.start) + maxOpenBackoff)
		}
		if w.opened != 21 {
			t.Errorf("%d sockets were opened", w.opened)
		}
		w.current().failures <- errFake
		synctest.Wait()
		w.Solicit(eth0.Index)
		failed := time.Since(w.start)
		if got := w.told(failed + maxOpenBackoff/2); got != "" {
			t.Errorf("got %s", got)
		}
		if got := w.told(failed + maxOpenBackoff); !strings.HasSuffix(got, " rs 1") {
			t.Errorf("got %s", got)
		}
	})
}

// Of a flood, so much is told that routers of other links are heard as ever.
func TestFlood(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		synctest.Wait()
		const n = 1000
		for range n {
			w.hear(eth1, header)
		}
		w.hear(eth0, header)
		for range n {
			time.Sleep(10 * time.Millisecond)
			w.hear(eth1, header)
		}
		got := w.told(11 * second)
		if one, other := strings.Count(got, "ra 1 "), strings.Count(got, "ra 2 "); one != 1 || other != atOnce+10*perSecond {
			t.Errorf("%d of the router, %d of the flood", one, other)
		}
		// What is not valid costs nothing of what is: it may come from anywhere.
		for range n {
			w.current().messages <- message{octets(t, header), 64, eth0.Index, router}
		}
		w.hear(eth0, header)
		w.expect(11*second, "11s ra 1 30m0s")
	})
}

func TestManyLinks(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for i := range 10 * maxLimits {
			w.hear(Link{Index: i + 1}, header)
		}
		if n := strings.Count(w.told(second), "ra"); n != 10*maxLimits {
			t.Errorf("%d were told", n)
		}
	})
}

func TestSetLinks(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.SetLinks([]Link{eth0, eth1, eth0})
		w.expect(second, "0s rs 1; 0s rs 2")
		w.hear(eth0, header)
		w.hear(eth1, header)
		w.expect(10*second, "1s ra 1 30m0s; 1s ra 2 30m0s")

		w.SetLinks([]Link{eth1})
		w.expect(20*second, "")
		w.SetLinks(nil)
		w.SetLinks([]Link{eth1}) // before anybody could look
		if got := w.told(21 * second); !strings.HasSuffix(got, "rs 2") || strings.Contains(got, ";") {
			t.Errorf("a link that went and came back is not a new one: %q", got)
		}
		w.hear(eth1, header)
		w.told(25 * second)

		w.SetLinks([]Link{{Index: eth1.Index, Name: "wan"}})
		if got := w.told(26 * second); !strings.HasSuffix(got, "rs 2") {
			t.Errorf("a link of another name is not a new one: %q", got)
		}
		w.SetLinks(nil)
		w.expect(time.Hour, "")
		if w.opened != 1 {
			t.Errorf("%d sockets were opened", w.opened)
		}
	})
}

func TestRunAgain(t *testing.T) {
	inBareWorld(t, func(t *testing.T, w *world) {
		w.SetLinks([]Link{eth0})
		w.Solicit(eth0.Index) // the round that begins with Run is the answer
		for range 3 {
			stop := w.run()
			synctest.Wait()
			stop()
		}
		w.expect(second, "0s rs 1; 0s rs 1; 0s rs 1")
	})
}

// Err is of a Run that runs.
func TestErrAfterRun(t *testing.T) {
	inBareWorld(t, func(t *testing.T, w *world) {
		w.set(&w.cannotOpen, errFake)
		stop := w.run()
		synctest.Wait()
		if w.Err() == nil {
			t.Error("no error of one that cannot listen")
		}
		if stop(); w.Err() != nil {
			t.Errorf("after Run: %v", w.Err())
		}
	})
}

func TestUnsupported(t *testing.T) {
	l := New(Options{})
	l.unable = errFake
	if err := l.Run(t.Context(), func(discovery.Advertisement) {}); !errors.Is(err, errFake) {
		t.Errorf("Run: %v", err)
	}
}
