package discovery

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	minute = 60
	hour   = 60 * minute
)

// says is an advertisement of router fe80::N on link 1, with prefix information options as "NAME FLAGS VALID PREFERRED", separated by
// commas; prefixes are named by their third group, and times are in seconds or "ever".
func says(router, lifetime int, options string) Advertisement {
	ad := Advertisement{Link: 1, Router: routerAddr(router), Lifetime: time.Duration(lifetime) * time.Second}
	for o := range strings.SplitSeq(options, ",") {
		f := strings.Fields(o)
		if len(f) == 0 {
			continue
		}
		ad.Prefixes = append(ad.Prefixes, PrefixInfo{
			Prefix:     netip.MustParsePrefix("2001:db8:" + f[0] + "::/64"),
			OnLink:     strings.Contains(f[1], "L"),
			Autonomous: strings.Contains(f[1], "A"),
			Valid:      lifetimeOf(f[2]),
			Preferred:  lifetimeOf(f[3]),
		})
	}
	return ad
}

func routerAddr(n int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("fe80::%x", n)) }

func lifetimeOf(s string) time.Duration {
	if s == "ever" {
		return Infinity
	}
	d, err := time.ParseDuration(s + "s")
	if err != nil {
		panic(err)
	}
	return d
}

// onLink is ad, heard on another link.
func onLink(link int, ad Advertisement) Advertisement {
	ad.Link = link
	return ad
}

// announced is what Announcements say, as text: "1 fe80::1 a LA 7200 3600; next 3600", times in seconds after start, "-" for never.
func announced(a *Announcements, now time.Time) string {
	known, next := a.Valid(now)
	var lines []string
	for _, k := range known {
		name := strings.TrimSuffix(strings.TrimPrefix(k.Prefix.String(), "2001:db8:"), "::/64")
		flags := ""
		if k.OnLink {
			flags += "L"
		}
		if k.Autonomous {
			flags += "A"
		}
		lines = append(lines, fmt.Sprint(k.Link, " ", strings.TrimPrefix(k.Router.String(), "fe80::"), " ", name, " ", flags+".", " ",
			never(k.Until), " ", never(k.Preferred)))
	}
	return strings.Join(lines, ", ") + "; next " + never(next)
}

func never(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return after(t)
}

const nothing = "; next -"

