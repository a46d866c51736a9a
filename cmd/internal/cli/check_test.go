package cli

import (
	"net/netip"
	"strings"
	"testing"

	"uclat/clat/config"
	"uclat/clat/policy"
	"uclat/discovery"
	"uclat/platform"
)

// An interface that has the device's name already is ours, somebody else's, or cannot be told.
func TestNameTaken(t *testing.T) {
	const (
		host   = "address.ipv6 = '2001:db8:c1a7::46'\npref64.prefixes = ['64:ff9b::/96']"
		router = "interface.ipv4 = ''\ninterface.default-route = false\nmap = [{ipv4 = '192.0.2.9', ipv6 = '2001:db8:9::9'}]"
		note   = "an interface clat0 exists already: if it is not that of a uclat that runs, `uclat run` will refuse the name (interface.name)"
		taken  = "off: interface.name = clat0 is taken: an interface with this name exists already"
	)
	tun := platform.Link{Index: 3, Name: "clat0", MTU: 1500, MTU6: 1500, Up: true}
	for _, tt := range []struct {
		name, toml string
		link       platform.Link
		addr       string // of that interface
		route      string // by it
		elsewhere  string // a route by another
		note, err  string
	}{
		{name: "there is none", toml: host},
		{name: "another interface", toml: host, link: platform.Link{Index: 3, Name: "clat1"}},
		{name: "ours, with our address", toml: host, link: tun, addr: "100.64.46.4/32"},
		{name: "ours, with our route", toml: host, link: tun, route: "2001:db8:c1a7::46/128"},
		{name: "ours, for clients", toml: "interface.ipv4 = '100.64.0.0/10'\naddress.ipv6 = '2001:db8:c1a7::/64'\npref64.prefixes = ['64:ff9b::/96']",
			link: tun, route: "2001:db8:c1a7::/64"},
		{name: "another address and route", toml: host, link: tun, addr: "192.0.0.2/32", route: "0.0.0.0/0", note: note},
		{name: "our route by another interface", toml: host, link: tun, elsewhere: "2001:db8:c1a7::46/128", note: note},
		{name: "a plain translator", toml: router, link: tun, note: note},
		{name: "Ethernet", toml: host, link: platform.Link{Index: 3, Name: "clat0", MTU: 1500, MTU6: 1500, Up: true, L2: true},
			addr: "100.64.46.4/32", err: taken},
		{name: "a TUN that nobody holds", toml: host, link: platform.Link{Index: 3, Name: "clat0", MTU: 1500, MTU6: 1500},
			addr: "100.64.46.4/32", err: taken},
		{name: "a TUN that nobody holds, for a plain translator", toml: router, link: platform.Link{Index: 3, Name: "clat0"}, err: taken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := config.Parse("test.toml", []byte(tt.toml))
			if err != nil {
				t.Fatal(err)
			}
			in := policy.Input{Config: c, Host: platform.Snapshot{
				Links:  []platform.Link{{Index: 2, Name: "eth0", MTU: 1500, MTU6: 1500, Up: true, L2: true}},
				Addrs:  []platform.Address{{Link: 2, Prefix: netip.MustParsePrefix("2001:db8:1::5/64")}},
				Routes: []platform.Route{{Dst: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("fe80::1"), Link: 2}},
			}}
			for _, p := range c.PREF64.Prefixes {
				in.PREF64 = append(in.PREF64, discovery.Known{Prefix: p})
			}
			if tt.link.Index != 0 {
				in.Host.Links = append(in.Host.Links, tt.link)
			}
			if tt.addr != "" {
				in.Host.Addrs = append(in.Host.Addrs, platform.Address{Link: 3, Prefix: netip.MustParsePrefix(tt.addr)})
			}
			if tt.elsewhere != "" {
				in.Host.Routes = append(in.Host.Routes, platform.Route{Dst: netip.MustParsePrefix(tt.elsewhere), Link: 2})
			}
			if tt.route != "" {
				in.Host.Routes = append(in.Host.Routes, platform.Route{Dst: netip.MustParsePrefix(tt.route), Link: 3})
			}
			plan := policy.Decide(in)
			if !plan.On {
				t.Fatal(plan.Why)
			}
			got, err := nameTaken(in, plan)
			if got != tt.note || (err != nil) != (tt.err != "") || err != nil && !strings.HasPrefix(err.Error(), tt.err) {
				t.Errorf("%q, %v, want %q, %s", got, err, tt.note, tt.err)
			}
		})
	}
}
