package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"uclat/discovery"
)

// However links come and go, report is called by one goroutine at a time, and not after Run has returned.
func TestReports(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		w := emptyWorld(t)
		var links []Link
		for i := range 8 {
			link := Link{Index: 10 + i, Name: fmt.Sprint("eth", i)}
			links = append(links, link)
			w.resolvers(link, r3)
		}
		w.answers(r3, aaaa(60, "64:ff9b::c000:aa"))
		ctx, cancel := context.WithCancel(t.Context())
		var inside, reports atomic.Int32
		var returned atomic.Bool
		done := make(chan error)
		go func() {
			done <- w.f.Run(ctx, func(discovery.Observation) {
				if inside.Add(1) != 1 || returned.Load() {
					t.Errorf("%d at a time, after Run returned: %v", inside.Load(), returned.Load())
				}
				runtime.Gosched()
				reports.Add(1)
				inside.Add(-1)
			})
			returned.Store(true)
		}()
		for i := range 100 {
			w.f.SetLinks(links[i%4 : 4+i%5])
			w.f.Knock()
			time.Sleep(time.Duration(i) * 10 * time.Millisecond)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		w.f.SetLinks(links)
		w.f.Knock()
		time.Sleep(time.Hour)
		if reports.Load() < 100 {
			t.Errorf("%d reports", reports.Load())
		}
	})
}

// Run returns when all that it has begun is over, though that be slow.
func TestRunWaits(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		f := New(Options{Servers: func(context.Context, Link) ([]netip.AddrPort, error) {
			time.Sleep(time.Second)
			return nil, nil
		}})
		f.SetLinks([]Link{eth0})
		began := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := f.Run(ctx, nil); err != nil || time.Since(began) != time.Second {
			t.Errorf("it took %v, error %v", time.Since(began), err)
		}
	})
}

// An answer that comes when the link is gone is not reported.
func TestLateAnswer(t *testing.T) {
	bubble(t, "", func(t *testing.T) {
		var f *Finder
		f = New(Options{
			Servers: func(context.Context, Link) ([]netip.AddrPort, error) { return []netip.AddrPort{r1}, nil },
			Dial: func(Link) func(context.Context, string, string) (net.Conn, error) {
				return func(context.Context, string, string) (net.Conn, error) {
					return &late{before: func() { f.SetLinks(nil) }}, nil
				}
			},
		})
		f.SetLinks([]Link{eth0})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.Run(ctx, func(o discovery.Observation) { t.Errorf("reported: %v", o) }); err != nil {
			t.Error(err)
		}
	})
}

// late is a connection to a resolver that answers, but something happens before that.
type late struct {
	net.Conn
	before func()
	query  []byte
}

func (l *late) Write(b []byte) (int, error) {
	l.query = append(l.query, b...)
	return len(b), nil
}

func (l *late) Read(b []byte) (int, error) {
	l.before()
	return copy(b, respond(l.query, aaaa(60, "64:ff9b::c000:aa"))), nil
}

func (l *late) Close() error { return nil }
