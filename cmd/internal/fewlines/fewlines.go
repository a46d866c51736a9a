// Package fewlines bounds how much is logged: whatever happens on the network, a log stays readable and a disk does not fill.
package fewlines

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	most   = 10 // lines
	within = time.Minute
)

// LeftOut is the attribute of a line before which others were left out: how many.
const LeftOut = "left-out"

// Handler passes on at most 10 lines within any minute, and counts the others into the next line that it passes on. What is below
// Info is not bounded: somebody asked for it.
type Handler struct {
	next slog.Handler
	past *past
}

// past is shared by all handlers that were derived from one.
type past struct {
	mu      sync.Mutex
	lines   []time.Time // when the last ones were passed on, as a ring
	at      int
	leftOut int
	whole   *past // that this is a part of; may be nil
}

// New bounds what next gets.
func New(next slog.Handler) *Handler { return &Handler{next, &past{lines: make([]time.Time, most)}} }

// Part is a handler for at most n of h's lines, so that there is room for others.
func (h *Handler) Part(n int) *Handler {
	return &Handler{h.next, &past{lines: make([]time.Time, n), whole: h.past}}
}

// Enabled asks next.
func (h *Handler) Enabled(ctx context.Context, l slog.Level) bool { return h.next.Enabled(ctx, l) }

// WithAttrs shares the bound with h.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Handler{h.next.WithAttrs(attrs), h.past}
}

// WithGroup shares the bound with h.
func (h *Handler) WithGroup(name string) slog.Handler {
	return &Handler{h.next.WithGroup(name), h.past}
}

// Handle passes r on, or counts it.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelInfo {
		return h.next.Handle(ctx, r)
	}
	leftOut, ok := h.past.take(r.Time)
	if !ok {
		return nil
	}
	if leftOut > 0 {
		r = r.Clone()
		r.AddAttrs(slog.Int(LeftOut, leftOut))
	}
	return h.next.Handle(ctx, r)
}

// take says whether a line may be passed on now, and how many were not since the last one.
func (p *past) take(now time.Time) (leftOut int, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if oldest := p.lines[p.at]; !oldest.IsZero() && now.Sub(oldest) < within {
		p.leftOut++
		return 0, false
	}
	if p.whole != nil {
		if leftOut, ok = p.whole.take(now); !ok {
			return 0, false
		}
	}
	p.lines[p.at] = now
	p.at = (p.at + 1) % len(p.lines)
	leftOut += p.leftOut
	p.leftOut = 0
	return leftOut, true
}
