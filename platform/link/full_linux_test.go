package link

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	rt "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/clat/frame"
	"uclat/platform/internal/nstest"
)

// A buffer that is full for seconds holds nobody up for long, neither one nor many, neither packets one by one nor in batches; and when it is
// empty again, nothing is left of that.
func TestFullBuffer(t *testing.T) {
	const soon = 10 * fullWait // what a Write may take at most, with time for a busy machine
	nstest.Run(t, func(t *testing.T) {
		near, other := openPair(t, newLab(t))
		slow(t, near.index, 10e6/8, 64<<20)
		one := func() []*frame.Frame { return []*frame.Frame{bigTCP(own, away, 60000, 1440)} }
		for n := 0; ; n++ {
			if _, err := near.Write(one()); err != nil {
				if !errors.Is(err, ErrRefused) || !errors.Is(err, unix.EAGAIN) {
					t.Fatal(err)
				}
				break
			}
			if n > 1000 {
				t.Fatal("never full")
			}
		}
		var refused atomic.Uint64
		_, before := near.Lost()
		var wg sync.WaitGroup
		for w := range 3 {
			wg.Go(func() {
				fs := one()
				for len(fs) < 1+w*8 {
					fs = append(fs, one()...)
				}
				for range 10 {
					start := time.Now()
					n, err := near.Write(fs)
					if took := time.Since(start); took > soon {
						t.Errorf("Write took %v", took)
					}
					if err == nil {
						continue
					}
					refused.Add(1)
					if !errors.Is(err, ErrRefused) || !errors.Is(err, unix.EAGAIN) || n == len(fs) {
						t.Errorf("%d, %v", n, err)
					}
				}
			})
		}
		wg.Wait()
		if _, lost := near.Lost(); refused.Load() == 0 || lost-before != refused.Load() {
			t.Errorf("%d refused, %d lost", refused.Load(), lost-before)
		}

		l, err := rt.LinkByIndex(near.index)
		must(t, err)
		qdiscs, err := rt.QdiscList(l)
		must(t, err)
		for _, q := range qdiscs {
			must(t, rt.QdiscDel(q))
		}
		data := hear(t, other)
		for len(data) > 0 {
			<-data
		}
		for range 200 {
			send(t, near, udp6(own, away, []byte("fast again")))
		}
		for range 200 {
			for string(next(t, data).b[48:]) != "fast again" { // what was on its way
			}
		}
	})
}

// A Write that has waited takes the room that there is, even where that is less than the half of the buffer that the kernel reports.
func TestFullBufferTakes(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		near, _ := openPair(t, newLab(t))
		slow(t, near.index, 10e6/8, 64<<20) // 25 packets in the time of a wait, of some 200 in the buffer
		must(t, control(near.raw, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 256<<10) }))
		refused, waits := 0, 0
		for range 1000 {
			start := time.Now()
			if _, err := near.Write([]*frame.Frame{inFrame(udp6(own, away, make([]byte, 952)))}); err != nil {
				refused++
			}
			if time.Since(start) >= fullWait {
				waits++
			}
		}
		if waits < 8 || refused > waits/2 { // a busy machine may be late
			t.Errorf("%d refused in %d waits", refused, waits)
		}
	})
}

// Close does not wait for Writes that wait, and ends them.
func TestCloseWhileFull(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		near, _ := openPair(t, newLab(t))
		slow(t, near.index, 10000, 64<<20)
		must(t, control(near.raw, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8192) }))
		ended := make(chan error, 3)
		var waits atomic.Int64
		for range cap(ended) {
			go func() {
				for {
					_, err := near.Write([]*frame.Frame{inFrame(udp6(own, away, make([]byte, 1000)))})
					if err != nil && !errors.Is(err, ErrRefused) {
						ended <- err
						return
					}
					if err != nil {
						waits.Add(1)
					}
				}
			}()
		}
		for deadline := time.Now().Add(patience); waits.Load() < 6; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nobody waits")
			}
		}
		start := time.Now()
		must(t, near.Close())
		for range cap(ended) {
			select {
			case err := <-ended:
				if err != os.ErrClosed {
					t.Errorf("a Write after Close: %v", err)
				}
			case <-time.After(patience):
				t.Fatal("Write waits after Close")
			}
		}
		if took := time.Since(start); took > 10*fullWait {
			t.Errorf("took %v", took)
		}
	})
}
