package config

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uclat/clat/pref64"
)

// with is Default, changed.
func with(change func(*Config)) *Config {
	c := defaults()
	change(c)
	return c
}

func prefixes(list ...string) (all []pref64.Prefix) {
	for _, s := range list {
		all = append(all, pref64.MustParse(s))
	}
	return all
}

func maps(pairs ...string) (all []Map) {
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, Map{netip.MustParsePrefix(pairs[i]), netip.MustParsePrefix(pairs[i+1])})
	}
	return all
}

func TestParseGood(t *testing.T) {
	for _, test := range []struct {
		name  string
		text  string
		flags []Flag
		want  *Config
	}{
		{
			name: "enough to run on the kernel path",
			text: `
				mode = "force"
				uplink = "eth0"
				path = "kernel"
				[interface]
				name = "clat1"
				ipv4 = "192.0.0.1"
				[pref64]
				prefixes = ["2001:db8:64::/96"]
				[address]
				ipv6 = "2001:db8:1::46"`,
			want: with(func(c *Config) {
				c.Mode, c.Uplink, c.Path = ModeForce, "eth0", PathKernel
				c.Interface.Name, c.Interface.IPv4 = "clat1", netip.MustParsePrefix("192.0.0.1/32")
				c.PREF64.Prefixes = prefixes("2001:db8:64::/96")
				c.Address.IPv6 = netip.MustParsePrefix("2001:db8:1::46/128")
			}),
		},
		{
			name: "the same by flags",
			flags: []Flag{
				{"mode", []string{"force"}}, {"uplink", []string{"eth0"}}, {"path", []string{"kernel"}},
				{"interface.name", []string{"clat1"}}, {"interface.ipv4", []string{"192.0.0.1"}},
				{"pref64.prefixes", []string{"2001:db8:64::/96"}}, {"address.ipv6", []string{"2001:db8:1::46"}},
			},
			want: with(func(c *Config) {
				c.Mode, c.Uplink, c.Path = ModeForce, "eth0", PathKernel
				c.Interface.Name, c.Interface.IPv4 = "clat1", netip.MustParsePrefix("192.0.0.1/32")
				c.PREF64.Prefixes = prefixes("2001:db8:64::/96")
				c.Address.IPv6 = netip.MustParsePrefix("2001:db8:1::46/128")
			}),
		},
		{
			name: "many clients, the translator's own address among them",
			text: `
				interface.ipv4 = "100.64.0.0/10"
				address = {ipv6 = "2001:db8:1::/96", self-ipv6 = "2001:db8:2::1"}`,
			want: with(func(c *Config) {
				c.Interface.IPv4 = netip.MustParsePrefix("100.64.0.0/10")
				c.Address.IPv6 = netip.MustParsePrefix("2001:db8:1::/96")
				c.Address.SelfIPv6 = netip.MustParseAddr("2001:db8:2::1")
			}),
		},
		{
			name: "one of the clients mapped elsewhere, in tables",
			text: `
				interface.ipv4 = "100.64.0.0/10"
				address.ipv6 = "2001:db8:1::/64"
				[[map]]
				ipv4 = "100.64.0.7"
				ipv6 = "2001:db8:1::7"
				[[map]]
				ipv6 = "2001:db8:3::/120"
				ipv4 = "192.0.2.0/24"`,
			want: with(func(c *Config) {
				c.Interface.IPv4 = netip.MustParsePrefix("100.64.0.0/10")
				c.Address.IPv6 = netip.MustParsePrefix("2001:db8:1::/64")
				c.Maps = maps("100.64.0.7/32", "2001:db8:1::7/128", "192.0.2.0/24", "2001:db8:3::/120")
			}),
		},
		{
			name: "mappings within a line",
			text: `map = [{ipv4 = "192.0.2.0/28", ipv6 = "2001:db8:3::/64"}, {ipv6 = "2001:db8::1/128", ipv4 = "198.51.100.1/32"}]`,
			want: with(func(c *Config) {
				c.Maps = maps("192.0.2.0/28", "2001:db8:3::/64", "198.51.100.1/32", "2001:db8::1/128")
			}),
		},
		{
			name:  "mappings by flag replace those of the file",
			text:  "[[map]]\nipv4 = \"192.0.2.9\"\nipv6 = \"2001:db8::9\"",
			flags: []Flag{{"map", []string{"192.0.2.1=2001:db8::1", "198.51.100.0/24=2001:db8:4::/64"}}},
			want: with(func(c *Config) {
				c.Maps = maps("192.0.2.1/32", "2001:db8::1/128", "198.51.100.0/24", "2001:db8:4::/64")
			}),
		},
		{
			name: "all values of translate",
			text: `
				[translate]
				wkp-non-global = "reject"
				hairpin = false
				lowest-ipv6-mtu = 1_500
				udp-zero-checksum = "drop"
				udp6-zero-checksum = "pass"
				icmp-fragments = "drop"
				ttl-transparent = true
				traffic-class = "184"
				clamp-mss = true
				unmapped-source = "192.0.0.9"
				node-identification = false
				icmp-errors = false
				icmpv6-prohibited = false`,
			want: with(func(c *Config) {
				c.Translate = Translate{
					WKPNonGlobal: ActionReject, LowestIPv6MTU: 1500, UDPZeroChecksum: ActionDrop, UDP6ZeroChecksum: ActionPass,
					ICMPFragments: ActionDrop, TTLTransparent: true, TrafficClass: TrafficClass{Fixed: true, Octet: 184}, ClampMSS: true,
					UnmappedSource: netip.MustParseAddr("192.0.0.9"),
				}
			}),
		},
		{
			name: "an answer to those who scan",
			text: "translate.icmpv6-prohibited = true",
			want: with(func(c *Config) { c.Translate.ICMPv6Prohibited = true }),
		},
		{
			name: "traffic class 0 is not the same as none",
			text: "translate.traffic-class = '0'",
			want: with(func(c *Config) { c.Translate.TrafficClass = TrafficClass{Fixed: true} }),
		},
		{
			name: "and a number needs no quotes",
			text: "translate = {traffic-class = 0x2e, lowest-ipv6-mtu = '1400'}",
			want: with(func(c *Config) {
				c.Translate.TrafficClass, c.Translate.LowestIPv6MTU = TrafficClass{Fixed: true, Octet: 46}, 1400
			}),
		},
		{
			name: "fragments as large as the uplink takes them",
			text: "interface.mtu = 1280\ntranslate.lowest-ipv6-mtu = 'auto'",
			want: with(func(c *Config) { c.Interface.MTU, c.Translate.LowestIPv6MTU = 1280, 0 }),
		},
		{
			name:  "the same by a flag",
			text:  "translate.lowest-ipv6-mtu = 1500",
			flags: []Flag{{"translate.lowest-ipv6-mtu", []string{"1400", "auto"}}},
			want:  with(func(c *Config) { c.Translate.LowestIPv6MTU = 0 }),
		},
		{
			name:  "and a number by a flag",
			text:  "translate.lowest-ipv6-mtu = 'auto'",
			flags: []Flag{{"translate.lowest-ipv6-mtu", []string{"1400"}}},
			want:  with(func(c *Config) { c.Translate.LowestIPv6MTU = 1400 }),
		},
		{
			name: "a plain translator, with all that one can have",
			text: `
				[interface]
				ipv4 = ""
				self-ipv4 = "192.0.2.1"
				mtu = 9000
				ipv4-mtu = 68
				default-route = false
				[pref64]
				prefixes = ["2001:db8:64::/96"]
				[[map]]
				ipv4 = "198.51.100.0/24"
				ipv6 = "2001:db8:3::/120"`,
			want: with(func(c *Config) {
				c.Interface.IPv4, c.Interface.SelfIPv4 = netip.Prefix{}, netip.MustParseAddr("192.0.2.1")
				c.Interface.MTU, c.Interface.IPv4MTU, c.Interface.DefaultRoute = 9000, 68, false
				c.PREF64.Prefixes = prefixes("2001:db8:64::/96")
				c.Maps = maps("198.51.100.0/24", "2001:db8:3::/120")
			}),
		},
		{
			name: "a plain translator by flags, with maps alone",
			flags: []Flag{
				{"interface.ipv4", []string{""}}, {"interface.ipv4-mtu", []string{"65535"}}, {"map", []string{"192.0.2.1=2001:db8::1"}},
			},
			want: with(func(c *Config) {
				c.Interface.IPv4, c.Interface.IPv4MTU = netip.Prefix{}, 65535
				c.Maps = maps("192.0.2.1/32", "2001:db8::1/128")
			}),
		},
		{
			name:  "and copy takes it back",
			text:  "translate.traffic-class = '255'",
			flags: []Flag{{"translate.traffic-class", []string{"copy"}}},
			want:  defaults(),
		},
		{
			name: "no source for ICMP errors from IPv6 routers",
			text: "translate.unmapped-source = ''\ninterface.ipv4 = '192.0.0.8'",
			want: with(func(c *Config) {
				c.Translate.UnmappedSource, c.Interface.IPv4 = netip.Addr{}, netip.MustParsePrefix("192.0.0.8/32")
			}),
		},
		{
			name: "Router Advertisements alone, on one link those of anybody",
			text: "pref64.sources = ['ra:wlan0', 'ra']",
			want: with(func(c *Config) { c.PREF64.Sources = []Source{RAFrom("wlan0"), SourceRA} }),
		},
		{
			name: "flags win, the last of a scalar and all of a list",
			text: "interface.mtu = 0x578\ninterface.metric = 5\n[pref64]\nprefixes = [\"64:ff9b::/96\"]\nsources = [\"configured\"]",
			flags: []Flag{
				{"interface.mtu", []string{"1300", "1280"}},
				{"pref64.prefixes", []string{"2001:db8:64::/96", "2001:db8:6464::/48"}},
				{"pref64.sources", []string{"dns", "configured"}},
				{"interface.default-route", []string{"false"}},
			},
			want: with(func(c *Config) {
				c.Interface.MTU, c.Interface.Metric, c.Interface.DefaultRoute = 1280, 5, false
				c.PREF64.Prefixes = prefixes("2001:db8:64::/96", "2001:db8:6464::/48")
				c.PREF64.Sources = []Source{SourceDNS, SourceConfigured}
			}),
		},
		{
			name:  "an empty flag unsets",
			text:  "uplink = \"eth0\"\naddress.ipv6 = \"2001:db8::46\"",
			flags: []Flag{{"uplink", []string{""}}, {"address.ipv6", []string{""}}},
			want:  defaults(),
		},
		{
			name: "a prefix that only the flag makes enough",
			text: "pref64.sources = [\"configured\"]",
			flags: []Flag{
				{"pref64.prefixes", []string{"64:ff9b::/96"}},
			},
			want: with(func(c *Config) {
				c.PREF64.Prefixes, c.PREF64.Sources = prefixes("64:ff9b::/96"), []Source{SourceConfigured}
			}),
		},
		{name: "byte order mark, carriage returns", text: "\ufeffmode = \"on\"\r\n", want: with(func(c *Config) { c.Mode = ModeOn })},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse("uclat.toml", []byte(test.text), test.flags...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, plain); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "uclat.toml")
	missing := filepath.Join(dir, "missing.toml")
	if err := os.WriteFile(path, []byte("mode = \"on\"\nuplink = \"eth 0\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	_, err := Load(path)
	if want := path + `:2: uplink: "eth 0": is no interface name: no space and none of / : %`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	var e *Error
	if !errors.As(err, &e) || e.Where != path+":2" || e.Key != "uplink" || e.Value != `"eth 0"` {
		t.Errorf("got %+v", e)
	}

	_, err = Load(missing)
	if !errors.As(err, &e) || e.Where != missing || !errors.Is(err, fs.ErrNotExist) || strings.Count(err.Error(), missing) != 1 {
		t.Errorf("got %v", err)
	}
	c, err := LoadOptional(missing, Flag{"mode", []string{"off"}})
	if err != nil || c.Mode != ModeOff {
		t.Errorf("got %+v, %v", c, err)
	}
	if _, err := LoadOptional(path); err == nil {
		t.Error("LoadOptional overlooks what is wrong in a file that exists")
	}
	if _, err := Load(dir); !errors.As(err, &e) || e.Where != dir {
		t.Errorf("got %v", err)
	}

	if err := os.WriteFile(path, []byte(strings.Repeat("#", maxFile+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil || err.Error() != path+": has more than 1048576 octets, and is no configuration" {
		t.Errorf("got %v", err)
	}
}
