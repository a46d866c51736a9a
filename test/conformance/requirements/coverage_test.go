package requirements

import (
	"slices"
	"testing"

	"uclat/test/gotest"
)

var list = []Requirement{
	{ID: "XLAT-A-1"},
	{ID: "XLAT-A-10"},
	{ID: "XLAT-B-3/1"},
}

// end are the events of tests that ended: action and name.
func end(ends ...[2]string) (run []gotest.Event) {
	for _, e := range ends {
		run = append(run, gotest.Event{Action: "run", Test: e[1]}, gotest.Event{Action: e[0], Test: e[1]})
	}
	return run
}

func TestCover(t *testing.T) {
	all := end(
		[2]string{"pass", "TestA/XLAT-A-1/case"}, [2]string{"pass", "TestA/XLAT-A-1"},
		[2]string{"pass", "TestA/XLAT-A-10"}, [2]string{"pass", "TestA"},
		[2]string{"pass", "TestB/XLAT-B-3/1/4 to 6"}, [2]string{"pass", "TestB/XLAT-B-3/1"}, [2]string{"pass", "TestB"},
		[2]string{"pass", "TestHelper/anything/below"}, [2]string{"pass", ""},
	)
	c := Cover(list, all)
	if len(c.Problems) > 0 {
		t.Errorf("problems: %q", c.Problems)
	}
	if c.Function["XLAT-A-1"] != "TestA" || c.Function["XLAT-B-3/1"] != "TestB" || len(c.Function) != 3 {
		t.Errorf("covered: %v", c.Function)
	}
	if got, want := c.Summary(list), "3 of 3 requirements covered"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	more := append(list[:3:3], Requirement{ID: "PMTU-C-1"})
	c = Cover(more, all)
	if got, want := c.Summary(more), "3 of 4 requirements covered"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if want := []string{"PMTU-C-1 is not covered: no test has this name"}; !slices.Equal(c.Problems, want) {
		t.Errorf("problems: %q, want %q", c.Problems, want)
	}
}

func TestCoverProblems(t *testing.T) {
	others := [][2]string{{"pass", "TestA/XLAT-A-10"}, {"pass", "TestB/XLAT-B-3/1"}}
	for _, c := range []struct {
		name string
		ends [][2]string
		want []string
	}{
		{"no test", nil, []string{"XLAT-A-1 is not covered: no test has this name"}},
		{"only a case", [][2]string{{"pass", "TestA/XLAT-A-1/case"}}, []string{"XLAT-A-1 is not covered: no test has this name"}},
		{"too deep", [][2]string{{"pass", "TestA/group/XLAT-A-1"}}, []string{
			"TestA/group/XLAT-A-1 is named like a requirement, but must be TestFunction/ID with an ID of the list",
			"XLAT-A-1 is not covered: no test has this name",
		}},
		{"below another", [][2]string{{"pass", "TestA/XLAT-A-1"}, {"pass", "TestA/XLAT-A-10/XLAT-A-1"}}, []string{
			"TestA/XLAT-A-10/XLAT-A-1 is named like a requirement, but must be TestFunction/ID with an ID of the list",
		}},
		{"unknown", [][2]string{{"pass", "TestA/XLAT-A-1"}, {"pass", "TestA/PMTU-C-2/case"}}, []string{
			"TestA/PMTU-C-2/case is named like a requirement, but must be TestFunction/ID with an ID of the list",
		}},
		{"half a name", [][2]string{{"pass", "TestA/XLAT-A-1"}, {"pass", "TestB/XLAT-B-3"}}, []string{
			"TestB/XLAT-B-3 is named like a requirement, but must be TestFunction/ID with an ID of the list",
		}},
		{"twice in one function", [][2]string{{"pass", "TestA/XLAT-A-1"}, {"pass", "TestA/XLAT-A-1#01"}}, []string{
			"TestA/XLAT-A-1#01 is named like a requirement, but must be TestFunction/ID with an ID of the list",
		}},
		{"twice", [][2]string{{"pass", "TestA/XLAT-A-1"}, {"pass", "TestZ/XLAT-A-1"}}, []string{
			"XLAT-A-1 has two tests, in TestA and TestZ",
		}},
		{"a case skipped", [][2]string{{"skip", "TestA/XLAT-A-1/case"}, {"pass", "TestA/XLAT-A-1"}}, []string{
			"TestA/XLAT-A-1/case was skipped: no reason given",
		}},
		{"skipped", [][2]string{{"skip", "TestA/XLAT-A-1"}}, []string{"XLAT-A-1 is not covered: its test was skipped: no reason given"}},
		{"failed", [][2]string{{"fail", "TestA/XLAT-A-1"}, {"fail", "TestA"}}, []string{
			"TestA/XLAT-A-1 failed", "TestA failed", "XLAT-A-1 is not covered: its test failed",
		}},
		{"another test failed", [][2]string{{"pass", "TestA/XLAT-A-1"}, {"fail", "TestHelper"}}, []string{"TestHelper failed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := Cover(list, end(append(others[:2:2], c.ends...)...)).Problems; !slices.Equal(got, c.want) {
				t.Errorf("got %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestCoverSaysWhySkipped(t *testing.T) {
	run := []gotest.Event{
		{Action: "output", Test: "TestA/XLAT-A-1", Output: "    a_test.go:7: needs root\n"},
		{Action: "skip", Test: "TestA/XLAT-A-1"},
	}
	if got, want := Cover(list[:1], run).Problems, []string{"XLAT-A-1 is not covered: its test was skipped: needs root"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