func TestAnnouncements(t *testing.T) {
	type event struct {
		at   int
		ad   *Advertisement // nil: only time passes
		want string
	}
	hear := func(at int, ad Advertisement, want string) event { return event{at, &ad, want} }
	look := func(at int, want string) event { return event{at, nil, want} }

	for _, tt := range []struct {
		name   string
		events []event
	}{
		{"nothing", []event{look(0, nothing)}},
		{"lifetimes end at their end", []event{
			hear(0, says(1, 1800, "a LA 600 300"), "1 1 a LA. 600 300; next 300"),
			look(299, "1 1 a LA. 600 300; next 300"),
			look(300, "1 1 a LA. 600 300; next 600"),
			look(599, "1 1 a LA. 600 300; next 600"),
			look(600, nothing),
		}},
		{"a refresh extends", []event{
			hear(0, says(1, 1800, "a LA 600 300"), "1 1 a LA. 600 300; next 300"),
			hear(500, says(1, 1800, "a LA 600 300"), "1 1 a LA. 1100 800; next 800"),
		}},
		{"what an advertisement does not name stays", []event{
			hear(0, says(1, 1800, "a LA 600 300"), "1 1 a LA. 600 300; next 300"),
			hear(1, says(1, 1800, ""), "1 1 a LA. 600 300; next 300"),
			hear(2, says(1, 1800, "b LA 600 300"), "1 1 a LA. 600 300, 1 1 b LA. 602 302; next 300"),
		}},
		{"no router, but its prefix", []event{
			hear(0, says(1, 0, "a LA 600 300"), "1 1 a LA. 600 300; next 300"),
		}},
		{"infinity has no end", []event{
			hear(0, says(1, 1800, "a LA ever ever"), "1 1 a LA. - -; next -"),
			look(1<<31, "1 1 a LA. - -; next -"),
		}},
		{"infinity but for the preferred lifetime", []event{
			hear(0, says(1, 1800, "a LA ever 300"), "1 1 a LA. - 300; next 300"),
			look(300, "1 1 a LA. - 300; next -"),
		}},
		{"infinity can be taken back", []event{
			hear(0, says(1, 1800, "a LA ever ever"), "1 1 a LA. - -; next -"),
			hear(1, says(1, 1800, "a LA 10800 9000"), "1 1 a LA. 10801 9001; next 9001"),
		}},
		{"preferred above valid: the option is ignored", []event{
			hear(0, says(1, 1800, "a LA 600 601, b LA 600 600, c LA 600 ever"), "1 1 b LA. 600 600; next 600"),
			hear(1, says(1, 1800, "b LA 700 800"), "1 1 b LA. 600 600; next 600"),
		}},
		{"deprecated from the start", []event{
			hear(0, says(1, 1800, "a LA 600 0"), "1 1 a LA. 600 0; next 600"),
		}},
		{"valid 0 of what is not known", []event{
			hear(0, says(1, 1800, "a LA 0 0"), nothing),
		}},
		{"valid 0 withdraws what makes no addresses", []event{
			hear(0, says(1, 1800, "a L 86400 3600, b . 86400 3600"), "1 1 a L. 86400 3600, 1 1 b . 86400 3600; next 3600"),
			hear(1, says(1, 1800, "a L 0 0, b . 0 0"), nothing),
		}},

		// RFC 4862, 5.5.3 e
		{"two hours: valid 0 leaves an address so much, but deprecates it, and the prefix is off-link", []event{
			hear(0, says(1, 1800, "a LA 86400 3600"), "1 1 a LA. 86400 3600; next 3600"),
			hear(100, says(1, 1800, "a LA 0 0"), "1 1 a A. 7300 100; next 7300"),
			look(7300, nothing),
		}},
		{"two hours: no forger brings it below, however often", []event{
			hear(0, says(1, 1800, "a A 86400 86400"), "1 1 a A. 86400 86400; next 86400"),
			hear(0, says(1, 1800, "a A 7199 7199"), "1 1 a A. 7200 7199; next 7199"),
			hear(60, says(1, 1800, "a A 1 1"), "1 1 a A. 7200 61; next 61"),
			hear(7199, says(1, 1800, "a A 0 0"), "1 1 a A. 7200 7199; next 7200"),
		}},
		{"two hours: more than that counts", []event{
			hear(0, says(1, 1800, "a A 86400 86400"), "1 1 a A. 86400 86400; next 86400"),
			hear(0, says(1, 1800, "a A 7201 7201"), "1 1 a A. 7201 7201; next 7201"),
		}},
		{"two hours: longer than what remains counts, though it is less than that", []event{
			hear(0, says(1, 1800, "a A 600 600"), "1 1 a A. 600 600; next 600"),
			hear(500, says(1, 1800, "a A 101 50"), "1 1 a A. 601 550; next 550"),
		}},
		{"two hours: infinity is not brought below either", []event{
			hear(0, says(1, 1800, "a A ever ever"), "1 1 a A. - -; next -"),
			hear(0, says(1, 1800, "a A 60 60"), "1 1 a A. 7200 60; next 60"),
		}},
		{"two hours: what has ended begins anew", []event{
			hear(0, says(1, 1800, "a A 60 60"), "1 1 a A. 60 60; next 60"),
			hear(60, says(1, 1800, "a A 30 30"), "1 1 a A. 90 90; next 90"),
			hear(90, says(1, 1800, "a A 0 0"), nothing),
		}},

		{"A=0 makes no addresses", []event{
			hear(0, says(1, 1800, "a L 600 300, b . 600 300"), "1 1 a L. 600 300, 1 1 b . 600 300; next 300"),
		}},
		{"flags tell nothing by their absence", []event{
			hear(0, says(1, 1800, "a A 600 300"), "1 1 a A. 600 300; next 300"),
			hear(10, says(1, 1800, "a L 60 0"), "1 1 a LA. 600 300; next 70"),
			look(70, "1 1 a A. 600 300; next 300"),
		}},
		{"which holds for two options of one advertisement too", []event{
			hear(0, says(1, 1800, "a L 900 900, a A 600 300"), "1 1 a LA. 600 300; next 300"),
			look(300, "1 1 a LA. 600 300; next 600"),
			look(600, "1 1 a L. 900 300; next 900"),
		}},

		{"each router speaks for itself", []event{
			hear(0, says(2, 1800, "a A 600 600"), "1 2 a A. 600 600; next 600"),
			hear(0, says(1, 1800, "a A 300 300"), "1 1 a A. 300 300, 1 2 a A. 600 600; next 300"),
			hear(1, says(1, 1800, "a A 0 0"), "1 1 a A. 300 1, 1 2 a A. 600 600; next 300"),
			look(300, "1 2 a A. 600 600; next 600"),
		}},
		{"and on each link", []event{
			hear(0, onLink(2, says(1, 1800, "a A 600 600")), "2 1 a A. 600 600; next 600"),
			hear(0, says(1, 1800, "a A 600 600"), "1 1 a A. 600 600, 2 1 a A. 600 600; next 600"),
		}},
		{"silence takes nothing away", []event{
			hear(0, says(1, 1800, "a A 600 600"), "1 1 a A. 600 600; next 600"),
			hear(1, Advertisement{Link: 1}, "1 1 a A. 600 600; next 600"),
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var a Announcements
			for i, e := range tt.events {
				if e.ad != nil {
					a.Observe(at(e.at), *e.ad)
				}
				if diff := cmp.Diff(e.want, announced(&a, at(e.at))); diff != "" {
					t.Fatalf("event %d, at %d s (-want +got):\n%s", i, e.at, diff)
				}
			}
		})
	}
}

