package state

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	addr = netip.MustParseAddr("2001:db8::46")
	noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
)

const hour = time.Hour

func TestFirstRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "lib", "uclat")
	s := open(t, dir)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if perm := info.Mode().Perm(); runtime.GOOS != "windows" && perm != 0o700 {
		t.Errorf("the folder has mode %#o", perm)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("made before it was needed: %v", slices.Collect(maps.Keys(got)))
	}
	if want := filepath.Join(dir, "journal.json"); s.Journal() != want {
		t.Errorf("the journal is %s, want %s", s.Journal(), want)
	}
	if s.UsedSince(addr, time.Time{}) {
		t.Error("an address was ours before it was")
	}
	secret := s.Secret()
	if secret == [32]byte{} || secret != s.Secret() {
		t.Errorf("secret %x, then %x", secret, s.Secret())
	}
	if other := open(t, t.TempDir()); secret == other.Secret() {
		t.Error("another folder has the same secret")
	}
	note(t, s, addr, noon)
	want := map[string]string{
		"secret":         hex.EncodeToString(secret[:]) + "\n",
		"addresses.json": "{\n\t\"schema\": 1,\n\t\"addresses\": {\n\t\t\"2001:db8::46\": \"2026-11-21T12:00:00Z\"\n\t}\n}\n",
	}
	if got := files(t, dir); !maps.Equal(want, got) {
		t.Errorf("the folder has %q, want %q", got, want)
	}

	s = open(t, dir)
	if s.Secret() != secret {
		t.Error("the secret did not stay")
	}
	if !s.UsedSince(addr, noon.Add(-1)) || s.UsedSince(addr, noon) {
		t.Error("the address was not remembered")
	}
}

// The folder is written at the first use of an address, then once an hour; what is asked of this run is always new.
func TestWrites(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for _, step := range []struct {
		after  time.Duration // noon
		writes bool
	}{{0, true}, {hour - 1, false}, {hour, true}, {hour + 1, false}, {-hour, true}} { // at the end, the clock was put right
		name := filepath.Join(dir, "addresses.json")
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		at := noon.Add(step.after)
		note(t, s, addr, at)
		if _, err := os.Stat(name); (err == nil) != step.writes {
			t.Errorf("%v: writes is not %v", step.after, step.writes)
		}
		if !s.UsedSince(addr, at.Add(-1)) || s.UsedSince(addr, at) {
			t.Errorf("%v: the use was not noted", step.after)
		}
	}
}

func TestBound(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	nth := func(i int) netip.Addr { return netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", 0xffff-i)) }
	for i := range 3 * maxAddresses {
		note(t, s, nth(i), noon.Add(time.Duration(i)*time.Second))
	}
	for name, s := range map[string]*State{"this run": s, "the next": open(t, dir)} {
		for i := range 3 * maxAddresses {
			if got, want := s.UsedSince(nth(i), time.Time{}), i >= 2*maxAddresses; got != want {
				t.Fatalf("%s: address %d of %d is remembered: %v", name, i, 3*maxAddresses, got)
			}
		}
	}
}

// What cannot be used is put aside with a warning, and begun anew; the other file stays as it is.
func TestUnusable(t *testing.T) {
	key := strings.Repeat("46", 32) + "\n"
	used := `{"schema":1,"addresses":{"2001:db8::46":"2026-11-21T12:00:00Z"}}`
	for _, tt := range []struct {
		name, file, content string
		perm                os.FileMode
		want                string
	}{
		{"empty", "secret", "", 0o600, "not 32 octets"},
		{"short", "secret", key[:62], 0o600, "not 32 octets"},
		{"long", "secret", key[:64] + "00", 0o600, "not 32 octets"},
		{"no hex", "secret", strings.Repeat("\x00", 64), 0o600, "not 32 octets"},
		{"for the group", "secret", key, 0o640, "by others"},
		{"for all", "secret", key, 0o604, "by others"},
		{"too big", "secret", strings.Repeat("0", 1<<20+1), 0o600, "more than"},
		{"empty", "addresses.json", "", 0o600, "JSON"},
		{"half", "addresses.json", used[:50], 0o600, "JSON"},
		{"no address", "addresses.json", strings.Replace(used, "2001:db8::46", "clat0", 1), 0o600, "clat0"},
		{"no time", "addresses.json", strings.Replace(used, "12:00", "noon", 1), 0o600, "noon"},
		{"of a later version", "addresses.json", strings.Replace(used, ":1", ":2", 1), 0o600, "schema 2"},
		{"without a schema", "addresses.json", `{}`, 0o600, "schema 0"},
	} {
		t.Run(tt.file+" "+tt.name, func(t *testing.T) {
			if strings.HasPrefix(tt.name, "for ") && runtime.GOOS == "windows" {
				t.Skip("Windows shows no permissions here")
			}
			dir := t.TempDir()
			for name, content := range map[string]string{"secret": key, "addresses.json": used} {
				write(t, filepath.Join(dir, name), content, 0o600)
			}
			name := filepath.Join(dir, tt.file)
			write(t, name, tt.content, tt.perm)
			s, err := Open(dir)
			if err == nil || errors.Is(err, ErrVolatile) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("Open: %v", err)
			}
			for _, want := range []string{name, tt.want, "put aside as " + tt.file + ".unreadable"} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if got := files(t, dir)[tt.file+".unreadable"]; got != tt.content {
				t.Errorf("put aside: %q", got)
			}
			if got, want := hexed(s), strings.TrimSpace(key); (got == want) != (tt.file != "secret") {
				t.Errorf("the secret is %s", got)
			}
			if got := s.UsedSince(addr, time.Time{}); got != (tt.file != "addresses.json") {
				t.Errorf("the address is remembered: %v", got)
			}
			note(t, s, addr, noon)
			if again := open(t, dir); hexed(again) != hexed(s) || !again.UsedSince(addr, time.Time{}) {
				t.Error("what was begun anew did not stay")
			}
		})
	}
}

