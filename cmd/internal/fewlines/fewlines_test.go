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
