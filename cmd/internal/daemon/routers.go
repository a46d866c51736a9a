package daemon

import (
	"context"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/discovery"
	"uclat/discovery/dns"
	"uclat/discovery/ra"
	"uclat/platform"
)

// Routers tell what they announce on links; discovery/ra is one.
type Routers interface {
	SetLinks([]ra.Link)
	Solicit(link int)
	Err() error // why none can be heard now; nil: they can
	Run(ctx context.Context, report func(discovery.Advertisement)) error
}

// Resolvers tell what the resolvers of links know; discovery/dns is one.
type Resolvers interface {
	SetLinks([]dns.Link)
	Knock()
	KnockLink(link int)
	Run(ctx context.Context, report func(discovery.Observation)) error
}

const (
	headStart = time.Second      // that routers have before resolvers are asked (RFC 9872, 3)
	upTime    = 15 * time.Second // for which routers are solicited on a link that came up, whether there is a route by it yet or not
)

// listened is a link that is up.
type listened struct {
	ra.Link
	since time.Time // when routers there began to be solicited; zero: they are not
	until time.Time // until when they are, because it came up, whether a default route is by it or not
}

// listen has routers solicited on all links that may be the uplink, the one that is, those that the configuration names, and for a while those that
// came up. Resolvers are asked on the first two where no router tells a PREF64.
func (d *daemon) listen(now time.Time, in policy.Input, plan policy.Plan) {
	var all []listened
	var links []ra.Link
	var ask []dns.Link
	candidates := policy.Candidates(in)
	for _, l := range in.Host.Links {
		link := ra.Link{Index: l.Index, Name: l.Name}
		if !l.Up || l.Name == d.Config.Interface.Name || d.Config.Mode == config.ModeOff || d.Config.Router() {
			continue
		}
		x, seen := d.listenedOn(link)
		if !seen && d.decided && l.L2 && !l.Port {
			x.until = now.Add(upTime) // it came up just now
		}
		candidate := l.Index == plan.Uplink.Index || slices.Contains(candidates, l)
		named := slices.Contains(d.Config.PREF64.Sources, config.RAFrom(l.Name))
		switch solicited := candidate || named || now.Before(x.until); {
		case !solicited:
			x.since = time.Time{}
		case x.since.IsZero():
			x.since = now
		}
		all = append(all, x)
		if x.since.IsZero() {
			continue
		}
		links = append(links, link)
		if candidate && plan.Code != "native-ipv4" && d.asksOn(now, in, x) {
			ask = append(ask, dns.Link{Index: l.Index, Name: l.Name, Announced: in.Resolvers(l)})
		}
	}
	d.listening = all
	if d.Routers != nil {
		d.Routers.SetLinks(links)
	}
	if d.Resolvers != nil {
		d.Resolvers.SetLinks(ask)
	}
}

// listenedOn is what is known of a link that was up at the last look.
func (d *daemon) listenedOn(link ra.Link) (l listened, seen bool) {
	if i := slices.IndexFunc(d.listening, func(l listened) bool { return l.Link == link }); i >= 0 {
		return d.listening[i], true
	}
	return listened{Link: link}, false
}

// asksOn says whether resolvers are asked on a link: no router has told a PREF64 there, though they had their time.
func (d *daemon) asksOn(now time.Time, in policy.Input, on listened) bool {
	sources := d.Config.PREF64.Sources
	if !slices.Contains(sources, config.SourceDNS) || len(d.Config.PREF64.Prefixes) > 0 {
		return false
	}
	for _, o := range policy.Offers(in) {
		if o.Source == discovery.RA && o.Link == on.Index && o.Trusted {
			return false
		}
	}
	told := d.announced.Heard(on.Index) != discovery.Unknown
	return told || now.Sub(on.since) >= headStart || d.Routers == nil
}

// answersDue is when routers have had their time; zero: they had it.
func (d *daemon) answersDue(now time.Time) (due time.Time) {
	for _, l := range d.listening {
		for _, at := range []time.Time{l.since.Add(headStart), l.until} {
			if at.After(now) && (due.IsZero() || at.Before(due)) {
				due = at
			}
		}
	}
	return due
}

// follow takes in that links went, or came up again, which may be to another network: what was said there does not hold any more. And that the
// host slept: anything may have changed. It returns the links whose network was left.
func (d *daemon) follow(host platform.Snapshot) (left []int) {
	links := slices.DeleteFunc(slices.Clone(host.Links), func(l platform.Link) bool { return !l.Up })
	left = policy.Left(d.links, links)
	for _, index := range left {
		d.forget(index)
		d.forgive(index)
		d.announced.Forget(index)
		d.set.Forget(index)
		d.listening = slices.DeleteFunc(d.listening, func(l listened) bool { return l.Index == index })
		if d.Routers != nil {
			d.Routers.Solicit(index)
		}
		if d.Resolvers != nil {
			d.Resolvers.KnockLink(index)
		}
	}
	d.links = links
	slept := d.slept
	if d.Slept != nil {
		slept = d.Slept()
	}
	routers := routers(host)
	switch {
	case !d.decided:
	case slept-d.slept >= time.Second:
		d.Log.Info("the host was suspended, asking routers and resolvers anew", "for", (slept - d.slept).Round(time.Second))
		d.ask()
	case !slices.Equal(routers, d.routers): // another router may mean another network
		d.ask()
	}
	d.routers, d.slept = routers, slept
	return left
}

