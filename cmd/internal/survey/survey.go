// Package survey looks at what a network says of PREF64s, for commands that show what the daemon would go by.
package survey

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/discovery"
	"uclat/discovery/dns"
	"uclat/discovery/ra"
	"uclat/platform"
)

// Options are what a survey needs. Eyes, Routers and Lookup are platform/monitor, discovery/ra and discovery/dns.
type Options struct {
	Config *config.Config
	Secret [32]byte // what makes our addresses ours
	Eyes   interface {
		Snapshot(ctx context.Context, interest ...netip.Prefix) (platform.Snapshot, error)
	}
	Routers interface {
		SetLinks([]ra.Link)
		Solicit(link int)
		Run(ctx context.Context, report func(discovery.Advertisement)) error
		Err() error
	}
	// Lookup asks the resolvers of a link once. From is who named them, for people; it may be empty.
	Lookup func(ctx context.Context, link dns.Link) (answers []dns.Answer, from string, err error)
	Now    func() time.Time

	// Everything has routers solicited on all links, and resolvers asked though routers have told a PREF64; else only what the daemon needs is asked.
	Everything bool
	Interface  string         // the one link to look at; empty: all
	Interest   []netip.Prefix // what else the routes are to be seen of
}

// View is what was seen up to now.
type View struct {
	Input  policy.Input
	Offers []policy.Offer
	Plan   policy.Plan
	Asked  []Asked // in the order of the links
	Deaf   error   // why routers cannot be heard, which it takes root for; nil: they can, or nobody needs to know what they say
}

// Asked is what the resolvers of a link said.
type Asked struct {
	Link    platform.Link
	Answers []dns.Answer
	From    string // who named the resolvers, for people; may be empty
	Err     error  // why none was asked
}

const (
	headStart     = time.Second      // that routers have before resolvers are asked (RFC 9872, 3)
	enough        = 2 * time.Second  // in which routers that nobody waits for have answered
	longest       = 15 * time.Second // for all of it
	again         = 30 * time.Second // until resolvers are asked once more that gave no lifetime
	refreshBefore = 10 * time.Second // the end of a lifetime (RFC 7050, 3)
)

// Once looks until all is known that the daemon would wait for, at most 15 seconds.
func Once(ctx context.Context, o Options) (view View, err error) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	err = run(ctx, o, func(v View, complete bool) bool {
		view = v
		return complete
	})
	return view, err
}

// Watch looks until ctx ends. It calls show with the first complete view, or with what there is after 15 seconds, and then whenever something
// may have changed.
func Watch(ctx context.Context, o Options, show func(View)) error {
	began, shown := o.Now(), false
	return run(ctx, o, func(v View, complete bool) bool {
		if shown = shown || complete || o.Now().Sub(began) >= longest; shown {
			show(v)
		}
		return false
	})
}

// look is a survey under way.
type look struct {
	Options
	announced discovery.Announcements
	set       discovery.Set
	began     time.Time
	links     []platform.Link   // when the host was last looked at
	since     map[int]time.Time // when it was first seen in the network that it is in, by the link
	asked     map[int]*asking
	flying    int // questions whose answers are to come by answered
	answered  chan answered
}

// asking is what resolvers of a link were asked.
type asking struct {
	Asked
	under bool      // way
	done  bool      // once
	next  time.Time // when to ask again
}

type answered struct {
	to      *asking
	answers []dns.Answer
	from    string
	err     error
}

