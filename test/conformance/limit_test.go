package conformance

import (
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"uclat/clat"
	"uclat/clat/config"
	"uclat/clat/datapath"
	"uclat/clat/eam"
	"uclat/clat/frame"
	"uclat/clat/siit"
)

func TestErrorLimit(t *testing.T) {
	t.Run("XLAT-7915-4.4-2", func(t *testing.T) {
		bad := [][]byte{
			build(t, &layers.IPv4{TTL: 1}, &layers.UDP{}),
			build(t, &layers.IPv6{HopLimit: 1}, &layers.UDP{}),
		}
		// answers are how many of n bad packets, half of them of each family, four queues answer within how long.
		answers := func(tr *translator, n int) (answered int, took time.Duration) {
			const batch = 16
			e := datapath.New(tr.Translator)
			workers := []*datapath.Worker{e.NewWorker(), e.NewWorker(), e.NewWorker(), e.NewWorker()}
			began := time.Now()
			for sent := 0; sent < n; sent += batch {
				var in []*frame.Frame
				for i := range batch {
					in = append(in, newFrame(bad[i%2]))
				}
				w := workers[sent/batch%len(workers)]
				for len(in) > 0 {
					done, v6, v4 := w.Process(in, nil, nil)
					for _, f := range append(v6, v4...) {
						decode(t, f.Bytes()).icmp(t)
						answered++
					}
					w.Done()
					in = in[done:]
				}
			}
			took = time.Since(began)
			total := e.Counters()
			for d := range clat.NumDirections {
				if got := total.Drops[d][clat.DropTTL]; got != uint64(n/2) {
					t.Errorf("%v: counted %d packets, want %d", d, got, n/2)
				}
			}
			if got := total.Replies[clat.To6] + total.Replies[clat.To4]; got != uint64(answered) {
				t.Errorf("counted %d answers, want %d", got, answered)
			}
			return answered, took
		}

		// 100 at once, and 100 a second: a token bucket for all queues together.
		got, took := answers(newTranslator(t), 1024)
		if most := 100 + int(100*took.Seconds()) + 1; got < 50 || got > most {
			t.Errorf("%d answers to 1024 packets in %v, want 50 to %d", got, took, most)
		}
		off := newTranslator(t, func(o *siit.Options, _ *eam.Spec) { o.NoErrors = true })
		if got, _ := answers(off, 1024); got != 0 {
			t.Errorf("%d answers though they are turned off", got)
		}

		// Without a budget the packet is dropped all the same, for the same reason.
		tr := newTranslator(t)
		for _, in := range bad {
			tr.scratch.Reset()
			tr.scratch.Errors = 0
			if r := tr.Translate(newFrame(in), tr.scratch); r.Verdict != siit.Drop || r.Reason != clat.DropTTL {
				t.Errorf("without a budget: verdict %d, reason %v", r.Verdict, r.Reason)
			}
			answered(t, tr, in, clat.DropTTL)
		}

		for setting, want := range map[string]bool{"": true, "translate.icmp-errors = false": false} {
			if c, err := config.Parse("test.toml", []byte(setting)); err != nil || c.Translate.ICMPErrors != want {
				t.Errorf("%q: %v", setting, err)
			}
		}
	})
}
