package policy

import (
	"net/netip"
	"slices"
	"time"

	"uclat/clat/config"
	"uclat/platform"
)

// lingering is for how long the TUN and its addresses stay though nothing can be sent: what is missing may come back, and sockets that are bound to
// them live on.
const lingering = 30 * time.Second

// passing are the codes of plans that wait for what comes by itself.
var passing = []string{"no-uplink", "no-ipv6-address", "no-pref64", "checking-address", "probing", AskingRouters}

// pause keeps what was in use known while a plan waits for something: which IPv4 addresses there are, which IPv6 addresses stand for them, and, as
// long as it is the same link, those themselves, so that they can be used at once. The default route has gone by then.
func (p *Plan) pause(in Input) {
	was := &in.Was
	if p.On || p.Wrong || !slices.Contains(passing, p.Code) || len(in.standing(p.Uplink, p.Path)) == 0 {
		return
	}
	if p.Uplink.Index == 0 {
		p.Path, p.PathWhy, p.MTU6, p.MTU4 = was.Path, was.PathWhy, was.MTU6, was.MTU4
		named := in.Config.Uplink == "" || in.Config.Uplink == was.Uplink.Name
		if l, ok := in.Host.Link(was.Uplink.Index); ok && named && l.Up && l.Name == was.Uplink.Name && l.Ups == was.Uplink.Ups {
			p.Uplink = l
		}
	}
	p.Paused = was.Paused
	if was.On {
		p.Paused = in.Now
	}
	in.PREF64 = in.on(p.Uplink)
	t := &turn{Input: &in, uplink: p.Uplink, path: p.Path}
	p.Generations = slices.DeleteFunc(in.standing(p.Uplink, p.Path), func(g Generation) bool { return !g.Old.IsZero() && t.isOver(g) })
	for i, g := range p.Generations {
		source, ok := t.source(g)
		switch {
		case !ok:
			p.Generations[i].IPv6 = netip.Prefix{}
		case p.Path == config.PathPacket && !slices.ContainsFunc(p.Try, func(h Hold) bool { return h.Addrs == g.IPv6 }):
			p.Try = append(p.Try, Hold{Addrs: g.IPv6, ND: source.nd})
		}
	}
	if p.Path != config.PathPacket {
		return
	}
	if was.Host.TUN == in.Config.Interface.Name && in.Now.Sub(p.Paused) < lingering {
		p.Host = platform.HostConfig{TUN: was.Host.TUN, MTU: was.Host.MTU}
		for _, g := range p.Generations {
			if g.IPv4.IsSingleIP() {
				p.Host.Addrs = append(p.Host.Addrs, g.IPv4)
			}
		}
	}
	p.Host.Blackhole = nil
	p.blackhole(in)
}

// Ends is when a plan that waits has waited so long that the TUN goes; zero: it has none.
func (p *Plan) Ends() time.Time {
	if p.On || p.Host.TUN == "" || p.Paused.IsZero() {
		return time.Time{}
	}
	return p.Paused.Add(lingering)
}

// Tries says whether an address is tried that no generation has.
func (p *Plan) Tries() bool {
	return slices.ContainsFunc(p.Try, func(h Hold) bool {
		return !slices.ContainsFunc(p.Generations, func(g Generation) bool { return g.IPv6 == h.Addrs })
	})
}
