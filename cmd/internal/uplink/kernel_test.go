package uplink

import (
	"context"
	"net/netip"

	"uclat/platform"
	"uclat/platform/nexthop"
)

// The kernel.

func (r *rig) Hop(link platform.Link, src, dst netip.Addr) (nexthop.Hop, error) {
	r.say("hop", "look from %v to %v", src, dst)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.fail["hop"]; err != nil {
		return nexthop.Hop{}, err
	}
	if h, ok := r.hops[dst]; ok {
		return h, nil
	}
	return r.hop, nil
}

func (r *rig) Router(link int, addr netip.Addr) (nexthop.Hop, error) {
	r.say("hop", "look at %v", addr)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hops[addr], r.fail["router"]
}

func (r *rig) Use(link int, gateway netip.Addr) error {
	r.say("hop", "use %v", gateway)
	return r.failure("use")
}

func (r *rig) watch(ctx context.Context, link int, knock func()) error {
	r.say("watch", "link %d", link)
	r.set(func(r *rig) { r.knocks <- knock })
	select {
	case err := <-r.blinded:
		return err
	case <-ctx.Done():
		return nil
	}
}

// knock says that neighbours have changed to hop.
func (r *rig) knock(hop nexthop.Hop) {
	r.set(func(r *rig) { r.hop = hop })
	knock := <-r.knocks
	r.knocks <- knock
	knock()
	r.after(0)
}
