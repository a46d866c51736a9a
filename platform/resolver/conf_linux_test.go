package resolver

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform/internal/nstest"
)

func TestServers(t *testing.T) {
	const absent = "\x00absent"
	for _, tt := range []struct{ name, conf, uplink, want, err string }{
		{"plain", "nameserver 192.0.2.1\n", absent, "192.0.2.1:53", ""},
		{"plain, and systemd-resolved runs too", "nameserver 192.0.2.1\n", "nameserver 192.0.2.2\n", "192.0.2.1:53", ""},
		{"stub", "nameserver 127.0.0.53\n", "nameserver 192.0.2.2\nnameserver fe80::1%eth0\n", "192.0.2.2:53 [fe80::1%eth0]:53", ""},
		{"the other stub", "nameserver 127.0.0.54\n", "nameserver 192.0.2.2\n", "192.0.2.2:53", ""},
		{"stub beside a resolver", "nameserver 127.0.0.53\nnameserver 192.0.2.1\n", "nameserver 192.0.2.2\n", "127.0.0.53:53 192.0.2.1:53", ""},
		{"stub of something else", "nameserver 127.0.0.53\n", absent, "127.0.0.53:53", ""},
		{"other program on the host", "nameserver 127.0.0.1\n", "nameserver 192.0.2.2\n", "127.0.0.1:53", ""},
		{"stub without resolvers", "nameserver 127.0.0.53\n", "# No DNS servers known.\n", "", "systemd-resolved has no nameserver"},
		{"no resolver", "search example.com\n", absent, "", "names no nameserver"},
		{"empty", "", absent, "", "names no nameserver"},
		{"absent", absent, absent, "", "no such file"},
		{"endless", strings.Repeat("#\n", maxConf), absent, "", "hence no resolv.conf"},
		{"endless behind the stub", "nameserver 127.0.0.53\n", strings.Repeat("#\n", maxConf), "", "behind 127.0.0.53 are unknown"},
		{"as long as it gets", "nameserver 192.0.2.1\n" + strings.Repeat("#", maxConf-21), absent, "192.0.2.1:53", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			f := files{conf: filepath.Join(dir, "resolv.conf"), uplink: filepath.Join(dir, "uplink.conf")}
			for path, text := range map[string]string{f.conf: tt.conf, f.uplink: tt.uplink} {
				if text == absent {
					continue
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			servers, err := f.servers()
			if diff := cmp.Diff(tt.want, list(servers.List)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			switch {
			case tt.err == "" && err != nil:
				t.Errorf("error: %v", err)
			case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err) || !strings.HasSuffix(err.Error(), remedy)):
				t.Errorf("error is %v, want %q and what to do", err, tt.err)
			}
		})
	}
}

