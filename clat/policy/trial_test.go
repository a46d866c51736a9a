package policy

import (
	"strings"
	"testing"
)

// One prefix: its addresses are tried in turn.
func TestTrial(t *testing.T) {
	const (
		first, second = "2001:db8:1::/64#0", "2001:db8:1::/64#1"

		checking = "checking-address  starting: seeing whether %s is free on eth0\ntry %s ND"
		on       = "on  on: " + through0 + "%s, path packet\ntry %s ND\nuse %s as %s, errors from %s"
		silence  = "no answer to 3 echo requests"
		degraded = "degraded  on, degraded: " + through0 + "%s, path packet: " + silence + "\ntry %s ND\nuse %s as %s, errors from %s"
		taken    = "duplicate-address  off: no address is free on eth0: all 4 addresses that were tried in 2001:db8:1::/64 are taken"
	)
	with := func(format, address string) string { return strings.ReplaceAll(format, "%s", address) }
	for _, tt := range []struct{ name, trials, want string }{
		{"nothing tried yet", "", with(checking, first)},
		{"it is being seen whether it is free", first + " checking", with(checking, first)},
		{"it is, and whether answers come back", first + " probing",
			"probing  starting: seeing whether answers come back to " + first + " on eth0\ntry " + first + " ND"},
		{"they do", first + " seen", with(on, first)},

		{"somebody has it", first + " duplicate by 02:00:5e:10:00:09", with(checking, second)},
		{"and the next is tried as the first was", first + " duplicate, " + second + " probing",
			"probing  starting: seeing whether answers come back to " + second + " on eth0\ntry " + second + " ND"},
		{"and that one is used", first + " duplicate, " + second + " seen", with(on, second)},
		{"somebody has three", first + " duplicate, " + second + " duplicate, 2001:db8:1::/64#2 duplicate", with(checking, "2001:db8:1::/64#3")},
		{"the last is used", first + " duplicate, " + second + " duplicate, 2001:db8:1::/64#2 duplicate, 2001:db8:1::/64#3 seen",
			with(on, "2001:db8:1::/64#3")},
		{"all are taken (RFC 7217, 6)", first + " duplicate, " + second + " duplicate, 2001:db8:1::/64#2 duplicate, 2001:db8:1::/64#3 duplicate", taken},

		{"nothing comes back: another is tried", first + " silent " + silence, with(checking, second)},
		{"and to that one it does", first + " silent " + silence + ", " + second + " seen", with(on, second)},
		{"nor to that one: it is used all the same", first + " silent, " + second + " silent " + silence, with(degraded, second)},
		{"and then it does", first + " silent " + silence + ", " + second + " seen", with(on, second)},
		{"not more than two", first + " silent, " + second + " silent " + silence + ", 2001:db8:1::/64#2 seen", with(degraded, second)},
		{"the first, when it is asked again", first + " seen, " + second + " silent", with(on, first)},

		{"silent, and the next is taken", first + " silent, " + second + " duplicate", with(checking, "2001:db8:1::/64#2")},
		{"taken, and the next is silent", first + " duplicate, " + second + " silent", with(checking, "2001:db8:1::/64#2")},
		{"the last is silent, and so used", first + " duplicate, " + second + " duplicate, 2001:db8:1::/64#2 duplicate, 2001:db8:1::/64#3 silent " +
			silence, with(degraded, "2001:db8:1::/64#3")},
		{"silent, and all others are taken: it is ours after all", first + " silent " + silence + ", " + second +
			" duplicate, 2001:db8:1::/64#2 duplicate, 2001:db8:1::/64#3 duplicate", with(degraded, first)},

		{"what is known of the address on another link", "", with(checking, first) + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			expect(t, seen(t, "", lan+one+trials("eth0", tt.trials)+"link eth1\ntrial eth1 "+addressNamed(first, "eth0").String()+" duplicate", wkp),
				tt.want)
		})
	}
}

