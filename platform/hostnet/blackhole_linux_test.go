package hostnet

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/platform"
	"uclat/platform/internal/nstest"
)

const (
	other6   = "2001:db8:1::47"
	holeLine = "route table 254 " + clat6 + "/128 via <nil> dev 1 type 6 protocol 46 metric 1024 mtu 0\n"
)

// The route is there with the TUN, once; it comes back where somebody removed it, changes with the configuration, and goes. The journal
// names it as long.
func TestBlackhole(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		newLab(t)
		before := dump(t)
		h, file, logged := journalled(t)
		must(t, h.Recover(t.Context()))
		must(t, h.Set(t.Context(), packetConfig()))
		once := dump(t)
		if !strings.Contains(once, holeLine) {
			t.Fatalf("no route:\n%s", once)
		}
		hasJournal(t, file, `{"schema":1,"blackhole":["2001:db8:1::46/128"]}`+"\n")
		must(t, h.Set(t.Context(), packetConfig()))
		must(t, h.Recover(t.Context())) // what is wanted is not left over
		if diff := cmp.Diff(once, dump(t)); diff != "" {
			t.Errorf("twice is not once:\n%s", diff)
		}
		must(t, netlink.RouteDel(blackhole(packetConfig().Blackhole[0])))
		must(t, h.Set(t.Context(), packetConfig()))
		if diff := cmp.Diff(once, dump(t)); diff != "" {
			t.Errorf("not put back:\n%s", diff)
		}

		c := packetConfig()
		c.Blackhole = blackholes6(other6, "2001:db8:1::48", other6)
		must(t, h.Set(t.Context(), c))
		if got := dump(t); strings.Contains(got, holeLine) || strings.Count(got, " type 6 protocol 46 ") != 2 {
			t.Errorf("not changed:\n%s", got)
		}
		hasJournal(t, file, `{"schema":1,"blackhole":["2001:db8:1::47/128","2001:db8:1::48/128"]}`+"\n")
		c.Blackhole = nil
		must(t, h.Set(t.Context(), c))
		if got := dump(t); strings.Contains(got, " type 6 ") {
			t.Errorf("still there:\n%s", got)
		}
		hasJournal(t, file, "")

		must(t, h.Set(t.Context(), packetConfig()))
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		must(t, h.Set(ended, platform.HostConfig{}))
		if diff := cmp.Diff(before, dump(t)); diff != "" {
			t.Errorf("left behind:\n%s", diff)
		}
		hasJournal(t, file, "")

		// Without a TUN: an address is tried before it is used.
		must(t, h.Set(t.Context(), platform.HostConfig{Blackhole: blackholes6(clat6)}))
		if got := dump(t); !strings.Contains(got, " type 6 ") {
			t.Errorf("no blackhole:\n%s", got)
		}
		must(t, h.Set(t.Context(), packetConfig()))
		must(t, h.Set(t.Context(), platform.HostConfig{Blackhole: blackholes6(clat6)}))
		if got := dump(t); !strings.Contains(got, " type 6 ") || strings.Contains(got, "100.64.46.4") {
			t.Errorf("more or less than a blackhole:\n%s", got)
		}
		must(t, h.Set(t.Context(), platform.HostConfig{}))
		if diff := cmp.Diff(before, dump(t)); diff != "" {
			t.Errorf("left behind:\n%s", diff)
		}
		if logged.Len() > 0 {
			t.Errorf("logged: %s", logged)
		}
	})
}

// What it is for: where the host forwards, the kernel sends nothing because of packets to an address that it does not know, and does
// without the route. What it would send are Neighbor Solicitations for the address on the link.
func TestBlackholeSilences(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		l := newLab(t)
		sysctl(t, "net/ipv6/conf/all/forwarding", "1")
		h, _, _ := journalled(t)
		var from *os.File
		l.plat.Do(t, func() (err error) {
			from, err = listenUDP("2001:db8:1::64")
			return err
		})
		defer from.Close()
		tries := func() (asked bool) {
			t.Helper()
			must(t, unix.Sendto(int(from.Fd()), []byte("hello"), 0, &unix.SockaddrInet6{Port: port, Addr: netip.MustParseAddr(clat6).As16()}))
			// It was forwarded, or dropped, by the time that it is sent: a veth delivers at once, on the sender's processor or in softirq.
			return hasNeighbour(t, clat6)
		}
		must(t, h.Set(t.Context(), packetConfig()))
		for range 100 {
			if tries() {
				t.Fatal("the kernel looks for the neighbour in spite of the route")
			}
		}
		c := packetConfig()
		c.Blackhole = nil
		must(t, h.Set(t.Context(), c))
		for range 1000 {
			if tries() {
				return
			}
		}
		t.Error("without the route, the kernel did nothing either: the test shows nothing")
	})
}

func listenUDP(addr string) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), addr), unix.Bind(fd, &unix.SockaddrInet6{Addr: netip.MustParseAddr(addr).As16()})
}

