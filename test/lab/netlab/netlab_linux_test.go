package netlab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"uclat/test/peers"
)

func newLab(t *testing.T, names ...string) (*Lab, []*Node) {
	t.Helper()
	peers.NeedRoot(t)
	lab, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	var nodes []*Node
	for _, name := range names {
		n, err := lab.Node(name, NodeOptions{NoDAD: true})
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	return lab, nodes
}

func output(t *testing.T, n *Node, name string, args ...string) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := n.Command(t.Context(), name, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q in %s: %v: %s", name, args, n.Name(), err, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

func TestNodeIsAHostOfItsOwn(t *testing.T) {
	_, nodes := newLab(t, "alpha")
	n := nodes[0]
	if got := output(t, n, "uname", "-n"); got != "alpha" {
		t.Errorf("host name is %q", got)
	}
	if got := output(t, n, "ls", "/sys/class/net"); got != "lo" {
		t.Errorf("/sys/class/net has %q", got)
	}
	if got := output(t, n, "cat", "/sys/class/net/lo/flags"); got != "0x9" { // IFF_UP, IFF_LOOPBACK
		t.Errorf("lo has flags %q", got)
	}
	if got := output(t, n, "cat", "/etc/resolv.conf"); got != "" {
		t.Errorf("/etc/resolv.conf is %q", got)
	}
	passwd, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	if got := output(t, n, "cat", "/etc/passwd"); got != strings.TrimSpace(string(passwd)) {
		t.Error("/etc/passwd is not the host's")
	}
	host, err := os.ReadDir("/etc")
	if err != nil {
		t.Fatal(err)
	}
	own := strings.Fields(output(t, n, "ls", "-A", "/etc"))
	for _, e := range host {
		if e.Type().IsRegular() || e.IsDir() || e.Type() == fs.ModeSymlink {
			if !slices.Contains(own, e.Name()) && e.Name() != "uclat" {
				t.Errorf("/etc/%s is missing", e.Name())
			}
		}
	}
}

func TestNodeFilesStayInside(t *testing.T) {
	_, nodes := newLab(t, "alpha")
	n := nodes[0]
	before, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		t.Fatal(err)
	}
	const text = "nameserver 2001:db8::53\n"
	if err := n.WriteFile("/etc/resolv.conf", []byte(text)); err != nil {
		t.Fatal(err)
	}
	if got := output(t, n, "cat", "/etc/resolv.conf"); got+"\n" != text {
		t.Errorf("/etc/resolv.conf is %q in the node", got)
	}
	for _, path := range []string{"/etc/uclat/test.toml", "/run/uclat/test"} {
		if err := n.WriteFile(path, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if got := output(t, n, "cat", path); got != "x" {
			t.Errorf("%s is %q in the node", path, got)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is on the host", path)
		}
	}
	// A program in the node may make and replace files as well.
	output(t, n, "sh", "-c", "mkdir -p /var/lib/uclat && echo y >/var/lib/uclat/netlab-test && echo y >/etc/new && mv /etc/new /etc/resolv.conf")
	if _, err := os.Stat("/var/lib/uclat/netlab-test"); err == nil {
		t.Error("/var/lib/uclat is the host's")
	}
	if after, err := os.ReadFile("/etc/resolv.conf"); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the host's /etc/resolv.conf is now %q, %v", after, err)
	}
	if err := n.WriteFile("/usr/share/x", nil); err == nil {
		t.Error("a file that is not the node's own was written")
	}
}

// Parameters are the node's, whatever thread asks for them.
func TestSysctl(t *testing.T) {
	_, nodes := newLab(t, "alpha", "beta")
	if err := nodes[0].SetSysctl("net.ipv4.ip_forward", "1"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"1", "0"} {
		if got, err := nodes[i].Sysctl("net/ipv4/ip_forward"); err != nil || got != want {
			t.Errorf("ip_forward of %s is %q, %v, want %s", nodes[i].Name(), got, err, want)
		}
	}
	_, err := nodes[0].Sysctl("net.ipv4.no_such_thing")
	if err == nil || !strings.Contains(err.Error(), "alpha") || !strings.Contains(err.Error(), "no_such_thing") {
		t.Errorf("error is %v", err)
	}
}

func TestHide(t *testing.T) {
	_, nodes := newLab(t, "alpha", "beta")
	const key, beside = "net/ipv6/conf/lo/forwarding", "net/ipv6/conf/lo/accept_ra"
	if err := nodes[0].Hide("/proc/sys/" + key); err != nil {
		t.Fatal(err)
	}
	output(t, nodes[0], "test", "!", "-e", "/proc/sys/"+key)
	output(t, nodes[1], "test", "-e", "/proc/sys/"+key)
	if _, err := os.Stat("/proc/sys/" + key); err != nil {
		t.Errorf("the host lost it too: %v", err)
	}
	if v, err := nodes[0].Sysctl(key); err == nil {
		t.Errorf("%s is %s", key, v)
	}
	output(t, nodes[0], "sh", "-c", "echo 2 > /proc/sys/"+beside)
	if v, err := nodes[0].Sysctl(beside); err != nil || v != "2" {
		t.Errorf("what is beside it is %q, %v: it should be as it was", v, err)
	}
	if err := nodes[0].Hide("/etc/no-such-file"); err == nil {
		t.Error("what is not there was hidden")
	}
}

func TestConnect(t *testing.T) {
	_, nodes := newLab(t, "alpha", "router", "beta")
	a, r, b := nodes[0], nodes[1], nodes[2]
	mac := net.HardwareAddr{2, 0, 0, 0, 0, 1}
	check := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	check(
		Connect(a, "eth0", r, "lan0", LinkOptions{MTU: 1400, MACA: mac}),
		Connect(r, "wan0", b, "eth0", LinkOptions{}),
		a.AddAddr("eth0", prefix("2001:db8:1::2/64")),
		r.AddAddr("lan0", prefix("2001:db8:1::1/64")),
		r.AddAddr("wan0", prefix("2001:db8:2::1/64")),
		b.AddAddr("eth0", prefix("2001:db8:2::2/64")),
		a.AddRoute(Route{Dst: prefix("::/0"), Via: addr("2001:db8:1::1"), MTU: 1300}),
		b.AddRoute(Route{Dst: prefix("2001:db8:1::/64"), Via: addr("2001:db8:2::1"), Dev: "eth0", Metric: 7}),
		r.SetSysctl("net.ipv6.conf.all.forwarding", "1"),
	)
	if got, err := a.HardwareAddr("eth0"); err != nil || got.String() != mac.String() {
		t.Errorf("address of eth0 is %s, %v", got, err)
	}
	for _, n := range []struct {
		node     *Node
		dev, mtu string
	}{{a, "eth0", "1400"}, {r, "lan0", "1400"}, {r, "wan0", "1500"}} {
		if got := output(t, n.node, "cat", "/sys/class/net/"+n.dev+"/mtu"); got != n.mtu {
			t.Errorf("MTU of %s of %s is %s, want %s", n.dev, n.node.Name(), got, n.mtu)
		}
	}
	// A link-local address and the one that was given, both usable at once.
	if got, err := a.Addrs("eth0"); err != nil || len(got) != 2 || !slices.Contains(got, prefix("2001:db8:1::2/64")) {
		t.Errorf("addresses of eth0 are %v, %v", got, err)
	}
	echo, err := b.Role(t.Context(), "echo", "[::]:7")
	check(err)
	var ready string
	check(echo.Next(&ready))
	ask := func() (string, error) {
		role, err := a.Role(t.Context(), "ask", "[2001:db8:2::2]:7")
		check(err)
		var got string
		err = role.Next(&got)
		return got, errors.Join(err, role.Stop())
	}
	if got, err := ask(); got != "hello" || err != nil {
		t.Errorf("answer %q, %v", got, err)
	}
	check(r.SetUp("wan0", false))
	if got, err := ask(); err == nil {
		t.Errorf("answer %q over a link that is down", got)
	}
	check(echo.Stop())
	check(a.DelRoute(Route{Dst: prefix("::/0"), Via: addr("2001:db8:1::1")}), a.DelAddr("eth0", prefix("2001:db8:1::2/64")), a.SetMTU("eth0", 1280))
	if err := a.SetUp("eth7", true); err == nil || !strings.Contains(err.Error(), "eth7 of node alpha") {
		t.Errorf("error is %v", err)
	}
}

func TestWaitAddr(t *testing.T) {
	_, nodes := newLab(t, "alpha", "beta")
	if err := Connect(nodes[0], "eth0", nodes[1], "eth0", LinkOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := nodes[0].WaitAddr(t.Context(), "eth0", netip.MustParsePrefix("fe80::/10")); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if a, err := nodes[0].WaitAddr(ctx, "eth0", netip.MustParsePrefix("2001:db8::/32")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %s, %v", a, err)
	}
}

func TestCommand(t *testing.T) {
	lab, nodes := newLab(t, "alpha", "beta")
	a, b := nodes[0], nodes[1]

	dir := t.TempDir()
	cmd := a.Command(t.Context(), "sh", "-c", `pwd; echo "$WORD"; cat; exit 7`)
	cmd.Dir, cmd.Env, cmd.Stdin = dir, append(os.Environ(), "WORD=w"), strings.NewReader("in")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if want := dir + "\nw\nin"; string(out) != want || !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("got %q, %v, want %q and code 7", out, err, want)
	}

	out, err = a.Command(t.Context(), "no-such-program").CombinedOutput()
	if !errors.As(err, &exit) || exit.ExitCode() != 127 || !strings.Contains(string(out), "no-such-program") {
		t.Errorf("got %q, %v, want code 127", out, err)
	}

	// A shell of the lab enters the other nodes by name.
	enter := func(args ...string) ([]byte, error) {
		cmd := a.Command(t.Context(), "/proc/self/exe", append([]string{Command, "enter"}, args...)...)
		cmd.Env = append(os.Environ(), lab.Environ())
		return cmd.CombinedOutput()
	}
	if out, err := enter("beta", "--", "uname", "-n"); string(out) != "beta\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	if out, err := enter("beta", "uname", "-n"); string(out) != "beta\n" || err != nil {
		t.Errorf("got %q, %v", out, err)
	}
	out, err = enter("gamma", "--", "true")
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "there are alpha, beta") {
		t.Errorf("got %q, %v, want code 2", out, err)
	}
	out, err = enter("beta")
	if !errors.As(err, &exit) || exit.ExitCode() != 2 || !strings.Contains(string(out), "usage") {
		t.Errorf("got %q, %v, want code 2", out, err)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if env := lab.Environ(); env != fmt.Sprintf("%s=alpha=%d", Env, a.PID()) {
		t.Errorf("environment is %s", env)
	}
	if _, err := b.Sysctl("net.ipv4.ip_forward"); err == nil {
		t.Error("a closed node answers")
	}
}

