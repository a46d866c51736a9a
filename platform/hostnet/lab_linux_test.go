package hostnet

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// lab is
//
//	lan0 (other namespace) --- lan | this host, clat0 (TUN) | eth0 --- plat0 (namespace of the PLAT)
//
// The host has 2001:db8:1::1/64 on eth0, its default route by a router 2001:db8:1::64 there, and 2001:db8:2::1/64 on lan.
type lab struct {
	tun       *os.File
	plat, lan *nstest.NS
}

const (
	clat6  = "2001:db8:1::46"
	pref64 = "64:ff9b::/96"
	server = "64:ff9b::c000:201" // 192.0.2.1
)

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{tun: openTUN(t, "clat0"), plat: nstest.New(t), lan: nstest.New(t)}
	nstest.Veth(t, "eth0", "plat0", l.plat)
	nstest.Veth(t, "lan", "lan0", l.lan)
	must(t, nstest.AddAddr("eth0", "2001:db8:1::1/64"))
	must(t, nstest.AddAddr("lan", "2001:db8:2::1/64"))
	must(t, nstest.AddRoute("eth0", "::/0", "2001:db8:1::64", unix.RTPROT_RA, 1024))
	l.plat.Do(t, func() error {
		return errors.Join(nstest.AddAddr("plat0", "2001:db8:1::64/64"), nstest.AddAddr("plat0", server+"/128"),
			nstest.AddAddr("plat0", "2001:db8:ffff::1/128"),
			nstest.AddRoute("plat0", "2001:db8:2::/64", "2001:db8:1::1", 0, 0), nstest.AddRoute("plat0", clat6+"/128", "2001:db8:1::1", 0, 0))
	})
	l.lan.Do(t, func() error {
		return errors.Join(nstest.AddAddr("lan0", "2001:db8:2::2/64"), nstest.AddRoute("lan0", "::/0", "2001:db8:2::1", 0, 0))
	})
	nstest.Settle(t)
	return l
}

// openTUN is a TUN without offloads, as a file whose reads wait with deadlines.
func openTUN(t *testing.T, name string) *os.File {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	must(t, err)
	req, err := unix.NewIfreq(name)
	must(t, err)
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	must(t, unix.IoctlIfreq(fd, unix.TUNSETIFF, req))
	f := os.NewFile(uintptr(fd), name)
	t.Cleanup(func() { f.Close() })
	return f
}

func config() platform.HostConfig {
	return platform.HostConfig{
		TUN:   "clat0",
		MTU:   1492,
		Addrs: []netip.Prefix{netip.MustParsePrefix("100.64.46.4/32")},
		Routes: []platform.Route{
			{Dst: netip.MustParsePrefix("0.0.0.0/0"), Metric: 2000000, MTU: 1472},
			{Dst: netip.MustParsePrefix(clat6 + "/128")},
		},
		Forward: &platform.Forward{
			Uplink: "eth0",
			CLAT:   []netip.Prefix{netip.MustParsePrefix(clat6 + "/128")},
			PREF64: []netip.Prefix{netip.MustParsePrefix(pref64)},
		},
	}
}

func newHost(t *testing.T) *Host {
	t.Helper()
	h, err := New(Options{})
	must(t, err)
	return h
}

// dump is all that Set might change and has to put back: not the TUN's addr_gen_mode, which stays 1 (none).
func dump(t *testing.T) string {
	t.Helper()
	return genMode.ReplaceAllString(nstest.Dump(t), "") + nftText(t)
}

var genMode = regexp.MustCompile(`sysctl net/ipv6/conf/clat0/addr_gen_mode = .*\n`)

// changed is the lines of after that before does not have, without those that the kernel derives from them.
func changed(before, after string) string {
	old := make(map[string]bool)
	for _, line := range strings.Split(before, "\n") {
		old[line] = true
	}
	var out []string
	for _, line := range strings.Split(after, "\n") {
		if !old[line] && !strings.HasPrefix(line, "route table 255") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n") + "\n"
}

// oldKernel is the sysctls of a kernel before 6.17, and of one that fails at a write.
type oldKernel struct {
	sysctls
	hide   string // keys that end so do not exist
	failAt int    // this write fails, counted from 1; 0: none
	writes int
}

var errInjected = errors.New("injected")

func (o *oldKernel) read(key string) (string, error) {
	if o.hide != "" && strings.HasSuffix(key, o.hide) {
		return "", fs.ErrNotExist
	}
	return o.sysctls.read(key)
}

func (o *oldKernel) write(key, value string) error {
	if o.writes++; o.writes == o.failAt {
		return errInjected
	}
	return o.sysctls.write(key, value)
}

func sysctl(t *testing.T, key, value string) {
	t.Helper()
	must(t, procSys{"/proc/sys"}.write(key, value))
}

func mustIndex(t *testing.T, name string) int {
	t.Helper()
	link, err := netlink.LinkByName(name)
	must(t, err)
	return link.Attrs().Index
}
