package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"uclat/test/gotest"
)

const stream = `{"Action":"output","Package":"p","Test":"TestA","Output":"--- PASS: TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: needs root\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestC","Output":"    c_test.go:9: got 1, want 2\n"}
{"Action":"fail","Package":"p","Test":"TestC"}
{"Action":"fail","Package":"p","Elapsed":1.5}
{"Action":"pass","Package":"q","Elapsed":0.1}
`

func TestResults(t *testing.T) {
	r := results{output: map[string][]string{}}
	var out bytes.Buffer
	for line := range strings.Lines(stream) {
		var e gotest.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		r.add(e, &out)
	}
	r.print(&out)
	const want = `    c_test.go:9: got 1, want 2
fail p                                   1.5 s
pass q                                   0.1 s
FAILED  p TestC
SKIPPED p TestB: needs root
1 passed, 1 failed, 1 skipped
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}
