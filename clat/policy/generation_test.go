package policy

import (
	"testing"
	"time"
)

const (
	oldA = "addr eth0 2001:db8:1::5/64 autoconf deprecated\n"
	oldB = "addr eth0 2001:db8:2::5/64 autoconf deprecated\n"

	third = "addr eth0 2001:db8:3::5/64 autoconf\n"
)

// On path packet each generation has an IPv6 address of its own, which is tried first.
func TestGenerations(t *testing.T) {
	begin := moment{what: "a PREF64 from DNS", host: one, pref64: "W@dns", trials: "a0 seen", want: "4 a0 W"}
	better := []moment{
		begin,
		{what: "a router names another PREF64: an address for it is tried", pref64: "P@r1 W@dns", want: "4 a0 W try a0.6"},
		{what: "nobody has it", trials: "a0.6 probing", want: "4 a0 W try a0.6"},
		{what: "answers come back to it: it is for new connections", trials: "a0.6 seen", want: "6 a0.6 P (4 a0 W)"},
		{what: "and stays so", after: time.Minute, want: "6 a0.6 P (4 a0 W)"},
	}
	renumbered := []moment{
		{what: "one prefix", host: one, pref64: "W", trials: "a0 seen", want: "4 a0 W"},
		{what: "two of them", host: one + two, want: "4 a0 W"},
		{what: "the first is deprecated", host: oldA + two, want: "4 a0 W try b0.6"},
		{what: "the other one works", trials: "b0.6 seen", want: "6 b0.6 W (4 a0 W)"},
	}
	four := []moment{
		{what: "one", host: one, pref64: "W@dns", trials: "a0 seen, a0.6 seen", want: "4 a0 W"},
		{what: "two", after: time.Minute, pref64: "P@r1 W@dns", want: "6 a0.6 P (4 a0 W)"},
		{what: "three", after: time.Minute, host: oldA + two, trials: "b0.7 seen, b0.1 seen", want: "7 b0.7 P (6 a0.6 P) (4 a0 W)"},
		{what: "four", after: time.Minute, pref64: "Q P@r1 W@dns", want: "1 b0.1 Q (7 b0.7 P) (6 a0.6 P) (4 a0 W)"},
	}
	degraded := []moment{
		{what: "nothing comes back from either", host: one, pref64: "W@dns", trials: "a0 silent, a1 silent", want: "4 a1 W"},
		{what: "another PREF64, from where we are: nothing is lost by it", pref64: "P@r1 W@dns", want: "4 a1 P"},
		{what: "nor from another prefix", host: oldA + two, trials: "b0 silent, b1 silent", want: "4 a1 P"},
	}
	for _, tt := range []struct {
		name    string
		config  string
		moments []moment
	}{
		{name: "a better source", moments: better},
		{name: "renumbering", moments: renumbered},
		{name: "of the same source no PREF64 is better than the one in use", moments: []moment{
			begin,
			{what: "another resolver, which goes first", pref64: "P@dns W@dns", want: "4 a0 W"},
			{what: "the one in use goes", pref64: "P@dns", want: "4 a0 P"},
			{what: "and comes back", pref64: "W@dns P@dns", want: "4 a0 P"},
		}},
		{name: "configured goes before all", moments: []moment{
			{what: "by RA", host: one, pref64: "P@r1", trials: "a0 seen, a0.6 seen", want: "4 a0 P"},
			{what: "configured", pref64: "W P@r1", want: "6 a0.6 W (4 a0 P)"},
		}},
		{name: "the same PREF64 by a better source is no change", moments: []moment{
			begin,
			{what: "by RA as well", pref64: "W@r1 W@dns", want: "4 a0 W"},
			{what: "by RA alone", pref64: "W@r1", want: "4 a0 W"},
			{what: "by DNS again, and another one by RA", pref64: "P@r1 W@dns", want: "4 a0 W try a0.6"},
		}},

		{name: "the address for a better PREF64 is somebody's", moments: append(better[:2:2],
			moment{what: "somebody has it", trials: "a0.6 duplicate", want: "4 a0 W try a1.6"},
			moment{what: "the next one is ours", trials: "a1.6 seen", want: "6 a1.6 P (4 a0 W)"},
		)},
		{name: "nothing comes back through a better PREF64", moments: append(better[:2:2],
			moment{what: "silence", trials: "a0.6 silent", want: "4 a0 W try a1.6"},
			moment{what: "again: the one that works stays", trials: "a1.6 silent", want: "4 a0 W"},
			moment{what: "it does after all", trials: "a1.6 seen", want: "6 a1.6 P (4 a0 W)"},
		)},

		{name: "the PREF64 in use is withdrawn: its connections go on through another", moments: append(better[:5:5],
			moment{what: "lifetime 0", pref64: "W@dns", want: "4 a0 W (6 a0.6 W)"},
		)},
		{name: "withdrawn, and the other one was never in use", moments: []moment{
			{what: "two of one router", host: one, pref64: "P@r1 Q@r1", trials: "a0 seen", want: "4 a0 P"},
			{what: "the first is withdrawn: nothing is tried anew", pref64: "Q@r1", want: "4 a0 Q"},
		}},
		{name: "the PREF64 of an old generation is withdrawn", moments: append(better[:5:5],
			moment{what: "its connections go on through the other, from their own address", pref64: "P@r1", want: "6 a0.6 P (4 a0 P)"},
			moment{what: "it comes back, and means nothing to them", pref64: "P@r1 W@dns", want: "6 a0.6 P (4 a0 P)"},
		)},
		{name: "the old pair is the best again", moments: append(better[:5:5],
			moment{what: "the router names what was in use before", pref64: "W@r1 P@dns", want: "4 a0 W (6 a0.6 P)"},
			moment{what: "and changes its mind", pref64: "P@r1 W@dns", want: "6 a0.6 P (4 a0 W)"},
		)},
		{name: "also after renumbering", moments: append(renumbered[:4:4],
			moment{what: "the first is preferred again, the other one deprecated", host: one + oldB, want: "4 a0 W (6 b0.6 W)"},
			moment{what: "and the other way round", host: oldA + two, want: "6 b0.6 W (4 a0 W)"},
		)},
		{name: "an old generation whose address is lost is not taken up again", moments: append(better[:5:5],
			moment{what: "somebody takes the old address: another one is tried", trials: "a0 duplicate", want: "6 a0.6 P (4 - W) try a1"},
			moment{what: "its PREF64 is the best again", pref64: "W@r1 P@dns", want: "6 a0.6 P (4 - W) try a1 try a0.7"},
			moment{what: "its new address works", trials: "a1 seen", want: "4 a1 W (6 a0.6 P)"},
		)},

		{name: "a source in use goes: the same IPv4 addresses, another source", moments: []moment{
			{what: "two prefixes", host: one + two, pref64: "W", trials: "a0 seen", want: "4 a0 W"},
			{what: "the first is gone", host: two, want: "4 - W try b0"},
			{what: "the other one works", trials: "b0 seen", want: "4 b0 W"},
		}},
		{name: "a source that was known to work takes over at once", moments: []moment{
			{what: "two prefixes", host: one + two, pref64: "W", trials: "a0 seen, b0 seen", want: "4 a0 W"},
			{what: "the first is gone", host: two, want: "4 b0 W"},
		}},
		{name: "somebody takes the source in use", moments: []moment{
			{what: "one", host: one, pref64: "W", trials: "a0 seen", want: "4 a0 W"},
			{what: "conflict", trials: "a0 duplicate", want: "4 - W try a1"},
			{what: "resolved", trials: "a1 seen", want: "4 a1 W"},
		}},

		{name: "better sources that do not work", moments: append(renumbered[:3:3],
			moment{what: "somebody has it", trials: "b0.6 duplicate", want: "4 a0 W try b1.6"},
			moment{what: "nothing comes back", trials: "b1.6 silent", want: "4 a0 W try b2.6"},
			moment{what: "nor there: the deprecated one stays, and no other is tried of its prefix", trials: "b2.6 silent", want: "4 a0 W"},
			moment{what: "all are somebody's", trials: "b0.6 duplicate, b1.6 duplicate, b2.6 duplicate, b3.6 duplicate", want: "4 a0 W"},
		)},
		{name: "the second best source is used where the best does not work", moments: append(renumbered[:3:3],
			moment{what: "a third, with another label", host: oldA + two + local, want: "4 a0 W try b0.6"},
			moment{what: "the best does not work", trials: "b0.6 silent, b1.6 silent", want: "4 a0 W try u0.6"},
			moment{what: "the third does", trials: "u0.6 seen", want: "6 u0.6 W (4 a0 W) try b0.7"},
			moment{what: "the best does not for another one either", trials: "b0.7 silent, b1.7 silent", want: "6 u0.6 W (4 a0 W)"},
		)},
		{name: "a longer match is no reason", moments: []moment{
			{what: "one", host: two, pref64: "W", trials: "b0 seen", want: "4 b0 W"},
			{what: "one that is as good and stands first", host: one + two, want: "4 b0 W"},
		}},
		{name: "nor for another PREF64", moments: []moment{
			{what: "one", host: one + two, pref64: "W@dns", trials: "a0 seen", want: "4 a0 W"},
		}},

		{name: "an old generation that nobody uses goes after 10 minutes", moments: append(better[:5:5],
			moment{after: 8*time.Minute + 59*time.Second, what: "almost", want: "6 a0.6 P (4 a0 W)"},
			moment{after: time.Second, what: "now", want: "6 a0.6 P"},
		)},
		{name: "one that is in use stays", moments: append(better[:5:5],
			moment{after: 5 * time.Minute, what: "in use", used: "4 6", want: "6 a0.6 P (4 a0 W)"},
			moment{after: 9*time.Minute + 59*time.Second, what: "almost", want: "6 a0.6 P (4 a0 W)"},
			moment{after: time.Second, what: "10 minutes later", want: "6 a0.6 P"},
		)},
		{name: "what was used before it was old does not shorten that", moments: append(better[:5:5],
			moment{what: "long ago", after: time.Minute, want: "6 a0.6 P (4 a0 W)"},
		)},
		{name: "two hours are the most", moments: append(better[:5:5],
			moment{after: 2*time.Hour - time.Minute - time.Second, what: "in use", used: "4 6", want: "6 a0.6 P (4 a0 W)"},
			moment{after: time.Second, what: "still", used: "4 6", want: "6 a0.6 P"},
		)},
		{name: "the current one has no such end", moments: []moment{
			begin,
			{after: 24 * time.Hour, what: "a day without a packet", want: "4 a0 W"},
		}},

		{name: "four at most", moments: append(four[:4:4],
			moment{what: "a change that needs none", after: time.Minute, pref64: "R P@r1 W@dns", want: "1 b0.1 R (7 b0.7 P) (6 a0.6 P) (4 a0 W)"},
			moment{what: "the fifth is tried, in place of the oldest", after: time.Minute, host: oldA + oldB + third,
				want: "1 b0.1 R (7 b0.7 P) (6 a0.6 P) (4 a0 W) try c0"},
			moment{what: "it works, and has the IPv4 address of the oldest", trials: "c0 seen", want: "4 c0 R (1 b0.1 R) (7 b0.7 P) (6 a0.6 P)"},
		)},
		{name: "of four all but one lose their addresses", moments: append(four[:4:4],
			moment{what: "a is gone: both that were there go on from b", host: two, want: "1 b0.1 Q (7 b0.7 P) (6 - P) (4 - W) try b0.6 try b0"},
			moment{what: "one after the other", trials: "b0 seen", want: "1 b0.1 Q (7 b0.7 P) (6 - P) (4 b0 W) try b0.6"},
			moment{what: "another prefix in place of b", host: third, trials: "c0.1 seen",
				want: "1 c0.1 Q (7 - P) (6 - P) (4 - W) try c0.7 try c0.6 try c0"},
		)},
		{name: "somebody takes the current address: the old generation is for new connections", moments: append(better[:5:5],
			moment{what: "a conflict", trials: "a0.6 duplicate", want: "4 a0 W (6 - P) try a1.6 try a0.7"},
			moment{what: "another one works", trials: "a1.6 seen", want: "6 a1.6 P (4 a0 W)"},
		)},
		{name: "and where its PREF64 is gone as well", moments: append(better[:5:5],
			moment{what: "a conflict", pref64: "P@r1", trials: "a0.6 duplicate", want: "4 a0 P (6 - P) try a1.6"},
		)},

		{name: "degraded", moments: append(degraded[:3:3],
			moment{what: "something comes back", trials: "b1 seen", want: "4 b1 P"},
		)},
		{name: "degraded, and then all works", moments: append(degraded[:3:3],
			moment{what: "also from an address for a generation more", trials: "a0 seen, b0.6 seen", want: "6 b0.6 P (4 a0 P)"},
		)},
		{name: "an old generation is degraded", moments: append(better[:5:5],
			moment{what: "its PREF64 is the best again", trials: "a0 silent", pref64: "W@r1 P@dns", want: "6 a0.6 P (4 a0 W) try a0.7"},
		)},

		{name: "nothing comes back through the one in use", moments: append(better[:5:5],
			moment{what: "the other carries all at once", suspect: "P", want: "4 a0 W (6 a0.6 W)"},
			moment{what: "it is believed again", suspect: "-", want: "4 a0 W (6 a0.6 W) try a0.7"},
		)},
		{name: "nothing comes back, and there is no other", moments: []moment{
			begin,
			{what: "suspect", suspect: "W", want: "4 a0 W"},
			{what: "another one comes", pref64: "W@dns P@dns", want: "4 a0 P"},
			{what: "which is no better", suspect: "W P", want: "4 a0 P"},
		}},
		{name: "what carries nothing is not begun with", moments: []moment{
			{what: "suspect, from before", host: one, pref64: "P@r1 W@dns", suspect: "P", trials: "a0 seen", want: "4 a0 W"},
		}},

		{name: "no PREF64 for a while", moments: append(better[:5:5],
			moment{what: "all are gone: the addresses stay ours", pref64: "-", want: "6 a0.6 P (4 a0 W)"},
			moment{what: "for long, but for the old one", after: time.Hour, want: "6 a0.6 P"},
			moment{what: "one is back, and is used at once", pref64: "P@r1", want: "6 a0.6 P"},
		)},
		{name: "all PREF64s change at once: new connections stay where they are", moments: append(better[:5:5],
			moment{what: "two others", pref64: "Q@r1 R@dns", want: "6 a0.6 Q (4 a0 Q)"},
		)},
		{name: "no PREF64, and the address is lost meanwhile", moments: []moment{
			begin,
			{what: "gone", pref64: "-", want: "4 a0 W"},
			{what: "somebody takes the address", trials: "a0 duplicate", want: "4 - W"},
			{what: "back", pref64: "W@dns", want: "4 - W try a1"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { tell(t, tt.config, tt.moments) })
	}
}

// Where the IPv6 address is configured there is one, or a prefix of them, and nothing to be tried on path kernel.
func TestGenerationsOfAConfiguredAddress(t *testing.T) {
	const (
		shared = "2001:db8:c1a7::46"
		v4, v6 = "2001:db8:c1a7:0:64:402e:400:0", "2001:db8:c1a7:0:64:402e:600:0" // what stands for 100.64.46.4 and 100.64.46.6

		link4, link6 = "2001:db8:1:0:64:402e:400:0", "2001:db8:1:0:64:402e:600:0" // where the prefix is that of the link

		clients = "100.64.0.0/10 2001:db8:c1a7::/64"
	)
	for _, tt := range []struct {
		name, config string
		moments      []moment
	}{
		{"one address: generations share it, and differ in the PREF64", "address.ipv6 = '" + shared + "'", []moment{
			{what: "by DNS", host: one, pref64: "W@dns", want: "4 " + shared + " W"},
			{what: "by RA", pref64: "P@r1 W@dns", want: "6 " + shared + " P (4 " + shared + " W)"},
			{what: "a third", pref64: "Q P@r1 W@dns", want: "7 " + shared + " Q (6 " + shared + " P) (4 " + shared + " W)", after: time.Minute},
			{what: "the second is the best again", pref64: "P W@dns", want: "6 " + shared + " P (4 " + shared + " W)"},
			{what: "which is withdrawn: the pair of the old one is what is left", pref64: "W@dns", want: "4 " + shared + " W"},
			{what: "none is left: the IPv4 address is remembered", pref64: "-", want: "4 " + shared + " W"},
			{what: "and used at once", pref64: "Q@r1", want: "4 " + shared + " Q"},
		}},
		{"one address: of two old ones that lose their PREF64 one goes on", "address.ipv6 = '" + shared + "'", []moment{
			{what: "by DNS", host: one, pref64: "W@dns", want: "4 " + shared + " W"},
			{what: "by RA", pref64: "P@r1 W@dns", want: "6 " + shared + " P (4 " + shared + " W)"},
			{what: "by hand", pref64: "Q P@r1 W@dns", want: "7 " + shared + " Q (6 " + shared + " P) (4 " + shared + " W)"},
			{what: "what is old dies, and its pair would be the current one's", pref64: "Q", want: "7 " + shared + " Q"},
		}},
		{"one address: what dies leaves its IPv4 address to the new PREF64", "address.ipv6 = '" + shared + "'", []moment{
			{what: "one", host: one, pref64: "P@r1", want: "4 " + shared + " P"},
			{what: "another takes its place", pref64: "Q@r1", want: "4 " + shared + " Q"},
			{what: "remembered, on the IPv4 address in use", pref64: "W Q@r1", want: "6 " + shared + " W (4 " + shared + " Q)"},
			{what: "none", pref64: "-", want: "6 " + shared + " W (4 " + shared + " Q)"},
			{what: "one", pref64: "P@r1", want: "6 " + shared + " P"},
		}},
		{"a prefix: each has its own", routed, []moment{
			{what: "by DNS", host: one, pref64: "W@dns", want: "4 " + v4 + " W"},
			{what: "by RA", pref64: "P@r1 W@dns", want: "6 " + v6 + " P (4 " + v4 + " W)"},
			{what: "the older one's is withdrawn", pref64: "P@r1", want: "6 " + v6 + " P (4 " + v4 + " P)"},
			{what: "and nobody uses it", after: 10 * time.Minute, want: "6 " + v6 + " P"},
		}},
		{"a prefix whose addresses lie in different /64s", "address.ipv6 = '2001:db9::/32'", []moment{
			{what: "by DNS", host: one, pref64: "W@dns", want: "4 2001:db9:6440:2e04:: W"},
			{what: "by RA", pref64: "P@r1 W@dns", want: "6 2001:db9:6440:2e06:: P (4 2001:db9:6440:2e04:: W)"},
			{what: "back", pref64: "W@r1 P@dns", want: "4 2001:db9:6440:2e04:: W (6 2001:db9:6440:2e06:: P)"},
		}},
		{"clients: there is one generation, and the PREF64 changes at once", routed + "interface.ipv4 = '100.64.0.0/10'", []moment{
			{what: "by DNS", host: one, pref64: "W@dns", want: clients + " W"},
			{what: "by RA", pref64: "P@r1 W@dns", want: clients + " P"},
			{what: "withdrawn", pref64: "W@dns", want: clients + " W"},
		}},
		{"a prefix of the link: each address is tried", "address.ipv6 = '2001:db8:1::/64'", []moment{
			{what: "by DNS", host: one, pref64: "W@dns", trials: link4 + " seen", want: "4 " + link4 + " W"},
			{what: "by RA", pref64: "P@r1 W@dns", want: "4 " + link4 + " W try " + link6},
			{what: "the second works", trials: link6 + " seen", want: "6 " + link6 + " P (4 " + link4 + " W)"},
			{what: "somebody takes the first: there is no other", trials: link4 + " duplicate", want: "6 " + link6 + " P"},
		}},
		{"an address of the link, which is tried once", "address.ipv6 = '2001:db8:1::46'", []moment{
			{what: "it is tried", host: one, pref64: "W@dns", want: "try 2001:db8:1::46"},
			{what: "it works", trials: "2001:db8:1::46 seen", want: "4 2001:db8:1::46 W"},
			{what: "by RA", pref64: "P@r1 W@dns", want: "6 2001:db8:1::46 P (4 2001:db8:1::46 W)"},
			{what: "somebody has it: off, and nothing else is tried", trials: "2001:db8:1::46 duplicate", want: ""},
			{what: "he leaves", trials: "2001:db8:1::46 seen", want: "4 2001:db8:1::46 P"},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) { tell(t, tt.config, tt.moments) })
	}
}

// Another link is another network, and another path is another address: connections are lost, but not the IPv4 addresses that sockets are bound to.
func TestGenerationsElsewhere(t *testing.T) {
	for what, change := range map[string]func(*Plan){
		"nothing":                        func(*Plan) {},
		"another link":                   func(p *Plan) { p.Uplink.Index = 7 },
		"another one of the same number": func(p *Plan) { p.Uplink.Name = "eth7" },
		"another path":                   func(p *Plan) { p.Path = "kernel" },
	} {
		t.Run(what, func(t *testing.T) {
			s := &story{}
			s.look(t, moment{host: one, pref64: "W@dns", trials: "a0 seen, a0.6 seen", want: "4 a0 W"})
			s.look(t, moment{pref64: "P@r1 W@dns", want: "6 a0.6 P (4 a0 W)"})
			change(&s.plan)
			want := "6 a0.6 P (4 a0 P)"
			if what == "nothing" {
				want = "6 a0.6 P (4 a0 W)"
			}
			s.look(t, moment{want: want})
		})
	}
}

// A new configuration is in force at once: what it does not name is not ours.
func TestGenerationsReload(t *testing.T) {
	const clients = "interface.ipv4 = '100.64.0.0/10'\n"
	s := &story{config: clients + "address.ipv6 = '2001:db8:c1a7::/96'"}
	s.look(t, moment{host: one, pref64: "W@dns", want: "100.64.0.0/10 2001:db8:c1a7::/96 W"})
	s.config = clients + routed
	s.look(t, moment{want: "100.64.0.0/10 2001:db8:c1a7::/64 W"})
	s.config = routed
	s.look(t, moment{want: "4 2001:db8:c1a7:0:64:402e:400:0 W"})
	s.config = "address.ipv6 = '2001:db8:c1a7::46'"
	s.look(t, moment{want: "4 2001:db8:c1a7::46 W"})

	s = &story{}
	s.look(t, moment{host: one, pref64: "W@dns", trials: "a0 seen, a0.6 seen", want: "4 a0 W"})
	s.look(t, moment{pref64: "P@r1 W@dns", want: "6 a0.6 P (4 a0 W)"})
	s.config = "interface.ipv4 = '100.64.46.6'" // which was in use, and for something else
	s.look(t, moment{want: "6 a0 P"})
}
