package requirements

import (
	"fmt"
	"slices"
	"strings"

	"uclat/test/gotest"
)

// Coverage is what a run of the tests says of the requirements.
//
// A test covers a requirement when it is a subtest of a test function and has the requirement's ID as its name, TestFunction/ID, and
// passed. Subtests below it are its cases, of which none may be skipped.
type Coverage struct {
	Function map[string]string // the test function that covers an ID
	Problems []string          // what must not be, each one line
}

// Cover judges a whole run.
func Cover(list []Requirement, run []gotest.Event) Coverage {
	c := Coverage{Function: map[string]string{}}
	ids := map[string]bool{}
	for _, r := range list {
		ids[r.ID] = true
	}
	output := map[string]string{}
	named := map[string]string{} // the test function under which an ID's test was found,
	why := map[string]string{}   // and what kept that from covering it
	for _, e := range run {
		switch {
		case e.Action == "output":
			output[e.Test] += e.Output
			continue
		case e.Action != "pass" && e.Action != "fail" && e.Action != "skip" || e.Test == "":
			continue
		case e.Action == "fail":
			c.problem("%s failed", e.Test)
		}
		function, id, ok := split(e.Test, ids)
		switch {
		case !ok:
			c.problem("%s is named like a requirement, but must be TestFunction/ID with an ID of the list", e.Test)
		case id == "" && e.Action == "skip": // of a case, its requirement knows nothing: to go test, it passed
			c.problem("%s was skipped: %s", e.Test, gotest.Reason(output[e.Test]))
		case id == "":
		case named[id] != "":
			c.problem("%s has two tests, in %s and %s", id, named[id], function)
		default:
			named[id] = function
			switch e.Action {
			case "pass":
				c.Function[id] = function
			case "skip":
				why[id] = "its test was skipped: " + gotest.Reason(output[e.Test])
			case "fail":
				why[id] = "its test failed"
			}
		}
	}
	for _, r := range list {
		if c.Function[r.ID] != "" {
			continue
		}
		if why[r.ID] == "" {
			why[r.ID] = "no test has this name"
		}
		c.problem("%s is not covered: %s", r.ID, why[r.ID])
	}
	return c
}

func (c *Coverage) problem(format string, args ...any) {
	c.Problems = append(c.Problems, fmt.Sprintf(format, args...))
}

// split takes a test's name apart. The ID is empty where the test is not named after a requirement, or is a case of one that is;
// false where an ID stands in the name that is not in the list, or not in its place.
func split(test string, ids map[string]bool) (function, id string, ok bool) {
	function, below, _ := strings.Cut(test, "/")
	cases := below
	for known := range ids {
		if below == known {
			return function, known, true
		}
		if rest, ok := strings.CutPrefix(below, known+"/"); ok {
			cases = rest
		}
	}
	return function, "", !slices.ContainsFunc(strings.Split(cases, "/"), Looks)
}

// Summary is one line: "147 of 147 requirements covered".
func (c *Coverage) Summary(list []Requirement) string {
	return fmt.Sprintf("%d of %d requirements covered", len(c.Function), len(list))
}
