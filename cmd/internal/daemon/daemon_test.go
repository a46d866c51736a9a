package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"uclat/clat/config"
	"uclat/platform"
)

const (
	discovered = "address.ipv6 = '2001:db8:c1a7::46'"
	pinned     = discovered + "\npref64.prefixes = ['64:ff9b::/96']"
)

// What the transcript says again and again.
const (
	openTUN   = "tun: open clat0 mtu 1500"
	closeTUN  = "tun: close clat0"
	full      = "host: " + fullText + "[64:ff9b::/96]"
	fullText  = "clat0 mtu 1500 [100.64.46.4/32], route 0.0.0.0/0 src 100.64.46.4 metric 2000000 mtu 1480, route 2001:db8:c1a7::46/128, " + forward
	forward   = "forward by eth0 [2001:db8:c1a7::46/128] <-> "
	nothing   = "host: nothing of ours"
	firewalls = "look for firewalls between clat0 and eth0"
	on        = `level=INFO msg="on: IPv4 through eth0, PREF64 64:ff9b::/96 (configured), as 2001:db8:c1a7::46" code=on`
	onDNS     = `level=INFO msg="on: IPv4 through eth0, PREF64 64:ff9b::/96 (from resolver 2001:db8::53 by RFC 7050), as 2001:db8:c1a7::46" code=on`
	stopped   = `level=INFO msg="stopped translating" packets-46=0 bytes-46=0 packets-64=0 bytes-64=0`
	noPREF64  = `level=INFO msg="waiting: no PREF64 on eth0: none is configured, and no router announces one (RFC 8781), and no resolver tells one ` +
		"(RFC 7050); `uclat discover` shows what they say, pref64.prefixes sets one\" code=no-pref64"
	native    = `level=INFO msg="off: this network has IPv4 itself, by 192.0.2.1 on eth0 (--mode on runs beside it)" code=native-ipv4`
	noAddress = `level=INFO msg="waiting: no interface has a global IPv6 address yet" code=no-ipv6-address`
	noUplink  = `level=INFO msg="waiting: no interface has an IPv6 default route" code=no-uplink`
)

// byDNS and byRA are what becomes of a PREF64 that the resolver or the router on eth0 told, in the log.
func byDNS(prefix, what string) string {
	return fmt.Sprintf("PREF64 %s on eth0, from resolver 2001:db8::53 by RFC 7050: %s", prefix, what)
}

func byRA(prefix, what string) string {
	return fmt.Sprintf("PREF64 %s on eth0, from router fe80::1 by RA: %s", prefix, what)
}

// change is line with what changed of PREF64s, flows with what becomes of connections.
func change(line string, changes ...string) string {
	return fmt.Sprintf("%s change=%q", line, strings.Join(changes, "; "))
}

func flows(line, text string) string { return fmt.Sprintf("%s connections=%q", line, text) }

// info is a line of the log that stands alone.
func info(text string) string { return fmt.Sprintf("level=INFO msg=%q", text) }

// triedTUN is how a daemon that has to wait finds out that the device can be made.
var triedTUN = []string{"tun: open clat0 mtu 1280", closeTUN}

// laptop is a host on an IPv6-only network, and what is different about it.
func laptop(but ...func(*platform.Snapshot)) platform.Snapshot {
	s := platform.Snapshot{
		Links:  []platform.Link{{Index: 2, Name: "eth0", MTU: 1500, MTU6: 1500, Up: true, L2: true}},
		Addrs:  []platform.Address{{Link: 2, Prefix: netip.MustParsePrefix("2001:db8:1::5/64")}},
		Routes: []platform.Route{{Dst: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("fe80::1"), Link: 2, FromRA: true}},
	}
	for _, b := range but {
		b(&s)
	}
	return s
}

func withoutRouter(s *platform.Snapshot) { s.Routes = nil }

func withRoute(dst, via string) func(*platform.Snapshot) {
	return func(s *platform.Snapshot) {
		s.Routes = append(s.Routes, platform.Route{Dst: netip.MustParsePrefix(dst), Via: netip.MustParseAddr(via), Link: 2, Metric: 100})
	}
}

func withIPv4(s *platform.Snapshot) { withRoute("0.0.0.0/0", "192.0.2.1")(s) }

// withUs is what the host looks like when the daemon set it up.
func withUs(s *platform.Snapshot) {
	s.Links = append(s.Links, platform.Link{Index: 3, Name: "clat0", MTU: 1500, MTU6: 1500, Up: true})
	s.Addrs = append(s.Addrs, platform.Address{Link: 3, Prefix: netip.MustParsePrefix("100.64.46.4/32")})
	s.Routes = append(s.Routes, platform.Route{Dst: netip.MustParsePrefix("0.0.0.0/0"), Link: 3, Metric: 2000000, MTU: 1480},
		platform.Route{Dst: netip.MustParsePrefix("2001:db8:c1a7::46/128"), Link: 3})
}

// bubble runs a test in a bubble of its own, where seconds take no time.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, test)
}

