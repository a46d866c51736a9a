package policy

import (
	"slices"
	"testing"
)

// The IPv4 addresses of generations are of the /29 that interface.ipv4 lies in, where nobody else can have a use for that.
func TestPool(t *testing.T) {
	for _, tt := range []struct{ name, config, host, want string }{
		{"as it is", "", "", "[100.64.46.4/32 100.64.46.6/32 100.64.46.7/32 100.64.46.1/32]"},
		{"192.0.0.0/29", "interface = {ipv4 = '192.0.0.2', self-ipv4 = '192.0.0.3'}", "", "[192.0.0.2/32 192.0.0.4/32 192.0.0.5/32 192.0.0.6/32]"},
		{"which ends there", "interface = {ipv4 = '192.0.0.7', self-ipv4 = '192.0.0.3'}", "", "[192.0.0.7/32 192.0.0.1/32 192.0.0.2/32 192.0.0.4/32]"},
		{"elsewhere in 192.0.0.0/24", "interface = {ipv4 = '192.0.0.9', self-ipv4 = '192.0.0.11'}", "", "[192.0.0.9/32]"},
		{"an address of somebody's network", "interface = {ipv4 = '192.168.1.4', self-ipv4 = '192.168.1.5'}", "", "[192.168.1.4/32]"},
		{"clients", "interface.ipv4 = '100.64.0.0/10'\naddress.ipv6 = '2001:db8:c1a7::/64'", "", "[100.64.0.0/10]"},
		{"not the translator's own", "interface.self-ipv4 = '100.64.46.6'", "", "[100.64.46.4/32 100.64.46.5/32 100.64.46.7/32 100.64.46.1/32]"},
		{"nor what it uses for others", "translate.unmapped-source = '100.64.46.7'", "", "[100.64.46.4/32 100.64.46.6/32 100.64.46.1/32 100.64.46.2/32]"},
		{"nor what is mapped", "map = [{ipv4 = '100.64.46.6', ipv6 = '2001:db8:9::6'}, {ipv4 = '100.64.46.0/30', ipv6 = '2001:db8:9::/126'}]", "",
			"[100.64.46.4/32 100.64.46.7/32]"},
		{"nor an address of the host", "", "addr lo 100.64.46.6/32", "[100.64.46.4/32 100.64.46.7/32 100.64.46.1/32 100.64.46.2/32]"},
		{"nor what another interface leads to", "", "route eth0 100.64.46.6/31", "[100.64.46.4/32 100.64.46.1/32 100.64.46.2/32 100.64.46.3/32]"},
		{"our own device does", "", "link clat0 l3\naddr clat0 100.64.46.6/32\nroute clat0 100.64.46.0/29", "[100.64.46.4/32 100.64.46.6/32 100.64.46.7/32 " +
			"100.64.46.1/32]"},
		{"and a default route says nothing", "", "route eth0 0.0.0.0/0", "[100.64.46.4/32 100.64.46.6/32 100.64.46.7/32 100.64.46.1/32]"},
	} {
		in := seen(t, tt.config, lan+tt.host, "")
		if got := prefixesText(in.pool()); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		// What another interface leads to can be seen only where it was looked for.
		for _, p := range in.pool() {
			if !slices.ContainsFunc(Interests(in), p.Overlaps) {
				t.Errorf("%s: nobody looks at routes to %v", tt.name, p)
			}
		}
	}
}

// Where there is one IPv4 address, a change takes the connections with it, but is still tried first.
func TestPoolOfOne(t *testing.T) {
	tell(t, "interface = {ipv4 = '192.168.7.4', self-ipv4 = '192.168.7.5'}", []moment{
		{what: "by DNS", host: one, pref64: "W@dns", trials: "a0 seen", want: "192.168.7.4 a0 W"},
		{what: "by RA: from the same address, at once", pref64: "P@r1 W@dns", want: "192.168.7.4 a0 P"},
		{what: "renumbered", host: oldA + two, want: "192.168.7.4 a0 P try b0"},
		{what: "it works", trials: "b0 seen", want: "192.168.7.4 b0 P"},
	})
}

// Somebody else gets one of the IPv4 addresses of old generations, or that of the current one.
func TestPoolShrinks(t *testing.T) {
	begin := []moment{
		{what: "by DNS", host: one, pref64: "W@dns", trials: "a0 seen, a0.6 seen", want: "4 a0 W"},
		{what: "by RA", pref64: "P@r1 W@dns", want: "6 a0.6 P (4 a0 W)"},
	}
	tell(t, "", append(begin[:2:2],
		moment{what: "the current one: the old one goes on", host: one + "addr lo 100.64.46.6/32\n", want: "4 a0 W try a0.7"},
		moment{what: "and has a successor", trials: "a0.7 seen", want: "7 a0.7 P (4 a0 W)"}))
	tell(t, "", append(begin[:2:2],
		moment{what: "no PREF64", pref64: "-", want: "6 a0.6 P (4 a0 W)"},
		moment{what: "the current one meanwhile", host: one + "addr lo 100.64.46.6/32\n", want: "4 a0 W"},
		moment{what: "the old one goes on", pref64: "P@r1 W@dns", want: "4 a0 W try a0.7"}))
	tell(t, "", append(begin[:2:2],
		moment{what: "the other one is the best again", pref64: "W@r1 P@dns", want: "4 a0 W (6 a0.6 P)"},
		moment{what: "and the old one's address is somebody's", host: one + "addr lo 100.64.46.6/32\n", want: "4 a0 W"}))
}
