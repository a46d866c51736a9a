// Command count runs the tests of test/conformance, says how many of the requirements they cover, and writes that to
// docs/CONFORMANCE.md. It fails where a requirement is not covered by exactly one test, or a test is named like a requirement and is
// none. It runs in the project's top folder.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"

	"uclat/test/conformance/requirements"
	"uclat/test/gotest"
)

const (
	list     = "test/conformance/requirements.tsv"
	tests    = "./test/conformance"
	document = "docs/CONFORMANCE.md"
)

func main() {
	check := flag.Bool("check", false, "do not write "+document+", but fail where it is not what would be written")
	flag.Parse()
	if err := run(*check, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "count:", err)
		os.Exit(1)
	}
}

func run(check bool, out io.Writer) error {
	reqs, err := requirements.Load(list)
	if err != nil {
		return err
	}
	events, err := test(out)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || !slices.ContainsFunc(events, func(e gotest.Event) bool { return e.Test != "" })) {
		return fmt.Errorf("the tests did not run: %w", err)
	}
	c := requirements.Cover(reqs, events)
	if err != nil && len(c.Problems) == 0 {
		c.Problems = []string{"go test failed"} // before or behind the tests
	}
	for _, p := range c.Problems {
		fmt.Fprintln(out, p)
	}
	fmt.Fprintln(out, c.Summary(reqs))
	if n := len(c.Problems); n > 0 {
		return fmt.Errorf("%d problems; %s is as it was", n, document)
	}
	return write(render(reqs, &c), check)
}

// test runs the tests and prints what those said that failed.
func test(out io.Writer) (events []gotest.Event, err error) {
	said := map[string]string{}
	cmd := gotest.Command("-count=1", tests)
	cmd.Stderr = os.Stderr
	err = gotest.Run(cmd, func(e gotest.Event) {
		events = append(events, e)
		switch e.Action {
		case "build-output":
			fmt.Fprint(out, e.Output)
		case "output":
			said[e.Test] += e.Output
		case "fail":
			fmt.Fprint(out, said[e.Test])
		}
	}, func(line string) { fmt.Fprintln(out, line) })
	return events, err
}

func write(text string, check bool) error {
	if !check {
		return os.WriteFile(document, []byte(text), 0o644)
	}
	old, err := os.ReadFile(document)
	switch {
	case err != nil && !os.IsNotExist(err):
		return err
	case strings.ReplaceAll(string(old), "\r\n", "\n") != text:
		return fmt.Errorf("%s is stale: run make conformance", document)
	}
	return nil
}
