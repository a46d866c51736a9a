package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	other := filepath.Join(dir, "other")
	must(t, os.WriteFile(other, []byte("other"), 0o644))
	for _, content := range []string{"first", "", "third"} {
		// What an earlier process did not finish, or somebody put there.
		if os.Symlink(other, name+".new") != nil {
			must(t, os.WriteFile(name+".new", []byte("half"), 0o644))
		}
		must(t, Write(name, []byte(content), 0o600))
		got, err := Read(name)
		if err != nil || string(got) != content {
			t.Errorf("wrote %q, read %q, %v", content, got, err)
		}
		info, err := os.Lstat(name)
		must(t, err)
		if runtime.GOOS != "windows" && info.Mode() != 0o600 {
			t.Errorf("the mode is %v", info.Mode())
		}
	}
	if got := names(t, dir); !slices.Equal(got, []string{"file", "other"}) {
		t.Errorf("the folder has %v", got)
	}
	if got, err := Read(other); err != nil || string(got) != "other" {
		t.Errorf("the other file has %q, %v", got, err)
	}
	must(t, Remove(name))
	must(t, os.WriteFile(name+".new", []byte("half"), 0o644))
	must(t, Remove(name))
	must(t, Remove(name))
	if got := names(t, dir); !slices.Equal(got, []string{"other"}) {
		t.Errorf("the folder has %v", got)
	}
}

// A write that fails leaves the old content, and nothing else.
func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	must(t, Write(name, []byte("old"), 0o600))
	block := filepath.Join(name+".new", "blocked")
	must(t, os.MkdirAll(block, 0o700))
	fails := func(err error) {
		t.Helper()
		if err == nil || strings.Contains(err.Error(), dir) {
			t.Errorf("error: %v", err)
		}
	}
	fails(Write(name, []byte("new"), 0o600))
	fails(Remove(name))
	must(t, os.RemoveAll(name+".new"))
	if got, err := Read(name); err != nil || string(got) != "old" {
		t.Errorf("read %q, %v", got, err)
	}
	// The name is a folder's: what was written does not stay beside it.
	must(t, os.MkdirAll(filepath.Join(dir, "folder", "blocked"), 0o700))
	fails(Write(filepath.Join(dir, "folder"), []byte("new"), 0o600))
	fails(Write(filepath.Join(dir, "missing", "file"), []byte("new"), 0o600))
	if got := names(t, dir); !slices.Equal(got, []string{"file", "folder"}) {
		t.Errorf("the folder has %v", got)
	}
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, make([]byte, MaxSize), 0o600))
	if got, err := Read(file); err != nil || len(got) != MaxSize {
		t.Errorf("%d octets, %v", len(got), err)
	}
	must(t, os.WriteFile(file, make([]byte, MaxSize+1), 0o600))
	if _, err := Read(file); err == nil {
		t.Error("a file of more than MaxSize was read")
	}
	if _, err := Read(dir); err == nil {
		t.Error("a folder was read")
	}
	if _, err := Read(file + "2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what does not exist: %v", err)
	}
	if os.Symlink(file, file+"3") == nil {
		if _, err := Read(file + "3"); err == nil {
			t.Error("a link was followed")
		}
	}
}

func TestSetAside(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "file")
	for _, content := range []string{"first", "second"} {
		must(t, os.WriteFile(name, []byte(content), 0o600))
		to, err := SetAside(name)
		must(t, err)
		if got, err := Read(to); err != nil || string(got) != content || to != name+".unreadable" {
			t.Errorf("%s has %q, %v", to, got, err)
		}
	}
	if _, err := SetAside(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what does not exist: %v", err)
	}
}

func TestFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		must(t, Folder(dir))
		if got := names(t, dir); len(got) != 0 {
			t.Errorf("it has %v", got)
		}
	}
	info, err := os.Stat(dir)
	must(t, err)
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
		t.Errorf("its mode is %v", info.Mode())
	}
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for _, bad := range []string{"", file, filepath.Join(file, "below")} {
		if err := Folder(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func names(t *testing.T, dir string) (got []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		got = append(got, e.Name())
	}
	return got
}
