package dns

import "uclat/discovery"

// Observation is what the answer says of PREF64s on a link: none where it has an Err.
func (a Answer) Observation(on Link) discovery.Observation {
	o := discovery.Observation{Source: discovery.DNS, Link: on.Index, Resolver: origin(on, a.Server)}
	for _, p := range a.Prefixes {
		o.Prefixes = append(o.Prefixes, discovery.Offer{Prefix: p, Lifetime: a.Lifetime})
	}
	return o
}
