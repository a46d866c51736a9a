// Command report runs `go test` with the arguments that it gets, prints one line a package and all that a failed test said, and at
// the end every test that was skipped with its reason. With UCLAT_TEST_REQUIRE=1 a skip is a failure.
package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"

	"uclat/test/gotest"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Getenv("UCLAT_TEST_REQUIRE") == "1")) }

// results are what became of the tests. A test is named by its package and its name.
type results struct {
	output          map[string][]string
	passed, failed  int
	failures, skips []string
}

func run(args []string, out io.Writer, require bool) int {
	r := results{output: map[string][]string{}}
	cmd := gotest.Command(args...)
	cmd.Stderr = os.Stderr
	err := gotest.Run(cmd, func(e gotest.Event) { r.add(e, out) }, func(line string) { fmt.Fprintln(out, line) })
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "report:", err)
		return 2
	}
	r.print(out)
	if err != nil || r.failed > 0 || require && len(r.skips) > 0 {
		if require && len(r.skips) > 0 {
			fmt.Fprintln(out, "a skip is a failure here (UCLAT_TEST_REQUIRE=1)")
		}
		return 1
	}
	return 0
}

func (r *results) add(e gotest.Event, out io.Writer) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Fprint(out, e.Output)
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(e, out)
			return
		}
		switch e.Action {
		case "pass":
			r.passed++
		case "fail":
			r.failed++
			r.failures = append(r.failures, key)
		case "skip":
			r.skips = append(r.skips, key+": "+gotest.Reason(strings.Join(r.output[key], "")))
		}
		if e.Action != "fail" {
			delete(r.output, key)
		}
	}
}

// endPackage prints the package's line, and all that was said where it failed.
func (r *results) endPackage(e gotest.Event, out io.Writer) {
	if e.Action == "fail" {
		for _, key := range slices.Sorted(maps.Keys(r.output)) {
			if strings.HasPrefix(key, e.Package+" ") {
				fmt.Fprint(out, strings.Join(r.output[key], ""))
			}
		}
	}
	if e.Action != "skip" { // a package without tests
		fmt.Fprintf(out, "%-4s %-32s %6.1f s\n", e.Action, e.Package, e.Elapsed)
	}
	for key := range r.output {
		if strings.HasPrefix(key, e.Package+" ") {
			delete(r.output, key)
		}
	}
}

func (r *results) print(out io.Writer) {
	for _, f := range r.failures {
		fmt.Fprintln(out, "FAILED ", f)
	}
	for _, s := range r.skips {
		fmt.Fprintln(out, "SKIPPED", s)
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, len(r.skips))
}