// Peek reads what Open would, and leaves everything as it is.
func TestPeek(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "uclat")
	if Peek(dir) != [32]byte{} {
		t.Error("a secret of a folder that does not exist")
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("it made the folder")
	}
	secret := open(t, dir).Secret()
	if got := Peek(dir); got != secret {
		t.Errorf("got %x, want %x", got, secret)
	}
	write(t, filepath.Join(dir, "secret"), "no secret", 0o600)
	if Peek(dir) != [32]byte{} || files(t, dir)["secret"] != "no secret" {
		t.Error("a damaged secret was used, or touched")
	}
}

// A link may lead to a file of somebody else.
func TestLink(t *testing.T) {
	dir, other := t.TempDir(), filepath.Join(t.TempDir(), "other")
	write(t, other, strings.Repeat("46", 32), 0o600)
	if err := os.Symlink(other, filepath.Join(dir, "secret")); err != nil {
		t.Skip(err)
	}
	s, err := Open(dir)
	if err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("Open: %v", err)
	}
	if hexed(s) == strings.Repeat("46", 32) {
		t.Error("it was followed")
	}
	if got, err := os.ReadFile(other); err != nil || string(got) != strings.Repeat("46", 32) {
		t.Errorf("the other file: %q, %v", got, err)
	}
}

// Where nothing can be written, the State works from memory, and says so once.
func TestVolatile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "", 0o600)
	for _, dir := range []string{"", file, filepath.Join(file, "below")} {
		s, err := Open(dir)
		if !errors.Is(err, ErrVolatile) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), dir) {
			t.Errorf("%q: %v", dir, err)
		}
		if s.Journal() != "" {
			t.Errorf("%q: there is a journal, %s", dir, s.Journal())
		}
		if first, second := s.Secret(), s.Secret(); first == [32]byte{} || first != second {
			t.Errorf("%q: secret %x, then %x", dir, first, second)
		}
		note(t, s, addr, noon)
		if !s.UsedSince(addr, noon.Add(-1)) {
			t.Errorf("%q: not even remembered", dir)
		}
	}
	if _, err := os.Stat("secret"); err == nil {
		t.Error("the secret was written to where we happen to be")
	}
}

// What is in a folder that can only be read is used all the same.
func TestReadOnly(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	secret := s.Secret()
	note(t, s, addr, noon)
	block(t, dir, "probe.new")
	s, err := Open(dir)
	if !errors.Is(err, ErrVolatile) {
		t.Errorf("Open: %v", err)
	}
	if s.Secret() != secret || !s.UsedSince(addr, noon.Add(-1)) {
		t.Error("what is there was not read")
	}
}

// A disk may be full when the secret is made: NoteUse tells, and the work goes on.
func TestUnsaved(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	block(t, dir, "secret.new")
	secret := s.Secret()
	err := s.NoteUse(addr, noon)
	if err == nil || !strings.Contains(err.Error(), "secret cannot be written") {
		t.Errorf("NoteUse: %v", err)
	}
	note(t, s, addr, noon)
	if s.Secret() != secret {
		t.Error("the secret changed")
	}
	block(t, dir, "addresses.json.new")
	if err := s.NoteUse(addr, noon.Add(hour)); err == nil || !strings.Contains(err.Error(), "addresses.json cannot be written") {
		t.Errorf("NoteUse: %v", err)
	}
	note(t, s, addr, noon.Add(hour)) // not again at once
}

func open(t *testing.T, dir string) *State {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func note(t *testing.T, s *State, addr netip.Addr, now time.Time) {
	t.Helper()
	if err := s.NoteUse(addr, now); err != nil {
		t.Fatal(err)
	}
}

func hexed(s *State) string {
	secret := s.Secret()
	return hex.EncodeToString(secret[:])
}

func write(t *testing.T, name, content string, perm os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), perm); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, perm); err != nil {
		t.Fatal(err)
	}
}

// block puts a folder where a file would be written, which keeps root from it too.
func block(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(dir, name, "blocked"), 0o700); err != nil {
		t.Fatal(err)
	}
}

// files are the contents of a folder; each must be for its owner alone.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if perm := info.Mode().Perm(); runtime.GOOS != "windows" && perm != 0o600 && !strings.HasSuffix(e.Name(), ".unreadable") {
			t.Errorf("%s has mode %#o", e.Name(), perm)
		}
		got[e.Name()] = string(data)
	}
	return got
}
