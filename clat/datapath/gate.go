package datapath

import (
	"errors"
	"os"
	"sync/atomic"

	"uclat/clat"
	"uclat/clat/frame"
)

// Gate is a way out whose queue may change, or be missing for a while, as workers write to it. The zero value is shut.
type Gate struct{ to atomic.Pointer[Port] }

// Open has what is written from now on go to p.
func (g *Gate) Open(p Port) { g.to.Store(&p) }

// Shut leaves no way out.
func (g *Gate) Shut() { g.to.Store(nil) }

// Write is Port's. Without a way out, or with one that was closed a moment ago, there is no next hop: that ends no lane.
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

// Read is not to be used: a Gate leads out.
func (g *Gate) Read([]*frame.Frame) (int, error) { return 0, errors.ErrUnsupported }

// Batch is 0: nothing is read.
func (g *Gate) Batch() int { return 0 }

// Close shuts it.
func (g *Gate) Close() error {
	g.Shut()
	return nil
}
