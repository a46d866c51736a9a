package policy

import (
	"strings"
	"testing"
	"time"
)

// A laptop's day, line by line: what is seen, and what is to be.
func TestDay(t *testing.T) {
	const (
		base  = "link lo l3\nlink eth0 hardware 02:00:5e:10:00:05\naddr lo ::1/128\n"
		bare  = base + "addr eth0 fe80::5/64\nroute eth0 ::/0 via fe80::1 metric 1024\n"
		a, b  = "2001:db8:1::/64", "2001:db8:2::/64"
		homeA = bare + "addr eth0 2001:db8:1::5/64 autoconf\n"
		homeB = bare + "addr eth0 2001:db8:2::5/64 autoconf\n"
		both  = homeB + "addr eth0 2001:db8:1::5/64 autoconf\n"
		oldA  = homeB + "addr eth0 2001:db8:1::5/64 autoconf deprecated\n"
		says  = "heard eth0 advertised\nannounced eth0 fe80::1 "
		saysA = says + a + " preferred 14h30m\n" // until half past two the next morning: the lines are read at noon
		saysB = says + b + "\nannounced eth0 fe80::1 " + a + " preferred 5h\n"
		onlyB = says + b + "\n"
		on    = "IPv4 through eth0, PREF64 64:ff9b::/96 (configured), as "
	)
	var was Plan
	for _, tt := range []struct {
		at, what  string
		seen      string
		trials    string
		code, why string
		try, use  string // names, those of Try separated by spaces
		noPREF64  bool
	}{
		{at: "07:00", what: "the cable is not in yet", seen: strings.Replace(base, "eth0", "eth0 down", 1),
			code: "no-uplink", why: "waiting: no interface has an IPv6 default route"},
		{at: "07:01", what: "a router is there, the addresses are tentative", seen: bare + "addr eth0 2001:db8:1::5/64 autoconf tentative\n",
			code: "no-ipv6-address", why: "waiting: no interface has a global IPv6 address yet"},
		{at: "07:01", what: "no resolver has answered", seen: homeA, noPREF64: true, code: "no-pref64", why: "waiting: no PREF64 on eth0: none is configured"},
		{at: "07:01", what: "user space made the address, routers are not heard yet", seen: bare + "addr eth0 2001:db8:1::5/64\n",
			code: "asking-routers", why: "starting: asking the routers on eth0 whether hosts may choose their addresses there"},
		{at: "07:02", what: "they may", seen: homeA + saysA, code: "checking-address",
			why: "starting: seeing whether " + a + "#0 is free on eth0", try: a + "#0"},
		{at: "07:02", what: "nobody has it", seen: homeA + saysA, trials: a + "#0 probing", code: "probing",
			why: "starting: seeing whether answers come back to " + a + "#0 on eth0", try: a + "#0"},
		{at: "07:02", what: "answers come back", seen: homeA + saysA, trials: a + "#0 seen", code: "on", why: "on: " + on + a + "#0, path packet",
			try: a + "#0", use: a + "#0"},
		{at: "09:00", what: "somebody claims it", seen: homeA + saysA, trials: a + "#0 duplicate by 02:00:5e:10:00:66", code: "checking-address",
			why: "starting: seeing whether " + a + "#1 is free on eth0", try: a + "#1"},
		{at: "09:00", what: "the next one is ours", seen: homeA + saysA, trials: a + "#0 duplicate, " + a + "#1 seen", code: "on",
			why: "on: " + on + a + "#1, path packet", try: a + "#1", use: a + "#1"},
		{at: "14:00", what: "another prefix, and both are preferred", seen: both + saysB, trials: a + "#0 duplicate, " + a + "#1 seen", code: "on",
			why: "on: " + on + a + "#1, path packet", try: a + "#1", use: a + "#1"},
		{at: "17:00", what: "the old one is deprecated", seen: oldA + saysB, trials: a + "#0 duplicate, " + a + "#1 seen", code: "on",
			why: "on: " + on + a + "#1, path packet", try: b + "#0.6 " + a + "#1", use: a + "#1"},
		{at: "17:00", what: "the new address is free", seen: oldA + saysB, trials: a + "#0 duplicate, " + a + "#1 seen, " + b + "#0.6 probing", code: "on",
			why: "on: " + on + a + "#1, path packet", try: b + "#0.6 " + a + "#1", use: a + "#1"},
		{at: "17:01", what: "answers come back to it, and the old one goes on", seen: oldA + saysB, trials: a + "#1 seen, " + b + "#0.6 seen", code: "on",
			why: "on: " + on + b + "#0.6, path packet", try: b + "#0.6 " + a + "#1", use: b + "#0.6"},
		{at: "17:11", what: "nobody uses that any more", seen: oldA + saysB, trials: a + "#1 seen, " + b + "#0.6 seen", code: "on",
			why: "on: " + on + b + "#0.6, path packet", try: b + "#0.6", use: b + "#0.6"},
		{at: "19:00", what: "the old prefix is gone", seen: homeB + onlyB, trials: a + "#0 duplicate, " + b + "#0.6 seen", code: "on",
			why: "on: " + on + b + "#0.6, path packet", try: b + "#0.6", use: b + "#0.6"},
		{at: "19:30", what: "the PREF64 is gone for a while: the address is held", seen: homeB + onlyB, trials: b + "#0.6 seen", noPREF64: true, code: "no-pref64",
			why: "waiting: no PREF64", try: b + "#0.6"},
		{at: "19:40", what: "and is there again", seen: homeB + onlyB, trials: b + "#0.6 seen", code: "on",
			why: "on: " + on + b + "#0.6, path packet", try: b + "#0.6", use: b + "#0.6"},
		{at: "20:00", what: "native IPv4 comes", seen: homeB + onlyB + "route eth0 0.0.0.0/0 via 192.168.1.1 metric 100\n", trials: b + "#0 seen",
			code: "native-ipv4", why: "off: this network has IPv4 itself, by 192.168.1.1 on eth0 (--mode on runs beside it)"},
		{at: "21:00", what: "and goes: the address that was ours is tried again", seen: homeB + onlyB, code: "checking-address",
			why: "starting: seeing whether " + b + "#0 is free on eth0", try: b + "#0"},
		{at: "21:00", what: "but nothing comes back", seen: homeB + onlyB, trials: b + "#0 silent", code: "checking-address",
			why: "starting: seeing whether " + b + "#1 is free on eth0", try: b + "#1"},
		{at: "21:01", what: "nor to another", seen: homeB + onlyB, trials: b + "#0 silent, " + b + "#1 silent no answer to 3 echo requests", code: "degraded",
			why: "on, degraded: " + on + b + "#1, path packet: no answer to 3 echo requests", try: b + "#1", use: b + "#1"},
		{at: "21:05", what: "the PLAT is back", seen: homeB + onlyB, trials: b + "#0 silent, " + b + "#1 seen", code: "on",
			why: "on: " + on + b + "#1, path packet", try: b + "#1", use: b + "#1"},
		{at: "22:00", what: "a VPN with the better route", seen: homeB + onlyB + "link wg0 l3\nroute wg0 ::/0 metric 1\n", trials: b + "#0 silent, " + b + "#1 seen",
			code: "on", why: "on: " + on + b + "#1, path packet", try: b + "#1", use: b + "#1"},
		{at: "23:00", what: "the network lets nobody choose any more", seen: homeB + "heard eth0 advertised\nannounced eth0 fe80::1 " + b + " A=0\n",
			trials: b + "#1 seen", code: "one-address", why: "off: this network gives one address only: routers announce " + b +
				", but not for autoconfiguration (A=0)"},
		{at: "23:30", what: "the cable is out", seen: base, code: "no-uplink", why: "waiting: no interface has an IPv6 default route"},
	} {
		t.Run(tt.at+" "+tt.what, func(t *testing.T) {
			plat := wkp
			if tt.noPREF64 {
				plat = ""
			}
			in := seen(t, "", tt.seen+trials("eth0", tt.trials), plat)
			clock, err := time.Parse("15:04", tt.at)
			if err != nil {
				t.Fatal(err)
			}
			in.Now = noon.Add(time.Duration(clock.Hour()-12)*time.Hour + time.Duration(clock.Minute())*time.Minute)
			in.Was = was
			p := Decide(in)
			was = p
			checkWhole(t, in, p)
			var try []string
			for _, h := range p.Try {
				try = append(try, shortPrefix(h.Addrs))
			}
			use := ""
			if p.On {
				use = p.Ours().Addr().String()
			}
			if why := withNames(in, p.Why); p.Code != tt.code || !strings.HasPrefix(why, tt.why) {
				t.Errorf("got  %s  %s\nwant %s  %s", p.Code, why, tt.code, tt.why)
			}
			if try, use := withNames(in, strings.Join(try, " ")), withNames(in, use); try != tt.try || use != tt.use {
				t.Errorf("tries %q and uses %q, want %q and %q", try, use, tt.try, tt.use)
			}
		})
	}
}

