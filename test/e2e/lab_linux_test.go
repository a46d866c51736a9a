package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uclat/test/peers"
)

// labTime is how long `uclat lab` may take, on a busy machine with race detection.
const labTime = time.Minute

// TestLab runs `uclat lab` as a user does: on this machine, with nothing but the program. All goes well, it is what README shows, and
// nothing is left behind.
func TestLab(t *testing.T) {
	t.Parallel()
	peers.NeedRoot(t)
	needTUN(t)
	lab := labProgram(t)
	out, code := lab.run(t, "", "lab")
	if code != 0 {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	readme, err := os.ReadFile(filepath.Join(peers.Root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(whats(t, string(readme)), whats(t, out)); d != "" {
		t.Errorf("README and the lab differ in what is tried:\n%s", d)
	}
	if strings.Contains(out, "FAIL") {
		t.Errorf("something failed:\n%s", out)
	}
	if drawing, _, _ := strings.Cut(out, "  WHAT "); !strings.Contains(string(readme), strings.TrimSpace(drawing)) {
		t.Errorf("README has another drawing than\n%s", drawing)
	}
}

// TestLabShell uses the lab's shell, where uclat runs and the other hosts can be entered.
func TestLabShell(t *testing.T) {
	t.Parallel()
	peers.NeedRoot(t)
	needTUN(t)
	script := fmt.Sprintf(`hostname
%s -c 1 -W 5 198.51.100.10 || exit 3
uclat lab enter router cat /proc/sys/kernel/hostname || exit 4
uclat explain --address.ipv6 2001:db8:c1a7::/64 198.51.100.10 || exit 5
uclat lab enter nobody true && exit 6
exit 0
`, peers.Find(t, "ping").Path)
	out, code := labProgram(t).run(t, script, "lab", "--shell")
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{
		"\nlaptop\n", " 0% packet loss", "\nrouter\n", "64:ff9b::c633:640a", "no node \"nobody\"; there are laptop, router, plat, hop, server",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// program is a copy of the program under test, which can be told from all others that run.
type program string

func labProgram(t *testing.T) program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "uclat")
	if err := os.Link(uclat(t).Path, path); err != nil {
		t.Fatal(err)
	}
	return program(path)
}

// run runs it to its end and returns all that it said. None of its processes must be left, and nobody in their namespaces.
func (p program) run(t *testing.T, stdin string, args ...string) (out string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), labTime)
	defer cancel()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, string(p), args...)
	cmd.Env = append(peers.Find(t, "ping").Env, "SHELL=/bin/sh", "GORACE=halt_on_error=1 atexit_sleep_ms=0")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait() // ProcessState tells
	}()
	namespaces := map[string]bool{}
	for running := true; running; {
		select {
		case <-ended:
			running = false
		case <-time.After(20 * time.Millisecond):
			for _, pid := range p.processes(t) {
				if ns := namespaceOf(pid); ns != "" && ns != namespaceOf("self") {
					namespaces[ns] = true
				}
			}
		}
	}
	if len(namespaces) != 5 {
		t.Errorf("%d hosts were seen, want 5", len(namespaces))
	}
	if left := p.processes(t); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	for _, pid := range pids(t) {
		if namespaces[namespaceOf(pid)] {
			t.Errorf("process %s is left in a namespace of the lab", pid)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for ns := range namespaces {
		if bytes.Contains(mounts, []byte(ns)) {
			t.Errorf("%s is mounted, and so kept", ns)
		}
	}
	return said.String(), cmd.ProcessState.ExitCode()
}

// processes are those that run the program, by number.
func (p program) processes(t *testing.T) []string {
	t.Helper()
	return slices.DeleteFunc(pids(t), func(pid string) bool {
		exe, err := os.Readlink(filepath.Join("/proc", pid, "exe"))
		return err != nil || strings.TrimSuffix(exe, " (deleted)") != string(p)
	})
}

func pids(t *testing.T) []string {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		entries[i] = filepath.Base(e)
	}
	return entries
}

// namespaceOf is a process's network namespace, such as net:[4026531840]; empty where it has ended.
func namespaceOf(pid string) string {
	ns, _ := os.Readlink(filepath.Join("/proc", pid, "ns/net")) // the error is that it has ended
	return ns
}

// whats is the first column of the table in what the lab prints.
func whats(t *testing.T, text string) (column []string) {
	t.Helper()
	_, table, found := strings.Cut(text, "\n  WHAT ")
	if !found {
		t.Fatalf("no table in\n%s", text)
	}
	for line := range strings.Lines(table) {
		const width = 23
		switch r := []rune(line); {
		case strings.Contains(line, "WHAT HAPPENED"):
		case len(r) < width:
			return column
		default:
			column = append(column, strings.TrimSpace(string(r[:width])))
		}
	}
	return column
}
