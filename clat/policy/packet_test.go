package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const atWork = "trial eth0 2001:db8:1::/64#0 seen\n"

// What the host gets on path packet: the device, its address and its route. The device's MTU is that of IPv4, 20 octets below the uplink's.
func TestPacketHost(t *testing.T) {
	const (
		laptopWith = "link lo l3\nlink eth0 mtu %s\naddr eth0 fe80::5/64\nroute eth0 ::/0 via fe80::1\n" + one + atWork
		device     = "addr 100.64.46.4/32\nroute 0.0.0.0/0 metric 2000000 src 100.64.46.4 mtu "
	)
	for _, tt := range []struct{ name, config, mtu, seen, want string }{
		{"an uplink of 1500", "", "1500", "", "tun clat0 mtu 1480\n" + device + "1480"},
		{"of 1280", "", "1280", "", "tun clat0 mtu 1260\n" + device + "1260"},
		{"of 9000", "", "9000", "", "tun clat0 mtu 8980\n" + device + "8980"},
		{"of more than any IPv4 packet", "", "65536", "", "tun clat0 mtu 65515\n" + device + "65515"},
		{"interface.mtu below the uplink's", "interface.mtu = 1400", "1500", "", "tun clat0 mtu 1380\n" + device + "1380"},
		{"interface.mtu above the uplink's cannot be", "interface.mtu = 9000", "1500", "", "tun clat0 mtu 1480\n" + device + "1480"},
		{"an IPv4 side that takes more", "interface.ipv4-mtu = 9000", "1500", "", "tun clat0 mtu 9000\n" + device + "1480"},
		{"an IPv4 side that takes less", "interface.ipv4-mtu = 1000", "1500", "", "tun clat0 mtu 1000\n" + device + "1000"},
		{"no default route, another name", "interface = {name = 'v4', default-route = false}", "1500", "", "tun v4 mtu 1480\naddr 100.64.46.4/32"},
		{"another address and metric", "interface = {ipv4 = '192.0.0.2', self-ipv4 = '192.0.0.3', metric = 50}", "1500", "",
			"tun clat0 mtu 1480\naddr 192.0.0.2/32\nroute 0.0.0.0/0 metric 50 src 192.0.0.2 mtu 1480"},
		{"clients have their own", "path = 'packet'\ninterface.ipv4 = '100.64.0.0/10'\naddress.ipv6 = '2001:db8:c1a7::/64'", "1500",
			"trial eth0 2001:db8:c1a7:: seen", "tun clat0 mtu 1480\nroute 0.0.0.0/0 metric 2000000 mtu 1480"},
		{"maps are no business of the host", "map = [{ipv4 = '192.0.2.0/24', ipv6 = '2001:db8:9::/120'}]", "1500", "",
			"tun clat0 mtu 1480\n" + device + "1480"},

		// The one exception to "nothing of the host's IPv6 is changed".
		{"a host that forwards IPv4", "", "1500", "forwarding IPv4", "tun clat0 mtu 1480\n" + device + "1480"},
		{"a host that forwards IPv6", "", "1500", "forwarding IPv6",
			"tun clat0 mtu 1480\n" + device + "1480\nblackhole 2001:db8:1::/64#0/128"},
		{"a prefix that is routed here", "path = 'packet'\naddress.ipv6 = '2001:db8:c1a7::/64'\ninterface.ipv4 = '100.64.0.0/10'", "1500",
			"forwarding IPv6\ntrial eth0 2001:db8:c1a7:: seen",
			"tun clat0 mtu 1480\nroute 0.0.0.0/0 metric 2000000 mtu 1480\nblackhole 2001:db8:c1a7::/64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := seen(t, tt.config, strings.Replace(laptopWith, "%s", tt.mtu, 1)+tt.seen, wkp)
			p := Decide(in)
			checkWhole(t, in, p)
			if !p.On {
				t.Fatal(p.Why)
			}
			if diff := cmp.Diff(tt.want+"\n", withNames(in, hostText(p.Host))); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// All that is tried is silenced, not only what is in use; as long as nothing is, the host is left alone.
func TestBlackhole(t *testing.T) {
	in := seen(t, "", lan+"forwarding IPv6\naddr eth0 2001:db8:1::5/64 autoconf deprecated\n"+two+atWork, wkp)
	p := Decide(in)
	if want := "[2001:db8:2::/64#0.6/128 2001:db8:1::/64#0/128]"; withNames(in, prefixesText(p.Host.Blackhole)) != want || len(p.Try) != 2 {
		t.Errorf("silenced: %v, want %s; tried: %v", p.Host.Blackhole, want, p.Try)
	}
	in.Trials = nil
	checkWhole(t, in, Decide(in))
}

// Whoever makes the addresses neutral uses them, and says so where that cannot be.
func TestChecksumNeutral(t *testing.T) {
	const no = "address.checksum-neutral has no effect: it needs a PREF64 of 32 or 96 bits, and 2001:db8:64::/64 has 64"
	for _, tt := range []struct {
		pref64  string
		neutral bool
		warn    []string
	}{
		{wkp, true, nil},
		{"2001:500::/32", true, nil},
		{"2001:db8:64::/64", false, []string{no}},
	} {
		in := seen(t, "address.checksum-neutral = true", lan+one, tt.pref64)
		p := Decide(in)
		plain := addressNamed("2001:db8:1::/64#0", "eth0")
		want, _ := neutral(plain, p.PREF64[0], in.Config.Interface.IPv4.Addr())
		if len(p.Try) != 1 || p.Try[0].Addrs != alone(want) || (want != plain) != tt.neutral {
			t.Errorf("%s: tries %v, want %v", tt.pref64, p.Try, want)
		}
		in.Trials = []Trial{{Link: p.Uplink.Index, Addr: want, State: Duplicate}}
		if again := Decide(in); len(again.Try) != 1 || again.Try[0].Addrs == p.Try[0].Addrs {
			t.Errorf("%s: %v is taken, and tried next is %v", tt.pref64, want, again.Try)
		}
		in.Trials[0].State = Seen
		if diff := cmp.Diff(tt.warn, Decide(in).Warnings); diff != "" {
			t.Errorf("%s: warnings (-want +got)\n%s", tt.pref64, diff)
		}
	}
}

// What stays true of a plan before it is on, and what an uplink is told.
func TestPacketPlan(t *testing.T) {
	for _, trial := range []string{"", atWork} {
		in := seen(t, "", lan+one+trial, "2001:db8:64::/96@2001:db8::53 64:ff9b::/96")
		p := Decide(in)
		if p.On != (trial != "") || p.Uplink != in.Host.Links[1] || p.MTU6 != 1500 || p.MTU4 != 1500 || p.Path != "packet" || p.PathWhy == "" ||
			p.Origin != "from resolver 2001:db8::53 by RFC 7050" || len(p.PREF64) != 2 {
			t.Errorf("%+v", p)
		}
		if p.Uplink.Hardware != "02:00:5e:10:00:05" {
			t.Errorf("hardware address %q", p.Uplink.Hardware)
		}
	}
}
