// Package discovery keeps what is known of PREF64s, the NAT64 prefixes of the networks that the host is attached to. It reads no
// network itself: finders such as discovery/dns report to it.
package discovery

import (
	"context"
	"time"

	"uclat/clat/pref64"
)

// Source is how a PREF64 became known. A lower value outranks a higher one (RFC 9872).
type Source uint8

const (
	Configured Source = iota
	DNS               // RFC 7050
)

// String is the source's name in logs, in output and in the configuration.
func (s Source) String() string {
	if s == Configured {
		return "configured"
	}
	return "dns"
}

// Observation is one thing that was seen: these prefixes, in this order, all that this origin offers now. It replaces what the same
// source and origin said before. No prefixes, or a lifetime of 0 or less, withdraw it. What is Configured has no lifetime: it holds
// until an Observation without prefixes, and Lifetime is not looked at.
type Observation struct {
	Source   Source
	Origin   string // who said so: a resolver's address, a router's; empty for the configuration
	Prefixes []pref64.Prefix
	Lifetime time.Duration
}

// Finder looks for PREF64s.
type Finder interface {
	// Run looks until ctx ends, and calls report for each Observation; report never blocks.
	Run(ctx context.Context, report func(Observation)) error
	// Knock asks it to look again now: the network changed. It never blocks.
	Knock()
}

// Known is one PREF64 that holds now.
type Known struct {
	Source Source
	Origin string
	Prefix pref64.Prefix
	Until  time.Time // zero: for ever
}
