package conformance

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"uclat/clat/config"
	"uclat/clat/eam"
	"uclat/clat/policy"
	"uclat/clat/pref64"
	"uclat/clat/siit"
	"uclat/discovery"
	"uclat/platform"
)

// chosen is the prefix out of several in which the address is made, whatever the order in which the host has addresses of theirs.
func chosen(t *testing.T, plat string, prefixes ...string) string {
	t.Helper()
	var all []netip.Addr
	for range prefixes {
		prefixes = append(prefixes[1:], prefixes[0])
		l := bareLaptop(t, "")
		l.behind(plat)
		for _, p := range prefixes {
			l.hears(fromRouter(p))
			l.has(strings.Replace(p, "/64", "5/64", 1), autoconf)
		}
		p := l.settle()
		if !p.On {
			t.Fatal(p.Why)
		}
		all = append(all, used(p))
	}
	if all = slices.Compact(all); len(all) != 1 {
		t.Errorf("toward %s, of %v: %v, by their order", plat, prefixes, all)
	}
	return netip.PrefixFrom(all[0], 64).Masked().String()
}

// choice is which prefix is taken toward a PREF64; the others follow.
type choice struct{ plat, best, others string }

func (c choice) check(t *testing.T) {
	t.Helper()
	if got := chosen(t, c.plat, append(strings.Fields(c.others), c.best)...); got != c.best {
		t.Errorf("toward %s: %s, want %s", c.plat, got, c.best)
	}
}

func TestSourceSelection(t *testing.T) {
	t.Run("SRC-6724-1", func(t *testing.T) {
		for _, c := range []choice{
			// 64:ff9b::/96 is as most of the Internet.
			{"64:ff9b::/96", "2a00:1::/64", "fd00:1::/64"},
			{"64:ff9b::/96", "2a00:1::/64", "2002:c000:201:1::/64"},
			{"64:ff9b::/96", "2a00:1::/64", "2001:0:1:1::/64"},
			{"64:ff9b::/96", "2a00:1::/64", "3ffe:1::/64"},
			{"64:ff9b:1:fffe::/96", "2a00:1::/64", "fd00:1::/64 2002:c000:201:1::/64"},
			// None of them is of its row, and so it is the match that counts.
			{"64:ff9b::/96", "2002:c000:201:1::/64", "fd00:1::/64"},
			// One with a row of its own goes with addresses of that row.
			{"fd00:64::/96", "fd42:1::/64", "2a00:1::/64"},
			{"2002:c000:264::/96", "2002:c000:201:1::/64", "2003:1::/64"},
		} {
			c.check(t)
		}
	})

	t.Run("CLATON-7-2", func(t *testing.T) {
		for _, c := range []choice{
			{"64:ff9b::/96", lanA, lanULA},
			{"2001:db8:64::/96", lanA, lanULA},
			{"fd00:64::/96", lanULA, lanA},
			{"fd00:64::/96", lanULA, lanA + " " + lanB},
			{"2001:db8:b:64::/96", lanB, lanA},
			{"2001:db8:b:64::/96", lanB, lanULA + " 2001:db8:c::/64 " + lanA},
			{"2001:db8:1:7fff::/96", "2001:db8:1:7ffe::/64", "2001:db8:1:7ffd::/64 2001:db8:1:8000::/64 2a00:1::/64"},
			{"fd00:b:64::/96", "fd00:b:1::/64", lanULA + " " + lanA},
			// Where both are as good, it is always the same.
			{"64:ff9b::/96", lanA, lanB},
			// The label counts before the match.
			{"2001:db8:64::/96", "2a00:1::/64", "2001:0:1:1::/64"},
		} {
			c.check(t)
		}
		// And a deprecated prefix after all others, whatever it is.
		l := bareLaptop(t, "")
		l.behind("2001:db8:a:64::/96")
		l.hears(fromRouter(lanA, deprecated), fromRouter(lanULA))
		l.uses("a deprecated prefix", lanULA)
	})
}

