package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/version"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"uclat/test/gotest"
)

// `go test -overlay` compiles everything anew that imports a changed package, which here is most of all the tests themselves. But a
// mistake within a function changes nothing that other packages see, once functions are not inlined into them. So a builder has the
// go command compile everything once, and for each fault compiles the one package and links. The linker refuses what does not fit
// together; then there is still `go test -overlay`.

const flags = "-l -dwarf=false" // without inlining, and without what a debugger needs

// listed is what `go list` says of a package.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
	Module                  *struct{ GoVersion string }
}

type builder struct {
	packages map[string]listed // by import path
	main     string            // archive of the test binary's main package
}

// newBuilder compiles the tests and all that they import.
func newBuilder() (*builder, error) {
	cmd := exec.Command("go", "list", "-deps", "-test", "-export", gcflags, "-json=ImportPath,Dir,Export,GoFiles,Module", tests)
	cmd.Env = environment()
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("the tests without a fault: %w", withStderr(err))
	}
	b := &builder{packages: map[string]listed{}}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return b, nil
		} else if err != nil {
			return nil, err
		}
		path, _, variant := strings.Cut(p.ImportPath, " [") // as it is compiled for a test
		switch {
		case strings.HasSuffix(path, ".test"):
			b.main = p.Export
		case p.Export != "" && (variant || b.packages[path].Export == ""):
			b.packages[path] = p
		}
	}
}

// run links the tests with the package of file compiled anew, where contents replaces it, and runs those that match pattern. Without
// a file it changes nothing. dir is for what that takes. ok is false where the parts do not fit together, or cannot be made.
func (b *builder) run(dir, file, contents, pattern string) (events []gotest.Event, ok bool) {
	changed := map[string]string{}
	if file != "" {
		path := module + "/" + filepath.ToSlash(filepath.Dir(file))
		archive, err := b.compile(dir, path, file, contents)
		if err != nil {
			return nil, false
		}
		changed[path] = archive
	}
	config, err := b.config(dir, changed)
	if err != nil {
		return nil, false
	}
	binary := filepath.Join(dir, "conformance.test")
	if tool("link", "-importcfg", config, "-s", "-w", "-buildmode=exe", "-o", binary, b.main) != nil {
		return nil, false
	}
	cmd := exec.Command(binary, "-test.v", "-test.run="+pattern, "-test.timeout="+timeout)
	cmd.Dir, cmd.Env = tests, environment()
	out, _ := cmd.Output() // which says it
	return ends(string(out)), true
}

var end = regexp.MustCompile(`(?m)^ *--- (PASS|FAIL|SKIP): (\S+) \(`)

// ends are the events of tests that ended, from what a test binary printed.
func ends(out string) (events []gotest.Event) {
	for _, m := range end.FindAllStringSubmatch(out, -1) {
		events = append(events, gotest.Event{Action: strings.ToLower(m[1]), Test: m[2]})
	}
	return events
}

// compile compiles a package of this module as the go command did.
func (b *builder) compile(dir, path, file, contents string) (archive string, err error) {
	p, ok := b.packages[path]
	if !ok || p.Module == nil {
		return "", fmt.Errorf("%s is none of the tests' packages", path)
	}
	config, err := b.config(dir, nil)
	if err != nil {
		return "", err
	}
	replaced := filepath.Join(dir, filepath.Base(file))
	if err := os.WriteFile(replaced, []byte(contents), 0o600); err != nil {
		return "", err
	}
	archive = filepath.Join(dir, "package.a")
	args := append([]string{"compile", "-o", archive, "-p", path, "-lang=" + version.Lang("go"+p.Module.GoVersion), "-complete", "-pack",
		"-importcfg", config, "-trimpath", replaced + "=>" + filepath.Join(p.Dir, filepath.Base(file))}, strings.Fields(flags)...)
	for _, f := range p.GoFiles {
		if f == filepath.Base(file) {
			args = append(args, replaced)
		} else {
			args = append(args, filepath.Join(p.Dir, f))
		}
	}
	return archive, tool(args...)
}

// config writes where compiler and linker find the packages; changed replaces some.
func (b *builder) config(dir string, changed map[string]string) (path string, err error) {
	var text strings.Builder
	for name, p := range b.packages {
		archive := p.Export
		if c := changed[name]; c != "" {
			archive = c
		}
		fmt.Fprintf(&text, "packagefile %s=%s\n", name, archive)
	}
	path = filepath.Join(dir, "importcfg")
	return path, os.WriteFile(path, []byte(text.String()), 0o600)
}

func tool(args ...string) error {
	cmd := exec.Command("go", append([]string{"tool"}, args...)...)
	cmd.Env = environment()
	return cmd.Run()
}

// goTest is the slow way to the same: the go command builds with an overlay file (go help build) that replaces file by contents.
func goTest(dir, file, contents, pattern string) ([]gotest.Event, error) {
	overlay, err := writeOverlay(dir, file, contents)
	if err != nil {
		return nil, err
	}
	var events []gotest.Event
	cmd := gotest.Command("-count=1", "-vet=off", gcflags, "-overlay="+overlay, "-run="+pattern, "-timeout="+timeout, tests)
	cmd.Env = environment()
	_ = gotest.Run(cmd, func(e gotest.Event) { events = append(events, e) }, func(string) {}) // the events say it
	return events, nil
}

func writeOverlay(dir, file, contents string) (path string, err error) {
	original, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	changed := filepath.Join(dir, filepath.Base(file))
	if err := os.WriteFile(changed, []byte(contents), 0o600); err != nil {
		return "", err
	}
	b, err := json.Marshal(map[string]map[string]string{"Replace": {original: changed}})
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "overlay.json")
	return path, os.WriteFile(path, b, 0o600)
}

const (
	module  = "uclat"
	gcflags = "-gcflags=" + module + "/...=" + flags
	timeout = "60s"
)

func environment() []string { return append(os.Environ(), "CGO_ENABLED=0") }

func withStderr(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return err
}

// exactly is the pattern of one test. A test's name is split at slashes, also at those of the ID.
func exactly(function, id string) string {
	parts := strings.Split(function+"/"+id, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}
