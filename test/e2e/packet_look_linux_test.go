package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

// TestLooking asks the program what it would do, on a laptop on which it has never run and that configures nothing. It says so, and neither the
// network nor a file is otherwise afterwards; nor does it say a word as the address that it would have.
func TestLooking(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket})
	before, files := dump(t, top.laptop), filesOf(t, top.laptop)
	said := startCapture(t, top.laptop, "eth0", "ip6 and ether src "+mac(0x11).String()+" and not src host "+top.laptopAddr.String())
	look := func(t *testing.T, command ...string) string {
		t.Helper()
		out := must(t, top.laptop, uclat(t), command...)
		top.unchanged(t, before)
		if is := filesOf(t, top.laptop); is != files {
			lost, added := changes(files, is)
			t.Errorf("%q leaves files: lost %q, added %q", command, lost, added)
		}
		return out
	}
	example := ""
	t.Run("check", func(t *testing.T) {
		out := look(t, "check")
		_, as, found := strings.Cut(out, "on: IPv4 through eth0, PREF64 2001:db8:64::/96 (from resolver 2001:db8:1::1 by RFC 7050), as ")
		var why string
		example, why, _ = strings.Cut(as, ", ")
		if !found || !strings.HasPrefix(example, "2001:db8:1:") || why != "path packet\n" {
			t.Errorf("check says\n%s", out)
		}
	})
	t.Run("explain", func(t *testing.T) {
		out := look(t, "explain", server4.String())
		for _, want := range []string{
			"100.64.46.4 -> " + server4.String(), " -> " + server6.String(), "path     packet: this host makes an address of its own on the uplink",
			"eth0, 1500 octets of IPv6, so 1480 of IPv4", "2001:db8:64::/96, from resolver 2001:db8:1::1 by RFC 7050",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
	})
	t.Run("explain what comes in", func(t *testing.T) {
		if out := look(t, "explain", server6.String()); !strings.Contains(out, server4.String()+" -> 100.64.46.4") {
			t.Errorf("explain says\n%s", out)
		}
	})
	t.Run("discover", func(t *testing.T) { look(t, "discover") })
	for _, f := range said.frames(t) {
		// The laptop's own link-local address solicits.
		if src := source6(f); src == example || !strings.HasPrefix(src, "fe80:") {
			t.Errorf("a packet from %s: % x", src, f)
		}
	}
	t.Run("once it has run, what it says is what it does", func(t *testing.T) {
		p := top.up(t)
		addr := p.addr6(t).String()
		down(t, p, syscall.SIGTERM)
		files = filesOf(t, top.laptop) // what it remembers
		if out := look(t, "explain", server4.String()); !strings.Contains(out, addr+" -> "+server6.String()) {
			t.Errorf("it takes %s, and explain says\n%s", addr, out)
		}
	})
}

// filesOf are the files that programs of a node may have made, each with its size.
func filesOf(t *testing.T, n *netlab.Node) string {
	t.Helper()
	var all strings.Builder
	root := fmt.Sprintf("/proc/%d/root", n.PID())
	for _, dir := range []string{"/etc", "/run", "/var/lib"} {
		entries, err := os.ReadDir(root + dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			fmt.Fprintf(&all, "%s/%s\n", dir, e.Name()) // most are the host's, whose content may change
		}
	}
	own := filepath.Join(root, "var/lib/uclat")
	err := filepath.WalkDir(own, func(path string, e fs.DirEntry, err error) error {
		if path == own && os.IsNotExist(err) {
			return fs.SkipAll
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&all, "%s %v %d %v\n", strings.TrimPrefix(path, root), info.Mode(), info.Size(), info.ModTime())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// TestSecondProgram starts another beside the one that runs. Without a device of its own it ends and says why; with one, and all else, both
// work. The first does not notice.
func TestSecondProgram(t *testing.T) {
	t.Parallel()
	top := newNetwork(t, network{path: onPacket})
	p := top.up(t)
	running := dump(t, top.laptop)
	s := top.startStream(t, server4)
	t.Run("the same", func(t *testing.T) {
		top.refused(t, "run", nil, "state folder /var/lib/uclat: held by process", "--state-dir")
		top.unchanged(t, running)
	})
	t.Run("the same, with a folder of its own", func(t *testing.T) {
		top.refused(t, "run", []string{"--state-dir", "/run/third"}, "clat0", "exists already", "choose another name")
		top.unchanged(t, running)
	})
	t.Run("another in all", func(t *testing.T) {
		second := top.startUclat(t, "--mode", "force", "--interface.name", "clat1", "--interface.ipv4", "192.0.0.2", "--interface.self-ipv4", "192.0.0.3",
			"--interface.default-route=false", "--state-dir", "/run/second")
		second.wait(t, `msg="on: IPv4 through eth0`)
		if a, b := p.addr6(t), second.addr6(t); a == b {
			t.Errorf("both are %s", a)
		}
		there := serverWAN.Addr().Next()
		if err := errors.Join(top.server.AddAddr("eth0", host(there)), top.laptop.AddRoute(netlab.Route{Dst: host(there), Dev: "clat1"})); err != nil {
			t.Fatal(err)
		}
		seen := startCapture(t, top.laptop, "clat1", "icmp")
		must(t, top.laptop, peers.Find(t, "ping"), "-c", "2", "-i", "0.1", "-W", "5", there.String())
		if n := len(seen.frames(t)); n != 4 {
			t.Errorf("%d packets by the second, want 4", n)
		}
		down(t, second, syscall.SIGTERM)
		top.unchanged(t, running)
	})
	if sent, lost := s.end(t); lost > 0 {
		t.Errorf("%d of %d packets were lost", lost, sent)
	}
	if strings.Contains(p.said(), "level=WARN") {
		t.Error("the first warns of something")
	}
	down(t, p, syscall.SIGTERM)
}
