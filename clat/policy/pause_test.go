package policy

import (
	"strings"
	"testing"
	"time"

	"uclat/platform"
)

// What waits for what comes by itself keeps what was in use, as far as it can be used again.
func TestPaused(t *testing.T) {
	const (
		unrouted = "link lo l3\nlink eth0 hardware 02:00:5e:10:00:05\naddr lo ::1/128\naddr eth0 fe80::5/64\nheard eth0 advertised\n"
		wlan     = "link wlan0\naddr wlan0 fe80::6/64\naddr wlan0 2001:db8:9::5/64 autoconf\nroute wlan0 ::/0 via fe80::9\nheard wlan0 advertised\n"
		dhcp     = "addr eth0 2001:db8:1::5/64\n"
	)
	again := func(lan string) string { return strings.Replace(lan, "link eth0", "link eth0 ups 7", 1) } // the carrier was lost
	for _, tt := range []struct {
		name    string
		moments []moment // after the first two
	}{
		{"the route is gone for a moment", []moment{
			{what: "gone", lan: unrouted, want: "6 a0.6 P (4 a0 W)"},
			{what: "back", lan: lan, after: time.Second, want: "6 a0.6 P (4 a0 W)"},
		}},
		{"the route is gone for so long that the device goes", []moment{
			{what: "gone", lan: unrouted, want: "6 a0.6 P (4 a0 W)"},
			{what: "almost", after: 30*time.Second - 1, want: "6 a0.6 P (4 a0 W)"},
			{what: "for long", after: 1, want: "6 a0.6 P (4 a0 W)"},
			{what: "back", lan: lan, after: time.Minute, want: "6 a0.6 P (4 a0 W)"},
		}},
		{"the carrier was lost: it may be another network", []moment{
			{what: "it is back, and no router is heard yet", lan: again(unrouted), want: "6 - (4 -)"},
			{what: "nor later", after: time.Second, want: "6 - (4 -)"},
			{what: "one is: the address is tried again", lan: again(lan), trials: "a0 gone, a0.6 gone", want: "6 - (4 -) try a0.6"},
			{what: "it works, and the old one is tried", trials: "a0.6 seen", want: "6 a0.6 P (4 - P) try a0"},
			{what: "which works too", trials: "a0 seen", want: "6 a0.6 P (4 a0 P)"},
		}},
		{"the interface is gone", []moment{
			{what: "gone", lan: "link lo l3\n", host: "-", trials: "a0 gone, a0.6 gone", want: "6 - (4 -)"},
			{what: "back", lan: lan, host: one, want: "6 - (4 -) try a0.6"},
		}},
		{"another network for a moment", []moment{
			{what: "by Wi-Fi, which has no PREF64", lan: unrouted, host: one + wlan, want: "6 - (4 -)"},
			{what: "one is set: an address is tried there, for the same IPv4 address", pref64: "W", want: "6 - (4 -) try 2001:db8:9::/64#0.6"},
			{what: "and back", lan: lan, host: one, pref64: "P@r1 W@dns", want: "6 a0.6 P (4 a0 P)"},
		}},
		{"the host's addresses are gone", []moment{
			{what: "gone", host: "-", want: "6 - P (4 - W)"},
			{what: "back", host: one, want: "6 a0.6 P (4 a0 W)"},
		}},
		{"the uplink's addresses are gone, and others have some", []moment{
			{what: "gone", host: "link eth1\naddr eth1 2001:db8:9::5/64 autoconf\n", want: "6 - P (4 - W)"},
			{what: "back", host: one, want: "6 a0.6 P (4 a0 W)"},
		}},
		{"routers have to be asked whether hosts may choose", []moment{
			{what: "asked", host: dhcp + "heard eth0 unknown\n", want: "6 - P (4 - W)"},
			{what: "they say so", host: dhcp + "announced eth0 fe80::1 2001:db8:1::/64\n", want: "6 a0.6 P (4 a0 W)"},
		}},
		{"all addresses are somebody's", []moment{
			{what: "conflict", trials: "a0 duplicate, a0.6 duplicate", want: "6 - P (4 - W) try a1.6"},
			{what: "it is free", trials: "a1.6 probing", after: time.Second, want: "6 - P (4 - W) try a1.6"},
			{what: "it works", trials: "a1.6 seen", want: "6 a1.6 P (4 - W) try a1"},
		}},
		{"no PREF64: the old one goes when nobody uses it", []moment{
			{what: "gone", pref64: "-", after: time.Minute, want: "6 a0.6 P (4 a0 W)"},
			{what: "almost 10 minutes", after: 9*time.Minute - 1, want: "6 a0.6 P (4 a0 W)"},
			{what: "10 minutes", after: 1, want: "6 a0.6 P"},
			{what: "back", pref64: "P@r1", want: "6 a0.6 P"},
		}},
		{"no PREF64, and then no route", []moment{
			{what: "no PREF64", pref64: "-", want: "6 a0.6 P (4 a0 W)"},
			{what: "no route", lan: unrouted, after: time.Second, want: "6 a0.6 P (4 a0 W)"},
			{what: "a route", lan: lan, after: time.Second, want: "6 a0.6 P (4 a0 W)"},
			{what: "another PREF64", pref64: "Q@r1", after: time.Second, want: "6 a0.6 Q (4 a0 Q)"},
		}},
		{"who is not trusted has no say", []moment{
			{what: "no PREF64", pref64: "-", want: "6 a0.6 P (4 a0 W)"},
			{what: "one that holds our addresses, and a prefix where nobody may choose", pref64: "V@rogue",
				host: one + "announced eth0 fe80::66 2001:db8:1::/64 A=0\n", want: "6 a0.6 P (4 a0 W)"},
		}},
		{"native IPv4: no pause, but an end", []moment{
			{what: "it comes", host: one + "route eth0 0.0.0.0/0 via 192.0.2.1\n", want: ""},
			{what: "it goes", host: one, want: "4 a0 P"},
		}},
		{"no address any more: no pause", []moment{
			{what: "one address only", host: "addr eth0 2001:db8:1::5/128\n", want: ""},
			{what: "more", host: one, want: "4 a0 P"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tell(t, "", append([]moment{
				{what: "a PREF64", host: one, pref64: "W@dns", trials: "a0 seen, a0.6 seen", want: "4 a0 W"},
				{what: "a better one", pref64: "P@r1 W@dns", want: "6 a0.6 P (4 a0 W)"},
			}, tt.moments...))
		})
	}
}

// The device stays for half a minute after the plan was on, without routes; each pause has its own.
func TestPausedSince(t *testing.T) {
	s := &story{}
	on := s.look(t, moment{host: one, pref64: "W@dns", trials: "a0 seen", want: "4 a0 W"})
	for range 2 {
		since := noon.Add(s.at + time.Minute)
		p := s.look(t, moment{after: time.Minute, pref64: "-", want: "4 a0 W"})
		for _, later := range []time.Duration{0, time.Second, 29*time.Second - 1} {
			if p = s.look(t, moment{after: later, want: "4 a0 W"}); !p.Paused.Equal(since) || !p.Ends().Equal(since.Add(30*time.Second)) {
				t.Errorf("%v later: paused since %v, until %v", s.at, p.Paused, p.Ends())
			}
			if h := p.Host; h.TUN != on.Host.TUN || h.MTU != on.Host.MTU || len(h.Addrs) != 1 || h.Addrs[0] != on.Host.Addrs[0] || len(h.Routes) != 0 {
				t.Errorf("the host is to have %+v, and had %+v", h, on.Host)
			}
			if p.Tries() {
				t.Errorf("tries %v", p.Try)
			}
		}
		p = s.look(t, moment{after: 1, want: "4 a0 W"})
		if p.Host.TUN != "" || len(p.Host.Addrs) != 0 || !p.Ends().IsZero() || !p.Paused.Equal(since) {
			t.Errorf("half a minute later: paused since %v, until %v; the host is to have %+v", p.Paused, p.Ends(), p.Host)
		}
		if p = s.look(t, moment{pref64: "W@dns", want: "4 a0 W"}); !p.Paused.IsZero() || !p.Ends().IsZero() {
			t.Errorf("on, and paused since %v, until %v", p.Paused, p.Ends())
		}
	}
	s.config = "mode = 'off'"
	if p := s.look(t, moment{}); p.Host.TUN != "" || p.Code != "mode-off" {
		t.Errorf("%s: the host is to have %+v", p.Code, p.Host)
	}
}

// The uplink stays that of the plan as long as it is the same link, and nothing else is asked for.
func TestPausedUplink(t *testing.T) {
	const unrouted = "link lo l3\nlink eth0\naddr eth0 fe80::5/64\nheard eth0 advertised\n"
	for name, tt := range map[string]struct {
		config, lan, uplink string
		want                string
	}{
		"the same":                {"", unrouted, "eth0", "4 a0 W"},
		"it is named":             {"uplink = 'eth0'", unrouted, "eth0", "4 a0 W"},
		"another one is named":    {"uplink = 'wg0'", unrouted, "", "4 -"},
		"it is down":              {"", strings.Replace(unrouted, "link eth0", "link eth0 down", 1), "", "4 -"},
		"it lost its carrier":     {"", strings.Replace(unrouted, "link eth0", "link eth0 ups 1", 1), "", "4 -"},
		"another one of its name": {"", "link lo l3\nlink eth1\n" + strings.TrimPrefix(unrouted, "link lo l3\n"), "", "4 -"},
		"another interface.ipv4":  {"interface.ipv4 = '100.64.46.6'", unrouted, "", ""},
		"another interface.name":  {"interface.name = 'clat1'", unrouted, "eth0", "4 a0 W"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &story{}
			was := s.look(t, moment{host: one, pref64: "W@dns", trials: "a0 seen", want: "4 a0 W"})
			s.config = tt.config
			p := s.look(t, moment{lan: tt.lan, want: tt.want})
			if p.Code != "no-uplink" || p.Uplink.Name != tt.uplink || tt.uplink == "" && p.Uplink != (platform.Link{}) || p.Path != was.Path && tt.want != "" {
				t.Errorf("%s: by %+v on path %q", p.Code, p.Uplink, p.Path)
			}
		})
	}
}