// ask asks all routers and resolvers anew.
func (d *daemon) ask() {
	if d.Resolvers != nil {
		d.Resolvers.Knock()
	}
	for _, l := range d.listening {
		if d.Routers != nil && !l.since.IsZero() {
			d.Routers.Solicit(l.Index)
		}
	}
}

// limit bounds what is known of PREF64s. What is not trusted goes first.
func (d *daemon) limit(in policy.Input) {
	d.set.Limit(func(k discovery.Known) bool { return policy.Judge(in, k).Trusted })
	d.announced.Limit(func(link int, router netip.Addr, hardware string) bool {
		return policy.Accepted(in, link, router, hardware)
	})
}

// How many reports may wait for the loop. Everybody says everything again, but nobody on one link is to keep those of another from being heard.
const (
	maxReports        = 512
	maxReportsOfALink = 16
)

// advertised keeps what a router said for the loop. It never blocks.
func (d *daemon) advertised(a discovery.Advertisement) {
	d.mu.Lock()
	defer d.mu.Unlock()
	// Routers repeat themselves, some each second. That is taken in at the next look, which is no later than what they said before ends.
	key, now := speaker{a.Link, a.Router}, d.Now()
	last := d.spoken[key]
	repeated := a.Router.IsValid() && reflect.DeepEqual(last.said, a) && now.Sub(last.at) < a.Shortest()/2
	if repeated {
		d.said.routers = slices.DeleteFunc(d.said.routers, func(s saying) bool { return speaker{s.Link, s.Router} == key })
	}
	of := 0
	for _, s := range d.said.routers {
		if s.Link == a.Link {
			of++
		}
	}
	if of >= maxReportsOfALink || len(d.said.routers) >= maxReports {
		return
	}
	d.said.routers = append(d.said.routers, saying{a, now, repeated})
	if d.spoken == nil || len(d.spoken) >= maxReports {
		d.spoken = map[speaker]spoken{}
	}
	d.spoken[key] = spoken{a, now}
	if !repeated {
		d.changed()
	}
}

// speaker is a router on a link.
type speaker struct {
	link   int
	router netip.Addr
}

// spoken is what a router said last, and when.
type spoken struct {
	said discovery.Advertisement
	at   time.Time
}

// report keeps what a resolver said for the loop. It never blocks.
func (d *daemon) report(o discovery.Observation) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.said.resolvers) < maxReports {
		d.said.resolvers = append(d.said.resolvers, o)
	}
	d.changed()
}

// saying is an advertisement that was heard: it may be taken in long after that, and its lifetimes begin when it was heard.
type saying struct {
	discovery.Advertisement
	at       time.Time
	repeated bool // the router said the same before
}

// said is what routers and resolvers said, in the order of either.
type said struct {
	routers   []saying
	resolvers []discovery.Observation
}

// forget has what routers on a link say be news, whether they said it before or not.
func (d *daemon) forget(link int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.spoken, func(s speaker, _ spoken) bool { return s.link == link })
}

// hear takes what was said meanwhile.
func (d *daemon) hear() said {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.said
	d.said = said{}
	return s
}

// prefixes are the PREF64s that are named.
func (s said) prefixes() (all []netip.Prefix) {
	for _, a := range s.routers {
		for _, o := range a.PREF64 {
			all = append(all, o.Prefix.Prefix())
		}
	}
	for _, r := range s.resolvers {
		for _, o := range r.Prefixes {
			all = append(all, o.Prefix.Prefix())
		}
	}
	return all
}

// on is what was said on some links: on others it was said of a network that the host has left. So it was, on those that have been left
// meanwhile, by resolvers, and by routers that repeated themselves, also where the links are here again.
func (s said) on(links []platform.Link, left []int) said {
	gone := func(index int) bool {
		return !slices.ContainsFunc(links, func(l platform.Link) bool { return l.Index == index })
	}
	s.routers = slices.DeleteFunc(s.routers, func(a saying) bool { return gone(a.Link) || a.repeated && slices.Contains(left, a.Link) })
	s.resolvers = slices.DeleteFunc(s.resolvers, func(o discovery.Observation) bool { return gone(o.Link) || slices.Contains(left, o.Link) })
	return s
}

// observe takes it in.
func (s said) observe(now time.Time, announced *discovery.Announcements, set *discovery.Set) {
	for _, a := range s.routers {
		announced.Observe(a.at, a.Advertisement)
		if o, ok := a.Observation(); ok {
			set.Observe(a.at, o)
		}
	}
	for _, o := range s.resolvers {
		set.Observe(now, o)
	}
}

// configured is what c says of PREF64s.
func configured(c *config.Config) discovery.Observation {
	o := discovery.Observation{Source: discovery.Configured}
	for _, p := range c.PREF64.Prefixes {
		o.Prefixes = append(o.Prefixes, discovery.Offer{Prefix: p})
	}
	return o
}