func TestDedicatedAddress(t *testing.T) {
	t.Run("CLATON-7-1", func(t *testing.T) {
		// is wants the plan to be on with the address, or else to hold it while it is seen whether it is free.
		is := func(l *laptop, state policy.TrialState, want netip.Addr, on bool) {
			t.Helper()
			l.Trials = []policy.Trial{{Link: uplink, Addr: want, State: state}}
			p := l.decide()
			if p.On != on || used(p).IsValid() != on || len(p.Try) != 1 || p.Try[0].Addrs != netip.PrefixFrom(want, 128) || !p.Try[0].ND {
				t.Errorf("state %d of %v: %s: holds %v, uses %v", state, want, p.Why, p.Try, used(p))
			}
			if host := fmt.Sprint(p.Host) != fmt.Sprint(platform.HostConfig{}); host != on {
				t.Errorf("state %d of %v: the host gets %+v", state, want, p.Host)
			}
		}
		for _, settings := range []string{"", "address.ipv6 = '2001:db8:a::46'"} {
			l := newLaptop(t, settings)
			if settings != "" {
				l.has("2001:db8:a::5/64") // which says what the link's prefix is
			}
			p := l.decide()
			if len(p.Try) != 1 || p.On {
				t.Fatalf("%q: %s: holds %v", settings, p.Why, p.Try)
			}
			first := p.Try[0].Addrs.Addr()
			is(l, policy.Checking, first, false)
			is(l, policy.Probing, first, false)
			is(l, policy.Seen, first, true)
			l.Trials[0].State = policy.Duplicate
			switch p := l.decide(); {
			case settings == "" && (p.On || len(p.Try) != 1 || p.Try[0].Addrs.Addr() == first || !p.Try[0].ND):
				t.Errorf("somebody has %v: %s: holds %v", first, p.Why, p.Try)
			case settings != "":
				l.stops("somebody has the one that is set", "duplicate-address")
			}
			if l.Config.Address.DAD != config.DADNormal {
				t.Errorf("%q: duplicate address detection is %s", settings, l.Config.Address.DAD)
			}
		}
		// Where there are no neighbours, there is nobody to ask.
		l := newLaptop(t, "")
		l.Host.Links[1].L2, l.Host.Links[1].Hardware = false, ""
		if p := l.settle(); !p.On || p.Try[0].ND || len(l.tried) != 0 {
			t.Errorf("without neighbours: %s: %v", p.Why, p.Try)
		}
	})

	t.Run("CLATON-7-3", func(t *testing.T) {
		l := newLaptop(t, "")
		l.has("2001:db8:a::5/64", autoconf)
		l.has("2001:db8:a:0:1:2:3:4/64", autoconf)
		ours := l.uses("beside the host's own addresses", lanA)
		for _, a := range l.Host.Addrs {
			if a.Prefix.Addr() == ours {
				t.Errorf("%v is one of them", ours)
			}
		}
		if p := l.settle(); !p.Ours().IsSingleIP() || slices.Contains(p.Host.Addrs, p.Ours()) {
			t.Errorf("%v, and the host gets %v", p.Ours(), p.Host.Addrs)
		}
		l = newLaptop(t, "address.ipv6 = '2001:db8:a::46'")
		l.has("2001:db8:a::46/64", byHand)
		l.stops("one that the host has", "ipv6-in-use")

		// One address only, by DHCPv6: no prefix is announced, or one that is not for autoconfiguration.
		for _, says := range [][]discovery.PrefixInfo{nil, {fromRouter(lanA, notAutonomous)}} {
			for _, prefix := range []string{"2001:db8:a::1234/128", "2001:db8:a::1234/64"} {
				l := bareLaptop(t, "")
				l.hears(says...)
				l.has(prefix)
				if p := l.stops("DHCPv6, "+prefix, "one-address"); !strings.Contains(p.Why, "this network gives one address only") {
					t.Errorf("it is not said why: %s", p.Why)
				}
			}
		}
		l = bareLaptop(t, "")
		l.hears()
		l.has("2001:db8:a::1234/128", byHand)
		l.stops("one address only, set by hand", "one-address")
	})
}

