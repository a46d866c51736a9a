package policy

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"uclat/clat/pref64"
	"uclat/discovery"
)

var plain = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, pref64.Prefix{})

// The host as path kernel needs it: the device's MTU is that of IPv6, and IPv4 routes have 20 octets less.
func TestHostConfig(t *testing.T) {
	for _, tt := range []struct{ name, config, host, pref64, want string }{
		{"one host behind a prefix", routed, "", wkp, `
tun clat0 mtu 1500
addr 100.64.46.4/32
route 0.0.0.0/0 metric 2000000 src 100.64.46.4 mtu 1480
route 2001:db8:c1a7:0:64:402e:400:0/128
forward by eth0: [2001:db8:c1a7:0:64:402e:400:0/128 2001:db8:c1a7:0:64:402e:500:0/128] <-> [64:ff9b::/96]
`},
		{"one host with one address has none for errors", "address.ipv6 = '2001:db8:c1a7::46'", "", wkp, `
tun clat0 mtu 1500
addr 100.64.46.4/32
route 0.0.0.0/0 metric 2000000 src 100.64.46.4 mtu 1480
route 2001:db8:c1a7::46/128
forward by eth0: [2001:db8:c1a7::46/128] <-> [64:ff9b::/96]
`},
		{"unless it is given one", "address.ipv6 = '2001:db8:c1a7::46'\naddress.self-ipv6 = '2001:db8:c1a7::47'", "", wkp, `
tun clat0 mtu 1500
addr 100.64.46.4/32
route 0.0.0.0/0 metric 2000000 src 100.64.46.4 mtu 1480
route 2001:db8:c1a7::46/128
forward by eth0: [2001:db8:c1a7::46/128 2001:db8:c1a7::47/128] <-> [64:ff9b::/96]
`},
		{"clients: no address for the host", "address.ipv6 = '2001:db8:c1a7::/96'\ninterface.ipv4 = '100.64.0.0/10'", "", wkp, `
tun clat0 mtu 1500
route 0.0.0.0/0 metric 2000000 mtu 1480
route 2001:db8:c1a7::/96
forward by eth0: [2001:db8:c1a7::/96] <-> [64:ff9b::/96], and what was not asked for
`},
		{"one client that stands elsewhere is routed here too", "address.ipv6 = '2001:db8:c1a7::/96'\ninterface.ipv4 = '100.64.0.0/10'\n" +
			"map = [{ipv4 = '100.64.1.1', ipv6 = '2001:db8:9::1'}, {ipv4 = '100.64.1.2', ipv6 = '2001:db8:c1a7::1'}]", "", wkp, `
tun clat0 mtu 1500
route 0.0.0.0/0 metric 2000000 mtu 1480
route 2001:db8:c1a7::/96
route 2001:db8:9::1/128
forward by eth0: [2001:db8:c1a7::/96 2001:db8:9::1/128 2001:db8:c1a7::1/128] <-> [64:ff9b::/96], and what was not asked for
`},
		{"maps may be on either side", routed + "map = [{ipv4 = '192.0.2.0/24', ipv6 = '2001:db8:9::/120'}]", "", wkp, `
tun clat0 mtu 1500
addr 100.64.46.4/32
route 0.0.0.0/0 metric 2000000 src 100.64.46.4 mtu 1480
route 2001:db8:c1a7:0:64:402e:400:0/128
forward by eth0: [2001:db8:c1a7:0:64:402e:400:0/128 2001:db8:c1a7:0:64:402e:500:0/128 2001:db8:9::/120] <-> [64:ff9b::/96 2001:db8:9::/120]
`},
		{"an IPv4 side that takes more", "address.ipv6 = '2001:db8:c1a7::46'\ninterface.ipv4-mtu = 9000", "", wkp, `
tun clat0 mtu 9000
addr 100.64.46.4/32
route 0.0.0.0/0 metric 2000000 src 100.64.46.4 mtu 1480
route 2001:db8:c1a7::46/128
forward by eth0: [2001:db8:c1a7::46/128] <-> [64:ff9b::/96]
`},
		{"an IPv4 side that takes less", "address.ipv6 = '2001:db8:c1a7::46'\ninterface.ipv4-mtu = 1000", "", wkp, `
tun clat0 mtu 1500
addr 100.64.46.4/32
route 0.0.0.0/0 metric 2000000 src 100.64.46.4 mtu 1000
route 2001:db8:c1a7::46/128
forward by eth0: [2001:db8:c1a7::46/128] <-> [64:ff9b::/96]
`},
		{"several PREF64s", routed, "", "2001:db8:64::/96 64:ff9b::/96@2001:db8::53", `
tun clat0 mtu 1500
addr 100.64.46.4/32
route 0.0.0.0/0 metric 2000000 src 100.64.46.4 mtu 1480
route 2001:db8:c1a7:0:64:402e:400:0/128
forward by eth0: [2001:db8:c1a7:0:64:402e:400:0/128 2001:db8:c1a7:0:64:402e:500:0/128] <-> [2001:db8:64::/96 64:ff9b::/96]
`},
		{"no default route, another name and metric", "address.ipv6 = '2001:db8:c1a7::46'\ninterface = {name = 'v4', default-route = false}", "", wkp, `
tun v4 mtu 1500
addr 100.64.46.4/32
route 2001:db8:c1a7::46/128
forward by eth0: [2001:db8:c1a7::46/128] <-> [64:ff9b::/96]
`},
		{"interface.metric", "address.ipv6 = '2001:db8:c1a7::46'\ninterface.metric = 50", "", wkp, `
tun clat0 mtu 1500
addr 100.64.46.4/32
route 0.0.0.0/0 metric 50 src 100.64.46.4 mtu 1480
route 2001:db8:c1a7::46/128
forward by eth0: [2001:db8:c1a7::46/128] <-> [64:ff9b::/96]
`},
		{"interface.mtu below the uplink's", "address.ipv6 = '2001:db8:c1a7::46'\ninterface.mtu = 1400", "", wkp, `
tun clat0 mtu 1400
addr 100.64.46.4/32
route 0.0.0.0/0 metric 2000000 src 100.64.46.4 mtu 1380
route 2001:db8:c1a7::46/128
forward by eth0: [2001:db8:c1a7::46/128] <-> [64:ff9b::/96]
`},
		{"interface.mtu above the uplink's cannot be", "address.ipv6 = '2001:db8:c1a7::46'\ninterface.mtu = 9000", "", wkp, `
tun clat0 mtu 1500
addr 100.64.46.4/32
route 0.0.0.0/0 metric 2000000 src 100.64.46.4 mtu 1480
route 2001:db8:c1a7::46/128
forward by eth0: [2001:db8:c1a7::46/128] <-> [64:ff9b::/96]
`},
		{"an uplink for packets larger than any of IPv4", "address.ipv6 = '2001:db8:c1a7::46'", "link big l3 mtu 65536\nroute big ::/0", wkp, `
tun clat0 mtu 65535
addr 100.64.46.4/32
route 0.0.0.0/0 metric 2000000 src 100.64.46.4 mtu 65515
route 2001:db8:c1a7::46/128
forward by big: [2001:db8:c1a7::46/128] <-> [64:ff9b::/96]
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Decide(Input{Config: parse(t, tt.config), Host: snapshot(t, laptop+tt.host), PREF64: known(tt.pref64)})
			if !p.On {
				t.Fatal(p.Why)
			}
			if diff := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), hostText(p.Host)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if max(p.MTU6, p.MTU4) != p.Host.MTU {
				t.Errorf("the translator has MTU %d and %d, the device %d", p.MTU6, p.MTU4, p.Host.MTU)
			}
		})
	}
}

func TestPlan(t *testing.T) {
	in := Input{Config: parse(t, routed), Host: snapshot(t, laptop), PREF64: known("2001:db8:64::/96@2001:db8::53 64:ff9b::/96@2001:db8::54")}
	p := Decide(in)
	if p.Uplink != in.Host.Links[1] || p.Source != discovery.DNS || p.MTU6 != 1500 {
		t.Errorf("uplink %+v, source %v, MTU %d", p.Uplink, p.Source, p.MTU6)
	}
	if diff := cmp.Diff([]pref64.Prefix{pref64.MustParse("2001:db8:64::/96"), pref64.WellKnown}, p.PREF64, plain); diff != "" {
		t.Errorf("PREF64 (-want +got)\n%s", diff)
	}
	// The daemon compares plans: the same input makes the same plan, whatever is left of a lifetime.
	in.PREF64[0].Until = in.PREF64[0].Until.AddDate(1, 0, 0)
	if diff := cmp.Diff(p, Decide(in), plain); diff != "" {
		t.Errorf("another lifetime (-before +after)\n%s", diff)
	}
}

func TestWarnings(t *testing.T) {
	const onLink = "address.ipv6 = 2001:db8:1::/64 lies in 2001:db8:1::/64, which is on-link at eth0: the router asks there who has it, and " +
		"nobody answers; use path = \"packet\", or an address that is routed to this host (by fe80::5)"
	for _, tt := range []struct {
		name, config, host, pref64 string
		want                       []string
	}{
		{"an address that is routed to the host", routed, laptop, wkp, nil},
		{"an address of the link", "path = 'kernel'\naddress.ipv6 = '2001:db8:1::/64'", laptop, wkp, []string{onLink}},
		{"a router that cannot be told by which address", "path = 'kernel'\naddress.ipv6 = '2001:db8:1::46'",
			"link eth0\naddr eth0 2001:db8:1::5/64\nroute eth0 ::/0", wkp, []string{"address.ipv6 = 2001:db8:1::46/128 lies in 2001:db8:1::/64, " +
				"which is on-link at eth0: the router asks there who has it, and nobody answers; use path = \"packet\", or an address that is routed to " +
				"this host"}},
		{"nobody asks on a link without neighbours", "address.ipv6 = '2001:db8:2::46'", laptop +
			"link wg0 l3\naddr wg0 2001:db8:2::2/64\nroute wg0 ::/0",
			wkp, nil},
		{"nor on another interface", "address.ipv6 = '2001:db8:2::46'", laptop + "link eth1\naddr eth1 2001:db8:2::2/64", wkp, nil},
		{"a /128 is no link", "address.ipv6 = '2001:db8:1::46'", "link eth0\naddr eth0 2001:db8:1::5/128\nroute eth0 ::/0", wkp, nil},
		{"a learned PREF64 that overlaps", routed, laptop, "2001:db8::/32@2001:db8::53 64:ff9b::/96", []string{
			"PREF64 2001:db8::/32, from resolver 2001:db8::53 by RFC 7050, is not used: it holds 2001:db8:1::5, an address of this host"}},
		{"the same, and no other", routed, laptop, "2001:db8::/32@2001:db8::53", []string{
			"PREF64 2001:db8::/32, from resolver 2001:db8::53 by RFC 7050, is not used: it holds 2001:db8:1::5, an address of this host"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := Decide(Input{Config: parse(t, tt.config), Host: snapshot(t, tt.host), PREF64: known(tt.pref64)})
			if diff := cmp.Diff(tt.want, p.Warnings); diff != "" {
				t.Errorf("%s: (-want +got)\n%s", p.Why, diff)
			}
		})
	}
}

// A snapshot must hold the routes that overlap with what Decide looks at.
func TestInterests(t *testing.T) {
	for _, tt := range []struct {
		config string
		want   []string
	}{
		{routed, []string{"100.64.46.4/32", "100.64.46.5/32", "100.64.46.0/29", "2001:db8:c1a7::/64", "64:ff9b::/96", "2001:db8:64::/96"}},
		{"interface = {ipv4 = '192.168.1.4', self-ipv4 = '192.168.1.5'}", []string{"192.168.1.4/32", "192.168.1.5/32", "64:ff9b::/96", "2001:db8:64::/96"}},
		{"mode = 'off'", []string{"100.64.46.4/32", "100.64.46.5/32", "100.64.46.0/29", "64:ff9b::/96", "2001:db8:64::/96"}},
	} {
		var got []string
		for _, p := range Interests(Input{Config: parse(t, tt.config), PREF64: known(wkp + " 2001:db8:64::/96@2001:db8::53")}) {
			got = append(got, p.String())
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.config, diff)
		}
	}
}