func TestServersErrorWrapsItsCause(t *testing.T) {
	f := files{conf: filepath.Join(t.TempDir(), "resolv.conf")}
	if _, err := f.servers(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v, want one that wraps %v", err, fs.ErrNotExist)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eth0 --- lan0 (other namespace), the uplink; tun0 --- far0 (a third), a VPN that has both halves of all and some networks.
func vpn(t *testing.T) (lan *nstest.NS, eth0, tun0 link) {
	t.Helper()
	lan, far := nstest.New(t), nstest.New(t)
	nstest.Veth(t, "eth0", "lan0", lan)
	nstest.Veth(t, "tun0", "far0", far)
	for _, a := range [][2]string{{"eth0", "2001:db8:1::5/64"}, {"tun0", "2001:db8:2::5/64"}, {"tun0", "10.8.0.5/24"}} {
		must(t, nstest.AddAddr(a[0], a[1]))
	}
	for _, r := range [][3]string{
		{"eth0", "::/0", "2001:db8:1::1"}, {"eth0", "2001:db8:53::/48", "2001:db8:1::1"},
		{"tun0", "::/1", "2001:db8:2::1"}, {"tun0", "8000::/1", "2001:db8:2::1"}, {"tun0", "fd00::/8", "2001:db8:2::1"},
		{"tun0", "0.0.0.0/1", "10.8.0.1"}, {"tun0", "128.0.0.0/1", "10.8.0.1"}, {"tun0", "192.0.2.0/24", "10.8.0.1"},
	} {
		must(t, nstest.AddRoute(r[0], r[1], r[2], 0, 0))
	}
	of := func(name string) link {
		l, err := netlink.LinkByName(name)
		must(t, err)
		return link{l.Attrs().Index, name}
	}
	return lan, of("eth0"), of("tun0")
}

// RFC 8880, 7.1: what is another link's is not asked.
func TestConfOfLink(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		_, eth0, tun0 := vpn(t)
		blackhole := &netlink.Route{Dst: &net.IPNet{IP: net.ParseIP("2001:db8:dead::"), Mask: net.CIDRMask(48, 128)}, Type: unix.RTN_BLACKHOLE}
		must(t, netlink.RouteAdd(blackhole))
		shared := &netlink.Route{Dst: &net.IPNet{IP: net.ParseIP("2001:db8:77::"), Mask: net.CIDRMask(48, 128)}, MultiPath: []*netlink.NexthopInfo{
			{LinkIndex: tun0.index, Gw: net.ParseIP("2001:db8:2::1")}, {LinkIndex: eth0.index, Gw: net.ParseIP("2001:db8:1::1")}}}
		must(t, netlink.RouteAdd(shared))
		path := filepath.Join(t.TempDir(), "resolv.conf")
		for _, tt := range []struct {
			name, servers string
			others        []netip.Addr
			l             link
			want          string // with eth0 for its index; empty: an error
		}{
			{"on the link", "2001:db8:1::53", nil, eth0, "[2001:db8:1::53]:53"},
			{"behind the link's router", "2001:db8:53::53", nil, eth0, "[2001:db8:53::53]:53"},
			{"wherever the default route leads", "2001:db8:99::53 198.51.100.53", nil, eth0, "[2001:db8:99::53]:53 198.51.100.53:53"},
			{"on the VPN", "2001:db8:2::53 10.8.0.1 2001:db8:1::53", nil, eth0, "[2001:db8:1::53]:53"},
			{"behind the VPN", "fd00::53 192.0.2.53 2001:db8:1::53", nil, eth0, "[2001:db8:1::53]:53"},
			{"of the VPN only", "fd00::53 192.0.2.53", nil, eth0, ""},
			{"the VPN's, for the VPN", "fd00::53 192.0.2.53 2001:db8:1::53", nil, tun0, "[fd00::53]:53 192.0.2.53:53"},
			{"behind both", "2001:db8:77::53", nil, eth0, "[2001:db8:77::53]:53"},
			{"no way there", "2001:db8:dead::53", nil, eth0, "[2001:db8:dead::53]:53"},
			{"address of the host on the VPN", "2001:db8:2::5 10.8.0.5", nil, eth0, ""},
			{"on the host itself", "127.0.0.1 ::1 192.0.2.53", nil, eth0, "127.0.0.1:53 [::1]:53"},
			{"no address", "0.0.0.0 ::", nil, eth0, ""},
			{"link-local", "fe80::1%eth0 fe80::2%ETH0 fe80::3", nil, eth0, "[fe80::1%eth0]:53 [fe80::2%eth0]:53 [fe80::3%eth0]:53"},
			{"link-local elsewhere", "fe80::1%tun0 fe80::1%TUN0 fe80::1%gone0 fe80::1%99", nil, eth0, ""},
			{"a service says whose it is", "2001:db8:99::53 2001:db8:98::53", []netip.Addr{netip.MustParseAddr("2001:db8:99::53")}, eth0,
				"[2001:db8:98::53]:53"},
			{"twice by another name of the zone", "fe80::1%eth0 fe80::1%ETH0 fe80::1", nil, eth0, "[fe80::1%eth0]:53"},
			{"more than enough", "2001:db8:1::1 2001:db8:1::2 2001:db8:1::3 2001:db8:1::4 2001:db8:1::5 2001:db8:1::6 2001:db8:1::7 " +
				"2001:db8:1::8 2001:db8:1::9", nil, eth0, "[2001:db8:1::1]:53 [2001:db8:1::2]:53 [2001:db8:1::3]:53 [2001:db8:1::4]:53 " +
				"[2001:db8:1::5]:53 [2001:db8:1::6]:53 [2001:db8:1::7]:53 [2001:db8:1::8]:53"},
		} {
			numbers := strings.NewReplacer("ETH0", strconv.Itoa(eth0.index), "TUN0", strconv.Itoa(tun0.index), " ", "\nnameserver ")
			must(t, os.WriteFile(path, []byte("nameserver "+numbers.Replace(tt.servers)+"\n"), 0o644))
			servers, err := files{conf: path}.of(tt.l, tt.others)
			if want := strings.ReplaceAll(tt.want, "eth0", strconv.Itoa(eth0.index)); list(servers.List) != want || want != "" && servers.From != path {
				t.Errorf("%s: %+v, want %s from %s", tt.name, servers, want, path)
			}
			switch {
			case tt.want != "" && err != nil:
				t.Errorf("%s: %v", tt.name, err)
			case tt.want == "" && (err == nil || !strings.Contains(err.Error(), path+" names no nameserver of "+tt.l.name) ||
				!strings.HasSuffix(err.Error(), remedy)):
				t.Errorf("%s: error is %v, want one that names the file, the link and what to do", tt.name, err)
			}
		}
	})
}
