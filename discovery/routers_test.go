package discovery

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// with is an advertisement that says more: "hw=02:00 mtu=1400 dns=1=600,2=0", the last being 2001:db8::1 for 600 s and 2001:db8::2.
func with(ad Advertisement, more string) Advertisement {
	for f := range strings.FieldsSeq(more) {
		what, value, _ := strings.Cut(f, "=")
		switch what {
		case "hw":
			ad.Hardware = value
		case "mtu":
			fmt.Sscan(value, &ad.MTU)
		case "dns":
			for s := range strings.SplitSeq(value, ",") {
				addr, lifetime, _ := strings.Cut(s, "=")
				ad.Servers = append(ad.Servers, Resolver{netip.MustParseAddr("2001:db8::" + addr), lifetimeOf(lifetime)})
			}
		}
	}
	return ad
}

// routersText is the routers as text: "1 fe80::1 default 1800 hw 02:00 mtu 1400 dns 1 2 heard 1; next 600", without what is not there.
func routersText(a *Announcements, now time.Time) string {
	all, next := a.Routers(now)
	var lines []string
	for _, r := range all {
		line := fmt.Sprint(r.Link, " ", strings.TrimPrefix(r.Addr.String(), "fe80::"))
		if r.Default {
			line += " default"
		}
		if !r.Until.IsZero() {
			line += " " + after(r.Until)
		}
		if r.Hardware != "" {
			line += " hw " + r.Hardware
		}
		if r.MTU > 0 {
			line += fmt.Sprint(" mtu ", r.MTU)
		}
		if len(r.Servers) > 0 {
			line += " dns"
		}
		for _, s := range r.Servers {
			line += " " + strings.TrimPrefix(s.String(), "2001:db8::")
		}
		lines = append(lines, fmt.Sprint(line, " heard ", r.Heard))
	}
	return strings.Join(lines, ", ") + "; next " + never(next)
}

