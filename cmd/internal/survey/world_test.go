package survey

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"uclat/clat/config"
	"uclat/clat/pref64"
	"uclat/discovery"
	"uclat/discovery/dns"
	"uclat/discovery/ra"
	"uclat/platform"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	wkp = "64:ff9b::/96"
	nsp = "2001:db8:64::/96"
)

var errBroken = errors.New("broken")

// world is what is looked at.
type world struct {
	mu      sync.Mutex
	host    platform.Snapshot
	err     error // of looking at the host
	ends    error // of listening to routers
	deaf    error // why they cannot be heard
	says    []saying
	answer  func(ctx context.Context, link dns.Link) ([]dns.Answer, error)
	report  func(discovery.Advertisement)
	heardOn []string // the links where routers are solicited
	anew    []int    // the links where they were once more
	asked   []string // whose resolvers were: "eth0 2001:db8::53 at 1s"
	began   time.Time
}

// saying is what a router says after a while.
type saying struct {
	after time.Duration
	ad    discovery.Advertisement
}

// options are those of a survey under a configuration.
func (w *world) options(t *testing.T, toml string) Options {
	t.Helper()
	c, err := config.Parse("test.toml", []byte(toml))
	if err != nil {
		t.Fatal(err)
	}
	w.began = time.Now()
	return Options{Config: c, Eyes: w, Routers: w, Lookup: w.lookup, Now: time.Now, Secret: [32]byte{46}}
}

func (w *world) Snapshot(ctx context.Context, _ ...netip.Prefix) (platform.Snapshot, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.host, errors.Join(w.err, ctx.Err())
}

func (w *world) SetLinks(links []ra.Link) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heardOn = nil
	for _, l := range links {
		w.heardOn = append(w.heardOn, l.Name)
	}
}

func (w *world) Solicit(link int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.anew = append(w.anew, link)
}

func (w *world) Err() error { return w.deaf }

func (w *world) Run(ctx context.Context, report func(discovery.Advertisement)) error {
	w.mu.Lock()
	w.report = report
	w.mu.Unlock()
	if w.ends != nil {
		return w.ends
	}
	for _, s := range w.says {
		select {
		case <-time.After(time.Until(w.began.Add(s.after))):
			report(s.ad)
		case <-ctx.Done():
			return nil
		}
	}
	<-ctx.Done()
	return nil
}

func (w *world) lookup(ctx context.Context, link dns.Link) (answers []dns.Answer, from string, err error) {
	w.mu.Lock()
	line := link.Name
	for _, a := range link.Announced {
		line += " " + a.String()
	}
	w.asked = append(w.asked, fmt.Sprintf("%s at %v", line, time.Since(w.began)))
	answer := w.answer
	w.mu.Unlock()
	answers, err = answer(ctx, link)
	return answers, "whom you know", err
}

// set changes what there is.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// laptop is a host with an address of its own making and one default route, and what is different about it.
func laptop(but ...func(*platform.Snapshot)) platform.Snapshot {
	s := platform.Snapshot{
		Links: []platform.Link{
			{Index: 1, Name: "lo", MTU: 65536, MTU6: 65536, Up: true, Loopback: true},
			{Index: 2, Name: "eth0", MTU: 1500, MTU6: 1500, Up: true, L2: true, Hardware: "02:00:00:00:00:05"},
		},
		Addrs:  []platform.Address{{Link: 2, Prefix: netip.MustParsePrefix("2001:db8:1::5/64"), Autoconf: true}},
		Routes: []platform.Route{{Dst: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("fe80::1"), Link: 2}},
	}
	for _, b := range but {
		b(&s)
	}
	return s
}

// withMore is a host with more interfaces: one that leads nowhere, a port of a bridge, one that is down, and the CLAT's own.
func withMore(s *platform.Snapshot) {
	s.Links = append(s.Links,
		platform.Link{Index: 3, Name: "clat0", MTU: 1500, MTU6: 1500, Up: true},
		platform.Link{Index: 7, Name: "docker0", MTU: 1500, MTU6: 1500, Up: true, L2: true},
		platform.Link{Index: 8, Name: "veth1", MTU: 1500, MTU6: 1500, Up: true, L2: true, Port: true},
		platform.Link{Index: 9, Name: "eth9", MTU: 1500, MTU6: 1500, L2: true})
}

// router is what the router at fe80::N on a link says.
func router(link, n int, prefixes ...string) discovery.Advertisement {
	return discovery.Advertisement{
		Link: link, Router: netip.MustParseAddr(fmt.Sprintf("fe80::%x", n)), Lifetime: time.Hour, PREF64: offers(prefixes...),
	}
}

func offers(prefixes ...string) (all []discovery.Offer) {
	for _, p := range prefixes {
		all = append(all, discovery.Offer{Prefix: pref64.MustParse(p), Lifetime: time.Hour})
	}
	return all
}

// server is one that answers after a while.
func server(after time.Duration, prefixes ...string) func(context.Context, dns.Link) ([]dns.Answer, error) {
	a := dns.Answer{Server: netip.MustParseAddrPort("[2001:db8::53]:53"), TTL: time.Hour, Lifetime: time.Hour}
	for _, p := range prefixes {
		a.Prefixes = append(a.Prefixes, pref64.MustParse(p))
	}
	if len(prefixes) == 0 {
		a.Err = dns.ErrNoDNS64
	}
	return func(ctx context.Context, _ dns.Link) ([]dns.Answer, error) {
		select {
		case <-time.After(after):
			return []dns.Answer{a}, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// found is a view as text: "ra 64:ff9b::/96 trusted", separated by commas.
func found(v View) string {
	var all []string
	for _, o := range v.Offers {
		state := "trusted"
		if !o.Trusted {
			state = "not trusted"
		}
		all = append(all, fmt.Sprintf("%v %v on %s %s", o.Source, o.Prefix, v.Name(o.Link), state))
	}
	return strings.Join(all, ", ")
}