// trials are lines that seen reads, of trials separated by commas.
func trials(link, text string) (lines string) {
	for one := range strings.SplitSeq(text, ", ") {
		if one != "" {
			lines += "trial " + link + " " + one + "\n"
		}
	}
	return lines + "\n"
}

// Several prefixes: a better address is tried beside the one in use, and takes over when answers have come back to it.
func TestTrials(t *testing.T) {
	const (
		a0, a1, b0, b1, l0 = "2001:db8:1::/64#0", "2001:db8:1::/64#1", "2001:db8:2::/64#0", "2001:db8:2::/64#1", "fd00:1::/64#0"
		n0, n1, s0         = b0 + ".6", b1 + ".6", a0 + ".6" // of the next generation

		on       = "on  on: " + through0
		degraded = "degraded  on, degraded: " + through0
		useA0    = "use " + a0 + " as " + a0 + ", errors from " + a0
		useA1    = "use " + a1 + " as " + a1 + ", errors from " + a1
		useN0    = "use " + n0 + " as " + n0 + ", errors from " + n0
		useB0    = "use " + b0 + " as " + b0 + ", errors from " + b0
		useL0    = "use " + l0 + " as " + l0 + ", errors from " + l0

		renumbered = "addr eth0 2001:db8:1::5/64 autoconf deprecated\n" + two
		allTaken   = "#0 duplicate, %s#1 duplicate, %s#2 duplicate, %s#3 duplicate"
	)
	takenIn := func(prefix string) string { return prefix + strings.ReplaceAll(allTaken, "%s", prefix) }
	for _, tt := range []struct{ name, host, trials, want string }{
		{"the best is tried first, and alone", one + two + local, "",
			"checking-address  starting: seeing whether " + a0 + " is free on eth0\ntry " + a0 + " ND"},
		{"and used", one + two + local, a0 + " seen", on + a0 + ", path packet\ntry " + a0 + " ND\n" + useA0},

		{"the prefix of the one in use is deprecated: its successor is tried", renumbered, a0 + " seen",
			on + a0 + ", path packet\ntry " + n0 + " ND\ntry " + a0 + " ND\n" + useA0},
		{"is free", renumbered, a0 + " seen, " + n0 + " probing", on + a0 + ", path packet\ntry " + n0 + " ND\ntry " + a0 + " ND\n" + useA0},
		{"takes over", renumbered, a0 + " seen, " + n0 + " seen", on + n0 + ", path packet\ntry " + n0 + " ND\ntry " + a0 + " ND\n" + useN0},
		{"at the start what works is used", renumbered, a0 + " seen, " + b0 + " seen", on + b0 + ", path packet\ntry " + b0 + " ND\n" + useB0},
		{"the old one is forgotten", renumbered, b0 + " seen", on + b0 + ", path packet\ntry " + b0 + " ND\n" + useB0},
		{"the successor is taken: another one is tried", renumbered, a0 + " seen, " + n0 + " duplicate",
			on + a0 + ", path packet\ntry " + n1 + " ND\ntry " + a0 + " ND\n" + useA0},
		{"all successors are taken: it stays", renumbered, a0 + " seen, " + strings.ReplaceAll(takenIn("2001:db8:2::/64"), " dup", ".6 dup"),
			on + a0 + ", path packet\ntry " + a0 + " ND\n" + useA0},
		{"nothing comes back to the successor: another one is tried", renumbered, a0 + " seen, " + n0 + " silent",
			on + a0 + ", path packet\ntry " + n1 + " ND\ntry " + a0 + " ND\n" + useA0},
		{"nor to that one: it stays", renumbered, a0 + " seen, " + n0 + " silent, " + n1 + " silent",
			on + a0 + ", path packet\ntry " + a0 + " ND\n" + useA0},
		{"the old prefix is gone: the new one is used", two, a0 + " seen, " + b0 + " silent, " + b1 + " silent no answer",
			degraded + b1 + ", path packet: no answer\ntry " + b1 + " ND\nuse " + b1 + " as " + b1 + ", errors from " + b1},

		{"nothing comes back to the one in use: that of another prefix is tried beside it", one + local, a0 + " silent, " + a1 + " silent no answer",
			degraded + a1 + ", path packet: no answer\ntry " + l0 + " ND\ntry " + a1 + " ND\n" + useA1},
		{"and taken where something does", one + local, a0 + " silent, " + a1 + " silent no answer, " + l0 + " seen",
			on + l0 + ", path packet\ntry " + s0 + " ND\ntry " + l0 + " ND\n" + useL0},
		{"nor there: the better prefix", one + local, a0 + " silent, " + a1 + " silent no answer, " + l0 + " silent, fd00:1::/64#1 silent",
			degraded + a1 + ", path packet: no answer\ntry " + a1 + " ND\n" + useA1},
		{"one after the other", one + local, a0 + " silent", "checking-address  starting: seeing whether " + a1 + " is free on eth0\ntry " + a1 + " ND"},
		{"the first one answers late", one + local, a0 + " silent, " + a1 + " seen, " + l0 + " seen",
			on + a1 + ", path packet\ntry " + a1 + " ND\n" + useA1},

		{"somebody takes the one in use: the next of its prefix", one + local, a0 + " duplicate",
			"checking-address  starting: seeing whether " + a1 + " is free on eth0\ntry " + a1 + " ND"},
		{"meanwhile the other prefix goes on", one + local, a0 + " duplicate, " + l0 + " seen",
			on + l0 + ", path packet\ntry " + s0 + " ND\ntry " + l0 + " ND\n" + useL0},
		{"all of one prefix are taken: the other one", one + local, takenIn("2001:db8:1::/64"),
			"checking-address  starting: seeing whether " + l0 + " is free on eth0\ntry " + l0 + " ND"},
		{"all of both", one + local, takenIn("2001:db8:1::/64") + ", " + takenIn("fd00:1::/64"), "duplicate-address  off: no address is free on eth0: " +
			"all 4 addresses that were tried in 2001:db8:1::/64 are taken; all 4 addresses that were tried in fd00:1::/64 are taken"},
		{"all of one, and routers may announce another", one + "heard eth0 unknown", takenIn("2001:db8:1::/64"),
			"asking-routers  starting: asking the routers on eth0 whether hosts may choose their addresses there"},
	} {
		t.Run(tt.name, func(t *testing.T) { expect(t, seen(t, "", lan+tt.host+"\n"+trials("eth0", tt.trials), wkp), tt.want) })
	}
}

