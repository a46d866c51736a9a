package peers

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A program that was fetched comes with its libraries, and before the system's.
func TestFindFetched(t *testing.T) {
	t.Setenv("LD_LIBRARY_PATH", "/opt/lib")
	top := t.TempDir()
	root := filepath.Join(top, "build/peers/root")
	for _, dir := range []string{"bin", "usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"ls", "nc.openbsd"} {
		if err := os.WriteFile(filepath.Join(root, "bin", file), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, file := range map[string]string{"ls": "ls", "nc": "nc.openbsd"} {
		p, err := find(top, name)
		if err != nil {
			t.Fatal(err)
		}
		if want := filepath.Join(root, "bin", file); p.Path != want {
			t.Errorf("%s is %s, want %s", name, p.Path, want)
		}
		want := "LD_LIBRARY_PATH=" + root + "/usr/lib/x86_64-linux-gnu:" + root + "/lib/x86_64-linux-gnu:/opt/lib"
		if !slices.Contains(p.Env, want) {
			t.Errorf("environment of %s lacks %s:\n%s", name, want, strings.Join(p.Env, "\n"))
		}
	}
}

func TestFindOfSystem(t *testing.T) {
	p, err := find(t.TempDir(), "sh")
	if err != nil {
		t.Fatal(err)
	}
	if !filepath.IsAbs(p.Path) || !slices.Equal(p.Env, os.Environ()) {
		t.Errorf("sh is %+v", p)
	}
}

func TestFindNothing(t *testing.T) {
	_, err := find(t.TempDir(), "no-such-program")
	if err == nil || !strings.Contains(err.Error(), "make peers") {
		t.Errorf("error %v does not say what to do", err)
	}
}

func TestRootHasModule(t *testing.T) {
	if _, err := os.Stat(filepath.Join(Root(), "go.mod")); err != nil {
		t.Error(err)
	}
}

// skipped is a test that only notes what became of it.
type skipped struct {
	testing.TB
	reason string
	fatal  bool
}

func (s *skipped) Helper()          {}
func (s *skipped) Skip(args ...any) { s.reason = fmt.Sprint(args...) }
func (s *skipped) Fatalf(format string, args ...any) {
	s.reason, s.fatal = fmt.Sprintf(format, args...), true
}

func TestSkipIsFailureWhereRequired(t *testing.T) {
	for _, require := range []bool{false, true} {
		if t.Setenv(RequireEnv, ""); require {
			t.Setenv(RequireEnv, "1")
		}
		s := &skipped{}
		Skip(s, "no %s", "TUN")
		if s.fatal != require || !strings.Contains(s.reason, "no TUN") {
			t.Errorf("required %v: fatal %v, %q", require, s.fatal, s.reason)
		}
	}
}
