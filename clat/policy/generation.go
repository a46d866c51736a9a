package policy

import (
	"net/netip"
	"slices"
	"time"

	"uclat/clat/config"
	"uclat/clat/pref64"
	"uclat/discovery"
	"uclat/platform"
)

// Generation is a pair of IPv6 addresses and a PREF64 that is in use, and the IPv4 addresses that stand for it. What the host sends from an
// IPv4 address always goes by the same pair, as long as that can be used; so a change of either breaks no connection, and needs no table of them.
type Generation struct {
	IPv4    netip.Prefix
	IPv6    netip.Prefix // what stands for IPv4; invalid: another one is being tried
	PREF64  pref64.Prefix
	Routers []netip.Addr // who announced it: packets go there; none: where the host's routes lead
	ND      bool         // neighbours ask for IPv6
	Old     time.Time    // when another one took its place; zero: it is the current one
	Interim bool         // IPv6 was for another PREF64, which cannot be used any more; better ones are tried, and take its place
}

// An old generation goes when it was not used for so long, or after so long in any case.
const (
	unusedTime = 10 * time.Minute
	oldTime    = 2 * time.Hour
)

// turn is what becomes of the generations now.
type turn struct {
	*Input
	uplink platform.Link
	path   config.Path
	best   discovery.Known // the PREF64 of what begins now

	all     []Generation // the current one first; none: no address can be used yet
	current attempt      // the address of the first
	waiting []attempt    // addresses that are to be tried
	choices int          // for the current one
	why     []string     // why there are not more
}

// succeed says what becomes of the generations that are in force. New connections use the pair that is best now. While the pair before it can
// still be used, the new one gets IPv4 addresses of its own; else it gets those of the old one, whose sockets live on.
func (in *Input) succeed(uplink platform.Link, path config.Path) *turn {
	t := &turn{Input: in, uplink: uplink, path: path}
	now, old := Generation{IPv4: in.pool()[0]}, []Generation(nil)
	if was := in.standing(uplink, path); len(was) > 0 {
		now, old = was[0], was[1:]
	}
	t.best = in.preferred(now.PREF64)
	source, ok := t.source(now)
	dead := t.isDead(now)
	switch {
	case !ok: // there is none, or it is gone, or somebody else's, or has to be seen again
		t.begin(now)
	case source.degraded: // another address may do better
		t.begin(now)
		if len(t.all) == 0 || t.current.degraded {
			t.take(now, source, t.best.Prefix)
		}
	case dead || now.Interim:
		g, source := t.replaced(now, source)
		t.take(g, source, g.PREF64)
		t.all[0].Interim = g.Interim
	default:
		t.take(now, source, now.PREF64)
	}
	if len(t.all) == 0 {
		if i := slices.IndexFunc(old, func(g Generation) bool { _, ok := t.source(g); return ok }); i >= 0 {
			return in.succeedWith(uplink, path, i+1)
		}
		return t
	}
	now = t.all[0]
	// An old one that still has its own pair goes on as the current one. What has lost its own as well is no better.
	whole := slices.DeleteFunc(slices.Clone(old), func(g Generation) bool { return t.isOver(g) || t.isDead(g) })
	if g, found := t.again(whole, false); dead && found {
		return in.succeedWith(uplink, path, 1+slices.IndexFunc(old, func(o Generation) bool { return o.IPv4 == g.IPv4 }))
	}
	old = t.mend(old)
	t.improve(now, old)
	t.keep(now, old)
	return t
}

// preferred is the PREF64 for new connections. The one in use is held while no better source names another: it has no better claim than any
// other of its kind, but connections. Of the configured ones the first is preferred, as it is written.
func (in *Input) preferred(now pref64.Prefix) discovery.Known {
	best := in.PREF64[0]
	for _, k := range in.PREF64[1:] {
		if !in.carries(best.Prefix) && in.carries(k.Prefix) {
			best = k
		}
	}
	for _, k := range in.PREF64 {
		if k.Prefix == now && k.Source == best.Source && k.Source != discovery.Configured && in.carries(now) {
			return k
		}
	}
	return best
}

// carries says whether a PREF64 may be used. One through which nothing comes back may not, where there is another: it may be the way to us that is
// broken, and then the other is no better.
func (in *Input) carries(p pref64.Prefix) bool {
	known, other := false, false
	for _, k := range in.PREF64 {
		known = known || k.Prefix == p
		other = other || !slices.Contains(in.Suspect, k.Prefix)
	}
	return known && (!other || !slices.Contains(in.Suspect, p))
}

// begin finds IPv6 addresses for g, the current generation.
func (t *turn) begin(g Generation) {
	choices, why := t.choose(t.uplink, t.path, g.IPv4, t.best)
	use, waiting, taken := t.find(t.uplink.Index, choices)
	t.choices, t.why = len(choices), append(why, taken...)
	if use == nil || use.degraded { // else a better one is for another generation
		t.try(waiting)
	}
	if use != nil {
		t.take(Generation{IPv4: g.IPv4, IPv6: use.hold(use.addr)}, *use, t.best.Prefix)
	}
}