// An address that is configured is the only one.
func TestTrialConfigured(t *testing.T) {
	const (
		onLink = "address.ipv6 = '2001:db8:1::46'\n"
		prefix = "path = 'packet'\naddress.ipv6 = '2001:db8:c1a7::/64'\n"
		inLink = "address.ipv6 = '2001:db8:1::/64'\n"
		// What stands for interface.ipv4 and interface.self-ipv4 behind these prefixes.
		behind, behindLink = "2001:db8:c1a7:0:64:402e:400:0", "2001:db8:1:0:64:402e:400:0"
		self               = "2001:db8:c1a7:0:64:402e:500:0"
	)
	for _, tt := range []struct{ name, config, trials, want string }{
		{"of the link: it is seen whether it is free", onLink, "",
			"checking-address  starting: seeing whether 2001:db8:1::46 is free on eth0\ntry 2001:db8:1::46 ND"},
		{"it is", onLink, "2001:db8:1::46 seen", "on  on: " + through0 + "2001:db8:1::46, path packet\ntry 2001:db8:1::46 ND\n" +
			"use 2001:db8:1::46 as 2001:db8:1::46, errors from 2001:db8:1::46"},
		{"it is not, and nothing else is tried", onLink, "2001:db8:1::46 duplicate by 02:00:5e:10:00:09",
			"duplicate-address  off: 2001:db8:1::46 (address.ipv6) is in use on eth0 by 02:00:5e:10:00:09: choose another"},
		{"nothing comes back: it is used all the same", onLink, "2001:db8:1::46 silent no answer", "degraded  on, degraded: " + through0 +
			"2001:db8:1::46, path packet: no answer\ntry 2001:db8:1::46 ND\nuse 2001:db8:1::46 as 2001:db8:1::46, errors from 2001:db8:1::46"},
		{"an address for errors of its own", onLink + "address.self-ipv6 = '2001:db8:1::47'", "2001:db8:1::46 seen",
			"on  on: " + through0 + "2001:db8:1::46, path packet\ntry 2001:db8:1::46 ND\n" +
				"use 2001:db8:1::46 as 2001:db8:1::46, errors from 2001:db8:1::47"},
		{"routed, or so it seems", "path = 'packet'\naddress.ipv6 = '2001:db8:c1a7::46'", "",
			"checking-address  starting: seeing whether 2001:db8:c1a7::46 is free on eth0\ntry 2001:db8:c1a7::46 ND"},
		{"a routed prefix: the address of the host behind it", prefix, "",
			"checking-address  starting: seeing whether " + behind + " is free on eth0\ntry " + behind + " ND"},
		{"and the address for errors behind it", prefix, behind + " seen", "on  on: " + through0 + behind + ", path packet\ntry " + behind + " ND\n" +
			"use " + behind + " as " + behind + ", errors from " + self},
		{"a prefix of the link: its one address is free", inLink, behindLink + " seen", "on  on: " + through0 + behindLink + ", path packet\n" +
			"try " + behindLink + " ND\nuse " + behindLink + " as " + behindLink + ", errors from " + behindLink},
		{"or not", inLink, behindLink + " duplicate by 02:00:5e:10:00:09",
			"duplicate-address  off: " + behindLink + " (address.ipv6) is in use on eth0 by 02:00:5e:10:00:09: choose another"},
		{"a prefix for clients", prefix + "interface.ipv4 = '100.64.0.0/10'", "2001:db8:c1a7:: seen",
			"on  on: " + through0 + "2001:db8:c1a7::/64, path packet\ntry 2001:db8:c1a7::/64\n" +
				"use 2001:db8:c1a7:: as 2001:db8:c1a7::/64, errors from " + self},
		{"also in a prefix of the link: they have their own addresses", "path = 'packet'\naddress.ipv6 = '2001:db8:1:0:46::/96'\n" +
			"interface.ipv4 = '100.64.0.0/10'", "", "probing  starting: seeing whether answers come back to 2001:db8:1:0:46:: on eth0\n" +
			"try 2001:db8:1:0:46::/96"},
		{"clients, and no prefix", "path = 'packet'\ninterface.ipv4 = '100.64.0.0/10'", "", "no-address  off: address.ipv6 is not set, and one address " +
			"that is made cannot stand for the clients behind this host (interface.ipv4): set it to a prefix that is routed to this host"},
	} {
		t.Run(tt.name, func(t *testing.T) { expect(t, seen(t, tt.config, lan+one+trials("eth0", tt.trials), wkp), tt.want) })
	}
}

// Without the probe (mode = force) an uplink reports an address as seen that is free. What it reported before is no reason to be off.
func TestTrialForce(t *testing.T) {
	for _, tt := range []struct{ trials, code string }{
		{"", "checking-address"},
		{"2001:db8:1::/64#0 seen", "on"},
		{"2001:db8:1::/64#0 duplicate", "checking-address"},
		{"2001:db8:1::/64#0 silent, 2001:db8:1::/64#1 silent", "degraded"},
	} {
		in := seen(t, "mode = 'force'", lan+one+"route eth0 0.0.0.0/0 via 192.168.1.1\n"+trials("eth0", tt.trials), wkp)
		if got := decideText(t, in); !strings.HasPrefix(got, tt.code) {
			t.Errorf("%q: got %s, want %s", tt.trials, got, tt.code)
		}
	}
}