func TestRouters(t *testing.T) {
	type event struct {
		at   int
		ad   *Advertisement // nil: only time passes
		want string
	}
	hear := func(at int, ad Advertisement, more, want string) event {
		ad = with(ad, more)
		return event{at, &ad, want}
	}
	look := func(at int, want string) event { return event{at, nil, want} }

	for _, tt := range []struct {
		name   string
		events []event
	}{
		{"none", []event{look(0, nothing)}},
		{"nobody answers", []event{hear(0, Advertisement{Link: 1}, "", nothing)}},
		{"RFC 4861, 6.3.4/a default router while its lifetime lasts, and shown for half an hour", []event{
			hear(0, says(1, 600, ""), "", "1 1 default 600 heard 1; next 600"),
			look(599, "1 1 default 600 heard 1; next 600"),
			look(600, "1 1 600 heard 1; next 1800"),
			look(1799, "1 1 600 heard 1; next 1800"),
			look(1800, nothing),
		}},
		{"RFC 4861, 6.3.4/a lifetime beyond half an hour", []event{
			hear(0, says(1, 9000, ""), "", "1 1 default 9000 heard 1; next 9000"),
			look(9000, nothing),
		}},
		{"RFC 4861, 6.3.4/lifetime 0 ends it at once", []event{
			hear(0, says(1, 600, ""), "", "1 1 default 600 heard 1; next 600"),
			hear(10, says(1, 0, ""), "", "1 1 heard 2; next 1810"),
			look(1810, nothing),
		}},
		{"heard again", []event{
			hear(0, says(1, 600, ""), "", "1 1 default 600 heard 1; next 600"),
			hear(500, says(1, 600, ""), "", "1 1 default 1100 heard 2; next 1100"),
			look(1100, "1 1 1100 heard 2; next 2300"),
			look(2300, nothing),
			hear(2300, says(1, 600, ""), "", "1 1 default 2900 heard 1; next 2900"),
		}},
		{"a prefix keeps it", []event{
			hear(0, says(1, 0, "a LA 7200 7200"), "", "1 1 heard 1; next 7200"),
			look(7199, "1 1 heard 1; next 7200"),
			look(7200, nothing),
		}},
		{"a prefix keeps it for ever", []event{
			hear(0, says(1, 60, "a LA ever ever"), "", "1 1 default 60 heard 1; next 60"),
			look(1<<30, "1 1 60 heard 1; next -"),
		}},
		{"a server keeps it", []event{
			hear(0, says(1, 0, ""), "dns=1=7200", "1 1 dns 1 heard 1; next 7200"),
			look(7199, "1 1 dns 1 heard 1; next 7200"),
			look(7200, nothing),
		}},
		{"RFC 4861, 6.3.4/what is not said stays", []event{
			hear(0, says(1, 1800, ""), "hw=x mtu=1400 dns=1=600", "1 1 default 1800 hw x mtu 1400 dns 1 heard 1; next 600"),
			hear(1, says(1, 1800, ""), "", "1 1 default 1801 hw x mtu 1400 dns 1 heard 2; next 600"),
			hear(2, says(1, 1800, ""), "hw=y mtu=1500", "1 1 default 1802 hw y mtu 1500 dns 1 heard 3; next 600"),
			hear(3, says(1, 0, ""), "", "1 1 hw y mtu 1500 dns 1 heard 4; next 600"),
			look(600, "1 1 hw y mtu 1500 heard 4; next 1803"),
		}},
		{"RFC 8106, 5.1/each server has a lifetime of its own", []event{
			hear(0, says(1, 1800, ""), "dns=1=600,2=300,3=ever", "1 1 default 1800 dns 1 2 3 heard 1; next 300"),
			look(300, "1 1 default 1800 dns 1 3 heard 1; next 600"),
			look(600, "1 1 default 1800 dns 3 heard 1; next 1800"),
			look(1800, "1 1 1800 dns 3 heard 1; next -"),
		}},
		{"RFC 8106, 5.1/lifetime 0 withdraws", []event{
			hear(0, says(1, 1800, ""), "dns=1=600,2=600", "1 1 default 1800 dns 1 2 heard 1; next 600"),
			hear(1, says(1, 1800, ""), "dns=1=0,3=0", "1 1 default 1801 dns 2 heard 2; next 600"),
		}},
		{"RFC 8106, 5.3.1/as the last advertisement orders them, the others behind", []event{
			hear(0, says(1, 1800, ""), "dns=1=600,2=600,3=600", "1 1 default 1800 dns 1 2 3 heard 1; next 600"),
			hear(1, says(1, 1800, ""), "dns=4=600,3=600", "1 1 default 1801 dns 4 3 1 2 heard 2; next 600"),
			hear(2, says(1, 1800, ""), "dns=2=60,1=900", "1 1 default 1802 dns 2 1 4 3 heard 3; next 62"),
		}},
		{"eight servers of a router, those that it named last", []event{
			hear(0, says(1, 1800, ""), "dns=1=600,2=600,3=600,4=600,5=600,6=600,7=600,8=600,9=600",
				"1 1 default 1800 dns 1 2 3 4 5 6 7 8 heard 1; next 600"),
			hear(1, says(1, 1800, ""), "dns=9=600,a=600", "1 1 default 1801 dns 9 a 1 2 3 4 5 6 heard 2; next 600"),
		}},
		{"links and addresses in order", []event{
			hear(0, onLink(2, says(1, 1800, "")), "", "2 1 default 1800 heard 1; next 1800"),
			hear(0, says(3, 1800, ""), "mtu=1400", "1 3 default 1800 mtu 1400 heard 1, 2 1 default 1800 heard 1; next 1800"),
			hear(1, says(2, 600, ""), "mtu=1300",
				"1 2 default 601 mtu 1300 heard 1, 1 3 default 1800 mtu 1400 heard 1, 2 1 default 1800 heard 1; next 601"),
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var a Announcements
			for i, e := range tt.events {
				if e.ad != nil {
					a.Observe(at(e.at), *e.ad)
				}
				for range 2 { // asking changes nothing
					if diff := cmp.Diff(e.want, routersText(&a, at(e.at))); diff != "" {
						t.Fatalf("event %d, at %d s (-want +got):\n%s", i, e.at, diff)
					}
				}
			}
			a.Forget(1)
			a.Forget(2)
			if got := routersText(&a, start); got != nothing {
				t.Errorf("after Forget: %s", got)
			}
		})
	}
}

