package gotest

import (
	"errors"
	"os/exec"
	"slices"
	"testing"
)

func TestRun(t *testing.T) {
	var actions, others []string
	cmd := exec.Command("printf", `%s\n`, `{"Action":"run","Test":"TestA"}`, "no event", `{"Action":"pass","Test":"TestA"}`)
	err := Run(cmd, func(e Event) { actions = append(actions, e.Action+" "+e.Test) }, func(line string) { others = append(others, line) })
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"run TestA", "pass TestA"}; !slices.Equal(actions, want) {
		t.Errorf("got events %q, want %q", actions, want)
	}
	if want := []string{"no event"}; !slices.Equal(others, want) {
		t.Errorf("got other lines %q, want %q", others, want)
	}
}

func TestRunFails(t *testing.T) {
	nothing := func(string) {}
	var exit *exec.ExitError
	if err := Run(exec.Command("false"), func(Event) {}, nothing); !errors.As(err, &exit) {
		t.Errorf("a command that fails: %v", err)
	}
	if err := Run(exec.Command("/does/not/exist"), func(Event) {}, nothing); err == nil || errors.As(err, &exit) {
		t.Errorf("a command that does not start: %v", err)
	}
}

func TestReason(t *testing.T) {
	for _, c := range []struct{ output, want string }{
		{"=== RUN   TestA\n    a_test.go:7: needs root\n--- SKIP: TestA (0.00s)\n", "needs root"},
		{"    a_test.go:3: first\n    a_test.go:9: last\n", "last"},
		{"--- SKIP: TestA (0.00s)\n", "no reason given"},
		{"", "no reason given"},
	} {
		if got := Reason(c.output); got != c.want {
			t.Errorf("%q: got %q, want %q", c.output, got, c.want)
		}
	}
}