// take makes g the current generation, with a PREF64.
func (t *turn) take(g Generation, source attempt, p pref64.Prefix) {
	t.all = []Generation{{IPv4: g.IPv4, IPv6: g.IPv6, PREF64: p, Routers: t.routersFor(t.uplink, p, g.IPv6), ND: source.nd}}
	t.current = source
}

// replaced is a generation with the best PREF64 in place of one that is dead, and with better IPv6 addresses for that, if there are any:
// connections are lost anyway, and sockets live on where answers come back to them. Until such an address is seen to be good, it keeps its own.
func (t *turn) replaced(g Generation, source attempt) (Generation, attempt) {
	g.PREF64, g.Interim = t.best.Prefix, false
	choices, _ := t.choose(t.uplink, t.path, g.IPv4, t.best)
	choices = slices.DeleteFunc(choices, func(c choice) bool { return t.compare(c.candidate, source.candidate) >= 0 })
	use, waiting, _ := t.find(t.uplink.Index, choices)
	if use != nil && !use.degraded {
		g.IPv6 = use.hold(use.addr)
		return g, *use
	}
	t.try(waiting)
	g.Interim = waiting != nil
	return g, source
}

// succeedWith is succeed with one of the old generations in place of the current one, whose addresses are lost.
func (in Input) succeedWith(uplink platform.Link, path config.Path, i int) *turn {
	was := in.standing(uplink, path)
	was[0].Old = in.Now
	first := was[i]
	first.Old = time.Time{}
	in.Was.Generations = append([]Generation{first}, slices.Delete(was, i, i+1)...)
	return in.succeed(uplink, path)
}

// improve has others take the place of the current generation, as long as there are better ones that can be used.
func (t *turn) improve(now Generation, old []Generation) {
	for !t.current.degraded && !t.all[0].Interim && (t.best.Prefix != t.all[0].PREF64 || t.isBetter(t.current)) {
		if !t.follow(now, old) {
			return
		}
	}
}

// follow has another generation take the place of the current one, which can be used on: an old one that has what is best now, or a new one. That
// begins when its address is seen to be good.
func (t *turn) follow(now Generation, old []Generation) bool {
	better := t.best.Prefix == t.all[0].PREF64 // that is all that another one can be
	if g, ok := t.again(old, better); ok {
		source, _ := t.source(g)
		t.take(g, source, t.best.Prefix)
		return true
	}
	next := t.vacant(now, old)
	choices, _ := t.choose(t.uplink, t.path, next, t.best)
	if better {
		choices = slices.DeleteFunc(choices, func(c choice) bool { return t.compare(c.candidate, t.current.candidate) >= 0 })
	}
	use, waiting, _ := t.find(t.uplink.Index, choices)
	if waiting != nil || use == nil || use.degraded { // what is in use is good enough until it is known what is best
		t.try(waiting)
		return false
	}
	t.take(Generation{IPv4: next, IPv6: use.hold(use.addr)}, *use, t.best.Prefix)
	return true
}

// again is an old generation that has the best PREF64, and addresses that are better than those of the current one, or at least as good: a pair
// stands for one generation only. One that waits for better addresses is none yet.
func (t *turn) again(old []Generation, better bool) (Generation, bool) {
	for _, g := range old {
		source, ok := t.source(g)
		if !ok || source.degraded || g.Interim || g.PREF64 != t.best.Prefix {
			continue
		}
		if c := t.compare(source.candidate, t.current.candidate); c < 0 || c == 0 && !better {
			return g, true
		}
	}
	return Generation{}, false
}

// vacant is the first of the pool that no generation has, else that of the oldest one, which ends. Where there is one only, no connection can be
// kept.
func (t *turn) vacant(now Generation, old []Generation) netip.Prefix {
	for _, p := range t.pool() {
		if p != t.all[0].IPv4 && p != now.IPv4 && !slices.ContainsFunc(old, func(g Generation) bool { return g.IPv4 == p }) {
			return p
		}
	}
	oldest := t.all[0]
	for _, g := range old {
		if g.IPv4 != t.all[0].IPv4 && (oldest.Old.IsZero() || g.Old.Before(oldest.Old)) {
			oldest = g
		}
	}
	return oldest.IPv4
}

// mend gives each of the old generations what it needs to go on: the pair that it has, or another where that cannot be used. Those that nobody
// will miss go.
func (t *turn) mend(old []Generation) (kept []Generation) {
	for _, g := range old {
		if t.isOver(g) {
			continue
		}
		source, ok := t.source(g)
		switch dead := t.isDead(g); {
		case ok && (dead || g.Interim):
			g, source = t.replaced(g, source)
			g.ND = source.nd
		case ok:
			g.ND = source.nd
		default:
			g.Interim = false
			if g.IPv6, g.ND = t.another(g); !g.IPv6.IsValid() && t.Config.Address.IPv6.IsValid() {
				continue
			}
			if dead {
				g.PREF64 = t.best.Prefix
			}
		}
		g.Routers = t.routersFor(t.uplink, g.PREF64, g.IPv6)
		kept = append(kept, g)
	}
	return kept
}