func TestAnnouncementsIgnore(t *testing.T) {
	var a Announcements
	ad := says(1, 1800, "")
	for _, p := range []netip.Prefix{{}, netip.MustParsePrefix("fe80::/64"), netip.MustParsePrefix("ff02::/16")} {
		ad.Prefixes = append(ad.Prefixes, PrefixInfo{Prefix: p, OnLink: true, Autonomous: true, Valid: Infinity, Preferred: Infinity})
	}
	unmasked := PrefixInfo{Prefix: netip.MustParsePrefix("2001:db8:a::1/64"), Autonomous: true, Valid: math.MaxInt64, Preferred: math.MaxInt64}
	a.Observe(start, ad)
	if got := announced(&a, start); got != nothing {
		t.Errorf("prefixes that no host takes: %s", got)
	}
	ad.Prefixes = []PrefixInfo{unmasked}
	a.Observe(start, ad)
	if got, want := announced(&a, start), "1 1 a A. - -; next -"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHeard(t *testing.T) {
	silence := Advertisement{Link: 1}
	for _, tt := range []struct {
		name string
		ads  []Advertisement // one a minute
		want Heard
	}{
		{"nothing yet", nil, Unknown},
		{"nothing on this link", []Advertisement{onLink(2, says(1, 1800, "a A 600 600")), {Link: 3}}, Unknown},
		{"nobody answers", []Advertisement{silence}, Silent},
		{"a router", []Advertisement{says(1, 1800, "a A 600 600")}, Advertised},
		{"a router without prefixes", []Advertisement{says(1, 1800, "")}, Advertised},
		{"a router that is no default router", []Advertisement{says(1, 0, "")}, Advertised},
		{"a router that was late", []Advertisement{silence, says(1, 1800, "a A 600 600")}, Advertised},
		{"a router that is late this time", []Advertisement{says(1, 1800, ""), silence}, Advertised},
		{"its prefix holds still", []Advertisement{says(1, 0, "a A 600 600"), silence}, Advertised},
		{"a router whose time is over", []Advertisement{says(1, 30, "a A 59 59"), silence}, Silent},
		{"silence on another link", []Advertisement{says(1, 1800, ""), {Link: 2}}, Advertised},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var a Announcements
			for i, ad := range tt.ads {
				a.Observe(at(i*minute), ad)
			}
			if got := a.Heard(1); got != tt.want {
				t.Errorf("heard: %v, want %v", got, tt.want)
			}
			a.Forget(1)
			if got := a.Heard(1); got != Unknown {
				t.Errorf("heard after Forget: %v", got)
			}
		})
	}
}

func TestForget(t *testing.T) {
	var a Announcements
	a.Forget(1) // which was never there
	a.Observe(start, says(1, 1800, "a A 600 600"))
	a.Observe(start, onLink(2, says(1, 1800, "b A 600 600")))
	a.Forget(1)
	if got, want := announced(&a, start), "2 1 b A. 600 600; next 600"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAnnouncementsValidChangesNothing(t *testing.T) {
	var a Announcements
	a.Observe(start, says(1, 1800, "a A 600 600"))
	if got := announced(&a, at(hour)); got != nothing {
		t.Errorf("after an hour: %s", got)
	}
	known, _ := a.Valid(start)
	known[0].Autonomous = false // changed by the caller
	if got, want := announced(&a, start), "1 1 a A. 600 600; next 600"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
