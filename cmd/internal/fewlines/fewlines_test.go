package fewlines

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTenLinesAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
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
		var out bytes.Buffer
		whole := New(slog.NewTextHandler(&out, nil))
		log, part := slog.New(whole), slog.New(whole.Part(3))
		for range 600 {
			part.Info("part")
			time.Sleep(time.Second)
		}
		if n := strings.Count(out.String(), "msg=part"); n != 30 {
			t.Errorf("%d lines in ten minutes, want 30", n)
		}
		if !strings.Contains(out.String(), LeftOut+"=57") {
			t.Errorf("no line says how many were left out:\n%s", out.String())
		}
		time.Sleep(time.Minute)
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
		time.Sleep(time.Minute)
		out.Reset()
		part.Info("part")
		// 57 of the ten minutes before, 2 others and 5 of the part just now.
		if !strings.Contains(out.String(), LeftOut+"=64\n") {
			t.Errorf("%s", out.String())
		}
	})
}
