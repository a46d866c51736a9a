package survey

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"uclat/clat/pref64"
	"uclat/discovery"
	"uclat/discovery/dns"
	"uclat/platform"
)

const never = 365 * 24 * time.Hour

// All that the daemon would wait for is waited for, and no more.
func TestOnce(t *testing.T) {
	const (
		byRA   = "ra 64:ff9b::/96 on eth0 trusted"
		byDNS  = "dns 64:ff9b::/96 on eth0 trusted"
		pinned = "pref64.prefixes = ['64:ff9b::/96']"
	)
	soon := 50 * time.Millisecond
	heard := 200 * time.Millisecond
	silence := saying{4 * time.Second, discovery.Advertisement{Link: 2}}
	for _, tt := range []struct {
		name       string
		toml       string
		everything bool
		only       string // the interface
		host       platform.Snapshot
		says       []saying
		answer     func(context.Context, dns.Link) ([]dns.Answer, error)

		took  time.Duration
		want  string
		asked []string
		code  string
	}{
		{name: "a router tells", says: []saying{{heard, router(2, 1, wkp)}}, took: heard, want: byRA, code: "on"},
		{name: "it tells, and resolvers are asked all the same", everything: true, says: []saying{{heard, router(2, 1, wkp)}}, took: enough,
			want: byRA + ", " + byDNS, asked: []string{"eth0 at 200ms"}, code: "on"},
		{name: "it tells other things", says: []saying{{heard, router(2, 1)}}, took: heard + soon, want: byDNS, asked: []string{"eth0 at 200ms"},
			code: "on"},
		{name: "another one tells", says: []saying{{heard, router(2, 9, nsp)}}, took: heard + soon,
			want: "ra 2001:db8:64::/96 on eth0 not trusted, " + byDNS, asked: []string{"eth0 at 200ms"}, code: "on"},
		{name: "routers are silent", says: []saying{silence}, took: 4 * time.Second, want: byDNS, asked: []string{"eth0 at 1s"}, code: "on"},
		{name: "nobody even says that they are", took: longest, want: byDNS, asked: []string{"eth0 at 1s"}, code: "on"},
		{name: "the resolver is slow", says: []saying{silence}, answer: server(6*time.Second, wkp), took: 7 * time.Second, want: byDNS,
			asked: []string{"eth0 at 1s"}, code: "on"},
		{name: "the resolver never answers", says: []saying{silence}, answer: server(never), took: longest, asked: []string{"eth0 at 1s"},
			code: "no-pref64"},
		{name: "the resolver has none", says: []saying{silence}, answer: server(soon), took: 4 * time.Second, asked: []string{"eth0 at 1s"},
			code: "no-pref64"},
		{name: "no resolver is known", says: []saying{silence}, answer: func(context.Context, dns.Link) ([]dns.Answer, error) { return nil, errBroken },
			took: 4 * time.Second, asked: []string{"eth0 at 1s"}, code: "no-pref64"},
		{name: "nobody asks resolvers", toml: "pref64.sources = ['ra']", says: []saying{silence}, took: 4 * time.Second, code: "no-pref64"},
		{name: "the resolvers that the router names", says: []saying{{heard, named(router(2, 1), "2001:db8::53")}}, took: heard + soon, want: byDNS,
			asked: []string{"eth0 2001:db8::53 at 200ms"}, code: "on"},

		{name: "it is configured", toml: pinned, took: 0, want: "configured 64:ff9b::/96 on interface 0 trusted", code: "on"},
		{name: "and others are asked all the same", toml: pinned, everything: true, says: []saying{{heard, router(2, 1, nsp)}}, took: enough,
			want:  "configured 64:ff9b::/96 on interface 0 trusted, ra 2001:db8:64::/96 on eth0 not trusted, dns 64:ff9b::/96 on eth0 not trusted",
			asked: []string{"eth0 at 200ms"}, code: "on"},
		{name: "routers are to say what addresses there may be", toml: pinned, host: laptop(byHand), says: []saying{{heard, router(2, 1)}}, took: heard,
			want: "configured 64:ff9b::/96 on interface 0 trusted", code: "on"},
		{name: "a plain translator", toml: "interface.ipv4 = ''\nmap = [{ipv4 = '192.0.2.1', ipv6 = '2001:db8::1'}]", took: 0, code: "router"},

		{name: "no uplink", host: laptop(func(s *platform.Snapshot) { s.Routes = nil }), took: 0, code: "no-uplink"},
		{name: "a router where no uplink is", everything: true, host: laptop(withMore), says: []saying{
			{heard, router(2, 1, wkp)}, {heard, router(7, 2, nsp)}}, took: enough, asked: []string{"eth0 at 200ms"},
			want: byRA + ", ra 2001:db8:64::/96 on docker0 not trusted, " + byDNS, code: "on"},
		{name: "one interface alone", everything: true, only: "docker0", host: laptop(withMore), says: []saying{
			{heard, router(2, 1, wkp)}, {heard, router(7, 2, nsp)}}, took: enough, want: "ra 2001:db8:64::/96 on docker0 not trusted", code: "no-pref64"},
		{name: "an interface that is trusted", toml: "pref64.sources = ['ra:docker0', 'dns']", host: laptop(withMore), says: []saying{
			{heard, router(2, 1, wkp)}, {3 * time.Second, router(7, 2, nsp)}}, took: 3 * time.Second, asked: []string{"eth0 at 200ms"},
			want: "ra 64:ff9b::/96 on eth0 not trusted, ra 2001:db8:64::/96 on docker0 trusted, " + byDNS, code: "on"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if tt.host.Links == nil {
					tt.host = laptop()
				}
				if tt.answer == nil {
					tt.answer = server(soon, wkp)
				}
				w := &world{host: tt.host, says: tt.says, answer: tt.answer}
				o := w.options(t, tt.toml)
				o.Everything, o.Interface = tt.everything, tt.only
				v, err := Once(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				if got := time.Since(w.began); got != tt.took {
					t.Errorf("it took %v, want %v", got, tt.took)
				}
				if got := found(v); got != tt.want {
					t.Errorf("found %s\nwant  %s", got, tt.want)
				}
				if !slices.Equal(w.asked, tt.asked) {
					t.Errorf("asked %q, want %q", w.asked, tt.asked)
				}
				if v.Plan.Code != tt.code {
					t.Errorf("%s: %s, want %s", v.Plan.Code, v.Plan.Why, tt.code)
				}
			})
		})
	}
}

