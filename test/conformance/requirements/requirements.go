// Package requirements reads the list of what the translator must do, and tells from a run of the tests which of it they cover.
package requirements

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// Requirement is one row of the list.
type Requirement struct {
	ID        string // names the test that covers it; stays what it is
	Level     string // M must, S should, O may, D our own decision, N must not; M/S where parts differ
	Direction string // 46: IPv4 to IPv6, 64: IPv6 to IPv4, B: both, C: configuration
	Source    string // RFC and section, or draft
	Text      string // one line
}

// Strict says whether some part of the requirement is a must or a must not.
func (r *Requirement) Strict() bool { return strings.ContainsAny(r.Level, "MN") }

// families are what IDs begin with: translation, path MTU, the CLAT's IPv6 address, where a CLAT is on, and how PREF64s are learned.
var families = []string{"XLAT", "PMTU", "SRC", "CLATON", "DISC"}

var columns = []string{"id", "level", "direction", "source", "requirement"}

// What each column but the last may hold.
var (
	idForm        = regexp.MustCompile(`^(` + strings.Join(families, "|") + `)-[A-Za-z0-9][A-Za-z0-9./-]*$`)
	levelForm     = regexp.MustCompile(`^[MSODN](/[MSODN])*$`)
	directionForm = regexp.MustCompile(`^(46|64|B|C)$`)
	sourceForm    = regexp.MustCompile(`^(RFC [0-9]+|draft-[a-z0-9-]+)(,|;|$)`)
)

// Load reads the list from a file: a line of column names, then a line for each requirement, with tabs between the fields. Errors
// name the line and the field.
func Load(path string) ([]Requirement, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(path, string(b))
}

func parse(name, text string) ([]Requirement, error) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if head := strings.Split(lines[0], "\t"); !slices.Equal(head, columns) {
		return nil, fmt.Errorf("%s:1: the columns are %q, not %q", name, head, columns)
	}
	var list []Requirement
	seen := map[string]int{}
	for i, line := range lines[1:] {
		number := i + 2
		r, err := parseLine(line)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, number, err)
		}
		if first, ok := seen[r.ID]; ok {
			return nil, fmt.Errorf("%s:%d: id: %s stands in line %d already", name, number, r.ID, first)
		}
		seen[r.ID] = number
		list = append(list, r)
	}
	return list, nil
}

func parseLine(line string) (r Requirement, err error) {
	f := strings.Split(line, "\t")
	if len(f) != len(columns) {
		return r, fmt.Errorf("%d fields, not %d with tabs between them", len(f), len(columns))
	}
	for i, field := range f {
		if field == "" || strings.TrimSpace(field) != field {
			return r, fmt.Errorf("%s: %q is empty or has spaces around it", columns[i], field)
		}
	}
	for i, form := range []*regexp.Regexp{idForm, levelForm, directionForm, sourceForm} {
		if !form.MatchString(f[i]) {
			return r, fmt.Errorf("%s: %q is not of the form %v", columns[i], f[i], form)
		}
	}
	return Requirement{ID: f[0], Level: f[1], Direction: f[2], Source: f[3], Text: f[4]}, nil
}

// Looks says whether a string begins as the IDs do.
func Looks(name string) bool {
	family, _, ok := strings.Cut(name, "-")
	return ok && slices.Contains(families, family)
}
