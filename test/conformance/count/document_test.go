package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"uclat/test/conformance/requirements"
)

func TestRender(t *testing.T) {
	list := []requirements.Requirement{
		{ID: "XLAT-CK-1", Level: "M/S", Direction: "B", Source: "RFC 7915, 4.5", Text: "One | two."},
		{ID: "PMTU-8201-4-1", Level: "M", Direction: "64", Source: "RFC 8201, 4", Text: "Three."},
	}
	c := requirements.Coverage{Function: map[string]string{"XLAT-CK-1": "TestChecksums", "PMTU-8201-4-1": "TestMTU"}}
	got := render(list, &c)
	for _, want := range []string{
		"\n\n2 of 2 requirements covered.\n\n",
		"\n\n## Transport checksums\n\n| ID | Level | Direction | Source | Requirement | Test |\n|---|---|---|---|---|---|\n" +
			"| XLAT-CK-1 | M/S | B | RFC 7915, 4.5 | One \\| two. | TestChecksums |\n" +
			"\n## Path MTU\n\n| ID | Level | Direction | Source | Requirement | Test |\n|---|---|---|---|---|---|\n" +
			"| PMTU-8201-4-1 | M | 64 | RFC 8201, 4 | Three. | TestMTU |\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nis not in\n%s", want, got)
		}
	}
}

// Each section begins at an ID that there is, in the list's order, and the first at the first.
func TestSections(t *testing.T) {
	list, err := requirements.Load(filepath.Join("..", "requirements.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	for i, r := range list {
		if next < len(sections) && sections[next].first == r.ID {
			next++
		} else if i == 0 {
			t.Errorf("no section begins at %s", r.ID)
		}
	}
	if next < len(sections) {
		t.Errorf("no requirement for section %q, or not in order", sections[next].title)
	}
}

func TestWrite(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.Mkdir(filepath.Dir(document), 0o700); err != nil {
		t.Fatal(err)
	}
	const stale = "docs/CONFORMANCE.md is stale: run make conformance"
	if err := write("one\n", true); err == nil || err.Error() != stale {
		t.Errorf("no document: %v", err)
	}
	if err := write("one\n", false); err != nil {
		t.Fatal(err)
	}
	if err := write("one\n", true); err != nil {
		t.Errorf("the same: %v", err)
	}
	if err := write("two\n", true); err == nil || err.Error() != stale {
		t.Errorf("another: %v", err)
	}
	if b, err := os.ReadFile(document); err != nil || string(b) != "one\n" {
		t.Errorf("%q, %v", b, err)
	}
}
