package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"uclat/test/peers"
)

// TestNetwork shows that the network works without the program under test: what fails here is no fault of it.
func TestNetwork(t *testing.T) {
	t.Parallel()
	top := newTopology(t)
	dig, curl := peers.Find(t, "dig"), peers.Find(t, "curl")
	at := fmt.Sprintf("http://[%s]:%d", server6, portHTTP)

	t.Run("laptop has IPv6 from radvd, and no IPv4", func(t *testing.T) {
		routes, err := top.laptop.Netlink().RouteListFiltered(netlink.FAMILY_V6, &netlink.Route{Dst: nil}, netlink.RT_FILTER_DST)
		if err != nil {
			t.Fatal(err)
		}
		if len(routes) != 1 || routes[0].Protocol != unix.RTPROT_RA {
			t.Errorf("default routes are %v, want one from an RA", routes)
		}
		addrs, err := top.laptop.Addrs("eth0")
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(addrs, func(p netip.Prefix) bool { return p.Addr().Is4() }) {
			t.Errorf("laptop has IPv4: %v", addrs)
		}
		if routes, err := top.laptop.Netlink().RouteList(nil, netlink.FAMILY_V4); err != nil || len(routes) != 0 {
			t.Errorf("laptop has IPv4 routes: %v, %v", routes, err)
		}
	})

	t.Run("dig: DNS64", func(t *testing.T) {
		for _, c := range []struct{ kind, name, want string }{
			{"AAAA", "ipv4only.arpa", "2001:db8:64::c000:aa\n2001:db8:64::c000:ab\n"},
			{"A", "ipv4only.arpa", "192.0.0.170\n192.0.0.171\n"},
			{"AAAA", "server.lab.test", server6.String() + "\n"},
			{"AAAA", "router.lab.test", routerLAN.Addr().String() + "\n"},
		} {
			out := must(t, top.laptop, dig, "+short", "+time=2", "+tries=3", c.name, c.kind)
			lines := strings.SplitAfter(out, "\n")
			slices.Sort(lines)
			if got := strings.Join(lines, ""); got != c.want {
				t.Errorf("%s of %s is %q, want %q", c.kind, c.name, got, c.want)
			}
		}
		if out := must(t, top.laptop, dig, "+time=2", "no.such.name", "AAAA"); !strings.Contains(out, "NXDOMAIN") {
			t.Errorf("a name that does not exist: %s", out)
		}
	})

	t.Run("ping, which is no leak", func(t *testing.T) {
		seen := startCapture(t, top.laptop, "eth0", "")
		must(t, top.laptop, peers.Find(t, "ping"), "-c", "3", "-i", "0.1", "-w", "5", server6.String())
		frames := seen.frames(t)
		if len(frames) < 6 {
			t.Errorf("%d frames were seen", len(frames))
		}
		for _, f := range frames {
			if what := leak(f); what != "" {
				t.Errorf("%s in % x", what, f)
			}
		}
	})

	t.Run("curl and wget: download and upload", func(t *testing.T) {
		const size = 5_000_000
		want, err := hashOf(blob(size))
		if err != nil {
			t.Fatal(err)
		}
		for _, url := range []string{at, "http://server.lab.test"} {
			out := must(t, top.laptop, curl, "-sS", "--fail", "--max-time", "20", fmt.Sprintf("%s/%d", url, size))
			if got, _ := hashOf(strings.NewReader(out)); got != want {
				t.Errorf("download from %s has hash %s, want %s", url, got, want)
			}
		}
		out := must(t, top.laptop, peers.Find(t, "wget"), "-q", "-O", "-", "--timeout=20", fmt.Sprintf("%s/%d", at, size))
		if got, _ := hashOf(strings.NewReader(out)); got != want {
			t.Errorf("wget's download has hash %s, want %s", got, want)
		}
		file := filepath.Join(t.TempDir(), "blob")
		data, err := io.ReadAll(blob(size))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		if got := must(t, top.laptop, curl, "-sS", "--fail", "--max-time", "20", "-T", file, at+"/blob"); got != want+"\n" {
			t.Errorf("upload has hash %q, want %s", got, want)
		}
	})

	t.Run("UDP echo and DNS of the server", func(t *testing.T) {
		for _, text := range []string{"hello\n", strings.Repeat("fragments", 500)} {
			echo := tryInput(t, top.laptop, text, peers.Find(t, "nc"), "-u", "-w", "1", server6.String(), fmt.Sprint(portEcho))
			if echo.stdout != text {
				t.Errorf("echo of %d octets is %+v", len(text), echo)
			}
		}
		if got := must(t, top.laptop, dig, "+short", "+time=2", "@"+server6.String(), "a.test", "A"); got != dnsAnswer.String()+"\n" {
			t.Errorf("DNS says %q", got)
		}
	})

	t.Run("closed ports", func(t *testing.T) {
		const refused = 7 // curl's exit code
		if r := try(t, top.laptop, curl, "-sS", "--max-time", "5", fmt.Sprintf("http://[%s]:%d/", server6, portClosed)); r.code != refused {
			t.Errorf("TCP: %+v", r)
		}
		udp := try(t, top.laptop, dig, "+time=2", "+tries=1", "-p", fmt.Sprint(portClosed), "@"+server6.String(), "a.test")
		if !strings.Contains(udp.stdout, "connection refused") {
			t.Errorf("UDP: %+v", udp)
		}
	})

	t.Run("nc", func(t *testing.T) {
		const port = "4000"
		nc := peers.Find(t, "nc")
		listener := start(t, top.server, nc, "-l", "-n", "-v", server4.String(), port)
		listener.wait(t, "Listening")
		if r := tryInput(t, top.laptop, "over TCP\n", nc, "-N", "-w", "5", server6.String(), port); r.code != 0 {
			t.Errorf("nc: %+v", r)
		}
		listener.wait(t, "over TCP")
	})

	t.Run("traceroute and tracepath", func(t *testing.T) {
		out := must(t, top.laptop, peers.Find(t, "traceroute"), "-6", "-n", "-q", "1", "-w", "2", server6.String())
		for _, hop := range []string{routerLAN.Addr().String(), platLAN.Addr().String(), server6.String()} {
			if !strings.Contains(out, hop+" ") {
				t.Errorf("no hop %s in\n%s", hop, out)
			}
		}
		if out := must(t, top.laptop, peers.Find(t, "tracepath"), "-6", "-n", server6.String()); !strings.Contains(out, "pmtu 1500") {
			t.Errorf("tracepath says\n%s", out)
		}
	})

	t.Run("iperf3", func(t *testing.T) {
		iperf3 := peers.Find(t, "iperf3")
		server := start(t, top.server, iperf3, "-s", "--forceflush", "-B", server4.String())
		for i, args := range [][]string{{"-n", "40M"}, {"-n", "40M", "-R"}, {"-u", "-b", "10M", "-n", "500K"}} {
			server.wait(t, fmt.Sprintf("(test #%d)", i+1)) // it serves one after the other
			must(t, top.laptop, iperf3, append([]string{"-c", server6.String()}, args...)...)
		}
	})

	t.Run("the prefix that is routed to the laptop", func(t *testing.T) {
		addr := netip.PrefixFrom(routedPrefix.Addr().Next(), 128)
		if err := top.laptop.AddAddr("lo", addr); err != nil {
			t.Fatal(err)
		}
		if _, err := top.laptop.WaitAddr(t.Context(), "lo", addr); err != nil {
			t.Fatal(err)
		}
		must(t, top.laptop, peers.Find(t, "ping"), "-c", "2", "-i", "0.1", "-w", "5", "-I", addr.Addr().String(), server6.String())
		if err := top.laptop.DelAddr("lo", addr); err != nil {
			t.Fatal(err)
		}
	})

	t.Run("the state of the laptop is still", func(t *testing.T) {
		before, err := top.laptop.Dump()
		if err != nil {
			t.Fatal(err)
		}
		advertised := startCapture(t, top.laptop, "eth0", "icmp6 and ip6[40] == 134")
		eventually(t, "another advertisement of radvd", func() bool { return advertised.seen(t) > 0 })
		after, err := top.laptop.Dump()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(before, after); d != "" {
			t.Errorf("state changed by itself:\n%s", d)
		}
	})
}

func TestReadPcap(t *testing.T) {
	if frames, err := readPcap([]byte("not a capture file, but long enough")); err == nil {
		t.Errorf("got %v", frames)
	}
	if frames, err := readPcap(bytes.Repeat([]byte{0}, 10)); err == nil {
		t.Errorf("got %v", frames)
	}
}
