// Command mutants shows that the tests of test/conformance can fail: it puts one mistake after the other into the translator (see
// faults.go) and runs the test of the requirement that each violates, which must fail. With IDs as arguments it tries the faults of
// these requirements only. It runs in the project's top folder, and changes nothing there.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"uclat/test/conformance/requirements"
)

const (
	list  = "test/conformance/requirements.tsv"
	tests = "./test/conformance"
)

// parallel is how many faults are tried at once. Each takes about one processor, most of the time for building.
const parallel = 2

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ids []string, out io.Writer) error {
	reqs, err := requirements.Load(list)
	if err != nil {
		return err
	}
	chosen, err := choose(ids, reqs)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "uclat-mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b, err := newBuilder()
	if err != nil {
		return err
	}
	functions, err := unchanged(b, dir, reqs)
	if err != nil {
		return err
	}
	t := trial{b, functions, dir}
	results := t.all(chosen)
	caught := 0
	for i, f := range chosen {
		r := <-results[i]
		fmt.Fprintf(out, "%-24s %s: %s\n", r.verdict, f.id, f.why)
		fmt.Fprint(out, r.detail)
		if r.verdict == isCaught {
			caught++
		}
	}
	fmt.Fprintf(out, "%d of %d faults caught\n", caught, len(chosen))
	if caught < len(chosen) {
		return errors.New("each fault must be caught by the test of its requirement")
	}
	return nil
}

// choose returns the faults of ids, or without ids all of them, once it is sure that no must is without one.
func choose(ids []string, reqs []requirements.Requirement) ([]fault, error) {
	if len(ids) == 0 {
		if missing := without(faults, reqs); len(missing) > 0 {
			return nil, fmt.Errorf("no fault for %q", missing)
		}
		return faults, nil
	}
	var chosen []fault
	for _, id := range ids {
		n := len(chosen)
		for _, f := range faults {
			if f.id == id {
				chosen = append(chosen, f)
			}
		}
		if len(chosen) == n {
			return nil, fmt.Errorf("no fault for %s", id)
		}
	}
	return chosen, nil
}

// without are the IDs of the musts that no fault violates.
func without(faults []fault, reqs []requirements.Requirement) (ids []string) {
	for _, r := range reqs {
		has := slices.ContainsFunc(faults, func(f fault) bool { return f.id == r.ID })
		if r.Strict() && !has {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

// unchanged runs all tests on the translator as it is, and returns the test function that covers each ID. Tests that fail or are
// skipped cover nothing.
func unchanged(b *builder, dir string, reqs []requirements.Requirement) (map[string]string, error) {
	events, ok := b.run(dir, "", "", "")
	c := requirements.Cover(reqs, events)
	if !ok || len(c.Function) == 0 {
		return nil, errors.New("the tests do not run without a fault")
	}
	return c.Function, nil
}