// keep adds the generations that go on beside the current one: the one that was it until now, and the old ones.
func (t *turn) keep(now Generation, old []Generation) {
	if now.IPv4 != t.all[0].IPv4 {
		now.Old = t.Now
		old = append(t.mend([]Generation{now}), old...)
	}
	for _, g := range old {
		// Answers to one pair could not be told apart.
		taken := func(o Generation) bool {
			return o.IPv4 == g.IPv4 || o.IPv6 == g.IPv6 && o.IPv6.IsValid() && o.PREF64 == g.PREF64
		}
		if !slices.ContainsFunc(t.all, taken) {
			t.all = append(t.all, g)
		}
	}
}

// another is an IPv6 address for an old generation that lost its own, and whether neighbours ask for it; invalid as long as there is none.
func (t *turn) another(g Generation) (addrs netip.Prefix, nd bool) {
	choices, _ := t.choose(t.uplink, t.path, g.IPv4, t.best)
	use, waiting, _ := t.find(t.uplink.Index, choices)
	if use != nil {
		return use.hold(use.addr), use.nd
	}
	t.try(waiting)
	return netip.Prefix{}, false
}

// isOver says whether nobody will miss an old generation.
func (t *turn) isOver(g Generation) bool {
	used := g.Old
	if u := t.Used[g.IPv4.Addr()]; u.After(used) {
		used = u
	}
	return t.Now.Sub(g.Old) >= oldTime || t.Now.Sub(used) >= unusedTime
}

// source is the address of a generation as it stands; false where it cannot be used now.
func (t *turn) source(g Generation) (attempt, bool) {
	if !g.IPv6.IsValid() {
		return attempt{}, false
	}
	choices, _ := t.choose(t.uplink, t.path, g.IPv4, t.best)
	for _, c := range choices {
		addr := g.IPv6.Addr()
		if !c.what.Contains(addr) || c.retries == 0 && c.hold(c.address(0)) != g.IPv6 {
			continue
		}
		a := t.attemptOf(t.uplink.Index, c, addr)
		return a, a.usable
	}
	return attempt{}, false
}

// isBetter says whether there are better IPv6 addresses than those of source.
func (t *turn) isBetter(source attempt) bool {
	choices, _ := t.choose(t.uplink, t.path, t.all[0].IPv4, t.best)
	return len(choices) > 0 && t.compare(choices[0].candidate, source.candidate) < 0
}

// compare says which candidate is better, for what counts: a longer match with the PREF64 is no reason to change. Where the address is
// configured, there are none.
func (t *turn) compare(a, b candidate) int {
	if t.Config.Address.IPv6.IsValid() {
		return 0
	}
	return byClass(a, b, t.best.Prefix.Prefix().Addr())
}

func (t *turn) try(a *attempt) {
	if a != nil {
		t.waiting = append(t.waiting, *a)
	}
}

// isDead says whether nothing comes back by the pair of a generation: its PREF64 is gone, or is of other routers now, which is another network.
func (t *turn) isDead(g Generation) bool {
	if !t.carries(g.PREF64) {
		return true
	}
	routers := t.routersOf(t.uplink, g.PREF64)
	return len(g.Routers) > 0 && len(routers) > 0 && !slices.ContainsFunc(g.Routers, func(a netip.Addr) bool { return slices.Contains(routers, a) })
}

// routersOf are those that announced p on a link, in order.
func (in *Input) routersOf(link platform.Link, p pref64.Prefix) (routers []netip.Addr) {
	for _, k := range in.PREF64 {
		if k.Source == discovery.RA && k.Link == link.Index && k.Prefix == p && !slices.Contains(routers, k.Router) {
			routers = append(routers, k.Router)
		}
	}
	slices.SortFunc(routers, netip.Addr.Compare)
	return routers
}

// routersFor are those of them by which packets from our IPv6 addresses may go: who announced the prefix of these as well, if any of them did.
func (in *Input) routersFor(link platform.Link, p pref64.Prefix, ours netip.Prefix) []netip.Addr {
	routers := in.routersOf(link, p)
	both := slices.DeleteFunc(slices.Clone(routers), func(a netip.Addr) bool {
		return !ours.IsValid() || !slices.ContainsFunc(in.Announced, func(x discovery.Announced) bool {
			return x.Link == link.Index && x.Router == a && x.Prefix.Contains(ours.Addr())
		})
	})
	if len(both) > 0 {
		return both
	}
	return routers
}

// holds are the addresses that the uplink has to hold: those that are tried, and then those in use.
func (t *turn) holds() (all []Hold) {
	add := func(h Hold) {
		if !slices.ContainsFunc(all, func(o Hold) bool { return o.Addrs == h.Addrs }) {
			all = append(all, h)
		}
	}
	for _, a := range t.waiting {
		add(Hold{Addrs: a.hold(a.addr), ND: a.nd, PREF64: t.best.Prefix, Routers: t.routersFor(t.uplink, t.best.Prefix, a.hold(a.addr))})
	}
	for _, g := range t.all {
		if g.IPv6.IsValid() {
			add(Hold{Addrs: g.IPv6, ND: g.ND, PREF64: g.PREF64, Routers: g.Routers})
		}
	}
	return all
}