func hasNeighbour(t *testing.T, addr string) bool {
	t.Helper()
	list, err := netlink.NeighList(mustIndex(t, "eth0"), netlink.FAMILY_V6)
	must(t, err)
	for _, n := range list {
		if n.IP.String() == addr {
			return true
		}
	}
	return false
}

// Routes of others to the same address stay as they are. One that would win is an error, and takes all of ours away.
func TestBlackholeOfOthers(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		newLab(t)
		eth0 := mustIndex(t, "eth0")
		for _, tt := range []struct {
			name  string
			route netlink.Route
			fails bool
			added bool
		}{
			{"unicast", netlink.Route{LinkIndex: eth0, Protocol: unix.RTPROT_STATIC}, true, false},
			{"unicast, better", netlink.Route{LinkIndex: eth0, Protocol: unix.RTPROT_STATIC, Priority: 10}, true, false},
			{"unicast, worse", netlink.Route{LinkIndex: eth0, Protocol: unix.RTPROT_STATIC, Priority: 2000}, false, true},
			{"unicast, our number", netlink.Route{LinkIndex: eth0, Protocol: Protocol}, true, false},
			{"unreachable", netlink.Route{Type: unix.RTN_UNREACHABLE, Protocol: unix.RTPROT_STATIC}, true, false},
			{"unreachable, our number", netlink.Route{Type: unix.RTN_UNREACHABLE, Protocol: Protocol}, true, false},
			{"blackhole", netlink.Route{Type: unix.RTN_BLACKHOLE, Protocol: unix.RTPROT_STATIC}, false, false},
			{"blackhole, worse", netlink.Route{Type: unix.RTN_BLACKHOLE, Protocol: unix.RTPROT_STATIC, Priority: 2000}, false, true},
			{"another table", netlink.Route{Type: unix.RTN_BLACKHOLE, Protocol: Protocol, Table: 46}, false, true},
			{"wider", netlink.Route{Dst: ipNet(netip.MustParsePrefix(clat6 + "/127")), LinkIndex: eth0, Protocol: Protocol}, false, true},
		} {
			r := tt.route
			if r.Dst == nil {
				r.Dst = ipNet(packetConfig().Blackhole[0])
			}
			must(t, netlink.RouteAdd(&r))
			before := dump(t)
			h, file, _ := journalled(t)
			err := h.Set(t.Context(), packetConfig())
			if (err != nil) != tt.fails {
				t.Errorf("%s: %v", tt.name, err)
			}
			if err != nil && (!strings.Contains(err.Error(), clat6+"/128: somebody else has a route there") || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%s: the error is %q", tt.name, err)
			}
			if got := strings.Contains(changed(before, dump(t)), holeLine); got != tt.added {
				t.Errorf("%s: our route is there: %v", tt.name, got)
			}
			if tt.added {
				hasJournal(t, file, `{"schema":1,"blackhole":["2001:db8:1::46/128"]}`+"\n")
			} else {
				hasJournal(t, file, "")
				// Also where the journal of an earlier run names it.
				must(t, os.WriteFile(file, []byte(`{"schema":1,"blackhole":["2001:db8:1::46/128"]}`), 0o600))
				must(t, h.Set(t.Context(), platform.HostConfig{}))
				must(t, h.Recover(t.Context()))
				hasJournal(t, file, "")
			}
			must(t, h.Set(t.Context(), platform.HostConfig{}))
			if diff := cmp.Diff(before, dump(t)); diff != "" {
				t.Errorf("%s: changed:\n%s", tt.name, diff)
			}
			must(t, netlink.RouteDel(&r))
		}
	})
}

// A route that a killed run left without a journal is taken over by the run that wants it, and removed at its end.
func TestBlackholeTakenOver(t *testing.T) {
	nstest.Run(t, func(t *testing.T) {
		newLab(t)
		before := dump(t)
		must(t, netlink.RouteAdd(blackhole(packetConfig().Blackhole[0])))
		h, file, _ := journalled(t)
		must(t, h.Recover(t.Context()))
		if !strings.Contains(dump(t), holeLine) {
			t.Error("removed, though no journal names it")
		}
		must(t, h.Set(t.Context(), packetConfig()))
		hasJournal(t, file, `{"schema":1,"blackhole":["2001:db8:1::46/128"]}`+"\n")
		must(t, h.Set(t.Context(), platform.HostConfig{}))
		if diff := cmp.Diff(before, dump(t)); diff != "" {
			t.Errorf("left behind:\n%s", diff)
		}
	})
}

// journalled is a Host with a journal, and what it logs.
func journalled(t *testing.T) (h *Host, file string, logged *bytes.Buffer) {
	t.Helper()
	logged = new(bytes.Buffer)
	file = filepath.Join(t.TempDir(), "journal.json")
	h, err := New(Options{Log: slog.New(slog.NewTextHandler(logged, nil)), Journal: file})
	must(t, err)
	return h, file, logged
}

// hasJournal checks what the journal has; nothing is no file.
func hasJournal(t *testing.T, file, want string) {
	t.Helper()
	got, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) || string(got) != want || (err == nil) != (want != "") {
		t.Errorf("the journal has %q, %v; want %q", got, err, want)
	}
}
