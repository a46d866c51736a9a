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

// Handler passes on at most 10 lines within any minute, and counts the others into the next line that it passes on. The last of the others
// is passed on as soon as there is room: what it says is still so. What is below Info is not bounded: somebody asked for it.
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
	last    *line // that was left out; nil: none is to be passed on
	whole   *past // that this is a part of; may be nil
}

// line is what a handler was given.
type line struct {
	next slog.Handler
	r    slog.Record
	by   *past // counted it when it was left out
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
	leftOut, by := h.past.take(r.Time)
	if by != nil {
		h.past.keep(line{h.next, r.Clone(), by})
		return nil
	}
	return line{next: h.next, r: r}.pass(ctx, leftOut)
}

// pass passes the line on, with how many others were left out.
func (l line) pass(ctx context.Context, leftOut int) error {
	if leftOut > 0 {
		l.r = l.r.Clone()
		l.r.AddAttrs(slog.Int(LeftOut, leftOut))
	}
	return l.next.Handle(ctx, l.r)
}

// keep remembers a line that was left out, until there is room for one.
func (p *past) keep(l line) {
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting := p.last != nil
	p.last = &l
	if !waiting {
		time.AfterFunc(within, p.room)
	}
}

// room passes on the last line that was left out. A minute after it was, there is room, unless others were faster.
func (p *past) room() {
	p.mu.Lock()
	l := *p.last
	p.mu.Unlock()
	l.by.uncount()
	leftOut, by := p.take(time.Now())
	p.mu.Lock()
	if p.last.by = by; by != nil {
		time.AfterFunc(within, p.room)
	} else {
		l, p.last = *p.last, nil
	}
	p.mu.Unlock()
	if by == nil {
		_ = l.pass(context.Background(), leftOut) // as slog itself does where nobody waits for the error
	}
}

func (p *past) uncount() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leftOut--
}

// take says how many lines were left out since the last one, where a line may be passed on now; else who has counted it as left out.
func (p *past) take(now time.Time) (leftOut int, by *past) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if oldest := p.lines[p.at]; !oldest.IsZero() && now.Sub(oldest) < within {
		p.leftOut++
		return 0, p
	}
	if p.whole != nil {
		if leftOut, by = p.whole.take(now); by != nil {
			return 0, by
		}
	}
	p.lines[p.at] = now
	p.at = (p.at + 1) % len(p.lines)
	leftOut += p.leftOut
	p.leftOut = 0
	return leftOut, nil
}