// run calls step whenever something was seen, until that returns true or ctx ends.
func run(ctx context.Context, o Options, step func(v View, complete bool) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &look{Options: o, began: o.Now(), since: map[int]time.Time{}, asked: map[int]*asking{}, answered: make(chan answered)}
	prefixes := discovery.Observation{Source: discovery.Configured}
	for _, p := range o.Config.PREF64.Prefixes {
		prefixes.Prefixes = append(prefixes.Prefixes, discovery.Offer{Prefix: p})
	}
	l.set.Observe(l.began, prefixes)

	said, ended := make(chan discovery.Advertisement), make(chan error, 1)
	go func() {
		ended <- o.Routers.Run(ctx, func(a discovery.Advertisement) {
			select {
			case said <- a:
			case <-ctx.Done():
			}
		})
	}()
	defer func() {
		cancel()
		for range l.flying {
			<-l.answered
		}
		<-ended
	}()
	for {
		view, complete, err := l.view(ctx)
		switch {
		case ctx.Err() != nil: // what was seen last stays: nothing can be seen any more
			return nil
		case err != nil || step(view, complete):
			return err
		}
		select {
		case a := <-said:
			err = l.hear(ctx, a)
		case a := <-l.answered:
			l.flying--
			l.take(a)
		case err := <-ended:
			ended <- err // for the end
			return err
		case <-time.After(l.wait()):
		case <-ctx.Done():
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// host looks at it, and forgets what was said of networks that it has left.
func (l *look) host(ctx context.Context, interest ...netip.Prefix) (platform.Snapshot, error) {
	host, err := l.Eyes.Snapshot(ctx, interest...)
	if err != nil {
		return host, err
	}
	for _, index := range policy.Left(l.links, host.Links) {
		l.announced.Forget(index)
		l.set.Forget(index)
		delete(l.asked, index)
		delete(l.since, index)
		l.Routers.Solicit(index)
	}
	l.links = host.Links
	return host, nil
}

// hear takes in what a router said. It said that in the network that the host is in now, so what is of another one goes first.
func (l *look) hear(ctx context.Context, ad discovery.Advertisement) error {
	host, err := l.host(ctx)
	if err != nil {
		return err
	}
	if link, ok := host.Link(ad.Link); !ok || l.Interface != "" && link.Name != l.Interface {
		return nil
	}
	l.announced.Observe(l.Now(), ad)
	if x, ok := ad.Observation(); ok {
		l.set.Observe(l.Now(), x)
	}
	return nil
}

// view looks at the host, asks who is to be asked, and says whether everybody has answered.
func (l *look) view(ctx context.Context) (v View, complete bool, err error) {
	now := l.Now()
	in := policy.Input{Config: l.Config, Now: now, Secret: l.Secret}
	in.PREF64, _ = l.set.Valid(now)
	if in.Host, err = l.host(ctx, append(policy.Interests(in), l.Interest...)...); err != nil {
		return v, false, err
	}
	in.PREF64, _ = l.set.Valid(now)
	in.Announced, _ = l.announced.Valid(now)
	in.Routers, _ = l.announced.Routers(now)
	in.Heard = map[int]discovery.Heard{}
	for _, link := range in.Host.Links {
		in.Heard[link.Index] = l.announced.Heard(link.Index)
	}
	v.Input, v.Offers, v.Plan = in, policy.Offers(in), decide(in)
	l.limit(v)
	complete, v.Deaf = l.solicit(ctx, v)
	for _, link := range in.Host.Links {
		if a := l.asked[link.Index]; a != nil && a.done {
			v.Asked = append(v.Asked, a.Asked)
		}
	}
	return v, complete, nil
}

// limit bounds what is known, so that there is room for more. What is not trusted goes first.
func (l *look) limit(v View) {
	l.set.Limit(func(k discovery.Known) bool { return policy.Judge(v.Input, k).Trusted })
	l.announced.Limit(func(link int, router netip.Addr, hardware string) bool {
		return policy.Accepted(v.Input, link, router, hardware)
	})
}

// decide is what the daemon would decide if nobody else has the addresses that it makes and answers come back to them: that takes packets, and
// looking sends none but questions.
func decide(in policy.Input) policy.Plan {
	plan := policy.Decide(in)
	if plan.On || len(plan.Try) == 0 {
		return plan
	}
	for _, h := range plan.Try {
		in.Trials = append(in.Trials, policy.Trial{Link: plan.Uplink.Index, Addr: h.Addrs.Addr(), State: policy.Seen})
	}
	return policy.Decide(in)
}

// solicit has routers solicited and resolvers asked, as far as they were not, and says whether all have answered that can be heard, and why
// routers cannot, where they were to be.
func (l *look) solicit(ctx context.Context, v View) (complete bool, deaf error) {
	c, host, now := l.Config, v.Input.Host, l.Now()
	pinned := c.Router() || len(c.PREF64.Prefixes) > 0
	unheard := l.Routers.Err()
	var links []ra.Link
	complete = true
	candidates := policy.Candidates(v.Input)
	for _, link := range host.Links {
		if !link.Up || link.Loopback || link.Name == c.Interface.Name || l.Interface != "" && link.Name != l.Interface {
			continue
		}
		if l.since[link.Index].IsZero() {
			l.since[link.Index] = now
		}
		candidate := slices.Contains(candidates, link)
		named := slices.Contains(c.PREF64.Sources, config.RAFrom(link.Name))
		needed := !pinned || v.Plan.Code == policy.AskingRouters
		if l.Everything && !link.Port || (candidate || named) && needed {
			links = append(links, ra.Link{Index: link.Index, Name: link.Name})
		}
		if !candidate && !named || !needed && !l.Everything {
			continue
		}
		heard := v.Input.Heard[link.Index] != discovery.Unknown || unheard != nil
		told := slices.ContainsFunc(v.Offers, func(o policy.Offer) bool {
			return o.Source == discovery.RA && o.Link == link.Index && o.Trusted
		})
		if asks := slices.Contains(c.PREF64.Sources, config.SourceDNS) && candidate && (l.Everything || !pinned && !told); asks {
			if heard || now.Sub(l.since[link.Index]) >= headStart {
				l.ask(ctx, link, v.Input)
			}
			complete = complete && l.asked[link.Index] != nil && l.asked[link.Index].done
		}
		complete = complete && heard
	}
	l.Routers.SetLinks(links)
	if len(links) == 0 {
		return complete, nil
	}
	return complete && (!l.Everything || unheard != nil || now.Sub(l.began) >= enough), unheard
}

// ask asks the resolvers of a link, where that is due.
func (l *look) ask(ctx context.Context, link platform.Link, in policy.Input) {
	a := l.asked[link.Index]
	if a == nil {
		a = &asking{Asked: Asked{Link: link}}
		l.asked[link.Index] = a
	}
	if a.under || l.Now().Before(a.next) {
		return
	}
	a.under = true
	l.flying++
	to := dns.Link{Index: link.Index, Name: link.Name, Announced: in.Resolvers(link)}
	go func() {
		answers, from, err := l.Lookup(ctx, to)
		l.answered <- answered{a, answers, from, err}
	}()
}

// take takes in what resolvers said, unless that is of a network that the host has left meanwhile.
func (l *look) take(x answered) {
	now, a := l.Now(), x.to
	if l.asked[a.Link.Index] != a {
		return
	}
	a.Answers, a.From, a.Err, a.under, a.done, a.next = x.answers, x.from, x.err, false, true, now.Add(untilNext(x.answers))
	for _, answer := range x.answers {
		if answer.Err == nil || errors.Is(answer.Err, dns.ErrNoDNS64) { // else what it said before holds
			l.set.Observe(now, answer.Observation(dns.Link{Index: a.Link.Index, Name: a.Link.Name}))
		}
	}
}

// untilNext is how long to wait before those are asked again who gave these answers: all of them, where one of them is to be asked.
func untilNext(answers []dns.Answer) time.Duration {
	next := again
	for i, answer := range answers {
		wait := again
		switch {
		case answer.Err == nil:
			wait = max(answer.Lifetime-refreshBefore, time.Second)
		case errors.Is(answer.Err, dns.ErrNoDNS64):
			wait = max(answer.Lifetime, again)
		}
		if i == 0 || wait < next {
			next = wait
		}
	}
	return next
}

// wait is how long nothing is due.
func (l *look) wait() time.Duration {
	now := l.Now()
	next := now.Add(time.Second) // the host may have changed
	for _, t := range []time.Time{l.began.Add(headStart), l.began.Add(enough)} {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	return max(next.Sub(now), time.Millisecond)
}

// Name is the link's name, for people.
func (v View) Name(link int) string {
	if l, ok := v.Input.Host.Link(link); ok {
		return l.Name
	}
	return fmt.Sprintf("interface %d", link)
}