func TestConfiguredPREF64(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.expect(openTUN, full, on, firewalls)
		r.eyes.change(laptop(withUs), nil)
		r.after(time.Hour)
		r.expect()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		// The host is put back before the device goes.
		r.expect(nothing, closeTUN, stopped)
	})
}

func TestPacketsAreTranslated(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.tuns.current().in <- []byte{0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0x7e, 0x54, 100, 64, 46, 4, 198, 51, 100, 5,
			0x82, 0x9a, 0x82, 0x9a, 0, 8, 0, 1}
		out := <-r.tuns.current().out
		if src, dst := netip.AddrFrom16([16]byte(out[8:24])), netip.AddrFrom16([16]byte(out[24:40])); out[0]>>4 != 6 ||
			src != netip.MustParseAddr("2001:db8:c1a7::46") || dst != netip.MustParseAddr("64:ff9b::198.51.100.5") {
			t.Errorf("% x", out)
		}
		r.expect(openTUN, full, on, firewalls)
		r.tuns.current().lost.Store(2)
		_ = r.stop()
		r.expect(nothing, closeTUN, strings.Replace(stopped, "packets-46=0 bytes-46=0", "packets-46=1 bytes-46=28", 1)+" device-lost-written=2")
	})
}

func TestDiscoveredPREF64(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, discovered, laptop())
		r.expect(append(triedTUN, noPREF64)...)
		r.resolvers.find(time.Hour, "64:ff9b::/96")
		r.after(time.Second)
		r.expect(openTUN, full, change(onDNS, byDNS("64:ff9b::/96", "appeared for 1h0m0s")), firewalls)

		// The same again, with a new lifetime, and another that comes beside it.
		r.resolvers.find(2*time.Hour, "64:ff9b::/96")
		r.after(time.Second)
		r.expect()
		r.resolvers.find(2*time.Hour, "64:ff9b::/96", "2001:db8:64::/96")
		r.after(time.Second)
		r.expect("host: "+fullText+"[64:ff9b::/96 2001:db8:64::/96]", info(byDNS("2001:db8:64::/96", "appeared for 2h0m0s")))

		r.resolvers.find(0)
		r.after(2 * time.Second)
		r.expect(nothing, closeTUN, stopped, change(noPREF64, byDNS("64:ff9b::/96", "withdrawn"), byDNS("2001:db8:64::/96", "withdrawn")))
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		r.expect()
	})
}

// A PREF64 ends at the end of its lifetime though nothing happens.
func TestLifetimeEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, discovered, laptop())
		r.resolvers.find(time.Hour, "64:ff9b::/96")
		r.after(time.Hour - time.Second)
		r.expect(append(slices.Clone(triedTUN), noPREF64, openTUN, full, change(onDNS, byDNS("64:ff9b::/96", "appeared for 1h0m0s")), firewalls)...)
		r.after(time.Second + moment)
		r.expect(nothing, closeTUN, stopped)
		r.after(time.Second)
		r.expect(change(noPREF64, byDNS("64:ff9b::/96", "expired")))
		_ = r.stop()
	})
}

// What a resolver says at once keeps the daemon from saying first that it has no PREF64, also though the network is quiet from the first
// look on, and the watcher knocks as soon as it watches.
func TestPatience(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, discovered, laptop())
		time.AfterFunc(300*time.Millisecond, func() { r.resolvers.find(time.Hour, "64:ff9b::/96") })
		r.run(o)
		r.expect(openTUN, full, onDNS, firewalls)
		_ = r.stop()
	})
}

func TestNativeIPv4ComesAndGoes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.eyes.change(laptop(withUs, withIPv4), nil)
		r.after(time.Second)
		r.expect(openTUN, full, on, firewalls, nothing, closeTUN, stopped, native)
		r.eyes.change(laptop(), nil)
		r.after(time.Second)
		r.expect(openTUN, full, on, firewalls)
		_ = r.stop()
	})
}

func TestNothingToDoAtStart(t *testing.T) {
	for _, tt := range []struct {
		name, config string
		host         platform.Snapshot
		want         []string
	}{
		{"mode off does not touch the device", "mode = 'off'", laptop(),
			[]string{`level=INFO msg="off: the configuration says so (mode = off)" code=mode-off`}},
		{"native IPv4", pinned, laptop(withIPv4), append(triedTUN, native)},
		{"no uplink", pinned, laptop(withoutRouter), append(triedTUN, noUplink)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := start(t, tt.config, tt.host)
				r.after(time.Hour)
				r.expect(tt.want...)
				if err := r.stop(); err != nil {
					t.Error(err)
				}
				r.expect()
			})
		})
	}
}

// A warning is said once, also where the plan changes in something else.
func TestWarningsAreSaidOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, "path = 'kernel'\naddress.ipv6 = '2001:db8:1::46'\npref64.prefixes = ['64:ff9b::/96']", laptop())
		narrow := laptop(func(s *platform.Snapshot) { s.Links[0].MTU6 = 1400 })
		r.eyes.change(narrow, nil)
		r.after(time.Second)
		text := strings.ReplaceAll(full, "2001:db8:c1a7::46", "2001:db8:1::46")
		r.expect(openTUN, text, strings.Replace(on, "2001:db8:c1a7::46", "2001:db8:1::46", 1),
			`level=WARN msg="address.ipv6 = 2001:db8:1::46/128 lies in 2001:db8:1::/64, which is on-link at eth0: the router asks there who has it, `+
				`and nobody answers; use path = \"packet\", or an address that is routed to this host"`, firewalls,
			strings.NewReplacer("1500", "1400", "1480", "1380").Replace(text))
		_ = r.stop()
	})
}

