//go:build unix

package durable

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	release, err := Lock(name)
	if err != nil {
		t.Fatal(err)
	}
	// Another description of the file is as good as another process to the kernel.
	var held Held
	if _, err := Lock(name); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Errorf("locked twice: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	again, err := Lock(name)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	if err := again(); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(filepath.Join(t.TempDir(), "missing", "lock")); err == nil || errors.As(err, &held) {
		t.Errorf("in a folder that is not there: %v", err)
	}
}
