package daemon

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"uclat/clat/pref64"
	"uclat/discovery"
	"uclat/discovery/dns"
	"uclat/discovery/ra"
)

// fakeRouters say what they are told to say.
type fakeRouters struct {
	mu     sync.Mutex
	links  []ra.Link
	asked  []int // links on which they were solicited anew
	report func(discovery.Advertisement)
	failed chan error
	deaf   error // why they cannot be heard
}

func (f *fakeRouters) Solicit(link int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, link)
}

// solicited are the links on which they were solicited anew since the last time.
func (f *fakeRouters) solicited() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	return asked
}

func (f *fakeRouters) SetLinks(links []ra.Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links = links
}

func (f *fakeRouters) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.deaf
}

func (f *fakeRouters) Run(ctx context.Context, report func(discovery.Advertisement)) error {
	f.mu.Lock()
	f.report, f.failed = report, make(chan error, 1)
	failed := f.failed
	f.mu.Unlock()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// announce is a Router Advertisement.
func (f *fakeRouters) announce(a discovery.Advertisement) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report(a)
}

// heardOn are the names of the links that are listened to.
func (f *fakeRouters) heardOn() (names []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.links {
		names = append(names, l.Name)
	}
	return names
}

// fakeResolvers tell what they are told to tell.
type fakeResolvers struct {
	mu     sync.Mutex
	links  []dns.Link
	report func(discovery.Observation) // nil: it does not run
	knocks int
	anew   []int
	asked  bool
	failed chan error
}

func (f *fakeResolvers) SetLinks(links []dns.Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links = links
	f.asked = f.asked || len(links) > 0
}

// wereAsked says whether they were, on whatever link.
func (f *fakeResolvers) wereAsked() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func (f *fakeResolvers) Run(ctx context.Context, report func(discovery.Observation)) error {
	f.mu.Lock()
	f.report, f.failed = report, make(chan error, 1)
	failed := f.failed
	f.mu.Unlock()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

func (f *fakeResolvers) Knock() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.knocks++
}

func (f *fakeResolvers) KnockLink(link int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.anew = append(f.anew, link)
}

// knockedOn are the links on which they were asked anew since the last time.
func (f *fakeResolvers) knockedOn() []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	on := f.anew
	f.anew = nil
	return on
}

// knocked is how often they were asked anew.
func (f *fakeResolvers) knocked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.knocks
}

// askedOn are the links whose resolvers are asked, with those that routers announce there: "eth0 2001:db8::53".
func (f *fakeResolvers) askedOn() (links []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, l := range f.links {
		links = append(links, strings.Join(append([]string{l.Name}, texts(l.Announced)...), " "))
	}
	return links
}

func texts[T fmt.Stringer](all []T) (texts []string) {
	for _, x := range all {
		texts = append(texts, x.String())
	}
	return texts
}

// find reports what the resolver at 2001:db8::53 offers on eth0.
func (f *fakeResolvers) find(lifetime time.Duration, prefixes ...string) {
	f.findOn(2, lifetime, prefixes...)
}

// findOn is find for another link.
func (f *fakeResolvers) findOn(link int, lifetime time.Duration, prefixes ...string) {
	o := discovery.Observation{Source: discovery.DNS, Link: link, Resolver: "2001:db8::53", Prefixes: offers(lifetime, prefixes...)}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report(o)
}

func offers(lifetime time.Duration, prefixes ...string) (all []discovery.Offer) {
	for _, p := range prefixes {
		all = append(all, discovery.Offer{Prefix: pref64.MustParse(p), Lifetime: lifetime})
	}
	return all
}