func TestNodeNames(t *testing.T) {
	lab, _ := newLab(t, "alpha")
	for _, name := range []string{"", "a b", "a=b", "alpha"} {
		if _, err := lab.Node(name, NodeOptions{}); err == nil {
			t.Errorf("a node has the name %q", name)
		}
	}
}

func TestRoleFails(t *testing.T) {
	_, nodes := newLab(t, "alpha")
	for _, name := range []string{"fail", "no-such-role"} {
		role, err := nodes[0].Role(t.Context(), name, nil)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := role.Next(&v); err != io.EOF {
			t.Errorf("%s: report %v, %v", name, v, err)
		}
		if err := role.Stop(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Closing a lab ends what was started in it, also what nobody waits for.
func TestCloseEndsAll(t *testing.T) {
	lab, nodes := newLab(t, "alpha")
	pid := orphan(t.Context(), nodes[0])
	if pid <= 0 || !alive(pid) {
		t.Fatalf("process %d does not run", pid)
	}
	if err := lab.Close(); err != nil {
		t.Error(err)
	}
	if alive(pid) || alive(nodes[0].PID()) {
		t.Error("a process is left")
	}
}

func TestParentKilled(t *testing.T) {
	peers.NeedRoot(t)
	cmd := exec.Command("/proc/self/exe", helper)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []int
	if err := json.NewDecoder(out).Decode(&pids); err != nil {
		t.Error(err)
	}
	for _, pid := range pids {
		if !alive(pid) {
			t.Errorf("process %d of %v does not run", pid, pids)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // killed
	left := func() []int { return slices.DeleteFunc(slices.Clone(pids), func(pid int) bool { return !alive(pid) }) }
	for end := time.Now().Add(10 * time.Second); len(left()) > 0 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	for _, pid := range left() {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		t.Errorf("process %d is left: %q", pid, cmdline)
	}
}

// A node whose process is gone gives errors that say so.
func TestNodeKilled(t *testing.T) {
	peers.NeedRoot(t)
	lab, err := New()
	if err != nil {
		t.Fatal(err)
	}
	n, err := lab.Node("alpha", NodeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(n.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if _, err := n.Sysctl("net.ipv4.ip_forward"); err == nil || !strings.Contains(err.Error(), "alpha") {
		t.Errorf("error is %v", err)
	}
	if err := lab.Close(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("error is %v", err)
	}
}