// byHand is a host whose address somebody has set.
func byHand(s *platform.Snapshot) {
	s.Addrs = []platform.Address{{Link: 2, Prefix: netip.MustParsePrefix("2001:db8:1::5/64"), Permanent: true},
		{Link: 2, Prefix: netip.MustParsePrefix("fe80::5/64"), Permanent: true}}
}

// named is an advertisement that names resolvers too.
func named(a discovery.Advertisement, servers ...string) discovery.Advertisement {
	for _, s := range servers {
		a.Servers = append(a.Servers, discovery.Resolver{Addr: netip.MustParseAddr(s), Lifetime: time.Hour})
	}
	return a
}

// Where routers are solicited.
func TestWhereRoutersAreSolicited(t *testing.T) {
	for _, tt := range []struct {
		name, toml string
		everything bool
		only       string
		want       []string
	}{
		{"what the daemon would do", "", false, "", []string{"eth0"}},
		{"everywhere but at ports and our own device", "", true, "", []string{"eth0", "docker0"}},
		{"one of them", "", true, "docker0", []string{"docker0"}},
		{"one that is trusted", "pref64.sources = ['ra:docker0']", false, "", []string{"eth0", "docker0"}},
		{"nobody needs to know", "pref64.prefixes = ['64:ff9b::/96']", false, "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{host: laptop(withMore), answer: server(0, wkp)}
				o := w.options(t, tt.toml)
				o.Everything, o.Interface = tt.everything, tt.only
				if _, err := Once(t.Context(), o); err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(w.heardOn, tt.want) {
					t.Errorf("%q, want %q", w.heardOn, tt.want)
				}
			})
		})
	}
}

