// Package peers finds the programs that tests run against: those that fetch.sh unpacked into build/peers, else those of the
// system. Only tests import it.
package peers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// RequireEnv is the environment variable that, set to 1, makes a skip a failure.
const RequireEnv = "UCLAT_TEST_REQUIRE"

// Program is a program to run.
type Program struct {
	Path string   // absolute
	Env  []string // its whole environment: ours, and where its libraries are
}

// Find finds a program by its name, or skips the test.
func Find(t testing.TB, name string) Program {
	t.Helper()
	p, err := find(Root(), name)
	if err != nil {
		Skip(t, "%v", err)
	}
	return p
}

// Skip skips the test for a reason; with UCLAT_TEST_REQUIRE=1 it fails the test instead.
func Skip(t testing.TB, format string, args ...any) {
	t.Helper()
	reason := fmt.Sprintf(format, args...)
	if os.Getenv(RequireEnv) == "1" {
		t.Fatalf("must not be skipped (%s=1): %s", RequireEnv, reason)
		return
	}
	t.Skip(reason)
}

// NeedRoot skips the test unless it runs as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, "needs root")
	}
}

// Root is the top folder of this project's source.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// find looks below the project's top folder and then in PATH.
func find(top, name string) (Program, error) {
	root := filepath.Join(top, "build", "peers", "root")
	// Debian tells programs of the same name apart by a suffix, and picks one in scripts that fetch.sh does not run.
	for _, file := range []string{name, name + ".openbsd", name + ".db"} {
		for _, dir := range []string{"usr/sbin", "usr/bin", "sbin", "bin", "usr/lib/systemd", "lib/systemd"} {
			path := filepath.Join(root, dir, file)
			// The links among them are relative or not needed.
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return Program{Path: path, Env: environ(root)}, nil
			}
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		// An ordinary user's PATH lacks the folders of daemons, and everybody's those of systemd's.
		for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/lib/systemd", "/lib/systemd"} {
			if path, err = exec.LookPath(filepath.Join(dir, name)); err == nil {
				break
			}
		}
	}
	if err != nil {
		return Program{}, fmt.Errorf("no program %s: run `make peers` first", name)
	}
	return Program{Path: path, Env: os.Environ()}, nil
}

// environ is our environment, with the libraries below root before the system's.
func environ(root string) []string {
	const key = "LD_LIBRARY_PATH="
	var dirs []string
	for _, pattern := range []string{"usr/lib/*-linux-gnu*", "lib/*-linux-gnu*", "usr/lib/*-linux-gnu*/systemd"} {
		found, _ := filepath.Glob(filepath.Join(root, pattern)) // the pattern is well-formed
		dirs = append(dirs, found...)
	}
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		old, ok := strings.CutPrefix(v, key)
		if ok && old != "" {
			dirs = append(dirs, old)
		}
		return ok
	})
	return append(env, key+strings.Join(dirs, ":"))
}
