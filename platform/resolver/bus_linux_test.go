package resolver

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var eth0 = link{7, "eth0"}

func addrs(list []netip.Addr) (s []string) {
	for _, a := range list {
		s = append(s, a.String())
	}
	return s
}

func octets(address string) []byte { return netip.MustParseAddr(address).AsSlice() }

// org.freedesktop.resolve1(5), DNSEx of a link
func TestResolvedOfLink(t *testing.T) {
	got := eth0.servers([]linkServer{
		{unix.AF_INET6, octets("2001:db8::53"), 0, ""},
		{unix.AF_INET6, octets("2001:db8::53"), 53, "again"},
		{unix.AF_INET6, octets("fe80::53"), 0, ""},
		{unix.AF_INET, octets("192.0.2.53"), 5353, "dns.example"},
		{unix.AF_INET6, octets("::ffff:192.0.2.54"), 0, ""},
		{unix.AF_INET, octets("127.0.0.1"), 0, ""},
		{unix.AF_INET6, octets("::1"), 0, ""},
		{unix.AF_INET6, octets("::ffff:127.0.0.1"), 0, ""},
		{unix.AF_INET, octets("0.0.0.0"), 0, ""},
		{unix.AF_INET6, octets("::"), 0, ""},
		{unix.AF_INET, octets("224.0.0.251"), 0, ""},
		{unix.AF_INET6, octets("ff02::fb"), 0, ""},
		{unix.AF_INET, octets("2001:db8::55"), 0, ""},
		{unix.AF_INET6, octets("192.0.2.55"), 0, ""},
		{unix.AF_PACKET, octets("192.0.2.56"), 0, ""},
		{unix.AF_INET, nil, 0, ""},
		{unix.AF_INET6, make([]byte, 17), 0, ""},
	})
	const want = "[2001:db8::53]:53 [fe80::53%7]:53 192.0.2.53:5353 192.0.2.54:53"
	if diff := cmp.Diff(want, list(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// org.freedesktop.resolve1(5), DNS of the manager
func TestResolvedOfOthers(t *testing.T) {
	got := eth0.unresolved([]anyServer{
		{0, unix.AF_INET6, octets("2001:db8:1::53")}, // of the system as a whole
		{7, unix.AF_INET6, octets("2001:db8:2::53")},
		{8, unix.AF_INET6, octets("2001:db8:3::53")},
		{8, unix.AF_INET, octets("192.0.2.53")},
		{8, unix.AF_INET6, octets("2001:db8:1::53")},
		{8, unix.AF_INET6, octets("2001:db8:2::53")},
		{8, unix.AF_INET6, octets("fe80::53")}, // one of that name may be on each link
		{8, unix.AF_INET6, octets("192.0.2.54")},
		{-1, unix.AF_INET, octets("192.0.2.55")},
	})
	if diff := cmp.Diff([]string{"2001:db8:3::53", "192.0.2.53", "192.0.2.55"}, addrs(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func dict(pairs ...any) dictionary {
	d := dictionary{}
	for i := 0; i < len(pairs); i += 2 {
		d[pairs[i].(string)] = dbus.MakeVariant(pairs[i+1])
	}
	return d
}

// org.freedesktop.NetworkManager.IP6Config and IP4Config
func TestNetworkManagerOfLink(t *testing.T) {
	got := eth0.named6(nil, [][]byte{
		octets("2001:db8::53"), octets("fe80::53"), nil, {1, 2, 3}, octets("::1"), octets("ff02::fb"), octets("2001:db8::53"),
	})
	got = eth0.named4(got, []dictionary{
		dict("address", "192.0.2.53"), dict("address", uint32(1)), dict("address", "resolver.example"), dict("address", "127.0.0.1"),
		dict("addr", "192.0.2.54"), dict(), dict("address", ""), dict("address", "192.0.2.55", "more", true),
	})
	const want = "[2001:db8::53]:53 [fe80::53%7]:53 192.0.2.53:53 192.0.2.55:53"
	if diff := cmp.Diff(want, list(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// org.freedesktop.NetworkManager.DnsManager, Configuration
func TestNetworkManagerOfOthers(t *testing.T) {
	got := eth0.unnamed([]dictionary{
		dict("nameservers", []string{"2001:db8:1::53"}, "priority", int32(100)), // of the system as a whole
		dict("nameservers", []string{"2001:db8:2::53", "192.0.2.2"}, "interface", "eth0", "vpn", false),
		dict("nameservers", []string{"2001:db8:3::53", "2001:db8:1::53", "fe80::53", "junk", "192.0.2.2"}, "interface", "wlan0"),
		dict("nameservers", []string{"10.8.0.1"}, "interface", "tun0", "vpn", true),
		dict("nameservers", []string{"10.9.0.1"}, "interface", "eth0", "vpn", true), // IPsec has no device of its own
		dict("nameservers", "10.10.0.1", "interface", "tun0"),
		dict("nameservers", []string{"10.11.0.1"}, "interface", true),
		dict("interface", "tun0"),
	})
	if diff := cmp.Diff([]string{"2001:db8:3::53", "10.8.0.1", "10.9.0.1"}, addrs(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestNoMoreThanEight(t *testing.T) {
	var servers []linkServer
	for i := range byte(100) {
		servers = append(servers, linkServer{Family: unix.AF_INET, Address: []byte{192, 0, 2, i + 1}})
	}
	if got := eth0.servers(servers); len(got) != 8 || got[7] != netip.MustParseAddrPort("192.0.2.8:53") {
		t.Errorf("%v, want the first 8", got)
	}
}

// What is of another type than it should be counts as absent.
func TestTypes(t *testing.T) {
	type server struct {
		Family  int32
		Address []byte
		Port    uint16
		Name    string
	}
	good := dbus.MakeVariant([]server{{unix.AF_INET, octets("192.0.2.53"), 1, "x"}})
	if v, ok := as[[]linkServer](good); !ok || !cmp.Equal(v, []linkServer{{unix.AF_INET, octets("192.0.2.53"), 1, "x"}}) {
		t.Errorf("%v, %v", v, ok)
	}
	for _, bad := range []any{
		"x", []string{"x"}, []byte{1}, []linkServerOld{{2, nil}}, []anyServer{{1, 2, nil}}, []dbus.Variant{good}, good, map[string]string{},
	} {
		if v, ok := as[[]linkServer](dbus.MakeVariant(bad)); ok {
			t.Errorf("%v of %T", v, bad)
		}
	}
	if v, ok := as[[]linkServer](dbus.Variant{}); ok {
		t.Errorf("%v of nothing", v)
	}
}

// A bus that is absent, that ends and that says nothing is no error.
func TestBusOfNoUse(t *testing.T) {
	dir := t.TempDir()
	listen := func(name string, serve func(net.Conn)) string {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		must(t, err)
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				serve(conn)
				conn.Close()
			}
		}()
		return "unix:path=" + l.Addr().String()
	}
	read := func(conn net.Conn) { // until the other side hangs up
		_, _ = bytes.NewBuffer(nil).ReadFrom(conn)
	}
	for name, address := range map[string]string{
		"absent":       "unix:path=" + filepath.Join(dir, "absent"),
		"no address":   "nonsense",
		"ends at once": listen("ends", func(net.Conn) {}),
		"is silent":    listen("silent", read),
		"refuses": listen("refuses", func(conn net.Conn) {
			_, _ = conn.Write([]byte("REJECTED\r\nREJECTED\r\n"))
			read(conn)
		}),
		"no bus": listen("junk", func(conn net.Conn) {
			_, _ = conn.Write(bytes.Repeat([]byte("\x00\xff\n"), 1000))
			read(conn)
		}),
		"stops talking": listen("stops", func(conn net.Conn) {
			_, _ = conn.Write([]byte("REJECTED EXTERNAL\r\nOK 0123456789abcdef0123456789abcdef\r\nERROR\r\n"))
			read(conn)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
			begun := time.Now()
			if own, others := managed(t.Context(), eth0); len(own.List)+len(others) > 0 {
				t.Errorf("%v, %v", own, others)
			}
			if took := time.Since(begun); took > 20*limit {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestOfEnded(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "absent"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Of(ctx, 1, "lo"); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
}

func FuzzServers(f *testing.F) {
	f.Add(int32(unix.AF_INET6), octets("fe80::1"), uint16(0), "fe80::1%eth1")
	f.Add(int32(unix.AF_INET), octets("192.0.2.1"), uint16(853), "192.0.2.1")
	f.Add(int32(unix.AF_INET), octets("::ffff:127.0.0.1"), uint16(53), "::ffff:0.0.0.0")
	f.Fuzz(func(t *testing.T, family int32, address []byte, port uint16, text string) {
		own := eth0.servers([]linkServer{{family, address, port, text}})
		own = eth0.named6(own, [][]byte{address})
		own = eth0.named4(own, []dictionary{dict("address", text)})
		for i, s := range own {
			a := s.Addr()
			if !s.IsValid() || s.Port() == 0 || a.Is4In6() || a.IsLoopback() || a.IsMulticast() || a.IsUnspecified() {
				t.Errorf("%v among %v", s, own)
			}
			if want := a.Is6() && a.IsLinkLocalUnicast(); want != (a.Zone() == strconv.Itoa(eth0.index)) || !want && a.Zone() != "" {
				t.Errorf("zone of %v", a)
			}
			for _, other := range own[:i] {
				if other == s {
					t.Errorf("%v twice", s)
				}
			}
		}
	})
}