func TestOnceFails(t *testing.T) {
	for _, w := range []*world{
		{err: errBroken},
		{host: laptop(), ends: errBroken},
	} {
		synctest.Test(t, func(t *testing.T) {
			if _, err := Once(t.Context(), w.options(t, "")); !errors.Is(err, errBroken) {
				t.Error(err)
			}
		})
	}
}

// Who gives up gets what there is, whatever is under way.
func TestOnceIsEnded(t *testing.T) {
	for _, moment := range []time.Duration{0, 100 * time.Millisecond, 1500 * time.Millisecond, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			w := &world{host: laptop(), says: []saying{{2 * time.Second, router(2, 9, nsp)}}, answer: server(never)}
			ctx, cancel := context.WithTimeout(t.Context(), moment)
			defer cancel()
			if _, err := Once(ctx, w.options(t, "")); err != nil {
				t.Errorf("%v: %v", moment, err)
			}
			if got := time.Since(w.began); got != moment {
				t.Errorf("ended after %v, want %v", got, moment)
			}
		})
	}
}

// Watch shows the first whole view, and then what changes, in routers, resolvers and the host.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{host: laptop(), says: []saying{{time.Second, router(2, 1, wkp)}}, answer: server(0, nsp)}
		o := w.options(t, "")
		o.Everything = true
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		var seen []string
		go func() {
			ended <- Watch(ctx, o, func(v View) {
				w.set(func() {
					if now := found(v) + ": " + v.Plan.Code; len(seen) == 0 || seen[len(seen)-1] != now {
						seen = append(seen, now)
					}
				})
			})
		}()
		expect := func(after time.Duration, want ...string) {
			t.Helper()
			time.Sleep(after)
			synctest.Wait()
			w.set(func() {
				if !slices.Equal(seen, want) {
					t.Errorf("%v: %q, want %q", time.Since(w.began), seen, want)
				}
				seen = seen[max(0, len(seen)-1):]
			})
		}
		both := "ra 64:ff9b::/96 on eth0 trusted, dns 2001:db8:64::/96 on eth0 trusted: on"
		expect(enough - time.Millisecond)
		expect(time.Second, both)
		w.report(discovery.Advertisement{Link: 2, Router: netip.MustParseAddr("fe80::1"), PREF64: []discovery.Offer{{Prefix: pref64.MustParse(wkp)}}})
		alone := "dns 2001:db8:64::/96 on eth0 trusted: on"
		expect(0, both, alone)
		w.set(func() { w.answer = server(0) })                // it has none any more, when it is asked again
		expect(time.Hour-5*time.Second, alone, ": no-pref64") // before its lifetime is over
		w.set(func() { w.host = laptop(func(s *platform.Snapshot) { s.Routes = nil }) })
		expect(2*time.Second, ": no-pref64", ": no-uplink")
		if got := len(w.asked); got > 10 {
			t.Errorf("resolvers were asked %d times in an hour: %q", got, w.asked)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// Who never answers keeps nobody waiting for long.
func TestWatchInSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{host: laptop(), answer: server(never)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var first time.Duration
		if err := Watch(ctx, w.options(t, ""), func(View) {
			if first == 0 {
				first = time.Since(w.began)
			}
		}); err != nil || first < longest || first > longest+2*time.Second {
			t.Errorf("shown after %v; %v", first, err)
		}
	})
}

func TestWatchFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{host: laptop(), says: []saying{{time.Second, router(2, 1, wkp)}}, answer: server(never)}
		time.AfterFunc(time.Minute, func() { w.set(func() { w.err = errBroken }) })
		if err := Watch(t.Context(), w.options(t, ""), func(View) {}); !errors.Is(err, errBroken) {
			t.Error(err)
		}
	})
}