func TestServersIgnored(t *testing.T) {
	var a Announcements
	ad := says(1, 1800, "")
	for _, addr := range []netip.Addr{{}, netip.MustParseAddr("::"), netip.MustParseAddr("::1"), netip.MustParseAddr("ff02::fb"),
		netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("::ffff:192.0.2.53"), netip.MustParseAddr("fe80::53%eth0")} {
		ad.Servers = append(ad.Servers, Resolver{addr, time.Hour})
	}
	for range 1000 {
		ad.Servers = append(ad.Servers, ad.Servers[0])
	}
	a.Observe(start, ad)
	all, _ := a.Routers(start)
	if diff := cmp.Diff("[fe80::53]", fmt.Sprint(all[0].Servers)); diff != "" {
		t.Errorf("servers that can be asked (-want +got):\n%s", diff)
	}
	all[0].Servers[0] = netip.IPv6Loopback() // changed by the caller
	if all, _ = a.Routers(start); all[0].Servers[0] == netip.IPv6Loopback() {
		t.Error("the caller can change what is known")
	}
}

// A router that is only remembered keeps no link from being silent, nor another router out.
func TestRememberedRouters(t *testing.T) {
	t.Run("silence", func(t *testing.T) {
		for _, tt := range []struct {
			more string
			want Heard
		}{{"", Silent}, {"dns=1=30", Silent}, {"dns=1=600", Advertised}} {
			var a Announcements
			a.Observe(start, with(says(1, 30, "a LA 59 59"), tt.more))
			a.Observe(at(60), Advertisement{Link: 1})
			if got := a.Heard(1); got != tt.want {
				t.Errorf("%q: heard %v, want %v", tt.more, got, tt.want)
			}
			if all, _ := a.Routers(at(60)); len(all) != 1 {
				t.Errorf("%q: routers %v", tt.more, all)
			}
		}
	})
	t.Run("the others first", func(t *testing.T) {
		var a Announcements
		for n := range 100 {
			a.Observe(start, says(1+n, 0, "")) // nothing holds of these
		}
		a.Observe(start, says(0x50, 0, "a LA 600 600"))
		for n := range 100 {
			a.Observe(start, says(0x200+n, 0, ""))
		}
		a.Observe(start, says(0x100, 1800, ""))
		a.Observe(start, says(0x101, 0, ""))
		a.Limit(noRouter)
		all, _ := a.Routers(start)
		var got []string
		for _, r := range all {
			got = append(got, strings.TrimPrefix(r.Addr.String(), "fe80::"))
		}
		if diff := cmp.Diff("1 2 3 4 5 6 50 100", strings.Join(got, " ")); diff != "" {
			t.Errorf("routers (-want +got):\n%s", diff)
		}
	})
}

func TestObservation(t *testing.T) {
	ad := says(1, 0, "")
	ad.PREF64 = offers(1800, "a b=0")
	ad.Hardware = "x"
	o, ok := ad.Observation()
	want := Observation{Source: RA, Link: 1, Router: routerAddr(1), Hardware: "x", Prefixes: ad.PREF64}
	if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(o)); diff != "" || !ok {
		t.Errorf("%v (-want +got):\n%s", ok, diff)
	}
	if _, ok := says(1, 1800, "a LA 600 600").Observation(); ok {
		t.Error("an advertisement without PREF64 is an observation")
	}
	if _, ok := (Advertisement{Link: 1, PREF64: ad.PREF64}).Observation(); ok {
		t.Error("silence is an observation")
	}
}
