package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"uclat/test/gotest"
)

// fault is a mistake that somebody could make, in one place of one file.
type fault struct {
	id   string // the requirement that it violates
	file string // below the project's top folder
	old  string // what stands there, once in the file
	new  string // what the mistake makes of it
	why  string // the mistake, as the end of a line
}

// verdict is what became of a fault, as it is printed.
type verdict string

const (
	isCaught   verdict = "caught"
	survived   verdict = "SURVIVED"
	notBuilt   verdict = "DOES NOT COMPILE"
	notThere   verdict = "OLD TEXT NOT FOUND ONCE"
	notCovered verdict = "NO TEST PASSES WITHOUT IT"
	notRun     verdict = "TEST DID NOT END"
)

type result struct {
	verdict verdict
	detail  string // lines
}

// trial is what faults are tried with.
type trial struct {
	builder   *builder
	functions map[string]string // the test function that covers an ID
	dir       string            // for files
}

// all tries faults, some at once, and sends the result of each to the channel of its index.
func (t *trial) all(faults []fault) []chan result {
	results := make([]chan result, len(faults))
	for i := range results {
		results[i] = make(chan result, 1)
	}
	next := make(chan int)
	go func() {
		defer close(next)
		for i := range faults {
			next <- i
		}
	}()
	for range parallel {
		go func() {
			for i := range next {
				results[i] <- t.one(faults[i], filepath.Join(t.dir, strconv.Itoa(i)))
			}
		}()
	}
	return results
}

// one builds the tests with a fault and runs the one that must find it, with files in dir, which it makes and takes away.
func (t *trial) one(f fault, dir string) result {
	function := t.functions[f.id]
	if function == "" {
		return result{verdict: notCovered}
	}
	source, err := os.ReadFile(f.file)
	if err != nil {
		return result{notThere, err.Error() + "\n"}
	}
	changed, ok := f.apply(string(source))
	if !ok {
		return result{verdict: notThere}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return result{notRun, err.Error() + "\n"}
	}
	defer os.RemoveAll(dir)
	events, ok := t.builder.run(dir, f.file, changed, exactly(function, f.id))
	if !ok {
		if events, err = goTest(dir, f.file, changed, exactly(function, f.id)); err != nil {
			return result{notRun, err.Error() + "\n"}
		}
	}
	return judge(events, function+"/"+f.id)
}

// apply puts the fault into a file's text; false unless the old text is there once.
func (f *fault) apply(source string) (string, bool) {
	return strings.Replace(source, f.old, f.new, 1), strings.Count(source, f.old) == 1
}

// judge says from a run with the fault what became of it. Only the requirement's own test counts, and only if it ran.
func judge(events []gotest.Event, test string) result {
	var build strings.Builder
	for _, e := range events {
		switch {
		case e.Action == "build-output":
			build.WriteString(e.Output)
		case e.Test == test && e.Action == "fail":
			return result{verdict: isCaught}
		case e.Test == test && (e.Action == "pass" || e.Action == "skip"):
			return result{verdict: survived}
		}
	}
	if build.Len() > 0 {
		return result{notBuilt, build.String()}
	}
	return result{notRun, fmt.Sprintf("%s neither passed nor failed\n", test)}
}
