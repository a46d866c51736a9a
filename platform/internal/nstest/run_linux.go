package nstest

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	childEnv = "UCLAT_NSTEST"   // name of the test that this process was started for
	limit    = 60 * time.Second // one test in its namespace; far more than any takes
)

// Run runs f in a fresh network namespace, with a /sys that shows it and with lo up. It starts the test binary once more for the
// calling test alone: a process has many threads, and only a new one is in the namespace with all of them. The namespace goes with
// that process, however it ends. It must be called from a top-level test, as its only statement. Without root the test is skipped.
func Run(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	if os.Getenv(childEnv) == t.Name() {
		enter(t)
		f(t)
		return
	}
	if strings.Contains(t.Name(), "/") {
		t.Fatalf("nstest.Run in the subtest %s: call it from the top-level test", t.Name())
	}
	if os.Geteuid() != 0 {
		skip(t, "needs root, to make a network namespace")
	}
	again(t)
}

// again runs the calling test in a new process, and reports what became of it.
func again(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v", "-test.count=1",
		"-test.timeout="+limit.String())
	cmd.Env = append(os.Environ(), childEnv+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS,
		Pdeathsig:  syscall.SIGKILL,
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out

	// The signal comes when the thread that started the process ends, not when this process does: keep the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	switch {
	case err != nil && strings.Contains(err.Error(), "operation not permitted"):
		skip(t, "may not make a network namespace: "+err.Error())
	case err != nil:
		t.Fatalf("in its own namespace: %v\n%s", err, out.String())
	case strings.Contains(out.String(), "--- SKIP: "+t.Name()+" "):
		skip(t, "skipped in its own namespace:\n"+out.String())
	case testing.Verbose():
		t.Logf("in its own namespace:\n%s", out.String())
	}
}

// enter prepares the fresh namespace: mounts that do not reach the machine's, a /sys that belongs to it, and lo.
func enter(t *testing.T) {
	t.Helper()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make mounts private: %v", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		t.Fatalf("mount /sys: %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatalf("find lo: %v", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatalf("set lo up: %v", err)
	}
}
