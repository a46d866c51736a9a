package fewlines

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// buffer is one that is read while others may write.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (b *buffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.b.Reset()
}

func TestTenLinesAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		log := slog.New(New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
		derived := log.With("a", 1).WithGroup("g")
		lines := func() int {
			n := strings.Count(out.String(), "\n")
			return n
		}
		for i := range 600 { // one a second, through both
			if i%2 == 0 {
				log.Warn(fmt.Sprint("line ", i))
			} else {
				derived.Info(fmt.Sprint("line ", i))
			}
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if got := lines(); got != 100 {
			t.Errorf("%d lines in ten minutes, want 100", got)
		}
		if !strings.Contains(out.String(), LeftOut+"=50") {
			t.Errorf("no line says how many were left out:\n%s", out.String())
		}
		out.Reset()
		for range 50 {
			log.Debug("asked for")
		}
		if got := lines(); got != 50 {
			t.Errorf("%d debug lines, want 50", got)
		}
	})
}

// A part has its own bound, is within that of the whole, and every line that is left out is counted once.
func TestPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		whole := New(slog.NewTextHandler(&out, nil))
		log, part := slog.New(whole), slog.New(whole.Part(3))
		for range 600 {
			part.Info("part")
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if n := strings.Count(out.String(), "msg=part"); n != 30 {
			t.Errorf("%d lines in ten minutes, want 30", n)
		}
		if !strings.Contains(out.String(), LeftOut+"=57") {
			t.Errorf("no line says how many were left out:\n%s", out.String())
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		out.Reset()
		for range 12 {
			log.Info("other")
		}
		for range 5 {
			part.Info("part")
		}
		if n := strings.Count(out.String(), "\n"); n != 10 || strings.Contains(out.String(), "msg=part") {
			t.Errorf("%d lines:\n%s", n, out.String())
		}
		out.Reset()
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		// 2 others and 5 of the part, of which the last one of each is said now.
		got := out.String()
		if strings.Count(got, "\n") != 2 || !strings.Contains(got, "msg=part") || !strings.Contains(got, "msg=other") || !strings.Contains(got, LeftOut+"=") {
			t.Errorf("%s", got)
		}
	})
}

// What was said last is the state of things: it is left out only as long as there is no room.
func TestLastLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		log := slog.New(New(slog.NewTextHandler(&out, nil)))
		for i := range 15 {
			log.Info(fmt.Sprint("line ", i))
		}
		if strings.Contains(out.String(), "line 10") {
			t.Errorf("too many:\n%s", out.String())
		}
		out.Reset()
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `msg="line 14" `+LeftOut+"=4\n") {
			t.Errorf("after a minute: %q", got)
		}
		out.Reset()
		time.Sleep(time.Hour)
		synctest.Wait()
		if out.String() != "" {
			t.Errorf("said again: %s", out.String())
		}
	})
}
