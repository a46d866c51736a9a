package requirements

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const head = "id\tlevel\tdirection\tsource\trequirement\n"

func TestParse(t *testing.T) {
	got, err := parse("list", head+
		"XLAT-ICMP46-3/1\tM\t46\tRFC 7915, 4.2\tHost Unreachable becomes 1/0.\n"+
		"PMTU-CLAT-1\tD\tC\tdraft-ietf-x-y\tA cache.\n"+
		"SRC-NEUTRAL\tO\tB\tRFC 6052, 4.1\tAn address.\n"+
		"CLATON-7-1\tM\tC\tdraft-ietf-x-y, 7\tAnother.\n"+
		"DISC-8781-D1\tD\tC\tRFC 8781, 4\tA prefix.\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []Requirement{
		{"XLAT-ICMP46-3/1", "M", "46", "RFC 7915, 4.2", "Host Unreachable becomes 1/0."},
		{"PMTU-CLAT-1", "D", "C", "draft-ietf-x-y", "A cache."},
		{"SRC-NEUTRAL", "O", "B", "RFC 6052, 4.1", "An address."},
		{"CLATON-7-1", "M", "C", "draft-ietf-x-y, 7", "Another."},
		{"DISC-8781-D1", "D", "C", "RFC 8781, 4", "A prefix."},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
	for level, strict := range map[string]bool{"M": true, "M/S": true, "S/M": true, "N": true, "S": false, "O": false, "D": false} {
		if r := (Requirement{Level: level}); r.Strict() != strict {
			t.Errorf("level %s: strict is %v", level, r.Strict())
		}
	}
}

func TestParseErrors(t *testing.T) {
	const row = "XLAT-A-1\tM\tB\tRFC 1\tText.\n"
	for _, c := range []struct{ name, text, want string }{
		{"no header", row, "list:1: the columns are"},
		{"empty", "", "list:1: the columns are"},
		{"too few fields", head + "XLAT-A-1\tM\tB\tRFC 1\n", "list:2: 4 fields, not 5"},
		{"too many fields", head + row + "XLAT-A-2\tM\tB\tRFC 1\tText.\tmore\n", "list:3: 6 fields, not 5"},
		{"empty line", head + row + "\n" + row, "list:3: 1 fields, not 5"},
		{"empty field", head + "XLAT-A-1\tM\tB\tRFC 1\t\n", "list:2: requirement: \"\" is empty"},
		{"space", head + "XLAT-A-1\tM\tB\tRFC 1 \tText.\n", "list:2: source: \"RFC 1 \" is empty or has spaces"},
		{"ID", head + strings.Replace(row, "XLAT", "CLAT", 1), "list:2: id: \"CLAT-A-1\""},
		{"level", head + strings.Replace(row, "\tM\t", "\tM (if added)\t", 1), "list:2: level: \"M (if added)\""},
		{"direction", head + strings.Replace(row, "\tB\t", "\t-\t", 1), "list:2: direction: \"-\""},
		{"source", head + strings.Replace(row, "RFC 1", "somewhere", 1), "list:2: source: \"somewhere\""},
		{"twice", head + row + "XLAT-A-2\tM\tB\tRFC 1\tText.\n" + row, "list:4: id: XLAT-A-1 stands in line 2 already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := parse("list", c.text); err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("got %v, want %s...", err, c.want)
			}
		})
	}
}

func TestLooks(t *testing.T) {
	for name, want := range map[string]bool{
		"XLAT-CK-1": true, "PMTU-": true, "SRC-4862-1/case": true, "CLATON-7-1": true, "DISC-8781-D1": true,
		"CLAT-1": false, "SOURCE-1": false, "SRC": false, "a SRC-1": false, "src-1": false, "": false,
	} {
		if Looks(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}

// The list itself.
func TestLoad(t *testing.T) {
	list, err := Load(filepath.Join("..", "requirements.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range list {
		if !strings.HasSuffix(r.Text, ".") {
			t.Errorf("%s: %q is no sentence", r.ID, r.Text)
		}
	}
	if len(list) != 179 {
		t.Errorf("%d requirements", len(list))
	}
	if _, err := Load("nowhere.tsv"); !os.IsNotExist(err) {
		t.Errorf("a file that is not there: %v", err)
	}
}
