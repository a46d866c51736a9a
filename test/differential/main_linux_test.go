package differential

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"uclat/test/lab/netlab"
	"uclat/test/peers"
)

var (
	seed    = flag.Uint64("seed", 1, "what the random packets follow from")
	packets = flag.Int("packets", usual, "how many packets there are")
)

// usual is how many packets a run has. With that many, each entry of the allow-list must explain something.
const usual = 10000

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == netlab.Command {
		os.Exit(netlab.Main(os.Args[2:], nil))
	}
	goleak.VerifyTestMain(m)
}

// node is a host with nothing but what a translator makes there, which ends with the test.
func node(t *testing.T, lab *netlab.Lab, name string) *netlab.Node {
	t.Helper()
	n, err := lab.Node(name, netlab.NodeOptions{NoDAD: true})
	if err != nil {
		t.Fatal(err)
	}
	// Without link-local addresses the kernel has nothing to say by itself.
	if err := n.SetSysctl("net/ipv6/conf/default/addr_gen_mode", "1"); err != nil {
		t.Fatal(err)
	}
	return n
}

// startTAYGA starts TAYGA in a node of its own.
func startTAYGA(t *testing.T, lab *netlab.Lab) *translator {
	t.Helper()
	n, conf := node(t, lab, "tayga"), filepath.Join(t.TempDir(), "tayga.conf")
	text := fmt.Sprintf("tun-device %s\nipv4-addr %s\nipv6-addr %s\nprefix %s\n", tun, self4, self6, prefix)
	for _, m := range mappings {
		text += fmt.Sprintf("map %s %s\n", m.four, m.six)
	}
	write(t, conf, text)
	// It waits for a device that it makes itself, and whose MTU it reads once: the kernel's choice, 1500.
	start(t, n, peers.Find(t, "tayga"), "-n", "-c", conf, "-p", "/run/tayga.pid")
	eventually(t, "TAYGA makes its device", func() bool { return n.SetUp(tun, true) == nil })
	return openTranslator(t, n)
}

// startUclat builds the program and starts it as a plain SIIT router in a node of its own.
func startUclat(t *testing.T, lab *netlab.Lab) *translator {
	t.Helper()
	dir := t.TempDir()
	program, conf := filepath.Join(dir, "uclat"), filepath.Join(dir, "uclat.toml")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "./cmd/uclat")
	build.Dir = peers.Root()
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	text := fmt.Sprintf(`interface.name = %q
interface.ipv4 = ""
interface.default-route = false
interface.mtu = %d
interface.self-ipv4 = %q
address.self-ipv6 = %q
pref64.prefixes = [%q]
translate.icmpv6-prohibited = true
translate.lowest-ipv6-mtu = 1280
`, tun, linkMTU, self4, self6, prefix)
	for _, m := range mappings {
		text += fmt.Sprintf("[[map]]\nipv4 = %q\nipv6 = %q\n", m.four, m.six)
	}
	write(t, conf, text)
	n := node(t, lab, "uclat")
	said := start(t, n, peers.Program{Path: program, Env: os.Environ()}, "run", "--config", conf)
	eventually(t, "uclat says that it is on", func() bool { return strings.Contains(said.String(), `msg="on: `) })
	return openTranslator(t, n)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// output is what a program prints, from a goroutine of its own.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start starts a program that runs until the test ends. What it said is printed when the test has failed.
func start(t *testing.T, n *netlab.Node, p peers.Program, args ...string) *output {
	t.Helper()
	said := new(output)
	cmd := n.Command(context.Background(), p.Path, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.Env, said, said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // it was killed
		if t.Failed() {
			t.Logf("%s said:\n%s", n.Name(), said)
		}
	})
	return said
}

// patience is how long anything may take that takes a moment.
const patience = 20 * time.Second

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
