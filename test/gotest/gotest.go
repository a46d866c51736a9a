// Package gotest runs `go test -json` and reads what it says.
package gotest

import (
	"bufio"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
)

// Event is a line of `go test -json` (go doc test2json).
type Event struct {
	Action, Package, Test, Output string
	ImportPath                    string // of build output
	Elapsed                       float64
}

// Command is `go test -json` with args.
func Command(args ...string) *exec.Cmd {
	return exec.Command("go", append([]string{"test", "-json"}, args...)...)
}

// Run runs cmd, and calls each for every event, and other for every line that is none. The error is the command's: a test that
// failed is an *exec.ExitError.
func Run(cmd *exec.Cmd, each func(Event), other func(line string)) error {
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(pipe)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e Event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			other(lines.Text())
			continue
		}
		each(e)
	}
	_, _ = io.Copy(io.Discard, pipe) // what no scanner could hold must not block the tests
	return cmd.Wait()
}

// Reason is what a skipped test said last, without the place where it said it. output is what it said in all.
func Reason(output string) string {
	said := "no reason given"
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "---") || strings.HasPrefix(line, "===") {
			continue
		}
		if _, text, ok := strings.Cut(line, ".go:"); ok {
			_, line, _ = strings.Cut(text, ": ")
		}
		said = line
	}
	return said
}