// A network's day, as a host there lives it: it renumbers, its PREF64 changes, routers come and go, and a connection lives as long as it can.
func TestNetworkDay(t *testing.T) {
	const (
		first  = "announced eth0 fe80::1 2001:db8:1::/64\n"
		second = "route eth0 ::/0 via fe80::2\nannounced eth0 fe80::2 2001:db8:2::/64\n"
		old    = "announced eth0 fe80::1 2001:db8:1::/64 preferred -1h\nannounced eth0 fe80::1 2001:db8:3::/64\n"
		new    = "announced eth0 fe80::1 2001:db8:3::/64\n"
	)
	tell(t, "", []moment{
		{what: "morning: a prefix, and nobody knows a PREF64", host: one + first, want: ""},
		{what: "a resolver does", pref64: "W@dns", want: "try a0"},
		{what: "the address is ours", trials: "a0 seen", want: "4 a0 W"},
		{after: time.Hour, what: "the router is updated, and announces a PREF64", pref64: "P@r1 W@dns", want: "4 a0 W try a0.6"},
		{after: time.Second, what: "it carries packets: new connections go there", trials: "a0.6 seen", want: "6 a0.6 P (4 a0 W)"},
		{after: 9 * time.Minute, what: "a download goes on through the old one", used: "4 6", want: "6 a0.6 P (4 a0 W)"},
		{after: 30 * time.Second, what: "somebody announces another one, who is no router of ours", pref64: "Q@rogue P@r1 W@dns", want: "6 a0.6 P (4 a0 W)"},
		{after: 5 * time.Minute, what: "the resolver is updated, too", pref64: "P@r1 P@dns", want: "6 a0.6 P (4 a0 P)"},
		{after: 10 * time.Minute, what: "the download is over", used: "6", want: "6 a0.6 P"},

		{after: time.Hour, what: "noon: a second router, with a prefix and a PREF64 of its own", host: one + two + first + second, pref64: "P@r1 Q@r2 P@dns",
			want: "6 a0.6 P"},
		{after: time.Minute, what: "the PREF64 moves there: at once, from where we are", pref64: "Q@r2 Q@dns", want: "6 a0.6 Q try b0.6"},
		{after: time.Second, what: "and then from its prefix, so that its filter lets us through", trials: "b0.6 seen", want: "6 b0.6 Q"},
		{after: time.Minute, what: "the first one announces its own again", pref64: "P@r1 Q@r2 Q@dns", want: "6 b0.6 Q"},
		{after: time.Minute, what: "the NAT64 of the second one is a black hole", suspect: "Q", trials: "a0.6 probing", want: "6 b0.6 P try a0.6"},
		{after: time.Second, what: "the first one lets us through from its own prefix", trials: "a0.6 seen", want: "6 a0.6 P"},
		{after: 5 * time.Minute, what: "it works again, which is no reason to go back", suspect: "-", want: "6 a0.6 P"},
		{after: time.Second, what: "the second router is gone, and its prefix with it", host: one + first, pref64: "P@r1 P@dns", want: "6 a0.6 P"},

		{after: 3 * time.Hour, what: "afternoon: nobody uses the old one any more", used: "6", want: "6 a0.6 P"},
		{after: time.Hour, what: "the network renumbers", host: oldA + third + old, want: "6 a0.6 P try c0"},
		{after: time.Second, what: "somebody has the first new address", trials: "c0 duplicate", want: "6 a0.6 P try c1"},
		{after: time.Second, what: "nobody the next one", trials: "c1 seen", want: "4 c1 P (6 a0.6 P)"},
		{after: time.Hour, what: "a call goes on", used: "4 6", want: "4 c1 P (6 a0.6 P)"},
		{after: 5 * time.Minute, what: "the old prefix is no more: the call moves", host: third + new, want: "4 c1 P (6 - P) try c0.6"},
		{after: time.Second, what: "and goes on from another address", trials: "c0.6 seen", used: "6", want: "4 c1 P (6 c0.6 P)"},
		{after: 54 * time.Minute, what: "two hours, almost", used: "4 6", want: "4 c1 P (6 c0.6 P)"},
		{after: time.Hour, what: "two hours: whoever talks so long begins anew", used: "4 6", want: "4 c1 P"},

		{after: time.Hour, what: "night: the router reboots, and says that it is none any more", pref64: "-", want: "4 c1 P"},
		{after: time.Minute, what: "it is back: no address has to be tried", pref64: "P@r1", want: "4 c1 P"},
		{after: time.Minute, what: "it announces a PREF64 of another length", pref64: "T@r1", want: "4 c1 T"},
		{after: time.Hour, what: "somebody pulls the cable, and puts it in elsewhere", host: one + first, pref64: "W@r1", trials: "a0 seen", want: "4 a0 W"},
	})
}
