package datapath

import (
	"testing"
	"testing/synctest"
	"time"

	"uclat/clat"
	"uclat/clat/inbound"
)

// Lanes come and go as links do: what one of them leaves serves the next, and the counters stay.
func TestLanesOneAfterTheOther(t *testing.T) {
	e := New(translator(t, "64:ff9b::/96"))
	for range 5 {
		q := newQueue()
		stop := start(t, e, Lane{In: q, V6: q, V4: q})
		q.in <- udp4(100, 64, true)
		<-q.wrote
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	if len(e.workers) != 1 {
		t.Errorf("%d workers, want the one that was there", len(e.workers))
	}
	if n := e.Counters().Packets[clat.To6]; n != 5 {
		t.Errorf("%d packets, want 5", n)
	}
}

// The inbound filter turns once in five minutes, however many lanes run.
func TestInboundTurnsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, other := newQueue(), newQueue()
		e := New(translator(t, "64:ff9b::/96"))
		e.SetInbound(inbound.New())
		stop, stopOther := start(t, e, Lane{In: q, V6: q, V4: q}), start(t, e, Lane{In: other, V6: other, V4: other})
		q.in <- from4(4000)
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		q.mu.Lock()
		q.out = nil
		q.mu.Unlock()
		q.in <- from6(4000, 0)
		synctest.Wait()
		if len(q.out) != 1 {
			t.Error("closed after six minutes: it was turned by each lane")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		if err := stopOther(); err != nil {
			t.Error(err)
		}
	})
}