func TestChecksumNeutralAddress(t *testing.T) {
	t.Run("SRC-NEUTRAL", func(t *testing.T) {
		use := func(settings, prefix string) (netip.Addr, policy.Plan) {
			t.Helper()
			l := newLaptop(t, settings)
			l.behind(prefix)
			p := l.settle()
			if !p.On {
				t.Fatal(p.Why)
			}
			return used(p), p
		}
		for _, prefix := range []string{"64:ff9b::/96", "2001:db8:64:abcd::/96", "2001:dbf::/32"} {
			for _, host := range []string{"100.64.46.4", "192.0.0.1", "203.255.255.254"} {
				settings := "interface.ipv4 = '" + host + "'\n"
				plain, _ := use(settings, prefix)
				a, p := use(settings+"address.checksum-neutral = true", prefix)
				if diff := identifier(a) ^ identifier(plain); diff == 0 || diff&^0xffff0000 != 0 || len(p.Warnings) > 0 {
					t.Errorf("%s behind %s: %v, without the setting %v; %q", host, prefix, a, plain, p.Warnings)
				}
				if !keepsChecksum(t, a, host, prefix) {
					t.Errorf("%s as %v behind %s: the checksum changes", host, a, prefix)
				}
				if keepsChecksum(t, plain, host, prefix) {
					t.Errorf("%s as %v behind %s: the checksum stays without the setting", host, plain, prefix)
				}
			}
		}
		// Another PREF64 or IPv4 address makes another one.
		at := func(prefix, host string) netip.Addr {
			a, _ := use("interface.ipv4 = '"+host+"'\naddress.checksum-neutral = true", prefix)
			return a
		}
		if a, b, c := at("64:ff9b::/96", "192.0.0.1"), at("2001:db8:64::/96", "192.0.0.1"), at("64:ff9b::/96", "192.0.0.2"); a == b || a == c {
			t.Errorf("%v, %v, %v", a, b, c)
		}
		// Behind the others no address is neutral for all peers, as theirs stands across 16-bit words.
		for _, prefix := range []string{"2001:db8:6400::/40", "2001:db8:64::/48", "2001:db8:64:ab00::/56", "2001:db8:64:abcd::/64"} {
			plain, _ := use("", prefix)
			if a, p := use("address.checksum-neutral = true", prefix); a != plain || len(p.Warnings) != 1 {
				t.Errorf("behind %s: %v, %q", prefix, a, p.Warnings)
			}
		}
	})
}

// keepsChecksum says whether translation between host and a leaves the checksum of a UDP datagram as it is, both ways and for any peer.
func keepsChecksum(t *testing.T, a netip.Addr, host, prefix string) bool {
	t.Helper()
	tr := newTranslator(t, func(_ *siit.Options, s *eam.Spec) {
		s.Ours = []eam.Mapping{mapping(host+"/32", a.String()+"/128")}
		s.PREF64 = []pref64.Prefix{pref64.MustParse(prefix)}
	})
	kept := true
	for _, peer := range []string{"8.8.8.8", "198.51.100.5", "99.255.1.254"} {
		there := build(t, &layers.IPv4{SrcIP: ip(host), DstIP: ip(peer)}, &layers.UDP{}, data(9))
		out := forward(t, tr, there)
		back := forward(t, tr, build(t, &layers.IPv6{SrcIP: out.dst(), DstIP: a.AsSlice()}, &layers.UDP{}, data(9)))
		kept = kept && out.udp(t).Checksum == decode(t, there).udp(t).Checksum && back.udp(t).Checksum == out.udp(t).Checksum
	}
	return kept
}
