// Package lab is an IPv6-only internet on one machine, to see uclat at work: a laptop without IPv4, its router, a PLAT, one IPv4 hop
// and an IPv4-only server, each a host in namespaces of its own.
package lab

import "io"

// Options are how the lab is run.
type Options struct {
	Out   io.Writer // what a person reads
	Shell bool      // leave the user in a shell on the laptop instead of trying everything
	Stdin io.Reader // of the shell
}

// Missing is an error of Run: this machine lacks what a lab needs, and nothing was begun.
type Missing struct{ error }

func (m Missing) Unwrap() error { return m.error }
