package datapath

import (
	"errors"
	"os"
	"sync/atomic"

	"uclat/clat"
	"uclat/clat/frame"
)

// Gate is a Writer whose queue may change, or be missing for a while, as workers write to it. The zero value is shut.
type Gate struct{ to atomic.Pointer[Writer] }

// Open has what is written from now on go there.
func (g *Gate) Open(to Writer) { g.to.Store(&to) }

// Shut leaves no way out.
func (g *Gate) Shut() { g.to.Store(nil) }

// Write is Writer's. Without a way out, or with one that was closed a moment ago, there is no next hop: that ends no lane.
func (g *Gate) Write(fs []*frame.Frame) (int, error) {
	to := g.to.Load()
	if to == nil {
		return 0, clat.ErrNextHop
	}
	n, err := (*to).Write(fs)
	if errors.Is(err, os.ErrClosed) {
		err = clat.ErrNextHop
	}
	return n, err
}