// What was found out before is said once, when it is known that the daemon stays.
func TestNotes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, pinned, laptop())
		o.Notes = []string{"one", "two"}
		r.run(o)
		r.expect(openTUN, full, on, firewalls, "level=WARN msg=one", "level=WARN msg=two")
		r.eyes.change(laptop(withIPv4), nil)
		r.after(time.Hour)
		r.expect(nothing, closeTUN, stopped, native)
		_ = r.stop()
	})
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, pinned, laptop(withClash))
		o.Notes = []string{"one"}
		r.run(o)
		if err := <-r.ended; !errors.Is(err, ErrWrong) {
			t.Error(err)
		}
		r.expect()
	})
}

func TestFirewallsAreNamed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r, o := newRig(t, pinned, laptop())
		o.Obstacles = func(context.Context, string, string) ([]string, error) {
			return []string{"ufw drops"}, errors.New("half of them cannot be read")
		}
		r.run(o)
		r.expect(openTUN, full, on,
			`level=WARN msg="looking for firewalls that may drop what is forwarded" error="half of them cannot be read"`, `level=WARN msg="ufw drops"`)
		_ = r.stop()
	})
}

// Resolvers are asked again when the routers change, and not because of what the daemon changes itself.
func TestResolversAreKnocked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, discovered, laptop())
		r.resolvers.find(time.Hour, "64:ff9b::/96")
		r.after(time.Second)
		for _, step := range []struct {
			name string
			host platform.Snapshot
			want int
		}{
			{"set up by us", laptop(withUs), 0},
			{"another IPv4 route", laptop(withUs, withRoute("10.0.0.0/8", "192.0.2.1")), 0},
			{"no router", laptop(withoutRouter), 1},
			{"another router", laptop(withoutRouter, withRoute("::/0", "fe80::2")), 2},
			{"one more", laptop(withRoute("::/0", "fe80::2")), 3},
		} {
			r.eyes.change(step.host, nil)
			r.after(time.Second)
			if got := r.resolvers.knocked(); got != step.want {
				t.Errorf("%s: knocked %d times, want %d", step.name, got, step.want)
			}
		}
		_ = r.stop()
	})
}

// A swarm of changes is looked at when it is over, and one that does not end is looked at all the same.
func TestSwarm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.expect(openTUN, full, on, firewalls)
		for i := range 1000 {
			host := laptop()
			if i > 0 {
				host = laptop(withIPv4)
			}
			r.eyes.change(host, nil)
			time.Sleep(time.Millisecond)
		}
		r.after(settle)
		r.expect(nothing, closeTUN, stopped, native)
		_ = r.stop()
	})
}

// What somebody takes away of ours comes back, and is no news.
func TestRepair(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := start(t, pinned, laptop())
		r.expect(openTUN, full, on, firewalls)
		for range 2 {
			r.host.tamper()
			r.after(gap)
			r.expect(full)
		}
		_ = r.stop()
	})
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct{ name, toml, want string }{
		{"all is there", pinned, ""},
		{"mode off needs nothing", "mode = 'off'", ""},
		{"a plain translator", "interface.ipv4 = ''\nmap = [{ipv4 = '192.0.2.1', ipv6 = '2001:db8::1'}]", ""},
		{"path packet makes an address", "", ""},
		{"so it does when it is named", "path = 'packet'\naddress.checksum-neutral = true\npref64.prefixes = ['64:ff9b::/96']", ""},
		{"no address.ipv6 on path kernel", "path = 'kernel'", "address.ipv6 is not set: path kernel needs an IPv6 address or prefix that is routed " +
			"to this host, beside the /64 of its link; leave path = \"auto\", which makes an address on the link, or have your router send one here"},
		{"no address.ipv6 for clients", "interface.ipv4 = '192.168.4.0/24'", "address.ipv6 is not set, and interface.ipv4 is a prefix: the clients " +
			"in it need IPv6 addresses that are routed to this host, beside the /64 of its link; have your router send one here"},
		{"a map that takes the host's own address", "address.ipv6 = '2001:db8:c1a7::/64'\n" +
			"map = [{ipv4 = '192.0.2.1', ipv6 = '2001:db8:c1a7:0:64:402e:400:0'}]",
			"address mapping: 2001:db8:c1a7:0:64:402e:400:0/128 is mapped twice"},
	} {
		c, err := config.Parse("test.toml", []byte(tt.toml))
		if err != nil {
			t.Fatal(err)
		}
		switch err := Check(c); {
		case tt.want == "" && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != "" && (!errors.Is(err, ErrWrong) || !strings.HasPrefix(err.Error(), tt.want)):
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

var _ Resolvers = (*fakeResolvers)(nil)
