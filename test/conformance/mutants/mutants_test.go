package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"uclat/test/conformance/requirements"
	"uclat/test/gotest"
)

// The table fits the source: each fault has its place, changes something, and belongs to a requirement; no must is without one.
func TestFaults(t *testing.T) {
	reqs, err := requirements.Load(filepath.Join("..", "requirements.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	type place struct{ id, file, old, new string }
	seen := map[place]bool{}
	for _, f := range faults {
		if !slices.ContainsFunc(reqs, func(r requirements.Requirement) bool { return r.ID == f.id }) {
			t.Errorf("%s is not in the list", f.id)
		}
		source, err := os.ReadFile(filepath.Join("..", "..", "..", f.file))
		if err != nil {
			t.Errorf("%s: %v", f.id, err)
			continue
		}
		if changed, ok := f.apply(string(source)); !ok {
			t.Errorf("%s: %q does not stand in %s exactly once", f.id, f.old, f.file)
		} else if changed == string(source) {
			t.Errorf("%s: %q changes nothing", f.id, f.new)
		}
		if f.why == "" {
			t.Errorf("%s: %q has no explanation", f.id, f.new)
		}
		p := place{f.id, f.file, f.old, f.new}
		if seen[p] {
			t.Errorf("%s: %q stands in the table twice", f.id, f.new)
		}
		seen[p] = true
	}
	for _, id := range without(faults, reqs) {
		t.Errorf("%s is a must, and no fault violates it", id)
	}
}

func TestChoose(t *testing.T) {
	first := faults[0].id
	got, err := choose([]string{first}, nil)
	if err != nil || len(got) == 0 || slices.ContainsFunc(got, func(f fault) bool { return f.id != first }) {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := choose([]string{first, "XLAT-NONE"}, nil); err == nil || err.Error() != "no fault for XLAT-NONE" {
		t.Errorf("got %v", err)
	}
	must := []requirements.Requirement{{ID: "XLAT-NONE", Level: "S/M"}}
	if _, err := choose(nil, must); err == nil || err.Error() != `no fault for ["XLAT-NONE"]` {
		t.Errorf("got %v", err)
	}
	may := []requirements.Requirement{{ID: "XLAT-NONE", Level: "S"}}
	if got, err := choose(nil, may); err != nil || len(got) != len(faults) {
		t.Errorf("%d of %d faults, %v", len(got), len(faults), err)
	}
}

func TestApply(t *testing.T) {
	f := fault{old: "a+1", new: "a"}
	if got, ok := f.apply("b = a+1"); got != "b = a" || !ok {
		t.Errorf("got %q, %v", got, ok)
	}
	for _, source := range []string{"b = a", "b = a+1; c = a+1"} {
		if _, ok := f.apply(source); ok {
			t.Errorf("%q: not refused", source)
		}
	}
}

func TestExactly(t *testing.T) {
	for id, want := range map[string]string{
		"XLAT-7915-4.1-8": `^TestA$/^XLAT-7915-4\.1-8$`,
		"XLAT-ICMP46-3/1": `^TestA$/^XLAT-ICMP46-3$/^1$`,
	} {
		if got := exactly("TestA", id); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestJudge(t *testing.T) {
	const test = "TestA/XLAT-A-1"
	for _, c := range []struct {
		name   string
		events []gotest.Event
		want   verdict
	}{
		{"fails", []gotest.Event{{Action: "fail", Test: test}, {Action: "fail", Test: "TestA"}, {Action: "fail"}}, isCaught},
		{"passes", []gotest.Event{{Action: "pass", Test: test}, {Action: "pass", Test: "TestA"}, {Action: "pass"}}, survived},
		{"is skipped", []gotest.Event{{Action: "skip", Test: test}, {Action: "pass"}}, survived},
		{"is not built", []gotest.Event{{Action: "build-output", Output: "undefined: x\n"}, {Action: "build-fail"}, {Action: "fail"}}, notBuilt},
		{"another fails", []gotest.Event{{Action: "fail", Test: "TestA/XLAT-A-10"}, {Action: "fail"}}, notRun},
		{"is not found", []gotest.Event{{Action: "pass"}}, notRun},
		{"nothing", nil, notRun},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := judge(c.events, test); got.verdict != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestEnds(t *testing.T) {
	const out = `=== RUN   TestA
=== RUN   TestA/XLAT-A-1/1
    a_test.go:7: got 1
--- FAIL: TestA (0.00s)
    --- FAIL: TestA/XLAT-A-1/1 (0.00s)
        --- PASS: TestA/XLAT-A-1/1/case (0.00s)
    --- SKIP: TestA/XLAT-A-2 (0.01s)
panic: no --- PASS: TestB (0.00s)
`
	got := ends(out)
	want := []gotest.Event{
		{Action: "fail", Test: "TestA"}, {Action: "fail", Test: "TestA/XLAT-A-1/1"},
		{Action: "pass", Test: "TestA/XLAT-A-1/1/case"}, {Action: "skip", Test: "TestA/XLAT-A-2"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestWriteOverlay(t *testing.T) {
	path, err := writeOverlay(t.TempDir(), "clat/drop.go", "package clat\n")
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var overlay struct{ Replace map[string]string }
	if err := json.Unmarshal(b, &overlay); err != nil {
		t.Fatal(err)
	}
	original, _ := filepath.Abs("clat/drop.go")
	changed, err := os.ReadFile(overlay.Replace[original])
	if err != nil || string(changed) != "package clat\n" {
		t.Errorf("got %q, %v; overlay is %s", changed, err, b)
	}
}
